# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The machines of an account of the service as an inventory, or as what it knows of one's own."""

from __future__ import annotations

DOCUMENTATION = r"""
name: uptrack
short_description: Machines that the Uptrack service knows
description:
  - Reads the machines of an account from the web API of the Uptrack service. A file of this plugin
    ends in C(uptrack.yml) or C(uptrack.yaml).
  - A machine that is a host of the inventory already (from a source that was given before this one)
    gets its variables there. It is matched by UUID first (the host's variable C(ksplice_uuid), in
    the inventory or in files C(host_vars) and C(group_vars) beside it), then by name (the host's
    own, or its C(ansible_host)). What cannot be told, as two machines have one name or two hosts
    one UUID, is a warning, and is not guessed.
  - Any other machine becomes a host, called by its host name, or by its UUID where the account has
    two active machines of that name, or the name is none that a host may have. A machine chooses
    its name. None is called C(localhost), as an address or as a group.
  - O(compose) sets variables whose names begin with C(ansible_), such as C(ansible_host), only on
    hosts that this source adds. How the other hosts of the inventory are connected to is not for a
    machine to say that calls itself as they are called.
  - Each host gets C(uptrack_machine), which has all that the API says of it, and is in groups
    C(uptrack_active) or C(uptrack_inactive), C(uptrack_status_STATUS) and
    C(uptrack_authorization_STATE); with O(describe) also in C(uptrack_group_NAME) and
    C(uptrack_kernel_RELEASE) (the effective one). Letters that are not allowed in names of groups
    become underscores, as P(ansible.builtin.constructed#inventory) does it.
  - Machines that are hidden in the web interface are not in its answers, and offline hosts do not
    report to it.
options:
  plugin:
    description: Its name.
    required: true
    choices: [rebootless.ksplice.uptrack]
  user:
    description: The user of the API. By default as C(/etc/uptrack-api.conf) has it. May be a
      template.
    type: str
    env:
      - name: UPTRACK_API_USERNAME
  key:
    description: The key of the API, which is not the access key. By default as
      C(/etc/uptrack-api.conf) has it. May be a template, such as a lookup into a vault.
    type: str
    env:
      - name: UPTRACK_API_KEY
  url:
    description: The address of the API, as the account's settings show it.
    type: str
    default: https://uptrack.api.ksplice.com/api/1
  ca:
    description: A file with the CA that the API's certificate is checked by. By default that of
      the system, or of E(REQUESTS_CA_BUNDLE).
    type: path
  proxy:
    description: URL of a proxy. By default E(HTTPS_PROXY) counts.
    type: str
  describe:
    description: Ask about each machine. Only so the API says its group and its kernels, at the
      price of one request for each.
    type: bool
    default: false
  filters:
    description: Only machines that have these values, such as C(active=true) or
      C(status=outofdate). A list of values is any of them.
    type: dict
    default: {}
  unmatched:
    description: What becomes of a machine that is no host of the inventory yet.
    type: str
    choices: [add, skip]
    default: add
extends_documentation_fragment:
  - constructed
  - inventory_cache
requirements:
  - requests
author:
  - rebootless.ksplice contributors (@rebootless)
"""

EXAMPLES = r"""
# fleet.uptrack.yml: every active machine that is behind, in groups by its effective kernel
plugin: rebootless.ksplice.uptrack
filters:
  active: true
  status: outofdate
keyed_groups:
  - key: uptrack_machine.uptrack_client_version
    prefix: client
compose:
  ansible_host: uptrack_machine.ip | default(inventory_hostname, true)
"""

import hashlib
import json

from ansible import constants as C
from ansible.errors import AnsibleParserError
from ansible.inventory.helpers import get_group_vars, sort_groups
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var
from ansible.utils.vars import combine_vars
from ansible.vars.plugins import get_vars_from_inventory_sources
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import (
    machines,
    schema,
    service_api,
)

# Variables of our own, for each host.
ABOUT = "uptrack_machine"
# How the names of groups of our own begin.
OURS = "uptrack_"
# Groups by what the service says: a key of a machine to the beginning of their names.
GROUPS = {
    "status": "uptrack_status_",
    "authorization": "uptrack_authorization_",
    "group": "uptrack_group_",
    "effective_kernel": "uptrack_kernel_",
}


