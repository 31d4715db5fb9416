# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Replaces files on a host, the one way for all that the collection writes there itself.

A file is born with its final owner and mode, before there is a word in it: some hold secrets, and between its birth and a
later chmod anybody could open it. A reader sees the old or the new text whole, also after a power cut. What belongs to the
old file stays with it: owner, mode, access control list, SELinux context. A symbolic link is followed. Where anything fails,
the old file is as it was and nothing is left beside it.
"""

import errno
import os
import stat
import tempfile
import time

PREFIX = ".rebootless-"


class HardLinked(OSError):
    """The file has other names, which would keep the old text."""


def replace(path, text, mode=0o600, part_links=False):
    """Replace a file's text, or make the file.

    :param text: without regard to its encoding: bytes that are none come as surrogate escapes.
    :param mode: of a new file; an old one keeps its own.
    :param part_links: replace a file that has hard links, too. The other names keep the old text.
    :raises HardLinked: for a file that has, without part_links.
    :raises OSError: in all other cases where it cannot be done.
    """
    real = os.path.realpath(path)
    old = _state(real)
    if old and not stat.S_ISREG(old.st_mode):
        raise OSError(errno.EINVAL, "it is not a plain file", path)
    if old and old.st_nlink > 1 and not part_links:
        raise HardLinked(errno.EMLINK, "it has {} names (hard links), and the others would keep the old text".format(old.st_nlink), path)
    _write(real, text, mode, real if old else None)


def backup(path):
    """Keep a copy of a file beside it, as private as the file, named as Ansible names backups; the copy's path comes back."""
    copy = "{}.{}.{}~".format(path, os.getpid(), time.strftime("%Y-%m-%d@%H:%M:%S"))
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        text = file.read()
    _write(copy, text, 0o600, path)
    return copy


def _write(real, text, mode, like):
    """Make a file with everything that belongs to another, or with a mode, in one step."""
    folder = os.path.dirname(real)
    # Nobody but its owner can open what mkstemp makes.
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=PREFIX)
    try:
        with open(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            if like:
                _take_over(like, handle)
            else:
                os.fchmod(handle, mode)
            file.write(text)
            file.flush()
            os.fsync(handle)
        os.rename(temporary, real)
    except BaseException:
        os.unlink(temporary)
        raise
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def _take_over(old, handle):
    was = os.stat(old)
    os.fchown(handle, was.st_uid, was.st_gid)
    os.fchmod(handle, stat.S_IMODE(was.st_mode))
    # The access control list comes after the mode, whose bits for the group it gives another meaning.
    for name in _attributes(old):
        try:
            value = os.getxattr(old, name)
            if name not in _attributes(handle) or os.getxattr(handle, name) != value:
                os.setxattr(handle, name, value)
        except OSError as error:
            # Not every attribute can be set by hand, nor on every file system.
            if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.ENODATA):
                raise


def _attributes(file):
    try:
        return os.listxattr(file)
    except OSError:
        return []


def _state(path):
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
