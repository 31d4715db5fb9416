# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Never two of a redundancy group at once, whatever the play and whoever drops out: judged by the
agents' own logs.
"""

from __future__ import annotations

import pytest
from extent import ALL
from rehearsals import UEK6, again, alone, pair


def naive(serial=None, **more):
    play = {
        "name": "A play of somebody's own",
        "hosts": "all",
        "gather_facts": False,
        "roles": ["rebootless.ksplice.rolling"],
        **more,
    }
    if serial is not None:
        play["serial"] = serial
    return [play]


@pytest.mark.thorough
@pytest.mark.parametrize("serial", [None, again(1), again(2), again("50%"), again([1, 3])])
def test_a_naive_play_with_any_serial_or_none(fleet, serial):
    others = pair("q", "q1", "q2") if ALL else {}
    one = fleet({**pair("p", "p1", "p2"), **others, **pair("r", "r1", "r2", "r3"), **alone("s1")})
    one.make()
    run = one.play(naive(serial), rolling_max_failures=0)
    assert run.status == 0, run.output
    assert all(one.patched_when(name) for name in one.names), run.output
    one.never_two(("p1", "p2"), ("r1", "r2", "r3"), *([("q1", "q2")] if others else []))


@pytest.mark.thorough
def test_waves_of_one_batch_go_in_order_whichever_host_answers_first(fleet):
    """The canary first, standby before active: judged by the agents' logs."""
    hosts = {**pair("p", "p1", "p2"), **pair("q", "q1", "q2")}
    for name, role in (("p1", "active"), ("p2", "standby"), ("q1", "active"), ("q2", "standby")):
        hosts[name]["ksplice_ha_role"] = role
    one = fleet(hosts).make()
    for name in ("p1", "p2"):  # slow to answer
        binaries = one.root(name) / "usr/bin"
        (binaries / "real").mkdir()
        (binaries / "uname").rename(binaries / "real/uname")
        (binaries / "uname").write_text(
            f"#!/bin/sh\nsleep 0.7\nexec '{binaries}/real/uname' \"$@\"\n"
        )
        (binaries / "uname").chmod(0o755)
    run = one.play(naive())
    assert run.status == 0, run.output
    started = {name: one.patched_when(name)[0][0] for name in one.names}
    assert started["p2"] < min(started[name] for name in ("p1", "q1", "q2")), started  # the canary
    assert started["q2"] < started["q1"], started


@pytest.mark.thorough
def test_overlapping_groups(fleet):
    hosts = pair("p", "a", "b")
    hosts["b"]["ksplice_ha_group"] = ["p", "q"]
    hosts.update(pair("q", "c"))
    one = fleet(hosts)
    one.make()
    assert one.play(naive()).status == 0
    assert all(one.patched_when(name) for name in one.names)
    one.never_two(("a", "b"), ("b", "c"))


@pytest.mark.parametrize("strategy", ["free", again("host_pinned")])
def test_a_strategy_without_lockstep_is_refused(fleet, strategy):
    one = fleet(pair("p", "p1", "p2"))
    one.make()
    before = one.kernels()
    run = one.play(naive(strategy=strategy))
    assert run.status == 2 and "Use strategy: linear" in run.output and one.kernels() == before


@pytest.mark.parametrize(
    "serial, dead, keywords",
    [
        (None, "p1", {}),
        again(None, "p2", {}),
        again(1, "p1", {}),
        again(1, "p2", {}),
        again(2, "p2", {}),
        # With these Ansible goes on to the peer: what the role says must hold, or the play ends.
        (1, "p1", {"any_errors_fatal": True}),
        again(2, "p1", {"max_fail_percentage": 0}),
    ],
)
def test_the_peer_of_an_unreachable_host_is_skipped_in_a_naive_play(fleet, serial, dead, keywords):
    one = fleet({**pair("p", "p1", "p2"), **alone("s1")})
    one.make()
    (one.root(dead) / "unreachable").touch()
    peer = "p2" if dead == "p1" else "p1"
    run = one.play(naive(serial, **keywords), rolling_max_failures=1)
    assert one.patched_when(peer) == [], run.output
    if not keywords:
        assert one.patched_when("s1"), run.output


