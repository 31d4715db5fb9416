# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The steps of a rollout and its record, as pure functions of hosts' variables."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import facts
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import record, rollout
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import ha_settings

TOP = Path(__file__).resolve().parents[4]
AT = "2026-11-22T03:00:00Z"
LATER = "2026-11-22T03:00:10.500000Z"
SCHEMA = json.loads((TOP / "docs" / "record.schema.json").read_text())


def surveyed(verdict="behind", build="k1", name="CVE-2026-1: x.", **variables):
    seen = facts.nothing(verdict, "Because.")
    seen["kernel"].update(booted=build, version="v", machine="m", effective=build)
    seen["updates"].update(
        installed=[], available=[{"id": "aaaa", "name": name, "cves": ["CVE-2026-1"]}]
    )
    seen["cves"].update(fixed=[], open=["CVE-2026-1"])
    return dict(variables, ksplice_survey={"ansible_facts": {"uptrack": seen}})


def unreachable(**variables):
    return dict(
        variables, ksplice_survey={"unreachable": True, "msg": "Task failed: no route\nto host"}
    )


PATCHED = {
    "changed": True,
    "installed": ["aaaa"],
    "removed": [],
    "remaining": [],
    "cves_fixed": ["CVE-2026-1"],
    "cves_open": [],
    "failures": [],
    "before": {"effective": "k1", "updates": []},
    "after": {"effective": "k2", "updates": ["aaaa"]},
    "verdict": "current",
    "reason": "Nothing is waiting.",
    "error_class": None,
    "seconds": 2.5,
}
FAILED = dict(
    PATCHED,
    failed=True,
    msg="It would not go in.",
    installed=[],
    after={"effective": "k1", "updates": []},
    verdict="blocked",
    error_class="host",
    remaining=["aaaa"],
    cves_fixed=[],
    cves_open=["CVE-2026-1"],
    changed=False,
)


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
                looked = [
                    dict(hosts[peer].get("ksplice_survey"), peer=peer)
                    for peer in rollout.peers(state, name)
                ]
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
    rows, asked, document = go(
        {
            "a": surveyed(ksplice_ha_group="p"),
            "b": surveyed(ksplice_ha_group="p"),
            "c": surveyed("current"),
        },
        {},
    )
    assert asked == ["a", "b"]
    assert (
        rows["a"]["verdict"] == "current"
        and rows["a"]["kernel_after"] == "k2"
        and rows["a"]["canary"]
    )
    assert (
        rows["a"]["started"] == "2026-11-22T03:00:00.000Z"
        and rows["a"]["ended"] == "2026-11-22T03:00:02.500Z"
    )
    assert rows["c"]["wave"] is None and document["summary"]["attention"] == []
    assert document["summary"]["cves_fixed"] == 1 and document["summary"]["patched"] == 2


def test_every_host_has_exactly_one_row_also_outside_the_run():
    hosts = {
        "a": surveyed(),
        "b": {},
        "c": unreachable(),
        "d": {"ksplice_survey": {"failed": True, "msg": "no sudo"}},
    }
    names = sorted(hosts)
    run = rollout.start(hosts, names, ["a", "c", "d"], {"max_failures": "100%"})
    about = dict(record.about("patch", AT, "me", True, {}), ended=AT)
    document = record.record(hosts, names, ["a", "c", "d"], run, {}, about)
    jsonschema.validate(document, SCHEMA)
    assert [(row["name"], row["verdict"]) for row in document["hosts"]] == [
        ("a", "behind"),
        ("b", "unknown"),
        ("c", "unreachable"),
        ("d", "unknown"),
    ]
    assert (
        document["hosts"][2]["reason"] == "no route to host"
        and "no sudo" in document["hosts"][3]["reason"]
    )
    assert document["summary"]["attention"] == ["c", "d"]


def test_a_run_that_ended_early_says_so_of_hosts_in_waves_never_reached():
    hosts = {"a": surveyed(), "b": surveyed()}
    run = rollout.start(hosts, ["a", "b"], ["a", "b"], {})
    document = record.record(
        hosts,
        ["a", "b"],
        ["a", "b"],
        run,
        {},
        dict(record.about("patch", AT, "me", False, {}), ended=AT),
    )
    assert (
        "the run ended before wave 2" in document["hosts"][1]["reason"]
        and document["hosts"][1]["attention"]
    )


def test_a_failed_canary_stops_its_build_and_no_other():
    rows, asked, _document = go(
        {
            "a1": surveyed(),
            "a2": surveyed(),
            "b1": surveyed(build="k9"),
            "b2": surveyed(build="k9"),
        },
        {"a1": FAILED},
        max_failures=3,
    )
    assert asked == ["a1", "b1", "b2"]
    assert (
        "a1, the canary of its kernel build" in rows["a2"]["reason"]
        and rows["a2"]["verdict"] == "behind"
    )


def test_one_failure_after_the_canary_does_not_stop_the_build():
    _rows, asked, _document = go(
        {name: surveyed() for name in "abcd"}, {"b": FAILED}, max_failures=1, max_parallel=1
    )
    assert asked == ["a", "b", "c", "d"]


def test_the_budget_stops_the_rollout_and_counts_whoever_cannot_be_reached():
    hosts = {**{name: surveyed() for name in "abcd"}, "z": unreachable()}
    rows, asked, _document = go(hosts, {"b": FAILED}, max_failures=1, max_parallel=1)
    assert asked == ["a", "b"]
    assert "the rollout stopped" in rows["c"]["reason"] and "(b, z)" in rows["c"]["reason"]
    _rows, asked, _document = go(
        {**{name: surveyed() for name in "abcd"}, "z": unreachable()}, {}, max_failures=0
    )
    assert asked == []


def test_hosts_that_cannot_be_checked_count_too():
    _rows, asked, _document = go(
        {"a": surveyed(), "b": surveyed("unknown"), "c": surveyed("unknown")}, {}, max_failures=1
    )
    assert asked == []
    _rows, asked, _document = go(
        {"a": surveyed(), "b": surveyed("disabled"), "c": surveyed("unsupported")},
        {},
        max_failures=0,
    )
    assert asked == ["a"]


