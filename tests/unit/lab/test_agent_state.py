# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""What a run leaves on the disk: state files, log, lock."""

import datetime
import fcntl
import json
import os
import re
import stat
import time

import emulated_host
import yaml
from agent_host import BOOTED, ENABLE, FIRST, KERNEL, RELEASE, SECOND, VERSION, line

IDENTITY = {
    "Sysname": "Linux",
    "Architecture": "x86_64",
    "UserArchitecture": "x86_64",
    "Release": RELEASE,
    "Version": VERSION,
}


def load(host, name):
    text = host.read(name if "/" in name else host.cache + "/" + name)
    assert text.startswith("%YAML 1.1\n---") and text.endswith("\n...\n")
    return yaml.safe_load(text)


def mode(host, name):
    return stat.S_IMODE(os.stat(host.path(name)).st_mode)


def test_effective_kernel(make_host):
    host = make_host()
    host.run("upgrade", "-y")
    assert load(host, "var/lib/uptrack/effective_kernel") == {
        "EffectiveKernel": {
            "Sysname": "Linux",
            "Architecture": "x86_64",
            "Release": SECOND["effective"]["release"],
            "Version": SECOND["effective"]["version"],
            "PackageVersion": "5.15.0-304.171.4.el9uek",
        },
        "OriginalKernel": {
            "Sysname": "Linux",
            "Release": RELEASE,
            "Version": VERSION,
            "UserArchitecture": "x86_64",
        },
        "Installed": ["aaaa1111", "bbbb2222", "cccc3333"],
    }
    assert mode(host, "var/lib/uptrack/effective_kernel") == 0o644


def test_package_list(make_host):
    host = make_host(
        updates=[ENABLE, dict(FIRST, modules=["sch_qfq"])], alert="Soon.", desupported=True
    )
    host.run("upgrade", "-n")
    content = load(host, "packages.yml")
    assert content["Protocol version"] == "2"
    assert content["Kernel"] == {"Release": RELEASE, "Version": VERSION, "Architecture": "x86_64"}
    assert (content["Alert"], content["Desupported"]) == ("Soon.", True)
    assert [
        (one["ID"], one["Name"], one["Filename"], one["Targets"]) for one in content["Updates"]
    ] == [
        ("aaaa1111", ENABLE["name"], "ksplice-aaaa1111.tar.gz", ["vmlinux"]),
        ("bbbb2222", FIRST["name"], "ksplice-bbbb2222.tar.gz", ["sch_qfq"]),
    ]


def test_plans(make_host):
    host = make_host()
    host.run("install", "-y", "bbbb2222")
    upgrade, init, remove = (load(host, name + "_plan") for name in ("upgrade", "init", "remove"))
    effective = [
        [
            "Linux/x86_64/{}/{}".format(one["effective"]["release"], one["effective"]["version"]),
            one["effective"]["release"][: -len(".x86_64")],
        ]
        for one in (FIRST, SECOND)
    ]
    booted = [f"Linux/x86_64/{RELEASE}/{VERSION}", RELEASE[: -len(".x86_64")]]

    def item(command, update, kernel):
        return {
            "Command": command,
            "ID": update["id"],
            "Name": update["name"],
            "EffectiveKernel": kernel,
        }

    assert upgrade["Plan"] == [item("Install", SECOND, effective[1])]
    assert init["Plan"] == [item("Install", ENABLE, booted), item("Install", FIRST, effective[0])]
    assert remove["Plan"] == [item("Remove", FIRST, booted), item("Remove", ENABLE, booted)]
    assert "Upgrade plan format version" in upgrade
    assert isinstance(upgrade["Time"], datetime.datetime)


