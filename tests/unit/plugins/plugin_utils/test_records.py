# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Records of several runs as one, what changed between them, and records of other versions."""

from __future__ import annotations

import copy
import itertools
import json
import sys
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import (
    faces,
    query,
    record,
    records,
    report,
)
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.page import html
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError
from extent import rounds
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
import rolled  # noqa: E402

TEMPLATES = rolled.TOP / "roles/report/templates"
M = "a" * 16
OF_NO_RUN = {"reason_code": "outside_run", "verdict": "unknown", "reason": "Not surveyed."}
UNKNOWN = dict.fromkeys(("kernel_before", "kernel_after", "remaining", "cves_open", "host_id"))


@pytest.fixture(scope="module")
def document():
    return rolled.document()


def of_day(document, day, hosts=None, **run):
    """The record as if it were of another run, on a day of November.

    :param hosts: name to what its row has in that run.
    """
    other = copy.deepcopy(document)
    at = f"2026-11-{day:02}T0"
    other["run"].update(id=f"run{day}", started=f"{at}3:00:00Z", ended=f"{at}4:00:00Z", **run)
    for event in other["events"]:
        event["at"] = other["run"]["started"]
    for row in other["hosts"]:
        row.update(started=None, ended=None)
        row.update((hosts or {}).get(row["name"], {}))
    other["summary"] = record.summary(other["hosts"])
    return other


def only(document, *names):
    """What a slice says that had these hosts in its run."""
    found = copy.deepcopy(document)
    for row in found["hosts"]:
        if row["name"] not in names:
            row.update(OF_NO_RUN, **UNKNOWN, attention=False, started=None, ended=None)
            row.update({key: [] for key in records.DONE})
    return found


def rows(document):
    return {row["name"]: row for row in document["hosts"]}


def sound(document):
    """The record, once the schema and every format have taken it."""
    jsonschema.validate(document, rolled.SCHEMA)
    assert records.understood(json.loads(json.dumps(document)), "x", "") == document
    for _file, face in faces.FORMATS.values():
        assert face(document) if face else html.page(document, TEMPLATES, "report.html.j2")
    assert record.lines(document) and faces.stats(document)
    for named in query.NAMED:
        value = {"open_to": ":x", "behind_longer": ":3"}.get(named, "")
        assert isinstance(query.ask(document, f"{named}{value}"), list)
    return document


def test_slices_of_a_job_are_one_fleet(document):
    """Each host's row is that of the slice that had it, whichever record comes first."""
    one = of_day(only(document, "a1", "a2"), 1)
    two = of_day(only(document, "b", "c", "d"), 1)
    two["run"].update(id="other", started="2026-11-01T03:00:01Z")
    merged = sound(records.merge([one, two]))
    assert merged == records.merge([two, one])
    for name, row in rows(merged).items():
        of = one if name in ("a1", "a2") else two
        assert row["run"] == of["run"]["id"] and row["wave"] is None
        assert row == dict(rows(of)[name], run=row["run"], wave=None)
    assert merged["summary"] == record.summary(document["hosts"])
    run = merged["run"]
    assert [one["id"] for one in run["merged_from"]] == ["run1", "other"]
    assert (run["kind"], run["started"], run["ended"]) == (
        "patch",
        "2026-11-01T03:00:00Z",
        "2026-11-01T04:00:00Z",
    )
    assert merged["plan"] == {
        "hash": None,
        "waves": None,
        "canaries": None,
        "groups": document["plan"]["groups"],
    }


def test_a_host_that_no_slice_had_stays_outside(document):
    merged = sound(records.merge([of_day(only(document, "a1"), day, check=True) for day in (1, 2)]))
    assert rows(merged)["b"]["reason_code"] == "outside_run" and merged["run"]["check"]
    assert rows(merged)["b"]["cves_open"] is None and rows(merged)["b"]["reason"] == "Not surveyed."


