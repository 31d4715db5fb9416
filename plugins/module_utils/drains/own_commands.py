# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Drain: commands of the operator's own."""

import shlex

from ansible_collections.rebootless.ksplice.plugins.module_utils.drains.common import Trouble

OPTIONS = {"drain": (), "undo": (), "is_active": (), "is_drained": ()}
REQUIRED = ("drain", "undo")


class Adapter:

    def __init__(self, machine, options):
        self.machine, self.options = machine, options
        self.key = "custom {}".format(options["drain"])

    def _ask(self, name, otherwise):
        if not self.options.get(name):
            return otherwise
        return self.machine.run_command(shlex.split(self.options[name]))[0] == 0

    def look(self):
        return {"active": self._ask("is_active", True), "drained": self._ask("is_drained", False), "undo": self.options["undo"]}

    def plan(self, before, _token):
        return dict(before)

    def _do(self, command):
        rc, out, err = self.machine.run_command(shlex.split(command))
        if rc:
            raise Trouble("The command {} ended with status {}: {}".format(command, rc, " ".join((err or out).split())[:200]))

    def drain(self, _mark):
        self._do(self.options["drain"])

    def lacks(self, _mark):
        return None if self._ask("is_drained", True) else "{} does not say so".format(self.options["is_drained"])

    def undo(self, mark):
        self._do(mark["undo"])

    def lacks_back(self, _mark):
        return "{} says it is drained still".format(self.options["is_drained"]) if self._ask("is_drained", False) else None
