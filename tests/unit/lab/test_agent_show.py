# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""uptrack-show, uptrack-uname and uname."""

import os
import time

import pytest
from agent_host import AFTER_FIRST, BOOTED, ENABLE, FIRST, RELEASE, SECOND, VERSION, line, plain


def test_installed_in_catalogue_order(make_host):
    host = make_host(installed=["bbbb2222", "aaaa1111"])
    assert host.run("show") == (
        0,
        "Installed updates:\n" + line(ENABLE) + line(FIRST) + "\n" + AFTER_FIRST,
    )


def test_nothing_installed(make_host):
    assert make_host(installed=[]).run("show") == (0, "Installed updates:\nNone\n\n" + BOOTED)


def test_available(make_host):
    host = make_host()
    assert host.run("show", "--available") == (
        0,
        "Available updates:\n" + line(FIRST) + line(SECOND) + "\n" + BOOTED,
    )
    host.run("upgrade", "-y")
    assert host.run("show", "--available")[1].startswith("Available updates:\nNone\n")


def test_available_leaves_removals_out(make_host):
    better = {"id": "dddd4444", "name": "Improved fix.", "supersedes": ["bbbb2222"]}
    host = make_host(updates=[ENABLE, FIRST, better], installed=["aaaa1111", "bbbb2222"])
    assert host.run("show", "--available")[1].startswith(
        "Available updates:\n" + line(better) + "\n"
    )


def test_all(make_host):
    assert make_host().run("show", "--all") == (
        0,
        "Available updates:\n"
        + line(FIRST)
        + line(SECOND)
        + "Installed updates:\n"
        + line(ENABLE)
        + "\n"
        + BOOTED,
    )


def test_available_is_as_old_as_the_last_upgrade(make_host):
    host = make_host(updates=[ENABLE, FIRST, dict(SECOND, published="-60s")])
    assert (
        host.run("show", "--available")[1] == "Available updates:\n" + line(FIRST) + "\n" + BOOTED
    )
    host.run("upgrade", "-n")
    assert line(SECOND) in host.run("show", "--available")[1]


def test_count(make_host):
    assert make_host(installed=["aaaa1111", "bbbb2222"]).run("show", "--count") == (0, "2\n")
    fresh = make_host(checked=None)
    assert fresh.run("show", "--count", "--no-network") == (0, "0\n")
    assert fresh.run("show", "--count")[0] == 1


def test_never_checked(make_host):
    host = make_host(checked=None)
    no_list = (
        "Unable to read the package list.\nPlease run 'uptrack-upgrade -n' to download a new one.\n"
    )
    assert host.run("show") == (1, no_list)
    assert host.run("show", "--available") == (1, no_list)


def test_no_plan(make_host):
    host = make_host()
    os.unlink(host.path(host.cache + "/upgrade_plan"))
    status, out = host.run("show", "--available")
    assert status == 1
    assert out.split("\n")[0] == "Unable to read the list of available updates."
    assert len(out.splitlines()) == 2
    assert host.run("show")[0] == 0


def test_details(make_host):
    host = make_host(
        updates=[
            dict(ENABLE, details="Makes it work.\n\nReally."),
            FIRST,
            dict(SECOND, details=None),
        ]
    )
    assert host.run("show", "aaaa1111") == (
        0,
        (
            "Update aaaa1111 is installed on your system.  Detailed description:\n\n"
            "Makes it work.\n\nReally.\n\n"
        ),
    )
    assert host.run("show", "bbbb2222")[1].startswith(
        "Update bbbb2222 is NOT installed on your system.  Detailed description:\n\n"
    )
    assert host.run("show", "cccc3333") == (
        0,
        "Unable to retrieve detailed description of update cccc3333.\n",
    )
    assert host.run("show", "zzzz9999") == (0, "Don't know about update zzzz9999; skipping.\n")


def test_wants_a_key_all_the_same(make_host):
    host = make_host(access_key="missing")
    assert host.run("show")[0] == 20
    assert host.run("show", "--no-network")[0] == 0


