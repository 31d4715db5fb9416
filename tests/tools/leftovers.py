# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Finds and removes what runs of the tests left on this machine that were killed before they could
do it themselves.

    leftovers.py            remove it; prints a line for each thing

Everything that a run makes outside of its checkout has the run's name: its temporary directory
/tmp/ksplice-test-NUMBER, network namespaces, control groups and overlay mounts of hosts that begin
with ksplice-NUMBER, and the variable KSPLICE_TEST_RUN in the environment of its processes. A run
lives as long as it holds the lock in its directory. What carries such a name without being of a
dead run is somebody else's, and is reported and not touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
import zlib
from pathlib import Path

from machine import BUILD, ROOT

sys.path.insert(0, str(ROOT / "extensions" / "lab" / "namespaces"))
import namespaced_hosts  # noqa: E402

VARIABLE = "KSPLICE_TEST_RUN"
# Not $TMPDIR: paths of sockets must be short.
TEMP = Path("/tmp")
GROUPS = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified")]
PREFIX = re.compile(r"(?P<prefix>ksplice-(?P<number>[0-9a-f]{8})[a-z]?)(-|$)")
NAMESPACES = Path("/run/netns")


class Run:
    """A run of the tests in one checkout, alive or dead, known by its number."""

    def __init__(self, number: str) -> None:
        self.number = number
        self.directory = TEMP / f"ksplice-test-{number}"
        self.prefix = f"ksplice-{number}"

    def begin(self) -> None:
        """Make the run's directory and hold its lock until this process ends."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        if not self.own():
            sys.exit(
                f"{self.directory} is somebody else's. Remove it, or run the tests as its owner."
            )
        self.lock = open(self.directory / "lock", "w", encoding="utf-8")
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def end(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.lock.close()

    def own(self) -> bool:
        """Whether the directory is this user's, and no link that somebody left in its place."""
        found = self.directory.lstat()
        return found.st_uid == os.geteuid() and stat.S_ISDIR(found.st_mode)

    def known(self) -> bool:
        with contextlib.suppress(OSError):
            return self.own() and (self.directory / "lock").is_file()
        return False

    def alive(self) -> bool:
        with contextlib.suppress(OSError), open(self.directory / "lock", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def this_run() -> Run:
    """The run of this checkout: one at a time, always of the same number."""
    return Run(f"{zlib.crc32(str(BUILD).encode()):08x}")


def remove(own: Run | None = None) -> list[str]:
    """Remove what is left of dead runs, and of C(own), which has begun and started nothing; a line
    for each thing.
    """
    said, prefixes = [], _prefixes()
    names = (
        re.fullmatch(r"ksplice-test-([0-9a-f]{8})", path.name)
        for path in TEMP.glob("ksplice-test-*")
    )
    numbers = {name[1] for name in names if name}
    for run in map(Run, sorted(numbers | set(prefixes))):
        if not run.known():
            said += [
                (
                    f"not touched: what is called {prefix}-… here belongs "
                    "to no known run of these tests"
                )
                for prefix in prefixes.get(run.number, ())
            ]
        elif run.number == (own.number if own else None) or not run.alive():
            said += (
                _processes(run)
                + _hosts(prefixes.get(run.number, set()))
                + _mounts(run)
                + _files(run, keep_lock=own is not None and run.number == own.number)
            )
    return said


def _prefixes() -> dict[str, set[str]]:
    """What network namespaces, control groups and mounts on this machine are called by: prefixes of
    prefixes, by the number of their run.
    """
    names = [path.name for path in NAMESPACES.iterdir()] if NAMESPACES.is_dir() else []
    names += [
        path.name[len("rebootless-") :]
        for group in GROUPS
        for path in group.glob("rebootless-ksplice-*")
    ]
    names += [source for _place, source in _mounted()]
    found: dict[str, set[str]] = {}
    for match in filter(None, map(PREFIX.match, names)):
        found.setdefault(match["number"], set()).add(match["prefix"])
    return found


def _mounted() -> list[tuple[str, str]]:
    """(where, what) of every mount, the innermost last."""
    found = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
            left, _dash, right = line.partition(" - ")
            found.append((left.split()[4].replace("\\040", " "), right.split()[1]))
    return found


def _processes(run: Run) -> list[str]:
    """End the processes that a run started, by what stands in their environment."""
    mark, found = f"{VARIABLE}={run.directory}".encode(), {}
    for _try in range(100):
        there = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if (
                    mark in Path("/proc", entry, "environ").read_bytes().split(b"\0")
                    and int(entry) != os.getpid()
                ):
                    there.append(int(entry))
                    found[int(entry)] = (
                        Path("/proc", entry, "comm").read_text(errors="replace").strip()
                    )
        if not there:
            break
        for pid in there:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return [f"ended process {pid} ({name})" for pid, name in found.items()]


def _hosts(prefixes: set[str]) -> list[str]:
    said = []
    for prefix in sorted(prefixes):
        places = [place for place, source in _mounted() if source.startswith(prefix + "-")]
        # A host's file system is mounted at DIRECTORY/hosts/NAME/root.
        directory = str(Path(places[0]).parents[2]) if places else None
        hosts = namespaced_hosts.NamespacedHosts(directory, prefix)
        said += [
            f"removed {what} of {prefix}"
            for what in hosts.leftovers()
            if not what.startswith(("process", "directory"))
        ]
        hosts.down()
    return said


def _mounts(run: Run) -> list[str]:
    said = []
    for place, _source in reversed(_mounted()):
        if place.startswith(f"{run.directory}/"):
            subprocess.run(["umount", "-l", place], stderr=subprocess.DEVNULL, check=False)
            said.append(f"unmounted {place}")
    return said


def _files(run: Run, keep_lock: bool) -> list[str]:
    """Remove the run's directory, but for the lock of a run that is about to begin."""
    found = [path for path in run.directory.iterdir() if path.name != "lock"]
    for path in found:
        shutil.rmtree(
            path, ignore_errors=True
        ) if path.is_dir() and not path.is_symlink() else path.unlink()
    if not keep_lock:
        shutil.rmtree(run.directory, ignore_errors=True)
    return [f"removed {len(found)} files and directories in {run.directory}"] if found else []


if __name__ == "__main__":
    print(*remove(), sep="\n")
