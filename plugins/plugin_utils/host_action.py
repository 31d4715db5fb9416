# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What the action plugins share that ask a host something in one round trip."""

from __future__ import annotations

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import (
    host_program,
    run_files,
    schema,
)


def believed(said, checked):
    """What comes into this process of an answer: as C(checked) gives it, or C(failed), C(msg) and
    C(changed_nothing).

    The owner of a host may answer anything, and nothing behind this has to expect it.
    """
    try:
        if not isinstance(said, dict):
            raise schema.Misfit("The host's answer is not a mapping.")
        if said.get("failed") and set(said) <= {
            "failed",
            "msg",
            "changed",
            "changed_nothing",
            "invocation",
        }:
            return {
                "failed": True,
                "msg": schema.text(said.get("msg"), "its message"),
                "changed_nothing": said.get("changed_nothing") is True,
            }
        return checked(said)
    except schema.Misfit as misfit:
        return {"failed": True, "msg": str(misfit), "changed_nothing": False}


class HostAction(ActionBase):
    """A task whose work on the host is C(answer) of a module of module_utils.

    Only an asynchronous task, and a host that the round trip does not get through to, is asked by
    the module of the same name.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    NAME = ""  # of the module
    WORK = ""  # the module of module_utils
    ARGUMENTS: dict = {}
    REQUIRED_IF: list = []
    # Whether the work may not be done a second time where the first gave no answer.
    ONCE = False
    # Makes of an answer what may come into this process.
    checked = staticmethod(schema.text)

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        # What role rolling asks for goes by the claim that it made of the host.
        claim = arguments.pop("claim", None)
        validated = ArgumentSpecValidator(
            self.ARGUMENTS, required_if=[] if claim else self.REQUIRED_IF
        ).validate(arguments)
        if validated.error_messages:
            words = "; ".join(message.rstrip(".") for message in validated.error_messages)
            return dict(
                result,
                failed=True,
                changed_nothing=True,
                msg=f"{self.NAME} cannot take these arguments: {words}. The host was not asked.",
            )
        if self._task.async_val:
            return self._execute_module(
                f"rebootless.ksplice.{self.NAME}", task_vars=task_vars, wrap_async=True
            )
        params = validated.validated_parameters
        if claim is None:
            return dict(result, **self.perform(params, task_vars))
        claimed = run_files.RunFiles.of(claim).read(claim)
        return dict(result, **self.by_claim(claimed, params, task_vars))

    def perform(self, params, task_vars):
        """The task with its arguments validated: the result."""
        return self.ask(params, task_vars)

    def by_claim(self, claimed, params, task_vars):
        """The task as role rolling has it: the result, with the token of the claim."""
        raise NotImplementedError

    def ask(self, params, task_vars, of=None):
        """What the host answers, as far as it is as the module gives it; else C(failed) and
        C(msg).

        :param of: another module's action, where it is that one's question.
        """
        of = of or self
        try:
            said = host_program.ask(self, of.WORK, params, task_vars)
        except host_program.Unreachable:
            raise
        except host_program.Unanswered as unanswered:
            if of.ONCE and unanswered.begun:
                words = f"The host began and gave no answer ({unanswered}): what it did is unknown."
                words += " Survey it (uptrack_facts)."
                return {"failed": True, "msg": words, "changed_nothing": False}
            said = self._by_module(of.NAME, params, task_vars)
            if said.get("unreachable"):
                raise host_program.Unreachable(str(said.get("msg"))) from None
            if said.get("failed") and "module_stdout" in said:
                said = {"failed": True, "msg": f"The host gave no answer ({unanswered})."}
        return believed(said, of.checked)

    def _by_module(self, name, params, task_vars):
        return self._execute_module(
            f"rebootless.ksplice.{name}", module_args=params, task_vars=task_vars
        )