def test_a_week_has_the_newest_state_and_all_that_was_done(document):
    first = {
        "d": {
            "installed": ["one"],
            "cves_fixed": ["CVE-1"],
            "kernel_before": "k0",
            "kernel_after": "k1",
            "started": "2026-11-01T03:10:00Z",
            "ended": "2026-11-01T03:11:00Z",
            "attention": True,
        },
        "b": {"kernel_before": None},
    }
    second = {
        "d": {
            "installed": ["two", "one"],
            "removed": ["old"],
            "rolled_back": ["two"],
            "cves_fixed": ["CVE-2"],
            "kernel_before": "k1",
            "kernel_after": "k2",
            "started": "2026-11-02T03:10:00Z",
            "ended": "2026-11-02T03:11:00Z",
        }
    }
    last = {
        "d": {
            "verdict": "current",
            "attention": False,
            "kernel_before": "k2",
            "kernel_after": "k2",
            "cves_open": [],
            "reason": "Nothing is waiting.",
        },
        "b": {"verdict": "unreachable", "kernel_after": None, "kernel_before": None},
    }
    merged = sound(
        records.merge(
            [of_day(document, 3, last), of_day(document, 1, first), of_day(document, 2, second)]
        )
    )
    row = rows(merged)["d"]
    assert (row["installed"], row["removed"]) == (["one", "two"], ["old"])
    assert (row["rolled_back"], row["cves_fixed"]) == (["two"], ["CVE-1", "CVE-2"])
    assert (row["kernel_before"], row["kernel_after"]) == ("k0", "k2")
    assert (row["verdict"], row["attention"], row["cves_open"]) == ("current", False, [])
    # When it was claimed last, so that its bar in the picture is no week long.
    assert row["started"] == "2026-11-02T03:10:00Z" and row["run"] == "run3"
    # What is not known now is not what was known before.
    assert rows(merged)["b"]["verdict"] == "unreachable" and not rows(merged)["b"]["kernel_after"]
    assert [event["at"] for event in merged["events"]] == sorted(
        event["at"] for event in merged["events"]
    )
    assert len(merged["events"]) == 3 * len(document["events"])


def test_a_host_that_later_runs_did_not_ask_says_as_of_when_it_is_known(document):
    merged = sound(
        records.merge([of_day(document, 1), of_day(only(document, "b", "c", "d", "a2"), 2)])
    )
    told = " As of 2026-11-01T03:00:00Z: no later run asked this host."
    assert rows(merged)["a1"]["reason"] == rows(document)["a1"]["reason"] + told
    assert rows(merged)["a2"]["reason"] == rows(document)["a2"]["reason"]
    # Not once more when it is merged again, and a host that has gone stays in the record.
    again = of_day(only(document, "a2"), 3)
    again["hosts"] = [row for row in again["hosts"] if row["name"] != "b"]
    more = sound(records.merge([merged, again]))
    assert rows(more)["a1"]["reason"].count("As of") == 1
    assert rows(more)["b"]["reason"].endswith(
        "As of 2026-11-02T03:00:00Z: no later run asked this host."
    )
    assert [run["id"] for run in more["run"]["merged_from"]] == ["run1", "run2", "run3"]


def test_two_states_of_one_run_are_one_run(document):
    early = of_day(document, 1)
    early["run"]["ended"] = None
    early["hosts"][0].update(verdict="behind", reason_code="under_way")
    late = of_day(document, 1)
    assert records.merge([late, early]) == records.merge([early, late]) == late
    other = of_day(only(document, "d"), 2)
    merged = sound(records.merge([late, other, early]))
    assert len(merged["run"]["merged_from"]) == 2 and merged["run"]["ended"]
    assert rows(merged)["a1"]["verdict"] == "current"
    # Also where one of them is in a merged record already.
    assert records.merge([records.merge([early, other]), late]) == merged


def test_a_run_that_did_not_end_is_open_until_another_has_resumed_it(document):
    killed = of_day(document, 1)
    killed["run"]["ended"] = None
    assert sound(records.merge([killed, of_day(document, 2)]))["run"]["ended"] is None
    resumed = of_day(document, 2, resumed_from=["run1", "earlier"])
    run = sound(records.merge([killed, resumed]))["run"]
    assert run["ended"] == "2026-11-02T04:00:00Z" and run["resumed_from"] == ["earlier"]


def test_kinds_of_runs(document):
    status = [of_day(document, day, kind="status") for day in (1, 2)]
    assert records.merge(status)["run"]["kind"] == "status"
    assert records.merge([status[0], of_day(document, 3)])["run"]["kind"] == "patch"
    rehearsed = of_day(document, 4, kind="rehearsal")
    twice = records.merge([rehearsed, of_day(document, 5, kind="rehearsal")])
    assert sound(twice)["run"]["kind"] == "rehearsal"
    for work in (records.merge, lambda two: records.compare(*two)):
        with pytest.raises(
            PlanError, match="The run run4 is a rehearsal, whose hosts are emulated"
        ):
            work([status[0], rehearsed])


