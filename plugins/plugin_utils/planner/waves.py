# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The wave planner: who is patched when. A pure function of what is known of the hosts; nothing
here touches one.

The rules, strongest first:

0. Hosts that an earlier run left claimed go first.
1. A wave never holds more members of a redundancy group than the group can spare (one, unless told
otherwise for a group
   larger than a pair), members that cannot be reached counted as missing already.
2. Stages go in their order: no host of a stage before every host of the stages ahead of it.
3. One host of each kernel build goes ahead, alone of its build: its canary. An update belongs to
one build, so that a
   canary on another build proves nothing. It is the host that matters least: one that is marked as
   canary, or else one that is in no group, a standby before an active one.
4. Standby members go before active ones. (Where overlapping groups make that a circle, the circle
is broken by name.) 5. At most C(max_parallel) hosts at once.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections import Counter, OrderedDict
from dataclasses import dataclass, field, replace
from itertools import groupby

ROLES = ("active", "standby")
# What the survey may say of a host that has something to do.
WORK = ("behind", "blocked")


class PlanError(ValueError):
    """The options or the inventory are not valid; the text says why, and what to do.

    Nothing was planned.
    """


@dataclass(frozen=True)
class Host:
    """What the planner knows of a host.

    :param verdict: see uptrack_facts, or C(unreachable).
    :param build: what an update belongs to: release, version and architecture of the booted kernel.
    :param in_run: whether the run may touch it; the others only count as members of their groups.
    :param reason_code: the reason as a code, see turns.REASON_CODES.
    :param canary: whether it is to go ahead of its kernel build.
    :param host_id: which machine it is, see uptrack_facts; None where unknown.
    :param settings: what the inventory says of how this host is to be treated, in a form that can
        be compared; empty where it says nothing.
    """

    name: str
    verdict: str
    build: str | None = None
    groups: tuple = ()
    role: str | None = None
    stage: str | None = None
    reason: str = ""
    reason_code: str | None = None
    in_run: bool = True
    canary: bool = False
    host_id: str | None = None
    settings: tuple = ()

    @property
    def has_work(self):
        """Whether there is something to do: updates that wait, or a lease to be taken over, without
        which a drained host might stay out of service.
        """
        return self.verdict in WORK


@dataclass(frozen=True)
class Group:
    """A redundancy group: its members, and how many of them may be out of service at once.

    :param missing: members of the group that are not in the inventory.
    """

    name: str
    members: tuple
    max_unavailable: int = 1
    missing: int = 0


@dataclass
class Plan:
    """Ordered waves of host names, and for every other host of the run the reason why it is in
    none, as a sentence and as a code.
    """

    waves: list = field(default_factory=list)
    canaries: list = field(default_factory=list)
    left: dict = field(default_factory=dict)
    left_codes: dict = field(default_factory=dict)

    @property
    def hash(self):
        """Twelve hexadecimal digits that stand for exactly this plan: who goes when, and who does
        not.
        """
        # Without the reasons: they contain ages, and would change the plan's hash every minute.
        text = json.dumps([self.waves, self.canaries, sorted(self.left)])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def as_dict(self):
        return {
            "hash": self.hash,
            "waves": self.waves,
            "canaries": self.canaries,
            "left": self.left,
            "left_codes": self.left_codes,
        }


def machines(hosts):
    """Hosts with one name for each machine. Of several names of one machine one that the run may
    touch, and that the inventory says most of, does the work and is a member of the groups of all.

    :returns: the hosts, and the other names: alias to the name that does the work.
    """
    names = {}
    for one in sorted(
        hosts, key=lambda h: (not h.in_run, not h.settings, not h.groups, natural(h.name))
    ):
        if one.host_id:
            names.setdefault(one.host_id, []).append(one)
    first, aliases = {}, {}
    for known in names.values():
        if len(known) > 1:
            groups = tuple(dict.fromkeys(group for one in known for group in one.groups))
            role = next(
                (role for role in ("active", "standby") if role in [one.role for one in known]),
                None,
            )
            merged = replace(
                known[0], groups=groups, role=role, canary=any(one.canary for one in known)
            )
            other = next(
                (one for one in known if one.settings and one.settings != merged.settings), None
            )
            if other and merged.has_work:
                differ = sorted({key for key, _value in set(other.settings) ^ set(merged.settings)})
                why = (
                    f"Skipped: {other.name} is another name of this machine, and the inventory "
                    f"has different values for the two ({', '.join(differ)}). Set the same for "
                    "both, or for one only."
                )
                merged = replace(merged, verdict="left", reason=why, reason_code="settings_differ")
            first[merged.name] = merged
            aliases.update((one.name, merged.name) for one in known[1:])

    def told(one):
        if one.name in aliases:
            return replace(
                one,
                groups=(),
                role=None,
                verdict="left",
                reason_code="alias",
                reason=f"Another name of {aliases[one.name]}: both have "
                "the same machine ID and boot ID.",
            )
        return first.get(one.name, one)

    return [told(one) for one in hosts], aliases


