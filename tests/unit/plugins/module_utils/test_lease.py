# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The lease protocol: every order of events in small worlds, and single decisions."""

import os
import sys
import types

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import lease, lease_task
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import turns
from extent import todays

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lease_model import ENDLESS, NONE, Faults, Model, Rules, Violation  # noqa: E402

# How far the large worlds are explored; KSPLICE_MODEL_WORLDS=0 goes to the end of them too.
LIMIT = int(os.environ.get("KSPLICE_MODEL_WORLDS", "10000")) or None
# The small worlds are explored to the end; one that grows beyond all measure fails instead of
# running for hours.
MEASURE = 600000
PAIR = [{"name": "g", "members": ["a", "b"], "max_unavailable": 1}]
PAIRS = PAIR + [{"name": "h", "members": ["c", "d"], "max_unavailable": 1}]
THREE = [{"name": "g", "members": ["a", "b", "c"], "max_unavailable": 1}]
TWO_OF_THREE = [{"name": "g", "members": ["a", "b", "c"], "max_unavailable": 2}]
FIVE = [{"name": "g", "members": ["a", "b", "c", "d", "e"], "max_unavailable": 2}]
OVERLAP = [
    {"name": "g", "members": ["a", "b"], "max_unavailable": 1},
    {"name": "h", "members": ["b", "c"], "max_unavailable": 1},
]
UNLIKE = [
    {"name": "g", "members": ["a", "b", "c"], "max_unavailable": 2},
    {"name": "h", "members": ["c", "d"], "max_unavailable": 1},
]
RING = OVERLAP + [{"name": "i", "members": ["a", "c"], "max_unavailable": 1}]

# Two runs with every mishap at once, three with two or three kinds at a time, and runs that wait:
# each of them to its end.
WORLDS = {
    "a pair, two runs, everything once": (PAIR, "ab", Faults(1, 1, 1, 1, 1, 1)),
    "a pair, two runs, messages lost and repeated, clocks leap": (
        PAIR,
        "ab",
        Faults(2, 2, 0, 2, 0, 0),
    ),
    "a pair, two runs, two die, clocks leap": (PAIR, "ab", Faults(1, 1, 2, 3, 0, 0)),
    "one host, two runs, everything once": (PAIR, "aa", Faults(1, 1, 1, 1, 1, 1)),
    "three members, two runs, everything once": (THREE, "ac", Faults(1, 1, 1, 1, 1, 1)),
    "three members, two may go, two runs": (TWO_OF_THREE, "ac", Faults(1, 0, 1, 1, 0, 1)),
    "overlapping groups, two runs, everything once": (OVERLAP, "ac", Faults(1, 1, 1, 1, 1, 1)),
    "a pair, three runs, one dies, clocks leap, by hand": (PAIR, "aba", Faults(0, 0, 1, 1, 0, 1)),
    "a pair, three runs, one dies, a member boots, messages come again": (
        PAIR,
        "aba",
        Faults(0, 1, 1, 0, 1, 1),
    ),
    "three members, three runs, messages lost and repeated, a boot, one dies": (
        THREE,
        "abc",
        Faults(1, 1, 1, 0, 1, 0),
    ),
    "three members, three runs, one dies, clocks leap": (THREE, "abc", Faults(0, 0, 1, 1, 0, 0)),
    "three members, three runs, a message lost, clocks leap": (
        THREE,
        "abc",
        Faults(1, 0, 0, 1, 0, 0),
    ),
    "three members, three runs, a message repeated, clocks leap": (
        THREE,
        "abc",
        Faults(0, 1, 0, 1, 0, 0),
    ),
    "five members, two may go, three runs, one dies": (FIVE, "ace", Faults(0, 0, 1, 0, 0, 0)),
    "overlapping groups, three runs, one dies, clocks leap": (
        OVERLAP,
        "abc",
        Faults(0, 0, 1, 1, 0, 1),
    ),
    "overlapping groups, three runs, a message lost, clocks leap": (
        OVERLAP,
        "abc",
        Faults(1, 0, 0, 1, 0, 0),
    ),
    "overlapping groups, three runs, messages lost and repeated, a boot": (
        OVERLAP,
        "abc",
        Faults(1, 1, 0, 0, 1, 1),
    ),
    "overlapping groups, three runs, clocks leap, a boot": (
        OVERLAP,
        "abc",
        Faults(0, 0, 0, 1, 1, 0),
    ),
    "overlapping groups of two kinds, three runs": (UNLIKE, "acd", Faults(0, 0, 1, 0, 0, 1)),
    "groups in a ring, three runs": (RING, "abc", Faults(1, 1, 1, 0, 0, 1)),
    "a pair, three runs that wait twice": (PAIR, "aba", Faults(0, 0, 1, 1, 0, 0), {"patience": 2}),
    "overlapping groups, three runs that wait once, one dies, clocks leap": (
        OVERLAP,
        "abc",
        Faults(0, 0, 1, 1, 0, 0),
        {"patience": 1},
    ),
    "overlapping groups, three runs that wait twice, one dies, messages": (
        OVERLAP,
        "abc",
        Faults(1, 1, 1, 0, 0, 0),
        {"patience": 2},
    ),
    "groups in a ring, three runs that wait once, one dies, messages": (
        RING,
        "abc",
        Faults(1, 0, 1, 0, 0, 1),
        {"patience": 1},
    ),
    "groups in a ring, three runs that wait twice, clocks leap": (
        RING,
        "abc",
        Faults(0, 0, 0, 1, 0, 0),
        {"patience": 2},
    ),
    "two waves of two hosts that wait twice, one message lost": (
        PAIRS,
        "acbd",
        Faults(1, 0, 0, 0, 0, 0),
        {"patience": 2, "teams": [(0, 1), (2, 3)]},
    ),
}

