#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: uptrack_machine_info
short_description: What the Uptrack service knows of machines
description:
  - Asks the web API of the Uptrack service about one machine, or about all of the account.
  - It runs on the controller and does not connect to the host, so that no task has to say
    C(delegate_to).
  - Which machine it is decides O(uuid), O(name) or O(all). With none of them it is the host of the
    task, see M(rebootless.ksplice.uptrack_machine).
  - Machines that are hidden in the web interface are not in the answers, and offline hosts do not
    report to the service.
extends_documentation_fragment:
  - rebootless.ksplice.attributes
  - rebootless.ksplice.service_api
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  all:
    description: All machines of the account.
    type: bool
    default: false
  describe:
    description: Ask for what the API says of a single machine only (group, kernels, updates), which
      is one more request for each.
    type: bool
    default: true
author:
  - rebootless.ksplice contributors (@rebootless)
seealso:
  - module: rebootless.ksplice.uptrack_machine
"""

EXAMPLES = r"""
- name: What does the service know of the hosts of this play?
  rebootless.ksplice.uptrack_machine_info:
    api_user: "{{ ksplice_api_user }}"
    api_key: "{{ ksplice_api_key }}"
  register: service

- name: List all machines of the account
  rebootless.ksplice.uptrack_machine_info:
    all: true
    describe: false
  run_once: true
"""

RETURN = r"""
machines:
  description:
    - Of each machine V(uuid), V(hostname), V(ip), V(active), V(status) (V(uptodate), V(outofdate),
      V(unsupported); V(unknown) for anything else that the service says), V(authorization)
      (V(allowed), V(denied), V(pending), V(unknown)), V(autoinstall), V(mmap_min_addr),
      V(uptrack_client_version) and V(last_seen) (UTC, ISO 8601).
    - With O(describe) also V(group), V(original_kernel), V(effective_kernel), V(installed_updates)
      (each with V(ID) and V(Name)) and V(steps), what an upgrade would do (each with V(verb), V(ID)
      and V(Name)).
  type: list
  elements: dict
  returned: success
error:
  description: What kind of trouble it was, see M(rebootless.ksplice.uptrack_machine).
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rebootless.ksplice.plugins.module_utils import service_task


def main():
    module = AnsibleModule(
        argument_spec=service_task.MACHINE_INFO,
        mutually_exclusive=service_task.INFO_EXCLUSIVE,
        supports_check_mode=True,
    )
    module.fail_json(
        msg="uptrack_machine_info runs on the controller: its action plugin was not found. Install "
        "the collection as a whole."
    )


if __name__ == "__main__":
    main()
