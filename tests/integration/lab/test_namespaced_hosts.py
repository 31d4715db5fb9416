# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The fleet itself: hosts that are what they say, that reboot, and of which nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from real_hosts import PREFIX, TOP, ids, kernels, namespaced_hosts

PROGRAM = [sys.executable, "-B", str(TOP / "extensions/lab/namespaces/namespaced_hosts.py")]


def test_ansible_takes_the_hosts_for_what_they_play(lab):
    played = {
        "life-ubuntu": ("Ubuntu", "22.04", "apt", "systemd", "5.15.0-130-generic"),
        "life-ol9": ("OracleLinux", "9.4", "dnf", "systemd", "5.15.0-302.167.6.el9uek.x86_64"),
        "turn-ol10": ("OracleLinux", "10.0", "dnf", "systemd", "6.12.0-100.28.2.el10uek.x86_64"),
        "life-centos": ("CentOS", "8.5", "dnf", "systemd", "4.18.0-553.el8_10.x86_64"),
    }
    # The last one is not there every day.
    played = {name: facts for name, facts in played.items() if name in lab.hosts()}
    assert len(played) >= 3
    run = lab.ansible(
        list(played),
        [{"ansible.builtin.setup": {"gather_subset": ["min", "pkg_mgr", "service_mgr"]}}],
    )
    seen = {event["host"]: event["result"]["ansible_facts"] for event in run.events}
    told = {
        host: (
            facts["ansible_distribution"],
            facts["ansible_distribution_version"],
            facts["ansible_pkg_mgr"],
            facts["ansible_service_mgr"],
            facts["ansible_kernel"],
        )
        for host, facts in seen.items()
    }
    assert told == played


