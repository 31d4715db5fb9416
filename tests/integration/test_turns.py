# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Turns in whole runs: what they cost, whom they belong to, and what outlives whom."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
import yaml

BEHIND = {"kernel": "ol9-uek7", "pending": 12}  # all there are: its kernel is empty


def host(**variables):
    return dict({"ksplice_rehearsal": BEHIND}, **variables)


def costs(run, name):
    """What a host costs in a run: its tasks, skipped ones and items of loops among them."""
    found = []
    for event in run.events:
        if event["host"] == name and not (event["run_once"] or event["delegated"] == "localhost"):
            found.append(f"{event['task']} ({event['what']})")
            found += [f"  {one.get('item')}" for one in event["result"].get("results") or ()]
    included = run.output.split("\n")
    found += [line for line in included if line.startswith("included:") and f" {name}" in line]
    return found


@pytest.mark.every_core
def test_what_a_turn_costs_its_hosts_and_the_controller(fleet):
    """In one wave with each other; and a host of its own beside a pair costs nothing for the
    pair.
    """
    check = [{"name": "healthy", "command": "true"}]
    both = [*check, {"name": "peer", "command": "true", "run_on": "peers"}]
    both.append({"name": "here", "command": "true", "run_on": "controller"})
    drain = [{"adapter": "custom", "drain": "true", "undo": "true"}]
    one = fleet(
        {
            "solo0": host(),
            "solo1": host(),
            "a1": host(ksplice_ha_group="a", ksplice_ha_gates=check, ksplice_ha_drain=drain),
            "a2": host(ksplice_ha_group="a", ksplice_ha_gates=check, ksplice_ha_drain=drain),
            "b1": host(ksplice_ha_group="b", ksplice_ha_gates=both, ksplice_ha_drain=drain),
            "b2": host(
                ksplice_ha_group="b",
                ksplice_ha_gates=both,
                ksplice_ha_drain=[*drain, dict(drain[0], delegate_to="lb")],
            ),
            "lb": {"ksplice_rehearsal": dict(BEHIND, pending=0)},
        }
    ).make()
    inventory = yaml.safe_load(one.emulated.read_text())
    for name, variables in one.hosts.items():
        more = {key: value for key, value in variables.items() if key != "ksplice_rehearsal"}
        inventory["all"]["hosts"][name].update(more)
    one.emulated.write_text(json.dumps(inventory))
    run = one.play("rebootless.ksplice.patch")
    assert run.status == 0, run.output[-3000:]
    waves = one.record()["plan"]["waves"]
    assert ["a1", "b1", "solo1"] in [sorted(wave) for wave in waves], waves
    for name, most in (("solo1", 3), ("a1", 6), ("a2", 6), ("b1", 8), ("b2", 11)):
        tasks = costs(run, name)
        assert len(tasks) <= most, "\n".join(tasks)
    # Each wave costs the controller as much, whatever its size.
    controller = [
        event["task"]
        for event in run.events
        if event["run_once"] and event["task"].startswith("rebootless.ksplice.rolling : ")
    ]
    assert len(controller) <= 5 * len(waves), controller


def test_a_plan_belongs_to_its_play(fleet):
    """First single hosts by the playbook, then a pair by the role, all in one site.yml: the pair
    has
    a plan of its own, with leases and never both at once.
    """
    drain = [
        {
            "adapter": "custom",
            "drain": "sh -c 'echo \"$(date +%s.%N) out\" >>$UPTRACK_LAB_ROOT/trace'",
            "undo": "sh -c 'echo \"$(date +%s.%N) back\" >>$UPTRACK_LAB_ROOT/trace'",
        }
    ]
    one = fleet({"solo": host(), "a1": host(), "b1": host()}).make()
    inventory = yaml.safe_load(one.emulated.read_text())
    for name in ("a1", "b1"):
        inventory["all"]["hosts"][name].update(ksplice_ha_group="pair", ksplice_ha_drain=drain)
    one.emulated.write_text(json.dumps(inventory))
    run = one.play(
        [
            {
                "ansible.builtin.import_playbook": "rebootless.ksplice.patch",
                "vars": {"ksplice_hosts": "solo"},
            },
            {
                "name": "The pair",
                "hosts": "a1,b1",
                "gather_facts": False,
                "roles": [{"role": "rebootless.ksplice.rolling"}],
            },
        ]
    )
    assert run.status == 0, run.output[-3000:]
    assert all(one.kernel(name) for name in one.names)
    spans = []
    for name in ("a1", "b1"):
        lines = (one.root(name) / "trace").read_text().splitlines()
        assert [line.split()[1] for line in lines] == ["out", "back"]
        spans.append([float(line.split()[0]) for line in lines])
    first, second = sorted(spans)
    assert first[1] <= second[0], "both of the pair were drained at once"
    assert run.output.count("Request the lease of the second member") == 2


