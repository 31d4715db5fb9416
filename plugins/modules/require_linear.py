#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: require_linear
short_description: Fail unless the play goes through its tasks host by host in step
description:
  - Fails unless the strategy of the play is V(linear). Role P(rebootless.ksplice.rolling#role)
    starts with it, since with another strategy hosts do not wait for each other.
  - It runs on the controller only and contacts no host.
extends_documentation_fragment:
  - rebootless.ksplice.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: It changes nothing.
options: {}
author:
  - rebootless.ksplice contributors (@rebootless)
"""

EXAMPLES = r"""
- name: Go on only if hosts wait for each other
  rebootless.ksplice.require_linear:
  run_once: true
"""

RETURN = r"""# """

from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.fail_json(
        msg="require_linear runs on the controller: its action plugin was not found. Install the "
        "collection as a whole."
    )


if __name__ == "__main__":
    main()
