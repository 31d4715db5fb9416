# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The fire test: rollouts over real keepalived pairs with clients on them, while everything that
can go wrong does.

In every scenario: no moment with two members of a pair claimed, by the agents' own logs, and at
every moment a member that serves. Failed requests of the
clients are counted and printed.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
import time

import pytest
import watcher
from extent import ALL, rounds, turn
from pairs import KERNELS, PAIRS, keepalived, real_hosts

KILLS = int(os.environ.get("FIRE_KILLS") or rounds(20, 1))
FIRST, SECOND = 0, 1


def some(*pairs):
    """The pairs that a scenario is played over: all of these, or, in the short play, another one
    of them each day.
    """
    return pairs if ALL else (pairs[turn(len(pairs))],)


def members(chosen):
    return [name for pair in chosen for name in PAIRS[pair]]


@contextlib.contextmanager
def fire(pairs, *names, wounded=(), seconds=0.3):
    """Clients on some pairs; at the end the watcher has its say. What the clients saw is in the
    value's C(seen).

    :param seconds: how long each update takes, so that two that should not meet would.
    :param wounded: pairs of which the member that serves is lost, so that clients have to wait
        for VRRP to notice.
    """
    chosen = {pair: PAIRS[pair] for pair in names}
    hosts = members(names)
    pairs.reset(hosts, seconds)
    clients, what = pairs.clients(chosen, hosts), type("Fire", (), {"hosts": hosts})
    try:
        yield what
    finally:
        for control in pairs.controls:
            if control.running:
                control.kill()
        what.seen = clients.end()
        print(what.seen.summary(chosen))
    both = watcher.together(pairs.spans(), PAIRS)
    assert not both, f"two members of a pair were claimed at once: {both}"
    for pair, both_members in chosen.items():
        assert what.seen.rate(pair) >= 20, "the clients ask too seldom to see anything"
        assert not what.seen.unserved(both_members), (
            f"nobody of {pair} served in these seconds: {what.seen.unserved(both_members)}"
        )
        if pair in wounded:
            # Three to four advertisement intervals, of a second at most; and what a busy machine
            # takes.
            assert what.seen.longest_gap(pair) < 10, "nobody took the address over"
        else:
            # What a move of the address itself costs is said, with numbers, in docs/rolling.md.
            assert what.seen.unexplained(pair) == [], (
                "a request failed although a member that serves had the address"
            )
            assert len(what.seen.failed(pair)) <= len(what.seen.moves(pair)), (
                "more was cut than what was under way"
            )


def until(what, wanted, seconds=120):
    """Wait for something that has to come."""
    end = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < end, f"it never came that {what}"
        time.sleep(0.05)


def claimed(pairs, name):
    """Whether the host's kernel is being changed, by its agent's log."""
    log = pairs.log_of(name)
    return log.count("EVENT: apply begin") > 0 and log.rfind("EVENT: run ended") < log.rfind(
        "EVENT: apply begin"
    )


def all_is_well(pairs, hosts):
    """Patched, back in service, no lease and no saved state left, every configuration as it was."""
    assert pairs.patched(hosts) == list(hosts)
    addresses = {name: what["address"] for name, what in pairs.hosts().items()}
    for name in hosts:
        assert pairs.leases(name) == [] and pairs.saved(name) == [], name
        for path, text in keepalived(name, addresses).items():
            assert pairs.run(name, ["cat", path])[1] == text, f"{path} of {name} is not as it was"
    pairs.settle({name[0] for name in hosts})


def limit(*hosts):
    return "--limit", ",".join(hosts)


