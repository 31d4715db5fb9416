# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Emulated hosts for the tests of what runs on managed hosts: the agent is the lab's, everything
else is the real code.
"""

import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import forked_agent  # noqa: E402 - it says where the agent is

# isort: split
import emulated_host  # noqa: E402
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import apply, facts, probe

KEY = "0123456789abcdef" * 4
KERNEL = {
    "release": "5.15.0-302.167.6.el9uek.x86_64",
    "version": "#2 SMP Tue Oct 29 17:10:51 PDT 2024",
    "machine": "x86_64",
}


def update(ident, name, minor=None, **more):
    effective = (
        {"release": f"5.15.0-{minor}.167.6.el9uek.x86_64", "version": KERNEL["version"]}
        if minor
        else None
    )
    return dict({"id": ident, "name": name, "effective": effective}, **more)


UPDATES = [
    update("aaaaaaa1", "Known exploit detection."),
    update("bbbbbbb2", "CVE-2026-1001, CVE-2026-1002: Use-after-free in foo.", 303),
    update("ccccccc3", "CVE-2026-1003: Null pointer dereference in [bar]: baz", 304),
    update("ddddddd4", "Improved fix for CVE-2026-1002: Double free in foo.", 305),
]
IDS = [one["id"] for one in UPDATES]


def clean(value):
    """The value, in which the planted access key must not be, wherever a line was broken."""
    assert KEY not in "".join(repr(value).replace("\\n", "").split())
    return value


class Host:
    """An emulated host, and the code under test bound to it."""

    def __init__(self, path, scenario, program):
        self.root = str(path)
        self.slept = []
        self.on_sleep = lambda: None
        self.commands = []
        # Whether each command of the agent is a program of its own, for tests of what happens when
        # it is killed.
        self.own_processes = False
        self.scenario = dict(
            {
                "kernel": KERNEL,
                "updates": UPDATES,
                "installed": [],
                "checked": "-600s",
                "accepted_keys": [KEY],
                "lock_wait": 0.1,
                "retry_wait": 0.01,
            },
            **scenario,
        )
        emulated_host.create_host(self.root, self.scenario, str(program))

    def path(self, name):
        return os.path.join(self.root, name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def change(self, **keys):
        emulated_host.change_scenario(self.root, **keys)

    def run(self, argv):
        """As AnsibleModule.run_command: rc, stdout, stderr. Keeps what was run."""
        if argv[0] == "timeout" and not self.own_processes:
            # The limit is of a program of its own.
            argv = argv[4:]
        self.commands.append([os.path.basename(argv[0])] + argv[1:])
        if not self.own_processes and os.path.basename(argv[0]).startswith("uptrack-"):
            rc, out, err = forked_agent.run(self.root, argv)
            return rc, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
        done = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=dict(os.environ, UPTRACK_LAB_ROOT=self.root),
        )
        out, err = done.communicate()
        return done.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")

    def probe(self, *how, **more):
        shell = more.get("shell", ["/bin/sh"])
        return clean(self.run(list(shell) + ["-c", probe.script(*how)])[1])

    def facts(self, *how, **more):
        return facts.facts(self.probe(*how), **more)

    def agent(self):
        os.environ["UPTRACK_LAB_ROOT"] = self.root
        try:
            return apply.Agent(self.run)
        finally:
            del os.environ["UPTRACK_LAB_ROOT"]

    def apply(self, check=False, **params):
        self.commands = []
        given = {name: spec.get("default") for name, spec in apply.ARGUMENTS.items()}
        given.update(params)
        return clean(
            apply.apply(self.agent(), given, check, "host", self.sleep, lambda: sum(self.slept))
        )

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.on_sleep()

    def agent_runs(self):
        """The agent's commands that the last apply started."""
        return [command for command in self.commands if command[0] != "sh"]

    def in_kernel(self):
        """The IDs that the emulated kernel holds: the truth to compare with."""
        directory = self.path("sys/kernel/ksplice")
        return sorted(
            name
            for name in (os.listdir(directory) if os.path.isdir(directory) else [])
            if self.stage(name) == "applied\n"
        )

    def stage(self, ident):
        """What the kernel says of an update; None of one that is just on its way in or out, as the
        agent may still be at work.
        """
        try:
            return self.read(f"sys/kernel/ksplice/{ident}/stage")
        except FileNotFoundError:
            return None


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """Where the emulated agent is, once for all hosts."""
    return tmp_path_factory.mktemp("program")


@pytest.fixture
def make_host(tmp_path, program):
    """make_host(**scenario): a new emulated host."""
    count = []

    def make(**scenario):
        count.append(1)
        return Host(tmp_path / f"host{len(count)}", scenario, program)

    return make


@pytest.fixture(scope="session")
def good_answer(tmp_path_factory, program):
    """What the probe says of a host with two updates in its kernel and two waiting."""
    return Host(tmp_path_factory.mktemp("answer") / "host", {"installed": IDS[:2]}, program).probe()
