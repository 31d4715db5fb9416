# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Records of fleets of any size, from the real planner and the real record, and the page of one.

Of each hundred hosts eighty are pairs; some are current, some cannot be reached, and on some the
update fails. What is asked of the page is worked out from the record, not from this.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

from ansible_collections.rebootless.ksplice.plugins.plugin_utils.page import html

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/unit/plugins/plugin_utils"))
import rolled  # noqa: E402

BEGAN = 1795316400
TEMPLATES = TOP / "roles/report/templates"
KERNELS = [f"5.15.0-{310 + number}.167.6.el9uek.x86_64" for number in range(3)]
# What a host may say of itself, to be shown and never to be believed.
EVIL = [
    "</script><img src=x onerror=\"window.broken='markup'\">",
    "'\"><svg onload=\"window.broken='attribute'\">",
    "separator\u2028line\u2029end",
    "half\ud800 a character",
    "gnp.\u202etxt.exe",
    "w" * 3000,
    "javascript:window.broken='link'//",
    "{{ 7 * 7 }}${7 * 7}",
    "&lt;b&gt;&amp;",
]


def record(count, **options):
    """The record of a patch run over so many hosts."""
    hosts, results = {}, {}
    for number in range(count):
        name, pair, verdict = f"web{number + 1}", number // 2, "behind"
        if number % 17 == 5:
            verdict = "current"
        variables = {"ksplice_stage": "prod"}
        if number % 100 < 80:
            role = ("active", "standby")[number % 2]
            variables.update(ksplice_ha_group=f"pair{pair + 1}", ksplice_ha_role=role)
        if number % 23 == 7:
            hosts[name] = rolled.unreachable(**variables)
            continue
        kernel = KERNELS[pair % len(KERNELS)]
        hosts[name] = rolled.surveyed(verdict, kernel, **variables)
        uptrack = hosts[name]["ksplice_survey"]["ansible_facts"]["uptrack"]
        cves = [f"CVE-2026-{1000 + at}" for at in range(0 if verdict == "current" else 40)]
        uptrack["cves"]["open"] = cves
        if verdict == "current":
            uptrack["updates"]["available"] = []
        results[name] = dict(rolled.PATCHED, cves_fixed=cves)
        if number % 29 == 11:
            results[name] = dict(rolled.FAILED, cves_open=cves)
    document = rolled.played(
        hosts,
        results,
        clock=_clock,
        max_failures=count,
        max_parallel=max(4, count // 50),
        stages=["prod"],
        **options,
    )[2]
    document["run"]["ended"] = max(row["ended"] or "" for row in document["hosts"])
    return document


def _clock(wave, name):
    """Waves of half a minute, in which hosts begin one after the other."""
    began = BEGAN + 30 * wave + sum(map(ord, name)) % 7 + 0.5
    return {"began": began, "ended": began + 3 + len(name) + sum(map(ord, name)) % 11}


def hostile():
    """A record in which whatever hosts, inventories and people say is EVIL."""
    document = copy.deepcopy(record(24))
    names = {row["name"]: row["name"] for row in document["hosts"]}
    for number, row in enumerate(document["hosts"]):
        evil = EVIL[number % len(EVIL)]
        names[row["name"]] = row["name"] = f"{row['name']} {evil}"
        row.update(reason=evil, kernel_after=evil, stage=evil, host_id=evil)
        row["groups"] = [f"{group} {evil}" for group in row["groups"]]
        row["cves_open"] = None if row["cves_open"] is None else [*row["cves_open"], evil]
        row["failures"] = [{"id": evil, "message": evil}]
        row["steps"] = [{"name": evil, "after": 0.5, "seconds": 1.5}]
    for event in document["events"]:
        event["what"] = EVIL[0]
        event["host"] = names.get(event["host"], event["host"])
    groups = document["plan"]["groups"]
    document["plan"]["groups"] = {
        f"{name} {EVIL[0]}": dict(group, members=[names[member] for member in group["members"]])
        for name, group in groups.items()
    }
    document["run"].update(who=EVIL[0], id=EVIL[1])
    return document


def write(document, path):
    """The page of a record, in a file as the report has it; its path comes back."""
    text = html.page(document, TEMPLATES, "report.html.j2")
    path.write_text(text, encoding="utf-8", errors="replace")
    return path
