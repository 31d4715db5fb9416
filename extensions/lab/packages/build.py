# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Build the emulated agent as rpm and deb packages, in signed repositories, under the vendor's
names and paths.

As a program:  build.py DIRECTORY    build, or do nothing when all that is there is of these sources

What it makes below DIRECTORY: `www/` (what serve.py serves), `pki/` (a private certification
authority and the server's certificate), `fingerprint` and `other-fingerprint` (of the repositories'
key, and of a key that is not theirs).
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
AGENT = os.path.join(os.path.dirname(HERE), "agent")
sys.path.insert(0, HERE)
sys.path.insert(0, AGENT)

import emulated_host  # noqa: E402
import kernels  # noqa: E402
import pki  # noqa: E402
import scriptlets  # noqa: E402

PROGRAM = "/usr/lib/uptrack-lab"
VERSION = "1.2.80"
# Releases of the distributions that a repository is made for, as the vendor's directories are
# called (reference 3.3).
YUM_TREES = {
    "ol/7": "el",
    "ol/8": "el",
    "ol/9": "el",
    "centos/8": "el",
    "rhel/9": "el",
    "ol/10": "el10",
}
CODENAMES = ("jammy", "bookworm")
# Name and address of the server of the repositories in a fleet.
SERVER, ADDRESS = "lab-repo", "10.77.255.1"
SOURCES = [HERE, AGENT, os.path.join(AGENT, "uptrack_lab")]


def build(directory):
    """Build everything below `directory`, unless it is there and from these sources; returns the
    directory.
    """
    stamp = os.path.join(directory, "stamp")
    wanted = _digest()
    if os.path.exists(stamp) and _read(stamp) == wanted:
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    with tempfile.TemporaryDirectory(prefix="lab-packages-") as work:
        pki.make(os.path.join(directory, "pki"), SERVER, f"DNS:{SERVER},IP:{ADDRESS},IP:127.0.0.1")
        signer = Signer(os.path.join(work, "gnupg"), "Lab packages")
        stranger = Signer(os.path.join(work, "gnupg-other"), "Somebody else")
        _write(os.path.join(directory, "fingerprint"), signer.fingerprint + "\n")
        _write(os.path.join(directory, "other-fingerprint"), stranger.fingerprint + "\n")
        www = os.path.join(directory, "www")
        _yum(work, www, signer)
        _apt(work, www, signer)
    _write(stamp, wanted)
    return directory


def _digest():
    text = hashlib.sha256()
    for folder in SOURCES:
        for name in sorted(os.listdir(folder)):
            if name.endswith(".py"):
                text.update(_read(os.path.join(folder, name)).encode())
    return text.hexdigest()


# ---- what is in the packages (reference 3.1, 1.1, 2.3 to 2.5; what it leaves open: README.md) ----


def packages(family, el10=False):
    """The packages of one distribution family (`rpm` or `deb`) as mappings for the two builders."""
    config = {
        "/etc/uptrack/uptrack.conf": emulated_host.SHIPPED_CONFIG.format(key="INSERT_ACCESS_KEY")
    }

    def agent(name, edition, conflicts, requires=()):
        return {
            "name": name,
            "version": VERSION,
            "files": _program(edition),
            "config": config,
            "conflicts": conflicts,
            "requires": requires,
            "links": _links(with_ksplice=el10),
            "scripts": scriptlets.agent(family, edition, PROGRAM),
        }

    tools = {
        "name": "ksplice-tools",
        "version": VERSION,
        "links": {} if el10 else {"/usr/bin/ksplice": f"{PROGRAM}/uptrack_agent.py"},
    }
    if el10:
        found = [
            agent("ksplice", "online", ["ksplice-offline"]),
            agent("ksplice-offline", "offline", ["ksplice"]),
        ]
    else:
        found = [
            agent("uptrack", "online", ["uptrack-offline", "ksplice-offline"]),
            agent("uptrack-offline", "offline", ["uptrack", "ksplice"]),
            tools,
            {
                "name": "ksplice",
                "version": VERSION,
                "requires": ["uptrack", "ksplice-tools"],
                "conflicts": ["ksplice-offline"],
            },
            {
                "name": "ksplice-offline",
                "version": VERSION,
                "requires": ["uptrack-offline", "ksplice-tools"],
                "conflicts": ["ksplice"],
            },
        ]
    found.append({"name": "ksplice-known-exploit-detection", "version": VERSION})
    for kernel in (
        kernels.KERNELS[name]
        for name in (
            ["ubuntu"]
            if family == "deb"
            else ["ol10"]
            if el10
            else ["ol7", "ol9", "ol9-next", "centos8"]
        )
    ):
        # An older and a newer package, as they follow each other in a repository.
        for date, count in (
            ("20261101", len(kernel["updates"]) - 1),
            ("20261112", len(kernel["updates"])),
        ):
            text = json.dumps({"date": date, "updates": kernel["updates"][:count]}, indent=1) + "\n"
            release = kernel["kernel"]["release"]
            found.append(
                {
                    "name": f"uptrack-updates-{release}",
                    "version": date,
                    "files": {f"/var/lib/uptrack-lab/updates-{release}.json": text},
                    "scripts": scriptlets.updates(family),
                    "requires": ["/usr/sbin/uptrack-upgrade"] if family == "rpm" else [],
                }
            )
    return [
        dict(
            {
                "files": {},
                "config": {},
                "links": {},
                "conflicts": [],
                "requires": [],
                "scripts": {},
            },
            **one,
        )
        for one in found
    ]


