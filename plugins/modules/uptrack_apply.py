#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: uptrack_apply
short_description: Install Ksplice updates into the running kernel, or remove them
description:
  - Brings the running kernel to the latest updates, or installs or removes some of them, without a
    reboot.
  - What it reports as changed comes from the kernel's own state before and after, also when the
    agent failed half way. A task can therefore be both failed and changed. RV(installed),
    RV(removed) and RV(failures) then report what happened to each update.
  - Waits for another run of the agent, and retries what may succeed later, both within limits. It
    never reboots, never terminates a process, never removes a lock, and installs no package.
extends_documentation_fragment:
  - rebootless.ksplice.attributes
  - rebootless.ksplice.attributes.action_group
attributes:
  check_mode:
    support: full
    details: Performs the agent's own dry run, which may refresh the agent's cache and plan, and
      never touches the kernel.
  diff_mode:
    support: full
options:
  state:
    description:
      - V(latest) installs all updates that the service has for the running kernel, and removes
        those they supersede.
      - V(present) installs the updates named by O(updates) and O(cves), with those they require.
      - V(absent) removes the updates named, or with O(all=true) every one. The agent also removes
        those that were installed on top of them; RV(took_along) lists it.
    type: str
    choices: [latest, present, absent]
    default: latest
  updates:
    description:
      - IDs of updates, as in C([abcd1234]). An ID belongs to one kernel build.
      - IDs are checked before anything runs, because the agent reports success when it skips an
        unknown one.
    type: list
    elements: str
  cves:
    description:
      - CVEs, selecting the updates that name them.
      - With O(state=present) a CVE that no update names is an error. With O(state=absent) it counts
        as already removed.
    type: list
    elements: str
  exact:
    description:
      - With O(state=present), fail if anything but the updates named would be installed, such as
        another update that one of them requires.
      - A later host thus gets exactly what was proven on an earlier one. RV(left) reports which
        updates were left out for that reason, and how old they are.
    type: bool
    default: false
  effective:
    description:
      - Offline client only. Go up to this effective version and no further. It is
        C(RELEASE.ARCH/VERSION), as C(uptrack-upgrade --list-effective) and
        RV(rebootless.ksplice.uptrack_facts#module:ansible_facts.uptrack.kernel.effective_build)
        report it. Requires O(state=latest).
    type: str
  allow_downgrade:
    description:
      - Allow O(effective) to be lower than the current effective version. The agent can only go up,
        so every update is removed first. Meanwhile the kernel has none of the fixes.
    type: bool
    default: false
  all:
    description: With O(state=absent), remove every update. The kernel then runs as it was booted,
      with none of the fixes.
    type: bool
    default: false
  pause:
    description: Seconds that the agent pauses after each update (its option C(--wait)).
    type: float
    default: 0.0
  lock_timeout:
    description:
      - Seconds to keep trying while another run of the agent (such as its cron job) holds its lock.
      - Each try waits up to ten seconds in the agent itself.
    type: int
    default: 300
  retries:
    description:
      - How many times to retry after a failure that may be temporary, such as the network, an error
        of the service, or a program that is executing the code to be changed.
    type: int
    default: 3
  retry_delay:
    description:
      - Seconds before the first retry, doubled before each further one.
      - Each host waits between 0.5 and 1.5 times as long, depending on its name, so that a fleet
        does not retry all at once.
    type: int
    default: 20
  timeout:
    description:
      - Seconds after which a command of the agent is sent SIGTERM, and ten seconds later SIGKILL.
        Only processes that this task started are terminated; the result reports what is in the
        kernel then. The default leaves room for a first upgrade of hundreds of updates over a slow
        line.
    type: int
    default: 3600
  unsupported:
    description:
      - Whether the task fails for a kernel that the service does not support. For a newly released
        kernel that is normal, until its first update exists.
    type: str
    choices: [fail, ignore]
    default: fail
  lease:
    description:
      - The token of the lease that has claimed this host, see M(rebootless.ksplice.ha_lease). Role
        P(rebootless.ksplice.rolling#role) sets it.
      - Without it, as in a command by hand or from cron, the task is refused as long as any run has
        claimed this host or a peer of it.
    type: str
notes:
  - Needs root on the host.
  - A run with a hundred updates takes minutes, and a slow service up to ten minutes for each call.
    Use C(async) if the connection would not last that long.
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

- name: Remove an update again
  rebootless.ksplice.uptrack_apply:
    state: absent
    updates: [abcd1234]
  become: true

- name: Install exactly what was proven on another host
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
  returned: when the host could be surveyed
  type: dict
  sample: {effective: 5.15.0-302.167.6.el9uek.x86_64, updates: []}
after:
  description: The same after the run. In check mode V(updates) is what the agent's plan would lead
    to and V(effective) is null.
  returned: when the host could be surveyed
  type: dict
  sample: {effective: 5.15.0-311.185.9.el9uek.x86_64, updates: [abcd1234]}
installed:
  description: IDs that are in the kernel now and were not before.
  returned: when the host could be surveyed
  type: list
  elements: str
removed:
  description: IDs that were in the kernel before and are not now.
  returned: when the host could be surveyed
  type: list
  elements: str
took_along:
  description: Those of RV(removed) that were not named, but had to be removed because they were
    installed on top.
  returned: with O(state=absent), when there was something to remove
  type: list
  elements: str
left:
  description:
    - The pending updates, each with V(id), V(name), V(cves), V(first_seen) (UTC, since when the
      host has it on disk; the agent does not report a date of publication) and V(age) (the same in
      seconds); null where it is not on disk.
  returned: with O(state=present), but not in check mode
  type: list
  elements: dict
remaining:
  description: IDs of pending updates.
  returned: when the host could be surveyed
  type: list
  elements: str
failures:
  description: Updates that could not be installed or removed.
  returned: when the host could be surveyed
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
      description: The kernel's reason, such as V(code_busy), V(no_match), V(out_of_memory),
        V(module_busy); V(unknown) otherwise.
      type: str
      returned: always
    processes:
      description: Blocking programs, each with V(name) and V(pid).
      type: list
      elements: dict
      returned: always
    modules:
      description: Blocking kernel modules.
      type: list
      elements: str
      returned: always
    advice:
      description: What to do.
      type: str
      returned: always
cves_fixed:
  description: CVEs that this run fixed.
  returned: when the host could be surveyed
  type: list
  elements: str
cves_open:
  description: CVEs that the pending updates would fix; null if unknown.
  returned: when the host could be surveyed
  type: list
  elements: str
attempts:
  description: How many times the agent was started for the change or, in check mode, for its plan.
  returned: when the host could be surveyed
  type: int
rc:
  description: The agent's last exit status.
  returned: when the host could be surveyed
  type: int
error_class:
  description:
    - Null on success. V(transient) (may succeed later), V(host) (something on the host is in the
      way), V(licence) (key or subscription), V(unsupported) (kernel not covered), V(agent) (the
      agent is at fault), V(lease) (another run has claimed this host or a peer of it), V(unknown).
  returned: always
  type: str
verdict:
  description: The verdict on the host after the run, see
    RV(rebootless.ksplice.uptrack_facts#module:ansible_facts.uptrack.verdict).
  returned: when the host could be surveyed
  type: str
reason:
  description: The reason for the verdict, a sentence.
  returned: when the host could be surveyed
  type: str
seconds:
  description: How long the module worked on the host.
  returned: when the host could be surveyed
  type: float
changed_nothing:
  description: Whether the kernel is as it was (in check mode, would be), also where the task was
    refused or failed.
  returned: always
  type: bool
stdout:
  description: The agent's output, without secrets.
  returned: on failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import apply_task
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent.apply import ARGUMENTS, Agent


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    result = apply_task.perform(module.params, module.check_mode, Agent(module.run_command))
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    diff = apply_task.diff(result)
    if module._diff and diff:
        result["diff"] = diff
    if result.pop("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
