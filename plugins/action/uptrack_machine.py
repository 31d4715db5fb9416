# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""uptrack_machine on the controller."""

from __future__ import annotations

from ansible_collections.rebootless.ksplice.plugins.module_utils import service_task
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.service_action import (
    ServiceAction,
    refuse_another,
)

# By whether it is authorized, what the service says of it.
AUTHORIZATION = {True: "allowed", False: "denied"}


class ActionModule(ServiceAction):
    ARGUMENTS = service_task.MACHINE
    EXCLUSIVE = service_task.EXCLUSIVE

    def perform(self, service, params, task_vars):
        uuid = self.which(service, params, task_vars)
        before = service.describe(uuid)
        if not (params["uuid"] or params["name"]):
            refuse_another(before, task_vars)
        after = dict(before)
        if params["authorized"] is not None:
            after["authorization"] = AUTHORIZATION[params["authorized"]]
        if params["group"] is not None:
            # Of a machine in no group the service may say null or an empty name.
            same = (before["group"] or "") == params["group"]
            after["group"] = before["group"] if same else params["group"]
        changed = [key for key in ("authorization", "group") if before[key] != after[key]]
        if not self._task.check_mode:
            if "authorization" in changed:
                service.authorize(uuid, params["authorized"])
            if "group" in changed:
                service.group(uuid, params["group"])
        return {
            "changed": bool(changed),
            "machine": after,
            "diff": {
                "before": {key: before[key] for key in changed},
                "after": {key: after[key] for key in changed},
            },
        }
