# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""A fleet of real hosts on one Debian machine: systemd, sshd and a network address each, in
namespaces of their own.

As a program (root):
    namespaced_hosts.py up [NAME:FLAVOUR...|NUMBER]  start hosts, without arguments four of them;
                                                     flavours: debian ubuntu ol7 ol9 ol10 centos8
    namespaced_hosts.py down                         remove them, whatever is left of them
    namespaced_hosts.py status                       which hosts answer
    namespaced_hosts.py exec NAME COMMAND...         run a command on a host, past its network

Hosts share the machine's kernel and clock. What they call their kernel, and what the emulated agent
puts into it, is their own.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LAB = os.path.dirname(HERE)
for folder in (HERE, os.path.join(LAB, "packages"), os.path.join(LAB, "agent")):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import build  # noqa: E402
import emulated_host  # noqa: E402
import kernels  # noqa: E402
import tree  # noqa: E402

KEY = "0123456789abcdef" * 4  # the access key that the emulated service takes
CGROUPS = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
COMMANDS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "rpmbuild": "rpm",
    "createrepo_c": "createrepo-c",
    "gpg": "gnupg",
    "apt-ftparchive": "apt-utils",
    "dpkg-deb": "dpkg",
    "ip": "iproute2",
    "nc": "netcat-openbsd",
    "gcc": "gcc",
    "openssl": "openssl",
    "nsenter": "util-linux",
    "ssh-keygen": "openssh-client",
}
READY_WITHIN = 90  # seconds, on a busy machine


def problems():
    """Why this machine cannot run a fleet, as sentences; empty when it can."""
    found = []
    if os.geteuid() != 0:
        found.append("it needs root")
    missing = sorted(
        {package for command, package in COMMANDS.items() if not shutil.which(command)}
    )
    if missing:
        found.append(
            f"programs are missing: apt-get install -y --no-install-recommends {' '.join(missing)}"
        )
    if not os.path.exists("/etc/apt/sources.list.d/debian.sources"):
        found.append("it is not Debian with /etc/apt/sources.list.d/debian.sources")
    if not _cgroups():
        found.append("no control group can be made below /sys/fs/cgroup")
    return found


def _cgroups():
    """The hierarchies in which every host gets a group of its own: processes of one must not be
    stopped with those of another.
    """
    usable = [
        path for path in CGROUPS[:2] if os.access(os.path.join(path, "cgroup.procs"), os.W_OK)
    ]
    return usable or [
        path for path in CGROUPS[2:] if os.access(os.path.join(path, "cgroup.procs"), os.W_OK)
    ]


def cache_directory():
    """Where trees and packages are kept: $LAB_CACHE, or build/lab of the checkout."""
    return os.path.abspath(
        os.environ.get("LAB_CACHE") or os.path.join(LAB, "..", "..", "build", "lab")
    )


