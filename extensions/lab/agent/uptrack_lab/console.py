# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""What a run says: on standard output by level, and all of it in the log.  The log's exact form is
in README.md.
"""

import os
import sys
import time

from . import world as w

DEBUG, INFO, WARNING, ERROR, CRITICAL = 10, 20, 30, 40, 50
NAMES = {DEBUG: "DEBUG", INFO: "INFO", WARNING: "WARNING", ERROR: "ERROR", CRITICAL: "CRITICAL"}
ROTATE_AT = int(2.5 * 1024 * 1024)
BACKUPS = 2


def level_of(options):
    if options.cron:
        return CRITICAL
    if options.quiet:
        return ERROR
    if options.init:
        return WARNING  # a boot that goes well says nothing
    return DEBUG if options.verbose else INFO


class Console(object):
    def __init__(self, world, level):
        self.level = level
        path = world.path(w.LOG)
        rotate(path)
        self.log_handle = _open_log(path, world)

    def say(self, words, level=INFO):
        if level >= self.level:
            put(words + "\n")
        # All of it: the debug lines, which have the access key in them, are in the real one's log,
        # too.
        self.log(NAMES[level], words)

    def answer(self, words):
        """What was asked for, whatever the level."""
        put(words + "\n")
        self.log("INFO", words)

    def event(self, words):
        """A line others may parse."""
        self.log("EVENT", words)

    def log(self, name, words):
        opening = f"{w.utc(time.time())} [{os.getpid()}] {name}: "
        lines = "".join(opening + line + "\n" for line in words.split("\n"))
        os.write(self.log_handle, lines.encode("utf-8", "surrogateescape"))


def put(text):
    """Straight to standard output, in UTF-8, at once: a run that dies has said what it said."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError:
        pass  # nobody listens (any more)


def complain(text):
    """To standard error: only what comes before there is a log, and the emulator's own troubles."""
    sys.stderr.write(text + "\n")


def rotate(path):
    try:
        if os.stat(path).st_size < ROTATE_AT:
            return
    except OSError:
        return
    for number in range(BACKUPS, 0, -1):
        older = f"{path}.{number}"
        newer = f"{path}.{number - 1}" if number > 1 else path
        if os.path.exists(newer):
            os.rename(newer, older)


def _open_log(path, world):
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    is_new = not os.path.exists(path)
    try:
        handle = os.open(path, flags, 0o640)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle = os.open(path, flags, 0o640)
    if is_new:
        os.fchmod(handle, 0o640)
        if world.is_machine:
            _give_to_adm(handle)
    return handle


def _give_to_adm(handle):
    import grp

    try:
        os.fchown(handle, 0, grp.getgrnam("adm").gr_gid)
    except (KeyError, OSError):
        pass  # no such group: root:root
