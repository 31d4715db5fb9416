# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The connection to a host of the rehearsal fleet: a directory that serves as the host's root, and
never the host itself.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: rehearsal
short_description: Run tasks on an emulated host of the rehearsal fleet
description:
  - Runs commands on the controller, with E(UPTRACK_LAB_ROOT) set to the directory that plays the
    host. The collection's modules, its probe and the emulated agent take everything they read and
    write from below that directory.
  - It opens no network connection, whatever address the inventory gives the host.
  - A host whose directory contains a file C(unreachable) is unreachable.
author:
  - rebootless.ksplice contributors (@rebootless)
version_added: 0.1.0
extends_documentation_fragment:
  - connection_pipelining
options:
  root:
    description: Directory that serves as the host's root. Made by the playbook
      C(rebootless.ksplice.rehearse).
    type: path
    vars:
      - name: ksplice_rehearsal_root
"""

import os
import shlex

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection.local import Connection as LocalConnection


class Connection(LocalConnection):
    transport = "rebootless.ksplice.rehearsal"

    def _root(self):
        """The host's directory; None for the controller itself, to which a rehearsal delegates its
        record.
        """
        root = self.get_option("root")
        if root is None:
            if self._play_context.remote_addr == "localhost":
                return None
            raise AnsibleConnectionFailure(
                "This host has no emulated host (ksplice_rehearsal_root is not set): run the "
                "playbook rebootless.ksplice.rehearse over its inventory. The host itself was "
                "not touched."
            )
        if os.path.exists(os.path.join(root, "unreachable")):
            raise AnsibleConnectionFailure("The rehearsal simulates this host as unreachable.")
        if not os.path.isdir(os.path.join(root, "var/lib/uptrack-lab")):
            raise AnsibleConnectionFailure(
                f"{root} contains no emulated host: run the playbook "
                "rebootless.ksplice.rehearse again. The host itself was not touched."
            )
        return root

    def exec_command(self, cmd, in_data=None, sudoable=True):
        root = self._root()
        if root is not None:
            cmd = f"export UPTRACK_LAB_ROOT={shlex.quote(root)}; {cmd}"
        return super().exec_command(cmd, in_data=in_data, sudoable=sudoable)

    def put_file(self, in_path, out_path):
        self._root()
        return super().put_file(in_path, out_path)

    def fetch_file(self, in_path, out_path):
        self._root()
        return super().fetch_file(in_path, out_path)
