# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Whole rollouts of pure functions: hosts as their surveys have them, turns as they answer."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import facts
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import run as host_run
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import steps
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import (
    record,
    rollout,
    schema,
    turns,
)

TOP = Path(__file__).resolve().parents[4]
AT = "2026-11-22T03:00:00Z"
LATER = "2026-11-22T03:00:10.500Z"
SCHEMA = json.loads((TOP / "docs" / "record.schema.json").read_text())
DRAIN = [{"adapter": "custom", "drain": "out", "restore": "back"}]
OPTIONS = {
    "max_failures": 0,
    "promote": False,
    "drain_mode": "active",
    "drain_timeout": 60,
    "lease_seconds": 600,
    "lease_wait": 60,
    "reason": "patching",
    "soak": 0,
    "pause": 0.0,
    "lock_timeout": 300,
    "timeout": 3600,
    "retries": 0,
    "retry_delay": 0,
    "verdict_timeout": 300,
    "on_lost_controller": "restore",
}


def surveyed(verdict="behind", build="k1", name="CVE-2026-1: x.", **variables):
    seen = facts.nothing(verdict, "Because.")
    seen["kernel"].update(booted=build, version="v", machine="m", effective=build)
    pending = {"id": "aaaa", "name": name, "cves": ["CVE-2026-1"]}
    pending.update(first_seen="2026-11-10T02:00:00Z", age=12 * 86400 + 3600)
    seen["updates"].update(installed=[], available=[pending])
    seen["cves"].update(fixed=[], open=["CVE-2026-1"])
    return dict(variables, ksplice_survey={"ansible_facts": {"uptrack": seen}})


def unreachable(**variables):
    return dict(
        variables, ksplice_survey={"unreachable": True, "msg": "Task failed: no route\nto host"}
    )


PATCHED = {
    "changed": True,
    "installed": ["aaaa"],
    "removed": [],
    "remaining": [],
    "cves_fixed": ["CVE-2026-1"],
    "cves_open": [],
    "failures": [],
    "before": {"effective": "k1", "updates": []},
    "after": {"effective": "k2", "updates": ["aaaa"]},
    "verdict": "current",
    "reason": "Nothing is waiting.",
    "error_class": None,
    "seconds": 2.5,
}
FAILED = dict(
    PATCHED,
    failed=True,
    msg="It would not go in.",
    installed=[],
    after={"effective": "k1", "updates": []},
    verdict="blocked",
    error_class="host",
    remaining=["aaaa"],
    cves_fixed=[],
    cves_open=["CVE-2026-1"],
    changed=False,
)


def turn(*applied, **more):
    """A turn as the host's journal has it at its end, seen through the border."""
    applied = applied[0] if applied else PATCHED
    began = 1795316400
    one = steps.begun(steps.order({"token": "t", "run": "r", "host": "a"}), began)
    one.update(state="released", ended=began + 2.5, started=True)
    if applied is not None:
        failed = bool(applied.get("failed"))
        one["applied"] = {key: applied.get(key) for key in host_run.APPLIED}
        one["applied"]["failed"] = failed
        if failed:
            one.update(reason=applied.get("msg"), reason_code="apply_failed")
    one.update(more)
    return schema.turn_shown(json.loads(json.dumps(one)))


def result(turn_of_it, known=()):
    """What the task of a turn gives."""
    judged = {"reason": None, "reason_code": None, "known": list(known)}
    return {"token": "t", "judged": judged, "turn": turn_of_it, "changed": True}


def go(hosts, results, lost=(), check=False, **options):
    """A whole rollout, see played, whose record is as its schema has it."""
    rows, asked, document = played(hosts, results, lost, check, **options)
    jsonschema.validate(document, SCHEMA)
    return rows, asked, document


def played(hosts, results, lost=(), check=False, clock=None, **options):
    """A whole rollout: plan, then wave by wave with the results given for each host.

    :param clock: gives, for the index of a wave and a host, what its turn is to have, as C(began)
        and C(ended) (seconds since 1970).
    """
    names = sorted(hosts)
    options = dict(OPTIONS, **options)
    run = rollout.start(hosts, names, names, options)
    assert "error" not in run, run
    progress, outcomes, asked = turns.planned(turns.begun(), run), {}, []
    conditions = {"max_failures": run["max_failures"], "promote": options["promote"]}
    for number, part in enumerate(rollout.slices(run, hosts, options)):
        chosen = turns.select(part, progress, AT, lost, conditions)
        came = {}
        for name, choice in chosen.items():
            if choice["reason"] is None:
                asked.append(name)
            given = results.get(name, PATCHED)
            if "after" in given:
                given = result(turn(given, **(clock(number, name) if clock else {})))
            times = {"claimed": AT.replace("Z", ".000Z"), "now": LATER}
            came[name] = turns.outcome(part, name, choice, given, {}, times)
        outcomes.update(came)
        progress = turns.note(progress, part, came, LATER)
    about = dict(record.about("patch", AT, "me", check, {}), ended="2026-11-22T03:01:00Z")
    state = {"outcomes": outcomes, "began": run["waves"]}
    document = record.record(hosts, names, names, run, state, about)
    return {row["name"]: row for row in document["hosts"]}, asked, document


def document():
    """The record of a pair of which one was patched, and of a host that is current, one that cannot
    be reached and one on which an update failed.
    """
    hosts = {
        "a1": surveyed(ksplice_ha_group="a"),
        "a2": surveyed("current", ksplice_ha_group="a"),
        "b": surveyed("current"),
        "c": unreachable(),
        "d": surveyed(build="k9"),
    }
    return go(hosts, {"d": FAILED}, max_failures=5)[2]
