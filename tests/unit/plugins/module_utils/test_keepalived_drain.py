# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The drain of keepalived, on a host that is a folder: saved states, files and refusals. What
keepalived makes of it, the lab's pairs try (tests/integration/lab/test_drains.py)."""

import os

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import (
    drains,
    keepalived_data,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import (
    keepalived as keepalived_drain,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import groups as ha_groups
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import journal

PATH = "/etc/keepalived/keepalived.conf"
CONF = """vrrp_script chk {
    weight 60
}
track_file load {
    file /run/load
    weight 2
}
vrrp_instance web {
    state BACKUP
    interface eth0
    virtual_router_id 60
    priority 100
    track_script {
        chk
    }
    track_file {
        load
    }
    virtual_ipaddress {
        192.0.2.60
    }
}
"""


class Host:
    """A folder, and a keepalived that has the address as long as its priority is 100, or for
    good."""

    def __init__(self, root, moves=True):
        self.root, self.moves, self.said, self.refuses = str(root), moves, [], False
        self.address = True
        for path in ("/etc/keepalived", "/run"):
            os.makedirs(self.root + path)
        self.write(CONF)

    def write(self, text, path=PATH):
        with open(self.root + path, "w", encoding="utf-8") as file:
            file.write(text)

    def text(self, path=PATH):
        with open(self.root + path, encoding="utf-8") as file:
            return file.read()

    def run(self, words, **_more):
        words = [
            word for word in words if word not in ("timeout", "-k", "2") and not word.isdigit()
        ]
        words[0] = os.path.basename(words[0])
        self.said.append(" ".join(words))
        if words[0] == "ip":
            lowered = "priority 1 #" in self.text() or (
                os.path.exists(self.root + "/run/load") and "-" in self.text("/run/load")
            )
            return (
                0,
                ""
                if (lowered and self.moves) or not self.address
                else "2: eth0 inet 192.0.2.60/32 scope global eth0\n",
                "",
            )
        if words[0] == "keepalived":
            return (
                (1, "", "it is no good")
                if self.refuses and "priority 1 #" in self.text()
                else (0, "", "")
            )
        return 0, "active", ""

    def task(self, state, **more):
        target = {"adapter": "keepalived", **more.pop("target", {})}
        params = dict(
            {
                "state": state,
                "host": "a",
                "token": "t",
                "force": False,
                "lease": None,
                "when": "active",
                "timeout": 0,
                "targets": [target],
            },
            **more,
        )
        return drains.run(
            ha_groups.Machine(self.run, self.root), params, sleep=lambda _seconds: None
        )

    def saved(self):
        return journal.Journal(self.root).read()["drained"]

    def set_saved(self, states):
        journal.Journal(self.root).change(lambda document: dict(document, drained=states))


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path=None: "/usr/bin/" + name)
    return Host(tmp_path)


def test_lowered_and_restored(host):
    assert host.task("drained")["drained"]
    lowered = host.text()
    assert (
        "priority 1 #" in lowered
        and "\n        chk\n" not in lowered
        and "state BACKUP" not in lowered
        and "priority 100" in lowered
    )
    assert (
        "systemctl reload keepalived" in host.said
        and "systemctl restart keepalived" not in host.said
    )
    assert not host.task("restored")["failed"] and host.text() == CONF and host.saved() == []


@pytest.mark.parametrize("written", [False, True])
def test_the_same_attempt_goes_on_after_it_was_killed(host, written):
    """Between the saving and the change, or after the change."""
    host.task("drained")
    [saved] = host.saved()
    lowered = host.text()
    host.set_saved([{key: value for key, value in saved.items() if key != "done"}])
    if not written:
        host.write(CONF)
    again = host.task("drained", when="always")
    assert not again["failed"] and host.text() == lowered and host.saved()[0]["done"]
    assert not host.task("restored")["failed"] and host.text() == CONF


def test_a_configuration_that_somebody_wrote_anew_meanwhile(host):
    host.task("drained")
    [saved] = host.saved()
    host.set_saved([{key: value for key, value in saved.items() if key != "done"}])
    theirs = CONF.replace("    interface eth0\n", "    interface eth1\n\n")
    host.write(theirs)
    refused = host.task("drained", when="always")
    assert (
        refused["failed"]
        and "was changed by another party since this drain began" in refused["msg"]
        and host.text() == theirs
    )
    # Putting back takes out our own lines and no others, also of a file that is gone.
    host.write(CONF)
    host.task("drained")
    host.write(host.text().replace("eth0", "eth1") + "# theirs\n")
    assert (
        not host.task("restored")["failed"]
        and host.text() == CONF.replace("eth0", "eth1") + "# theirs\n"
    )


def test_what_keepalived_does_not_accept_is_restored(host):
    host.refuses = True
    result = host.task("drained")
    assert (
        result["failed"]
        and "keepalived does not accept its configuration with the priority lowered"
        in result["msg"]
        and "it is no good" in result["msg"]
    )
    assert host.text() == CONF and host.saved() == []


@pytest.mark.parametrize(
    "told, words",
    [
        (
            {"web": ("MASTER", 100, 160, None)},
            (
                "keepalived has not loaded the lowered configuration: web still has the "
                "priority 100; its log says why."
            ),
        ),
        (
            {"web": ("MASTER", 1, 1, None)},
            "Its instances announce the priority 1, and the peer does not take over",
        ),
        ({}, "Its configuration says the priority 1, and the peer does not take over"),
    ],
)
def test_why_an_address_does_not_move(host, monkeypatch, told, words):
    monkeypatch.setattr(
        keepalived_drain.Adapter,
        "_reported",
        lambda _self: {name: keepalived_data.Told(*one, []) for name, one in told.items()},
    )
    host.moves = False
    result = host.task("drained", target={"mode": "priority"})
    assert (
        result["failed"] and words in result["msg"] and host.text() == CONF and host.saved() == []
    ), result["msg"]


def test_a_restart_is_not_begun_without_time_for_it(host):
    host.moves = False
    result = host.task("drained")
    assert result["failed"] and "no time was left for it: raise the timeout." in result["msg"]
    assert "systemctl restart keepalived" not in host.said and host.text() == CONF


BACK = [
    (
        "state BACKUP\n    nopreempt",
        {},
        "keepalived is back as a standby; 192.0.2.60 may stay where it is: web says nopreempt.",
    ),
    (
        "preempt_delay 90",
        {},
        "keepalived is back as a standby; 192.0.2.60 may stay where it is: "
        "web says preempt_delay, and waits 90 s.",
    ),
    (
        "state BACKUP",
        {"web": ("BACKUP", 100, 160, 200)},
        "keepalived is back as a standby; 192.0.2.60 may stay where it is: "
        "the holder's priority 200 is not "
        "below 160, the highest that web can have.",
    ),
    # With nopreempt that state MASTER cancels it is waited for; as is where the check may still
    # add something.
    ("state MASTER\n    nopreempt", {}, None),
    ("state MASTER\n    preempt_delay 90", {}, None),
    ("state BACKUP", {"web": ("BACKUP", 100, 100, 120)}, None),
]


@pytest.mark.parametrize("state, told, left", BACK)
def test_what_need_not_come_back_and_why(host, monkeypatch, state, told, left):
    monkeypatch.setattr(
        keepalived_drain.Adapter,
        "_reported",
        lambda _self: {name: keepalived_data.Told(*one, []) for name, one in told.items()},
    )
    # Without the first moments, in which keepalived knows nothing of the peer.
    monkeypatch.setattr(keepalived_drain, "SILENCE", -1e6)
    text = CONF.replace("    track_file {\n        load\n    }\n", "").replace(
        "state BACKUP", state
    )
    host.write(text)
    host.task("drained")
    [saved] = host.saved()
    assert saved["held"] == ["192.0.2.60"] and "interval" in saved
    host.address = False
    result = host.task("restored")
    assert host.text() == text
    assert result["left"] == ([left] if left else []) and result["failed"] == (not left), result
    if not left:
        assert (
            "keepalived is NOT back in service: after 0 s it does not hold 192.0.2.60 again"
            in result["msg"]
        )


BARE = "vrrp_instance bare {\n    virtual_router_id 9\n    priority 100\n}\n"


@pytest.mark.parametrize(
    "states, active, words",
    [
        (["MASTER", "BACKUP"], True, None),
        (["BACKUP"], False, None),
        (["MASTER"], True, "it still holds bare: Its instances announce the priority 1"),
        ([None], True, "does not report whether it is MASTER in bare, which has no address"),
    ],
)
def test_an_instance_without_an_address(host, monkeypatch, states, active, words):
    """What moves is moved by a script, so that keepalived is asked who is master."""
    told = [{"bare": keepalived_data.Told(one, 1, 1, None, [])} if one else {} for one in states]

    def answer(_self):
        lowered = "priority 1 #" in host.text()
        return told[-1 if lowered else 0]

    monkeypatch.setattr(keepalived_drain.Adapter, "_reported", answer)
    host.write(BARE)
    result = host.task("drained", target={"mode": "priority"})
    assert result["active"] is active and result["failed"] == bool(words), result
    assert not words or words in result["msg"]
    assert bool(result["drained"]) == (active and not words)


def test_attributes_stay(host):
    try:
        os.setxattr(host.root + PATH, "user.context", b"keepalived_etc_t")
    except OSError:
        pytest.skip("a file has no attributes here")
    host.task("drained")
    assert os.getxattr(host.root + PATH, "user.context") == b"keepalived_etc_t"


BY_FILE = {"target": {"mode": "track_file", "track_file": "load"}}


@pytest.mark.parametrize("before", ["3\n", None])
def test_a_tracked_file(host, before):
    host.write(CONF.replace("        chk\n", ""))
    if before:
        host.write(before, "/run/load")
    assert host.task("drained", **BY_FILE)["drained"]
    assert host.text("/run/load") == "-126\n" and "systemctl reload keepalived" not in host.said
    assert host.task("restored")["left"] == []
    assert os.path.exists(host.root + "/run/load") == bool(before) and (
        not before or host.text("/run/load") == before
    )


def test_a_tracked_file_that_somebody_wrote_meanwhile_is_theirs(host):
    host.write(CONF.replace("        chk\n", ""))
    host.write("3\n", "/run/load")
    host.task("drained", **BY_FILE)
    host.write("7\n", "/run/load")
    assert host.task("restored")["left"] == [
        "/run/load was meanwhile rewritten by another party, and was left so."
    ]
    assert host.text("/run/load") == "7\n" and host.saved() == []


@pytest.mark.parametrize(
    "old, new, words",
    [
        (
            "    track_file {\n        load\n    }\n",
            "",
            PATH
            + " line 4: web tracks load not: each instance, or its sync group, must do so once.",
        ),
        (
            "    weight 2\n",
            "    weight 2x\n",
            "no number lowers the priority of every instance that tracks load",
        ),
        (
            "    weight 2\n",
            "    weight 150\n",
            "load does not lower the priority of web to 1: "
            "with its weight of 150 it is 10 at least.",
        ),
        (
            "priority 100",
            "priority 255",
            "load does not lower the priority of web to 1: no weight changes 255.",
        ),
        (
            "    file /run/load\n",
            "",
            "keepalived's configuration defines no track_file load with a file.",
        ),
        (
            "track_file load {",
            "track_file other {",
            "keepalived's configuration defines no track_file load; "
            "see vrrp_track_file in keepalived.conf(5).",
        ),
    ],
)
def test_a_tracked_file_that_does_not_do(host, old, new, words):
    text = CONF if "weight 150" in new else CONF.replace("        chk\n", "")
    assert old in text
    host.write(text.replace(old, new, 1))
    refused = host.task("drained", **BY_FILE)
    assert (
        refused["failed"]
        and words in refused["msg"]
        and refused["msg"].endswith("Nothing was changed.")
    ), refused["msg"]
    assert not os.path.exists(host.root + "/run/load")


# What keepalived 2.2.7 wrote; shortened.
DATA = """------< VRRP Topology >------
 VRRP Instance = web
   VRRP Version = 2
   State = BACKUP
   Master router = 10.77.0.3
   Master priority = 100
   Flags: none
   Wantstate = BACKUP
   Virtual Router ID = 60
   Priority = 50
   Effective priority = 55
   Total priority = 55
   Virtual IP (1):
     10.77.60.60/16 dev eth0 scope global
 VRRP Instance = broken
   State = MASTER
 VRRP Instance = db
   State = FAULT
   Priority = 1
   Effective priority = 1
   Virtual IP (2):
     10.77.60.61/16 dev eth0 scope global
     2001:db8::61/64 dev eth0 scope global set
------< VRRP Scripts >------
 VRRP Script = chk
   Priority = 7
"""


def test_what_keepalived_tells():
    assert keepalived_data.parsed(DATA) == {
        "web": ("BACKUP", 50, 55, 100, ["10.77.60.60"]),
        "db": ("FAULT", 1, 1, None, ["10.77.60.61", "2001:db8::61"]),
    }
    assert keepalived_data.parsed("") == {}
    told = keepalived_data.parsed(DATA)
    assert (
        keepalived_data.in_fault(told, ["2001:DB8:0::61"]) == ["db"]
        and keepalived_data.in_fault(told, ["10.77.60.6", "10.77.60.60"]) == []
    )


def test_a_process_that_does_not_expect_to_be_asked_is_skipped():
    import subprocess

    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        assert keepalived_data.ask(sleeper.pid) == {} and sleeper.poll() is None
    finally:
        sleeper.kill()
        assert sleeper.wait() == -9


def test_what_is_written_anew_with_other_blanks_is_still_ours(host):
    """A formatter, or an editor that changes line ends, takes nothing from what was lowered."""
    assert not host.task("drained")["failed"]
    host.write("".join(f"\t{' '.join(line.split())} \r\n" for line in host.text().splitlines()))
    assert "priority 1 #" in host.text()
    host.task("restored")
    assert "rebootless" not in host.text() and "priority 100" in host.text()


def test_a_line_of_ours_that_was_changed_is_reported_and_the_saved_state_stays(host):
    assert not host.task("drained")["failed"]
    host.write(host.text().replace("priority 1 #", "priority 7 #"))
    restored = host.task("restored")
    assert restored["failed"] and f"{PATH} line " in restored["msg"]
    assert "changed by somebody else since" in restored["msg"] and restored["drained"]


# ---- whatever the adapter ----


def test_a_state_that_was_saved_under_a_former_name_is_restored(host):
    """By the version of the collection that is on the control node now."""
    target = {"adapter": "custom", "drain": "out", "undo": "back"}
    saved = {"active": True, "drained": False, "key": "custom out", "host": "a", "token": "t"}
    host.set_saved([dict(saved, at=1.0, target=target, done=True)])
    result = host.task("restored", targets=[])
    assert not result["failed"] and host.saved() == [] and "back" in host.said


def test_a_failure_says_whether_anything_was_changed(host):
    before = host.task("drained", target={"adapter": "keepalived", "mode": "nonsense"})
    assert before["failed"] and before["changed_nothing"]
    assert host.task("restored")["changed_nothing"]
    done = host.task("drained")
    assert not done["failed"] and not done["changed_nothing"]
    other = host.task("drained", token="t2")
    assert other["failed"] and other["changed_nothing"] and host.saved()
