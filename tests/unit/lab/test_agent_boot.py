# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""Boots, unattended runs, and removing everything."""

import os

import emulated_host
import pytest
import yaml
from agent_host import (
    AFTER_FIRST,
    AFTER_SECOND,
    BOOTED,
    ENABLE,
    FIRST,
    RELEASE,
    SECOND,
    line,
    plain,
)

NEW = {
    "release": "5.15.0-310.184.5.2.el9uek.x86_64",
    "version": "#2 SMP Wed Jul 9 16:08:33 PDT 2025",
}


def boot(host, kernel=None):
    return emulated_host.reboot_host(host.root, kernel)


def test_boot_brings_the_old_set_back(make_host):
    host = make_host(installed=["aaaa1111", "bbbb2222"], network="dns")  # no network that early
    boot_id = host.read("proc/sys/kernel/random/boot_id")
    early, late = boot(host)
    assert early == (0, "")  # a boot that goes well says nothing
    assert late[0] == 10
    assert host.applied == ["aaaa1111", "bbbb2222"]
    assert host.read("proc/sys/kernel/random/boot_id") != boot_id
    # The late stage met no service, and such a run leaves the effective kernel unknown.
    assert "Effective" not in host.run("show")[1]
    host.change(network="ok")
    assert host.run("upgrade", "-n")[1].startswith(AFTER_FIRST)


def test_late_stage_only_upgrades_if_configured(make_host):
    host = make_host(installed=["aaaa1111", "bbbb2222"])
    assert boot(host)[1] == (
        0,
        AFTER_FIRST + "The following steps will be taken:\nInstall " + line(SECOND),
    )
    host = make_host(
        installed=["aaaa1111", "bbbb2222"], config={"Settings": {"upgrade_on_reboot": "yes"}}
    )
    assert boot(host)[1][1].endswith(
        "Installing " + line(SECOND) + "Your kernel is fully up to date.\n" + AFTER_SECOND
    )


def test_install_on_reboot_off(make_host):
    host = make_host(config={"Settings": {"install_on_reboot": "no"}})
    assert boot(host)[0] == (0, "")
    assert host.applied == []


def test_disabled(make_host):
    host = make_host(disabled=True)
    disabled = "Uptrack disabled by system administrator, remove /etc/uptrack/disable to enable.\n"
    assert boot(host) == [(1, disabled), (1, disabled)]
    assert host.applied == []


def test_nouptrack_leaves_the_agent_disabled(make_host):
    host = make_host()
    host.change(nouptrack=True)
    assert boot(host)[0][0] == 1
    host.change(nouptrack=False)
    boot(host)
    assert (host.applied, os.path.exists(host.path("etc/uptrack/disable"))) == ([], True)


def test_new_kernel(make_host):
    host = make_host(network="dns")
    early, late = boot(host, NEW)
    assert early == (
        0,
        "Ksplice Uptrack: booting into a new kernel, so not installing any updates.\n",
    )
    folder = "var/cache/uptrack/Linux/x86_64/{}/{}".format(NEW["release"], NEW["version"])
    results = yaml.safe_load(host.read(folder + "/results"))
    assert results["Result"]["Code"] == 10
    host.change(network="ok")
    status, out = host.run("upgrade", "-n")
    assert (status, "({} {}).".format(NEW["release"], NEW["version"]) in plain(out)) == (13, True)
    assert host.full("uname", "-r")[1] == NEW["release"] + "\n"
    assert host.run("uname", "-r")[1] == NEW["release"] + "\n"
    boot(host, RELEASE)  # and back, where the old set is still known
    assert host.applied == ["aaaa1111"]
    assert host.full("uname", "-r")[1] == RELEASE + "\n"


def test_known_other_kernel(make_host):
    update = {"id": "eeee5555", "name": "CVE-2025-9: For the new kernel."}
    host = make_host(other_kernels=[{"kernel": NEW, "updates": [update]}])
    assert os.path.exists(host.path("boot/vmlinuz-" + NEW["release"]))
    boot(host, NEW["release"])
    assert host.run("upgrade", "-y")[0] == 0
    assert host.applied == ["eeee5555"]
    with pytest.raises(emulated_host.ScenarioError):
        boot(host, "6.12.0")


def test_init_by_hand(make_host):
    assert make_host().run("upgrade", "--init") == (
        1,
        "Error: Uptrack init script started, but some updates are already installed!\n",
    )


def test_check_init(make_host):
    assert make_host().run("upgrade", "--check-init") == (0, "")
    assert make_host(disabled=True).run("upgrade", "--check-init") == (1, "")
    assert make_host(config={"Settings": {"install_on_reboot": "0"}}).run(
        "upgrade", "--check-init"
    ) == (1, "")


def test_shutdown_never_installs(make_host):
    host = make_host(config={"Settings": {"autoinstall": "yes", "upgrade_on_reboot": "yes"}})
    assert host.run("upgrade", "--shutdown", "-y")[0] == 0
    assert host.applied == ["aaaa1111"]


# ---- unattended ----------------------------------------------------------------------------------


