# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The steps of a rollout and its record, as pure functions of hosts' variables."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from ansible_collections.rebootless.ksplice.plugins.module_utils import facts
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import record, rollout

TOP = Path(__file__).resolve().parents[4]
AT = "2026-11-22T03:00:00Z"
LATER = "2026-11-22T03:00:10.500000Z"
SCHEMA = json.loads((TOP / "docs" / "record.schema.json").read_text())


def surveyed(verdict="behind", build="k1", name="CVE-2026-1: x.", **variables):
    seen = facts.nothing(verdict, "Because.")
    seen["kernel"].update(booted=build, version="v", machine="m", effective=build)
    seen["updates"].update(installed=[], available=[{"id": "aaaa", "name": name, "cves": ["CVE-2026-1"]}])
    seen["cves"].update(fixed=[], open=["CVE-2026-1"])
    return dict(variables, ksplice_survey={"ansible_facts": {"uptrack": seen}})


def unreachable(**variables):
    return dict(variables, ksplice_survey={"unreachable": True, "msg": "Task failed: no route\nto host"})


PATCHED = {"changed": True, "installed": ["aaaa"], "removed": [], "remaining": [], "cves_fixed": ["CVE-2026-1"], "cves_open": [], "failures": [],
           "before": {"effective": "k1", "updates": []}, "after": {"effective": "k2", "updates": ["aaaa"]}, "verdict": "current",
           "reason": "Nothing is waiting.", "error_class": None, "seconds": 2.5}
FAILED = dict(PATCHED, failed=True, msg="It would not go in.", installed=[], after={"effective": "k1", "updates": []}, verdict="blocked",
              error_class="host", remaining=["aaaa"], cves_fixed=[], cves_open=["CVE-2026-1"], changed=False)


def go(hosts, results, **options):
    """A whole rollout: plan, then wave by wave with the results given for each host."""
    names = sorted(hosts)
    options = dict({"max_failures": 0}, **options)
    run = rollout.start(hosts, names, names, options)
    assert "error" not in run, run
    state, asked = {}, []
    for wave in run["waves"]:
        state = rollout.batch(hosts, names, wave, options, state, run)
        for inner in state["waves"]:
            for name in inner:
                looked = [dict(hosts[peer].get("ksplice_survey"), peer=peer) for peer in rollout.peers(state, name)]
                hosts[name] = dict(hosts[name], rolling_peers={"results": looked})
            state = rollout.take(state, inner, hosts, names, names, AT)
            for name in inner:
                if state["hands"][name]["taken"]:
                    asked.append(name)
                    hosts[name] = dict(hosts[name], rolling_apply=results.get(name, PATCHED))
            state = rollout.note(state, inner, hosts, LATER)
    about = dict(record.about("patch", AT, "me", False, options), ended="2026-11-22T03:01:00Z")
    document = record.record(hosts, names, names, run, state, about)
    jsonschema.validate(document, SCHEMA)
    return {row["name"]: row for row in document["hosts"]}, asked, document


def test_a_clean_run():
    rows, asked, document = go({"a": surveyed(ksplice_ha_group="p"), "b": surveyed(ksplice_ha_group="p"), "c": surveyed("current")}, {})
    assert asked == ["a", "b"]
    assert rows["a"]["verdict"] == "current" and rows["a"]["kernel_after"] == "k2" and rows["a"]["canary"]
    assert rows["a"]["started"] == "2026-11-22T03:00:00.000Z" and rows["a"]["ended"] == "2026-11-22T03:00:02.500Z"
    assert rows["c"]["wave"] is None and document["summary"]["attention"] == []
    assert document["summary"]["cves_fixed"] == 1 and document["summary"]["patched"] == 2


def test_every_host_has_exactly_one_row_also_outside_the_run():
    hosts = {"a": surveyed(), "b": {}, "c": unreachable(), "d": {"ksplice_survey": {"failed": True, "msg": "no sudo"}}}
    names = sorted(hosts)
    run = rollout.start(hosts, names, ["a", "c", "d"], {"max_failures": "100%"})
    about = dict(record.about("patch", AT, "me", True, {}), ended=AT)
    document = record.record(hosts, names, ["a", "c", "d"], run, {}, about)
    jsonschema.validate(document, SCHEMA)
    assert [(row["name"], row["verdict"]) for row in document["hosts"]] == [
        ("a", "behind"), ("b", "unknown"), ("c", "unreachable"), ("d", "unknown")]
    assert document["hosts"][2]["reason"] == "no route to host" and "no sudo" in document["hosts"][3]["reason"]
    assert document["summary"]["attention"] == ["c", "d"]


