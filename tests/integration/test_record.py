# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The record of a run that is stopped."""

from __future__ import annotations

import json
import os
import signal
import sys

import extent
import jsonschema
import pytest
from control_nodes import host, in_background, kill, turn, wait_for, with_variables
from rehearsals import TOP, again

sys.path.insert(0, str(TOP / "tests/unit/plugins/plugin_utils"))
from report_server import report_server  # noqa: E402

SCHEMA = json.loads((TOP / "docs/record.schema.json").read_text())


@pytest.mark.parametrize("how", [signal.SIGKILL, again(signal.SIGTERM), again(signal.SIGINT)])
def test_a_run_that_is_stopped_leaves_the_record_of_its_waves(fleet, how):
    """However it is stopped while the second of three hosts has its turn: the record has the first
    one's outcome and says that the run did not end. The next run says which run it goes on from.
    """
    wait = "touch $UPTRACK_LAB_ROOT/slow; while [ ! -e $UPTRACK_LAB_ROOT/go ]; do sleep 0.2; done"
    drain = {"adapter": "custom", "drain": f"sh -c '{wait}'", "restore": "true"}
    names = ("a", "b", "c")
    one = fleet({name: host() for name in names}).make()
    with_variables(one, b={"ksplice_ha_drain": [drain]})
    control = in_background(
        one, ksplice_max_parallel=1, ksplice_drain_timeout=300, rolling_lease_seconds=3
    )
    wait_for((one.root("b") / "slow").exists)
    if how is signal.SIGKILL:
        kill(control)
    else:
        os.kill(control.pid, how)
        control.wait()
    document = one.record()
    jsonschema.validate(document, SCHEMA)
    assert document["run"]["ended"] is None and document["run"]["resumed_from"] == []
    rows = {row["name"]: row for row in document["hosts"]}
    assert rows["a"]["verdict"] == "current" and sorted(rows["a"]["installed"]) == one.kernel("a")
    for name in ("b", "c"):
        assert rows[name]["verdict"] == "behind" and rows[name]["reason_code"] == "under_way"
        assert "had not ended when this record was written" in rows[name]["reason"]
    assert "not ended when this was written" in (one.report / "report.html").read_text()
    (one.root("b") / "go").touch()
    wait_for(lambda: turn(one, "b")["state"] in ("released", "restored"))
    run = one.play("rebootless.ksplice.patch", rolling_lease_seconds=3)
    assert run.status == 0, run.output[-3000:]
    after = one.record()
    jsonschema.validate(after, SCHEMA)
    assert after["run"]["resumed_from"] == [document["run"]["id"]]
    [event] = [one for one in after["events"] if "Its last turn" in one["what"]]
    assert event["host"] == "b" and " is re" in event["what"]
    assert f"with {len(one.kernel('b'))} updates installed" in event["what"]
    assert after["run"]["ended"] and {row["verdict"] for row in after["hosts"]} == {"current"}


@pytest.mark.thorough
def test_a_play_with_serial_has_all_its_batches_in_the_record(fleet):
    one = fleet({name: host() for name in ("a", "b", "c")}).make()
    run = one.play(
        [
            {
                "hosts": "all",
                "gather_facts": False,
                "serial": 2,
                "roles": [
                    {"role": "rebootless.ksplice.rolling"},
                    {"role": "rebootless.ksplice.report", "report_directory": str(one.report)},
                ],
            }
        ]
    )
    assert run.status == 0, run.output[-3000:]
    for name, row in one.rows().items():
        assert row["verdict"] == "current" and row["reason_code"] == "patched", row
        assert sorted(row["installed"]) == one.kernel(name)
        # What is known from its survey, too.
        assert row["kernel_booted"] and row["kernel_before"] and row["checked_at"], row


def test_other_formats_are_written_where_they_are_asked_for(fleet):
    one = fleet({name: host() for name in ("a", "b")}).make()
    run = one.play("rebootless.ksplice.status", ksplice_report_formats="csv,junit,metrics,markdown")
    assert run.status == 0, run.output[-3000:]
    written = {path.name for path in one.report.iterdir()}
    assert written == {"record.json", "hosts.csv", "junit.xml", "ksplice.prom", "report.md"}
    assert 'ksplice_hosts{verdict="behind"} 2' in (one.report / "ksplice.prom").read_text()
    assert "The report is" in run.output and "hosts.csv" in run.output


def test_a_format_that_is_none_is_refused_before_any_host_is_asked(fleet):
    one = fleet({"a": host()}).make()
    run = one.play("rebootless.ksplice.patch", ksplice_report_formats=["pdf"])
    assert run.status != 0 and not one.report.exists()
    assert "ksplice_report_formats has 'pdf': give some of html, csv, junit" in run.output
    assert "No host was asked anything." in run.output and "Survey every host" not in run.output


