# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Names are names, and an inventory that was not read is no empty one.

The oracle is Ansible's own inventory.
"""

from __future__ import annotations

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import inventory
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import PlanError
from hypothesis import given
from hypothesis import strategies as st

ODD = [
    "Web Server 1",
    "rack1:web2",
    "db[1]",
    "app-x*",
    "a,b",
    "..",
    "fe80::1%eth0",
    "!x",
    "&x",
    "~x",
    "@x",
    "x y:z",
    "[0]",
    "web1",
    "WEB1",
    "web",
    "weba",
    "10.0.0.1:22",
    "ü1",
    "²",
    "x\\Z",
]
SIGNS = st.sampled_from("ab1 ,:;[]*?!&~@.^$()|\\%-_/ü²\t\n")


def hosts_of(names, groups=()):
    manager = InventoryManager(DataLoader(), sources=[], parse=False)
    for group in groups:
        manager.add_group(group)
        manager.add_host("member of " + group, group)
    for name in names:
        manager.add_host(name)
    # So that the group of all has them.
    manager.reconcile_inventory()
    return manager


def meant(manager, names):
    return [host.name for host in manager.get_hosts(inventory.patterns(names))]


def test_odd_names_mean_themselves_in_their_order():
    manager = hosts_of(ODD, groups=["web", "10.0.0.1"])
    assert meant(manager, ODD) == ODD
    assert meant(manager, ODD[::-1]) == ODD[::-1]
    for name in ODD:
        assert meant(manager, [name]) == [name]


@given(st.lists(st.text(SIGNS, min_size=1, max_size=6), unique=True, min_size=1, max_size=8))
def test_any_name_means_itself(names):
    assert meant(hosts_of(names), names) == names
    assert meant(hosts_of(names), names[:1]) == names[:1]


def test_a_pattern_that_matches_no_host():
    assert meant(hosts_of(["a"]), []) == []


@pytest.mark.parametrize("name, refused", [("a b", True), ("web", False), ("db[1]", False)])
def test_a_name_that_no_pattern_tells_from_a_group(name, refused):
    if refused:
        with pytest.raises(PlanError, match="both called"):
            inventory.check_name(name, {name})
    else:
        inventory.check_name(name, {name})
    inventory.check_name(name, {"other"})


def test_what_of_the_inventory_was_not_read(tmp_path):
    files = {
        "good": "web1\n[web]\nweb1\n",
        "broken.yml": "[a\n",
        # Ansible keeps what stood before the mistake.
        "half.yml": "all: {hosts: {web3: {}, 'db[1]': {}, web4: {}}}\n",
        # Ansible warns of these, and goes on without.
        "misspelt.yml": "all: {hosts: {web1: {}}, childern: {db: {hosts: {db1: {}}}}}\n",
        "deep.yml": "all: {children: {web: {children: {a: {host: {h1: {}}, hosts: {h2: {}}}}}}}\n",
        "twice.yml": "all:\n  hosts: {web1: }\n  vars: {x: !vault secret}\n  hosts: {app1: }\n",
        "anchors.yml": "all: {hosts: {a: &x {y: !vault z, hosts: 1, why: on}, b: {<<: *x}}, "
        "children: {web: , db: {vars: {host: 1}}}}\n",
        "again.yml": "all: {hosts: {web1: {x: 1}}}\n",
        "of_others": "[web:vars]\nx=1\n",
        "script.sh": "#!/bin/sh\necho '{}'\n",
        "torn.sh": "#!/bin/sh\necho '{'\n",
        "plugin.yml": "plugin: no.such.plugin\n",
        # On a share everything may be executable.
        "shared": "a\nb\n[web\nc\n",
        "secret": "$ANSIBLE_VAULT;1.1;AES256\n3132\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755 if name.endswith((".sh", "shared")) else 0o644)
    folder = tmp_path / "folder"
    (folder / "group_vars").mkdir(parents=True)
    (folder / "group_vars" / "all.yml").write_text("x: 1\n")
    (folder / "hosts").write_text("web9\n")

    def complaint(*names, files=("good", "half.yml"), groups=("web",)):
        return inventory.complaint(
            [str(tmp_path / name) for name in names],
            [str(tmp_path / name) for name in files],
            groups,
        )

    for fine in (
        ["good"],
        ["folder"],
        ["anchors.yml"],
        ["good", "again.yml"],
        ["of_others"],
        ["good", "script.sh"],
    ):
        assert complaint(*fine) is None, fine
    assert inventory.complaint(["web1,web2,"], [None]) is None
    # Without a host, that a file cannot be read is all that is known.
    for bad in ("broken.yml", "half.yml", "torn.sh", "plugin.yml", "shared"):
        assert f"{bad} could not be parsed" in complaint("good", bad)
    assert "shared could not be parsed" in complaint("shared", files=["shared"])
    assert "misspelt.yml has 'childern' in the group all" in complaint("good", "misspelt.yml")
    assert "deep.yml has 'host' in the group a," in complaint("good", "deep.yml")
    assert "twice.yml line 4 has 'hosts' for the second time" in complaint("good", "twice.yml")
    # Only Ansible has the password.
    assert complaint("good", "secret") is None
    assert (
        complaint("torn.sh", "plugin.yml", "secret", files=("torn.sh", "plugin.yml", "secret"))
        is None
    )
    assert "missing does not exist" in complaint("good", "missing")
    (folder / "broken.yml").write_text("[a\n")
    assert "folder/broken.yml could not be parsed" in complaint("folder", files=("folder/hosts",))


def test_no_host_is_a_play_on_localhost_that_can_fail():
    assert inventory.everybody({"all": ["a"]}, ["i"], "a") == "all"
    assert inventory.everybody({"all": []}, ["i"]) == "localhost"
    # A look at the syntax knows no groups.
    assert inventory.everybody(None, []) == "all"
    with pytest.raises(PlanError, match="The inventory has no hosts .i, missing"):
        inventory.everybody({"all": []}, ["i", "missing"], "web1")
