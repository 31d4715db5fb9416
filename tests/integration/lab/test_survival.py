# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Turns that lose what they lean on, on hosts with systemd: the process that carries them out, the
power, the network, the control node, the ssh connection.

One rollout brings each host into another state and holds it there; the fault comes for all of them
at once. Each host then ends its turn by itself, nothing of it stays behind, and the next run says
what happened.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import control_nodes
import pytest
from real_hosts import ids

# What a host's drains and checks run: it says that it was here, waits as long as it is held here,
# and is ill where that is wanted: with the update, or whatever is done.
GATE = """#!/bin/sh
echo $1 >>/root/trace
# Not the checks before the turn.
while [ -e /root/hold-$1 ] && { [ $1 = drain ] || [ -e /root/out ]; }; do sleep 0.3; done
case $1 in
drain) touch /root/out;;
restore) rm -f /root/out;;
check)
    if [ -e /root/unhealthy ]; then ls -d /sys/module/ksplice_* >/dev/null 2>&1 || exit 0
    else [ -e /root/out ] && [ -e /root/hopeless ] || exit 0; fi
    [ ! -e /root/slow ] || sed -i 's/"seconds_per_update": 0/"seconds_per_update": 900/' \\
        /var/lib/uptrack-lab/scenario.json
    exit 1;;
esac
"""
DRAIN = {"adapter": "custom", "drain": "/root/gate drain", "restore": "/root/gate restore"}
KERNELS = {
    "turn-ol9": "ol9",
    "turn-ubuntu": "ubuntu",
    "turn-ol10": "ol10",
    "turn-ol7": "ol7",
    "turn-centos": "centos8",
    "turn-next": "ol9-next",
}
# Where a host is held, and what it is ill with.
STATES = {
    "turn-ol9": ("applying", None),
    "turn-ubuntu": ("rolling_back", "unhealthy"),
    "turn-ol10": ("waiting", None),
    "turn-ol7": ("draining", None),
    "turn-centos": ("checking", None),
    "turn-next": ("restoring", None),
}
# Seconds without a sign of life after which the next run takes over, and for which a host waits for
# the checks elsewhere.
LEASE, VERDICT = 3, 30
UNITS = ("rebootless-ksplice-turn.service", "rebootless-ksplice-resume.service")
LEFT = (
    "/var/lib/rebootless-ksplice/turn.py",
    "/etc/systemd/system/rebootless-ksplice-resume.service",
    "/etc/systemd/system/multi-user.target.wants/rebootless-ksplice-resume.service",
    "/etc/cron.d/rebootless-ksplice",
    "/run/systemd/transient/rebootless-ksplice-turn.service",
)


def until(what, wanted, seconds=200):
    """Wait for something; the limit is for hangs."""
    end = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < end, f"it never came: {what()}"
        time.sleep(0.2)


def root(lab, name):
    return Path(lab.root(name), "root")


def trace(lab, name):
    path = root(lab, name) / "trace"
    return path.read_text().split() if path.exists() else []


def prepare(lab, states, faults):
    """Hosts with everything pending and nothing behind them, each to be held in a state."""
    for name, (state, ill) in states.items():
        # Nothing ends an agent for us on a host that only loses its network.
        slow = 20 if faults[name] == "cable" else 900
        lab.run(
            name,
            [
                "sh",
                "-c",
                # What the agent does at boot comes first.
                "systemctl is-system-running --wait >/dev/null; pkill -9 -f '[u]ptrack-'; "
                "rm -rf /sys/module/ksplice_* /var/lib/rebootless-ksplice /var/cache/uptrack/Linux "
                "/var/cache/uptrack/results /root/hold-* /root/unhealthy /root/hopeless /root/slow "
                "/root/trace /root/out",
            ],
        )
        lab.change_scenario(name, seconds_per_update=slow if state == "applying" else 0)
        gate = root(lab, name) / "gate"
        gate.write_text(GATE.replace("900", str(slow)))
        gate.chmod(0o755)
        wanted = [ill] if ill else []
        wanted += {
            "draining": ["hold-drain"],
            "checking": ["hold-check"],
            "rolling_back": ["slow"],
            "restoring": ["hold-restore"],
        }.get(state, [])
        for file in wanted:
            (root(lab, name) / file).touch()


