# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Drain: keepalived on the host itself.

The priority of every instance is lowered to 1 and the configuration read again. The partner, whose priority is higher now, takes the addresses before this
host lets them go, so that there is always a holder; stopping keepalived leaves a gap (of 0.2 to 0.7 seconds here). Where C(nopreempt) forbids the partner to
take over from a living holder, keepalived is stopped all the same.
"""

from ansible_collections.rebootless.ksplice.plugins.module_utils import keepalived
from ansible_collections.rebootless.ksplice.plugins.module_utils.drains.common import Trouble, systemctl, write_same

OPTIONS = {"mode": ("auto", "priority", "stop")}


class Adapter:

    def __init__(self, machine, options):
        self.machine, self.options = machine, options
        self.key = "keepalived"

    def look(self):
        source = keepalived.Source(self.machine.root)
        try:
            self.statements, self.source = keepalived.read(source), source
        except keepalived.Unreadable as error:
            raise Trouble("keepalived's configuration cannot be understood: {}.".format(error))
        instances = keepalived.instances(self.statements)
        self.ours = {found for one in instances for found in one.addresses}
        running = systemctl(self.machine, "is-active", "keepalived")[0] == 0
        mode = self.options.get("mode") or "auto"
        if mode == "auto":
            mode = "stop" if any(one.nopreempt for one in instances) else "priority"
        return {"active": running and bool(self.holds()), "drained": not running, "mode": mode}

    def holds(self):
        return sorted(self.ours.intersection(self.machine.addresses()))

    def plan(self, before, token):
        """What drain will do, for the mark."""
        if before["mode"] == "stop":
            return dict(before)
        changes = keepalived.lowered(self.source, self.statements, token)
        if not changes:
            raise Trouble("keepalived's configuration has no VRRP instance.")
        return dict(before, files=changes)

    def drain(self, mark):
        if mark["mode"] == "stop":
            _must(self.machine, "stop")
            return
        for path, changes in mark["files"].items():
            write_same(self.machine, path, "\n".join(keepalived.changed(self.source.files[path], changes)))
        _must(self.machine, "reload")

    def lacks(self, _mark):
        """What is missing for the host to be drained, or None."""
        held = self.holds()
        return "it still holds {}".format(", ".join(held)) if held else None

    def undo(self, mark):
        if mark["mode"] != "stop":
            for path, changes in mark["files"].items():
                lines = self.machine.read(path).split("\n")
                restored = keepalived.restored(lines, changes)
                if restored != lines:
                    write_same(self.machine, path, "\n".join(restored))
        if systemctl(self.machine, "is-active", "keepalived")[0] == 0:
            _must(self.machine, "reload")
        else:
            _must(self.machine, "start")

    def lacks_back(self, _mark):
        """What is missing for the host to be back in service, or None."""
        return None if systemctl(self.machine, "is-active", "keepalived")[0] == 0 else "keepalived does not run"


def _must(machine, verb):
    rc, words = systemctl(machine, verb, "keepalived")
    if rc:
        raise Trouble("systemctl {} keepalived failed: {}".format(verb, words))
