# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What uptrack_apply does where the agent hangs, where waiting is of no use, and where its words
mislead.
"""

import os
import subprocess
import time

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import apply, facts, output
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import enroll

IDS = ["aaaaaaa1", "bbbbbbb2", "ccccccc3", "ddddddd4"]
KEY = "0123456789abcdef" * 4


def hangs(host, *commands):
    """The agent's commands do what they do and never end, and start a child that does not either;
    the numbers of both are in a file.
    """
    for command in commands:
        path = host.path("usr/sbin/" + command)
        real = os.readlink(path)
        os.unlink(path)
        os.symlink(real, path + ".real")
        host.write(
            "usr/sbin/" + command,
            "#!/bin/sh\nsleep 600 &\necho $$ $! >>'{}'\necho said before\nwait\n".format(
                host.path("hung")
            ),
        )
        os.chmod(path, 0o755)


def all_gone(host):
    end = time.monotonic() + 20
    while any(is_alive(pid) for pid in host.read("hung").split()):
        assert time.monotonic() < end, "something of it is still there"
        time.sleep(0.05)
    return True


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            # Whoever inherited it may not have asked for its end yet.
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_agent_that_hangs_is_ended_with_what_it_started(make_host):
    host = make_host()
    host.own_processes = True
    other = subprocess.Popen(["sleep", "600"])
    hangs(host, "uptrack-upgrade")
    begun = time.monotonic()
    result = host.apply(timeout=1, retries=3)
    assert time.monotonic() - begun < 60
    assert (
        result["failed"]
        and result["error_class"] == "host"
        and not result["changed"]
        and result["attempts"] == 1
        and host.slept == []
    )
    assert (
        "did not finish in time and was terminated" in result["msg"]
        and "within 1 s" in result["stdout"]
        and "said before" in result["stdout"]
    )
    assert all_gone(host)
    assert other.poll() is None, "nobody else is ended"
    other.kill()
    other.wait()


def test_an_agent_that_ignores_sigterm_is_killed(make_host, monkeypatch):
    host = make_host()
    host.own_processes = True
    hangs(host, "uptrack-upgrade")
    host.write(
        "usr/sbin/uptrack-upgrade",
        host.read("usr/sbin/uptrack-upgrade").replace("\nsleep", "\ntrap '' TERM\nsleep"),
    )
    monkeypatch.setattr(apply.commands, "GRACE", 1)
    result = host.apply(timeout=1)
    assert result["failed"] and "was terminated" in result["msg"] and all_gone(host)


@pytest.mark.parametrize(
    "refresh, command", [("always", "uptrack-upgrade"), ("never", "uptrack-show")]
)
def test_a_survey_does_not_wait_for_ever(make_host, refresh, command):
    host = make_host(installed=IDS[:1])
    hangs(host, command)
    if refresh == "never":
        # Nobody but the agent knows what this is called.
        os.makedirs(host.path("sys/kernel/ksplice/eeeeeee5"))
        host.write("sys/kernel/ksplice/eeeeeee5/stage", "applied\n")
    seen = host.facts(refresh, 0, 1)
    assert (
        seen["verdict"] == "unknown"
        and "did not finish within 1 s and was terminated" in seen["reason"]
        and all_gone(host)
    )
    assert "aaaaaaa1" in [one["id"] for one in seen["updates"]["installed"]], (
        "what the kernel says is told all the same"
    )


def test_enrolling_does_not_wait_for_ever(make_host, monkeypatch):
    """The configuration stays written, and the host is told as one that could not be asked."""
    host = make_host()
    host.own_processes = True
    hangs(host, "uptrack-upgrade")
    monkeypatch.setenv("UPTRACK_LAB_ROOT", host.root)

    warned = []

    class Module:
        params = {"timeout": 1}
        run_command = staticmethod(host.run)
        warn = staticmethod(warned.append)

    result = {"disabled": False, "changed_keys": []}
    told = enroll._check_in(Module, host.root, None, result, {"edition": "online"})
    assert not told["checked_in"] and told["verdict"] == "unknown" and all_gone(host)
    assert "did not finish in time and was terminated" in told["reason"]
    assert told["reason"].startswith("The configuration was written")
    assert warned == [told["reason"]]


@pytest.mark.parametrize("network", ["dns", "ok"])
def test_taking_everything_out_waits_for_no_service(make_host, network):
    """Without the service it ends with status 10 although all is out: that is no reason to wait and
    do it again.
    """
    host = make_host(installed=IDS, network=network)
    result = host.apply(state="absent", all=True, retries=3, retry_delay=20)
    assert not result["failed"] and host.in_kernel() == [] and host.slept == []
    assert len(host.agent_runs()) == (2 if network == "dns" else 1)
    assert sorted(result["remaining"]) == IDS and result["cves_open"] == [
        "CVE-2026-1001",
        "CVE-2026-1002",
        "CVE-2026-1003",
    ]


@pytest.mark.parametrize("network", ["dns", "ok"])
def test_check_mode_foretells_that_everything_comes_out(make_host, network):
    foretold = make_host(installed=IDS, network=network).apply(check=True, state="absent", all=True)
    real = make_host(installed=IDS, network=network).apply(state="absent", all=True)
    assert not foretold["failed"]
    for key in ("changed", "removed", "installed", "remaining", "cves_open", "cves_fixed"):
        assert foretold[key] == real[key], key
    assert foretold["cves_open"], "it says what would be open again"


def test_a_message_that_looks_like_a_plan_is_none():
    plan = "The following steps will be taken:\nInstall [aaaaaaa1] CVE-2026-1: Foo.\n"
    message = "Dear customer,\nInstall [xxxx0000] to get rid of this message.\n"
    assert [step.id for step in output.steps(message + plan)] == ["aaaaaaa1"]
    assert output.steps(message) == [] and output.planned(message + "Nothing to be done.\n") == (
        [],
        [],
    )


@pytest.mark.parametrize(
    "words",
    [
        "Hello",
        "",
        "The following steps will be taken:\nInstall [AAAA-1111] Foo\n",
        (
            "The following steps will be taken:\n"
            "Install [aaaaaaa1] Foo\nRemove (bbbbbbb2)\n"
            "Install [] x\n"
        ),
        "The following steps will be taken:\n",
    ],
)
def test_an_answer_that_is_not_understood_is_not_nothing(words):
    """Not even where an old plan on disk says that nothing is pending."""
    if "Remove (" not in words:
        assert output.plan(words) is None
    old = [
        "Plan: []",
        "Time: 2020-11-26 22:33:16.150179",
        "Upgrade plan format version: '2'",
        "...",
    ]
    answer = [
        "@uid 0",
        "@now 1795730000",
        "@sysmodule 1",
        "@command uptrack-upgrade /usr/sbin/uptrack-upgrade",
        "@refreshed 0",
    ]
    answer += ["@words " + line for line in words.split("\n")] + [
        "@upgrade_plan " + line for line in old
    ]
    seen = facts.facts("\n".join([*answer, "@now 1795730002", "@end"]))
    assert seen["verdict"] != "current" and seen["updates"]["available"] != [], seen["reason"]


def test_an_update_without_a_name_is_a_step():
    plan = (
        "The following steps will be taken:\n"
        "Install [aaaaaaa1]\nInstalling [aaaaaaa1]\n"
        "Nothing to be done.\n"
    )
    assert [(step.id, step.name) for step in output.plan(plan)] == [("aaaaaaa1", "")]
    assert output.plan("Nothing to be done.\n") == []


def test_an_update_that_stays_although_the_agent_says_it_is_done(make_host):
    """Withdrawn from its list, or put in again by somebody else meanwhile."""
    host = make_host(installed=IDS[:2])
    os.makedirs(host.path("sys/kernel/ksplice/eeeeeee5"))
    host.write("sys/kernel/ksplice/eeeeeee5/stage", "applied\n")
    result = host.apply(state="absent", all=True)
    assert result["failed"] and sorted(result["removed"]) == IDS[:2] and "eeeeeee5" in result["msg"]


def test_check_mode_under_a_message_that_looks_like_a_plan(make_host):
    foretold = make_host(message="Install [xxxx0000] to get rid of this message.").apply(check=True)
    assert foretold["installed"] == IDS


@pytest.mark.parametrize(
    "lines",
    [
        "accesskey = {key}\naccesskey = {key}\n",
        "accesskey = {key}\n\n[Auth]\nuse_hw_uuid = no\n",
        "accesskey = {key}\nodd = 100%\n",
        "accesskey = {key}\nrem a remark\n",
        "accesskey = {key}\n[Settings]\nno_such_key =\n",
        "accesskey = {key}\n[Settings]\nno_rmmod = yes ; a comment\n",
    ],
)
def test_what_the_agent_reads_is_no_reason_to_refuse(make_host, lines):
    host = make_host()
    host.write("etc/uptrack/uptrack.conf", "[Auth]\n" + lines.format(key=KEY))
    result = host.apply()
    assert not result["failed"] and host.in_kernel() == IDS and result["verdict"] == "current", (
        result
    )


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_limit_that_is_none(make_host, timeout):
    with pytest.raises(
        apply.Refused, match="timeout must be at least 1 second. Nothing was changed"
    ):
        make_host().apply(timeout=timeout)
