# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""Updates that will not go in or come out, the client's own retries, and runs that die."""

import os
import time

import pytest
import yaml
from agent_host import AFTER_FIRST, AFTER_SECOND, BOOTED, ENABLE, FIRST, SECOND, line, plain

PLAN = "The following steps will be taken:\nInstall " + line(FIRST) + "Install " + line(SECOND)


def failing(update_id, abort, **more):
    return dict({"id": update_id, "abort": abort}, **more)


def results(host):
    return yaml.safe_load(host.read(host.cache + "/results"))["Result"]


def test_block_of_a_busy_update(make_host):
    host = make_host(
        failures=[failing("cccc3333", "code_busy", processes=[["bash", 1234], ["qemu-kvm", 77]])]
    )
    assert host.run("upgrade", "-y") == (
        1,
        PLAN
        + "Installing "
        + line(FIRST)
        + "Installing "
        + line(SECOND)
        + "Error processing ksplice-cccc3333.tar.gz\n\n"
        "The following actions failed:\nInstall " + line(SECOND) + "\n"
        "Ksplice was unable to install the update because one or more programs\n"
        "are constantly using the kernel functions patched by this update.  You\n"
        "should be able to install this update by trying again.  If trying\n"
        "again does not work, please report this problem to\n"
        "<support@ksplice.com>.  Even if trying again does not work, closing\n"
        "the following programs should make it possible to install this update:\n\n"
        "  - bash (pid 1234)\n  - qemu-kvm (pid 77)\n\n\n",
    )
    assert host.applied == ["aaaa1111", "bbbb2222"]  # what went in before stays
    assert host.run("show")[1].endswith(AFTER_FIRST)
    assert [step["ID"] for step in results(host)["Succeeded"]] == ["bbbb2222"]
    (failed,) = results(host)["Failed"]
    assert (failed["ID"], failed["Abort"]) == ("cccc3333", "code_busy")
    assert failed["Stack Check"] == [["bash", "1234"], ["qemu-kvm", "77"]]
    assert (results(host)["Code"], results(host)["Message"]) == (1, "")
    assert failed["Message"] == "Error: code_busy\n"


def test_stops_at_the_first_failure(make_host):
    host = make_host(failures=[failing("bbbb2222", "unexpected")])
    status, out = host.run("upgrade", "-y")
    assert (status, "Installing " + line(SECOND) in out, host.applied) == (1, False, ["aaaa1111"])
    assert "up to date" not in out


TEXTS = {
    "out_of_memory": "Ksplice failed to install this update because your kernel is out of memory.",
    "cold_update_loaded": "because modules that Uptrack patched off-line are currently loaded.",
    "module_busy": "because it is in use by one or more kernel modules that have been loaded "
    "since the update was applied.",
    "no_match": "because the code in your running kernel does not match the expected version.",
    "failed_to_find": "because the code in your running kernel does not match the "
    "expected version.",
    "bad_system_map": "Ksplice was unable to install this update due to an unexpected "
    "internal error.",
    "OTHER": "Ksplice was unable to install this update due to an unexpected internal error.",
}


@pytest.mark.parametrize("abort", sorted(TEXTS))
def test_words_of_each_abort(make_host, abort):
    host = make_host(failures=[failing("bbbb2222", abort, modules=["falcon", "xt_x"])])
    status, out = host.run("install", "-y", "bbbb2222")
    assert status == 1
    assert TEXTS[abort] in plain(out)
    words = out.split("The following actions failed:\nInstall " + line(FIRST) + "\n")[1]
    assert max(len(row) for row in words.split("\n") if "developers" not in row) <= 70
    module_row = {
        "no_match": "  - falcon\n  - xt_x\n",
        "failed_to_find": "  - falcon\n  - xt_x\n",
        "module_busy": " - falcon\n - xt_x\n",
        "cold_update_loaded": " - falcon\n - xt_x\n",
    }
    assert (
        module_row.get(
            abort, "Uptrack log file: /var/log/uptrack.log\n" if "internal" in out else ""
        )
        in words
    )
    assert ("rmmod falcon\n" in words) == (abort in ("no_match", "failed_to_find"))


