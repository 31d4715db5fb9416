# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What was taken out of service on or through this host, and the steps to do and undo it.

C(/var/lib/rebootless-ksplice/drained.json) has a mark for each, written before anything is changed and removed after it is put back. Only what has a mark is
put back: what a person drained stays so.
"""

import contextlib
import fcntl
import json
import os
import time

from ansible_collections.rebootless.ksplice.plugins.module_utils import ledger
from ansible_collections.rebootless.ksplice.plugins.module_utils.drains import (
    haproxy_server,
    keepalived_service,
    nginx_upstream,
    own_commands,
    pacemaker_node,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.drains.common import Trouble

ADAPTERS = {"keepalived": keepalived_service, "pacemaker": pacemaker_node, "haproxy": haproxy_server, "nginx": nginx_upstream, "custom": own_commands}
ARGUMENTS = {
    "state": {"type": "str", "choices": ["drained", "undone", "shown"], "default": "shown"},
    "host": {"type": "str"},
    "token": {"type": "str", "no_log": False},
    "any_token": {"type": "bool", "default": False},
    "lease": {"type": "str", "no_log": False},
    "when": {"type": "str", "choices": ["active", "always"], "default": "active"},
    "timeout": {"type": "int", "default": 60},
    "targets": {"type": "list", "elements": "dict", "default": [], "options": {
        "adapter": {"type": "str", "choices": sorted(ADAPTERS), "required": True},
        "mode": {"type": "str", "choices": ["auto", "priority", "restart"]},
        "node": {"type": "str"}, "socket": {"type": "path"}, "backend": {"type": "str"}, "server": {"type": "str"}, "file": {"type": "path"},
        "upstream": {"type": "str"}, "drain": {"type": "str"}, "undo": {"type": "str"}, "is_active": {"type": "str"}, "is_drained": {"type": "str"}}},
}
REQUIRED_IF = [("state", "drained", ["host", "token", "targets"]), ("state", "undone", ["host"])]


class Book:
    """The marks on this host's disk."""

    def __init__(self, root=""):
        self.folder = root + ledger.DIRECTORY
        self.path = self.folder + "/drained.json"

    @contextlib.contextmanager
    def locked(self, seconds, sleep=time.sleep):
        """One process drains or puts back at a time."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        lock = os.open(self.folder + "/drained.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            for left in range(seconds, -1, -1):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if not left:
                        raise Trouble("Another process drains or puts back on this host since {} s. Nothing was changed.".format(seconds))
                    sleep(1)
            yield
        finally:
            os.close(lock)

    def read(self):
        try:
            with open(self.path, encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise Trouble("{} cannot be read ({}), so that nobody knows what was taken out of service here. Nothing was changed. "
                          "Look at the host, put back what is drained, and remove the file.".format(self.path, error))

    def write(self, marks):
        temporary = self.path + ".new"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(marks, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, self.path)


def adapter(machine, target):
    """The adapter of a target, with its options looked at."""
    kind = ADAPTERS[target["adapter"]]
    given = {name: value for name, value in target.items() if name != "adapter" and value is not None}
    strange = sorted(set(given) - set(kind.OPTIONS))
    if strange:
        raise Trouble("The adapter {} has no option {}; it has {}. Nothing was changed.".format(target["adapter"], strange[0], ", ".join(sorted(kind.OPTIONS))))
    missing = [name for name in getattr(kind, "REQUIRED", ()) if not given.get(name)]
    if missing:
        raise Trouble("The adapter {} needs {}. Nothing was changed.".format(target["adapter"], " and ".join(missing)))
    return kind.Adapter(machine, given)


def run(machine, params, check_mode=False, sleep=time.sleep, clock=time.monotonic):
    """What a task of ha_drain does; its result comes back. C(failed) tells whether it failed, C(drained) what is out of service by a mark now."""
    book = Book(machine.root)
    result = {"changed": False, "failed": False, "drained": [], "active": None, "left": []}
    if params["state"] == "shown":
        return dict(result, drained=[_told(mark) for mark in book.read()])
    lock = None
    try:
        if params["lease"]:
            # Whoever lost the lease can do nothing; and while this works, nobody takes it over.
            phase = "draining" if params["state"] == "drained" else "putting_back"
            lock, refusal = ledger.Ledger(machine.root).begin_work(params["lease"], 10, phase=None if check_mode else phase)
            if refusal:
                return dict(result, failed=True, msg=refusal)
        with book.locked(params["timeout"], sleep):
            step = _drain if params["state"] == "drained" else _undo
            return step(machine, book, params, result, check_mode, sleep, clock)
    except (Trouble, ledger.Broken, OSError) as trouble:
        return dict(result, failed=True, msg=str(trouble))
    finally:
        if lock is not None:
            os.close(lock)


def _drain(machine, book, params, result, check_mode, sleep, clock):
    targets = [adapter(machine, target) for target in params["targets"]]
    states = [target.look() for target in targets]
    result["active"] = any(state["active"] for state in states)
    for target, state in zip(targets, states):
        marks = book.read()
        mine = next((mark for mark in marks if mark["key"] == target.key and mark["host"] == params["host"]), None)
        other = next((mark for mark in marks if mark["key"] == target.key and mark is not mine), None)
        if mine and mine["token"] != params["token"]:
            return _failed(machine, book, params, result, "{} is out of service since a run that did not end ({}): it has to be put back first.".format(
                target.key, mine["token"][:8]), check_mode, sleep, clock)
        if other:
            return _failed(machine, book, params, result, "{} is out of service for {} already.".format(target.key, other["host"]), check_mode, sleep, clock)
        if mine or (params["when"] == "active" and not state["active"]):
            continue
        if state["drained"]:
            result["left"].append("{} was out of service already, and stays so.".format(target.key))
            continue
        result["changed"] = True
        if check_mode:
            continue
        mark = dict(target.plan(state, params["token"]), key=target.key, host=params["host"], token=params["token"], at=time.time(),
                    target={name: value for name, value in params["targets"][targets.index(target)].items() if value is not None})
        book.write(marks + [mark])
        try:
            target.drain(mark)
            lacking = _wait(lambda: target.lacks(mark), params["timeout"], sleep, clock)
        except Trouble as trouble:
            lacking = str(trouble)
        if lacking:
            return _failed(machine, book, params, result, "{} could not be taken out of service within {} s: {}.".format(
                target.key, params["timeout"], lacking.rstrip(".")), check_mode, sleep, clock)
    return dict(result, drained=[_told(mark) for mark in book.read() if mark["host"] == params["host"]])


def _failed(machine, book, params, result, why, check_mode, sleep, clock):
    """A drain that failed takes back what it began."""
    if check_mode:
        return dict(result, failed=True, msg=why + " Nothing was changed.")
    undone = _undo(machine, book, dict(params, any_token=False), dict(result), False, sleep, clock)
    return dict(undone, failed=True, changed=False, msg=why + (" What this task had begun was put back." if not undone["failed"] else " " + undone["msg"]))


def _undo(machine, book, params, result, check_mode, sleep, clock):
    wrong = []
    for mark in list(reversed(book.read())):
        if mark["host"] != params["host"] or (mark["token"] != params["token"] and not params["any_token"]):
            continue
        result["changed"] = True
        if check_mode:
            continue
        try:
            target = adapter(machine, mark["target"])
            target.undo(mark)
            lacking = _wait(lambda one=target, its=mark: one.lacks_back(its), params["timeout"], sleep, clock)
        except Trouble as trouble:
            lacking = str(trouble)
        if lacking:
            wrong.append("{} is NOT back in service: {}.".format(mark["key"], lacking.rstrip(".")))
        else:
            book.write([one for one in book.read() if (one["key"], one["host"], one["token"]) != (mark["key"], mark["host"], mark["token"])])
    result["drained"] = [_told(mark) for mark in book.read() if mark["host"] == params["host"]]
    if wrong:
        return dict(result, failed=True, msg=" ".join(wrong) + " Look at the host; the next rollout tries again, as does ha_drain with state=undone.")
    return result


def _wait(lacks, seconds, sleep, clock):
    """None as soon as nothing is lacking, else what still is after so many seconds."""
    end = clock() + seconds
    while True:
        lacking = lacks()
        if not lacking or clock() >= end:
            return lacking
        sleep(0.2)


def _told(mark):
    return {"what": mark["key"], "adapter": mark["target"]["adapter"], "host": mark["host"], "token": mark["token"], "age": max(0, int(time.time() - mark["at"]))}
