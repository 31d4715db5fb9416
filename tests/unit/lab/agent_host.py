# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""An emulated host as the tests see it: its commands are run by their names, its files read by
theirs.
"""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import forked_agent  # noqa: E402 - it says where the agent is

# isort: split
import emulated_host  # noqa: E402

AGENT_DIR = forked_agent.AGENT
RELEASE = "5.15.0-302.167.6.1.el9uek.x86_64"
VERSION = "#2 SMP Thu Nov 7 18:27:00 PST 2024"
KERNEL = {"release": RELEASE, "version": VERSION}

ENABLE = {"id": "aaaa1111", "name": "Enablement update for live patching."}
FIRST = {
    "id": "bbbb2222",
    "name": "CVE-2025-37798, CVE-2025-38177: Use-after-free in network schedulers.",
    "effective": {
        "release": "5.15.0-303.171.5.2.el9uek.x86_64",
        "version": "#2 SMP Wed Jan 8 12:00:00 PST 2025",
    },
}
SECOND = {
    "id": "cccc3333",
    "name": "CVE-2025-38477: Use-after-free in QFQ driver.",
    "requires": ["bbbb2222"],
    "effective": {
        "release": "5.15.0-304.171.4.el9uek.x86_64",
        "version": "#2 SMP Wed Feb 5 12:00:00 PST 2025",
    },
}

BOOTED = "Effective kernel version is 5.15.0-302.167.6.1.el9uek\n"
AFTER_FIRST = "Effective kernel version is 5.15.0-303.171.5.2.el9uek\n"
AFTER_SECOND = "Effective kernel version is 5.15.0-304.171.4.el9uek\n"


def line(update):
    return "[{}] {}\n".format(update["id"], update["name"])


def plain(text):
    """Output with its wrapping undone, as a parser has to do before it looks for words."""
    return " ".join(text.split())


class Host(object):
    def __init__(self, root, scenario, program_dir):
        self.root = str(root)
        self.scenario = emulated_host.create_host(self.root, scenario, str(program_dir))

    def path(self, relative):
        return os.path.join(self.root, relative)

    def read(self, relative):
        with open(self.path(relative), encoding="utf-8") as stream:
            return stream.read()

    def write(self, relative, text):
        path = self.path(relative)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)

    @property
    def cache(self):
        kernel = self.scenario["kernel"]
        return "var/cache/uptrack/Linux/{}/{}/{}".format(
            kernel["machine"], kernel["release"], kernel["version"]
        )

    def command(self, name):
        folder = "usr/bin" if name in ("uname", "uptrack-uname", "ksplice") else "usr/sbin"
        return self.path(os.path.join(folder, name))

    def start(self, name, *arguments, **kwargs):
        """The command as its own program, by the host's real link."""
        environment = {"UPTRACK_LAB_ROOT": self.root, "PATH": "/nonexistent", "LANG": "C.UTF-8"}
        environment.update(kwargs.pop("env", {}))
        return subprocess.Popen(
            [self.command(name)] + list(arguments),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **kwargs,
        )

    def full(self, name, *arguments, **kwargs):
        """(exit status, standard output, standard error)"""
        answer = kwargs.pop("answer", "").encode()
        if kwargs or not os.access(self.command(name), os.X_OK):
            process = self.start(name, *arguments, **kwargs)
            out, err = process.communicate(answer)
            status = process.returncode
        else:
            environment = {"PATH": "/nonexistent", "LANG": "C.UTF-8"}
            status, out, err = forked_agent.run(
                self.root, [self.command(name)] + list(arguments), answer, environment
            )
        return status, out.decode(), err.decode()

    def run(self, name, *arguments, **kwargs):
        """(exit status, standard output); nothing may be on standard error."""
        status, out, err = self.full("uptrack-" + name, *arguments, **kwargs)
        assert err == ""
        return status, out

    def change(self, **changes):
        self.scenario = emulated_host.change_scenario(self.root, **changes)

    @property
    def applied(self):
        return emulated_host.applied(self.root)
