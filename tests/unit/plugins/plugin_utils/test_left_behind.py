# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Before anything is planned: which leases of stopped runs are taken over, and which hosts outside
of the run are queried for their groups.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import rollout

sys.path.insert(0, str(Path(__file__).parent))
from rolled import DRAIN, surveyed, unreachable  # noqa: E402

PAIR = [{"name": "g", "members": ["a", "b"]}]


def stale(host, groups=PAIR, token="t", **more):
    """A lease that is stale, as the survey of a member has it."""
    return dict(
        {"token": token, "run": "night", "host": host, "age": 900, "groups": groups, "took": []},
        **more,
    )


def knows(*leases, **variables):
    """A host in whose ledger these leases are stale."""
    host = surveyed(**variables)
    host["ksplice_survey"]["ansible_facts"]["uptrack"]["lease"] = {"left": list(leases)}
    return host


def left(hosts, in_run=None):
    names = sorted(in_run or hosts)
    return rollout.left_behind(hosts, sorted(hosts), names, {})


def pair(a=(), b=(), **variables):
    return {
        "a": knows(*a, ksplice_ha_group="g", **variables),
        "b": knows(*b, ksplice_ha_group="g"),
    }


def test_without_a_stale_lease_there_is_nothing_to_take_over():
    assert left(pair()) == []
    assert left({"a": unreachable(ksplice_ha_group="g"), "b": unreachable()}) == []


def test_a_lease_that_both_members_have_is_taken_over_once_as_its_host_has_it():
    for host in "ab":
        own, peers = [stale(host, took=["s"])], [stale(host, age=950)]
        [found] = left(pair(own, peers) if host == "a" else pair(peers, own))
        assert (found["host"], found["token"], found["age"]) == (host, "t", 900)
        assert found["took"] == ["s"] and found["groups"] == PAIR


def test_what_only_the_peer_remembers_is_taken_over_too():
    [found] = left(pair([], [stale("a")]))
    assert found["host"] == "a"


def test_where_something_may_have_drained_it():
    drain = [DRAIN[0], dict(DRAIN[0], delegate_to="lb"), dict(DRAIN[0], delegate_to="lb")]
    hosts = dict(pair([stale("a")], ksplice_ha_drain=drain), lb=surveyed())
    assert left(hosts)[0]["places"] == ["a", "lb"]


def test_in_the_order_of_the_hosts():
    alone = {
        name: knows(stale(name, [{"name": name, "members": [name]}], token=name))
        for name in ("h10", "h9")
    }
    assert [one["host"] for one in left(alone)] == ["h9", "h10"]


@pytest.mark.parametrize(
    "lie",
    [
        # A host that is in no group of the one that tells of it.
        stale("c"),
        stale("c", [{"name": "g", "members": ["a", "b", "c"]}]),
        # A group that the plan does not know, or another one than it knows.
        stale("c", [{"name": "x", "members": ["a", "c"]}]),
        stale("a", [{"name": "g", "members": ["a", "b", "c"]}]),
        # A host that is not in the inventory.
        stale("z", [{"name": "z", "members": ["z"]}]),
        # Somebody else's lease of its own.
        stale("c", [{"name": "c", "members": ["c"]}]),
        stale("a", []),
    ],
)
def test_what_a_host_says_of_others_is_believed_of_its_own_group_only(lie):
    hosts = dict(pair([lie], [stale("b", token="u")]), c=surveyed())
    assert [one["token"] for one in left(hosts)] == ["u"], "and what is true is taken over"


def test_members_outside_of_the_run_are_known_too():
    hosts = pair([stale("a")], [])
    assert [one["host"] for one in left(hosts, ["a"])] == ["a"]


def discovered(name, **variables):
    """A host on which discovery found that it is a member of this group."""
    group = {"name": name, "kind": "keepalived", "addresses": [], "peers": [], "instances": []}
    found = {"groups": [dict(group, role="standby")], "role": "standby", "problems": []}
    return surveyed(**variables) | {"ksplice_ha_asked": {"ansible_facts": {"ha": found}}}


def asked(hosts, known):
    return rollout.to_ask(hosts, sorted(hosts), known)


def test_a_group_with_all_its_members_in_the_run_takes_no_further_query():
    hosts = {"a": discovered("g"), "b": discovered("g"), "c": {}}
    assert asked(hosts, ["a", "b"]) == []


def test_a_member_without_its_peer_has_the_hosts_outside_of_the_run_queried():
    hosts = {"a": discovered("g"), "c": {}, "d": {"ksplice_ha_discover": False}}
    assert asked(hosts, ["a"]) == ["c"]
    named = {"a": dict(hosts["a"], ksplice_ha_group="g"), "c": {}}
    assert asked(named, ["a"]) == [], "the inventory says which group"


def test_a_host_of_the_run_that_makes_no_group_is_not_queried_again():
    """A host of the run that answered has none; one that did not answer may be the peer."""
    hosts = {"a": discovered("g"), "b": surveyed(), "c": unreachable()}
    assert asked(hosts, ["a", "b", "c"]) == ["c"]
