# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The recorder that a user runs on a host of their own: the format of the recordings, and nothing
in it that tells who they are.
"""

import json
import os
import re
import subprocess
import sys

import pytest

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
RECORDER = os.path.join(TOP, "extensions/lab/recorder/record_host.py")
KEY = "deadbeef" * 8
PASSWORD = "s3cret-pass"


@pytest.fixture
def record(make_host, tmp_path):
    """record(*arguments): (host, exit status, what it said, the recording or None)."""

    def run(*arguments, **scenario):
        host = make_host(hostname="db-prod-17.example.com", accepted_keys=[KEY], **scenario)
        host.write("etc/hostname", "db-prod-17.example.com\n")
        path = tmp_path / "recording.json"
        done = subprocess.run(
            [sys.executable, RECORDER, str(path), *arguments],
            env=dict(os.environ, UPTRACK_LAB_ROOT=host.root),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            check=False,
        )
        return (
            host,
            done.returncode,
            done.stdout,
            json.loads(path.read_text()) if path.exists() else None,
        )

    return run


def test_it_has_the_format_of_the_recordings_and_tells_the_same(record):
    host, status, said, found = record(
        "--name",
        "two_pending",
        "--verdict",
        "behind:2",
        "--run",
        "uptrack-upgrade -n",
        "--run",
        "uptrack-show",
    )
    assert status == 0, said
    with open(
        os.path.join(TOP, "tests/fixtures/recordings/one_pending.json"), encoding="utf-8"
    ) as file:
        real = json.load(file)
    assert set(real) <= set(found) and set(real["files_afterwards"]) <= set(
        found["files_afterwards"]
    )
    assert (
        found["in_kernel_afterwards"] == host.applied == ["aaaa1111"]
        and found["honest_verdict"] == "behind:2"
    )
    assert [command["command"] for command in found["commands"]] == [
        "uptrack-upgrade -n",
        "uptrack-show",
    ]
    assert (
        "Install [bbbb2222]" in found["commands"][0]["output"]
        and found["commands"][0]["status"] == 0
    )
    assert "Installed updates:\n[aaaa1111]" in found["commands"][1]["output"]
    assert (
        "bbbb2222" in found["files_afterwards"]["upgrade_plan"]
        and found["kernel"]["machine"] == "x86_64"
    )


def test_nothing_in_it_tells_who_it_was(record):
    proxy = {"Network": {"https_proxy": f"http://patching:{PASSWORD}@proxy:3128"}}
    # The client tells the proxy's whole URL where it cannot be found, wrapped as it comes.
    host, status, said, found = record(
        "--run", "uptrack-upgrade -v -n", config=proxy, network="proxy"
    )
    assert status == 0 and "Could not resolve your proxy" in found["commands"][0]["output"], said
    with open(os.path.join(os.path.dirname(host.root), "recording.json"), encoding="utf-8") as file:
        text = file.read()
    raw = "".join(host.read(host.cache + "/" + name) for name in ("status", "results"))
    uuid = re.search(r"UUID: (\S+)", raw).group(1)
    assert KEY in raw + host.read("var/log/uptrack.log") and "db-prod-17" in raw, (
        "there is something to mask"
    )
    for secret in (KEY, PASSWORD, "db-prod-17", "example.com", uuid):
        # Also where the client has wrapped it over two lines.
        assert secret not in "".join(text.replace("\\n", "").split()) and secret not in said


@pytest.mark.parametrize(
    "raw",
    [
        "fe80::a00:27ff:fe4e:66a1",
        "2001:db8:12:34::5",
        "00:1a:2b:3c:4d:5e",
        "10.1.2.3.",
        "ip-10-1-2-3",
        "mail.example.com",
        "root@mail.other.example",
        "{Serial: ABC123}",
        "SystemSerial: ABC123",
        "  Hostname: db7",
        "LocalIP: 10.1.2.3",
        "other.internal.acme.example",
    ],
)
def test_what_is_of_one_host_alone(raw, tmp_path):
    sys.path.insert(0, os.path.dirname(RECORDER))
    import record_host

    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hostname").write_text("db-prod-17.internal.acme.example\r\n")
    (tmp_path / "etc/uptrack").mkdir()
    (tmp_path / "etc/uptrack/uptrack.conf").write_text(
        "[Network]\nhttps_proxy = http://u:pa%%ss@mail.example.com:1\n"
    )
    masked = record_host.Mask(str(tmp_path))("said: " + raw + "\n")
    for telling in ("a00", "12:34", "1a:2b", "10.1.2", "10-1-2", "acme", "mail", "ABC123", "db7"):
        assert telling not in masked.replace("masked", ""), masked
    plain = (
        "Linux/x86_64/5.15.0-302.167.6.el9uek.x86_64/#2 SMP Thu May 9 15:59:05 PDT 2024 "
        "Effective kernel version is 5.15.0-307.178.5.el9uek 1.2.12\n"
    )
    assert record_host.Mask(str(tmp_path))(plain) == plain
    assert "pa%ss" not in record_host.Mask(str(tmp_path))("pa%ss")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--run", "rm -rf /"], "is not one of the client's commands"),
        (["--run", " "], "is not one of the client's commands"),
    ],
)
def test_it_runs_nothing_else(record, arguments, words):
    _host, status, said, found = record(*arguments)
    assert status == 2 and words in said and "Nothing was run or written" in said and found is None


def test_it_replaces_no_file(record):
    assert record("--run", "uptrack-show")[1] == 0
    _host, status, said, found = record()
    assert status == 2 and "is there already" in said and len(found["commands"]) == 1
