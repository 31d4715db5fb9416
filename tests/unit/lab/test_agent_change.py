# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""uptrack-upgrade, -install and -remove when nothing is wrong: literal transcripts."""

from agent_host import AFTER_FIRST, AFTER_SECOND, BOOTED, ENABLE, FIRST, KERNEL, SECOND, line

PLAN = "The following steps will be taken:\nInstall " + line(FIRST) + "Install " + line(SECOND)


def test_upgrade_yes(make_host):
    host = make_host()
    assert host.run("upgrade", "-y") == (
        0,
        PLAN
        + "Installing "
        + line(FIRST)
        + "Installing "
        + line(SECOND)
        + "Your kernel is fully up to date.\n"
        + AFTER_SECOND,
    )
    assert host.applied == ["aaaa1111", "bbbb2222", "cccc3333"]
    assert host.run("upgrade", "-y") == (
        0,
        "Nothing to be done.\nYour kernel is fully up to date.\n" + AFTER_SECOND,
    )


def test_upgrade_no(make_host):
    host = make_host()
    assert host.run("upgrade", "-n") == (0, BOOTED + PLAN)
    assert host.applied == ["aaaa1111"]


def test_upgrade_no_with_nothing_to_do(make_host):
    host = make_host(installed=["aaaa1111", "bbbb2222", "cccc3333"])
    assert host.run("upgrade", "-n") == (0, AFTER_SECOND + "Nothing to be done.\n")


def test_upgrade_asks(make_host):
    host = make_host()
    for refusal in ("n\n", "\n", "", "maybe\n"):
        end = "" if refusal else "\n"  # the end of input is no line of its own
        assert host.run("upgrade", answer=refusal) == (
            12,
            PLAN + "\nGo ahead [y/N]? " + end + "Aborting.\n",
        )
        assert (
            host.run("upgrade", "-y", "-n", answer=refusal)[0] == 12
        )  # together they cancel each other
    status, out = host.run("upgrade", answer="Yes\n")
    assert status == 0
    assert out.startswith(PLAN + "\nGo ahead [y/N]? Installing ")


def test_upgrade_ignores_ids(make_host):
    assert make_host().run("upgrade", "-n", "bbbb2222") == (0, BOOTED + PLAN)


def test_install_all_is_upgrade(make_host):
    host = make_host()
    assert host.run("install", "--all", "-n") == (0, BOOTED + PLAN)
    status, out = host.run("install", "--all", "-y")
    assert (status, out.endswith("Your kernel is fully up to date.\n" + AFTER_SECOND)) == (0, True)


def test_install_brings_what_it_requires(make_host):
    host = make_host()
    assert host.run("install", "-y", "cccc3333") == (
        0,
        PLAN + "Installing " + line(FIRST) + "Installing " + line(SECOND),
    )
    assert host.applied == ["aaaa1111", "bbbb2222", "cccc3333"]


def test_install_no_is_a_probe(make_host):
    host = make_host()
    assert host.run("install", "-n", "cccc3333") == (12, PLAN + "Aborting.\n")
    assert host.run("install", "-n", "aaaa1111") == (
        0,
        "Update aaaa1111 is already installed, skipping.\nNothing to be done.\n",
    )


def test_skips(make_host):
    host = make_host()
    assert host.run("install", "-y", "zzzz9999", "aaaa1111", "bbbb2222") == (
        0,
        "Unknown update zzzz9999, skipping.\nUpdate aaaa1111 is already installed, skipping.\n"
        "The following steps will be taken:\nInstall " + line(FIRST) + "Installing " + line(FIRST),
    )
    assert host.run("remove", "-y", "cccc3333", "zzzz9999") == (
        0,
        (
            "Update cccc3333 is not installed, skipping.\n"
            "Unknown update zzzz9999, skipping.\n"
            "Nothing to be done.\n"
        ),
    )


