# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The controller's half of a turn: who is claimed, what the answers amount to, what is recorded."""

from __future__ import annotations

import copy
import json
import re
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from ansible_collections.rebootless.ksplice.plugins.action import ha_check, uptrack_turn
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import steps
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import (
    host_action,
    record,
    rollout,
    run_files,
    schema,
    turns,
)
from extent import rounds
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from rolled import (  # noqa: E402
    AT,
    DRAIN,
    FAILED,
    LATER,
    OPTIONS,
    PATCHED,
    SCHEMA,
    TOP,
    result,
    surveyed,
    turn,
)

CHECK = [{"name": "healthy", "command": "true"}]
TIMES = {"claimed": "2026-11-22T03:00:00.000Z", "now": LATER}
GRANTED = {
    "granted": True,
    "refusal": None,
    "changed": True,
    "leases": [],
    "busy": False,
    "waited": 0,
}


def sliced(hosts, **options):
    """The first wave of the plan of some hosts."""
    run = rollout.start(hosts, sorted(hosts), sorted(hosts), dict(OPTIONS, **options))
    return rollout.slices(run, hosts, dict(OPTIONS, **options))[0]


def claimed(name="a", options=(), proven=None, **variables):
    part = sliced({name: surveyed(**variables)})
    choice = {"proven": proven, "canary": True, "reason": None, "reason_code": None}
    return turns.claim(part, name, choice, "t", "r", dict(OPTIONS, **dict(options)))


def pair(**variables):
    hosts = {name: surveyed(ksplice_ha_group="p", **variables) for name in "ab"}
    choice = {"proven": None, "canary": True, "reason": None, "reason_code": None}
    return turns.claim(sliced(hosts), "a", choice, "t", "r", OPTIONS)


def checked(ok=True, holds=(), name="healthy", msg="status 1"):
    return {"checks": [{"name": name, "ok": ok, "msg": None if ok else msg}], "holds": holds}


def came(turn_of_it, proven=None, released=None, **more):
    """The outcome of host a."""
    part = sliced({"a": surveyed()})
    choice = {"proven": proven, "canary": True, "reason": None, "reason_code": None, "token": "t"}
    given = dict(result(turn_of_it), **more)
    return turns.outcome(part, "a", choice, given, released, TIMES)


# ---- who is claimed ----


def test_a_host_in_no_group_has_a_lease_of_its_own_and_no_handlers():
    one = claimed(ksplice_ha_drain=DRAIN)
    assert one["groups"] == [{"name": "a", "members": ["a"], "max_unavailable": 1}]
    assert one["members"] == ["a"] and turns.notify(one) == {"before": [], "after": []}
    assert turns.order(one, [])["drains"] == [DRAIN[0]]


def test_a_pair_asks_its_second_member_and_releases_it():
    assert turns.notify(pair()) == {
        "before": ["rolling second lease"],
        "after": ["rolling release"],
    }
    peers = [dict(CHECK[0], run_on="peers")]
    assert turns.notify(pair(ksplice_ha_checks=peers))["after"] == [
        "rolling first post-check",
        "rolling finish",
        "rolling release",
    ]


def test_drain_never_drains_nothing():
    assert turns.order(claimed(ksplice_ha_drain=DRAIN), [])["drains"]
    one = claimed(options={"drain_mode": "never"}, ksplice_ha_drain=DRAIN)
    assert not turns.order(one, [])["drains"] and one["balancers"] == []


def test_balancers_come_first_and_keep_the_lease():
    part = sliced({"a": surveyed(ksplice_ha_drain=[dict(DRAIN[0], delegate_to="lb")]), "lb": {}})
    choice = {"proven": None}
    one = turns.claim(part, "a", choice, "t", "r", OPTIONS)
    assert one["balancers"] == ["lb"] and turns.order(one, [])["keep_lease"]
    assert turns.order(one, [])["drains"] == []
    assert turns.notify(one) == {
        "before": ["rolling first balancer"],
        "after": ["rolling first balancer restored", "rolling own lease"],
    }


