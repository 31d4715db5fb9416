# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Rehearsal fleets for the tests: the real playbooks, by the real commands, over emulated hosts."""

from __future__ import annotations

import copy
import glob
import hashlib
import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import forked_ansible
import pytest
import yaml

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "extensions" / "lab" / "agent"))
import emulated_host  # noqa: E402
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.rollout import rehearsal_hosts  # noqa: E402

# The key that the rehearsal plants in each host's uptrack.conf.
KEY = hashlib.sha256(b"rehearsal").hexdigest()
UEK7, UEK6 = {"kernel": "ol9-uek7"}, {"kernel": "ol8-uek6"}


def again(*values):
    """A case that `make test-all` plays, beside one of its kind that is always played."""
    return pytest.param(*values, marks=pytest.mark.thorough)


class Run:
    """What one command of Ansible did."""

    def __init__(self, done, events):
        self.status, self.output = done.returncode, done.stdout
        self.events = events

    def host_tasks(self, host, own=True):
        """The names of a host's tasks; with own, without those that the controller did once in its
        place.
        """
        return [
            event["task"]
            for event in self.events
            if event["host"] == host
            and not (own and (event["run_once"] or event["delegated"] == "localhost"))
        ]

    def result(self, task, host):
        return next(
            event["result"]
            for event in self.events
            if event["host"] == host and event["task"].endswith(task)
        )


class Rehearsal:
    """An inventory, and the emulated hosts that a rehearsal makes of it."""

    def __init__(self, directory, hosts, **variables):
        self.directory = directory
        self.inventory = directory / "inventory.yml"
        self.inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": variables}}))
        self.hosts = {name: dict(variables, **(own or {})) for name, own in hosts.items()}
        self.made = directory / "fleet"
        self.report = directory / "report"
        self.names = list(hosts)

    def other(self, name):
        """The same hosts from another controller: with files of its own, beside
        this one at work.
        """
        other = copy.copy(self)
        other.directory = self.directory / f"controller{name}"
        other.directory.mkdir()
        other.report = other.directory / "report"
        return other

    @property
    def emulated(self):
        """The inventory of the emulated hosts, once they are made."""
        return self.made / "inventory.yml"

    def root(self, host):
        return self.made / "hosts" / host

    def command(self, *argv, env=None):
        events = self.directory / "events.jsonl"
        if events.exists():
            events.unlink()
        environment = dict(
            os.environ,
            ANSIBLE_NOCOLOR="1",
            ANSIBLE_LOCALHOST_WARNING="false",
            ANSIBLE_HOST_KEY_CHECKING="false",
            ANSIBLE_CALLBACK_PLUGINS=str(Path(__file__).parent / "callbacks"),
            ANSIBLE_CALLBACKS_ENABLED="test_events",
            ANSIBLE_LOAD_CALLBACK_PLUGINS="true",
            ANSIBLE_TEST_EVENTS=str(events),
            PWD=str(self.directory),
            COLUMNS="400",
        )
        environment.update(env or {})
        done = forked_ansible.run([str(word) for word in argv], self.directory, environment)
        # Whatever a test is about: the planted key is in no output, result, or record.
        for what in (
            done.stdout,
            events.read_text() if events.exists() else "",
            *(path.read_text() for path in self.report.glob("*")),
        ):
            assert KEY not in what
        lines = events.read_text().splitlines() if events.exists() else []
        return Run(done, [json.loads(line) for line in lines])

    def rehearse(self, *more, **variables):
        extra = dict(
            ksplice_rehearsal_directory=str(self.made),
            ksplice_report_directory=str(self.report),
            **variables,
        )
        return self.command(
            "ansible-playbook",
            "rebootless.ksplice.rehearse",
            "-i",
            self.inventory,
            "-e",
            json.dumps(extra),
            *more,
        )

    def make(self):
        """Make the emulated hosts and do nothing with them, as the playbook does."""
        wish = {
            "directory": str(self.made),
            "not_enrolled": [],
            "python": sys.executable,
            "hosts": rehearsal_hosts(self.hosts, list(self.hosts)),
        }
        done = subprocess.run(
            [sys.executable, str(TOP / "extensions/lab/rehearsal/hosts.py")],
            input=json.dumps(wish),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return self

    def play(self, playbook, *more, env=None, **variables):
        """A playbook of the collection, by name, or a play as data, over the emulated hosts."""
        extra = dict(
            dict(
                ksplice_report_directory=str(self.report),
                ksplice_retries=0,
                ksplice_retry_delay=0,
                ksplice_lease_wait=0,
                rolling_lease_wait=0,
            ),
            **variables,
        )
        if not isinstance(playbook, str):
            path = self.directory / "play.yml"
            path.write_text(yaml.safe_dump(playbook, sort_keys=False))
            playbook = path
        return self.command(
            "ansible-playbook",
            playbook,
            "-i",
            self.emulated,
            "-e",
            json.dumps(extra),
            *more,
            env=env,
        )

    def record(self):
        return json.loads((self.report / "record.json").read_text())

    def rows(self):
        return {row["name"]: row for row in self.record()["hosts"]}

    def kernel(self, host):
        """The IDs that a host's emulated kernel holds."""
        return sorted(
            Path(path).parent.name
            for path in glob.glob(str(self.root(host) / "sys/kernel/ksplice/*/stage"))
            if Path(path).read_text() == "applied\n"
        )

    def kernels(self):
        return {name: self.kernel(name) for name in self.names}

    def agent_log(self, host):
        path = self.root(host) / "var/log/uptrack.log"
        return path.read_text() if path.exists() else ""

    def agent_runs(self, host):
        return self.agent_log(host).count("run started")

    def patched_when(self, host):
        """By the agent's own log, apart from anything the collection says: when updates went in, as
        (start, end).
        """
        found, begun = [], None
        for line in self.agent_log(host).splitlines():
            match = re.match(r"(\S+ \S+) \[\d+\] EVENT: apply (begin|end): ", line)
            if match and match.group(2) == "begin":
                begun = datetime.fromisoformat(match.group(1))
            elif match and begun:
                found.append((begun, datetime.fromisoformat(match.group(1))))
                begun = None
        return found

    def never_two(self, *groups):
        """The watcher: asserts that no two members of a group were being patched in the same span
        of time.
        """
        for members in groups:
            spans = []
            for name in members:
                changes = self.patched_when(name)
                if changes:
                    spans.append((changes[0][0], changes[-1][1], name))
            assert spans, f"none of {members} was patched: there is nothing to see"
            spans.sort()
            for (_start, end, one), (start, _end, other) in zip(spans, spans[1:]):
                assert end <= start, f"{one} and {other} were claimed at once: {spans}"

    def change(self, host, **keys):
        emulated_host.change_scenario(str(self.root(host)), **keys)


def pair(group, *names, **rehearsal):
    """Hosts of one redundancy group with three updates pending."""
    wish = dict(UEK7, pending=3, **rehearsal)
    return {name: {"ksplice_ha_group": group, "ksplice_rehearsal": wish} for name in names}


def alone(*names, **rehearsal):
    wish = dict(dict(UEK7, pending=2), **rehearsal)
    return {name: {"ksplice_rehearsal": wish} for name in names}
