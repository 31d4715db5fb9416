# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Playbook report over records of real runs, and over what is none."""

from __future__ import annotations

import csv
import json
import shutil
import sys

import jsonschema
import pytest
from control_nodes import host
from rehearsals import TOP, Rehearsal, again

sys.path.insert(0, str(TOP / "tests/unit/plugins/plugin_utils"))
import report_server  # noqa: E402
import rolled  # noqa: E402

FORMATS = {"report.html", "hosts.csv", "junit.xml", "ksplice.prom", "report.md"}


def report(one, *words, env=None, **variables):
    """The playbook, without an inventory."""
    words = ("-e", json.dumps(variables), *words)
    return one.command("ansible-playbook", "rebootless.ksplice.report", *words, env=env)


def kept(one, name):
    """Put the record of the last run aside, as a job that keeps its records does."""
    path = one.directory / "kept" / name
    path.parent.mkdir(exist_ok=True)
    shutil.copy(one.report / "record.json", path)
    return str(path)


def test_slices_of_a_job_as_one_record_and_what_they_changed(fleet):
    one = fleet({"a": host(), "b": host(), "c": host()}).make()
    assert one.play("rebootless.ksplice.status").status == 0
    before = kept(one, "before.json")
    for name in ("a", "b"):
        assert one.play("rebootless.ksplice.patch", ksplice_hosts=name).status == 0
        kept(one, f"slice-{name}.json")
    merged = one.directory / "merged"
    run = report(
        one,
        ksplice_records=f"{one.directory}/kept/slice-*.json,{before}",
        ksplice_report_directory=str(merged),
        ksplice_report_formats="html,csv,junit,metrics,markdown",
    )
    assert run.status == 0 and "3 hosts: 2 current, 1 behind." in run.output, run.output[-3000:]
    assert {path.name for path in merged.iterdir()} == {"record.json", *FORMATS}
    document = json.loads((merged / "record.json").read_text())
    jsonschema.validate(document, rolled.SCHEMA)
    rows = {row["name"]: row for row in document["hosts"]}
    for name in ("a", "b"):
        assert rows[name]["verdict"] == "current"
        assert sorted(rows[name]["installed"]) == one.kernel(name)
    assert (
        rows["c"]["verdict"] == "behind" and "no later run asked this host" in rows["c"]["reason"]
    )
    assert document["run"]["kind"] == "patch" and len(document["run"]["merged_from"]) == 3
    table = list(csv.DictReader((merged / "hosts.csv").open(newline="")))
    assert [line["verdict"] for line in table] == ["current", "current", "behind"]
    # What the record can be asked, too.
    asked = one.play(
        "rebootless.ksplice.query",
        ksplice_query="behind",
        ksplice_record=str(merged / "record.json"),
    )
    assert asked.status == 0 and "\nc " in asked.output

    compared = {"ksplice_records": str(merged), "ksplice_compare_with": before}
    run = report(one, **compared)
    assert run.status == 0 and not (one.directory / "ksplice-merged").exists(), run.output[-3000:]
    assert "\na     verdict      behind" in run.output and "\nc " not in run.output
    dest = one.directory / "changes"
    run = report(one, **compared, ksplice_query_output="json", ksplice_query_dest=str(dest))
    changes = json.loads(dest.read_text())
    assert {"host": "b", "what": "verdict", "before": "behind", "after": "current"} in changes
    [closed] = [
        change for change in changes if (change["host"], change["what"]) == ("a", "cves_closed")
    ]
    assert closed["before"] and closed["after"] is None
    wrong = report(one, **compared, ksplice_query_dest=str(one.directory))
    assert wrong.status == 2 and "is no plain file" in wrong.output, wrong.output[-3000:]
    run = report(one, **compared, ksplice_query_output="markdown", ksplice_query_dest=str(dest))
    head, line, first = dest.read_text().splitlines()[2:5]
    assert (head, line) == ("| host | what | before | after |", "| --- | --- | --- | --- |")
    assert first.startswith("| a | verdict | behind | current |")


@pytest.fixture
def one(tmp_path):
    """A controller with records, and no hosts at all."""
    one = Rehearsal(tmp_path, {"none": {}})
    document = rolled.document()
    (tmp_path / "good.json").write_text(json.dumps(document))
    document["run"].update(id="other", kind="rehearsal")
    (tmp_path / "rehearsal.json").write_text(json.dumps(document))
    (tmp_path / "newer.json").write_text(json.dumps(dict(document, schema=99)))
    (tmp_path / "truncated.json").write_text(json.dumps(document)[:-100])
    (tmp_path / "foreign.json").write_text('{"plays": [], "stats": {}}')
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/record.json").write_text(json.dumps(document))
    return one


