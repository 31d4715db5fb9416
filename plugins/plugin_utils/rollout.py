# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The course of a rollout: what the survey found, who may be taken in hand now, what came of it. Pure functions.

A host's variables come in as a mapping (Ansible's C(hostvars)), the state of the rollout is one plain mapping that the
role keeps as a fact of the controller and passes back in:

- C(waves), C(canaries), C(left), C(hash): the plan of this batch.
- C(hosts): for each host of the batch what the planner knew of it.
- C(hands): for the wave at work, host -> whether it is taken in hand, when, if not why, which updates it is to get, what was wrong before and after.
- C(banned): kernel build -> why its updates are not to be applied any more by this run.
- C(outcomes): host -> what came of it, over all batches so far.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from ansible.errors import AnsibleError
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import lease as leases
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import schema
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import (
    ha_settings,
    inventory,
    waves,
    window,
)
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import (
    run_variables as run_options,
)
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import (
    Host,
    PlanError,
)
from jinja2 import Undefined

UNREACHABLE = "The host cannot be reached."


class Once(dict):
    """Hosts' variables, those of each host read once: Ansible puts them together anew at every look, which takes a millisecond.

    :param strict: names of the hosts of which every variable has to be sound. Of any other, one that cannot be filled in is as good as not there.
    """

    def __init__(self, variables_of, strict=()):
        super().__init__()
        self.variables_of, self.strict = variables_of, set(strict)

    def __missing__(self, name):
        found = self.variables_of[name]
        self[name] = found if name in self.strict else Lenient(found)
        return self[name]


class Lenient(Mapping):
    """The variables of a host that stops nobody."""

    def __init__(self, variables):
        self.variables = variables

    def __getitem__(self, key):
        try:
            value = self.variables[key]
        except AnsibleError as error:
            raise KeyError(key) from error
        # What newer releases of ansible-core give for a template that cannot be filled in.
        if isinstance(value, Undefined):
            raise KeyError(key)
        return value

    def __iter__(self):
        return iter(self.variables)

    def __len__(self):
        return len(self.variables)


def host(name, variables, in_run=True, groups=None):
    """What the planner knows of a host, from its variables and its survey.

    :param groups: instead of those that its variables name.
    """
    survey = survey_of(variables)
    kernel = survey["kernel"]
    leased = bool(survey.get("lease"))
    build = (
        " ".join(str(kernel[key]) for key in ("booted", "version", "machine"))
        if kernel["booted"]
        else None
    )
    return Host(
        name=name,
        verdict=survey["verdict"],
        reason=survey["reason"],
        # Nothing is tried on a host that only has to be let go: it is no canary and needs none.
        build=None if leased and survey["verdict"] == "current" else build,
        groups=ha_settings.names(name, variables) if groups is None else groups,
        role=ha_settings.role(variables),
        stage=variables.get("ksplice_stage") or None,
        in_run=in_run,
        leased=leased,
        canary=in_run and ha_settings.canary(name, variables),
        host_id=survey.get("host_id") or (ha_settings.discovered(variables) or {}).get("host_id"),
        settings=tuple(
            (key, repr(variables[key]))
            for key in run_options.TREATMENT
            if variables.get(key) not in (None, "", [])
        ),
    )


def survey_of(variables):
    """The facts of uptrack_facts among a host's variables, with every key in its place whatever became of the survey."""
    empty = {
        "verdict": "unknown",
        "reason": "Nobody asked this host in this run.",
        "kernel": {
            "booted": None,
            "version": None,
            "machine": None,
            "effective": None,
            "on_disk": None,
        },
        "cves": {"fixed": None, "open": None},
        "updates": {"installed": None, "available": None},
        "self_update": None,
        "checked_at": None,
        "redundancy": [],
        "lease": None,
        "drained": [],
        "host_id": None,
    }
    for name in ("rolling_survey", "ksplice_survey"):
        result = variables.get(name)
        if not isinstance(result, dict) or result.get("skipped"):
            continue
        if result.get("unreachable"):
            return dict(
                empty, verdict="unreachable", reason=_one_line(result.get("msg"), UNREACHABLE)
            )
        seen = (result.get("ansible_facts") or {}).get("uptrack")
        if isinstance(seen, dict) and "verdict" in seen:
            return seen
        return dict(
            empty, reason="The survey failed: " + _one_line(result.get("msg"), "it gave no reason.")
        )
    return empty


def ready(variables_of, everyone, in_run, about, sources=()):
    """What a run begins with, after a look at everything that was asked for and needs no answer of a host.

    :param about: as of record.about; with C(options) as of start where the run is to plan.
    :param sources: of the inventory, as Ansible was given them.
    :returns: C(about), or C(error) with a sentence.
    """
    variables_of = Once(variables_of, in_run)
    try:
        if not everyone:
            raise PlanError(inventory.empty(sources))
        groups = inventory.group_names(variables_of[everyone[0]])
        wrong = inventory.complaint(
            sources, {variables_of[name].get("inventory_file") for name in everyone}, groups
        )
        if wrong:
            raise PlanError(wrong)
        if not in_run:
            raise PlanError(
                "There is no host to work on: ksplice_hosts fits none of the inventory."
            )
        for name in everyone:
            inventory.check_name(name, groups)
            _check_spelling(name, variables_of, in_run)
        # Variables of a run may stand in the inventory as well as on the command line: the first host's are everybody's.
        run_options.check(variables_of[in_run[0]])
        _check_service([Host(name, "unknown") for name in in_run], variables_of, everyone)
        if about.get("options"):
            run_options.differing(in_run[0], variables_of, in_run)
            _check_plan(variables_of, everyone, in_run, about["options"])
    except PlanError as error:
        return {"error": str(error)}
    return about


