#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: uptrack_machine
short_description: Authorize, deny and group a machine at the Uptrack service
description:
  - Sets what the Uptrack service knows of a machine of the account, by its web API.
  - It runs on the controller and does not connect to the host, so that no task has to say
    C(delegate_to).
  - Which machine it is decides O(uuid) or O(name). With neither it is the host of the task. Its
    UUID is that of its facts (P(rebootless.ksplice.uptrack_facts#module)) or its variable
    C(ksplice_uuid); where there is none, it is the one machine that is called as the host (its
    name, or C(ansible_host)). One that is given and empty is an error.
  - A host may say any UUID. By that of its facts nothing is done unless the machine is called as
    the host (its name, C(ansible_host), C(ansible_fqdn) or C(ansible_nodename) in the inventory, or
    one of these without its domain), or C(ksplice_uuid) says the same; what C(ksplice_uuid) says
    decides.
  - A task that fails after it changed something, or that got no whole answer to a change, is
    C(changed), and says what was set and what may have been.
extends_documentation_fragment:
  - rebootless.ksplice.attributes
  - rebootless.ksplice.service_api
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  authorized:
    description: Whether the machine may use the service. A machine that is denied gets no more
      updates, and its agent fails with status 19. By default that stays as it is.
    type: bool
  group:
    description: The group at the service that it belongs to, which is made if it is new; empty for
      none. By default that stays as it is.
    type: str
author:
  - rebootless.ksplice contributors (@rebootless)
seealso:
  - module: rebootless.ksplice.uptrack_machine_info
"""

EXAMPLES = r"""
- name: Authorize the hosts of this play, and put them into their group
  rebootless.ksplice.uptrack_machine:
    authorized: true
    group: web
    api_user: "{{ ksplice_api_user }}"
    api_key: "{{ ksplice_api_key }}"

- name: Deny a machine that is gone
  rebootless.ksplice.uptrack_machine:
    uuid: e82ba0ae-ad0a-4b92-a776-62b502bfd29d
    authorized: false
  run_once: true
"""

RETURN = r"""
machine:
  description: What the service says of the machine, see
    P(rebootless.ksplice.uptrack_machine_info#module). In check mode, what it would say.
  type: dict
  returned: success
error:
  description: What kind of trouble it was, such as V(Rejected), V(NotFound), V(RateLimited),
    V(Failing), V(Unreachable), V(Untrusted), V(NotTheService), V(Misconfigured), V(Ambiguous) or
    V(NotTheHost).
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rebootless.ksplice.plugins.module_utils import service_task


def main():
    module = AnsibleModule(
        argument_spec=service_task.MACHINE,
        mutually_exclusive=service_task.EXCLUSIVE,
        supports_check_mode=True,
    )
    module.fail_json(
        msg="uptrack_machine runs on the controller: its action plugin was not found. Install the "
        "collection as a whole."
    )


if __name__ == "__main__":
    main()
