# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""uptrack_apply on the controller: the host does the work, asked in one round trip."""

from __future__ import annotations

from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import apply, apply_task
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import schema
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.host_action import HostAction


class ActionModule(HostAction):
    NAME = "uptrack_apply"
    WORK = "agent.apply_task"
    ARGUMENTS = apply.ARGUMENTS
    ONCE = True
    checked = staticmethod(schema.applied)

    def perform(self, params, task_vars):
        result = self.ask(params, task_vars)
        if self._task.diff:
            shown = apply_task.diff(result)
            if shown:
                result["diff"] = shown
        return result
