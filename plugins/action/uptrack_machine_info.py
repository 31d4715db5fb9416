# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""uptrack_machine_info on the controller."""

from __future__ import annotations

from ansible_collections.rebootless.ksplice.plugins.module_utils import service_task
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.service_action import (
    ServiceAction,
)


class ActionModule(ServiceAction):
    ARGUMENTS = service_task.MACHINE_INFO
    EXCLUSIVE = service_task.INFO_EXCLUSIVE

    def perform(self, service, params, task_vars):
        if params["all"]:
            found = service.machines()
            if params["describe"]:
                found = service.describe_all([one["uuid"] for one in found])
        else:
            uuid = self.which(service, params, task_vars)
            if params["describe"]:
                found = [service.describe(uuid)]
            else:
                found = [one for one in service.machines() if one["uuid"] == uuid]
        return {"changed": False, "machines": found}
