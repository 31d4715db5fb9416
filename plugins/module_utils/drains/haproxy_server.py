# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Drain: a server behind haproxy, by its runtime API on the host where haproxy runs."""

import socket

from ansible_collections.rebootless.ksplice.plugins.module_utils.drains.common import Trouble

OPTIONS = {"socket": (), "backend": (), "server": ()}
REQUIRED = ("backend", "server")
# Bits of srv_admin_state that a person (or this module) sets: maintenance and drain.
MAINTENANCE, DRAIN = 0x01, 0x08


class Adapter:

    def __init__(self, machine, options):
        self.machine = machine
        self.socket = options.get("socket") or "/run/haproxy/admin.sock"
        self.backend, self.server = options["backend"], options["server"]
        self.key = "haproxy {} {}/{}".format(self.socket, self.backend, self.server)

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
                        return answer.decode("utf-8", "replace")
                    answer += part
        except OSError as error:
            raise Trouble("haproxy's runtime API at {} does not answer ({}): it needs `stats socket {} level admin`.".format(
                self.socket, error.strerror or error, self.socket))

    def servers(self):
        lines = self.ask("show servers state {}".format(self.backend)).splitlines()
        names = next((line[1:].split() for line in lines if line.startswith("#")), None)
        if names is None:
            raise Trouble("haproxy has no backend {}: {}".format(self.backend, " ".join(" ".join(lines).split())[:200]))
        found = {}
        for line in lines:
            words = line.split()
            if not line.startswith("#") and len(words) >= 6:
                row = dict(zip(names, words))
                found[row["srv_name"]] = {"up": row["srv_op_state"] != "0", "admin": int(row["srv_admin_state"]), "drain": int(row["srv_admin_state"]) & (
                    MAINTENANCE | DRAIN) != 0}
        if self.server not in found:
            raise Trouble("haproxy's backend {} has no server {}; it has {}.".format(self.backend, self.server, ", ".join(sorted(found)) or "none"))
        return found

    def look(self):
        found = self.servers()
        mine = found[self.server]
        if not mine["drain"] and not [name for name, one in found.items() if name != self.server and one["up"] and not one["drain"]]:
            raise Trouble("{} is the last server of haproxy's backend {} that is up.".format(self.server, self.backend))
        return {"active": mine["up"] and not mine["drain"], "drained": mine["drain"]}

    def plan(self, before, _token):
        return dict(before)

    def drain(self, _mark):
        self._set("drain")

    def lacks(self, _mark):
        if not self.servers()[self.server]["drain"]:
            return "haproxy does not drain it"
        lines = self.ask("show stat").splitlines()
        names = lines[0].lstrip("# ").split(",")
        for line in lines[1:]:
            row = dict(zip(names, line.split(",")))
            if (row.get("pxname"), row.get("svname")) == (self.backend, self.server):
                return "{} sessions are still open".format(row["scur"]) if int(row.get("scur") or 0) else None
        return None

    def undo(self, _mark):
        self._set("ready")

    def lacks_back(self, _mark):
        mine = self.servers()[self.server]
        return "haproxy still drains it" if mine["drain"] else None if mine["up"] else "haproxy calls it down"

    def _set(self, state):
        answer = self.ask("set server {}/{} state {}".format(self.backend, self.server, state)).strip()
        if answer:
            raise Trouble("haproxy refused `set server {}/{} state {}`: {}".format(self.backend, self.server, state, answer))
