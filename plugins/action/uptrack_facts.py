# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""uptrack_facts on the controller: sends the probe over the connection and reads its answer here.

A module would start a Python on the host for the same answer, at about thirty times the cost
there, and could not run on a
host whose Python ansible-core no longer takes. Only an asynchronous task still goes through the
module.
"""

from __future__ import annotations

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import facts, probe
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import groups
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import (
    host_program,
    run_files,
    schema,
)
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.host_action import HostAction


class ActionModule(HostAction):
    NAME = "uptrack_facts"
    WORK = "ha.groups"
    ARGUMENTS = facts.ARGUMENTS
    checked = staticmethod(schema.facts_of_groups)

    def run(self, tmp=None, task_vars=None):
        scope = self._task.args.get("scope")
        if scope is None:
            return super().run(tmp, task_vars)
        # The survey of a rollout: what it asks was settled before any host was asked. A template
        # in the task would cost each of the hosts as much as the task itself.
        files = run_files.RunFiles.of_scope(scope, self._task.get_play())
        name, asked = task_vars["inventory_hostname"], files.read("survey.json")
        if asked is None or len(self._task.args) > 1:
            return {
                "failed": True,
                "msg": "uptrack_facts takes scope in the collection's own playbooks and roles only,"
                " after rollout with state=ready, and no other option beside it. The host was not "
                "asked.",
            }
        params = {key: spec.get("default") for key, spec in self.ARGUMENTS.items()}
        params.update(asked["options"], **asked["hosts"].get(name, {}))
        try:
            result = self.perform(params, task_vars)
        except AnsibleConnectionFailure as error:
            files.write_survey(name, {"unreachable": True, "msg": str(error)})
            raise
        files.write_survey(name, result)
        return result

    def perform(self, params, task_vars):
        script = host_program.exported(self, probe.script(*facts.refresh(params)))
        answer = self._low_level_execute_command(script)
        seen = facts.facts(answer["stdout"], params["max_age"])
        if answer["rc"] and seen["agent"]["installed"] is None:
            # The shell, or what gives it root, would not: its own words say more than ours.
            words = " ".join((answer["stderr"] or answer["stdout"]).split())[:300]
            seen["reason"] += f" It ended with status {answer['rc']}: {words}"
        try:
            seen = schema.survey(seen)
        except schema.Misfit as misfit:
            seen = facts.nothing("unknown", str(misfit))
        found = {"uptrack": seen}
        if params["groups"] and (seen["redundancy"] or params["ha_command"]):
            found["ha"] = self._groups(params, task_vars)
        return {"changed": False, "ansible_facts": found}

    def _groups(self, params, task_vars):
        asked = {"command": params["ha_command"], "timeout": groups.ARGUMENTS["timeout"]["default"]}
        try:
            answer = self.ask(asked, task_vars)
        except host_program.Unreachable as unreachable:
            answer = {"failed": True, "msg": f"It cannot be reached any more: {unreachable}"}
        if answer.get("failed"):
            # What could not be asked is not nothing.
            return {"groups": [], "role": None, "problems": [answer["msg"]], "host_id": None}
        return answer["ha"]

    def _by_module(self, _name, params, task_vars):
        said = self._execute_module(
            "rebootless.ksplice.ha_facts", module_args=params, task_vars=task_vars
        )
        if isinstance(said.get("ansible_facts"), dict):
            return {"changed": False, "ha": said["ansible_facts"].get("ha")}
        return said