def _refuse_never(name, value, shape):
    """Complain of a value that a filter wants, and that the API says of no machine."""
    try:
        if shape(value, name) == value:
            return
        why = f"is never {value}"
    except schema.Misfit as misfit:
        why = str(misfit).partition(name)[2].strip()
    words = f": it is {', '.join(shape.words)} or unknown" if hasattr(shape, "words") else ""
    raise AnsibleParserError(
        f"filters has {name}: {value!r}, but {name} {why}{words}. No host was added."
    )


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    NAME = "rebootless.ksplice.uptrack"

    def verify_file(self, path):
        return super().verify_file(path) and path.endswith(("uptrack.yml", "uptrack.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path)
        self._refuse_misspelt(self._read_config_data(path))
        self.load_cache_plugin()
        try:
            found = self._machines(path, cache)
        except service_api.ApiError as error:
            raise AnsibleParserError(f"{error} No host was added.") from None
        chosen = [one for one in found if self._wanted(one)]
        matched = machines.match(chosen, self._hosts())
        for doubt in matched.doubts:
            self.display.warning(f"Not matched: {doubt['what']}.")
        new = self._new(chosen, matched) if self.get_option("unmatched") == "add" else {}
        for machine in chosen:
            uuid = machine["uuid"]
            name = matched.hosts.get(uuid) or new.get(uuid)
            if name:
                self._add(name, machine, uuid in new)

    def _machines(self, path, cache):
        """The machines of the account, from the cache where that is wanted and has them."""
        options = {name: self._option(name) for name in service_api.OPTIONS}
        settings = service_api.settings(options, called=service_api.names(""))
        # Another account, or another question, is answered by itself.
        asked = [str(settings["url"]), str(settings["user"]), self.get_option("describe")]
        digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
        key = f"{self.get_cache_key(path)}_{digest}"
        wanted = cache and self.get_option("cache")
        if wanted and key in self._cache:
            return self._cache[key]
        service = service_api.Service(settings)
        found = service.machines()
        if self.get_option("describe"):
            found = service.describe_all([one["uuid"] for one in found])
        if self.get_option("cache"):
            self._cache[key] = found
        return found

    def _option(self, name):
        value = self.get_option(name)
        if isinstance(value, str) and self.templar.is_template(value):
            value = self.templar.template(value)
        return value

    def _refuse_misspelt(self, config):
        """Complain of what would be passed over, or be true of no machine, before anybody asks."""
        wrong = [str(key) for key in config if key not in self._options]
        if wrong:
            raise AnsibleParserError(
                f"The source has {', '.join(wrong)}, which is no option of {self.NAME}. No host "
                "was added."
            )
        known, describe = dict(service_api.MACHINE.keys), self.get_option("describe")
        known.update(service_api.DESCRIPTION.keys if describe else {})
        for name, values in self.get_option("filters").items():
            if name not in known:
                raise AnsibleParserError(
                    f"filters has {name}, which the API does not say of a machine"
                    f"{'' if describe else ' (without describe)'}: give some of "
                    f"{', '.join(known)}. No host was added."
                )
            for value in values if isinstance(values, list) else [values]:
                _refuse_never(name, value, known[name])

    def _wanted(self, machine):
        for name, values in self.get_option("filters").items():
            if machine[name] not in (values if isinstance(values, list) else [values]):
                return False
        return True

    def _hosts(self):
        """The hosts that are there already."""
        found = []
        for name, host in self.inventory.hosts.items():
            known = self._variables(host)
            uuid = machines.uuid_of(known.get("ksplice_uuid"))
            found.append(machines.Host(name, uuid, machines.addresses(name, known)))
        return found

    def _variables(self, host):
        """The variables of a host, in the order in which Ansible has them: of its groups, of the
        files group_vars beside the sources so far, its own, and of its files host_vars.
        """
        groups = sort_groups({self.inventory.groups["all"], *host.get_groups()})
        stage = "inventory" if C.RUN_VARS_PLUGINS == "start" else "task"

        def beside(entities):
            sources = self.inventory.processed_sources
            return get_vars_from_inventory_sources(self.loader, sources, entities, stage)

        found = {}
        for more in (get_group_vars(groups), beside(groups), host.get_vars(), beside([host])):
            found = combine_vars(found, more)
        return found

    def _new(self, chosen, matched):
        """Names of the machines that are to become hosts."""
        new, taken = set(matched.new), {}
        for machine in chosen:
            if machine["uuid"] in new:
                name = machine["hostname"]
                group = name in self.inventory.groups or name.lower().startswith(OURS)
                if group or not machines.can_be_called(name):
                    name = machine["uuid"]
                if name in self.inventory.groups or not machines.can_be_called(name):
                    self.display.warning(f"Not added: {name} is no name of a host.")
                    continue
                taken.setdefault(name, []).append(machine)
        found = {}
        for name, those in taken.items():
            if name in self.inventory.hosts:
                self.display.warning(f"Not added: the inventory has {name} as another machine.")
                continue
            active = [one for one in those if one["active"]]
            if len(active) > 1:
                uuids = ", ".join(one["uuid"] for one in active)
                self.display.warning(
                    f"The account has {len(active)} active machines called {name}: they are hosts "
                    f"by their UUIDs ({uuids})."
                )
            for machine in those:
                alone = len(those) == 1 or len(active) == 1 and machine is active[0]
                found[machine["uuid"]] = name if alone else machine["uuid"]
        return found

    def _add(self, name, machine, is_new):
        self.inventory.add_host(name)
        # Before ansible-core 2.19 nothing else keeps what a machine says from being a template.
        self.inventory.set_variable(name, ABOUT, wrap_var(machine))
        groups = ["uptrack_active" if machine["active"] else "uptrack_inactive"]
        groups += [f"{begin}{machine[key]}" for key, begin in GROUPS.items() if machine.get(key)]
        for group in groups:
            safe = self._sanitize_group_name(group)
            self.inventory.add_group(safe)
            self.inventory.add_host(name, group=safe)
        known, strict = self.inventory.get_host(name).get_vars(), self.get_option("strict")
        compose = {
            key: value
            for key, value in self.get_option("compose").items()
            if is_new or not key.startswith("ansible_")
        }
        self._set_composite_vars(compose, known, name, strict=strict)
        known = self.inventory.get_host(name).get_vars()
        self._add_host_to_composed_groups(self.get_option("groups"), known, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), known, name, strict=strict)
