# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Bad input is one clear line that names the thing, never a traceback, and changes nothing."""

from __future__ import annotations

import pytest
from rehearsals import again, alone, pair

HOSTS = {**pair("p", "p1", "p2"), **alone("s1")}


def refused(one, run, words):
    assert run.status != 0, run.output
    # Each line once: newer releases of ansible-core say an error twice, in two forms.
    messages = {line for line in run.output.splitlines() if words in line}
    assert messages, f"{words!r} is not in:\n{run.output}"
    assert "Traceback" not in run.output and "traceback" not in run.output.lower().replace(
        "--traceback", ""
    )
    if one.made.exists():
        assert not any(one.patched_when(name) for name in one.names)


@pytest.mark.parametrize(
    "variables, words",
    [
        (
            {"ksplice_ha_groups": {"web": ["p1", "wbe9"]}},
            "Group web names wbe9, which is not in the inventory",
        ),
        again({"ksplice_ha_groups": {"web": ["s1", "s1"]}}, "Group web names s1 twice"),
        again({"ksplice_ha_groups": {"web": "s1"}}, "Group web must be a list of hosts"),
        again({"ksplice_max_parallel": "many"}, "ksplice_max_parallel is 'many'"),
        again(
            {"ksplice_max_failures": "a few"},
            "ksplice_max_failures, rolling_max_failures) is 'a few'",
        ),
        again({"ksplice_stages": ["prod"], "ksplice_stage": "prdo"}, "did you mean prod"),
        again({"ksplice_ha_groups": ["web"]}, "ksplice_ha_groups is ['web']: give a mapping"),
        again({"ksplice_max_age": "1d"}, "ksplice_max_age is '1d': give a number of seconds"),
        again({"ksplice_retry_delay": "soon"}, "ksplice_retry_delay is 'soon'"),
        again({"ksplice_max_paralel": 3}, "did you mean ksplice_max_parallel"),
        ({"ksplice_hosts": "nobody"}, "ksplice_hosts matches no host of the inventory"),
        again(
            {"ksplice_hosts": "p1:s1", "ksplice_canary": "perhaps"},
            "ksplice_canary is 'perhaps': give true or false",
        ),
    ],
)
def test_a_plan_that_makes_no_sense(fleet, variables, words):
    one = fleet(HOSTS)
    one.make()
    run = one.play("rebootless.ksplice.patch", **variables)
    refused(one, run, words)
    # What needs no answer of a host is found before any is asked.
    assert not [event for event in run.events if event["task"].endswith("Survey every host")]


@pytest.mark.parametrize(
    "playbook", ["patch", again("status"), again("enroll"), again("retire"), again("rehearse")]
)
@pytest.mark.parametrize(
    "inventory, words",
    [
        (["-i", "missing"], "The inventory has no hosts"),
        again(["-i", "empty", "--limit", "s1"], "The inventory has no hosts"),
        again(["-i", "broken.yml"], "The inventory has no hosts"),
        (["-i", "some", "-i", "broken.yml"], "broken.yml could not be parsed"),
        again(["-i", "some", "-i", "missing"], "missing does not exist"),
        again(["-i", "some", "-e", "ksplice_hosts=nobody"], "matches no host of the inventory"),
    ],
)
@pytest.mark.every_core
def test_no_host_is_no_success(fleet, playbook, inventory, words):
    one = fleet({})
    for name, text in {
        "empty": "",
        "broken.yml": "[a",
        "some": "s1 ansible_connection=local",
    }.items():
        (one.directory / name).write_text(text)
    run = one.command(
        "ansible-playbook",
        f"rebootless.ksplice.{playbook}",
        *inventory,
        "-e",
        "ksplice_report_directory=report ksplice_retire=true",
    )
    refused(one, run, words)


@pytest.mark.thorough
def test_a_host_that_names_a_group_twice(fleet):
    hosts = {
        **alone("s1"),
        "x1": {"ksplice_ha_group": ["g", "g"], "ksplice_rehearsal": {"pending": 1}},
    }
    one = fleet(hosts)
    refused(one, one.rehearse(), "Host x1 names the group g twice")


@pytest.mark.thorough
def test_a_misspelt_variable_of_a_host_does_not_part_a_pair(fleet):
    hosts = pair("p", "p1", "p2")
    hosts["p1"]["ksplice_ha_grp"] = hosts["p1"].pop("ksplice_ha_group")
    one = fleet(hosts)
    refused(
        one,
        one.rehearse(),
        "Host p1 has the variable ksplice_ha_grp, which nothing reads (did you mean "
        "ksplice_ha_group?)",
    )