def test_names_of_one_machine_that_different_runs_had(document):
    """What was done under both names is in the row of the one that was known last."""
    first = of_day(only(document, "a1"), 1, {"a1": {"host_id": M, "installed": ["one"]}})
    done = {"started": "2026-11-01T03:10:00Z", "ended": "2026-11-01T03:11:00Z"}
    rows(first)["a1"].update(done)
    second = of_day(only(document, "b"), 2, {"b": {"host_id": M, "installed": ["two"]}})
    merged = sound(records.merge([second, first]))
    alias, main = rows(merged)["a1"], rows(merged)["b"]
    assert alias["alias_of"] == "b" and not alias["installed"] and not alias["started"]
    assert main["installed"] == ["one", "two"] and main["started"] == done["started"]
    assert alias["verdict"] == main["verdict"] and merged["summary"]["aliases"] == 1


def test_an_alias_whose_name_did_the_work_in_a_later_run(document):
    alias = {"alias_of": "b", "reason_code": "alias", "installed": []}
    first = of_day(document, 1, {"a1": alias, "b": {"installed": ["one"]}})
    second = of_day(only(document, "a1", "c"), 2, {"a1": {"installed": ["two"]}})
    merged = sound(records.merge([first, second]))
    # The later run did not see that they are one: each has what it did itself.
    assert rows(merged)["a1"]["alias_of"] is None and rows(merged)["a1"]["installed"] == ["two"]
    third = of_day(document, 3, {"b": dict(alias, alias_of="a1")})
    merged = sound(records.merge([first, second, third]))
    assert rows(merged)["b"]["alias_of"] == "a1"
    assert rows(merged)["a1"]["installed"] == ["one", "two", "aaaa"]
    fourth = of_day(only(document, "a1", "d"), 4, {"a1": dict(alias, alias_of="d")})
    merged = sound(records.merge([first, second, third, fourth]))
    assert rows(merged)["b"]["alias_of"] == rows(merged)["a1"]["alias_of"] == "d"


def test_a_lease_of_another_run_is_not_hidden_by_an_earlier_claim(document):
    lease = {"run": "x", "host": "b", "own": True, "age": 7, "stale": False, "reason": "patching"}
    lease.update(phase="turn", since=None, seconds=600)
    claimed = {"started": "2026-11-01T03:10:00Z", "ended": "2026-11-01T03:11:00Z"}
    merged = sound(
        records.merge(
            [of_day(document, 1, {"b": claimed}), of_day(document, 2, {"b": {"lease": lease}})]
        )
    )
    assert "ksplice_hosts_claimed 1\n" in faces.metrics(merged)


NAMES = ("a1", "a2", "b", "c", "d")
RUNS = st.lists(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.fixed_dictionaries(
            {
                "host_id": st.sampled_from([None, M, "b" * 16]),
                "installed": st.lists(st.sampled_from("xyz"), unique=True),
                "cves_open": st.sampled_from([None, [], ["CVE-1"], ["CVE-1", "CVE-2"]]),
                "verdict": st.sampled_from(["current", "behind", "unknown"]),
                "attention": st.booleans(),
            }
        ),
    ),
    min_size=1,
    max_size=4,
)


# Its examples are small as they are.
@settings(max_examples=rounds(300, 15), deadline=None, phases=[Phase.generate])
@given(RUNS, st.randoms())
def test_whatever_the_runs_had_they_are_a_sound_record(document, runs, random):
    documents = [of_day(only(document, *hosts), day, hosts) for day, hosts in enumerate(runs, 1)]
    merged = sound(records.merge(documents))
    shuffled = random.sample(documents, len(documents))
    assert records.merge(shuffled) == merged
    # One more of what is in it changes nothing.
    for one in documents:
        again = records.merge([merged, one])
        assert again["hosts"] == merged["hosts"] and again["events"] == merged["events"]
    assert records.compare(merged, merged) == []
    for name in NAMES:
        was = [hosts[name] for hosts in runs if name in hosts]
        row = rows(merged)[name]
        if was and not row["alias_of"]:
            assert (row["verdict"], row["cves_open"]) == (was[-1]["verdict"], was[-1]["cves_open"])
            assert set(row["installed"]) >= {one for of in was for one in of["installed"]}


def changes(before, after):
    return [tuple(one.values()) for one in records.compare(before, after)]


