# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""keepalived's configuration: its grammar, and the groups it makes."""

import ipaddress
import json
import os

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import keepalived
from extent import rounds
from keepalived_files import dumped, understood

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

MAIN = keepalived.CONFIGURATION


class Files(keepalived.Source):
    """Files that need no disk; patterns know the star at the end of a name's stem only."""

    def __init__(self, texts):
        super().__init__()
        self.texts = texts

    def lines(self, path):
        if path not in self.texts:
            raise keepalived.Unreadable(f"{path} cannot be read")
        self.files[path] = self.texts[path].split("\n")
        return self.files[path]


def read(text):
    source = Files({MAIN: text})
    return source, keepalived.read(source)


def instances(text):
    return keepalived.instances(read(text)[1])


def on_disk(tmp_path, **texts):
    for name, text in texts.items():
        path = os.path.join(str(tmp_path), "etc", "keepalived", name.replace("__", "/") + ".conf")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text.encode())
    return keepalived.Source(str(tmp_path))


PLAIN = """\
! Of the house.
global_defs {
    router_id lb1   # a name, not a number
}
vrrp_instance web {
    state MASTER
    interface eth0
    virtual_router_id 51
    priority 150
    advert_int 1
    authentication {
        auth_type PASS
        auth_pass "sec # ret!"
    }
    unicast_peer {
        192.0.2.3
        192.0.2.2
    }
    virtual_ipaddress {
        192.0.2.100/24 dev eth0 label eth0:1
        192.0.2.9
    }
}
"""


def test_a_plain_instance():
    (found,) = instances(PLAIN)
    assert (found.name, found.interface, found.router_id, found.priority, found.nopreempt) == (
        "web",
        "eth0",
        51,
        150,
        False,
    )
    assert found.addresses == ["192.0.2.100", "192.0.2.9"] and found.peers == [
        "192.0.2.3",
        "192.0.2.2",
    ]
    assert found.places == [(MAIN, 8)] and found.brace == (MAIN, 4)


@pytest.mark.parametrize(
    "text",
    [
        "vrrp_instance web\n{\npriority 7\n}",
        "vrrp_instance web {\npriority 7 }",
        "vrrp_instance web { priority 7 }",
        'vrrp_instance "web" {\npriority "7"\n}',
        "vrrp_instance web{\npriority 7\n}",
        "vrrp_instance web { # priority 8\n! priority 9\npriority 7!8\n}",
        "vrrp_instance web {\n\tpriority 7#, not 8\n}",
        "\n\nvrrp_instance web\n\n# here it begins\n{\n\npriority 7\n}",
        "$NAME=web\n$LOW=7\nvrrp_instance $NAME {\npriority ${LOW}\n}",
        "$A=7\n$LINE=priority $A\nvrrp_instance web {\n$LINE\n}",
        "vrrp_instance web {\n@other priority 8\npriority 7\n}",
        "vrrp_instance web {\r\npriority 7\r\n}\r\n",
    ],
)
def test_ways_to_write_the_same(text):
    (found,) = instances(text)
    assert (found.name, found.priority) == ("web", 7)


def test_what_looks_like_a_comment_inside_of_quotes_is_none():
    (statement,) = read('notify "/usr/bin/say #1 !now {" # said')[1]
    assert statement.words == ["notify", "/usr/bin/say #1 !now {"]


@pytest.mark.parametrize(
    "text, words",
    [
        ("a {\nb\n", "line 1: the block a is not closed"),
        ("a {\n}\n}", "line 3: a brace closes nothing"),
        ("{\n}", "line 1: a brace opens a block without a name"),
    ],
)
def test_braces_that_do_not_match(text, words):
    with pytest.raises(keepalived.Unreadable, match=words):
        read(text)


def test_other_instances_words_are_not_taken():
    (found,) = instances(
        "vrrp_script s {\npriority 3\n"
        "}\nvrrp_instance web {\nnopreempt\n"
        "preempt\nnative_ipv6\ntrack_interface {\n"
        "priority 9\n}\n}"
    )
    assert found.priority is None and not found.nopreempt and found.family == 6
    assert instances("vrrp_instance web {\npreempt\nnopreempt\n}")[0].nopreempt