def test_a_run_that_failed_on_an_update_leaves_the_plan_of_what_waits(make_host):
    host = make_host(failures=[{"id": "cccc3333", "abort": "unexpected"}])
    assert host.run("upgrade", "-y")[0] == 1
    for name, ids in (
        ("upgrade", ["cccc3333"]),
        ("init", ["aaaa1111", "bbbb2222"]),
        ("remove", ["bbbb2222", "aaaa1111"]),
    ):
        assert [one["ID"] for one in load(host, name + "_plan")["Plan"]] == ids
        assert (
            load(host, name + "_plan")["Time"] > load(host, "results")["Time"]
        )  # the last thing it does
    assert host.run("show", "--available")[1].startswith(
        "Available updates:\n" + line(SECOND) + "\n"
    )


def test_status_and_results(make_host):
    host = make_host()
    before = datetime.datetime.utcnow()
    host.run("upgrade", "-y")
    status, results = load(host, "status"), load(host, "results")
    assert status["Status format version"] == "2"
    assert status["Kernel"] == results["Kernel"] == IDENTITY
    assert [one["ID"] for one in status["Updates"]["Installed"]] == [
        "aaaa1111",
        "bbbb2222",
        "cccc3333",
    ]
    assert (
        status["ClientEffectiveKernel"]
        == results["ClientEffectiveKernel"]
        == "5.15.0-304.171.4.el9uek"
    )
    assert (status["New client"], status["Client"]["Hostname"]) == (False, "web1")
    assert before <= status["Time"] <= datetime.datetime.utcnow()
    assert (results["Result"]["Code"], results["Result"]["Failed"]) == (0, [])
    assert [(one["Command"], one["ID"]) for one in results["Result"]["Succeeded"]] == [
        ("Install", "bbbb2222"),
        ("Install", "cccc3333"),
    ]
    # The shape other tools look for: `Installed:`, then items that end in a brace.
    assert re.search(
        r"^  Installed:\n  - \{ID: aaaa1111, Name: [^}]*\}$",
        host.read(host.cache + "/status"),
        re.M,
    )


def test_result_code_survives_a_silent_run(make_host):
    host = make_host(network="dns")
    assert host.run("upgrade", "--cron") == (10, "")
    result = load(host, "results")["Result"]
    assert result["Code"] == 10
    assert result["Message"].startswith("Could not connect")
    assert result["Message"].endswith(
        "\n\n(Network error: Could not resolve host: updates.ksplice.com)"
    )


def test_checked_is_when_the_scenario_says(make_host):
    host = make_host(checked="2026-11-22T02:40:00.5Z")
    moment = datetime.datetime(2026, 11, 22, 2, 40, 0, 500000)
    for name in ("upgrade_plan", "status", "results"):
        assert load(host, name)["Time"] == moment
        assert (
            os.stat(host.path(host.cache + "/" + name)).st_mtime
            == moment.replace(tzinfo=datetime.timezone.utc).timestamp()
        )
    unsupported = make_host(unsupported=True, updates=[], installed=[])
    assert load(unsupported, "results")["Result"]["Code"] == 13
    assert unsupported.run("show")[0] == 1


def test_every_file_is_yaml_others_can_read(make_host):
    odd = {
        "id": "dddd4444",
        "name": 'Caf\u00e9: it\'s "odd", [really] {so}: # yes ' + "x " * 60 + "- end",
    }
    host = make_host(
        updates=[ENABLE, FIRST, SECOND, odd],
        failures=[{"id": "dddd4444", "abort": "code_busy", "processes": [["a: b", 1]]}],
    )
    assert host.run("upgrade", "-y")[0] == 1
    read = 0
    for folder, dummy, names in os.walk(host.path("var/cache/uptrack")):
        for name in names:
            if name in (
                "status",
                "results",
                "packages.yml",
                "upgrade_plan",
                "init_plan",
                "remove_plan",
            ):
                with open(os.path.join(folder, name), encoding="utf-8") as stream:
                    assert isinstance(yaml.safe_load(stream), dict)
                read += 1
    assert read == 7
    assert load(host, "packages.yml")["Updates"][3]["Name"] == odd["name"]
    assert load(host, "results")["Result"]["Failed"][0]["Name"] == odd["name"]


