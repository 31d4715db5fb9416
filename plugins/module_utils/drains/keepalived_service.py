# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Drain: keepalived on the host itself.

The priority of every instance is lowered to 1 and the configuration read again. The partner, whose priority is higher now, takes the addresses before this
host lets them go, so that there is always a holder. The host stays a standby: should the partner die meanwhile, it takes the addresses back.

Where C(nopreempt) forbids the partner to take over from a living holder, keepalived is restarted with the low priority: there is no holder between its last
word and the partner's first (0.2 to 0.7 seconds were seen), and the host is a standby again after it.
"""

import time

from ansible_collections.rebootless.ksplice.plugins.module_utils import keepalived
from ansible_collections.rebootless.ksplice.plugins.module_utils.drains import keepalived_priority
from ansible_collections.rebootless.ksplice.plugins.module_utils.drains.common import Trouble, systemctl, write_same

OPTIONS = {"mode": ("auto", "priority", "restart")}
# What a standby waits for the holder's word, in advertisement intervals (VRRP's master down interval with the lowest priority is just below four).
SILENCE = 4


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
            mode = "restart" if any(one.nopreempt for one in instances) else "priority"
        words = [line.words for block in self.statements for line in [block] + block.inside]
        # What was active comes back by itself only where it may take the addresses from the partner, and at once.
        returns = mode == "priority" and not any(line[0] == "preempt_delay" for line in words)
        intervals = [float(line[1]) for line in words if line[0] == "advert_int" and len(line) > 1 and line[1].replace(".", "", 1).isdigit()]
        return {"active": running and bool(self.holds()), "drained": not running, "mode": mode, "returns": returns, "interval": max(intervals + [1.0])}

    def holds(self):
        return sorted(self.ours.intersection(self.machine.addresses()))

    def plan(self, before, token):
        """What drain will do, for the mark."""
        changes = keepalived_priority.lowered(self.source, self.statements, token)
        if not changes:
            raise Trouble("keepalived's configuration has no VRRP instance.")
        return dict(before, files=changes, held=self.holds())

    def drain(self, mark):
        for path, changes in mark["files"].items():
            write_same(self.machine, path, "\n".join(keepalived_priority.changed(self.source.files[path], changes)))
        if mark["mode"] == "priority":
            _must(self.machine, "reload")
            return
        _must(self.machine, "restart")
        # Only then it is known that it was the partner who took over, and that this host does not take the addresses back.
        time.sleep(SILENCE * mark["interval"])

    def lacks(self, _mark):
        """What is missing for the host to be drained, or None."""
        held = self.holds()
        return None if not held else ("it still holds {}: no partner takes over. Its own checks may fail, or it may say nopreempt, for which there is "
                                      "mode=restart".format(", ".join(held)))

    def undo(self, mark):
        for path, changes in mark["files"].items():
            lines = self.machine.read(path).split("\n")
            restored = keepalived_priority.restored(lines, changes)
            if restored != lines:
                write_same(self.machine, path, "\n".join(restored))
        _must(self.machine, "reload" if systemctl(self.machine, "is-active", "keepalived")[0] == 0 else "start")

    def lacks_back(self, mark):
        """What is missing for the host to be back in service, or None."""
        if systemctl(self.machine, "is-active", "keepalived")[0] != 0:
            return "keepalived does not run"
        if not mark["active"] or not mark["returns"]:
            return None
        lacking = sorted(set(mark["held"]).difference(self.machine.addresses()))
        return "it does not hold {} again".format(", ".join(lacking)) if lacking else None


def _must(machine, verb):
    rc, words = systemctl(machine, verb, "keepalived")
    if rc:
        raise Trouble("systemctl {} keepalived failed: {}".format(verb, words))
