# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Drain: a server in an upstream block of nginx, marked C(down) in the configuration on the host where nginx runs."""

import os
import re

from ansible_collections.rebootless.ksplice.plugins.module_utils.drains.common import Trouble, write_same

OPTIONS = {"file": (), "upstream": (), "server": ()}
REQUIRED = ("file", "upstream", "server")
MARK = "# rebootless.ksplice"


class Adapter:

    def __init__(self, machine, options):
        self.machine = machine
        self.file, self.upstream, self.server = options["file"], options["upstream"], options["server"]
        self.key = "nginx {} {} {}".format(self.file, self.upstream, self.server)
        self.old = []

    def _lines(self):
        """The file's lines, and each server of the upstream: the number of its line, its address, and whether it is down."""
        try:
            lines = self.machine.read(self.file).split("\n")
        except OSError as error:
            raise Trouble("{} cannot be read ({}).".format(self.file, error.strerror))
        inside, depth, found = False, 0, []
        for number, line in enumerate(lines):
            bare = line.partition("#")[0]
            if not inside and re.match(r"\s*upstream\s+{}\s*(\{{|$)".format(re.escape(self.upstream)), bare):
                inside, depth = True, 0
            if inside:
                for server in re.finditer(r"(?:^|[\s{;])server\s+([^\s;]+)([^;]*);", bare):
                    found.append((number, server.group(1), re.search(r"\bdown\b", server.group(2)) is not None))
                depth += bare.count("{") - bare.count("}")
                if depth <= 0 and "}" in bare:
                    inside = False
        return lines, found

    def _mine(self, found):
        mine = [one for one in found if one[1] in (self.server, self.server + ":80") or one[1].rpartition(":")[0] == self.server]
        if len(mine) != 1 or [one[0] for one in found].count(mine[0][0]) != 1:
            raise Trouble("{} has {} in its upstream {}: there must be one, `server {};`, on a line of its own.".format(
                self.file, "no server {}".format(self.server) if not mine else "the server {} {}".format(
                    self.server, "{} times".format(len(mine)) if len(mine) > 1 else "beside others"), self.upstream, self.server))
        return mine[0]

    def look(self):
        _lines, found = self._lines()
        mine = self._mine(found)
        others = [one for one in found if one is not mine and not one[2]]
        return {"active": not mine[2] and bool(self._masters()), "drained": mine[2],
                "refusal": None if others else "{} is the last server of nginx's upstream {} that is not down.".format(self.server, self.upstream)}

    def plan(self, before, token):
        lines, found = self._lines()
        number, address, _down = self._mine(found)
        after = re.sub(r"(server\s+{}[^;]*?)\s*;".format(re.escape(address)), r"\1 down;", lines[number], count=1)
        return dict(before, before=lines[number], after="{} {} {}".format(after.rstrip(), MARK, token), workers=self._workers())

    def drain(self, mark):
        lines, found = self._lines()
        number = self._mine(found)[0]
        # Another upstream may have the same line.
        self._write(lines, [mark["after"] if place == number and line == mark["before"] else line for place, line in enumerate(lines)])

    def lacks(self, mark):
        """The workers that were there before must be gone: one that has not been told yet takes new requests, one on its way out still serves old ones."""
        return self._still(mark["workers"], "{} of nginx's workers still serve what they had begun")

    def undo(self, mark):
        lines, found = self._lines()
        number, _address, down = self._mine(found)
        ours = lines[number] == mark["after"]
        if not ours and mark["workers"] and all(_stat(pid)[1] == started and not _leaving(pid) for pid, started in mark["workers"]):
            # nginx was never told.
            return None
        self.old = self._workers()
        # Also when there is nothing of ours in the file: a run may have died before it told nginx.
        self._write(lines, [mark["before"] if place == number and ours else line for place, line in enumerate(lines)])
        return "{} is down by somebody else's line, and stays so.".format(self.key) if down and not ours else None

    def lacks_back(self, mark):
        lines, found = self._lines()
        if lines[self._mine(found)[0]] == mark["after"]:
            return "nginx has it down"
        # Workers on their way out may take as long as they like; the new ones serve.
        return self._still([worker for worker in self.old if not _leaving(worker[0])], "{} of nginx's workers have not read the configuration again")

    def _write(self, before, after):
        if after != before:
            write_same(self.machine, self.file, "\n".join(after))
        for command in (["nginx", "-t", "-q"], ["nginx", "-s", "reload"] if self._masters() else None):
            rc, out, err = self.machine.run_command(command) if command else (0, "", "")
            if rc:
                if after != before:
                    write_same(self.machine, self.file, "\n".join(before))
                raise Trouble("`{}` failed, {} is as it was: {}".format(" ".join(command), self.file, " ".join((err or out).split())[:300]))

    def _masters(self):
        """The process that nginx's service is, or where there is no such service every master of this host; those of containers are none of them."""
        _rc, out, _err = self.machine.run_command(["systemctl", "show", "-p", "MainPID", "nginx"])
        main = out.strip().partition("=")[2]
        if main.isdigit() and main != "0":
            return [int(main)]
        return [pid for pid in _pids() if _words(pid).startswith(b"nginx: master process") and _space(pid) == _space("self")]

    def _workers(self):
        """The workers of the masters: process and when it was started, as a number is given anew."""
        masters = self._masters()
        found = []
        for pid in _pids():
            parent, started = _stat(pid)
            if parent in masters and _words(pid).startswith(b"nginx: worker process"):
                found.append([pid, started])
        return found

    @staticmethod
    def _still(workers, words):
        left = [pid for pid, started in workers if _stat(pid)[1] == started]
        return words.format(len(left)) if left else None


def _pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _words(pid):
    try:
        with open("/proc/{}/cmdline".format(pid), "rb") as file:
            return file.read()
    except OSError:
        return b""


def _leaving(pid):
    return _words(pid).startswith(b"nginx: worker process is shutting down")


def _space(pid):
    try:
        return os.readlink("/proc/{}/ns/pid".format(pid))
    except OSError:
        return None


def _stat(pid):
    """The parent of a process and when it was started; None for one that is not there (any more, but for its parent's not having noticed)."""
    try:
        with open("/proc/{}/stat".format(pid), encoding="utf-8", errors="replace") as file:
            words = file.read().rpartition(")")[2].split()
        return (None, None) if words[0] == "Z" else (int(words[1]), int(words[19]))
    except (OSError, IndexError):
        return None, None
