# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The course of a rollout: what the survey found, who may be claimed now, what came of it.
Pure functions.

A host's variables come in as a mapping (Ansible's C(hostvars)) with its survey among them. What
goes out, the plan and each wave's part of it, the action plugin rollout keeps in files of the run
(run_files); what comes of a wave decides turns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from ansible.errors import AnsibleError
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import turns
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import (
    ha_settings,
    inventory,
    waves,
)
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import (
    run_variables as run_options,
)
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import (
    Host,
    PlanError,
)
from jinja2 import Undefined


class Once(dict):
    """Hosts' variables, those of each host read once: Ansible puts them together anew at every
    look, which takes a millisecond.

    :param strict: names of the hosts of which every variable has to be sound. Of any other, one
        that cannot be filled in is as good as not there.
    """

    def __init__(self, variables_of, strict=()):
        super().__init__()
        self.variables_of, self.strict = variables_of, set(strict)

    def __missing__(self, name):
        found = self.variables_of[name]
        self[name] = found if name in self.strict else Lenient(found)
        return self[name]


class Lenient(Mapping):
    """The variables of a host that stops no other."""

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
    build = (
        " ".join(str(kernel[key]) for key in ("booted", "version", "machine"))
        if kernel["booted"]
        else None
    )
    return Host(
        name=name,
        verdict=survey["verdict"],
        reason=survey["reason"],
        reason_code=survey.get("reason_code") or survey["verdict"],
        build=build,
        groups=ha_settings.names(name, variables) if groups is None else groups,
        role=ha_settings.role(variables),
        stage=variables.get("ksplice_stage") or None,
        in_run=in_run,
        canary=in_run and ha_settings.canary(name, variables),
        host_id=survey.get("host_id") or (ha_settings.discovered(variables) or {}).get("host_id"),
        settings=tuple(
            (key, repr(variables[key]))
            for key in run_options.TREATMENT
            if variables.get(key) not in (None, "", [])
        ),
    )


