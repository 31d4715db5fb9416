# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Drain: a server behind haproxy, by its runtime API on the host where haproxy runs."""

import csv
import socket

from ansible_collections.rebootless.ksplice.plugins.module_utils.drain.common import Trouble

OPTIONS = {"socket": (), "backend": (), "server": ()}
REQUIRED = ("backend", "server")
# srv_admin_state: what the API's `state drain` sets; and what sets it, or maintenance, by whichever
# way (an API, the configuration, a server that is tracked).
DRAIN, OUT = 0x08, 0x01 | 0x02 | 0x04 | 0x08 | 0x10
# srv_op_state of a server that takes new sessions: starting and running.
SERVING = ("1", "2")


class Adapter:
    def __init__(self, machine, options):
        self.machine = machine
        self.socket = options.get("socket") or "/run/haproxy/admin.sock"
        self.backend, self.server = options["backend"], options["server"]
        self.key = f"haproxy {self.socket} {self.backend}/{self.server}"

    def ask(self, command):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(10)
                connection.connect(self.machine.root + self.socket)
                connection.sendall((command + "\n").encode())
                answer = b""
                while True:
                    part = connection.recv(65536)
                    if not part:
                        break
                    answer += part
        except OSError as error:
            raise Trouble(
                f"haproxy's runtime API at {self.socket} does not answer "
                f"({error.strerror or error}): haproxy must run, with `stats socket {self.socket} "
                "level admin`."
            )
        answer = answer.decode("utf-8", "replace")
        if answer.lstrip().startswith("Permission denied"):
            raise Trouble(
                f"haproxy's runtime API at {self.socket} refuses `{command}`: it needs `stats "
                f"socket {self.socket} level admin`."
            )
        return answer

    def servers(self):
        lines = self.ask(f"show servers state {self.backend}").splitlines()
        names = next((line[1:].split() for line in lines if line.startswith("#")), None)
        if names is None:
            raise Trouble(
                "haproxy has no backend {} ({}).".format(
                    self.backend, " ".join(" ".join(lines).split())[:200].rstrip(".")
                )
            )
        found = {}
        for line in lines:
            words = line.split()
            if not line.startswith("#") and len(words) >= 6:
                row = dict(zip(names, words))
                admin = int(row["srv_admin_state"])
                found[row["srv_name"]] = {
                    "up": row["srv_op_state"] in SERVING,
                    "draining": admin & DRAIN != 0,
                    "out": admin & OUT != 0,
                    "weight": int(row["srv_uweight"]),
                }
        if self.server not in found:
            raise Trouble(
                "haproxy's backend {} has no server {}; it has {}.".format(
                    self.backend, self.server, ", ".join(sorted(found)) or "none"
                )
            )
        return found

    def look(self):
        found = self.servers()
        mine = found[self.server]
        # A server of weight 0 is what others call drained: it gets nothing new.
        others = [
            name
            for name, one in found.items()
            if name != self.server and one["up"] and not one["out"] and one["weight"]
        ]
        return {
            "active": mine["up"] and not mine["out"] and mine["weight"] > 0,
            "drained": mine["out"],
            "refusal": None
            if others
            else (
                f"{self.server} is the last server of haproxy's backend {self.backend} that is up."
            ),
        }

    def plan(self, before, _token):
        return dict(before)

    def drain(self, _saved):
        self._set("drain")

    def lacks(self, _saved):
        if not self.servers()[self.server]["draining"]:
            return "haproxy does not drain it"
        lines = self.ask("show stat").splitlines()
        names = lines[0].lstrip("# ").split(",")
        for words in csv.reader(lines[1:]):
            row = dict(zip(names, words))
            if (row.get("pxname"), row.get("svname")) == (self.backend, self.server):
                open_now = int(row.get("scur") or 0) + int(row.get("qcur") or 0)
                return (
                    "{} still open".format(
                        "one session is" if open_now == 1 else f"{open_now} sessions are"
                    )
                    if open_now
                    else None
                )
        return "haproxy's statistics do not report its sessions"

    def restore(self, _saved):
        found = self.servers()[self.server]
        if found["draining"]:
            # `ready` would end maintenance as well; but these two exclude each other.
            self._set("ready")
        elif found["out"]:
            return (
                f"{self.key} was put into maintenance by another party meanwhile, and was left so."
            )
        return None

    def lacks_restored(self, _saved):
        mine = self.servers()[self.server]
        return (
            "haproxy still drains it"
            if mine["draining"]
            else None
            if mine["up"] or mine["out"]
            else "haproxy reports it as down"
        )

    def _set(self, state):
        answer = self.ask(f"set server {self.backend}/{self.server} state {state}").strip()
        if answer:
            raise Trouble(
                f"haproxy refused `set server {self.backend}/{self.server} state {state}`: {answer}"
            )
