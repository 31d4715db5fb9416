# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What a person sees of a rollout: on a terminal, in a log, beside another callback."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import termios
import threading

import forked_ansible
import pyte
import pytest
from rehearsals import UEK6, alone, pair

OURS = {"ANSIBLE_STDOUT_CALLBACK": "rebootless.ksplice.rollout"}
BAR, ARROW = "\u2501", "\u2192"


@pytest.fixture
def hosts(fleet):
    return fleet(
        {
            **pair("web", "web1", "web2"),
            **alone("one"),
            **alone("gone", unreachable=True),
            **alone("busy", blocked_by="code_busy", **UEK6),
        }
    ).make()


def patch(hosts, *more, env):
    done = hosts.play("rebootless.ksplice.patch", *more, env=env, ksplice_max_failures=3)
    assert done.status == 2, done.output
    return done.output.splitlines()


def check_lines(lines, rows):
    """All that is to be said of a run, whatever else is."""
    for name in ("web1", "web2", "one"):
        [line] = [line for line in lines if line.startswith(f"{name} ") and ARROW in line]
        row = rows[name]
        assert f"{row['kernel_before']} {ARROW} {row['kernel_after']}, " in line
        count = len(row["installed"])
        assert f", {count} updates, {len(row['cves_fixed'])} CVEs, " in line
    assert any(re.match(r"Wave \d of \d: .*\bweb2 \(web", line) for line in lines)
    [where] = [number for number, line in enumerate(lines) if line == "2 hosts need attention:"]
    assert lines[where + 1].split() == ["host", "verdict", "reason"]
    assert [line.split()[:2] for line in lines[where + 2 : where + 4]] == [
        ["busy", "blocked"],
        ["gone", "unreachable"],
    ]


class Terminal:
    """A terminal, and somebody who looks at it all the time."""

    def __init__(self):
        self.screen = pyte.Screen(400, 70)
        self.frames = []
        self.ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 70, 400, 0, 0))
        self.output = os.fdopen(theirs, "w")
        self.watcher = threading.Thread(target=self._watch)
        self.watcher.start()

    def _watch(self):
        stream = pyte.ByteStream(self.screen)
        while True:
            try:
                said = os.read(self.ours, 4096)
            except OSError:
                # Nobody has the other end any more.
                return
            stream.feed(said)
            self.frames.append([line.rstrip() for line in self.screen.display])

    def run(self, argv, cwd, env, timeout=600):
        """As forked_ansible.run, with this as its output."""
        command = forked_ansible.start(argv, cwd, env, self.output)
        return subprocess.CompletedProcess(argv, command.wait(timeout), "")

    def end(self):
        self.output.close()
        self.watcher.join(60)
        os.close(self.ours)


def test_on_a_terminal_there_is_a_bar_while_it_goes_on(hosts, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(forked_ansible, "run", terminal.run)
    try:
        patch(hosts, env=dict(OURS, TERM="xterm", COLUMNS="400"))
    finally:
        terminal.end()
    seen = {line for frame in terminal.frames for line in frame}
    bars = [line for line in seen if BAR in line]
    assert any(line.startswith("Survey ") and "/5 hosts" in line for line in bars), bars
    assert any("Wave 1 of " in line and " in all, about " in line for line in bars), bars
    lines = [line for line in terminal.frames[-1] if line]
    # At the end there is none, and nobody misses the cursor.
    assert not any(BAR in line for line in lines) and not terminal.screen.cursor.hidden
    check_lines(lines, hosts.rows())
    assert lines[-1].endswith(str(hosts.report / "report.html"))


def test_elsewhere_there_are_plain_lines(hosts):
    lines = patch(hosts, env=dict(OURS, TERM="xterm"))
    assert not any(BAR in line or "\x1b" in line or line.startswith("TASK") for line in lines)
    check_lines(lines, hosts.rows())
    # The playbook fails the two for its exit status: nobody has to read it twice.
    assert sum("code_busy" in line for line in lines) == 2
    assert len(lines) < 30, lines
    # What was asked for is an answer, and no step of a run.
    record = str(hosts.report / "record.json")
    asked = hosts.play(
        "rebootless.ksplice.query", env=OURS, ksplice_query="blocked", ksplice_record=record
    )
    assert "busy" in asked.output and "code_busy" in asked.output


@pytest.mark.thorough
def test_v_shows_what_the_default_shows_and_the_lines_within(hosts):
    lines = patch(hosts, "-v", env=OURS)
    assert any(line.startswith("TASK [Survey every host]") for line in lines)
    assert any(line.startswith("ok: [web1] => {") for line in lines)
    assert lines.count("2 hosts need attention:") == 1
    assert any(line.startswith("PLAY RECAP") for line in lines)


def test_beside_another_callback_the_lines_are_said_once(hosts):
    both = "test_events,rebootless.ksplice.rollout_lines"
    lines = patch(hosts, env={"ANSIBLE_CALLBACKS_ENABLED": both})
    assert any(line.startswith("TASK [Survey every host]") for line in lines)
    assert any(line.startswith("PLAY RECAP") for line in lines)
    check_lines(lines, hosts.rows())


def test_a_play_of_ones_own_says_what_it_changed_and_what_failed(hosts):
    probe = {"name": "Probe", "ansible.builtin.command": "false"}
    tasks = [
        {"name": "Change", "ansible.builtin.command": "true"},
        {"name": "List", "ansible.builtin.debug": {"msg": "{{ item }}"}, "loop": ["a", "b"]},
        {"name": "Try", "block": [probe], "rescue": [{"ansible.builtin.meta": "noop"}]},
        {**probe, "ignore_errors": True},
        {"name": "Say", "ansible.builtin.debug": {"msg": "all \x1b[31mwell"}},
        {"name": "Stand", "ansible.builtin.command": "true", "changed_when": False},
        {"name": "Look", "ansible.builtin.command": "false", "ignore_errors": True},
        {"name": "Loop", "ansible.builtin.command": "{{ item }}", "loop": ["true", "false"]},
    ]
    free = [
        {"name": "One", "ansible.builtin.command": "true"},
        {"name": "Two", "ansible.builtin.command": "true", "changed_when": False},
        {"name": "Three", "ansible.builtin.command": "true", "when": "inventory_hostname == 'one'"},
    ]
    play = [
        {"hosts": "web2,one", "gather_facts": False, "strategy": "free", "tasks": free},
        {"hosts": "web1,gone", "gather_facts": False, "tasks": tasks},
    ]
    done = hosts.play(play, env=OURS)
    assert done.status != 0
    said = [line for line in done.output.splitlines() if line]
    said = said[: next(at for at, line in enumerate(said) if line.startswith("PLAY RECAP"))]
    # ansible-core says more or less of it, by its release.
    said = [re.sub("(: )[^:]*(non-zero return code)[.]?$", r"\1\2", line) for line in said]
    assert sorted(said[:2]) == ["One: changed on 2 hosts", "Three: changed on 1 host"]
    assert said[2:] == [
        "gone: unreachable: The rehearsal simulates this host as unreachable.",
        "Change: changed on 1 host",
        "web1: a",
        "web1: b",
        "web1: Probe failed: non-zero return code",
        "web1: Probe failed (ignored): non-zero return code",
        "web1: all ?[31mwell",
        "web1: Look failed (ignored): non-zero return code",
        "web1: Loop failed: non-zero return code",
    ]
