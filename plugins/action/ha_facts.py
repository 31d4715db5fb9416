# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""ha_facts on the controller: in one round trip, with no other facts than its own."""

from __future__ import annotations

from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import groups
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import schema
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.host_action import HostAction


class ActionModule(HostAction):
    NAME = "ha_facts"
    WORK = "ha.groups"
    ARGUMENTS = groups.ARGUMENTS

    @staticmethod
    def checked(said):
        if isinstance(said.get("ansible_facts"), dict):
            # As the module gives it.
            said = {"changed": False, "ha": said["ansible_facts"].get("ha")}
        return schema.facts_of_groups(said)

    def perform(self, params, task_vars):
        answer = self.ask(params, task_vars)
        if answer.get("failed"):
            return answer
        return {"changed": False, "ansible_facts": {"ha": answer["ha"]}}