def test_other_words_of_no_match(make_host):
    host = make_host(failures=[failing("bbbb2222", "no_match")])
    assert (
        "because your running kernel has been modified from the version provided by your vendor."
        in plain(host.run("upgrade", "-y")[1])
    )
    host.change(failures=[failing("bbbb2222", "no_match", virtualbox=True)])
    assert "VT-x/AMD-V" in host.run("upgrade", "-y")[1]


def test_removing_fails_with_its_own_verb(make_host):
    host = make_host(
        installed=["aaaa1111", "bbbb2222"],
        failures=[failing("bbbb2222", "code_busy", verb="remove", processes=[["bash", 7]])],
    )
    status, out = host.run("remove", "-y", "bbbb2222")
    assert status == 1
    assert "Ksplice was unable to remove the update because one or more programs" in plain(out)
    assert host.applied == ["aaaa1111", "bbbb2222"]
    assert host.read("sys/kernel/ksplice/bbbb2222/abort_cause") == "code_busy\n"
    assert host.read("sys/kernel/ksplice/bbbb2222/conflicts") == "bash 7\n"


def test_times_counts_runs(make_host):
    host = make_host(failures=[failing("bbbb2222", "code_busy", times=2)])
    assert [host.run("upgrade", "-y")[0] for dummy in range(3)] == [1, 1, 0]


def test_client_retries_what_is_busy(make_host):
    host = make_host(failures=[failing("bbbb2222", "code_busy", attempts=2)], retry_wait=0.05)
    assert host.run("upgrade", "-y")[0] == 0
    assert (
        host.read("var/log/uptrack.log").count(
            "install of bbbb2222 failed with code_busy, next: again"
        )
        == 2
    )
    other = make_host(failures=[failing("bbbb2222", "code_busy", attempts=3)])
    assert other.run("upgrade", "-y")[0] == 1


def test_rfcomm_is_unloaded_in_spite_of_the_configuration(make_host):
    settings = dict(modules=["rfcomm"], config={"Settings": {"no_rmmod": "yes"}})
    busy = failing("bbbb2222", "code_busy", processes=[["krfcommd", 99]])
    host = make_host(failures=[busy], **settings)
    assert host.run("upgrade", "-y")[0] == 0
    assert not os.path.exists(host.path("sys/module/rfcomm"))
    stubborn = make_host(failures=[dict(busy, rmmod="fails")], **settings)
    status, out = stubborn.run("upgrade", "-y")
    assert status == 1
    assert "because the rfcomm module (used for bluetooth)" in plain(out)
    both = make_host(failures=[dict(busy, processes=[["krfcommd", 99], ["bash", 3]])], **settings)
    status, out = both.run("upgrade", "-y")
    assert (status, "  - bash (pid 3)\n" in out, "krfcommd" in out) == (1, True, False)


def test_named_modules_are_unloaded_unless_forbidden(make_host):
    failure = failing("bbbb2222", "no_match", modules=["falcon"], removable=["falcon"])
    host = make_host(modules=["falcon"], failures=[failure])
    assert host.run("upgrade", "-y")[0] == 0
    assert not os.path.exists(host.path("sys/module/falcon"))
    careful = make_host(
        modules=["falcon"], failures=[failure], config={"Settings": {"no_rmmod": "yes"}}
    )
    assert careful.run("upgrade", "-y")[0] == 1
    assert os.path.exists(careful.path("sys/module/falcon"))


def test_dies_half_way(make_host):
    host = make_host(faults=[{"dies_after": 1}])
    status, out, dummy = host.full("uptrack-upgrade", "-y")
    assert status == -9
    assert out == PLAN + "Installing " + line(FIRST) + "Installing " + line(SECOND)
    assert host.applied == ["aaaa1111", "bbbb2222"]
    assert host.run("show") == (
        0,
        "Installed updates:\n" + line(ENABLE) + line(FIRST),
    )  # effective: unknown
    log = host.read("var/log/uptrack.log")
    assert log.count("run started") == log.count("run ended") + 1
    assert host.run("upgrade", "-y")[1].endswith(AFTER_SECOND)  # and the lock was not left held


