# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Idle costs nothing, and the ways to carry the probe agree."""

from __future__ import annotations

import json

import pytest
from extent import ALL
from rehearsals import TOP, again, alone, pair

IDLE = {"kernel": "ol9-uek7", "pending": 0}


@pytest.mark.every_core
@pytest.mark.parametrize("playbook", ["patch", again("status")])
def test_an_idle_host_is_one_host_task_and_no_run_of_the_agent(fleet, playbook):
    names = [f"h{number}" for number in range(1, 7)]
    one = fleet(
        {
            name: {"ksplice_ha_group": f"g{number // 2}", "ksplice_rehearsal": IDLE}
            for number, name in enumerate(names)
        }
    )
    one.make()
    runs = {name: one.agent_runs(name) for name in names}
    run = one.play(f"rebootless.ksplice.{playbook}")
    assert run.status == 0, run.output
    for name in names:
        assert run.host_tasks(name) == ["Survey every host"], name
        assert one.agent_runs(name) == runs[name]
    # All that the controller does beside it, whatever the number of hosts; two of these are for
    # groups that nobody named.
    assert (
        len(
            [
                event
                for event in run.events
                if event["run_once"] or event["delegated"] == "localhost"
            ]
        )
        < 18
    )
    assert {row["verdict"] for row in one.rows().values()} == {"current"}


@pytest.mark.thorough
def test_a_host_with_work_has_few_tasks_and_idle_ones_beside_it_still_one(fleet):
    one = fleet(
        {**{name: {"ksplice_rehearsal": IDLE} for name in ("i1", "i2")}, **pair("p", "p1", "p2")}
    )
    one.make()
    run = one.play("rebootless.ksplice.patch")
    assert run.status == 0, run.output
    assert run.host_tasks("i1") == run.host_tasks("i2") == ["Survey every host"]
    # The lease is what costs: asking each member and giving back, with what Ansible books for files
    # that are included and steps that are not needed.
    assert len(run.host_tasks("p1")) <= 30, run.host_tasks("p1")


def test_the_survey_needs_no_python_on_the_host(fleet):
    one = fleet(alone("a"))
    one.make()
    run = one.command(
        "ansible",
        "all",
        "-i",
        one.emulated,
        "-m",
        "rebootless.ksplice.uptrack_facts",
        "-e",
        "ansible_python_interpreter=/nowhere/python",
    )
    assert run.status == 0 and '"verdict": "behind"' in run.output
    run = one.command(
        "ansible",
        "all",
        "-i",
        one.emulated,
        "-m",
        "ansible.builtin.ping",
        "-e",
        "ansible_python_interpreter=/nowhere/python",
    )
    assert run.status != 0


def test_module_action_plugin_async_and_fact_gathering_give_the_same_facts(fleet):
    scenarios = {
        path.stem: json.loads(path.read_text())
        for path in (TOP / "extensions/lab/agent/scenarios").glob("*.json")
    }
    if not ALL:
        scenarios = {name: scenarios[name] for name in ("odd_names", "enhanced_user_space")}
    scenarios.update(no_root={"user": "other"})
    if ALL:
        scenarios.update(no_agent={"agent": False}, plain={})
    one = fleet(
        {
            name: {"ksplice_rehearsal": {"scenario": scenario}}
            for name, scenario in scenarios.items()
        }
    )
    one.make()
    run = one.play(
        [
            {
                "name": "Action plugin",
                "hosts": "all",
                "gather_facts": False,
                "tasks": [
                    {
                        "rebootless.ksplice.uptrack_facts": None,
                        "register": "carried",
                        "name": "carried",
                    }
                ],
            },
            {
                "name": "Module",
                "hosts": "all",
                "gather_facts": False,
                "tasks": [
                    {
                        "rebootless.ksplice.uptrack_facts": None,
                        "async": 60,
                        "poll": 1,
                        "register": "waited",
                        "name": "waited",
                    }
                ],
            },
            {
                "name": "Gathering",
                "hosts": "all",
                "gather_facts": True,
                "vars": {"ansible_facts_modules": ["rebootless.ksplice.uptrack_facts"]},
                "tasks": [
                    {
                        "name": "gathered",
                        "ansible.builtin.debug": {"msg": "{{ ansible_facts['uptrack'] }}"},
                    }
                ],
            },
        ]
    )
    assert run.status == 0, run.output

    def plain(facts):
        # What goes on with time: ages, and the sentence that tells one.
        pending = [dict(one, age=None) for one in facts["updates"]["available"] or ()]
        facts = dict(facts, checked_age=None, reason=facts["reason"].split(";")[0])
        facts["updates"] = dict(facts["updates"], available=pending)
        return json.dumps(facts, sort_keys=True)

    for name in one.names:
        carried = plain(run.result("carried", name)["ansible_facts"]["uptrack"])
        assert carried == plain(run.result("waited", name)["ansible_facts"]["uptrack"])
        assert carried == plain(run.result("gathered", name)["msg"])


@pytest.mark.thorough
@pytest.mark.parametrize("module", ["uptrack_apply", "uptrack_facts", "uptrack_config"])
def test_ad_hoc_by_full_name(fleet, module):
    one = fleet(dict(alone("a"), **pair("p", "c", "d")))
    one.make()
    run = one.command("ansible", "all", "-i", one.emulated, "-m", f"rebootless.ksplice.{module}")
    assert run.status == 0, run.output
    if module == "uptrack_apply":
        assert all(one.patched_when(name) for name in one.names)
        again = one.command(
            "ansible", "all", "-i", one.emulated, "-m", f"rebootless.ksplice.{module}"
        )
        assert again.status == 0 and "CHANGED" not in again.output


@pytest.mark.parametrize(
    "module", ["uptrack_facts", again("uptrack_apply"), again("uptrack_config")]
)
def test_ad_hoc_by_plain_name_from_the_checkout(fleet, module):
    one = fleet(alone("a", "b")).make()
    run = one.command(
        "ansible",
        "all",
        "-i",
        one.emulated,
        "-m",
        module,
        env={"ANSIBLE_CONFIG": str(TOP / "ansible.cfg")},
    )
    assert run.status == 0, run.output
    assert (module == "uptrack_apply") == all(one.patched_when(name) for name in one.names)
