# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The codes of reasons: one enumeration, in the code, in the schema of the record and in its
documentation; and no code that decides by a sentence of ours.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import steps
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import turns

TOP = Path(__file__).resolve().parents[4]
PLUGINS = sorted((TOP / "plugins").rglob("*.py"))
# Output of other programs.
FOREIGN = ("agent/output.py", "drain/haproxy.py", "ha/groups.py")
DECIDE = ("startswith", "endswith", "removeprefix", "removesuffix", "find", "index", "replace")


def test_schema_documentation_and_code_have_the_same_codes():
    assert len(turns.REASON_CODES) == len(set(turns.REASON_CODES))
    schema = json.loads((TOP / "docs/record.schema.json").read_text(encoding="utf-8"))
    row = schema["properties"]["hosts"]["items"]["properties"]
    assert row["reason_code"]["enum"] == list(turns.REASON_CODES)
    page = (TOP / "docs/record.md").read_text(encoding="utf-8")
    page = page.partition("Codes of reasons:")[2].partition("\n## ")[0]
    table = page.partition("| `reason_code` | |")[2]
    first = re.findall(r"^\| (`[^|]*)\|", table, re.MULTILINE)
    named = [code for cell in first for code in re.findall("`([^`]+)`", cell)]
    assert sorted(named) == sorted(turns.REASON_CODES)


def _codes(tree):
    """The literal codes that a module gives to a reason."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "reason_code":
            yield from _literals(node.value)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "_reason":
            yield from _literals(node.args[0])
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values):
                if isinstance(key, ast.Constant) and key.value == "reason_code":
                    yield from _literals(value)


def _literals(value):
    """The texts that an expression may amount to, not those that it compares."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from _literals(value.body)
        yield from _literals(value.orelse)
    elif isinstance(value, ast.BoolOp):
        for one in value.values:
            yield from _literals(one)


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: str(path.relative_to(TOP)))
def test_every_code_that_is_given_is_one_of_them(path):
    given = set(_codes(ast.parse(path.read_text(encoding="utf-8"))))
    assert given <= set(turns.REASON_CODES)
    if "module_utils/turn/" in str(path):
        assert given <= set(steps.REASON_CODES)


def _sentences(tree):
    """Where a module looks for a sentence in a text: line and sentence."""
    for node in ast.walk(tree):
        found = []
        if isinstance(node, ast.Compare):
            found = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found = node.args if node.func.attr in DECIDE else []
        for one in found:
            for part in one.elts if isinstance(one, ast.Tuple) else [one]:
                text = part.value if isinstance(part, ast.Constant) else None
                if isinstance(text, str) and re.match("[A-Z][a-z]+ [a-z]", text.strip()):
                    yield node.lineno, text


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: str(path.relative_to(TOP)))
def test_no_sentence_decides(path):
    if not str(path).endswith(FOREIGN):
        assert list(_sentences(ast.parse(path.read_text(encoding="utf-8")))) == []
