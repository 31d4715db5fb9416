# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What the page is made of: its texts, its data and its timeline. How it looks and what it does in
a browser is played in tests/browser.
"""

from __future__ import annotations

import copy
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.page import html, timeline
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.turns import REASON_CODES
from extent import rounds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import rolled  # noqa: E402
from rolled import FAILED, TOP, go, surveyed  # noqa: E402

TEMPLATES = TOP / "roles/report/templates"


@pytest.fixture(scope="module")
def document():
    return rolled.document()


class Read(HTMLParser):
    """A page as a browser reads it: its elements with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.inside = [], [], None
        self.data = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = (tag, dict(attributes))

    def handle_endtag(self, _tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == ("script", {"type": "application/json", "id": "data"}):
            self.data = json.loads(data)
        elif not self.inside or self.inside[0] not in ("script", "style"):
            self.text.append(data)


def page(document):
    return Read(html.page(document, TEMPLATES, "report.html.j2"))


EVIL = [
    "</script><img onerror=alert(1)>",
    "<!--<script>",
    "'\" onload=alert(1) x=",
    "\u2028\u2029\ud800\u202e",
    "{{ config }}",
]
# What a page has only where something needs attention, or is not known.
MORE = {
    ("h3",),
    ("li", "data-row"),
    ("p", "class"),
    ("span", "class"),
    ("bdi",),
    ("ul", "class"),
    ("li",),
}


@pytest.mark.parametrize("words", EVIL)
def test_what_a_host_says_is_no_markup_and_comes_back_as_it_can_be_read(document, words):
    is_text(document, words)


@settings(
    max_examples=rounds(100, 4),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(words=st.text(min_size=1))
def test_whatever_it_says(document, words):
    is_text(document, words)


def is_text(document, words):
    plain = page(document)
    other = copy.deepcopy(document)
    for row in other["hosts"]:
        row.update(reason=words, kernel_after=words, attention=True, groups=[words])
    other["hosts"][0].update(name=words)
    other["run"].update(who=words, id=words)
    found = page(other)
    # Not one element or attribute that is not the template's.
    kinds = {(tag, *sorted(attributes)) for tag, attributes in found.elements}
    assert kinds <= {(tag, *sorted(attributes)) for tag, attributes in plain.elements} | MORE
    shown = html.readable(words)
    assert shown in found.data["values"]
    assert shown[:100].strip() in "".join(found.text).replace("\r", "\n")
    text = html.page(other, TEMPLATES, "report.html.j2")
    assert text.encode()  # no half of a character
    assert not re.search("[\u2028\u2029\u202a-\u202e\ud800-\udfff]", text)


def test_the_data_is_the_record(document):
    """What the script reads is every value of every row, and none of another type."""
    other = copy.deepcopy(document)
    other["hosts"][0].update(stage="null", wave=1, canary=True, role="true", failures=[{"id": 1}])
    other["hosts"][1].update(steps=[{"name": "apply", "after": 1.5, "seconds": None}])
    data = page(other).data
    rows = [
        {key: data["values"][place] for key, place in zip(data["keys"], places) if place >= 0}
        for places in data["rows"]
    ]
    assert rows == other["hosts"]
    for row, known in zip(rows, other["hosts"]):
        assert [type(row[key]) for key in known] == [type(value) for value in known.values()]
    assert data["events"] == [[one["at"], one["host"], one["what"]] for one in other["events"]]


def test_one_file_that_lets_nothing_run_but_its_own_script(document):
    found = page(document)
    for tag, attributes in found.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form[action]")
        assert not {"src", "style", "srcset", "action", "formaction"} & set(attributes), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("href", "#").startswith("#")
    policy = next(
        attributes["content"]
        for _tag, attributes in found.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    script = (TEMPLATES / "report.js").read_text().strip()
    style = (TEMPLATES / "report.css").read_text().strip()
    assert policy == (
        f"default-src 'none'; style-src '{html.digest(style)}'; "
        f"script-src '{html.digest(script)}'; base-uri 'none'; form-action 'none'"
    )
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in script
    assert "url(" not in style and "@import" not in style and "</" not in script + style


def test_the_answer_counts_machines_and_tells_unknown_from_outside():
    hosts = {"a": surveyed("current"), "b": surveyed("current"), "c": surveyed()}
    found = go(hosts, {"c": FAILED}, max_failures=3)[2]
    assert html.answer(found)["counts"].replace("\xa0", " ") == "2 of 3 current, 1 blocked"
    other = copy.deepcopy(found)
    other["hosts"][0].update(verdict="unknown", reason_code="outside_run")
    other["hosts"][1].update(verdict="unknown", reason_code="unknown", cves_open=None)
    other["summary"]["verdicts"].update(current=0, unknown=2)
    answer = html.answer(other)
    assert answer["counts"].replace("\xa0", " ") == (
        "0 of 3 current, 1 blocked, 1 unknown, 1 outside this run"
    )
    assert answer["open_unknown"] == 1 and not answer["calm"]


def test_attention_is_grouped_by_reason_most_urgent_first_and_bounded():
    rows = [
        {"name": f"h{at}", "attention": True, "reason_code": code, "reason": "x" * 999}
        for at, code in enumerate(["behind"] * 8 + ["stuck", "of_tomorrow"])
    ]
    rows = [dict(row, groups=[]) for row in rows] + [dict(rows[0], attention=False)]
    found = html.attention(rows)
    assert [(one["code"], one["count"]) for one in found] == [
        ("stuck", 1),
        ("behind", 8),
        ("of_tomorrow", 1),
    ]
    assert len(found[1]["hosts"]) == html.HOSTS and found[1]["hosts"][0]["row"] == 0
    assert len(found[1]["hosts"][0]["reason"]) == html.LONG
    assert found[2]["title"] == "of_tomorrow"


def test_every_code_of_a_reason_has_a_heading():
    assert set(html.REASONS) == set(REASON_CODES)
    assert len(set(html.REASONS.values())) == len(html.REASONS)


def test_cves_are_counted_once_for_each_machine():
    row = {"alias_of": None, "cves_fixed": ["CVE-2026-2"], "cves_open": ["CVE-2026-10"]}
    rows = [row, dict(row, alias_of="a"), dict(row, cves_open=None)]
    assert html.cves(rows) == [
        {"cve": "CVE-2026-10", "fixed": 0, "open": 1},
        {"cve": "CVE-2026-2", "fixed": 2, "open": 0},
    ]


# ---- the timeline ----


def claimed(count, group=lambda number: [f"g{number // 2}"], **keys):
    """A record of hosts that were claimed one after the other, for three seconds each."""

    def at(seconds):
        return f"2026-11-22T{3 + seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z"

    common = {"attention": False, "still_drained": False, "canary": False, "wave": 1}
    rows = [
        dict(
            common,
            name=f"h{number}",
            groups=group(number),
            started=at(3 * number),
            ended=at(3 * number + 3),
        )
        for number in range(count)
    ]
    rows[0].update(keys)
    return {"run": {"ended": at(3 * count + 60)}, "hosts": rows}


def test_a_lane_for_each_group_and_each_host_without_one():
    found = timeline.timeline(claimed(5, lambda number: [f"g{number // 2}"] if number < 4 else []))
    assert [(lane["name"], lane["group"], lane["hosts"]) for lane in found["lanes"]] == [
        ("g0", True, 2),
        ("g1", True, 2),
        ("h4", False, 1),
    ]
    first, second = found["lanes"][0]["bars"]
    assert (first["x"], first["width"], first["room"]) == (0, 20, 0)
    assert (second["x"], second["level"]) == (20, 0) and found["lanes"][0]["levels"] == 1
    assert found["waves"] == [{"wave": 1, "x": 0, "width": 100, "hosts": 5}]
    assert [tick["at"] for tick in found["ticks"]][:2] == ["03:00:00", "03:00:03"]
    assert timeline.timeline({"hosts": [], "run": {}}) is None


def test_bars_that_overlap_are_one_above_the_other():
    record = claimed(3, lambda _number: ["g"])
    record["hosts"][1]["started"] = record["hosts"][0]["started"]
    bars = timeline.timeline(record)["lanes"][0]
    assert bars["levels"] == 2 and sorted(bar["level"] for bar in bars["bars"]) == [0, 0, 1]


def test_a_host_that_is_still_drained_reaches_to_the_end_of_the_run():
    found = timeline.timeline(claimed(2, still_drained=True, attention=True))
    bar = found["lanes"][0]["bars"][0]
    assert bar["out"] and bar["x"] + bar["width"] == 100 and found["seconds"] == 66


def test_names_that_sort_alike_have_lanes_of_their_own():
    record = claimed(2, lambda number: [("g1", "g01")[number]])
    assert [lane["name"] for lane in timeline.timeline(record)["lanes"]] == ["g1", "g01"]


@pytest.mark.parametrize("pairs", [60, 61, 500])
def test_above_sixty_lanes_those_in_trouble_stay_and_the_others_are_counted(pairs):
    record = claimed(2 * pairs)
    for row in record["hosts"][:6:2]:
        row["attention"] = True
    lanes = timeline.timeline(record)["lanes"]
    if pairs == 60:
        assert len(lanes) == 60 and not any(lane["columns"] for lane in lanes)
        return
    assert [lane["name"] for lane in lanes] == [f"{pairs - 3} other groups", "g0", "g1", "g2"]
    columns = lanes[0]["columns"]
    assert lanes[0]["hosts"] == 2 * pairs - 6 and max(one["share"] for one in columns) == 100
    assert len(columns) <= timeline.COLUMNS and not lanes[0]["bars"]
    # Each host is in at least one column, and no column has more than there are.
    assert sum(one["hosts"] for one in columns) >= lanes[0]["hosts"]


def test_more_trouble_than_there_is_room_for_is_counted_in_red():
    record = claimed(400)
    for row in record["hosts"]:
        row["attention"] = True
    lanes = timeline.timeline(record)["lanes"]
    assert len(lanes) == 59 and lanes[0]["name"] == "142 other groups"
    assert all(one["attention"] == one["hosts"] for one in lanes[0]["columns"])


def test_a_lane_of_too_many_hosts_is_counted_too():
    lanes = timeline.timeline(claimed(90, lambda _number: ["big"]))["lanes"]
    assert len(lanes) == 1 and lanes[0]["columns"] and not lanes[0]["bars"]


def test_the_service_beside_the_hosts_bounded_and_escaped(document):
    finding = {"kind": "not_at_service", "host": "a1", "uuid": None, "what": EVIL[0]}
    finding["advice"] = "Look at it."
    counts = {"error": None, "machines": 7, "active": 6, "seats": 5, "matched": 4}
    found = page(dict(document, service=dict(counts, findings=[finding] * 250)))
    text = " ".join("".join(found.text).split())
    assert "5 seats used" in text and text.count(EVIL[0]) == html.FINDINGS
    assert f"And {250 - html.FINDINGS} findings more" in text
    text = "".join(page(dict(document, service=dict(counts, findings=[]))).text)
    assert "Nothing disagrees." in text
    text = "".join(page(dict(document, service={"error": "It gave no answer."})).text)
    assert "could not be asked: It gave no answer." in text and "Nothing disagrees." not in text
    assert "The service's view" not in "".join(page(document).text)


def test_a_record_of_several_runs_says_so(document):
    run = dict(document["run"], merged_from=[document["run"]] * 3)
    text = "".join(page(dict(document, run=run)).text)
    assert "Several runs." in text and "the newest of 3 runs that asked it" in text
