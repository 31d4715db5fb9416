# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Nothing that a host says steers more than that host."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

BEHIND = {"kernel": "ol9-uek7", "pending": 12}  # all there are: its kernel is empty
OTHER = {"kernel": "ol8-uek6", "pending": 12}


def host(kernel=None, **variables):
    return dict({"ksplice_rehearsal": kernel or OTHER}, **variables)


def test_each_lie_is_its_own_hosts_trouble_only(fleet):
    """All of them in one run, a fact cache with facts of our names among them."""
    liars = {
        "b1": "with_facts",
        "number": "odd_number",
        "group": "odd_group",
        "quote": "endless_quote",
        "d1": "foreign_holder",
    }
    one = fleet(
        {
            "a1": host(BEHIND, ksplice_ha_group="pair"),
            "b1": host(BEHIND, ksplice_ha_group="pair"),
            "solo": host(BEHIND),
            "number": host(),
            "group": host(),
            "quote": host(),
            "d1": host(BEHIND, ksplice_ha_group="other"),
            "d2": host(BEHIND, ksplice_ha_group="other"),
        }
    ).make()
    inventory = yaml.safe_load(one.emulated.read_text())
    for name, lie in liars.items():
        inventory["all"]["hosts"][name].update(ansible_connection="hostile", hostile_lie=lie)
    one.emulated.write_text(json.dumps(inventory))
    marks = [Path("/tmp/hostile-controller"), Path("/tmp/hostile-solo")]
    for mark in marks:
        mark.unlink(missing_ok=True)
    cache = one.directory / "facts"
    cache.mkdir()
    gates = [{"run_on": "controller", "command": "touch /tmp/hostile-controller"}]
    # As an earlier run may have left it, when the host answered some module with these facts.
    cached = {"ksplice_ha_checks": gates, "ksplice_ha_group": "nobody", "ksplice_canary": True}
    for name in ("a1", "solo"):
        # As ansible-core has it up to 2.18, and from 2.19 on.
        (cache / name).write_text(json.dumps(cached))
        (cache / f"s1_{name}").write_text(json.dumps({"__payload__": json.dumps(cached)}))
    run = one.play(
        "rebootless.ksplice.patch",
        ksplice_max_failures=5,
        env={
            "ANSIBLE_CONNECTION_PLUGINS": str(Path(__file__).parent / "hostile"),
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(cache),
            "ANSIBLE_INJECT_FACT_VARS": "true",
        },
    )
    assert (one.report / "record.json").exists(), run.output[-3000:]
    rows = one.rows()
    assert not any(mark.exists() for mark in marks), run.output[-3000:]
    assert "127.0.0.66" not in "".join(line for line in run.output.splitlines() if "->" in line), (
        "nobody is asked who is not in the plan"
    )
    # Whose peer gives no answer that can be believed stays in service.
    assert rows["d2"]["reason_code"] == "no_answer" and "d1 gave no answer" in rows["d2"]["reason"]
    for name in ("a1", "b1", "solo"):
        assert rows[name]["verdict"] == "current" and one.kernel(name), (name, rows[name])
    assert rows["a1"]["groups"] == ["pair"]
    # Each of the others is told, with what was odd about its answer.
    assert rows["number"]["verdict"] == "unknown" and rows["number"]["attention"]
    assert "began is not a number" in rows["number"]["reason"], rows["number"]["reason"]
    assert rows["quote"]["verdict"] == "unknown" and not one.kernel("quote")
    assert "groups[0]" in rows["group"]["reason"] and not one.kernel("group")
    assert run.status == 2
