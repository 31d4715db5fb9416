# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""The emulated agent against the recordings of a real client: the same steps over the same
catalogue have to give the same words, statuses and files.  Where they do not, a table in the
agent's README says so, and why.
"""

import base64
import glob
import json
import os
import re
import shlex
import subprocess

import pytest
import yaml
from agent_host import AGENT_DIR, Host
from uptrack_lab import kernel as kernels
from uptrack_lab import world as w

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "..", "..", "fixtures", "recordings")
NAMES = sorted(os.path.basename(path)[: -len(".json")] for path in glob.glob(FOLDER + "/*.json"))
README = os.path.join(AGENT_DIR, "README.md")
HEADING = "## Where it differs from the recordings"

# ---- the hosts that were recorded --------------------------------------------------------------

KEY = "0123456789abcdef" * 4  # what the recorder put in the place of each key
E = [
    {"release": f"5.15.0-{release}.el9uek.x86_64", "version": version}
    for release, version in (
        ("305.176.4", "#2 SMP Tue Jan 28 20:15:04 PST 2025"),
        ("307.178.5", "#2 SMP Wed Mar 19 08:07:06 PDT 2025"),
        ("309.180.4", "#2 SMP Wed May 21 01:02:03 PDT 2025"),
    )
]
ENABLE = {"id": "aaaa1111", "name": "Enablement update for live patching."}
FIRST = {
    "id": "bbbb2222",
    "requires": ["aaaa1111"],
    "effective": E[0],
    "name": "CVE-2024-1001: Use-after-free in the network scheduler.",
}
SECOND = {
    "id": "cccc3333",
    "requires": ["bbbb2222"],
    "effective": E[1],
    "name": "CVE-2024-1002, CVE-2024-1003: Information leak in the block layer when a queue "
    "is torn down while another request is in flight and more words follow here.",
}
THIRD = {
    "id": "dddd4444",
    "requires": ["aaaa1111"],
    "effective": E[2],
    "name": "Improved fix for CVE-2024-1001",
}
UPDATES = [ENABLE, FIRST, SECOND, THIRD]
REPLACED = [
    ENABLE,
    FIRST,
    dict(SECOND, requires=[]),
    THIRD,
    {
        "id": "eeee5555",
        "name": "CVE-2024-2001: Replaces.",
        "supersedes": ["bbbb2222"],
        "effective": E[2],
    },
]
ODD_IDS = ["12345678", "1234e567", "00112233", "0x123456", "true", "null", "1e5", "no"]

RECORDED = {
    "kernel": {
        "release": "5.15.0-302.167.6.el9uek.x86_64",
        "version": "#2 SMP Thu May 9 15:59:05 PDT 2024",
    },
    "hostname": "vm",
    "client": {"version": "1.2.12"},
    "updates": UPDATES,
    "accepted_keys": [KEY],
    "expired_message": "Your subscription has expired.",
    "cron_sleep": 0,
    "retry_wait": 0,
}
UBUNTU = {
    "kernel": {
        "release": "5.15.0-101-generic",
        "version": "#111-Ubuntu SMP Tue Mar 5 20:16:58 UTC 2024",
        "package_version": "5.15.0-101.111",
    },
    "updates": [
        ENABLE,
        dict(
            FIRST,
            effective={
                "release": "5.15.0-119-generic",
                "version": "#129-Ubuntu SMP Fri Aug 2 19:25:20 UTC 2024",
                "package_version": "5.15.0-119.129",
            },
        ),
    ],
}
END_OF_LIFE = (
    "Your distribution has reached its end of life.\n\n"
    "  It will get no further updates: see\nhttps://example.com/x\n"
)


def refusing(abort, **more):
    """The kernel does not take the third update."""
    return {"failures": [dict({"id": "cccc3333", "abort": abort}, **more)]}


# ---- steps: a text is a command, anything else is done to the host -----------------------------


def change(**keys):
    return lambda host: host.change(**keys)


def put(path, text):
    return lambda host: host.write(path, text)


def boot(host):
    import emulated_host

    emulated_host.reboot_host(host.root, run_agent=False)


def undo_below_the_client(host):
    world = w.World(host.root)
    kernels.forget_update(world, kernels.find_update(world, "dddd4444"))


def no_install_on_reboot(host):
    path = "etc/uptrack/uptrack.conf"
    host.write(path, host.read(path).replace("install_on_reboot = yes", "install_on_reboot = no"))


def odd_names():
    """They are in the recorded plan."""
    output = recording("odd_names")["commands"][0]["output"]
    shown = re.findall(r"^Install \[(\w+)\] (.*)$", output, re.M)
    return [{"id": update_id, "name": name} for update_id, name in shown]


LOOK, UPGRADE, SOME = "uptrack-upgrade -n", "uptrack-upgrade -y", "uptrack-install -y bbbb2222"

# recording: what is different from RECORDED, and the steps
PLAYED = {
    "alert": ({"alert": END_OF_LIFE, "desupported": True}, [UPGRADE]),
    "bad_key_later": ({}, [UPGRADE, change(access_key="bad"), LOOK]),
    "container": ({"container": True}, [UPGRADE]),
    "crash": ({}, [LOOK, change(crash=True), UPGRADE]),
    "cron_looked": ({}, ["uptrack-upgrade --cron"]),
    "declined": ({}, [LOOK, "uptrack-upgrade </dev/null"]),
    "dies_half": ({"dies_after": 2}, [UPGRADE]),
    "disabled": ({}, [SOME, put("etc/uptrack/disable", ""), UPGRADE]),
    "expired": ({}, [SOME, change(access_key="expired"), UPGRADE]),
    "fresh": ({}, []),
    "kernel_less": ({}, [UPGRADE, undo_below_the_client]),
    "list500": ({}, [LOOK, change(network="list_error"), UPGRADE]),
    "missing_key": ({"access_key": "missing"}, [UPGRADE]),
    "no_dns": ({}, [LOOK, change(network="dns"), UPGRADE]),
    "odd_ids": (
        {
            "updates": [
                {"id": one, "name": f"CVE-2024-{1000 + place}: x"}
                for place, one in enumerate(ODD_IDS)
            ]
        },
        ["uptrack-install -y 12345678 true null no", LOOK],
    ),
    "odd_names": ({"updates": odd_names}, [LOOK]),
    "one_pending": ({"updates": UPDATES[:3]}, [UPGRADE, change(updates=UPDATES), LOOK]),
    "partial_busy": (
        refusing("code_busy", processes=[["mysqld", 4242], ["kworker/u8:1", 77]]),
        [UPGRADE],
    ),
    "partial_nomatch": (refusing("no_match", modules=["xfs"]), [UPGRADE]),
    "partial_weird": (refusing("OTHER", says="Traceback (most recent call last):"), [UPGRADE]),
    "pending_n": ({}, [LOOK]),
    "rebooted": ({}, [UPGRADE, boot]),
    "rebooted_init": ({}, [UPGRADE, boot, "uptrack-upgrade --init"]),
    "rebooted_init_off": ({}, [UPGRADE, no_install_on_reboot, boot, "uptrack-upgrade --init"]),
    "removed_all": ({}, [UPGRADE, "uptrack-remove -y --all"]),
    "removed_all_nonet": ({}, [UPGRADE, "uptrack-remove -y --all --no-network"]),
    "removed_id": ({}, [UPGRADE, "uptrack-remove -y bbbb2222"]),
    "s503": ({}, [LOOK, change(network="server_error"), UPGRADE]),
    "show_removed": ({}, [UPGRADE, undo_below_the_client, "uptrack-show"]),
    "superseded": ({}, [UPGRADE, change(updates=REPLACED), LOOK]),
    "ubuntu": (UBUNTU, [UPGRADE]),
    "unsupported": ({"unsupported": True}, [UPGRADE]),
    "uptodate": ({}, [UPGRADE]),
}


# ---- playing and comparing ---------------------------------------------------------------------


def recording(name):
    with open(os.path.join(FOLDER, name + ".json"), encoding="utf-8") as stream:
        return json.load(stream)


def run(host, command):
    """(exit status, all that was said) as the recorder's shell has it."""
    words = shlex.split(command.replace("</dev/null", ""))
    done = subprocess.run(
        [host.command(words[0])] + words[1:],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"UPTRACK_LAB_ROOT": host.root},
        check=False,
    )
    output = done.stdout.decode("utf-8")
    if done.returncode == -9:
        return 137, output + "Killed\n"  # the shell's words
    return done.returncode, output


