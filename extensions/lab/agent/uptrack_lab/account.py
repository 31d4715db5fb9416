# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""An account at the service: the machines it knows, in a directory that the emulated agents and the
emulated service (extensions/lab/service) share.

C(service.json) has the account's settings, C(machines/UUID.json) one machine each, in the words of
the web API (reference 5.1). Whoever changes a machine holds the lock, and readers see the old file
or the new one.
"""

import json
import os
import re
import shutil

from . import world as w

SETTINGS = "service.json"
MACHINES = "machines"
ALLOWED, DENIED, PENDING = "allowed", "denied", "pending"
# What a check-in does not change.
DECIDED = ("authorization", "group")
_UUID = re.compile(r"[0-9A-Za-z-]{1,64}$")
_SUFFIX = ".json"


class Missing(Exception):
    """There is no such account, or no such machine in it."""


def settings(directory):
    """The account's settings: C(user), C(key), C(access_keys), C(new_machines), C(inactive_after).

    :raises Missing: if there is no account.
    """
    return _read(os.path.join(directory, SETTINGS))


def machine(directory, uuid):
    """One machine.

    :raises Missing: if the account does not know it.
    """
    return _read(_path(directory, uuid))


def machines(directory):
    """All machines of the account, by UUID."""
    try:
        names = sorted(os.listdir(os.path.join(directory, MACHINES)))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        if name.endswith(_SUFFIX) and not name.startswith("."):
            try:
                found.append(machine(directory, name[: -len(_SUFFIX)]))
            except Missing:
                pass  # deleted meanwhile
    return found


def check_in(directory, said):
    """Note what a machine says of itself; returns its authorization.

    A machine that is new gets the account's policy for new machines.

    :param said: all keys of a machine but those of C(DECIDED).
    :raises Missing: if there is no account, or the UUID is none.
    """
    new = {"authorization": settings(directory)["new_machines"], "group": ""}
    with _lock(directory):
        try:
            known = machine(directory, said["uuid"])
        except Missing:
            known = new
        _write(directory, dict(said, **{key: known[key] for key in DECIDED}))
    return known["authorization"]


def decide(directory, uuid, **decided):
    """Change what the account decides of a machine: its C(authorization), its C(group).

    :raises Missing: if the account does not know it.
    """
    with _lock(directory):
        _write(directory, dict(machine(directory, uuid), **decided))


def delete(directory, uuid):
    """Let the account forget a machine, until it checks in again.

    :raises Missing: if the account does not know it.
    """
    with _lock(directory):
        machine(directory, uuid)
        os.unlink(_path(directory, uuid))


def clear(directory):
    """Let the account forget all machines."""
    with _lock(directory):
        shutil.rmtree(os.path.join(directory, MACHINES), ignore_errors=True)


def _path(directory, uuid):
    if not _UUID.match(uuid):
        raise Missing(uuid)
    return os.path.join(directory, MACHINES, uuid + _SUFFIX)


def _read(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (FileNotFoundError, NotADirectoryError):
        raise Missing(path)


def _write(directory, known):
    text = json.dumps(known, indent=1, sort_keys=True) + "\n"
    w.write_atomic(_path(directory, known["uuid"]), text)


class _lock(object):
    """The account's lock, for a C(with)."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "lock")

    def __enter__(self):
        import fcntl

        self.stream = open(self.path, "a")
        fcntl.flock(self.stream, fcntl.LOCK_EX)

    def __exit__(self, *dummy):
        self.stream.close()
