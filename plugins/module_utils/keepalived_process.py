# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The keepalived that runs on a host: which configuration it was started with, and where."""

import os
import shlex
from collections import namedtuple

from ansible_collections.rebootless.ksplice.plugins.module_utils import keepalived

# Where the units of Debian and of Red Hat have the words for the command line.
DEFAULTS = (
    ("/etc/default/keepalived", "DAEMON_ARGS"),
    ("/etc/sysconfig/keepalived", "KEEPALIVED_OPTIONS"),
)
# Options that take a word, short and long. An optional word is in the same word as its option.
WITH_A_WORD = "ufprcbAsiS"
LONG = {"use-file": "f", "config-id": "i", "namespace": "s"}
LONG_WITH_A_WORD = (
    "log-facility",
    "umask",
    "pid",
    "vrrp_pid",
    "checkers_pid",
    "bfd_pid",
    "snmp-agent-socket",
    "signum",
    "config-fd",
)
OPTIONAL = "tMg"
VRRP = "0070"

# pid: None for one that does not run. config_id, namespace: None where the command line names none. speaks_vrrp: whether it has sockets of VRRP's protocol.
Keepalived = namedtuple("Keepalived", "pid path config_id namespace speaks_vrrp")


def options(words):
    """The options f, i and s of a command line, by their letters."""
    found, words = {}, iter(words)
    for word in words:
        if word == "--":
            break
        if word.startswith("--"):
            name, has_value, value = word[2:].partition("=")
            takes_a_word = [one for one in (*LONG, *LONG_WITH_A_WORD) if one == name] or [
                one for one in (*LONG, *LONG_WITH_A_WORD) if one.startswith(name)
            ]
            if len(takes_a_word) == 1 and not has_value:
                value = next(words, "")
            if len(takes_a_word) == 1 and takes_a_word[0] in LONG:
                found[LONG[takes_a_word[0]]] = value
        elif word.startswith("-"):
            for at, letter in enumerate(word[1:], 2):
                if letter in WITH_A_WORD:
                    value = word[at:] or next(words, "")
                    if letter in LONG.values():
                        found[letter] = value
                    break
                if letter in OPTIONAL:
                    break
    return found


def at_rest(machine):
    """The keepalived that the service would start."""
    for path, name in DEFAULTS:
        if machine.exists(path):
            given = None
            for line in machine.read(path).splitlines():
                key, _sign, value = line.strip().partition("=")
                if key == name:
                    # The last one counts, as systemd has it.
                    given = value
            if given is not None:
                try:
                    # As systemd does: quotes around all of it, and words in that.
                    words = shlex.split(" ".join(shlex.split(given)))
                except ValueError as error:
                    raise keepalived.Unreadable(
                        f"{path} cannot be understood ({name}: {error})"
                    )
                return _made(None, options(words), "/", False)
    return _made(None, {}, "/", False)


def _made(pid, found, folder, speaks_vrrp):
    path = os.path.join(folder, found.get("f") or keepalived.CONFIGURATION)
    return Keepalived(pid, path, found.get("i"), found.get("s"), speaks_vrrp)


def of(machine, pid, children):
    """The keepalived of a process.

    :raises keepalived.Unreadable: where it has a file system of its own: what it reads is not what is here.
    """
    here = f"{machine.root}/proc/{pid}"
    try:
        words = machine.read(f"/proc/{pid}/cmdline").split("\0")[1:-1]
        made = _made(
            pid,
            options(words),
            os.readlink(here + "/cwd"),
            any(_speaks_vrrp(machine, one) for one in [pid] + children),
        )
        elsewhere = os.readlink(here + "/ns/mnt") != os.readlink(
            machine.root + "/proc/self/ns/mnt"
        ) and not _same(here + "/root" + made.path, machine.root + made.path)
    except OSError as error:
        raise keepalived.Unreadable(
            f"keepalived (process {pid}) cannot be looked at ({error.strerror})"
        )
    if elsewhere:
        raise keepalived.Unreadable(
            f"keepalived (process {pid}) runs in a container, where its configuration could not be read"
        )
    return made


def enter(machine, pid):
    """The words that get a command into the network of a process, none where that is this host's own."""
    here = f"{machine.root}/proc/{pid}/ns/net"
    try:
        return [] if os.readlink(here) == os.readlink(machine.root + "/proc/self/ns/net") else ["nsenter", f"--net={here}"]
    except OSError as error:
        raise keepalived.Unreadable(f"the network of keepalived (process {pid}) cannot be looked at ({error.strerror})")


def _same(one, other):
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _speaks_vrrp(machine, pid):
    sockets = set()
    for name in ("raw", "raw6"):
        path = f"/proc/{pid}/net/{name}"
        for line in machine.read(path).splitlines()[1:] if machine.exists(path) else ():
            words = line.split()
            if len(words) > 9 and words[1].endswith(":" + VRRP):
                sockets.add(f"socket:[{words[9]}]")
    folder = f"{machine.root}/proc/{pid}/fd"
    return bool(sockets) and any(
        _link(os.path.join(folder, one)) in sockets for one in os.listdir(folder)
    )


def _link(path):
    try:
        return os.readlink(path)
    except OSError:
        return None