def inventory(lab, states):
    """The inventory of the hosts, with their drains and checks."""
    whole = json.loads(Path(lab.inventory()).read_text())["all"]
    hosts = {}
    for name, (state, ill) in states.items():
        seconds = 0 if ill else 600
        here = {"name": "here", "command": "true", "run_on": "controller", "timeout": seconds}
        hosts[name] = dict(
            whole["hosts"][name],
            ksplice_ha_drain=[DRAIN],
            ksplice_ha_checks=[
                {"name": "gate", "command": "/root/gate check", "timeout": seconds},
                # One that is held while it restores must not wait for the others before.
                *([] if state == "restoring" else [here]),
            ],
        )
    path = Path(lab.directory) / "survival.json"
    path.write_text(json.dumps({"all": {"hosts": hosts, "vars": whole["vars"]}}))
    return path


class Rollout:
    """A control node that rolls over hosts, in a process group of its own."""

    def __init__(self, lab, states, *more, ssh=""):
        self.folder = Path(lab.directory) / "survival"
        self.folder.mkdir(exist_ok=True)
        self.output = self.folder / "output"
        variables = {
            "ksplice_report_directory": str(self.folder),
            "ksplice_retries": 0,
            "ksplice_lease_wait": 0,
            "ksplice_drain_timeout": 600,
            "ksplice_max_failures": 10,
            "ksplice_verdict_timeout": VERDICT,
            "rolling_lease_seconds": LEASE,
        }
        environment = lab.environment(ANSIBLE_TEST_EVENTS="/dev/null", PWD=str(self.folder))
        # Without the last two ssh waits for a host whose cable was pulled for as long as TCP does.
        environment["ANSIBLE_SSH_ARGS"] += (
            f" -o ServerAliveInterval=3 -o ServerAliveCountMax=2 {ssh}"
        )
        with open(self.output, "w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                ["ansible-playbook", "rebootless.ksplice.patch", "-i", inventory(lab, states)]
                + ["-e", json.dumps(variables), *more],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self):
        control_nodes.kill(self.process)

    def wait(self):
        self.process.wait(timeout=500)
        return self

    def record(self):
        return json.loads((self.folder / "record.json").read_text())

    def rows(self):
        return {row["name"]: row for row in self.record()["hosts"]}

    def said(self, name):
        """What the record's course says of a host."""
        return " ".join(one["what"] for one in self.record()["events"] if one["host"] == name)


def in_state(lab, name, state):
    turn = lab.turn(name)
    if not turn or turn["state"] != state:
        return False
    word = {"draining": "drain", "checking": "check", "restoring": "restore"}.get(state)
    if word:
        return trace(lab, name).count(word) and turn["steps"][-1]["ended"] is None
    return state != "applying" or "apply begin" in lab.agent_log(name).rpartition("run started")[2]


def held(lab, states):
    """Each host is in its state."""
    until(
        lambda: f"{states}, there is {[lab.turn(name) for name in states]}",
        lambda: all(in_state(lab, name, state) for name, (state, _ill) in states.items()),
    )


def main_pid(lab, name):
    unit = lab.run(name, ["systemctl", "show", "-p", "MainPID", "--value", UNITS[0]])[1]
    return int(unit)


def let_go(lab, states):
    """Open the gates: whoever is held goes on."""
    for name in states:
        for path in root(lab, name).glob("hold-*"):
            path.unlink()


def ended(lab, name):
    turn = lab.turn(name)
    return turn["state"] in ("restored", "stuck", "released") and (
        turn["steps"][-1]["ended"] is not None
    )


def nothing_behind(lab, name):
    """No file, no unit, no process of a turn that is over."""
    until(
        lambda: f"{name} cleaned up",
        lambda: not any(Path(lab.root(name) + path).is_symlink() for path in LEFT),
    )
    command = (
        f"ls -d {' '.join(LEFT)} 2>/dev/null; systemctl is-active {' '.join(UNITS)} | "
        "grep -v inactive; systemctl list-units --failed --plain --no-legend 'rebootless*'; "
        "pgrep -f -- '-I /var/lib/[r]ebootless-ksplice'; :"
    )
    seen = []

    def nothing():
        # Its process ends a moment after it has removed its files.
        seen[:] = lab.run(name, ["sh", "-c", command])
        return seen[0] == 0 and seen[1].strip() == ""

    until(lambda: f"{name} without {seen}", nothing, 30)


def judge(lab, name, state, ill, cut_off):
    """The host has ended its turn by its own checks.

    :param cut_off: whether the process was killed, as opposed to one that was only left alone.
    """
    turn = lab.turn(name)
    # What has ended as its order says, with nobody missed, has released its lease.
    kept = cut_off or turn["lost_controller"]
    rest = "stuck" if ill == "hopeless" else "restored" if kept else "released"
    assert turn["state"] == rest, turn
    assert (root(lab, name) / "out").exists() == (ill == "hopeless")
    assert bool(turn["resumed"]) == cut_off
    assert [entry["own"] for entry in lab.leases(name)] == [True] * kept, "its lease says so"
    if state == "draining" and cut_off:
        assert turn["reason_code"] == "interrupted" and turn["applied"] is None
        assert lab.loaded(name) == []
    elif ill:
        assert turn["reason_code"] == "unhealthy" and turn["rolled_back"]["ok"]
        assert lab.loaded(name) == []
    nothing_behind(lab, name)


