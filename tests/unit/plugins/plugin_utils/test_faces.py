# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The record in other formats, read by programs that are not ours: csv, junitparser, promtool,
markdown-it, whatever the hosts had said.
"""

from __future__ import annotations

import copy
import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import junitparser
import markdown_it
import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import faces, records
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError
from extent import rounds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import rolled  # noqa: E402

EVIL = (
    "=cmd|' /C calc'!A0",
    "a | b `c` *d* _e_ <img src=x onerror=alert(1)> @channel",
    '"; x',
    "]]></failure>\x00\x0b\ud800",
    "line\nbreak",
    "https://evil.example/?q=1 www.evil.example",
    "{{ lookup('pipe', 'id') }}",
)


@pytest.fixture(scope="module")
def document():
    return rolled.document()


def spoilt(document, words):
    """The record of hosts that say this."""
    other = copy.deepcopy(document)
    for row in other["hosts"]:
        row.update(reason=words, attention=True, kernel_after=words, groups=[words])
    other["hosts"][0]["name"] = words
    other["run"].update(who=words)
    return other


words = st.one_of(st.sampled_from(EVIL), st.text(min_size=1))
example = settings(
    max_examples=rounds(300, 15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def table(document):
    return list(csv.DictReader(io.StringIO(faces.csv(document), newline="")))


def test_the_table_has_a_line_for_each_host(document):
    lines = table(document)
    assert [line["name"] for line in lines] == [row["name"] for row in document["hosts"]]
    by_name = {line["name"]: line for line in lines}
    assert by_name["a1"]["verdict"] == "current" and by_name["a1"]["installed"] == "aaaa"
    assert by_name["a1"]["attention"] == "no" and by_name["d"]["attention"] == "yes"
    assert by_name["c"]["kernel_booted"] == ""


@example
@given(words)
def test_no_cell_of_the_table_is_a_formula(document, text):
    for row, line in zip(spoilt(document, text)["hosts"], table(spoilt(document, text))):
        assert line["reason"].lstrip("'") == row["reason"].lstrip("'")
        for value in line.values():
            assert not value.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_the_test_report_has_a_case_for_each_host(document):
    [suite] = junitparser.JUnitXml.fromstring(faces.junit(document).encode())
    cases = {case.name: case for case in suite}
    assert (suite.tests, suite.failures, suite.skipped) == (5, 2, 0)
    assert cases["a1"].is_passed and cases["a1"].classname == "ksplice.a"
    assert cases["a1"].time == pytest.approx(2.5)
    [failure] = cases["d"].result
    assert failure.type == "apply_failed" and "It would not go in." in failure.message
    [failure] = cases["c"].result
    assert failure.type == "unreachable"


@example
@given(words)
def test_the_test_report_is_xml_whatever_a_host_says(document, text):
    [suite] = junitparser.JUnitXml.fromstring(faces.junit(spoilt(document, text)).encode())
    shown = faces.NOT_XML.sub("\ufffd", text)
    for case in suite:
        [failure] = case.result
        # Readers of XML make blanks of what a line ends with, in attributes.
        assert failure.message.split() == shown.split()


def values(document):
    found = {}
    for line in faces.metrics(document).splitlines():
        if not line.startswith("#"):
            name, _blank, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def test_the_metrics_count(document):
    found = values(document)
    assert found['ksplice_hosts{verdict="current"}'] == 3
    assert found['ksplice_hosts{verdict="blocked"}'] == 1
    assert found['ksplice_hosts{verdict="unreachable"}'] == 1
    assert found['ksplice_hosts{verdict="behind"}'] == 0
    assert found["ksplice_hosts_attention"] == 2 and found["ksplice_hosts_patched"] == 1
    assert found["ksplice_cves_fixed"] == 1 and found["ksplice_cves_open"] == 1
    assert found["ksplice_run_end_timestamp_seconds"] == 1795316460
    assert "ksplice_run_end_timestamp_seconds" not in values(
        dict(document, run=dict(document["run"], ended=None))
    )


def test_leases_that_cannot_be_read_are_counted_and_have_no_age(document):
    other = copy.deepcopy(document)
    unread = {"run": None, "age": None, "own": None, "reason": "It cannot be read.", "stale": None}
    for row in other["hosts"][1:3]:
        row.update(lease=unread, started=None)
    found = values(other)
    assert found["ksplice_hosts_lease_unreadable"] == 2
    assert found["ksplice_lease_oldest_age_seconds"] == 0


def test_a_large_fleet_has_no_more_series(document):
    """Nothing of a single host is a label."""
    assert set(values(spoilt(document, EVIL[0]))) == set(values(document))
    many = dict(document, hosts=document["hosts"] * 100)
    assert set(values(many)) == set(values(document))


SERVICE = {
    "error": None,
    "machines": 7,
    "active": 6,
    "seats": 5,
    "matched": 4,
    "findings": [
        {"kind": kind, "host": None, "uuid": "u", "what": EVIL[0], "advice": "Look."}
        for kind in ("silent", "silent", "denied")
    ],
}


def with_service(document):
    return dict(document, service=SERVICE)


def test_what_the_service_says_is_counted_and_told(document):
    found = values(with_service(document))
    assert found["ksplice_service_up"] == 1 and found["ksplice_service_seats"] == 5
    assert found['ksplice_service_findings{kind="silent"}'] == 2
    assert found['ksplice_service_findings{kind="clone"}'] == 0
    assert "5 seats used, 4 matched to hosts, 3 findings" in faces.markdown(with_service(document))
    # That it did not answer is not that it found nothing.
    lost = dict(document, service={"error": "It gave no answer."})
    found = values(lost)
    assert found["ksplice_service_up"] == 0 and "ksplice_service_seats" not in found
    assert "could not be asked" in faces.markdown(lost)
    for one in (with_service(document), lost):
        jsonschema.validate(one, rolled.SCHEMA)
        assert records.understood(copy.deepcopy(one), "x", "")["service"] == one["service"]
    assert not any("service" in name for name in values(document))


def test_prometheus_takes_the_metrics(document):
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed. On Debian: apt-get install prometheus")
    for one in (document, spoilt(document, EVIL[3]), with_service(document)):
        done = subprocess.run(
            ["promtool", "check", "metrics"],
            input=faces.metrics(one),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def rendered(document):
    reader = markdown_it.MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table")
    return reader.parse(faces.markdown(document))


def texts(tokens):
    """The text of each cell, and the kinds of everything in it."""
    found, kinds = [], set()
    for one in tokens:
        if one.type == "inline":
            found.append("".join(child.content for child in one.children))
            kinds |= {child.type for child in one.children}
    return found, kinds


def test_the_message_has_what_needs_attention_and_nothing_else(document):
    found, _kinds = texts(rendered(document))
    assert found[0] == "Ksplice patch: 3 current, 1 blocked, 1 unreachable"
    rows = [found[at : at + 3] for at in range(found.index("host"), len(found) - 1, 3)]
    assert [row[0] for row in rows] == ["host", "c", "d"]
    assert "It would not go in." in rows[2][2]


@example
@given(words)
def test_the_message_shows_what_a_host_says_as_it_is(document, text):
    found, kinds = texts(rendered(spoilt(document, text)))
    assert kinds <= {"text", "text_special", "strong_open", "strong_close"}
    assert "@" not in faces.markdown(spoilt(document, text))
    shown = " ".join(text.split()).replace("\x00", "\ufffd")
    if shown:
        assert [" ".join(one.split()) for one in found].count(shown) >= 5


def test_a_message_of_a_large_fleet_is_bounded(document):
    needy = [dict(row, attention=True) for row in document["hosts"]] * 1000
    text = faces.markdown(dict(document, hosts=needy))
    assert len(text.splitlines()) < 50 and "And 4970 more that need attention." in text


def test_the_statistics_are_bounded_and_have_what_needs_attention_first(document):
    rows = [
        dict(row, name=f"{row['name']}-{number}")
        for number in range(200)
        for row in document["hosts"]
    ]
    found = faces.stats(dict(document, hosts=rows))
    assert len(found["ksplice_hosts"]) == 500 and found["ksplice_hosts_left_out"] == 500
    assert list(found["ksplice_hosts"])[0] == "c-0"
    assert found["ksplice_hosts"]["d-7"] == {
        "verdict": "blocked",
        "reason_code": "apply_failed",
        "kernel_booted": "k9",
        "kernel_before": "k1",
        "kernel_after": "k1",
    }


@pytest.mark.parametrize("formats", ["csv,pdf", ["pdf"], [1], {"csv": 1}, 3])
def test_formats_that_are_none(formats):
    with pytest.raises(PlanError, match="give some of html, csv, junit, metrics, markdown"):
        faces.wanted(formats)


def test_formats_as_text_or_list():
    assert faces.wanted("csv, junit") == faces.wanted(["csv", "junit"]) == ["csv", "junit"]
    assert faces.wanted("") == faces.wanted([]) == []
