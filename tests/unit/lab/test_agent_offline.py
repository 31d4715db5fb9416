# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""The offline client."""

import json
import os

import pytest
from agent_host import AFTER_FIRST, AFTER_SECOND, BOOTED, ENABLE, FIRST, RELEASE, SECOND, line

VALUES = [
    "{}/{}".format(one["effective"]["release"], one["effective"]["version"])
    for one in (FIRST, SECOND)
]


@pytest.fixture
def make_offline(make_host):
    def make(**changes):
        usual = {"client": {"edition": "offline"}, "network": "dns", "access_key": "missing"}
        return make_host(**dict(usual, **changes))

    return make


@pytest.mark.parametrize(
    "variant,text",
    [
        ("after", "Available effective kernel versions:\n\n"),
        ("before", "\nAvailable effective kernel versions:\n"),
        ("absent", "Available effective kernel versions:\n"),
    ],
)
def test_list_effective(make_offline, variant, text):
    host = make_offline(list_effective_blank_line=variant)
    assert host.run("upgrade", "--list-effective") == (0, text + "\n".join(VALUES) + "\n")


def test_sends_no_request(make_offline):
    host = make_offline()
    status, out = host.run("upgrade", "-y")
    assert (status, out.endswith("Your kernel is fully up to date.\n" + AFTER_SECOND)) == (0, True)
    assert not os.path.exists(host.path("var/lib/uptrack/serial"))
    assert not os.path.exists(host.path("etc/cron.d/uptrack"))
    assert host.run("show")[0] == 0


def test_effective_goes_so_far_and_no_further(make_offline):
    host = make_offline()
    steps = "The following steps will be taken:\nInstall " + line(FIRST)
    assert host.run("upgrade", "-n", "--effective", VALUES[0]) == (0, BOOTED + steps)
    assert host.run("upgrade", "-y", "--effective=" + VALUES[0]) == (
        0,
        steps + "Installing " + line(FIRST) + AFTER_FIRST,
    )
    assert host.run("show", "--available")[1].startswith("Available updates:\n" + line(SECOND))


def test_effective_goes_only_up(make_offline):
    host = make_offline(installed=["aaaa1111", "bbbb2222", "cccc3333"])
    status, out = host.run("upgrade", "-y", "--effective", VALUES[0])
    assert (status, host.applied) == (0, ["aaaa1111", "bbbb2222", "cccc3333"])
    assert out.endswith(AFTER_SECOND)
    assert host.run("remove", "--all", "-y")[0] == 0
    assert host.run("upgrade", "-y", "--effective", VALUES[0])[0] == 0
    assert host.applied == ["aaaa1111", "bbbb2222"]


def test_effective_that_is_not_there(make_offline):
    host = make_offline()
    status, out = host.run("upgrade", "-y", "--effective", "6.12.0/#1")
    assert (status, out.split("\n")[0]) == (1, "There is no effective kernel version '6.12.0/#1'.")
    assert host.applied == ["aaaa1111"]


def test_effective_version_in_the_configuration_caps(make_offline):
    host = make_offline(config={"Settings": {"effective_version": VALUES[0]}})
    assert host.run("upgrade", "-y", "--all")[1].endswith("Installing " + line(FIRST) + AFTER_FIRST)


def test_without_updates_package(make_offline):
    host = make_offline(offline_package=False, checked=None, updates=[], installed=[])
    assert host.run("upgrade", "-n")[0] == 13
    package = {"date": "20261112", "updates": [ENABLE, FIRST]}
    host.write(f"var/lib/uptrack-lab/updates-{RELEASE}.json", json.dumps(package))
    assert host.run("upgrade", "-y")[0] == 0
    assert host.applied == ["aaaa1111", "bbbb2222"]
    package["updates"].append(SECOND)
    host.write(f"var/lib/uptrack-lab/updates-{RELEASE}.json", json.dumps(package))
    assert host.run("upgrade", "-y")[1].endswith(AFTER_SECOND)
    package["updates"][0] = {"id": "x"}
    host.write(f"var/lib/uptrack-lab/updates-{RELEASE}.json", json.dumps(package))
    status, out, err = host.full("uptrack-upgrade", "-y")
    assert (status, out, err.endswith("updates[0].name: is missing, and has to be given\n")) == (
        78,
        "",
        True,
    )


def test_still_disabled(make_offline):
    assert make_offline(disabled=True).run("upgrade", "-n")[0] == 1
