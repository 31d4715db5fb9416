# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""By whose word something is done to a machine of the account."""

from __future__ import annotations

import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import service_action

ONE, TWO = "aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"


@pytest.mark.parametrize(
    "hostname, variables, good",
    [
        ("web1", {}, True),
        ("WEB1.example.com", {}, True),
        ("web1.other.com", {}, False),
        ("web2", {}, False),
        ("w", {"ansible_host": "w.example.net"}, True),
        ("w", {"ansible_fqdn": "w", "ansible_facts": {"fqdn": "w"}}, False),
        ("192", {"ansible_host": "192.0.2.1"}, False),
        ("localhost", {"ansible_host": "localhost"}, False),
        ("web2", {"ksplice_uuid": ONE.upper()}, True),
        ("web1", {"ksplice_uuid": TWO}, False),
        ("web2", {"ksplice_uuid": ONE, "ansible_facts": {"ksplice_uuid": ONE}}, False),
    ],
)
def test_a_host_has_only_itself_changed(hostname, variables, good):
    variables = {"inventory_hostname": "web1.example.com", **variables}
    machine = {"uuid": ONE, "hostname": hostname}
    if good:
        service_action.refuse_another(machine, variables)
        return
    with pytest.raises(service_action.NotTheHost, match="set that UUID as ksplice_uuid") as error:
        service_action.refuse_another(machine, variables)
    assert ONE in str(error.value) and hostname in str(error.value)


def test_a_uuid_is_one_in_any_letters():
    facts = {"ansible_facts": {"uptrack": {"agent": {"uuid": ONE.upper()}}}}
    assert service_action.known_uuid({**facts, "ksplice_uuid": TWO}) == ONE
    assert service_action.known_uuid({"ksplice_uuid": TWO.upper()}) == TWO
    assert service_action.known_uuid({"ksplice_uuid": ""}) is None
