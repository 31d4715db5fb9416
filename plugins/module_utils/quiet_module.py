# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""A module whose arguments are commands and addresses of the operator's."""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rebootless.ksplice.plugins.module_utils import redact

COMMANDS = ("command", "drain", "restore", "is_active", "is_drained")


class QuietModule(AnsibleModule):
    """Reports its arguments, to the host's syslog and in its result, without what may be a password
    in them.

    Marked as C(no_log) they would take words as short as C(true) out of every result.
    """

    def _log_invocation(self):
        self.log(f"Invoked with {shown(self.params)}")

    def exit_json(self, **result):
        super().exit_json(invocation={"module_args": shown(self.params)}, **result)

    def fail_json(self, msg, **result):
        super().fail_json(msg, invocation={"module_args": shown(self.params)}, **result)


def shown(value, key=None):
    """Arguments for people: of commands the program, of addresses no user and password."""
    if isinstance(value, dict):
        return {name: shown(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [shown(inner, key) for inner in value]
    if isinstance(value, str):
        return (
            redact.program(value)
            if key in COMMANDS
            else redact.address(value)
            if key == "url"
            else redact.mask(value, [])
        )
    return value
