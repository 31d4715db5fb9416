# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What the action plugins share that ask the service's API, on the controller."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.rebootless.ksplice.plugins.module_utils import service_task
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import machines, service_api


class Ambiguous(service_api.ApiError):
    """Two machines may be meant."""


class NotTheHost(service_api.ApiError):
    """The UUID that a host says it has is, at the service, that of another machine."""


class ServiceAction(ActionBase):
    """A task that asks the service; no host is connected to."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    ARGUMENTS: dict = {}
    EXCLUSIVE: list = []
    # What an error says that came before anything was changed.
    UNCHANGED = ""

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, params = self.validate_argument_spec(
            self.ARGUMENTS, mutually_exclusive=self.EXCLUSIVE
        )
        if task_vars.get("ksplice_rehearsal_root") and not service_api.is_here(params["api_url"]):
            why = "An emulated host is no machine of an account, and only an API here is asked."
            return dict(result, changed=False, skipped=True, skip_reason=why)
        try:
            options = {name[4:]: params[name] for name in params if name.startswith("api_")}
            for name in service_task.WHICH:
                if params[name] is not None and not params[name].strip():
                    # A variable that is empty does not mean the host of the task.
                    raise service_api.Misconfigured(
                        f"{name} is empty: say which machine, or leave {name} out for the host of "
                        "the task."
                    )
            service = service_api.Service(
                service_api.settings(options, called=service_api.names("api_"))
            )
            return dict(result, **self.perform(service, params, task_vars))
        except service_api.ApiError as error:
            return dict(result, **failure(error, self.UNCHANGED))

    def perform(self, service, params, task_vars):
        """The task with its arguments validated: the result.

        :raises service_api.ApiError:
        """
        raise NotImplementedError

    def which(self, service, params, task_vars):
        """The UUID of the machine that a task is about."""
        if params["uuid"]:
            return machines.uuid_of(params["uuid"])
        if params["name"]:
            return _called([params["name"]], service.machines(), params["name"])
        name = task_vars["inventory_hostname"]
        uuid = known_uuid(task_vars)
        if uuid:
            return uuid
        names = [name, *machines.addresses(name, task_vars)]
        return _called(names, service.machines(), f"{name} ({', '.join(names)})")


def failure(error, left, changed=False):
    """The result of a task that failed.

    :param error: an ApiError.
    :param left: a sentence that says what was changed; empty where nothing could be.
    """
    text = f"{error} {left}".strip()
    return {"failed": True, "changed": changed, "msg": text, "error": type(error).__name__}


def known_uuid(variables):
    """The UUID of a host by its facts, or by its variable; None where neither is known."""
    facts = (variables.get("ansible_facts") or {}).get("uptrack") or {}
    said = machines.uuid_of((facts.get("agent") or {}).get("uuid"))
    return said or machines.uuid_of(variables.get("ksplice_uuid"))


def refuse_another(machine, variables):
    """Complain of a machine that is not the host of a task, which may have said any UUID: it is by
    its name, or as the inventory has that UUID for the host.

    :raises NotTheHost:
    """
    name, uuid = variables["inventory_hostname"], machine["uuid"]
    facts = variables.get("ansible_facts") or {}
    told = None if "ksplice_uuid" in facts else machines.uuid_of(variables.get("ksplice_uuid"))
    names = {one.lower() for one in (name, *machines.addresses(name, variables))}
    names |= {machines.short(one) for one in names}
    if not (uuid == told if told else machine["hostname"].lower() in names):
        raise NotTheHost(
            f"{name} says that it has the UUID {uuid}, which at the service is the machine "
            f"{machine['hostname']}{f'; ksplice_uuid is {told}' if told else ''}. If they "
            "are the same, set that UUID as ksplice_uuid of the host in the inventory."
        )


def _called(names, known, what):
    """The UUID of the one machine with any of these names."""
    names = {name.lower() for name in names}
    found = [one for one in known if one["hostname"].lower() in names]
    found = [one for one in found if one["active"]] or found
    if not found:
        raise service_api.NotFound(
            f"The account has no machine called {what}. It appears once its agent has asked the "
            "service."
        )
    if len(found) > 1:
        uuids = ", ".join(one["uuid"] for one in found)
        raise Ambiguous(
            f"The account has {len(found)} machines called {what}: {uuids}. Give the uuid."
        )
    return found[0]["uuid"]
