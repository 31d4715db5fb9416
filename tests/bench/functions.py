# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What is worked out in one go, of a fleet of pairs that are all behind: the plan, its lines, the
record and the page. `functions.py HOSTS` prints their CPU seconds as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from ansible_collections.rebootless.ksplice.plugins.plugin_utils import record, rollout
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.page import html

TEMPLATES = Path(__file__).resolve().parents[2] / "roles/report/templates"


def survey(number):
    kernel = f"5.15.0-{number % 3}.el9uek.x86_64"
    return {
        "ansible_facts": {
            "uptrack": {
                "verdict": "behind",
                "reason": "3 updates wait.",
                "kernel": {
                    "booted": kernel,
                    "version": "#2",
                    "machine": "x86_64",
                    "effective": kernel,
                },
                "cves": {"fixed": [], "open": [f"CVE-2026-{at}" for at in range(number % 5)]},
                "updates": {
                    "installed": [],
                    "available": [{"id": f"aaaa111{at}"} for at in range(3)],
                },
                "self_update": [],
                "host_id": str(number),
            }
        }
    }


def measured(hosts):
    variables = {
        f"h{number}": {
            "ksplice_ha_group": f"pair{number // 2}",
            "ksplice_ha_role": ("active", "standby")[number % 2],
            "ksplice_survey": survey(number),
        }
        for number in range(hosts)
    }
    names = list(variables)
    times = {}

    def timed(what, function, *arguments):
        begun = time.process_time()
        result = function(*arguments)
        times[what] = time.process_time() - begun
        return result

    options = {"max_parallel": 10, "max_failures": "10%"}
    run = timed("plan", rollout.start, variables, names, names, options)
    if sum(map(len, run["waves"])) != hosts:
        raise SystemExit(f"Not every host was planned: {run.get('error')}")
    timed("plan lines", record.plan_lines, run)
    about = record.about("patch", "2026-11-01T00:00:00Z", "bench", False, options)
    about["ended"] = "2026-11-01T01:00:00Z"
    document = timed("record", record.record, variables, names, names, run, {}, about)
    timed("page", html.page, document, TEMPLATES, "report.html.j2")
    return times


if __name__ == "__main__":
    print(json.dumps(measured(int(sys.argv[1]))))
