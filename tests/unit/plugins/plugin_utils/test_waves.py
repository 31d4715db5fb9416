# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The wave planner against random fleets: what must hold of every plan, however odd the fleet."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import run_variables, waves
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import (
    Host,
    PlanError,
)
from extent import rounds
from hypothesis import given, settings
from hypothesis import strategies as st

STAGES = ("dev", "test", "prod")


@st.composite
def fleets(draw):
    """Hosts in groups that may overlap, with roles, builds and stages, some of
    them out of reach.
    """
    count = draw(st.integers(1, 25))
    names = [f"h{number}" for number in range(1, count + 1)]
    group_names = [f"g{number}" for number in range(draw(st.integers(0, 6)))]
    hosts = [
        Host(
            name=name,
            verdict=draw(
                st.sampled_from(
                    ["behind", "behind", "behind", "current", "blocked", "unreachable", "disabled"]
                )
            ),
            build=draw(st.sampled_from(["k1", "k2", "k3"])),
            groups=tuple(
                draw(st.lists(st.sampled_from(group_names), unique=True, max_size=3))
                if group_names
                else ()
            ),
            role=draw(st.sampled_from([None, "active", "standby"])),
            stage=draw(st.sampled_from([None, *STAGES])),
        )
        for name in names
    ]
    sizes = Counter(group for host in hosts for group in host.groups)
    spare = {group: draw(st.integers(1, max(1, size - 1))) for group, size in sizes.items()}
    return hosts, spare, draw(st.integers(1, 8))


def planned(fleet):
    hosts, spare, max_parallel = fleet
    groups = waves.groups_of(hosts, max_unavailable=spare)
    return waves.plan(hosts, groups, max_parallel, STAGES), groups


@settings(max_examples=rounds(400), deadline=None)
@given(fleets())
def test_every_host_is_in_one_wave_or_left_with_a_reason(fleet):
    plan, _groups = planned(fleet)
    in_waves = [name for wave in plan.waves for name in wave]
    assert sorted(in_waves + list(plan.left)) == sorted(host.name for host in fleet[0])
    assert all(plan.left.values()) and all(plan.waves)
    work = {host.name for host in fleet[0] if host.verdict in waves.WORK}
    assert set(in_waves) <= work


@settings(max_examples=rounds(400), deadline=None)
@given(fleets())
def test_a_wave_never_takes_more_of_a_group_than_it_can_spare(fleet):
    plan, groups = planned(fleet)
    out = {host.name for host in fleet[0] if host.verdict == "unreachable"}
    for wave in plan.waves:
        assert len(wave) <= fleet[2]
        for group in groups:
            taken = len(set(wave) & set(group.members))
            if taken:
                assert taken + len(out & set(group.members)) <= group.max_unavailable


@settings(max_examples=rounds(400), deadline=None)
@given(fleets())
def test_each_build_has_one_canary_ahead_of_all_others(fleet):
    plan, _groups = planned(fleet)
    build = {host.name: host.build for host in fleet[0]}
    first = {}
    for number, wave in enumerate(plan.waves):
        for name in wave:
            first.setdefault(build[name], (number, []))
            if first[build[name]][0] == number:
                first[build[name]][1].append(name)
    assert all(len(names) == 1 for _number, names in first.values())
    assert sorted(plan.canaries) == sorted(names[0] for _number, names in first.values())


@settings(max_examples=rounds(400), deadline=None)
@given(fleets())
def test_stages_go_in_order(fleet):
    plan, _groups = planned(fleet)
    stage = {
        host.name: STAGES.index(host.stage) if host.stage else len(STAGES) for host in fleet[0]
    }
    order = [{stage[name] for name in wave} for wave in plan.waves]
    assert all(len(stages) == 1 for stages in order)
    assert [min(stages) for stages in order] == sorted(min(stages) for stages in order)


@settings(max_examples=rounds(400), deadline=None)
@given(fleets())
def test_standby_goes_before_active_where_no_circle_and_no_stage_forbids(fleet):
    hosts, spare, max_parallel = fleet
    # One group a host and one stage: then there is no circle.
    hosts = [waves.Host(h.name, h.verdict, h.build, h.groups[:1], h.role) for h in hosts]
    groups = waves.groups_of(
        hosts,
        max_unavailable={g: n for g, n in spare.items() if n < sum(g in h.groups for h in hosts)},
    )
    plan = waves.plan(hosts, groups, max_parallel)
    at = {name: number for number, wave in enumerate(plan.waves) for name in wave}
    role = {h.name: h.role for h in hosts}
    for group in groups:
        for active in group.members:
            for standby in group.members:
                if (
                    role[active] == "active"
                    and role[standby] != "active"
                    and active in at
                    and standby in at
                ):
                    assert at[standby] < at[active]