def masked(text):
    """A file without what two runs cannot share: times, UUIDs, the host's uptime and tools, and
    the debug log's words."""
    text = re.sub(r"^UptrackLog: .*?(?=^\S)", _masked_log, text, flags=re.M | re.S)
    text = re.sub(r"^(Time|RunUUID|  UUID|  Uptime): .*$", r"\1: ...", text, flags=re.M)
    return re.sub(r"^      Stat: \[[-0-9, ]*\]$", "      Stat: ...", text, flags=re.M)


def _masked_log(found):
    """Of a debug log stays whether it is text or bytes, and whether an access key is in it."""
    log = yaml.safe_load(found.group(0))["UptrackLog"]
    kind = "bytes" if isinstance(log, bytes) else "text"
    content = log if kind == "bytes" else log.encode()
    has_key = re.search(b"/update-repository/[0-9a-f]{64}/", content)
    return "UptrackLog: {} with{} the access key\n".format(kind, "" if has_key else "out")


def different_places(ours, theirs, place):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = []
        for key in sorted(set(ours) | set(theirs)):
            below = f"{place}.{key}" if place else key
            found += different_places(ours.get(key), theirs.get(key), below)
        return found
    return [] if ours == theirs else [place]


def differences(host, name, steps):
    """{place: (ours, theirs)}, the place as the table in the README has it."""
    recorded = recording(name)
    found, commands = {}, [step for step in steps if isinstance(step, str)]
    assert commands == [one["command"] for one in recorded["commands"]], "not the recorded steps"
    number = 0
    for step in steps:
        if not isinstance(step, str):
            step(host)
            continue
        status, output = run(host, step)
        theirs = recorded["commands"][number]
        number += 1
        if status != theirs["status"]:
            found[f"exit status {number}"] = status, theirs["status"]
        if output != theirs["output"]:
            found[f"output {number}"] = output, theirs["output"]
    if host.applied != sorted(recorded["in_kernel_afterwards"]):
        found["kernel"] = host.applied, recorded["in_kernel_afterwards"]
    for file_name, theirs in recorded["files_afterwards"].items():
        path = host.cache + "/" + file_name
        ours = host.read(path) if os.path.exists(host.path(path)) else None
        if ours is None or theirs is None:
            if ours is not theirs:
                found[file_name] = ours, theirs
            continue
        ours, theirs = masked(ours), masked(theirs)
        if ours != theirs:
            places = different_places(yaml.safe_load(ours), yaml.safe_load(theirs), "")
            for place in places or ["layout"]:
                found[f"{file_name} {place}"] = ours, theirs
    return found