@pytest.mark.parametrize(
    "trouble",
    [
        {"disabled": True},
        {"access_key": "expired"},
        {"access_key": "bad"},
        {"network": "dns"},
        {"unsupported": False, "network": "server_error"},
    ],
)
def test_needs_neither_service_nor_leave(make_host, trouble):
    status, out = make_host(**trouble).run("show")
    assert (status, out) == (0, "Installed updates:\n" + line(ENABLE) + "\n" + BOOTED)


def test_order_of_checks(make_host):
    host = make_host(container=True, access_key="missing")
    assert host.run("show")[0] == 20
    assert host.run("show", "--no-network")[0] == 1  # no list
    listed = make_host()
    os.rename(listed.path("sys/module"), listed.path("sys/moved"))
    assert listed.run("show")[0] == 21
    assert listed.run("show", "--count") == (0, "1\n")


def test_signature_is_checked_every_time(make_host):
    host = make_host()
    path = host.cache + "/packages.yml"
    host.write(path, host.read(path).replace("Enablement", "Disablement"))
    status, out = host.run("show")
    assert status == 1
    assert plain(out).startswith("Ksplice Uptrack could not verify the package list signature.")


def test_effective_line_is_gone_after_tampering(make_host):
    host = make_host()
    host.write("sys/kernel/ksplice/zzzz9999/stage", "applied\n")
    assert host.run("show") == (
        0,
        "Installed updates:\n" + line(ENABLE),
    )  # not in the list: not counted
    assert host.run("upgrade", "-n")[1].startswith("The following steps will be taken:\n")


def test_uname(make_host):
    host = make_host()
    assert host.full("uname") == (0, "Linux\n", "")
    assert host.full("uname", "-r")[1] == RELEASE + "\n"
    assert host.full("uname", "-srvm")[1] == f"Linux {RELEASE} {VERSION} x86_64\n"
    assert host.full("uname", "-r", "-s")[1] == f"Linux {RELEASE}\n"
    assert host.full("uname", "-n")[1] == "web1\n"
    for flag in "mpi":
        assert host.full("uname", "-" + flag)[1] == "x86_64\n"
    assert host.full("uname", "-o")[1] == "GNU/Linux\n"
    everything = f"Linux web1 {RELEASE} {VERSION} x86_64 x86_64 x86_64 GNU/Linux\n"
    assert host.full("uname", "-a")[1] == host.full("uname", "--all")[1] == everything
    assert host.full("uname", "--kernel-release")[1] == RELEASE + "\n"
    status, out, err = host.full("uname", "-x")
    assert (status, out, err.split("\n")[0]) == (1, "", "uname: invalid option -- 'x'")


def test_uptrack_uname(make_host):
    host = make_host()
    assert host.run("uname", "-r") == (
        0,
        RELEASE + "\n",
    )  # patched, but only by an enablement update
    host.run("upgrade", "-y")
    assert host.run("uname", "-a") == (
        0,
        "Linux web1 {} {} x86_64 x86_64 x86_64 GNU/Linux\n".format(
            SECOND["effective"]["release"], SECOND["effective"]["version"]
        ),
    )
    assert host.full("uname", "-r")[1] == RELEASE + "\n"
    host.write("sys/kernel/ksplice/zzzz9999/stage", "applied\n")
    assert host.run("uname", "-r") == (0, RELEASE + "\n")


def test_uname_as_its_own_program_follows_the_scenario(make_host):
    """What it has written down for the probes counts for the scenario it was taken from only."""
    host = make_host()

    def names():
        assert (out := host.start("uname", "-srvm").communicate()[0].decode()) == host.full(
            "uname", "-srvm"
        )[1]
        return out

    assert names() == f"Linux {RELEASE} {VERSION} x86_64\n"
    assert host.start("uname", "-r").communicate()[0].decode() == RELEASE + "\n"
    host.change(kernel={"release": "6.1", "version": "#1  \\n"})
    assert names() == "Linux 6.1 #1  \\n x86_64\n"
    path = "var/lib/uptrack-lab/scenario.json"
    time.sleep(1)  # some shells compare the times of files by the second
    host.write(path, host.read(path).replace("6.1", "6.2"))
    assert names() == "Linux 6.2 #1  \\n x86_64\n"
