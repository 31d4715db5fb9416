# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Which redundancy groups a host is a member of, by what runs on it. Reads; decides nothing."""

import json
import os
import shlex

from ansible_collections.rebootless.ksplice.plugins.module_utils import bounded, host_id, keepalived, pacemaker
from ansible_collections.rebootless.ksplice.plugins.module_utils.secrets import told

ARGUMENTS = {
    "command": {"type": "str"},
    "timeout": {"type": "int", "default": 30},
}
ROLES = ("active", "standby")


class Machine:
    """This host, as far as discovering and draining need it.

    :param run_command: as AnsibleModule's.
    :param root: of an emulated host, empty on a real one.
    """

    def __init__(self, run_command, root=""):
        self.run_command, self.root = run_command, root

    def within(self, seconds):
        """The same machine, with so many seconds for all commands that are run on it from now on."""
        return Machine(bounded.commands(self.run_command, seconds), self.root)

    def exists(self, path):
        return os.path.exists(self.root + path)

    def read(self, path):
        with open(self.root + path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()

    def addresses(self):
        """The addresses on the interfaces of this host."""
        rc, out, err = self.run_command(["ip", "-o", "addr", "show"])
        if rc:
            # None would make it a standby, or one that is drained.
            raise keepalived.Unreadable("`ip -o addr show` does not tell the addresses of this host ({})".format(" ".join((err or out).split())[:200] or rc))
        words = [line.split() for line in out.splitlines()]
        return {keepalived.address(line[3]) for line in words if len(line) > 3 and line[2] in ("inet", "inet6")} - {None}

    def crm_mon(self):
        """The cluster's state in XML, by whichever option this release knows."""
        words = ""
        for options in (["--output-as=xml"], ["--as-xml"]):
            rc, out, err = self.run_command(["crm_mon", "-1"] + options)
            if rc == 0 and "<nodes>" in out:
                return out
            words = words or pacemaker.complaint(out) or pacemaker.complaint(err) or "status {}".format(rc)
        raise pacemaker.Unreadable("crm_mon does not tell the state of the cluster ({})".format(words))

    def node(self):
        """The name of this host in its cluster."""
        rc, out, err = self.run_command(["crm_node", "-n"])
        if rc:
            raise pacemaker.Unreadable("crm_node does not tell the name of this node ({})".format(" ".join((err or out).split())[:200] or rc))
        return out.strip()


def discover(machine, command=None):
    """The groups of this host, and what could not be understood.

    :param command: prints JSON, see the module ha_facts; None asks keepalived and pacemaker.
    :returns: C(groups), C(role) (C(active) where any group has this host active), C(problems) (sentences).
    """
    found, problems = [], []
    for looks in ((lambda: _command(machine, command),) if command else (lambda: _keepalived(machine), lambda: _pacemaker(machine))):
        try:
            found += looks()
        except (keepalived.Unreadable, pacemaker.Unreadable, OSError, ValueError) as error:
            problems.append("{}.".format(str(error).rstrip(".")))
    return {"groups": found, "role": None if not found else "active" if any(group["role"] == "active" for group in found) else "standby",
            "problems": problems, "host_id": host_id.read(machine.root)}


def _in_use(machine, unit):
    """Whether a service runs here or would at the next boot. What is neither left a configuration that nobody reads."""
    return any(machine.run_command(["systemctl", verb, unit])[0] in (0, 127) for verb in ("is-active", "is-enabled"))


def _keepalived(machine):
    if not machine.exists(keepalived.CONFIGURATION) or not _in_use(machine, "keepalived"):
        return []
    return keepalived.groups(keepalived.read(keepalived.Source(machine.root)), machine.addresses())


def _pacemaker(machine):
    if not machine.exists(pacemaker.COROSYNC) or not _in_use(machine, "corosync"):
        return []
    return [pacemaker.group(machine.read(pacemaker.COROSYNC), machine.crm_mon(), machine.node())]


def _command(machine, command):
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError("The command {} is none ({})".format(told(command), error))
    if not words:
        raise ValueError("The command is blank")
    if bounded.meant_for_a_shell(words):
        raise ValueError("The command {} has {}, which only a shell understands: write sh -c '…'".format(told(command), bounded.meant_for_a_shell(words)))
    rc, out, err = machine.run_command(words)
    if rc:
        raise ValueError("The command {} ended with status {}: {}".format(told(command), rc, " ".join((err or out).split())[:200]))
    try:
        answer = json.loads(out)
    except ValueError as error:
        raise ValueError("The command {} did not answer with JSON ({})".format(told(command), error))
    try:
        groups = answer.get("groups") if isinstance(answer, dict) else None
        if not isinstance(groups, list):
            raise ValueError("a mapping with a list of groups")
        return [_told(group) for group in groups]
    except ValueError as error:
        raise ValueError("The command {} did not answer as documented ({})".format(told(command), error))


def _told(group):
    """A group as a command tells it, with everything that a group has."""
    if not isinstance(group, dict) or not isinstance(group.get("name"), str) or not group["name"].strip():
        raise ValueError("each group has a name")
    if group.get("role") not in ROLES:
        raise ValueError("the role of {} is {} or {}".format(group["name"], *ROLES))
    addresses = group.get("addresses") or []
    if not isinstance(addresses, list) or None in [keepalived.address(str(one)) for one in addresses]:
        raise ValueError("the addresses of {} are a list of IP addresses".format(group["name"]))
    return {"name": group["name"].strip(), "kind": "command", "role": group["role"], "addresses": [keepalived.address(str(one)) for one in addresses],
            "instances": [], "peers": []}
