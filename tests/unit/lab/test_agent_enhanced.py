# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""`ksplice`, the Enhanced client."""

import pytest
from agent_host import AFTER_SECOND, BOOTED, ENABLE, FIRST, RELEASE, SECOND, VERSION, line, plain

TARGET = "glibc-libc-2.34.100.0.1.ksplice1.el9_4.2"
USER = {
    "targets": [
        {
            "name": TARGET,
            "updates": [
                {"id": "h73qvumn", "name": "CVE-2014-7817: Command execution in wordexp()."},
                {
                    "id": "ml55ngz4",
                    "name": "CVE-2015-1781: Privilege escalation in gethostbyname_r().",
                },
            ],
        }
    ],
    "processes": [
        {"name": "chronyd", "pid": 705, "target": TARGET},
        {"name": "httpd", "pid": 1503, "target": TARGET, "installed": ["h73qvumn", "ml55ngz4"]},
    ],
}
TREE = (
    "  \u2514\u2500 [h73qvumn]: CVE-2014-7817: Command execution in wordexp().\n"
    "  \u2514\u2500 [ml55ngz4]: CVE-2015-1781: Privilege escalation in gethostbyname_r().\n"
)
KERNEL_SHOW = "Installed updates:\n" + line(ENABLE) + "\n" + BOOTED


@pytest.fixture
def make_enhanced(make_host):
    def make(**changes):
        return make_host(**dict({"client": {"enhanced": True}, "user_space": USER}, **changes))

    return make


def ksplice(host, *arguments, **more):
    status, out, err = host.full("ksplice", *arguments, **more)
    assert err == ""
    return status, out


def test_all_show(make_enhanced):
    assert ksplice(make_enhanced(), "all", "show") == (
        0,
        "Ksplice user-space updates:\nchronyd (705)\nhttpd (1503)\n"
        + TREE
        + "\nKsplice kernel updates:\n"
        + KERNEL_SHOW,
    )


def test_tree_where_the_locale_knows_ascii_only(make_enhanced):
    out = ksplice(make_enhanced(), "user", "show", env={"LANG": "C"})[1]
    assert "\n  `- [h73qvumn]: CVE-2014-7817" in out
    out.encode("ascii")


def test_kernel_show_is_uptrack_show(make_enhanced):
    host = make_enhanced()
    assert ksplice(host, "kernel", "show") == host.run("show") == (0, KERNEL_SHOW)
    assert ksplice(host, "kernel", "show", "--available") == host.run("show", "--available")


def test_kernel_upgrade(make_enhanced):
    host = make_enhanced()
    status, out = ksplice(host, "-n", "kernel", "upgrade")
    assert (status, out.startswith(BOOTED + "The following steps will be taken:\n")) == (0, True)
    status, out = ksplice(host, "-y", "kernel", "upgrade")
    assert (status, out.endswith(AFTER_SECOND)) == (0, True)
    assert ksplice(host, "kernel", "uname", "-r") == (0, SECOND["effective"]["release"] + "\n")
    assert 'run started: ["ksplice", "kernel", "upgrade"]' in host.read("var/log/uptrack.log")


def test_kernel_remove_undo_apply(make_enhanced):
    host = make_enhanced(installed=["aaaa1111", "bbbb2222", "cccc3333"])
    assert ksplice(host, "-y", "kernel", "undo", "cccc3333")[1].endswith("Removing " + line(SECOND))
    assert ksplice(host, "-y", "kernel", "remove", "--all")[0] == 0
    assert host.applied == []
    assert ksplice(host, "-y", "kernel", "apply", "/root/ksplice-bbbb2222.tar.gz")[0] == 0
    assert host.applied == ["bbbb2222"]


def test_failures_have_the_same_status(make_enhanced):
    assert ksplice(make_enhanced(access_key="bad"), "-y", "kernel", "upgrade")[0] == 14
    assert ksplice(make_enhanced(network="dns"), "-y", "all", "upgrade")[0] == 10


def test_list_targets(make_enhanced):
    kernel = f"Kernel version: Linux/x86_64/{RELEASE}/{VERSION}\n"
    assert ksplice(make_enhanced(), "all", "list-targets") == (
        0,
        f"User-space targets:\n\n{TARGET}:\n - chronyd (705)\n - httpd (1503)\n\n{kernel}",
    )


def test_user_upgrade(make_enhanced):
    host = make_enhanced()
    assert ksplice(host, "user", "show", "--pid=705") == (0, "chronyd (705)\n")
    assert ksplice(host, "-n", "user", "upgrade")[0] == 0
    assert ksplice(host, "user", "show", "--pid=705") == (0, "chronyd (705)\n")
    assert ksplice(host, "-y", "user", "upgrade")[0] == 0
    assert ksplice(host, "user", "show", "--pid=705") == (0, "chronyd (705)\n" + TREE)
    assert ksplice(host, "-y", "user", "upgrade") == (0, "Nothing to be done.\n")
    assert ksplice(host, "-y", "user", "remove", "--pid=1503", "ml55ngz4")[0] == 0
    assert ksplice(host, "user", "show", "--pid=1503")[1].count("[") == 1
    assert ksplice(host, "-y", "user", "remove", "--all")[0] == 0
    assert "[" not in ksplice(host, "user", "show")[1]
    assert host.applied == ["aaaa1111"]


def test_process_in_another_namespace(make_enhanced):
    user = dict(
        USER, processes=[{"name": "rtkit-daemon", "pid": 3680, "target": TARGET, "namespace": True}]
    )
    status, out = ksplice(make_enhanced(user_space=user), "-y", "user", "upgrade")
    assert status == 1
    assert "Ksplice was unable to load the update as the target process is in a" in plain(out)
    assert (
        "Extra information: the process has changed root or mount namespace.\n"
        "  \u2514\u2500 rtkit-daemon (3680)\n"
    ) in out


def test_no_aware_libraries(make_enhanced):
    status, out = ksplice(make_enhanced(user_space={}), "-y", "user", "upgrade")
    assert (status, out.startswith("There are no active user-space targets.")) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["-y", "upgrade"],
        ["kernel"],
        ["kernel", "history"],
        ["user", "uname"],
        ["--frobnicate", "all", "show"],
        ["kernel", "remove"],
        ["all", "undo", "x"],
    ],
)
def test_usage_errors(make_enhanced, arguments):
    status, out, err = make_enhanced().full("ksplice", *arguments)
    assert (status, out, "ksplice: error: " in err) == (2, "", True)


def test_help_and_version(make_enhanced):
    host = make_enhanced()
    assert ksplice(host, "--help")[1].startswith("Usage: ksplice [OPTIONS] SUBSYSTEM SUBCOMMAND")
    assert ksplice(host, "--version") == (0, "1.2.80\n")


def test_only_there_if_the_scenario_says(make_host):
    import os

    assert not os.path.exists(make_host().command("ksplice"))


def test_root_and_lock(make_enhanced):
    import fcntl

    assert make_enhanced(user="other").full("ksplice", "user", "show")[0] == 1
    host = make_enhanced()
    with open(host.path("var/lib/uptrack/lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert ksplice(host, "-y", "user", "upgrade")[0] == 1


def test_first_is_not_needed_for_user_space(make_enhanced):
    host = make_enhanced(disabled=True)
    assert ksplice(host, "-y", "user", "upgrade")[0] == 0
    assert line(FIRST) not in host.run("show")[1]
