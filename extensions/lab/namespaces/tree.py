# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The root file systems that the hosts of a fleet share: made once, cached, never written to again.

One tree of Debian packages (mmdebstrap), and above it one thin layer for each flavour of host: what
makes Ansible, dnf and apt take it for Oracle Linux, CentOS or Ubuntu.
"""

import hashlib
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))

PACKAGES = """
openssh-server sudo python3 python3-apt python3-debian
keepalived nginx-light haproxy socat pacemaker corosync pacemaker-cli-utils resource-agents
curl iproute2 procps cron iputils-ping iputils-arping ca-certificates gnupg kmod
systemd systemd-sysv dbus util-linux
dnf rpm python3-dnf python3-rpm python3-libdnf dnf-plugins-core
""".split()
# Installed for the tests that start them; an idle host runs none.
RESTING = (
    "keepalived",
    "nginx",
    "haproxy",
    "corosync",
    "pacemaker",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dnf-makecache.timer",
    "e2scrub_all.timer",
)

# Flavour: what /etc/os-release says, and the release of the distribution for dnf.
FLAVOURS = {
    "debian": None,
    "ubuntu": {
        "os": 'NAME="Ubuntu"\nID=ubuntu\n'
        'ID_LIKE=debian\nVERSION_ID="22.04"\n'
        "VERSION_CODENAME=jammy\nUBUNTU_CODENAME=jammy\n"
        'VERSION="22.04.5 LTS (Jammy Jellyfish)"\n'
        'PRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
        "lsb": "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\n"
        'DISTRIB_CODENAME=jammy\nDISTRIB_DESCRIPTION="Ubuntu 22.04.5 LTS"\n',
    },
    "ol7": {
        "os": 'NAME="Oracle Linux Server"\n'
        'VERSION="7.9"\nID="ol"\nID_LIKE="fedora"\n'
        'VERSION_ID="7.9"\nPRETTY_NAME="Oracle Linux Server 7.9"\n',
        "release": "7.9",
        "only_yum": True,
        "files": {
            "oracle-release": "Oracle Linux Server release 7.9\n",
            "redhat-release": "Red Hat Enterprise Linux Server release 7.9 (Maipo)\n",
        },
    },
    "ol9": {
        "os": 'NAME="Oracle Linux Server"\n'
        'VERSION="9.4"\nID="ol"\nID_LIKE="fedora"\n'
        'VERSION_ID="9.4"\nPRETTY_NAME="Oracle Linux Server 9.4"\n',
        "release": "9.4",
        "files": {
            "oracle-release": "Oracle Linux Server release 9.4\n",
            "redhat-release": "Red Hat Enterprise Linux release 9.4 (Plow)\n",
        },
    },
    "ol10": {
        "os": 'NAME="Oracle Linux Server"\n'
        'VERSION="10.0"\nID="ol"\n'
        'ID_LIKE="fedora"\nVERSION_ID="10.0"\n'
        'PRETTY_NAME="Oracle Linux Server 10.0"\n',
        "release": "10.0",
        "files": {
            "oracle-release": "Oracle Linux Server release 10.0\n",
            "redhat-release": "Red Hat Enterprise Linux release 10.0 (Coughlan)\n",
        },
    },
    "centos8": {
        "os": 'NAME="CentOS Linux"\nVERSION="8"\n'
        'ID="centos"\nID_LIKE="rhel fedora"\n'
        'VERSION_ID="8"\nPRETTY_NAME="CentOS Linux 8"\n',
        "release": "8.5",
        "files": {
            "centos-release": "CentOS Linux release 8.5.2111\n",
            "redhat-release": "CentOS Linux release 8.5.2111\n",
        },
    },
}

STUB_SPEC = """
Name: lab-release
Version: %(release)s
Release: 0
Summary: What an Enterprise Linux has and this tree lacks
License: GPL-3.0-or-later
BuildArch: noarch
AutoReqProv: no
Provides: system-release = %(release)s
Provides: system-release(releasever) = %(major)s
Provides: redhat-release = %(release)s
Provides: oraclelinux-release = %(release)s
Provides: /bin/sh
Provides: /usr/bin/sh
Provides: /bin/bash
Provides: /usr/bin/python3
%%description
Part of the lab of rebootless.ksplice.
%%files
"""


def prepare(cache):
    """Make what is missing in the cache; returns a mapping of flavour to the list of its lower
    directories, uppermost first.
    """
    base = os.path.join(
        cache,
        "base-"
        + _digest(
            PACKAGES, RESTING, _read("uname.c"), _read("tree.py").partition("def _make_layer")[0]
        )[:16],
    )
    if not os.path.exists(base + ".done"):
        _make_base(cache, base)
    lowers = {"debian": [base]}
    for flavour, what in FLAVOURS.items():
        if what:
            layer = os.path.join(
                cache, f"{flavour}-" + _digest(base, what, STUB_SPEC, _read("tree.py"))[:16]
            )
            if not os.path.exists(layer + ".done"):
                _make_layer(flavour, what, base, layer)
            lowers[flavour] = [layer, base]
    return lowers


def _digest(*things):
    return hashlib.sha256(repr(things).encode()).hexdigest()


def _read(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


def _make_base(cache, base):
    shutil.rmtree(base, ignore_errors=True)
    os.makedirs(cache, exist_ok=True)
    archive = base + ".tar"
    excludes = [
        f"--dpkgopt=path-exclude=/usr/share/{part}/*"
        for part in ("man", "locale", "doc", "info", "lintian")
    ]
    run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            *excludes,
            "bookworm",
            archive,
            "/etc/apt/sources.list.d/debian.sources",
        ],
        "The tree of Debian packages could not be made",
    )
    os.makedirs(base)
    run(["tar", "-xpf", archive, "-C", base, "--exclude=./dev/*"], "The tree could not be unpacked")
    os.unlink(archive)
    # A host has no way out of the fleet: without sources of the mirror, and with names from its
    # hosts file.
    sources = os.path.join(base, "etc/apt/sources.list.d")
    unwanted = [os.path.join(base, "etc/resolv.conf"), os.path.join(base, "etc/apt/sources.list")]
    for path in unwanted + [os.path.join(sources, name) for name in os.listdir(sources)]:
        if os.path.lexists(path):
            os.unlink(path)
    for unit in RESTING:
        subprocess.run(
            ["systemctl", f"--root={base}", "disable", "-q", unit],
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if unit.endswith(".timer"):
            subprocess.run(
                ["systemctl", f"--root={base}", "mask", "-q", unit],
                stderr=subprocess.DEVNULL,
                check=False,
            )
    library = os.path.join(base, "usr/lib/lab-uname.so")
    run(
        ["gcc", "-O2", "-shared", "-fPIC", "-o", library, os.path.join(HERE, "uname.c")],
        "The kernel's name of each host could not be built (gcc)",
    )
    put(base, "etc/ld.so.preload", "/usr/lib/lab-uname.so\n")
    put(
        base,
        "etc/ssh/sshd_config.d/lab.conf",
        "UseDNS no\nPermitRootLogin prohibit-password\nMaxStartups 100\nMaxSessions 100\n",
    )
    # Debian's apt and dnf look for what the lab does not have, again and again.
    put(base, "etc/apt/apt.conf.d/lab", 'Acquire::Languages "none";\nAcquire::Retries "0";\n')
    open(base + ".done", "w", encoding="utf-8").close()


def _make_layer(flavour, what, base, layer):
    shutil.rmtree(layer, ignore_errors=True)
    for part in ("", ".work", ".root"):
        os.makedirs(layer + part, exist_ok=True)
    root = layer + ".root"
    run(
        [
            "mount",
            "-t",
            "overlay",
            "lab-layer",
            "-o",
            f"lowerdir={base},upperdir={layer},workdir={layer}.work",
            root,
        ],
        "The layer could not be mounted",
    )
    try:
        os.unlink(os.path.join(root, "etc/os-release"))
        put(root, "etc/os-release", what["os"])
        if "lsb" in what:
            put(root, "etc/lsb-release", what["lsb"])
        if "release" in what:
            _enterprise(root, what)
    finally:
        run(["umount", root], "The layer could not be unmounted")
        shutil.rmtree(layer + ".work")
        os.rmdir(root)
    open(layer + ".done", "w", encoding="utf-8").close()


def _enterprise(root, what):
    """What makes dnf and Ansible take a Debian tree for an Enterprise Linux."""
    for name, text in what["files"].items():
        put(root, f"etc/{name}", text)
    os.unlink(os.path.join(root, "etc/debian_version"))
    put(root, "etc/rpm/macros", "%_dbpath /var/lib/rpm\n%__gpg /usr/bin/gpg\n")
    put(
        root,
        "etc/dnf/dnf.conf",
        "[main]\ngpgcheck=1\ninstallonly_limit=3\n"
        "clean_requirements_on_remove=True\n"
        "best=True\nskip_if_unavailable=False\n",
    )
    # Debian's dnf keeps a copy of every package; that of an Enterprise Linux does not.
    put(root, "etc/dnf/plugins/local.conf", "[main]\nenabled = 0\n")
    os.makedirs(os.path.join(root, "etc/yum.repos.d"), exist_ok=True)
    os.makedirs(os.path.join(root, "etc/pki/rpm-gpg"), exist_ok=True)
    if what.get("only_yum"):
        # Debian has no yum: dnf under its name understands the same command lines.
        os.rename(os.path.join(root, "usr/bin/dnf"), os.path.join(root, "usr/bin/yum"))
    release = what["release"]
    put(root, "tmp/lab.spec", STUB_SPEC % {"release": release, "major": release.partition(".")[0]})
    run(
        [
            "chroot",
            root,
            "rpmbuild",
            "-bb",
            "--quiet",
            "--define",
            "_topdir /tmp/lab-rpm",
            "--define",
            "_rpmfilename lab.rpm",
            "/tmp/lab.spec",
        ]
        if os.path.exists(os.path.join(root, "usr/bin/rpmbuild"))
        else [
            "rpmbuild",
            "-bb",
            "--quiet",
            "--define",
            f"_topdir {root}/tmp/lab-rpm",
            "--define",
            "_rpmfilename lab.rpm",
            f"{root}/tmp/lab.spec",
        ],
        "The stub of the release could not be built",
    )
    run(
        ["chroot", root, "rpm", "-i", "--nosignature", "/tmp/lab-rpm/RPMS/lab.rpm"],
        "The stub of the release could not be installed",
    )
    shutil.rmtree(os.path.join(root, "tmp/lab-rpm"))
    os.unlink(os.path.join(root, "tmp/lab.spec"))


def put(root, path, text, mode=0o644):
    """Write a file below a root."""
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(full, mode)


def run(command, what):
    """Run a command; SystemExit with one line that says what could not be done."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(
            f"{what}: {' '.join(command)[:120]} ended with {done.returncode}: "
            f"{' '.join(done.stderr.split())[-600:]}"
        )
    return done.stdout
