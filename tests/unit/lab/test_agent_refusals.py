# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""What stops a run: each row of the table of exit statuses, and which of two troubles is named
first.
"""

import pytest
from agent_host import plain

BAD = "Could not connect to the Ksplice Uptrack server with your access key."
ROWS = {
    "no key": ({"access_key": "missing"}, 20, "You must specify an access key to use the service."),
    "bad key": (
        {"access_key": "bad"},
        14,
        BAD + " Please check that the key in /etc/uptrack/uptrack.conf is valid.",
    ),
    "key not accepted": ({"accepted_keys": ["a"], "config": {"Auth": {"accesskey": "b"}}}, 14, BAD),
    "dns": (
        {"network": "dns"},
        10,
        "Could not connect to the Ksplice Uptrack server. A network connection",
    ),
    "connect": (
        {"network": "connect"},
        10,
        "(Network error: couldn't connect to host updates.ksplice.com)",
    ),
    "timeout": (
        {"network": "timeout"},
        10,
        "(Network error: connect() to updates.ksplice.com timed out)",
    ),
    "tls": (
        {"network": "tls"},
        10,
        "Could not verify the Ksplice Uptrack server's SSL certificate.",
    ),
    "empty ca": (
        {"config": {"Network": {"ssl_ca_cert_file": ""}}},
        10,
        "Could not verify the Ksplice Uptrack server",
    ),
    "proxy": (
        {"network": "proxy", "config": {"Network": {"https_proxy": "http://me:pw@proxy:3128"}}},
        10,
        "Could not resolve your proxy server (http://me:pw@proxy:3128)",
    ),
    "url": (
        {"config": {"Network": {"update_repo_url": "updates.example.com"}}},
        10,
        "Malformed URL updates.example.com for Uptrack server.",
    ),
    "curl": (
        {"network": "other"},
        10,
        "Unexpected error communicating with the Ksplice Uptrack server.",
    ),
    "5xx": (
        {"network": "server_error"},
        18,
        "The Ksplice Uptrack service has experienced a transient error.",
    ),
    "status http": (
        {"network": "http_error"},
        18,
        "Unexpected error communicating with the server.",
    ),
    "list http": (
        {"network": "list_error"},
        10,
        "Unexpected error connecting to the Ksplice Uptrack server.",
    ),
    "plan": (
        {"network": "plan_error"},
        10,
        "An error occurred requesting upgrade plans from the server.",
    ),
    "plan refused": (
        {"network": "plan_refused", "refusal": "No."},
        18,
        "The Ksplice Uptrack server reported the error: No.",
    ),
    "not activated": ({"access_key": "not_activated"}, 19, "This machine has not been activated."),
    "server's own": (
        {"error": {"code": 42, "message": "Come back tomorrow."}},
        42,
        "Come back tomorrow.",
    ),
    "unsupported": (
        {"unsupported": True},
        13,
        "Cannot find Ksplice Uptrack information for your kernel version "
        "(5.15.0-302.167.6.1.el9uek.x86_64 #2 SMP Thu Nov 7 18:27:00 PST 2024). "
        "Your kernel is probably not yet supported by Ksplice Uptrack.",
    ),
    "signature": (
        {"bad_signature": True},
        1,
        "Ksplice Uptrack could not verify the package list signature.",
    ),
    "old to install": (
        {"client": {"required_to_install": "1.2.81"}},
        15,
        "Ksplice Uptrack client too old: 1.2.80, require 1.2.81",
    ),
    "old to parse": (
        {"client": {"required_to_parse": "1.10"}},
        16,
        "Ksplice Uptrack client too old: 1.2.80, require 1.10",
    ),
    "old tools": (
        {"client": {"required_tools_api": "3"}},
        1,
        "Ksplice Uptrack client too old: 1, require 3",
    ),
    "container": ({"container": True}, 21, "Error: The directory /sys/module was not found."),
    "openvz": (
        {"openvz": True},
        21,
        "Error: You are running Ksplice Uptrack inside a Virtuozzo/OpenVZ container,",
    ),
    "disabled": (
        {"disabled": True},
        1,
        "Uptrack disabled by system administrator, remove /etc/uptrack/disable to enable.",
    ),
    "expired": (
        {"access_key": "expired", "expired_message": "It is over."},
        17,
        "It is over. Installing updates is disabled.",
    ),
    "crash": ({"crash": True}, 255, "Unexpected error."),
    "no boolean": (
        {"config": {"Settings": {"autoinstall": ""}}},
        1,
        "Error loading configuration file: Unable to read autoinstall setting from "
        "/etc/uptrack/uptrack.conf.",
    ),
    "no config": (
        {"config": "accesskey = x\n"},
        1,
        "Error loading configuration file: Unable to parse config file: ",
    ),
    "percent": (
        {"config": {"Network": {"https_proxy": "http://me:p%40w@proxy"}}},
        255,
        "Unexpected error starting the Uptrack client.",
    ),
}


@pytest.mark.parametrize("row", sorted(ROWS))
@pytest.mark.parametrize(
    "arguments", [("upgrade", "-y"), ("upgrade", "-n"), ("install", "-y", "bbbb2222")]
)
def test_exit_status_and_words(make_host, row, arguments):
    changes, status, anchor = ROWS[row]
    host = make_host(**changes)
    got, out = host.run(*arguments)
    assert got == status
    assert plain(out).startswith(anchor) or row in ("connect", "timeout") and anchor in plain(out)
    assert not any(len(words) > 80 for words in out.split("\n") if " " in words)
    assert "bbbb2222" not in host.applied


# The order of checks (reference, section 10).  Each of these is met before all below it.
ORDER = [
    "percent",
    "no key",
    "dns",
    "bad key",
    "5xx",
    "container",
    "unsupported",
    "signature",
    "old to parse",
    "disabled",
    "expired",
    "plan",
]


def together(one, other):
    changes = dict(ROWS[other][0])
    for key, value in ROWS[one][0].items():
        if key in changes and isinstance(value, dict):
            changes[key] = dict(changes[key], **value)
        elif key in changes:
            return None  # both are values of one key, and cannot be at once
        else:
            changes[key] = value
    return changes


@pytest.mark.parametrize(
    "one,other",
    [
        (one, other)
        for place, one in enumerate(ORDER)
        for other in ORDER[place + 1 :]
        if together(one, other)
    ],
)
def test_of_two_troubles_the_first_is_named(make_host, one, other):
    host = make_host(**together(one, other))
    status, out = host.run("upgrade", "-y")
    assert status == ROWS[one][1]
    # That a subscription is over is said when the list comes, whatever else is the matter.
    assert plain(out.replace("It is over.\n", "") if other == "expired" else out).startswith(
        ROWS[one][2]
    )


def test_not_root(make_host):
    host = make_host(user="other")
    for name in ("upgrade", "install", "remove", "show"):
        assert host.full("uptrack-" + name, "-V") == (
            1,
            "",
            "Unable to set up the logger.\nThe Uptrack client must be run as root.\n",
        )
    assert host.run("uname", "-r")[0] == 0


def test_unknown_name(make_host):
    import os

    host = make_host()
    os.symlink(os.readlink(host.command("uptrack-show")), host.path("usr/sbin/uptrack-status"))
    assert host.full("uptrack-status") == (255, "", "")