def test_remove_takes_what_lies_above(make_host):
    host = make_host(installed=["aaaa1111", "bbbb2222", "cccc3333"])
    plan = "The following steps will be taken:\nRemove " + line(SECOND) + "Remove " + line(FIRST)
    assert host.run("remove", "-n", "bbbb2222") == (12, plan + "Aborting.\n")
    assert host.run("remove", "-y", "bbbb2222") == (
        0,
        plan + "Removing " + line(SECOND) + "Removing " + line(FIRST),
    )
    assert host.applied == ["aaaa1111"]


def test_remove_all_with_the_service(make_host):
    host = make_host(installed=["aaaa1111", "bbbb2222"])
    status, out = host.run("remove", "--all", "-y")
    assert (status, host.applied) == (0, [])
    assert out.endswith("Removing " + line(ENABLE))
    assert host.run("remove", "--all", "-y") == (0, "Nothing to be done.\n")


def test_superseded_update_comes_out_with_all_above_it(make_host):
    better = dict(
        FIRST, id="dddd4444", name="Improved fix for CVE-2025-37798.", supersedes=["bbbb2222"]
    )
    second = dict(SECOND, requires=[])
    host = make_host(
        updates=[ENABLE, FIRST, better, second], installed=["aaaa1111", "bbbb2222", "cccc3333"]
    )
    assert host.run("upgrade", "-y")[1] == (
        "The following steps will be taken:\n"
        "Remove "
        + line(second)
        + "Remove "
        + line(FIRST)
        + "Install "
        + line(better)
        + "Install "
        + line(second)
        + "Removing "
        + line(second)
        + "Removing "
        + line(FIRST)
        + "Installing "
        + line(better)
        + "Installing "
        + line(second)
        + "Your kernel is fully up to date.\n"
        + AFTER_SECOND
    )
    assert host.applied == ["aaaa1111", "cccc3333", "dddd4444"]


def test_effective_version_in_ubuntu_style(make_host):
    kernel = {
        "release": "5.15.0-60-generic",
        "version": "#66-Ubuntu SMP Fri Jan 20 14:29:49 UTC 2023",
        "package_version": "5.15.0-60.66",
    }
    update = {
        "id": "bbbb2222",
        "name": "CVE-2023-0179: Overflow in netfilter",
        "effective": {
            "release": "5.15.0-67-generic",
            "version": "#74-Ubuntu SMP Wed Feb 22 14:14:39 UTC 2023",
            "package_version": "5.15.0-67.74",
        },
    }
    host = make_host(kernel=kernel, updates=[update], installed=[])
    assert host.run("upgrade", "-n")[1].startswith("Effective kernel version is 5.15.0-60.66\n")
    assert host.run("upgrade", "-y")[1].endswith("Effective kernel version is 5.15.0-67.74\n")
    assert host.run("uname", "-r") == (0, "5.15.0-67-generic\n")
    assert host.run("uname", "--package-version")[1].split()[2] == "5.15.0-67.74"


def test_enablement_update_leaves_the_effective_kernel(make_host):
    host = make_host(updates=[ENABLE], installed=[])
    assert host.run("upgrade", "-y")[1].endswith("Your kernel is fully up to date.\n" + BOOTED)
    assert host.run("uname", "-r") == (0, KERNEL["release"] + "\n")


def test_update_of_the_future_is_not_offered(make_host):
    host = make_host(updates=[ENABLE, FIRST, dict(SECOND, published="+3600s")])
    assert host.run("upgrade", "-n") == (
        0,
        BOOTED + "The following steps will be taken:\nInstall " + line(FIRST),
    )
    host.change(updates=[ENABLE, FIRST, dict(SECOND, published="-1s")])
    assert host.run("upgrade", "-n") == (0, BOOTED + PLAN)


def test_quiet_says_nothing(make_host):
    assert make_host().run("upgrade", "-q", "-y") == (0, "")


def test_only_some_of_a_first_plan(make_host):
    host = make_host()
    assert host.run("install", "-y", "bbbb2222")[0] == 0
    assert (
        host.run("show", "--available")[1]
        == "Available updates:\n" + line(SECOND) + "\n" + AFTER_FIRST
    )
