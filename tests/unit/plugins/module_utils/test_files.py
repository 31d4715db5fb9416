# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Files that the collection writes on a host: nobody opens them too early, and nothing that
belonged to the old one is lost.
"""

import errno
import os
import resource
import signal
import stat
import struct

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils import files

SECRET = "planted-0123456789abcdef"
NOBODY = 65534


def spy(folder):
    """Another user who opens whatever there is in a folder, as often as he can; with what he read
    he ends.
    """
    child = os.fork()
    if child:
        return child
    found = 2
    try:
        # From inside, whoever may look into the folders above.
        os.chdir(folder)
        os.setuid(NOBODY)
        found = 0
        while not os.path.exists("stop"):
            for name in os.listdir("."):
                try:
                    with open(name) as file:
                        found = int(SECRET in file.read()) or found
                except OSError:
                    continue
    finally:
        os._exit(found)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("how", ["new", "again", "backup"])
def test_a_secret_is_unreadable_while_it_is_written(tmp_path, how):
    folder = str(tmp_path / "etc")
    os.mkdir(folder, 0o777)
    os.chmod(folder, 0o777)
    path = os.path.join(folder, "uptrack.conf")
    child = spy(folder)
    before = os.umask(0)
    try:
        files.replace(path, SECRET)
        for number in range(150):
            if how == "new":
                os.unlink(path)
            if how == "backup":
                os.unlink(files.backup(path))
            else:
                files.replace(path, f"{SECRET}\n{number}")
    finally:
        os.umask(before)
        open(os.path.join(folder, "stop"), "w").close()
        _pid, status = os.waitpid(child, 0)
    assert os.WEXITSTATUS(status) == 0, "the other user read the secret (1), or could not look (2)"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_what_belongs_to_the_old_file_stays(tmp_path):
    path = tmp_path / "conf"
    path.write_text("old")
    os.chmod(str(path), 0o640)
    kept = {"user.note": b"x"}
    if os.getuid() == 0:
        os.chown(str(path), 7, 8)
        # As SELinux keeps it, on a system without.
        kept["security.selinux"] = b"system_u:object_r:etc_t:s0\0"
    # An access control list: owner rw, user 7000 r, group r, mask r, others none.
    undefined = 0xFFFFFFFF
    entries = (
        (1, 6, undefined),
        (2, 4, 7000),
        (4, 4, undefined),
        (16, 4, undefined),
        (32, 0, undefined),
    )
    kept["system.posix_acl_access"] = access_control_list(*entries)
    for name, value in list(kept.items()):
        try:
            os.setxattr(str(path), name, value)
        except OSError as error:
            assert error.errno in (errno.ENOTSUP, errno.EPERM)
            del kept[name]
    was = os.stat(str(path))
    files.replace(str(path), "new")
    now = os.stat(str(path))
    assert path.read_text() == "new" and now.st_ino != was.st_ino
    assert (now.st_mode, now.st_uid, now.st_gid) == (was.st_mode, was.st_uid, was.st_gid)
    assert {name: os.getxattr(str(path), name) for name in kept} == kept
    assert os.listdir(str(tmp_path)) == ["conf"]
    copy = files.backup(str(path))
    assert (os.stat(copy).st_mode, os.stat(copy).st_uid) == (was.st_mode, was.st_uid)
    assert {name: os.getxattr(copy, name) for name in kept} == kept


def access_control_list(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_what_the_folder_gives_to_new_files_does_not_open_an_old_one(tmp_path):
    path = tmp_path / "conf"
    path.write_text("old")
    os.chmod(str(path), 0o640)
    undefined = 0xFFFFFFFF
    inherited = access_control_list(
        (1, 7, undefined), (2, 4, NOBODY), (4, 5, undefined), (16, 5, undefined), (32, 0, undefined)
    )
    try:
        os.setxattr(str(tmp_path), "system.posix_acl_default", inherited)
    except OSError as error:
        pytest.skip(f"no access control lists here ({error.strerror})")
    files.replace(str(path), "new")
    assert os.listxattr(str(path)) == [] and stat.S_IMODE(os.stat(str(path)).st_mode) == 0o640


def test_attributes_that_cannot_be_kept_are_reported(tmp_path, monkeypatch):
    path = tmp_path / "conf"
    path.write_text("old")
    os.setxattr(str(path), "user.note", b"x")

    def refused(*_arguments):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "setxattr", refused)
    with pytest.raises(files.Lossy, match="user.note cannot be kept"):
        files.replace(str(path), "new")
    assert path.read_text() == "old" and os.listdir(str(tmp_path)) == ["conf"]
    files.replace(str(path), "new", lossy=True)
    assert path.read_text() == "new"


def test_links(tmp_path):
    path, name, other = (str(tmp_path / one) for one in ("conf", "link", "hard"))
    (tmp_path / "conf").write_text("old")
    os.symlink("conf", name)
    files.replace(name, "new")
    assert os.readlink(name) == "conf" and (tmp_path / "conf").read_text() == "new"
    os.link(path, other)
    with pytest.raises(files.Lossy, match="2 names"):
        files.replace(path, "newer")
    assert (tmp_path / "conf").read_text() == (tmp_path / "hard").read_text() == "new"
    files.replace(path, "newer", lossy=True)
    assert (tmp_path / "conf").read_text() == "newer" and (tmp_path / "hard").read_text() == "new"


def test_bytes_that_are_no_text_come_through(tmp_path):
    path = tmp_path / "conf"
    path.write_bytes(b"\xff\r\nold\r\n")
    with open(str(path), encoding="utf-8", errors="surrogateescape", newline="") as file:
        files.replace(str(path), file.read() + "more")
    assert path.read_bytes() == b"\xff\r\nold\r\nmore"


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "conf"
    path.write_text("old")
    was, ignored = (
        resource.getrlimit(resource.RLIMIT_FSIZE),
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, was[1]))
    try:
        for text, there in (("x" * 100000, "conf"), ("y" * 100000, "another")):
            with pytest.raises(OSError) as error:
                files.replace(str(tmp_path / there), text)
            assert error.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_text() == "old" and os.listdir(str(tmp_path)) == ["conf"]


def test_what_is_no_file(tmp_path):
    os.mkfifo(str(tmp_path / "pipe"))
    for name in ("pipe", ""):
        with pytest.raises(OSError, match="not a regular file"):
            files.replace(str(tmp_path / name), "x")
    assert os.listdir(str(tmp_path)) == ["pipe"]
