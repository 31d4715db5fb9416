# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Which machine of the service is which host of the inventory. Pure.

The UUID decides where both sides know it, as the service itself goes by it. A name is only a hint:
a host that is cloned or enrolled anew is a new machine of the same name (reference 5.1).
"""

from __future__ import annotations

from typing import NamedTuple


class Host(NamedTuple):
    """A host of the inventory: its UUID, where that is known, and the names it goes by."""

    name: str
    uuid: str | None = None
    names: tuple = ()


class Match(NamedTuple):
    """C(hosts): UUID of a machine to the host that it is. C(new): UUIDs of machines that are no
    host of the inventory, C(missing): hosts that are no machine of the service. C(doubts): what
    could not be told, each with C(uuids), C(hosts) and C(what), a sentence."""

    hosts: dict
    new: list
    missing: list
    doubts: list


def match(machines, hosts):
    """Match machines to hosts: by UUID first, then by name.

    :param machines: as the service has them, each with C(uuid) and C(hostname).
    :param hosts: a list of Host.
    """
    of_uuid, of_name = {}, {}
    for host in hosts:
        if host.uuid:
            of_uuid.setdefault(host.uuid.lower(), []).append(host.name)
        for name in {one.lower() for one in (host.name, *host.names) if one}:
            of_name.setdefault(name, []).append(host)
    found, doubts, rest = {}, [], []
    for machine in machines:
        uuid = machine["uuid"]
        named = of_uuid.get(uuid.lower(), ())
        if len(named) == 1:
            found[uuid] = named[0]
        elif named:
            doubts.append(_doubt([uuid], named, f"{_some(named)} have the UUID {uuid}"))
        else:
            rest.append(machine)
    taken = set(found.values()).union(name for one in doubts for name in one["hosts"])
    candidates = {
        # A host with a UUID of its own is another machine, whatever it is called.
        machine["uuid"]: {
            host.name
            for host in of_name.get(machine["hostname"].lower(), ())
            if not host.uuid and host.name not in taken
        }
        for machine in rest
    }
    for uuids, names in _connected(candidates):
        if len(uuids) == len(names) == 1:
            found[uuids[0]] = names[0]
        else:
            what = f"by their names, {_some(names)} may be any of {_some(uuids)}"
            if len(uuids) == 1:
                what = f"by their names, any of {_some(names)} may be {uuids[0]}"
            doubts.append(_doubt(uuids, names, what))
    told = {uuid for one in doubts for uuid in one["uuids"]}
    known = set(found.values()).union(name for one in doubts for name in one["hosts"])
    new = [one["uuid"] for one in machines if one["uuid"] not in found and one["uuid"] not in told]
    missing = [host.name for host in hosts if host.name not in known]
    return Match(found, new, missing, doubts)


def _connected(candidates):
    """Machines and hosts that one name or another connects: lists of UUIDs and of names.

    :param candidates: UUID to the names of the hosts that it may be.
    """
    wanted_by, seen = {}, set()
    for uuid, names in candidates.items():
        for name in names:
            wanted_by.setdefault(name, []).append(uuid)
    for first in candidates:
        uuids, names, ahead = [], [], [first] if candidates[first] and first not in seen else []
        while ahead:
            uuid = ahead.pop()
            if uuid in seen:
                continue
            seen.add(uuid)
            uuids.append(uuid)
            for name in sorted(candidates[uuid].difference(names)):
                names.append(name)
                ahead += wanted_by[name]
        if uuids:
            yield sorted(uuids), sorted(names)


def _doubt(uuids, hosts, what):
    return {"uuids": list(uuids), "hosts": list(hosts), "what": what}


def _some(names):
    names = list(names)
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def addresses(name, variables):
    """The names and addresses by which a host of an inventory may be known to the service."""
    found = [variables.get(key) for key in ("ansible_host", "ansible_fqdn", "ansible_nodename")]
    return tuple(str(one) for one in found if one and str(one) != name)