def test_modes(make_host):
    host = make_host()
    host.run("upgrade", "-y")
    assert mode(host, "etc/uptrack") == 0o750
    assert mode(host, "etc/uptrack/uptrack.conf") == mode(host, "var/log/uptrack.log") == 0o640
    assert (
        mode(host, "sys/kernel/ksplice/aaaa1111/stage")
        == mode(host, "sys/kernel/ksplice/bbbb2222/stage")
        == 0o600
    )
    assert mode(host, host.cache + "/status") == mode(host, host.cache + "/results") == 0o644
    assert mode(host, "var/lib/uptrack/uuid") == 0o600


def test_serial_and_uuid(make_host):
    host = make_host(checked=None)
    assert host.run("upgrade", "-n")[0] == 0
    serial, uuid = int(host.read("var/lib/uptrack/serial")), host.read("var/lib/uptrack/uuid")
    assert (serial, len(uuid)) == (3, 37)
    host.run("show")
    assert int(host.read("var/lib/uptrack/serial")) == serial  # a show asks nobody
    host.change(regenerate_uuid=True)
    host.run("upgrade", "-n")
    assert int(host.read("var/lib/uptrack/serial")) == serial + 3
    assert host.read("var/lib/uptrack/uuid") != uuid
    uuid = host.read("var/lib/uptrack/uuid")
    host.write("etc/uptrack/uptrack.conf", "[Auth]\naccesskey = x\nuse_hw_uuid = yes\n")
    host.run("upgrade", "-n")
    assert host.read("var/lib/uptrack/uuid") == uuid


def test_a_look_is_not_free_of_effects(make_host):
    host = make_host(checked=None)
    host.run("upgrade", "-n")
    assert os.path.exists(host.path(host.cache + "/updates/ksplice-cccc3333/details"))
    assert not [
        name
        for name in os.listdir(host.path(host.cache + "/updates"))
        if name.endswith(".incomplete")
    ]


def test_expired_keeps_what_the_service_said(make_host):
    host = make_host(access_key="expired", expired_message="It is over.")
    host.run("upgrade", "-n")
    assert host.read(host.cache + "/packages.yml.expired") == "It is over.\n"
    host.change(access_key="ok")
    host.run("upgrade", "-n")
    assert os.path.exists(host.path(host.cache + "/packages.yml.expired")) is False


def test_list_is_fetched_only_when_it_changed(make_host):
    host = make_host()
    host.run("upgrade", "-n")
    path = host.path(host.cache + "/packages.yml")
    before = os.stat(path).st_ino, os.stat(path).st_mtime
    host.run("upgrade", "-n")
    assert (os.stat(path).st_ino, os.stat(path).st_mtime) == before
    host.change(updates=[ENABLE, FIRST])
    host.run("upgrade", "-n")
    assert [one["ID"] for one in load(host, "packages.yml")["Updates"]] == ["aaaa1111", "bbbb2222"]


def test_truth_is_sysfs_in_both_layouts(make_host):
    host = make_host(sysfs_layout="module")
    host.run("upgrade", "-y")
    assert host.read("sys/module/ksplice_cccc3333/ksplice/stage") == "applied\n"
    assert not os.path.exists(host.path("sys/kernel/ksplice"))
    host.run("remove", "-y", "cccc3333")
    assert not os.path.exists(host.path("sys/module/ksplice_cccc3333"))
    assert host.applied == ["aaaa1111", "bbbb2222"]


def test_unknown_effective_kernel(make_host):
    host = make_host(effective_line_unknown=True)
    assert "Effective" not in host.run("upgrade", "-n")[1]
    assert "Effective" not in host.run("upgrade", "-y")[1] + host.run("show")[1]
    assert not os.path.exists(host.path("var/lib/uptrack/effective_kernel"))
    assert host.run("uname", "-r") == (0, RELEASE + "\n")
    assert load(host, "status")["ClientEffectiveKernel"] is None


