# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""uptrack_turn on the controller: begins a host's turn, and follows it until it is over or waits.

The host carries its turn out by itself. What is asked of it here is one small program to begin
with,
and then a line of its journal, by a shell that waits for the next one.
"""

from __future__ import annotations

import json
import textwrap
import time

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.rebootless.ksplice.plugins.action import ha_lease
from ansible_collections.rebootless.ksplice.plugins.module_utils import commands
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import checks, groups
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import lease_task, steps, task
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import (
    host_program,
    progress,
    run_files,
    schema,
    turns,
    wording,
)
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.host_action import HostAction
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import ha_settings

# Seconds that the host answers at once within, when its turn is over by then.
AT_ONCE = 3
# Seconds for which a host that cannot be reached any more is tried again.
PATIENCE = 60
# Prints the journal's first line, as soon as the turn is in another state than the one given, or
# after ten seconds.
POLL = """f="$UPTRACK_LAB_ROOT"/var/lib/rebootless-ksplice/journal.json
i=0
while [ $i -lt 20 ]; do
  l=$(head -n 1 "$f" | head -c 1000000)
  case $l in *'"state": "@STATE@"'*) ;; *) break;; esac
  i=$((i+1)); sleep 0.5
done
printf '@journal %s\\n' "$l"
"""


class ActionModule(HostAction):
    NAME = "uptrack_turn"
    WORK = "turn.task"
    ARGUMENTS = task.ARGUMENTS
    REQUIRED_IF = task.REQUIRED_IF
    checked = staticmethod(schema.turn)

    def perform(self, params, task_vars):
        result = self.ask(params, task_vars)
        if params["state"] == "resumed":
            return self._resumed(result, params["token"], task_vars)
        if params["state"] == "begun" and result.get("turn"):
            return self.follow(result, task_vars)
        return result

    def by_claim(self, claimed, params, task_vars):
        try:
            if params["state"] == "begun":
                return self.begin(claimed, task_vars)
            return self.finish(claimed, task_vars)
        except host_program.Unreachable as unreachable:
            # Its tasks go on: the others of its group have leases to be released.
            return {
                "changed": True,
                "token": claimed["token"],
                "turn": None,
                "unreachable_host": True,
                "msg": str(unreachable),
            }

    # ---- role rolling: a host that is claimed ----

    def begin(self, claimed, task_vars):
        controller = self._from_here(claimed, "before", ())
        answers = _answers(claimed, task_vars)
        judged = turns.judge(claimed, answers, controller)
        said = {"token": claimed["token"], "judged": judged, "changed": True, "turn": None}
        if judged["reason"]:
            self._tell_result(claimed, judged["reason"])
            own = answers.get(claimed["host"])
            granted = own and own.get("granted")
            return self._release_own(said, claimed, task_vars) if granted else said
        for place in run_files.results(task_vars, "balancers", claimed["token"]):
            if not place.get("done"):
                why = turns.one_line(place.get("msg"), "The task returned no result.")
                judged = {"reason": f"Not patched, as it could not be drained: {why}"}
                judged.update(reason_code="not_drained", known=[])
                return dict(said, judged=judged)
        asked = {"state": "begun", "order": turns.order(claimed, judged["known"])}
        result = self._ask_again(self._params(wait=float(AT_ONCE), **asked), task_vars)
        why = self._no_turn(result, claimed)
        if why:
            self._tell_result(claimed, why)
            untouched = bool(result.get("changed_nothing"))
            said.update(msg=why, changed_nothing=untouched)
            return self._release_own(said, claimed, task_vars) if untouched else said
        said.update(self.follow(result, task_vars, claimed))
        return self._released(dict(said, changed=True), claimed, task_vars)

    def finish(self, claimed, task_vars):
        """Hand in what the checks elsewhere say, and follow the turn to its end."""
        [begun] = run_files.results(task_vars, "turn", claimed["token"]) or [{}]
        turn = begun.get("turn")
        if turn is None or not self._has_updates(turn):
            return dict(begun, changed=False)
        known = begun["judged"]["known"]
        peers = [
            (one["peer"], one) for one in run_files.results(task_vars, "peers", claimed["token"])
        ]
        controller = self._from_here(claimed, "after", known)
        verdict = turns.verdict(claimed, known, turn, peers, controller)
        asked = {"state": "finished", "token": claimed["token"], "verdict": verdict}
        result = self._ask_again(self._params(wait=float(AT_ONCE), **asked), task_vars)
        why = self._no_turn(result, claimed)
        if why:
            return dict(begun, changed=False, msg=why)
        result = dict(begun, **self.follow(result, task_vars, claimed, verdict))
        return self._released(result, claimed, task_vars)

    @staticmethod
    def _no_turn(result, claimed):
        """Why an answer has no turn of this run to follow; None where it has."""
        if result.get("failed") or result.get("refusal"):
            return result.get("refusal") or result["msg"]
        if (result.get("turn") or {}).get("token") != claimed["token"]:
            return "The host's answer has no turn of this run."
        return None

    def _ask_again(self, params, task_vars):
        """As ask. Where the connection breaks off the host is asked again: what is begun, or handed
        in, twice is done once."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self.ask(params, task_vars)
            except host_program.Unreachable:
                if time.monotonic() >= end:
                    raise
                time.sleep(2)

    def _released(self, result, claimed, task_vars):
        """The result, once the lease of a host is released that serves again and kept it: its turn
        was carried on by another process, or it had given up waiting for us."""
        turn = result["turn"]
        waits = turns.remote_checks(claimed) and not turn["verdict"] if turn else True
        if waits or turn["state"] != "restored":
            return result
        return self._release_own(result, claimed, task_vars)

    def _release_own(self, result, claimed, task_vars):
        """The result, once the host's own lease is released: nothing more is to be done on it.
        Where it was drained on balancers, they come first, and a task of its own follows them."""
        if claimed["balancers"] or self._task.check_mode:
            return result
        params = {name: spec.get("default") for name, spec in lease_task.ARGUMENTS.items()}
        params.update(state="released", token=claimed["token"])
        try:
            said = self.ask(params, task_vars, of=ha_lease.ActionModule)
        except host_program.Unreachable as unreachable:
            said = {"granted": False, "refusal": str(unreachable)}
        return dict(result, own_release=said)

    @staticmethod
    def _has_updates(turn):
        ended = turn["state"] in ("waiting", "restored", "stuck")
        return ended and steps.worked(turn) and not turn["rolled_back"]

    def _params(self, **given):
        return dict({name: spec.get("default") for name, spec in task.ARGUMENTS.items()}, **given)

    def _from_here(self, claimed, moment, known):
        """The controller's own checks; None where there are none."""
        wanted = ha_settings.checks(claimed["checks"], "controller", moment, known)
        if not wanted or self._task.check_mode and moment == "after":
            return None
        stable_for = claimed["checks"]["stable_for"]["controller"] if moment == "after" else 0
        machine = groups.Machine(commands.run, "")
        try:
            return checks.run(
                machine,
                {
                    "checks": wanted,
                    "addresses": [],
                    "timeout": claimed["checks"]["timeout"],
                    "stable_for": stable_for,
                },
            )
        except checks.Wrong as wrong:
            return {"msg": str(wrong)}

    def _resumed(self, result, token, task_vars):
        """What came of a lease that was taken over: C(serves), whether its host may be let go."""
        if result.get("failed") or result["refusal"]:
            return dict(result, serves=False, took=result.get("took") or [])
        turn = result["turn"]
        if turn and turn["token"] == token:
            result = self.follow(result, task_vars)
            turn = result["turn"]
            serves = bool(turn) and turn["state"] in ("restored", "released")
        else:
            # It was claimed, and nothing more.
            serves, result = True, dict(result, turn=None)
        return dict(result, serves=serves)

    # ---- following ----

    def follow(self, result, task_vars, claimed=None, verdict=None):
        """The result of a turn that goes on, once it is over or waits for a verdict."""
        turn, told, since = result["turn"], 0, time.monotonic()
        limit = self._limit(claimed)
        while True:
            told = self._tell_steps(claimed, turn, told)
            if self._task.check_mode or (task.at_rest(turn) and not (verdict and _waits(turn))):
                return dict(result, turn=turn)
            seen = (turn["state"], len(turn["steps"]))
            new = self._poll(turn)
            if new is None or new["token"] != turn["token"]:
                return dict(result, turn=None, msg="Its journal cannot be read any more.")
            if (new["state"], len(new["steps"])) != seen:
                since = time.monotonic()
            elif time.monotonic() - since > 30:
                self._keep_going(turn, task_vars)
                if time.monotonic() - since > limit:
                    why = f"Its turn has not moved for {limit} s ({turn['state']})."
                    return dict(result, turn=None, msg=why)
            turn = new

    @staticmethod
    def _limit(claimed):
        """Seconds after which a turn that does not move is given up: no step may take as long."""
        if claimed is None:
            return 3600
        options, known = claimed["options"], claimed["checks"]
        agent = options["timeout"] * (options["retries"] + 2) + options["lock_timeout"]
        return (
            agent + options["drain_timeout"] + known["timeout"] + max(known["stable_for"].values())
        )

    def _keep_going(self, turn, task_vars):
        """Have a process started anew that died with whoever guarded it."""
        asked = {"state": "begun", "order": {"token": turn["token"]}}
        try:
            self.ask(self._params(**asked), task_vars)
        except host_program.Unreachable:
            pass

    def _poll(self, turn):
        script = POLL.replace("@STATE@", turn["state"])
        end = time.monotonic() + PATIENCE
        while True:
            try:
                said = self._low_level_execute_command(script)
                if said["rc"] < 0:
                    raise AnsibleConnectionFailure("The connection was killed.")
            except AnsibleConnectionFailure as error:
                if time.monotonic() >= end:
                    raise host_program.Unreachable(" ".join(str(error).split())) from None
                time.sleep(2)
                continue
            for line in said["stdout"].splitlines():
                if line.startswith("@journal "):
                    try:
                        return schema.turn_shown(json.loads(line[len("@journal ") :])["turn"])
                    except (ValueError, KeyError, TypeError, RecursionError):
                        return None
            return None

    def _tell_steps(self, claimed, turn, told):
        """Say what the host does, step by step as its journal grows."""
        if claimed is None:
            return 0
        ended = [one for one in turn["steps"] if one["ended"] is not None]
        for one in ended[told:]:
            # A callback that shows the whole run has a line of each host at its end.
            if progress.by_callback and one["ended"] - turn["began"] < progress.LONG:
                continue
            words = textwrap.shorten(str(one["result"] or ""), 200, placeholder=" …")
            self._tell(claimed, f"{one['name']}: {words} ({one['ended'] - one['started']:.1f} s)")
        return len(ended)

    def _tell_result(self, claimed, words):
        if not progress.by_callback:
            self._tell(claimed, words)

    def _tell(self, claimed, words):
        self._display.display(wording.printable(f"{claimed['host']}: {words}"))


def _waits(turn):
    return turn["state"] == steps.State.WAITING.value


def _answers(claimed, task_vars):
    """What the members answered: member to its answer, None where it cannot be reached."""
    found = {}
    for one in run_files.results(task_vars, "leases", claimed["token"]):
        if one["member"] in claimed["members"]:
            found[one["member"]] = None if one.get("unreachable_host") else one
    return found
