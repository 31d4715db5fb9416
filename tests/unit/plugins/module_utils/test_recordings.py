# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What the facts make of the recordings of a real client (tests/fixtures/recordings), and of what
may become of such a host.
"""

import datetime
import glob
import json
import os
import re
import shutil
import subprocess

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import facts, probe

HERE = os.path.dirname(os.path.abspath(__file__))
KEY = "0123456789abcdef" * 4
CONF = (
    "[Auth]\naccesskey = %s\n\n"
    "[Network]\nhttps_proxy =\n"
    "gconf_proxy_lookup = no\n\n"
    "[Settings]\ninstall_on_reboot = yes\n"
    "autoinstall = no\n"
)
NAMES = {
    "aaaa1111": "Enablement update for live patching.",
    "bbbb2222": "CVE-2024-1001: Use-after-free in the network scheduler.",
    "cccc3333": "CVE-2024-1002, CVE-2024-1003: Information leak in the block layer when a "
    "queue is torn down while another request is in flight and more words follow here.",
    "dddd4444": "Improved fix for CVE-2024-1001",
}
IDS = sorted(NAMES)
FIXED = ["CVE-2024-1001", "CVE-2024-1002", "CVE-2024-1003"]


def recording(name):
    with open(
        os.path.join(HERE, "..", "..", "..", "fixtures", "recordings", name + ".json"),
        encoding="utf-8",
    ) as file:
        return json.load(file)


RECORDINGS = [
    os.path.basename(path)[:-5]
    for path in sorted(
        glob.glob(os.path.join(HERE, "..", "..", "..", "fixtures", "recordings", "*.json"))
    )
]


class Recorded:
    """An emulated root with a recording laid out in it.

    The agent's commands are there and say nothing.
    """

    def __init__(self, root, name):
        self.root, self.recording = str(root), recording(name)
        status = self.recording["files_afterwards"].get("status") or ""
        self.release = (
            re.search(r"Release: ([^ ,}]+)", status) or [None, "5.15.0-302.167.6.el9uek.x86_64"]
        )[1]
        self.version = (
            re.search(r"[ {]Version: '(#[^']*)'", status.replace("\n", " "))
            or [None, "#2 SMP Thu May 9 15:59:05 PDT 2024"]
        )[1]
        self.log = os.path.join(self.root, "started")
        for command in (
            "uptrack-upgrade",
            "uptrack-install",
            "uptrack-remove",
            "uptrack-show",
            "uptrack-uname",
        ):
            self.program("usr/sbin/" + command, f"echo {command} \"$@\" >> '{self.log}'")
        self.program("usr/bin/uname", f"echo 'Linux {self.release} {self.version} x86_64'")
        self.program("usr/bin/id", "echo 0")
        if name != "container":
            os.makedirs(self.path("sys/module"))
        self.kernel(self.recording["in_kernel_afterwards"])
        self.write("etc/uptrack/uptrack.conf", CONF % KEY)
        self.state = f"var/cache/uptrack/Linux/x86_64/{self.release}/{self.version}/"
        if name != "fresh":
            os.makedirs(self.path(self.state))
        for file, text in self.recording["files_afterwards"].items():
            if text is not None:
                self.write(self.state + file, text)
        if name == "disabled":
            self.write("etc/uptrack/disable", "")
        if name == "missing_key":
            self.write("etc/uptrack/uptrack.conf", CONF % "INSERT_ACCESS_KEY")
        os.utime(self.path("etc/uptrack/uptrack.conf"), (1, 1))
        times = [
            self.time(file) for file, text in self.recording["files_afterwards"].items() if text
        ]
        self.now = int(max(times or [0])) + 600

    def path(self, name):
        return os.path.join(self.root, name)

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def program(self, name, body):
        self.write(name, f"#!/bin/sh\n{body}\n")
        os.chmod(self.path(name), 0o755)

    def kernel(self, idents):
        shutil.rmtree(self.path("sys/kernel/ksplice"), ignore_errors=True)
        for ident in idents:
            self.write(f"sys/kernel/ksplice/{ident}/stage", "applied\n")

    def time(self, file):
        text = re.search(r"^Time: (.*)$", self.recording["files_afterwards"][file], re.M).group(1)
        return datetime.datetime.strptime(text + " +0000", "%Y-%m-%d %H:%M:%S.%f %z").timestamp()

    def saved_plans(self, idents):
        """The plans to bring back and to take out, as a real host has them with every plan to
        upgrade.
        """
        time = re.search(
            r"^Time: .*$", self.recording["files_afterwards"]["upgrade_plan"], re.M
        ).group()
        for name, verb, order in (("Init", "Install", idents), ("Remove", "Remove", idents[::-1])):
            steps = "".join(
                f"- Command: {verb}\n  EffectiveKernel: "
                "['Linux/x86_64/5.15.0-309.180.4.el9uek.x86_64/#2 SMP Wed May 21\n      01:02:03 "
                f"PDT 2025', 5.15.0-309.180.4.el9uek]\n  ID: {ident}\n  Name: '{NAMES[ident]}'\n"
                for ident in order
            )
            self.write(
                self.state + name.lower() + "_plan",
                "%YAML 1.1\n---\n{} plan format version: '2'\nPlan:{}\n{}{}\n...\n".format(
                    name, " []" if not idents else "", steps, time
                ),
            )

    def probe(self, *how):
        answer = subprocess.run(
            ["sh", "-c", probe.script(*how)],
            env=dict(os.environ, UPTRACK_LAB_ROOT=self.root),
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            check=True,
        ).stdout.decode("utf-8", "surrogateescape")
        assert KEY not in "".join(answer.split())
        return "\n".join(
            f"@now {self.now}" if line.startswith("@now ") else line for line in answer.split("\n")
        )

    def facts(self, *how):
        return facts.facts(self.probe(*how))

    def started(self):
        return self.read("started").split("\n") if os.path.exists(self.log) else []


@pytest.fixture
def lay(tmp_path):
    return lambda name: Recorded(tmp_path / "host", name)


@pytest.mark.parametrize("name", RECORDINGS)
def test_the_honest_verdict(lay, name):
    host = lay(name)
    seen = host.facts()
    wanted = host.recording["honest_verdict"]
    waiting = len((seen["updates"]["available"] or []) + (seen["updates"]["superseded"] or []))
    assert seen["verdict"] in wanted.split("|") or f"{seen['verdict']}:{waiting}" in wanted.split(
        "|"
    ), seen["reason"]
    assert (
        seen["reason"]
        and sorted(update["id"] for update in seen["updates"]["installed"])
        == host.recording["in_kernel_afterwards"]
    )
    assert seen["agent"]["installed"] is True


@pytest.mark.parametrize("name", RECORDINGS)
def test_nothing_known_is_lost_and_nothing_is_made_up(lay, name):
    host = lay(name)
    seen = host.facts()
    status, results = (
        host.recording["files_afterwards"].get(file) for file in ("status", "results")
    )
    for update in seen["updates"]["installed"]:
        if status and "ID: {},".format(update["id"]) in status and update["id"] in NAMES:
            assert update["name"] == NAMES[update["id"]]
    if all(update["name"] for update in seen["updates"]["installed"]):
        assert all(
            cve in seen["cves"]["fixed"]
            for update in seen["updates"]["installed"]
            for cve in update["cves"]
        )
    else:
        assert seen["cves"]["fixed"] is None
    if results is None:
        assert seen["agent"]["last_run"] is None
    else:
        last = seen["agent"]["last_run"]
        assert last["rc"] == int(re.search(r"^  Code: (\d+)", results, re.M).group(1)) and last[
            "at"
        ].startswith("2026-11-26T22:")
        assert (last["what"] is None) == (last["rc"] == 0 or bool(last["failed"]))
    effective = re.search(r"^ClientEffectiveKernel: (.*)$", status or "", re.M)
    if (
        effective
        and effective.group(1) != "null"
        and "ID: " in status
        and seen["verdict"] in ("current", "behind", "blocked")
    ):
        expected = {"ubuntu": "5.15.0-119-generic"}.get(name, effective.group(1) + ".x86_64")
        assert seen["kernel"]["effective"] == expected and seen["kernel"]["effective_package"] in (
            None,
            effective.group(1),
        )


def test_what_stood_in_the_way(lay):
    failed = lay("partial_busy").facts()["agent"]["last_run"]["failed"]
    assert [(one["id"], one["reason"], one["processes"]) for one in failed] == [
        (
            "cccc3333",
            "code_busy",
            [{"name": "mysqld", "pid": 4242}, {"name": "kworker/u8:1", "pid": 77}],
        )
    ]


def test_modules_and_odd_reasons(tmp_path):
    assert Recorded(tmp_path / "a", "partial_nomatch").facts()["agent"]["last_run"]["failed"][0][
        "modules"
    ] == ["xfs"]
    assert (
        Recorded(tmp_path / "b", "partial_weird").facts()["agent"]["last_run"]["failed"][0][
            "reason"
        ]
        == "unknown"
    )


def test_names_that_look_like_something_else(tmp_path):
    names = [
        update["name"]
        for update in Recorded(tmp_path / "a", "odd_names").facts()["updates"]["available"]
    ]
    assert names[3:15] == [
        "# looks like a comment",
        "- dash",
        "2024-01-01",
        "yes",
        "null",
        "~",
        "12345",
        "Trailing colon:",
        "a: b: c",
        (
            "Back\\slash and a long long long long long long long long long long long long long "
            "long long tail \\ end"
        ),
        "Tab\there",
        "Caf\u00e9 \u2013 na\u00efve \u201cfix\u201d f\u00fcr CVE-2024-5555: \u00dcberlauf",
    ]
    seen = Recorded(tmp_path / "b", "odd_ids").facts()
    assert [update["id"] for update in seen["updates"]["available"]] == [
        "1234e567",
        "00112233",
        "0x123456",
        "1e5",
    ]
    assert all(update["name"] for update in seen["updates"]["installed"])


def test_expiry_is_reported_as_expiry(lay):
    seen = lay("expired").facts()
    assert (
        "subscription has expired" in seen["reason"]
        and seen["agent"]["last_run"]["what"] == "the subscription has expired"
    )


def test_what_the_service_says_is_a_warning(lay):
    assert any("end of life" in warning for warning in lay("alert").facts()["warnings"])


@pytest.mark.parametrize("idents", [IDS, IDS[:3], [], IDS + ["zzzz9999"]])
def test_with_the_saved_plans_current_is_what_the_plan_was_made_for(lay, idents):
    host = lay("uptodate")
    host.saved_plans(IDS)
    host.kernel(idents)
    assert (host.facts()["verdict"] == "current") == (idents == IDS)


@pytest.mark.parametrize(
    "name", ["show_removed", "kernel_less", "rebooted", "rebooted_init_off", "removed_all_nonet"]
)
def test_never_current(lay, name):
    """Whatever plans are there, and whoever asked the agent what it has since: not current."""
    host = lay(name)
    host.saved_plans([] if name == "removed_all_nonet" else IDS)
    assert host.facts()["verdict"] == "unknown"


def test_monitoring_does_not_take_current_away(lay):
    """uptrack-show writes the status anew, as another run; it names the effective kernel, since the
    kernel is as it was.
    """
    host = lay("uptodate")
    status = host.recording["files_afterwards"]["status"]
    later = re.sub(
        r"RunUUID: .*",
        "RunUUID: 00000000-0000-0000-0000-000000000000",
        re.sub(r"^Time: .*", "Time: 2026-11-26 22:40:00.000001", status, flags=re.M),
    )
    host.write(host.state + "status", later)
    assert host.facts()["verdict"] == "current"
    host.write(
        host.state + "status",
        re.sub(r"ClientEffectiveKernel: .*", "ClientEffectiveKernel: null", later),
    )
    assert host.facts()["verdict"] == "unknown"
    host.write(
        host.state + "results",
        re.sub(
            r"ClientEffectiveKernel: .*",
            "ClientEffectiveKernel: null",
            host.read(host.state + "results"),
        ),
    )
    assert host.facts()["verdict"] == "unknown"


def test_a_removal_without_the_service_and_then_a_boot(lay):
    """All three plans are empty, the boot had nothing to bring back and ended well: that proves
    nothing.
    """
    host = lay("rebooted_init_off")
    host.saved_plans([])
    assert host.facts()["verdict"] == "unknown"


def test_a_boot_that_brought_back_something_else(lay):
    host = lay("rebooted_init")
    host.kernel(IDS[:3])
    assert host.facts()["verdict"] == "unknown"


def test_a_failure_in_the_second_of_the_plan(lay):
    """Nobody can say which came first, whatever the plan was made for."""
    host = lay("uptodate")
    host.saved_plans(IDS)
    assert host.facts()["verdict"] == "current"
    text = host.read(host.state + "results").replace("  Code: 0", "  Code: 18")
    host.write(host.state + "results", re.sub(r"^(Time: .*)\.\d+$", r"\1", text, flags=re.M))
    assert host.facts()["verdict"] == "unknown"


def test_equal_seconds_are_not_newer(lay):
    """The failure and the plan of one second: the plan is older."""
    host = lay("removed_all_nonet")
    for file in ("status", "results", "upgrade_plan"):
        host.write(
            host.state + file,
            re.sub(r"^(Time: .*)\.\d+$", r"\1", host.read(host.state + file), flags=re.M),
        )
    assert host.facts()["verdict"] == "unknown"


def test_the_files_of_another_kernel(lay):
    host = lay("uptodate")
    for file in ("status", "results"):
        host.write(host.state + file, host.read(host.state + file).replace("302.167.6", "301.1.1"))
    seen = host.facts()
    assert seen["verdict"] == "unknown" and any(
        "another kernel" in warning for warning in seen["warnings"]
    )


def test_after_an_early_failure_the_saved_plans_have_the_names(lay):
    host = lay("bad_key_later")
    seen = host.facts()
    assert (
        seen["cves"]["fixed"] is None
        and [update["name"] for update in seen["updates"]["installed"]] == [None] * 4
    )
    assert host.started() == ["uptrack-show --all --no-network", ""]
    os.unlink(host.log)
    host.saved_plans(IDS)
    seen = host.facts()
    assert seen["cves"]["fixed"] == FIXED and [
        update["name"] for update in seen["updates"]["installed"]
    ] == [NAMES[ident] for ident in IDS]
    assert seen["verdict"] == "unknown" and "access key" in seen["reason"] and host.started() == []
    assert seen["kernel"]["effective"] == "5.15.0-309.180.4.el9uek.x86_64"


def test_or_the_list_of_updates_has_them(lay):
    host = lay("bad_key_later")
    host.write(
        host.state + "packages.yml",
        "%YAML 1.1\n---\nClient: {Version to Parse: 1}\nUpdates:\n"
        + "".join(
            "- Filename: x\n  ID: {}\n  Name: '{}'\n  SHA-1: {}\n  Targets: [a, b]\n".format(
                ident, name, "0" * 40
            )
            for ident, name in sorted(dict(NAMES, eeee5555="Not here").items())
        )
        + "Protocol version: '2'\n...\n",
    )
    assert "eeee5555" not in host.probe()
    seen = host.facts()
    assert seen["cves"]["fixed"] == FIXED and host.started() == []


def test_or_the_agent_says_them(lay):
    host = lay("bad_key_later")
    host.program(
        "usr/sbin/uptrack-show",
        "echo 'Available updates:'; echo None; echo; echo 'Installed updates:'; "
        + "; ".join("echo '[{}] {}'".format(*item) for item in sorted(NAMES.items()))
        + "; echo; echo 'Effective kernel version is 5.15.0-309.180.4.el9uek'",
    )
    seen = host.facts()
    assert (
        seen["cves"]["fixed"] == FIXED
        and seen["kernel"]["effective"] == "5.15.0-309.180.4.el9uek.x86_64"
        and seen["verdict"] == "unknown"
    )


@pytest.mark.parametrize(
    "code, message, words",
    [
        (1, "Ksplice Uptrack could not verify the package list signature.", "signature"),
        (1, "Unexpected error downloading update aaaa1111.", "could not be downloaded"),
        (15, "Ksplice Uptrack client too old: 1.2.12, require 1.2.80", "too old"),
        (99, "Come back on Monday.", "Come back on Monday"),
        (255, "", "crashed"),
    ],
)
def test_failures_of_another_kind(lay, code, message, words):
    host = lay("uptodate")
    text = host.read(host.state + "results")
    text = re.sub(
        r"Result:\n.*(?=Results format)",
        f"Result:\n  Code: {code}\n  Failed: []\n  Message: '{message}'\n  Succeeded: []\n",
        text,
        flags=re.S,
    )
    host.write(host.state + "results", text)
    seen = host.facts()
    assert seen["verdict"] == "unknown" and words in seen["reason"], seen["reason"]


def test_an_update_withdrawn_from_the_list(lay):
    host = lay("uptodate")
    status = host.read(host.state + "status").replace(
        "  - {ID: dddd4444, Name: Improved fix for CVE-2024-1001}\n", ""
    )
    host.write(host.state + "status", status)
    seen = host.facts()
    assert (
        seen["verdict"] == "unknown"
        and "dddd4444" in seen["reason"]
        and "withdrawn" in seen["reason"]
    )
    host.program("usr/sbin/uptrack-upgrade", "echo 'Nothing to be done.'")
    seen = host.facts("always")
    assert seen["verdict"] == "current" and any(
        "dddd4444" in warning and "withdrawn" in warning for warning in seen["warnings"]
    )


@pytest.mark.parametrize("file", ["status", "results", "upgrade_plan"])
@pytest.mark.parametrize("how", ["empty", "cut", "twice", "directory", "gone", "huge", "binary"])
def test_a_damaged_file(lay, file, how):
    host = lay("uptodate")
    path, text = host.path(host.state + file), host.read(host.state + file)
    os.unlink(path)
    if how == "directory":
        os.mkdir(path)
    elif how == "binary":
        with open(path, "wb") as opened:
            opened.write(bytes(range(256)) * 40)
    elif how != "gone":
        host.write(
            host.state + file,
            {
                "empty": "",
                "cut": text[: len(text) // 2],
                "twice": text + text,
                "huge": text.replace("---\n", "---\nFiller:\n" + "- x y z\n" * 300000),
            }[how],
        )
    seen = host.facts()
    assert seen["verdict"] == "unknown" and seen["reason"]
    if how != "gone":
        assert any(file in warning for warning in seen["warnings"]), seen["warnings"]


def test_a_key_that_cannot_be_read_leaves_the_rest(lay):
    host = lay("uptodate")
    host.write(
        host.state + "status",
        host.read(host.state + "status").replace("New client: false", "New client: 'open"),
    )
    seen = host.facts()
    assert (
        "In the agent's file status, New client cannot be read: "
        "it opens a quote that is never closed."
    ) in seen["warnings"]
    assert seen["cves"]["fixed"] == FIXED


@pytest.mark.parametrize(
    "change, line, words",
    [
        (("[Settings]\n", "[Settings]\n  # mine\n"), 9, "indented comment"),
        (("[Auth]", "[DEFAULT]\nsuppress_ip = perhaps\n[Auth]"), 2, "suppress_ip must be"),
        (
            ("autoinstall = no", "hostname_override_file = /etc/none"),
            10,
            "hostname_override_file that is not there",
        ),
        (
            ("autoinstall = no", "hostname_override_file = /etc/empty"),
            10,
            "hostname_override_file that is empty",
        ),
        (("autoinstall = no", "autoinstall ="), 10, "not an empty value"),
        (("https_proxy =", "https_proxy = http://u:a%40b@h:1"), 5, "percent"),
    ],
)
def test_what_the_agent_refuses_in_its_configuration(lay, change, line, words):
    host = lay("uptodate")
    host.write("etc/empty", "")
    host.write("etc/uptrack/uptrack.conf", (CONF % KEY).replace(*change))
    os.utime(host.path("etc/uptrack/uptrack.conf"), (1, 1))
    seen = host.facts()
    assert seen["verdict"] == "current" and len(seen["warnings"]) == 1
    assert f"line {line} " in seen["warnings"][0] and words in seen["warnings"][0]
    # Changed since the agent ran: nothing says that it can read it.
    os.utime(host.path("etc/uptrack/uptrack.conf"))
    os.utime(host.path(host.state + "status"), (1, 1))
    seen = host.facts()
    assert seen["verdict"] == "unknown" and words in seen["reason"]


@pytest.mark.parametrize(
    "change, warned",
    [
        (("autoinstall = no", "autoinstall = no\nautoinstall = yes"), True),
        (("[Settings]", "[Auth]\n[Settings]"), True),
        (("autoinstall = no", "autoinstall = no ; not here"), True),
        (("autoinstall = no", "rem not here"), True),
        (("autoinstall = no", "their_key = 50%"), False),
        (("autoinstall = no", "their_key ="), False),
    ],
)
def test_what_the_agent_reads_in_its_configuration(lay, change, warned):
    host = lay("uptodate")
    host.write("etc/uptrack/uptrack.conf", (CONF % KEY).replace(*change))
    seen = host.facts()
    assert seen["verdict"] == "current" and bool(seen["warnings"]) == warned


def test_a_healthy_host_starts_nothing(lay):
    host = lay("uptodate")
    host.saved_plans(IDS)
    host.facts("stale", 10**9)
    assert host.started() == []


def test_a_key_in_the_log_stays_on_the_host(lay):
    answer = lay("expired").probe()
    assert (
        "UptrackLog" not in answer
        and "dXBkYXRlLXJlcG9zaXRvcnk" not in answer
        and "MjAyNi0xMS0yNi" not in answer
    )
    assert "Hostname" not in answer and "UUID: f0bda2c3" not in answer.replace("RunUUID", "")


def test_what_does_not_fit_says_nothing_of_what_waits(lay):
    seen = lay("rebooted").facts()
    assert seen["updates"]["available"] is None and seen["cves"]["open"] is None


def test_newest_of_odd_releases():
    assert (
        facts.newest(["5.4.9-1", "5.4.10-1", "5.4.2-1", "0-rescue-" + "1" * 9000, "x"])
        == "5.4.10-1"
    )
    assert facts.newest(["5." + "1" * 9000, "5.2"]).startswith("5.111")


@pytest.mark.parametrize(
    "line",
    [
        f"k = x{' ' * 200000}y",
        "autoinstall = no" + "\t" * 200000 + "; x",
        "accesskey = " + "0123456789abcdef" * 10000,
        f"https_proxy = http://{'u:' * 60000}@x",
        f"{' ' * 200000}k = y",
        "x" * 200000,
    ],
    ids=["blanks", "tabs", "key", "proxy", "indented", "word"],
)
def test_a_configuration_with_an_unknown_line(lay, line):
    """The probe's own reader is bound too. (A hang would be found by the limit.)"""
    host = lay("uptodate")
    host.write("etc/uptrack/uptrack.conf", CONF % KEY + line + "\n")
    os.utime(host.path("etc/uptrack/uptrack.conf"), (1, 1))
    answer = subprocess.run(
        ["sh", "-c", probe.script()],
        env=dict(os.environ, UPTRACK_LAB_ROOT=host.root),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=60,
    ).stdout.decode("utf-8", "surrogateescape")
    assert "\n@end" in answer and "0123456789abcdef" * 2 not in answer


def test_a_file_of_a_hundred_megabytes(lay):
    host = lay("uptodate")
    text = host.read(host.state + "results")
    with open(host.path(host.state + "results"), "w", encoding="utf-8") as file:
        file.write(text.replace("...\n", "UptrackLog: |\n"))
        for _count in range(1000):
            file.write("  a line of the log that is as long as a line may be in there\n" * 1600)
        file.write("...\n")
    seen = host.facts()
    assert seen["verdict"] in facts.VERDICTS and seen["reason"]
