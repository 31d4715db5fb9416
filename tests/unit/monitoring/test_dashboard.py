# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The dashboard, as Grafana's own types have one, and its queries, as Prometheus' own tool reads
and answers them.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import yaml
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import faces
from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

sys.path.insert(0, str(Path(__file__).parent))
from test_rules import TOP, promtool, rolled  # noqa: E402

DASHBOARD = json.loads((TOP / "extensions/monitoring/dashboard.json").read_text())
# What is seen at first, of the fleet of rolled.document().
SHOWN = {
    "Need attention": 2,
    "Behind or blocked": 1,
    "Not reporting": 1,
    "Open CVEs": 1,
    "Stuck or out of service": 0,
    "Last run began": 1795316400000,
    "Fleet by verdict": None,
}


def queries():
    """Title of a panel and letter of a query to its expression, as for all controllers."""
    found = {
        (panel["title"], target["refId"]): target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }
    for one in DASHBOARD["annotations"]["list"]:
        found[(one["name"], "annotation")] = one["expr"]
    return {key: expr.replace("$instance", ".*") for key, expr in found.items()}


def lost(given, read, where="dashboard"):
    """What of a document did not come back, or came back as something else."""
    if isinstance(given, dict) and isinstance(read, dict):
        for key, value in given.items():
            yield from lost(value, read.get(key), f"{where}.{key}")
    elif isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        for number, pair in enumerate(zip(given, read)):
            yield from lost(*pair, f"{where}[{number}]")
    elif given != read:
        yield f"{where}: {given!r} became {read!r}"


def test_grafana_knows_everything_in_it():
    """Its own types for Python leave out keys that they do not know."""

    def read(given):
        return json.loads(encoder.JSONEncoder().encode(Dashboard.from_json(given)))

    plugins.register_default_plugins()
    assert list(lost(DASHBOARD, read(DASHBOARD))) == []
    spoilt = json.loads(json.dumps(DASHBOARD).replace('"fieldConfig"', '"fieldConfiguration"'))
    assert list(lost(spoilt, read(spoilt)))


def test_no_panel_lies_on_another_and_each_asks_the_chosen_source():
    places = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & places and max(x for x, _y in cells) < 24
        places |= cells
        assert panel["description"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert set(re.findall('"uid": "([^"]*)"', json.dumps(DASHBOARD))) == {
        "${datasource}",
        DASHBOARD["uid"],
    }
    [source] = [one for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource"]
    assert (source["name"], source["query"]) == ("datasource", "prometheus")


def test_its_queries_use_metrics_that_there_are_and_show_all_of_them():
    metrics = faces.metrics(rolled.document())
    there = set(re.findall(r"^# TYPE (\S+)", metrics, re.MULTILINE))
    # These times are missing where no host has been checked, and where none is known to be behind.
    there |= {f"ksplice_{what}_oldest_timestamp_seconds" for what in ("checked", "behind")}
    assert set(re.findall(r"ksplice_\w+", " ".join(queries().values()))) == there - {
        "ksplice_run_info"
    }
    assert "label_values(ksplice_run_info, instance)" in json.dumps(DASHBOARD)


def test_prometheus_answers_its_queries(tmp_path):
    """From what the record of a fleet writes, with the numbers that the fleet has."""
    rules = [
        {"record": f"query:{number}", "expr": expr}
        for number, expr in enumerate(queries().values())
    ]
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})
    )
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(tmp_path / "rules.yml"))
    series = []
    for line in faces.metrics(rolled.document()).splitlines():
        if not line.startswith("#"):
            name, _blank, value = line.rpartition(" ")
            name = name.replace("{", '{instance="x",') if "{" in name else f'{name}{{instance="x"}}'
            series.append({"series": name, "values": str(int(float(value)))})
    verdicts = {"current": 3, "blocked": 1, "unreachable": 1}
    cases = []
    for (title, _letter), expr in queries().items():
        if title in SHOWN:
            samples = [{"labels": "{}", "value": SHOWN[title]}]
            if SHOWN[title] is None:
                samples = [
                    {"labels": f'{{verdict="{one}"}}', "value": verdicts.get(one, 0)}
                    for one in faces.VERDICTS
                ]
            cases.append({"expr": expr, "eval_time": "0m", "exp_samples": samples})
    assert len(cases) == len(SHOWN)
    test = {"interval": "1m", "input_series": series, "promql_expr_test": cases}
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}))
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "test.yml"))