def _check_spelling(name, variables_of, in_run):
    try:
        run_options.misspelt(name, variables_of[name])
    except PlanError:
        if name in in_run:
            raise


def _check_plan(variables_of, everyone, in_run, options):
    """Complain of what no survey can mend, before there is one: stages, roles, and the groups that the inventory and the run name."""
    hosts, groups, _aliases, _by_hand = _known(variables_of, everyone, set(in_run), options)
    waves.check(hosts, _integer(options.get("max_parallel", 10)), options.get("stages") or ())
    waves.budget(options.get("max_failures", 0), len(in_run))
    if not options.get("partial_groups"):
        # The role of a host may come with a group that is yet to be discovered.
        waves.doubtful(
            [
                replace(one, role=None)
                if ha_settings.may_be_discovered(variables_of[one.name])
                else one
                for one in hosts
            ],
            groups,
        )


def start(variables_of, everyone, in_run, options):
    """The plan of a whole run.

    :param variables_of: mapping of host name to its variables.
    :param everyone: names of all hosts of the inventory.
    :param in_run: names of those the run may touch.
    :param options: C(groups), C(max_parallel), C(max_failures), C(stages), C(partial_groups), C(check); as the variables of role rolling.
    :returns: the plan as a mapping, with C(error) and no waves in it when it cannot be planned.
    """
    try:
        run = _plan(Once(variables_of, in_run), everyone, in_run, options, {})
    except PlanError as error:
        # The survey is done all the same, and the record tells it.
        run = dict(
            waves.Plan().as_dict(),
            hash=None,
            error=str(error),
            groups={},
            max_failures=0,
            planned_hosts={},
        )
    # For the play that follows the plan by Ansible's own serial. A pattern that matches nobody, where there is nothing to do.
    going = [] if options.get("check") else run["waves"]
    return dict(
        run,
        order=inventory.patterns(name for wave in going for name in wave),
        sizes=[len(wave) for wave in going] or [1],
    )


def to_discover(variables_of, everyone, known):
    """The hosts that ha_facts has to look at: those with work and something that makes groups; then, where a group would have one member, whoever else may
    be in it. A host without work is asked for the sake of a partner only.

    :param known: the hosts of the run, which were surveyed.
    """
    variables_of = Once(variables_of)
    surveys = {name: survey_of(variables_of[name]) for name in known}
    worth = [
        name for name in known if ha_settings.worth_discovering(variables_of[name], surveys[name])
    ]
    first = [
        name
        for name in worth
        if surveys[name]["verdict"] in waves.WORK or surveys[name].get("lease")
    ]
    asked = [name for name in known if ha_settings.discovered(variables_of[name]) is not None]
    strangers = {name for name in known if name not in worth and surveys[name]["kernel"]["booted"]}
    return first + [
        name
        for name in ha_settings.lonely(variables_of, everyone, asked)
        if name not in strangers and name not in first
    ]


def batch(variables_of, everyone, in_batch, options, state, run=None):
    """The plan of one batch of a play, whatever its serial, and the state that the next steps go by.

    Members outside the batch count as members of their groups; whether they are well is looked at when a host is taken.

    :param run: the plan of the whole run, if there is one: its groups are taken over, and only the batch's own variables are
        read, since reading those of thousands of hosts for every wave would cost more than the waves.
    """
    outcomes = dict((state or {}).get("outcomes") or {})
    began = [*((state or {}).get("began") or ()), list(in_batch)]
    try:
        planned = _plan(
            Once(variables_of, in_batch),
            everyone,
            in_batch,
            dict(options, partial_groups=True),
            outcomes,
            run,
        )
    except PlanError as error:
        return {"error": str(error), "outcomes": outcomes, "began": began}
    hosts = planned.pop("planned_hosts")
    for known, left in (
        (run["planned_hosts"], run["left"]) if run else ({}, {}),
        (hosts, planned["left"]),
    ):
        for name, why in left.items():
            outcomes.setdefault(
                name,
                {
                    "taken": False,
                    "ok": known[name]["verdict"] not in ("unreachable", "unknown"),
                    "reason": why,
                    "build": known[name]["build"],
                },
            )
    return dict(
        planned,
        hosts=hosts,
        outcomes=outcomes,
        hands={},
        banned=dict((state or {}).get("banned") or {}),
        ended=(state or {}).get("ended"),
        began=began,
    )


