#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors

DOCUMENTATION = r"""
module: uptrack_config
short_description: Install, configure and retire the Ksplice Uptrack agent
description:
  - Takes a host that never heard of Ksplice to one that is enrolled and reports itself, and back,
    in one task. It sets up the repository and the agent, writes C(/etc/uptrack/uptrack.conf), and
    the file that disables the agent.
  - The agent is found by its commands, not by package names. Repository and package are touched
    only where something is missing, through M(ansible.builtin.rpm_key),
    M(ansible.builtin.yum_repository), M(ansible.builtin.dnf), M(ansible.builtin.deb822_repository)
    and M(ansible.builtin.apt). A host that has everything costs one round trip.
  - What fails half way is taken back, so that the host ends as it was.
  - Only what a task names is changed. Comments, order, unknown sections and keys, owner and mode
    stay. Sections and keys that stand twice are brought together, since the agent's parsers
    disagree on them.
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
      - V(present) brings what is missing and writes what the task names.
      - V(absent) takes everything away, in this order - the updates out of the kernel, packages,
        repository and its key, cron files, configuration, identity, cache and log - and ends only
        when the kernel itself says that nothing is loaded. If an update will not come out,
        everything else is left as it is.
    type: str
    choices: [present, absent]
    default: present
  edition:
    description:
      - The edition of the agent. V(online) asks the service for updates, V(offline) takes them from
        packages.
      - Not set, the edition that is there stays, and a host without an agent gets the online one.
      - The editions exclude each other. They are exchanged in one transaction of the package
        manager, during which the agent is disabled, so that the updates stay in the kernel; what
        has left it nevertheless is put back.
    type: str
    choices: [online, offline]
  enhanced:
    description: Install the Enhanced client C(ksplice) too, which also patches libraries. On Oracle
      Linux 10 there is no other client.
    type: bool
    default: false
  packages:
    description: Names of the packages to install, in place of those that edition and release ask
      for, such as those of a mirror that pins versions.
    type: list
    elements: str
  updates_package:
    description:
      - Offline edition. Have the package with the updates for the running kernel
        (C(uptrack-updates-) and the release). V(latest) asks the repository every time.
      - Refused unless the configuration has O(skip_apply_after_pkg_install=true), since the package
        would otherwise patch the kernel when it is installed, behind the rollout's back.
    type: str
    choices: [present, latest]
  repository:
    description:
      - Where packages come from. V(vendor) sets up the vendor's own repository (or a mirror of it,
        see O(repository_url)), which estates outside of ULN use. V(platform) leaves the host's
        repositories alone, as they come with ULN or OCI, and says when the channel with the agent
        is not enabled. V(none) leaves them alone without a word.
      - V(auto) leaves them alone where the agent is there or the host runs Oracle Linux, and is
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
        A key with another one is not installed.
      - Needed for yum, as that key's fingerprint is not public. For apt the one that is known in
        public is the default.
    type: str
  channel:
    description: The repository id that has the agent, where it is neither ULN's nor OCI's name,
      such as on a host with a local mirror.
    type: str
  reset_identity:
    description:
      - Remove the machine's identity (C(/var/lib/uptrack/uuid) and C(serial)), so that hosts cloned
        from this one do not share it. The agent makes a new one at its next run. For the
        preparation of images.
    type: bool
    default: false
  timeout:
    description:
      - Seconds after which a command of the agent (asking the service once, or taking updates out)
        is told to end, and ten seconds later killed. Only what this task started is ended, and the
        result says so.
    type: int
    default: 900
  check_in:
    description:
      - When something changed, have the agent ask the service once (C(uptrack-upgrade -n)), so that
        the host reports itself and a wrong key shows at once.
      - A configuration whose new key the service refuses is put back as it was, and the task fails.
    type: bool
    default: true
  retries:
    description:
      - With O(state=absent), how many times to try again when an update will not come out because
        its code is in use, or the service cannot be asked. Taking updates out often needs several
        tries.
    type: int
    default: 3
  retry_delay:
    description: As O(rebootless.ksplice.uptrack_apply#module:retry_delay), in seconds.
    type: int
    default: 20
  access_key:
    description:
      - >-
        The account's access key (reference: 64 hexadecimal digits; the length is not checked).
      - It is never shown, in results and diffs neither.
    type: str
  use_hw_uuid:
    description:
      - Identify the host by its hardware's UUID in place of C(/var/lib/uptrack/uuid). Not where
        machines share one.
    type: bool
  https_proxy:
    description:
      - The proxy, as C([protocol://][user:password@]host[:port]). It must do CONNECT. User and
        password are never shown.
      - V(none) forces direct connections even if the environment names a proxy. An empty text
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
      - URL of the update service. An empty text means Oracle's.
    type: str
  install_on_reboot:
    description:
      - Put the saved set of updates back early at boot, into the same kernel only. The agent's
        default is yes.
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
      - Forbid the agent to unload kernel modules that the server names. It does not cover
        C(rfcomm), which the agent unloads all the same.
    type: bool
  suppress_ip:
    description:
      - Report C(0.0.0.0) as the host's address.
    type: bool
  hostname_override_file:
    description:
      - File whose text is reported as the host's name. An empty or unreadable file breaks the
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
      - Without it, C(dnf update) patches the kernel behind a rollout's back.
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
        anything, and puts nothing back at boot.
      - What is in the kernel stays there. To have it out, remove it before, by
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

- name: Offline, with updates that go in by a rollout only
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
  description: What was done (in check mode what would be done) by the package manager, as clauses.
  returned: always
  type: list
  elements: str
  sample: [repository ksplice-uptrack set up, package uptrack installed]
edition:
  description: The edition after the task, or null where no package brought the agent.
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
  description: Whether the host reported itself to the service.
  returned: when O(check_in=true), something changed, and the agent is there
  type: bool
verdict:
  description: As RV(rebootless.ksplice.uptrack_facts#module:ansible_facts.uptrack.verdict).
  returned: with RV(checked_in)
  type: str
  sample: behind
reason:
  description: A sentence to the verdict.
  returned: with RV(checked_in)
  type: str
  sample: 3 updates waiting.
identity_reset:
  description: Whether an identity was there and was removed.
  returned: when O(reset_identity=true)
  type: bool
removed:
  description: The updates that were taken out of the kernel.
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
