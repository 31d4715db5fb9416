#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: uptrack_config
short_description: Install, configure and retire the Ksplice Uptrack agent
description:
  - Enrolls a host that never had Ksplice, up to its first check-in with the service, and reverses
    it, in one task. It sets up the repository and the agent, writes C(/etc/uptrack/uptrack.conf),
    and the file that disables the agent.
  - The agent is found by its commands, not by package names. Repository and package are touched
    only where something is missing, through M(ansible.builtin.rpm_key),
    M(ansible.builtin.yum_repository), M(ansible.builtin.dnf), M(ansible.builtin.deb822_repository)
    and M(ansible.builtin.apt). A host that has everything costs one round trip.
  - After a failure half way the host is restored to its previous state.
  - Only what a task names is changed. Comments, order, unknown sections and keys, owner and mode
    stay. Duplicate sections and keys are merged, since the agent's parsers disagree on them.
  - The whole file is checked by the agent's own rules before it replaces the old one, because one
    value that the agent cannot read breaks every one of its commands.
extends_documentation_fragment:
  - rebootless.ksplice.attributes
  - rebootless.ksplice.attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Of the configuration. The access key, and user and password of the proxy, are masked.
options:
  state:
    description:
      - V(present) installs what is missing and writes the settings that the task names.
      - V(absent) removes everything, in this order - the updates in the kernel, packages,
        repository and its key, cron files, configuration, identity, cache and log - and ends only
        when the kernel itself reports that nothing is loaded. If an update cannot be removed,
        everything else is left as it is.
    type: str
    choices: [present, absent]
    default: present
  edition:
    description:
      - The edition of the agent. V(online) asks the service for updates, V(offline) takes them from
        packages.
      - If not set, the installed edition is kept, and a host without an agent gets the online one.
      - The editions exclude each other. They are exchanged in one transaction of the package
        manager, during which the agent is disabled, so that the updates stay in the kernel; those
        that left it nevertheless are restored.
    type: str
    choices: [online, offline]
  enhanced:
    description: Install the Enhanced client C(ksplice) too, which also patches libraries. On Oracle
      Linux 10 there is no other client.
    type: bool
    default: false
  packages:
    description: Names of the packages to install, instead of those that edition and release
      require, such as those of a mirror that pins versions.
    type: list
    elements: str
  updates_package:
    description:
      - Offline edition. Install the package with the updates for the running kernel
        (C(uptrack-updates-) and the release). V(latest) asks the repository every time.
      - Refused unless the configuration has O(skip_apply_after_pkg_install=true), since the package
        would otherwise patch the kernel when it is installed, outside of any rollout.
    type: str
    choices: [present, latest]
  repository:
    description:
      - Where packages come from. V(vendor) sets up the vendor's own repository (or a mirror of it,
        see O(repository_url)), as used outside of ULN. V(platform) does not touch the host's
        repositories, as they come with ULN or OCI, and reports when the channel with the agent is
        not enabled. V(none) neither touches nor checks them.
      - V(auto) does not touch them if the agent is installed or the host runs Oracle Linux, and is
        V(vendor) elsewhere.
    type: str
    choices: [auto, vendor, platform, none]
    default: auto
  repository_url:
    description: Base URL of a mirror. For yum with C($releasever) and C($basearch) as the mirror
      has them, for apt the directory above C(dists).
    type: str
  repository_key:
    description: Where the host fetches the repository's key (ASCII-armored), as a URL, or the key
      itself as text.
    type: str
  repository_key_fingerprint:
    description:
      - The whole fingerprint that the key must have, in hexadecimal digits, with blanks or without.
        A key with a different fingerprint is not installed.
      - Required for yum, as that key's fingerprint is not published. For apt the published one is
        the default.
    type: str
  channel:
    description: The id of the repository that has the agent, if it is neither ULN's nor OCI's,
      such as on a host with a local mirror.
    type: str
  reset_identity:
    description:
      - Remove the machine's identity (C(/var/lib/uptrack/uuid) and C(serial)), so that hosts cloned
        from this one do not share it. The agent creates a new one at its next run. For the
        preparation of images.
    type: bool
    default: false
  timeout:
    description:
      - Seconds after which a command of the agent (querying the service once, or removing updates)
        is sent SIGTERM, and ten seconds later SIGKILL. Only processes that this task started are
        terminated, and the result reports it.
    type: int
    default: 900
  check_in:
    description:
      - When something changed, have the agent query the service once (C(uptrack-upgrade -n)), so
        that the host checks in and a wrong key shows at once.
      - If the service rejects the new key, the previous configuration is restored, and the task
        fails.
      - Where the account does not let new machines in by themselves, the configuration stays, and
        RV(checked_in) is false until the machine is activated, see
        M(rebootless.ksplice.uptrack_machine).
    type: bool
    default: true
  retries:
    description:
      - With O(state=absent), how many times to try again when an update cannot be removed because
        its code is in use, or the service cannot be queried. Removing updates often takes several
        attempts.
    type: int
    default: 3
  retry_delay:
    description: See O(rebootless.ksplice.uptrack_apply#module:retry_delay), in seconds.
    type: int
    default: 20
  access_key:
    description:
      - >-
        The account's access key (reference: 64 hexadecimal digits; the length is not checked).
      - It is never shown, not even in results and diffs.
    type: str
  use_hw_uuid:
    description:
      - Identify the host by its hardware's UUID instead of C(/var/lib/uptrack/uuid). Do not use it
        where machines share one.
    type: bool
  https_proxy:
    description:
      - The proxy, as C([protocol://][user:password@]host[:port]). It must support CONNECT. User and
        password are never shown.
      - V(none) forces direct connections even if the environment names a proxy. An empty string
        leaves it to the environment.
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
      - URL of the update service. An empty string means Oracle's.
    type: str
  install_on_reboot:
    description:
      - Restore the saved set of updates early at boot, into the same kernel only. The agent's
        default is yes.
    type: bool
  upgrade_on_reboot:
    description:
      - Upgrade over the network late at boot, on any kernel. The agent's default is no.
      - This installs outside of any rollout.
    type: bool
  autoinstall:
    description:
      - Let the agent's cron job install updates, not only check for them. The agent's default is
        no.
      - This installs outside of any rollout.
    type: bool
  no_rmmod:
    description:
      - Forbid the agent to unload kernel modules that the server names. It does not cover
        C(rfcomm), which the agent unloads nevertheless.
    type: bool
  suppress_ip:
    description:
      - Report C(0.0.0.0) as the host's address.
    type: bool
  hostname_override_file:
    description:
      - File whose content is reported as the host's name. An empty or unreadable file breaks the
        agent.
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
      - Without it, C(dnf update) patches the kernel outside of any rollout.
    type: bool
  effective_version:
    description:
      - >-
        Offline edition: the effective version to stop at, as C(uptrack-upgrade --list-effective)
        prints it.
    type: str
  yum_userspace_ksplice_repo_name:
    description:
      - >-
        Offline Enhanced client: the id of the user-space repository, if it was renamed.
    type: str
  known_exploit_detection:
    description:
      - Report attempts at known exploits (C([Known-Exploit-Detection] enabled)); needs the package
        C(ksplice-known-exploit-detection).
    type: bool
  extra:
    description:
      - Further keys, as a mapping of sections to mappings of keys. Section names are
        case-sensitive.
      - Null removes a key, also one that has an option of its own.
    type: dict
    default: {}
  disabled:
    description:
      - Whether C(/etc/uptrack/disable) exists. With it the agent neither installs nor removes
        anything, and restores nothing at boot.
      - Updates in the kernel stay there. To get rid of them, remove them before, with
        M(rebootless.ksplice.uptrack_apply) with
        O(rebootless.ksplice.uptrack_apply#module:all=true).
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
- name: From bare host to enrolled host, on Oracle Linux with ULN or OCI
  rebootless.ksplice.uptrack_config:
    repository: platform
    access_key: "{{ vault_ksplice_access_key }}"
  become: true

- name: The same with a mirror of the vendor's yum repository
  rebootless.ksplice.uptrack_config:
    repository: vendor
    repository_url: https://mirror.example.com/uptrack/centos/$releasever/$basearch/
    repository_key: https://mirror.example.com/RPM-GPG-KEY-ksplice
    repository_key_fingerprint: 0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567
    access_key: "{{ vault_ksplice_access_key }}"
  become: true

- name: Offline, with updates that are installed only by a rollout
  rebootless.ksplice.uptrack_config:
    edition: offline
    skip_apply_after_pkg_install: true
    updates_package: latest
  become: true

- name: Prepare an image
  rebootless.ksplice.uptrack_config:
    reset_identity: true
    check_in: false
  become: true

- name: And back
  rebootless.ksplice.uptrack_config:
    state: absent
  become: true

- name: Change how the agent behaves
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
steps:
  description: What the package manager did (in check mode, would do), as clauses.
  returned: always
  type: list
  elements: str
  sample: [repository ksplice-uptrack set up, package uptrack installed]
edition:
  description: The edition after the task, or null if no package installed the agent.
  returned: success
  type: str
  sample: online
packages:
  description: The agent's packages that are installed after the task.
  returned: success
  type: list
  elements: str
  sample: [uptrack]
checked_in:
  description: Whether the host checked in with the service.
  returned: when O(check_in=true), something changed, and the agent is installed
  type: bool
verdict:
  description: See RV(rebootless.ksplice.uptrack_facts#module:ansible_facts.uptrack.verdict).
  returned: with RV(checked_in)
  type: str
  sample: behind
reason:
  description: The reason for the verdict, a sentence.
  returned: with RV(checked_in)
  type: str
  sample: 3 updates pending.
identity_reset:
  description: Whether an identity was there and was removed.
  returned: when O(reset_identity=true)
  type: bool
removed:
  description: The updates that were removed from the kernel.
  returned: when O(state=absent)
  type: list
  elements: str
  sample: [abcd1234]
traces:
  description: Files and directories of the agent that were removed.
  returned: when O(state=absent)
  type: list
  elements: str
  sample: [/etc/uptrack, /var/lib/uptrack]
loaded:
  description: The updates that the kernel still has. Always empty, since the task fails otherwise.
  returned: when O(state=absent)
  type: list
  elements: str
  sample: []
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
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import (
    configure,
    enroll,
    enrollment,
)


def main():
    module = AnsibleModule(argument_spec=enroll.arguments(), supports_check_mode=True)
    configure.forget_harmless(module.params, module.no_log_values)
    try:
        result = enroll.run(module, os.environ.get("UPTRACK_LAB_ROOT", ""))
    except enrollment.Refused as refused:
        module.fail_json(msg=str(refused))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
