# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Drain: a server in an upstream block of nginx, marked C(down) in the configuration on the host
where nginx runs.
"""

import glob
import os

from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import nginx_config
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain.common import (
    Trouble,
    write_same,
)

OPTIONS = {"file": (), "upstream": (), "server": ()}
REQUIRED = ("file", "upstream", "server")
MARK = "# rebootless.ksplice"


def mistake(given):
    """What is wrong with the options, in a sentence, or None."""
    return (
        None
        if given["file"].startswith("/")
        else "file is {!r}: give an absolute path.".format(given["file"])
    )


class Adapter:
    def __init__(self, machine, options):
        self.machine = machine
        self.file, self.upstream, self.server = (
            options["file"],
            options["upstream"],
            options["server"],
        )
        self.key = f"nginx {self.file} {self.upstream} {self.server}"
        self.old = []

    def _servers(self):
        """The servers of the upstream, and the one to be drained."""
        try:
            found = nginx_config.servers(
                self.machine.read, self._matching, self.file, self.upstream
            )
        except OSError as error:
            raise Trouble(f"{error.filename or self.file} cannot be read ({error.strerror}).")
        except nginx_config.Unreadable as error:
            raise Trouble(f"nginx's configuration cannot be parsed: {error}.")
        if not found:
            raise Trouble(
                f"{self.file} and the files that it includes have no upstream {self.upstream}."
            )
        mine = [
            one
            for one in sum(found, [])
            if one.address in (self.server, self.server + ":80")
            or one.address.rpartition(":")[0] == self.server
            or one.address + ":80" == self.server
        ]
        if len(mine) != 1:
            there = (
                ", ".join(
                    f"{one.address} (line {one.line} of {one.path})"
                    for one in mine or sum(found, [])
                )
                or "none"
            )
            raise Trouble(
                "the upstream {} in {} has {} {}, and there must be one. It has {}.".format(
                    self.upstream,
                    self.file,
                    "no server" if not mine else f"{len(mine)} times the server",
                    self.server,
                    there,
                )
            )
        return next(block for block in found if mine[0] in block), mine[0]

    def _matching(self, pattern):
        root = self.machine.root
        return sorted(path[len(root) :] for path in glob.glob(root + pattern))

    def look(self):
        found, mine = self._servers()
        others = [one for one in found if one is not mine and not one.down]
        return {
            "active": not mine.down and bool(self._masters()),
            "drained": mine.down,
            "refusal": None
            if others
            else (
                f"{self.server} is the last server of nginx's upstream "
                f"{self.upstream} that is not down."
            ),
        }

    def plan(self, before, token):
        _found, mine = self._servers()
        # The comment ends with its line, so that whatever stood behind the server stands there
        # still.
        return dict(
            before, path=mine.path, inserted=f" down {MARK} {token}\n", workers=self._workers()
        )

    def drain(self, saved):
        _found, mine = self._servers()
        text = self._text(mine.path)
        if saved["inserted"] not in text:
            self._write(mine.path, text, text[: mine.end] + saved["inserted"] + text[mine.end :])
        else:
            self._write(mine.path, text, text)

    def lacks(self, saved):
        """The workers that were there before must be gone: one that has not been told yet takes new
        requests, one on its way out still serves old ones.
        """
        return self._still(saved["workers"], "{} of nginx's workers still serve earlier requests")

    def restore(self, saved):
        text = self._text(saved["path"])
        ours = saved["inserted"] in text
        if (
            not ours
            and saved["workers"]
            and all(
                _stat(pid)[1] == started and not _leaving(pid) for pid, started in saved["workers"]
            )
        ):
            # nginx was never told.
            return None
        self.old = self._workers()
        # Also when there is nothing of ours in the file: a run may have died before it told nginx.
        self._write(saved["path"], text, text.replace(saved["inserted"], ""))
        return (
            f"{self.key} is marked down by somebody else's line, and was left so."
            if not ours and self._servers()[1].down
            else None
        )

    def lacks_restored(self, saved):
        if saved["inserted"] in self._text(saved["path"]):
            return "nginx has it marked down"
        # Workers on their way out may take as long as they like; the new ones serve.
        return self._still(
            [worker for worker in self.old if not _leaving(worker[0])],
            "{} of nginx's workers have not reloaded the configuration",
        )

    def _text(self, path):
        try:
            return self.machine.read(path)
        except OSError as error:
            raise Trouble(f"{path} cannot be read ({error.strerror}).")

    def _write(self, path, before, after):
        if after != before:
            write_same(self.machine, path, after)
        for command in (
            ["nginx", "-t", "-q"],
            ["nginx", "-s", "reload"] if self._masters() else None,
        ):
            rc, out, err = self.machine.run_command(command) if command else (0, "", "")
            if rc:
                if after != before:
                    write_same(self.machine, path, before)
                raise Trouble(
                    "`{}` failed, {} is as it was: {}".format(
                        " ".join(command), path, " ".join((err or out).split())[:300]
                    )
                )

    def _masters(self):
        """The process that nginx's service is, or where there is no such service every master of
        this host; those of containers are none of them.
        """
        _rc, out, _err = self.machine.run_command(["systemctl", "show", "-p", "MainPID", "nginx"])
        main = out.strip().partition("=")[2]
        if main.isdigit() and main != "0":
            return [int(main)]
        return [
            pid
            for pid in _pids()
            if _words(pid).startswith(b"nginx: master process") and _space(pid) == _space("self")
        ]

    def _workers(self):
        """The workers of the masters: process and when it was started, as a
        number is given anew.
        """
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
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _leaving(pid):
    return _words(pid).startswith(b"nginx: worker process is shutting down")


def _space(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def _stat(pid):
    """The parent of a process and when it was started; None for one that is not there (any more,
    but for its parent's not having noticed).
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            words = file.read().rpartition(")")[2].split()
        return (None, None) if words[0] == "Z" else (int(words[1]), int(words[19]))
    except (OSError, IndexError):
        return None, None
