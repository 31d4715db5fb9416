#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: ha_gate
short_description: Look whether a host is well, by commands, URLs, ports and units, for as long as
  it takes to believe it
description:
  - Looks at all checks again and again, until all have been good for O(hold) seconds on end, or
    O(timeout) seconds have gone by without that.
  - Role P(rebootless.ksplice.rolling#role) uses it before a host is claimed and before it
    goes back into service, see C(ksplice_ha_gates) there.
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
    description: What to look at. Each has exactly one of C(command), C(url), C(port), C(unit).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What it is called in messages.
        type: str
      command:
        description: A command that ends with 0 when all is well. It runs without a shell.
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
    description: Addresses of which to tell whether this host has them, in RV(holds).
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds within which the checks must become good, and that one command may take.
      With 0 they are looked at once.
    type: int
    default: 30
  hold:
    description: Seconds for which they must stay so.
    type: int
    default: 0
  fail:
    description: Whether the task fails where a check is not good.
    type: bool
    default: true
seealso:
  - module: rebootless.ksplice.ha_drain
author:
  - rebootless.ksplice contributors (@rebootless)
"""

EXAMPLES = r"""
- name: The web server answers, and goes on answering for ten seconds
  rebootless.ksplice.ha_gate:
    checks:
      - unit: nginx
      - url: http://127.0.0.1/health
      - command: /usr/local/bin/queue-is-empty
    hold: 10
"""

RETURN = r"""
ok:
  description: Whether every check is good.
  returned: always
  type: bool
checks:
  description: Each with C(name), C(ok) and C(said) (what was wrong at the last look, or null).
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
        module.fail_json(msg=str(error))
    bad = ["{} ({})".format(one["name"], one["said"]) for one in result["checks"] if not one["ok"]]
    if bad and module.params["fail"]:
        module.fail_json(
            msg="Not well after {} s: {}.".format(result["seconds"], "; ".join(bad)), **result
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
