#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: ha_check
short_description: Check the health of a host by commands, URLs, ports and units
description:
  - Repeats all checks until all have passed for O(stable_for) consecutive seconds, or O(timeout)
    seconds have gone by without that.
  - Role P(rebootless.ksplice.rolling#role) uses it before a host is claimed (pre-checks) and
    before it is restored (post-checks), see C(ksplice_ha_checks) there.
  - Changes nothing.
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
  checks:
    description: What to check. Each has exactly one of C(command), C(url), C(port), C(unit).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What it is called in messages.
        type: str
      command:
        description: A command that exits with 0 when the host is healthy. It runs without a shell.
        type: str
      url:
        description: A URL that answers with one of O(checks[].status).
        type: str
      status:
        description: Statuses that are good, by default 200 to 399.
        type: list
        elements: int
      port:
        description: A TCP port that takes connections.
        type: int
      address:
        description: Where O(checks[].port) is.
        type: str
        default: 127.0.0.1
      unit:
        description: A unit of systemd that is active. Of keepalived, none of whose instances with
          one of O(addresses) is in FAULT.
        type: str
  addresses:
    description: Addresses for which RV(holds) says whether this host has them.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds within which the checks must pass, and that one command may take. With 0
      they run once.
    type: int
    default: 30
  stable_for:
    description: Seconds for which they must keep passing.
    type: int
    default: 0
  fail:
    description: Whether the task fails where a check fails.
    type: bool
    default: true
seealso:
  - module: rebootless.ksplice.ha_drain
author:
  - rebootless.ksplice contributors (@rebootless)
"""

EXAMPLES = r"""
- name: The web server answers, and keeps answering for ten seconds
  rebootless.ksplice.ha_check:
    checks:
      - unit: nginx
      - url: http://127.0.0.1/health
      - command: /usr/local/bin/queue-is-empty
    stable_for: 10
"""

RETURN = r"""
ok:
  description: Whether every check passed.
  returned: always
  type: bool
changed_nothing:
  description: Always true, since it changes nothing.
  returned: always
  type: bool
checks:
  description: Each with C(name), C(ok) and C(msg) (what was wrong at the last attempt, or null).
  returned: always
  type: list
  elements: dict
holds:
  description: Those of O(addresses) that this host has.
  returned: always
  type: list
  elements: str
seconds:
  description: How long it took.
  returned: always
  type: float
"""

import os

from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import checks as ha_checks
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import groups as ha_groups
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import keepalived
from ansible_collections.rebootless.ksplice.plugins.module_utils.quiet_module import QuietModule


def main():
    module = QuietModule(argument_spec=ha_checks.ARGUMENTS, supports_check_mode=True)
    machine = ha_groups.Machine(module.run_command, os.environ.get("UPTRACK_LAB_ROOT", ""))
    try:
        result = ha_checks.run(machine, module.params)
    except (ha_checks.Wrong, keepalived.Unreadable) as error:
        module.fail_json(msg=str(error), changed_nothing=True)
    bad = ["{} ({})".format(one["name"], one["msg"]) for one in result["checks"] if not one["ok"]]
    if bad and module.params["fail"]:
        module.fail_json(
            msg="Unhealthy after {} s: {}.".format(result["seconds"], "; ".join(bad)), **result
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
