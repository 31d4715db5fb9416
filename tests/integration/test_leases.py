# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Leases in a rollout: two runs, a person's command beside one, and what a run left that died."""

from __future__ import annotations

import json
import time

import pytest
from rehearsals import again

BEHIND = {"kernel": "ol9-uek7", "pending": 12}  # all there are: its kernel is empty
PAIR = {
    "b1": {"ksplice_ha_group": "b", "ksplice_ha_role": "active", "ksplice_rehearsal": BEHIND},
    "b2": {"ksplice_ha_group": "b", "ksplice_ha_role": "standby", "ksplice_rehearsal": BEHIND},
    "alone": {"ksplice_rehearsal": BEHIND},
}
GROUP = [{"name": "b", "members": ["b1", "b2"], "max_unavailable": 1}]


@pytest.fixture
def pair(fleet):
    return fleet(PAIR).make()


def ledger(fleet, host):
    path = fleet.root(host) / "var/lib/rebootless-ksplice/leases.json"
    return json.loads(path.read_text()) if path.exists() else {"leases": [], "ended": []}


def lease(fleet, host, members, seconds, token="t1"):
    """Somebody else's run claims a host, as far as the members named."""
    tasks = [
        {
            "rebootless.ksplice.ha_lease": {
                "state": "acquired",
                "token": token,
                "run": "somebody",
                "host": host,
                "member": "{{ inventory_hostname }}",
                "groups": GROUP,
                "seconds": seconds,
                "reason": "patching by night",
            }
        }
    ]
    run = fleet.play([{"hosts": ",".join(members), "gather_facts": False, "tasks": tasks}])
    assert run.status == 0, run.output


@pytest.mark.thorough
def test_a_rollout_takes_leases_and_leaves_none(pair):
    run = pair.play("rebootless.ksplice.patch")
    assert run.status == 0, run.output[-3000:]
    assert all(pair.kernel(name) for name in pair.names)
    for name in ("b1", "b2"):
        book = ledger(pair, name)
        assert book["leases"] == [] and len(book["ended"]) == 2, (
            "both granted the lease of each, once"
        )
    # A host in no group has a lease of its own, so that nobody works beside its turn.
    book = ledger(pair, "alone")
    assert book["leases"] == [] and len(book["ended"]) == 1


@pytest.mark.thorough
def test_another_run_has_claimed_the_peer(pair):
    lease(pair, "b2", ["b1", "b2"], 600)
    claimed_by_another(pair, pair.play("rebootless.ksplice.patch"))
    assert pair.kernel("alone")


def claimed_by_another(pair, run):
    assert run.status == 2
    assert pair.kernel("b1") == [] and pair.kernel("b2") == []
    row = pair.rows()["b1"]
    assert (
        "The run somebody has claimed b2 (patching by night" in row["reason"]
        and row["verdict"] == "behind"
    )
    assert [entry["token"] for entry in ledger(pair, "b1")["leases"]] == ["t1"], (
        "the other run's lease stays"
    )


def test_what_was_granted_before_a_peer_refused_is_released(pair):
    """The other run's lease is on b2 alone, so that b1 grants its own before b2 refuses."""
    lease(pair, "b2", ["b2"], 600)
    run = pair.play("rebootless.ksplice.patch", "--limit", "b1,b2")
    assert run.status == 2 and pair.kernel("b1") == [] and pair.kernel("b2") == []
    assert ledger(pair, "b1")["leases"] == [] and ledger(pair, "b1")["ended"]
    assert [entry["token"] for entry in ledger(pair, "b2")["leases"]] == ["t1"], (
        "the other run's lease stays"
    )


def test_a_rollout_and_commands_by_hand_beside_another_run(pair):
    """The rollout sees one half of the pair only: the lease reaches the members outside of it."""
    lease(pair, "b2", ["b1", "b2"], 600)
    partial = {"ksplice_partial_groups": True}
    run = pair.play("rebootless.ksplice.patch", "--limit", "b1", **partial)
    claimed_by_another(pair, run)
    assert not pair.kernel("alone")
    for name in ("b1", "b2"):
        run = pair.command(
            "ansible", name, "-i", pair.emulated, "-m", "rebootless.ksplice.uptrack_apply"
        )
        assert (
            run.status != 0
            and "The run somebody has claimed b2" in run.output
            and "Nothing was changed" in run.output
        )
        assert pair.kernel(name) == []
    shown = pair.command("ansible", "b1", "-i", pair.emulated, "-m", "rebootless.ksplice.ha_lease")
    assert "patching by night" in shown.output
    broken = pair.command(
        "ansible",
        "b1",
        "-i",
        pair.emulated,
        "-m",
        "rebootless.ksplice.ha_lease",
        "-a",
        "state=broken reason=looked",
    )
    assert broken.status == 0 and ledger(pair, "b1")["leases"] == []
    nothing = pair.command(
        "ansible",
        "b1",
        "-i",
        pair.emulated,
        "-m",
        "rebootless.ksplice.ha_lease",
        "-a",
        "state=broken",
    )
    assert nothing.status != 0 and "reason" in nothing.output


@pytest.mark.thorough
@pytest.mark.parametrize("members", [["b1", "b2"], again(["b1"])])
def test_what_a_dead_run_left_is_taken_over(pair, members):
    """It died with the lease on both, or between the two messages."""
    lease(pair, "b2", members, 1)
    time.sleep(2.5)
    run = pair.play("rebootless.ksplice.patch")
    assert run.status == 0, run.output[-3000:]
    assert "was claimed by somebody" in run.output and "its lease was taken over" in run.output
    assert all(pair.kernel(name) for name in pair.names)
    for name in ("b1", "b2"):
        assert ledger(pair, name)["leases"] == [] and "t1" in [
            token for token, _at in ledger(pair, name)["ended"]
        ]


@pytest.mark.thorough
def test_a_stale_lease_is_not_free_while_its_agent_is_at_work(pair):
    lease(pair, "b2", ["b1", "b2"], 1)
    emulated = pair.root("b2") / "var/lib/uptrack/lock"
    import fcntl

    with open(emulated, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        time.sleep(2.5)
        run = pair.play("rebootless.ksplice.patch", ksplice_refresh_older_than=999999)
    assert run.status == 2 and pair.kernel("b1") == [] and pair.kernel("b2") == []
    assert ledger(pair, "b2")["leases"][0]["token"] == "t1"


@pytest.mark.thorough
def test_a_ledger_that_cannot_be_read(pair):
    path = pair.root("b2") / "var/lib/rebootless-ksplice/leases.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    run = pair.play("rebootless.ksplice.patch")
    assert (
        run.status == 2
        and pair.kernel("b1") == []
        and pair.kernel("b2") == []
        and pair.kernel("alone")
    )
    assert (
        "unknown which leases this host has granted" in pair.rows()["b1"]["reason"]
        and path.read_text() == "{"
    )


@pytest.mark.thorough
def test_two_rollouts_at_once(pair):
    """From two controllers: never both of the pair, and in the end all is patched by one or the
    other, or told.
    """
    import threading

    results = []

    def roll(number):
        results.append(
            pair.other(number).play(
                "rebootless.ksplice.patch", ksplice_retries=3, ksplice_retry_delay=1
            )
        )

    threads = [threading.Thread(target=roll, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    one, two = pair.patched_when("b1"), pair.patched_when("b2")
    assert not [(a, b) for a in one for b in two if a[0] < b[1] and b[0] < a[1]], (one, two)
    for name in ("b1", "b2"):
        assert ledger(pair, name)["leases"] == []