def test_includes_are_relative_to_their_file_and_in_order(tmp_path):
    source = on_disk(
        tmp_path,
        keepalived="$PRIO=90\ninclude conf.d/*.conf\n",
        conf_d__x="never",
        **{
            "conf.d__b": "vrrp_instance b {\ninclude sub/body.conf\n}",
            "conf.d__a": "vrrp_instance a {\ninclude sub/body.conf\nvirtual_router_id 1\n}",
            "conf.d__sub__body": "priority $PRIO\ninterface eth1",
        },
    )
    found = keepalived.instances(keepalived.read(source))
    assert [(one.name, one.priority, one.interface) for one in found] == [
        ("a", 90, "eth1"),
        ("b", 90, "eth1"),
    ]
    assert found[0].places == [("/etc/keepalived/conf.d/sub/body.conf", 0)]


def test_files_that_include_each_other_or_cannot_be_read(tmp_path):
    with pytest.raises(keepalived.Unreadable, match="includes itself"):
        keepalived.read(
            on_disk(tmp_path, keepalived="include other.conf", other="include keepalived.conf")
        )
    with pytest.raises(keepalived.Unreadable, match="cannot be read"):
        keepalived.read(keepalived.Source(str(tmp_path)), "/etc/keepalived/none.conf")


def group_of(text, *held):
    return keepalived.groups(read(text)[1], set(held))


def instance(name, router_id, addresses, more="", kind="virtual_ipaddress"):
    block = "{} {{\n{}\n}}\n".format(kind, "\n".join(addresses)) if addresses else ""
    return (
        f"vrrp_instance {name} {{\n"
        f"interface eth0\nvirtual_router_id {router_id}\n"
        f"{more}\n{block}}}\n"
    )


def test_both_members_of_a_pair_arrive_at_the_same_name():
    one = instance(
        "web",
        51,
        ["192.0.2.10/24 dev eth0", "192.0.2.9/24"],
        "priority 150\nunicast_peer {\n192.0.2.2\n}",
    )
    other = "# the standby\n" + instance(
        "WEB_B",
        51,
        ["192.0.2.9", "192.0.2.10/32 dev bond0"],
        "priority 100\nstate BACKUP\nunicast_peer {\n192.0.2.1\n}",
    )
    (active,), (standby,) = (
        group_of(one, "192.0.2.9", "192.0.2.10", "192.0.2.1"),
        group_of(other, "192.0.2.2"),
    )
    # The lowest address as a number, not as a text.
    assert active["name"] == standby["name"] == "vrrp-51-192.0.2.9"
    assert (active["role"], standby["role"]) == ("active", "standby")
    assert active["addresses"] == standby["addresses"] == ["192.0.2.9", "192.0.2.10"]
    assert (active["peers"], standby["peers"]) == (["192.0.2.2"], ["192.0.2.1"])


def test_ipv6_addresses_in_any_spelling():
    (first,) = group_of(instance("six", 7, ["2001:DB8:0:0::10/64", "fe80::1%eth0"]), "2001:db8::10")
    (second,) = group_of(instance("six", 7, ["fe80:0::1", "2001:db8::0010"]))
    assert first["name"] == second["name"] == "vrrp-7-2001:db8::10" and first["role"] == "active"
    # The same router ID with either family is two groups.
    both = group_of(instance("four", 7, ["192.0.2.9"]) + instance("six", 7, ["2001:db8::10"]))
    assert [one["name"] for one in both] == ["vrrp-7-192.0.2.9", "vrrp-7-2001:db8::10"]


@pytest.mark.parametrize(
    "group", ["group {\nin\nout\n}", "group {\nin out\n}", "group\n{\nout\nin\n}"]
)
def test_a_sync_group_is_one_group(group):
    text = (
        f"vrrp_sync_group both {{\n{group}\n}}\n"
        + instance("in", 20, ["10.0.0.1"])
        + instance("out", 10, ["192.0.2.1"])
    )
    text += instance("alone", 30, ["192.0.2.3"])
    found = group_of(text, "10.0.0.1")
    assert [(one["name"], one["instances"], one["role"]) for one in found] == [
        ("vrrp-10-192.0.2.1", ["in", "out"], "active"),
        ("vrrp-30-192.0.2.3", ["alone"], "standby"),
    ]
    assert found[0]["addresses"] == ["10.0.0.1", "192.0.2.1"]


