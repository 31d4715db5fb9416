# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""A turn on an emulated host, and what comes of it."""

import itertools
import os
import signal
import sys
import time

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils import commands
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import apply, facts
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import (
    process,
    run,
    steps,
    task,
)

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from emulated_turns import IDS, ask, lease, names, order, script, serves, turn_of, work  # noqa: E402


@pytest.fixture
def host(make_host, monkeypatch):
    one = make_host()
    monkeypatch.setenv("UPTRACK_LAB_ROOT", one.root)
    monkeypatch.setattr(process, "start", lambda root, program: None)
    monkeypatch.setattr(run, "TICK", 0.01)
    assert lease(one, "acquired", token="t1")["granted"]
    return one


def waiting(host):
    """A process that carries the turn on, once it waits for a verdict."""
    pid = os.fork()
    if pid == 0:
        try:
            work(host)
        finally:
            os._exit(0)
    while turn_of(host)["state"] != "waiting":
        time.sleep(0.02)
    return pid


def test_a_turn_from_its_beginning_to_its_end(host):
    assert ask(host, "begun", order=order(host))["changed"]
    assert work(host)
    turn = turn_of(host)
    assert turn["state"] == "released" and turn["reason_code"] is None
    assert names(turn) == ["drain", "apply", "check", "restore", "release"]
    assert host.in_kernel() == IDS and turn["applied"]["installed"] == IDS
    assert host.read("log") == "out\nback\n" and serves(host)
    assert not lease(host, "shown")["leases"], "the host's own lease has ended"
    assert not work(host), "there is nothing left to do"


def test_killed_before_it_cleans_up_the_next_process_does(host):
    """Nothing stays behind of a turn whose last write was the last thing its process did."""
    ask(host, "begun", order=order(host))
    assert work(host)
    left = [process.PROGRAM.lstrip("/"), process.CRON.lstrip("/")]
    for path in left:
        os.makedirs(os.path.dirname(host.path(path)), exist_ok=True)
        host.write(path, "")
    process.main()
    assert not any(os.path.exists(host.path(path)) for path in left)


def test_an_unhealthy_host_gets_its_kernel_back(host):
    host.write("unhealthy", "")
    ask(host, "begun", order=order(host))
    # The check is good again as soon as the update is out.
    real = host.run

    def run_command(argv, **more):
        if any(word.endswith("bin/uptrack-remove") for word in argv):
            os.unlink(host.path("unhealthy"))
        return real(argv)

    assert run.Turn(host.root, run_command).run()
    turn = turn_of(host)
    assert turn["state"] == "released" and turn["reason_code"] == "unhealthy"
    assert turn["reason"] == "service (status 1)"
    assert names(turn) == ["drain", "apply", "check", "roll_back", "check", "restore", "release"]
    assert host.in_kernel() == [] and turn["rolled_back"]["ok"] and serves(host)


def test_a_host_that_stays_unhealthy_is_left_drained_and_keeps_its_lease(host):
    host.write("unhealthy", "")
    ask(host, "begun", order=order(host))
    work(host)
    turn = turn_of(host)
    assert turn["state"] == "stuck" and turn["rolled_back"]["ok"] and host.in_kernel() == []
    assert not serves(host) and lease(host, "shown")["leases"]
    # Nobody carries it on but whoever takes the lease over, once it is stale.
    assert not work(host)
    lease(host, "renewed", token="t1", seconds=1)
    time.sleep(1.2)
    os.unlink(host.path("unhealthy"))
    said = ask(host, "resumed", token="t2", old_token="t1", run="next", host="a")
    assert said["changed"], said
    work(host)
    assert turn_of(host)["state"] == "restored" and serves(host)
    assert [one["token"] for one in lease(host, "shown")["leases"]] == ["t2"]


def test_what_the_checks_elsewhere_say_decides(host):
    ask(host, "begun", order=order(host, remote_checks=True, verdict_timeout=30))
    verdict = {"good": False, "reason": "peer (port 80)"}
    pid = waiting(host)
    assert ask(host, "finished", token="t9", verdict=verdict)["refusal"].startswith("There is no")
    assert ask(host, "finished", token="t1", verdict=verdict)["changed"]
    os.waitpid(pid, 0)
    turn = turn_of(host)
    assert turn["state"] == "released" and turn["reason"] == "peer (port 80)"
    assert host.in_kernel() == [] and serves(host)


@pytest.mark.parametrize("stay", [False, True])
def test_without_a_verdict_the_host_judges_by_itself(host, stay):
    how = "stay" if stay else "restore"
    ask(host, "begun", order=order(host, remote_checks=True, on_lost_controller=how))
    work(host)
    turn = turn_of(host)
    assert turn["state"] == ("stuck" if stay else "restored") and turn["lost_controller"]
    assert serves(host) is not stay and host.in_kernel() == IDS
    assert lease(host, "shown")["leases"], "the next run learns from it what came of the host"
    # A controller that was only slow has the last word.
    ask(host, "finished", token="t1", verdict={"good": False, "reason": "peer (port 80)"})
    work(host)
    assert host.in_kernel() == [] and turn_of(host)["rolled_back"]["ok"]


