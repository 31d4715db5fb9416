# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What was taken out of service on or through this host, and the steps to drain and restore it.

The journal has the saved state of each drain, written before anything is changed and removed after
it is restored. Only what has a saved state is restored: what a person drained stays drained.
"""

import contextlib
import fcntl
import os
import time

from ansible_collections.rebootless.ksplice.plugins.module_utils import commands
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import (
    command as command_drain,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import (
    haproxy as haproxy_drain,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import (
    keepalived as keepalived_drain,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import nginx as nginx_drain
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import (
    pacemaker as pacemaker_drain,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain.common import (
    Refused,
    Trouble,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import (
    groups,
    keepalived,
    pacemaker,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import journal, ledger

ADAPTERS = {
    "keepalived": keepalived_drain,
    "pacemaker": pacemaker_drain,
    "haproxy": haproxy_drain,
    "nginx": nginx_drain,
    "custom": command_drain,
}
ARGUMENTS = {
    "state": {"type": "str", "choices": ["drained", "restored", "shown"], "default": "shown"},
    "host": {"type": "str"},
    "token": {"type": "str", "no_log": False},
    "force": {"type": "bool", "default": False},
    "lease": {"type": "str", "no_log": False},
    "when": {"type": "str", "choices": ["active", "always"], "default": "active"},
    "timeout": {"type": "int", "default": 60},
    "targets": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "adapter": {"type": "str", "choices": sorted(ADAPTERS), "required": True},
            "mode": {"type": "str", "choices": ["auto", "priority", "restart", "track_file"]},
            "track_file": {"type": "str"},
            "node": {"type": "str"},
            "socket": {"type": "path"},
            "backend": {"type": "str"},
            "server": {"type": "str"},
            "file": {"type": "path"},
            "upstream": {"type": "str"},
            "drain": {"type": "str"},
            "restore": {"type": "str"},
            "is_active": {"type": "str"},
            "is_drained": {"type": "str"},
        },
    },
}
# Former names of options, which an inventory or an older journal may have.
FORMER = {"undo": "restore"}
# What an adapter may stumble over on a host; the text of each says what it was.
STUMBLES = (Trouble, keepalived.Unreadable, pacemaker.Unreadable, ledger.Broken, OSError)
REQUIRED_IF = [("state", "drained", ["host", "token", "targets"]), ("state", "restored", ["host"])]


class SavedStates:
    """The saved states of drains, in this host's journal."""

    def __init__(self, root=""):
        self.folder = root + ledger.DIRECTORY
        self.journal = journal.Journal(root)
        self.path = self.journal.path

    @contextlib.contextmanager
    def locked(self, seconds, sleep=time.sleep):
        """One process drains or restores at a time. Waiting for sessions to end needs no lock: a
        wave has many servers behind one balancer.
        """
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            lock = os.open(
                self.folder + "/drain.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise Trouble(
                f"{self.folder} cannot be written ({error.strerror}): run as root, and check space."
            )
        try:
            for left in range(seconds, -1, -1):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if not left:
                        raise Trouble(
                            f"Another process has been draining or restoring here for {seconds} s."
                        )
                    sleep(1)
            yield
        finally:
            os.close(lock)

    def read(self):
        return self.journal.read()["drained"]

    def put(self, saved):
        """Keep a saved state, in place of the one of the same drain; it is on the disk then."""
        self._change(lambda states: [one for one in states if not _same(one, saved)] + [saved])

    def remove(self, saved):
        self._change(lambda states: [one for one in states if not _same(one, saved)])

    def _change(self, function):
        self.journal.change(lambda document: dict(document, drained=function(document["drained"])))

    def has(self, saved):
        return any(_same(one, saved) for one in self.read())


def _same(one, other):
    return all(one[name] == other[name] for name in ("key", "host", "token"))


def mistake(target):
    """What is wrong with a target, in a sentence, or None. Pure, so that a rollout can look
    before it begins.
    """
    kind = ADAPTERS.get(str(target["adapter"]))
    if kind is None:
        return "there is no adapter {!r}; there are {}.".format(
            target["adapter"], ", ".join(sorted(ADAPTERS))
        )
    given = _given(target)
    for name, value in sorted(given.items(), key=str):
        if name not in kind.OPTIONS:
            return "the adapter {} has no option {}; it has {}.".format(
                target["adapter"], name, ", ".join(sorted(kind.OPTIONS))
            )
        if not isinstance(value, str):
            return f"{name} is {value!r}: give a string, in quotes where YAML reads something else."
        if kind.OPTIONS[name] and value not in kind.OPTIONS[name]:
            return "{} is {!r}, and not one of {}.".format(
                name, value, ", ".join(kind.OPTIONS[name])
            )
    missing = [name for name in getattr(kind, "REQUIRED", ()) if not given.get(name)]
    if missing:
        return "the adapter {} needs {}.".format(target["adapter"], " and ".join(missing))
    return kind.mistake(given) if hasattr(kind, "mistake") else None