def _program(edition):
    """The agent's program; the file `edition` beside it says which edition the package made it."""
    files = {
        f"{PROGRAM}/edition": edition + "\n",
        f"{PROGRAM}/uptrack_agent.py": "#!/usr/bin/python3 -SE\n"
        + _read(os.path.join(AGENT, "uptrack_agent.py")),
    }
    for name in sorted(os.listdir(os.path.join(AGENT, "uptrack_lab"))):
        if name.endswith(".py"):
            files[f"{PROGRAM}/uptrack_lab/{name}"] = _read(os.path.join(AGENT, "uptrack_lab", name))
    files.update(scriptlets.UNITS)
    return files


def _links(with_ksplice):
    names = [f"/usr/sbin/{name}" for name in emulated_host.SBIN_COMMANDS] + [
        "/usr/bin/uptrack-uname"
    ]
    return {
        name: f"{PROGRAM}/uptrack_agent.py"
        for name in names + (["/usr/bin/ksplice"] if with_ksplice else [])
    }


# ---- rpm -----------------------------------------------------------------------------------------


def _yum(work, www, signer):
    for flavour in ("el", "el10"):
        target = os.path.join(www, "rpms", flavour)
        os.makedirs(target)
        _rpms(os.path.join(work, flavour), packages("rpm", flavour == "el10"), target)
        signer.sign_rpms(target)
        _createrepo(target, signer)
    for tree, flavour in YUM_TREES.items():
        path = os.path.join(www, "yum/uptrack", tree)
        os.makedirs(path)
        os.symlink(
            os.path.relpath(os.path.join(www, "rpms", flavour), path), os.path.join(path, "x86_64")
        )
    _write(os.path.join(www, "yum/RPM-GPG-KEY-ksplice"), signer.public)
    # For refusals: the agent's package without a signature.
    unsigned = os.path.join(www, "unsigned")
    os.makedirs(unsigned)
    _rpms(
        os.path.join(work, "unsigned"),
        [one for one in packages("rpm") if one["name"] == "uptrack"],
        unsigned,
    )
    _createrepo(unsigned, signer)


def _rpms(work, wanted, target):
    for number, package in enumerate(wanted):
        root, top = (os.path.join(work, f"{number}", name) for name in ("root", "top"))
        os.makedirs(root)
        _put_files(root, package)
        spec = os.path.join(work, f"{number}", "package.spec")
        _write(spec, _spec(package, root))
        _run(
            [
                "rpmbuild",
                "-bb",
                "--quiet",
                "--define",
                f"_topdir {top}",
                "--define",
                f"_rpmdir {target}",
                "--define",
                "_rpmfilename %{NVRA}.rpm",
                "--define",
                "_build_id_links none",
                "--define",
                "__os_install_post %{nil}",
                "--define",
                "_binary_payload w1.gzdio",
                spec,
            ]
        )


def _spec(package, root):
    lines = [
        f"Name: {package['name']}",
        f"Version: {package['version']}",
        "Release: 0",
        "Summary: Emulated Ksplice package",
        "License: GPL-3.0-or-later",
        "BuildArch: noarch",
        "AutoReqProv: no",
    ]
    lines += [f"Conflicts: {other}" for other in package["conflicts"]] + [
        f"Requires: {other}" for other in package["requires"]
    ]
    lines += [
        "%description",
        "Part of the lab of rebootless.ksplice. It patches nothing.",
        "%install",
        f"cp -a {root}/. %{{buildroot}}/",
    ]
    for when, script in package["scripts"].items():
        lines += [f"%{when}", script]
    lines += ["%files"] + [
        f"%config(noreplace) %attr(0640, root, root) {path}" for path in package["config"]
    ]
    lines += [
        f"%attr({'0755' if path.endswith('uptrack_agent.py') else '0644'}, root, root) {path}"
        for path in package["files"]
    ] + list(package["links"])
    if package["config"]:
        lines.append("%dir %attr(0750, root, root) /etc/uptrack")
    return "\n".join(lines) + "\n"


def _createrepo(directory, signer):
    _run(["createrepo_c", "-q", directory])
    signer.detach(os.path.join(directory, "repodata/repomd.xml"))


# ---- deb -----------------------------------------------------------------------------------------


