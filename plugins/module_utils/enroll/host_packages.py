# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Reads from a host what enrollment decides on: distribution, agent, packages, repository.

Changes nothing.
"""

import base64
import glob
import os
import re
import stat

from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import enrollment

COMMANDS = ("uptrack-upgrade", "ksplice")


def look(run_command, root, params):
    """What is there, as enrollment wants it.

    :param run_command: as AnsibleModule's.
    :param root: of an emulated host; such a one has an agent or none, and no packages.
    """
    system = os.uname()
    seen = {
        "emulated": bool(root),
        "release": system.release,
        "commands": [name for name in COMMANDS if _path(root, name)],
        "edition": None,
        "packages": [],
        "distribution": enrollment.distribution(_read("/etc/os-release") or "", system.machine),
        "repository_file": None,
        "repository_mode": None,
        "key_file": None,
        "key_imported": False,
        "enabled_channels": None,
        # Oracle Linux 7 has yum alone, which ansible.builtin has no module for any more.
        "old_yum": not os.access("/usr/bin/dnf", os.X_OK) and os.access("/usr/bin/yum", os.X_OK),
    }
    if root:
        return seen
    is_apt = seen["distribution"].id in enrollment.APT_DISTRIBUTIONS
    installed, keys = _dpkg(run_command) if is_apt else _rpm(run_command)
    seen["packages"] = sorted(
        name
        for name in installed
        if name in enrollment.PACKAGES or name.startswith(enrollment.UPDATES)
    )
    seen["edition"] = enrollment.edition_of(seen["packages"])
    path = enrollment.APT_FILE if is_apt else enrollment.YUM_FILE
    seen["repository_file"] = _read(path)
    seen["repository_mode"] = (
        None if seen["repository_file"] is None else stat.S_IMODE(os.stat(path).st_mode)
    )
    if is_apt:
        return seen
    seen["key_file"] = _read(enrollment.YUM_KEY_FILE)
    fingerprint = re.sub(r"[\s:]", "", params["repository_key_fingerprint"] or "").lower()
    seen["key_imported"] = bool(fingerprint) and any(fingerprint.endswith(key) for key in keys)
    if not seen["commands"] or params["repository"] == "platform":
        seen["enabled_channels"] = _channels(
            run_command,
            [params["channel"]] if params["channel"] else enrollment.channels(seen["distribution"]),
        )
    return seen


def _path(root, command):
    for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        if os.access(f"{root}{directory}/{command}", os.X_OK):
            return f"{root}{directory}/{command}"
    return None


def _rpm(run_command):
    rc, out, _err = run_command(
        ["rpm", "-qa", "--qf", "%{NAME} %{VERSION}\\n", "uptrack*", "ksplice*", "gpg-pubkey*"]
    )
    lines = [line.split(" ") for line in out.splitlines() if " " in line] if rc == 0 else []
    return [name for name, _version in lines], [
        version.lower() for name, version in lines if name == "gpg-pubkey"
    ]


def _dpkg(run_command):
    # Ends with 1 when one of the patterns fits nothing, which is no error here.
    _rc, out, _err = run_command(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n", "uptrack*", "ksplice*"]
    )
    return [line.split(" ")[0] for line in out.splitlines() if line.endswith(" installed")], []


def _channels(run_command, expected):
    """The enabled repositories.

    Those of ULN stand in no file, so that dnf is asked where the files do not have what is
    expected.
    """
    enabled = []
    for path in sorted(glob.glob("/etc/yum.repos.d/*.repo")):
        enabled += _enabled(_read(path) or "")
    if not set(expected).intersection(enabled):
        for program in ("/usr/bin/dnf", "/usr/bin/yum"):
            if os.access(program, os.X_OK):
                _rc, out, _err = run_command([program, "-q", "-C", "repolist", "enabled"])
                enabled += [
                    line.split()[0].lstrip("!*").partition("/")[0]
                    for line in out.splitlines()
                    if line.split()
                ]
                break
    return enabled


def _enabled(text):
    """The repositories of a file that are not switched off in it."""
    found, last = [], None
    for line in text.split("\n"):
        if line[:1] == "[" and line.find("]") > 1:
            last = line[1 : line.index("]")]
            found.append(last)
        elif last in found and re.match(
            r"[ \t]*enabled[ \t]*=[ \t]*(0|no|false|off)\b", line, re.I
        ):
            found.remove(last)
    return found


def kept(path):
    """A file as it is, to be able to restore it: C(content) in base64, so that no password in
    it is cut out on the way, and C(mode); None for none.
    """
    try:
        with open(path, "rb") as file:
            return {
                "content": base64.b64encode(file.read()).decode(),
                "mode": f"0{stat.S_IMODE(os.fstat(file.fileno()).st_mode):o}",
            }
    except OSError:
        return None


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None