def test_a_run_that_ended_early_says_so_of_hosts_in_waves_never_reached():
    hosts = {"a": surveyed(), "b": surveyed()}
    run = rollout.start(hosts, ["a", "b"], ["a", "b"], {})
    document = record.record(hosts, ["a", "b"], ["a", "b"], run, {}, dict(record.about("patch", AT, "me", False, {}), ended=AT))
    assert "the run ended before wave 2" in document["hosts"][1]["reason"] and document["hosts"][1]["attention"]


def test_a_failed_canary_stops_its_build_and_no_other():
    rows, asked, _document = go({"a1": surveyed(), "a2": surveyed(), "b1": surveyed(build="k9"), "b2": surveyed(build="k9")},
                                {"a1": FAILED}, max_failures=3)
    assert asked == ["a1", "b1", "b2"]
    assert "a1, the canary of its kernel build" in rows["a2"]["reason"] and rows["a2"]["verdict"] == "behind"


def test_one_failure_after_the_canary_does_not_stop_the_build():
    _rows, asked, _document = go({name: surveyed() for name in "abcd"}, {"b": FAILED}, max_failures=1, max_parallel=1)
    assert asked == ["a", "b", "c", "d"]


def test_the_budget_stops_the_rollout_and_counts_whoever_cannot_be_reached():
    hosts = {**{name: surveyed() for name in "abcd"}, "z": unreachable()}
    rows, asked, _document = go(hosts, {"b": FAILED}, max_failures=1, max_parallel=1)
    assert asked == ["a", "b"]
    assert "the rollout stopped" in rows["c"]["reason"] and "(b, z)" in rows["c"]["reason"]
    _rows, asked, _document = go({**{name: surveyed() for name in "abcd"}, "z": unreachable()}, {}, max_failures=0)
    assert asked == []


def test_hosts_that_cannot_be_checked_count_too():
    _rows, asked, _document = go({"a": surveyed(), "b": surveyed("unknown"), "c": surveyed("unknown")}, {}, max_failures=1)
    assert asked == []
    _rows, asked, _document = go({"a": surveyed(), "b": surveyed("disabled"), "c": surveyed("unsupported")}, {}, max_failures=0)
    assert asked == ["a"]


@pytest.mark.parametrize("result", [FAILED, {"unreachable": True, "msg": "gone"}, {}, {"failed": True, "msg": "Traceback"}])
def test_after_anything_but_success_the_partner_is_left_alone(result):
    hosts = {"a": surveyed(ksplice_ha_group="p"), "b": surveyed(ksplice_ha_group="p"), "c": surveyed(build="k7")}
    rows, asked, _document = go(hosts, {"a": result}, max_failures=3)
    assert "b" not in asked and rows["b"]["verdict"] == "behind" and rows["a"]["attention"]
    assert "c" in asked


def test_lost_while_in_hand_is_in_doubt():
    rows, _asked, _document = go({"a": surveyed()}, {"a": {"unreachable": True, "msg": "gone"}})
    assert rows["a"]["verdict"] == "unreachable" and "in doubt" in rows["a"]["reason"]
    assert rows["a"]["kernel_after"] is None and rows["a"]["remaining"] is None


def test_a_peer_that_ansible_gave_up_leaves_its_partner_alone():
    hosts = {"a": surveyed(ksplice_ha_group="p"), "b": surveyed(ksplice_ha_group="p")}
    state = rollout.batch(hosts, ["a", "b"], ["b"], {"max_failures": 5, "play": ["a", "b"]}, {})
    state = rollout.take(state, ["b"], hosts, ["a", "b"], ["b"], AT)
    assert "a of its group p was lost in this run" in state["hands"]["b"]["reason"]


def test_a_group_of_three_that_can_spare_two():
    hosts = {name: surveyed(ksplice_ha_group="g", ksplice_ha_max_unavailable="2") for name in "abc"}
    _rows, asked, document = go(dict(hosts), {}, max_failures=3)
    assert document["plan"]["waves"] == [["a"], ["b", "c"]] and asked == ["a", "b", "c"]
    rows, asked, _document = go(hosts, {"a": FAILED}, max_failures=3)
    assert asked == ["a"] and "canary" in rows["b"]["reason"]