def told(said, name, state, ill, cut_off):
    """The next run's record has what happened, and no doubt about it."""
    assert f"{name} was claimed by" in said and "could not be taken over" not in said, said
    if ill:
        assert "Unhealthy after the update: gate" in said and "rolled back" in said, said
    elif state == "draining" and cut_off:
        assert "cut off before anything was patched" in said, said
    elif state == "applying" and cut_off:
        assert "The apply was cut off" in said, said
    if ill == "hopeless":
        assert "NOT healthy without it" in said and "STILL OUT OF SERVICE" in said, said


def next_run(lab, states, faults):
    """Another run meets them: it says of each what happened, and patches what it may."""
    time.sleep(LEASE + 1)
    kept = [name for name in states if lab.leases(name)]
    for name, (_state, ill) in states.items():
        if ill == "unhealthy":
            (root(lab, name) / "unhealthy").unlink()
    run = Rollout(lab, states).wait()
    rows, output = run.rows(), run.output.read_text()
    for name, (state, ill) in states.items():
        if name in kept:
            told(run.said(name), name, state, ill, faults[name] != "cable")
        elif ill:
            assert "is released: gate" in run.said(name), run.said(name)
        if ill == "hopeless":
            assert rows[name]["still_drained"] and rows[name]["attention"], rows[name]
            continue
        assert rows[name]["verdict"] == "current" and not rows[name]["attention"], output[-3000:]
        assert lab.loaded(name) == sorted(ids(KERNELS[name]))
        assert lab.leases(name) == [] and not (root(lab, name) / "out").exists()
        nothing_behind(lab, name)


def survive(lab, states, faults, controller="killed"):
    """The rollout, the faults, the end of each turn, and the next run.

    :param states: host to where it is held, and what it is ill with.
    :param faults: host to what it loses: process, power, or cable.
    """
    prepare(lab, states, faults)
    control = Rollout(lab, states)
    try:
        held(lab, states)
        if controller == "killed":
            control.kill()
        for name, fault in faults.items():
            # The agent that runs has read its scenario; the next one is quick.
            (root(lab, name) / "slow").unlink(missing_ok=True)
            lab.change_scenario(name, seconds_per_update=0)
            if fault == "process":
                before = main_pid(lab, name)
                assert before, "systemd carries it out"
                lab.run(name, ["kill", "-9", str(before)])
                until(
                    lambda: f"systemd starts it anew on {name}",
                    lambda: main_pid(lab, name) not in (0, before),
                )
            elif fault == "power":
                lab.kill(name)
            else:
                lab.cable(name, False)
        let_go(lab, states)
        for name in (name for name, fault in faults.items() if fault == "power"):
            lab.start(name)
        for name, (state, ill) in states.items():
            until(lambda: f"the end of {name}: {lab.turn(name)}", lambda: ended(lab, name))
            until(
                lambda: f"systemd of {name}", lambda: lab.run(name, ["true"], check=False)[0] == 0
            )
            judge(lab, name, state, ill, faults[name] != "cable")
        if controller != "killed":
            control.wait()
            for name in states:
                row = control.rows()[name]
                assert row["verdict"] == "unreachable" and row["attention"], row
                assert "the next run reads the result" in row["reason"]
    finally:
        control.kill()
        for name in states:
            lab.cable(name, True)
    lab.wait(list(states))
    next_run(lab, states, faults)


def test_a_turn_survives_its_process_the_power_and_the_network(lab):
    """The control node is killed, and one host in the middle of its apply loses its power, one in
    its rollback the process, one that waits for the checks elsewhere its network.
    """
    faults = {"turn-ol9": "power", "turn-ubuntu": "process", "turn-ol10": "cable"}
    survive(lab, {name: STATES[name] for name in faults}, faults)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "fault, controller",
    [("process", "killed"), ("power", "killed"), ("cable", "killed"), ("cable", "running")],
)
def test_in_each_state(lab, fault, controller):
    """A control node that is there meets a host that it cannot reach any more, and says so."""
    states = dict(STATES)
    if fault == "power":
        states["turn-ubuntu"] = ("rolling_back", "hopeless")
    survive(lab, states, dict.fromkeys(states, fault), controller)