@pytest.mark.parametrize(
    "conditions, code, words",
    [
        ({"stop": True, "stop_file": "/stop"}, "closed", "the stop file /stop"),
        ({"window": {"timezone": "Nowhere"}}, "closed", "counts as closed"),
        ({"window": None}, None, None),
    ],
)
def test_conditions_are_looked_at_before_a_wave(conditions, code, words):
    chosen = turns.select(sliced({"a": surveyed()}), turns.begun(), AT, (), conditions)["a"]
    assert chosen["reason_code"] == code and (words is None or words in chosen["reason"])


def test_a_peer_that_ansible_gave_up_keeps_its_peer_in_service():
    part = sliced({name: surveyed(ksplice_ha_group="p") for name in "ab"})
    chosen = turns.select(part, turns.begun(), AT, ("b",), {"max_failures": 5})["a"]
    assert chosen["reason"] == "Skipped: b of its group p failed or became unreachable in this run."
    assert chosen["reason_code"] == "peer_failed"


def test_a_canary_that_is_skipped_has_one_successor_and_not_a_crowd():
    hosts = {f"h{number}": surveyed() for number in range(4)}
    parts = rollout.slices(
        rollout.start(hosts, sorted(hosts), sorted(hosts), OPTIONS), hosts, OPTIONS
    )
    assert [len(part["hosts"]) for part in parts] == [1, 3]
    chosen = turns.select(parts[1], turns.begun(), AT, (), {"max_failures": 5})
    assert [name for name in chosen if not chosen[name]["reason"]] == ["h1"]
    assert [name for name in chosen if chosen[name]["canary"]] == ["h1"]
    assert chosen["h2"]["reason_code"] == "canary_ahead"


def test_later_hosts_get_what_the_canary_took_and_no_more():
    progress = turns.begun()
    part = sliced({"a": surveyed(), "b": surveyed()})
    progress = turns.note(progress, part, {"a": came(turn())}, LATER)
    other = sliced({"b": surveyed()})
    chosen = turns.select(other, progress, AT, (), {"promote": True})["b"]
    assert chosen["proven"] == {"host": "a", "updates": ["aaaa"]}
    assert turns.select(other, progress, AT, (), {"promote": False})["b"]["proven"] is None
    asked = turns.order(claimed(proven=chosen["proven"]), [])["apply"]
    assert asked["state"] == "present" and asked["exact"] and asked["updates"] == ["aaaa"]
    left = [{"id": "bbbb", "name": "CVE-2026-2: y.", "age": 7, "first_seen": AT}]
    outcome = came(turn(dict(PATCHED, verdict="behind", left=left)), chosen["proven"])
    assert outcome["ok"] and outcome["reason_code"] == "deferred"
    assert outcome["deferred"] == [{"id": "bbbb", "name": "CVE-2026-2: y.", "age": 7}]
    # Behind without having what the canary has is no success.
    short = dict(PATCHED, verdict="behind", after={"effective": "k1", "updates": []}, left=left)
    assert not came(turn(short), chosen["proven"])["ok"]


# ---- whether a turn may begin ----


def test_a_host_that_is_unhealthy_before_is_skipped():
    one = claimed(ksplice_ha_checks=CHECK)
    judged = turns.judge(one, {"a": dict(GRANTED, **checked(False))}, None)
    assert judged["reason_code"] == "pre_check_failed"
    assert "healthy (status 1, on a)" in judged["reason"]
    assert turns.judge(one, {"a": dict(GRANTED, **checked())}, None)["reason"] is None


def test_what_was_bad_before_may_stay_so_where_it_is_allowed_to():
    one = claimed(ksplice_ha_checks=[dict(CHECK[0], allow_preexisting=True)])
    judged = turns.judge(one, {"a": dict(GRANTED, **checked(False))}, None)
    assert judged["reason"] is None and judged["known"] == ["healthy"]
    assert turns.order(one, judged["known"])["checks"] == []
    assert [check["name"] for check in turns.order(one, [])["checks"]] == ["healthy"]