@pytest.mark.parametrize(
    "result",
    [FAILED, {"unreachable": True, "msg": "gone"}, {}, {"failed": True, "msg": "Traceback"}],
)
def test_after_anything_but_success_the_partner_is_left_alone(result):
    hosts = {
        "a": surveyed(ksplice_ha_group="p"),
        "b": surveyed(ksplice_ha_group="p"),
        "c": surveyed(build="k7"),
    }
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
    state = rollout.batch(
        hosts,
        list("abcd"),
        ["b", "c"],
        {"max_failures": 5},
        {"outcomes": {"x": {"taken": True, "ok": True, "build": "k1 v m"}}},
    )
    assert state["waves"] == [["b", "c"]]
    for name in "bc":
        hosts[name]["rolling_peers"] = {"results": [{"peer": "d", "unreachable": True}]}
    hands = rollout.take(state, ["b", "c"], hosts, list("abcd"), list("abcd"), AT)["hands"]
    assert hands["b"]["taken"] and not hands["c"]["taken"] and "g" in hands["c"]["reason"]


def test_a_canary_that_is_left_alone_has_one_successor_and_not_a_crowd():
    hosts = {
        "a1": surveyed(ksplice_ha_group="p", ksplice_canary=True),
        "z2": unreachable(ksplice_ha_group="p"),
        "h1": surveyed(),
        "h2": surveyed(),
        "h3": surveyed(),
    }
    play = ["a1", "h1", "h2", "h3"]
    state = rollout.batch(
        {**hosts, "z2": {"ksplice_ha_group": "p"}},
        sorted(hosts),
        play,
        {"max_failures": 5, "play": play},
        {},
    )
    assert state["waves"] == [["a1"], ["h1", "h2", "h3"]]
    hosts["a1"]["rolling_peers"] = {"results": [{"peer": "z2", "unreachable": True}]}
    state = rollout.note(rollout.take(state, ["a1"], hosts, play, play, AT), ["a1"], hosts, LATER)
    hands = rollout.take(state, ["h1", "h2", "h3"], hosts, play, play, AT)["hands"]
    assert [name for name in hands if hands[name]["taken"]] == ["h1"]
    # The record is to tell who really went first.
    assert [name for name in hands if hands[name]["canary"]] == ["h1"]


@pytest.mark.parametrize("verdict", ["unknown", "behind", "blocked", None])
def test_success_is_what_there_is_evidence_of(verdict):
    rows, asked, document = go(
        {"a": surveyed(), "b": surveyed()}, {"a": dict(PATCHED, verdict=verdict)}, max_failures=3
    )
    assert (
        asked == ["a"]
        and document["summary"]["attention"] == ["a", "b"]
        and rows["b"]["verdict"] == "behind"
    )


def test_whoever_still_has_something_waiting_needs_a_person():
    _rows, asked, document = go(
        {"a": surveyed(ksplice_ha_group="p"), "b": unreachable(ksplice_ha_group="p")},
        {},
        max_failures=3,
    )
    assert asked == [] and document["summary"]["attention"] == ["a", "b"]


@pytest.mark.parametrize(
    "variables, words",
    [
        ({"ksplice_ha_group": {"g": 1}}, "ksplice_ha_group is {'g': 1}"),
        ({"ksplice_ha_group": "g", "ksplice_ha_max_unavailable": "lots"}, "allows 'lots' members"),
        ({"ksplice_ha_role": "master"}, "role 'master'"),
        ({"ksplice_ha_group": "g"}, "Group g has one member only"),
    ],
)
def test_bad_variables_are_one_sentence(variables, words):
    error = rollout.start({"a": surveyed(**variables)}, ["a"], ["a"], {})["error"]
    assert words in error and "\n" not in error


def test_two_values_for_one_group_are_refused():
    hosts = {
        "a": surveyed(ksplice_ha_group="g", ksplice_ha_max_unavailable=1),
        "b": surveyed(ksplice_ha_group="g", ksplice_ha_max_unavailable=2),
    }
    assert (
        "two values of ksplice_ha_max_unavailable"
        in rollout.start(hosts, ["a", "b"], ["a", "b"], {})["error"]
    )


def test_the_page_escapes_whatever_a_host_or_the_service_says():
    evil = "<script>alert(1)</script>\"'&"
    failed = dict(FAILED, msg=evil)
    _rows, _asked, document = go(
        {"a" + evil: surveyed(name=evil), "b": surveyed("current")}, {"a" + evil: failed}
    )
    page = record.page(document, (TOP / "roles/report/templates/report.html.j2").read_text())
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert page.count("<script>") == 1


def test_the_timeline_keeps_the_members_of_a_group_together_and_apart_in_time():
    _rows, _asked, document = go(
        {"a": surveyed(ksplice_ha_group="p"), "c": surveyed(), "b": surveyed(ksplice_ha_group="p")},
        {},
    )
    shown = record.timeline(document)
    assert [one["name"] for one in shown["bars"]] == ["a", "b", "c"]
    assert [(band["group"], band["height"]) for band in shown["bands"]] == [("p", 40)]
    assert record.timeline({"hosts": []}) is None


def test_lines_name_every_host_that_is_not_current():
    _rows, _asked, document = go(
        {"a": surveyed(), "b": unreachable(), "c": surveyed("current")}, {}, max_failures=1
    )
    lines = "\n".join(record.lines(document))
    assert (
        "3 hosts: 2 current, 1 unreachable." in lines
        and "b: unreachable. no route to host" in lines
        and "c:" not in lines
    )


# ---- a wave with everything ------------------------------------------------------------------------------------------------------

GATE = [{"name": "well", "command": "true"}]
WELL = {"ok": True, "checks": [{"name": "well", "ok": True, "said": None}], "holds": []}
ILL = {"ok": False, "checks": [{"name": "well", "ok": False, "said": "status 1: ill"}], "holds": []}
DRAIN = [{"adapter": "custom", "drain": "out", "undo": "back"}]
OUT = {
    "results": [
        {
            "item": {"delegate_to": "a", "target": DRAIN[0]},
            "done": True,
            "changed": True,
            "drained": [{"what": "custom out"}],
        }
    ]
}
BACK = {
    "results": [
        {
            "item": {"delegate_to": "a", "target": DRAIN[0]},
            "done": True,
            "changed": True,
            "drained": [],
        }
    ]
}
STUCK = {
    "results": [
        {
            "item": {"delegate_to": "a", "target": DRAIN[0]},
            "done": False,
            "msg": "keepalived is NOT back in service: it does not run.",
        }
    ]
}
GRANTED = {
    "a": {"granted": True, "refusal": None, "unreachable": False, "leases": [], "busy": False}
}


