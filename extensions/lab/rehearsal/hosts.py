# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Make a rehearsal fleet: an emulated host for every host of an inventory, each in a directory of
its own.

Reads one JSON document from standard input, as the playbook rehearse.yml writes it:

    {"directory": "...", "not_enrolled": ["web9"], "python": "/usr/bin/python3",
     "hosts": {"web1": {"rehearsal": {...} or null, "vars": {"ksplice_ha_group": "web", ...}}, ...}}

and writes below the directory C(hosts/NAME) (a host's root), C(program) (the agent), and
C(inventory.yml) (for ad-hoc commands). If the directory has an account of the emulated service
(C(service), see extensions/lab/service), the hosts check in at it, in place of those that it knew.
On standard output it leaves a JSON mapping of host names to
their roots. What a host is follows from its name, so that the same inventory always rehearses the
same; C(rehearsal) (the host's variable ksplice_rehearsal) says otherwise:

    kernel        name of a kernel in KERNELS below, or a mapping with release and version
    pending       how many updates wait
    unreachable   the host cannot be reached
    blocked_by    kernel's reason why the last update will not go in, such as code_busy
    scenario      keys of the emulated agent's scenario file (extensions/lab/agent/README.md), put
                  over all else
"""

import difflib
import hashlib
import json
import os
import shutil
import sys
from urllib.parse import quote

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "agent"))
import emulated_host  # noqa: E402
from uptrack_lab import account  # noqa: E402

KERNELS = {
    "ol9-uek7": {
        "release": "5.15.0-302.167.6.el9uek.x86_64",
        "version": "#2 SMP Tue Oct 29 17:10:51 PDT 2024",
        "machine": "x86_64",
    },
    "ol8-uek6": {
        "release": "5.4.17-2136.330.7.1.el8uek.x86_64",
        "version": "#3 SMP Mon Apr 1 11:51:57 PDT 2024",
        "machine": "x86_64",
    },
}
UPDATES_A_KERNEL = 12
SUBJECTS = (
    "Use-after-free in the network scheduler",
    "Out-of-bounds read in the NVMe driver",
    "Privilege escalation in io_uring",
    "Denial-of-service in the SMB client",
    "Information leak in the VirtIO driver",
    "Memory corruption in the page cache",
    "Null pointer dereference in netfilter",
    "Double free in the RDMA core",
    "Integer overflow in the XFS filesystem",
    "Race condition in the TTY layer",
    "Deadlock in the block layer",
    "Improved fix for a missing check in BPF",
)
KEYS = ("kernel", "pending", "unreachable", "blocked_by", "scenario")
ACCESS_KEY = hashlib.sha256(b"rehearsal").hexdigest()


class Mistake(Exception):
    """One line for whoever wrote the inventory."""


def file_name(name):
    """What a host's directory is called. No name leads out of the fleet's."""
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")


def number(*words):
    """A number that is always the same for the same words."""
    return int(hashlib.sha256("/".join(words).encode()).hexdigest()[:12], 16)


def ident(kernel, place):
    digits = "abcdefghijklmnopqrstuvwxyz0123456789"
    rest, letters = number(kernel["release"], kernel["version"], str(place)), ""
    for _letter in range(8):
        rest, letter = divmod(rest, len(digits))
        letters += digits[letter]
    return letters


def catalogue(kernel):
    """The updates there are for a kernel build: the first enables, each other fixes a CVE and lifts
    the effective kernel.
    """
    release, dash, build = kernel["release"].partition("-")
    first, dot, rest = build.partition(".")
    updates = [{"id": ident(kernel, 0), "name": "Known exploit detection."}]
    for place in range(1, UPDATES_A_KERNEL):
        cve = f"CVE-2026-{10000 + number(str(place)) % 40000}"
        updates.append(
            {
                "id": ident(kernel, place),
                "name": f"{cve}: {SUBJECTS[place % len(SUBJECTS)]}.",
                "effective": {
                    "release": f"{release}{dash}{int(first) + place}{dot}{rest}",
                    "version": kernel["version"],
                },
            }
        )
    return updates


def scenario(name, wishes, enrolled, service=None):
    """The scenario of a host: what its name says, then what the inventory says.

    :param service: the directory of the account that it checks in at, or None.
    """
    for key in wishes:
        if key not in KEYS:
            meant = difflib.get_close_matches(str(key), KEYS, 1)
            raise Mistake(
                f"Host {name}: ksplice_rehearsal has no key {key!r}"
                f"{f' (did you mean {meant[0]}?)' if meant else ''}; there are {', '.join(KEYS)}."
            )
    kernel = wishes.get("kernel") or sorted(KERNELS)[number(name, "kernel") % len(KERNELS)]
    if isinstance(kernel, str):
        if kernel not in KERNELS:
            raise Mistake(
                f"Host {name}: ksplice_rehearsal names the kernel {kernel!r}; give one of "
                f"{', '.join(sorted(KERNELS))}, or a mapping with release and version."
            )
        kernel = KERNELS[kernel]
    if (
        not isinstance(kernel, dict)
        or not isinstance(kernel.get("release"), str)
        or not isinstance(kernel.get("version"), str)
    ):
        raise Mistake(
            f"Host {name}: the kernel of ksplice_rehearsal needs release and version, as uname -r "
            "and uname -v say them."
        )
    try:
        updates = catalogue(kernel)
    except ValueError:
        raise Mistake(
            f"Host {name}: no updates can be made up for the kernel {kernel['release']!r}: give "
            "them in scenario.updates."
        ) from None
    pending = wishes.get("pending", number(name, "pending") % 5)
    if (
        isinstance(pending, bool)
        or not isinstance(pending, int)
        or not 0 <= pending <= len(updates)
    ):
        raise Mistake(
            f"Host {name}: pending of ksplice_rehearsal is {pending!r}; give a number from 0 to "
            f"{len(updates)}."
        )
    result = {
        "kernel": dict(kernel),
        "hostname": name.split(".")[0].replace("/", "-") or None,
        "service": service,
        "updates": updates,
        "installed": [update["id"] for update in updates[: len(updates) - pending]],
        "checked": "-600s" if enrolled else None,
        "accepted_keys": [ACCESS_KEY],
        "seconds_per_update": 0.1,
        "retry_wait": 0.1,
    }
    if not enrolled:
        result["config"] = {"Auth": {"accesskey": "INSERT_ACCESS_KEY"}}
    if wishes.get("blocked_by"):
        result["failures"] = [
            {
                "id": updates[-1]["id"],
                "abort": wishes["blocked_by"],
                "processes": [["rsyslogd", 812]],
            }
        ]
    own = wishes.get("scenario") or {}
    if not isinstance(own, dict):
        raise Mistake(f"Host {name}: scenario of ksplice_rehearsal needs a mapping, not {own!r}.")
    if "updates" in own:
        result["installed"] = []
    result.update(own)
    return result


def make(wish):
    """Make the fleet anew; returns the mapping of names to roots."""
    directory = os.path.abspath(wish["directory"])
    marker = os.path.join(directory, ".rehearsal-fleet")
    # The playbook has its own temporary files there already.
    if (
        os.path.isdir(directory)
        and set(os.listdir(directory)) - {"tmp", "report", "service"}
        and not os.path.exists(marker)
    ):
        raise Mistake(
            f"{directory} is not empty and holds no rehearsal fleet: name another directory "
            "(ksplice_rehearsal_directory)."
        )
    service = os.path.join(directory, "service")
    if not os.path.exists(os.path.join(service, account.SETTINGS)):
        service = None
    # First look at everything, then touch anything.
    scenarios = {}
    for name, host in wish["hosts"].items():
        wishes = host.get("rehearsal") or {}
        if not isinstance(wishes, dict):
            raise Mistake(f"Host {name}: ksplice_rehearsal needs a mapping, not {wishes!r}.")
        scenarios[name] = scenario(name, wishes, name not in wish["not_enrolled"], service)
        try:
            emulated_host.read_scenario(scenarios[name])
        except emulated_host.ScenarioError as error:
            raise Mistake(f"Host {name}: {error}") from None
    os.makedirs(directory, exist_ok=True)
    open(marker, "w", encoding="utf-8").close()
    shutil.rmtree(os.path.join(directory, "hosts"), ignore_errors=True)
    if service:
        account.clear(service)
    roots = {}
    for name, host in wish["hosts"].items():
        roots[name] = os.path.join(directory, "hosts", file_name(name))
        emulated_host.create_host(roots[name], scenarios[name], os.path.join(directory, "program"))
        if (host.get("rehearsal") or {}).get("unreachable"):
            open(os.path.join(roots[name], "unreachable"), "w", encoding="utf-8").close()
    inventory = {
        "all": {
            "hosts": {
                name: dict(host.get("vars") or {}, ksplice_rehearsal_root=roots[name])
                for name, host in wish["hosts"].items()
            },
            "vars": {
                "ansible_connection": "rebootless.ksplice.rehearsal",
                "ansible_become": False,
                "ansible_python_interpreter": wish["python"],
                "ansible_remote_tmp": os.path.join(directory, "tmp"),
                "ansible_async_dir": os.path.join(directory, "async"),
            },
        }
    }
    with open(os.path.join(directory, "inventory.yml"), "w", encoding="utf-8") as file:
        # JSON is YAML.
        json.dump(inventory, file, indent=1)
        file.write("\n")
    return roots


def main():
    try:
        print(json.dumps(make(json.load(sys.stdin))))
    except Mistake as mistake:
        sys.exit(f"{mistake} No emulated host was made.")
    except OSError as error:
        sys.exit(f"The rehearsal fleet could not be made: {error}.")


if __name__ == "__main__":
    main()