@settings(max_examples=rounds(200), deadline=None)
@given(fleets(), st.randoms())
def test_the_plan_does_not_depend_on_the_order_of_the_inventory(fleet, random):
    hosts, spare, max_parallel = fleet
    shuffled = list(hosts)
    random.shuffle(shuffled)
    assert planned((shuffled, spare, max_parallel))[0].hash == planned(fleet)[0].hash


def test_the_hash_is_of_who_goes_when_and_not_of_words():
    def plan(reason, *names):
        return waves.plan(
            [Host("x", "current", reason=reason), *(Host(name, "behind", "k") for name in names)]
        ).hash

    assert (
        plan("asked 9 minutes ago", "a", "b")
        == plan("asked 10 minutes ago", "a", "b")
        != plan("asked 9 minutes ago", "a", "c")
    )


def test_a_member_out_of_reach_leaves_its_peer_alone():
    hosts = [
        Host("a", "unreachable", None, ("pair",)),
        Host("b", "behind", "k", ("pair",)),
        Host("c", "behind", "k"),
    ]
    plan = waves.plan(hosts, waves.groups_of(hosts))
    assert plan.waves == [["c"]]
    assert "a of its group pair cannot be reached" in plan.left["b"]


def test_an_active_host_with_an_unplanned_standby_still_gets_its_turn():
    hosts = [
        Host("a", "behind", "k", ("p",), "active"),
        Host("b", "current", "k", ("p",), "standby"),
    ]
    assert waves.plan(hosts, waves.groups_of(hosts)).waves == [["a"]]


def test_a_circle_of_roles_is_broken_and_not_waited_for():
    hosts = [
        Host("a", "behind", "k", ("p", "q"), "active"),
        Host("b", "behind", "k", ("p", "q"), "active"),
    ]
    assert waves.plan(hosts, waves.groups_of(hosts)).waves == [["a"], ["b"]]


def test_a_proven_build_needs_no_canary():
    hosts = [Host(name, "behind", "k") for name in "abc"]
    assert waves.plan(hosts, proven=["k"]).waves == [["a", "b", "c"]]
    assert waves.plan(hosts).waves == [["a"], ["b", "c"]]


BAD = [
    (lambda: waves.plan([]), "no host to plan for"),
    (lambda: waves.plan([Host("a", "behind", in_run=False)]), "no host to plan for"),
    (lambda: waves.plan([Host("a", "behind"), Host("a", "behind")]), "Host a is in the list twice"),
    (lambda: waves.plan([Host("a", "behind", role="activ")]), "role 'activ'.*did you mean active"),
    (
        lambda: waves.plan([Host("a", "behind", stage="prd")], stages=["dev", "prod"]),
        "stage 'prd'.*did you mean prod",
    ),
    (lambda: waves.plan([Host("a", "behind")], max_parallel=0), "max_parallel .* is 0"),
    (lambda: waves.plan([Host("a", "behind")], max_parallel="ten"), "max_parallel .* is 'ten'"),
    (lambda: waves.plan([Host("a", "behind")], stages=["x", "x"]), "stages names a stage twice"),
    (
        lambda: waves.groups_of([Host("web1", "behind")], {"web": ["web1", "wbe1"]}),
        "Group web names wbe1.*did you mean web1",
    ),
    (
        lambda: waves.groups_of([Host("a", "behind")], {"web": ["a", "a"]}),
        "Group web names a twice",
    ),
    (lambda: waves.groups_of([Host("a", "behind")], {"web": "a"}), "Group web must be a list"),
    (
        lambda: waves.groups_of([Host("a", "behind", groups=("g", "g"))]),
        "Host a names the group g twice",
    ),
    (
        lambda: waves.groups_of(
            [Host("a", "behind", groups=("g",)), Host("b", "behind", groups=("g",))],
            max_unavailable=2,
        ),
        "leave no member serving",
    ),
    (
        lambda: waves.groups_of(
            [Host("a", "behind", groups=("g",))], max_unavailable={"g": "many"}
        ),
        "allows 'many' members",
    ),
    (lambda: waves.groups_of([Host("a", "behind")], ["a"]), "ksplice_ha_groups .* is \\['a'\\]"),
    (lambda: waves.plan([Host("a", "behind")], stages="prod"), "stages .* is 'prod': give a list"),
    (
        lambda: waves.doubtful([Host("a", "behind")], [waves.Group("g", ("a",))]),
        "Group g has one member only, a",
    ),
    (
        lambda: waves.doubtful(
            [Host("c", "behind")], [waves.Group("g", ("a", "b")), waves.Group("G", ("c", "d"))]
        ),
        "g and G differ in upper and lower case only",
    ),
    (
        lambda: waves.doubtful([Host("a", "behind")], [waves.Group("lb,db", ("a", "b"))]),
        "has a comma in its name",
    ),
    (
        lambda: waves.doubtful([Host("a", "behind", role="active")], []),
        "Host a is active .* but in no group",
    ),
    (
        lambda: run_variables.misspelt("a", {"ksplice_ha_grp": "g"}),
        "Host a has the variable ksplice_ha_grp.*did you mean ksplice_ha_group",
    ),
    (
        lambda: run_variables.misspelt("a", {"ksplice_max_paralel": 2}),
        "did you mean ksplice_max_parallel",
    ),
    (
        lambda: run_variables.check({"ksplice_max_age": "1d"}),
        "ksplice_max_age is '1d': give a number of seconds",
    ),
    (lambda: run_variables.check({"ksplice_retries": -1}), "ksplice_retries is -1: give a number"),
    (
        lambda: run_variables.check({"ksplice_silent_days": 999999}),
        "ksplice_silent_days is 999999: give a number of days, 1 to 3650",
    ),
    (
        lambda: run_variables.check({"ksplice_max_parallel": "0"}),
        "ksplice_max_parallel is '0': give a number, 1 or more",
    ),
    (
        lambda: run_variables.check({"ksplice_partial_groups": "flase"}),
        "ksplice_partial_groups is 'flase': give true or false",
    ),
    (
        lambda: run_variables.check({"ksplice_stages": "dev"}),
        "ksplice_stages is 'dev': give a list",
    ),
    (
        lambda: run_variables.check({"ksplice_ha_groups": "lb"}),
        "ksplice_ha_groups is 'lb': give a mapping",
    ),
    (lambda: waves.budget("ten", 10), "max_failures .* is 'ten'"),
    (lambda: waves.budget("110%", 10), "max_failures .* is '110%'"),
]