def hand(variables, conditions=None, state=None, **options):
    """One host, a, in hand after its lease: the state."""
    hosts = {"a": surveyed(**variables)}
    state = rollout.batch(
        hosts, ["a"], ["a"], dict({"max_failures": 9, "play": ["a"]}, **options), state or {}
    )
    assert state["waves"] == [["a"]], state
    state = rollout.take(state, ["a"], hosts, ["a"], ["a"], AT, conditions)
    hosts["a"]["rolling_answers"] = GRANTED
    return rollout.promised(state, ["a"], hosts, {"drain": "active", "soak": 0}), hosts


def came_of(state, hosts, **registered):
    hosts["a"].update(registered)
    return rollout.note(state, ["a"], hosts, LATER)


def test_a_host_that_is_taken_out_of_service_has_a_lease_of_its_own_though_it_is_in_no_group():
    state, _hosts = hand({"ksplice_ha_drain": DRAIN})
    assert rollout.lease(state, "a") == {
        "groups": [{"name": "a", "members": ["a"], "max_unavailable": 1}],
        "members": ["a"],
        "rounds": 1,
    }
    assert (
        [one["delegate_to"] for one in state["work"]["a"]["drains"]] == ["a"]
        and state["work"]["a"]["any_drain"]
        and not state["work"]["a"]["any_gate"]
    )
    state, _hosts = hand({})
    assert rollout.lease(state, "a")["members"] == [] and not state["work"]["a"]["any_drain"]


def test_drain_never_drains_nothing():
    state, hosts = hand({"ksplice_ha_drain": DRAIN})
    assert not rollout.promised(state, ["a"], hosts, {"drain": "never"})["work"]["a"]["any_drain"]


def test_a_host_that_is_not_well_before_is_not_in_hand():
    state, hosts = hand({"ksplice_ha_gates": GATE})
    hosts["a"]["rolling_gate_host_before"] = ILL
    state = rollout.gated(state, ["a"], hosts, "before")
    assert (
        not state["hands"]["a"]["taken"]
        and "well (status 1: ill, on a)" in state["hands"]["a"]["reason"]
    )


@pytest.mark.parametrize("baseline, sick", [(False, True), (True, False)])
def test_what_was_bad_before_may_stay_so_when_it_belongs_to_the_baseline(baseline, sick):
    state, hosts = hand({"ksplice_ha_gates": [dict(GATE[0], baseline=True)]})
    hosts["a"].update(
        rolling_gate_host_before=ILL if baseline else WELL,
        rolling_gate_host_after=ILL,
        rolling_apply=PATCHED,
    )
    state = rollout.gated(rollout.gated(state, ["a"], hosts, "before"), ["a"], hosts, "after")
    assert bool(state["hands"]["a"]["gate"]) is sick and state["any_undo"] is sick


UNDONE = dict(
    PATCHED,
    installed=[],
    removed=["aaaa"],
    after={"effective": "k1", "updates": []},
    verdict="behind",
    error_class=None,
)


@pytest.mark.parametrize(
    "undo, again, serves, words",
    [
        (UNDONE, WELL, True, "What was installed was taken back (aaaa)"),
        (UNDONE, ILL, False, "What was installed was taken back (aaaa)"),
        # Its task is not to fail, so that a result that failed looks like any other but for the class of the error.
        (
            dict(UNDONE, error_class="host", msg="It could not be removed."),
            WELL,
            False,
            "could NOT be taken back: It could not be removed.",
        ),
        (
            {"unreachable": True, "msg": "gone"},
            {"unreachable": True},
            False,
            "could NOT be taken back: gone",
        ),
    ],
)
def test_what_an_undo_came_to(undo, again, serves, words):
    state, hosts = hand({"ksplice_ha_gates": GATE, "ksplice_ha_drain": DRAIN})
    hosts["a"].update(
        rolling_gate_host_before=WELL, rolling_gate_host_after=ILL, rolling_apply=PATCHED
    )
    state = rollout.gated(rollout.gated(state, ["a"], hosts, "before"), ["a"], hosts, "after")
    assert (
        rollout.may_serve(state, "a", {"rolling_undo": undo, "rolling_gate_undone": again})
        is serves
    )
    state = came_of(
        state,
        hosts,
        rolling_undo=undo,
        rolling_gate_undone=again,
        rolling_drain=OUT,
        rolling_put_back=BACK if serves else {"skipped": True},
    )
    outcome = state["outcomes"]["a"]
    assert not outcome["ok"] and words in outcome["reason"]
    assert (
        bool(outcome.get("still_drained")) is not serves
        and ("STILL OUT OF SERVICE" in outcome["reason"]) is not serves
    )
    banned = rollout.take(
        rollout.batch({"a": surveyed()}, ["a"], ["a"], {"max_failures": 9}, state),
        ["a"],
        {"a": surveyed()},
        ["a"],
        ["a"],
        AT,
    )
    assert "a was not well after what it was given" in banned["hands"]["a"]["reason"]


@pytest.mark.parametrize(
    "drain, back, patched, words",
    [
        (OUT, BACK, True, None),
        (OUT, STUCK, True, "STILL OUT OF SERVICE: keepalived is NOT back in service"),
        (OUT, {"skipped": True}, True, "STILL OUT OF SERVICE: Nobody could put it back."),
        (
            STUCK,
            BACK,
            False,
            "Not patched, as it could not be taken out of service: keepalived is NOT back",
        ),
        (
            {"results": [{"item": {"delegate_to": "lb"}, "unreachable": True, "msg": "no route"}]},
            BACK,
            False,
            "lb cannot be reached: no route",
        ),
    ],
)
def test_what_a_drain_came_to(drain, back, patched, words):
    state, hosts = hand({"ksplice_ha_drain": DRAIN})
    assert (rollout.drained(drain) is None) is patched
    outcome = came_of(
        state,
        hosts,
        rolling_drain=drain,
        rolling_put_back=back,
        rolling_apply=PATCHED if patched else {"skipped": True},
    )["outcomes"]["a"]
    assert outcome["ok"] is (words is None) and (words is None or words in outcome["reason"]), (
        outcome
    )


