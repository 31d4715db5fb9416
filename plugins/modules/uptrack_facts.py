#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: uptrack_facts
short_description: Report what a host's kernel is patched to
description:
  - Reads which Ksplice updates are in the running kernel, which are pending, when the service was
    last queried, and sums it up in one word (RV(ansible_facts.uptrack.verdict)).
  - It is one short shell script, sent over the connection and read on the controller. The host
    needs C(sh), C(uname), C(id), C(date) and C(awk), and no Python. Called with C(async), while
    facts are gathered (C(ansible_facts_modules)), or by other tools, the same script runs through a
    module on the host and gives the same facts.
  - It never changes the kernel and never fails because of what it finds. A host without agent,
    root, key, network or a readable configuration gets a verdict and a reason.
extends_documentation_fragment:
  - rebootless.ksplice.attributes
  - rebootless.ksplice.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: It changes nothing.
options:
  refresh:
    description:
      - Query the update service first, as C(uptrack-upgrade -n) does.
      - The agent then downloads what is new and rewrites its plan. The kernel is not changed.
      - A disabled host is not queried, since it would refuse any change anyway.
    type: bool
    default: false
  refresh_older_than:
    description:
      - Query the update service first only if the host's last check is older than this many
        seconds, or does not match what is in its kernel. V(0) queries on every host. Ignored with
        O(refresh=true).
      - The agent's own cron job queries about every half hour, so hosts that have it cost nothing
        here.
    type: int
  groups:
    description:
      - Also find out which redundancy groups the host is in, where something on it makes it a
        member of one, as
        M(rebootless.ksplice.ha_facts) does, with its facts.
    type: bool
    default: false
  ha_command:
    description: With O(groups=true), the command that reports the groups, see
      O(rebootless.ksplice.ha_facts#module:command).
    type: str
  kernels:
    description: Also read from the newest kernel's image on disk which build it is, see
      RV(ansible_facts.uptrack.kernel.on_disk_version).
    type: bool
    default: false
  timeout:
    description:
      - Seconds after which the agent, if it has to be run at all, is sent SIGTERM, and ten seconds
        later SIGKILL. Only processes that this task started are terminated; the verdict is then
        V(unknown). A command that only reads (C(uptrack-show)) gets at most 120 of them.
    type: int
    default: 900
  max_age:
    description:
      - How many seconds the last check is valid. An older one makes the verdict V(unknown), never
        V(current).
    type: int
    default: 86400
notes:
  - Needs root on the host (C(become)), since the kernel shows the state of its updates to root
    only.
  - In an emulated host of the lab, the environment variable E(UPTRACK_LAB_ROOT) names the directory
    that serves as the host's root.
seealso:
  - module: rebootless.ksplice.uptrack_apply
  - module: rebootless.ksplice.uptrack_config
  - name: Oracle Linux Ksplice User's Guide
    description: The vendor's manual.
    link: https://docs.oracle.com/en/operating-systems/oracle-linux/ksplice-user/
author:
  - rebootless.ksplice contributors (@rebootless)
"""

EXAMPLES = r"""
- name: See the state of a host
  rebootless.ksplice.uptrack_facts:
  become: true

- name: Query the service if the last answer is older than an hour
  rebootless.ksplice.uptrack_facts:
    refresh_older_than: 3600
  become: true

- name: Name the hosts that are not current
  ansible.builtin.debug:
    msg: "{{ ansible_facts['uptrack']['verdict'] }}: {{ ansible_facts['uptrack']['reason'] }}"
  when: ansible_facts['uptrack']['verdict'] != 'current'
"""

RETURN = r"""
ansible_facts:
  description: What is known of the host. Every key is always present; what is unknown is null.
  returned: always
  type: dict
  contains:
    uptrack:
      description: The facts of this module.
      returned: always
      type: dict
      contains:
        verdict:
          description:
            - The state of the host.
            - V(current) (no updates pending), V(behind) (updates pending), V(blocked) (one of them
              could not be installed), V(disabled) (C(/etc/uptrack/disable)), V(unsupported) (kernel
              not covered, or no kernel of its own), V(unknown) (could not be checked, or too long
              ago), V(absent) (no agent).
          type: str
          returned: always
          sample: behind
        reason:
          description: Why, and if useful what to do, in a sentence.
          type: str
          returned: always
          sample: 3 updates pending.
        reason_code:
          description: >-
            The reason as a code: the verdict, or C(no_root) (nothing can be read without root) or
            C(no_sysfs) (a container or chroot has no kernel of its own).
          type: str
          returned: always
          sample: behind
        agent:
          description: The agent on the host.
          type: dict
          returned: always
          contains:
            installed:
              description: Whether its commands exist. Packages are not considered, since their
                names differ between releases.
              type: bool
              returned: always
            enhanced:
              description: Whether the C(ksplice) command of the Enhanced client is there.
              type: bool
              returned: always
            disabled:
              description: Whether C(/etc/uptrack/disable) exists.
              type: bool
              returned: always
            uuid:
              description: By which the service knows this machine (C(/var/lib/uptrack/uuid), which
                the agent makes when it first asks the service). Null if there is none, or if the
                agent goes by the hardware's (C(use_hw_uuid)).
              type: str
              returned: always
            last_run:
              description:
                - How its last run ended, no matter what started it; null if it never ran for this
                  kernel.
                - V(rc) is its exit status, V(done) the IDs that it installed or removed, V(failed)
                  a list of updates with V(id), V(name) and the kernel's V(reason) (such as
                  V(code_busy)), the V(processes) (V(name) and V(pid)) and V(modules) blocking it,
                  V(what) a clause for any other failure, V(at) a UTC time.
              type: dict
              returned: always
              sample: {at: "2026-11-22T02:40:07Z", rc: 0, done: [abcd1234], failed: [], what: null}
        kernel:
          description: The kernel, as booted, effectively, and on disk.
          type: dict
          returned: always
          contains:
            booted:
              description: The release that was booted, as printed by C(uname -r).
              type: str
              returned: always
              sample: 5.15.0-302.167.6.el9uek.x86_64
            version:
              description: The build that was booted, as printed by C(uname -v).
              type: str
              returned: always
            machine:
              description: The architecture, as printed by C(uname -m).
              type: str
              returned: always
            effective:
              description:
                - The release whose fixes the running kernel has, in the notation of
                  RV(ansible_facts.uptrack.kernel.booted), so that the two can be compared. Equal to
                  it with no update, or with only such that fix nothing. Null if it cannot be
                  determined on the host.
              type: str
              returned: always
              sample: 5.15.0-311.185.9.el9uek.x86_64
            effective_build:
              description:
                - The effective kernel with its build, as C(uptrack-upgrade --list-effective) and
                  O(rebootless.ksplice.uptrack_apply#module:effective) write it.
              type: str
              returned: always
              sample: "5.15.0-311.185.9.el9uek.x86_64/#2 SMP Wed May 22 20:24:12 PDT 2026"
            effective_package:
              description: The version of the package that holds the effective kernel, where the
                agent names one (Ubuntu).
              type: str
              returned: always
            on_disk:
              description: The newest kernel in C(/boot), which a reboot would probably start.
              type: str
              returned: always
            on_disk_version:
              description: Its build as C(uname -v) would print it, from its image. Null without
                O(kernels), and where the image does not tell (architectures other than x86).
              type: str
              returned: always
        updates:
          description: Updates, each with V(id), V(name) (null if unknown) and V(cves), in the order
            of the agent's catalogue.
          type: dict
          returned: always
          contains:
            installed:
              description: What is in the kernel.
              type: list
              elements: dict
              returned: always
              sample:
                - id: abcd1234
                  name: "CVE-2026-1234: Use-after-free in foo."
                  cves: [CVE-2026-1234]
            available:
              description:
                - What an upgrade would add, at the time of RV(ansible_facts.uptrack.checked_at).
                - Null if never asked, or if the answer does not match what is in the kernel now.
                - Each has V(first_seen), too (UTC, ISO 8601, since when the host has it on disk, as
                  the agent does not report a date of publication), and V(age), the same in seconds
                  before now by the host's clock. Null where it is not on disk.
              type: list
              elements: dict
              returned: always
            superseded:
              description: IDs that an upgrade would remove permanently.
              type: list
              elements: str
              returned: always
        cves:
          description:
            - V(fixed) by what is in the kernel, and V(open), which the pending updates would fix.
            - Either is null if it cannot be determined on the host; V(fixed) when none is known and
              an update has no name.
          type: dict
          returned: always
          sample: {fixed: [CVE-2026-1234], open: []}
        checked_at:
          description: When the service last reported what is available, UTC, ISO 8601.
          type: str
          returned: always
          sample: "2026-11-22T02:40:07Z"
        checked_age:
          description: The same in seconds before now, by the host's clock.
          type: int
          returned: always
        config:
          description:
            - The agent's switches from uptrack.conf, its defaults filled in. V(access_key) is
              V(set) or V(missing), V(https_proxy) is V(set), V(none) (forced direct) or
              V(environment). Neither is ever shown.
          type: dict
          returned: always
        warnings:
          description:
            - Problems of the host that do not affect the verdict, in sentences. Lines of
              uptrack.conf that an agent may not be able to read, state files or keys in them that
              cannot be read, a message of the update service, updates that were withdrawn.
            - A line of uptrack.conf that no agent can read makes the verdict V(unknown) if the
              agent has not run since the file was changed.
          type: list
          elements: str
          returned: always
        self_update:
          description:
            - Ways in which this host installs updates outside of any rollout. Ideally empty.
            - They are V(cron with autoinstall), V(autoinstall), V(cron) (a job that confirms by
              itself), V(upgrade_on_reboot), and paths of daily jobs and timers that carry the
              agent's name, which may install.
          type: list
          elements: str
          returned: always
          sample: [cron with autoinstall]
        lease:
          description:
            - Who has claimed this host or a peer of it, according to the host's own ledger (see
              M(rebootless.ksplice.ha_lease)). Null if no one has.
            - C(run), C(host) (which is claimed), C(own) (whether that is this host), C(reason),
              C(phase), C(since), C(age) (seconds since the last renewal), C(seconds) (the age from
              which it is stale), C(stale).
          type: dict
          returned: always
        drained:
          description: What M(rebootless.ksplice.ha_drain) has drained on or through this host, each
            with C(host) and C(what).
          type: list
          elements: dict
          returned: always
        host_id:
          description:
            - Identifies the machine, as 16 hexadecimal digits derived from its machine ID and its
              boot ID. Two inventory names with the same value are one machine. Null if either ID
              cannot be read.
          type: str
          returned: always
          sample: 3f1c9a8e5b7d2046
        redundancy:
          description: What may make the host a member of a redundancy group, V(keepalived) or
            V(pacemaker). M(rebootless.ksplice.ha_facts) reports more.
          type: list
          elements: str
          returned: always
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import facts, probe


def main():
    module = AnsibleModule(argument_spec=facts.ARGUMENTS, supports_check_mode=True)
    _rc, out, _err = module.run_command(
        ["/bin/sh", "-c", probe.script(*facts.refresh(module.params))]
    )
    seen = facts.facts(out, module.params["max_age"])
    found, command = {"uptrack": seen}, module.params["ha_command"]
    if module.params["groups"] and (seen["redundancy"] or command):
        # Only here, as hardly any host needs it.
        from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import groups

        params = {"command": command, "timeout": groups.ARGUMENTS["timeout"]["default"]}
        root = os.environ.get("UPTRACK_LAB_ROOT", "")
        found["ha"] = groups.answer(params, module.check_mode, root, None)["ha"]
    module.exit_json(changed=False, ansible_facts=found)


if __name__ == "__main__":
    main()
