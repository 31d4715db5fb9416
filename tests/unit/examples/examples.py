# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What users copy: every example of the documents, and of the pages that ansible-doc shows."""

from __future__ import annotations

import re
from collections import namedtuple
from pathlib import Path

import yaml

TOP = Path(__file__).resolve().parents[3]
DOCUMENTS = [
    TOP / "README.md",
    TOP / "CONTRIBUTING.md",
    *sorted(TOP.glob("docs/*.md")),
    *sorted(TOP.glob("roles/*/README.md")),
    *sorted(TOP.glob("extensions/lab/**/README.md")),
]
# Of a page of ansible-doc the language is yaml. line counts from 1.
Example = namedtuple("Example", "path line language text")


def fenced(path):
    """The blocks of a document between fences."""
    lines = path.read_text().splitlines()
    fences = [
        (number, match)
        for number, line in enumerate(lines)
        for match in [re.match(r"( *)```(\w*)\s*\Z", line)]
        if match
    ]
    assert len(fences) % 2 == 0, f"{path} has a block that is not closed"
    found = []
    for (begin, fence), (end, _fence) in zip(fences[::2], fences[1::2]):
        indent = len(fence.group(1))
        text = "\n".join(line[indent:] for line in lines[begin + 1 : end]) + "\n"
        found.append(Example(path.relative_to(TOP), begin + 2, fence.group(2), text))
    return found


def pages():
    """The examples of modules, connections and filters."""
    found = []
    for path in sorted(TOP.glob("plugins/*/*.py")):
        text = path.read_text()
        begun = re.search(r'^EXAMPLES = r?"""\n?(.*?)"""', text, re.DOTALL | re.MULTILINE)
        if begun:
            line = text[: begun.start()].count("\n") + 1
            found.append(Example(path.relative_to(TOP), line, "yaml", begun.group(1)))
    for path in sorted(TOP.glob("plugins/*/*.yml")):
        page = yaml.safe_load(path.read_text())
        found.append(Example(path.relative_to(TOP), 1, "yaml", page["EXAMPLES"]))
    return found


def all_of(language):
    blocks = [block for path in DOCUMENTS for block in fenced(path)]
    return [block for block in [*blocks, *pages()] if block.language == language]


def commands(block):
    """The commands of a block: what stands behind a prompt, or every line where none has one."""
    lines = [line for line in block.text.splitlines() if line.strip()]
    prompted = [line[2:] for line in lines if re.match(r"[$#] ", line)]
    told = prompted or ([] if block.language == "console" else lines)
    return [re.sub(r"\s{2,}#.*|\s+# .*", "", line).strip() for line in told]


def name_of(block):
    return f"{block.path}:{block.line}"