def _plan(variables_of, everyone, in_run, options, outcomes, run=None):
    inside = set(in_run)
    if run:
        groups = [
            waves.Group(name, tuple(group["members"]), group["max_unavailable"])
            for name, group in run["groups"].items()
            if inside.intersection(group["members"])
        ]
        known = inside.union(*(group.members for group in groups))
        hosts = [
            host(name, variables_of[name])
            if name in inside
            else Host(name, "unknown", in_run=False)
            for name in sorted(known)
        ]
        allowed = run["max_failures"]
    else:
        hosts, groups, aliases, by_hand = _known(variables_of, everyone, inside, options)
        unknown = ha_settings.missing(variables_of, everyone)
        groups = [replace(group, missing=unknown.get(group.name, 0)) for group in groups]
        allowed = waves.budget(options.get("max_failures", 0), len(options.get("play") or inside))
    lonely = {}
    if not run:
        unnamed = [one for one in hosts if one.name not in by_hand and one.name not in aliases]
        lonely = {
            **(waves.lonely(groups) if options.get("partial_groups") else {}),
            **ha_settings.alone(unnamed, variables_of),
            **ha_settings.unread(
                unnamed,
                variables_of,
                {one.name: survey_of(variables_of[one.name]) for one in hosts if one.in_run},
            ),
        }
    alone = {**lonely, **({} if run else _behind_the_back(hosts, variables_of, options))}
    if not run:
        _check_service(hosts, variables_of, everyone)
    hosts = [
        replace(one, verdict="left", reason=alone[one.name])
        if one.name in alone and one.verdict in waves.WORK
        else one
        for one in hosts
    ]
    proven = [None] + [
        result["build"] for result in outcomes.values() if result["taken"] and result["ok"]
    ]
    planned = waves.plan(
        hosts,
        groups,
        max_parallel=_integer(options.get("max_parallel", 10)),
        stages=options.get("stages") or (),
        proven=proven,
        partial_groups=bool(options.get("partial_groups")),
    )
    if not run and not options.get("partial_groups"):
        # The role of a host that is left alone may come with the group that nobody else is in, and so may its partner's.
        apart = {
            name for group in groups if lonely.keys() & set(group.members) for name in group.members
        }.union(lonely)
        waves.doubtful(
            [replace(one, role=None) if one.name in apart else one for one in hosts],
            [group for group in groups if not lonely.keys() & set(group.members)],
        )
    result = planned.as_dict()
    result["aliases"] = (run or {}).get("aliases") or {} if run else aliases
    result["groups"] = {
        group.name: {"members": list(group.members), "max_unavailable": group.max_unavailable}
        for group in groups
    }
    result["max_failures"] = allowed
    result["planned_hosts"] = {
        one.name: {
            "verdict": one.verdict,
            "build": one.build,
            "role": one.role,
            "stage": one.stage,
            "recover": one.has_work and one.verdict not in waves.WORK,
            "drains": one.has_work and bool(ha_settings.drains(one.name, variables_of[one.name])),
        }
        for one in hosts
        if one.in_run
    }
    if not run:
        result["contradictions"] = ha_settings.contradictions(
            variables_of, [name for name in everyone if name not in aliases]
        )
        result["warnings"] = (
            []
            if options.get("self_update", "warn") != "warn"
            else [
                f"{one.name} installs updates by itself ({', '.join(ways)}): what it takes behind the rollout's back nobody has tried."
                for one in hosts
                if one.in_run
                for ways in [survey_of(variables_of[one.name])["self_update"]]
                if ways
            ]
        )
    return result


def _known(variables_of, everyone, inside, options):
    """Everybody of the inventory, with one name for each machine; their groups; the other names of machines."""
    hosts, unread, named = [], {}, options.get("groups") or {}
    for name in everyone:
        try:
            hosts.append(host(name, variables_of[name], name in inside))
        except PlanError as error:
            if name in inside:
                raise
            unread[name] = error
            hosts.append(Host(name, "unknown", in_run=False))
    waves.groups_of(hosts, named)  # complains of what is not a mapping of lists
    listed = {name for members in named.values() for name in members}
    spoken_of = {group for one in hosts if one.in_run for group in one.groups}.union(
        group for group, members in named.items() if inside.intersection(members)
    )
    for name, error in unread.items():
        # What a host outside of the run says stops nobody, unless it may be about a group of this run.
        if any(group in str(variables_of[name].get("ksplice_ha_group")) for group in spoken_of):
            raise error
    # What the inventory says wins, and so does what the run says: a machine that is named by it, by whichever of its names, is in no other group for what
    # runs on it.
    own = {
        one.name
        for one in hosts
        if one.name not in unread and variables_of[one.name].get("ksplice_ha_group")
    }
    by_hand = own.union(one.name for one in hosts if one.name in listed)
    machines = {one.host_id for one in hosts if one.host_id and one.name in by_hand}
    hosts = [
        replace(one, groups=())
        if (one.name in listed or one.host_id in machines) and one.name not in own
        else one
        for one in hosts
    ]
    hosts, aliases = waves.machines(hosts)
    named = {
        group: list(dict.fromkeys(aliases.get(name, name) for name in members))
        for group, members in named.items()
    }
    by_hand = {aliases.get(name, name) for name in by_hand}
    return (
        hosts,
        waves.groups_of(hosts, named, _spare(hosts, variables_of, named)),
        aliases,
        by_hand,
    )


def _check_service(hosts, variables_of, everyone):
    """Complain of what says how hosts are taken out of service and looked at, before any is."""
    known = set(everyone)
    for one in hosts:
        if one.in_run:
            ha_settings.gates(one.name, variables_of[one.name])
            for drain in ha_settings.drains(one.name, variables_of[one.name]):
                if drain["delegate_to"] not in known:
                    raise PlanError(
                        f"Host {one.name}: ksplice_ha_drain names {drain['delegate_to']} (delegate_to), which is not in the inventory: "
                        "correct it, or add the host."
                    )