def test_a_refused_plan_leaves_a_record_of_the_survey(fleet):
    one = fleet(HOSTS)
    one.make()
    refused(
        one,
        one.play("rebootless.ksplice.patch", "--limit", "p1,s1"),
        "Group p is split: p2 is outside this run",
    )
    rows = one.rows()
    assert (rows["p1"]["verdict"], rows["s1"]["verdict"], rows["p2"]["verdict"]) == (
        "behind",
        "behind",
        "unknown",
    )


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_done(fleet):
    one = fleet(HOSTS)
    one.make()
    refused(
        one,
        one.play("rebootless.ksplice.patch", ksplice_report_directory="/proc/nowhere"),
        "/proc/nowhere",
    )


@pytest.mark.thorough
def test_enrolling_without_a_key(fleet):
    one = fleet(HOSTS)
    one.make()
    refused(one, one.play("rebootless.ksplice.enroll"), "ksplice_access_key is not set")


@pytest.mark.parametrize(
    "wish, words",
    [
        ({"pendig": 3}, "ksplice_rehearsal has no key 'pendig' (did you mean pending?)"),
        again({"kernel": "ol9"}, "names the kernel 'ol9'"),
        again({"pending": "some"}, "pending of ksplice_rehearsal is 'some'"),
        again({"pending": 99}, "give a number from 0 to"),
        again({"scenario": {"netwrok": "dns"}}, "did you mean 'network'?"),
        again({"scenario": {"network": "dsn"}}, "did you mean 'dns'?"),
        again(
            {"scenario": {"failures": [{"id": "zzz", "abort": "code_busy"}]}},
            "no update has the ID 'zzz'",
        ),
        again("three", "ksplice_rehearsal needs a mapping"),
    ],
)
def test_a_scenario_with_a_mistake(fleet, wish, words):
    one = fleet({"s1": {"ksplice_rehearsal": wish}})
    run = one.rehearse()
    refused(one, run, words)
    assert "No emulated host was made" in run.output and not (one.made / "hosts").exists()


@pytest.mark.thorough
def test_a_directory_that_holds_something_else_is_not_touched(fleet):
    one = fleet(HOSTS)
    one.made.mkdir()
    (one.made / "precious").write_text("mine")
    refused(one, one.rehearse(), "holds no rehearsal fleet")
    assert (one.made / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    "module, arguments, words",
    [
        again("uptrack_apply", "stat=latest", "Supported parameters include"),
        again("uptrack_apply", "state=newest", "value of state must be one of"),
        again("uptrack_apply", "state=present", "state=present needs updates or cves"),
        again("uptrack_apply", "state=absent", "all=true to remove everything"),
        again("uptrack_apply", "state=present updates=UPPER", "is not the ID of an update"),
        ("uptrack_apply", "state=present updates=zzzzzzzz", "does not know zzzzzzzz"),
        again("uptrack_facts", "scope=run", "The host was not asked."),
        again("uptrack_apply", "state=present cves=2026-1", "is not a CVE"),
        again("uptrack_apply", "state=present cves=CVE-2020-99999", "No update for CVE-2020-99999"),
        again("uptrack_apply", "updates=abcd1234", "state=latest installs everything"),
        ("uptrack_facts", "refesh=true", "cannot take these arguments: refesh"),
        again("uptrack_facts", "max_age=old", "max_age"),
        again("uptrack_config", "autoinstal=true", "Unsupported parameters"),
        again("uptrack_config", "autoinstall=perhaps", "autoinstall"),
        ("uptrack_config", "update_repo_url='https://a ; b'", "a blank and a semicolon"),
    ],
)
def test_an_option_that_makes_no_sense(fleet, module, arguments, words):
    one = fleet(alone("s1"))
    one.make()
    conf = (one.root("s1") / "etc/uptrack/uptrack.conf").read_text()
    refused(
        one,
        one.command(
            "ansible",
            "all",
            "-i",
            one.emulated,
            "-m",
            f"rebootless.ksplice.{module}",
            "-a",
            arguments,
        ),
        words,
    )
    assert (one.root("s1") / "etc/uptrack/uptrack.conf").read_text() == conf