LARGE = {
    "a pair, two runs, most things twice": (PAIR, "ab", Faults(2, 1, 2, 2, 1, 1)),
    "a pair, three runs, everything once": (PAIR, "aba", Faults(1, 1, 1, 1, 1, 1)),
    "three members, three runs, one dies, clocks leap, by hand": (
        THREE,
        "abc",
        Faults(1, 0, 1, 1, 0, 1),
    ),
    "five members, two may go, three runs, clocks leap": (FIVE, "ace", Faults(0, 0, 0, 1, 0, 0)),
    "five members, two may go, three runs, a message lost": (FIVE, "ace", Faults(1, 0, 0, 0, 0, 0)),
    "overlapping groups, three runs, everything once": (
        OVERLAP,
        "abc",
        Faults(1, 1, 1, 1, 1, 1),
        {"patience": 1},
    ),
}


def model(groups, wants, faults, more=None):
    return Model(groups, wants, faults, **(more or {}))


def explored(name, world, limit):
    """Explore it; never two is looked at on the way. What holds of every world that was reached
    besides: somebody can go on, or everybody has come to an end (and no step leads back, see rank,
    so that the end comes whatever the order); nothing that happened keeps a host from ever being
    taken again.
    """
    one = model(*world)
    found = one.explore(limit)
    print(f"{name}: {found.worlds} worlds, {len(found.ends)} ends")
    assert not found.stuck, one.words(found.stuck[0])
    for end in {one.left(end): end for end in found.ends}.values():
        for host in one.members:
            assert one.recovers(end, host), one.words(end)
    return found


@pytest.mark.parametrize("name", todays(sorted(WORLDS), of=13))
def test_every_order_of_events_to_the_end(name):
    found = explored(name, WORLDS[name], MEASURE)
    assert found.complete and found.ends and found.worlds > 1000


@pytest.mark.parametrize("name", todays(sorted(LARGE)))
def test_larger_worlds_as_far_as_they_are_explored(name):
    found = explored(name, LARGE[name], LIMIT)
    assert found.complete or LIMIT


def test_the_worlds_cover_every_kind_of_mishap_with_two_runs_and_with_three():
    for count in (2, 3):
        together = [world[2] for world in WORLDS.values() if len(world[1]) == count]
        assert all(any(faults[kind] for faults in together) for kind in range(6))


def test_an_exploration_that_was_limited_says_so():
    assert not model(PAIR, "ab", Faults(1, 1, 1, 1, 1, 1)).explore(1000).complete


@pytest.mark.parametrize(
    "groups, wants, faults, more",
    [
        (PAIR, "ab", Faults(1, 1, 1, 1, 0, 0), {}),
        (PAIR, "aba", Faults(0, 0, 1, 0, 1, 1), {"patience": 1}),
        (OVERLAP, "abc", Faults(1, 0, 1, 0, 0, 0), {}),
        (RING, "abc", NONE, {"patience": ENDLESS}),
    ],
)
def test_from_every_world_there_is_a_way_to_an_end_without_further_mishap(
    groups, wants, faults, more
):
    """Once more without the argument that no step leads back: from the ends backwards every world
    is reached.
    """
    one, graph, before = model(groups, wants, faults, more), {}, {}
    found = one.explore(MEASURE, graph=graph)
    assert found.complete and len(graph) == found.worlds
    for world, following in graph.items():
        for after in following:
            before.setdefault(after, []).append(world)
    reached, waiting = set(found.ends), list(found.ends)
    while waiting:
        for world in before.get(waiting.pop(), ()):
            if world not in reached:
                reached.add(world)
                waiting.append(world)
    assert reached == set(graph)


