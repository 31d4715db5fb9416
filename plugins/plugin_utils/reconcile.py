# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Where the service, the inventory and the hosts say different things. Pure.

What is asked of each: the service its machines, the hosts (as a record has them) their UUID, what
is pending, and when they last asked.
"""

from __future__ import annotations

from datetime import timedelta

from ansible_collections.rebootless.ksplice.plugins.plugin_utils import machines, turns

# What may be found, in the order in which it is told: the names are in metrics and in records.
KINDS = (
    # Two hosts have one identity: they were cloned, and the service sees one machine.
    "clone",
    # A name may be any of several machines.
    "ambiguous",
    # It may not use the service.
    "denied",
    "pending",
    # The service, and the host itself, disagree about whether updates are pending.
    "disagree",
    # An active machine that has not asked for too long.
    "silent",
    # Of the service only, or of the inventory only.
    "not_in_inventory",
    "not_at_service",
)
KNOW_THEM = "Survey these hosts, so that their UUIDs are known, or set ksplice_uuid."
RESET = "rebootless.ksplice.uptrack_config with reset_identity=true"


def compare(rows, known, addresses, now, silent_days=14):
    """What does not fit.

    :param rows: of the record.
    :param known: the machines of the account, see service_api.MACHINE.
    :param addresses: host to other names of it, see machines.addresses.
    :param now: time in UTC, ISO 8601.
    :param silent_days: after how many days without a word a machine is silent.
    :returns: C(machines), C(active), C(seats) (active machines that may use the service),
        C(matched) (how many are hosts of the inventory) and C(findings), each with C(kind),
        C(host), C(uuid), C(what) and C(advice).
    """
    # Another name of a machine is the same machine.
    rows = [row for row in rows if not row["alias_of"]]
    hosts = [
        machines.Host(row["name"], row["uuid"], addresses.get(row["name"], ())) for row in rows
    ]
    matched = machines.match(known, hosts)
    by_name, by_uuid = {row["name"]: row for row in rows}, {one["uuid"]: one for one in known}
    found = [*_doubts(matched.doubts, by_name), *_clones(rows, by_uuid)]
    for uuid, name in matched.hosts.items():
        found += _of_pair(by_name[name], by_uuid[uuid])
    since = turns.when(now) - timedelta(days=silent_days)
    new, cloned = set(matched.new), _names_of_clones(rows, addresses)
    doubtful = _Doubtful(rows, matched.missing, addresses)
    for machine in known:
        seen = machine["last_seen"]
        silent = machine["active"] and seen and turns.when(seen) < since
        if machine["uuid"] in new:
            found += _stranger(machine, silent, cloned, doubtful) if machine["active"] else ()
        elif silent:
            name = matched.hosts.get(machine["uuid"])
            what = f"has not asked the service since {seen}"
            advice = "See whether it is still there, and whether its agent runs."
            found.append(_finding("silent", name, machine, what, advice))
    for name in matched.missing:
        found += _missing(by_name[name])
    found.sort(key=lambda one: (KINDS.index(one["kind"]), one["host"] or "", one["uuid"] or ""))
    active = [one for one in known if one["active"]]
    return {
        "machines": len(known),
        "active": len(active),
        "seats": sum(one["authorization"] == "allowed" for one in active),
        "matched": len(matched.hosts),
        "findings": found,
    }


def _finding(kind, host, machine, what, advice):
    who = host or ""
    if machine and not host:
        # Two machines may have one name.
        who = f"{machine['hostname']} ({', '.join(filter(None, (machine['ip'], machine['uuid'])))})"
    return {
        "kind": kind,
        "host": host,
        "uuid": machine["uuid"] if machine else None,
        "what": f"{who} {what}.",
        "advice": advice,
    }


def _doubts(doubts, by_name):
    """What could not be matched; hosts that share a UUID are told as clones."""
    for one in doubts:
        uuids = {by_name[name]["uuid"] for name in one["hosts"]}
        if None in uuids:
            what, uuid = f"{one['what'][0].upper()}{one['what'][1:]}.", one["uuids"][0]
            finding = {"kind": "ambiguous", "host": one["hosts"][0], "uuid": uuid, "what": what}
            yield dict(finding, advice=KNOW_THEM)


def _cloned(rows):
    """UUID to the hosts that have it, where these are several."""
    of_uuid = {}
    for row in rows:
        if row["uuid"]:
            of_uuid.setdefault(row["uuid"], []).append(row["name"])
    return {uuid: names for uuid, names in of_uuid.items() if len(names) > 1}


def _names_of_clones(rows, addresses):
    """What a host that has the identity of another may have been called as a machine of its own, in
    small letters and with and without a domain, to the host.
    """
    found = {}
    for host in (name for names in _cloned(rows).values() for name in names):
        for name in (one.lower() for one in (host, *addresses.get(host, ()))):
            found.update({name: host, name.partition(".")[0]: host})
    return found


class _Doubtful:
    """Hosts of which no UUID is known, so that a machine that nobody knows may be one of them."""

    def __init__(self, rows, missing, addresses):
        unknown = [row["name"] for row in rows if not row["uuid"]]
        self.hosts, self.alike = len(unknown), {}
        # One that is another machine already is none of these.
        for name in set(unknown).intersection(missing):
            for one in {machines.short(one) for one in (name, *addresses.get(name, ()))}:
                self.alike.setdefault(one, []).append(name)


def _stranger(machine, silent, cloned, doubtful):
    """A machine that is no host of the inventory, as far as that is known."""
    names = sorted(doubtful.alike.get(machines.short(machine["hostname"]), ()))
    silence = f", and has not asked the service since {machine['last_seen']}" if silent else ""
    if names:
        what = f"may be {machines.some(names)}, whose UUID is not known{silence}"
        yield dict(_finding("ambiguous", None, machine, what, KNOW_THEM), host=names[0])
        return
    what = f"is a machine of the account and no host of the inventory{silence}"
    deny = f"rebootless.ksplice.uptrack_machine with uuid={machine['uuid']} authorized=false"
    advice = f"Add it to the inventory, or deny it ({deny})."
    name = machine["hostname"].lower()
    host = cloned.get(name) or cloned.get(name.partition(".")[0])
    if host:
        advice = (
            f"It may be what {host} was at the service before it had the identity of another host "
            "(see clone): mend that first, and reconcile anew."
        )
    elif doubtful.hosts:
        advice = (
            f"It may be one of {doubtful.hosts} hosts whose UUIDs are not known: survey these, or "
            f"set ksplice_uuid. If it is none, add it to the inventory, or deny it ({deny})."
        )
    yield _finding("not_in_inventory", None, machine, what, advice)


def _clones(rows, by_uuid):
    for uuid, names in _cloned(rows).items():
        for name in names[1:]:
            what = f"has the same identity at the service as {names[0]} ({uuid})"
            advice = f"Give it one of its own: {RESET} on {name}, then let its agent ask."
            yield dict(_finding("clone", name, by_uuid.get(uuid), what, advice), uuid=uuid)


def _of_pair(row, machine):
    """A host and its machine."""
    state = machine["authorization"]
    if state in ("denied", "pending"):
        words = "is denied" if state == "denied" else "waits to be authorized"
        advice = "Authorize it (uptrack_machine authorized=true), or retire it."
        yield _finding(state, row["name"], machine, f"{words} at the service", advice)
    pending = None if row["remaining"] is None else bool(row["remaining"])
    says = {"uptodate": False, "outofdate": True}.get(machine["status"])
    # Whoever looked last is right; that both agree is only to be expected since then.
    if pending is not None and says is not None and pending != says:
        words = {True: "has updates pending", False: "has no updates pending"}
        what = (
            f"{words[pending]}, by its own look at {row['checked_at'] or 'an unknown time'}; the "
            f"service says at {machine['last_seen'] or 'an unknown time'} that it {words[says]}"
        )
        advice = "Let its agent ask the service (playbook status with ksplice_refresh=true)."
        yield _finding("disagree", row["name"], machine, what, advice)


def _missing(row):
    """A host that is no machine of the account."""
    if row["reason_code"] in ("absent", "no_sysfs", "outside_run"):
        # Nothing that would be there, or nothing that is known of it.
        return
    if row["verdict"] in ("unreachable", "unknown") and not row["uuid"]:
        what = "cannot be found at the service by its name, and its UUID is not known"
        advice = "Survey it, or set its ksplice_uuid."
    else:
        what = "is no machine of the account"
        advice = (
            "It has another account's key, was never enrolled, is hidden in the web interface, or "
            "is an offline host. Look at its accesskey, and let its agent ask the service."
        )
    yield _finding("not_at_service", row["name"], None, what, advice)