@pytest.mark.thorough
def test_a_clean_run(pairs):
    chosen = some(*PAIRS)
    with fire(pairs, *chosen) as what:
        run = pairs.patch(1, *limit(*members(chosen)))
    assert run.status == 0, run.output[-4000:]
    all_is_well(pairs, members(chosen))
    spans = pairs.spans()
    for pair, (first, second) in ((pair, PAIRS[pair]) for pair in chosen):
        assert spans[second][-1][1] <= spans[first][0][0], "the standby goes first"
        assert what.seen.servers(pair) == [first, second, first], (
            "the active one was out of service while it was patched, and came back"
        )
        assert (
            run.rows[first]["role"] == "active"
            and run.rows[second]["role"] == "standby"
            and run.rows[first]["drained"] == ["keepalived"]
        )


class Operator(threading.Thread):
    """Rolls over one pair from a control node that is killed at random moments, and starts it
    again each time, until it has died so many times and a run
    has ended."""

    def __init__(self, pairs, pair, number, kills, dice):
        super().__init__(name=pair)
        self.pairs, self.pair, self.number, self.kills, self.dice = pairs, pair, number, kills, dice
        self.moments, self.waits, self.output, self.trouble = [], [], "", None

    def run(self):
        try:
            self.roll()
        except BaseException as trouble:
            # It is raised again where the test can see it.
            self.trouble = trouble

    def roll(self):
        long = 40.0 if ALL else 15.0
        while len(self.moments) < self.kills:
            if self.pairs.patched(PAIRS[self.pair]) == list(PAIRS[self.pair]):
                self.take_out()
            control = self.pairs.start_control(
                self.number, "rebootless.ksplice.patch", *limit(*PAIRS[self.pair])
            )
            moment = round(self.dice.uniform(0.5, long), 2)
            if len(self.moments) % 2 == 0:
                # Every other time at a moment at which a member is drained.
                moment = self.when_drained(control)
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    control.process.wait(timeout=moment)
            if control.running:
                control.kill()
                # The other times the next run meets the turn while it goes on.
                if len(self.moments) % 2 == 0:
                    self.serves_by_itself()
                self.moments.append(moment)
            else:
                # It was done before its moment came: the moments are drawn from as long as a run
                # takes here.
                long = time.time() - control.begun
        for _try in range(4):
            control = self.pairs.start_control(
                self.number, "rebootless.ksplice.patch", *limit(*PAIRS[self.pair])
            ).wait()
            self.output = control.output
            if control.status == 0:
                return
        raise AssertionError(
            f"pair {self.pair} never came to an end after kills at {self.moments}: "
            f"{self.output[-3000:]}"
        )

    def when_drained(self, control):
        """Wait until a member of the pair is drained; how long the run had been at work."""
        until(
            f"a member of {self.pair} is drained",
            lambda: any(self.pairs.saved(name) for name in PAIRS[self.pair]) or not control.running,
        )
        return round(time.time() - control.begun, 2)

    def serves_by_itself(self):
        """Whatever was drained is restored without a second run, after its own checks."""
        killed = time.monotonic()
        for name in PAIRS[self.pair]:
            until(
                f"{name} serves again by itself",
                lambda one=name: self.pairs.saved(one) == [],
                seconds=60,
            )
        self.waits.append(round(time.monotonic() - killed, 1))

    def take_out(self):
        """Take everything out again by hand, one after the other, so that there is something to
        roll.
        """
        for name in PAIRS[self.pair]:
            until(
                f"the agent of {name} is done",
                lambda one=name: (
                    self.pairs.run(one, ["pgrep", "-f", "uptrack-(upgrade|install)"], check=False)[
                        0
                    ]
                    != 0
                ),
            )
        for name in PAIRS[self.pair]:
            self.pairs.run(name, ["uptrack-remove", "--all", "-y"])


@pytest.mark.thorough
def test_a_clean_run_that_takes_no_host_out_of_service(pairs):
    """Updates go in while the host serves: not one request fails."""
    chosen = some("a", "d")
    with fire(pairs, *chosen) as what:
        run = pairs.patch(1, *limit(*members(chosen)), ksplice_drain="never")
    assert run.status == 0, run.output[-4000:]
    all_is_well(pairs, members(chosen))
    assert all(
        what.seen.failed(pair) == [] and what.seen.servers(pair) == [PAIRS[pair][FIRST]]
        for pair in chosen
    )


