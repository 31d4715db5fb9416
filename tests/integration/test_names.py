# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""A name is a name, whatever signs it is made of, and a machine is one machine, however many names
it has.
"""

from __future__ import annotations

import json

from rehearsals import alone, pair

SERVERS = ("Web Server 1", "rack1:web2")
LONELY = ("..", "~a,b*", "web")


def test_every_name_is_patched_and_a_machine_once(fleet):
    """One of the hosts has an address made of its name, as inventories of cloud machines do, and
    one is called as a group is.
    """
    hosts = {**pair("odd", *SERVERS), **alone(*LONELY)}
    one = fleet(hosts)
    variables = {"ansible_host": "{{ inventory_hostname }}.example.com"}
    one.inventory.write_text(
        json.dumps(
            {"all": {"hosts": hosts, "vars": variables, "children": {"web": {"hosts": {"..": {}}}}}}
        )
    )
    run = one.rehearse("--check")
    assert run.status == 0, run.output
    assert {path.name for path in one.made.iterdir()} == {
        ".rehearsal-fleet",
        "hosts",
        "inventory.yml",
        "program",
        "tmp",
    }
    # Another name of the first, known to neither group.
    emulated = json.loads(one.emulated.read_text())
    emulated["all"]["hosts"]["an alias"] = {
        "ksplice_rehearsal_root": emulated["all"]["hosts"][".."]["ksplice_rehearsal_root"]
    }
    # And one that nothing can be filled in for, which is outside of the run and stops nobody.
    unfilled = dict.fromkeys(
        (
            "ksplice_ha_group",
            "ksplice_stage",
            "ksplice_ha_role",
            "ksplice_ha_max_unavailable",
            "ksplice_ha_drain",
        ),
        "{{ nowhere }}",
    )
    emulated["all"]["hosts"]["far"] = dict(unfilled, ksplice_rehearsal_root="/nowhere")
    one.emulated.write_text(json.dumps(emulated))
    run = one.play("rebootless.ksplice.patch", "--limit", "all:!far")
    assert run.status == 0, run.output
    rows = one.rows()
    assert rows.pop("far")["reason"].startswith("Not surveyed: outside this run")
    assert set(rows) == {*hosts, "an alias"}
    assert {name: row["verdict"] for name, row in rows.items()} == dict.fromkeys(rows, "current")
    assert all(rows[name]["wave"] and rows[name]["installed"] for name in hosts if name != "..")
    # Which of the two did the work is nothing but their order.
    (worked,) = [name for name in ("..", "an alias") if rows[name]["installed"]]
    (other,) = {"..", "an alias"} - {worked}
    assert (
        rows[other]["alias_of"] == worked
        and rows[other]["wave"] is None
        and rows[other]["started"] is None
    )
    assert (
        rows[other]["kernel_after"] == rows[worked]["kernel_after"]
        and f"Another name of {worked}" in rows[other]["reason"]
    )
    record = one.record()
    assert (
        record["summary"]["aliases"] == 1
        and sum(record["summary"]["verdicts"].values()) == len(hosts) + 1
    )
    assert rows[SERVERS[0]]["wave"] != rows[SERVERS[1]]["wave"]