def survey_of(variables):
    """The facts of uptrack_facts among a host's variables, with every key in its place whatever
    became of the survey.
    """
    empty = {
        "verdict": "unknown",
        "reason": "This host was not surveyed in this run.",
        "reason_code": "not_surveyed",
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
    result = variables.get("ksplice_survey")
    if not isinstance(result, dict):
        return empty
    if result.get("unreachable"):
        return dict(
            empty,
            verdict="unreachable",
            reason_code="unreachable",
            reason=turns.one_line(result.get("msg"), turns.UNREACHABLE),
        )
    seen = (result.get("ansible_facts") or {}).get("uptrack")
    if isinstance(seen, dict) and "verdict" in seen:
        return seen
    return dict(
        empty,
        reason_code="survey_failed",
        reason="The survey failed: " + turns.one_line(result.get("msg"), "it gave no reason."),
    )


def ready(variables_of, everyone, in_run, about, sources=()):
    """What a run begins with, after a look at everything that was asked for and needs no answer
    of a host.

    :param about: see record.about; with C(options), see start, where the run is to plan.
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
                "There is no host to work on: ksplice_hosts matches no host of the inventory."
            )
        for name in everyone:
            inventory.check_name(name, groups)
            _check_spelling(name, variables_of, in_run)
        # Variables of a run may stand in the inventory as well as on the command line: the first
        # host's are everybody's.
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
    """Complain of what no survey can mend, before there is one: stages, roles, and the groups
    that the inventory and the run name.
    """
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
    :param options: C(groups), C(max_parallel), C(max_failures), C(stages), C(partial_groups),
        C(check); as the variables of role rolling.
    :returns: the plan as a mapping, with C(error) and no waves in it when it cannot be planned.
    """
    try:
        run = _plan(Once(variables_of, in_run), everyone, in_run, options)
    except PlanError as error:
        return without_plan(str(error))
    return _in_order(run, options)


def without_plan(error):
    """What stands in for a plan where there is none. The survey is done all the same, and the
    record tells it.
    """
    run = dict(
        waves.Plan().as_dict(),
        hash=None,
        error=error,
        groups={},
        max_failures=0,
        planned_hosts={},
    )
    return _in_order(run, {})


def with_groups(chosen, in_run, plan):
    """The hosts of a run that are chosen, and all that share a redundancy group with one of them,
    directly or through others. A name of a machine stands for all of its names.
    """
    aliases = plan.get("aliases") or {}
    found = {aliases.get(name, name) for name in chosen}
    groups = [set(group["members"]) for group in plan["groups"].values()]
    while True:
        more = {name for group in groups if group & found for name in group} - found
        if not more:
            break
        found |= more
    return [name for name in in_run if aliases.get(name, name) in found]


def _in_order(run, options):
    # For the play that follows the plan by Ansible's own serial. A pattern that matches no host,
    # where there is nothing to do.
    going = [] if options.get("check") else run["waves"]
    return dict(
        run,
        order=inventory.patterns(name for wave in going for name in wave),
        sizes=[len(wave) for wave in going] or [1],
    )


def to_ask(variables_of, everyone, known):
    """The hosts outside of the run that have to be asked for their groups: where a discovered
    group has one member only as far as anybody has looked,
    whoever else may be in it.

    :param known: the hosts of the run, which were asked where something on them makes groups.
    """
    variables_of = Once(variables_of)
    asked = [name for name in known if ha_settings.discovered(variables_of[name]) is not None]
    nothing = {
        name
        for name in known
        if name not in asked and survey_of(variables_of[name])["kernel"]["booted"]
    }
    return [
        name for name in ha_settings.lonely(variables_of, everyone, asked) if name not in nothing
    ]


def batch(variables_of, everyone, in_batch, options, builds):
    """The plan of one batch of a play of one's own, whatever its serial. Members outside the
    batch count as members of their groups.

    :param builds: kernel builds that are proven by an earlier batch of the play.
    :raises PlanError:
    """
    return _plan(
        Once(variables_of, in_batch),
        everyone,
        in_batch,
        dict(options, partial_groups=True),
        builds,
    )


def slices(run, variables_of, options):
    """The plan cut into what each wave needs, see turns: so no wave costs more the more hosts
    there are.

    :param run: the plan, as start or batch makes it.
    :param options: C(soak) (seconds).
    """
    of_host = {}
    for name, group in run["groups"].items():
        for member in group["members"]:
            of_host.setdefault(member, []).append(name)
    found = []
    for number, wave in enumerate(run["waves"], 1):
        hosts = {}
        for name in wave:
            known = run["planned_hosts"][name]
            hosts[name] = {
                "verdict": known["verdict"],
                "build": known["build"],
                "drains": ha_settings.drains(name, variables_of[name]),
                "checks": ha_settings.wanted_checks(
                    name, variables_of[name], options.get("soak") or 0
                ),
            }
        groups = {group for name in wave for group in of_host.get(name, ())}
        found.append(
            {
                "number": number,
                "hosts": hosts,
                "groups": {name: run["groups"][name] for name in sorted(groups)},
            }
        )
    return found


def left_behind(variables_of, everyone, in_run, options):
    """The leases that stopped runs left, to be taken over before anything is planned: one for
    each token, with C(host) (which it claims), C(token),
    C(run), C(age), C(groups), C(took) and C(places) (hosts on which something may have drained it).

    Believed is only what the plan knows: members of that very group, whatever a host says of
    others.
    """
    variables_of = Once(variables_of, in_run)
    claimed = {}
    for name in in_run:
        lease = survey_of(variables_of[name]).get("lease") or {}
        for one in lease.get("left") or ():
            claimed.setdefault(one["token"], []).append((name, one))
    if not claimed:
        return []
    hosts, groups, _aliases, _by_hand = _known(variables_of, everyone, set(in_run), options)
    names = {one.name for one in hosts}
    members = {group.name: set(group.members) for group in groups}
    found = {}
    for token, told in claimed.items():
        for name, one in told:
            known = [
                group
                for group in one["groups"]
                if members.get(
                    group["name"], {one["host"]} if one["groups"] == [group] else set()
                ).issuperset(group["members"])
            ]
            believed = {member for group in known for member in group["members"]}
            if one["host"] in believed and name in believed and one["host"] in names:
                best = found.get(token)
                if best is None or name == one["host"]:
                    places = [
                        drain["delegate_to"]
                        for drain in ha_settings.drains(one["host"], variables_of[one["host"]])
                    ]
                    found[token] = dict(one, groups=known, places=list(dict.fromkeys(places)))
    return sorted(found.values(), key=lambda one: waves.natural(one["host"]))


def _plan(variables_of, everyone, in_run, options, builds=()):
    inside = set(in_run)
    hosts, groups, aliases, by_hand = _known(variables_of, everyone, inside, options)
    unknown = ha_settings.missing(variables_of, everyone)
    groups = [replace(group, missing=unknown.get(group.name, 0)) for group in groups]
    allowed = waves.budget(options.get("max_failures", 0), len(options.get("play") or inside))
    unnamed = [one for one in hosts if one.name not in by_hand and one.name not in aliases]
    surveys = {one.name: survey_of(variables_of[one.name]) for one in hosts if one.in_run}
    lonely = {
        **(waves.lonely(groups) if options.get("partial_groups") else {}),
        **ha_settings.alone(unnamed, variables_of),
        **ha_settings.unread(unnamed, variables_of, surveys),
    }
    behind = _behind_the_back(hosts, variables_of, options)
    alone = {**lonely, **behind}
    _check_service(hosts, variables_of, everyone)
    hosts = [
        replace(
            one,
            verdict="left",
            reason=alone[one.name],
            reason_code="self_update" if one.name in behind else "group_unknown",
        )
        if one.name in alone and one.verdict in waves.WORK
        else one
        for one in hosts
    ]
    planned = waves.plan(
        hosts,
        groups,
        max_parallel=_integer(options.get("max_parallel", 10)),
        stages=options.get("stages") or (),
        proven=[None, *builds],
        partial_groups=bool(options.get("partial_groups")),
    )
    if not options.get("partial_groups"):
        # The role of a host that is skipped may come with the group that has no other member, and
        # so may its peer's.
        half = [group for group in groups if lonely.keys() & set(group.members)]
        apart = {name for group in half for name in group.members}.union(lonely)
        waves.doubtful(
            [replace(one, role=None) if one.name in apart else one for one in hosts],
            [group for group in groups if group not in half],
        )
    result = planned.as_dict()
    result["aliases"] = aliases
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
        }
        for one in hosts
        if one.in_run
    }
    result["contradictions"] = ha_settings.contradictions(
        variables_of, [name for name in everyone if name not in aliases]
    )
    result["warnings"] = ha_settings.renamed(
        [one.name for one in hosts if one.in_run], variables_of
    )
    if options.get("self_update", "warn") == "warn":
        result["warnings"] += [
            f"{name} installs updates by itself ({', '.join(survey['self_update'])}): what "
            "it installs outside of the rollout was not tried on a canary."
            for name, survey in surveys.items()
            if survey["self_update"]
        ]
    return result


