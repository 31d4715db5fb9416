# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The rehearsal's connection with a round trip, and books of what the managed side costs."""

from __future__ import annotations

DOCUMENTATION = r"""
name: bench
short_description: Run tasks on an emulated host and note what they cost there
description:
  - As P(rebootless.ksplice.rehearsal#connection), after a round trip's time. What runs is real, so
    are its answers; its CPU time is noted in a file, with the bytes that went over and the memory
    of the worker that sent them.
  - With E(BENCH_REPLAY) the first answer to each kind of command is given to all hosts, so that
    only the controller works.
author:
  - rebootless.ksplice contributors (@rebootless)
extends_documentation_fragment:
  - connection_pipelining
options:
  root:
    description: Directory that plays the host's root.
    type: path
    vars:
      - name: ksplice_rehearsal_root
"""

import fcntl
import os
import pickle
import resource
import time

from ansible_collections.rebootless.ksplice.plugins.connection.rehearsal import (
    Connection as Rehearsal,
)


def _cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _private():
    """Bytes that only this process has."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        return 1024 * sum(int(line.split()[1]) for line in file if line.startswith("Private_"))


class Connection(Rehearsal):
    transport = "bench"

    def exec_command(self, cmd, in_data=None, sudoable=True):
        time.sleep(float(os.environ["BENCH_ROUND_TRIP"]))
        before, begun = _cpu(), time.monotonic()
        answer = self._answer(cmd, in_data, sudoable)
        note = (
            f"{_cpu() - before:.4f} {time.monotonic() - begun:.4f} {len(cmd) + len(in_data or b'')}"
            f" {os.getpid()} {_private()}\n"
        )
        # Short, and appended at one go: the lines of many workers do not mix.
        with open(os.environ["BENCH_BOOKS"], "ab", buffering=0) as books:
            books.write(note.encode())
        return answer

    def _answer(self, cmd, in_data, sudoable):
        folder = os.environ.get("BENCH_REPLAY")
        if not folder:
            return super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        kept = os.path.join(folder, "module" if in_data else "shell")
        # All wait for the first.
        with open(kept, "ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            if file.read(1):
                file.seek(0)
                return pickle.load(file)
            answer = super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
            pickle.dump(answer, file)
            return answer