def groups_of(hosts, named=None, max_unavailable=None):
    """The redundancy groups: those that the hosts name, and those named with their members. A
    mistake in a group outside of the run does not stop it.

    :param named: mapping of group to list of members, or None.
    :param max_unavailable: mapping of group to how many members may be out at once, or one number
        for all; None means 1.
    :raises PlanError: for unknown members, a member named twice, or a number that would leave no
        member serving.
    """
    if not isinstance(named or {}, dict):
        raise PlanError(
            f"ksplice_ha_groups (rolling_groups) is {named!r}: give a "
            "mapping of groups to lists of hosts."
        )
    names = {host.name: None for host in hosts}
    in_run = {host.name for host in hosts if host.in_run}
    # Of each group a mapping, for its keys: a list would be searched once for each member.
    members = {}
    for host in hosts:
        for group in dict.fromkeys(host.groups):
            if host.in_run and host.groups.count(group) > 1:
                raise PlanError(
                    f"Host {host.name} names the group {group} twice (ksplice_ha_group): "
                    "name it once."
                )
            members.setdefault(group, {})[host.name] = None
    for group, listed in (named or {}).items():
        if not isinstance(group, str) or not group:
            raise PlanError(
                f"ksplice_ha_groups (rolling_groups) has a group {group!r}: give it a name, in "
                "quotes where YAML reads something else."
            )
        if isinstance(listed, (list, tuple)) and not in_run.intersection(
            name for name in listed if isinstance(name, str)
        ):
            # Of hosts outside of the run, whoever they are.
            members.setdefault(group, {}).update(
                (name, None) for name in listed if isinstance(name, str) and name in names
            )
            continue
        if isinstance(listed, str) or not isinstance(listed, (list, tuple)):
            raise PlanError(
                f"Group {group} must be a list of hosts (ksplice_ha_groups), not {listed!r}."
            )
        times = Counter(name for name in listed if isinstance(name, str))
        for name in listed:
            if not isinstance(name, str) or name not in names:
                raise PlanError(
                    f"Group {group} names {name}, which is not in the inventory"
                    f"{_meant(name, names)}: correct ksplice_ha_groups, or add the host."
                )
            if times[name] > 1:
                raise PlanError(
                    f"Group {group} names {name} twice (ksplice_ha_groups): name it once."
                )
            members.setdefault(group, {})[name] = None
    result = []
    for group, listed in members.items():
        if not in_run.intersection(listed):
            result.append(Group(group, tuple(sorted(listed, key=natural))))
            continue
        spare = (
            max_unavailable.get(group, 1)
            if isinstance(max_unavailable, dict)
            else max_unavailable or 1
        )
        if not isinstance(spare, int) or isinstance(spare, bool) or spare < 1:
            raise PlanError(
                f"Group {group} allows {spare!r} members out of service "
                "(ksplice_ha_max_unavailable): give a number, 1 or more."
            )
        if len(listed) > 1 and spare >= len(listed):
            raise PlanError(
                f"Group {group} has {len(listed)} members and allows {spare} of them out "
                "of service (ksplice_ha_max_unavailable): that would leave no member "
                "serving. Give a smaller number."
            )
        result.append(Group(group, tuple(sorted(listed, key=natural)), spare))
    return sorted(result, key=lambda group: natural(group.name))