def entry(host, stale=False, group="p"):
    return {
        "token": "x",
        "run": "other",
        "host": host,
        "own": True,
        "stale": stale,
        "groups": [{"name": group, "members": ["a", "b"], "max_unavailable": 1}],
        "reason": "patching",
        "phase": "acquired",
    }


@pytest.mark.parametrize(
    "answers, code",
    [
        ({"a": GRANTED, "b": GRANTED}, None),
        ({"a": GRANTED, "b": None}, "lease_refused"),
        ({"a": GRANTED}, "lease_refused"),
        ({"a": dict(GRANTED, granted=False, refusal="no")}, "lease_refused"),
        (
            {"a": dict(GRANTED, granted=False, refusal="no", leases=[entry("b", True)])},
            "lease_stale",
        ),
        ({"a": GRANTED, "b": dict(GRANTED, leases=[entry("b")])}, "lease_refused"),
        ({"a": GRANTED, "b": dict(GRANTED, busy=True)}, "lease_refused"),
        ({"a": GRANTED, "b": {"msg": "not JSON"}}, "no_answer"),
    ],
)
def test_every_member_has_to_grant_its_lease(answers, code):
    judged = turns.judge(pair(), answers, None)
    assert judged["reason_code"] == code
    assert code is None or judged["reason"].startswith("Skipped: ")


# ---- what came of it ----


def test_what_a_good_turn_amounts_to():
    outcome = came(turn())
    assert outcome["ok"] and outcome["claimed"] and outcome["reason_code"] == "patched"
    assert outcome["installed"] == ["aaaa"] and outcome["verdict"] == "current"
    assert outcome["reason"] == "Nothing is waiting."


def test_what_could_not_be_drained_was_not_patched():
    why = {"reason_code": "not_drained", "reason": "keepalived was not drained."}
    outcome = came(turn(None, **why))
    assert not outcome["ok"] and outcome["seen"] and outcome["reason_code"] == "not_drained"
    assert outcome["reason"] == (
        "Not patched, as it could not be drained: keepalived was not drained."
    )


def test_a_lease_that_was_lost_before_anything_was_done():
    outcome = came(turn(None, reason_code="lease_lost", reason="It was taken over."))
    assert outcome["reason"] == "Not patched, nothing was changed: It was taken over."
    refused = came(None, msg="This run has no lease.", changed_nothing=True)
    assert not refused["ok"] and not refused["claimed"] and refused["reason_code"] == "refused"
    assert refused["reason"] == "Not patched, nothing was changed: This run has no lease."


@pytest.mark.parametrize(
    "rolled_back, state, serves, words",
    [
        ({"ok": True, "removed": ["aaaa"]}, "released", True, "was rolled back (aaaa)"),
        ({"ok": True, "removed": ["aaaa"]}, "stuck", False, "NOT healthy without it either"),
        ({"ok": False, "msg": "It is busy."}, "stuck", False, "NOT be rolled back: It is busy."),
    ],
)
def test_what_a_rollback_came_to(rolled_back, state, serves, words):
    one = turn(
        rolled_back=rolled_back,
        state=state,
        drained=["custom out"],
        reason_code="unhealthy",
        reason="healthy (status 1)",
    )
    outcome = came(one)
    assert not outcome["ok"] and words in outcome["reason"]
    assert outcome["still_drained"] is not serves
    assert ("STILL OUT OF SERVICE" in outcome["reason"]) is not serves
    part = sliced({"b": surveyed()})
    progress = turns.note(turns.begun(), sliced({"a": surveyed()}), {"a": outcome}, LATER)
    banned = turns.select(part, progress, AT, (), {"max_failures": 9})["b"]
    assert banned["reason_code"] == "banned" and "a was unhealthy after" in banned["reason"]