@pytest.mark.parametrize(
    "groups, wants, faults",
    [
        (PAIR, "ab", Faults(1, 1, 1, 0, 0, 0)),
        (PAIR, "ab", Faults(0, 1, 1, 1, 0, 1)),
        (PAIR, "ab", Faults(0, 0, 1, 1, 1, 0)),
        (PAIR, "aa", Faults(1, 1, 0, 1, 0, 0)),
        (OVERLAP, "ac", Faults(1, 1, 0, 0, 0, 0)),
    ],
)
def test_the_reductions_leave_nothing_out(groups, wants, faults):
    """With them and without, the same things happen to hosts and runs."""
    outcomes = []
    for plain in (False, True):
        one, graph = Model(groups, wants, faults, plain=plain), {}
        assert one.explore(MEASURE, graph=graph).complete
        outcomes.append(
            {
                (
                    one.claimed(world),
                    tuple(
                        (one.runs.values[run].pc, one.runs.values[run].at)
                        for run in world[2 * one.count : -1]
                    ),
                    tuple(
                        tuple(entry[:2] for entry in one.ledgers.values[ledger][0])
                        for ledger in world[: one.count]
                    ),
                )
                for world in graph
            }
        )
    assert outcomes[0] == outcomes[1]


def pcs(one, world):
    return [one.runs.values[run].pc for run in world[2 * one.count : -1]]


ALONE = [
    (PAIR, "ab"),
    (PAIR, "aba"),
    (THREE, "abc"),
    (OVERLAP, "ac"),
    (OVERLAP, "abc"),
    (RING, "abc"),
    (UNLIKE, "acd"),
    (FIVE, "ace"),
]


@pytest.mark.parametrize("patience", todays([0, 1, ENDLESS], of=3))
def test_without_mishap_somebody_gets_through(patience):
    """Of runs that want hosts of one group, at least one is done, in whatever order they come; and
    who waits in the order of the names never waits in a circle, even if nobody ever gives up.
    """
    for groups, wants in todays(ALONE, of=2):
        one = Model(groups, wants, NONE, patience=patience)
        found = one.explore()
        assert found.ends and not found.stuck
        assert all("done" in pcs(one, world) for world in found.ends)
        if patience == ENDLESS and all(group["max_unavailable"] == 1 for group in groups):
            # Where two may go, one is left now and then all the same: what the members said at
            # different times, taken together, was too much.
            assert all(pcs(one, world) == ["done"] * len(wants) for world in found.ends)


def test_hosts_of_a_wave_that_ask_in_step_wait_for_bounded_time_or_by_name():
    """Two waves of hosts of two pairs, each of which holds one pair's first member and waits at the
    other's: with waits that end they get through, and without a bound only if the wave asks the
    members in the order of their names, one member after the other.
    """
    teams = [(0, 1), (2, 3)]
    assert Model(PAIRS, "adbc", NONE, patience=ENDLESS, teams=teams).explore().stuck
    for more in ({"patience": 2}, {"patience": ENDLESS, "by_name": True}):
        one = Model(PAIRS, "adbc", NONE, teams=teams, **more)
        found = one.explore()
        assert (
            found.ends
            and not found.stuck
            and all("done" in pcs(one, world) for world in found.ends)
        )


REAL = types.SimpleNamespace(**vars(lease))


def looking_at(ledger, leases, ended, wish, now, busy):
    """take, with a part of the ledger only."""
    after, answer = REAL.acquire({"leases": leases, "ended": ended}, wish, now, busy)
    return after if answer["granted"] else ledger, answer


def own_only(ledger, wish, now, busy):
    """As if only the host itself were asked whether it is claimed."""
    return looking_at(
        ledger,
        [entry for entry in ledger["leases"] if entry["host"] == wish["host"]],
        ledger["ended"],
        wish,
        now,
        busy,
    )


def blind(ledger, wish, now, _busy):
    return REAL.acquire(ledger, wish, now, False)