def test_a_step_that_broke_is_no_success():
    state, hosts = hand({})
    outcome = came_of(
        state, hosts, rolling_apply=PATCHED, rolling_broke="Look at the host: no such filter"
    )["outcomes"]["a"]
    assert (
        not outcome["ok"] and "A step broke (Look at the host: no such filter)" in outcome["reason"]
    )


def test_a_lost_host_is_in_doubt_and_not_unwell():
    state, hosts = hand({"ksplice_ha_gates": GATE})
    gone = {"unreachable": True, "msg": "gone"}
    hosts["a"].update(
        rolling_gate_host_before=WELL, rolling_gate_host_after=gone, rolling_apply=gone
    )
    state = rollout.gated(rollout.gated(state, ["a"], hosts, "before"), ["a"], hosts, "after")
    assert state["hands"]["a"]["gate"] is None
    assert "in doubt" in came_of(state, hosts)["outcomes"]["a"]["reason"]


def test_later_hosts_get_what_the_canary_took_and_no_more():
    first = {"a0": {"taken": True, "ok": True, "build": "k1 v m", "after": {"updates": ["aaaa"]}}}
    state, hosts = hand({}, {"promote": True}, {"outcomes": first})
    assert state["hands"]["a"]["updates"] == ["aaaa"] and state["hands"]["a"]["like"] == "a0"
    left = [
        {"id": "bbbb", "name": "CVE-2026-2: y.", "age": 7, "cves": ["CVE-2026-2"], "first_seen": AT}
    ]
    outcome = came_of(state, hosts, rolling_apply=dict(PATCHED, verdict="behind", left=left))[
        "outcomes"
    ]["a"]
    assert (
        outcome["ok"]
        and outcome["deferred"] == [{"id": "bbbb", "name": "CVE-2026-2: y.", "age": 7}]
        and "exactly what a0 was given" in outcome["reason"]
    )
    state, _hosts = hand({}, {"promote": False}, {"outcomes": first})
    assert state["hands"]["a"]["updates"] is None
    # Behind without having what the canary has is no success.
    state, hosts = hand({}, {"promote": True}, {"outcomes": first})
    short = dict(
        PATCHED, verdict="behind", installed=[], after={"effective": "k1", "updates": []}, left=left
    )
    assert not came_of(state, hosts, rolling_apply=short)["outcomes"]["a"]["ok"]


@pytest.mark.parametrize(
    "conditions, words",
    [
        ({"stop": True, "stop_file": "/stop"}, "the stop file /stop is there"),
        ({"window": {"timezone": "Nowhere"}}, "counts as closed"),
        ({"window": None}, None),
    ],
)
def test_conditions_are_looked_at_before_a_wave(conditions, words):
    hosts = {"a": surveyed()}
    state = rollout.take(
        rollout.batch(hosts, ["a"], ["a"], {"max_failures": 9}, {}),
        ["a"],
        hosts,
        ["a"],
        ["a"],
        AT,
        conditions,
    )
    assert state["hands"]["a"]["taken"] is (words is None) and (
        words is None or words in state["hands"]["a"]["reason"]
    )


LEFT = {
    "run": "night",
    "host": "a",
    "own": True,
    "reason": "patching",
    "phase": "applying",
    "since": AT,
    "age": 900,
    "seconds": 600,
    "stale": True,
}


def leased(verdict="current", **variables):
    host = surveyed(verdict, **variables)
    host["ksplice_survey"]["ansible_facts"]["uptrack"]["lease"] = LEFT
    return host


def test_what_a_dead_run_left_goes_first_and_is_neither_drained_nor_patched():
    hosts = {
        "a": leased(ksplice_ha_group="p", ksplice_ha_drain=DRAIN),
        "b": surveyed(ksplice_ha_group="p"),
        "c": surveyed(),
    }
    names = sorted(hosts)
    run = rollout.start(hosts, names, names, {"max_failures": 9})
    assert (
        run["waves"][0] == ["a"]
        and "a" not in run["canaries"]
        and run["planned_hosts"]["a"]["recover"]
    )
    state = rollout.batch(hosts, names, ["a"], {"max_failures": 9}, {}, run)
    state = rollout.take(state, ["a"], hosts, names, names, AT)
    hosts["a"]["rolling_answers"] = {name: GRANTED["a"] for name in "ab"}
    state = rollout.promised(state, ["a"], hosts, {"drain": "always"})
    assert (
        state["hands"]["a"]["taken"]
        and state["hands"]["a"]["recover"]
        and state["work"]["a"]["drains"] == []
        and not state["work"]["a"]["any_gate"]
    )
    hosts["a"].update(
        rolling_stale=dict(LEFT, token="t"),
        rolling_let_go={"granted": True},
        rolling_adopted_back={"results": [{"changed": True, "item": "a"}]},
    )
    state = rollout.note(state, ["a"], hosts, LATER)
    about = dict(record.about("patch", AT, "me", False, {}), ended="2026-11-22T03:01:00Z")
    document = record.record(hosts, names, names, run, state, about)
    jsonschema.validate(document, SCHEMA)
    row = {row["name"]: row for row in document["hosts"]}["a"]
    assert (
        row["verdict"] == "current"
        and not row["attention"]
        and "a put back into service" in row["reason"]
    )
    assert any("its lease was taken over" in event["what"] for event in document["events"])


