# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Which redundancy groups a host is a member of, by what runs on it. Reads; decides nothing."""

import glob
import ipaddress
import json
import os
import re
import shlex

from ansible_collections.rebootless.ksplice.plugins.module_utils import commands, host_id
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import (
    keepalived,
    keepalived_process,
    pacemaker,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.redact import output, program

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
        """The same machine, with so many seconds for all commands that are run
        on it from now on.
        """
        return Machine(commands.with_timeout(self.run_command, seconds), self.root)

    def exists(self, path):
        return os.path.exists(self.root + path)

    def read(self, path):
        with open(self.root + path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()

    def addresses(self):
        """The addresses by which this host serves, also in the networks that
        its keepalived is in.
        """
        parents = self._parents()

        def inside(pid):
            enter = keepalived_process.enter(self, pid)
            return self.networks(enter) if enter else {}

        def instances(pid):
            one = keepalived_process.of(self, pid, parents[pid])
            return keepalived.instances(
                keepalived.read(keepalived.Source(self.root), one.path, one.config_id)
            )

        networks = [self.networks()] + self._living(parents, inside)
        # Only there it matters what keepalived puts where.
        loopback = any(
            not one.ip.is_loopback
            for found in networks
            for one in found.get(keepalived.LOOPBACK, ())
        )
        known = (
            [one for found in self._living(parents, instances) for one in found] if loopback else []
        )
        return {address for found in networks for address in keepalived.served(found, known)}

    def _living(self, pids, look):
        """What is seen of each process that has not ended meanwhile."""
        found = []
        for pid in pids:
            try:
                found.append(look(pid))
            except keepalived.Unreadable:
                # With one that has ended since, so have its addresses.
                if self.exists(f"/proc/{pid}"):
                    raise
        return found

    def networks(self, enter=()):
        """Interface to its addresses, with their prefix lengths and in their order.

        :param enter: the words of a command that gets into another network; empty is this host's
            own.
        """
        command = ["ip", "-o", "addr", "show"]
        rc, out, err = self.run_command(list(enter) + command)
        if rc:
            # None would make it a standby, or one that is drained.
            said = " ".join((err or out).split())[:200] or rc
            raise keepalived.Unreadable(
                f"`{' '.join(list(enter) + command)}` does not report the addresses of "
                f"this host ({said})"
            )
        found = {}
        for line in out.splitlines():
            words = line.split()
            if len(words) > 3 and words[2] in ("inet", "inet6"):
                try:
                    found.setdefault(words[1].partition("@")[0], []).append(
                        ipaddress.ip_interface(words[3].partition("%")[0])
                    )
                except ValueError:
                    continue
        return found

    def routes(self, enter=()):
        """Destination of each route to whether keepalived has put it there, or None where that is
        unknown.
        """
        found = {}
        for family in ("-4", "-6"):
            command = ["ip", family, "-o", "route", "show", "table", "all"]
            rc, out, _err = self.run_command(list(enter) + command)
            if rc:
                return None
            for line in out.splitlines():
                destination = keepalived.destination(line.split())
                # By its name where iproute2 knows that, or by its number.
                found[destination] = found.get(destination, False) or bool(
                    re.search(r"\bproto (keepalived|18)\b", line)
                )
        return found

    def processes(self):
        """The processes that this host shows: process ID and name, of which the kernel keeps 15
        characters.
        """
        for path in glob.glob(self.root + "/proc/[0-9]*/comm"):
            pid = path.split("/")[-2]
            try:
                yield pid, self.read(f"/proc/{pid}/comm").strip()
            except OSError:
                # It has ended since.
                continue

    def _parents(self):
        """The processes of keepalived that are no children of another: process ID to those of its
        children.
        """
        found = {}
        for pid, name in self.processes():
            try:
                found[pid] = keepalived_process.look(self, pid, name)
            except OSError:
                continue
        return keepalived_process.parents({pid: told for pid, told in found.items() if told})

    def keepaliveds(self):
        """Those keepalived that run on this host, each as a Keepalived.

        Its children belong to it.
        """
        return [
            keepalived_process.of(self, pid, children) for pid, children in self._parents().items()
        ]

    def crm_mon(self):
        """The cluster's state in XML, by whichever option this release knows."""
        words = ""
        for options in (["--output-as=xml"], ["--as-xml"]):
            rc, out, err = self.run_command(["crm_mon", "-1"] + options)
            if rc == 0 and "<nodes>" in out:
                return out
            words = words or pacemaker.complaint(out) or pacemaker.complaint(err) or f"status {rc}"
        raise pacemaker.Unreadable(f"crm_mon does not report the state of the cluster ({words})")

    def node(self):
        """The name of this host in its cluster."""
        rc, out, err = self.run_command(["crm_node", "-n"])
        if rc:
            raise pacemaker.Unreadable(
                "crm_node does not report the name of this node ({})".format(
                    " ".join((err or out).split())[:200] or rc
                )
            )
        return out.strip()

    def cluster_name(self):
        """The name of the cluster as the cluster knows it, which has it from corosync's
        configuration.
        """
        rc, out, err = self.run_command(
            ["crm_attribute", "-t", "crm_config", "-n", "cluster-name", "-G", "-q"]
        )
        # It has none; older releases have no status of its own for that.
        if rc == 105 or "No such device or address" in err:
            return ""
        if rc:
            raise pacemaker.Unreadable(
                "crm_attribute does not report the name of the cluster ({})".format(
                    " ".join((err or out).split())[:200] or rc
                )
            )
        return out.strip()


def discover(machine, command=None):
    """The groups of this host, and what could not be understood.

    :param command: prints JSON, see the module ha_facts; None asks keepalived and pacemaker.
    :returns: C(groups), C(role) (C(active) where any group has this host active, or may have),
        C(problems) (sentences).
    """
    found, problems = [], []
    for looks in (
        (lambda: _command(machine, command),)
        if command
        else (lambda: _keepalived(machine), lambda: _pacemaker(machine))
    ):
        try:
            found += looks()
        except (keepalived.Unreadable, pacemaker.Unreadable, OSError, ValueError) as error:
            problems.append("{}.".format(str(error).rstrip(".")))
    return {
        "groups": found,
        "role": None
        if not found
        else "active"
        if any(group["role"] != "standby" for group in found)
        else "standby",
        "problems": problems,
        "host_id": host_id.read(machine.root),
    }


def _in_use(machine, unit, untold=True):
    """Whether a service runs here or would at the next boot. What is neither left behind a
    configuration that nothing reads.

    :param untold: the answer where there is no systemctl.
    """
    for verb in ("is-active", "is-enabled"):
        rc = machine.run_command(["systemctl", verb, unit])[0]
        if rc in (0, 127):
            return rc == 0 or untold
    return False


def _keepalived(machine):
    running = machine.keepaliveds()
    if not running:
        if keepalived_process.vrrp_sockets(machine):
            raise keepalived.Unreadable(
                "something on this host speaks VRRP (a raw socket of protocol 112 is "
                "open), but no keepalived was found that it could belong to"
            )
        waiting = keepalived_process.at_rest(machine) if _in_use(machine, "keepalived") else None
        # Packages enable it before there is a configuration. One that is named elsewhere is
        # missing.
        running = (
            [waiting]
            if waiting
            and (waiting.path != keepalived.CONFIGURATION or machine.exists(waiting.path))
            else []
        )
    return [group for one in running for group in _groups(machine, one)]


def _groups(machine, one):
    source = keepalived.Source(machine.root)
    statements = keepalived.read(source, one.path, one.config_id)
    found = keepalived.instances(statements)
    if not found:
        # What is not understood must not pass for a keepalived that only balances.
        said = keepalived.mentioned(source, one.config_id)
        if said:
            raise keepalived.Unreadable(
                f"{said[0]} line {said[1] + 1} has a vrrp_instance, but the configuration "
                f"read from {one.path} defines none"
            )
        if one.speaks_vrrp:
            raise keepalived.Unreadable(
                f"keepalived (process {one.pid}) speaks VRRP, but the configuration read "
                f"from {one.path} defines no vrrp_instance"
            )
    namespace = one.namespace or keepalived.namespace(statements)
    # One that runs is in its network already.
    enter = (
        keepalived_process.enter(machine, one.pid)
        if one.pid
        else ["ip", "netns", "exec", namespace]
        if namespace
        else []
    )
    networks = machine.networks(enter) if found else {}
    held = {str(address.ip) for addresses in networks.values() for address in addresses}
    return keepalived.groups(
        statements,
        held,
        networks,
        machine.routes(enter) if any(each.routes for each in found) else None,
    )


def _pacemaker(machine):
    if machine.exists(pacemaker.COROSYNC) and _in_use(machine, "corosync"):
        name = pacemaker.cluster_name(machine.read(pacemaker.COROSYNC))
    elif _is_remote(machine):
        name = machine.cluster_name()
    else:
        return []
    return [pacemaker.group(name, machine.crm_mon(), machine.node())]


def _is_remote(machine):
    """Whether this host is a remote node of a cluster, or would be at the next boot."""
    names = {name[: pacemaker.NAME_LENGTH] for name in pacemaker.REMOTE}
    # Where services cannot be queried, the key has to do.
    return any(name in names for _pid, name in machine.processes()) or _in_use(
        machine, "pacemaker_remote", machine.exists(pacemaker.AUTHKEY)
    )


def _command(machine, command):
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"Cannot parse the command {program(command)} ({error})")
    if not words:
        raise ValueError("The command is empty")
    if commands.meant_for_a_shell(words):
        raise ValueError(
            f"The command {program(command)} has {commands.meant_for_a_shell(words)}, which only a "
            "shell understands: write sh -c '…'"
        )
    rc, out, err = machine.run_command(words)
    if rc:
        raise ValueError(
            f"The command {program(command)} exited with status {rc}: {output(command, err or out)}"
        )
    try:
        answer = json.loads(out)
    except ValueError as error:
        raise ValueError(f"The command {program(command)} did not return JSON ({error})")
    try:
        groups = answer.get("groups") if isinstance(answer, dict) else None
        if not isinstance(groups, list):
            raise ValueError("it must be a mapping with a list of groups")
        return [_told(group) for group in groups]
    except ValueError as error:
        raise ValueError(
            f"The command {program(command)} did not answer in the documented format ({error})"
        )


def _told(group):
    """A group as a command reports it, with all keys of a group."""
    if (
        not isinstance(group, dict)
        or not isinstance(group.get("name"), str)
        or not group["name"].strip()
    ):
        raise ValueError("each group must have a name")
    if group.get("role") not in ROLES:
        raise ValueError("the role of {} must be {} or {}".format(group["name"], *ROLES))
    addresses = group.get("addresses") or []
    if not isinstance(addresses, list) or None in [
        keepalived.address(str(one)) for one in addresses
    ]:
        raise ValueError("the addresses of {} must be a list of IP addresses".format(group["name"]))
    return {
        "name": group["name"].strip(),
        "kind": "command",
        "role": group["role"],
        "addresses": [keepalived.address(str(one)) for one in addresses],
        "instances": [],
        "peers": [],
        "size": None,
    }


def answer(params, _check_mode, root, _program):
    """As discover, for the program that asks in one round trip."""
    run = commands.with_timeout(commands.run, params["timeout"])
    return {"changed": False, "ha": discover(Machine(run, root), params["command"])}
