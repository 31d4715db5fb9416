# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Four pairs of real hosts with keepalived and nginx, and what belongs to a fire test: clients,
faults, a way back to where everything began.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lab")]
import forked_ansible  # noqa: E402
import real_hosts  # noqa: E402
import watcher  # noqa: E402

# How the four pairs are configured, so that what is out there is covered: VRRP 2 with its default
# second, VRRP 3 in quick steps, unicast in included files, and a sync group of an IPv4 and an IPv6
# address.
PLAIN = """
vrrp_instance {pair} {{
    state {state}
    interface eth0
    virtual_router_id {router}
    priority {priority}
    advert_int 1
    virtual_ipaddress {{
        {address}/16
    }}
}}
"""
QUICK = "global_defs {{\n    vrrp_version 3\n}}\n" + PLAIN.replace("advert_int 1", "advert_int 0.2")
INCLUDED = """
! the instances are in files of their own
include conf.d/*.conf
"""
UNICAST = PLAIN.replace(
    "    virtual_ipaddress", "    unicast_peer {{\n        {peer}\n    }}\n    virtual_ipaddress"
)
SYNCED = """
global_defs {{
    vrrp_version 3
}}
vrrp_sync_group {pair} {{
    group {{
        {pair}-four
        {pair}-six
    }}
}}
vrrp_instance {pair}-four {{
    state BACKUP
    interface eth0
    virtual_router_id {router}
    priority {priority}
    advert_int 0.5
    virtual_ipaddress {{
        {address}/16
    }}
}}
vrrp_instance {pair}-six {{
    state BACKUP
    interface eth0
    virtual_router_id {router}
    priority {priority}
    advert_int 0.5
    virtual_ipaddress {{
        fd77::{router}/64
    }}
}}
"""
CONFIGURATIONS = {"a": PLAIN, "b": QUICK, "c": UNICAST, "d": SYNCED}
PAIRS = {pair: (f"{pair}1", f"{pair}2") for pair in CONFIGURATIONS}
FLAVOURS = {"a": "ubuntu", "b": "ubuntu", "c": "ol9", "d": "ol9"}
HOSTS = [name for members in PAIRS.values() for name in members]
ADDRESSES = {pair: f"10.77.250.{number}" for number, pair in enumerate(PAIRS, 1)}
KERNELS = {"a": "ubuntu", "b": "ubuntu", "c": "ol9", "d": "ol9"}


def keepalived(name, addresses):
    """The files of a host's keepalived.

    The first of each pair has the higher priority, so that it is active when nothing is wrong.
    """
    pair, first = name[0], name[1] == "1"
    peer = PAIRS[pair][first]
    text = CONFIGURATIONS[pair].format(
        pair=pair,
        state="MASTER" if first else "BACKUP",
        router=50 + list(PAIRS).index(pair),
        priority=150 if first else 100,
        address=ADDRESSES[pair],
        peer=addresses[peer],
    )
    if pair == "c":
        return {
            "/etc/keepalived/keepalived.conf": INCLUDED,
            "/etc/keepalived/conf.d/web.conf": text,
        }
    return {"/etc/keepalived/keepalived.conf": text}


