# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""uptrack_facts on the controller: sends the probe over the connection and reads its answer here.

A module would start a Python on the host for the same answer, at about thirty times the cost there, and could not run on a
host whose Python ansible-core no longer takes. Only an asynchronous task still goes through the module.
"""

from __future__ import annotations

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import facts, probe


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        checked = ArgumentSpecValidator(facts.ARGUMENTS).validate(self._task.args)
        if checked.error_messages:
            words = "; ".join(message.rstrip(".") for message in checked.error_messages)
            return dict(
                result,
                failed=True,
                msg=f"uptrack_facts cannot take these arguments: {words}. Nothing was asked.",
            )
        if self._task.async_val:
            return self._execute_module(
                "rebootless.ksplice.uptrack_facts", task_vars=task_vars, wrap_async=True
            )
        arguments = checked.validated_parameters
        answer = self._low_level_execute_command(probe.script(*facts.refresh(arguments)))
        seen = facts.facts(answer["stdout"], arguments["max_age"])
        if answer["rc"] and seen["agent"]["installed"] is None:
            # The shell, or what gives it root, would not: its own words say more than ours.
            seen["reason"] += (
                f" It ended with status {answer['rc']}: {' '.join((answer['stderr'] or answer['stdout']).split())[:300]}"
            )
        return dict(result, changed=False, ansible_facts={"uptrack": seen})