def _apt(work, www, signer):
    apt = os.path.join(www, "apt")
    pool = os.path.join(apt, "pool")
    os.makedirs(pool)
    for number, package in enumerate(packages("deb")):
        _deb(os.path.join(work, f"deb{number}"), package, pool)
    listing = _run(["apt-ftparchive", "packages", "pool"], cwd=apt)
    for codename in CODENAMES:
        _suite(apt, codename, listing, signer)
    _write(os.path.join(apt, "ksplice-archive.asc"), signer.public)
    # For refusals: the same with an InRelease that was changed after it was signed.
    tampered = os.path.join(www, "apt-tampered")
    shutil.copytree(apt, tampered)
    for codename in CODENAMES:
        path = os.path.join(tampered, "dists", codename, "InRelease")
        _write(path, _read(path).replace("Label: Ksplice", "Label: Kspiice"))


def _deb(work, package, pool):
    _put_files(work, package)
    control = [
        f"Package: {package['name']}",
        f"Version: {package['version']}",
        "Architecture: all",
        "Maintainer: rebootless.ksplice contributors <lab@example.com>",
        "Description: Emulated Ksplice package",
        " Part of the lab of rebootless.ksplice. It patches nothing.",
    ]
    if package["conflicts"]:
        control.insert(3, "Conflicts: " + ", ".join(package["conflicts"]))
    if package["requires"]:
        control.insert(3, "Depends: " + ", ".join(package["requires"]))
    _write(os.path.join(work, "DEBIAN/control"), "\n".join(control) + "\n")
    if package["config"]:
        _write(os.path.join(work, "DEBIAN/conffiles"), "\n".join(package["config"]) + "\n")
        os.chmod(os.path.join(work, "etc/uptrack"), 0o750)
    for when, script in package["scripts"].items():
        _write(os.path.join(work, "DEBIAN", when), f"#!/bin/sh\nset -e\n{script}\n", 0o755)
    _run(
        [
            "dpkg-deb",
            "--root-owner-group",
            "-Zgzip",
            "-z1",
            "-b",
            work,
            os.path.join(pool, f"{package['name']}_{package['version']}_all.deb"),
        ]
    )


def _suite(apt, codename, listing, signer):
    for arch in ("amd64", "all"):
        _write(os.path.join(apt, f"dists/{codename}/ksplice/binary-{arch}/Packages"), listing)
    folder = os.path.join(apt, "dists", codename)
    options = [
        f"APT::FTPArchive::Release::{key}={value}"
        for key, value in (
            ("Origin", "Ksplice"),
            ("Label", "Ksplice"),
            ("Suite", codename),
            ("Codename", codename),
            ("Components", "ksplice"),
            ("Architectures", "amd64 all"),
        )
    ]
    release = _run(
        ["apt-ftparchive"]
        + [word for option in options for word in ("-o", option)]
        + ["release", folder]
    )
    _write(os.path.join(folder, "Release"), release)
    signer.clear(os.path.join(folder, "Release"), os.path.join(folder, "InRelease"))


def _put_files(root, package):
    for path, text in list(package["files"].items()) + list(package["config"].items()):
        _write(
            root + path,
            text,
            0o640
            if path in package["config"]
            else 0o755
            if path.endswith("uptrack_agent.py")
            else 0o644,
        )
    for path, target in package["links"].items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        if not os.path.lexists(root + path):
            os.symlink(target, root + path)


# ---- keys ----------------------------------------------------------------------------------------


class Signer:
    """A gpg key of its own, made for this build."""

    def __init__(self, home, name):
        self.home, self.name = home, name
        os.makedirs(home, 0o700)
        self._gpg("--quick-gen-key", "--passphrase", "", name, "rsa3072", "sign", "never")
        listing = self._gpg("--list-keys", "--with-colons")
        self.fingerprint = next(
            line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:")
        )
        self.public = self._gpg("--armor", "--export")

    def _gpg(self, *arguments):
        return _run(
            [
                "gpg",
                "--homedir",
                self.home,
                "--batch",
                "--quiet",
                "--yes",
                "--pinentry-mode",
                "loopback",
                *arguments,
            ]
        )

    def sign_rpms(self, directory):
        rpms = sorted(
            os.path.join(directory, name) for name in os.listdir(directory) if name.endswith(".rpm")
        )
        _run(
            [
                "rpmsign",
                "--define",
                "__gpg /usr/bin/gpg",
                "--define",
                f"_gpg_name {self.name}",
                "--define",
                f"_gpg_path {self.home}",
                "--addsign",
                *rpms,
            ]
        )

    def detach(self, path):
        self._gpg("--detach-sign", "--armor", path)

    def clear(self, path, target):
        self._gpg("--output", target, "--clearsign", path)


# ---- small things --------------------------------------------------------------------------------


def _run(command, cwd=None):
    done = subprocess.run(
        command,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)[:200]} ended with {done.returncode}: {done.stderr.strip()[-1500:]}"
        )
    return done.stdout


def _read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def _write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(build(os.path.abspath(sys.argv[1])))
