# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Control nodes that roll over rehearsal hosts while a test looks on, and are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import yaml

BEHIND = {"kernel": "ol9-uek7", "pending": 12}  # all there are: its kernel is empty
OTHER = {"kernel": "ol8-uek6", "pending": 12}


def host(**variables):
    return dict({"ksplice_rehearsal": BEHIND}, **variables)


def in_background(one, **variables):
    """A control node that rolls over some hosts, in a process group of its own."""
    extra = dict(
        ksplice_report_directory=str(one.report),
        ksplice_retries=0,
        ksplice_lease_wait=0,
        **variables,
    )
    return subprocess.Popen(
        [
            "ansible-playbook",
            "rebootless.ksplice.patch",
            "-i",
            str(one.emulated),
            "-e",
            json.dumps(extra),
        ],
        env=dict(os.environ, ANSIBLE_NOCOLOR="1", PWD=str(one.directory)),
        cwd=one.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def below(pid):
    """The processes that a process has started, and those that they have."""
    found, left = set(), [pid]
    while left:
        for path in Path(f"/proc/{left.pop()}/task").glob("*/children"):
            try:
                left += [int(word) for word in path.read_text().split()]
            except OSError:
                continue
        found.update(left)
    return found


def kill_all(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def kill(control):
    """Kill a control node with all that it started: its workers have sessions of their own. Once:
    the number of one that is gone may be another's.
    """
    if control.poll() is None:
        kill_all([control.pid, *below(control.pid)])
        control.wait()


def wait_for(wanted, seconds=120):
    end = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


def turn(one, name):
    """A host's turn, as its journal shows it."""
    path = one.root(name) / "var/lib/rebootless-ksplice/journal.json"
    return json.loads(path.read_text().splitlines()[0])["turn"]


def with_variables(one, **variables):
    """Give hosts variables that the rehearsal does not rewrite for its own files."""
    inventory = yaml.safe_load(one.emulated.read_text())
    for name, more in variables.items():
        inventory["all"]["hosts"][name].update(more)
    one.emulated.write_text(json.dumps(inventory))
    return one