def test_questions_about_the_fleet_and_about_a_record(fleet):
    pair = host(ksplice_ha_group="a")
    one = fleet({"a1": pair, "a2": pair, "b": host()}).make()
    fresh = one.play("rebootless.ksplice.query", ksplice_query="behind")
    assert fresh.status == 0 and not one.report.exists(), fresh.output[-3000:]
    for name in ("a1", "a2", "b"):
        assert f"\n{name} " in fresh.output
    assert one.play("rebootless.ksplice.status").status == 0
    answer = one.report / "answer.json"
    asked = one.play(
        "rebootless.ksplice.query",
        ksplice_query="hosts[?verdict=='behind'].name",
        ksplice_record=str(one.report / "record.json"),
        ksplice_query_output="json",
        ksplice_query_dest=str(answer),
    )
    assert asked.status == 0 and "Survey every host" not in asked.output, asked.output[-3000:]
    assert json.loads(answer.read_text()) == ["a1", "a2", "b"]
    wrong = one.play("rebootless.ksplice.query", ksplice_query="hosts[?verdict=='behind'.name")
    assert wrong.status == 2 and "Survey every host" not in wrong.output
    assert "ksplice_query is not JMESPath." in wrong.output
    assert "No host was asked anything." in wrong.output


@pytest.mark.parametrize("playbook", ["query", again("reconcile"), again("preview")])
def test_an_answer_that_could_not_be_written_is_asked_for_nowhere(fleet, playbook):
    one = fleet({"a": host()}).make()
    dest = one.directory / "missing/answer"
    more = {"ksplice_query": "behind", "ksplice_query_dest": str(dest)}
    more.update(ksplice_api_user="x", ksplice_api_key="y")
    done = one.play(f"rebootless.ksplice.{playbook}", **more)
    assert done.status == 2 and "Survey every host" not in done.output, done.output
    words = " ".join(done.output.split())
    assert f"ksplice_query_dest: {dest} cannot be written (No such file or directory)" in words
    assert "No host was asked anything." in words


def test_a_selection_is_patched_with_its_groups_whole(fleet):
    pair = host(ksplice_ha_group="a")
    one = fleet({"a1": pair, "a2": pair, "b": host(), "c": host()}).make()
    wrong = one.play("rebootless.ksplice.patch", ksplice_select="hosts[?name=='x'].name")
    assert wrong.status == 2 and "ksplice_select finds no host" in wrong.output
    assert not one.kernel("a1")
    run = one.play("rebootless.ksplice.patch", ksplice_select="hosts[?name=='a2'].name")
    assert run.status == 0, run.output[-3000:]
    rows = one.rows()
    for name in ("a1", "a2"):
        assert rows[name]["reason_code"] == "patched" and one.kernel(name)
    for name in ("b", "c"):
        assert rows[name]["reason_code"] == "not_selected" and not one.kernel(name)
        assert rows[name]["verdict"] == "behind" and not rows[name]["attention"]
    jsonschema.validate(one.record(), SCHEMA)


TOKEN = "s3cret-t0ken-of-the-store"


def test_a_report_is_uploaded_and_where_it_is_not_the_run_says_so(fleet):
    one = fleet({name: host() for name in ("a", "b")}).make()
    vault = one.directory / "vault.yml"
    vault.write_text(f"ksplice_report_token: {TOKEN}\n")
    words = ("-vvvv", "-e", f"@{vault}")
    with report_server() as server:
        run = one.play("rebootless.ksplice.patch", *words, ksplice_report_url=server.url)
    assert run.status == 0 and TOKEN not in run.output, run.output[-3000:]
    for name in ("record.json", "report.html"):
        assert server.files[f"/reports/{name}"] == (one.report / name).read_text()
    # After the plan and after waves, too: a run that is cancelled leaves its last record there.
    assert [path for _put, path, _token in server.requests].count("/reports/record.json") >= 3
    assert {token for _put, _path, token in server.requests} == {f"Bearer {TOKEN}"}
    for path in one.report.iterdir():
        assert TOKEN not in path.read_text()
    with report_server(403) as server:
        for play in ("patch", "status") if extent.ALL else ("status",):
            run = one.play(f"rebootless.ksplice.{play}", *words, ksplice_report_url=server.url)
            assert run.status == 2 and TOKEN not in run.output
            assert "could not be uploaded to" in run.output and "(HTTP 403)" in run.output
            assert one.record()["run"]["ended"], "the record is there all the same"
