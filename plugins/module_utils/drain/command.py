# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Drain: commands of the operator's own."""

import shlex
import zlib

from ansible_collections.rebootless.ksplice.plugins.module_utils import commands
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain.common import Trouble
from ansible_collections.rebootless.ksplice.plugins.module_utils.redact import output, program

OPTIONS = {"drain": (), "restore": (), "is_active": (), "is_drained": ()}
REQUIRED = ("drain", "restore")


def mistake(given):
    """What is wrong with the commands, in a sentence, or None."""
    for name, command in sorted(given.items()):
        try:
            words = shlex.split(command)
        except ValueError as error:
            return f"Cannot parse the command of {name} ({error})."
        if not words:
            return f"The command of {name} is empty."
        if commands.meant_for_a_shell(words):
            return (
                f"The command of {name} has {commands.meant_for_a_shell(words)}, which only a "
                "shell understands: write sh -c '…'."
            )
    return None


class Adapter:
    def __init__(self, machine, options):
        self.machine, self.options = machine, options
        # The number distinguishes commands that differ only in their arguments.
        self.key = "custom {} ({:08x})".format(
            (options["drain"].split() or [""])[0],
            zlib.crc32(options["drain"].encode("utf-8", "surrogateescape")),
        )

    def _ask(self, name, otherwise):
        if not self.options.get(name):
            return otherwise
        rc = self.machine.run_command(shlex.split(self.options[name]))[0]
        if rc in (124, 126, 127):
            # No answer is neither yes nor no.
            raise Trouble(
                "The command {} gave no answer ({}).".format(
                    program(self.options[name]),
                    "it took too long" if rc == 124 else "it cannot be run",
                )
            )
        return rc == 0

    def look(self):
        return {"active": self._ask("is_active", True), "drained": self._ask("is_drained", False)}

    def plan(self, before, _token):
        return dict(before)

    def _do(self, command):
        rc, out, err = self.machine.run_command(shlex.split(command))
        if rc:
            raise Trouble(
                f"The command {program(command)} exited with status {rc}: "
                f"{output(command, err or out)}"
            )

    def drain(self, _saved):
        self._do(self.options["drain"])

    def lacks(self, _saved):
        return (
            None
            if self._ask("is_drained", True)
            else "{} does not say so".format(program(self.options["is_drained"]))
        )

    def restore(self, _saved):
        self._do(self.options["restore"])

    def lacks_restored(self, _saved):
        return (
            "{} says it is drained still".format(program(self.options["is_drained"]))
            if self._ask("is_drained", False)
            else None
        )
