# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Which machine of the service is which host of the inventory. Pure.

The UUID decides where both sides know it, as the service itself goes by it. A name is only a hint:
a host that is cloned or enrolled anew is a new machine of the same name (reference 5.1).
"""

from __future__ import annotations

import re
from typing import NamedTuple

# So many names are in a sentence.
MOST = 5
# What stands for no host of its own.
LOCAL = ("localhost", "127.0.0.1", "::1")


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
            doubts.append(_doubt([uuid], named, f"{some(named)} have the UUID {uuid}"))
        else:
            rest.append(machine)
    taken = set(found.values()).union(name for one in doubts for name in one["hosts"])
    # By the name, as thousands of machines may have one.
    called, candidates = {}, {}
    for machine in rest:
        called.setdefault(machine["hostname"].lower(), []).append(machine["uuid"])
    for name in called:
        # A host with a UUID of its own is another machine, whatever it is called.
        free = [one.name for one in of_name.get(name, ()) if not one.uuid]
        candidates[name] = [host for host in free if host not in taken]
    for alike, names in _connected(candidates):
        uuids = sorted(uuid for name in alike for uuid in called[name])
        if len(uuids) == len(names) == 1:
            found[uuids[0]] = names[0]
        else:
            what = f"by their names, {some(names)} may be any of {some(uuids)}"
            if len(uuids) == 1:
                what = f"by their names, any of {some(names)} may be {uuids[0]}"
            doubts.append(_doubt(uuids, names, what))
    told = {uuid for one in doubts for uuid in one["uuids"]}
    known = set(found.values()).union(name for one in doubts for name in one["hosts"])
    new = [one["uuid"] for one in machines if one["uuid"] not in found and one["uuid"] not in told]
    missing = [host.name for host in hosts if host.name not in known]
    return Match(found, new, missing, doubts)


def _connected(candidates):
    """What one name or another connects: lists of names at the service and of hosts.

    :param candidates: a name at the service to the hosts that may be called so.
    """
    wanted_by, seen = {}, set()
    for name, hosts in candidates.items():
        for host in hosts:
            wanted_by.setdefault(host, []).append(name)
    for first in candidates:
        alike, found, ahead = [], set(), [first] if candidates[first] else []
        while ahead:
            name = ahead.pop()
            if name in seen:
                continue
            seen.add(name)
            alike.append(name)
            for host in candidates[name]:
                if host not in found:
                    found.add(host)
                    ahead += wanted_by[host]
        if alike:
            yield alike, sorted(found)


def _doubt(uuids, hosts, what):
    return {"uuids": list(uuids), "hosts": list(hosts), "what": what}


def some(names):
    """Names in a sentence, so many that it stays one."""
    names = list(names)
    if len(names) > MOST:
        return f"{', '.join(names[:MOST])} and {len(names) - MOST} more"
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def addresses(name, variables):
    """The names and addresses by which a host of an inventory may be known to the service, as far
    as the inventory says them: what its facts say is the host's own word.
    """
    facts = variables.get("ansible_facts") or {}
    found = [
        variables.get(key)
        for key in ("ansible_host", "ansible_fqdn", "ansible_nodename")
        if key not in facts and key.partition("_")[2] not in facts
    ]
    # Behind a tunnel any host may be at localhost.
    return tuple(str(one) for one in found if one and str(one) not in (name, *LOCAL))


def short(name):
    """A host name without its domain, in small letters; an address as it is."""
    name = name.lower()
    return name.partition(".")[0] if can_be_called(name) else name


def uuid_of(value):
    """A UUID as it is compared and kept: in small letters, as the agent and the service write it.
    None where there is none.
    """
    return str(value).strip().lower() or None if value is not None else None


def can_be_called(name):
    """Whether a host of an inventory may be called as a machine calls itself. It may not where that
    is the controller, an address (the machine's own, so it says), an option or a template.
    """
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        return False
    # As the resolver sees it, 1, 0x7f.1 and 127.1 are addresses.
    last = name.rstrip(".").rpartition(".")[2].lower()
    local = any(word in name.lower() for word in ("localhost", "loopback"))
    return not local and not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last)
