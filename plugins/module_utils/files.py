# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Replaces files on a host, the one way for all that the collection writes there itself.

A file is born with its final owner and mode, before there is a word in it: some hold secrets, and
between its birth and a later chmod anybody could open it. A reader sees the old or the new text
whole, also after a power cut. What belongs to the old file stays with it: owner, mode, access
control list, SELinux context. A symbolic link is followed. Where anything fails, the old file is as
it was and nothing is left beside it.
"""

import errno
import os
import stat
import tempfile
import time

PREFIX = ".rebootless-"


class Lossy(OSError):
    """The new file would lack something that the old one has; the words say what."""


def replace(path, text, mode=0o600, lossy=False):
    """Replace a file's text, or make the file.

    :param text: without regard to its encoding: bytes that are none come as surrogate escapes.
    :param mode: of a new file; an old one keeps its own.
    :param lossy: replace the file also where something of it cannot be kept.
    :raises Lossy: where something cannot be kept, without lossy. A file with hard links is one: its
        other names would keep the old text.
    :raises OSError: in all other cases where it cannot be done.
    """
    real = os.path.realpath(path)
    old = _state(real)
    if old and not stat.S_ISREG(old.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", path)
    if old and old.st_nlink > 1 and not lossy:
        raise Lossy(
            errno.EMLINK,
            f"it has {old.st_nlink} names (hard links), and the others would keep the old text",
            path,
        )
    _write(real, text, mode, real if old else None, lossy)


def backup(path):
    """Keep a copy of a file beside it, as private as the file, named as Ansible names backups; the
    copy's path comes back.
    """
    copy = "{}.{}.{}~".format(path, os.getpid(), time.strftime("%Y-%m-%d@%H:%M:%S"))
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        text = file.read()
    _write(copy, text, 0o600, path, True)
    return copy


def _write(real, text, mode, like, lossy):
    """Make a file with everything that belongs to another, or with a mode, in one step."""
    folder = os.path.dirname(real)
    # Only its owner can open what mkstemp creates.
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=PREFIX)
    try:
        with open(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            if like:
                _take_over(like, handle, lossy)
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


def _take_over(old, handle, lossy):
    was, wanted = os.stat(old), _attributes(old)
    # What the folder gives to new files, and this one never had: an access control list that opens
    # it to others.
    for name in set(_attributes(handle)).difference(wanted):
        if not name.startswith("security."):
            os.removexattr(handle, name)
    os.fchown(handle, was.st_uid, was.st_gid)
    os.fchmod(handle, stat.S_IMODE(was.st_mode))
    # The access control list comes after the mode, whose bits for the group it gives another
    # meaning.
    now = _attributes(handle)
    for name in wanted:
        if now.get(name) != wanted[name]:
            try:
                os.setxattr(handle, name, wanted[name])
            except OSError as error:
                if not lossy:
                    raise Lossy(
                        error.errno, f"its attribute {name} cannot be kept ({error.strerror})", old
                    )


def _attributes(file):
    """What a file has beside owner and mode, such as an access control list or SELinux context;
    nothing on a file system without such things.
    """
    try:
        return {name: os.getxattr(file, name) for name in os.listxattr(file)}
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise


def _state(path):
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