def test_cron_is_silent_and_looks_only(make_host):
    host = make_host()
    assert host.run("upgrade", "--cron") == (0, "")
    assert host.applied == ["aaaa1111"]
    host = make_host(config={"Settings": {"autoinstall": "yes"}})
    assert host.run("upgrade", "--cron") == (0, "")
    assert host.applied == ["aaaa1111", "bbbb2222", "cccc3333"]
    broken = make_host(
        config={"Settings": {"autoinstall": "yes"}},
        failures=[{"id": "bbbb2222", "abort": "unexpected"}],
    )
    assert broken.run("upgrade", "--cron") == (1, "")


def test_back_off(make_host):
    host = make_host(backoff=3)
    host.run("upgrade", "-n")
    serial = host.read("var/lib/uptrack/serial")
    seen = []
    for dummy in range(6):
        assert host.run("upgrade", "--cron") == (0, "")
        seen.append(host.read("var/lib/uptrack/serial") != serial)
        serial = host.read("var/lib/uptrack/serial")
    assert seen == [False, False, True, False, False, True]
    assert host.run("upgrade", "-n")[0] == 0  # people do not back off
    assert host.read("var/lib/uptrack/serial") != serial


def test_crontab(make_host):
    host = make_host()
    text = host.read("etc/cron.d/uptrack")
    entry = [row for row in text.splitlines() if row[:1].isdigit()]
    assert len(entry) == 1 and entry[0].endswith("/usr/sbin/uptrack-upgrade --cron")
    host.write("etc/cron.d/uptrack", "# mine\n")
    host.run("upgrade", "-n")
    assert host.read("etc/cron.d/uptrack") == "# mine\n"
    host.change(regenerate_cron=True)
    host.run("upgrade", "-n")
    assert host.read("etc/cron.d/uptrack") != "# mine\n"


# ---- everything out ------------------------------------------------------------------------------

OUT = f"The following steps will be taken:\nRemove {line(FIRST)}Remove {line(ENABLE)}"
OUT_DONE = OUT + f"Removing {line(FIRST)}Removing {line(ENABLE)}"


@pytest.mark.parametrize("arguments", [["--all", "--no-network", "-y"], ["--uninstall"]])
def test_all_out_without_network_works_and_ends_with_10(make_host, arguments):
    host = make_host(installed=["aaaa1111", "bbbb2222"], network="dns", access_key="missing")
    assert host.run("remove", *arguments) == (
        10,
        OUT_DONE
        + "New updates are available. Please re-run Uptrack with a network connection available\n"
        "to view and install them\n",
    )
    assert host.applied == []
    assert boot(host)[0] == (0, "")  # and a boot does not bring them back
    assert host.run("remove", *arguments)[0] == 10


def test_declined(make_host):
    host = make_host(installed=["aaaa1111", "bbbb2222"])
    assert host.run("remove", "--all", "--no-network", "-n") == (0, OUT + "Aborting.\n")
    assert host.run("remove", "--all", "-n") == (12, OUT + "Aborting.\n")
    assert host.applied == ["aaaa1111", "bbbb2222"]


def test_expired_lets_all_out_but_not_one(make_host):
    host = make_host(
        installed=["aaaa1111", "bbbb2222"], access_key="expired", expired_message="It is over."
    )
    assert host.run("remove", "-y", "bbbb2222") == (
        17,
        "It is over.\nRemoving individual updates is disabled.\n",
    )
    status, out = host.run("remove", "--all", "-y")
    assert (
        status,
        out.startswith("It is over.\n" + OUT_DONE + "New updates may be available. Please "),
    ) == (10, True)
    assert host.applied == []


def test_disabled_blocks_removal_too(make_host):
    host = make_host(disabled=True)
    for arguments in (
        ["-y", "aaaa1111"],
        ["--all", "-y"],
        ["--all", "-y", "--no-network"],
        ["--uninstall"],
    ):
        assert host.run("remove", *arguments)[0] == 1
    assert host.applied == ["aaaa1111"]


def test_no_list_is_no_network(make_host):
    assert make_host(checked=None).run("remove", "--all", "--no-network", "-y")[0] == 10


def test_known_exploit_detection(make_host):
    tripwire = {"id": "bipgvpw6", "name": "Known exploit detection.", "detection": True}
    host = make_host(updates=[ENABLE, tripwire])
    sysctl = "proc/sys/kernel/known_exploit_detection"
    assert host.run("upgrade", "-n") == (0, BOOTED + "Nothing to be done.\n")
    host.write(
        "etc/uptrack/uptrack.conf",
        host.read("etc/uptrack/uptrack.conf") + "\n[Known-Exploit-Detection]\nenabled = yes\n",
    )
    assert host.run("upgrade", "-y")[0] == 0
    assert (host.applied, host.read(sysctl)) == (["aaaa1111", "bipgvpw6"], "1\n")
    assert os.path.exists(host.path(sysctl + "_tripwires"))
    host.run("remove", "-y", "bipgvpw6")
    assert host.read(sysctl) == "0\n"
