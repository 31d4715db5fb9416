# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Real hosts for the tests: systemd, sshd, dnf and apt, in namespaces of this machine; and Ansible
over them.
"""

from __future__ import annotations

import json
import os
import re
import sys
import zlib
from pathlib import Path

import forked_ansible
import yaml
from extent import ALL

TOP = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(TOP / "extensions/lab" / name) for name in ("namespaces", "packages")]
import kernels  # noqa: E402
import namespaced_hosts  # noqa: E402

# One for each checkout: two may run their tests on one machine, and each takes away what an earlier
# run of its own left (tests/tools/leftovers.py).
PREFIX = (
    os.environ.get("KSPLICE_TEST_PREFIX")
    or f"ksplice-{zlib.crc32(namespaced_hosts.cache_directory().encode()):08x}"
)
# Whose life is played from bare to retired: apt and dnf, and in the long play others.
OTHERS = ("life-ol10", "life-centos", "life-ol7")
LIVES = ("life-ubuntu", "life-ol9", *(OTHERS if ALL else ()))
# In no output of Ansible, whatever a test is about.
KEY = namespaced_hosts.KEY


class Lab(namespaced_hosts.NamespacedHosts):
    """A fleet, and Ansible over it."""

    def ansible(self, hosts, tasks, check=False, verbose=0, play=None, **variables):
        """Run tasks (data, or the name of a playbook) on hosts; the Run comes back."""
        path = Path(self.directory) / "play.yml"
        if isinstance(tasks, str):
            command = ["ansible-playbook", tasks, "-l", ",".join(hosts)]
        else:
            path.write_text(
                yaml.safe_dump(
                    [
                        dict(
                            {"hosts": list(hosts), "gather_facts": False, "tasks": tasks},
                            **(play or {}),
                        )
                    ],
                    sort_keys=False,
                )
            )
            command = ["ansible-playbook", str(path)]
        command += (
            ["-i", self.inventory(), "-e", json.dumps(variables)]
            + (["--check", "--diff"] if check else [])
            + (["-" + "v" * verbose] if verbose else [])
        )
        results = Path(self.directory) / "results.jsonl"
        results.unlink(missing_ok=True)
        environment = self.environment(ANSIBLE_TEST_EVENTS=str(results))
        done = forked_ansible.run(command, self.directory, environment)
        events = (
            [json.loads(line) for line in results.read_text().splitlines()]
            if results.exists()
            else []
        )
        assert KEY not in done.stdout and not any(KEY in json.dumps(event) for event in events)
        return Run(done, events)

    def environment(self, **more):
        """What Ansible runs with."""
        return dict(
            os.environ,
            ANSIBLE_NOCOLOR="1",
            ANSIBLE_PIPELINING="true",
            ANSIBLE_LOCALHOST_WARNING="false",
            ANSIBLE_LOAD_CALLBACK_PLUGINS="true",
            ANSIBLE_CALLBACK_PLUGINS=str(TOP / "tests/integration/callbacks"),
            ANSIBLE_CALLBACKS_ENABLED="test_events",
            ANSIBLE_FORKS="20",
            ANSIBLE_SSH_ARGS="-C -o ControlMaster=auto -o ControlPersist=120s",
            **more,
        )

    def turn(self, name):
        """A host's turn, as its journal shows it; None where there was none."""
        path = Path(self.root(name), "var/lib/rebootless-ksplice/journal.json")
        return json.loads(path.read_text().splitlines()[0])["turn"] if path.exists() else None

    def leases(self, name):
        """What a host has granted, and to whom."""
        path = Path(self.root(name), "var/lib/rebootless-ksplice/leases.json")
        return json.loads(path.read_text())["leases"] if path.exists() else []

    def traces(self, name):
        """What a host has of Ksplice: files, packages, trusted keys, updates in the kernel.

        Without what the emulated service keeps there.
        """
        files = self.run(
            name,
            [
                "find",
                "/etc",
                "/usr",
                "/var",
                "/sys/module",
                "-not",
                "-path",
                "/var/lib/uptrack-lab*",
                "-not",
                "-path",
                "/var/lib/dpkg/info/*",
                "(",
                "-iname",
                "*uptrack*",
                "-o",
                "-iname",
                "*ksplice*",
                "-o",
                "-name",
                "*lab-repo*",
                ")",
            ],
        )[1].split()
        rpms = self.run(name, ["rpm", "-qa", "uptrack*", "ksplice*", "gpg-pubkey*"], check=False)[
            1
        ].split()
        debs = [
            line
            for line in self.run(
                name,
                [
                    "dpkg-query",
                    "-W",
                    "-f",
                    "${Package} ${db:Status-Status}\n",
                    "uptrack*",
                    "ksplice*",
                ],
                check=False,
            )[1].splitlines()
            if not line.endswith("not-installed") and "no packages found" not in line
        ]
        return sorted(files) + sorted(rpms) + sorted(debs)

    def loaded(self, name):
        """The updates that the host's kernel says it has."""
        words = self.run(
            name,
            [
                "sh",
                "-c",
                (
                    "for f in /sys/module/ksplice_*/ksplice/stage; do [ -e "
                    "$f ] && echo $f $(cat $f); done; :"
                ),
            ],
        )[1]
        return sorted(re.findall(r"ksplice_(\w+)/ksplice/stage applied", words))

    def agent_log(self, name):
        return self.run(name, ["sh", "-c", "cat /var/log/uptrack.log 2>/dev/null || :"])[1]

    def vendor(self, name):
        """Options of uptrack_config for the lab's repository."""
        flavour = self.hosts()[name]["flavour"]
        tree = (
            "apt/"
            if flavour == "ubuntu"
            else f"yum/uptrack/{'centos' if flavour == 'centos8' else 'ol'}/$releasever/$basearch/"
        )
        key = "apt/ksplice-archive.asc" if flavour == "ubuntu" else "yum/RPM-GPG-KEY-ksplice"
        return {
            "repository": "vendor",
            "repository_url": f"https://lab-repo/{tree}",
            "repository_key": f"https://lab-repo/{key}",
            "repository_key_fingerprint": self.fingerprint,
        }

    @property
    def fingerprint(self):
        return (Path(self.packages) / "fingerprint").read_text().strip()

    def trouble(self, **what):
        """What goes wrong on the repositories' server from now on; without words, nothing."""
        path = Path(self.packages) / "trouble.json"
        path.unlink(missing_ok=True)
        if what:
            path.write_text(json.dumps(what))


class Run:
    def __init__(self, done, events):
        self.status, self.output, self.events = done.returncode, done.stdout, events

    def result(self, host, number=-1):
        """The result of a host's last task, or of the task of that number."""
        return [event["result"] for event in self.events if event["host"] == host][number]

    def msg(self, host):
        return next(
            event["result"].get("msg", "")
            for event in reversed(self.events)
            if event["host"] == host and event["what"] == "failed"
        )


def ids(kernel):
    """The updates that the service has for a kernel."""
    return [update["id"] for update in kernels.KERNELS[kernel]["updates"]]