def test_the_control_node_is_killed_at_random_moments_and_started_again(pairs, seed):
    chosen = some(*PAIRS)
    with fire(pairs, *chosen):
        operators = [
            Operator(
                pairs,
                pair,
                f"-{pair}",
                KILLS // len(chosen) + (number < KILLS % len(chosen)),
                random.Random(seed + number),
            )
            for number, pair in enumerate(chosen)
        ]
        for one in operators:
            one.start()
        for one in operators:
            one.join()
    for one in operators:
        print(f"pair {one.pair}: killed after {one.moments} s (FIRE_SEED={seed})")
        print(f"pair {one.pair}: restored by itself {one.waits} s after a kill")
        if one.trouble:
            raise one.trouble
    assert sum(len(one.moments) for one in operators) == KILLS
    all_is_well(pairs, members(chosen))


def test_a_member_dies_while_its_peer_is_claimed(pairs):
    first, second = PAIRS["b"]
    with fire(pairs, "b", wounded="b"):
        control = pairs.start_control(1, "rebootless.ksplice.patch", *limit(first, second))
        until(f"{first} is claimed", lambda: claimed(pairs, first))
        pairs.kill(second)
        control.wait()
        until("the address is with the one that lives", lambda: pairs.holders("b") == [first])
    assert pairs.patched([first]) == [first], control.output[-3000:]
    assert pairs.saved(first) == [] and pairs.leases(first) == []
    # Its peer keeps a lease of no run; when it is back the next run clears it.
    pairs.start(second)
    pairs.wait([second])
    run = pairs.patch(1, *limit(first, second))
    assert run.status == 0, run.output[-3000:]
    all_is_well(pairs, (first, second))


def test_cables_are_cut(pairs):
    """That of a claimed host, and (played out) in another pair that of the peer which serves
    meanwhile.
    """
    lost, kept = PAIRS["c"]
    serving = PAIRS["d"][SECOND]
    chosen = ("c", "d") if ALL else ("c",)
    hosts = members(chosen)
    with fire(pairs, *chosen, wounded="d"):
        control = pairs.start_control(
            1, "rebootless.ksplice.patch", *limit(*hosts), ksplice_max_failures=4
        )
        until(f"{lost} is claimed", lambda: claimed(pairs, lost))
        pairs.cable(lost, False)
        if "d" in chosen:
            until(f"{PAIRS['d'][FIRST]} is claimed", lambda: claimed(pairs, PAIRS["d"][FIRST]))
            pairs.cable(serving, False)
        try:
            control.wait()
        finally:
            pairs.cable(lost, True)
            pairs.cable(serving, True)
    rows = control.rows
    assert control.status == 2, control.output[-3000:]
    assert (
        rows[lost]["verdict"] == "unreachable"
        and rows[lost]["reason_code"] == "unreachable"
        and rows[lost]["attention"]
    ), rows[lost]
    assert "which it ends by itself" in rows[lost]["reason"]
    # It did so, behind the cable, and serves again now that it can, with no second run.
    assert pairs.patched([lost]) == [lost]
    until(f"{lost} serves again", lambda: pairs.holders("c") == [lost], 30)
    assert [lease["host"] for lease in pairs.leases(kept)] == [lost], (
        "its peer goes on protecting it"
    )
    # Time goes by, the lease gets stale, somebody starts the rollout again.
    for _try in range(2):
        run = pairs.patch(1, *limit(*hosts))
        if run.status == 0:
            break
    assert run.status == 0, run.output[-3000:]
    all_is_well(pairs, hosts)


