# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The keepalived that runs on a host: which configuration it was started with, and where."""

import os
import re
import shlex
from collections import namedtuple

from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import keepalived

# Where the units of Debian and of Red Hat have the words for the command line.
DEFAULTS = (
    ("/etc/default/keepalived", "DAEMON_ARGS"),
    ("/etc/sysconfig/keepalived", "KEEPALIVED_OPTIONS"),
)
# The options of keepalived(8), those of every build: with an argument of their own, with one that
# may be in the same word, and without. Not all have a letter.
ARGUMENT, MAYBE, NONE = "argument", "maybe", "none"
OPTIONS = {
    ARGUMENT: (
        ("f", "use-file"),
        ("S", "log-facility"),
        ("u", "umask"),
        ("p", "pid"),
        ("r", "vrrp_pid"),
        ("c", "checkers_pid"),
        ("b", "bfd_pid"),
        ("A", "snmp-agent-socket"),
        ("s", "namespace"),
        ("i", "config-id"),
        ("", "signum"),
        ("", "config-fd"),
    ),
    MAYBE: (("g", "log-file"), ("M", "core-dump-pattern"), ("t", "config-test")),
    NONE: (
        ("P", "vrrp"),
        ("C", "check"),
        ("B", "no_bfd"),
        ("", "all"),
        ("l", "log-console"),
        ("D", "log-detail"),
        ("", "flush-log-file"),
        ("G", "no-syslog"),
        ("X", "release-vips"),
        ("V", "dont-release-vrrp"),
        ("I", "dont-release-ipvs"),
        ("R", "dont-respawn"),
        ("n", "dont-fork"),
        ("d", "dump-conf"),
        ("a", "address-monitoring"),
        ("x", "snmp"),
        ("m", "core-dump"),
        ("L", "mem-check-log"),
        ("e", "all-config"),
        ("v", "version"),
        ("h", "help"),
        ("T", "genhash"),
    ),
}
SHORT = {letter: takes for takes, known in OPTIONS.items() for letter, _name in known if letter}
LONG = {name: (letter, takes) for takes, known in OPTIONS.items() for letter, name in known}
VRRP = "0070"
# What keepalived calls its children with process_names. Its configuration may give it and them any
# other name.
CHILDREN = ("keepalived_vrrp", "keepalived_ipvs", "keepalived_bfd")

# pid: None for one that does not run. config_id, namespace: None where the command line names none.
# speaks_vrrp: whether it has sockets of VRRP's protocol.
Keepalived = namedtuple("Keepalived", "pid path config_id namespace speaks_vrrp")


def parents(processes):
    """The processes of keepalived that are no children of another: process ID to those of its
    children.

    :param processes: those that C(look) takes for keepalived: process ID to what was found of it.
    """
    under = {}
    for pid, (_proven, parent) in processes.items():
        under.setdefault(parent, []).append(pid)

    def starts_one(pid):
        return any(processes[one][0] or starts_one(one) for one in under.get(pid, ()))

    # A script of that name which starts keepalived is none itself.
    known = {
        pid: parent for pid, (proven, parent) in processes.items() if proven or not starts_one(pid)
    }
    return {
        pid: [one for one in under.get(pid, ()) if one in known]
        for pid, parent in sorted(known.items())
        if parent not in known
    }


def look(machine, pid, name):
    """Whether a process is keepalived, or has its name: C((proven, parent)), or None. Proven is
    what runs keepalived's program.

    :raises OSError: where it has ended since.
    """
    program = _link(f"{machine.root}/proc/{pid}/exe") or ""
    # An upgrade replaces the file under it.
    deleted = " (deleted)"
    proven = (
        os.path.basename(program[: -len(deleted)] if program.endswith(deleted) else program)
        == "keepalived"
    )
    # What looks at keepalived from outside, such as keepalived_exporter, is none.
    named = (
        name == "keepalived"
        or name in CHILDREN
        or os.path.basename(machine.read(f"/proc/{pid}/cmdline").split("\0")[0]) == "keepalived"
    )
    if not proven and not named:
        return None
    # The name is in brackets there, and may hold anything.
    return proven, machine.read(f"/proc/{pid}/stat").rpartition(")")[2].split()[1]


def options(words):
    """The options with an argument on a command line, by their letters, as getopt_long has them.

    :raises keepalived.Unreadable: where an option is not known: which of the words that follow are
        its own is unknown.
    """
    found, words = {}, iter(words)
    for word in words:
        if word == "--":
            break
        if word.startswith("--"):
            name, sign, value = word[2:].partition("=")
            letter, takes = _long(name)
            if sign and takes == NONE:
                raise keepalived.Unreadable(
                    f"its command line gives --{name} an argument, but it takes none"
                )
            if takes == ARGUMENT:
                found[letter] = _argument("--" + name, value if sign else next(words, ""))
        elif word.startswith("-"):
            for at, letter in enumerate(word[1:], 2):
                takes = SHORT.get(letter)
                if takes is None:
                    raise keepalived.Unreadable(
                        f"its command line has the option -{letter}, which is not known"
                    )
                if takes == ARGUMENT:
                    found[letter] = _argument("-" + letter, word[at:] or next(words, ""))
                if takes != NONE:
                    break
    return found


def _long(name):
    """The letter of a long option and what it takes.

    The whole name counts before what is short for one.
    """
    meant = [name] if name in LONG else [one for one in LONG if one.startswith(name)]
    if len(meant) != 1:
        raise keepalived.Unreadable(
            f"its command line has the option --{name}, which "
            f"{'may be ' + ' or '.join(sorted(meant)) if meant else 'is not known'}"
        )
    return LONG[meant[0]]


