# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""uptrack_config on real hosts: from bare to enrolled in one task, and back without a trace."""

from __future__ import annotations

import pytest
from real_hosts import KEY, LIVES, ids

LIFE = {
    "life-ubuntu": ("uptrack", "ubuntu"),
    "life-ol9": ("uptrack", "ol9"),
    "life-ol10": ("ksplice", "ol10"),
    "life-centos": ("uptrack", "centos8"),
    "life-ol7": ("uptrack", "ol7"),
}
LIFE = {name: LIFE[name] for name in LIVES}


def enroll(lab, names, **more):
    """The task, with each host's own repository."""
    return [
        {
            "name": name,
            "when": f"inventory_hostname == '{name}'",
            "rebootless.ksplice.uptrack_config": dict(lab.vendor(name), access_key=KEY, **more),
        }
        for name in names
    ]


def results(run, names):
    return {
        name: next(
            event["result"]
            for event in run.events
            if event["host"] == name and event["what"] != "skipped"
        )
        for name in names
    }


@pytest.fixture(scope="module")
def bare(lab):
    return {name: lab.traces(name) for name in LIFE}


@pytest.fixture(scope="module")
def enrolled(lab, bare):
    """The four hosts, taken from bare to enrolled, in check mode before."""
    foretold = lab.ansible(LIFE, enroll(lab, LIFE), check=True)
    still = {name: lab.traces(name) for name in LIFE}
    return foretold, still, lab.ansible(LIFE, enroll(lab, LIFE))


def test_check_mode_foretells_and_changes_nothing(enrolled, bare):
    foretold, still, _run = enrolled
    assert foretold.status == 0, foretold.output
    assert still == bare
    for name, result in results(foretold, LIFE).items():
        assert result["changed"] and result["steps"] == [
            "repository ksplice-uptrack set up",
            f"package {LIFE[name][0]} installed",
        ]
        assert "Auth/accesskey" in result["changed_keys"]


@pytest.mark.parametrize("name", LIFE)
def test_bare_to_enrolled_in_one_task(lab, enrolled, bare, name):
    run = enrolled[2]
    result = results(run, [name])[name]
    assert not result.get("failed"), run.output[-3000:]
    assert bare[name] == []
    assert (
        result["changed"]
        and result["packages"] == [LIFE[name][0]]
        and result["edition"] == "online"
    )
    # It has reported itself, and knows what there is for its own kernel.
    assert (
        result["checked_in"]
        and result["verdict"] == "behind"
        and result["reason"].startswith(f"{len(ids(LIFE[name][1]))} updates")
    )
    assert 'run started: ["uptrack-upgrade", "-n"]' in lab.agent_log(name)
    assert lab.loaded(name) == []
    mode = lab.run(name, ["stat", "-c", "%a %U", "/etc/uptrack/uptrack.conf"])[1].split()
    assert mode == ["640", "root"]


def test_a_second_run_is_one_round_trip_and_changes_nothing(lab, enrolled):
    run = lab.ansible(
        ["life-ol9", "life-ubuntu"], enroll(lab, ["life-ol9", "life-ubuntu"]), verbose=3
    )
    for name, result in results(run, ["life-ol9", "life-ubuntu"]).items():
        assert result["changed"] is False and result["steps"] == [], result
        trips = [
            line
            for line in run.output.splitlines()
            if "SSH: EXEC" in line and f"<{lab.hosts()[name]['address']}>" in line
        ]
        assert len(trips) == 1, trips


@pytest.mark.parametrize(
    "name", ["life-ol9", pytest.param("life-ubuntu", marks=pytest.mark.thorough)]
)
def test_a_repository_that_was_bent_is_set_right(lab, enrolled, name):
    path = (
        "/etc/apt/sources.list.d/ksplice-uptrack.sources"
        if "ubuntu" in name
        else "/etc/yum.repos.d/ksplice-uptrack.repo"
    )
    lab.run(name, ["sed", "-i", "s#https://lab-repo#http://lab-repo#", path])
    run = lab.ansible([name], enroll(lab, [name]))
    assert results(run, [name])[name]["steps"] == ["repository ksplice-uptrack set up"]
    assert "https://lab-repo" in lab.run(name, ["cat", path])[1]