def test_a_turn_outlives_its_control_node_and_its_lease_does_not_go_stale(fleet):
    """The whole process group of the control node is killed while the host's agent works, for
    longer
    than a lease lasts: the host is patched and restored all the same, and nobody takes it over.
    """
    drain = [
        {
            "adapter": "custom",
            "drain": "sh -c 'touch $UPTRACK_LAB_ROOT/out; sleep 4'",
            "undo": "sh -c 'rm $UPTRACK_LAB_ROOT/out'",
        }
    ]
    one = fleet({"a1": host(), "b1": host()}).make()
    inventory = yaml.safe_load(one.emulated.read_text())
    for name in ("a1", "b1"):
        inventory["all"]["hosts"][name].update(ksplice_ha_group="pair")
    inventory["all"]["hosts"]["a1"].update(ksplice_ha_drain=drain, ksplice_canary=True)
    one.emulated.write_text(json.dumps(inventory))
    environment = dict(os.environ, ANSIBLE_NOCOLOR="1", PWD=str(one.directory))
    extra = {
        "ksplice_report_directory": str(one.report),
        "ksplice_retries": 0,
        "rolling_lease_seconds": 2,
        "ksplice_lease_wait": 0,
    }
    words = ["ansible-playbook", "rebootless.ksplice.patch", "-i", str(one.emulated)]
    control = subprocess.Popen(
        [*words, "-e", json.dumps(extra)],
        env=environment,
        cwd=one.directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    out = one.root("a1") / "out"
    end = time.monotonic() + 120
    while not out.exists() and time.monotonic() < end:
        time.sleep(0.1)
    os.killpg(control.pid, signal.SIGKILL)
    control.wait()
    assert out.exists() and not one.kernel("a1")
    time.sleep(2.5)
    # Its own lease lasts as long as the turn; a second run leaves it alone.
    book = json.loads((one.root("a1") / "var/lib/rebootless-ksplice/leases.json").read_text())
    assert [entry["own"] for entry in book["leases"]] == [True]
    end = time.monotonic() + 120
    journal = one.root("a1") / "var/lib/rebootless-ksplice/journal.json"

    def state():
        return json.loads(journal.read_text().splitlines()[0])["turn"]["state"]

    while state() != "released" and time.monotonic() < end:
        time.sleep(0.1)
    assert state() == "released" and not out.exists() and one.kernel("a1")
    # What is left is the lease of its peer, which the next run clears before it plans.
    run = one.play("rebootless.ksplice.patch", rolling_lease_seconds=2)
    assert run.status == 0, run.output[-3000:]
    assert "a1 was claimed by" in run.output and one.kernel("b1")


@pytest.mark.parametrize("wrong", ["rolling_drain", "rolling_lease_second"])
def test_a_misspelt_option_of_the_role_is_refused_before_any_host_is_asked(fleet, wrong):
    one = fleet({"a1": host()}).make()
    role = [{"hosts": "all", "gather_facts": False, "roles": ["rebootless.ksplice.rolling"]}]
    for play in ("rebootless.ksplice.patch", role):
        run = one.play(play, **{wrong: "never"})
        assert run.status == 2 and "did you mean rolling_" in run.output, run.output[-2000:]
        assert "No host was asked anything." in run.output and not one.kernel("a1")
