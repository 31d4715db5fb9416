# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The playbooks enroll and retire, and the role agent, over real hosts."""

from __future__ import annotations

import re

import pytest
from extent import ALL
from real_hosts import KEY, ids

HOSTS = ["role-ubuntu", "role-ol9"] if ALL else ["role-ol9"]


def settings(lab, names=HOSTS):
    """What an inventory would say of these hosts, each in its own group."""
    return {
        "role_repositories": {name: lab.vendor(name) for name in names},
        "ksplice_access_key": KEY,
        "ksplice_repository": "vendor",
        "ksplice_repository_url": "{{ role_repositories[inventory_hostname].repository_url }}",
        "ksplice_repository_key": "{{ role_repositories[inventory_hostname].repository_key }}",
        "ksplice_repository_key_fingerprint": "{{ "
        "role_repositories[inventory_hostname].repository_key_fingerprint "
        "}}",
    }


def cron(lab, name):
    return lab.run(name, ["sh", "-c", "cat /etc/cron.d/rebootless-ksplice 2>/dev/null || :"])[1]


def test_enroll_schedule_and_retire(lab):
    run = lab.ansible(
        HOSTS,
        "rebootless.ksplice.enroll",
        **settings(lab),
        ksplice_check="daily",
        ksplice_https_proxy="none",
        ksplice_settings={"no_rmmod": True, "extra": {"Settings": {"odd": "word"}}},
    )
    assert run.status == 0, run.output[-4000:]
    jobs = {}
    for name in HOSTS:
        conf = lab.run(name, ["cat", "/etc/uptrack/uptrack.conf"])[1]
        for line in (
            f"accesskey = {KEY}",
            "https_proxy = none",
            "no_rmmod = yes",
            "odd = word",
            "autoinstall = no",
            "install_on_reboot = yes",
        ):
            assert re.search(f"^{line}$", conf, re.M | re.I), (line, conf)
        jobs[name] = cron(lab, name)
        minute, hour = re.search(
            r"^(\d+) (\d+) \* \* \* root uptrack-upgrade --cron$", jobs[name], re.M
        ).groups()
        assert 0 <= int(minute) < 60 and 1 <= int(hour) <= 5
        # The package's own rests, and is there to be woken.
        assert re.search(
            r"^#rebootless.ksplice: \d", lab.run(name, ["cat", "/etc/cron.d/uptrack"])[1], re.M
        )
        # What the job does, done once: it looks and installs nothing.
        lab.run(name, ["uptrack-upgrade", "--cron"], check=False)
        assert lab.loaded(name) == []
    assert len(set(jobs.values())) == len(HOSTS), "both hosts would ask at one moment"

    again = lab.ansible(
        HOSTS,
        "rebootless.ksplice.enroll",
        **settings(lab),
        ksplice_check="daily",
        ksplice_https_proxy="none",
        ksplice_settings={"no_rmmod": True, "extra": {"Settings": {"odd": "word"}}},
    )
    assert again.status == 0 and not any(
        event["result"].get("changed") for event in again.events
    ), again.output[-3000:]
    assert {name: cron(lab, name) for name in HOSTS} == jobs

    back = lab.ansible(
        HOSTS, "rebootless.ksplice.enroll", **settings(lab), ksplice_https_proxy="none"
    )
    assert back.status == 0 and cron(lab, HOSTS[-1]) == ""
    assert re.search(r"^\d", lab.run(HOSTS[-1], ["cat", "/etc/cron.d/uptrack"])[1], re.M)

    lab.ansible(HOSTS, [{"rebootless.ksplice.uptrack_apply": {}}])
    assert lab.loaded(HOSTS[-1]) == sorted(ids("ol9"))
    refused = lab.ansible(HOSTS, "rebootless.ksplice.retire")
    assert (
        refused.status != 0
        and "Set ksplice_retire=true" in refused.output
        and lab.loaded(HOSTS[-1]) == sorted(ids("ol9"))
    )
    retired = lab.ansible(HOSTS, "rebootless.ksplice.retire", ksplice_retire=True)
    assert retired.status == 0, retired.output[-3000:]
    for name in HOSTS:
        assert lab.traces(name) == [] and lab.loaded(name) == [] and cron(lab, name) == ""


@pytest.mark.thorough
def test_an_image_has_no_identity(lab):
    """Two hosts from one image must be two machines to the service."""
    name = "role-ol9"
    lab.ansible([name], "rebootless.ksplice.enroll", **settings(lab))
    uuid = lab.run(name, ["cat", "/var/lib/uptrack/uuid"])[1]
    image = lab.ansible([name], "rebootless.ksplice.enroll", **settings(lab), ksplice_image=True)
    assert image.status == 0, image.output[-3000:]
    assert lab.run(name, ["ls", "/var/lib/uptrack"])[1].split().count("uuid") == 0
    assert (
        lab.ansible([name], "rebootless.ksplice.enroll", **settings(lab), ksplice_image=True)
        .result(name, -1)
        .get("changed", False)
        is False
    )
    lab.run(name, ["uptrack-upgrade", "-n"])
    assert lab.run(name, ["cat", "/var/lib/uptrack/uuid"])[1] not in ("", uuid)


@pytest.mark.thorough
def test_offline_by_the_playbook(lab):
    name = "role-ubuntu"
    options = dict(
        settings(lab),
        ksplice_edition="offline",
        ksplice_updates_package="present",
        ksplice_access_key="",
    )
    run = lab.ansible([name], "rebootless.ksplice.enroll", **options, ksplice_check="daily")
    assert run.status == 0, run.output[-3000:]
    assert lab.loaded(name) == [] and "apt-get -q -y install" in cron(lab, name)
    lab.ansible([name], [{"rebootless.ksplice.uptrack_apply": {}}])
    assert lab.loaded(name) == sorted(ids("ubuntu"))


def test_no_key_at_all(lab):
    run = lab.ansible(["bad-ol9"], "rebootless.ksplice.enroll")
    assert (
        run.status != 0
        and "ksplice_access_key is not set" in run.output
        and lab.traces("bad-ol9") == []
    )


@pytest.mark.thorough
def test_hours_that_are_none(lab):
    run = lab.ansible(
        ["bad-ol9"],
        "rebootless.ksplice.enroll",
        **settings(lab, ["bad-ol9"]),
        ksplice_check_hours=[5, 25],
    )
    assert (
        run.status != 0
        and "agent_check_hours is [5, 25]" in run.output
        and lab.traces("bad-ol9") == []
    )


@pytest.mark.thorough
@pytest.mark.parametrize(
    "variables, words",
    [
        ({"ksplice_acess_key": KEY[:8]}, "did you mean ksplice_access_key"),
        pytest.param(
            {"ksplice_settings": "autoinstall"},
            "give a mapping of options",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            {"ksplice_repositry": "vendor"},
            "did you mean ksplice_repository",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_misspelt_and_senseless_variables(lab, variables, words):
    for playbook in ("rebootless.ksplice.enroll", "rebootless.ksplice.retire"):
        run = lab.ansible(["bad-ol9"], playbook, **variables)
        assert (
            run.status != 0 and words in run.output and "No host was asked anything" in run.output
        ), run.output[-1500:]
    assert lab.traces("bad-ol9") == []
