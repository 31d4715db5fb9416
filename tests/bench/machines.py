# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What the bench measures on: emulated hosts, an sshd before them, commands and their cost."""

from __future__ import annotations

import getpass
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "extensions" / "lab" / "rehearsal"))
import hosts as rehearsal

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
TICK = os.sysconf("SC_CLK_TCK")


class Broken(Exception):
    """Something did not do its work, so that what it cost means nothing."""


@dataclass(frozen=True)
class Cost:
    """What a command cost: seconds by the clock, CPU seconds here and there.

    :param sent: bytes for each command of a host.
    :param memory: bytes that a worker had for itself.
    """

    wall: float
    controller: float
    host: float = 0.0
    sent: float = 0.0
    memory: float = 0.0
    finished: bool = True


class Bench:
    """Commands with an environment of their own.

    :param programs: folder of ansible-playbook.
    """

    def __init__(self, folder, programs, forks, round_trip, patience):
        self.folder, self.programs, self.patience = folder, programs, patience
        self.books = folder / "books"
        self.replay = folder / "replay"
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "PWD": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
            "ANSIBLE_FORKS": str(forks),
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_HOST_KEY_CHECKING": "false",
            "ANSIBLE_COLLECTIONS_PATH": str(TOP / "build" / "collections"),
            "ANSIBLE_CONNECTION_PLUGINS": str(Path(__file__).parent / "plugins" / "connection"),
            "ANSIBLE_LIBRARY": str(folder / "modules"),
            "BENCH_BOOKS": str(self.books),
            "BENCH_ROUND_TRIP": str(round_trip),
        }
        (folder / "ansible.cfg").write_text("")
        (folder / "home").mkdir()
        (folder / "modules").mkdir()
        (folder / "modules" / "empty.py").write_text(
            "#!/usr/bin/python\n"
            "from ansible.module_utils.basic import AnsibleModule\n\n"
            "if __name__ == '__main__':\n    AnsibleModule(argument_spec={}).exit_json()\n"
        )

    def run(self, *words, replay=False, status=0, **variables):
        """Run a command to its end, or until patience ends.

        :param replay: let only the controller work.
        :param status: the exit status without which it did not do its work.
        :param variables: of its environment.
        """
        environment = dict(self.environment, **variables)
        if replay:
            shutil.rmtree(self.replay, ignore_errors=True)
            self.replay.mkdir()
            environment["BENCH_REPLAY"] = str(self.replay)
        self.books.write_text("")
        with open(self.folder / "output", "w+", encoding="utf-8", errors="replace") as output:
            before, begun = _children(), time.monotonic()
            process = subprocess.Popen(
                [str(word) for word in words],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                process.wait(self.patience)
                finished = True
            except subprocess.TimeoutExpired:
                finished = False
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            wall, cpu = time.monotonic() - begun, _children() - before
            output.seek(0)
            said = output.read()
        if finished and process.returncode != status:
            raise Broken(
                f"{' '.join(map(str, words))[:200]} ended with status {process.returncode}:"
                f" {said[-2000:]}"
            )
        notes = [line.split() for line in self.books.read_text().splitlines()]
        host = sum(float(note[0]) for note in notes)
        workers = {}
        for note in notes:
            workers[note[3]] = max(workers.get(note[3], 0), int(note[4]))
        return Cost(
            wall,
            cpu - host,
            host,
            statistics.median([int(note[2]) for note in notes] or [0]),
            statistics.median(workers.values() or [0]),
            finished,
        )

    def play(self, name, *more, **options):
        """A playbook, by name or as data."""
        if not isinstance(name, str):
            path = self.folder / "play.yml"
            path.write_text(json.dumps(name))
            name = path
        return self.run("ansible-playbook", name, *more, **options)


def _children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Fleet:
    """Emulated hosts h1, h2, …, where two make a pair.

    :param pending: updates that wait on each; one takes 0.1 s to install.
    """

    def __init__(self, folder, hosts, pending=3):
        self.folder, self.pending = folder, pending
        self.names = [f"h{number}" for number in range(1, hosts + 1)]
        self.inventory = folder / "bench.yml"
        self.report = folder / "report"

    def root(self, name):
        return self.folder / "hosts" / name

    def make(self):
        """Make them anew, as if nothing had been installed."""
        hosts = {
            name: {
                "rehearsal": {"kernel": "ol9-uek7", "pending": self.pending},
                "vars": {
                    "ksplice_ha_group": f"pair{number // 2}",
                    "ksplice_ha_role": ("standby", "active")[number % 2],
                },
            }
            for number, name in enumerate(self.names)
        }
        wish = {
            "directory": str(self.folder),
            "not_enrolled": [],
            "python": "/usr/bin/python3",
            "hosts": hosts,
        }
        self.folder.mkdir(exist_ok=True)
        shutil.rmtree(self.report, ignore_errors=True)
        self.inventory.unlink(missing_ok=True)
        rehearsal.make(wish)
        everybody = json.loads((self.folder / "inventory.yml").read_text())
        everybody["all"]["vars"]["ansible_connection"] = "bench"
        everybody["all"]["children"] = {
            role: {"hosts": {name: {} for name in self.names[place::2]}}
            for place, role in enumerate(("standby", "active"))
        }
        self.inventory.write_text(json.dumps(everybody))
        return self

    def check_patched(self):
        """By the record, and by the hosts themselves."""
        rows = json.loads((self.report / "record.json").read_text())["hosts"]
        patched = [row["name"] for row in rows if row["verdict"] == "current" and row["installed"]]
        if len(patched) != len(self.names):
            raise Broken(f"{len(patched)} of {len(self.names)} hosts were patched, by the record.")
        self.check_kernels()

    def check_kernels(self):
        for name in self.names:
            if len(list(self.root(name).glob("sys/kernel/ksplice/*/stage"))) < 12:
                raise Broken(f"{name} is not patched, whatever the record says.")


class Sshd:
    """One sshd before all hosts of a fleet. Which host it is, the client says: UPTRACK_LAB_ROOT."""

    def __init__(self, fleet):
        folder = fleet.folder / "ssh"
        folder.mkdir()
        for name in ("host_key", "key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)],
                check=True,
            )
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (folder / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/key.pub\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 500\nMaxSessions 500\n"
            "AcceptEnv UPTRACK_LAB_ROOT\n"
            # Or bash takes itself for the first and reads what the user has for a terminal.
            "SetEnv SHLVL=2\n"
        )
        self.config = folder / "ssh_config"
        self.config.write_text(
            "".join(
                f"Host {name}\n  SetEnv UPTRACK_LAB_ROOT={fleet.root(name)}\n"
                for name in fleet.names
            )
            + f"Host *\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n"
            f"  IdentityFile {folder}/key\n  StrictHostKeyChecking no\n"
            "  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  BatchMode yes\n"
        )
        self.port, self.key = port, folder / "key"
        self.inventory = folder / "inventory.yml"
        self.inventory.write_text(
            json.dumps(
                {
                    "all": {
                        "hosts": {name: {} for name in fleet.names},
                        "vars": {
                            "ansible_connection": "ssh",
                            "ansible_ssh_args": f"-F {self.config} -o ControlMaster=auto"
                            " -o ControlPersist=300",
                            "ansible_control_path_dir": str(folder),
                            "ansible_python_interpreter": "/usr/bin/python3",
                            "ansible_remote_tmp": str(folder / "tmp"),
                        },
                    }
                }
            )
        )
        self.process = None

    def __enter__(self):
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.process = subprocess.Popen(
            [SSHD, "-D", "-f", str(self.config.with_name("sshd_config"))],
            stderr=subprocess.DEVNULL,
        )
        for _attempt in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.1)
        raise Broken("sshd does not answer.")

    def __exit__(self, *_error):
        # Sessions outlive the listener, and the clients that were kept end with them.
        for pid in reversed(self._tree()):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        self.process.wait(10)

    def cpu(self):
        """CPU seconds of the sshd and all that it ever started, ended or not."""
        total = 0
        for pid in self._tree():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += sum(map(int, fields[11:15]))
        return total / TICK

    def _tree(self):
        found = [self.process.pid]
        for pid in found:
            try:
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            except OSError:
                continue
        return found