def test_one_record_is_written_in_other_formats(one):
    run = report(one, ksplice_records="good.json", ksplice_report_formats=["markdown"])
    assert run.status == 0, run.output
    made = one.directory / "ksplice-merged"
    assert {path.name for path in made.iterdir()} == {"record.json", "report.md"}
    good = json.loads((one.directory / "good.json").read_text())
    assert json.loads((made / "record.json").read_text()) == good


@pytest.mark.parametrize(
    "variables, words",
    [
        ({}, "Give records (ksplice_records)"),
        again({"ksplice_records": "none.json"}, "ksplice_records: there is no file none.json"),
        again({"ksplice_records": "good.json,newer.json"}, "has schema 99, which a newer version"),
        again({"ksplice_records": "truncated.json"}, "is not a complete record"),
        ({"ksplice_records": ["good.json", "foreign.json"]}, "foreign.json is no record of"),
        again({"ksplice_records": "good.json,rehearsal.json"}, "The run other is a rehearsal"),
        again(
            {"ksplice_records": "good.json", "ksplice_compare_with": "rehearsal.json"},
            "The run other is a rehearsal",
        ),
        again(
            {"ksplice_records": "good.json", "ksplice_compare_with": ""}, "(ksplice_compare_with)"
        ),
        again({"ksplice_compare_with": "good.json"}, "Give records (ksplice_records)"),
        again({"ksplice_records": "good.json", "ksplice_report_formats": "pdf"}, "has 'pdf'"),
        again({"ksplice_records": "good.json", "ksplice_report_url": "s3://x/"}, "of a bucket"),
        (
            {"ksplice_record": "good.json", "ksplice_report_format": "csv"},
            "(did you mean ksplice_report_formats?)",
        ),
        again(
            {"ksplice_records": "good.json,folder", "ksplice_report_directory": "folder"},
            "would be replaced by what is made of it and others",
        ),
    ],
)
def test_what_is_no_record_is_one_error_and_nothing_is_written(one, variables, words):
    before = {path: path.read_text() for path in one.directory.rglob("*.json")}
    run = report(one, **variables)
    assert run.status == 2 and words in run.output, run.output
    assert " failed=1 " in run.output and "Traceback" not in run.output
    assert not (one.directory / "ksplice-merged").exists()
    assert {path: path.read_text() for path in one.directory.rglob("*.json")} == before


@pytest.mark.thorough
def test_a_run_puts_its_record_into_a_store_after_its_waves(fleet):
    one = fleet({"a": host()}).make()
    vault = one.directory / "vault.yml"
    with report_server.s3_store("reports") as store:
        vault.write_text(json.dumps({"ksplice_report_s3": dict(store.keys, endpoint=store.url)}))
        words = ("-vvvv", "-e", f"@{vault}")
        run = one.play("rebootless.ksplice.patch", *words, ksplice_report_url="s3://reports/x")
        assert run.status == 0, run.output[-3000:]
        for name in ("record.json", "report.html"):
            assert store.files("reports")[f"x/{name}"] == (one.report / name).read_bytes()
    secret = store.keys["secret_access_key"]
    assert secret not in run.output + json.dumps(run.events)
    for path in one.report.iterdir():
        assert secret not in path.read_text()


def test_a_report_goes_to_a_store_and_no_secret_anywhere_else(one):
    with report_server.s3_store("reports") as store:
        keys = store.keys
        env = {
            "AWS_ACCESS_KEY_ID": keys["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": keys["secret_access_key"],
            "AWS_ENDPOINT_URL_S3": store.url,
            "AWS_SESSION_TOKEN": "",
        }
        wish = {"ksplice_records": "good.json", "ksplice_report_url": "s3://reports/week 48"}
        run = report(one, "-vvvv", env=env, **wish)
        assert run.status == 0, run.output[-3000:]
        made = one.directory / "ksplice-merged"
        for name in ("record.json", "report.html"):
            assert store.files("reports")[f"week 48/{name}"] == (made / name).read_bytes()
        vault = one.directory / "vault.yml"
        given = dict(keys, endpoint=store.url, access_key_id="AKIDOTHER")
        vault.write_text(json.dumps({"ksplice_report_s3": given}))
        shutil.rmtree(made)
        refused = report(one, "-vvvv", "-e", f"@{vault}", **wish)
    assert refused.status == 2 and "(HTTP 403, InvalidAccessKeyId)" in refused.output
    assert (made / "record.json").exists()
    for done in (run, refused):
        assert keys["secret_access_key"] not in done.output + json.dumps(done.events)
    for path in made.iterdir():
        assert keys["secret_access_key"] not in path.read_text()
