# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The rehearsal: the real playbooks over emulated hosts, and never over the hosts themselves."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading

import pytest
from rehearsals import TOP, UEK6, alone, pair


@pytest.mark.thorough
def test_the_demo_shows_what_its_scenario_must_lead_to():
    done = subprocess.run(
        [sys.executable, str(TOP / "extensions/lab/demo.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert "are meant to fail: an update of batch3" in lines[0]
    assert len(lines) <= 80 and "Report: " in done.stdout
    page = (TOP / "build/demo/report.html").read_text()
    assert (
        "http://" not in page
        and "https://" not in page
        and "src=" not in page
        and "@import" not in page
    )


@pytest.mark.thorough
def test_the_demo_fails_when_the_record_is_wrong(fleet, tmp_path):
    sys.path.insert(0, str(TOP / "extensions/lab"))
    import demo

    one = fleet({})
    one.inventory = TOP / "extensions/lab/rehearsal/demo.yml"
    one.rehearse(ksplice_max_parallel=6)
    record = one.record()
    assert demo.wrong(record, 2) == []
    assert len(demo.not_known(record, [{"hostname": "lb1", "steps": []}])) == 23
    rows = {row["name"]: row for row in record["hosts"]}
    rows["lb1"]["started"] = rows["lb2"]["started"]
    rows["wiki1"]["verdict"] = "behind"
    record["plan"]["waves"][1].append("etcd2")
    found = "\n".join(demo.wrong(record, 2))
    assert "lb1 and lb2 of lb-public" in found or "lb2 and lb1 of lb-public" in found
    assert "wiki1 is behind in place of current" in found and "of the group etcd" in found


def test_the_hosts_of_the_inventory_are_never_contacted(fleet, tmp_path):
    contacts = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen():
            while True:
                try:
                    contacts.append(server.accept())
                except OSError:
                    return

        threading.Thread(target=listen, daemon=True).start()
        address = {
            "ansible_host": "127.0.0.1",
            "ansible_port": server.getsockname()[1],
            "ansible_connection": "ssh",
            "ansible_become": True,
            "ansible_become_method": "sudo",
            "ansible_python_interpreter": "/nowhere",
        }
        # Nor is what the inventory has for the real service.
        trail = tmp_path / "trail"
        drain = {
            "adapter": "custom",
            "drain": f"touch {trail}",
            "restore": "true",
        }
        hosts = {
            name: dict(variables, ksplice_ha_drain=[drain], **address)
            for name, variables in pair("p", "a", "b").items()
        }
        one = fleet(hosts)
        assert one.rehearse().status == 0 and not trail.exists()
        assert one.record()["run"]["kind"] == "rehearsal"
        assert (
            one.rehearse("-e", "ansible_connection=ssh").output.count("No host was contacted") >= 1
        )
        server.shutdown(socket.SHUT_RDWR)
    assert contacts == [] and {row["verdict"] for row in one.rows().values()} == {"current"}


@pytest.mark.thorough
def test_the_same_inventory_rehearses_the_same(fleet):
    one = fleet({name: {} for name in ("web1", "web2", "db1", "odd/name #1", "x.example.com")})
    assert one.rehearse("--check").status == 0
    plan = one.record()["plan"]["hash"]
    assert one.rehearse("--check").status == 0
    assert one.record()["plan"]["hash"] == plan
    assert len(os.listdir(one.made / "hosts")) == 5

    def scenarios():
        return {
            path.parent.parent.parent.parent.name: path.read_text()
            for path in one.made.glob("hosts/*/var/lib/uptrack-lab/scenario.json")
        }

    before = scenarios()
    assert one.make() and scenarios() == before and len(before) == 5


@pytest.mark.thorough
def test_enrolling_gives_the_key_and_lets_the_host_report(fleet):
    one = fleet(dict(alone("a"), **pair("p", "b", "c")))
    run = one.rehearse(ksplice_rehearsal_enroll=True, ksplice_enroll_hosts="a:b")
    assert run.status == 0, run.output
    assert {row["verdict"] for row in one.rows().values()} == {"current"}
    assert "Install and configure the agent" not in " ".join(run.host_tasks("c"))
    assert run.result("Install and configure the agent", "a")["changed_keys"][0] == "Auth/accesskey"
    conf = (one.root("a") / "etc/uptrack/uptrack.conf").read_text()
    assert "INSERT_ACCESS_KEY" not in conf and "# The key of your account." in conf


def test_check_mode_plans_and_changes_nothing(fleet):
    one = fleet(dict(alone("a", "b"), **pair("p", "c", "d")))
    one.make()
    before = one.kernels()
    run = one.play("rebootless.ksplice.patch", "--check")
    assert run.status == 0, run.output
    assert "(canary)" in run.output and one.kernels() == before
    record = one.record()
    assert record["run"]["check"] and sorted(
        name for wave in record["plan"]["waves"] for name in wave
    ) == ["a", "b", "c", "d"]
    real = one.play("rebootless.ksplice.patch")
    assert real.status == 0 and one.record()["plan"]["hash"] == record["plan"]["hash"]


@pytest.mark.every_core
def test_two_builds_have_a_canary_each_and_a_failed_one_stops_its_build(fleet):
    hosts = dict(alone("a1", "a2", "a3"), **alone("b1", "b2", **UEK6))
    one = fleet(hosts)
    one.make()
    last = json.loads((one.root("a1") / "var/lib/uptrack-lab/scenario.json").read_text())[
        "updates"
    ][-1]["id"]
    one.change("a1", failures=[{"id": last, "abort": "no_match", "modules": ["falcon_lsm"]}])
    run = one.play("rebootless.ksplice.patch", ksplice_max_failures=5)
    assert run.status == 2
    rows = one.rows()
    assert (
        rows["a1"]["canary"]
        and rows["a1"]["verdict"] == "blocked"
        and "falcon_lsm" in rows["a1"]["reason"]
    )
    assert (
        rows["a2"]["verdict"] == rows["a3"]["verdict"] == "behind"
        and "a1, the canary" in rows["a2"]["reason"]
    )
    assert rows["b1"]["verdict"] == rows["b2"]["verdict"] == "current"
    assert one.patched_when("a2") == [] == one.patched_when("a3")
