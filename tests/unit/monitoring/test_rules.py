# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The alerts, as Prometheus' own tool evaluates them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import faces

TOP = Path(__file__).resolve().parents[3]
RULES = TOP / "extensions/monitoring/rules.yml"
CASES = Path(__file__).with_name("rules_test.yml")

sys.path.insert(0, str(TOP / "tests/unit/plugins/plugin_utils"))
import rolled  # noqa: E402


def promtool(*words):
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed. On Debian: apt-get install prometheus")
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts():
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def test_prometheus_takes_the_rules():
    assert f"{len(alerts())} rules found" in promtool("check", "rules", str(RULES))


def test_each_alert_fires_when_it_should_and_not_before(tmp_path):
    path = tmp_path / "rules_test.yml"
    path.write_text(CASES.read_text().replace("RULES", str(RULES)))
    assert "SUCCESS" in promtool("test", "rules", str(path))


def test_each_alert_has_a_case_in_which_it_fires():
    cases = [
        case
        for one in yaml.safe_load(CASES.read_text())["tests"]
        for case in one["alert_rule_test"]
    ]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(alerts())


def test_the_rules_use_metrics_that_there_are():
    asked = dict.fromkeys(("machines", "active", "seats", "matched"), 0)
    document = dict(rolled.document(), service={"error": None, "findings": [], **asked})
    there = set(re.findall(r"^# TYPE (\S+)", faces.metrics(document), re.MULTILINE))
    used = {name for rule in alerts().values() for name in re.findall(r"ksplice_\w+", rule["expr"])}
    assert used and used <= there
    page = (TOP / "docs/monitoring.md").read_text()
    assert all(f"`{name}`" in page for name in alerts()) and all(
        f"`{name}`" in page for name in there
    )
