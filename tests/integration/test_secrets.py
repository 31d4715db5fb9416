# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""A planted access key and proxy password are found nowhere but in uptrack.conf, whatever the
verbosity.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from watched_arguments import watching

KEY = "5ec2e7" + "0123456789abcdef" * 3 + "0123456789"
# Long, and with hyphens: the agent breaks its lines in the middle of it.
PASSWORD = "s3cr3t%pass-word-that-is-long-enough-to-be-wrapped-by-the-agent-at-seventy-columns"
PROXY = f"http://patching:{PASSWORD}@proxy.example.com:3128"


@pytest.fixture
def watch():
    with watching(KEY, PASSWORD):
        yield


@pytest.fixture
def syslog():
    """What modules write to the system's log, where nobody else listens to it: a list of lines, or
    None.
    """
    path = Path("/dev/log")
    if os.getuid() != 0 or path.exists():
        yield None
        return
    heard = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(path))
        log.settimeout(0.2)
        going = True

        def listen():
            while going:
                try:
                    heard.append(log.recv(65536).decode("utf-8", "replace"))
                except OSError:
                    pass

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield heard
        going = False
        thread.join()
        path.unlink()


def leaks(directory, allowed):
    """Files below a directory that hold a secret, save those that are meant to."""
    found = []
    for path in Path(directory).rglob("*"):
        if path.is_file() and not path.is_symlink() and path not in allowed:
            content = path.read_bytes()
            if any(
                secret.encode() in content
                for secret in (KEY, KEY[::-1], PASSWORD, PASSWORD.replace("%", "%%"))
            ):
                found.append(str(path))
    return found


def clean(text):
    flat = "".join(text.split())
    return not any(
        secret in flat for secret in (KEY, KEY[::-1], PASSWORD, PASSWORD.replace("%", "%%"))
    )


@pytest.mark.parametrize(
    "verbosity",
    ["-vvvv", *(pytest.param(one, marks=pytest.mark.thorough) for one in ("-v", "-vv", "-vvv"))],
)
def test_no_secret_in_output_results_records_logs_files_and_arguments(
    fleet, watch, syslog, tmp_path, verbosity
):
    # The agent's answers repeat the proxy's URL: one host whose proxy has no name, one that works.
    broken = {
        "scenario": {"network": "proxy", "accepted_keys": [KEY], "checked": None, "lock_wait": 0.1}
    }
    works = {"scenario": {"accepted_keys": [KEY, KEY[::-1]], "checked": None}}
    one = fleet({"bad": {"ksplice_rehearsal": broken}, "good": {"ksplice_rehearsal": works}})
    one.make()
    secrets = tmp_path / "vault.yml"
    secrets.write_text(f"key: {KEY}\nproxy: '{PROXY}'\n")
    # Results of the events callback are written to a file, and looked at with all the others.
    play = [
        {
            "name": "All of it",
            "hosts": "all",
            "gather_facts": False,
            "vars_files": [str(secrets)],
            "tasks": [
                {
                    "name": "Configure",
                    "rebootless.ksplice.uptrack_config": {
                        "access_key": "{{ key }}",
                        "https_proxy": "{{ proxy }}",
                    },
                    "register": "one",
                },
                {
                    "name": "Facts",
                    "rebootless.ksplice.uptrack_facts": {"refresh": True},
                    "register": "two",
                },
                {
                    "name": "Apply",
                    "rebootless.ksplice.uptrack_apply": {"retries": 0},
                    "register": "three",
                    "failed_when": False,
                },
                {
                    "name": "Another key",
                    "rebootless.ksplice.uptrack_config": {
                        "access_key": "{{ key[::-1] }}",
                        "backup": False,
                    },
                    "diff": True,
                },
                {
                    "name": "The key again",
                    "rebootless.ksplice.uptrack_config": {"access_key": "{{ key }}"},
                    "diff": True,
                },
                {
                    "name": "Through extra",
                    "rebootless.ksplice.uptrack_config": {
                        "extra": {
                            "Auth": {"accesskey": "{{ key }}"},
                            "Network": {"https_proxy": "{{ proxy }}"},
                        }
                    },
                    "failed_when": False,
                },
                {
                    "name": "A repository with a password",
                    "rebootless.ksplice.uptrack_config": {
                        "update_repo_url": "{{ proxy }}/repository"
                    },
                    "check_mode": True,
                    "diff": True,
                },
                {
                    "name": "A bad wish",
                    "rebootless.ksplice.uptrack_config": {"access_key": "{{ key }} {{ key }}"},
                    "failed_when": False,
                },
                {
                    "name": "Tell",
                    "ansible.builtin.debug": {"msg": ["{{ one }}", "{{ two }}", "{{ three }}"]},
                },
            ],
        }
    ]
    run = one.play(play, verbosity, "--diff")
    assert run.status == 0, run.output
    assert (
        run.result("Apply", "bad")["error_class"] and "proxy" in run.result("Apply", "bad")["msg"]
    )
    assert "(hidden)" in run.output and clean(run.output)
    status = one.play("rebootless.ksplice.patch", verbosity, "--diff")
    assert clean(status.output)
    if syslog is not None:
        assert any("uptrack_config" in line for line in syslog) and clean(" ".join(syslog))
    conf = {one.root(name) / "etc/uptrack/uptrack.conf" for name in one.names}
    assert all(KEY in path.read_text() for path in conf)
    # The lab's own books: what the emulated service accepts, and the agent's files and log, which
    # hold key and proxy as the real one's do.
    own = {
        path for name in one.names for path in (one.root(name) / "var").rglob("*") if path.is_file()
    }
    assert leaks(tmp_path, conf | own | {secrets, one.inventory}) == []