def doubtful(hosts, groups):
    """Complain of what cannot be meant: a typing mistake here would put two members of a group into
    one wave.

    :raises PlanError: for a group of one, groups that differ in case only, and a role without a
        group, of hosts that the run may touch.
    """
    spelt, in_run = {}, {host.name for host in hosts if host.in_run}
    for group in groups:
        other = spelt.setdefault(group.name.lower(), group)
        if other is not group and in_run.intersection((*group.members, *other.members)):
            raise PlanError(
                f"The groups {other.name} and {group.name} differ in upper and lower case "
                "only: spell them alike if they are one group, or rename one of them."
            )
        if not in_run.intersection(group.members):
            continue
        if "," in group.name:
            raise PlanError(
                f"Group {group.name!r} has a comma in its name: for several groups give a list "
                "(ksplice_ha_group: [a, b])."
            )
        if len(group.members) == 1:
            raise PlanError(
                f"Group {group.name} has one member only, {group.members[0]}: name the "
                "others, or remove the group. ksplice_partial_groups=true skips it and "
                "goes on with the others."
            )
    grouped = {name for group in groups for name in group.members}
    for host in hosts:
        if host.in_run and host.role and host.name not in grouped:
            raise PlanError(
                f"Host {host.name} is {host.role} (ksplice_ha_role) but in no group: give it "
                "ksplice_ha_group."
            )


def lonely(groups):
    """Hosts whose group has no other member in this inventory, as in one that was cut into slices:
    host to the reason why it is skipped. There is no one to grant leases for the others.
    """
    return {
        group.members[0]: (
            f"Skipped: it is the only member of its group {group.name} in this "
            "inventory. Add its peers, or remove the group."
        )
        for group in groups
        if len(group.members) == 1
    }


def plan(hosts, groups=(), max_parallel=10, stages=(), proven=(), partial_groups=False):
    """Order the hosts that have work into waves.

    :param hosts: every host of the inventory.
    :param groups: see groups_of.
    :param max_parallel: the most hosts in a wave.
    :param stages: names of stages in their order. A host without one belongs to the last.
    :param proven: kernel builds that need no canary any more.
    :param partial_groups: plan even where the run may touch only some members of a group.
    :raises PlanError: if it cannot be planned as asked.
    """
    check(hosts, max_parallel, stages)
    by_name = {host.name: host for host in hosts}
    result = Plan()
    waiting = {}
    for host in hosts:
        if not host.in_run:
            continue
        if host.has_work:
            waiting[host.name] = host
        else:
            result.left[host.name] = host.reason or host.verdict
            result.left_codes[host.name] = host.reason_code or host.verdict
    group_of_host = {name: [] for name in by_name}
    spare = {}
    for group in groups:
        missing = [name for name in group.members if by_name[name].verdict == "unreachable"]
        outside = [name for name in group.members if not by_name[name].in_run]
        if outside and not partial_groups and any(name in waiting for name in group.members):
            raise PlanError(
                f"Group {group.name} is split: {', '.join(outside)} is outside this run "
                "(--limit, or its hosts). Include the whole group, or allow it with "
                "ksplice_partial_groups=true."
            )
        spare[group.name] = group.max_unavailable - len(missing) - group.missing
        for name in group.members:
            group_of_host[name].append(group)
            if name in waiting and spare[group.name] < 1:
                result.left_codes[name] = "peer_unreachable" if missing else "peer_unknown"
                result.left[name] = (
                    (f"Skipped: {', '.join(missing)} of its group {group.name} cannot be reached.")
                    if missing
                    else (
                        f"Skipped: {group.missing} more of its group {group.name} did not answer "
                        "or is not in the inventory."
                    )
                )
    for name in result.left:
        waiting.pop(name, None)

    rank = {stage: number for number, stage in enumerate(stages)}
    last = len(stages)
    grouped = {name for name, known in group_of_host.items() if known}
    order = sorted(
        waiting.values(),
        key=lambda h: (rank.get(h.stage, last), h.role == "active", natural(h.name)),
    )
    # How many members of each group, of those that still wait, go before its active ones.
    standby = Counter(
        group.name for h in order if h.role != "active" for group in group_of_host[h.name]
    )
    seen_builds = set(proven)
    # There may be thousands of waves: nothing that is done for each may walk over all hosts.
    for _stage, together in groupby(order, lambda h: rank.get(h.stage, last)):
        # A plain dict would walk over the places of all who have left it.
        candidates = OrderedDict((h.name, h) for h in together)
        canaries = _canaries(
            [h for h in candidates.values() if h.build not in seen_builds], grouped
        )
        while candidates:
            wave = _wave(candidates.values(), standby, group_of_host, spare, canaries, max_parallel)
            result.waves.append([h.name for h in wave])
            result.canaries.extend(h.name for h in wave if h.build not in seen_builds)
            for one in wave:
                del candidates[one.name]
                seen_builds.add(one.build)
                canaries.pop(one.build, None)
                if one.role != "active":
                    standby.subtract(group.name for group in group_of_host[one.name])
    return result


