# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The probe under every shell it may meet, what it leaves on the host, and what it starts."""

import glob
import json
import os
import shutil
import subprocess
import time

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils import host_id
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import facts, probe
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import lease, ledger

LAB = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "..", "extensions", "lab", "agent"
)
KEY = "0123456789abcdef" * 4
SHELLS = {
    "sh": ["sh"],
    "dash": ["dash"],
    "bash": ["bash"],
    "bash-posix": ["bash", "--posix"],
    "busybox": ["busybox", "sh"],
    "ksh": ["ksh"],
    "mksh": ["mksh"],
}
# What a survey may meet, each as a scenario of the emulated agent.
SCENARIOS = {
    "behind": {},
    "current": {"installed": ["aaaaaaa1", "bbbbbbb2", "ccccccc3", "ddddddd4"]},
    "half": {"installed": ["aaaaaaa1", "bbbbbbb2"]},
    "module layout": {"installed": ["aaaaaaa1"], "sysfs_layout": "module"},
    "never asked": {"checked": None},
    "no key": {"access_key": "missing", "checked": None},
    "container": {"container": True},
    "disabled": {"disabled": True, "installed": ["aaaaaaa1"]},
    "no agent": {"agent": False},
    "unsupported": {"unsupported": True},
    "odd version": {
        "kernel": {
            "release": "5.15.0-1.el9uek.x86_64",
            "version": "#2 SMP \\ * $(date) 'x' Wed",
            "machine": "x86_64",
        }
    },
    "names": {
        "updates": [
            {
                "id": "aaaaaaa1",
                "name": "@end {a: [b]} 'q' \"r\" \\ %s $HOME `id` \u00e9\u2514 " + "long " * 40,
            }
        ]
    },
}
VERDICTS = {
    "behind": "behind",
    "current": "current",
    "half": "behind",
    "module layout": "behind",
    "never asked": "unknown",
    "no key": "unknown",
    "container": "unsupported",
    "disabled": "disabled",
    "no agent": "absent",
    "unsupported": "unsupported",
    "odd version": "behind",
    "names": "behind",
}


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_every_shell_gives_the_same_answer(make_host, name):
    host = make_host(**SCENARIOS[name])
    answers = {}
    for shell, command in SHELLS.items():
        if shutil.which(command[0]):
            answer = host.probe("never", shell=command)
            answers[shell] = [
                line for line in answer.split("\n") if not line.startswith(("@now", "@uptime"))
            ]
    assert len(answers) >= 2, "this machine has no second shell to compare with"
    assert all(answer == answers["sh"] for answer in answers.values()), [
        shell for shell in answers if answers[shell] != answers["sh"]
    ]
    assert facts.facts("\n".join(answers["sh"]) + "\n@now 1800000000\n")["verdict"] is not None
    assert host.facts()["verdict"] == VERDICTS[name]


@pytest.mark.parametrize(
    "path", sorted(glob.glob(os.path.join(LAB, "scenarios", "*.json"))), ids=os.path.basename
)
def test_every_shell_gives_the_same_answer_in_every_scenario_of_the_lab(make_host, path):
    with open(path, encoding="utf-8") as file:
        host = make_host(**json.load(file))
    answers = {
        shell: [
            line
            for line in host.probe("never", shell=command).split("\n")
            if not line.startswith(("@now", "@uptime"))
        ]
        for shell, command in SHELLS.items()
        if shutil.which(command[0])
    }
    assert len(answers) >= 2 and all(answer == answers["sh"] for answer in answers.values())
    seen = host.facts()
    assert seen["verdict"] in facts.VERDICTS and seen["reason"]
    if seen["agent"]["installed"] and seen["verdict"] != "unsupported":
        assert sorted(one["id"] for one in seen["updates"]["installed"]) == host.in_kernel()