def test_the_search_itself_finds_a_secret(tmp_path):
    (tmp_path / "x").write_text("a " + KEY)
    assert leaks(tmp_path, set()) and not clean("a " + KEY[:30] + "\n" + KEY[30:])
    with pytest.raises(AssertionError), watching("hunter22-argument"):
        subprocess.run(["sh", "-c", "sleep 1; :", "hunter22-argument"], check=True)


COMMAND_SECRETS = (
    "hunter22-drain",
    "hunter22-back",
    "hunter22-check",
    "p@hunter22-url",
    "hunter22-facts",
    "hunter22-told",
    "u2:x@",
)


def test_no_password_in_results_of_checks_drains_and_commands(fleet, syslog, tmp_path):
    """Commands and addresses of the operator's may hold one: it is given to them and told to
    nobody, also by what fails.
    """
    facts = tmp_path / "groups.sh"
    facts.write_text('#!/bin/sh\necho \'{"groups": [{"name": "g", "role": "standby"}]}\'\n')
    facts.chmod(0o755)
    pair = {
        "ksplice_ha_command": f"{facts} --token hunter22-facts",
        "ksplice_rehearsal": {"kernel": "ol9-uek7", "pending": 1},
    }
    # The peer has nothing to do: it is looked at only.
    one = fleet(
        {"a": pair, "b": dict(pair, ksplice_rehearsal={"kernel": "ol9-uek7", "pending": 0})}
    ).make()
    wishes = {
        "ksplice_ha_command": pair["ksplice_ha_command"],
        "ksplice_ha_drain": [
            {
                "adapter": "custom",
                "drain": "sh -c 'echo $0 >>$UPTRACK_LAB_ROOT/trace' hunter22-drain",
                "restore": "sh -c 'echo $0 >>$UPTRACK_LAB_ROOT/trace' hunter22-back",
            }
        ],
        "ksplice_ha_checks": [
            {"command": "sh -c 'true' hunter22-check", "timeout": 1},
            {
                "url": "http://u:p@hunter22-url@127.0.0.1:9/",
                "allow_preexisting": True,
                "timeout": 1,
            },
            {
                "url": "http://u2:x@127.0.0.1:9/",
                "run_on": "peers",
                "allow_preexisting": True,
                "timeout": 1,
            },
            {
                "command": "sh -c 'echo no $0; false' hunter22-told",
                "run_on": "controller",
                "allow_preexisting": True,
                "timeout": 1,
            },
        ],
    }
    emulated = json.loads(one.emulated.read_text())
    for name in ("a", "b"):
        emulated["all"]["hosts"][name].update(wishes)
    one.emulated.write_text(json.dumps(emulated))
    run = one.play(
        "rebootless.ksplice.patch", "-vvvv", ksplice_drain="always", ksplice_max_failures=2
    )
    rows = one.rows()
    # They were used: the drain and its undoing by their arguments, the checks by what they say.
    assert (one.root("a") / "trace").read_text().split() == ["hunter22-drain", "hunter22-back"], (
        run.output[-3000:]
    )
    assert rows["a"]["started"] and rows["a"]["drained"]
    told = [
        run.output,
        json.dumps([event["result"] for event in run.events]),
        json.dumps(one.record()),
        (one.report / "report.html").read_text(),
        *([" ".join(syslog)] if syslog is not None else []),
    ]
    for text in told:
        assert not [secret for secret in COMMAND_SECRETS if secret in text]
    books = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file()
        and any(secret.encode() in path.read_bytes() for secret in COMMAND_SECRETS)
    ]
    # The operator's inventory, what his own commands wrote, and nothing of ours once the host is
    # back.
    assert {path.name for path in books} <= {"inventory.yml", "trace"}, books