def test_what_changed(document):
    before = of_day(document, 1, {"d": {"cves_open": ["CVE-1", "CVE-2"], "host_id": M}})
    after = of_day(
        document,
        2,
        {
            "a1": {"kernel_after": "k3"},
            "b": {"verdict": "behind", "attention": True, "reason": "Why."},
            "d": {"cves_open": ["CVE-2", "CVE-3"]},
        },
    )
    assert changes(before, after) == [
        ("a1", "kernel", "k2", "k3"),
        ("b", "verdict", "current", "behind"),
        ("b", "attention", None, "Why."),
        ("d", "cves_opened", None, ["CVE-3"]),
        ("d", "cves_closed", ["CVE-1"], None),
    ]
    assert ("b", "attention_gone", "Why.", None) in changes(after, before)


def test_unknown_is_neither_new_nor_gone(document):
    unknown = of_day(document, 1, {"b": {"cves_open": None, "kernel_after": None}})
    known = of_day(document, 2, {"b": {"cves_open": ["CVE-1"], "kernel_after": "k1"}})
    assert changes(unknown, known) == [
        ("b", "kernel", None, "k1"),
        ("b", "cves_known", None, ["CVE-1"]),
    ]
    assert changes(known, unknown) == [
        ("b", "kernel", "k1", None),
        ("b", "cves_unknown", ["CVE-1"], None),
    ]
    # That there are none is an answer, too.
    nothing = of_day(document, 2, {"b": {"cves_open": [], "kernel_after": "k1"}})
    assert ("b", "cves_known", None, []) in changes(unknown, nothing)
    assert changes(unknown, unknown) == []
    shown = records.shown(records.compare(unknown, known))
    assert [one["before"] for one in shown] == ["unknown", "unknown"]


def test_a_host_that_a_run_did_not_ask_has_not_changed(document):
    whole, part = of_day(document, 1), of_day(only(document, "a1", "b"), 2)
    assert changes(whole, part) == [
        ("a2", "not_asked", "current", None),
        ("c", "not_asked", "unreachable", None),
        ("d", "not_asked", "blocked", None),
    ]
    assert changes(part, whole) == [
        ("a2", "asked", None, "current"),
        ("a2", "cves_known", None, ["CVE-2026-1"]),
        ("c", "asked", None, "unreachable"),
        ("c", "attention", None, rows(whole)["c"]["reason"]),
        ("d", "asked", None, "blocked"),
        ("d", "cves_known", None, ["CVE-2026-1"]),
        ("d", "attention", None, rows(whole)["d"]["reason"]),
    ]
    assert changes(part, part) == []


def test_hosts_that_came_went_and_have_another_name(document):
    before = of_day(document, 1, {"d": {"host_id": M}})
    after = of_day(document, 2, {"d": {"host_id": M, "verdict": "current"}})
    after["hosts"] = [row for row in after["hosts"] if row["name"] != "c"]
    rows(after)["d"]["name"] = "e"
    after["hosts"].append(dict(rows(after)["b"], name="f"))
    assert changes(before, after) == [
        ("c", "went", "unreachable", None),
        ("e", "renamed", "d", "e"),
        ("e", "verdict", "blocked", "current"),
        ("f", "came", None, "current"),
        ("f", "cves_known", None, ["CVE-2026-1"]),
    ]


def test_an_alias_changes_with_the_name_that_has_the_outcome(document):
    alias = {"alias_of": "b", "reason_code": "alias", "attention": False, "verdict": "behind"}
    before = of_day(document, 1)
    after = of_day(document, 2, {"a1": alias, "b": {"verdict": "behind"}})
    assert changes(before, after) == [
        ("a1", "alias_of", None, "b"),
        ("b", "verdict", "current", "behind"),
    ]


def test_a_record_of_a_former_schema_is_read_step_by_step(document):
    """As if there had been two schemas before this one."""

    def from_1(old):
        return dict(old, schema=2, run=dict(old["run"], who=old["run"].pop("user")))

    def from_2(old):
        rows = [dict(row, reason=row.pop("why")) for row in old["hosts"]]
        return dict(old, schema=3, hosts=rows)

    old = copy.deepcopy(document)
    old["run"]["user"] = old["run"].pop("who")
    for row in old["hosts"]:
        row["why"] = row.pop("reason")
    found = records.understood(copy.deepcopy(old), "x", "", 3, {1: from_1, 2: from_2})
    assert found == dict(document, schema=3)
    with pytest.raises(PlanError, match="x is no record of rebootless.ksplice"):
        records.understood(copy.deepcopy(old), "x", "", 3, {2: from_2})
    with pytest.raises(PlanError, match=r"has schema 4, .*this one reads up to 3. Update"):
        records.understood(dict(old, schema=4), "x", "", 3, {1: from_1, 2: from_2})


