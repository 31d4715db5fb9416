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

    def _lines(self):
        """The file's lines, and for each of the upstream's server lines its number, address and whether it is down."""
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
                server = re.search(r"(?:^|[\s{;])server\s+([^\s;]+)([^;]*);", bare)
                if server:
                    found.append((number, server.group(1), re.search(r"\bdown\b", server.group(2)) is not None))
                depth += bare.count("{") - bare.count("}")
                if depth <= 0 and "}" in bare:
                    inside = False
        return lines, found

    def _mine(self, found):
        mine = [one for one in found if one[1] in (self.server, self.server + ":80") or one[1].rpartition(":")[0] == self.server]
        if len(mine) != 1:
            raise Trouble("{} names {} {} times in the upstream {}: it must be one line `server {};`.".format(
                self.file, self.server, len(mine), self.upstream, self.server))
        return mine[0]

    def look(self):
        _lines, found = self._lines()
        mine = self._mine(found)
        if not mine[2] and not [one for one in found if one is not mine and not one[2]]:
            raise Trouble("{} is the last server of nginx's upstream {} that is not down.".format(self.server, self.upstream))
        return {"active": not mine[2], "drained": mine[2]}

    def plan(self, before, token):
        lines, found = self._lines()
        number = self._mine(found)[0]
        line = lines[number]
        after = re.sub(r"(server\s+{}[^;]*?)\s*;".format(re.escape(self._mine(found)[1])), r"\1 down;", line, count=1)
        return dict(before, before=line, after="{} {} {}".format(after.rstrip(), MARK, token))

    def drain(self, mark):
        lines = self._lines()[0]
        self._write(lines, [mark["after"] if line == mark["before"] else line for line in lines])

    def lacks(self, _mark):
        leaving = _leaving()
        return "{} workers of nginx still serve what they had begun".format(leaving) if leaving else None

    def undo(self, mark):
        lines = self._lines()[0]
        self._write(lines, [mark["before"] if line == mark["after"] else line for line in lines])

    def lacks_back(self, _mark):
        return "nginx has it down" if self._mine(self._lines()[1])[2] else None

    def _write(self, before, after):
        if after == before:
            return
        write_same(self.machine, self.file, "\n".join(after))
        for command in (["nginx", "-t", "-q"], ["nginx", "-s", "reload"]):
            rc, out, err = self.machine.run_command(command)
            if rc:
                write_same(self.machine, self.file, "\n".join(before))
                raise Trouble("`{}` failed, {} is as it was: {}".format(" ".join(command), self.file, " ".join((err or out).split())[:300]))


def _leaving():
    """How many workers are on their way out: they finish what they had begun."""
    count = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/{}/cmdline".format(pid), "rb") as file:
                count += file.read().startswith(b"nginx: worker process is shutting down")
        except OSError:
            continue
    return count
