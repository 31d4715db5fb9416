# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""ha_check on the controller: in one round trip, and the post-checks of role rolling by a claim."""

from __future__ import annotations

from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import checks
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import (
    host_program,
    run_files,
    schema,
)
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.host_action import HostAction
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import ha_settings


class ActionModule(HostAction):
    NAME = "ha_check"
    WORK = "ha.checks"
    ARGUMENTS = checks.ARGUMENTS
    checked = staticmethod(schema.ha_check)

    def perform(self, params, task_vars):
        fail = params.pop("fail")
        return self._judged(self.ask(params, task_vars), fail)

    def by_claim(self, claimed, params, task_vars):
        peer = str(self._task.delegate_to)
        [begun] = run_files.results(task_vars, "turn", claimed["token"]) or [{}]
        kept = {"token": claimed["token"], "peer": peer, "changed": False}
        if not begun.get("turn"):
            return dict(kept, msg="There is no turn to check.")
        wanted = claimed["checks"]
        params.pop("fail")
        params.update(
            checks=ha_settings.checks(wanted, "peers", "after", begun["judged"]["known"]),
            addresses=wanted["addresses"],
            timeout=wanted["timeout"],
            stable_for=wanted["stable_for"]["peers"],
        )
        try:
            answer = self.ask(params, task_vars)
        except host_program.Unreachable as unreachable:
            return dict(kept, unreachable_host=True, msg=str(unreachable))
        answer.pop("failed", None)
        return dict(answer, **kept)

    @staticmethod
    def _judged(answer, fail):
        if answer.get("failed"):
            return answer
        bad = [f"{one['name']} ({one['msg']})" for one in answer["checks"] if not one["ok"]]
        if bad and fail:
            text = f"Unhealthy after {answer['seconds']} s: {'; '.join(bad)}."
            return dict(answer, failed=True, changed=False, msg=text)
        return dict(answer, changed=False)