def table():
    """{(recording, place)} of the rows in the README."""
    with open(README, encoding="utf-8") as stream:
        section = stream.read().split(HEADING + "\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip().strip("`") for cell in row.strip("|").split("|")]
        for row in section.splitlines()
        if row.startswith("|")
    ]
    assert rows[0] == ["recording", "place", "reason"]
    assert all(len(row) == 3 and row[2] for row in rows)
    return {(row[0], row[1]) for row in rows[2:]}


def test_every_recording_is_played():
    assert sorted(PLAYED) == NAMES
    assert {name for name, dummy in table()} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_as_recorded(name, tmp_path, program_dir):
    changes, steps = PLAYED[name]
    changes = {key: value() if callable(value) else value for key, value in changes.items()}
    scenario = dict(RECORDED, **changes)
    found = differences(Host(tmp_path / "host", scenario, program_dir), name, steps)
    accepted = {place for one, place in table() if one == name}
    for place in sorted(set(found) - accepted):
        assert found[place][0] == found[place][1], f"{place} is not in the table of the README"
    assert accepted <= set(found), "these are in the table of the README, and do not differ"


def test_masks_are_narrow():
    """What the comparison leaves out is no more than it says."""
    log = base64.b64encode(b"\xff/update-repository/" + KEY.encode() + b"/").decode()
    text = (
        "A: Time: 1\nTime: 2026\nRunUUID: a\nUUID: b\n  UUID: c\n  Uptime: '1'\n"
        "      Stat: [1, -2]\n"
        f"UptrackLog: !!binary |\n  {log}\nUptrack: x\n"
    )
    assert masked(text) == (
        "A: Time: 1\nTime: ...\nRunUUID: ...\nUUID: b\n  UUID: ...\n  Uptime: ...\n"
        "      Stat: ...\n"
        "UptrackLog: bytes with the access key\nUptrack: x\n"
    )
    assert masked('UptrackLog: "a\\n\n  b"\n...\n') == (
        "UptrackLog: text without the access key\n...\n"
    )
