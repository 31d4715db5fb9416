#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: ha_facts
short_description: Tell which redundancy groups a host is a member of, and whether it is active
  there
description:
  - Reads the configuration that keepalived runs with, with all it includes, and the addresses
    that the host holds now, in the network namespace of
    keepalived. Reads the state of a pacemaker cluster, also on its remote nodes and guests. Or
    asks a command of yours.
  - Each member comes to the same name of their group alone. C(vrrp-51-192.0.2.10) is made of the
    virtual router's ID and its lowest address,
    C(pacemaker-NAME-NODE) of the cluster's name and its first node. A VRRP instance without
    addresses has the lowest address of its unicast peers and
    itself in its name, such as C(vrrp-53-192.0.2.11), or its network, such as
    C(vrrp-53-192.0.2.0/24).
  - Who holds the address is active, whatever the configuration says of priorities and states.
    Where keepalived moves routes only, whoever has them is.
    Where it moves nothing that could be seen, the role of the group is null, and the host counts
    as active.
    An address on C(lo), as real servers of LVS-DR have it, counts only where keepalived puts it
    there itself.
  - In a cluster the node is active that runs what runs on no other node, a clone of which all
    instances are on it among that.
  - A keepalived in a container, one that speaks VRRP while its configuration defines no instance,
    one with an option that is not known, or VRRP of which
    no keepalived is the speaker, could not be read, which is a problem.
  - Changes nothing. What cannot be understood is in RV(ansible_facts.ha.problems) and is no
    failure of the task.
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
  command:
    description:
      - A command that is asked in place of keepalived and pacemaker. It runs without a shell.
      - "It prints JSON, such as C({\"groups\": [{\"name\": \"billing-db\", \"role\": \"active\",
        \"addresses\": [\"192.0.2.10\"]}]}). C(role) is C(active) or
        C(standby), C(addresses) may be left out."
    type: str
  timeout:
    description: Seconds that the commands may take together.
    type: int
    default: 30
notes:
  - Needs root where keepalived runs, and where its configuration or the cluster's state is for
    root only.
seealso:
  - module: rebootless.ksplice.ha_lease
  - module: rebootless.ksplice.ha_drain
author:
  - rebootless.ksplice contributors (@rebootless)
"""

EXAMPLES = r"""
- name: Which groups is this host in
  rebootless.ksplice.ha_facts:
  become: true

- name: Ask a command of our own
  rebootless.ksplice.ha_facts:
    command: /usr/local/bin/our-cluster-state --json
  become: true
"""

RETURN = r"""
ansible_facts:
  description: What was found.
  returned: always
  type: dict
  contains:
    ha:
      description: The host's redundancy.
      type: dict
      returned: always
      contains:
        groups:
          description: >-
            Each with C(name), C(kind) (C(keepalived), C(pacemaker), C(command)), C(role),
            C(addresses), C(instances), C(peers) (of unicast
            VRRP, without this host), C(size) (how many members it has at least, null where that is
            unknown) and, for C(pacemaker), C(node) (this host's name
            in the cluster; null elsewhere). C(role) is null where nothing can be seen of it.
          type: list
          elements: dict
          returned: always
        role:
          description: V(active) where the host is so in any group, or may be, else V(standby);
            null without a group.
          type: str
          returned: always
        problems:
          description: What could not be understood, as sentences.
          type: list
          elements: str
          returned: always
        host_id:
          description: Which machine this is, see M(rebootless.ksplice.uptrack_facts).
          type: str
          returned: always
"""

import os

from ansible_collections.rebootless.ksplice.plugins.module_utils import commands
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import groups as ha_groups
from ansible_collections.rebootless.ksplice.plugins.module_utils.quiet_module import QuietModule


def main():
    module = QuietModule(argument_spec=ha_groups.ARGUMENTS, supports_check_mode=True)
    run = commands.with_timeout(module.run_command, module.params["timeout"])
    found = ha_groups.discover(
        ha_groups.Machine(run, os.environ.get("UPTRACK_LAB_ROOT", "")), module.params["command"]
    )
    module.exit_json(ansible_facts={"ha": found})


if __name__ == "__main__":
    main()
