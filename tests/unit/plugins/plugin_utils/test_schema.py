# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Whatever a host answers: it is as the module gives it, or it is refused for that host, with a
sentence.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import apply, facts
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import groups as ha_groups
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import lease_task
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import host_action, schema
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import ha_settings
from extent import rounds
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from rolled import turn  # noqa: E402

ENTRY = {
    "token": "t",
    "run": "dead",
    "host": "b",
    "own": True,
    "groups": [{"name": "p", "members": ["a", "b"], "max_unavailable": 1}],
    "reason": "x",
    "phase": "acquired",
    "seconds": 600,
    "took": [],
    "acquired_at": None,
    "renewed_at": None,
    "age": 5,
    "stale": False,
}
LEASE = {
    "granted": True,
    "changed": True,
    "refusal": None,
    "leases": [ENTRY],
    "busy": False,
    "waited": 0,
}
GROUP = {
    "name": "p",
    "kind": "keepalived",
    "role": "active",
    "addresses": ["192.0.2.1"],
    "instances": [],
    "peers": [],
}
HA = {"groups": [GROUP], "role": "active", "problems": []}
HA_CHECK = {"ok": True, "checks": [{"name": "x", "ok": True, "msg": None}], "holds": ["192.0.2.1"]}
SHAPES = [
    (schema.lease, LEASE),
    (schema.groups, HA),
    (schema.turn, {"changed": True, "refusal": None, "alive": True, "turn": turn()}),
    (schema.ha_check, HA_CHECK),
]
NASTY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["current", "a", "x" * 10_001, 1e300, -1]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "ok", "host", "members", "updates", "after"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def places(document, path=()):
    """Every place in a document, as the keys that lead to it."""
    yield path
    for key in (
        document
        if isinstance(document, dict)
        else range(len(document))
        if isinstance(document, list)
        else ()
    ):
        yield from places(document[key], (*path, key))


def bent(document, path, value):
    """The document with another value at a place."""
    if not path:
        return value
    found = json.loads(json.dumps(document))
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return found


@pytest.mark.parametrize("check, good", SHAPES, ids=lambda one: getattr(one, "__name__", ""))
def test_what_the_module_gives_comes_through_and_nothing_else(check, good):
    told = check(dict(good, ansible_facts={"ksplice_ha_drain": []}, another=1))
    assert set(told) >= set(good)
    assert "ansible_facts" not in told and "another" not in told
    for key in good:
        assert told[key] == good[key] or isinstance(good[key], (dict, list))


@pytest.mark.parametrize("check, good", SHAPES, ids=lambda one: getattr(one, "__name__", ""))
@settings(max_examples=rounds(2500, 60), deadline=None)
@given(data=st.data())
def test_an_odd_answer_is_a_sentence(check, good, data):
    path = data.draw(st.sampled_from(list(places(good))))
    try:
        check(bent(good, path, data.draw(NASTY)))
    except schema.Misfit as misfit:
        assert str(misfit).startswith("The host's answer is not as ") and len(str(misfit)) < 400


@pytest.mark.parametrize("wrong", [5, "x", None, [], [[]]], ids=repr)
def test_deep_and_plain_nonsense(wrong):
    for check, _good in SHAPES:
        with pytest.raises(schema.Misfit):
            check(wrong)


def test_facts_in_an_answer_about_leases_are_left_behind():
    """Ansible would give them to the host that the task is delegated from, where they win over the
    inventory.
    """
    facts = {"ksplice_ha_drain": [{"adapter": "custom"}]}
    told = host_action.believed(dict(LEASE, ansible_facts=facts, _ansible_x=1), schema.lease)
    assert told["granted"] and not {"ansible_facts", "_ansible_x"} & set(told)
    for wrong in (
        5,
        None,
        [],
        dict(LEASE, granted="yes"),
        dict(LEASE, leases=[5]),
        {"failed": True, "msg": ["x"]},
        {"failed": True, "msg": "x" * 20_000},
        {"failed": True, "granted": True},
    ):
        told = host_action.believed(wrong, schema.lease)
        assert told["failed"] and "ansible_facts" not in told and "granted" not in told, wrong