def test_a_lease_that_could_not_be_taken_over_needs_a_person():
    hosts = {"a": leased(ksplice_ha_group="p"), "b": surveyed("current", ksplice_ha_group="p")}
    run = rollout.start(hosts, ["a", "b"], ["a", "b"], {"max_failures": 9})
    state = rollout.take(
        rollout.batch(hosts, ["a", "b"], ["a"], {"max_failures": 9}, {}, run),
        ["a"],
        hosts,
        ["a", "b"],
        ["a", "b"],
        AT,
    )
    hosts["a"]["rolling_answers"] = {
        "a": dict(GRANTED["a"], granted=False, refusal="The run night has a in hand.")
    }
    state = rollout.note(rollout.promised(state, ["a"], hosts), ["a"], hosts, LATER)
    document = record.record(
        hosts,
        ["a", "b"],
        ["a", "b"],
        run,
        state,
        dict(record.about("patch", AT, "me", False, {}), ended=AT),
    )
    assert (
        document["summary"]["attention"] == ["a"]
        and "The run night has a in hand" in document["hosts"][0]["reason"]
    )


def test_a_stale_lease_is_taken_over_only_when_every_member_can_be_reached():
    wanted = {"groups": [{"name": "p", "members": ["a", "b"], "max_unavailable": 1}]}
    entry = {
        "token": "t",
        "host": "b",
        "groups": [{"name": "p", "members": ["a", "b"]}],
        "stale": True,
    }
    answers = {
        "a": {
            "granted": False,
            "refusal": "The run night has b in hand.",
            "unreachable": False,
            "leases": [entry],
        }
    }
    assert rollout.stale(answers, wanted, "a") == entry
    assert (
        rollout.stale(answers, wanted, "a", {"results": [{"peer": "b", "unreachable": True}]})
        is None
    )
    assert (
        rollout.stale(
            dict(answers, b={"granted": False, "refusal": None, "unreachable": True, "leases": []}),
            wanted,
            "a",
        )
        is None
    )
    granted = {name: dict(GRANTED["a"], leases=[]) for name in "ab"}
    assert rollout.stale(granted, wanted, "a") is None
    # Whatever a member says: nobody is asked or let go whom the plan does not know as a member of that very group.
    for foreign in (
        {"host": "127.0.0.66"},
        {"host": "solo"},
        {"groups": [{"name": "p", "members": ["a", "b", "127.0.0.66"]}]},
        {"groups": [{"name": "other", "members": ["a", "b"]}]},
        {"groups": []},
    ):
        told = {"a": dict(answers["a"], leases=[dict(entry, **foreign)])}
        assert rollout.stale(told, wanted, "a") is None
    more = dict(entry, groups=[*entry["groups"], {"name": "ring", "members": ["b", "far"]}])
    assert (
        rollout.stale({"a": dict(answers["a"], leases=[more])}, wanted, "a")["groups"]
        == entry["groups"]
    )
    # All have granted, and together they say that it is one too many.
    wide = {"groups": [{"name": "p", "members": ["a", "b", "c"], "max_unavailable": 2}]}
    third = dict(entry, host="c")
    answers = {
        "a": GRANTED["a"],
        "b": dict(GRANTED["a"], leases=[third]),
        "c": dict(GRANTED["a"], leases=[entry]),
    }
    assert rollout.stale(answers, wide, "a")["stale"]


def test_whoever_was_waited_for_has_done_it():
    state, hosts = hand({"ksplice_ha_drain": DRAIN})
    hosts["a"]["rolling_again"] = surveyed("current")["ksplice_survey"]
    state = rollout.promised(state, ["a"], hosts, {"drain": "active"})
    assert state["hands"]["a"]["recover"] and state["work"]["a"]["drains"] == []
    outcome = came_of(state, hosts)["outcomes"]["a"]
    assert outcome["ok"] and outcome["verdict"] == "current"


# ---- what a rollout makes of groups that were discovered --------------------------------------------------------------------------


def told(*groups, role="standby", problems=()):
    every = {"kind": "keepalived", "addresses": [], "peers": [], "instances": [], "role": role}
    return {
        "ansible_facts": {
            "ha": {
                "groups": [dict(every, **one) for one in groups],
                "role": role,
                "problems": list(problems),
            }
        }
    }


def member(name="g", verdict="behind", redundancy=("keepalived",), **group):
    host = surveyed(verdict)
    host["ksplice_survey"]["ansible_facts"]["uptrack"]["redundancy"] = list(redundancy)
    return dict(host, ksplice_ha_asked=told(dict(group, name=name)))


def planned(hosts, **options):
    run = rollout.start(hosts, sorted(hosts), sorted(hosts), dict({"max_failures": 9}, **options))
    assert "error" not in run, run
    return run


def test_one_member_without_its_partner_leaves_the_run_to_the_others():
    run = planned({"a": member(), "s": surveyed()})
    assert run["waves"] == [["s"]] and "no other host of the inventory is" in run["left"]["a"]


def test_a_member_that_did_not_answer_counts_as_out_of_service():
    """Two of a cluster of three answered; and two that name a third as their peer."""
    cluster = {"kind": "pacemaker", "instances": ["n1", "n2", "n3"]}
    for groups in ([dict(cluster, node=node) for node in cluster["instances"]], [{"size": 3}] * 3):
        run = planned({"a": member(**groups[0]), "b": member(**groups[1])})
        assert (
            run["waves"] == []
            and "1 more of its group g did not answer or is not in the inventory"
            in run["left"]["a"]
        )
        run = planned(
            {
                "a": member(**groups[0]),
                "b": member(**groups[1]),
                "c": member(verdict="current", **groups[2]),
            }
        )
        assert run["waves"] == [["a"], ["b"]]
    # A remote node is a member, and stands for none of those that did not answer.
    run = planned(
        {
            "a": member(**dict(cluster, node="n1")),
            "b": member(**dict(cluster, node="n2")),
            "r": member(**dict(cluster, node="remote")),
        }
    )
    assert run["waves"] == [] and "1 more of its group g" in run["left"]["r"]


def test_a_group_beside_a_problem_is_not_all_there_may_be():
    hosts = {name: member() for name in "ab"}
    hosts["a"]["ksplice_ha_asked"]["ansible_facts"]["ha"]["problems"] = ["crm_mon does not answer."]
    run = planned(hosts)
    assert "crm_mon does not answer." in run["left"]["a"] and run["waves"] == [["b"]]
    hosts["a"]["ksplice_ha_group"] = hosts["b"]["ksplice_ha_group"] = "g"
    assert planned(hosts)["waves"] == [["a"], ["b"]]