def test_the_peer_of_an_unreachable_host_is_skipped_and_the_budget_counts_it(fleet):
    hosts = {**pair("p", "p1", "p2"), **alone("s1", "s2", "s3")}
    hosts["p1"]["ksplice_rehearsal"]["unreachable"] = True
    hosts["p2"] = dict(hosts["p2"], ksplice_rehearsal={"kernel": "ol9-uek7", "pending": 3})
    one = fleet(hosts).make()
    run = one.play("rebootless.ksplice.patch", ksplice_max_failures=1)
    assert run.status == 2
    rows = one.rows()
    assert rows["p1"]["verdict"] == "unreachable" and rows["p1"]["attention"]
    assert (
        rows["p2"]["verdict"] == "behind"
        and "p1 of its group p" in rows["p2"]["reason"]
        and one.patched_when("p2") == []
    )
    assert rows["s1"]["verdict"] == rows["s2"]["verdict"] == rows["s3"]["verdict"] == "current"

    # The same with a budget that the unreachable host alone uses up.
    one.make()
    run = one.play("rebootless.ksplice.patch", ksplice_max_failures=0)
    rows = one.rows()
    assert {rows[name]["verdict"] for name in ("s1", "s2", "s3")} == {"behind"}
    assert "the rollout stopped" in rows["s1"]["reason"] and "p1" in rows["s1"]["reason"]
    assert not any(one.patched_when(name) for name in one.names)


@pytest.mark.thorough
def test_a_host_lost_in_the_middle_is_in_doubt_and_its_peer_is_skipped(fleet):
    one = fleet({**pair("p", "p1", "p2"), **alone("s1", **UEK6)})
    one.make()
    # Lost while the agent works: the update takes long, and the host goes away meanwhile.
    one.change("p1", seconds_per_update=1.0)
    play = naive(1)
    play[0]["hosts"] = "p1,p2,s1"
    play[0]["pre_tasks"] = [
        {
            "name": "Pull the plug in a moment",
            "ansible.builtin.shell": f"(sleep 2.5; touch {one.root('p1')}/unreachable) "
            ">/dev/null 2>&1 &",
            "delegate_to": "localhost",
            "when": "inventory_hostname == 'p1'",
            "changed_when": True,
        }
    ]
    run = one.play(play, rolling_max_failures=1)
    assert one.patched_when("p2") == [], run.output
    assert one.patched_when("s1"), run.output


@pytest.mark.thorough
def test_half_a_group_outside_limit_is_refused_unless_allowed(fleet):
    one = fleet({**pair("p", "p1", "p2"), **alone("s1")})
    one.make()
    run = one.play("rebootless.ksplice.patch", "--limit", "p1,s1")
    assert run.status == 2 and "Group p is split: p2 is outside this run" in run.output
    assert not any(one.patched_when(name) for name in one.names)
    run = one.play("rebootless.ksplice.patch", "--limit", "p1,s1", ksplice_partial_groups=True)
    assert run.status == 0, run.output
    assert one.patched_when("p1") and not one.patched_when("p2")
    row = one.rows()["p2"]
    assert row["verdict"] == "unknown" and "outside this run" in row["reason"]


@pytest.mark.thorough
def test_a_failed_host_stops_its_pair_and_not_the_others(fleet):
    hosts = {**pair("p", "p1", "p2"), **pair("q", "q1", "q2"), **alone("a1")}
    hosts["p1"] = {
        "ksplice_ha_group": "p",
        "ksplice_ha_role": "standby",
        "ksplice_rehearsal": {"kernel": "ol9-uek7", "pending": 3, "blocked_by": "no_match"},
    }
    hosts["p2"]["ksplice_ha_role"] = "active"
    one = fleet(hosts)
    run = one.rehearse(ksplice_max_failures=2, ksplice_max_parallel=3)
    assert run.status == 2
    rows = one.rows()
    assert rows["p1"]["verdict"] == "blocked" and rows["p2"]["verdict"] == "behind"
    assert "p1 of its group p was not patched with success" in rows["p2"]["reason"]
    assert {rows[name]["verdict"] for name in ("q1", "q2", "a1")} == {"current"}
