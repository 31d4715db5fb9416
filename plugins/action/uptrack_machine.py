# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""uptrack_machine on the controller."""

from __future__ import annotations

from ansible_collections.rebootless.ksplice.plugins.module_utils import service_task
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import service_api
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.service_action import (
    ServiceAction,
    failure,
    refuse_another,
)

# By whether it is authorized, what the service says of it.
AUTHORIZATION = {True: "allowed", False: "denied"}


class ActionModule(ServiceAction):
    ARGUMENTS = service_task.MACHINE
    EXCLUSIVE = service_task.EXCLUSIVE
    UNCHANGED = "Nothing was changed."

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
        done = []
        for key in () if self._task.check_mode else changed:
            try:
                if key == "authorization":
                    service.authorize(uuid, params["authorized"])
                else:
                    service.group(uuid, params["group"])
            except service_api.ApiError as error:
                if not (done or error.in_doubt):
                    raise
                return failure(error, _halfway(after, done, key, error.in_doubt), changed=True)
            done.append(key)
        return {
            "changed": bool(changed),
            "machine": after,
            "diff": {
                "before": {key: before[key] for key in changed},
                "after": {key: after[key] for key in changed},
            },
        }


def _halfway(after, done, key, in_doubt):
    """What was changed before an error, and what may have been.

    :param after: the machine as it was to be.
    :param done: the keys of it that were set.
    :param key: the one at which the error was.
    """
    said = [f"{one} was set to {after[one]!r}" for one in done]
    said.append(f"{key} {'may have been' if in_doubt else 'was not'} set to {after[key]!r}")
    text = f"Of {after['uuid']} {', and '.join(said)}."
    return f"{text} The same task once more sets what is missing."
