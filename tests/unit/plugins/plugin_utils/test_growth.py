# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""One more host costs the same in a fleet of any size: the plan, its lines and the record.

What is counted, and not timed, is Python's own steps, and every look at a host's name (a list that
is searched, a set that is made anew), which Python's steps do not show. So a machine's load changes
nothing, and little growth is enough to be seen.
"""

from __future__ import annotations

import sys

import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import record, rollout
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import ha_settings, waves

SIZE = 40
# Steps are always the same: there is little to allow for.
GROWTH = 1.05


class Name(str):
    """A host's name that counts who looks at it."""

    looks = 0

    def __eq__(self, other):
        Name.looks += 1
        return str.__eq__(self, other)

    def __hash__(self):
        Name.looks += 1
        return str.__hash__(self)


def steps(work):
    """How many steps a piece of work takes."""
    count = 0

    def look(frame, event, _argument):
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return look

    before, begun = sys.gettrace(), Name.looks
    sys.settrace(look)
    try:
        work()
    finally:
        sys.settrace(before)
    return count + Name.looks - begun


def growth(case):
    """What a further host costs in a large fleet, by what it costs in a small one.

    :param case: a number of hosts to the work over them.
    """
    # Once for nothing: what is only done for the first time, and code that Python is yet to trace.
    steps(case(SIZE))
    small, middle, large = (steps(case(size)) for size in (SIZE, 2 * SIZE, 4 * SIZE))
    return (large - middle) / 2 / (middle - small)


def survey(number):
    return {
        "ansible_facts": {
            "uptrack": {
                "verdict": ("behind", "behind", "behind", "current")[number % 4],
                "reason": "Updates wait.",
                "kernel": {
                    "booted": f"5.15.0-{number % 3}",
                    "version": "#2",
                    "machine": "x86_64",
                    "effective": "5.15.0",
                },
                "cves": {"fixed": [], "open": [f"CVE-2026-{number % 7}"]},
                "updates": {"installed": [], "available": [{"id": "aaaa1111"}]},
                "self_update": [],
                "redundancy": ["keepalived"],
                "host_id": str(number),
            }
        }
    }


def found(number):
    return {
        "groups": [
            {
                "name": f"vrrp {number // 2}",
                "kind": "keepalived",
                "role": ("active", "standby")[number % 2],
                "addresses": [],
                "peers": [],
                "size": 2,
                "instances": ["VI_1"],
            }
        ],
        "role": ("active", "standby")[number % 2],
        "problems": [],
        "host_id": str(number),
    }


def fleet(size):
    """Pairs with roles, half of them named by the inventory; each pair of one kernel build."""
    hosts = {}
    for number in range(size):
        hosts[Name(f"h{number:05}")] = variables = {
            "ksplice_survey": survey(number),
            "ksplice_ha_asked": {"ansible_facts": {"ha": found(number)}},
        }
        if number % 4 < 2:
            variables["ksplice_ha_group"] = f"pair {number // 2}"
    return hosts


def plan_of(hosts, max_parallel=2):
    run = rollout.start(
        hosts, list(hosts), list(hosts), {"max_parallel": max_parallel, "max_failures": "10%"}
    )
    assert not run.get("error") and sum(map(len, run["waves"])) == len(hosts) * 3 // 4
    return run


def record_of(hosts, run):
    about = record.about("patch", "2026-11-01T00:00:00Z", "somebody", False, {})
    # Nobody was claimed, half since Ansible had given it up: each is looked for everywhere.
    return record.record(
        hosts,
        list(hosts),
        list(hosts),
        run,
        {"began": [run["waves"][0], list(hosts)]},
        dict(about, ended="2026-11-01T01:00:00Z"),
        list(hosts)[::2],
    )


def plan(size):
    hosts = fleet(size)
    return lambda: plan_of(hosts)


def plan_by_the_hosts_names(size):
    """Groups that the run names, and no roles: members of a pair stand in each other's way."""
    hosts = [waves.Host(Name(f"h{number:05}"), "behind", "k") for number in range(size)]
    named = {
        f"pair {at}": [one.name for one in hosts[at : at + 2]] for at in range(0, len(hosts), 2)
    }
    return lambda: waves.plan(hosts, waves.groups_of(hosts, named), max_parallel=2)


def plan_lines(size):
    run = plan_of(fleet(size))
    return lambda: record.plan_lines(run)


def whole_record(size):
    hosts = fleet(size)
    run = plan_of(hosts)
    return lambda: record_of(hosts, run)


def record_lines(size):
    hosts = fleet(size)
    document = record_of(hosts, plan_of(hosts))
    return lambda: record.lines(document)


def contradictions(size):
    hosts = fleet(size)
    return lambda: ha_settings.contradictions(hosts, list(hosts))


def whom_to_ask(size):
    hosts = fleet(size)
    names = list(hosts)
    for name in names[2::4]:
        del hosts[name]["ksplice_ha_asked"]
    return lambda: ha_settings.lonely(hosts, names, names[3::4])


@pytest.mark.parametrize(
    "case",
    [
        plan,
        plan_by_the_hosts_names,
        plan_lines,
        whole_record,
        record_lines,
        contradictions,
        whom_to_ask,
    ],
    ids=lambda case: case.__name__,
)
def test_one_more_host_costs_the_same_in_a_large_fleet(case):
    assert growth(case) < GROWTH


@pytest.mark.parametrize(
    "search",
    [
        lambda names: [name for name in names if name in names],
        lambda names: [name for name in names if name in set(names)],
        lambda names: [name for name in names for other in names if other is None],
    ],
    ids=["a list searched", "a set made anew", "a walk over all"],
)
def test_the_test_can_fail(search):
    def case(size):
        names = [Name(number) for number in range(size)]
        return lambda: search(names)

    assert growth(case) > GROWTH
