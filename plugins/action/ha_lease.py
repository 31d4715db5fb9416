# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""ha_lease on the controller: one question in one round trip, and what role rolling asks by a
claim.
"""

from __future__ import annotations

from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import lease_task
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import (
    host_program,
    run_files,
    schema,
    turns,
)
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.host_action import HostAction

# Tokens that were refused while this process asked for them: of a loop over the members of a large
# group, all items run in one process, and who has been refused asks no further.
REFUSED: set = set()


class ActionModule(HostAction):
    NAME = "ha_lease"
    WORK = "turn.lease_task"
    ARGUMENTS = lease_task.ARGUMENTS
    REQUIRED_IF = lease_task.REQUIRED_IF
    checked = staticmethod(schema.lease)

    def perform(self, params, task_vars):
        answer = self.ask(params, task_vars)
        return {key: one for key, one in answer.items() if one is not None or key == "refusal"}

    def by_claim(self, claimed, params, task_vars):
        member = str(self._task.delegate_to or task_vars["inventory_hostname"])
        kept = {"token": claimed["token"], "member": member, "changed": True}
        if params["state"] == "acquired":
            if claimed["token"] in REFUSED:
                return dict(kept, changed=False, asked=False, token=None)
            params.update(self._question(claimed, member, task_vars))
        elif self._keeps(claimed, member, task_vars):
            return dict(kept, changed=False, kept=True)
        else:
            params.update(self._release(claimed, member, task_vars))
        try:
            answer = self.ask(params, task_vars)
        except host_program.Unreachable as unreachable:
            return dict(kept, unreachable_host=True, msg=str(unreachable))
        if answer.get("failed") or not answer["granted"]:
            REFUSED.add(claimed["token"])
        answer.pop("failed", None)
        return dict(answer, **kept)

    @staticmethod
    def _question(claimed, member, task_vars):
        lost = [
            one["member"]
            for one in run_files.results(task_vars, "leases", claimed["token"])
            if one.get("unreachable_host")
        ]
        options = claimed["options"]
        return dict(
            turns.pre_checks(claimed, member),
            token=claimed["token"],
            run=claimed["run"],
            host=claimed["host"],
            member=member,
            groups=claimed["groups"],
            unreachable=lost,
            seconds=claimed["seconds"],
            wait=options["lease_wait"],
            reason=options["reason"],
        )

    def _keeps(self, claimed, member, task_vars):
        token = claimed["token"]
        found = run_files.results(task_vars, "finish", token) or run_files.results(
            task_vars, "turn", token
        )
        result = found[-1] if found else {}
        own = [result["own_release"]] if result.get("own_release") else []
        own += [
            one
            for one in run_files.results(task_vars, "released", token)
            if one["member"] == claimed["host"]
        ]
        if self._task.check_mode:
            # No lease was granted, so that there is none to follow.
            own = [{"granted": True}]
        restored = run_files.results(task_vars, "restored", token)
        return turns.keeps_lease(claimed, member, result, restored, own[-1] if own else None)

    @staticmethod
    def _release(claimed, member, task_vars):
        asked = {"token": claimed["token"]}
        if member != claimed["host"]:
            [turn] = run_files.results(task_vars, "turn", claimed["token"]) or [{}]
            holds = (turn.get("turn") or {}).get("holds")
            addresses = claimed["checks"]["addresses"]
            if holds is not None and addresses:
                # In a larger group each member need not hold all of the rest.
                rest = [one for one in addresses if one not in holds]
                asked.update(addresses=addresses)
                asked.update(held=rest if len(claimed["members"]) == 2 else None)
        return asked