def test_a_member_found_missing_leaves_room_for_fewer_of_its_group_in_the_wave():
    hosts = {name: surveyed(ksplice_ha_group="g", ksplice_ha_max_unavailable=2) for name in "abcd"}
    state = rollout.batch(hosts, list("abcd"), ["b", "c"], {"max_failures": 5}, {"outcomes": {"x": {"taken": True, "ok": True, "build": "k1 v m"}}})
    assert state["waves"] == [["b", "c"]]
    for name in "bc":
        hosts[name]["rolling_peers"] = {"results": [{"peer": "d", "unreachable": True}]}
    hands = rollout.take(state, ["b", "c"], hosts, list("abcd"), list("abcd"), AT)["hands"]
    assert hands["b"]["taken"] and not hands["c"]["taken"] and "g" in hands["c"]["reason"]


def test_a_canary_that_is_left_alone_has_one_successor_and_not_a_crowd():
    hosts = {"a1": surveyed(ksplice_ha_group="p"), "z2": unreachable(ksplice_ha_group="p"), "h1": surveyed(), "h2": surveyed(), "h3": surveyed()}
    play = ["a1", "h1", "h2", "h3"]
    state = rollout.batch({**hosts, "z2": {"ksplice_ha_group": "p"}}, sorted(hosts), play, {"max_failures": 5, "play": play}, {})
    assert state["waves"] == [["a1"], ["h1", "h2", "h3"]]
    hosts["a1"]["rolling_peers"] = {"results": [{"peer": "z2", "unreachable": True}]}
    state = rollout.note(rollout.take(state, ["a1"], hosts, play, play, AT), ["a1"], hosts, LATER)
    hands = rollout.take(state, ["h1", "h2", "h3"], hosts, play, play, AT)["hands"]
    assert [name for name in hands if hands[name]["taken"]] == ["h1"]


@pytest.mark.parametrize("verdict", ["unknown", "behind", "blocked", None])
def test_success_is_what_there_is_evidence_of(verdict):
    rows, asked, document = go({"a": surveyed(), "b": surveyed()}, {"a": dict(PATCHED, verdict=verdict)}, max_failures=3)
    assert asked == ["a"] and document["summary"]["attention"] == ["a", "b"] and rows["b"]["verdict"] == "behind"


def test_whoever_still_has_something_waiting_needs_a_person():
    _rows, asked, document = go({"a": surveyed(ksplice_ha_group="p"), "b": unreachable(ksplice_ha_group="p")}, {}, max_failures=3)
    assert asked == [] and document["summary"]["attention"] == ["a", "b"]


@pytest.mark.parametrize("variables, words", [
    ({"ksplice_ha_group": {"g": 1}}, "ksplice_ha_group is {'g': 1}"),
    ({"ksplice_ha_group": "g", "ksplice_ha_max_unavailable": "lots"}, "allows 'lots' members"),
    ({"ksplice_ha_role": "master"}, "role 'master'"),
    ({"ksplice_ha_group": "g"}, "Group g has one member only"),
])
def test_bad_variables_are_one_sentence(variables, words):
    error = rollout.start({"a": surveyed(**variables)}, ["a"], ["a"], {})["error"]
    assert words in error and "\n" not in error


def test_two_values_for_one_group_are_refused():
    hosts = {"a": surveyed(ksplice_ha_group="g", ksplice_ha_max_unavailable=1), "b": surveyed(ksplice_ha_group="g", ksplice_ha_max_unavailable=2)}
    assert "two values of ksplice_ha_max_unavailable" in rollout.start(hosts, ["a", "b"], ["a", "b"], {})["error"]


def test_the_page_escapes_whatever_a_host_or_the_service_says():
    evil = "<script>alert(1)</script>\"'&"
    failed = dict(FAILED, msg=evil)
    _rows, _asked, document = go({"a" + evil: surveyed(name=evil), "b": surveyed("current")}, {"a" + evil: failed})
    page = record.page(document, (TOP / "roles/report/templates/report.html.j2").read_text())
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("<script>") == 1


def test_the_timeline_keeps_the_members_of_a_group_together_and_apart_in_time():
    _rows, _asked, document = go({"a": surveyed(ksplice_ha_group="p"), "c": surveyed(), "b": surveyed(ksplice_ha_group="p")}, {})
    shown = record.timeline(document)
    assert [one["name"] for one in shown["bars"]] == ["a", "b", "c"]
    assert [(band["group"], band["height"]) for band in shown["bands"]] == [("p", 40)]
    assert record.timeline({"hosts": []}) is None


def test_lines_name_every_host_that_is_not_current():
    _rows, _asked, document = go({"a": surveyed(), "b": unreachable(), "c": surveyed("current")}, {}, max_failures=1)
    lines = "\n".join(record.lines(document))
    assert "3 hosts: 2 current, 1 unreachable." in lines and "b: unreachable. no route to host" in lines and "c:" not in lines