def test_excluded_addresses_count_and_what_is_no_address_does_not():
    (found,) = group_of(
        instance("web", 5, ["192.0.2.7"]).replace(
            "}\n}", "}\nvirtual_ipaddress_excluded {\n192.0.2.3\n2001:db8::3\n}\n}"
        )
    )
    assert (
        found["addresses"] == ["192.0.2.3", "192.0.2.7", "2001:db8::3"]
        and found["name"] == "vrrp-5-192.0.2.3"
    )
    with pytest.raises(
        keepalived.Unreadable,
        match="keepalived.conf line 2: the VRRP instance x has no virtual_router_id from 1 to 255",
    ):
        group_of("\nvrrp_instance x {\nvirtual_router_id 256\nvirtual_ipaddress {\n192.0.2.1\n}\n}")


def on(**interfaces):
    networks = {
        name: [ipaddress.ip_interface(one) for one in addresses]
        for name, addresses in interfaces.items()
    }
    return {str(one.ip) for found in networks.values() for one in found}, networks


def members(text, other, own="192.0.2.11", peer="192.0.2.12", routes=None):
    """The groups of two hosts that have one interface each."""
    found = []
    for words, address in ((text, own), (other, peer)):
        held, networks = on(
            lo=["127.0.0.1/8", "::1/128"],
            eth0=[address + "/24", f"2001:db8::{address[-2:]}/64", f"fe80::{address[-2:]}/64"],
        )
        (group,) = keepalived.groups(read(words)[1], held, networks, routes)
        found.append(group)
    return found


PEERS = "unicast_peer {\n%s\n}"


@pytest.mark.parametrize(
    "one, other",
    [
        (PEERS % "192.0.2.12", PEERS % "192.0.2.11"),
        (PEERS % "192.0.2.12" + "\nunicast_src_ip 192.0.2.11", PEERS % "192.0.2.11"),
        (PEERS % "192.0.2.11\n192.0.2.12", PEERS % "192.0.2.11\n192.0.2.12"),
    ],
)
def test_without_addresses_both_come_to_the_name_of_their_lowest_peer(one, other):
    """A notify script moves what there is to move, so that nobody can see who is active."""
    first, second = members(instance("a", 53, [], one), instance("b", 53, [], other))
    assert (
        first["name"] == second["name"] == "vrrp-53-192.0.2.11"
        and first["role"] is second["role"] is None
    )
    assert (first["peers"], second["peers"]) == (["192.0.2.12"], ["192.0.2.11"]) and first[
        "size"
    ] == second["size"] == 2


def test_without_addresses_or_peers_both_come_to_the_name_of_their_network():
    first, second = members(instance("a", 53, []), instance("b", 53, [], "priority 3"))
    assert first["name"] == second["name"] == "vrrp-53-192.0.2.0/24" and first["size"] is None
    first, second = members(
        instance("a", 53, [], "native_ipv6"), instance("b", 53, [], "native_ipv6")
    )
    assert first["name"] == second["name"] == "vrrp-53-2001:db8::/64"
    assert group_of(instance("a", 53, []))[0]["name"] == "vrrp-53-eth0"


def test_ones_own_address_among_the_peers_is_no_third_member():
    every = PEERS % "192.0.2.11\n192.0.2.12"
    first, second = members(
        instance("a", 83, ["198.51.100.83"], every), instance("b", 83, ["198.51.100.83"], every)
    )
    assert (first["peers"], first["size"], second["peers"], second["size"]) == (
        ["192.0.2.12"],
        2,
        ["192.0.2.11"],
        2,
    )


def test_a_sync_group_over_both_families_has_no_more_members_than_either():
    text = "vrrp_sync_group g {\ngroup {\na\nb\n}\n}\n" + instance(
        "a", 1, ["192.0.2.100"], PEERS % "192.0.2.12"
    )
    text += instance("b", 2, ["2001:db8::100"], PEERS % "2001:db8::12")
    first, _second = members(text, text)
    assert first["peers"] == ["192.0.2.12", "2001:db8::12"] and first["size"] == 2


def test_where_only_routes_are_moved_they_tell_the_role():
    text = instance(
        "a",
        9,
        ["198.18.2.0/24 via 192.0.2.1", "default via 192.0.2.1 table 5"],
        kind="virtual_routes",
    )
    both, elsewhere = (
        {"198.18.2.0/24": True, "default": False},
        {"default": False, "192.0.2.0/24": False},
    )
    roles = [
        members(text, text, routes=routes)[0]["role"]
        for routes in (both, {"192.0.2.0/24": False}, elsewhere, None)
    ]
    # A default route of somebody else may be the same as one of keepalived's, before it marked its
    # own.
    assert roles == ["active", "standby", None, None]


