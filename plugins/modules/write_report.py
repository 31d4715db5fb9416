#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: write_report
short_description: Write the record of a run and its page on the controller
description:
  - Writes C(record.json) and C(report.html) (mode 0640) into a directory on the controller, each
    replaced as a whole. It is a step of role P(rebootless.ksplice.report#role), and of little use
    elsewhere.
  - It runs on the controller only and contacts no host. Check mode makes no difference, since a
    report is wanted then too.
extends_documentation_fragment:
  - rebootless.ksplice.attributes
attributes:
  check_mode:
    support: full
    details: It writes the report of the run in check mode as well.
  diff_mode:
    support: none
options:
  directory:
    description: Where to write. Made with mode 0750 if it is missing; an existing one keeps its
      mode.
    type: path
    required: true
  record:
    description: A record, see P(rebootless.ksplice.run_record#filter). Without one only the
      directory is made.
    type: dict
  template:
    description: Jinja template of the page. Everything put into it is escaped.
    type: path
author:
  - rebootless.ksplice contributors (@rebootless)
"""

EXAMPLES = r"""
- name: Make sure that the report can be written before anything is changed
  rebootless.ksplice.write_report:
    directory: /var/lib/awx/ksplice-report
  run_once: true
"""

RETURN = r"""
directory:
  description: The directory, as an absolute path.
  type: str
  returned: success
  sample: /home/operator/ksplice-report
"""

from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "record": {"type": "dict"},
            "template": {"type": "path"},
        },
        required_together=[("record", "template")],
        supports_check_mode=True,
    )
    module.fail_json(
        msg="write_report runs on the controller: its action plugin was not found. Install the "
        "collection as a whole."
    )


if __name__ == "__main__":
    main()
