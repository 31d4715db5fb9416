# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What belongs to a host's service: its groups as discovered, its drains, its checks. Pure."""

from __future__ import annotations

import re

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import (
    drains as drain_targets,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import checks as ha_checks
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import schema
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError

PLACES = ("host", "peers", "controller")
CHECK = ("name", "command", "url", "status", "port", "address", "unit")
KINDS = ("command", "url", "port", "unit")
TIMEOUT = 30
# Names that an inventory may still have for today's: of a variable, and of keys in it.
FORMER = {
    "ksplice_ha_checks": {
        "variable": "ksplice_ha_gates",
        "keys": {"hold": "stable_for", "baseline": "allow_preexisting"},
    },
    "ksplice_ha_drain": {"variable": None, "keys": drain_targets.FORMER},
}
# What makes a peer take over: without it there is no host to drain to. Kinds of groups with their
# unit; on a remote node it is pacemaker_remote.
TAKES_OVER = {"keepalived": "keepalived", "pacemaker": "pacemaker*"}


def canary(name, variables):
    """Whether a host is to go ahead of its kernel build (ksplice_canary)."""
    return _truth(name, "ksplice_canary", variables.get("ksplice_canary"))


def may_be_discovered(variables):
    """Whether a host's groups may come out of what runs on it, as the inventory names none."""
    return _may_look(variables) and not variables.get("ksplice_ha_group")


def _may_look(variables):
    return str(variables.get("ksplice_ha_discover", True)).lower() not in (
        "false",
        "no",
        "off",
        "0",
    )


def discovered(variables):
    """What ha_facts found on a host: a mapping with groups, role and problems, or None where
    discovery did not run (or was not to).
    """
    if not _may_look(variables):
        return None
    # What this run registered, and not the facts: those may come out of a cache and be days old.
    for registered in ("ksplice_ha_asked", "rolling_ha_asked"):
        found = ((variables.get(registered) or {}).get("ansible_facts") or {}).get("ha")
        if found is not None:
            try:
                return schema.groups(found)
            except schema.Misfit as misfit:
                # What is not understood is not nothing.
                return {"groups": [], "role": None, "problems": [str(misfit)], "host_id": None}
    return None


def may_be_member(variables, survey):
    """Whether something on this host may make it a member of a group."""
    return _may_look(variables) and bool(
        survey.get("redundancy") or variables.get("ksplice_ha_command")
    )


def names(name, variables):
    """The groups of a host: what the inventory says, or else what was discovered."""
    value = variables.get("ksplice_ha_group")
    if "{{" in str(value):
        raise PlanError(
            f"Host {name}: ksplice_ha_group is the template {value}, which cannot be "
            "rendered: define the variables that it uses."
        )
    if value in (None, "", []):
        return tuple(group["name"] for group in (discovered(variables) or {"groups": ()})["groups"])
    if isinstance(value, str):
        return (str(value),)
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return tuple(str(item) for item in value)
    raise PlanError(
        f"Host {name}: ksplice_ha_group is {value!r}: give the name of a group, or a list of names."
    )


def role(variables):
    """V(active) or V(standby), or None: what the inventory says, or else what was discovered."""
    return variables.get("ksplice_ha_role") or (discovered(variables) or {}).get("role")


def lonely(variables_of, everyone, known):
    """The hosts that have to be asked as well, because a discovered group has one member only as
    far as anybody has looked.

    :param known: those that were asked.
    """
    members = {}
    for host in known:
        if not variables_of[host].get("ksplice_ha_group"):
            for group in (discovered(variables_of[host]) or {"groups": ()})["groups"]:
                members.setdefault(group["name"], set()).add(_machine(host, variables_of[host]))
    if all(len(found) > 1 for found in members.values()):
        return []
    asked = set(known)
    return [
        host
        for host in everyone
        if host not in asked
        and _may_look(variables_of[host])
        and discovered(variables_of[host]) is None
    ]


def alone(hosts, variables_of):
    """Members of discovered groups whose peer is unknown: host to the reason why it is skipped."""
    members, left = {}, {}
    for one in hosts:
        for group in one.groups:
            members.setdefault(group, []).append(one.name)
    for one in hosts:
        found = discovered(variables_of[one.name])
        if found and not variables_of[one.name].get("ksplice_ha_group"):
            for group in found["groups"]:
                if len(members.get(group["name"], ())) == 1:
                    left[one.name] = (
                        f"Skipped: according to its own {group['kind']} it is a member of "
                        f"{group['name']}, but no other host of the inventory is. Add its peer, "
                        "name the group (ksplice_ha_group), or set ksplice_ha_discover=false "
                        "on the host."
                    )
    return left


def unread(hosts, variables_of, surveys):
    """Hosts that may be members of a group (or of one more) that could not be read, where the
    inventory names none: host to the reason why it is skipped.
    """
    left = {}
    for one in hosts:
        variables = variables_of[one.name]
        # What was found beside a problem may not be all.
        if (
            one.in_run
            and one.has_work
            and not variables.get("ksplice_ha_group")
            and may_be_member(variables, surveys[one.name])
        ):
            found = discovered(variables)
            if found is None or found["problems"]:
                why = " ".join(found["problems"]) if found else "It could not be queried."
                what = ", ".join(surveys[one.name].get("redundancy") or ["ksplice_ha_command"])
                left[one.name] = (
                    f"Skipped: something on it ({what}) may make it a member of a redundancy "
                    f"group, but it is unknown of which. {why} Fix that, name the group "
                    "(ksplice_ha_group), or set ksplice_ha_discover=false on the host."
                )
    return left


def missing(variables_of, everyone):
    """How many members of discovered groups are unknown: a group's name to their number. A
    cluster names its nodes and unicast VRRP its peers, of whom one that did not answer, or that is
    not in the inventory, may well be out of service.
    """
    known, nodes, lacking = {}, {}, {}
    for host in everyone:
        if not variables_of[host].get("ksplice_ha_group"):
            for group in (discovered(variables_of[host]) or {"groups": ()})["groups"]:
                known.setdefault(group["name"], {})[_machine(host, variables_of[host])] = group
                # Guests and remote nodes of a cluster are members too, and none of those that it
                # counts.
                nodes.setdefault(group["name"], set()).add(group.get("node"))
    for name, of_machine in known.items():
        groups = list(of_machine.values())
        sizes = [
            len(set(group["instances"]) - nodes[name])
            if group["kind"] == "pacemaker"
            else (group.get("size") or 0) - len(groups)
            for group in groups
        ]
        if max(sizes) > 0 and len(groups) > 1:
            lacking[name] = max(sizes)
    return lacking


def _machine(host, variables):
    """What two names of one machine have in common; the name, where that is unknown."""
    return discovered(variables).get("host_id") or host


def contradictions(variables_of, everyone):
    """Where the inventory, which wins, and what runs on the hosts do not agree, as sentences."""
    said, named, peers = [], {}, {}
    for host in everyone:
        found, variables = discovered(variables_of[host]), variables_of[host]
        if not found:
            continue
        said += [f"{host}: {problem}" for problem in found.get("problems") or ()]
        unknown = sorted(group["name"] for group in found["groups"] if group["role"] is None)
        if unknown and not variables.get("ksplice_ha_role"):
            said.append(
                f"{host}: it is unknown whether it is active in {', '.join(unknown)}, "
                "where keepalived manages no address. It is treated as active. Set its "
                "role (ksplice_ha_role), or a command that reports it "
                "(ksplice_ha_command)."
            )
        given = variables.get("ksplice_ha_role")
        if (
            given
            and found["role"]
            and given != found["role"]
            and not (unknown and found["role"] == "active")
        ):
            said.append(
                f"{host} is {given} according to the inventory (ksplice_ha_role) and "
                f"{found['role']} according to what runs on it. "
                "The inventory takes precedence."
            )
        if variables.get("ksplice_ha_group") and found["groups"]:
            named[host] = (
                set(names(host, variables)),
                {group["name"] for group in found["groups"]},
            )
            for group in set.union(*named[host]):
                peers.setdefault(group, []).append(host)
    for one in sorted(named):
        # A host that has no group in common with it cannot contradict it.
        others = {other for group in set.union(*named[one]) for other in peers[group]}
        for other in sorted(other for other in others if other > one):
            given = named[one][0] & named[other][0]
            found = named[one][1] & named[other][1]
            if found and not given:
                said.append(
                    f"{one} and {other} are peers in {min(found)} according to what runs on "
                    "them, but share no group in the inventory. The "
                    "inventory takes precedence."
                )
            elif given and not found:
                said.append(
                    f"{one} and {other} are peers in {min(given)} according to the inventory, "
                    "but not according to what runs on them. The inventory takes precedence."
                )
    return said


def _given(name, variable, variables):
    """The value of a variable, by whichever of its names the inventory has it, with today's keys.

    :raises PlanError: where both names are given.
    """
    value, former = variables.get(variable), FORMER[variable]
    before = variables.get(former["variable"]) if former["variable"] else None
    if before not in (None, "", []):
        if value not in (None, "", []):
            raise PlanError(
                f"Host {name}: {variable} and {former['variable']}, its former name, are both set: "
                f"keep {variable}."
            )
        value = before
    if not isinstance(value, (list, tuple)):
        return value
    found = []
    for one in value:
        if isinstance(one, dict):
            for old, new in former["keys"].items():
                if old in one and new in one:
                    raise PlanError(
                        f"Host {name}: {variable} has both {new} and {old}, its former name: keep "
                        f"{new}."
                    )
            one = {former["keys"].get(key, key): entry for key, entry in one.items()}
        found.append(one)
    return found


def renamed(hosts, variables_of):
    """Sentences about former names that hosts still have."""
    found = {}
    for name in hosts:
        variables = variables_of[name]
        for variable, former in FORMER.items():
            value = variables.get(variable)
            if former["variable"] and variables.get(former["variable"]) not in (None, "", []):
                value = variables.get(former["variable"])
                found.setdefault((former["variable"], variable), []).append(name)
            keys = {key for one in value or () if isinstance(one, dict) for key in one}
            for old in sorted(keys.intersection(former["keys"])):
                words = f"{old} of {variable}", former["keys"][old]
                found.setdefault(words, []).append(name)
    return [
        f"{old} is now called {new}: rename it ({', '.join(names[:3])}"
        + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        + ")."
        for (old, new), names in sorted(found.items())
    ]


def drains(name, variables):
    """What takes a host out of service: a list of C(delegate_to) (the host of the task) and
    C(target) (as ha_drain has it).
    """
    given = _given(name, "ksplice_ha_drain", variables)
    if given in (None, ""):
        kinds = {group["kind"] for group in (discovered(variables) or {"groups": ()})["groups"]}
        return [
            {"delegate_to": name, "target": {"adapter": kind}}
            for kind in ("keepalived", "pacemaker")
            if kind in kinds
        ]
    if not isinstance(given, (list, tuple)) or not all(
        isinstance(one, dict) and one.get("adapter") for one in given
    ):
        raise PlanError(
            f"Host {name}: ksplice_ha_drain is not a list of mappings with adapter: give one, "
            "like ha_drain's targets, and delegate_to."
        )
    found = []
    for one in given:
        _no_on(name, "ksplice_ha_drain", one, "delegate_to")
        target = {key: value for key, value in one.items() if key != "delegate_to"}
        wrong = drain_targets.mistake(target)
        if wrong:
            raise PlanError(f"Host {name}: ksplice_ha_drain is not valid: {wrong}")
        places = one.get("delegate_to", name)
        places = list(places) if isinstance(places, (list, tuple)) else [places]
        if not places or not all(isinstance(place, str) and place for place in places):
            raise PlanError(
                f"Host {name}: ksplice_ha_drain has delegate_to {one['delegate_to']!r}: give the "
                "name of a host, or a list of names."
            )
        found += [{"delegate_to": place, "target": target} for place in places]
    return found


def _no_on(name, variable, one, key):
    """Complain of C(on), which is the truth value true where YAML has it without quotes."""
    if any(found is True or found == "on" for found in one):
        raise PlanError(
            f"Host {name}: {variable} has the key `on`, which YAML reads as true: "
            f"write {key} instead."
        )


def wanted_checks(name, variables, soak=0):
    """What must be true of a host and around it: C(host), C(peers), C(controller) (lists of
    checks), C(addresses), C(timeout), C(stable_for), C(allow_preexisting) (titles).
    """
    given = _given(name, "ksplice_ha_checks", variables) or []
    if not isinstance(given, (list, tuple)) or not all(isinstance(one, dict) for one in given):
        raise PlanError(
            f"Host {name}: ksplice_ha_checks is not a list of mappings: give one, as ha_check's "
            "checks, and run_on, timeout, stable_for, allow_preexisting."
        )
    result = {place: [] for place in PLACES}
    result.update(stable_for=dict.fromkeys(PLACES, 0), allow_preexisting=[])
    result["stable_for"]["host"] = int(soak)
    timeouts, names = [], set()
    for kind in sorted(
        {
            group["kind"] for group in (discovered(variables) or {"groups": ()})["groups"]
        }.intersection(TAKES_OVER)
    ):
        result["peers"].append(
            {"name": f"{kind} on the peer", "unit": TAKES_OVER[kind], "when": "before"}
        )
    for one in given:
        _no_on(name, "ksplice_ha_checks", one, "run_on")
        place = one.get("run_on", "host")
        # A check that is never made would pass, so that nothing is guessed.
        wrong = [
            str(key)
            for key in one
            if key not in (*CHECK, "run_on", "timeout", "stable_for", "allow_preexisting", "when")
        ]
        wrong += [f"run_on: {place}"] if place not in PLACES else []
        wrong += (
            [f"when: {one['when']}"]
            if one.get("when", "both") not in ("both", "before", "after")
            else []
        )
        wrong += [
            f"{key}: {one[key]}"
            for key in ("timeout", "stable_for")
            if not re.fullmatch("[0-9]+", str(one.get(key, 0)))
        ]
        wrong += [
            f"{key}: {one[key]}"
            for key in ("command", "url", "unit", "address")
            if key in one and not isinstance(one[key], str)
        ]
        if not wrong and len([kind for kind in KINDS if kind in one]) != 1:
            wrong = [f"a check of {' and '.join(key for key in one if key in KINDS) or 'nothing'}"]
        allowed = _truth(
            name, "allow_preexisting of ksplice_ha_checks", one.get("allow_preexisting")
        )
        nonsense = None if wrong else ha_checks.mistake(_typed(name, one))
        if nonsense:
            raise PlanError(f"Host {name}: ksplice_ha_checks has an invalid check: {nonsense}.")
        if wrong:
            raise PlanError(
                f"Host {name}: ksplice_ha_checks has {wrong[0]}: a check has one of command, url, "
                f"port, unit, and name, run_on ({', '.join(PLACES)}), timeout, stable_for, "
                "allow_preexisting, when (both, before, after)."
            )
        check = {key: value for key, value in _typed(name, one).items() if key in CHECK}
        # No two have one name, by which it is known later which of them was bad before: a known
        # failure of one excuses no other.
        title = ha_checks.title(dict({"address": "127.0.0.1"}, **check))
        check["name"] = next(
            word
            for number in range(1, len(given) + 2)
            for word in [title if number == 1 else f"{title} ({number})"]
            if word not in names
        )
        names.add(check["name"])
        result[place].append(dict(check, when=one.get("when", "both")))
        timeouts.append(int(one.get("timeout", TIMEOUT)))
        result["stable_for"][place] = max(
            result["stable_for"][place], int(one.get("stable_for", 0))
        )
        if allowed:
            result["allow_preexisting"].append(check["name"])
    # They are checked together, so that the one with the most time counts.
    result.update(timeout=max(timeouts or [TIMEOUT]), addresses=addresses(variables))
    return result


def _typed(name, one):
    """A check with its numbers as numbers and its name as text."""
    found = dict(one)
    if "name" in found:
        found["name"] = str(found["name"])
    try:
        if "port" in found:
            found["port"] = _number(found["port"])
        if "status" in found:
            found["status"] = [
                _number(status)
                for status in (
                    found["status"]
                    if isinstance(found["status"], (list, tuple))
                    else [found["status"]]
                )
            ]
    except ValueError as error:
        raise PlanError(
            f"Host {name}: ksplice_ha_checks has {error} for a number of a check: give ports, and "
            "statuses as numbers."
        ) from None
    return found


def _number(value):
    if isinstance(value, bool) or not re.fullmatch("[0-9]+", str(value)):
        raise ValueError(repr(value))
    return int(value)


def _truth(name, what, value):
    try:
        return boolean(value if value is not None else False)
    except TypeError:
        raise PlanError(f"Host {name}: {what} is {value!r}: give true or false.") from None


def addresses(variables):
    """The virtual addresses of which exactly one member of the group is to hold each."""
    given = variables.get("ksplice_ha_addresses")
    if given:
        found = [given] if isinstance(given, str) else given
        if not isinstance(found, (list, tuple)) or not all(isinstance(one, str) for one in found):
            raise PlanError(
                f"ksplice_ha_addresses is {given!r}: give an IP address, or a list of them."
            )
        return list(found)
    return sorted(
        {
            one
            for group in (discovered(variables) or {"groups": ()})["groups"]
            for one in group["addresses"]
        }
    )


def checks(wanted, place, moment, known=()):
    """The checks for one place at one moment, V(before) or V(after), as ha_check takes them.

    :param known: titles of what was bad before, which need not become good where
        allow_preexisting says so.
    """
    return [
        {key: value for key, value in one.items() if key != "when"}
        for one in wanted[place]
        if one["when"] in ("both", moment)
        and not (one["name"] in wanted["allow_preexisting"] and one["name"] in known)
    ]


def failed_checks(wanted, results, members, unreachable):
    """What the results of checks amount to: title to what was wrong.

    :param results: mapping of place to a list of (host, result of ha_check).
    :param unreachable: members that could not be asked, though it is not this host's fault: a
        peer that has died since.
    """
    bad, holders = {}, {address: [] for address in wanted["addresses"]}
    for place, found in results.items():
        for host, result in found:
            if "checks" not in result and host in unreachable:
                continue
            if "checks" not in result:
                bad[f"the check of {host}"] = " ".join(
                    str(result.get("msg") or "it did not answer").split()
                )[:300]
                continue
            for one in result["checks"]:
                if not one["ok"]:
                    bad[one["name"]] = (
                        f"{one['msg']}, on {host if place != 'controller' else 'the controller'}"
                    )
            for address in result.get("holds") or ():
                if address in holders:
                    holders[address].append(host)
    asked = {
        host
        for place in ("host", "peers")
        for host, result in results.get(place, ())
        if "checks" in result
    }
    if wanted["addresses"] and asked.issuperset(set(members) - set(unreachable)):
        for address, found in holders.items():
            # Where the peer that held it has just died, it is on its way.
            if len(found) != 1 and (found or not unreachable):
                bad[f"the address {address}"] = (
                    f"held by {' and '.join(found) if found else 'none'} of {', '.join(members)}"
                )
    return bad