@pytest.mark.parametrize(
    "name", ["life-ol9", pytest.param("life-ubuntu", marks=pytest.mark.thorough)]
)
def test_owner_and_mode_stay(lab, enrolled, name):
    lab.run(
        name,
        [
            "sh",
            "-c",
            (
                "chgrp adm /etc/uptrack/uptrack.conf; chmod 0600 /etc/uptrack/uptrack.conf; echo "
                "'# mine' >> /etc/uptrack/uptrack.conf"
            ),
        ],
    )
    run = lab.ansible(
        [name], [{"rebootless.ksplice.uptrack_config": {"no_rmmod": True, "check_in": False}}]
    )
    assert run.result(name)["changed"]
    assert lab.run(name, ["stat", "-c", "%a %U %G", "/etc/uptrack/uptrack.conf"])[1].split() == [
        "600",
        "root",
        "adm",
    ]
    assert "# mine" in lab.run(name, ["cat", "/etc/uptrack/uptrack.conf"])[1]


def test_patched_then_retired_without_a_trace(lab, enrolled, bare):
    patched = lab.ansible(LIFE, [{"rebootless.ksplice.uptrack_apply": {}}])
    assert patched.status == 0, patched.output[-3000:]
    for name, (_package, kernel) in LIFE.items():
        assert lab.loaded(name) == sorted(ids(kernel))
    # With that file the agent takes nothing out either.
    lab.run("life-ol9", ["touch", "/etc/uptrack/disable"])
    foretold = lab.ansible(
        ["life-ol9"], [{"rebootless.ksplice.uptrack_config": {"state": "absent"}}], check=True
    )
    assert foretold.result("life-ol9")["changed"] and sorted(
        foretold.result("life-ol9")["removed"]
    ) == sorted(ids("ol9")) == lab.loaded("life-ol9")
    run = lab.ansible(LIFE, [{"rebootless.ksplice.uptrack_config": {"state": "absent"}}])
    assert run.status == 0, run.output[-3000:]
    for name, (package, kernel) in LIFE.items():
        result = run.result(name)
        assert (
            result["changed"]
            and sorted(result["removed"]) == sorted(ids(kernel))
            and result["loaded"] == []
        )
        assert (
            f"packages removed: {package}" in result["steps"]
            and "/var/lib/uptrack" in result["traces"]
        )
        assert lab.loaded(name) == [] and lab.traces(name) == bare[name]
    again = lab.ansible(LIFE, [{"rebootless.ksplice.uptrack_config": {"state": "absent"}}])
    assert not any(again.result(name)["changed"] for name in LIFE)


@pytest.mark.thorough
def test_an_update_that_will_not_come_out_keeps_everything(lab):
    name = "switch-ol9"
    lab.ansible([name], [{"rebootless.ksplice.uptrack_apply": {}}])
    before = lab.traces(name)
    lab.change_scenario(
        name,
        failures=[
            {
                "id": ids("ol9")[0],
                "verb": "remove",
                "abort": "code_busy",
                "processes": [["postgres", 4711]],
            }
        ],
    )
    run = lab.ansible(
        [name],
        [
            {
                "rebootless.ksplice.uptrack_config": {
                    "state": "absent",
                    "retries": 1,
                    "retry_delay": 1,
                }
            }
        ],
    )
    lab.change_scenario(name, failures=None)
    assert run.status and "left as they are" in run.msg(name) and "postgres" in run.msg(name)
    assert ids("ol9")[0] in lab.loaded(name)
    assert [trace for trace in before if "sys/module" not in trace] == [
        trace for trace in lab.traces(name) if "sys/module" not in trace
    ]


