# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Drain: a node of a pacemaker cluster goes into standby, and out of it."""

from ansible_collections.rebootless.ksplice.plugins.module_utils.drain.common import Trouble
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import pacemaker

OPTIONS = {"node": ()}


class Adapter:
    def __init__(self, machine, options):
        self.machine, self.options = machine, options
        self.key = "pacemaker {}".format(options["node"]) if options.get("node") else "pacemaker"

    def _xml(self):
        try:
            return self.machine.crm_mon()
        except pacemaker.Unreadable as error:
            raise Trouble(f"The cluster cannot be inspected: {error}.")

    def _nodes(self):
        try:
            return pacemaker.nodes(self._xml())
        except pacemaker.Unreadable as error:
            raise Trouble(f"The cluster cannot be inspected: {error}.")

    def _own(self):
        try:
            name = self.options.get("node") or self.machine.node()
        except pacemaker.Unreadable as error:
            raise Trouble(f"The cluster cannot be inspected: {error}.")
        known = self._nodes()
        if name not in known:
            raise Trouble(
                "The cluster has no node {}; there are {}.".format(name, ", ".join(sorted(known)))
            )
        return name, known

    def look(self):
        name, known = self._own()
        refusal = None
        if known[name]["maintenance"]:
            refusal = f"{name} is in maintenance, in which the cluster moves nothing."
        elif not [other for other, state in known.items() if other != name and state["able"]]:
            refusal = (
                "No other node of the cluster is online and out of standby: no node would "
                f"take over from {name}."
            )
        services = known[name]["services"]
        return {
            "active": bool(services),
            "drained": known[name]["standby"],
            "refusal": refusal,
            "node": name,
            "services": sorted(services),
            "others": sorted(known[name]["resources"] - services),
        }

    def plan(self, before, _token):
        return dict(before)

    def drain(self, saved):
        self._standby(saved["node"], ["-v", "on"])

    def lacks(self, saved):
        return pacemaker.not_moved(self._xml(), saved["node"], saved["services"], saved["others"])

    def restore(self, saved):
        self._standby(saved["node"], ["-D"])
        # The cluster may move back what ran here. The peer should not be claimed meanwhile; but how
        # that ends is the cluster's own affair.
        self.machine.run_command(["crm_resource", "--wait", "--timeout=60"])

    def lacks_restored(self, saved):
        state = self._nodes().get(saved["node"])
        if not state or not state["online"]:
            return "the node is not online"
        return "the node is still in standby" if state["standby"] else None

    def _standby(self, node, what):
        rc, out, err = self.machine.run_command(["crm_standby", "-N", node, "-l", "forever"] + what)
        if rc:
            raise Trouble(
                "crm_standby {} for {} failed: {}".format(
                    " ".join(what), node, " ".join((err or out).split())[:200]
                )
            )
