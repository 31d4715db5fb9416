# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The ledger of a host on its disk, and the locks that go with it. What it means is in lease.

C(/var/lib/rebootless-ksplice/leases.json) is changed under C(ledger.lock) only. It is not below
C(/run), as a member that boots must not forget what
it has granted. C(work.lock) is held by the process that is at work on the host for as long as it
works; the kernel frees it when that process dies.
"""

import contextlib
import errno
import fcntl
import json
import os
import time

from ansible_collections.rebootless.ksplice.plugins.module_utils import files
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import lease

DIRECTORY = "/var/lib/rebootless-ksplice"
# The agent's own (reference 2.4), held while it runs.
AGENT_LOCK = "/var/lib/uptrack/lock"


class Broken(Exception):
    """The ledger cannot be read or written; the text says why. It never counts as empty."""

    # The text says what was changed.
    complete = True


class Ledger:
    """The ledger of this host.

    :param root: of an emulated host, empty on a real one.
    """

    def __init__(self, root=""):
        self.root = root
        self.path = f"{root}{DIRECTORY}/leases.json"

    def read(self):
        """Its content; a host that never granted a lease has none."""
        try:
            with open(self.path, encoding="utf-8") as file:
                found = json.load(file)
            if (
                not isinstance(found["leases"], list)
                or not isinstance(found["ended"], list)
                or not all(
                    entry["token"] and entry["groups"] is not None for entry in found["leases"]
                )
            ):
                raise ValueError("it is not a ledger")
            return found
        except FileNotFoundError:
            return lease.empty()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Broken(
                f"{self.path} cannot be read ({error}), so that it is unknown which leases this "
                "host has granted. Nothing was changed. "
                "Find out which run it was, see that its hosts are healthy, and remove the file."
            )

    def exists(self):
        return os.path.exists(self.path)

    @contextlib.contextmanager
    def locked(self):
        """No other process reads and writes meanwhile. It is held for moments only, so that all
        wait for it.
        """
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            lock = os.open(
                f"{self.root}{DIRECTORY}/ledger.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise Broken(
                f"{self.root}{DIRECTORY} cannot be written ({error.strerror}): run as root, "
                "and check space. Nothing was changed."
            )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def write(self, ledger):
        """Replace it whole; after this returns it is on the disk."""
        try:
            files.replace(self.path, json.dumps(ledger, sort_keys=True))
        except OSError as error:
            raise Broken(
                f"{self.path} cannot be written ({error.strerror}): check space and "
                "permissions. It was left as it was."
            )

    def change(self, function, check_mode=False):
        """Let a function of lease answer: it gets the ledger, the time and whether a process is at
        work; its answer comes back.
        """
        with self.locked():
            before = self.read()
            after, answer = function(before, now(self.root), self.busy())
            if after is not before and after != before and not check_mode:
                self.write(after)
            return dict(answer, leases=after["leases"])

    def busy(self):
        """Whether a process works on this host, or its agent runs."""
        return self.at_work() or self.agent_runs()

    def at_work(self):
        """Whether a process of this collection changes this host."""
        return _is_locked(f"{self.root}{DIRECTORY}/work.lock")

    def agent_runs(self):
        """Whether the agent is at work, whoever started it."""
        return _is_locked(self.root + AGENT_LOCK)

    def begin_work(self, token, seconds=0, sleep=time.sleep, clock=time.monotonic, phase=None):
        """Hold work.lock from here on, if one may work here; the open lock comes back, or the
        sentence that refuses.

        :param token: see lease.may_work.
        :param seconds: how long to wait for another that works.
        :param phase: with a token, what is about to be done; it is written down, and the lease is
            renewed.
        """
        deadline = clock() + seconds
        while True:
            with self.locked():
                book = self.read()
                refusal = lease.may_work(book, token, now(self.root))
                if refusal:
                    return None, refusal
                if token and phase:
                    self.write(lease.renew(book, token, now(self.root), phase)[0])
                lock = os.open(
                    f"{self.root}{DIRECTORY}/work.lock",
                    os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
                    0o600,
                )
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return lock, None
                except OSError:
                    os.close(lock)
            if clock() >= deadline:
                return (
                    None,
                    "Another process of this collection is at work on this host: wait until "
                    "that ends. Nothing was changed.",
                )
            sleep(1)


def _is_locked(path):
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise Broken(
            f"{path} cannot be opened ({error.strerror}): run as root. Nothing was changed."
        )
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(handle)


def now(root=""):
    """The time as lease wants it."""
    with open("/proc/uptime", encoding="utf-8") as file:
        clock = float(file.read().split()[0])
    boot = ""
    for path in (f"{root}/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/random/boot_id"):
        try:
            with open(path, encoding="utf-8") as file:
                boot = file.read().strip()
            break
        except OSError:
            continue
    return {"wall": time.time(), "clock": clock, "boot": boot}
