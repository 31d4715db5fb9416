# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""ha_drain on the controller: in one round trip, and what role rolling drains elsewhere by a
claim.
"""

from __future__ import annotations

from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import drains
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import (
    host_program,
    run_files,
    schema,
    turns,
)
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.host_action import HostAction


class ActionModule(HostAction):
    NAME = "ha_drain"
    WORK = "drain.drains"
    ARGUMENTS = drains.ARGUMENTS
    REQUIRED_IF = drains.REQUIRED_IF
    checked = staticmethod(schema.drained)

    def by_claim(self, claimed, params, task_vars):
        place, options = str(self._task.delegate_to), claimed["options"]
        kept = {"token": claimed["token"], "place": place}
        refused = self._refused(claimed, params["state"], task_vars)
        if refused:
            return dict(kept, changed=False, done=False, msg=refused)
        params.update(host=claimed["host"], token=claimed["token"])
        params.update(timeout=options["drain_timeout"])
        if params["state"] == "drained":
            params["when"] = "always" if options["drain_mode"] == "always" else "active"
            params["targets"] = [
                dict(dict.fromkeys(drains.ARGUMENTS["targets"]["options"]), **one["target"])
                for one in claimed["drains"]
                if one["delegate_to"] == place
            ]
        try:
            answer = self.ask(params, task_vars)
        except host_program.Unreachable as unreachable:
            answer = {"done": False, "msg": f"{place} cannot be reached: {unreachable}"}
        answer["done"] = bool(answer.get("done"))
        answer.pop("failed", None)
        return dict(answer, changed=bool(answer.get("changed")), **kept)

    @staticmethod
    def _refused(claimed, state, task_vars):
        """Why nothing may be drained, or restored, elsewhere; None where it may."""
        token = claimed["token"]
        if state == "drained":
            answers = {
                one["member"]: None if one.get("unreachable_host") else one
                for one in run_files.results(task_vars, "leases", token)
            }
            return turns.judge(claimed, answers, None)["reason"]
        found = run_files.results(task_vars, "finish", token) or run_files.results(
            task_vars, "turn", token
        )
        return None if found and turns.may_serve(found[-1]) else "its host is not healthy"
