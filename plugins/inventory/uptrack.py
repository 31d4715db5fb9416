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
    gets its variables there. It is matched by UUID first (the host's variable
    C(ksplice_uuid)), then by name (the host's own, or its C(ansible_host)). What cannot be told, as
    two machines have one name or two hosts one UUID, is a warning, and is not guessed.
  - Any other machine becomes a host, called by its host name, or by its UUID where the account has
    two active machines of that name, or the name is none that a host has.
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
  ansible_host: uptrack_machine.ip
"""

import re

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import (
    machines,
    schema,
    service_api,
)

# Variables of our own, for each host.
ABOUT = "uptrack_machine"
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
            found = self._machines(self.get_cache_key(path), cache)
        except service_api.ApiError as error:
            raise AnsibleParserError(f"{error} No host was added.") from None
        chosen = [one for one in found if self._wanted(one)]
        matched = machines.match(chosen, self._hosts())
        for doubt in matched.doubts:
            self.display.warning(f"Not matched: {doubt['what']}.")
        if self.get_option("unmatched") == "add":
            matched.hosts.update(self._new(chosen, matched))
        for machine in chosen:
            if machine["uuid"] in matched.hosts:
                self._add(matched.hosts[machine["uuid"]], machine)

    def _machines(self, key, cache):
        """The machines of the account, from the cache where that is wanted and has them."""
        wanted = cache and self.get_option("cache")
        if wanted and key in self._cache:
            return self._cache[key]
        options = {name: self._option(name) for name in service_api.OPTIONS}
        called = service_api.names("")
        service = service_api.Service(service_api.settings(options, called=called))
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
            known = host.get_vars()
            uuid = known.get("ksplice_uuid")
            names = machines.addresses(name, known)
            found.append(machines.Host(name, str(uuid) if uuid else None, names))
        return found

    def _new(self, chosen, matched):
        """Names of the machines that are to become hosts."""
        new, taken = set(matched.new), {}
        for machine in chosen:
            if machine["uuid"] in new:
                # What a machine calls itself is foreign, and may be a template.
                good = re.fullmatch(r"[\w.-]+", machine["hostname"], re.ASCII)
                name = machine["hostname"] if good else machine["uuid"]
                taken.setdefault(name, []).append(machine)
        found = {}
        for name, those in taken.items():
            if name in self.inventory.hosts or name in self.inventory.groups:
                self.display.warning(f"Not added: {name} is in the inventory as something else.")
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

    def _add(self, name, machine):
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
        self._set_composite_vars(self.get_option("compose"), known, name, strict=strict)
        known = self.inventory.get_host(name).get_vars()
        self._add_host_to_composed_groups(self.get_option("groups"), known, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), known, name, strict=strict)
