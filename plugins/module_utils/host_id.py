# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Which machine it is that answers, whatever name it was called by. Pure but for read."""

import hashlib
import re

MACHINE_ID = ("/etc/machine-id", "/var/lib/dbus/machine-id")
BOOT_ID = "/proc/sys/kernel/random/boot_id"

MACHINE = re.compile(r"[0-9a-f]{32}\Z")
BOOT = re.compile(r"[0-9a-f-]{36}\Z")


def host_id(machine_id, boot_id):
    """Sixteen hexadecimal digits that two names of one running machine share, and no others.

    Cloned images share a machine ID, and containers the boot ID of their host: only both together
    say that it is one machine. Hashed, since a machine ID is to stay on its host (machine-id(5)).

    :returns: None where either is not as systemd and the kernel write them.
    """
    machine_id, boot_id = machine_id.strip(), boot_id.strip()
    if not MACHINE.match(machine_id) or not BOOT.match(boot_id):
        return None
    return hashlib.sha256(f"{machine_id} {boot_id}".encode()).hexdigest()[:16]


def read(root=""):
    """The host_id of the machine that this runs on, the same that the probe's answer leads to."""
    return host_id(_first_line(root, MACHINE_ID), _first_line(root, (BOOT_ID,)))


def _first_line(root, paths):
    for path in paths:
        try:
            with open(root + path, encoding="utf-8", errors="replace") as file:
                return file.readline()
        except OSError:
            continue
    return ""