@pytest.mark.parametrize("ask, words", BAD, ids=[words for _ask, words in BAD])
def test_bad_input_is_one_line_that_names_the_thing(ask, words):
    with pytest.raises(PlanError, match=words) as error:
        ask()
    assert "\n" not in str(error.value)


def test_variables_of_other_projects_are_accepted():
    run_variables.misspelt(
        "a",
        {
            "ksplice_vault_password_file": "x",
            "ksplice_team": "y",
            "ksplice_ha_group": "g",
            "other": 1,
        },
    )
    run_variables.check(
        {
            "ksplice_max_age": "86400",
            "ksplice_max_failures": "10%",
            "ksplice_partial_groups": "yes",
            "ksplice_stages": ["a"],
        }
    )


def test_half_a_group_is_refused_unless_allowed():
    hosts = [Host("a", "behind", "k", ("pair",)), Host("b", "behind", "k", ("pair",), in_run=False)]
    groups = waves.groups_of(hosts)
    with pytest.raises(PlanError, match="pair is split: b is outside"):
        waves.plan(hosts, groups)
    assert waves.plan(hosts, groups, partial_groups=True).waves == [["a"]]


@pytest.mark.parametrize(
    "wish, allowed",
    [(0, 0), ("3", 3), ("10%", 2), ("100%", 25), ("0%", 0), ("3.9%", 1), ("0.0%", 0)],
)
def test_a_percentage_is_rounded_down_but_at_least_one(wish, allowed):
    assert waves.budget(wish, 25) == allowed


def test_two_thousand_hosts_are_planned_in_a_moment():
    hosts = [
        Host(f"h{n}", "behind", f"k{n % 7}", (f"pair{n // 2}",), "standby" if n % 2 else "active")
        for n in range(2000)
    ]
    plan = waves.plan(hosts, waves.groups_of(hosts), 20)
    assert sum(map(len, plan.waves)) == 2000


@pytest.mark.parametrize(
    "hosts, first",
    [
        # Ungrouped before grouped, standby before active, and what the inventory says before all.
        (
            [
                Host("a", "behind", "k", ("g",), "standby"),
                Host("b", "behind", "k", ("g",), "active"),
                Host("z", "behind", "k"),
            ],
            "z",
        ),
        (
            [
                Host("a", "behind", "k", ("g",), "active"),
                Host("b", "behind", "k", ("g",), "standby"),
            ],
            "b",
        ),
        (
            [
                Host("a", "behind", "k"),
                Host("b", "behind", "k", ("g",), "standby"),
                Host("c", "behind", "k", ("g",), "active", canary=True),
            ],
            "c",
        ),
        ([Host("web10", "behind", "k"), Host("web2", "behind", "k")], "web2"),
    ],
)
def test_the_canary_is_the_host_that_matters_least(hosts, first):
    plan = waves.plan(hosts, waves.groups_of(hosts))
    assert plan.canaries == [first]
    assert plan.waves[0] == [first]


