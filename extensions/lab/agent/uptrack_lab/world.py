# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""The files of one host: where they are, how they are written, and the lock."""

import errno
import os
import time

ROOT_VARIABLE = "UPTRACK_LAB_ROOT"

CONFIG = "etc/uptrack/uptrack.conf"
DISABLE = "etc/uptrack/disable"
CRON = "etc/cron.d/uptrack"
CACHE = "var/cache/uptrack"
LIB = "var/lib/uptrack"
LOCK = LIB + "/lock"
UUID = LIB + "/uuid"
SERIAL = LIB + "/serial"
EFFECTIVE_KERNEL = LIB + "/effective_kernel"
LOG = "var/log/uptrack.log"
LAB = "var/lib/uptrack-lab"
SCENARIO = LAB + "/scenario.json"
STATE = LAB + "/state.json"
SYS_MODULE = "sys/module"
SYS_KSPLICE = "sys/kernel/ksplice"

MODULE_PREFIX = "ksplice_"
CHANGING_COMMANDS = ("upgrade", "install", "remove")


class ScenarioError(Exception):
    """One line for whoever wrote the scenario."""


class World(object):
    """Paths below one root; a root of '/' is the machine itself."""

    def __init__(self, root=None):
        if root is None:
            root = os.environ.get(ROOT_VARIABLE) or "/"
        self.root = os.path.abspath(root).rstrip("/")

    @property
    def is_machine(self):
        return not self.root

    def path(self, relative):
        return self.root + "/" + relative.lstrip("/")

    def exists(self, relative):
        return os.path.exists(self.path(relative))

    def isdir(self, relative):
        return os.path.isdir(self.path(relative))

    def read(self, relative):
        """The text of a file; None when it is not there."""
        try:
            with open(self.path(relative), "rb") as stream:
                return stream.read().decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, relative, text, mode=0o644):
        write_atomic(self.path(relative), text, mode)

    def remove(self, relative):
        try:
            os.unlink(self.path(relative))
        except FileNotFoundError:
            pass

    def listdir(self, relative):
        try:
            return sorted(os.listdir(self.path(relative)))
        except (FileNotFoundError, NotADirectoryError):
            return []


def write_atomic(path, text, mode=0o644):
    """Readers see the old file or the new one, never half of one."""
    folder, name = os.path.split(path)
    temporary = f"{folder}/.{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        handle = os.open(temporary, flags, mode)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        handle = os.open(temporary, flags, mode)
    try:
        os.fchmod(handle, mode)
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
        while data:
            data = data[os.write(handle, data) :]
    finally:
        os.close(handle)
    try:
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def per_kernel_dir(kernel):
    """The cache directory of one kernel build, relative to the root; the last part is the raw
    `uname -v`.
    """
    return "{}/{}/{}/{}/{}".format(
        CACHE, kernel["sysname"], kernel["machine"], kernel["release"], kernel["version"]
    )


# ---- the kernel's truth: sysfs -------------------------------------------------------------------


def update_dir(update_id, layout):
    """Where the kernel shows one update; both layouts are known from real hosts."""
    if layout == "module":
        return f"{SYS_MODULE}/{MODULE_PREFIX}{update_id}/ksplice"
    return f"{SYS_KSPLICE}/{update_id}"


def applied_updates(world):
    """IDs the kernel says are applied, in no particular order of meaning."""
    places = [(name, f"{SYS_KSPLICE}/{name}") for name in world.listdir(SYS_KSPLICE)]
    for name in world.listdir(SYS_MODULE):
        if name.startswith(MODULE_PREFIX):
            places.append((name[len(MODULE_PREFIX) :], f"{SYS_MODULE}/{name}/ksplice"))
    return sorted(name for name, place in places if _stage(world, place) == "applied")


def _stage(world, place):
    try:
        return (world.read(place + "/stage") or "").strip()
    except PermissionError:
        # Only root may read a stage (0600); others can see that the update is there.
        return "applied"


# ---- the lock ------------------------------------------------------------------------------------


class LockHeld(Exception):
    """Somebody else kept the lock for longer than we were willing to wait."""


def _open_lock(path):
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def take_lock(path, patience):
    """Flock the file, waiting up to `patience` seconds.  The returned handle frees the lock when
    closed.
    """
    import fcntl

    handle = _open_lock(path)
    deadline = time.time() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        left = deadline - time.time()
        if left <= 0:
            os.close(handle)
            raise LockHeld(path)
        time.sleep(min(0.05, left))


def hold_lock_in_background(path, seconds):
    """Let a process of its own hold the lock for a while, as another run would.  Returns once it
    has it.
    """
    ready_reader, ready_writer = os.pipe()
    child = os.fork()
    if child:
        os.close(ready_writer)
        os.read(ready_reader, 1)
        os.close(ready_reader)
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        # Hold nothing of the caller's open, or whoever reads our output would wait for us.
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.closerange(3, ready_writer)
        os.closerange(ready_writer + 1, 256)
        take_lock(path, 1.0)
        os.write(ready_writer, b"1")
        os.close(ready_writer)
        time.sleep(seconds)
    except LockHeld:
        pass
    finally:
        os._exit(0)


# ---- time ----------------------------------------------------------------------------------------


def utc(seconds):
    """`2026-11-22 03:10:05.123456`: how log lines and state files write a moment."""
    whole = int(seconds // 1)
    micro = int((seconds - whole) * 1000000)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(whole))}.{micro:06d}"
