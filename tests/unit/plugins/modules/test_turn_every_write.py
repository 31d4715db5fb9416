# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""A turn whose process is killed, or whose disk becomes full, at any of its writes."""

import errno
import itertools
import os
import signal
import sys

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils import files
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import (
    journal,
    process,
    steps,
)
from extent import ALL

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from emulated_turns import IDS, ask, lease, order, serves, turn_of, work  # noqa: E402


def killed(host, number, after, since_apply):
    """Carry the turn on in a process that dies before, or after, its write of that number, of all
    or of those since the apply.
    """
    pid = os.fork()
    if pid == 0:
        count, real = itertools.count(), journal.Journal.write

        def dies(self, document):
            counts = not since_apply or document["turn"]["applied"]
            if counts and next(count) == number:
                if after:
                    real(self, document)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, document)

        journal.Journal.write = dies
        try:
            work(host)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


COURSES = {
    "good": {},
    "unhealthy": {"unhealthy": True},
    "no verdict": {"remote_checks": True, "verdict_timeout": 0},
}


def begun(make_host, monkeypatch, course):
    """A host whose turn is begun, and that no process carries on."""
    one = make_host()
    monkeypatch.setattr(process, "start", lambda root, program: None)
    monkeypatch.setenv("UPTRACK_LAB_ROOT", one.root)
    lease(one, "acquired", token="t1")
    more = dict(COURSES[course])
    if more.pop("unhealthy", False):
        one.write("unhealthy", "")
    ask(one, "begun", order=order(one, **more))
    return one


@pytest.mark.parametrize(
    "course, after",
    [
        ("good", False),
        ("good", True),
        pytest.param("unhealthy", False, marks=pytest.mark.thorough),
        ("unhealthy", True),
        ("no verdict", False),
        pytest.param("no verdict", True, marks=pytest.mark.thorough),
    ],
)
def test_killed_at_every_write_it_comes_to_an_end(make_host, monkeypatch, course, after):
    """Whichever write it is killed at: the next process ends the turn, the host serves or is told
    to be stuck, and what is told of its kernel is what is in it. Up to the apply the courses are
    one: the short play kills there in the good one only.
    """
    since_apply = course != "good" and not ALL
    for number in itertools.count():
        one = begun(make_host, monkeypatch, course)
        if not killed(one, number, after, since_apply):
            break
        work(one)
        turn = turn_of(one)
        assert steps.over(turn), (number, turn)
        told = [seen["after"] for seen in (turn["applied"], turn["rolled_back"]) if seen]
        assert not told or told[-1]["updates"] == one.in_kernel(), (number, turn)
        if turn["state"] == "stuck":
            assert course == "unhealthy" and one.in_kernel() == [] and not serves(one)
        else:
            assert serves(one), (number, turn)
            assert one.in_kernel() in ([], IDS), (number, turn)
            assert one.in_kernel() == IDS or turn["reason_code"], (number, turn)
        assert not journal.Journal(one.root).read()["drained"] or turn["state"] == "stuck"
    assert number > (2 if since_apply else 6), "there were writes to be killed at"


@pytest.mark.parametrize(
    "course",
    [
        "unhealthy",
        pytest.param("good", marks=pytest.mark.thorough),
        pytest.param("no verdict", marks=pytest.mark.thorough),
    ],
)
def test_a_disk_that_becomes_full_at_any_write(make_host, monkeypatch, course):
    """Nothing is begun that cannot be written down, and what is out of service comes back; once
    there is space again, the next process ends the turn, and tells what is in the kernel.
    """
    real = files.replace
    for number in itertools.count():
        one, writes = begun(make_host, monkeypatch, course), itertools.count()

        def replace(path, *rest, **more):
            if next(writes) >= number:
                raise OSError(errno.ENOSPC, "No space left on device", path)
            return real(path, *rest, **more)

        monkeypatch.setattr(files, "replace", replace)
        work(one)
        full = next(writes) > number
        monkeypatch.setattr(files, "replace", real)
        if turn_of(one)["state"] in ("leased", "draining", "drained"):
            assert serves(one) and one.in_kernel() == [], number
        work(one)
        turn = turn_of(one)
        assert steps.over(turn), (number, turn)
        told = [seen["after"] for seen in (turn["applied"], turn["rolled_back"]) if seen]
        assert one.in_kernel() == (told[-1]["updates"] if told else []), (number, turn)
        assert serves(one) or turn["state"] == "stuck" and course == "unhealthy", (number, turn)
        assert one.in_kernel() == IDS or turn["reason_code"], (number, turn)
        if not full:
            break
    assert number > 15, "there were writes to fail at"
