#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: ha_drain
short_description: Drain a host for a while, and restore what was drained and nothing else
description:
  - Lets the peer take over from a host, by keepalived, pacemaker, haproxy, nginx or commands
    of your own, and restores the host.
  - Before anything is changed its state is saved in the journal of the host where the task runs
    (C(/var/lib/rebootless-ksplice/journal.json)). With O(state=restored) only what has a saved
    state is restored. What a person drained stays drained.
  - A drain that is not complete within O(timeout) restores what it had begun and fails.
extends_documentation_fragment:
  - rebootless.ksplice.attributes
  - rebootless.ksplice.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: A configuration with secrets in it may be what changes.
options:
  state:
    description: V(drained) takes out of service, V(restored) puts into service again, V(shown)
      lists what has a saved state.
    type: str
    choices: [drained, restored, shown]
    default: shown
  host:
    description: The host that is drained, by its name in the inventory. For haproxy
      and nginx the task runs on another one.
    type: str
  token:
    description: The attempt's own identifier. Only what has a state saved under it is restored.
    type: str
  force:
    description: Restore whatever any attempt drained for O(host), such as one whose controller
      died.
    type: bool
    default: false
  lease:
    description:
      - The token of the lease that has claimed the host of this task, see
        M(rebootless.ksplice.ha_lease). Without that lease the task refuses; while it
        works no run takes the lease over.
    type: str
  when:
    description: V(active) drains only what is in service here at the moment, V(always) in any case.
    type: str
    choices: [active, always]
    default: active
  timeout:
    description: Seconds to wait, for each target, for the peer to have taken over, or for the
      host to be restored. Commands may take no longer either.
    type: int
    default: 60
  targets:
    description: What to take out of service.
    type: list
    elements: dict
    default: []
    suboptions:
      adapter:
        description:
          - V(keepalived) on the host itself. The priority of every VRRP instance goes down to 1,
            and what its checks would add is removed, so that the
            peer takes the addresses before this host releases them. Where they do not move, as
            the peer says C(nopreempt), keepalived is restarted with
            the low priority.
          - V(pacemaker) on the host itself puts its node into standby, and waits until another
            node runs all that ran there. Restoring waits for the
            cluster to come to rest.
          - V(haproxy) on the host where haproxy runs sets a server to drain by the runtime API,
            and waits for its sessions to end. As haproxy has it, clients
            whose cookie names the server go on getting to it.
          - V(nginx) on the host where nginx runs marks a server of an upstream C(down), reloads,
            and waits for the old workers to end.
          - V(custom) runs commands.
          - What would leave no member in service is refused, such as the last node out of standby
            and the last server that is up.
        type: str
        choices: [custom, haproxy, keepalived, nginx, pacemaker]
        required: true
      mode:
        description:
          - For V(keepalived), how. V(priority) lowers the priority in its configuration,
            V(restart) restarts keepalived with it, V(auto) does so only where the
            addresses have not moved within five advertisement intervals.
          - V(track_file) writes a number into a file that keepalived tracks, and changes nothing
            of keepalived's own.
        type: str
        choices: [auto, priority, restart, track_file]
      track_file:
        description: For V(keepalived) with V(track_file), the name of the C(track_file) or
          C(vrrp_track_file). Each instance, or its sync group, tracks it.
        type: str
      node:
        description: For V(pacemaker), the node's name in the cluster, by default its own.
        type: str
      socket:
        description: For V(haproxy), the socket of the runtime API, by default
          C(/run/haproxy/admin.sock). It needs C(level admin).
        type: path
      backend:
        description: For V(haproxy), the backend.
        type: str
      server:
        description: For V(haproxy) the server's name in the backend, for V(nginx) its address as
          the upstream has it.
        type: str
      file:
        description: For V(nginx), the file with the upstream block. Each server stands on a line
          of its own.
        type: path
      upstream:
        description: For V(nginx), the upstream's name.
        type: str
      drain:
        description: For V(custom), the command that takes the host out of service. Commands run
          without a shell, and 0 is success.
        type: str
      restore:
        description: For V(custom), the command that restores it. C(undo), its former name, still
          works in C(ksplice_ha_drain).
        type: str
      is_active:
        description: For V(custom), ends with 0 when the host is in service. Without it, it always
          is.
        type: str
      is_drained:
        description: For V(custom), ends with 0 when the host is out of service. Without it the
          task does not wait.
        type: str
notes:
  - Needs root on the host.
seealso:
  - module: rebootless.ksplice.ha_lease
  - module: rebootless.ksplice.ha_check
author:
  - rebootless.ksplice contributors (@rebootless)
"""

EXAMPLES = r"""
- name: Let the peer take the virtual address
  rebootless.ksplice.ha_drain:
    state: drained
    host: "{{ inventory_hostname }}"
    token: maintenance-of-tuesday
    targets:
      - adapter: keepalived
  become: true

- name: Let the peer take the virtual address, without a change of keepalived's own files
  rebootless.ksplice.ha_drain:
    state: drained
    host: "{{ inventory_hostname }}"
    token: maintenance-of-tuesday
    targets:
      - adapter: keepalived
        mode: track_file
        track_file: maintenance
  become: true

- name: Restore what that task drained
  rebootless.ksplice.ha_drain:
    state: restored
    host: "{{ inventory_hostname }}"
    token: maintenance-of-tuesday
  become: true
"""

RETURN = r"""
done:
  description: Whether everything is as O(state) says, for callers that do not want the task to
    fail.
  returned: always
  type: bool
changed_nothing:
  description: Whether nothing was changed (in check mode, would be), also where the task failed.
    False where a drain that failed has been restored.
  returned: always
  type: bool
active:
  description: With O(state=drained), whether the host was in service before.
  returned: always
  type: bool
drained:
  description: What has a saved state, each with C(what), C(adapter), C(host), C(token),
    C(age) (seconds).
  returned: always
  type: list
  elements: dict
left:
  description: Sentences about what was out of service already without a saved state, and stays so,
    and about what need not come back by itself, and why.
  returned: always
  type: list
  elements: str
"""

import os

from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import drains
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import groups as ha_groups
from ansible_collections.rebootless.ksplice.plugins.module_utils.quiet_module import QuietModule


def main():
    module = QuietModule(
        argument_spec=drains.ARGUMENTS, required_if=drains.REQUIRED_IF, supports_check_mode=True
    )
    machine = ha_groups.Machine(module.run_command, os.environ.get("UPTRACK_LAB_ROOT", ""))
    result = drains.run(machine, module.params, module.check_mode)
    result["done"] = not result["failed"]
    if result.pop("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
