#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: uptrack_apply
short_description: Put Ksplice updates into the running kernel, or take them out
description:
  - Brings the running kernel to the latest updates, or puts in or takes out some of them, without a
    reboot.
  - What it reports as changed comes from the kernel's own state before and after, also when the
    agent failed half way. A run can therefore be failed and changed at once. RV(installed),
    RV(removed) and RV(failures) then say what is where.
  - Waits for another run of the agent, and repeats what may succeed later, both within bounds. It
    never reboots, never ends a process, never removes a lock, and installs no package.
extends_documentation_fragment:
  - rebootless.ksplice.attributes
  - rebootless.ksplice.attributes.action_group
attributes:
  check_mode:
    support: full
    details: It runs the agent's own dry run, which may refresh the agent's cache and plan, and
      never touches the kernel.
  diff_mode:
    support: full
options:
  state:
    description:
      - V(latest) installs everything the service has for the running kernel, and takes out what
        that supersedes.
      - V(present) installs the updates named by O(updates) and O(cves), with those they need.
      - V(absent) takes out the updates named, or with O(all=true) every one. The agent also takes
        out what was put in on top of them; RV(took_along) lists it.
    type: str
    choices: [latest, present, absent]
    default: latest
  updates:
    description:
      - IDs of updates, as in C([abcd1234]). An ID belongs to one kernel build.
      - IDs are checked before anything runs, because the agent calls it a success when it skips one
        that it does not know.
    type: list
    elements: str
  cves:
    description:
      - CVEs, standing for the updates that name them.
      - With O(state=present) a CVE that no update names is an error. With O(state=absent) it is
        taken out already.
    type: list
    elements: str
  exact:
    description:
      - With O(state=present), refuse if anything but the updates named would go in, such as another
        update that one of them needs.
      - So a later host takes exactly what was proven on an earlier one. RV(left) says what was left
        for it, and how old that is.
    type: bool
    default: false
  effective:
    description:
      - Offline client only. Go up to this effective version and no further. It is
        C(RELEASE.ARCH/VERSION), as C(uptrack-upgrade --list-effective) and
        RV(rebootless.ksplice.uptrack_facts#module:ansible_facts.uptrack.kernel.effective_build) say
        it. Goes with O(state=latest).
    type: str
  allow_downgrade:
    description:
      - Let O(effective) lie below what the kernel has. The agent only goes upwards, so that every
        update is taken out first. For that time none of the fixes is in the kernel.
    type: bool
    default: false
  all:
    description: With O(state=absent), take out every update. The kernel then runs as it was booted,
      with none of the fixes.
    type: bool
    default: false
  pause:
    description: Seconds that the agent pauses after each update (its option C(--wait)).
    type: float
    default: 0.0
  lock_timeout:
    description:
      - Seconds to go on trying while another run of the agent (its cron job, say) holds its lock.
      - Each try waits up to ten seconds in the agent itself.
    type: int
    default: 300
  retries:
    description:
      - How many times to try again after something that may go away by itself. That is the network,
        an error of the service, or a program inside the code to be changed.
    type: int
    default: 3
  retry_delay:
    description:
      - Seconds before the first of those tries, doubled before each further one.
      - Each host takes between half and one and a half of it, by its name, so that a fleet does not
        come back at one moment.
    type: int
    default: 20
  timeout:
    description:
      - Seconds after which a command of the agent is told to end, and ten seconds later killed.
        Only what this task started is ended; what is in the kernel then is told as it is. The
        default leaves room for a first upgrade of hundreds of updates over a slow line.
    type: int
    default: 3600
  unsupported:
    description:
      - Whether a kernel that the service does not know makes the task fail. For a kernel released
        just now that is normal, until the first update for it exists.
    type: str
    choices: [fail, ignore]
    default: fail
  lease:
    description:
      - The token of the lease that has this host in hand, see M(rebootless.ksplice.ha_lease). Role
        P(rebootless.ksplice.rolling#role) sets it.
      - Without it, as in a command by hand or from cron, the task is refused as long as any run has
        this host or a partner of it in hand.
    type: str
notes:
  - Needs root on the host.
  - A run with a hundred updates takes minutes, and a slow service up to ten minutes for each call.
    Use C(async) where a connection would not last.
seealso:
  - module: rebootless.ksplice.uptrack_facts
  - module: rebootless.ksplice.uptrack_config
author:
  - rebootless.ksplice contributors (@rebootless)
"""

EXAMPLES = r"""
- name: Patch the running kernel
  rebootless.ksplice.uptrack_apply:
  become: true

- name: See what that would do
  rebootless.ksplice.uptrack_apply:
  become: true
  check_mode: true

- name: Fix one CVE and nothing else
  rebootless.ksplice.uptrack_apply:
    state: present
    cves: [CVE-2026-12345]
  become: true

- name: Take an update out again
  rebootless.ksplice.uptrack_apply:
    state: absent
    updates: [abcd1234]
  become: true

- name: Take exactly what was proven on another host
  rebootless.ksplice.uptrack_apply:
    state: present
    updates: "{{ hostvars['canary1']['patched']['installed'] }}"
    exact: true
  become: true

- name: Stop at an effective version (offline client)
  rebootless.ksplice.uptrack_apply:
    effective: "5.15.0-206.153.7.1.el9uek.x86_64/#2 SMP Wed May 22 20:24:12 PDT 2026"
  become: true
"""

RETURN = r"""
before:
  description: The kernel before, with V(effective) (as in M(rebootless.ksplice.uptrack_facts)) and
    V(updates), the IDs in it.
  returned: when the host could be looked at
  type: dict
  sample: {effective: 5.15.0-302.167.6.el9uek.x86_64, updates: []}
after:
  description: The same after the run. In check mode V(updates) is what the agent's plan would lead
    to and V(effective) is null.
  returned: when the host could be looked at
  type: dict
  sample: {effective: 5.15.0-311.185.9.el9uek.x86_64, updates: [abcd1234]}
installed:
  description: IDs that are in the kernel now and were not before.
  returned: when the host could be looked at
  type: list
  elements: str
removed:
  description: IDs that were in the kernel before and are not now.
  returned: when the host could be looked at
  type: list
  elements: str
took_along:
  description: Those of RV(removed) that nobody named, which had to come out because they lay on
    top.
  returned: with O(state=absent), when there was something to take out
  type: list
  elements: str
left:
  description:
    - What still waits, each with V(id), V(name), V(cves), V(first_seen) (UTC, since when the host
      has it on disk; the agent tells no date of publication) and V(age) (the same in seconds); null
      where it is not on disk.
  returned: with O(state=present), but not in check mode
  type: list
  elements: dict
remaining:
  description: IDs that still wait.
  returned: when the host could be looked at
  type: list
  elements: str
failures:
  description: Updates that would not go in or come out.
  returned: when the host could be looked at
  type: list
  elements: dict
  contains:
    id:
      description: The update.
      type: str
      returned: always
    name:
      description: Its name.
      type: str
      returned: always
    verb:
      description: V(install) or V(remove).
      type: str
      returned: always
    reason:
      description: The kernel's word for it, such as V(code_busy), V(no_match), V(out_of_memory),
        V(module_busy); V(unknown) otherwise.
      type: str
      returned: always
    processes:
      description: Programs that stand in the way, each with V(name) and V(pid).
      type: list
      elements: dict
      returned: always
    modules:
      description: Kernel modules that stand in the way.
      type: list
      elements: str
      returned: always
    advice:
      description: What to do.
      type: str
      returned: always
cves_fixed:
  description: CVEs that this run fixed.
  returned: when the host could be looked at
  type: list
  elements: str
cves_open:
  description: CVEs that what still waits would fix; null if that is not known.
  returned: when the host could be looked at
  type: list
  elements: str
attempts:
  description: How many times the agent was started for the change or, in check mode, for its plan.
  returned: when the host could be looked at
  type: int
rc:
  description: The agent's last exit status.
  returned: when the host could be looked at
  type: int
error_class:
  description:
    - Null if all went well. V(transient) (may succeed later), V(host) (something on the host stands
      in the way), V(licence) (key or subscription), V(unsupported) (kernel not covered), V(agent)
      (the agent is at fault), V(lease) (another run has this host or a partner of it in hand),
      V(unknown).
  returned: always
  type: str
verdict:
  description: How the host stands after the run, as
    RV(rebootless.ksplice.uptrack_facts#module:ansible_facts.uptrack.verdict).
  returned: when the host could be looked at
  type: str
reason:
  description: The sentence to the verdict.
  returned: when the host could be looked at
  type: str
seconds:
  description: How long the module worked on the host.
  returned: when the host could be looked at
  type: float
stdout:
  description: The agent's own words, without secrets.
  returned: on failure
  type: str
"""

import platform
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent.apply import (
    ARGUMENTS,
    Agent,
    Refused,
    apply,
)


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    started = time.monotonic()
    try:
        result = apply(
            Agent(module.run_command),
            module.params,
            module.check_mode,
            host=platform.node(),
            sleep=time.sleep,
            clock=time.monotonic,
        )
    except Refused as refused:
        module.fail_json(**dict(refused.result, msg=str(refused), error_class=refused.error_class))
    result["seconds"] = round(time.monotonic() - started, 3)
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    if module._diff:
        result["diff"] = {
            "before": lines(result["before"]["updates"]),
            "after": lines(result["after"]["updates"]),
        }
    if result.pop("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


def lines(updates):
    return "".join(f"{ident}\n" for ident in updates)


if __name__ == "__main__":
    main()