def _given(target):
    return {
        FORMER.get(name, name): value
        for name, value in target.items()
        if name != "adapter" and value is not None
    }


def adapter(machine, target):
    """The adapter of a target, with its options looked at."""
    wrong = mistake(target)
    if wrong:
        raise Trouble(wrong[:1].upper() + wrong[1:])
    return ADAPTERS[target["adapter"]].Adapter(machine, _given(target))


def run(machine, params, check_mode=False, sleep=time.sleep, clock=time.monotonic):
    """What a task of ha_drain does; its result is returned. C(failed) says whether it failed,
    C(drained) what has a saved state now, C(changed_nothing) whether nothing was done.
    """
    work = Work(machine, params, check_mode, sleep, clock)
    result = work.run()
    result.setdefault("changed_nothing", not work.result["changed"])
    return result


class Work:
    """One task of ha_drain."""

    def __init__(self, machine, params, check_mode, sleep, clock):
        self.machine, self.params, self.check_mode, self.sleep, self.clock = (
            machine,
            params,
            check_mode,
            sleep,
            clock,
        )
        self.states = SavedStates(machine.root)
        self.host, self.token, self.seconds = params["host"], params["token"], params["timeout"]
        self.result = {"changed": False, "failed": False, "drained": [], "active": None, "left": []}

    def run(self):
        state, lock = self.params["state"], None
        try:
            if state == "shown":
                return dict(self.result, drained=[_shown(saved) for saved in self.states.read()])
            if state == "restored" and not self.token and not self.params["force"]:
                raise Trouble(
                    "With state=restored give the token of the attempt that is to be restored, "
                    "or force=true."
                )
            if self.params["lease"] and not self.check_mode:
                # Whoever lost the lease can do nothing; and while this works, nobody takes it over.
                phase = "draining" if state == "drained" else "restoring"
                lock, refusal = ledger.Ledger(self.machine.root).begin_work(
                    self.params["lease"], 10, phase=phase
                )
                if refusal:
                    raise Refused(refusal)
            return self._drain() if state == "drained" else self._restore(self.params["force"])
        except STUMBLES as trouble:
            text = str(trouble).rstrip(".") + "."
            complete = getattr(trouble, "complete", False) or self.result["changed"]
            return dict(
                self.result,
                failed=True,
                msg=text if complete else text + " Nothing was changed.",
                changed_nothing=not self.result["changed"],
            )
        finally:
            if lock is not None:
                os.close(lock)

    def _locked(self):
        # In check mode there is no trace, not even a lock.
        return (
            contextlib.suppress()
            if self.check_mode
            else self.states.locked(self.seconds, self.sleep)
        )

    def _ours(self):
        return [_shown(saved) for saved in self.states.read() if saved["host"] == self.host]

    # ---- drained ----

    def _drain(self):
        given = [
            {name: value for name, value in target.items() if value is not None}
            for target in self.params["targets"]
        ]
        targets = [adapter(self.machine.within(max(10, self.seconds)), one) for one in given]
        states = [target.look() for target in targets]
        self.result["active"] = any(state["active"] for state in states)
        for target, state in zip(targets, states):
            # All of them before the first is changed.
            self._due(target, state, [])
        for target, one in zip(targets, given):
            try:
                lacking = self._out(target, one)
            except STUMBLES as trouble:
                lacking = str(trouble)
            if lacking:
                return self._failed(
                    "{} was not drained: {}.".format(target.key, lacking.rstrip("."))
                )
        return dict(self.result, drained=self._ours())

    def _due(self, target, state, left):
        """Whether a target is to be drained, and its saved state if it has one; what must not be
        is Trouble, what stays out is added to C(left).
        """
        saved = next((saved for saved in self.states.read() if saved["key"] == target.key), None)
        if saved and saved["host"] != self.host:
            raise Trouble("{} is out of service for {} already.".format(target.key, saved["host"]))
        if saved and saved["token"] != self.token:
            raise Trouble(
                "{} is out of service since a run that did not end ({}): restore it first, "
                "with state=restored and force=true.".format(target.key, saved["token"][:8])
            )
        if saved:
            # A saved state without a change is what remains of a task that was killed in between.
            return not saved.get("done"), saved
        if state["drained"]:
            left.append(f"{target.key} was out of service already, and stays so.")
            return False, None
        if self.params["when"] == "active" and not state["active"]:
            return False, None
        if state.get("refusal"):
            raise Trouble(state["refusal"])
        return True, None

    def _out(self, target, given):
        """Drain a target; what is lacking is returned, or None."""
        with self._locked():
            end, target.machine = (
                self.clock() + self.seconds,
                self.machine.within(max(1, self.seconds)),
            )
            target.end = end
            state = target.look()
            due, saved = self._due(target, state, self.result["left"])
            if not due and not saved:
                return None
            self.result["changed"] = self.result["changed"] or due
            if self.check_mode:
                return None
            if due:
                saved = saved or dict(
                    target.plan(state, self.token),
                    key=target.key,
                    host=self.host,
                    token=self.token,
                    at=time.time(),
                    target=given,
                )
                self.states.put(saved)
                target.drain(saved)
                self.states.put(dict(saved, done=True))
        lacking = self._wait(lambda: target.lacks(saved), end)
        if not self.states.has(saved):
            return "another task restored it meanwhile"
        return lacking and f"after {self.seconds} s {lacking}"

    def _failed(self, why):
        """A drain that failed restores what it began to drain."""
        if self.check_mode or not [
            saved
            for saved in self.states.read()
            if saved["host"] == self.host and saved["token"] == self.token
        ]:
            return dict(
                self.result,
                failed=True,
                changed=False,
                msg=why + " Nothing was changed.",
                changed_nothing=True,
            )
        restored = self._restore(False)
        return dict(
            restored,
            failed=True,
            changed=restored["failed"],
            msg="{} {}".format(
                why,
                restored["msg"]
                if restored["failed"]
                else "What this attempt had begun was restored.",
            ),
        )

    # ---- restored ----

    def _restore(self, force):
        wrong = []
        for saved in reversed(
            [
                saved
                for saved in self.states.read()
                if saved["host"] == self.host and (force or saved["token"] == self.token)
            ]
        ):
            self.result["changed"] = True
            if self.check_mode:
                continue
            try:
                lacking = self._restore_one(saved)
            except STUMBLES as trouble:
                lacking = str(trouble)
            if lacking:
                wrong.append(
                    "{} is NOT back in service: {}.".format(saved["key"], lacking.rstrip("."))
                )
        result = dict(self.result, drained=self._ours())
        if wrong:
            return dict(
                result,
                failed=True,
                msg="{} Look at the host: ha_drain with state=restored tries again, as the "
                "next rollout does. What is gone "
                "for good has a saved state in {}, to be removed by hand.".format(
                    " ".join(wrong), self.states.path
                ),
            )
        return result

    def _restore_one(self, saved):
        """Restore a target; what is lacking comes back, or None."""
        with self._locked():
            if not self.states.has(saved):
                return None
            end = self.clock() + self.seconds
            target = adapter(self.machine.within(max(1, self.seconds)), saved["target"])
            stays = target.restore(saved)
        lacking = self._wait(lambda: target.lacks_restored(saved), end)
        stays = stays or getattr(target, "stays", None)
        if lacking:
            return f"after {self.seconds} s {lacking}"
        if stays:
            self.result["left"].append(stays)
        with self._locked():
            self.states.remove(saved)
        return None

    def _wait(self, lacks, end):
        """None as soon as nothing is lacking, else what still is at the end. What gives no answer
        for a moment may do so in the next.
        """
        while True:
            try:
                lacking = lacks()
            except STUMBLES as trouble:
                lacking = str(trouble)
            if not lacking or self.clock() >= end:
                return lacking
            self.sleep(0.2)


def _shown(saved):
    shown = journal.drain_shown(saved)
    return dict(shown, age=max(0, int(time.time() - shown.pop("at"))))


def answer(params, check_mode, root, _program):
    """As run, for the program that asks in one round trip."""
    result = run(groups.Machine(commands.run, root), params, check_mode)
    return dict(result, done=not result["failed"])
