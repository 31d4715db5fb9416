# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Which hosts a play of a rollout works on."""

from __future__ import annotations

DOCUMENTATION = r"""
name: rollout
author: rebootless.ksplice contributors (@rebootless)
short_description: Which hosts the next play of a rollout works on
description:
  - For the C(hosts) and C(serial) of the plays of this collection's playbooks, which follow the
    plan of the run. Outside of such a run, as for a syntax
    check, it gives a pattern that matches no host.
options:
  _terms:
    description: V(order) (the hosts in the order of their waves), V(sizes) (of the waves),
      V(left_behind) (hosts that a stopped run left claimed), V(left) (the
      leases that it left),
      V(attention) (hosts that need attention), V(reasons) (why they do), V(nobody).
    type: list
    elements: str
    choices: [order, sizes, left_behind, left, attention, reasons, nobody]
    required: true
"""

EXAMPLES = r"""
- name: A play by the plan
  hosts: "{{ lookup('rebootless.ksplice.rollout', 'order') }}"
  serial: "{{ lookup('rebootless.ksplice.rollout', 'sizes') }}"
  roles: []
"""

RETURN = r"""
_raw:
  description: Patterns, or numbers.
  type: list
  elements: raw
"""

from ansible.plugins.lookup import LookupBase
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import run_files
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import inventory


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **_more):
        files = run_files.RunFiles("run")
        [wanted] = terms
        if wanted in ("order", "sizes"):
            plan = files.read("plan.json") or {"order": inventory.patterns([]), "sizes": [1]}
            return [plan[wanted]]
        if wanted == "nobody":
            return [inventory.patterns([])]
        if wanted in ("left_behind", "left"):
            left = files.read("left_behind.json") or []
            if wanted == "left":
                return [left]
            return [inventory.patterns(dict.fromkeys(one["host"] for one in left))]
        attention = files.read("attention.json") or {}
        return [attention if wanted == "reasons" else inventory.patterns(attention)]
