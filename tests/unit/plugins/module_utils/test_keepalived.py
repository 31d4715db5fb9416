# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""keepalived's configuration: its grammar, and the groups it makes."""

import os

import pytest
from extent import rounds

from ansible_collections.rebootless.ksplice.plugins.module_utils import keepalived

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
            raise keepalived.Unreadable("{} cannot be read".format(path))
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
    found, = instances(PLAIN)
    assert (found.name, found.interface, found.router_id, found.priority, found.nopreempt) == ("web", "eth0", 51, 150, False)
    assert found.addresses == ["192.0.2.100", "192.0.2.9"] and found.peers == ["192.0.2.3", "192.0.2.2"]
    assert found.places == [(MAIN, 8)] and found.brace == (MAIN, 4)


@pytest.mark.parametrize("text", [
    "vrrp_instance web\n{\npriority 7\n}", "vrrp_instance web {\npriority 7 }", "vrrp_instance web { priority 7 }", 'vrrp_instance "web" {\npriority "7"\n}',
    "vrrp_instance web{\npriority 7\n}", "vrrp_instance web { # priority 8\n! priority 9\npriority 7!8\n}", "vrrp_instance web {\n\tpriority 7#, not 8\n}",
    "\n\nvrrp_instance web\n\n# here it begins\n{\n\npriority 7\n}", "$NAME=web\n$LOW=7\nvrrp_instance $NAME {\npriority ${LOW}\n}",
    "$A=7\n$LINE=priority $A\nvrrp_instance web {\n$LINE\n}", "vrrp_instance web {\n@other priority 8\npriority 7\n}",
    "vrrp_instance web {\r\npriority 7\r\n}\r\n"])
def test_ways_to_write_the_same(text):
    found, = instances(text)
    assert (found.name, found.priority) == ("web", 7)


def test_what_looks_like_a_comment_inside_of_quotes_is_none():
    statement, = read('notify "/usr/bin/say #1 !now {" # said')[1]
    assert statement.words == ["notify", "/usr/bin/say #1 !now {"]


@pytest.mark.parametrize("text, words", [
    ("a {\nb\n", "line 1: the block a is not closed"), ("a {\n}\n}", "line 3: a brace closes nothing"),
    ("{\n}", "line 1: a brace opens a block without a name")])
def test_braces_that_do_not_match(text, words):
    with pytest.raises(keepalived.Unreadable, match=words):
        read(text)


def test_other_instances_words_are_not_taken():
    found, = instances("vrrp_script s {\npriority 3\n}\nvrrp_instance web {\nnopreempt\npreempt\nnative_ipv6\ntrack_interface {\npriority 9\n}\n}")
    assert found.priority is None and not found.nopreempt and found.family == 6
    assert instances("vrrp_instance web {\npreempt\nnopreempt\n}")[0].nopreempt


def test_includes_are_relative_to_their_file_and_in_order(tmp_path):
    source = on_disk(tmp_path, keepalived="$PRIO=90\ninclude conf.d/*.conf\n", conf_d__x="never", **{
        "conf.d__b": "vrrp_instance b {\ninclude sub/body.conf\n}", "conf.d__a": "vrrp_instance a {\ninclude \"sub/body.conf\"\nvirtual_router_id 1\n}",
        "conf.d__sub__body": "priority $PRIO\ninterface eth1"})
    found = keepalived.instances(keepalived.read(source))
    assert [(one.name, one.priority, one.interface) for one in found] == [("a", 90, "eth1"), ("b", 90, "eth1")]
    assert found[0].places == [("/etc/keepalived/conf.d/sub/body.conf", 0)]


def test_files_that_include_each_other_or_cannot_be_read(tmp_path):
    with pytest.raises(keepalived.Unreadable, match="includes itself"):
        keepalived.read(on_disk(tmp_path, keepalived="include other.conf", other="include keepalived.conf"))
    with pytest.raises(keepalived.Unreadable, match="cannot be read"):
        keepalived.read(keepalived.Source(str(tmp_path)), "/etc/keepalived/none.conf")


def group_of(text, *held):
    return keepalived.groups(read(text)[1], set(held))