def test_nobody_knows_which_of_the_two_is_active():
    """Each counts as active: one after the other, and whoever reads the plan is told."""
    hosts = {name: member(role=None) for name in "ab"}
    for host in hosts.values():
        host["ksplice_ha_asked"]["ansible_facts"]["ha"]["role"] = "active"
    run = planned(hosts)
    assert run["waves"] == [["a"], ["b"]]
    assert [text.partition(",")[0] for text in run["contradictions"]] == [
        f"{name}: it is unknown whether it is active in g" for name in "ab"
    ]


def test_what_the_run_names_wins_over_what_was_discovered():
    broken = dict(surveyed(), ksplice_ha_asked=told(problems=["keepalived.conf cannot be read."]))
    broken["ksplice_survey"]["ansible_facts"]["uptrack"]["redundancy"] = ["keepalived"]
    assert (
        "it is unknown of which. keepalived.conf cannot be read."
        in planned({"a": broken, "s": surveyed()})["left"]["a"]
    )
    run = planned({"a": broken, "b": member("elsewhere")}, groups={"web": ["a", "b"]})
    assert list(run["groups"]) == ["web"] and run["waves"] == [["a"], ["b"]]


def test_who_is_asked_for_groups_in_which_round():
    idle = surveyed("current")
    idle["ksplice_survey"]["ansible_facts"]["uptrack"]["redundancy"] = ["keepalived"]
    waiting = surveyed()
    waiting["ksplice_survey"]["ansible_facts"]["uptrack"]["redundancy"] = ["keepalived"]
    hosts = {"a": waiting, "b": idle, "c": surveyed("current"), "outside": {}}
    assert rollout.to_discover(hosts, list(hosts), ["a", "b", "c"]) == ["a"], (
        "those with work first"
    )
    hosts["a"] = member()
    assert rollout.to_discover(hosts, list(hosts), ["a", "b", "c"]) == ["b", "outside"], (
        "then whoever may be a partner, not one that runs nothing"
    )
    hosts["d"] = waiting
    assert rollout.to_discover(hosts, list(hosts), ["a", "b", "c", "d"]) == ["d", "b", "outside"], (
        "one that gave no answer does not keep the others from it"
    )
    hosts["b"] = member(verdict="current")
    del hosts["d"]
    assert rollout.to_discover(hosts, list(hosts), ["a", "b", "c"]) == []


@pytest.mark.parametrize(
    "registered, words",
    [
        (
            {"rolling_adopted": {"granted": False, "refusal": "Somebody is at work on a."}},
            "It could not be taken over: Somebody is at work on a.",
        ),
        (
            {
                "rolling_adopted": {"granted": True},
                "rolling_adopted_gate": ILL,
                "rolling_adopted_back": {"skipped": True},
            },
            "because it is not well: well (status 1: ill)",
        ),
        (
            {"rolling_adopted": {"granted": True}, "rolling_adopted_back": STUCK},
            "STILL OUT OF SERVICE: keepalived is NOT back in service",
        ),
    ],
)
def test_a_take_over_that_came_to_nothing_is_told(registered, words):
    hosts = {"a": leased(ksplice_ha_group="p"), "b": surveyed("current", ksplice_ha_group="p")}
    run = rollout.start(hosts, ["a", "b"], ["a", "b"], {"max_failures": 9})
    state = rollout.take(
        rollout.batch(hosts, ["a", "b"], ["a"], {"max_failures": 9}, {}, run),
        ["a"],
        hosts,
        ["a", "b"],
        ["a", "b"],
        AT,
    )
    hosts["a"].update(
        rolling_answers={
            "a": dict(GRANTED["a"], granted=False, refusal="The run night has a in hand.")
        },
        rolling_stale=dict(LEFT, token="t"),
        **registered,
    )
    state = rollout.note(rollout.promised(state, ["a"], hosts), ["a"], hosts, LATER)
    document = record.record(
        hosts,
        ["a", "b"],
        ["a", "b"],
        run,
        state,
        dict(record.about("patch", AT, "me", False, {}), ended=AT),
    )
    jsonschema.validate(document, SCHEMA)
    row = document["hosts"][0]
    assert (
        words in row["reason"]
        and row["attention"]
        and row["still_drained"] is ("STILL" in words or "well" in words)
    )


def test_a_module_that_died_on_the_way_is_taken_for_what_it_may_have_done():
    crashed = {"msg": "MODULE FAILURE"}
    state, hosts = hand({"ksplice_ha_drain": DRAIN})
    died = {"results": [dict(crashed, item={"delegate_to": "a"})]}
    outcome = came_of(
        state, hosts, rolling_drain=died, rolling_put_back=died, rolling_apply={"skipped": True}
    )["outcomes"]["a"]
    assert (
        outcome["still_drained"]
        and "STILL OUT OF SERVICE: MODULE FAILURE" in outcome["reason"]
        and outcome["verdict"] == "behind"
    )
    state, hosts = hand({"ksplice_ha_gates": GATE})
    hosts["a"].update(
        rolling_gate_host_before=WELL, rolling_gate_host_after=ILL, rolling_apply=crashed
    )
    state = rollout.gated(rollout.gated(state, ["a"], hosts, "before"), ["a"], hosts, "after")
    assert state["hands"]["a"]["gate"] and not rollout.may_serve(
        state, "a", {"rolling_gate_undone": ILL}
    )


def test_a_step_that_broke_is_no_success_of_a_host_that_only_had_to_be_let_go():
    hosts = {"a": leased(ksplice_ha_drain=DRAIN)}
    run = rollout.start(hosts, ["a"], ["a"], {"max_failures": 9})
    state = rollout.take(
        rollout.batch(hosts, ["a"], ["a"], {"max_failures": 9}, {}, run),
        ["a"],
        hosts,
        ["a"],
        ["a"],
        AT,
    )
    assert not came_of(state, hosts, rolling_broke="Adopt what a dead run left: oh")["outcomes"][
        "a"
    ]["ok"]