def test_both_members_in_one_wave_of_a_naive_play(pairs):
    chosen = some("a", "c")
    hosts = members(chosen)
    play = [
        {
            "name": "A play of somebody's own",
            "hosts": hosts,
            "gather_facts": False,
            "roles": ["rebootless.ksplice.rolling"],
        }
    ]
    with fire(pairs, *chosen, seconds=1.5):
        run = pairs.start_control(1, play, rolling_max_failures=0).wait()
    assert run.status == 0, run.output[-3000:]
    all_is_well(pairs, hosts)


def test_two_rollouts_at_once(pairs):
    chosen = some("a", "d")
    hosts = members(chosen)
    with fire(pairs, *chosen, seconds=1.5):
        controls = [
            pairs.start_control(
                number, "rebootless.ksplice.patch", *limit(*hosts), ksplice_lease_seconds=60
            )
            for number in (1, 2)
        ]
        for control in controls:
            control.wait()
    assert 0 in [control.status for control in controls], [
        control.output[-3000:] for control in controls
    ]
    all_is_well(pairs, hosts)


def test_two_slices_that_each_see_one_member_of_every_pair(pairs):
    chosen = some("b", "c")
    hosts = members(chosen)
    with fire(pairs, *chosen, seconds=2.5):
        refused = pairs.patch(1, *limit(*(PAIRS[pair][FIRST] for pair in chosen)))
        assert refused.status == 2 and "is split" in refused.output and pairs.patched(hosts) == []
        controls = [
            pairs.start_control(
                number,
                "rebootless.ksplice.patch",
                *limit(*(PAIRS[pair][number] for pair in chosen)),
                ksplice_partial_groups=True,
                ksplice_lease_seconds=60,
                ksplice_lease_wait=60,
            )
            for number in (FIRST, SECOND)
        ]
        for control in controls:
            control.wait()
    assert [control.status for control in controls] == [0, 0], [
        control.output[-3000:] for control in controls
    ]
    all_is_well(pairs, hosts)


