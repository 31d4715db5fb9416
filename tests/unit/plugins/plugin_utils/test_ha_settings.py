# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What the inventory says of a host's service, what was discovered of it, and which of the two
counts.
"""

from __future__ import annotations

import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import ha_settings
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import (
    Host,
    PlanError,
)


def group(name="vrrp-51-192.0.2.9", kind="keepalived", addresses=("192.0.2.9",)):
    return {
        "name": name,
        "kind": kind,
        "role": "active",
        "addresses": list(addresses),
        "instances": [],
        "peers": [],
    }


def found(*groups, role="active", problems=(), **more):
    return dict(
        more,
        ksplice_ha_asked={
            "ansible_facts": {
                "ha": {"groups": list(groups), "role": role, "problems": list(problems)}
            }
        },
    )


# ---- groups and roles ----------------------------------------------------------------------------


def test_the_inventory_wins_over_what_was_discovered():
    assert ha_settings.names("a", found(group())) == ("vrrp-51-192.0.2.9",)
    assert ha_settings.names("a", found(group(), group("p", "pacemaker"))) == (
        "vrrp-51-192.0.2.9",
        "p",
    )
    assert ha_settings.names("a", found(group(), ksplice_ha_group="lb")) == ("lb",)
    assert ha_settings.names("a", {"ksplice_ha_group": ["lb", "db"]}) == ("lb", "db")
    assert (
        ha_settings.role(found(group())) == "active"
        and ha_settings.role(found(group(), ksplice_ha_role="standby")) == "standby"
    )
    assert ha_settings.role({}) is None and ha_settings.role(found(role=None)) is None


@pytest.mark.parametrize("nothing", [None, "", []])
def test_a_group_that_is_left_blank_is_none(nothing):
    assert ha_settings.names("a", {"ksplice_ha_group": nothing}) == ()
    assert ha_settings.names("a", found(group("g"), ksplice_ha_group=nothing)) == ("g",)


@pytest.mark.parametrize("value", [5, {"lb": 1}, ["lb", 5], True])
def test_what_is_no_name_of_a_group(value):
    with pytest.raises(PlanError, match="Host a: ksplice_ha_group is "):
        ha_settings.names("a", {"ksplice_ha_group": value})


@pytest.mark.parametrize("off", [False, "false", "No", "off", 0, "0"])
def test_who_is_not_to_be_looked_at_has_nothing_discovered(off):
    variables = found(group(), ksplice_ha_discover=off)
    assert (
        ha_settings.discovered(variables) is None
        and ha_settings.names("a", variables) == ()
        and ha_settings.role(variables) is None
    )
    assert not ha_settings.may_be_member(
        {"ksplice_ha_discover": off}, {"redundancy": ["keepalived"]}
    )
    assert ha_settings.lonely(
        {"a": found(group()), "b": {"ksplice_ha_discover": off}, "c": {}}, ["a", "b", "c"], ["a"]
    ) == ["c"]


@pytest.mark.parametrize(
    "variables, survey, worth",
    [
        ({}, {"redundancy": ["keepalived"]}, True),
        ({}, {"redundancy": []}, False),
        ({}, {}, False),
        ({"ksplice_ha_command": "/bin/ha"}, {}, True),
        ({"ksplice_ha_discover": True}, {"redundancy": ["corosync"]}, True),
    ],
)
def test_who_may_be_a_member(variables, survey, worth):
    assert ha_settings.may_be_member(variables, survey) is worth


def test_who_has_to_be_asked_because_a_peer_is_missing():
    everyone = ["a", "b", "c", "d"]
    variables = {"a": found(group()), "b": found(group()), "c": {}, "d": found()}
    assert ha_settings.lonely(variables, everyone, ["a", "b"]) == []
    # One of the two was not asked: it might be anybody whom nobody has looked at.
    assert ha_settings.lonely(dict(variables, b={}), everyone, ["a"]) == ["b", "c"]
    # Its group stands in the inventory, so that nothing is missing.
    assert (
        ha_settings.lonely(
            dict(variables, b={}, a=found(group(), ksplice_ha_group="lb")), everyone, ["a"]
        )
        == []
    )
    assert ha_settings.lonely({"a": {}}, ["a"], []) == []


def hosts(variables):
    return [
        Host(name=name, verdict="behind", groups=ha_settings.names(name, one))
        for name, one in variables.items()
    ]


def test_a_member_with_an_unknown_peer_is_skipped():
    variables = {
        "a": found(group()),
        "b": found(group("p", "pacemaker")),
        "c": found(group("p", "pacemaker")),
        "d": {},
    }
    left = ha_settings.alone(hosts(variables), variables)
    assert (
        list(left) == ["a"]
        and "according to its own keepalived it is a member of vrrp-51-192.0.2.9" in left["a"]
    )
    # A peer that the inventory puts into the group of that name counts.
    named = dict(variables, d={"ksplice_ha_group": "vrrp-51-192.0.2.9"})
    assert ha_settings.alone(hosts(named), named) == {}
    # Whoever names its group means it, if it is alone in it or not.
    said = dict(variables, a=found(group(), ksplice_ha_group="lb"))
    assert ha_settings.alone(hosts(said), said) == {}


def test_contradictions():
    def told(**variables):
        return ha_settings.contradictions(variables, sorted(variables))

    assert told(a=found(group()), b=found(group(), role="standby"), c={}) == []
    assert told(a=found(problems=["x cannot be read."])) == ["a: x cannot be read."]
    assert told(a=found(group(), ksplice_ha_role="standby")) == [
        (
            "a is standby according to the inventory (ksplice_ha_role) and active "
            "according to what runs on it. The inventory takes precedence."
        )
    ]
    assert told(a=found(group(), role=None, ksplice_ha_role="standby")) == []
    agreed = {
        "a": found(group(), ksplice_ha_group="lb"),
        "b": found(group(), ksplice_ha_group=["x", "lb"]),
    }
    assert told(**agreed) == []
    assert told(a=agreed["a"], b=found(group(), ksplice_ha_group="other")) == [
        (
            "a and b are peers in vrrp-51-192.0.2.9 according to what runs on them, "
            "but share no group in the inventory. The inventory takes precedence."
        )
    ]
    assert told(a=agreed["a"], b=found(group("else"), ksplice_ha_group="lb")) == [
        (
            "a and b are peers in lb according to the inventory, but not according to "
            "what runs on them. The inventory takes precedence."
        )
    ]
    # Of whom nothing was discovered nothing is said.
    assert told(a=agreed["a"], b={"ksplice_ha_group": "other"}) == []
    assert (
        told(
            a=found(group(), problems=["x."], ksplice_ha_role="standby", ksplice_ha_discover=False)
        )
        == []
    )


# ---- drains --------------------------------------------------------------------------------------


def test_what_was_discovered_takes_a_host_out():
    assert ha_settings.drains("a", {}) == []
    assert ha_settings.drains(
        "a", found(group("p", "pacemaker"), group(), group("h", "command"))
    ) == [
        {"delegate_to": "a", "target": {"adapter": "keepalived"}},
        {"delegate_to": "a", "target": {"adapter": "pacemaker"}},
    ]
    assert ha_settings.drains("a", found(group(), ksplice_ha_drain=[])) == []


def test_the_inventory_says_what_takes_a_host_out_and_where():
    given = [
        {"adapter": "haproxy", "backend": "web", "server": "a", "delegate_to": ["lb1", "lb2"]},
        {"adapter": "keepalived"},
    ]
    assert ha_settings.drains("a", found(group("p", "pacemaker"), ksplice_ha_drain=given)) == [
        {"delegate_to": "lb1", "target": {"adapter": "haproxy", "backend": "web", "server": "a"}},
        {"delegate_to": "lb2", "target": {"adapter": "haproxy", "backend": "web", "server": "a"}},
        {"delegate_to": "a", "target": {"adapter": "keepalived"}},
    ]


@pytest.mark.parametrize(
    "given",
    [
        "keepalived",
        {"adapter": "keepalived"},
        ["keepalived"],
        [{"delegate_to": "a"}],
        [{"adapter": "nobody"}],
        [{"adapter": ["keepalived"]}],
        [{"adapter": "keepalived", "strange": 1}],
        [{"adapter": "keepalived", "mode": "hard"}],
        [{"adapter": "keepalived", "mode": "track_file"}],
        [{"adapter": "keepalived", "track_file": "load"}],
        [{"adapter": "haproxy"}],
    ],
)
def test_drains_that_make_no_sense(given):
    with pytest.raises(PlanError, match="Host a: ksplice_ha_drain "):
        ha_settings.drains("a", {"ksplice_ha_drain": given})


# ---- checks --------------------------------------------------------------------------------------


def test_checks_by_place_and_moment():
    wanted = ha_settings.wanted_checks(
        "a",
        {
            "ksplice_ha_checks": [
                {"url": "http://x/", "status": [200], "timeout": 90},
                {
                    "name": "smoke",
                    "command": "/bin/smoke",
                    "run_on": "controller",
                    "stable_for": 5,
                    "when": "after",
                },
                {"port": 80, "run_on": "peers", "allow_preexisting": True, "when": "before"},
            ],
            "ksplice_ha_addresses": "192.0.2.1",
        },
        soak=3,
    )
    assert (
        wanted["timeout"],
        wanted["stable_for"],
        wanted["allow_preexisting"],
        wanted["addresses"],
    ) == (
        90,
        {"host": 3, "peers": 0, "controller": 5},
        ["port 80 of 127.0.0.1"],
        ["192.0.2.1"],
    )
    assert (
        ha_settings.checks(wanted, "host", "before")
        == ha_settings.checks(wanted, "host", "after")
        == [{"url": "http://x/", "status": [200], "name": "url http://x/"}]
    )
    assert ha_settings.checks(wanted, "controller", "before") == [] and [
        one["name"] for one in ha_settings.checks(wanted, "controller", "after")
    ] == ["smoke"]
    assert [one["name"] for one in ha_settings.checks(wanted, "peers", "before")] == [
        "port 80 of 127.0.0.1"
    ] and ha_settings.checks(wanted, "peers", "after") == []


def test_former_names_go_on_working_with_a_warning():
    former = {
        "ksplice_ha_gates": [{"port": 80, "hold": 5, "baseline": True}],
        "ksplice_ha_drain": [{"adapter": "custom", "drain": "out", "undo": "back"}],
    }
    today = {
        "ksplice_ha_checks": [{"port": 80, "stable_for": 5, "allow_preexisting": True}],
        "ksplice_ha_drain": [{"adapter": "custom", "drain": "out", "restore": "back"}],
    }
    assert ha_settings.wanted_checks("a", former) == ha_settings.wanted_checks("a", today)
    assert ha_settings.drains("a", former) == ha_settings.drains("a", today)
    assert ha_settings.renamed(["a"], {"a": today}) == []
    words = ha_settings.renamed(["a", "b"], {"a": former, "b": {"ksplice_ha_gates": []}})
    assert words == [
        "baseline of ksplice_ha_checks is now called allow_preexisting: rename it (a).",
        "hold of ksplice_ha_checks is now called stable_for: rename it (a).",
        "ksplice_ha_gates is now called ksplice_ha_checks: rename it (a).",
        "undo of ksplice_ha_drain is now called restore: rename it (a).",
    ]


@pytest.mark.parametrize(
    "variables, words",
    [
        (
            {"ksplice_ha_gates": [{"port": 1}], "ksplice_ha_checks": [{"port": 2}]},
            "ksplice_ha_checks and ksplice_ha_gates, its former name, are both set: keep "
            "ksplice_ha_checks.",
        ),
        (
            {"ksplice_ha_checks": [{"port": 1, "hold": 1, "stable_for": 2}]},
            "ksplice_ha_checks has both stable_for and hold, its former name: keep stable_for.",
        ),
    ],
)
def test_a_former_name_beside_todays(variables, words):
    with pytest.raises(PlanError) as refused:
        ha_settings.wanted_checks("a", variables)
    assert str(refused.value) == f"Host a: {words}"


def test_without_checks_there_are_defaults():
    wanted = ha_settings.wanted_checks("a", {}, soak="7")
    assert (wanted["timeout"], wanted["stable_for"], wanted["addresses"]) == (
        30,
        {"host": 7, "peers": 0, "controller": 0},
        [],
    )
    assert not any(wanted[place] for place in ha_settings.PLACES)


def test_a_peer_must_be_able_to_take_over():
    wanted = ha_settings.wanted_checks(
        "a", found(group(), group("p", "pacemaker", ["192.0.2.4", "192.0.2.9"]))
    )
    assert [(one["unit"], one["when"]) for one in wanted["peers"]] == [
        ("keepalived", "before"),
        ("pacemaker*", "before"),
    ]
    assert wanted["addresses"] == ["192.0.2.4", "192.0.2.9"]
    assert ha_settings.wanted_checks("a", found(group("c", "command", [])))["peers"] == []


@pytest.mark.parametrize(
    "given, words",
    [
        ("x", "is not a list of mappings"),
        ({"port": 1}, "is not a list of mappings"),
        (["x"], "is not a list of mappings"),
        ([{"prot": 80}], "has prot"),
        ([{"port": 80, "run_on": "peer"}], "has run_on: peer"),
        ([{"port": 80, "when": "later"}], "has when: later"),
        ([{"port": 80, "timeout": "soon"}], "has timeout: soon"),
        ([{"port": 80, "stable_for": -1}], "has stable_for: -1"),
        ([{"name": "nothing"}], "has a check of nothing"),
        ([{"port": 80, "unit": "x"}], "has a check of port and unit"),
        ([{}], "has a check of nothing"),
        (
            [{"command": "test -e /x || exit 1"}],
            "has an invalid check: the command has ||, which only a shell understands",
        ),
    ],
)
def test_checks_that_are_not_valid(given, words):
    with pytest.raises(PlanError) as refused:
        ha_settings.wanted_checks("a", {"ksplice_ha_checks": given})
    assert f"Host a: ksplice_ha_checks {words}" in str(refused.value)


WANTED = {"addresses": [], "host": [], "peers": [], "controller": []}


def look(*checks, holds=()):
    return {
        "checks": [{"name": name, "ok": ok, "msg": "it says so"} for name, ok in checks],
        "holds": list(holds),
    }


def test_a_failed_check_names_the_place():
    bad = ha_settings.failed_checks(
        WANTED,
        {
            "host": [("a", look(("web", False), ("ssh", True)))],
            "peers": [("b", look(("port 80", False)))],
            "controller": [("a", look(("smoke", False)))],
        },
        ["a", "b"],
        [],
    )
    assert bad == {
        "web": "it says so, on a",
        "port 80": "it says so, on b",
        "smoke": "it says so, on the controller",
    }


def test_who_gives_no_answer_is_wrong_unless_it_is_known_to_be_lost():
    answers = {"host": [("a", look())], "peers": [("b", {"msg": "two\nlines"}), ("c", {})]}
    assert ha_settings.failed_checks(WANTED, answers, ["a", "b", "c"], []) == {
        "the check of b": "two lines",
        "the check of c": "it did not answer",
    }
    assert ha_settings.failed_checks(WANTED, answers, ["a", "b", "c"], ["b", "c"]) == {}


@pytest.mark.parametrize(
    "first, second, words",
    [
        (["192.0.2.9"], [], None),
        ([], ["192.0.2.9"], None),
        ([], [], "held by none of a, b"),
        (["192.0.2.9"], ["192.0.2.9"], "held by a and b of a, b"),
    ],
)
def test_exactly_one_member_holds_each_address(first, second, words):
    wanted = dict(WANTED, addresses=["192.0.2.9"])
    answers = {"host": [("a", look(holds=first))], "peers": [("b", look(holds=second))]}
    assert ha_settings.failed_checks(wanted, answers, ["a", "b"], []) == (
        {"the address 192.0.2.9": words} if words else {}
    )
    # As long as a member was not looked at, it may be the one.
    only = ha_settings.failed_checks(wanted, {"host": [("a", look())]}, ["a", "b"], [])
    assert only == {}
