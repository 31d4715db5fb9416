# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Drain: a node of a pacemaker cluster goes into standby, and out of it."""

from ansible_collections.rebootless.ksplice.plugins.module_utils import pacemaker
from ansible_collections.rebootless.ksplice.plugins.module_utils.drains.common import Trouble

OPTIONS = {"node": ()}


class Adapter:

    def __init__(self, machine, options):
        self.machine, self.options = machine, options
        self.key = "pacemaker"

    def _nodes(self):
        try:
            return pacemaker.nodes(self.machine.crm_mon())
        except pacemaker.Unreadable as error:
            raise Trouble("The cluster cannot be looked at: {}.".format(error))

    def _own(self):
        try:
            name = self.options.get("node") or self.machine.node()
        except pacemaker.Unreadable as error:
            raise Trouble("The cluster cannot be looked at: {}.".format(error))
        known = self._nodes()
        if name not in known:
            raise Trouble("The cluster has no node {}; there are {}.".format(name, ", ".join(sorted(known))))
        return name, known

    def look(self):
        name, known = self._own()
        others = [other for other, state in known.items() if other != name and state["online"] and not state["standby"] and not state["unclean"]]
        if not known[name]["standby"] and not others:
            raise Trouble("No other node of the cluster is online and out of standby: nobody would take over from {}.".format(name))
        if known[name]["maintenance"]:
            raise Trouble("{} is in maintenance, in which the cluster moves nothing.".format(name))
        return {"active": known[name]["active"], "drained": known[name]["standby"], "node": name}

    def plan(self, before, _token):
        return dict(before)

    def drain(self, mark):
        self._standby(mark["node"], ["-v", "on"])

    def lacks(self, mark):
        state = self._nodes().get(mark["node"]) or {"resources": 0}
        return "{} resources still run on it".format(state["resources"]) if state["resources"] else None

    def undo(self, mark):
        self._standby(mark["node"], ["-D"])

    def lacks_back(self, mark):
        state = self._nodes().get(mark["node"])
        if not state or not state["online"]:
            return "the node is not online"
        return "the node is still in standby" if state["standby"] else None

    def _standby(self, node, what):
        rc, out, err = self.machine.run_command(["crm_standby", "-N", node, "-l", "forever"] + what)
        if rc:
            raise Trouble("crm_standby {} for {} failed: {}".format(" ".join(what), node, " ".join((err or out).split())[:200]))