def free_when_stale(ledger, wish, now, busy):
    return looking_at(
        ledger,
        [entry for entry in ledger["leases"] if not REAL.is_stale(entry, now)],
        ledger["ended"],
        wish,
        now,
        busy,
    )


def raises_the_dead(ledger, wish, now, busy):
    """As if nobody remembered which attempts have ended."""
    return looking_at(ledger, ledger["leases"], [], wish, now, busy)


def idle(wish, answers):
    return REAL.is_acquired(
        wish, {member: answer and dict(answer, busy=False) for member, answer in answers.items()}
    )


def never_known(ledger, old, wish, now, busy):
    after, answer = REAL.adopt(ledger, old, wish, now, busy)
    return after, answer if answer["granted"] else dict(answer, unknown=True)


@pytest.mark.parametrize(
    "groups, wants, bent, faults",
    [
        (PAIR, "ab", dict(acquire=own_only), NONE),
        (PAIR, "ab", dict(acquire=blind, is_acquired=idle), Faults(0, 0, 0, 0, 0, 1)),
        (PAIR, "ab", dict(acquire=free_when_stale), Faults(0, 0, 0, 2, 0, 0)),
        (PAIR, "ab", dict(acquire=raises_the_dead), Faults(0, 0, 0, 1, 0, 1)),
        # Whoever clears what he takes for a remainder may end a lease that is alive on its host,
        # where only another member's clock has leapt.
        (
            THREE,
            "ac",
            dict(clear=lambda *ask: REAL.end(*ask[:3]), adopt=never_known),
            Faults(0, 0, 0, 1, 0, 1),
        ),
        # Whose lease was taken over ends what the others granted, while the other run puts the
        # host back, and they let somebody in by hand.
        (PAIR, "ab", dict(release=REAL.end), Faults(0, 0, 0, 1, 1, 1)),
        # The same, where the run does not heed that its host refused the release.
        (PAIR, "ab", dict(keeps_lease=lambda *_seen: False), Faults(0, 0, 0, 1, 1, 1)),
        # A member that nobody could ask counts as out of service; who looks only whether it has
        # granted a lease does not see that somebody is at work on it.
        (TWO_OF_THREE, "ac", dict(is_acquired=idle), Faults(1, 0, 0, 0, 0, 1)),
        (
            PAIR,
            "ab",
            {"forgets_at_boot": True},
            Faults(0, 0, 0, 0, 2, 0),
        ),
        (
            PAIR,
            "ab",
            {"checks_own_ledger": False},
            Faults(0, 0, 0, 2, 0, 0),
        ),
    ],
)
def test_a_protocol_with_one_rule_bent_is_found_out(monkeypatch, groups, wants, bent, faults):
    """So that the exploration above is worth something."""
    for name, other in bent.items():
        place = next(one for one in (lease, turns, Rules) if hasattr(one, name))
        monkeypatch.setattr(place, name, other)
    with pytest.raises(Violation):
        Model(groups, wants, faults).explore(MEASURE)


def test_waiting_in_another_order_than_that_of_the_names_is_found_out():
    """Each run holds its own host's lease and waits for the other's: nobody ever goes on."""
    bent_order = type("OwnFirst", (Rules,), {"own_host_first": True})
    for groups, wants in ((PAIR, "ab"), (RING, "abc")):
        assert Model(groups, wants, NONE, bent_order, patience=ENDLESS).explore().stuck
        assert not Model(groups, wants, NONE, patience=ENDLESS).explore().stuck


def test_a_refusal_that_leaves_a_trace_is_found_out(monkeypatch):
    """Who waits asks again and again, so that a refused wish must change nothing."""

    def leaves_a_trace(ledger, wish, now, busy):
        after, answer = REAL.acquire(ledger, wish, now, busy)
        return (after if answer["granted"] else REAL.end(after, "x", now)[0]), answer

    monkeypatch.setattr(lease, "acquire", leaves_a_trace)
    with pytest.raises(AssertionError, match="refusal changed"):
        Model(PAIR, "ab", NONE, patience=2).explore()


# ---- single decisions ----------------------------------------------------------------------------


def now(wall=1000.0, clock=100.0, boot="one"):
    return {"wall": wall, "clock": clock, "boot": boot}


def wish(**more):
    return dict(
        {
            "token": "t",
            "run": "night",
            "host": "a",
            "member": "a",
            "groups": PAIR,
            "seconds": 60,
            "reason": "patching",
            "unreachable": [],
        },
        **more,
    )


