# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Questions about a record, and records that are none."""

from __future__ import annotations

import copy
import csv
import json
import sys
from pathlib import Path

import jmespath
import markdown_it
import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import query, report
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError
from extent import rounds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import rolled  # noqa: E402


@pytest.fixture(scope="module")
def document():
    return rolled.document()


def lines(document, question, output="table"):
    return query.text(query.ask(document, question), output)


def test_what_jmespath_says_is_the_answer(document):
    for question in ("hosts[?verdict=='blocked'].name", "summary", "length(hosts)", "run.nothing"):
        assert query.ask(document, question) == jmespath.search(question, document)


@pytest.mark.parametrize(
    "question, rows",
    [
        ("attention", [["host", "verdict", "reason"], ["c", "unreachable"], ["d", "blocked"]]),
        ("blocked", [["host", "reason"], ["d"]]),
        ("unknown", [["host", "verdict", "reason"], ["c", "unreachable"]]),
        ("open_to:CVE-2026-1", [["host", "verdict", "kernel"], ["a2"], ["b"], ["d", "blocked"]]),
        ("cves_unknown", [["host", "verdict", "reason"], ["c", "unreachable"]]),
        ("different_kernels", [["group", "kernels", "members"], ["a", "k1", "k2", "a1", "a2"]]),
        ("behind_longer:11", [["host", "days", "since", "verdict"], ["a2"], ["b"], ["d", "12"]]),
        ("behind_longer:12", None),
        ("behind", None),
        ("self_updating", None),
        ("aliases", None),
        ("open_to:CVE-2026-9", None),
    ],
)
def test_questions_that_have_a_name(document, question, rows):
    found = [line.split() for line in lines(document, question)]
    if rows is None:
        assert found == [["Nothing", "matches."]]
        return
    assert [line[: len(row)] for line, row in zip(found, rows)] == rows
    assert len(found) == len(rows)


def test_every_named_question_is_sound_whatever_its_value(document):
    for name, expression in query.NAMED.items():
        for value in ("x", "it's", "a\\", "']", "`"):
            if "{number}" in expression:
                with pytest.raises(PlanError, match=f"{name} needs a whole number"):
                    query.ask(document, f"{name}:{value}")
            elif "{}" in expression:
                assert query.ask(document, f"{name}:{value}") == []
            else:
                assert isinstance(query.ask(document, name), list)


def test_a_named_question_without_its_value(document):
    with pytest.raises(PlanError, match="open_to needs a value: open_to:VALUE"):
        query.ask(document, "open_to")


@pytest.mark.parametrize(
    "question, words, at",
    [
        ("hosts[?verdict=='behind'.name", "Incomplete expression", 29),
        ("hosts[?length(x) > 1]", "Parse error", 19),
        ("length(hosts) + 1", "Unknown token", 14),
    ],
)
def test_a_wrong_question_is_shown_with_a_caret(question, words, at):
    with pytest.raises(PlanError) as refused:
        query.check(question)
    first, shown, caret = str(refused.value).split("\n")
    assert first.startswith("ksplice_query is not JMESPath. ") and words in first
    assert shown == question and caret == " " * at + "^"


@pytest.mark.parametrize(
    "question",
    [
        "nope(@)",
        "contains(@)",
        "hosts[*].length(wave)",
        "hosts[?contains(reason, `5`)]",
        "&name",
        "(" * 3000,
        "!" * 3000 + "a",
        ["a", "b"],
    ],
)
def test_a_question_that_jmespath_cannot_answer(document, question):
    with pytest.raises(PlanError, match=r"ksplice_query (is not|cannot|is no text)"):
        query.ask(document, question)


fuzz = settings(
    max_examples=rounds(1000, 60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
PIECES = (
    "hosts",
    "groups",
    "[?",
    "]",
    "[*]",
    ".name",
    "|",
    "length(",
    ")",
    "'",
    "`1`",
    "@",
    "&",
    " ",
)


@fuzz
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)))
def test_any_question_has_an_answer_or_one_error(document, question):
    try:
        answer = query.ask(document, question)
    except PlanError as error:
        assert str(error).startswith("ksplice_query ") or str(error).startswith("The query ")
        return
    for output in query.OUTPUTS:
        assert all("\n" not in line or output == "csv" for line in query.text(answer, output))


@fuzz
@given(st.text(min_size=1))
def test_nothing_that_a_host_says_reaches_the_terminal_as_a_command(document, words):
    other = copy.deepcopy(document)
    for row in other["hosts"]:
        row["reason"] = f"\x1b]0;{words}\r\n\u202e"
    for line in lines(other, "attention"):
        assert line.isprintable() or not any(
            char in line for char in "\x1b\r\n\x00\x07\x08\x9b\u202e\u2028\u2029"
        )


