# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Draining and restoring a host: what the adapters share. The order of steps is in drains, each
adapter is a file of its own.

An adapter has C(key) (what it drains, in words), C(look()) (C(active), C(drained), and what else it
found), C(plan(before, token)) (the state to be saved: all that restore needs), C(drain(saved)),
C(lacks(saved)) (what is missing for the host to be drained, None when it is), C(restore(saved)) and
C(lacks_restored(saved)).
C(end) is set before it drains: the moment, by the monotonic clock, until which the task waits. What
restore returns, or C(stays) once nothing is lacking, is a sentence about what is not as it was.
"""

import os

from ansible_collections.rebootless.ksplice.plugins.module_utils import files


class Trouble(Exception):
    """It cannot be done; the text says why."""

    # Whether the text also says what was changed.
    complete = False


class Refused(Trouble):
    """Trouble whose text says that nothing was changed."""

    complete = True


def systemctl(machine, verb, unit):
    """The status and the output of a command of systemd."""
    rc, out, err = machine.run_command(["systemctl", verb, unit])
    return rc, " ".join((err or out).split())[:300]


def write_same(machine, path, text):
    """Replace a file's text; owner and mode stay, and a reader sees the old or
    the new one whole.
    """
    try:
        os.stat(machine.root + path)
        files.replace(machine.root + path, text)
    except OSError as error:
        raise Trouble(f"{path} cannot be written ({error.strerror}); it was left as it was.")