def _argument(option, value):
    if not value:
        raise keepalived.Unreadable(
            f"its command line has the option {option} without its argument"
        )
    return value


def at_rest(machine):
    """The keepalived that the service would start: by the words of its unit with all drop-ins, or
    of the files that those of distributions take them from.

    :raises keepalived.Unreadable: where the unit starts something else, or its words are unknown.
    """
    _rc, out, _err = machine.run_command(
        [
            "systemctl",
            "show",
            "-p",
            "ExecStart",
            "-p",
            "Environment",
            "-p",
            "EnvironmentFiles",
            "keepalived",
        ]
    )
    commands = re.findall(
        r"^ExecStart=\{ path=.*? ; argv\[\]=(.*?) ; ignore_errors=", out, flags=re.MULTILINE
    )
    if not commands:
        for path, name in DEFAULTS:
            given = _assigned(machine, path)
            if name in given:
                return _resting(_split(path, given[name]), path)
        return _resting([], "its service")
    unit = "the unit keepalived"
    words = commands[-1].split()
    if len(commands) > 1 or os.path.basename(words[0]) != "keepalived":
        raise keepalived.Unreadable(
            f"{unit} starts `{' '.join(commands[-1].split())}`, so the configuration "
            "of keepalived could not be determined"
        )
    variables = {}
    for words_of in re.findall(r"^Environment=(.*)", out, flags=re.MULTILINE):
        variables.update(word.partition("=")[::2] for word in _split(unit, words_of))
    for path in re.findall(
        r"^EnvironmentFiles?=(.*?)(?: \(ignore_errors=\w+\))?$", out, flags=re.MULTILINE
    ):
        variables.update(_assigned(machine, path))
    return _resting([one for word in words[1:] for one in _expanded(word, variables, unit)], unit)


def _assigned(machine, path):
    """The variables of a file as systemd reads it: the last of one name counts."""
    found = {}
    for line in machine.read(path).splitlines() if machine.exists(path) else ():
        key, sign, value = line.strip().partition("=")
        if sign and not key.startswith(("#", ";")):
            found[key.strip()] = value
    # Quotes around all of it.
    return {key: " ".join(_split(f"{path} ({key})", value)) for key, value in found.items()}


def _split(where, text):
    try:
        return shlex.split(text)
    except ValueError as error:
        raise keepalived.Unreadable(f"{where} cannot be parsed ({error})")


def _expanded(word, variables, where):
    """The words that systemd makes of one: C($NAME) alone is as many as its value has, C(${NAME})
    is a part of one.
    """
    alone = re.match(r"\$(\w+)$", word)
    if alone:
        return _split(where, variables.get(alone.group(1), ""))
    text = re.sub(r"\$\{(\w+)\}", lambda found: variables.get(found.group(1), ""), word)
    if "$" in text or "'" in word or '"' in word:
        raise keepalived.Unreadable(
            f"{where} starts keepalived with {word}, which cannot be parsed"
        )
    return [text]


def _resting(words, where):
    try:
        return _made(None, options(words), "/", False)
    except keepalived.Unreadable as error:
        raise keepalived.Unreadable(f"keepalived, as {where} starts it, could not be read: {error}")


def _made(pid, found, folder, speaks_vrrp):
    path = os.path.join(folder, found.get("f") or keepalived.CONFIGURATION)
    return Keepalived(pid, path, found.get("i"), found.get("s"), speaks_vrrp)


def of(machine, pid, children):
    """The keepalived of a process.

    :raises keepalived.Unreadable: where it has a file system of its own: what it reads is not what
        is here.
    """
    here = f"{machine.root}/proc/{pid}"
    try:
        name = machine.read(f"/proc/{pid}/comm").strip()
        if name in CHILDREN and not children:
            raise keepalived.Unreadable(
                f"it is {name}, a child of keepalived, and its parent was not found"
            )
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
    except keepalived.Unreadable as error:
        raise keepalived.Unreadable(f"keepalived (process {pid}) could not be read: {error}")
    except OSError as error:
        raise keepalived.Unreadable(
            f"keepalived (process {pid}) cannot be inspected ({error.strerror})"
        )
    if elsewhere:
        raise keepalived.Unreadable(
            f"keepalived (process {pid}) runs in a container, where "
            "its configuration could not be read"
        )
    return made


def enter(machine, pid):
    """The words that get a command into the network of a process, none where that is this host's
    own.
    """
    here = f"{machine.root}/proc/{pid}/ns/net"
    try:
        return (
            []
            if os.readlink(here) == os.readlink(machine.root + "/proc/self/ns/net")
            else ["nsenter", f"--net={here}"]
        )
    except OSError as error:
        raise keepalived.Unreadable(
            f"the network of keepalived (process {pid}) cannot be inspected ({error.strerror})"
        )


def _same(one, other):
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def vrrp_sockets(machine, folder="/proc"):
    """The sockets of VRRP's protocol in the network of this host, or of a process by its folder, as
    C(/proc/PID/fd) has them.
    """
    sockets = set()
    for name in ("raw", "raw6"):
        path = f"{folder}/net/{name}"
        for line in machine.read(path).splitlines()[1:] if machine.exists(path) else ():
            words = line.split()
            if len(words) > 9 and words[1].endswith(":" + VRRP):
                sockets.add(f"socket:[{words[9]}]")
    return sockets


def _speaks_vrrp(machine, pid):
    sockets = vrrp_sockets(machine, f"/proc/{pid}")
    folder = f"{machine.root}/proc/{pid}/fd"
    return bool(sockets) and any(
        _link(os.path.join(folder, one)) in sockets for one in os.listdir(folder)
    )


def _link(path):
    try:
        return os.readlink(path)
    except OSError:
        return None