def instance(name, router_id, addresses, more="", kind="virtual_ipaddress"):
    return "vrrp_instance %s {\ninterface eth0\nvirtual_router_id %d\n%s\n%s {\n%s\n}\n}\n" % (name, router_id, more, kind, "\n".join(addresses))


def test_both_members_of_a_pair_come_to_the_same_name_whatever_else_differs():
    one = instance("web", 51, ["192.0.2.10/24 dev eth0", "192.0.2.9/24"], "priority 150\nunicast_peer {\n192.0.2.2\n}")
    other = "# the standby\n" + instance("WEB_B", 51, ["192.0.2.9", "192.0.2.10/32 dev bond0"], "priority 100\nstate BACKUP\nunicast_peer {\n192.0.2.1\n}")
    (active,), (standby,) = group_of(one, "192.0.2.9", "192.0.2.10", "192.0.2.1"), group_of(other, "192.0.2.2")
    # The lowest address as a number, not as a text.
    assert active["name"] == standby["name"] == "vrrp-51-192.0.2.9"
    assert (active["role"], standby["role"]) == ("active", "standby")
    assert active["addresses"] == standby["addresses"] == ["192.0.2.9", "192.0.2.10"]
    assert (active["peers"], standby["peers"]) == (["192.0.2.2"], ["192.0.2.1"])


def test_ipv6_addresses_in_any_spelling():
    first, = group_of(instance("six", 7, ["2001:DB8:0:0::10/64", "fe80::1%eth0"]), "2001:db8::10")
    second, = group_of(instance("six", 7, ["fe80:0::1", "2001:db8::0010"]))
    assert first["name"] == second["name"] == "vrrp-7-2001:db8::10" and first["role"] == "active"
    # The same router ID with either family is two groups.
    both = group_of(instance("four", 7, ["192.0.2.9"]) + instance("six", 7, ["2001:db8::10"]))
    assert [one["name"] for one in both] == ["vrrp-7-192.0.2.9", "vrrp-7-2001:db8::10"]


@pytest.mark.parametrize("group", ["group {\nin\nout\n}", "group {\nin out\n}", "group\n{\nout\nin\n}"])
def test_a_sync_group_is_one_group(group):
    text = "vrrp_sync_group both {\n%s\n}\n" % group + instance("in", 20, ["10.0.0.1"]) + instance("out", 10, ["192.0.2.1"])
    text += instance("alone", 30, ["192.0.2.3"])
    found = group_of(text, "10.0.0.1")
    assert [(one["name"], one["instances"], one["role"]) for one in found] == [
        ("vrrp-10-192.0.2.1", ["in", "out"], "active"), ("vrrp-30-192.0.2.3", ["alone"], "standby")]
    assert found[0]["addresses"] == ["10.0.0.1", "192.0.2.1"]


def test_excluded_addresses_count_and_what_is_no_address_does_not():
    found, = group_of(instance("web", 5, ["192.0.2.7"]).replace("}\n}", "}\nvirtual_ipaddress_excluded {\n192.0.2.3\n2001:db8::3\n}\n}"))
    assert found["addresses"] == ["192.0.2.3", "192.0.2.7", "2001:db8::3"] and found["name"] == "vrrp-5-192.0.2.3"
    assert not group_of(instance("none", 5, ["nowhere"])) and not group_of("vrrp_instance x {\nvirtual_ipaddress {\n192.0.2.1\n}\n}")


@hypothesis.settings(max_examples=rounds(400), deadline=None)
@hypothesis.given(st.one_of(st.text("{}#!\"$@ \nabc", max_size=80), st.lists(st.sampled_from(
    ["vrrp_instance a {", "{", "}", "priority 5", "include x", "\"", "$A=b", "virtual_ipaddress {", "group {", "1.2.3.4"]), max_size=12).map("\n".join)))
def test_anything_is_read_or_refused_and_never_a_traceback(text):
    try:
        _source, statements = read(text)
    except keepalived.Unreadable as refused:
        assert "\n" not in str(refused)
        return
    keepalived.groups(statements, set())