def test_dies_behind_the_last(make_host):
    host = make_host(faults=[{"dies_after": 2}])
    assert host.full("uptrack-upgrade", "-y")[0] == -9
    assert host.applied == ["aaaa1111", "bbbb2222", "cccc3333"]


def test_faults_pass(make_host):
    host = make_host(
        faults=[
            {"network": "dns", "times": 2},
            {"access_key": "bad", "commands": ["install"]},
            {"network": "server_error", "skip": 1},
        ]
    )
    assert host.run("show")[0] == 0  # shows do not count
    assert [host.run("upgrade", "-n")[0] for dummy in range(5)] == [10, 10, 0, 18, 0]
    assert [host.run("install", "-n", "bbbb2222")[0] for dummy in range(2)] == [14, 12]


def test_crash(make_host):
    host = make_host(faults=[{"crash": True}])
    status, out = host.run("upgrade", "-y")
    assert (status, plain(out).startswith("Unexpected error. Please submit")) == (255, True)
    assert results(host)["Code"] == 11
    assert "RuntimeError" in host.read("var/log/uptrack.log")


def test_downloads(make_host):
    host = make_host(updates=[ENABLE, dict(FIRST, download="error")])
    for answer in ("-y", "-n"):
        assert make_host_fresh(host).run("upgrade", answer) == (
            1,
            "Unexpected error downloading update bbbb2222.\n",
        )
    host.change(updates=[ENABLE, dict(FIRST, download="missing")])
    assert host.run("upgrade", "-n") == (1, f"Couldn't download update '{line(FIRST).rstrip()}'.\n")


def make_host_fresh(host):
    """Forget what was unpacked when the host was made."""
    import shutil

    shutil.rmtree(host.path(host.cache + "/updates"))
    return host


def test_depmod(make_host):
    host = make_host(faults=[{"depmod_fails": True}])
    status, out = host.run("upgrade", "-y")
    assert (status, out.endswith("Error running ksplice-depmod.\n")) == (1, True)
    assert os.path.exists(host.path("var/cache/uptrack/depmod-needed"))
    assert host.applied == ["aaaa1111", "bbbb2222", "cccc3333"]


def test_wait_and_seconds(make_host):
    host = make_host(seconds_per_update=0.1, seconds_per_contact=0.05)
    begun = time.time()
    assert host.run("upgrade", "-y", "--wait", "0.1")[0] == 0
    assert time.time() - begun >= 2 * 0.1 + 2 * 0.1 + 4 * 0.05


def test_update_is_preparing_while_it_goes_in(make_host):
    host = make_host(updates=[ENABLE, dict(FIRST, seconds=1.0)])
    process = host.start("uptrack-upgrade", "-y")
    stage = host.path("sys/kernel/ksplice/bbbb2222/stage")
    deadline = time.time() + 10
    while not os.path.exists(stage) and time.time() < deadline:
        time.sleep(0.01)
    with open(stage) as stream:
        assert stream.read() == "preparing\n"
    assert host.applied == ["aaaa1111"]
    process.communicate()
    assert host.applied == ["aaaa1111", "bbbb2222"]


def test_interrupted(make_host):
    import signal

    host = make_host(updates=[ENABLE, dict(FIRST, seconds=20)])
    process = host.start("uptrack-upgrade", "-y")
    process.stdout.readline()
    while b"Installing" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    out = process.communicate()[0].decode()
    assert (process.returncode, out) == (1, "Interrupted!\n")


def test_warnings_of_the_end(make_host):
    host = make_host(network="result_error")
    assert host.run("upgrade", "-n") == (
        0,
        BOOTED + PLAN + "Unable to send status to management server\n",
    )
    spoiled = make_host()
    os.unlink(spoiled.path(spoiled.cache + "/results"))
    os.mkdir(spoiled.path(spoiled.cache + "/results"))
    assert spoiled.run("upgrade", "-n") == (0, BOOTED + PLAN + "Unable to write out status files\n")


def test_list_cannot_be_saved(make_host):
    host = make_host(checked=None)
    os.makedirs(host.path(host.cache + "/packages.yml"))
    status, out = host.run("upgrade", "-n")
    assert (status, out.startswith("Could not save the package list")) == (10, True)