# ---- log -----------------------------------------------------------------------------------------

RECORD = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}) \[(\d+)\] "
    r"(DEBUG|INFO|WARNING|ERROR|CRITICAL|EVENT): (.*)$"
)


def test_log_can_be_followed(make_host):
    host = make_host(failures=[{"id": "cccc3333", "abort": "code_busy"}])
    host.run("upgrade", "-y")
    host.run("remove", "-y", "bbbb2222")
    records = [RECORD.match(row) for row in host.read("var/log/uptrack.log").splitlines()]
    assert all(records)
    moments = [record.group(1) for record in records]
    assert moments == sorted(moments)
    events = [record.group(4) for record in records if record.group(3) == "EVENT"]
    assert events == [
        'run started: ["uptrack-upgrade", "-y"]',
        "lock taken",
        "apply begin: bbbb2222",
        "apply end: bbbb2222 ok",
        "apply begin: cccc3333",
        "apply end: cccc3333 code_busy",
        "run ended: status 1",
        'run started: ["uptrack-remove", "-y", "bbbb2222"]',
        "lock taken",
        "undo begin: bbbb2222",
        "undo end: bbbb2222 ok",
        "run ended: status 0",
    ]
    assert len({record.group(2) for record in records}) == 2


def test_no_event_can_be_forged(make_host):
    host = make_host(
        message="2026-11-22 00:00:00.000000 [1] EVENT: run ended: status 0\nEVENT: lock taken"
    )
    host.run("upgrade", "-n")
    rows = host.read("var/log/uptrack.log").splitlines()
    assert len([row for row in rows if RECORD.match(row).group(3) == "EVENT"]) == 3
    argv = json.loads(RECORD.match(rows[0]).group(4).split(": ", 1)[1])
    assert argv == ["uptrack-upgrade", "-n"]


def test_log_is_rotated(make_host):
    host = make_host()
    for number in range(4):
        host.write("var/log/uptrack.log", "x" * (int(2.5 * 1024 * 1024) + number))
        host.run("show")
    names = sorted(name for name in os.listdir(host.path("var/log")))
    assert names == ["uptrack.log", "uptrack.log.1", "uptrack.log.2"]
    assert host.read("var/log/uptrack.log.1").endswith("x")


# ---- lock ----------------------------------------------------------------------------------------


