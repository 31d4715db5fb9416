#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: uptrack_config
short_description: Configure the Ksplice Uptrack agent
description:
  - Writes C(/etc/uptrack/uptrack.conf), and the file that disables the agent.
  - Only what a task names is changed. Comments, order, unknown sections and keys, owner and mode stay. Sections and keys that stand
    twice are brought together, since the agent's parsers disagree on them.
  - The whole file is checked by the agent's own rules before it replaces the old one, because one value that the agent
    cannot read breaks every one of its commands.
extends_documentation_fragment:
  - rebootless.ksplice.attributes
  - rebootless.ksplice.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: The access key, and user and password of the proxy, are masked.
options:
  access_key:
    description:
      - >-
        The account's access key (reference: 64 hexadecimal digits; the length is not checked).
      - It is never shown, in results and diffs neither.
    type: str
  use_hw_uuid:
    description:
      - Identify the host by its hardware's UUID in place of C(/var/lib/uptrack/uuid). Not where machines share one.
    type: bool
  https_proxy:
    description:
      - The proxy, as C([protocol://][user:password@]host[:port]). It must do CONNECT. User and password are never shown.
      - V(none) forces direct connections even if the environment names a proxy. An empty text leaves it to the environment.
      - Null (not set) leaves the file as it is.
      - >-
        A percent sign is written doubled, as the file needs it: give the URL as it is.
    type: str
  gconf_proxy_lookup:
    description:
      - Look up the proxy of the desktop. The agent's default is yes, the shipped file says no.
    type: bool
  ssl_ca_cert_file:
    description:
      - File of certification authorities to trust, in place of the agent's own.
    type: path
  ssl_ca_cert_dir:
    description:
      - Directory of certification authorities to trust.
    type: path
  update_repo_url:
    description:
      - URL of the update service. An empty text means Oracle's.
    type: str
  install_on_reboot:
    description:
      - Put the saved set of updates back early at boot, into the same kernel only. The agent's default is yes.
    type: bool
  upgrade_on_reboot:
    description:
      - Upgrade over the network late at boot, on any kernel. The agent's default is no.
      - This installs behind a rollout's back.
    type: bool
  autoinstall:
    description:
      - Let the agent's cron job install, and not only look. The agent's default is no.
      - This installs behind a rollout's back.
    type: bool
  no_rmmod:
    description:
      - Forbid the agent to unload kernel modules that the server names. It does not cover C(rfcomm), which the agent unloads all the same.
    type: bool
  suppress_ip:
    description:
      - Report C(0.0.0.0) as the host's address.
    type: bool
  hostname_override_file:
    description:
      - File whose text is reported as the host's name. An empty or unreadable file breaks the agent.
    type: path
  debug_to_server:
    description:
      - Send debug output to Oracle on failure. The agent's default is yes.
    type: bool
  cron_output_install:
    description:
      - Obsolete; if true the agent prints a warning.
    type: bool
  cron_output_available:
    description:
      - Obsolete; if true the agent prints a warning.
    type: bool
  cron_output_error:
    description:
      - Obsolete; if true the agent prints a warning.
    type: bool
  skip_apply_after_pkg_install:
    description:
      - >-
        Offline edition: do not patch the kernel when the package with the updates is installed.
      - Without it, C(dnf update) patches the kernel behind a rollout's back.
    type: bool
  effective_version:
    description:
      - >-
        Offline edition: the effective version to stop at, as C(uptrack-upgrade --list-effective) prints it.
    type: str
  yum_userspace_ksplice_repo_name:
    description:
      - >-
        Offline Enhanced client: the id of the user-space repository, if it was renamed.
    type: str
  known_exploit_detection:
    description:
      - Report attempts at known exploits (C([Known-Exploit-Detection] enabled)); needs the package C(ksplice-known-exploit-detection).
    type: bool
  extra:
    description:
      - Further keys, as a mapping of sections to mappings of keys. Section names are case-sensitive.
      - Null removes a key, also one that has an option of its own.
    type: dict
    default: {}
  disabled:
    description:
      - Whether C(/etc/uptrack/disable) exists. With it the agent neither installs nor removes anything, and puts nothing back at boot.
      - What is in the kernel stays there. To have it out, remove it before, by
        M(rebootless.ksplice.uptrack_apply) with O(rebootless.ksplice.uptrack_apply#module:all=true).
    type: bool
  backup:
    description: Keep a copy of the file that is replaced, beside it. The copy holds the key too.
    type: bool
    default: false
notes:
  - Needs root on the host.
seealso:
  - module: rebootless.ksplice.uptrack_apply
  - module: rebootless.ksplice.uptrack_facts
author:
  - rebootless.ksplice contributors (@rebootless)
"""

EXAMPLES = r"""
- name: Enroll a host
  rebootless.ksplice.uptrack_config:
    access_key: "{{ vault_ksplice_access_key }}"
    autoinstall: false
    upgrade_on_reboot: false
    install_on_reboot: true
  become: true

- name: Go through a proxy
  rebootless.ksplice.uptrack_config:
    https_proxy: "http://patching:{{ vault_proxy_password | urlencode }}@proxy.example.com:3128"
  become: true

- name: Set a key that has no option, and remove another
  rebootless.ksplice.uptrack_config:
    extra:
      Settings:
        some_new_key: 'yes'
        cron_output_install:
  become: true
"""

RETURN = r"""
path:
  description: The configuration file.
  returned: success
  type: str
  sample: /etc/uptrack/uptrack.conf
changed_keys:
  description: The keys whose value changed (or in check mode would change), as section/key.
  returned: success
  type: list
  elements: str
  sample: [Auth/accesskey, Settings/autoinstall]
disabled:
  description: Whether the agent is disabled after the task.
  returned: success
  type: bool
backup_file:
  description: The copy of the file that was replaced.
  returned: when O(backup=true) and the file was replaced
  type: str
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rebootless.ksplice.plugins.module_utils import configure


def main():
    module = AnsibleModule(argument_spec=configure.arguments(), supports_check_mode=True)
    configure.forget_harmless(module.params, module.no_log_values)
    try:
        result = configure.configure(module, os.environ.get("UPTRACK_LAB_ROOT", ""))
    except configure.Refused as refused:
        module.fail_json(msg=str(refused))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