def test_a_group_that_is_none_leaves_its_own_host_alone():
    found = ha_settings.discovered(
        {
            "ksplice_ha_asked": {
                "ansible_facts": {"ha": {"groups": [5], "role": None, "problems": []}}
            }
        }
    )
    assert found["groups"] == [] and "groups[0] is not a mapping" in found["problems"][0]


@pytest.mark.parametrize("began", [1e300, -1, "x", float("nan"), True])
def test_an_odd_number_is_one_host_that_is_not_known(began):
    said = {"changed": True, "refusal": None, "alive": False, "turn": dict(turn(), began=began)}
    told = host_action.believed(said, schema.turn)
    assert told["failed"] and "turn" not in told
    assert "began is not a number" in told["msg"]


def test_an_address_that_was_not_asked_for():
    gate = dict(ha_settings.wanted_checks("a", {}), addresses=["192.0.2.1"])
    looks = {"host": [("a", schema.ha_check(dict(HA_CHECK, holds=["192.0.2.1", "198.51.100.9"])))]}
    assert ha_settings.failed_checks(gate, looks, ["a"], []) == {}


@pytest.mark.parametrize(
    "params, scenario",
    [
        ({}, {}),
        ({}, {"installed": ["aaaaaaa1", "bbbbbbb2", "ccccccc3", "ddddddd4"]}),
        ({}, {"failures": [{"id": "bbbbbbb2", "abort": "code_busy", "processes": [["bash", 77]]}]}),
        ({}, {"failures": [{"id": "bbbbbbb2", "abort": "no_match", "modules": ["evil_mod"]}]}),
        ({}, {"network": "dns"}),
        ({}, {"disabled": True}),
        ({"state": "present", "updates": ["bbbbbbb2"], "exact": True}, {}),
        ({"state": "absent", "all": True}, {"installed": ["aaaaaaa1", "bbbbbbb2"]}),
        ({"state": "absent", "all": True}, {"installed": ["aaaaaaa1"], "access_key": "bad"}),
    ],
)
def test_what_the_module_really_answers_comes_through(make_host, params, scenario):
    """The shapes are the module's, and not what somebody thought they were."""
    host = make_host(**scenario)
    try:
        result = host.apply(retries=0, **params)
    except apply.Refused as refused:
        result = dict(refused.result or {}, failed=True)
    if "after" in result:
        told = turn(result)["applied"]
        assert all(
            told[key] == result[key]
            for key in (
                "installed",
                "removed",
                "remaining",
                "failures",
                "verdict",
                "before",
                "after",
            )
        )
    else:
        assert result["failed"]


def test_what_the_ledger_and_discovery_really_answer_comes_through(tmp_path):
    group = {"name": "g", "members": ["a", "b"], "max_unavailable": 1}
    wish = {name: option.get("default") for name, option in lease_task.ARGUMENTS.items()}
    wish.update(
        state="acquired", token="t", run="r", host="a", member="a", groups=[group], reason="x"
    )
    for state in ("acquired", "shown", "renewed", "adopted", "released"):
        said = lease_task.run(dict(wish, state=state, old_token="t", wait=0), False, str(tmp_path))
        assert schema.lease(json.loads(json.dumps(said)))["granted"] == said["granted"]
    machine = ha_groups.Machine(lambda *_words, **_more: (127, "", "none"), str(tmp_path))
    assert schema.groups(ha_groups.discover(machine)) == dict(ha_groups.discover(machine))


@pytest.mark.parametrize("told", ["yesterday", "2026-11-27", "2026-13-01T00:00:00Z", "", 5])
def test_a_time_that_is_none_does_not_get_past_the_border(told):
    """The record and what is made from it take every time for one."""
    for good in ("2026-11-27T22:00:00Z", "2026-11-27T22:00:00.123Z"):
        assert schema.moment(good, "checked_at") == good
    with pytest.raises(schema.Misfit, match="checked_at is not"):
        schema.moment(told, "checked_at")
    with pytest.raises(schema.Misfit, match="checked_at is not"):
        schema.FACTS(dict(facts.nothing("current", "x"), checked_at=told), "facts")
