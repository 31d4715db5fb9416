#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: ha_lease
short_description: Request a lease from one member of a redundancy group, and show or end leases
description:
  - A lease on a host is granted by the members of its redundancy group, each of which keeps it on
    its own disk. As long as it stands, no other run can claim as many members as would leave the
    group without service, and
    M(rebootless.ksplice.uptrack_apply) refuses on each of them.
  - One task is one member. Role P(rebootless.ksplice.rolling#role) does the whole of it, over all
    members in the order of their names. By hand
    O(state=shown) and O(state=broken) are for people.
  - The leases are in C(/var/lib/rebootless-ksplice/leases.json) and outlive a boot. The file
    C(docs/leases.md) of the collection describes the protocol.
extends_documentation_fragment:
  - rebootless.ksplice.attributes
  - rebootless.ksplice.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: RV(leases) says what stands afterwards.
options:
  state:
    description:
      - V(acquired) asks this member to grant the lease. A refusal does not fail the task, see
        RV(granted).
      - V(renewed) keeps a lease alive, and writes down what is about to be done.
      - V(released) ends a lease here, on the claimed host before all others. That host refuses
        where another run has taken the lease over. The leases
        on the others belong to that run then, and are not released.
      - V(adopted) takes over, on the claimed host itself, a lease that has become stale. V(ended)
        then clears the old token on the other members, and
        on its host where RV(unknown) says that the host does not have it.
      - V(shown) changes nothing. V(broken) ends what stands here by hand, and needs O(reason).
    type: str
    choices: [acquired, renewed, released, adopted, ended, shown, broken]
    default: shown
  token:
    description: The attempt's own identifier, a new one for each. With O(state=broken) the lease to
      end; without it all that stand here are ended.
    type: str
  run:
    description: The run that asks, by the name that people know.
    type: str
  host:
    description: The host that is to be claimed, by its name in the inventory.
    type: str
  member:
    description: The host that this task runs on, by its name in the inventory.
    type: str
  groups:
    description: The redundancy groups of O(host).
    type: list
    elements: dict
    suboptions:
      name:
        description: The group.
        type: str
        required: true
      members:
        description: All its members, O(host) included.
        type: list
        elements: str
        required: true
      max_unavailable:
        description: How many members may be out of service at once.
        type: int
        default: 1
  unreachable:
    description: Members that could not be asked. They count as out of service.
    type: list
    elements: str
    default: []
  seconds:
    description: Seconds without a renewal after which the lease is stale. Stale is not free.
    type: int
    default: 600
  wait:
    description:
      - With O(state=acquired), seconds to keep asking while the answer is a refusal. A lease that
        is or becomes stale ends the waiting, as it does not end by itself.
    type: int
    default: 0
  phase:
    description: What is about to be done with the host.
    type: str
    choices: [acquired, draining, applying, verifying, restoring]
  old_token:
    description: With O(state=adopted), the stale lease.
    type: str
  checks:
    description: Checks of this member that the question carries, see
      O(rebootless.ksplice.ha_check#module:checks). They are made once the lease is granted.
    type: list
    elements: dict
    default: []
  check_timeout:
    description: Seconds within which O(checks) must pass.
    type: int
    default: 0
  addresses:
    description: Addresses for which RV(holds) says whether this member holds them.
    type: list
    elements: str
    default: []
  held:
    description: Those of O(addresses) that are expected here, for which it waits a few seconds.
    type: list
    elements: str
  reason:
    description: Why. A run that is refused is given it.
    type: str
notes:
  - Needs root on the host.
seealso:
  - module: rebootless.ksplice.uptrack_apply
author:
  - rebootless.ksplice contributors (@rebootless)
"""

EXAMPLES = r"""
- name: Who has claimed this host, or a peer of it
  rebootless.ksplice.ha_lease:
  become: true
  register: lease

- name: End a lease whose run is known to be dead, after a look at its host
  rebootless.ksplice.ha_lease:
    state: broken
    reason: controller lost in the power cut of Tuesday, lb1 looked at by hand
  become: true
"""

RETURN = r"""
granted:
  description: Whether the lease was granted, renewed or ended.
  returned: always
  type: bool
refusal:
  description: Why it is not, in a sentence that names the run and the host it protects, or null.
  returned: always
  type: str
changed_nothing:
  description: Whether the ledger is as it was.
  returned: always
  type: bool
leases:
  description:
    - The content of the ledger afterwards. C(token), C(run), C(host), C(own) (whether it is this
      very host that is claimed), C(groups), C(reason), C(phase),
      C(took) (tokens of runs that it was taken over from), C(acquired_at) and
      C(renewed_at) (UTC), C(age) (seconds since the last renewal),
      C(seconds), C(stale).
  returned: always
  type: list
  elements: dict
checks:
  description: The results of O(checks), see RV(rebootless.ksplice.ha_check#module:checks).
  returned: when asked for and granted
  type: list
  elements: dict
holds:
  description: Those of O(addresses) that this member holds.
  returned: when asked for and granted
  type: list
  elements: str
busy:
  description: Whether a process of this collection, or the agent, is at work on this host.
  returned: always
  type: bool
waited:
  description: Seconds that it took.
  returned: always
  type: int
unknown:
  description: With O(state=adopted), whether the lease is not on this host at all.
  returned: always
  type: bool
adopted:
  description: The lease that was taken over.
  returned: with O(state=adopted), when granted
  type: dict
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import lease_task, ledger


def main():
    module = AnsibleModule(
        argument_spec=lease_task.ARGUMENTS,
        required_if=lease_task.REQUIRED_IF,
        supports_check_mode=True,
    )
    try:
        result = lease_task.run(
            module.params, module.check_mode, os.environ.get("UPTRACK_LAB_ROOT", "")
        )
    except ledger.Broken as broken:
        module.fail_json(msg=str(broken), changed_nothing=True)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
