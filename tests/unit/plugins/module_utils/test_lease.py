# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The lease protocol: every order of events in small worlds, and single decisions."""

import os
import sys

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils import lease

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lease_model import Faults, Model, Rules, Violation  # noqa: E402

# Worlds explored in CI; KSPLICE_MODEL_WORLDS=0 goes to the end of every one.
LIMIT = int(os.environ.get("KSPLICE_MODEL_WORLDS", "60000")) or None
PAIR = [{"name": "g", "members": ["a", "b"], "max_unavailable": 1}]
THREE = [{"name": "g", "members": ["a", "b", "c"], "max_unavailable": 1}]
FIVE = [{"name": "g", "members": ["a", "b", "c", "d", "e"], "max_unavailable": 2}]
OVERLAP = [{"name": "g", "members": ["a", "b"], "max_unavailable": 1}, {"name": "h", "members": ["b", "c"], "max_unavailable": 1}]
CHAIN = OVERLAP + [{"name": "i", "members": ["a", "c"], "max_unavailable": 1}]

WORLDS = {
    "a pair, two runs, all that goes wrong at once": (PAIR, "ab", Faults(1, 1, 1, 1, 1, 1)),
    "a pair, two runs, clocks leap twice": (PAIR, "ab", Faults(0, 1, 1, 2, 0, 0)),
    "a pair, two runs for one host": (PAIR, "aa", Faults(1, 1, 1, 1, 0, 1)),
    "a pair, two messages lost, one repeated": (PAIR, "ba", Faults(2, 1, 0, 1, 0, 0)),
    "a pair, three runs": (PAIR, "aba", Faults(0, 0, 1, 1, 0, 0)),
    "three members, two runs": (THREE, "ac", Faults(1, 0, 1, 1, 0, 1)),
    "three members, three runs": (THREE, "abc", Faults(0, 0, 0, 1, 0, 0)),
    "five members, two may go, three runs": (FIVE, "ace", Faults(1, 0, 0, 0, 0, 0)),
    "overlapping groups": (OVERLAP, "ac", Faults(1, 0, 1, 1, 0, 0)),
    "overlapping groups in a ring, three runs": (CHAIN, "abc", Faults(0, 0, 0, 1, 0, 0)),
}


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_every_order_of_events(name):
    model = Model(*WORLDS[name])
    count, ends = model.explore(LIMIT)
    print(f"{name}: {count} worlds, {len(ends)} ends")
    assert ends and count > 100
    # Nothing that happened keeps a host from ever being taken again.
    for world in ends[::max(1, len(ends) // 500)]:
        for host in model.members:
            assert model.recovers(world, host), world


def test_without_mishap_somebody_gets_through():
    """No deadlock: of runs that want hosts of one group, at least one is done, in whatever order they come."""
    for groups, wants in ((PAIR, "ab"), (PAIR, "aba"), (THREE, "abc"), (OVERLAP, "ac"), (CHAIN, "abc")):
        _count, ends = Model(groups, wants, Faults(0, 0, 0, 0, 0, 0)).explore()
        assert ends and all(any(run.pc == "done" for run in world.runs) for world in ends)


class Core:
    """The real core, of which the tests bend one function."""

    def __getattr__(self, name):
        return getattr(lease, name)


def bent(**functions):
    core = Core()
    for name, function in functions.items():
        setattr(core, name, function)
    return type("Bent", (Rules,), {"core": core})


def own_only(ledger, wish, now, busy):
    """As if only the host itself were asked whether it is in hand."""
    return lease.take(dict(ledger, leases=[entry for entry in ledger["leases"] if entry["host"] == wish["host"]]), wish, now, busy)


def blind(ledger, wish, now, _busy):
    return lease.take(ledger, wish, now, False)


def free_when_stale(ledger, wish, now, busy):
    return lease.take(dict(ledger, leases=[entry for entry in ledger["leases"] if not lease.is_stale(entry, now)]), wish, now, busy)


def never_known(ledger, old, wish, now, busy):
    after, answer = lease.adopt(ledger, old, wish, now, busy)
    return after, answer if answer["granted"] else dict(answer, unknown=True)


@pytest.mark.parametrize("groups, wants, rules, faults", [
    (PAIR, "ab", bent(take=own_only), Faults(0, 0, 0, 0, 0, 0)),
    (PAIR, "ab", bent(take=blind), Faults(0, 0, 0, 0, 0, 1)),
    (PAIR, "ab", bent(take=free_when_stale), Faults(0, 0, 0, 2, 0, 0)),
    # Whoever clears what he takes for a remainder may end a lease that is alive on its host, where only another member's clock has leapt.
    (THREE, "ac", bent(clear=lease.end, adopt=never_known), Faults(1, 0, 0, 1, 0, 0)),
    (PAIR, "ab", type("Forgets", (Rules,), {"forgets_at_boot": True}), Faults(0, 0, 0, 0, 2, 0)),
    (PAIR, "ab", type("Unfenced", (Rules,), {"checks_own_ledger": False}), Faults(0, 0, 0, 2, 0, 0)),
])
def test_a_protocol_with_one_rule_bent_is_found_out(groups, wants, rules, faults):
    """So that the exploration above is worth something."""
    with pytest.raises(Violation):
        Model(groups, wants, faults, rules).explore(400000)


# ---- single decisions --------------------------------------------------------------------------------------------------

def now(wall=1000.0, clock=100.0, boot="one"):
    return {"wall": wall, "clock": clock, "boot": boot}


def wish(**more):
    return dict({"token": "t", "run": "night", "host": "a", "member": "a", "groups": PAIR, "seconds": 60, "reason": "patching", "unreachable": []}, **more)


def taken(**more):
    return lease.take(lease.empty(), wish(**more), now(), False)[0]


@pytest.mark.parametrize("moment, stale", [
    (now(1030, 130), False), (now(1100, 170), True),
    # Somebody set the clock: within one boot it does not count.
    (now(999999, 130), False), (now(0, 130), False), (now(1030, 999), True),
    # After a boot there is only the wall clock.
    (now(1030, 5, "two"), False), (now(1100, 5, "two"), True), (now(0, 5, "two"), False)])
def test_staleness_and_clocks(moment, stale):
    assert lease.is_stale(taken()["leases"][0], moment) is stale


def test_tombstones_are_bounded():
    ledger = lease.empty()
    for number in range(1500):
        ledger = lease.end(ledger, f"t{number}", now(1000 + number))[0]
    assert len(ledger["ended"]) == lease.REMEMBERED_AT_MOST and ledger["ended"][-1][0] == "t1499"
    assert len(lease.end(ledger, "late", now(1000 + lease.REMEMBERED + 2000))[0]["ended"]) == 1


def test_an_unreachable_member_counts_as_out_of_service():
    refused = lease.take(lease.empty(), wish(unreachable=["b"]), now(), False)[1]
    assert not refused["granted"] and "b of the group g cannot be reached" in refused["refusal"]


def test_no_majority_no_lease():
    answers = {"a": {"granted": True, "refusal": None, "leases": []}, "b": {"granted": True, "refusal": None, "leases": []}, "c": None, "d": None, "e": None}
    groups = [dict(FIVE[0], max_unavailable=4)]
    assert "no majority" in lease.is_taken(wish(groups=groups), answers)
    assert "cannot be reached" in lease.is_taken(wish(host="c", groups=groups), answers)


def test_a_stale_lease_is_adopted_with_its_marks_and_not_before():
    ledger = lease.renew(taken(), "t", now(), "draining", {"keepalived": "active"})[0]
    early = lease.adopt(ledger, "t", wish(token="u", run="morning"), now(1030, 130), False)[1]
    assert not early["granted"] and "Wait until it is done" in early["refusal"]
    at_work = lease.adopt(ledger, "t", wish(token="u"), now(1100, 200), True)[1]
    assert not at_work["granted"] and "at work" in at_work["refusal"]
    after, answer = lease.adopt(ledger, "t", wish(token="u", run="morning"), now(1100, 200), False)
    assert answer["granted"] and answer["adopted"]["run"] == "night"
    entry = lease.own(after)
    assert (entry["token"], entry["run"], entry["phase"], entry["marks"]) == ("u", "morning", "draining", {"keepalived": "active"})
    assert lease.may_work(after, "t", now(1100, 200)) and lease.may_work(after, "u", now(1100, 200)) is None