def test_the_partner_that_died_with_the_address_is_no_fault_of_the_update():
    state, hosts = hand({"ksplice_ha_addresses": ["192.0.2.1"]})
    gone = {"results": [{"peer": "b", "unreachable": True}]}
    state = dict(state, groups={"p": {"members": ["a", "b"], "max_unavailable": 1}})
    hosts["a"].update(
        rolling_apply=PATCHED,
        rolling_gate_host_after=dict(WELL, checks=[]),
        rolling_gate_peers_after=gone,
    )
    assert rollout.gated(state, ["a"], hosts, "after")["hands"]["a"]["gate"] is None
    nobody = {"results": [dict(WELL, checks=[], peer="b")]}
    hosts["a"]["rolling_gate_peers_after"] = nobody
    assert (
        "held by none of a, b" in rollout.gated(state, ["a"], hosts, "after")["hands"]["a"]["gate"]
    )


def test_a_host_out_of_service_without_a_lease_is_told():
    """Such as one whose lease a person ended by hand."""
    hosts = {"a": surveyed("current"), "b": surveyed("current")}
    hosts["a"]["ksplice_survey"]["ansible_facts"]["uptrack"]["drained"] = [
        {"host": "a", "what": "keepalived"},
        {"host": "b", "what": "haproxy x y/b"},
    ]
    document = record.record(
        hosts,
        ["a", "b"],
        ["a", "b"],
        {},
        {},
        dict(record.about("status", AT, "me", False, {}), ended=AT),
    )
    jsonschema.validate(document, SCHEMA)
    assert document["summary"]["attention"] == ["a"] and document["hosts"][0]["still_drained"]
    assert "It is out of service (keepalived)" in document["hosts"][0][
        "reason"
    ] and "any_token=true" in "\n".join(record.lines(document))


def test_mistakes_in_gates_and_drains_are_found_before_any_host_is_asked():
    for variables, words in (
        ({"ksplice_ha_gates": [{"comand": "true"}]}, "has comand"),
        ({"ksplice_ha_drain": [{"adapter": "x"}]}, "there is no adapter 'x'"),
        (
            {"ksplice_ha_drain": [dict(DRAIN[0], delegate_to="nobody")]},
            "which is not in the inventory",
        ),
    ):
        assert words in rollout.ready({"a": variables}, ["a"], ["a"], {})["error"]


def test_a_machine_is_what_the_inventory_says_of_one_of_its_names():
    """The groups that run on it count only where the inventory names none for any of its names."""

    def of(name, **variables):
        one = surveyed(**variables)
        one["ksplice_survey"]["ansible_facts"]["uptrack"].update(
            host_id={"a": "1", "a2": "1"}.get(name, name), redundancy=["keepalived"]
        )
        one["ksplice_ha_asked"] = {
            "ansible_facts": {
                "ha": {
                    "groups": [
                        {
                            "name": "x",
                            "kind": "keepalived",
                            "role": "standby",
                            "addresses": [],
                            "instances": [],
                            "peers": [],
                        }
                    ],
                    "role": "standby",
                    "problems": [],
                }
            }
        }
        return one

    for hosts, options in (
        (
            {
                "a": of("a"),
                "a2": of("a2", ksplice_ha_group="inv"),
                "b": of("b", ksplice_ha_group="inv"),
            },
            {},
        ),
        ({"a": of("a"), "a2": of("a2"), "b": of("b")}, {"groups": {"inv": ["a2", "b"]}}),
    ):
        run = rollout.start(hosts, sorted(hosts), sorted(hosts), options)
        assert "error" not in run, run["error"]
        assert (
            sorted(name for wave in run["waves"] for name in wave)
            == sorted({"a", "a2", "b"} - set(run["aliases"]))
            and len(run["waves"]) == 2
        )
        assert list(run["groups"]) == ["inv"]


def test_each_host_is_read_once():
    class Counted(dict):
        reads = 0

        def __getitem__(self, name):
            Counted.reads += 1
            return super().__getitem__(name)

    hosts = Counted(
        {f"h{number}": surveyed(ksplice_ha_group=f"g{number // 2}") for number in range(20)}
    )
    about = {"options": {"max_parallel": 10, "groups": {"more": ["h1", "h2"]}}}
    assert (
        rollout.ready(hosts, sorted(hosts), sorted(hosts), about) == about and Counted.reads == 20
    )
    assert (
        "error" not in rollout.start(hosts, sorted(hosts), sorted(hosts), about["options"])
        and Counted.reads == 40
    )


CHECK = {"max_parallel": 10}


@pytest.mark.parametrize(
    "hosts, words",
    [
        # A variable of the run is read once, and hosts that differ in it would get another's.
        (
            {"a": {}, "b": {"ksplice_window": {"from": "00:00"}}},
            "ksplice_window differs between a and b",
        ),
        (
            {"a": {"ksplice_drain": "never"}, "b": {"ksplice_drain": "always"}},
            "ksplice_drain differs between a and b",
        ),
        (
            {"a": {"ksplice_stop_file": "~/STOP"}},
            "ksplice_stop_file is '~/STOP': give an absolute path",
        ),
        ({"a": {"ksplice_timeout": "\u00b2"}}, "ksplice_timeout is '\u00b2'"),
        ({"a": {"ksplice_ha_gates": [{"command": True}]}}, "ksplice_ha_gates has command: True"),
        ({"a": {"ksplice_ha_gates": [{"command": False}]}}, "ksplice_ha_gates has command: False"),
        (
            {"a": {"ksplice_ha_gates": [{"command": "x", "timeout": "\u00b2"}]}},
            "ksplice_ha_gates has timeout: \u00b2",
        ),
        (
            {"a": {"ksplice_ha_gates": [{"command": "x", "baseline": "perhaps"}]}},
            "baseline of ksplice_ha_gates is 'perhaps': give true or false",
        ),
        (
            {"a": {"ksplice_ha_gates": [{"port": "http"}]}},
            "ksplice_ha_gates has 'http' for a number",
        ),
        ({"a": {"ksplice_ha_gates": [{"port": 99999}]}}, "ports are 1 to 65535"),
        ({"a": {"ksplice_ha_gates": [{"url": "ftp:/x"}]}}, "a URL begins with http"),
        ({"a": {"ksplice_ha_gates": [{"port": 80, "status": 200}]}}, "status goes with url only"),
        (
            {"a": {"ksplice_ha_drain": [{"adapter": "nginx", False: "lb", "server": "x"}]}},
            "has no option False",
        ),
        (
            {"a": {"ksplice_ha_drain": [{"adapter": "custom", "drain": True, "undo": "x"}]}},
            "drain is True: give a text",
        ),
        (
            {"a": {"ksplice_ha_drain": [{"adapter": "custom", "drain": "a | b", "undo": "x"}]}},
            "only a shell understands",
        ),
        (
            {
                "a": {
                    "ksplice_ha_drain": [
                        {"adapter": "nginx", "file": "x.conf", "upstream": "u", "server": "s"}
                    ]
                }
            },
            "give an absolute path",
        ),
        ({"a": {"ksplice_ha_addresses": 5}}, "ksplice_ha_addresses is 5"),
        ({"a": {"ksplice_stage": "mars"}}, "stage 'mars'"),
        (
            {
                "a": {"ksplice_ha_role": "boss", "ksplice_ha_group": "g"},
                "b": {"ksplice_ha_group": "g"},
            },
            "role 'boss'",
        ),
    ],
)
def test_what_needs_no_answer_of_a_host_is_refused_before_any_is_asked(hosts, words):
    error = rollout.ready(hosts, sorted(hosts), sorted(hosts), {"options": CHECK})["error"]
    assert words in error and "\n" not in error