def test_every_former_schema_has_its_upgrade():
    assert set(records.UPGRADES) == set(range(1, record.SCHEMA))
    assert rolled.SCHEMA["properties"]["schema"]["const"] == record.SCHEMA


def test_keys_that_came_later_are_null_in_an_earlier_record(document):
    old = copy.deepcopy(document)
    later = [key for key in faces.COLUMNS if key not in faces.ALWAYS and key != "verdict"]
    for row in old["hosts"]:
        for key in {*later, "lease", "host_id", "behind_days", "uuid", "steps", "restored"}:
            del row[key]
    found = records.understood(old, "x", "")
    assert all(row[key] is None for row in found["hosts"] for key in later)
    for one in (found, records.merge([of_day(found, 1), of_day(found, 2)])):
        sound(one)
    # And keys of a later one are kept.
    new = copy.deepcopy(document)
    new["hosts"][0]["of_later"] = new["run"]["of_later"] = [1]
    assert records.understood(copy.deepcopy(new), "x", "") == new


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda one: one["hosts"][1].update(name="a1"), "a host has two rows"),
        (lambda one: one["hosts"][1].update(alias_of="x"), "no row of its own"),
        (lambda one: one["hosts"][1].update(alias_of="a2"), "no row of its own"),
        (
            lambda one: one["hosts"][1].update(started="now"),
            r"hosts\[1\].started is not a time|time",
        ),
        (lambda one: one["hosts"][1].update(installed=None), "is not a list"),
        (lambda one: one["hosts"][1].update(verdict="fine"), "is not one of current"),
        (lambda one: one["hosts"][1].update(lease="x"), "is not a mapping"),
        (lambda one: one["events"][0].update(at=7), "is not a string"),
        (lambda one: one["events"][0].update(what=None), "is not a string"),
        (lambda one: one["run"].update(kind="other"), "is not one of patch"),
        (lambda one: one["run"].update(ended="2026-13-01T00:00:00Z"), "is not a time"),
        (lambda one: one["run"].update(merged_from=[{}]), "is not a string"),
        (lambda one: one.update(events={}), "is not a list"),
        (lambda one: one.update(plan=None), "is not a mapping"),
        (lambda one: one.update(options=[]), "is not a mapping"),
        (lambda one: one.update(schema=True), "is no record"),
        (lambda one: one.update(schema=0), "is no record"),
        (lambda one: one.update(schema=2), "reads up to 1"),
    ],
)
def test_a_record_that_is_none(document, spoil, words):
    spoilt = copy.deepcopy(document)
    spoil(spoilt)
    with pytest.raises(PlanError, match=f"^FILE .*{words}.*") as refused:
        records.understood(spoilt, "FILE", "Advice.")
    assert "\n" not in str(refused.value)


def test_files_directories_and_patterns(tmp_path):
    for name in ("a.json", "b.json", "week/1/record.json", "week/2/record.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")

    def found(*given):
        return [
            str(Path(path).relative_to(tmp_path))
            for path in report.find([f"{tmp_path}/{one}" for one in given], "ksplice_records")
        ]

    weeks = ["week/1/record.json", "week/2/record.json"]
    assert found("b.json", "a.json", "b.json") == ["b.json", "a.json"]
    assert found("week/*") == found("week/**/record.json") == found("week/1", "week/2") == weeks
    for wrong in ("c.json", "no/*"):
        with pytest.raises(PlanError, match=f"ksplice_records: there is no file .*{wrong[0]}"):
            found("a.json", wrong)
    for nothing in ([], ["", " "]):
        with pytest.raises(PlanError, match=r"Give records \(ksplice_records\)"):
            report.find(nothing, "ksplice_records")


@pytest.mark.parametrize("size", [20, 80])
def test_merging_costs_the_same_for_each_host(document, size):
    """Counted, as in test_growth: rows that are looked at, not seconds."""
    looks = itertools.count()

    class Row(dict):
        def __getitem__(self, key):
            next(looks)
            return dict.__getitem__(self, key)

    days = []
    for day in (1, 2, 3):
        one = of_day(document, day)
        one["hosts"] = [
            Row(row, name=f"{row['name']}-{number}", host_id=f"{row['name']}-{number}")
            for number in range(size)
            for row in one["hosts"]
        ]
        days.append(one)
    records.compare(days[0], records.merge(days))
    assert next(looks) < 3 * 5 * size * 60