def _behind_the_back(hosts, variables_of, options):
    """With C(self_update=refuse), the hosts that would install updates without the rollout, with the reason why they are left alone."""
    if options.get("self_update") != "refuse":
        return {}
    return {
        one.name: f"Left alone: it installs updates by itself ({', '.join(ways)}). Take that away (uptrack_config with autoinstall=false), "
        "or allow it with ksplice_self_update=allow."
        for one in hosts
        if one.in_run
        for ways in [survey_of(variables_of[one.name])["self_update"]]
        if ways
    }


def _spare(hosts, variables_of, named):
    """What the hosts' variables say of how many members of their groups may be out of service."""
    limits, of = {}, {one.name: list(one.groups) for one in hosts}
    for group, members in (named or {}).items():
        for name in members:
            of.get(name, []).append(group)
    about = {group for one in hosts if one.in_run for group in of[one.name]}
    for one in hosts:
        groups = about.intersection(of[one.name])
        limit = variables_of[one.name].get("ksplice_ha_max_unavailable") if groups else None
        if limit not in (None, ""):
            for group in sorted(groups):
                if limits.setdefault(group, _integer(limit)) != _integer(limit):
                    raise PlanError(
                        f"Group {group} has two values of ksplice_ha_max_unavailable ({limits[group]} and {limit}, the latter "
                        f"of host {one.name}): give all its members the same."
                    )
    # More than one only where every member says so.
    silent = {
        group
        for one in hosts
        if variables_of[one.name].get("ksplice_ha_max_unavailable") in (None, "")
        for group in about.intersection(of[one.name])
    }
    return {
        group: 1 if group in silent and isinstance(limit, int) and limit > 1 else limit
        for group, limit in limits.items()
    }


def when(at):
    """A time of the record (UTC, ISO 8601, with or without a fraction of a second) as a datetime."""
    return datetime.strptime(
        at, "%Y-%m-%dT%H:%M:%S.%fZ" if "." in at else "%Y-%m-%dT%H:%M:%SZ"
    ).replace(tzinfo=timezone.utc)


