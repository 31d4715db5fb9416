# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Taking a host out of service and putting it back: what the adapters share. The order of steps is
in book, each adapter is a file of its own.

An adapter has C(key) (what it drains, in words), C(look()) (C(active), C(drained), and what else it
found), C(plan(before, token)) (the mark: all that undo needs), C(drain(mark)), C(lacks(mark)) (what
is missing for the host to be drained, None when it is), C(undo(mark)) and C(lacks_back(mark)).
C(end) is set before it drains: the moment, by the monotonic clock, until which somebody waits. What
undo returns, or C(stays) once nothing is lacking, is a sentence about what is not as it was.
"""

import os

from ansible_collections.rebootless.ksplice.plugins.module_utils import files


class Trouble(Exception):
    """It cannot be done; the words say why."""


def systemctl(machine, verb, unit):
    """The status and the words of a command of systemd."""
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