@pytest.mark.parametrize(
    "name, kernel",
    [pytest.param("switch-ubuntu", "ubuntu", marks=pytest.mark.thorough), ("switch-ol9", "ol9")],
)
def test_exchanging_the_editions_keeps_the_updates_in_the_kernel(lab, name, kernel):
    lab.ansible([name], [{"rebootless.ksplice.uptrack_apply": {}}])
    assert lab.loaded(name) == sorted(ids(kernel))
    conf = lab.run(name, ["cat", "/etc/uptrack/uptrack.conf"])[1]
    undone = lab.agent_log(name).count("undo begin")
    there = lab.ansible(
        [name], [{"rebootless.ksplice.uptrack_config": dict(lab.vendor(name), edition="offline")}]
    )
    result = there.result(name)
    assert not result.get("failed"), result
    assert result["packages"] == ["uptrack-offline"] and result["edition"] == "offline"
    assert lab.loaded(name) == sorted(ids(kernel)), "the updates have left the kernel"
    assert lab.run(name, ["cat", "/etc/uptrack/uptrack.conf"])[1] == conf
    assert lab.run(name, ["ls", "/etc/uptrack"])[1].split() == ["uptrack.conf"], (
        "something of the exchange was left behind"
    )
    # Back, while it is disabled, as it stays.
    lab.run(name, ["touch", "/etc/uptrack/disable"])
    back = lab.ansible(
        [name], [{"rebootless.ksplice.uptrack_config": dict(lab.vendor(name), edition="online")}]
    )
    assert back.status == 0 and back.result(name)["packages"] == ["uptrack"], back.output[-2000:]
    lab.run(name, ["rm", "/etc/uptrack/disable"])
    assert lab.loaded(name) == sorted(ids(kernel))
    # Nor did they leave it for a moment.
    assert lab.agent_log(name).count("undo begin") == undone


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name, kernel",
    [pytest.param("switch-ubuntu", "ubuntu", marks=pytest.mark.thorough), ("switch-ol9", "ol9")],
)
def test_the_updates_package_must_not_patch_behind_the_rollouts_back(lab, name, kernel):
    """After the exchange above: offline, with and without the key that holds the package back."""
    lab.ansible([name], [{"rebootless.ksplice.uptrack_apply": {"state": "absent", "all": True}}])
    before = lab.traces(name)
    refused = lab.ansible(
        [name],
        [
            {
                "rebootless.ksplice.uptrack_config": dict(
                    lab.vendor(name), edition="offline", updates_package="latest"
                )
            }
        ],
    )
    assert "outside of any rollout" in refused.msg(
        name
    ) and "skip_apply_after_pkg_install=true" in refused.msg(name)
    assert lab.traces(name) == before and lab.loaded(name) == []
    task = [
        {
            "rebootless.ksplice.uptrack_config": dict(
                lab.vendor(name),
                edition="offline",
                updates_package="latest",
                skip_apply_after_pkg_install=True,
            )
        }
    ]
    done = lab.ansible([name], task)
    assert any("nothing was put into the kernel" in step for step in done.result(name)["steps"]), (
        done.output[-2000:]
    )
    assert lab.loaded(name) == []
    assert lab.ansible([name], task).result(name)["changed"] is False
    lab.ansible([name], [{"rebootless.ksplice.uptrack_apply": {}}])
    assert lab.loaded(name) == sorted(ids(kernel))


@pytest.mark.thorough
def test_the_updates_package_by_itself_does_patch(lab):
    """So that the refusal above is about something: installed by hand, the package changes the
    kernel.
    """
    name = "switch-ol9"
    lab.ansible(
        [name],
        [
            {"rebootless.ksplice.uptrack_apply": {"state": "absent", "all": True}},
            {"rebootless.ksplice.uptrack_config": {"skip_apply_after_pkg_install": False}},
            {"ansible.builtin.dnf": {"name": "uptrack-updates*", "state": "absent"}},
        ],
    )
    assert lab.loaded(name) == []
    lab.run(
        name,
        [
            "dnf",
            "-q",
            "-y",
            "install",
            f"uptrack-updates-{lab.run(name, ['uname', '-r'])[1].strip()}",
        ],
    )
    assert lab.loaded(name) == sorted(ids("ol9"))


@pytest.mark.thorough
def test_exchanging_the_editions_with_yum_alone(lab):
    """Oracle Linux 7, after its life above: bare again."""
    name = "life-ol7"
    first = lab.ansible(
        [name],
        [
            {"rebootless.ksplice.uptrack_config": dict(lab.vendor(name), access_key=KEY)},
            {"rebootless.ksplice.uptrack_apply": {}},
        ],
    )
    assert first.status == 0 and lab.loaded(name) == sorted(ids("ol7"))
    there = lab.ansible(
        [name], [{"rebootless.ksplice.uptrack_config": dict(lab.vendor(name), edition="offline")}]
    )
    assert there.status == 0 and there.result(name)["packages"] == ["uptrack-offline"], (
        there.output[-2000:]
    )
    assert lab.loaded(name) == sorted(ids("ol7"))


@pytest.mark.thorough
def test_both_editions_by_hand_are_refused_by_the_packages(lab):
    status, words = lab.run("switch-ol9", ["dnf", "-y", "install", "uptrack"], check=False)
    assert status != 0 and "conflicts" in words