def test_a_bad_verdict_while_the_host_judges_by_itself_counts(host):
    """It comes after the host has given up waiting for it, and before the turn has ended."""
    ask(host, "begun", order=order(host, remote_checks=True, verdict_timeout=0))
    real, verdict = host.run, {"good": False, "reason": "peer (port 80)"}

    def run_command(argv, **more):
        if argv == ["sh", host.path("undo")] or host.path("undo") in " ".join(argv):
            assert ask(host, "finished", token="t1", verdict=verdict)["changed"]
        return real(argv)

    run.Turn(host.root, run_command).run()
    turn = turn_of(host)
    assert turn["lost_controller"] and turn["verdict"] == verdict
    assert turn["rolled_back"]["ok"] and host.in_kernel() == [] and serves(host)
    assert turn["reason"] == "peer (port 80)" and not turn["pending"]


def test_whoever_takes_over_a_host_that_waits_does_not_wait_once_more(host):
    ask(host, "begun", order=order(host, remote_checks=True, verdict_timeout=30))
    pid = waiting(host)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    lease(host, "renewed", token="t1", seconds=1)
    time.sleep(1.2)
    assert ask(host, "resumed", token="t2", old_token="t1", run="next", host="a")["changed"]
    work(host)
    assert turn_of(host)["state"] == "restored" and names(turn_of(host)).count("wait") == 1


def test_a_turn_that_is_over_and_has_a_verdict_pending_is_started_again(host, monkeypatch):
    ask(host, "begun", order=order(host, remote_checks=True, verdict_timeout=0))
    work(host)
    ask(host, "finished", token="t1", verdict={"good": False, "reason": "peer (port 80)"})
    started = []
    monkeypatch.setattr(process, "start", lambda root, program: started.append(root))
    assert not ask(host, "begun", order={"token": "t1"})["changed"]
    assert started == [host.root], "whoever was to read it has died"


def test_check_mode_shows_the_turn_that_would_be_carried_on(host):
    ask(host, "begun", order=order(host))
    lease(host, "renewed", token="t1", seconds=1)
    time.sleep(1.2)
    given = {name: spec.get("default") for name, spec in task.ARGUMENTS.items()}
    given.update(state="resumed", token="t2", old_token="t1", run="next", host="a")
    said = task.perform(given, True, host.root, "")
    assert said["changed"] and said["turn"]["token"] == "t1" and said["turn"]["host"] == "a"


def test_nothing_is_done_without_the_lease(host):
    lease(host, "broken", token="t1")
    said = ask(host, "begun", order=order(host))
    assert "no lease" in said["refusal"] and said["changed_nothing"] and turn_of(host) is None
    assert lease(host, "acquired", token="t2")["granted"]
    assert ask(host, "begun", order=order(host, token="t2"))["changed"]
    lease(host, "broken", token="t2")
    work(host)
    assert turn_of(host)["reason_code"] == "lease_lost" and host.in_kernel() == []
    assert serves(host) and "out" not in names(turn_of(host))


@pytest.fixture
def blind(monkeypatch):
    """Says from when on the agent cannot tell what is in the kernel."""
    real, blind = apply.Agent.facts, []

    def seen(self, *more):
        return facts.nothing("unknown", "The probe failed.") if blind else real(self, *more)

    monkeypatch.setattr(apply.Agent, "facts", seen)
    return blind


def test_a_kernel_that_cannot_be_read_is_not_patched(host, blind):
    """What it had before is the way back; an unreadable one is not an empty one."""
    ask(host, "begun", order=order(host))
    blind.append(True)
    work(host)
    turn = turn_of(host)
    assert turn["state"] in ("restored", "released") and serves(host) and host.in_kernel() == []
    assert turn["applied"] is None and "cannot be read: The probe failed." in turn["reason"]


def test_a_rollback_that_cannot_read_the_kernel_has_failed(host, blind):
    host.write("unhealthy", "")
    ask(host, "begun", order=order(host))
    real = host.run

    def run_command(argv, **more):
        if host.path("check") in argv:
            blind.append(True)
        return real(argv)

    run.Turn(host.root, run_command).run()
    turn = turn_of(host)
    assert turn["state"] == "stuck" and not turn["rolled_back"]["ok"] and not serves(host)
    assert "cannot be read" in turn["rolled_back"]["msg"] and host.in_kernel() == IDS