def moment(at):
    """A datetime as a time of the record, to the millisecond."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def peers(state, name):
    """The other members of the groups that a host is in."""
    found = []
    for group in state["groups"].values():
        if name in group["members"]:
            found.extend(peer for peer in group["members"] if peer != name and peer not in found)
    return found


def take(state, wave, variables_of, everyone_in_play, still_in_play, now, conditions_now=None):
    """Who of a wave may be taken in hand: the state with its C(hands) filled.

    :param conditions_now: as of conditions.closed, and C(promote).

    :param everyone_in_play: the hosts the play started with.
    :param still_in_play: those that Ansible has not given up.
    :param now: time in UTC, ISO 8601.
    """
    outcomes, hands, now = state["outcomes"], {}, moment(when(now))
    lost = {name for name in everyone_in_play if name not in set(still_in_play)}
    failures = sorted(
        lost.union(name for name, outcome in outcomes.items() if not outcome["ok"]),
        key=waves.natural,
    )
    over = len(failures) > state["max_failures"]
    closed = window.closed(conditions_now or {}, now)
    promote = bool((conditions_now or {}).get("promote"))
    taken = []
    for name in wave:
        reason = None
        build = state["hosts"][name]["build"]
        tried = {
            other: result["ok"]
            for other, result in outcomes.items()
            if result["taken"] and result["build"] == build
        }
        beside = next((other for other in taken if state["hosts"][other]["build"] == build), None)
        if over:
            reason = (
                f"Not patched: the rollout stopped, because hosts without success are {len(failures)} ({_some(failures)}) "
                f"and max_failures allows {state['max_failures']}."
            )
        elif closed:
            reason = f"Not patched: {closed}."
        elif build in state.get("banned", {}):
            reason = f"Not patched: {state['banned'][build]}"
        elif build and tried and not any(tried.values()):
            reason = f"Not patched: {next(iter(tried))}, the canary of its kernel build, was not patched with success."
        elif build and not tried and beside:
            reason = f"Not patched: {beside} goes ahead as the canary of its kernel build, in place of one that was left alone. Run again."
        else:
            reason = _peers_unwell(state, name, variables_of[name], lost, taken)
        if reason is None:
            taken.append(name)
        proven = next(
            (
                other
                for other, result in outcomes.items()
                if promote
                and result["taken"]
                and result["ok"]
                and result["build"] == build
                and (result.get("after") or {}).get("updates")
            ),
            None,
        )
        hands[name] = {
            "taken": reason is None,
            "at": now,
            "reason": reason,
            "gate": None,
            "recover": state["hosts"][name]["recover"],
            "canary": bool(reason is None and build and not tried),
            "like": proven,
            "updates": outcomes[proven]["after"]["updates"] if proven else None,
        }
    return dict(state, hands=hands)


def lease(state, name):
    """Whom to ask for a lease on a host of the wave at work.

    :returns: C(groups) as ha_lease takes them; C(members), all their members in the order in which every run asks; C(rounds), how many the host of the
        wave with the most of them has, so that the hosts of a wave can ask in step. No members where the host is in no group, or is not taken in hand.
    """

    def of(host):
        if not state["hands"][host]["taken"]:
            return []
        found = [
            dict(group, name=group_name)
            for group_name, group in sorted(state["groups"].items())
            if host in group["members"]
        ]
        # Whoever is taken out of service keeps a lease of its own, from which a later run learns what this one left if it dies.
        alone = (
            [{"name": host, "members": [host], "max_unavailable": 1}]
            if state["hosts"][host]["drains"]
            else []
        )
        return found or alone

    def members(host):
        return sorted({member for group in of(host) for member in group["members"]})

    groups = [
        {
            "name": group["name"],
            "members": sorted(group["members"]),
            "max_unavailable": group["max_unavailable"],
        }
        for group in of(name)
    ]
    return {
        "groups": groups,
        "members": members(name),
        "rounds": max([len(members(host)) for host in state["hands"]] or [0]),
    }


def may_serve(state, name, variables):
    """Whether a host may go back into service: it is well, or it was not and is again with the update taken out."""
    if not state["hands"][name].get("gate"):
        return True
    taken_back = [
        result
        for result in (applied(variables, "rolling_undo"), applied(variables, "rolling_put_in"))
        if result and not result.get("skipped")
    ]
    return bool(
        all("after" in result and not result["error_class"] for result in taken_back)
        and (variables.get("rolling_gate_undone") or {}).get("ok")
    )


def places(variables_of, name):
    """The hosts on which something may have taken this one out of service: itself, and wherever its drains run."""
    return list(
        dict.fromkeys(
            [name, *(one["delegate_to"] for one in ha_settings.drains(name, variables_of[name]))]
        )
    )


def gate(variables_of, name):
    """What must be true of a host and around it, as of service.gates."""
    return ha_settings.gates(name, variables_of[name])


def work(state, name, variables_of, wishes):
    """What else belongs to taking a host in hand: C(drains), C(gate), C(peers) and, over all hosts of the wave, C(any_drain) and C(any_gate), so that its
    hosts go through the same tasks.

    :param wishes: C(drain) (never, active, always), C(soak) (seconds).
    """

    def of(host):
        if not state["hands"][host]["taken"] or state["hands"][host]["recover"]:
            return [], None
        out = [] if wishes.get("drain") == "never" else ha_settings.drains(host, variables_of[host])
        return out, ha_settings.gates(host, variables_of[host], wishes.get("soak") or 0)

    every = {host: of(host) for host in state["hands"]}
    mine = every.get(name, ([], None))
    # Without commands and addresses, in which a password may stand: the state is a fact, and facts are shown. Those that work ask target and checks.
    drains = [
        {"delegate_to": one["delegate_to"], "adapter": one["target"]["adapter"], "number": number}
        for number, one in enumerate(mine[0])
    ]
    wanted = {
        host: dict(its, **{place: bool(its[place]) for place in ha_settings.PLACES})
        for host, its in ((host, its) for host, (_drains, its) in every.items())
        if _wanted(its)
    }
    return {
        "elsewhere": any(drain["delegate_to"] != name for drain in mine[0]),
        "any_elsewhere": any(
            drain["delegate_to"] != host for host, (out, _its) in every.items() for drain in out
        ),
        "drains": drains,
        "gate": wanted.get(name),
        "peers": peers(state, name) if name in wanted else [],
        "any_drain": any(out for out, _its in every.values()),
        "any_gate": bool(wanted),
    }


def _wanted(gate):
    return bool(
        gate
        and (
            any(gate[place] for place in ha_settings.PLACES)
            or gate["addresses"]
            or any(gate["hold"].values())
        )
    )


def target(variables_of, name, number):
    """What one of a host's drains, by its number, is to drain, as ha_drain has it."""
    return ha_settings.drains(name, variables_of[name])[number]["target"]


def checks(variables_of, name, place, moment, forgiven=()):
    """The checks of a host for one place and moment, as of service.checks."""
    return ha_settings.checks(ha_settings.gates(name, variables_of[name]), place, moment, forgiven)


def drained(result):
    """Why a host could not be taken out of service, as a sentence, by what the task of ha_drain registered; None where it is out, or need not be."""
    for one in (result or {}).get("results") or ():
        if one.get("skipped"):
            continue
        if one.get("unreachable"):
            return f"{(one.get('item') or {}).get('delegate_to', 'A host')} cannot be reached: {_one_line(one.get('msg'), UNREACHABLE)}"
        if not one.get("done"):
            return _one_line(one.get("msg"), "The task gave no reason.")
    return None


def still_drained(variables):
    """What of a host is out of service still, as a sentence, after it was put back; None when nothing is."""
    before = (variables.get("rolling_drain") or {}).get("results") or ()
    # A module that died on the way says nothing of what it had done.
    if not any(
        one.get("changed") or one.get("unreachable") or one.get("drained") or "done" not in one
        for one in before
        if not one.get("skipped")
    ):
        return None
    after = variables.get("rolling_put_back") or {}
    if not [one for one in after.get("results") or () if not one.get("skipped")]:
        return "Nobody could put it back."
    return drained(after)