def test_a_host_that_does_not_come_back_is_reported_prominently():
    one = turn(state="stuck", drained=["keepalived"], not_restored="keepalived is NOT back.")
    outcome = came(one)
    assert outcome["still_drained"] and outcome["reason_code"] == "not_restored"
    assert "STILL OUT OF SERVICE: keepalived is NOT back." in outcome["reason"]


@pytest.mark.parametrize("state", ["draining", "applying", "waiting", "rolling_back", "restoring"])
def test_a_turn_that_is_not_over_is_no_success(state):
    under_way = turn(state=state, drained=["keepalived"])
    outcome = came(under_way, msg="The disk is full.")
    assert not outcome["ok"] and outcome["still_drained"] and outcome["reason_code"] == "no_answer"
    assert "the next run reads the result. The disk is full." in outcome["reason"]


def test_a_host_that_is_stuck_is_out_of_service_only_where_it_was_not_restored():
    stuck = dict(state="stuck", reason_code="unhealthy", reason="gate", drained=["keepalived"])
    assert came(turn(**stuck, restored=None))["still_drained"]
    served = came(turn(**stuck, restored=["keepalived"]))
    assert not served["still_drained"] and "STILL OUT" not in served["reason"]
    assert "It is stuck: gate" in served["reason"] and not served["ok"]
    cut_off = dict(stuck, drained=[], restored=[], not_restored="status 1")
    assert came(turn(None, **cut_off))["still_drained"], "killed while it was drained"
    left = {"host": "a", "run": "night", "age": 900}
    assert turns.taken_over(left, {"resumed": {"turn": turn(None, **cut_off)}})["still_drained"]
    stays = came(turn(**dict(stuck, reason="No verdict."), restored=None, lost_controller=True))
    assert "restored by its own checks" not in stays["reason"]


def test_a_lost_host_is_unknown_and_ends_its_turn_by_itself():
    outcome = came(None, unreachable_host=True, msg="no route")
    assert outcome["verdict"] == "unreachable" and outcome["claimed"] and not outcome["ok"]
    assert "it ends by itself" in outcome["reason"] and "no route" in outcome["reason"]


def test_a_lease_that_could_not_be_released_is_in_the_record():
    outcome = came(turn(), released={"b": {"granted": False}})
    assert outcome["ok"] and "The lease on b could not be released" in outcome["reason"]
    assert "could not" not in came(turn(), released={"b": {"granted": True}})["reason"]


@pytest.mark.parametrize(
    "of_host, own, keep",
    [
        # Its turn has released its own lease.
        ({"turn": turn()}, None, {"a": False, "b": False}),
        # It serves, and the host is asked first; what it says holds for its peers.
        ({"turn": turn(state="restored")}, {"granted": True}, {"a": False, "b": False}),
        ({"turn": turn(state="restored")}, {"granted": False}, {"a": False, "b": True}),
        ({"turn": turn(state="restored")}, {"unreachable_host": True}, {"a": False, "b": True}),
        ({"turn": turn(state="restored")}, None, {"a": False, "b": True}),
        # It may be out of service.
        ({"turn": turn(state="stuck")}, {"granted": True}, {"a": True, "b": True}),
        ({"turn": None, "unreachable_host": True}, None, {"a": True, "b": True}),
        (None, None, {"a": True, "b": True}),
        # Nothing was begun: what was granted goes, and where the host granted nothing, the others'.
        ({"turn": None, "judged": {"reason": "refused"}}, None, {"a": False, "b": False}),
        ({"turn": None, "judged": {"reason": "r"}}, {"granted": True}, {"a": False, "b": False}),
        ({"turn": None, "judged": {"reason": "r"}}, {"granted": False}, {"a": False, "b": True}),
        ({"turn": None, "changed_nothing": True}, {"granted": False}, {"a": False, "b": True}),
    ],
)
def test_the_peers_keep_a_lease_for_as_long_as_the_host_may(of_host, own, keep):
    one = pair()
    assert {name: turns.keeps_lease(one, name, of_host, [], own) for name in "ab"} == keep
    undone = [{"done": False}]
    assert all(turns.keeps_lease(one, name, of_host, undone, own) for name in "ab")