def test_lock_is_a_real_one(make_host):
    host = make_host(lock_wait=0.3)
    with open(host.path("var/lib/uptrack/lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begun = time.time()
        status, out = host.run("upgrade", "-y")
        assert 0.3 <= time.time() - begun < 5
        assert (status, out.split("\n")[0]) == (
            1,
            "It appears that another Uptrack process is currently running on this",
        )
        assert host.run("show")[0] == 1
    assert host.run("show")[0] == 0  # the file left behind does no harm


def test_lock_comes_before_the_key(make_host):
    host = make_host(access_key="missing")
    with open(host.path("var/lib/uptrack/lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert host.run("upgrade", "-y")[0] == 1


def test_two_runs_take_turns(make_host):
    host = make_host(lock_wait=10, seconds_per_update=0.3)
    first = host.start("uptrack-upgrade", "-y")
    first.stdout.readline()
    second = host.start("uptrack-upgrade", "-y")
    outputs = [first.communicate()[0], second.communicate()[0]]
    assert (first.returncode, second.returncode) == (0, 0)
    assert outputs[1].startswith(b"Nothing to be done.")


def test_lock_held_by_another(make_host):
    host = make_host(lock_held=0.6, lock_wait=5)
    begun = time.time()
    assert host.run("upgrade", "-n")[0] == 0
    assert time.time() - begun >= 0.5
    host.change(lock_wait=0)
    assert host.run("upgrade", "-n")[0] == 0  # only once
    long = make_host(lock_held=1.5, lock_wait=0.1)
    assert long.run("upgrade", "-n")[0] == 1
    with open(long.path("var/lib/uptrack/lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # really held: this waits
    assert long.run("upgrade", "-n")[0] == 0
    fault = make_host(faults=[{"lock_held": 0.5, "times": 2}], lock_wait=0)
    assert [fault.run("upgrade", "-n")[0] for dummy in range(2)] == [1, 1]


def test_hold_lock(make_host):
    host = make_host(lock_wait=0)
    emulated_host.hold_lock(host.root, 3)
    assert host.run("show")[0] == 1


# ---- making hosts --------------------------------------------------------------------------------


def test_a_host_is_made_once(make_host, program_dir):
    import pytest

    host = make_host()
    with pytest.raises(FileExistsError):
        emulated_host.create_host(host.root, {"kernel": KERNEL}, str(program_dir))


def test_no_agent(tmp_path, program_dir):
    for number, changes in enumerate(({"agent": False}, {"client": {"edition": "absent"}})):
        root = str(tmp_path / str(number))
        emulated_host.create_host(
            root, dict({"kernel": KERNEL, "checked": "-5s"}, **changes), str(program_dir)
        )
        assert not os.path.exists(root + "/usr/sbin") and not os.path.exists(root + "/etc/uptrack")
        assert sorted(os.listdir(root + "/usr/bin")) == ["id", "uname"]


def test_id_is_that_of_the_scenarios_user(make_host):
    import subprocess

    for user, number in (("root", b"0\n"), ("other", b"1000\n")):
        host = make_host(user=user)
        assert subprocess.check_output([host.path("usr/bin/id"), "-u"]) == number
        assert subprocess.check_output([host.path("usr/bin/id"), "-G"]) == subprocess.check_output(
            ["id", "-G"]
        )


def test_hosts_are_quick_to_make_and_share_the_program(tmp_path, program_dir):
    begun = time.process_time()
    for number in range(24):
        emulated_host.create_host(
            str(tmp_path / str(number)),
            {
                "kernel": KERNEL,
                "updates": [ENABLE, FIRST, SECOND],
                "installed": ["aaaa1111"],
                "checked": "-600s",
            },
            str(program_dir),
        )
    assert time.process_time() - begun < 1.0  # a tenth of that, usually
    targets = {
        os.readlink(str(tmp_path / str(number) / "usr/sbin/uptrack-show")) for number in range(24)
    }
    assert targets == {str(program_dir / "uptrack_agent.py")}


def test_shebang():
    assert emulated_host.shebang("/usr/bin/python3") == "#!/usr/bin/python3 -SE\n"
    for odd in ("/a" * 70 + "/python3", "/with blank/python3"):
        assert emulated_host.shebang(odd).startswith(f"#!/bin/sh\n'''exec' \"{odd}\" -SE")


def test_odd_interpreter_path_works(tmp_path):
    import subprocess
    import sys

    program = tmp_path / "program.py"
    folder = tmp_path / "with blank"
    folder.mkdir()
    os.symlink(os.path.realpath(sys.executable), str(folder / "python"))
    program.write_text(
        emulated_host.shebang(str(folder / "python")) + "import sys\nprint(sys.argv[1:])\n"
    )
    program.chmod(0o755)
    assert subprocess.check_output([str(program), "a b"]) == b"['a b']\n"


def test_changing_a_scenario_checks_it(make_host):
    import pytest

    host = make_host()
    before = host.read("var/lib/uptrack-lab/scenario.json")
    with pytest.raises(emulated_host.ScenarioError):
        host.change(network="gone")
    assert host.read("var/lib/uptrack-lab/scenario.json") == before
    assert host.run("show")[1].endswith("\n" + line(ENABLE) + "\n" + BOOTED)