def test_a_canary_goes_ahead_in_the_first_stage_of_its_build():
    hosts = [
        Host("prod", "behind", "k", stage="prod", canary=True),
        Host("dev2", "behind", "k", stage="dev"),
        Host("dev1", "behind", "k", ("g",), stage="dev"),
        Host("x", "behind", "k", ("g",), stage="prod"),
    ]
    plan = waves.plan(hosts, waves.groups_of(hosts), stages=["dev", "prod"])
    assert plan.canaries == ["dev2"] and plan.waves == [["dev2"], ["dev1"], ["prod", "x"]]


def test_two_names_of_one_machine_are_one_host():
    hosts = [
        Host("mgmt", "behind", "k", ("ops",), "active", host_id="1"),
        Host("web1", "behind", "k", ("web",), host_id="1"),
        Host("web2", "behind", "k", ("web",), host_id="2"),
        Host("ops2", "behind", "k", ("ops",)),
        Host("solo", "behind", "k"),
        Host("far", "behind", "k", host_id="2", in_run=False),
    ]
    merged, aliases = waves.machines(hosts)
    assert aliases == {"web1": "mgmt", "far": "web2"}
    by_name = {one.name: one for one in merged}
    # Whatever one of its names is a member of, the machine is.
    assert by_name["mgmt"].groups == ("ops", "web") and by_name["mgmt"].role == "active"
    plan = waves.plan(merged, waves.groups_of(merged))
    assert sorted(name for wave in plan.waves for name in wave) == ["mgmt", "ops2", "solo", "web2"]
    assert "Another name of mgmt" in plan.left["web1"]
    assert not any(
        {"mgmt", "web2"} <= set(wave) or {"mgmt", "ops2"} <= set(wave) for wave in plan.waves
    )


def test_the_name_that_the_inventory_says_something_of_does_the_work():
    drained = (("ksplice_ha_drain", "[...]"),)
    bare, told = (
        Host("10.0.0.5", "behind", "k", host_id="1"),
        Host("lb1", "behind", "k", host_id="1", settings=drained),
    )
    merged, aliases = waves.machines([bare, told])
    assert aliases == {"10.0.0.5": "lb1"} and merged[1].has_work and merged[1].settings == drained
    # What the inventory says of both alike is said of the machine; where it contradicts itself,
    # nobody knows what is meant.
    assert waves.machines([replace(bare, settings=drained), told])[0][0].has_work
    merged, _aliases = waves.machines([replace(bare, settings=(("ksplice_stage", "'dev'"),)), told])
    assert not any(one.has_work for one in merged)
    assert [
        one.reason
        for one in merged
        if "different values for the two (ksplice_ha_drain, ksplice_stage)" in one.reason
    ]


def test_unknown_machines_are_not_taken_for_one():
    hosts = [Host("a", "behind", "k"), Host("b", "behind", "k")]
    assert waves.machines(hosts) == (hosts, {})


OUTSIDE = [
    Host("far1", "unknown", stage="mars", in_run=False),
    Host("far2", "unknown", role="boss", in_run=False),
    Host("far3", "unknown", groups=("lonely",), in_run=False),
    Host("far4", "unknown", groups=("dc,rack", "twice", "twice"), in_run=False),
    Host("far5", "unknown", groups=("DC,rack",), in_run=False),
    Host("far6", "unknown", role="active", in_run=False),
]


@pytest.mark.parametrize("outside", OUTSIDE, ids=lambda host: host.name)
def test_what_hosts_outside_of_the_run_say_of_themselves_stops_no_host(outside):
    def plan(hosts):
        groups = waves.groups_of(hosts, max_unavailable={"lonely": "many"})
        planned = waves.plan(hosts, groups, stages=["dev"])
        waves.doubtful(hosts, groups)
        return planned

    inside = Host("in", "behind", "k", stage="dev")
    assert plan([inside, outside]).waves == [["in"]]
    # Inside of it each of them does; far5 needs the group that it differs from.
    if outside.name != "far5":
        with pytest.raises(PlanError):
            plan([inside, replace(outside, in_run=True)])


def test_what_they_say_of_a_group_of_the_run_does():
    hosts = [
        Host("a", "behind", "k", ("web",)),
        Host("b", "behind", "k", ("web",)),
        Host("c", "unknown", groups=("WEB",), in_run=False),
    ]
    with pytest.raises(PlanError, match="differ in upper and lower case"):
        waves.doubtful(hosts, waves.groups_of(hosts))