def test_the_peer_that_died_with_the_address_is_no_fault_of_the_update():
    one = pair(ksplice_ha_addresses=["192.0.2.1"])
    waiting = turn(state="waiting", holds=[])
    gone = [("b", {"unreachable_host": True, "msg": "no route"})]
    assert turns.verdict(one, [], waiting, gone, None)["good"]
    nobody = [("b", dict(checked(), holds=[]))]
    verdict = turns.verdict(one, [], waiting, nobody, None)
    assert not verdict["good"] and "the address 192.0.2.1" in verdict["reason"]


def test_exactly_one_member_holds_each_address_at_the_end():
    one = pair(ksplice_ha_addresses=["192.0.2.1"])
    for own, peer, bad in (
        [[], ["192.0.2.1"], False],
        [[], [], True],
        [["192.0.2.1"]] * 2 + [True],
    ):
        ended = turn(holds=own)
        wrong = turns.address_trouble(one, ended, {"b": dict(GRANTED, holds=peer)})
        assert bool(wrong) is bad, (own, peer, wrong)
    # What nobody saw is not wrong, and nor is it right.
    assert turns.address_trouble(one, turn(holds=[]), {}) is None


def test_what_a_stopped_run_left_is_reported():
    left = {"host": "a", "run": "night", "age": 900}
    resumed = {"turn": turn(state="restored", restored=["custom out"])}
    told = turns.taken_over(left, {"resumed": resumed, "released": {"granted": True}})
    assert told["released"] and told["what"].endswith(", and a restored.")
    stuck = turn(state="stuck", drained=["x"], reason_code="unhealthy", reason="it is ill")
    told = turns.taken_over(left, {"resumed": {"turn": stuck}})
    assert not told["released"] and told["still_drained"] and "not healthy" in told["what"]
    told = turns.taken_over(left, {"resumed": {"refusal": "A process is at work on a."}})
    assert told["what"].endswith("It could not be taken over: A process is at work on a.")


def test_every_reason_has_a_code():
    for one in (
        came(turn()),
        came(turn(FAILED)),
        came(None),
        came(turn(None, reason_code="interrupted", reason="cut off")),
    ):
        assert one["reason_code"] in turns.REASON_CODES, one


@pytest.mark.parametrize("fail", [True, False])
def test_a_failed_check_fails_its_task_where_it_is_asked_to(fail):
    answer = dict(schema.ha_check(dict(checked(ok=False), ok=False)), seconds=2.0)
    result = ha_check.ActionModule._judged(answer, fail)
    assert bool(result.get("failed")) is fail and not result["changed"]
    assert not fail or result["msg"] == "Unhealthy after 2.0 s: healthy (status 1)."


# ---- at the border ----

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
GOOD = {
    "lease": dict(GRANTED, leases=[dict(entry("b"), age=1, seconds=600, took=[])], **checked()),
    "turn": {"changed": True, "refusal": None, "alive": True, "turn": turn()},
    "gate": dict(checked(), ok=True, seconds=1.0),
    "drained": {"changed": True, "done": True, "drained": [], "left": []},
}


def places(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in inner if isinstance(value, (dict, list)) else ():
        yield from places(one, (*path, key)) if isinstance(one, (dict, list)) else [(*path, key)]


@st.composite
def answers(draw, kind):
    """A good answer of a kind with something else in one or two places."""
    found = copy.deepcopy(GOOD[kind])
    for _time in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(list(places(found))))
        if not path:
            return draw(JSON)
        inner = found
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = draw(JSON | st.sampled_from([1e300, "x" * 20_000, "b", ["a"], {"a": 1}]))
    return found


