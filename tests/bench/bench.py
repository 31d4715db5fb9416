# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""make bench: what a run costs, beside what others cost, measured in one sitting.

    bench.py [--check] [--pairs 5] [--hosts 50] [--rounds 3] [--only survey] …

What is compared is run in turns (A B A B …), so that whatever else the machine does meets both. The
figures are medians; with each stands the spread from the least to the most. Only ratios mean
something on another machine, and most limits are ratios. With --check the exit status is 1 where
a limit is missed.

On one machine the hosts take their CPU time from the controller. It is accounted apart: over
emulated hosts by the connection plugin of the bench, which runs the real commands; over ssh by what
sshd and its children used. Where only the controller matters, all hosts give the answer that the
first gave.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from machine import BUILD, Missing, cores, make_venv
from machines import SSHD, Bench, Broken, Cost, Fleet, Sshd

PING = [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.ping": {}}]}]
AGENT = "{{ ksplice_rehearsal_root }}/usr/sbin/uptrack-upgrade -y"
NOT_OURS = ("clustershell", "pyinfra")


def naive(*plays):
    """Plays of one shell task, which patches the hosts of a group and asks for no lease."""
    return [
        dict(play, gather_facts=False, tasks=[{"ansible.builtin.shell": AGENT}]) for play in plays
    ]


WAVES = naive({"hosts": "standby"}, {"hosts": "active"})
ONE_BY_ONE = naive({"hosts": "all", "serial": 1})


class Table:
    """Figures and limits."""

    def __init__(self):
        self.limits, self.missed, self.failed = [], [], []

    def costs(self, title, costs, reference):
        """A table of what was run in turns.

        :param costs: name to a list of costs.
        :param reference: the name that the ratios go by.
        """
        print(f"\n{title}")
        print(f"  {'':20}{'wall s':>26}{'controller CPU s':>28}{'host CPU s':>28}")
        for name, found in costs.items():
            row = f"  {name:20}"
            for what, width in (("wall", 26), ("controller", 28), ("host", 28)):
                values = [getattr(cost, what) for cost in found]
                of = median(costs[reference], what)
                ratio = f"×{statistics.median(values) / of:.2f}" if of else ""
                spread = f"({min(values):.2f}–{max(values):.2f})"
                told = f"{statistics.median(values):.2f} {spread} {ratio:>6}"
                row += f"{told:>{width}}"
            if not all(cost.finished for cost in found):
                row += "  not finished"
            print(row, flush=True)

    def limit(self, what, value, limit, unit=""):
        """One figure that may not be larger than its limit."""
        good = value <= limit
        line = f"{what}: {value:.2f}{unit}, limit {limit:.2f}{unit}"
        self.limits.append(("met   " if good else "MISSED") + f"  {line}")
        if not good:
            self.missed.append(line)

    def failure(self, what, error):
        self.failed.append(f"{what}: {error}")

    def close(self):
        print("\nLimits")
        for line in self.limits:
            print(f"  {line}")
        for line in self.failed:
            print(f"  FAILED  {line}")
        return 1 if self.missed or self.failed else 0


def median(costs, what):
    return statistics.median(getattr(cost, what) for cost in costs)


def in_turns(rounds, **runs):
    """Each run so many times, one after the other and then again."""
    found = {name: [] for name in runs}
    for _round in range(rounds):
        for name, run in runs.items():
            if found[name] and not found[name][-1].finished:
                # Once was enough.
                continue
            found[name].append(run())
    return {name.replace("_", " "): costs for name, costs in found.items()}


class Benches:
    def __init__(self, options, folder, table):
        self.options, self.folder, self.table = options, folder, table
        self.bench = Bench(
            folder,
            BUILD / "venv" / "bin",
            options.forks,
            options.round_trip,
            options.patience,
        )

    def fleet(self, name, hosts, pending=3):
        return Fleet(self.folder / name, hosts, pending).make()

    def patch(self, fleet, **environment):
        fleet.make()
        cost = self.bench.play(
            "rebootless.ksplice.patch",
            "-i",
            fleet.inventory,
            "-e",
            json.dumps(
                {
                    "ksplice_max_parallel": max(200, len(fleet.names)),
                    "ksplice_report_directory": str(fleet.report),
                }
            ),
            **environment,
        )
        if cost.finished:
            fleet.check_patched()
        return cost

    def naive(self, fleet, play):
        fleet.make()
        cost = self.bench.play(play, "-i", fleet.inventory)
        if cost.finished:
            fleet.check_kernels()
        return cost

    def rollout(self):
        """A rollout of pairs, beside plays of one task that ask for no lease."""
        pairs = self.options.pairs
        fleet = self.fleet("rollout", 2 * pairs)
        costs = in_turns(
            self.options.rounds,
            two_naive_waves=lambda: self.naive(fleet, WAVES),
            naive_one_by_one=lambda: self.naive(fleet, ONE_BY_ONE),
            this_collection=lambda: self.patch(fleet),
        )
        self.table.costs(f"{pairs} pairs, 0.3 s of agent", costs, "two naive waves")
        wall = median(costs["this collection"], "wall")
        self.table.limit(
            f"wall time of {pairs} pairs, by two naive waves",
            wall / median(costs["two naive waves"], "wall"),
            4,
        )
        self.table.limit(
            f"wall time of {pairs} pairs, by naive serial: 1",
            wall / median(costs["naive one by one"], "wall"),
            1,
        )

    def scaling(self):
        """What a member costs the controller in fleets of two sizes; what a worker keeps."""
        few, many = max(1, self.options.pairs // 10), max(2, self.options.pairs // 2)
        small, large = (self.fleet(f"scaling{pairs}", 2 * pairs) for pairs in (few, many))
        costs = in_turns(
            self.options.rounds,
            small=lambda: self.patch(small),
            large=lambda: self.patch(large),
            ping=lambda: self.bench.play(PING, "-i", large.inventory),
        )
        self.table.costs(f"{few} pairs and {many} pairs", costs, "ping")
        each = {
            name: median(costs[name], "controller") / len(fleet.names)
            for name, fleet in (("small", small), ("large", large))
        }
        self.table.limit(
            f"controller CPU for each member of {many} pairs, by that of {few}",
            each["large"] / each["small"],
            1.2,
        )
        self.table.limit(
            "memory of a worker above ping's",
            (median(costs["large"], "memory") - median(costs["ping"], "memory")) / 1e6,
            10,
            " MB",
        )

    def output(self):
        """A rollout as its callback shows it, beside the same as Ansible's default does."""
        pairs = max(1, self.options.pairs // 4)
        fleet = self.fleet("shown", 2 * pairs)

        def shown(callback):
            return self.patch(fleet, ANSIBLE_STDOUT_CALLBACK=callback)

        costs = in_turns(
            self.options.rounds,
            default=lambda: shown("ansible.builtin.default"),
            rollout=lambda: shown("rebootless.ksplice.rollout"),
        )
        self.table.costs(f"What is shown of {pairs} pairs", costs, "default")
        self.table.limit(
            "controller CPU of a rollout with its callback, by Ansible's default",
            median(costs["rollout"], "controller") / median(costs["default"], "controller"),
            1.05,
        )

    def survey(self):
        """The survey over real ssh, beside ping and what is not Ansible."""
        if not SSHD:
            raise Missing("sshd is not installed: apt-get install openssh-server")
        fleet = self.fleet("survey", self.options.ssh_hosts)
        probe = fleet.folder / "probe.sh"
        probe.write_text(self._probe())
        tools = make_venv(BUILD / "bench", self._core().python, "bench.txt") / "bin"
        pyinfra = fleet.folder / "pyinfra_hosts.py"
        with Sshd(fleet) as sshd:
            hosts = [
                (
                    name,
                    {
                        "ssh_hostname": "127.0.0.1",
                        "ssh_port": sshd.port,
                        "ssh_key": str(sshd.key),
                        "ssh_user": "root",
                        "ssh_strict_host_key_checking": "no",
                        "ssh_known_hosts_file": "/dev/null",
                    },
                )
                for name in fleet.names
            ]
            pyinfra.write_text(f"hosts = {hosts!r}\n")

            def over_ssh(*words, pipelining=False):
                def run():
                    before = sshd.cpu()
                    cost = self.bench.run(*words, ANSIBLE_PIPELINING=str(pipelining))
                    host = sshd.cpu() - before
                    return Cost(cost.wall, cost.controller, host, finished=cost.finished)

                return run

            def play(module, **options):
                path = fleet.folder / f"{module}.yml"
                tasks = [{module: {}}]
                path.write_text(
                    json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}])
                )
                return over_ssh("ansible-playbook", "-i", sshd.inventory, path, **options)

            # Connections are kept; the first costs what all of them have in common.
            play("ansible.builtin.ping")()
            costs = in_turns(
                self.options.rounds,
                ping=play("ansible.builtin.ping"),
                survey=play("rebootless.ksplice.uptrack_facts"),
                pipelined_ping=play("ansible.builtin.ping", pipelining=True),
                pipelined_survey=play("rebootless.ksplice.uptrack_facts", pipelining=True),
                clustershell=over_ssh(
                    tools / "clush",
                    "-q",
                    "-f",
                    self.options.forks,
                    "-w",
                    ",".join(fleet.names),
                    "-o",
                    f"-F {sshd.config}",
                    f"sh {probe}",
                ),
                pyinfra=over_ssh(
                    tools / "pyinfra",
                    "-y",
                    pyinfra,
                    "exec",
                    "--",
                    f"UPTRACK_LAB_ROOT={fleet.root('h1')} sh {probe}",
                ),
            )
        self.table.costs(
            f"{len(fleet.names)} hosts over ssh as Ansible is set up by default, and with"
            f" pipelining; {' and '.join(NOT_OURS)} run the same probe, from"
            " a file, over connections of their own",
            costs,
            "ping",
        )
        for where, limit in (("controller", 0.7), ("host", 0.25)):
            self.table.limit(
                f"{where} CPU of the survey over ssh, by ping's",
                median(costs["survey"], where) / median(costs["ping"], where),
                limit,
            )

    def status(self):
        """All of the playbook status, beside a play of one ping. Only the controller works."""
        for hosts in (max(10, self.options.hosts // 5), self.options.hosts):
            self._status(self.fleet(f"status{hosts}", hosts))

    def _status(self, fleet):
        hosts, report = len(fleet.names), f"ksplice_report_directory={fleet.report}"
        costs = in_turns(
            self.options.rounds,
            ping=lambda: self.bench.play(PING, "-i", fleet.inventory, replay=True),
            status=lambda: self.bench.play(
                "rebootless.ksplice.status", "-i", fleet.inventory, "-e", report, replay=True
            ),
        )
        rows = json.loads((fleet.report / "record.json").read_text())["hosts"]
        if [row["verdict"] for row in rows] != ["behind"] * hosts:
            raise Broken(f"not every host was surveyed, by {fleet.report}/record.json.")
        self.table.costs(f"Status of {hosts} hosts", costs, "ping")
        self.table.limit(
            f"controller CPU of status over {hosts} hosts, by a play of ping",
            median(costs["status"], "controller") / median(costs["ping"], "controller"),
            1.1,
        )

    def functions(self):
        """What is worked out in one go, of a fleet that is all behind."""
        hosts = self.options.fleet
        times = {}
        for _round in range(self.options.rounds):
            said = self._python(Path(__file__).with_name("functions.py"), hosts)
            for what, seconds in json.loads(said).items():
                times.setdefault(what, []).append(seconds)
        print(f"\n{hosts} hosts behind, CPU s")
        for what, found in times.items():
            print(
                f"  {what:34}{statistics.median(found):.2f} ({min(found):.2f}–{max(found):.2f})",
                flush=True,
            )
            self.table.limit(f"{what} of {hosts} hosts", statistics.median(found), 5, " s")

    def page(self):
        """The page of a large fleet in a browser: until it is painted, and until a key that is
        pressed in the filter has its effect on the screen.
        """
        hosts = self.options.page_hosts
        python = make_venv(
            BUILD / "venvs" / "browser",
            self._core().python,
            "browser.txt",
            self._core().requirement,
        )
        said = self._python(
            Path(__file__).with_name("page.py"),
            hosts,
            self.options.rounds,
            python=python / "bin" / "python",
        )
        print(f"\nThe page of {hosts} hosts in Chromium, ms")
        for what, (found, limit) in json.loads(said).items():
            median = statistics.median(found)
            print(f"  {what:34}{median:.0f} ({min(found):.0f}–{max(found):.0f})", flush=True)
            self.table.limit(f"{what}, {hosts} hosts", median, limit, " ms")

    def apply(self):
        """uptrack_apply with nothing to do: its payload, and what it costs the host besides."""
        fleet = self.fleet("apply", self.options.apply_hosts, pending=0)
        ansible = ("ansible", "all", "-i", fleet.inventory, "-m")
        costs = in_turns(
            self.options.rounds,
            ping=lambda: self.bench.run(*ansible, "ansible.builtin.ping"),
            empty_module=lambda: self.bench.run(*ansible, "empty"),
            agent=lambda: self.bench.run(*ansible, "ansible.builtin.raw", "-a", AGENT),
            uptrack_apply=lambda: self.bench.run(*ansible, "rebootless.ksplice.uptrack_apply"),
        )
        self.table.costs(f"{len(fleet.names)} hosts with nothing to do", costs, "ping")
        host = {name: median(found, "host") / len(fleet.names) for name, found in costs.items()}
        self.table.limit(
            "host CPU of uptrack_apply above its agent and an empty module",
            1000 * (host["uptrack apply"] - host["agent"] - host["empty module"]),
            50,
            " ms",
        )
        self.table.limit(
            "bytes sent for uptrack_apply, by ping's",
            median(costs["uptrack apply"], "sent") / median(costs["ping"], "sent"),
            1.15,
        )

    def _core(self):
        return [core for core in cores().values() if core][-1]

    def _python(self, *words, python=BUILD / "venv" / "bin" / "python"):
        done = subprocess.run(
            [python, *map(str, words)],
            # What is no command of Ansible's does not look for collections.
            env=dict(self.bench.environment, PYTHONPATH=str(BUILD / "collections")),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Broken(done.stderr[-2000:])
        return done.stdout

    def _probe(self):
        return self._python(
            "-c",
            "from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import probe;"
            "print(probe.script())",
        )


BENCHES = (
    "functions",
    "page",
    "apply",
    "survey",
    "status",
    "output",
    "scaling",
    "rollout",
)


def main():
    parser = argparse.ArgumentParser(
        description="What a run costs, beside what others cost, measured in one sitting."
    )
    parser.add_argument(
        "--check", action="store_true", help="end with status 1 where a limit is missed"
    )
    parser.add_argument(
        "--only", choices=BENCHES, action="append", help="measure this; may be repeated"
    )
    for name, default, words in (
        ("pairs", 100, "pairs of the rollout; a tenth and a half of them for how it scales"),
        ("hosts", 1000, "hosts of status, and a fifth of them"),
        ("fleet", 10000, "hosts of what is worked out in one go"),
        ("page-hosts", 5000, "hosts of the page in a browser"),
        ("ssh-hosts", 20, "hosts behind sshd"),
        ("apply-hosts", 10, "hosts of uptrack_apply"),
        ("rounds", 3, "how often each is measured"),
        ("forks", 50, "as Ansible's"),
        ("patience", 1800, "seconds after which a run is ended, and counts as it is"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{words} ({default})")
    parser.add_argument("--round-trip", type=float, default=0.01, help="seconds (0.01)")
    options = parser.parse_args()
    if not (BUILD / "venv").exists():
        raise Missing("There is no build/venv: make env.")
    table = Table()
    folder = Path(tempfile.mkdtemp(prefix="ksplice-bench-"))
    try:
        benches = Benches(options, folder, table)
        for name in options.only or BENCHES:
            try:
                getattr(benches, name)()
            except (Broken, Missing, OSError) as error:
                # The others are worth their time all the same.
                table.failure(name, error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    status = table.close()
    return status if options.check else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Missing as lack:
        sys.exit(str(lack))