def test_checks_elsewhere_do_not_speak_for_the_hosts_own(host):
    """Its own check fails, the rollback is refused with the lease gone, and the peers are fine."""
    host.write("unhealthy", "")
    ask(host, "begun", order=order(host, remote_checks=True))
    real = host.run

    def run_command(argv, **more):
        if host.path("check") in argv:
            lease(host, "broken", token="t1")
        return real(argv)

    run.Turn(host.root, run_command).run()
    turn = turn_of(host)
    assert turn["state"] == "stuck" and turn["rolled_back"] is None and host.in_kernel() == IDS
    ask(host, "finished", token="t1", verdict={"good": True, "reason": None})
    work(host)
    assert turn_of(host)["state"] == "stuck" and not serves(host)


@pytest.mark.parametrize("verdict", [{}, {"ok": True}, {"good": "no"}, {"good": None}])
def test_a_verdict_that_says_neither_is_refused(host, verdict):
    ask(host, "begun", order=order(host, remote_checks=True, verdict_timeout=600))
    said = ask(host, "finished", token="t1", verdict=verdict)
    assert "neither good: true nor good: false" in said["refusal"] and said["changed_nothing"]
    assert turn_of(host)["verdict"] is None


@pytest.mark.parametrize("state", list(steps.State))
def test_wherever_a_lease_is_needed_its_loss_has_a_way_on(state):
    turn = dict(steps.begun(steps.order({"token": "t", "run": "r", "host": "h"}), 0), state=state)
    turn["applied"] = {"installed": ["x"], "after": {}}
    for drains, event in itertools.product(({"drains": [1]}, {"drains": []}), steps.Event):
        turn["order"] = dict(turn["order"], **drains)
        try:
            _state, deed = steps.next_step(turn, event)
        except steps.Impossible:
            continue
        if deed in steps.NEED_LEASE:
            following, after = steps.next_step(turn, steps.Event.LEASE_LOST)
            assert after not in steps.NEED_LEASE, (event, following)


def test_what_is_begun_twice_is_begun_once(host):
    assert ask(host, "begun", order=order(host))["changed"]
    assert not ask(host, "begun", order=order(host))["changed"]
    assert "has not ended" in ask(host, "begun", order=order(host, token="t2"))["refusal"]
    work(host)
    assert (
        not ask(host, "begun", order=order(host))["changed"] and host.read("log").count("out") == 1
    )


def test_a_journal_that_cannot_be_trusted_is_no_empty_one(host):
    ask(host, "begun", order=order(host))
    path = host.path("var/lib/rebootless-ksplice/journal.json")
    with open(path) as file:
        good = file.read()
    newer = good.replace('"schema": 1', '"schema": 2', 1)
    for text, words in (
        (good[: len(good) // 2], "not a complete journal"),
        ("", "not a complete journal"),
        ("[]\n[]\n", "not a complete journal"),
        (newer, "which a newer version"),
    ):
        with open(path, "w") as file:
            file.write(text)
        said = ask(host, "begun", order=order(host))
        assert words in said["refusal"] and said["changed_nothing"], said
        with open(path) as file:
            assert file.read() == text
    with open(path, "w") as file:
        file.write(good)
    os.chmod(path, 0o666)
    assert "writable for root only" in ask(host, "shown")["refusal"]
    os.chmod(path, 0o600)
    assert ask(host, "shown")["turn"]["state"] == "leased"
    assert lease(host, "shown")["leases"], "the lease stays"


def test_the_lease_is_renewed_while_the_turn_lasts(host):
    lease(host, "renewed", token="t1", seconds=1)
    slow = script(host, "slow", "sleep 2.5")
    ask(
        host,
        "begun",
        order=order(host, lease_seconds=1, checks=[{"command": slow}], keep_lease=True),
    )
    ages = []
    real = host.run

    def run_command(argv, **more):
        done = real(argv)
        if slow in argv:
            ages.extend(one["stale"] for one in lease(host, "shown")["leases"])
        return done

    run.Turn(host.root, run_command).run()
    assert ages == [False] and turn_of(host)["state"] == "restored"


@pytest.mark.parametrize("state", list(steps.State))
def test_every_state_has_a_way_on(state):
    """What can happen in a state leads somewhere; what cannot is an error and not a guess."""
    turn = dict(steps.begun(steps.order({"token": "t", "run": "r", "host": "h"}), 0), state=state)
    taken = 0
    for event in steps.Event:
        try:
            following, deed = steps.next_step(turn, event)
        except steps.Impossible:
            continue
        taken += 1
        assert isinstance(following, steps.State) and (deed is None or deed in steps.Deed)
    assert taken or state is steps.State.RELEASED


def test_a_command_that_leaves_something_running_is_not_waited_for():
    began = time.monotonic()
    rc, out, err = commands.run(["sh", "-c", "echo said; echo wrong >&2; sleep 60 & exit 3"])
    assert (rc, out, err) == (3, "said\n", "wrong\n") and time.monotonic() - began < 30
    assert commands.run(["/nowhere/at/all"])[0]