def test_where_an_instance_is_mentioned(tmp_path):
    source = on_disk(
        tmp_path,
        keepalived="# vrrp_instance a {\n@gw2 vrrp_instance b {\ninclude o.conf\n",
        o="\n$X=vrrp_instance \\\n",
    )
    assert not keepalived.instances(keepalived.read(source, config_id="gw1"))
    assert keepalived.mentioned(source, "gw1") == ("/etc/keepalived/o.conf", 1)
    assert keepalived.mentioned(source, "gw2") == (MAIN, 1)


@pytest.mark.parametrize(
    "text, words",
    [
        ("$A=$A\nx $A", "line 2: its parameters, sequences and includes expand to more than"),
        ("\n~SEQ(A, 1, 0, 2) x", "line 2: ~SEQ is not followed by"),
        ("~SEQ(A, 1, 99999999) x", "expand to more than"),
        ("~LST(A, {1, 2}) x", "~LST is not followed by"),
        ("priority ${_RANDOM 1 9}", "line 1: a random number"),
        ("$A=" + 600 * "x" + "\nx $A $A", "line 2: with its parameters it is longer than"),
    ],
)
def test_what_cannot_be_known_or_has_no_end_is_reported_with_its_line(text, words):
    with pytest.raises(keepalived.Unreadable, match=words):
        read(text)


def test_how_an_instance_begins_and_where_it_stands():
    (found,) = instances(
        "vrrp_instance a {\ntrack_script {\n"
        "chk weight -5\nother\n}\n"
        "track_interface {\neth1 weight 7 reverse\n"
        "}\nstate MASTER\nuse_vmac\n"
        "}"
    )
    assert found.state == "MASTER" and found.vmac and found.path == MAIN and found.line == 0


def test_a_block_that_stands_in_a_parameter_has_its_places_there():
    found = instances(
        "$I= \\\nvrrp_instance a_${N} { \\\n priority ${N} \\\n}\n\n$N=7\n$I\n$N=8\n$I"
    )
    assert [(one.name, one.places, one.brace) for one in found] == [
        ("a_7", [(MAIN, 2)], (MAIN, 1)),
        ("a_8", [(MAIN, 2)], (MAIN, 1)),
    ]


@hypothesis.settings(max_examples=rounds(400), deadline=None)
@hypothesis.given(
    st.one_of(
        st.text('{}#!"$@ \nabc', max_size=80),
        st.lists(
            st.sampled_from(
                [
                    "vrrp_instance a {",
                    "{",
                    "}",
                    "priority 5",
                    "include x",
                    '"',
                    "$A=b",
                    "virtual_ipaddress {",
                    "group {",
                    "1.2.3.4",
                ]
            ),
            max_size=12,
        ).map("\n".join),
    )
)
def test_anything_is_read_or_refused_and_never_a_traceback(text):
    try:
        keepalived.groups(read(text)[1], set())
    except keepalived.Unreadable as refused:
        assert "\n" not in str(refused)


# ---- what keepalived itself makes of it ----------------------------------------------------------

FIXTURES = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "fixtures", "keepalived"
)
with open(os.path.join(FIXTURES, "expected.json"), encoding="ascii") as stored:
    EXPECTED = json.load(stored)


class WithCarriageReturns(keepalived.Source):
    """The same files as some editors write them."""

    def lines(self, path):
        self.files[path] = [line + "\r" for line in super().lines(path)]
        return self.files[path]


def test_line_ends_of_other_systems():
    source = WithCarriageReturns(os.path.abspath(FIXTURES))
    (one,) = [one for one in EXPECTED if one["file"] == "includes.conf"]
    found = keepalived.instances(keepalived.read(source, "/includes.conf", one["id"]))
    assert [understood(instance) for instance in found] == [
        dumped(instance) for instance in one["instances"]
    ]


@pytest.mark.parametrize("one", EXPECTED, ids=["{file}@{id}".format(**one) for one in EXPECTED])
def test_instances_are_those_of_keepalived(one):
    source = keepalived.Source(os.path.abspath(FIXTURES))
    found = keepalived.instances(keepalived.read(source, "/" + one["file"], one["id"]))
    assert [understood(instance) for instance in found] == [
        dumped(instance) for instance in one["instances"]
    ]
    assert (
        one["file"] != "namespace.conf"
        or keepalived.namespace(keepalived.read(source, "/namespace.conf")) == "hrepvpn"
    )