def test_hosts_are_apart_from_each_other_and_from_the_machine(lab):
    _status, words = lab.run(
        "life-ol9",
        [
            "sh",
            "-c",
            "hostname; cat /proc/1/comm; ip -o -4 addr show eth0; ls /proc | grep -c '^[0-9]'",
        ],
    )
    name, first, address, processes = words.splitlines()
    assert (
        name == "life-ol9"
        and first == "systemd"
        and lab.hosts()["life-ol9"]["address"] in address
        and int(processes) < 40
    )
    links = subprocess.run(
        ["ip", "-o", "link"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert (
        "br0" not in links
        and "10.77."
        not in subprocess.run(["ip", "route"], stdout=subprocess.PIPE, text=True, check=True).stdout
    )


def reboot(lab, name):
    before = lab.run(name, ["cat", "/proc/sys/kernel/random/boot_id"])[1]
    run = lab.ansible([name], [{"ansible.builtin.reboot": {"reboot_timeout": 120}}])
    assert run.status == 0, run.output[-2000:]
    assert lab.run(name, ["cat", "/proc/sys/kernel/random/boot_id"])[1] != before


def facts(lab, name, **options):
    return lab.ansible([name], [{"rebootless.ksplice.uptrack_facts": options}]).result(name)[
        "ansible_facts"
    ]["uptrack"]


def test_a_real_reboot_and_the_agent_at_boot(lab):
    """What was in the kernel is gone with it, and the agent's boot unit puts back what ran
    (reference 2.5).
    """
    name = "boot"
    lab.ansible([name], [{"rebootless.ksplice.uptrack_apply": {}}])
    assert lab.loaded(name) == sorted(ids("ol9"))
    begun = lab.agent_log(name).count("apply begin")
    reboot(lab, name)
    assert lab.loaded(name) == sorted(ids("ol9")) and lab.agent_log(name).count(
        "apply begin"
    ) == begun + len(ids("ol9"))
    assert facts(lab, name)["verdict"] == "current"

    lab.ansible(
        [name],
        [{"rebootless.ksplice.uptrack_config": {"install_on_reboot": False, "check_in": False}}],
    )
    reboot(lab, name)
    assert lab.loaded(name) == []
    # The late stage has asked the service, and installed nothing.
    assert facts(lab, name)["verdict"] == "behind"

    # Another kernel: nothing is put back, until upgrade_on_reboot says so.
    lab.ansible(
        [name],
        [{"rebootless.ksplice.uptrack_config": {"install_on_reboot": True, "check_in": False}}],
    )
    lab.set_kernel(name, kernels.KERNELS["ol9-next"])
    reboot(lab, name)
    assert (
        lab.run(name, ["uname", "-r"])[1].strip() == "5.15.0-306.177.4.el9uek.x86_64"
        and lab.loaded(name) == []
    )
    lab.ansible(
        [name],
        [{"rebootless.ksplice.uptrack_config": {"upgrade_on_reboot": True, "check_in": False}}],
    )
    reboot(lab, name)
    assert lab.loaded(name) == ids("ol9-next")


def small(prefix, tmp_path):
    return namespaced_hosts.NamespacedHosts(str(tmp_path / "fleet"), prefix)


def test_down_leaves_nothing_and_may_be_said_twice(lab, tmp_path):
    other = small(PREFIX + "x", tmp_path)
    other.up({"one": {"flavour": "ubuntu"}, "two": {"flavour": "ol9"}})
    assert len(other.leftovers()) > 10
    assert other.run("one", ["hostname"])[1].strip() == "one"
    with pytest.raises(SystemExit, match="are up, or something is left"):
        other.up({"one": {"flavour": "ubuntu"}})
    other.down()
    assert other.leftovers() == []
    other.down()
    assert other.leftovers() == []
    # The fleet beside it has noticed nothing.
    assert lab.run("life-ol9", ["hostname"])[1].strip() == "life-ol9"


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(0.3, marks=pytest.mark.thorough),
        pytest.param(1.0, marks=pytest.mark.thorough),
        2.0,
    ],
)
def test_down_after_a_crash_half_way(lab, tmp_path, seconds):
    other = small(PREFIX + "y", tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(TOP / 'extensions/lab/namespaces')!r}); "
        "from namespaced_hosts import NamespacedHosts; "
        f"NamespacedHosts({other.directory!r}, {other.prefix!r})"
        ".up({f'h{i}': {'flavour': 'ubuntu'} for i in range(4)})"
    )
    process = subprocess.Popen(
        [sys.executable, "-B", "-c", code],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    hosts = (
        list(Path(other.directory, "hosts").glob("*"))
        if Path(other.directory, "hosts").exists()
        else []
    )
    if hosts and seconds > 1:
        try:
            os.kill(other.pid(hosts[0].name), signal.SIGKILL)
        except (SystemExit, ProcessLookupError):
            pass
    other.down()
    assert other.leftovers() == []


@pytest.mark.thorough
def test_power_off_and_on_and_the_cable(lab, tmp_path):
    other = small(PREFIX + "z", tmp_path)
    other.up({"one": {"flavour": "ubuntu"}, "two": {"flavour": "ubuntu"}})
    try:
        tree = other.hosts()
        ping = ["ping", "-c", "1", "-W", "1", tree["two"]["address"]]
        assert other.run("one", ping)[0] == 0
        other.cable("two", False)
        assert other.run("one", ping, check=False)[0] != 0
        other.cable("two", True)
        other.run("two", ["touch", "/etc/kept"])
        other.kill("two")
        with pytest.raises(SystemExit, match="not running"):
            other.pid("two")
        other.start("two")
        other.wait(["two"])
        assert other.run("two", ["ls", "/etc/kept"])[0] == 0 and other.run("one", ping)[0] == 0
    finally:
        other.down()


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["web1:solaris"], "there are debian, ubuntu"),
        pytest.param(["web1"], "is not NAME:FLAVOUR", marks=pytest.mark.thorough),
        pytest.param(["web1:ubuntu:x"], "is not NAME:FLAVOUR", marks=pytest.mark.thorough),
    ],
)
def test_bad_words_on_the_command_line(words, complaint):
    if namespaced_hosts.problems():
        pytest.skip(f"no real hosts on this machine: {'; '.join(namespaced_hosts.problems())}")
    done = subprocess.run(
        PROGRAM + ["up", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ, LAB_PREFIX=PREFIX + "w"),
        check=False,
    )
    assert done.returncode != 0 and complaint in done.stderr and len(done.stderr.splitlines()) == 1
    assert namespaced_hosts.NamespacedHosts(prefix=PREFIX + "w").leftovers() == []
