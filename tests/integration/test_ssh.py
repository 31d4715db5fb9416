# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The same over a real sshd, with the terminal that Ansible's ssh connection asks for."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from control_nodes import below, kill_all
from rehearsals import alone

COMMON = (
    "-F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ControlMaster=no"
)
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")


@pytest.fixture
def over_ssh(fleet, tmp_path):
    """A fleet of one emulated host behind an sshd of its own: (fleet, inventory)."""
    if not SSHD or not shutil.which("ssh"):
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    one = fleet(alone("a", pending=3)).make()
    for name in ("host_key", "key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True
        )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "sshd_config"
    config.write_text(f"""
Port {port}
ListenAddress 127.0.0.1
HostKey {tmp_path}/host_key
PidFile {tmp_path}/sshd.pid
AuthorizedKeysFile {tmp_path}/key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
# A home of its own: what root's shell does when it starts is not asked for here.
SetEnv UPTRACK_LAB_ROOT={one.root("a")} HOME={tmp_path}
""")
    made_here = not Path("/run/sshd").exists()
    if made_here and getpass.getuser() == "root":
        Path("/run/sshd").mkdir(mode=0o755, parents=True)
    server = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE, text=True
    )
    try:
        for _attempt in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        inventory = tmp_path / "ssh.yml"
        inventory.write_text(
            yaml.safe_dump(
                {
                    "all": {
                        "hosts": {
                            "a": {
                                "ansible_host": "127.0.0.1",
                                "ansible_port": port,
                                "ansible_user": getpass.getuser(),
                                "ansible_connection": "ssh",
                                "ansible_become": False,
                                "ansible_ssh_private_key_file": str(tmp_path / "key"),
                                "ansible_remote_tmp": str(tmp_path / "tmp"),
                                "ansible_ssh_args": COMMON,
                                "ansible_python_interpreter": sys.executable,
                            }
                        }
                    }
                }
            )
        )
        yield one, inventory
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.every_core
def test_a_terminal_changes_nothing(over_ssh):
    one, inventory = over_ssh
    plain = one.command(
        "ansible", "all", "-i", one.emulated, "-m", "rebootless.ksplice.uptrack_facts"
    )
    for how in ("true", "false"):
        run = one.command(
            "ansible",
            "all",
            "-i",
            inventory,
            "-m",
            "rebootless.ksplice.uptrack_facts",
            "-e",
            f"ansible_ssh_use_tty={how}",
        )
        assert run.status == 0 and '"verdict": "behind"' in run.output, run.output
        seen, expected = (
            result.events[0]["result"]["ansible_facts"]["uptrack"] for result in (run, plain)
        )
        for update in (*seen["updates"]["available"], *expected["updates"]["available"]):
            # The two were asked one after the other.
            update.pop("age", None)
        assert seen["updates"] == expected["updates"] and seen["kernel"] == expected["kernel"]


@pytest.mark.thorough
def test_survey_needs_no_python_and_a_run_patches(over_ssh):
    one, inventory = over_ssh
    run = one.command(
        "ansible",
        "all",
        "-i",
        inventory,
        "-m",
        "rebootless.ksplice.uptrack_facts",
        "-e",
        "ansible_python_interpreter=/nowhere",
    )
    assert run.status == 0 and '"verdict": "behind"' in run.output, run.output
    run = one.command(
        "ansible-playbook",
        "-i",
        inventory,
        "rebootless.ksplice.patch",
        "-e",
        f"ksplice_report_directory={one.report}",
    )
    assert run.status == 0, run.output
    assert one.patched_when("a") and one.rows()["a"]["verdict"] == "current"


def called(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def cut(server, control):
    """Kill the connections: sshd's processes and ssh."""
    found = set()
    while not found:
        assert control.poll() is None, "the run has given it up"
        time.sleep(0.2)
        found = {pid for pid in below(server) if called(pid).startswith("sshd")}
    found |= {pid for pid in below(control.pid) if called(pid) == "ssh"}
    kill_all(found)


@pytest.mark.parametrize(
    "arguments",
    [pytest.param("", marks=pytest.mark.thorough), "-tt"],
    ids=["plain", "terminal"],
)
def test_a_turn_outlives_its_connections(over_ssh, tmp_path, arguments):
    """Every connection is cut at both its ends while a turn goes on, also one with a terminal, of
    which the host hears a hangup: the turn goes on, and the run that began it follows it to its
    end.
    """
    one, inventory = over_ssh
    gate = "touch $UPTRACK_LAB_ROOT/held; while [ ! -e $UPTRACK_LAB_ROOT/go ]; do sleep 0.2; done"
    extra = {
        "ksplice_report_directory": str(one.report),
        "ksplice_ha_drain": [
            {"adapter": "custom", "drain": f"sh -c '{gate}'", "restore": "true"},
        ],
        "ksplice_drain_timeout": 300,
        "ansible_ssh_args": f"{COMMON} {arguments}",
    }
    with open(tmp_path / "output", "w", encoding="utf-8") as output:
        control = subprocess.Popen(
            ["ansible-playbook", "-i", inventory, "rebootless.ksplice.patch"]
            + ["-e", json.dumps(extra)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, PWD=str(one.directory)),
            cwd=one.directory,
        )
    try:
        end = time.monotonic() + 200
        while not (one.root("a") / "held").exists():
            assert time.monotonic() < end and control.poll() is None, (
                tmp_path / "output"
            ).read_text()
            time.sleep(0.2)
        server = int((tmp_path / "sshd.pid").read_text())
        # While it is asked to begin, and when it is followed.
        for seconds in (0, 6):
            time.sleep(seconds)
            cut(server, control)
    finally:
        (one.root("a") / "go").touch()
        if not (one.root("a") / "held").exists():
            control.kill()
    assert control.wait(timeout=300) == 0, (tmp_path / "output").read_text()
    row = one.rows()["a"]
    assert row["verdict"] == "current" and not row["attention"] and one.kernel("a"), row
    assert "drain: custom" in (tmp_path / "output").read_text(), "it was followed"