def taken(**more):
    return lease.acquire(lease.empty(), wish(**more), now(), False)[0]


@pytest.mark.parametrize(
    "moment, stale",
    [
        (now(1030, 130), False),
        (now(1100, 170), True),
        # Somebody set the clock: within one boot it does not count.
        (now(999999, 130), False),
        (now(0, 130), False),
        (now(1030, 999), True),
        # After a boot there is only the wall clock.
        (now(1030, 5, "two"), False),
        (now(1100, 5, "two"), True),
        (now(0, 5, "two"), False),
    ],
)
def test_staleness_and_clocks(moment, stale):
    assert lease.is_stale(taken()["leases"][0], moment) is stale


def test_tombstones_are_bounded():
    ledger = lease.empty()
    for number in range(1500):
        ledger = lease.end(ledger, f"t{number}", now(1000 + number))[0]
    assert len(ledger["ended"]) == lease.REMEMBERED and ledger["ended"][-1][0] == "t1499"
    # A clock that jumps makes nobody forget.
    later = lease.end(ledger, "late", now(10**9))[0]
    assert [token for token, _at in later["ended"]][-2:] == ["t1499", "late"]


def test_an_unreachable_member_counts_as_out_of_service():
    refused = lease.acquire(lease.empty(), wish(unreachable=["b"]), now(), False)[1]
    assert not refused["granted"] and "b of the group g cannot be reached" in refused["refusal"]


def test_no_majority_no_lease():
    answers = {
        "a": {"granted": True, "refusal": None, "leases": []},
        "b": {"granted": True, "refusal": None, "leases": []},
        "c": None,
        "d": None,
        "e": None,
    }
    groups = [dict(FIVE[0], max_unavailable=4)]
    assert "not a majority" in lease.is_acquired(wish(groups=groups), answers)
    assert "cannot be reached" in lease.is_acquired(wish(host="c", groups=groups), answers)


def test_a_stale_lease_is_adopted_with_its_phase_and_not_before():
    ledger = lease.renew(taken(), "t", now(), "draining")[0]
    early = lease.adopt(ledger, "t", wish(token="u", run="morning"), now(1030, 130), False)[1]
    assert not early["granted"] and "Wait until it is done" in early["refusal"]
    at_work = lease.adopt(ledger, "t", wish(token="u"), now(1100, 200), True)[1]
    assert not at_work["granted"] and "at work" in at_work["refusal"]
    after, answer = lease.adopt(ledger, "t", wish(token="u", run="morning"), now(1100, 200), False)
    assert answer["granted"] and answer["adopted"]["run"] == "night"
    entry = lease.own(after)
    assert (entry["token"], entry["run"], entry["phase"]) == ("u", "morning", "draining")
    assert (
        lease.may_work(after, "t", now(1100, 200))
        and lease.may_work(after, "u", now(1100, 200)) is None
    )


def test_the_run_whose_lease_was_taken_over_leaves_the_leases_of_the_others():
    later = now(1100, 200)
    ledger = lease.adopt(taken(), "t", wish(token="u", run="morning"), later, False)[0]
    after, answer = lease.release(ledger, "t", later)
    assert (
        not answer["granted"] and "morning has claimed a" in answer["refusal"] and after == ledger
    )
    assert not lease.clear(ledger, "t", later)[1]["granted"]
    # That run dies too: the lease is found by each token that it had.
    latest = now(1300, 400)
    ledger, answer = lease.adopt(ledger, "t", wish(token="v", run="noon"), latest, False)
    assert (
        answer["granted"]
        and answer["adopted"]["token"] == "u"
        and lease.own(ledger)["took"] == ["t", "u"]
    )
    assert (
        not lease.release(ledger, "t", latest)[1]["granted"]
        and not lease.release(ledger, "u", latest)[1]["granted"]
    )
    ledger, answer = lease.release(ledger, "v", latest)
    assert (
        answer["granted"]
        and not ledger["leases"]
        and lease.release(ledger, "t", latest)[1]["granted"]
    )


def test_the_lease_of_another_host_is_not_cleared():
    """A member told this token as one of host c: it is the one that protects a."""
    ask = {"state": "ended", "token": "t", "host": "c"}
    ledger, answer = lease_task.decide(ask, taken(member="b"), now(), False)
    assert not answer["granted"] and ledger["leases"]
    ledger, answer = lease_task.decide(dict(ask, host="a"), taken(member="b"), now(), False)
    assert answer["granted"] and not ledger["leases"]