class NamespacedHosts:
    """One fleet.

    :param directory: where its state is; taken away by down.
    :param prefix: begins the names of its namespaces, mounts and control groups, so that several
        fleets can be up.
    """

    connect_timeout = 10  # seconds that ssh waits for a host

    def __init__(self, directory=None, prefix="lab"):
        self.directory = directory or os.path.join(cache_directory(), f"hosts-{prefix}")
        self.prefix = prefix
        self.packages = os.path.join(cache_directory(), "packages")
        self.key = os.path.join(self.directory, "key")

    # ---- names ----

    def namespace(self, name):
        return f"{self.prefix}-{name}"

    def enter(self, name="ctl"):
        """What to put in front of a command to run it in the network of a host, or of the
        controller.
        """
        return ["nsenter", f"--net=/run/netns/{self.namespace(name)}"]

    def path(self, name, *parts):
        return os.path.join(self.directory, "hosts", name, *parts)

    def root(self, name):
        """A host's file system, as the machine sees it."""
        return self.path(name, "root")

    def hosts(self):
        """What up was told of each host, with its address."""
        try:
            with open(os.path.join(self.directory, "hosts.json"), encoding="utf-8") as file:
                return json.load(file)
        except OSError:
            return {}

    # ---- up ----

    def up(self, hosts):
        """Bring the hosts up and wait until each answers.

        :param hosts: name to a mapping: `flavour` (tree.FLAVOURS), and if wanted `kernel` (a name
            of kernels.KERNELS), `scenario` (keys of the emulated service's scenario), `agent`
            (names of packages to have from the start, enrolled), `files` (path to text), `services`
            (units that start at boot), `vars` (for the inventory).
        """
        wrong = problems()
        if wrong:
            raise SystemExit(f"No hosts can be started here: {'; '.join(wrong)}.")
        for name, what in hosts.items():
            if what.get("flavour") not in tree.FLAVOURS:
                raise SystemExit(
                    f"Host {name} has the flavour {what.get('flavour')!r}: there are "
                    f"{', '.join(tree.FLAVOURS)}. Nothing was started."
                )
        if self.leftovers():
            raise SystemExit(
                f"The hosts of {self.prefix} are up, or something is left of them: take "
                "them down first. Nothing was started."
            )
        os.makedirs(cache_directory(), exist_ok=True)
        with open(os.path.join(cache_directory(), "lock"), "w", encoding="utf-8") as lock:
            # Two fleets that come up at once make what they share once.
            fcntl.flock(lock, fcntl.LOCK_EX)
            lowers = tree.prepare(cache_directory())
            build.build(self.packages)
        os.makedirs(self.directory)
        try:
            self._bring_up(hosts, lowers)
        except BaseException:
            self.down()
            raise

    def _bring_up(self, hosts, lowers):
        tree.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key],
            "The ssh key of the hosts could not be made",
        )
        addresses = {
            name: f"10.77.{number // 200}.{number % 200 + 1}"
            for number, name in enumerate(hosts, 1)
        }
        described = {name: dict(what, address=addresses[name]) for name, what in hosts.items()}
        tree.put(self.directory, "hosts.json", json.dumps(described, indent=1))
        self._share(addresses)
        self._network(addresses)
        for name in hosts:
            self._mount(name, lowers[hosts[name]["flavour"]], hosts[name])
        self._limits()
        for name in hosts:
            self.start(name)
        self.in_controller(
            [
                sys.executable,
                "-B",
                os.path.join(LAB, "packages", "serve.py"),
                self.packages,
                build.ADDRESS,
                "443",
            ]
        )
        self.inventory()
        self.wait(list(hosts))

    def _share(self, addresses):
        """What all hosts of this fleet have in common, as one more layer below theirs."""
        shared = os.path.join(self.directory, "shared")
        certificate = _read(os.path.join(self.packages, "pki/ca.crt"))
        # The bundle for curl and GnuTLS, the hashed name for OpenSSL: what update-ca-certificates
        # would do, without its two seconds.
        bundle = os.path.join(
            tree.prepare(cache_directory())["debian"][0], "etc/ssl/certs/ca-certificates.crt"
        )
        tree.put(shared, "etc/ssl/certs/ca-certificates.crt", _read(bundle) + certificate)
        digest = tree.run(
            [
                "openssl",
                "x509",
                "-noout",
                "-hash",
                "-in",
                os.path.join(self.packages, "pki/ca.crt"),
            ],
            "The certificate could not be read",
        ).strip()
        tree.put(shared, f"etc/ssl/certs/{digest}.0", certificate)
        names = {"localhost": "127.0.0.1", build.SERVER: build.ADDRESS, **addresses}
        tree.put(
            shared, "etc/hosts", "".join(f"{address} {name}\n" for name, address in names.items())
        )
        tree.put(shared, "root/.ssh/authorized_keys", _read(self.key + ".pub"), 0o600)
        for path in ("root", "root/.ssh"):
            os.chmod(os.path.join(shared, path), 0o700)

    def _network(self, addresses):
        """A bridge in a namespace of its own; controller and hosts on it.

        The machine's own network sees nothing of it.
        """
        switch = self.namespace("sw")
        for name in ["sw", "ctl", *addresses]:
            tree.run(
                ["ip", "netns", "add", self.namespace(name)],
                "A network namespace could not be made",
            )
        lines = [
            "link set lo up",
            "link add br0 type bridge mcast_snooping 0 forward_delay 0 stp_state 0",
            "link set br0 up",
        ]
        for number, name in enumerate(["ctl", *addresses]):
            lines += [
                f"link add v{number} type veth peer name eth0 netns {self.namespace(name)}",
                f"link set v{number} master br0 up",
            ]
        _batch(switch, lines)
        for name, address in {"ctl": build.ADDRESS, **addresses}.items():
            _batch(
                self.namespace(name),
                ["link set lo up", f"addr add {address}/16 dev eth0", "link set eth0 up"],
            )

    def _mount(self, name, lower, what):
        for part in ("upper", "work", "root"):
            os.makedirs(self.path(name, part))
        layers = ":".join([os.path.join(self.directory, "shared"), *lower])
        tree.run(
            [
                "mount",
                "-t",
                "overlay",
                f"{self.prefix}-{name}",
                "-o",
                f"lowerdir={layers},upperdir={self.path(name, 'upper')},"
                f"workdir={self.path(name, 'work')}",
                self.root(name),
            ],
            f"The file system of {name} could not be mounted",
        )
        root = self.root(name)
        kernel = kernels.KERNELS[
            what.get("kernel")
            or (what["flavour"] if what["flavour"] in kernels.KERNELS else "ubuntu")
        ]
        tree.put(root, "etc/hostname", name + "\n")
        # A fresh one each: what is made from it must not be the same on all hosts.
        tree.put(root, "etc/machine-id", os.urandom(16).hex() + "\n", 0o444)
        self.set_kernel(name, kernel, what.get("scenario"))
        for path, text in what.get("files", {}).items():
            tree.put(root, path.lstrip("/"), text)
        if what.get("services"):
            tree.run(
                ["systemctl", f"--root={root}", "enable", "-q", *what["services"]],
                f"{', '.join(what['services'])} could not be enabled on {name}",
            )
        if what.get("agent"):
            self._install(name, what["agent"])

    def set_kernel(self, name, kernel, scenario=None):
        """The kernel that a host boots into, and what the emulated service knows of it."""
        root = self.root(name)
        names = kernel["kernel"]
        tree.put(root, "etc/lab-kernel", f"{names['release']}\n{names['version']}\n")
        tree.put(root, f"boot/vmlinuz-{names['release']}", "")
        described = {
            "kernel": names,
            "updates": kernel["updates"],
            "client": {"version": build.VERSION, "edition": "online"},
            "sysfs_layout": "module",
            "accepted_keys": [KEY],
            "cron_sleep": 0,
            **(scenario or {}),
        }
        emulated_host.read_scenario(described)
        tree.put(root, "var/lib/uptrack-lab/scenario.json", json.dumps(described, indent=1))

    def change_scenario(self, name, **changes):
        """Change what the emulated service knows and does; see the agent's README."""
        emulated_host.change_scenario(self.root(name), **changes)

    def _install(self, name, packages):
        """Packages that a host has from its first boot on, enrolled."""
        family = "deb" if self.hosts()[name]["flavour"] in ("debian", "ubuntu") else "rpm"
        folder = os.path.join(
            self.packages,
            "www/apt/pool"
            if family == "deb"
            else "www/rpms/el10"
            if self.hosts()[name]["flavour"] == "ol10"
            else "www/rpms/el",
        )
        files = [
            next(
                file
                for file in sorted(os.listdir(folder))
                if file.startswith(f"{package}{'_' if family == 'deb' else '-1'}")
            )
            for package in packages
        ]
        for file in files:
            shutil.copy(os.path.join(folder, file), os.path.join(self.root(name), "tmp", file))
        install = ["dpkg", "-i"] if family == "deb" else ["rpm", "-i", "--nosignature", "--nodeps"]
        tree.run(
            ["chroot", self.root(name), *install, *(f"/tmp/{file}" for file in files)],
            f"{', '.join(packages)} could not be installed on {name}",
        )
        conf = os.path.join(self.root(name), "etc/uptrack/uptrack.conf")
        tree.put("/", conf.lstrip("/"), _read(conf).replace("INSERT_ACCESS_KEY", KEY), 0o640)

    @staticmethod
    def _limits():
        """Above some twenty hosts, of all fleets together, systemd runs out of what the machine
        grants (what is raised stays so until the machine boots).
        """
        for name, value in (
            ("fs/inotify/max_user_instances", 8192),
            ("fs/inotify/max_user_watches", 1048576),
            ("kernel/keys/maxkeys", 4000),
            ("kernel/keys/maxbytes", 400000),
        ):
            path = f"/proc/sys/{name}"
            if int(_read(path)) < value:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(str(value))

    # ---- a host's life ----

    def start(self, name):
        """Switch a host on. It starts again when it reboots itself."""
        for group in self._groups(name):
            os.makedirs(group, exist_ok=True)
        command = [
            "systemd-nspawn",
            "-q",
            "-D",
            self.root(name),
            "--boot",
            "--register=no",
            "--keep-unit",
            f"--network-namespace-path=/run/netns/{self.namespace(name)}",
            f"--machine={name}",
            f"--hostname={name}",
            "--capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_SYS_NICE",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            "--console=read-only",
            "--tmpfs=/sys/module:mode=0755",
        ]
        self._background(
            name,
            ["bash", "-c", 'while :; do "$@"; [ $? = 133 ] || break; done', name, *command],
            self.path(name, "console"),
        )

    def in_controller(self, command):
        """Start a process in the controller's network that ends with the fleet; its number comes
        back.
        """
        return self._background(
            "ctl", self.enter() + command, os.path.join(self.directory, "controller.log")
        )

    def _background(self, name, command, log):
        groups = self._groups(name)
        for group in groups:
            os.makedirs(group, exist_ok=True)
        join = "; ".join(f"echo $$ > {group}/cgroup.procs" for group in groups)
        with open(log, "ab") as output:
            return subprocess.Popen(
                ["setsid", "bash", "-c", f'{join}; exec "$@"', "lab", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            ).pid

    def _groups(self, name):
        return [os.path.join(path, f"rebootless-{self.prefix}", name) for path in _cgroups()]

    def kill(self, name):
        """Power off without a word: every process of the host ends at once.

        Its file system stays, see start.
        """
        _kill_all(self._groups(name))
        tree.run(["ip", "-n", self.namespace("sw"), "link", "show", "br0"], "The hosts are not up")

    def pid(self, name):
        """The number, on the machine, of the host's first process."""
        for line in _processes(self._groups(name)):
            try:
                if (
                    _read(f"/proc/{line}/comm").strip() == "systemd"
                    and _read(f"/proc/{line}/status").split("NSpid:")[1].split()[1] == "1"
                ):
                    return line
            except (OSError, IndexError):
                continue
        raise SystemExit(f"{name} is not running.")

    def run(self, name, command, check=True):
        """Run a command on a host, past its network; (status, output)."""
        words = [
            "nsenter",
            "-t",
            str(self.pid(name)),
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            *command,
        ]
        done = subprocess.run(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{name}: {command} ended with {done.returncode}: {done.stdout[-2000:]}"
            )
        return done.returncode, done.stdout

    def cable(self, name, plugged):
        """Pull a host's network cable, or plug it in."""
        number = list(self.hosts()).index(name) + 1
        tree.run(
            [
                "ip",
                "-n",
                self.namespace("sw"),
                "link",
                "set",
                f"v{number}",
                "up" if plugged else "down",
            ],
            f"The cable of {name} could not be moved",
        )

    def wait(self, names, seconds=READY_WITHIN):
        """Wait until every sshd answers; SystemExit names who does not."""
        addresses = {name: self.hosts()[name]["address"] for name in names}
        done = subprocess.run(
            self.enter()
            + [
                sys.executable,
                "-B",
                os.path.abspath(__file__),
                "answer",
                str(seconds),
                json.dumps(addresses),
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(
                f"After {seconds} s no answer from: {done.stdout.strip()}. Their consoles: "
                f"{self.path('NAME', 'console')}"
            )

    def inventory(self):
        """Write the inventory; its path comes back.

        Ansible runs outside of the fleet's network and gets in through the controller's namespace.
        """
        proxy = " ".join(self.enter() + ["nc", "%h", "%p"])
        hosts = {
            name: dict(what.get("vars", {}), ansible_host=what["address"])
            for name, what in self.hosts().items()
        }
        path = os.path.join(self.directory, "inventory.json")
        tree.put(
            "/",
            path.lstrip("/"),
            json.dumps(
                {
                    "all": {
                        "hosts": hosts,
                        "vars": {
                            "ansible_user": "root",
                            "ansible_ssh_private_key_file": self.key,
                            "ansible_python_interpreter": "/usr/bin/python3",
                            # A path of a control socket must be short.
                            "ansible_control_path_dir": f"/tmp/{self.prefix}-cp",
                            "ansible_ssh_common_args": f"-o ProxyCommand='{proxy}' -o "
                            "StrictHostKeyChecking=no -o "
                            "UserKnownHostsFile=/dev/null -o "
                            "LogLevel=ERROR -o "
                            f"ConnectTimeout={self.connect_timeout}",
                        },
                    }
                },
                indent=1,
            ),
        )
        return path

    # ---- down ----

    def leftovers(self):
        """What there is of this fleet on the machine: processes, mounts, namespaces, control
        groups, files.
        """
        groups = [os.path.join(path, f"rebootless-{self.prefix}") for path in _cgroups()]
        found = [f"process {pid}" for pid in _processes(groups)]
        found += [f"mount {path}" for path in self._mounts()] + [
            f"namespace {name}" for name in self._namespaces()
        ]
        found += [f"control group {path}" for path in groups if os.path.exists(path)]
        return found + ([f"directory {self.directory}"] if os.path.exists(self.directory) else [])

    def _mounts(self):
        inside = os.path.join(self.directory, "")
        return [
            line.split()[4]
            for line in _read("/proc/self/mountinfo").splitlines()
            if line.split()[4].startswith(inside)
        ]

    def _namespaces(self):
        try:
            return sorted(
                name for name in os.listdir("/run/netns") if name.startswith(self.prefix + "-")
            )
        except FileNotFoundError:
            return []

    def down(self):
        """Take away everything of this fleet, by what is found on the machine, and not by what up
        wrote down.
        """
        groups = [os.path.join(path, f"rebootless-{self.prefix}") for path in _cgroups()]
        _kill_all(groups)
        for path in sorted(self._mounts(), key=len, reverse=True):
            subprocess.run(["umount", "-l", path], stderr=subprocess.DEVNULL, check=False)
        for name in self._namespaces():
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)
        for group in groups:
            for folder, _folders, _files in os.walk(group, topdown=False):
                _rmdir(folder)
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(f"/tmp/{self.prefix}-cp", ignore_errors=True)


# ---- small things --------------------------------------------------------------------------------


def _batch(namespace, lines):
    done = subprocess.run(
        ["ip", "-n", namespace, "-batch", "-"],
        input="\n".join(lines) + "\n",
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(
            f"The network of {namespace} could not be made: {' '.join(done.stderr.split())}"
        )


def _processes(groups):
    """The processes in control groups, those higher up first."""
    found = []
    for group in groups:
        for folder, _folders, _files in os.walk(group):
            try:
                found += [int(pid) for pid in _read(os.path.join(folder, "cgroup.procs")).split()]
            except OSError:
                continue
    return list(dict.fromkeys(found))


def _kill_all(groups):
    """End every process in the groups; what restarts the hosts is in the outermost groups and dies
    first.
    """
    for _try in range(100):
        found = _processes(groups)
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.05)
    raise SystemExit(f"These processes do not end: {_processes(groups)}")


def _rmdir(path):
    for _try in range(40):
        try:
            return os.rmdir(path)
        except FileNotFoundError:
            return None
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{path} cannot be removed: something is still in it")


def _answering(seconds, addresses):
    """Wait in here for the banner of every sshd; the names of those without one come back."""
    deadline = time.monotonic() + seconds
    waiting = dict(addresses)
    while waiting and time.monotonic() < deadline:
        for name, address in list(waiting.items()):
            try:
                with socket.create_connection((address, 22), timeout=1) as connection:
                    connection.settimeout(2)
                    if connection.recv(4) == b"SSH-":
                        del waiting[name]
            except OSError:
                pass
        time.sleep(0.1 if waiting else 0)
    return list(waiting)


def _read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def described(words):
    """The hosts of a command line: names with flavours, or how many."""
    if len(words) <= 1 and (words or ["4"])[0].isdigit():
        mix = ("ubuntu", "ubuntu", "ol9", "ol9")
        return {
            f"h{number + 1}": {"flavour": mix[number % len(mix)]}
            for number in range(int((words or ["4"])[0]))
        }
    wrong = [word for word in words if word.count(":") != 1]
    if wrong:
        raise SystemExit(
            f"{wrong[0]!r} is not NAME:FLAVOUR, such as web1:ubuntu. Nothing was started."
        )
    return {name: {"flavour": flavour} for name, flavour in (word.split(":") for word in words)}


def main(arguments):
    hosts = NamespacedHosts(prefix=os.environ.get("LAB_PREFIX", "lab"))
    command, rest = (arguments or ["help"])[0], arguments[1:]
    if command == "up":
        begun = time.monotonic()
        hosts.up(described(rest))
        print(
            f"{len(hosts.hosts())} hosts answer after {time.monotonic() - begun:.1f} s. Their "
            f"inventory: {hosts.inventory()}"
        )
        print(f"The emulated service takes the access key {KEY}.")
    elif command == "down":
        there = hosts.leftovers()
        hosts.down()
        print(f"Removed {len(there)} things." if there else "There was nothing to remove.")
    elif command == "status":
        for name, what in hosts.hosts().items():
            missing = subprocess.run(
                hosts.enter()
                + [
                    sys.executable,
                    "-B",
                    os.path.abspath(__file__),
                    "answer",
                    "1",
                    json.dumps({name: what["address"]}),
                ],
                stdout=subprocess.DEVNULL,
                check=False,
            ).returncode
            state = "no answer" if missing else "answers"
            print(f"{name}\t{what['flavour']}\t{what['address']}\t{state}")
    elif command == "exec" and len(rest) > 1:
        status, output = hosts.run(rest[0], rest[1:], check=False)
        sys.stdout.write(output)
        return status
    elif command == "answer":
        missing = _answering(float(rest[0]), json.loads(rest[1]))
        print(", ".join(missing))
        return 1 if missing else 0
    else:
        sys.stderr.write(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