class Pairs(real_hosts.Lab):
    """The fleet, and a control node of it that can be killed."""

    connect_timeout = 5  # a host that is cut off is asked several times over
    controls: list = []

    def describe(self):
        addresses = {name: f"10.77.0.{number + 1}" for number, name in enumerate(HOSTS, 1)}
        return {
            name: {
                "flavour": FLAVOURS[name[0]],
                "agent": ["uptrack"],
                "services": ["keepalived", "nginx"],
                "scenario": {"seconds_per_update": 0.3},
                "files": {**keepalived(name, addresses), "/var/www/html/index.html": name},
            }
            for name in HOSTS
        }

    # ---- a control node --------------------------------------------------------------------------

    def start_control(self, number, playbook="rebootless.ksplice.patch", *more, **variables):
        """Start a playbook (a name, or plays as data) as its own control node; the process comes
        back, its output goes to a file.
        """
        folder = Path(self.directory) / f"control{number}"
        folder.mkdir(exist_ok=True)
        if not isinstance(playbook, str):
            (folder / "play.yml").write_text(json.dumps(playbook))
            playbook = str(folder / "play.yml")
        settings = {
            "ksplice_report_directory": str(folder),
            "ksplice_retries": 0,
            "ksplice_retry_delay": 1,
            "ksplice_max_failures": 0,
            "ksplice_lease_seconds": 6,
            "ksplice_lease_wait": 30,
            "ksplice_drain_timeout": 30,
            **variables,
        }
        command = [
            "ansible-playbook",
            playbook,
            "-i",
            self.inventory(),
            "-e",
            json.dumps(settings),
            *more,
        ]
        self.controls.append(Control(command, folder, self.environment(folder)))
        return self.controls[-1]

    def environment(self, folder):
        # Control sockets of its own each: those of a control node that is killed die with it.
        return dict(
            os.environ,
            ANSIBLE_NOCOLOR="1",
            ANSIBLE_PIPELINING="true",
            ANSIBLE_LOCALHOST_WARNING="false",
            ANSIBLE_FORKS="20",
            ANSIBLE_LOAD_CALLBACK_PLUGINS="true",
            ANSIBLE_CALLBACK_PLUGINS=str(HERE.parent / "callbacks"),
            ANSIBLE_CALLBACKS_ENABLED="test_events",
            ANSIBLE_TEST_EVENTS=str(folder / "events.jsonl"),
            PWD=str(folder),
            # Without the last two Ansible waits for a host whose cable was cut for as long as TCP
            # does: a quarter of an hour.
            ANSIBLE_SSH_ARGS="-C -o ControlMaster=auto -o ControlPersist=60s "
            "-o ServerAliveInterval=3 -o ServerAliveCountMax=3",
        )

    def patch(self, number=1, *more, **variables):
        return self.start_control(number, "rebootless.ksplice.patch", *more, **variables).wait()

    # ---- clients ---------------------------------------------------------------------------------

    def clients(self, pairs, hosts):
        """Start the clients of these pairs and of these hosts' own addresses; see clients.py."""
        path = Path(self.directory) / "clients.jsonl"
        path.unlink(missing_ok=True)
        addresses = {pair: ADDRESSES[pair] for pair in pairs}
        own = {name: what["address"] for name, what in self.hosts().items() if name in hosts}
        return Clients(
            self,
            path,
            self.in_controller(
                [
                    sys.executable,
                    "-B",
                    str(HERE / "clients.py"),
                    str(path),
                    json.dumps(addresses),
                    json.dumps(own),
                ]
            ),
        )

    # ---- looking at the hosts, past the collection -----------------------------------------------

    def log_of(self, name):
        path = Path(self.root(name)) / "var/log/uptrack.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def spans(self, names=tuple(HOSTS)):
        """By the agents' own logs: host to the spans of time in which its
        kernel was being changed.
        """
        return {name: watcher.spans(self.log_of(name)) for name in names}

    def patched(self, names=tuple(HOSTS)):
        """Those of the hosts whose kernels have every update there is."""
        return [
            name
            for name in names
            if set(real_hosts.ids(KERNELS[name[0]])) == set(self.loaded(name))
        ]

    def holders(self, pair):
        """Who of a pair, as far as it is switched on, holds its address now."""
        found = []
        for name in PAIRS[pair]:
            if (
                self.is_on(name)
                and f" {ADDRESSES[pair]}/"
                in self.run(name, ["ip", "-o", "-4", "addr", "show", "dev", "eth0"], check=False)[1]
            ):
                found.append(name)
        return found

    def saved(self, name):
        path = Path(self.root(name)) / "var/lib/rebootless-ksplice/journal.json"
        return json.loads(path.read_text().splitlines()[0])["drained"] if path.exists() else []

    # ---- faults, and the way back ----------------------------------------------------------------

    def reset(self, names=tuple(HOSTS), seconds=0.3):
        """Where it all began: nothing in the kernels, no lease, no saved state, the first of each
        pair active.
        """
        addresses = {name: what["address"] for name, what in self.hosts().items()}
        for name in HOSTS:
            self.cable(name, True)
            if name in names and not self.is_on(name):
                self.start(name)
        self.wait(list(names))
        for name in names:
            self.change_scenario(
                name, seconds_per_update=seconds, failures=None, updates=self.first_updates(name)
            )
            conf = keepalived(name, addresses)
            here = all(
                (Path(self.root(name)) / path.lstrip("/")).read_text() == text
                for path, text in conf.items()
            )
            words = [
                (
                    "rm -rf /sys/module/ksplice_* /var/lib/rebootless-ksplice "
                    "/var/log/uptrack.log* /var/cache/uptrack/Linux /var/cache/uptrack/results"
                ),
                "rm -f /etc/systemd/system/keepalived.service.d/broken.conf /tmp/unwell",
                "systemctl unmask -q keepalived",
                "systemctl daemon-reload",
            ]
            if not here:
                for path, text in conf.items():
                    (Path(self.root(name)) / path.lstrip("/")).write_text(text)
                words.append("systemctl restart keepalived")
            words.append("systemctl start keepalived nginx")
            self.run(name, ["sh", "-c", "\n".join(words)])
        self.settle({name[0] for name in names})

    def is_on(self, name):
        try:
            return bool(self.pid(name))
        except SystemExit:
            return False

    def first_updates(self, name):
        return real_hosts.kernels.KERNELS[KERNELS[name[0]]]["updates"]

    def settle(self, pairs=tuple(PAIRS), seconds=40):
        """Wait until the first of each pair holds its address alone."""
        until = time.monotonic() + seconds
        while True:
            wrong = {
                pair: self.holders(pair) for pair in pairs if self.holders(pair) != [PAIRS[pair][0]]
            }
            if not wrong:
                return
            assert time.monotonic() < until, f"the addresses did not settle: {wrong}"
            time.sleep(0.3)


class Control:
    """A control node at work: one ansible-playbook, with all it started."""

    def __init__(self, command, folder, environment):
        self.folder, self.begun = folder, time.time()
        self.path = folder / "output"
        for left in (folder / "record.json", folder / "events.jsonl"):
            left.unlink(missing_ok=True)
        with open(self.path, "w", encoding="utf-8") as output:
            self.process = forked_ansible.start(command, folder, environment, output)

    def wait(self, seconds=400):
        self.status = self.process.wait(timeout=seconds)
        return self

    def kill(self):
        """Pull its plug: every process of it ends at once, ssh included; what runs on the hosts
        goes on as it would.
        """
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return self

    @property
    def running(self):
        return self.process.poll() is None

    @property
    def output(self):
        return self.path.read_text(errors="replace")

    @property
    def record(self):
        return json.loads((self.folder / "record.json").read_text())

    @property
    def rows(self):
        return {row["name"]: row for row in self.record["hosts"]}


class Clients:
    def __init__(self, fleet, path, pid):
        self.fleet, self.path, self.pid = fleet, path, pid
        until = time.monotonic() + 30
        while not path.exists() or path.stat().st_size < 4000:
            assert time.monotonic() < until, "the clients do not start"
            time.sleep(0.1)

    def end(self):
        """End them; what they saw comes back."""
        os.kill(self.pid, signal.SIGTERM)
        time.sleep(1.5)
        return watcher.Seen(
            json.loads(line) for line in self.path.read_text().splitlines() if line.endswith("}")
        )
