# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Carries a turn out: the state is written, the deed done, and what came of it written.

One process does all of it, holding C(work.lock). Whatever it is killed in, another takes up the
journal where it stands: every deed may be done twice.

What drains and checks is imported where it is needed: it is most of what the process costs a host
that has neither.
"""

import contextlib
import fcntl
import os
import platform
import threading
import time

from ansible_collections.rebootless.ksplice.plugins.module_utils import commands
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import apply
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import lease, ledger, steps
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn.journal import Journal
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn.steps import (
    Deed,
    Event,
    State,
)

# What of a result of uptrack_apply the journal keeps.
APPLIED = (
    "installed",
    "removed",
    "remaining",
    "cves_fixed",
    "cves_open",
    "before",
    "after",
    "verdict",
    "reason",
    "error_class",
    "failures",
    "left",
    "msg",
    "failed",
)
# The journal is looked at so often (seconds) for a verdict.
TICK = 0.2


class Turn:
    """The turn in this host's journal, and what carries it out."""

    def __init__(self, root="", run_command=commands.run, sleep=time.sleep, clock=time.monotonic):
        self.root, self.sleep, self.clock = root, sleep, clock
        self.journal, self.ledger = Journal(root), ledger.Ledger(root)
        self._machine = None
        self.run_command = run_command
        self.turn = None

    @property
    def machine(self):
        """The host as drains and checks see it."""
        if self._machine is None:
            from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import groups

            self._machine = groups.Machine(self.run_command, self.root)
        return self._machine

    def run(self, clean_up=lambda: None):
        """Carry the turn on until nothing follows by itself; whether there was anything to do, or
        None where another process is at work.

        :param clean_up: called once nothing follows, also where an earlier process was killed
            before it could; while nobody else begins a turn.
        """
        lock = self._work_lock()
        if lock is None:
            return None
        try:
            self.turn = self.journal.read()["turn"]
            if not self.turn or (steps.over(self.turn) and not self.turn["pending"]):
                clean_up()
                return False
            with self._renewed():
                self._carry_on(self._start())
            clean_up()
            return True
        finally:
            os.close(lock)

    def _work_lock(self):
        """The lock of whoever changes this host; None where another process has the turn."""
        path = self.root + ledger.DIRECTORY + "/work.lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # A question for a lease tries it, for a moment.
        for _attempt in range(50):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except OSError:
                self.sleep(0.1)
        os.close(lock)
        return None

    def _start(self):
        """The first event: the turn's beginning, or that an earlier process did not end it."""
        if not self.turn["started"]:
            self.turn["started"] = True
            return Event.CONTINUE
        pending, self.turn["pending"] = self.turn["pending"], None
        if pending == "verdict":
            verdict = self.turn["verdict"]
            if not verdict["good"]:
                self._reason("unhealthy", verdict["reason"])
            return Event.VERDICT_GOOD if verdict["good"] else Event.VERDICT_BAD
        self.turn["resumed"] += 1
        if pending == "resume" and self.turn["state"] == State.WAITING.value:
            # Whoever takes over has no verdict either.
            self.turn["lost_controller"] = True
            return Event.NO_VERDICT
        if State(self.turn["state"]) in (State.LEASED, State.DRAINING, State.DRAINED):
            self._reason("interrupted", "The turn was cut off before anything was patched.")
        return Event.INTERRUPTED

    def _carry_on(self, event):
        while True:
            state, deed = steps.next_step(self.turn, event)
            if deed in steps.NEED_LEASE:
                refusal = self._may(state)
                if refusal:
                    self._reason("lease_lost", refusal)
                    state, deed = steps.next_step(self.turn, Event.LEASE_LOST)
            if deed is Deed.APPLY and self.turn["before"] is None:
                self.turn["before"] = self._before()
                if self.turn["before"] is None:
                    # Without it there is no way back: nothing is begun.
                    state, deed = steps.next_step(self.turn, Event.INTERRUPTED)
            before = self.turn
            self.turn = steps.enter(self.turn, state, deed, time.time())
            if not self._write() and deed in (Deed.DRAIN, Deed.APPLY):
                # The next process would not know of it. What was begun before is undone.
                self.turn = dict(
                    before, **{key: self.turn[key] for key in ("reason", "reason_code")}
                )
                event = Event.INTERRUPTED
                continue
            if deed is None:
                if steps.over(self.turn):
                    if not self.turn["pending"]:
                        return
                    event = self._start()
                    continue
                event = Event.CONTINUE
                continue
            event, result = self._do(deed)
            self.turn = steps.record(self.turn, deed, event, result, time.time())
            self._write()

    def _may(self, state):
        """Why the host may not be changed (any more), as a sentence, or None: renews the lease."""

        token, phase = self.turn["token"], steps.PHASES.get(state)
        try:
            return self.ledger.change(
                lambda book, now, _busy: lease.proceed(book, token, now, phase)
            )["refusal"]
        except ledger.Broken as broken:
            return str(broken)

    def _reason(self, code, words):
        if not self.turn["reason_code"]:
            self.turn.update(reason=words, reason_code=code)

    def _write(self):
        """Write the turn; whether that was possible. On a disk that has become full it goes on
        without: what is drained has to come back into service.
        """
        try:
            self.turn = self.journal.keep(self.turn)
            return True
        except ledger.Broken as broken:
            self._reason("journal", str(broken))
            return False

    @contextlib.contextmanager
    def _renewed(self):
        """Keep the host's own lease alive for as long as the turn lasts."""
        ended, seconds = threading.Event(), self.turn["order"]["lease_seconds"]

        def renew():
            while not ended.wait(max(0.5, min(60, seconds / 4.0))):
                with contextlib.suppress(ledger.Broken):
                    self.ledger.change(
                        lambda book, now, _busy: lease.renew(book, self.turn["token"], now)
                    )

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    # ---- deeds: each gives the event, and what came of it ----

    def _do(self, deed):
        try:
            return getattr(self, "_" + deed.value)(self.turn["order"])
        except Exception as error:  # whatever it is: a host must not stay drained because of it
            code, words = "error", f"{type(error).__name__}: {error}"
            result = {"reason_code": code, "reason": words, "result": f"failed: {words}"}
            if deed in (Deed.APPLY, Deed.INSPECT):
                result["applied"] = {"failed": True, "error_class": "unknown", "msg": words}
            elif deed is Deed.ROLL_BACK:
                result["rolled_back"] = {"ok": False, "msg": words}
            return Event.FAILED, result

    def _drain(self, order):
        from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import drains

        done = drains.run(
            self.machine,
            {
                "state": "drained",
                "host": order["host"],
                "token": order["token"],
                "force": False,
                "lease": None,
                "when": order["drain_when"],
                "timeout": order["drain_timeout"],
                "targets": order["drains"],
            },
        )
        what = [one["what"] for one in done["drained"]]
        if done["failed"]:
            return Event.FAILED, {
                "drained": what,
                "reason_code": "not_drained",
                "reason": done["msg"],
                "result": f"failed: {done['msg']}",
            }
        return Event.DONE, {"drained": what, "result": ", ".join(what) or "nothing to drain"}

    def _agent(self):
        agent = apply.Agent(self.run_command, root=self.root)
        agent.has_work_lock = True
        return agent

    def _before(self):
        """What the kernel has before anything is done; None where that cannot be read."""
        try:
            seen = self._agent().facts()
            installed, why = seen["updates"]["installed"], seen["reason"]
        except Exception as error:  # whatever it is: what is drained has to come back
            installed, why = None, f"{type(error).__name__}: {error}"
        if installed is None:
            self._reason("error", f"What is in the kernel cannot be read: {why}")
            return None
        return {
            "kernel": {"effective": seen["kernel"]["effective"]},
            "updates": {"installed": installed},
            "cves": {"fixed": seen["cves"]["fixed"]},
        }

    def _params(self, **more):
        params = {name: spec.get("default") for name, spec in apply.ARGUMENTS.items()}
        return dict(params, **dict(self.turn["order"]["apply"], **more))

    def foretell(self):
        """What an apply would do, in check mode."""
        return self._run_apply(self._params(), check_mode=True)

    def _run_apply(self, params, check_mode=False):
        try:
            done = apply.apply(
                self._agent(), params, check_mode, platform.node(), self.sleep, self.clock
            )
        except apply.Refused as refused:
            done = dict(
                refused.result, failed=True, msg=str(refused), error_class=refused.error_class
            )
        return {key: done.get(key) for key in APPLIED}

    def _apply(self, order):
        applied = self._run_apply(self._params())
        if applied["failed"]:
            return Event.FAILED, {
                "applied": applied,
                "reason_code": "apply_failed",
                "reason": applied["msg"],
                "result": f"failed: {applied['msg']}",
            }
        count = len(applied["installed"])
        return Event.DONE, {"applied": applied, "result": f"{count} installed"}

    def _inspect(self, order):
        """What an apply that was cut off has done. The agent may have outlived whoever began it."""
        agent = self._agent()
        end = self.clock() + self._params()["timeout"]
        while self.ledger.agent_runs() and self.clock() < end:
            self.sleep(1)
        outcome = apply.outcome(self.turn["before"], agent.facts())
        applied = {key: outcome.get(key) for key in APPLIED}
        result = {
            "applied": dict(applied, failed=False),
            "result": f"{len(applied['installed'])} installed",
        }
        if applied["verdict"] != "current":
            result.update(reason_code="interrupted", reason="The apply was cut off.")
        return Event.DONE, result

    def _check(self, order):
        if not (order["checks"] or order["addresses"] or order["stable_for"]):
            return Event.DONE, {"checks": [], "holds": [], "result": "no checks"}
        from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import checks

        found = checks.run(
            self.machine,
            {
                "checks": [dict(one) for one in order["checks"]],
                "addresses": order["addresses"],
                "timeout": order["check_timeout"],
                "stable_for": order["stable_for"],
            },
            sleep=self.sleep,
            clock=self.clock,
        )
        result = {"checks": found["checks"], "holds": found["holds"], "result": "healthy"}
        bad = "; ".join(f"{one['name']} ({one['msg']})" for one in found["checks"] if not one["ok"])
        if bad:
            result.update(reason_code="unhealthy", reason=bad, result=f"unhealthy: {bad}")
            return Event.FAILED, result
        return Event.DONE, result

    def _wait(self, order):
        end = self.clock() + order["verdict_timeout"]
        while True:
            try:
                turn = self.journal.read()["turn"] or {}
            except ledger.Broken:
                # As if there were none: what is drained has to come back into service.
                turn = {}
            verdict = turn.get("verdict") if turn.get("token") == self.turn["token"] else None
            if verdict:
                self.turn["verdict"] = verdict
                if verdict["good"]:
                    return Event.VERDICT_GOOD, {"result": "good"}
                return Event.VERDICT_BAD, {
                    "reason_code": "unhealthy",
                    "reason": verdict["reason"],
                    "result": f"bad: {verdict['reason']}",
                }
            if self.clock() >= end:
                words = f"No verdict came from the controller in {order['verdict_timeout']} s."
                stays = order["on_lost_controller"] == "stay"
                return Event.NO_VERDICT, {
                    "reason_code": "lost_controller" if stays else None,
                    "reason": words,
                    "result": words,
                }
            self.sleep(TICK)

    def _roll_back(self, order):
        """Give the kernel what it had: what came is removed, newest first, and what went comes."""
        had = [one["id"] for one in self.turn["before"]["updates"]["installed"]]
        seen = self._agent().facts()
        if seen["updates"]["installed"] is None:
            # What is not known is not nothing.
            why = f"What is in the kernel cannot be read: {seen['reason']}"
            done = {"ok": False, "failed": True, "msg": why, "removed": []}
            return Event.FAILED, {"rolled_back": done, "result": f"failed: {why}"}
        has = apply.ids(seen)
        came, result = [ident for ident in has if ident not in had], None
        if came:
            result = self._run_apply(
                self._params(state="absent", updates=came[::-1], exact=False, cves=None)
            )
        if not (result and result["failed"]):
            has = apply.ids(self._agent().facts())
            gone = [ident for ident in had if ident not in has]
            if gone:
                again = self._run_apply(
                    self._params(state="present", updates=gone, exact=False, cves=None)
                )
                result = dict(again, removed=(result or {}).get("removed") or [])
        if result is None:
            # Done by a process that was killed, or could not write it down.
            outcome = apply.outcome(self.turn["before"], seen)
            result = dict({key: outcome.get(key) for key in APPLIED}, failed=False, msg=None)
            if seen["updates"]["available"] is None:
                result["remaining"] = None
        done = dict(result, ok=not result["failed"])
        if result["failed"]:
            # The reason that there was before is why it was to be rolled back.
            return Event.FAILED, {"rolled_back": done, "result": f"failed: {result['msg']}"}
        return Event.DONE, {"rolled_back": done, "result": f"{len(came)} removed"}

    def _restore(self, order):
        what = [
            saved["key"]
            for saved in self.journal.read()["drained"]
            if saved["host"] == order["host"] and saved["token"] == order["token"]
        ]
        result = {"restored": what, "result": ", ".join(what) or "nothing to restore"}
        done = {"failed": False}
        if what:
            from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import drains

            done = drains.run(
                self.machine,
                {
                    "state": "restored",
                    "host": order["host"],
                    "token": order["token"],
                    "force": False,
                    "lease": None,
                    "when": None,
                    "timeout": order["drain_timeout"],
                    "targets": [],
                },
            )
        if order["addresses"]:
            from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import keepalived

            found = self.machine.within(10).addresses()
            result["holds"] = [
                one for one in order["addresses"] if keepalived.address(one) in found
            ]
        if done["failed"]:
            result.update(result=f"failed: {done['msg']}", restored=[])
            self._reason("not_restored", done["msg"])
            self.turn["not_restored"] = done["msg"]
            return Event.FAILED, result
        self.turn["not_restored"] = None
        return Event.DONE, result

    def _release(self, _order):
        answer = self.ledger.change(
            lambda book, now, _busy: lease.release(book, self.turn["token"], now)
        )
        if answer["refusal"]:
            return Event.FAILED, {"result": f"failed: {answer['refusal']}"}
        return Event.DONE, {"result": "released"}
