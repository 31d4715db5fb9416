# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Which machine of the service is which host."""

from __future__ import annotations

import time

import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.machines import (
    Host,
    can_be_called,
    match,
)
from hypothesis import given
from hypothesis import strategies as st


def machine(uuid, hostname):
    return {"uuid": uuid, "hostname": hostname}


def test_the_uuid_comes_first_and_the_name_second():
    found = match(
        [machine("U1", "other"), machine("u2", "WEB2.example.com"), machine("u3", "x")],
        [Host("web1", "u1"), Host("web2", None, ("web2.example.com",)), Host("web3")],
    )
    assert found.hosts == {"U1": "web1", "u2": "web2"}
    assert (found.new, found.missing, found.doubts) == (["u3"], ["web3"], [])


def test_a_host_with_another_uuid_is_not_the_machine_of_its_name():
    found = match([machine("old", "web1")], [Host("web1", "new")])
    assert (found.hosts, found.new, found.missing) == ({}, ["old"], ["web1"])


def test_clones_and_namesakes_are_told():
    found = match(
        [machine("u", "a"), machine("p", "twin"), machine("q", "twin"), machine("r", "both")],
        [Host("a", "u"), Host("b", "u"), Host("twin"), Host("c", None, ("both",)), Host("both")],
    )
    assert found.hosts == {} and found.new == [] and found.missing == []
    assert [(one["uuids"], one["hosts"]) for one in found.doubts] == [
        (["u"], ["a", "b"]),
        (["p", "q"], ["twin"]),
        (["r"], ["both", "c"]),
    ]
    assert [one["what"] for one in found.doubts[1:]] == [
        "by their names, twin may be any of p and q",
        "by their names, any of both and c may be r",
    ]


def test_thousands_of_one_name_are_one_sentence_and_soon_told():
    many = 3000
    hosts = [Host(f"h{number:04}", None, ("localhost.x",)) for number in range(many)]
    begun = time.process_time()
    [doubt] = match(
        [machine(f"u{number:04}", "localhost.x") for number in range(many)], hosts
    ).doubts
    # It took 5 s when each machine was looked at with each host.
    assert time.process_time() - begun < 1
    assert len(doubt["uuids"]) == len(doubt["hosts"]) == many and len(doubt["what"]) < 200
    assert "h0000, h0001, h0002, h0003, h0004 and 2995 more may be any of u0000" in doubt["what"]


NAMES = st.sampled_from(["a", "b", "c", "A"])
UUIDS = st.sampled_from(["1", "2", "3"])


@given(
    st.lists(st.tuples(UUIDS, NAMES), unique_by=lambda one: one[0]),
    st.lists(st.tuples(NAMES, st.none() | UUIDS, st.lists(NAMES)), unique_by=lambda one: one[0]),
)
def test_every_machine_and_host_is_told_of_once(machines, hosts):
    machines = [machine(*one) for one in machines]
    hosts = [Host(name, uuid, tuple(names)) for name, uuid, names in hosts]
    found = match(machines, hosts)
    doubted = [uuid for one in found.doubts for uuid in one["uuids"]]
    told = [*found.hosts, *found.new, *doubted]
    assert sorted(told) == sorted(one["uuid"] for one in machines)
    assert len(set(found.hosts.values())) == len(found.hosts)
    doubted = {name for one in found.doubts for name in one["hosts"]}
    assert not doubted & set(found.hosts.values())
    names = {*found.hosts.values(), *found.missing, *doubted}
    assert names == {host.name for host in hosts}
    by_name = {host.name: host for host in hosts}
    for uuid, name in found.hosts.items():
        assert by_name[name].uuid in (None, uuid)


@pytest.mark.parametrize(
    "name, good",
    [
        ("web1", True),
        ("web-1.example.com", True),
        ("10.web", True),
        ("localhost", False),
        ("LOCALHOST.localdomain", False),
        ("x.localhost", False),
        ("ip6-loopback", False),
        ("127.0.0.1", False),
        ("127.1", False),
        ("0x7f000001", False),
        ("0", False),
        ("1.", False),
        ("::1", False),
        ("-oProxyCommand=x", False),
        ("{{ 1 }}", False),
        ("a b", False),
        ("", False),
    ],
)
def test_what_a_host_may_be_called(name, good):
    assert can_be_called(name) is good
