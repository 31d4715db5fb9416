# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""ha_lease on the controller: sends the ledger's own code to the host, as one small program in one round trip.

A rollout asks every member of a group for each of its hosts. A module would cost each of these questions more than ten
times as much, on both sides, for packing and starting what this does not use. Only an asynchronous task goes through it.
"""

from __future__ import annotations

import base64
import json
import shlex
import zlib

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.rebootless.ksplice.plugins.module_utils import files, times
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import (
    lease,
    lease_task,
    ledger,
)
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import schema

MODULES = (times, files, lease, ledger, lease_task)
# The modules by their own names, so that they find each other; then the one call. A line of the answer begins with the mark, since a host may say more.
PROGRAM = """
import base64, json, os, sys, types, zlib
sent = json.loads(zlib.decompress(base64.b64decode({sent!r})).decode("utf-8"))
for name, text in sent["modules"]:
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        whole = ".".join(parts[:end])
        if whole not in sys.modules:
            sys.modules[whole] = types.ModuleType(whole)
            sys.modules[whole].__path__ = []
            if end > 1:
                setattr(sys.modules[".".join(parts[:end - 1])], parts[end - 1], sys.modules[whole])
    exec(compile(text, name, "exec"), sys.modules[name].__dict__)
task, ledger = sys.modules[sent["task"]], sys.modules[sent["ledger"]]
try:
    result = task.run(sent["params"], sent["check"], os.environ.get("UPTRACK_LAB_ROOT", ""))
except ledger.Broken as broken:
    result = dict(failed=True, msg=str(broken))
print("\\n@lease " + json.dumps(result))
"""


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        checked = ArgumentSpecValidator(
            lease_task.ARGUMENTS, required_if=lease_task.REQUIRED_IF
        ).validate(self._task.args)
        if checked.error_messages:
            words = "; ".join(message.rstrip(".") for message in checked.error_messages)
            return dict(
                result,
                failed=True,
                msg=f"ha_lease cannot take these arguments: {words}. No ledger was read or changed.",
            )
        if self._task.async_val:
            return self._execute_module(
                "rebootless.ksplice.ha_lease", task_vars=task_vars, wrap_async=True
            )
        answer = self._low_level_execute_command(
            command(
                checked.validated_parameters, self._task.check_mode, self._interpreter(task_vars)
            )
        )
        for line in answer["stdout"].splitlines():
            if line.startswith("@lease "):
                return dict(result, **self._told(line[len("@lease ") :]))
        if answer["rc"] in (126, 127):
            # No Python where they usually are: the module has more ways to find one.
            said = self._execute_module("rebootless.ksplice.ha_lease", task_vars=task_vars)
            if said.get("unreachable") or said.get("failed"):
                return dict(
                    result,
                    **{key: said[key] for key in ("unreachable", "failed", "msg") if key in said},
                )
            return dict(result, **self._told(json.dumps(said)))
        words = " ".join((answer["stderr"] or answer["stdout"]).split())[-300:]
        return dict(
            result,
            failed=True,
            msg=f"The host gave no answer about its leases (status {answer['rc']}: {words}), so that nobody knows what it has "
            "promised. It needs root and Python 3.6 or later: run with -vvv to see what it said.",
        )

    @staticmethod
    def _told(text):
        """What the host answered, and nothing else that it may have put into its answer."""
        try:
            said = json.loads(text)
            if isinstance(said, dict) and said.get("failed"):
                return {"failed": True, "msg": schema.text(said.get("msg"), "its message")}
            told = schema.lease(said)
        except (ValueError, RecursionError) as misfit:
            words = (
                str(misfit)
                if isinstance(misfit, schema.Misfit)
                else "The host's answer about its leases is no JSON."
            )
            return {"failed": True, "msg": f"{words} Nobody knows what it has promised."}
        return {key: value for key, value in told.items() if value is not None or key == "refusal"}

    def _interpreter(self, task_vars):
        """What the inventory says the host's Python is, if it is one and not a way to look for one."""
        variables = task_vars
        if self._task.delegate_to:
            variables = task_vars.get("ansible_delegated_vars", {}).get(self._task.delegate_to, {})
        given = self._templar.template(variables.get("ansible_python_interpreter") or "")
        return "" if given.startswith("auto") else given


def command(params, check_mode, interpreter):
    """The shell command that does the task on a host."""
    modules = []
    for module in MODULES:
        with open(module.__file__, encoding="utf-8") as file:
            modules.append((module.__name__, file.read()))
    sent = json.dumps(
        {
            "modules": modules,
            "task": lease_task.__name__,
            "ledger": ledger.__name__,
            "params": params,
            "check": check_mode,
        }
    )
    program = PROGRAM.format(sent=base64.b64encode(zlib.compress(sent.encode(), 9)).decode())
    # On one line, which the shell of any user takes, and without what lies in the directory where it starts (-I).
    packed = base64.b64encode(zlib.compress(program.encode(), 9)).decode()
    line = f"import base64, zlib; exec(zlib.decompress(base64.b64decode('{packed}')))"
    # Enterprise Linux 8 and later keep the system's own Python there, whatever else is installed.
    pythons = (
        [shlex.quote(interpreter)]
        if interpreter
        else ["/usr/bin/python3", "/usr/libexec/platform-python", "python3"]
    )
    quoted = shlex.quote(line)
    search = f"for p in {' '.join(pythons)}; do command -v $p >/dev/null 2>&1 && break; done"
    return f"{search}; $p -I -c {quoted}"