def test_the_script_is_plain_posix_shell(tmp_path):
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    path = tmp_path / "probe.sh"
    path.write_text(probe.script())
    done = subprocess.run(
        ["shellcheck", "--shell=sh", "--severity=warning", str(path)],
        stdout=subprocess.PIPE,
        universal_newlines=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_an_idle_host_starts_no_agent(make_host):
    host = make_host(installed=["aaaaaaa1", "bbbbbbb2", "ccccccc3", "ddddddd4"])
    log = host.path("var/log/uptrack.log")
    before = host.read("var/log/uptrack.log") if os.path.exists(log) else ""
    assert host.facts("stale", 3600)["verdict"] == "current"
    assert (host.read("var/log/uptrack.log") if os.path.exists(log) else "") == before


def test_an_idle_host_starts_few_processes(make_host, tmp_path):
    """Every command in the search path is replaced by one that writes its name down and goes on to
    the real one.
    """
    host = make_host(installed=["aaaaaaa1", "bbbbbbb2", "ccccccc3", "ddddddd4"])
    spies, log = tmp_path / "spies", tmp_path / "log"
    spies.mkdir()
    for name in (
        "awk",
        "date",
        "grep",
        "sed",
        "cat",
        "tr",
        "cut",
        "head",
        "ls",
        "stat",
        "find",
        "expr",
        "python3",
        "env",
        "test",
    ):
        real = shutil.which(name)
        if real:
            (spies / name).write_text(f"#!/bin/sh\necho {name} >> '{log}'\nexec '{real}' \"$@\"\n")
            (spies / name).chmod(0o755)
    environment = dict(
        os.environ, UPTRACK_LAB_ROOT=host.root, PATH="{}:{}".format(spies, os.environ["PATH"])
    )
    answer = subprocess.run(
        ["sh", "-c", probe.script("stale", 3600)],
        env=environment,
        stdout=subprocess.PIPE,
        universal_newlines=True,
        check=True,
    ).stdout
    assert facts.facts(answer)["verdict"] == "current"
    assert sorted(log.read_text().split()) == ["awk", "date", "date", "ls"]


def test_a_stale_host_is_asked_once(make_host):
    host = make_host(checked="-7200s")
    seen = host.facts("stale", 3600)
    assert seen["verdict"] == "behind" and seen["checked_age"] < 60
    assert host.facts("never")["checked_age"] < 60
    log = host.read("var/log/uptrack.log")
    assert log.count("run started") == 1, log


def test_after_a_reboot_the_kernel_is_believed_and_not_the_files(make_host):
    host = make_host(installed=["aaaaaaa1", "bbbbbbb2"])
    for ident in ("aaaaaaa1", "bbbbbbb2"):
        shutil.rmtree(host.path("sys/kernel/ksplice/" + ident))
    seen = host.facts()
    assert seen["verdict"] == "unknown" and "do not match" in seen["reason"]
    assert (
        seen["updates"]["installed"] == []
        and seen["kernel"]["effective"] == seen["kernel"]["booted"]
    )
    assert host.facts("stale", 3600)["verdict"] == "behind"


def test_an_update_without_a_record_is_seen(make_host):
    host = make_host(installed=["aaaaaaa1"])
    os.makedirs(host.path("sys/kernel/ksplice/zzzzzzz9"))
    host.write("sys/kernel/ksplice/zzzzzzz9/stage", "applied\n")
    seen = host.facts()
    assert [one["id"] for one in seen["updates"]["installed"]] == ["aaaaaaa1", "zzzzzzz9"]
    assert seen["updates"]["installed"][1]["name"] is None
    assert seen["kernel"]["effective"] is None and seen["verdict"] == "unknown"


def test_a_reversed_update_is_not_in_the_kernel(make_host):
    host = make_host(installed=["aaaaaaa1", "bbbbbbb2"])
    host.write("sys/kernel/ksplice/bbbbbbb2/stage", "reversed\n")
    assert [one["id"] for one in host.facts()["updates"]["installed"]] == ["aaaaaaa1"]


@pytest.mark.parametrize(
    "proxy, password",
    [
        ("http://patching:s3cret-pass@proxy.example.com:3128", "s3cret-pass"),
        ("patching:p@ss:w/rd@proxy:3128", "p@ss:w/rd"),
        ("http://u:[x]^y\\z.*+?(){}|$@proxy:1", "[x]^y\\z.*+?(){}|$"),
        (
            "http://u:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-cccccccccccccccccccc@proxy:1",
            "bbbbbbbbbbbbbbbb",
        ),
    ],
)
def test_no_secret_leaves_the_host(make_host, proxy, password):
    host = make_host(network="proxy", config={"Network": {"https_proxy": proxy.replace("%", "%%")}})
    for how in ("never", "always"):
        for shell in SHELLS.values():
            if shutil.which(shell[0]):
                answer = host.probe(how, shell=shell)
                assert KEY not in answer
                assert "".join(password.split()) not in "".join(answer.split())
                assert "@end" in answer


def test_a_banner_and_a_cut_answer(make_host):
    answer = make_host().probe()
    assert facts.facts("Welcome!\n*** authorized use only ***\n" + answer)["verdict"] == "behind"
    assert facts.facts(answer[: len(answer) // 2])["verdict"] == "unknown"
    assert facts.facts("")["verdict"] == "unknown"


def test_facts_always_have_the_same_keys(make_host):
    def shape(value):
        return (
            {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else None
        )

    def top(value):
        return (
            sorted(value),
            sorted(value["kernel"]),
            sorted(value["updates"]),
            sorted(value["cves"]),
            sorted(value["agent"]),
        )

    expected = top(make_host().facts())
    for scenario in SCENARIOS.values():
        assert top(make_host(**scenario).facts()) == expected
    assert top(facts.facts("")) == expected


def test_what_installs_behind_a_rollouts_back_is_reported(make_host):
    assert make_host().facts()["self_update"] == []
    config = {"Settings": {"autoinstall": True, "upgrade_on_reboot": True}}
    assert make_host(config=config).facts()["self_update"] == [
        "cron with autoinstall",
        "upgrade_on_reboot",
    ]
    host = make_host()
    os.makedirs(host.path("etc/cron.daily"))
    host.write(
        "etc/cron.daily/uptrack-updates", "#!/bin/sh\nyum -y install uptrack-updates-$(uname -r)\n"
    )
    host.write("etc/cron.d/uptrack", "# hourly\n7 * * * * root /usr/sbin/uptrack-upgrade -q -y\n")
    assert host.facts()["self_update"] == ["cron", "/etc/cron.daily/uptrack-updates"]


def test_an_update_lost_since_the_plan_was_made_is_not_current(make_host):
    """uptrack-show lists the kernel of now; the plan is of before."""
    host = make_host(installed=["aaaaaaa1", "bbbbbbb2", "ccccccc3", "ddddddd4"])
    assert host.facts()["verdict"] == "current"
    shutil.rmtree(host.path("sys/kernel/ksplice/ddddddd4"))
    assert host.facts()["verdict"] == "unknown"
    assert host.facts("stale", 3600)["verdict"] == "behind"


def test_a_refresh_that_cannot_be_done_is_not_current(make_host):
    host = make_host(
        installed=["aaaaaaa1", "bbbbbbb2", "ccccccc3", "ddddddd4"], client={"enhanced": True}
    )
    os.unlink(host.path("usr/sbin/uptrack-upgrade"))
    assert host.facts("always")["verdict"] == "unknown"


@pytest.mark.parametrize("order", [["old", "xxx"], ["xxx", "old"]])
def test_a_plan_that_stopped_between_taking_out_and_putting_back(make_host, order):
    """xxx is taken out to get at old, and will not go in again: a fix is lost, and that is told."""
    named = {
        "old": {"id": "old00002", "name": "CVE-2026-5: Old."},
        "xxx": {"id": "xxxxxxx3", "name": "CVE-2026-7777: Lost."},
    }
    updates = (
        [{"id": "aaaaaaa1", "name": "A."}]
        + [named[name] for name in order]
        + [{"id": "new00004", "name": "CVE-2026-5: New.", "supersedes": ["old00002"]}]
    )
    host = make_host(
        updates=updates,
        installed=[one["id"] for one in updates[:3]],
        failures=[{"id": "xxxxxxx3", "abort": "no_match"}],
    )
    result = host.apply(retries=0)
    if "xxxxxxx3" in result["removed"]:
        assert (
            result["failed"]
            and "xxxxxxx3" in result["remaining"]
            and "CVE-2026-7777" in result["cves_open"]
        )
        assert result["verdict"] == "blocked" == host.facts()["verdict"]
    else:
        assert "xxxxxxx3" in host.in_kernel() and not result["failed"]


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "http_proxy"])
def test_the_password_of_a_proxy_in_the_environment(make_host, monkeypatch, variable):
    password = "s3cr%3Dt-long-pass-word-tail-that-makes-the-agent-wrap-its-line"
    monkeypatch.setenv(
        variable, f"http://patching-user-with-a-long-name:{password}@proxy.example.com:3128"
    )
    host = make_host(network="proxy")
    shown = repr(host.apply(retries=0)) + host.probe("always")
    flat = "".join(shown.replace("\\n", "").split())
    assert password not in flat and "pass-word-tail" not in flat


def test_the_password_of_a_proxy_with_a_percent_sign(make_host):
    password = "s3cr%3Dt-long-pass-word-tail-that-makes-the-agent-wrap-its-line"
    host = make_host(
        network="proxy",
        config={
            "Network": {"https_proxy": "http://u:{}@proxy:3128".format(password.replace("%", "%%"))}
        },
    )
    flat = "".join(
        (
            host.probe("always")
            + host.probe("never")
            + repr(host.apply(retries=0)).replace("\\n", "")
        ).split()
    )
    assert (
        password not in flat
        and "pass-word-tail" not in flat
        and password.replace("%", "%%") not in flat
    )


def test_which_machine_it_is(make_host):
    host, other = make_host(), make_host()
    ident = host.facts()["host_id"]
    assert len(ident) == 16 and ident == host.facts()["host_id"] != other.facts()["host_id"]
    # The module that discovers groups comes to the same.
    assert host_id.read(host.root) == ident
    # The machine ID itself stays on the host, in every fact.
    with open(host.path("etc/machine-id")) as file:
        machine = file.read().strip()
    assert machine not in json.dumps(host.facts())
    # A clone has the machine's ID and a boot of its own, a container its own ID and the boot of its
    # host.
    with open(other.path("etc/machine-id"), "w") as file:
        file.write(machine + "\n")
    assert other.facts()["host_id"] not in (ident, None)
    for text in ("", "uninitialized\n", "0" * 31, "x" * 1000):
        os.unlink(host.path("etc/machine-id"))
        with open(host.path("etc/machine-id"), "w") as file:
            file.write(text)
        assert host.facts()["host_id"] is None
    os.unlink(host.path("etc/machine-id"))
    assert host.facts()["host_id"] is None


@pytest.mark.parametrize("jump", [-7200, 7200])
def test_a_lease_ages_by_the_clock_that_cannot_be_set(make_host, jump):
    """Whoever sets the wall clock makes a lease neither older nor younger, as long as the host is
    not booted.
    """
    host = make_host()
    book = ledger.Ledger(host.root)
    wish = {
        "token": "t",
        "run": "r",
        "host": "h",
        "member": "h",
        "groups": [{"name": "g", "members": ["h"], "max_unavailable": 1}],
        "seconds": 600,
        "reason": "x",
        "unreachable": [],
    }
    assert book.change(lambda found, now, busy: lease.acquire(found, wish, now, busy))["granted"]
    entry = book.read()
    entry["leases"][0]["renewed_at"] += jump
    with book.locked():
        book.write(entry)
    seen = host.facts()["lease"]
    assert seen["age"] <= 60 and seen["stale"] is False


def test_a_plan_from_the_future_is_asked_for_again(make_host):
    host = make_host()
    (plan,) = glob.glob(host.path("var/cache/uptrack/Linux/*/*/*/upgrade_plan"))
    later = time.time() + 86400
    os.utime(plan, (later, later))
    host.facts("stale", 3600)
    assert host.read("var/log/uptrack.log").count("run started") == 1


RAW = (
    "  sl  local_address rem_address   st\n  18: 00000000:%s 00000000:0000 07 0:0 0:0 0     "
    "0        0 4711 2 0 0\n"
)


@pytest.mark.parametrize(
    "path, text, found",
    [
        ("etc/keepalived/keepalived.conf", "", ["keepalived"]),
        ("proc/40/comm", "keepalived\n", ["keepalived"]),
        ("proc/40/comm", "keepalived_expo\n", []),
        ("proc/40/comm", "keepalived_vrrp\n", ["keepalived"]),
        ("proc/40/cmdline", "keepalived\0-f\0x\0", ["keepalived"]),
        ("proc/40/cmdline", "/usr/sbin/keepalived\0-f\0x\0", ["keepalived"]),
        ("proc/40/cmdline", "/opt/keepalived\0", ["keepalived"]),
        ("proc/40/cmdline", "tail\0/var/log/keepalived\0", []),
        ("proc/40/cmdline", "/usr/bin/keepalived_exporter\0", []),
        ("proc/net/raw", RAW % "0070", ["keepalived"]),
        ("proc/net/raw6", RAW % "0070", ["keepalived"]),
        ("proc/net/raw", RAW % "0001", []),
        ("proc/40/comm", "pacemaker-remot\n", ["pacemaker"]),
        ("proc/40/comm", "pacemaker_remot\n", ["pacemaker"]),
        ("etc/corosync/corosync.conf", "", ["pacemaker"]),
        ("etc/pacemaker/authkey", "secret", ["pacemaker"]),
        ("etc/keepalived/other.conf", "", []),
    ],
)
def test_what_may_make_a_host_a_member_of_a_group(make_host, path, text, found):
    """Also a keepalived in a container, of which there is nothing but its process, and a remote
    node.
    """
    host = make_host()
    for name, words in (("proc/39/comm", ""), ("proc/41/comm", "sh\n"), (path, text)):
        os.makedirs(os.path.dirname(host.path(name)), exist_ok=True)
        host.write(name, words)
    for shell in SHELLS.values():
        if shutil.which(shell[0]):
            assert facts.facts(host.probe("never", shell=shell))["redundancy"] == found
    assert "secret" not in host.probe("never")


@pytest.mark.parametrize(
    "path, target, found",
    [
        ("proc/40/exe", "/usr/sbin/keepalived", ["keepalived"]),
        ("proc/40/exe", "/opt/ha/sbin/keepalived (deleted)", ["keepalived"]),
        ("proc/40/exe", "/usr/bin/keepalived_exporter", []),
        ("proc/40/exe", "/usr/sbin/notkeepalived", []),
        (
            "etc/systemd/system/multi-user.target.wants/keepalived.service",
            "/usr/lib/systemd/system/keepalived.service",
            ["keepalived"],
        ),
        (
            "etc/systemd/system/multi-user.target.wants/pacemaker_remote.service",
            "/usr/lib/systemd/system/pacemaker_remote.service",
            ["pacemaker"],
        ),
    ],
)
def test_links_that_may_make_a_host_a_member_of_a_group(make_host, path, target, found):
    """Of a keepalived whose configuration gives its processes names (process_name,
    vrrp_process_name), and of what would run at the next boot with a configuration that is
    elsewhere.
    """
    host = make_host()
    for name, words in (("proc/40/comm", "ha_vrrp\n"), (os.path.dirname(path) + "/.", None)):
        os.makedirs(os.path.dirname(host.path(name)), exist_ok=True)
        if words:
            host.write(name, words)
    os.symlink(target, host.path(path))
    for shell in SHELLS.values():
        if shutil.which(shell[0]):
            assert facts.facts(host.probe("never", shell=shell))["redundancy"] == found


def test_since_when_the_host_has_what_waits(make_host):
    host = make_host(installed=["aaaaaaa1"])
    host.agent().run("uptrack-upgrade", "-n")
    [folder] = glob.glob(host.path("var/cache/uptrack/Linux/x86_64/*/*/updates"))
    now, days = int(time.time()), {"bbbbbbb2": 40, "ccccccc3": 2}
    for ident, age in days.items():
        os.utime(f"{folder}/ksplice-{ident}", (now, now - age * 86400))
    shutil.rmtree(f"{folder}/ksplice-ddddddd4")
    # What is on its way to the disk, and what nobody unpacked, have no time.
    os.mkdir(f"{folder}/ksplice-ddddddd4.incomplete")
    seen = {one["id"]: one for one in host.facts()["updates"]["available"]}
    assert list(seen) == ["bbbbbbb2", "ccccccc3", "ddddddd4"]
    for ident, age in days.items():
        assert seen[ident]["age"] // 86400 == age
        assert facts.iso(now - age * 86400) == seen[ident]["first_seen"]
    assert seen["ddddddd4"]["age"] is seen["ddddddd4"]["first_seen"] is None


def test_by_which_uuid_the_service_knows_the_machine(make_host):
    host = make_host()
    host.agent().run("uptrack-upgrade", "-n")
    uuid = host.read("var/lib/uptrack/uuid").strip()
    assert host.facts()["agent"]["uuid"] == uuid and len(uuid) == 36
    host.write("var/lib/uptrack/uuid", "not one\n")
    assert host.facts()["agent"]["uuid"] is None
    host = make_host(config={"Auth": {"use_hw_uuid": True}})
    host.agent().run("uptrack-upgrade", "-n")
    assert host.facts()["agent"]["uuid"] is None


def image(text):
    """The beginning of a kernel's image as the boot protocol of x86 has it."""
    head = bytearray(b"\0" * 0x3000)
    head[0x1FE:0x208] = b"\x55\xaa\0\0HdrS\x0f\x02"
    head[0x20E:0x210] = (0x2600).to_bytes(2, "little")
    head[0x2800 : 0x2800 + len(text)] = text
    return bytes(head)


def test_the_build_of_the_newest_kernel_on_disk_is_read_from_its_image(make_host):
    host = make_host()
    new, build = "5.15.0-999.1.el9uek.x86_64", "#2 SMP Wed May 22 20:24:12 PDT 2026"
    os.makedirs(host.path("boot"), exist_ok=True)
    path = host.path(f"boot/vmlinuz-{new}")

    def seen(content, kernels=True):
        with open(path, "wb") as file:
            file.write(content)
        kernel = host.facts("never", 0, 900, kernels)["kernel"]
        assert kernel["on_disk"] == new
        return kernel["on_disk_version"]

    good = image(f"{new} (mockbuild@host (x)) {build}".encode())
    assert seen(good) == build
    assert seen(good, kernels=False) is None
    if shutil.which("file"):
        said = subprocess.run(["file", "-b", path], stdout=subprocess.PIPE, check=True).stdout
        assert new.encode() in said and build.encode() in said
    for other in (b"", b"HdrS", image(b"@end"), image(f"other (x) {build}".encode()), good[:0x300]):
        assert seen(other) is None