def _canaries(hosts, grouped):
    """The host of each kernel build that matters least: build to name."""
    found = {}
    for one in sorted(
        hosts, key=lambda h: (not h.canary, h.name in grouped, h.role == "active", natural(h.name))
    ):
        found.setdefault(one.build, one.name)
    return found


def _wave(candidates, standby, group_of_host, spare, canaries, max_parallel):
    """The next wave: as many of the candidates, in their order, as the rules allow together.

    :param standby: how many members of each group still go before its active ones.
    :param canaries: of each build that is not proven yet, the host that goes ahead.
    """
    wave, used = [], {}

    def fits(host, mind_roles=True):
        if canaries.get(host.build, host.name) != host.name:
            return False
        for group in group_of_host[host.name]:
            if used.get(group.name, 0) >= spare[group.name]:
                return False
            if mind_roles and host.role == "active" and standby[group.name]:
                return False
        return True

    def take(host):
        wave.append(host)
        for group in group_of_host[host.name]:
            used[group.name] = used.get(group.name, 0) + 1

    for host in candidates:
        if len(wave) == max_parallel:
            break
        if fits(host):
            take(host)
    if not wave:
        # Each active member of this stage waits for a standby of another group, build or stage.
        take(next(host for host in candidates if fits(host, mind_roles=False)))
    return wave


def check(hosts, max_parallel, stages):
    """Complain of what needs no look at any host.

    :raises PlanError: for no host, a host twice, and values, roles and stages that there are not.
    """
    if not any(host.in_run for host in hosts):
        raise PlanError(
            "There is no host to plan for: the inventory is empty, or --limit (or ksplice_hosts) "
            "leaves none."
        )
    names = [host.name for host in hosts]
    for name in names if len(names) != len(set(names)) else ():
        if names.count(name) > 1:
            raise PlanError(f"Host {name} is in the list twice: name it once.")
    if not isinstance(max_parallel, int) or isinstance(max_parallel, bool) or max_parallel < 1:
        raise PlanError(
            "max_parallel (ksplice_max_parallel, rolling_max_parallel) is "
            f"{max_parallel!r}: give a number, 1 or more."
        )
    if isinstance(stages, str) or not all(isinstance(stage, str) for stage in stages):
        raise PlanError(
            f"stages (ksplice_stages, rolling_stages) is {stages!r}: give a list of names."
        )
    if len(stages) != len(set(stages)):
        raise PlanError("stages names a stage twice: name each once.")
    for host in hosts:
        if not host.in_run:
            continue
        if host.role is not None and host.role not in ROLES:
            raise PlanError(
                f"Host {host.name} has the role {host.role!r} (ksplice_ha_role): give active or "
                f"standby{_meant(host.role, ROLES)}."
            )
        if host.stage is not None and host.stage not in stages:
            raise PlanError(
                f"Host {host.name} is in the stage {host.stage!r} (ksplice_stage), which is not "
                "one of the stages of this run (ksplice_stages: "
                f"{', '.join(stages) or 'none'}){_meant(host.stage, stages)}."
            )


def budget(max_failures, hosts):
    """How many of so many hosts may fail before a rollout stops: a number as it is, a percentage
    rounded down, but at least one, so that a small fleet does not stand still for one dead host.

    :raises PlanError: for anything else.
    """
    text = str(max_failures).strip()
    if re.fullmatch(r"\d+", text):
        return int(text)
    if re.fullmatch(r"\d+(\.\d+)?%", text) and float(text[:-1]) <= 100:
        return max(int(hosts * float(text[:-1]) / 100), 1 if float(text[:-1]) else 0)
    raise PlanError(
        f"max_failures (ksplice_max_failures, rolling_max_failures) is {max_failures!r}: give a "
        "number of hosts, or a percentage such as 10%."
    )


def natural(name):
    """A key that sorts web2 before web10."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in re.findall(r"\d+|\D+", str(name))
    ]


def _meant(word, words):
    close = difflib.get_close_matches(str(word), [str(w) for w in words], 1)
    return f" (did you mean {close[0]}?)" if close else ""