def test_a_command_by_hand_beside_a_rollout(pairs):
    """In a run that is clean otherwise: it is told, and changes nothing."""
    first, second = PAIRS["a"]
    words = {}
    with fire(pairs, "a", seconds=2) as what:
        control = pairs.start_control(
            1, "rebootless.ksplice.patch", *limit(first, second), ksplice_lease_seconds=60
        )
        for name, in_it in ((first, second), (second, first)):
            until(f"{in_it} is claimed", lambda one=in_it: claimed(pairs, one))
            done = subprocess.run(
                [
                    "ansible",
                    name,
                    "-i",
                    pairs.inventory(),
                    "-m",
                    "rebootless.ksplice.uptrack_apply",
                    "-a",
                    "lock_timeout=0",
                ],
                env=pairs.environment(control.folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            words[name] = done.stdout
        control.wait()
    assert control.status == 0, control.output[-3000:]
    for name, in_it in ((first, second), (second, first)):
        assert (
            f"has claimed {in_it} (patching" in words[name]
            and "seconds ago" in words[name]
            and control.record["run"]["id"] in words[name]
        ), words[name]
    all_is_well(pairs, (first, second))
    spans = pairs.spans()
    assert spans[second][-1][1] <= spans[first][0][0] and what.seen.servers("a") == [
        first,
        second,
        first,
    ], "standby first, and back in service"


def test_the_update_that_will_not_go_in(pairs):
    first, second = PAIRS["a"]
    another_build = ("c",) if ALL else ()
    hosts = members(("a", "b", *another_build))
    with fire(pairs, "a", "b", *another_build):
        blocked = real_hosts.ids(KERNELS["a"])[1]
        pairs.change_scenario(
            second,
            failures=[{"id": blocked, "abort": "code_busy", "processes": [["rsyslogd", 812]]}],
        )
        run = pairs.patch(1, *limit(*hosts), ksplice_max_failures=2)
    assert run.status == 2
    rows = run.rows
    assert (
        rows[second]["verdict"] == "blocked"
        and "rsyslogd" in rows[second]["reason"]
        and len(rows[second]["installed"]) == 1
    )
    assert f"{second} of its group" in rows[first]["reason"] or "canary" in rows[first]["reason"]
    assert all("canary of its kernel build" in rows[name]["reason"] for name in PAIRS["b"]), (
        "what failed on the canary is tried on no other of its build"
    )
    assert pairs.patched(hosts) == members(another_build), "another build has nothing to do with it"
    for name in hosts:
        assert pairs.leases(name) == [] and pairs.saved(name) == []


def test_the_check_that_fails_after_the_apply(pairs):
    first, second = PAIRS["a"]
    hosts = [*PAIRS["a"], *PAIRS["b"]]
    bad = real_hosts.ids(KERNELS["a"])[-1]
    with fire(pairs, "a", "b"):
        run = pairs.patch(
            1,
            *limit(*hosts),
            ksplice_max_failures=3,
            ksplice_ha_checks=[
                {
                    "name": "the service is well",
                    "command": f"sh -c '[ $(hostname) != {first} ] || [ ! -e "
                    f"/sys/module/ksplice_{bad} ]'",
                    "timeout": 2,
                }
            ],
        )
    assert run.status == 2
    row = run.rows[first]
    assert (
        "the service is well" in row["reason"]
        and set(row["rolled_back"]) == set(real_hosts.ids(KERNELS["a"]))
        and row["installed"] == []
        and row["attention"]
    )
    assert pairs.loaded(first) == [], "what this run installed is out again"
    assert pairs.patched([second]) == [second]
    left = [name for name in PAIRS["b"] if name not in pairs.patched(PAIRS["b"])]
    assert left and all(
        f"{first} was unhealthy after what it was given" in run.rows[name]["reason"]
        for name in left
    ), "not applied again by this run"
    assert pairs.holders("a") == [first], "it is back in service"
    for name in hosts:
        assert pairs.leases(name) == [] and pairs.saved(name) == []


def test_keepalived_that_does_not_come_back(pairs):
    first, second = PAIRS["d"]
    others = ("c",) if ALL else ()
    hosts = members(("d", *others))
    with fire(pairs, "d", *others, seconds=2):
        control = pairs.start_control(
            1, "rebootless.ksplice.patch", *limit(*hosts), ksplice_drain_timeout=8
        )
        until(f"{first} is claimed", lambda: claimed(pairs, first))
        pairs.run(
            first,
            [
                "sh",
                "-c",
                "mkdir -p /etc/systemd/system/keepalived.service.d; "
                "printf '[Service]\\nExecStartPre=/bin/false\\n' "
                ">/etc/systemd/system/keepalived.service.d/broken.conf; "
                "systemctl daemon-reload; systemctl stop keepalived",
            ],
        )
        control.wait()
    assert control.status == 2
    row = control.rows[first]
    assert (
        row["still_drained"]
        and row["attention"]
        and "STILL OUT OF SERVICE" in row["reason"]
        and "keepalived" in row["reason"]
    ), row
    assert pairs.holders("d") == [second]
    assert [lease["host"] for lease in pairs.leases(second)] == [first], (
        "nobody takes the one that serves"
    )
    by_hand = [{"rebootless.ksplice.uptrack_apply": {"state": "absent", "all": True}}]
    refused = pairs.start_control(
        2, [{"hosts": second, "gather_facts": False, "tasks": by_hand}]
    ).wait()
    assert refused.status == 2 and f"has claimed {first}" in refused.output
    # Somebody mends it; the next rollout takes over and puts it back.
    pairs.run(
        first,
        [
            "sh",
            "-c",
            "rm /etc/systemd/system/keepalived.service.d/broken.conf; systemctl "
            "daemon-reload; systemctl reset-failed keepalived; :",
        ],
    )
    time.sleep(7)
    run = pairs.patch(1, *limit(*hosts))
    assert run.status == 0, run.output[-3000:]
    assert any("its lease was taken over" in event["what"] for event in run.record["events"])
    all_is_well(pairs, hosts)