def test_the_answer_as_csv_and_json(document):
    rows = list(csv.DictReader(lines(document, "attention", "csv")))
    assert [row["host"] for row in rows] == ["c", "d"]
    assert lines(document, "hosts[*].name", "csv") == ["a1", "a2", "b", "c", "d"]
    text = "\n".join(lines(document, "hosts[*].name", "json"))
    assert json.loads(text) == ["a1", "a2", "b", "c", "d"]
    # No table, and so JSON.
    assert json.loads("\n".join(lines(document, "plan"))) == document["plan"]


def test_the_answer_in_markdown(document):
    other = copy.deepcopy(document)
    other["hosts"][3]["reason"] = "a | b <b>c</b> `d` @channel"
    said = "\n".join(lines(other, "attention", "markdown"))
    tokens = markdown_it.MarkdownIt().enable("table").parse(said)
    cells = [one.children for one in tokens if one.type == "inline"]
    texts = ["".join(child.content for child in cell) for cell in cells]
    assert texts[:3] == ["host", "verdict", "reason"] and len(texts) == 9
    assert texts[5] == other["hosts"][3]["reason"]
    assert {child.type for cell in cells for child in cell} <= {"text", "text_special"}
    assert lines(other, "hosts[*].name", "markdown")[:3] == ["| answer |", "| --- |", "| a1 |"]
    assert lines(other, "hosts[?name=='x']", "markdown") == ["Nothing matches."]


def test_a_cell_of_the_answer_is_no_formula(document):
    other = copy.deepcopy(document)
    other["hosts"][3]["reason"] = "=1+1"
    [row, _other] = csv.DictReader(lines(other, "attention", "csv"))
    assert row["reason"] == "'=1+1"
    other["hosts"][3]["reason"] = "x\u2028=cmd()\x85=cmd()\x0b=cmd()\x1b[2J"
    said = lines(other, "attention", "csv")
    assert len(said) == 3 and all(line.isprintable() for line in said)
    assert lines(other, '[{"=a": `1`}]', "csv")[0] == "'=a"
    assert all(line.isascii() for line in lines(other, "hosts", "json"))


def test_what_a_selection_has_to_be(document):
    assert query.selected(document, "hosts[?attention].name") == {"c", "d"}
    assert query.selected(document, "attention") == {"c", "d"}
    assert query.selected(document, "hosts[?attention]") == {"c", "d"}
    for question in ("hosts[*].verdict", "length(hosts)", "hosts[*].[name]"):
        with pytest.raises(PlanError, match="which is no host: let it end in names of hosts"):
            query.selected(document, question)
    for question in ("hosts[?verdict=='x'].name", "run.nothing"):
        with pytest.raises(PlanError, match="ksplice_select finds no host"):
            query.selected(document, question)


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda text: text[:-40], "is not a complete record"),
        (lambda text: "", "is not a complete record"),
        (lambda text: "[" * 100000, "is not a complete record"),
        (lambda text: "[]", "is no record of rebootless.ksplice"),
        (lambda text: '{"schema": 1}', "is no record of rebootless.ksplice"),
        (lambda text: text.replace('"schema": 1', '"schema": "1"'), "is no record"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "reads up to 1. Update"),
        (lambda text: text.replace('"name": "b"', '"name": 7'), "is no record"),
        (lambda text: text.replace('"kernel_after": "k2"', '"kernel_after": []'), "is no record"),
        (lambda text: text.replace('"members": ["a1"', '"members": [["a1"]'), "is no record"),
        (lambda text: text.replace('"members": ["a1", "a2"]', '"members": 5'), "is no record"),
        (lambda text: text.replace('"cves_open": []', '"cves_open": "CVE-2026-1"'), "is no record"),
        (lambda text: text.replace('"attention": true', '"attention": [1]'), "is no record"),
    ],
)
def test_a_record_that_is_none(document, tmp_path, spoil, words):
    path = tmp_path / "record.json"
    text = json.dumps(document)
    path.write_text(text)
    assert report.read(str(path))["hosts"] == document["hosts"]
    path.write_text(spoil(text))
    with pytest.raises(PlanError, match=words):
        report.read(str(path))


def test_a_record_that_is_not_there(tmp_path):
    with pytest.raises(PlanError, match="No such file or directory.*ksplice_record"):
        report.read(str(tmp_path / "record.json"))
    with pytest.raises(PlanError, match="cannot be read|no plain file"):
        report.read(str(tmp_path))


@pytest.mark.parametrize(
    "word, hint", [("behnd", "Did you mean behind?"), ("hostss", "Did you mean hosts?"), ("x", "")]
)
def test_a_word_that_is_no_question_is_not_answered_with_nothing(word, hint):
    with pytest.raises(PlanError, match="is neither a name nor a key of the record") as refused:
        query.check(word)
    assert hint in str(refused.value)
    for good in query.KEYS:
        query.check(good)


def test_what_is_not_known_is_told_beside_an_answer_about_open_cves(document):
    assert query.doubt(document, "open_to:CVE-2026-1") == (
        "It is not known which CVEs are open on c (cves_unknown)."
    )
    assert query.doubt(document, "blocked") is None
    known = dict(document, hosts=[row for row in document["hosts"] if row["name"] != "c"])
    assert query.doubt(known, "hosts[?cves_open].name") is None