def gated(state, wave, variables_of, moment):
    """The state after a look through the gates of a wave.

    :param moment: C(before), where who does not pass is left alone, or C(after), where the reason stands in its hand's C(gate).
    """
    hands = dict(state["hands"])
    for name in wave:
        its = state["work"][name]["gate"]
        variables = variables_of[name]
        if not its or not hands[name]["taken"] or (moment == "after" and not _worked(variables)):
            continue
        if (
            moment == "after"
            and variables["rolling_apply"].get("unreachable")
            and (variables.get("rolling_gate_host_after") or {}).get("unreachable")
        ):
            continue  # lost while in hand, and still: that is told as such
        answers = {
            place: _answers(name, variables.get(f"rolling_gate_{place}_{moment}"))
            for place in ha_settings.PLACES
        }
        # Before, a partner that cannot be asked is a reason to leave the host alone. Afterwards it is the partner's trouble, and no fault of the update.
        lost = [
            host
            for results in answers.values()
            for host, result in results
            if result.get("unreachable") and host != name and moment == "after"
        ]
        members = sorted([name, *peers(state, name)])
        bad = ha_settings.gate_result(its, answers, members, lost)
        if moment == "before":
            hands[name] = dict(hands[name], before=sorted(bad))
            bad = {title: why for title, why in bad.items() if title not in its["baseline"]}
            if bad:
                hands[name].update(
                    taken=False,
                    reason=f"Left alone: not all was well before anything was done: {_told(bad)}.",
                )
        else:
            bad = {
                title: why
                for title, why in bad.items()
                if not (title in its["baseline"] and title in hands[name].get("before", ()))
            }
            hands[name] = dict(hands[name], gate=_told(bad) if bad else None)
    return dict(state, hands=hands, any_undo=any(hand.get("gate") for hand in hands.values()))


def _worked(variables):
    result = applied(variables, "rolling_apply")
    # One that says nothing of what is in the kernel afterwards may have done anything.
    return bool(
        result
        and not result.get("skipped")
        and ("after" not in result or result.get("installed") or result.get("removed"))
    )


def _answers(name, result):
    result = result or {}
    if "results" in result:
        return [
            (one.get("peer") or name, _looked(one))
            for one in result["results"]
            if not one.get("skipped")
        ]
    return [] if not result or result.get("skipped") else [(name, _looked(result))]


def _looked(result):
    """What ha_gate answered, or that it did not answer as it does."""
    if "checks" not in result:
        return result
    try:
        return schema.gate(result)
    except schema.Misfit as misfit:
        return {"msg": str(misfit)}


def applied(variables, registered):
    """What uptrack_apply answered, with what it tells of the kernel only if it told it as it does."""
    result = variables.get(registered) or {}
    if "after" not in result or result.get("skipped") or result.get("unreachable"):
        return result
    try:
        return dict(schema.applied(result))
    except schema.Misfit as misfit:
        return {
            "failed": True,
            "error_class": "unknown",
            "msg": f"{misfit} What is in its kernel now is not known: look at the host.",
        }


def _told(bad):
    return "; ".join(f"{title} ({why})" for title, why in sorted(bad.items()))


def stale(asked, wanted, name, looked=None):
    """The stale lease that stands in the way by the members' answers, as ha_lease shows it; None where none does, or where a member of the groups cannot
    be reached, as nobody knows then how the group is.

    :param wanted: as of lease, for the host of that name.
    :param looked: what the look at the other members of the groups gave.
    """
    if any(answer.get("unreachable") for answer in asked.values()) or any(
        one.get("unreachable") for one in (looked or {}).get("results") or ()
    ):
        return None
    found = [
        entry
        for answer in asked.values()
        for entry in answer.get("leases") or ()
        if entry.get("stale")
    ]
    if not found or not leases.is_taken({"host": name, "groups": wanted["groups"]}, asked):
        return None
    # Nobody is asked, put back or let go whom the plan does not know as a member of that very group, whatever a member says.
    members = {group["name"]: set(group["members"]) for group in wanted["groups"]}
    for entry in found:
        known = [
            group
            for group in entry["groups"]
            if members.get(group["name"], set()).issuperset(group["members"])
        ]
        if any(entry["host"] in group["members"] for group in known):
            return dict(entry, groups=known)
    return None


def promised(state, wave, variables_of, wishes=None):
    """The state in which those of the wave stay in hand that every member has promised to leave alone beside; the others are left, with the reason."""
    hands = dict(state["hands"])
    for name in wave:
        wanted = lease(state, name)
        if not wanted["members"]:
            continue
        said = variables_of[name].get("rolling_answers") or {}
        answers = {
            member: None
            if (said.get(member) or {"unreachable": True}).get("unreachable")
            else said[member]
            for member in wanted["members"]
        }
        refused = next(
            (answer["refusal"] for answer in answers.values() if answer and not answer["granted"]),
            None,
        )
        why = refused or leases.is_taken({"host": name, "groups": wanted["groups"]}, answers)
        if why:
            failed = _not_taken_over(variables_of[name])
            hands[name] = dict(
                hands[name],
                taken=False,
                still_drained=name if failed and failed["still_drained"] else None,
                reason=" ".join(
                    [
                        f"Left alone: {_one_line(why, '').replace(' Nothing was changed.', '')}",
                        *([failed["reason"]] if failed else []),
                    ]
                ),
            )
        elif _seen_again(variables_of[name]).get("verdict") == "current":
            # Whoever was waited for has done it.
            hands[name] = dict(hands[name], recover=True)
    state = dict(state, hands=hands)
    return dict(state, work={name: work(state, name, variables_of, wishes or {}) for name in wave})