def both():
    """A pair whose second member has its turn: hosts, plan, slice."""
    hosts = {name: surveyed(ksplice_ha_group="p") for name in "ab"}
    run = rollout.start(hosts, ["a", "b"], ["a", "b"], dict(OPTIONS, max_failures=9))
    part = rollout.slices(run, hosts, OPTIONS)[1]
    assert list(part["hosts"]) == ["b"]
    return hosts, run, part


BOTH = both()
RECORD = jsonschema.validators.validator_for(SCHEMA)(SCHEMA)


@settings(max_examples=rounds(10_000, 150), deadline=None)
@given(answers("lease"), answers("turn"), answers("gate"))
def test_nothing_that_a_host_answers_gets_past_the_border(lease, of_turn, gate):
    """Whatever b says: no exception, a has the outcome that it has without b's answer being odd,
    and there is a record.
    """
    hosts, run, part = BOTH
    choice = turns.select(part, turns.begun(), AT, (), {"max_failures": 9})["b"]
    one = turns.claim(part, "b", choice, "t", "r", OPTIONS)
    said = host_action.believed(lease, schema.lease)
    turns.judge(one, {"a": GRANTED, "b": said}, None)
    turns.judge(one, {"a": GRANTED, "b": GRANTED}, host_action.believed(gate, schema.ha_check))
    told = host_action.believed(of_turn, schema.turn)
    ended = told.get("turn")
    if ended is not None:
        peers = [("a", host_action.believed(gate, schema.ha_check))]
        turns.verdict(one, [], ended, peers, None)
        turns.address_trouble(one, ended, {"a": said})
    mine = turns.outcome(part, "b", choice, dict(result(ended), **told), {"a": said}, TIMES)
    mine = (
        dict(mine, seen=surveyed()["ksplice_survey"]["ansible_facts"]["uptrack"])
        if mine.get("seen")
        else mine
    )
    if mine.get("seen"):
        mine["verdict"] = "behind"
    outcomes = {"a": came(turn()), "b": mine}
    turns.note(turns.begun(), part, outcomes, LATER)
    about = dict(record.about("patch", AT, "me", False, {}), ended=AT)
    state = {"outcomes": outcomes, "began": run["waves"]}
    document = record.record(hosts, ["a", "b"], ["a", "b"], run, state, about)
    RECORD.validate(json.loads(json.dumps(document)))
    assert document["hosts"][0]["verdict"] == "current" and document["hosts"][0]["name"] == "a"


# ---- the role and the code know the same names ----


def test_every_registered_result_is_read_and_the_other_way_round():
    registered = set()
    for path in (TOP / "roles/rolling").glob("*/*.yml"):
        if path.parent.name not in ("tasks", "handlers"):
            continue
        for task in yaml.safe_load(path.read_text()):
            if "register" in task:
                registered.add(task["register"])
    read = {name for names in run_files.REGISTERED.values() for name in names}
    # Those that the role's own tasks read, and the action plugin by name.
    text = "".join(
        path.read_text()
        for path in [*(TOP / "roles/rolling").glob("*/*.yml"), TOP / "plugins/action/rollout.py"]
    )
    elsewhere = {name for name in registered - read if len(re.findall(rf"\b{name}\b", text)) > 1}
    assert registered == read | elsewhere
    assert read <= registered


def test_an_order_has_all_that_the_host_reads():
    assert set(turns.order(claimed(), [])) == set(steps.ORDER)


@pytest.mark.parametrize(
    "answer, why",
    [
        ({"changed": True, "refusal": None, "turn": None}, "no turn of this run"),
        ({"changed": True, "refusal": None, "turn": turn(token="u")}, "no turn of this run"),
        ({"changed": False, "refusal": "It is busy.", "turn": None}, "It is busy."),
        ({"failed": True, "msg": "no answer"}, "no answer"),
        ({"changed": True, "refusal": None, "turn": turn()}, None),
    ],
)
def test_only_a_turn_of_the_run_is_followed(answer, why):
    found = uptrack_turn.ActionModule._no_turn(answer, claimed())
    assert found is None if why is None else why in found
