# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Runs one command with a time limit, counts what it and everything it started cost, and leaves
none of it running.

    supervise.py RESULT SECONDS COMMAND...

What the command's processes leave behind is handed to this one (Linux makes it their new parent),
however often they forked away, so that it counts their time and can end them: when the command is
done, when its time is up, and when whoever started this process is gone. RESULT is a JSON file:
`status`, `user`, `system` and `wall` in seconds, `cut_off`, and with that `test`, the one that was
running.

The limit is for what hangs. On a machine that works for others too, seconds count for less: by how
much of the time that it wants a process gets.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
# Seconds for a command that was told to end: tests take their hosts away meanwhile.
GRACE = 40
ENDS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
# The share is measured so often (seconds), over so much CPU time.
MEASURED_EVERY, SPIN = 10, 0.05


def share() -> float:
    """How much a second counts now: all of it while a process gets at least half of the time that
    it wants, which is what it gets beside the other suites of a run.
    """
    begun, spent = time.monotonic(), time.process_time()
    while time.process_time() - spent < SPIN:
        pass
    return min(1.0, 2 * SPIN / (time.monotonic() - begun))


def control(option: int, value: int) -> None:
    # Not on other systems than Linux; there only the command's own process group is ended.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants() -> list[int]:
    """All processes that this one is an ancestor of, by what the kernel says now."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else []:
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name of the program stands in brackets and may hold anything.
            parent = int(
                Path("/proc", entry, "stat")
                .read_text(errors="replace")
                .rpartition(")")[2]
                .split()[1]
            )
            children.setdefault(parent, []).append(int(entry))
    found, waiting = [], [os.getpid()]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found.append(child)
            waiting.append(child)
    return found


class Command:
    def __init__(self, words: list[str]) -> None:
        self.stack = Path(os.environ.get("KSPLICE_TEST_STACK", os.devnull))
        self.name = Path(os.environ.get("KSPLICE_TEST_NAME", os.devnull))
        self.status: int | None = None
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=self._prepare
        )

    @staticmethod
    def _prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS | {signal.SIGCHLD})
        # Nobody is left to end it when this process is killed.
        control(PR_SET_PDEATHSIG, signal.SIGKILL)

    def wait(self, seconds: float) -> str:
        """Until it is done, its time is up, or this process is told to end: `done`, `late` or
        `told`.
        """
        counts, measured = 1.0, time.monotonic()
        while self.status is None:
            if seconds <= 0:
                return "late"
            begun = time.monotonic()
            if begun - measured > MEASURED_EVERY:
                counts, measured = share(), begun
            caught = signal.sigtimedwait(ENDS | {signal.SIGCHLD}, min(seconds / counts, 1.0))
            self.reap()
            seconds -= (time.monotonic() - begun) * counts
            if caught and caught.si_signo in ENDS:
                return "told"
        return "done"

    def reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid == self.process.pid:
                    self.status = self.process.returncode = os.waitstatus_to_exitcode(status)

    def end(self) -> None:
        """Tell it to end, so that it can take away what it made, and end it if it does not."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGINT)
        self.wait(GRACE)

    def tell_where(self) -> str:
        """What is at work when the time is up, for the log: the test, and where its threads are."""
        test = self.name.read_text() if self.name.is_file() else ""
        print(f"\nStopped: its time is up. At work: {test or 'not a test'}", flush=True)
        if test:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGUSR1)
            time.sleep(1)
            print(self.stack.read_text(errors="replace"), flush=True)
        return test

    def end_the_rest(self) -> None:
        """Kill what the command left running."""
        for _try in range(200):
            left = descendants()
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
            self.reap()


def main(result: str, seconds: str, *words: str) -> int:
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS | {signal.SIGCHLD})
    control(PR_SET_CHILD_SUBREAPER, 1)
    control(PR_SET_PDEATHSIG, signal.SIGTERM)
    begun = time.monotonic()
    command = Command(list(words))
    said = {"cut_off": False, "test": ""}
    how = command.wait(float(seconds)) if os.getppid() == parent else "told"
    if how == "late":
        said = {"cut_off": True, "test": command.tell_where()}
    if how != "done":
        command.end()
    command.end_the_rest()
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    status = command.status if command.status is not None and how == "done" else 124
    said.update(
        status=status, user=spent.ru_utime, system=spent.ru_stime, wall=time.monotonic() - begun
    )
    Path(result).write_text(json.dumps(said))
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
