# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What a running keepalived reports of its instances: upon SIGUSR1 it writes their state into a
file."""

import os
import re
import signal
import stat
import time
from collections import namedtuple

from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import keepalived

# state: MASTER, BACKUP, FAULT. base: the priority that it has read, priority: the one that it
# announces, master: that of the holder it hears, None where it hears none. addresses: in
# keepalived's own spelling.
Told = namedtuple("Told", "state base priority master addresses")
FILES = ("/tmp/keepalived.data", "/run/keepalived/keepalived.data")
FIELDS = {
    "State": "state",
    "Priority": "base",
    "Effective priority": "priority",
    "Master priority": "master",
}
SECONDS = 1.0


def parsed(text):
    """The file's text: name of an instance to Told. What says less than its state and
    priorities is left out."""
    found = {}
    for block in re.split(r"^ *VRRP Instance = ", text, flags=re.MULTILINE)[1:]:
        name, _end, rest = block.partition("\n")
        values = {}
        for key, value in re.findall(
            r"^ +({}) = (\S+)".format("|".join(FIELDS)), rest, flags=re.MULTILINE
        ):
            values.setdefault(FIELDS[key], value)
        numbers = [values.get(key, "") for key in ("base", "priority")]
        if "state" in values and all(number.isdigit() for number in numbers):
            master = values.get("master", "")
            found[name.strip()] = Told(
                values["state"],
                int(numbers[0]),
                int(numbers[1]),
                int(master) if master.isdigit() and master != "0" else None,
                re.findall(r"^ +([0-9a-f:.]+)(?:/\d+)? dev ", rest, flags=re.MULTILINE),
            )
    return found


def main_pid(machine):
    """The process of the service, as text, or None."""
    _rc, out, _err = machine.run_command(["systemctl", "show", "-p", "MainPID", "keepalived"])
    main = out.strip().partition("=")[2]
    return main if main.isdigit() and main != "0" else None


def of(machine):
    """What the keepalived of a host reports, or nothing where it does not."""
    main = None if machine.root else main_pid(machine)
    return ask(int(main)) if main else {}


def in_fault(reported, addresses):
    """The names of the instances that have gone into FAULT and could take none of these
    addresses."""
    wanted = {keepalived.address(one) for one in addresses}
    return sorted(
        name
        for name, one in reported.items()
        if one.state == "FAULT" and wanted.intersection(map(keepalived.address, one.addresses))
    )


def ask(pid, sleep=time.sleep):
    """What the process reports, or nothing where it does not: then the state is unknown.

    :param pid: its number, of the process that systemd started.
    """
    if not _hears(pid):
        return {}
    # It may have a /tmp of its own.
    paths = [f"/proc/{pid}/root{path}" for path in FILES]
    before = {path: _known(path) for path in paths}
    try:
        os.kill(pid, signal.SIGUSR1)
    except OSError:
        return {}
    last = None
    for _turn in range(int(SECONDS / 0.05)):
        sleep(0.05)
        fresh = next((path for path in paths if _known(path) not in (None, before[path])), None)
        # It is written piece by piece: whole when it grows no more.
        if fresh and _known(fresh) == last:
            try:
                with open(fresh, encoding="utf-8", errors="replace") as file:
                    return parsed(file.read())
            except OSError:
                return {}
        last = _known(fresh) if fresh else None
    return {}


def _known(path):
    """What distinguishes one version of a file from another; None where there is none, or it may be
    anybody's."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (
        (found.st_ino, found.st_mtime_ns, found.st_size)
        if stat.S_ISREG(found.st_mode) and found.st_uid == 0 and found.st_size
        else None
    )


def _hears(pid):
    """Whether a process expects SIGUSR1, which would end one that does not."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            masks = re.findall(r"^Sig(?:Blk|Cgt):\s*([0-9a-f]+)$", file.read(), flags=re.MULTILINE)
    except OSError:
        return False
    return any(int(mask, 16) >> (signal.SIGUSR1 - 1) & 1 for mask in masks)