def _known(variables_of, everyone, inside, options):
    """Everybody of the inventory, with one name for each machine; their groups; the other names
    of machines.
    """
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
        # A host outside of the run stops no other, unless it may be about a group of this
        # run.
        if any(group in str(variables_of[name].get("ksplice_ha_group")) for group in spoken_of):
            raise error
    # What the inventory says wins, and so does what the run says: a machine that is named by it,
    # by whichever of its names, is in no other group for what
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
            ha_settings.wanted_checks(one.name, variables_of[one.name])
            for drain in ha_settings.drains(one.name, variables_of[one.name]):
                if drain["delegate_to"] not in known:
                    raise PlanError(
                        f"Host {one.name}: ksplice_ha_drain names {drain['delegate_to']} "
                        "(delegate_to), which is not in the inventory: "
                        "correct it, or add the host."
                    )


def _behind_the_back(hosts, variables_of, options):
    """With C(self_update=refuse), the hosts that would install updates without the rollout, with
    the reason why they are skipped.
    """
    if options.get("self_update") != "refuse":
        return {}
    return {
        one.name: f"Skipped: it installs updates by itself ({', '.join(ways)}). Take that "
        "away (uptrack_config with autoinstall=false), "
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
                        f"Group {group} has two values of ksplice_ha_max_unavailable "
                        f"({limits[group]} and {limit}, the latter "
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


def rehearsal_hosts(variables_of, everyone):
    """What the rehearsal needs to know of each host: its own wishes, and the variables that steer
    a rollout.
    """
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