def _not_taken_over(variables):
    """Why the lease of a dead run that stood in the way was not taken over: C(reason), C(still_drained); None where none stood there, or it was."""
    left, adopted = variables.get("rolling_stale"), variables.get("rolling_adopted") or {}
    if not left or _took_over(variables):
        return None
    if not adopted.get("granted"):
        return {
            "still_drained": False,
            "reason": f"It could not be taken over: {_one_line(adopted.get('refusal') or adopted.get('msg'), UNREACHABLE)}",
        }
    gate, back = (
        variables.get("rolling_adopted_gate") or {},
        variables.get("rolling_adopted_back") or {},
    )
    bad = [f"{one['name']} ({one['said']})" for one in gate.get("checks") or () if not one["ok"]]
    seen = ((variables.get("rolling_adopted_host") or {}).get("ansible_facts") or {}).get(
        "uptrack"
    ) or {}
    if bad or back.get("skipped"):
        return {
            "still_drained": True,
            "reason": f"It was taken over, and {left['host']} left as it is, out of service perhaps, because it is not well: "
            f"{'; '.join(bad) or seen.get('reason') or 'nobody could look at it'}.",
        }
    return {
        "still_drained": True,
        "reason": f"It was taken over, but {left['host']} is STILL OUT OF SERVICE: {drained(back) or 'its lease could not be ended.'}",
    }


def _seen_again(variables):
    return ((variables.get("rolling_again") or {}).get("ansible_facts") or {}).get("uptrack") or {}


def left(state):
    """For the wave at work, a line for each host that is not taken in hand, with the reason."""
    return [
        f"{name}: {hand['reason']}" for name, hand in state["hands"].items() if not hand["taken"]
    ]


def _peers_unwell(state, name, variables, lost, taken):
    """Why a host must be left alone for the sake of its groups, or None.

    :param taken: hosts of the same wave that are in hand already.
    """
    looked = variables.get("rolling_peers") or {}
    unwell = {}
    for result in looked.get("results") or ():
        if result.get("skipped"):
            continue
        seen = (result.get("ansible_facts") or {}).get("uptrack") or {}
        if result.get("unreachable") or result.get("failed") or not seen:
            unwell[result.get("peer")] = "cannot be reached"
    for peer in peers(state, name):
        outcome = state["outcomes"].get(peer)
        if peer in lost:
            unwell[peer] = "was lost in this run"
        elif outcome and outcome["taken"] and not outcome["ok"]:
            unwell.setdefault(peer, "was not patched with success")
    for peer in taken:
        unwell.setdefault(peer, "is in hand")
    for group_name, group in state["groups"].items():
        if name not in group["members"]:
            continue
        out = [peer for peer in group["members"] if peer in unwell]
        if len(out) >= group["max_unavailable"]:
            return f"Left alone: {out[0]} of its group {group_name} {unwell[out[0]]}."
    return None


def note(state, wave, variables_of, now):
    """The state with the outcomes of a wave in it."""
    outcomes, now = dict(state["outcomes"]), moment(when(now))
    for name in wave:
        hand = state["hands"][name]
        outcome = {
            "build": state["hosts"][name]["build"],
            "taken": hand["taken"],
            "ok": not hand.get("still_drained"),
            "reason": hand["reason"],
            "started": None,
            "ended": None,
            "at": hand["at"],
            "still_drained": bool(hand.get("still_drained")),
        }
        outcome["canary"] = hand["taken"] and hand["canary"]
        if hand["taken"]:
            outcome.update(_came_of(hand, variables_of[name], now))
        outcome["took_over"] = _took_over(variables_of[name])
        outcomes[name] = outcome
        if outcome.get("gate"):
            ban = f"{name} was not well after what it was given ({outcome['gate']})."
            state = dict(state, banned=dict(state.get("banned") or {}, **{outcome["build"]: ban}))
    ended = now if any(state["hands"][name]["taken"] for name in wave) else state.get("ended")
    return dict(state, outcomes=outcomes, hands={}, ended=ended)


def _took_over(variables):
    """The lease of a dead run that was taken over on the way to this host, as a sentence, or None."""
    left = variables.get("rolling_stale")
    if not left or not any(
        (variables.get(name) or {}).get("granted") for name in ("rolling_let_go", "rolling_fenced")
    ):
        return None
    back = [
        one["item"]
        for one in (variables.get("rolling_adopted_back") or {}).get("results") or ()
        if one.get("changed")
    ]
    return (
        f"{left['host']} was in hand of {left['run']}, which had not been heard of for {left['age']} seconds: its lease was taken over"
        + (f", and {left['host']} put back into service." if back else ".")
    )


