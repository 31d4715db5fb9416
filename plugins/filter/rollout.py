# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Filters of the collection: the wave planner, the steps of a rollout, and its record. All of
them are pure.
"""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import record, rollout
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import inventory, waves


def plan_waves(
    hosts, groups=None, max_parallel=10, stages=(), max_unavailable=None, partial_groups=False
):
    """Hosts (mappings with name, verdict, build, groups, role, stage) to ordered waves."""
    try:
        known = [_host(one) for one in hosts]
        return waves.plan(
            known,
            waves.groups_of(known, groups, max_unavailable),
            max_parallel,
            list(stages),
            partial_groups=partial_groups,
        ).as_dict()
    except waves.PlanError as error:
        raise AnsibleFilterError(str(error)) from error


def everybody(groups, sources=(), limit=None):
    """The pattern of a playbook's first play: see inventory.everybody."""
    try:
        return inventory.everybody(groups, sources, limit)
    except waves.PlanError as error:
        raise AnsibleFilterError(str(error)) from error


def _host(one):
    if not isinstance(one, dict) or "name" not in one:
        raise waves.PlanError(
            f"{one!r} is not a host: give a mapping with at least name, verdict and build."
        )
    unknown = sorted(
        set(one)
        - {"name", "verdict", "build", "groups", "role", "stage", "reason", "in_run", "canary"}
    )
    if unknown:
        raise waves.PlanError(
            f"Host {one['name']} has {unknown[0]!r}, which the planner does not know: remove it."
        )
    return waves.Host(
        **dict(one, groups=tuple(one.get("groups") or ()), verdict=one.get("verdict", "unknown"))
    )


class FilterModule:
    def filters(self):
        return {
            "plan_waves": plan_waves,
            "plan_lines": record.plan_lines,
            "run_record_lines": record.lines,
            "rehearsal_hosts": rollout.rehearsal_hosts,
            "rollout_everybody": everybody,
        }