@pytest.mark.parametrize(
    "groups, words",
    [
        ({51: ["a", "b"]}, "has a group 51"),
        ({"g": ["a", "zz"]}, "names zz, which is not in the inventory"),
        ({"far": ["zz", "zz"], "g": ["a", "b"]}, None),
    ],
)
def test_groups_of_the_run(groups, words):
    about = {"options": dict(CHECK, groups=groups)}
    found = rollout.ready({"a": {}, "b": {}, "c": {}}, ["a", "b", "c"], ["a", "b"], about)
    assert words in found["error"] if words else found == about


def test_a_check_is_forgiven_by_its_own_name_only():
    """Two checks that would be called alike: one of them may be bad, the other may not."""
    gate = ha_settings.gates(
        "a",
        {
            "ksplice_ha_gates": [
                {"command": "is app"},
                {"command": "is legacy", "baseline": True},
                {"port": 443},
                {"port": 443, "run_on": "peers", "baseline": "yes"},
                {"name": 8080, "port": 8080, "baseline": "no"},
            ]
        },
    )
    assert gate["baseline"] == ["command is \u2026 (2)", "port 443 of 127.0.0.1 (2)"]
    assert [one["name"] for one in ha_settings.checks(gate, "host", "after", gate["baseline"])] == [
        "command is \u2026",
        "port 443 of 127.0.0.1",
        "8080",
    ]
    assert ha_settings.checks(gate, "peers", "after", gate["baseline"]) == []


def test_more_than_one_only_where_every_member_says_so():
    hosts = {name: surveyed(ksplice_ha_group="g", ksplice_ha_max_unavailable=2) for name in "abcd"}
    assert (
        rollout.start(hosts, sorted(hosts), sorted(hosts), {})["groups"]["g"]["max_unavailable"]
        == 2
    )
    del hosts["c"]["ksplice_ha_max_unavailable"]
    run = rollout.start(hosts, sorted(hosts), sorted(hosts), {})
    assert run["groups"]["g"]["max_unavailable"] == 1 and max(map(len, run["waves"])) == 1


@pytest.mark.parametrize(
    "window, words",
    [
        ("", None),
        ({}, None),
        ({"from": "22:00", "to": "04:00"}, None),
        ({"until": "05:00"}, "unknown key 'until'"),
        ({"timezone": "Europe/Berln"}, "time zone"),
        ("22:00-05:00", "is not a mapping"),
    ],
)
def test_a_window_that_cannot_be_understood_is_told_before_any_host_is_asked(window, words):
    found = rollout.ready({"a": {"ksplice_window": window}}, ["a"], ["a"], {"options": CHECK})
    assert (
        f"ksplice_window cannot be understood ({words}" in found["error"] or words in found["error"]
        if words
        else found == {"options": CHECK}
    )


def test_without_a_plan_plan_and_record_say_why():
    hosts = {"a": surveyed(ksplice_ha_group="p"), "b": surveyed(ksplice_ha_group="p")}
    run = rollout.start(hosts, ["a", "b"], ["a"], {})
    assert (
        record.plan_lines(run) == [f"No plan: {run['error']} No host is patched."]
        and "is split" in run["error"]
    )
    document = record.record(
        hosts,
        ["a", "b"],
        ["a"],
        run,
        {},
        dict(record.about("patch", AT, "me", False, {}), ended=LATER),
    )
    assert "is split" in document["hosts"][0]["reason"] and any(
        "is split" in event["what"] for event in document["events"]
    )


@pytest.mark.parametrize(
    "began, given_up, words",
    [
        ([], [], "the run ended before wave 1. No wave was begun at all"),
        ([["b"]], ["a"], "Ansible had given this host up"),
        ([["a", "b"]], [], "broke off before this host was taken in hand"),
        ([["b"]], [], "did not find it by its name"),
    ],
)
def test_a_host_of_the_plan_that_was_never_reached_says_what_was_seen(began, given_up, words):
    hosts = {"a": surveyed(), "b": surveyed(build="k2")}
    run = rollout.start(hosts, ["a", "b"], ["a", "b"], {})
    assert run["waves"] == [["a", "b"]]
    about = dict(record.about("patch", AT, "me", False, {}), ended=LATER)
    document = record.record(
        hosts, ["a", "b"], ["a", "b"], run, {"outcomes": {}, "began": began}, about, given_up
    )
    row = document["hosts"][0]
    assert (
        words in row["reason"]
        and row["attention"]
        and not row["canary"]
        and document["summary"]["attention"] == ["a", "b"]
    )


def test_a_run_that_ended_early_says_so():
    hosts = {"a": surveyed(), "b": surveyed()}
    run = rollout.start(hosts, ["a", "b"], ["a", "b"], {})
    about = dict(record.about("patch", AT, "me", False, {}), ended=LATER)
    document = record.record(
        hosts, ["a", "b"], ["a", "b"], run, {"outcomes": {}, "began": [["a"]]}, about, ["a"]
    )
    assert document["hosts"][1]["reason"] == "Not patched: the run ended before wave 2."