def _came_of(hand, variables, now):
    """What came of a host that was in hand."""
    if hand["recover"] and not variables.get("rolling_broke"):
        seen = _seen_again(variables) or survey_of(variables)
        return {
            "started": hand["at"],
            "ended": now,
            "ok": seen["verdict"] == "current",
            "seen": seen,
            "verdict": seen["verdict"],
            "reason": "Nothing to patch. "
            + (
                _took_over(variables)
                or "The run that had it, or a partner of it, in hand has let go."
            ),
        }
    not_drained = drained(variables.get("rolling_drain"))
    out = still_drained(variables)
    if not_drained:
        seen = survey_of(variables)
        outcome = {
            "started": hand["at"],
            "ended": now,
            "ok": False,
            "seen": seen,
            "verdict": seen["verdict"],
            "reason": f"Not patched, as it could not be taken out of service: {not_drained}",
        }
    else:
        outcome = _applied(applied(variables, "rolling_apply"), hand["at"], now, hand)
    if variables.get("rolling_drain") and not (variables["rolling_drain"].get("skipped")):
        outcome["drained"] = [
            one["what"]
            for result in variables["rolling_drain"].get("results") or ()
            for one in result.get("drained") or ()
        ]
        outcome["ended"] = now
    if hand.get("gate"):
        outcome.update(_taken_back(hand, variables, outcome), ended=now)
    if variables.get("rolling_broke"):
        outcome.update(
            ok=False,
            reason=f"{outcome['reason']} A step broke ({_one_line(variables['rolling_broke'], '')}).",
            ended=now,
        )
    if out:
        outcome.update(
            ok=False, still_drained=True, reason=f"{outcome['reason']} STILL OUT OF SERVICE: {out}"
        )
    return outcome


def _taken_back(hand, variables, outcome):
    """What became of a host that was not well after the update."""
    undo, put_in = applied(variables, "rolling_undo"), applied(variables, "rolling_put_in")
    was = outcome.get("installed") or []
    more = {"ok": False, "gate": hand["gate"]}
    # Its task is not to fail, so that what came of it is told by the error's class.
    if undo.get("unreachable") or "after" not in undo or undo["error_class"]:
        why = _one_line(undo.get("msg"), "The task gave no reason.")
        return dict(
            more,
            reason=f"Not well after the update ({hand['gate']}), and what was installed ({_some(was)}) could NOT be taken back: {why}",
        )
    if not put_in.get("skipped") and (put_in.get("unreachable") or put_in.get("error_class")):
        more["reason"] = (
            f"Not well after the update: {hand['gate']}. What was installed was taken back ({_some(was)}), but what it had replaced could NOT be "
            f"put in again: {_one_line(put_in.get('msg'), UNREACHABLE)}"
        )
    else:
        more["reason"] = (
            f"Not well after the update: {hand['gate']}. What was installed was taken back ({_some(was)})."
        )
    if not (variables.get("rolling_gate_undone") or {}).get("ok"):
        more["reason"] += " It is NOT well without it either."
    return dict(
        more,
        undone=undo.get("removed") or [],
        installed=[],
        after=undo["after"],
        verdict=undo.get("verdict"),
        remaining=undo.get("remaining"),
        cves_fixed=[],
        cves_open=undo.get("cves_open"),
    )


def _applied(result, taken_at, now, hand=None):
    outcome = {"started": taken_at, "ended": now}
    if result.get("unreachable"):
        return dict(
            outcome,
            ok=False,
            verdict="unreachable",
            reason="Lost while in hand, so what is in its kernel is in doubt: "
            + _one_line(result.get("msg"), UNREACHABLE),
        )
    if isinstance(result.get("seconds"), (int, float)):
        outcome["ended"] = min(now, _later(taken_at, result["seconds"]))
    for key in (
        "installed",
        "removed",
        "remaining",
        "cves_fixed",
        "cves_open",
        "before",
        "after",
        "verdict",
        "error_class",
        "failures",
    ):
        outcome[key] = result.get(key)
    failed = bool(result.get("failed")) or "after" not in result
    # Success is what there is evidence of: the kernel has everything, and that was looked at.
    outcome["ok"] = not failed and result.get("verdict") == "current"
    like = (hand or {}).get("like")
    if (
        like
        and not failed
        and result.get("verdict") == "behind"
        and set(hand["updates"]).issubset(result["after"]["updates"])
    ):
        deferred = [
            {key: one.get(key) for key in ("id", "name", "age")} for one in result.get("left") or ()
        ]
        return dict(
            outcome,
            ok=True,
            deferred=deferred,
            reason=f"It has exactly what {like} was given. Left for another run: "
            f"{_some([one['id'] for one in deferred])}, which came later.",
        )
    outcome["reason"] = _one_line(
        result.get("msg") if failed else result.get("reason"), "The task ended without a word."
    )
    if outcome["verdict"] is None:
        outcome["verdict"] = "unknown"
    return outcome


def rehearsal_hosts(variables_of, everyone):
    """What the rehearsal needs to know of each host: its own wishes, and the variables that steer a rollout."""
    variables_of = Once(variables_of)
    kept = ("ksplice_ha_group", "ksplice_ha_role", "ksplice_ha_max_unavailable", "ksplice_stage")
    return {
        name: {
            "rehearsal": variables_of[name].get("ksplice_rehearsal"),
            "vars": {
                key: variables_of[name][key]
                for key in kept
                if variables_of[name].get(key) is not None
            },
        }
        for name in everyone
    }


def _integer(value):
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]+", value) else value


def _one_line(text, otherwise):
    # Newer releases of ansible-core put their own words in front of what a connection or module said.
    words = re.sub(
        r"^(Task failed: |Module failed: |Action failed: )+", "", " ".join(str(text or "").split())
    )
    return words or otherwise


def _some(names):
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _later(at, seconds):
    return moment(when(at) + timedelta(seconds=seconds))
