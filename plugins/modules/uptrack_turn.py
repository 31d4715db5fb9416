#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: uptrack_turn
short_description: Let a host take its turn in a rollout, and look at or resume one
description:
  - A turn is what a rollout does with one host. It is drained, its kernel patched and checked,
    and it is restored, or rolled back where it is not healthy.
    The host does all of it by itself, in a process of its own, and ends it also where the control
    node dies or the connection is cut.
  - The host's journal (C(/var/lib/rebootless-ksplice/journal.json)) has how far it is. It is
    written before each step and after it, so that whatever the
    process is killed in, another carries the turn on. Where systemd runs the host, systemd
    restarts the process, also after a boot. Elsewhere a guardian
    does, and cron after a boot.
  - Role P(rebootless.ksplice.rolling#role) uses it. By hand, O(state=shown) reports its state.
extends_documentation_fragment:
  - rebootless.ksplice.attributes
  - rebootless.ksplice.attributes.action_group
attributes:
  check_mode:
    support: full
    details: The agent predicts what it would do. Nothing is begun.
  diff_mode:
    support: none
options:
  state:
    description:
      - V(begun) begins a turn under a lease of this host (M(rebootless.ksplice.ha_lease)), and
        waits until it is over, or waits for O(verdict).
      - V(finished) hands in the result of the checks elsewhere. V(resumed) takes over the stale
        lease of a run that stopped, and carries its turn to the end by
        the host's own checks. V(shown) changes nothing.
    type: str
    choices: [begun, finished, resumed, shown]
    default: shown
  token:
    description: The token of the lease; with O(state=resumed) a new one.
    type: str
  order:
    description:
      - With O(state=begun), what to do. C(token), C(run), C(host), C(drains) (see
        O(rebootless.ksplice.ha_drain#module:targets)), C(drain_when),
        C(drain_timeout), C(apply) (arguments of M(rebootless.ksplice.uptrack_apply)), C(checks)
        (see O(rebootless.ksplice.ha_check#module:checks)),
        C(check_timeout), C(stable_for), C(addresses), C(remote_checks), C(verdict_timeout),
        C(on_lost_controller), C(keep_lease), C(lease_seconds).
    type: dict
  verdict:
    description: With O(state=finished), C(good) and, where it is not, C(reason).
    type: dict
  old_token:
    description: With O(state=resumed), the stale lease.
    type: str
  run:
    description: With O(state=resumed), the run that takes over.
    type: str
  host:
    description: With O(state=resumed), this host's name in the inventory.
    type: str
  seconds:
    description: With O(state=resumed), seconds without a renewal after which the lease is stale
      again.
    type: int
    default: 600
  reason:
    description: With O(state=resumed), why, for runs that are refused because of the lease.
    type: str
  wait:
    description: Seconds within which the host answers at once, if its turn is over by then.
    type: float
    default: 0.0
  program:
    description: The program that carries the turn on, as the action plugin makes it.
    type: str
notes:
  - Needs root on the host.
  - By hand it is for O(state=shown). The other states are for role
    P(rebootless.ksplice.rolling#role), which has the leases that they need.
  - A refusal does not fail the task. See RV(refusal).
  - The process has none of the task's environment and has no forwarded ssh-agent.
seealso:
  - module: rebootless.ksplice.ha_lease
  - module: rebootless.ksplice.uptrack_apply
author:
  - rebootless.ksplice contributors (@rebootless)
"""

EXAMPLES = r"""
- name: See what goes on, or went on last
  rebootless.ksplice.uptrack_turn:
  become: true
  register: turn
"""

RETURN = r"""
turn:
  description:
    - The turn, null where there was none. C(state), C(reason) and C(reason_code) (of the first
      thing that went wrong), C(steps) (C(name), C(started),
      C(ended) in seconds since 1970, C(result)), C(applied) (as
      M(rebootless.ksplice.uptrack_apply) returns it), C(drained), C(restored), C(checks),
      C(holds), C(verdict), C(rolled_back), C(lost_controller), C(resumed) (how many times another
      process carried it on), C(host), C(run), C(token), C(began) and C(ended) (seconds since 1970),
      C(not_restored) (why it is still out of service), C(was_stuck), C(started) (whether its
      process has), C(pending) (what that is to take up).
    - The states are C(leased), C(draining), C(drained), C(applying), C(applied), C(checking),
      C(waiting), C(rolling_back), C(restoring), C(restored),
      C(released), C(stuck).
  returned: always
  type: dict
refusal:
  description: Why the host refused, in a sentence, or null.
  returned: always
  type: str
changed_nothing:
  description: Whether nothing was changed on the host. False beside RV(refusal) where the lease
    was taken over, or a verdict kept, before the refusal.
  returned: always
  type: bool
alive:
  description: Whether a process of this collection is at work on the host; null beside
    RV(refusal).
  returned: always
  type: bool
unknown:
  description: Whether the host does not know the lease that was to be taken over.
  returned: with O(state=resumed)
  type: bool
took:
  description: The tokens that the lease was known by before.
  returned: with O(state=resumed), where it was taken over
  type: list
  elements: str
serves:
  description: Whether the host is healthy and back in service.
  returned: with O(state=resumed)
  type: bool
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import task


def main():
    module = AnsibleModule(
        argument_spec=task.ARGUMENTS, required_if=task.REQUIRED_IF, supports_check_mode=True
    )
    root = os.environ.get("UPTRACK_LAB_ROOT", "")
    result = task.perform(module.params, module.check_mode, root, module.params["program"])
    if result["refusal"]:
        module.fail_json(msg=result["refusal"], **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
