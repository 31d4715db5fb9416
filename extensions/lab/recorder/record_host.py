# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Records what the Ksplice client of this host says and writes, for the tests of this collection.

    python3 record_host.py OUTPUT.json [--name NAME] [--verdict VERDICT] [--run 'COMMAND'...]

As root, on a host with a licence. Without --run it starts nothing: it takes the state files as they lie there. Each --run
is one of the client's own commands ('uptrack-upgrade -n', 'uptrack-show', ...), run in the order given, with its output
and exit status. Only -n and uptrack-show leave the kernel as it is: nothing is run that is not named.

What could tell who you are is replaced before anything is written: access keys and everything else of 32 and more
hexadecimal digits, host names, UUIDs, addresses, passwords of proxies, serial numbers of the hardware. Read the file
all the same before you send it.
"""

import argparse
import glob
import json
import os
import re
import shlex
import socket
import subprocess
import sys

COMMANDS = (
    "uptrack-upgrade",
    "uptrack-install",
    "uptrack-remove",
    "uptrack-show",
    "uptrack-uname",
    "ksplice",
)
FILES = ("status", "results", "upgrade_plan", "init_plan", "remove_plan")
# A state file is some kilobytes; one that is larger is cut, as it would be of no use whole either.
MOST = 1 << 20
KEY = "0123456789abcdef" * 4
UUID = "00000000-0000-4000-8000-000000000000"
HEX = "[0-9a-fA-F]"


def main(arguments):
    options = parse(arguments)
    root = os.environ.get("UPTRACK_LAB_ROOT", "")
    if os.geteuid() != 0 and not root:
        sys.exit(
            "Recording needs root: the kernel shows the state of its updates to nobody else. Nothing was run or written."
        )
    kernel = {
        name: said([root + "/usr/bin/uname" if root else "uname", "-" + name[0]])
        for name in ("sysname", "release", "version", "machine")
    }
    mask = Mask(root)
    commands = []
    for line in options.run:
        words = shlex.split(line)
        words[0] = find(root, words[0])
        done = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output = done.communicate()[0].decode("utf-8", "replace")
        commands.append({"command": mask(line), "status": done.returncode, "output": mask(output)})
    folder = "{}/var/cache/uptrack/{sysname}/{machine}/{release}/{version}".format(root, **kernel)
    recording = {
        "name": options.name,
        "what": options.what,
        "played_as": "; ".join(options.run) or "as it was found",
        "honest_verdict": options.verdict,
        "commands": commands,
        "in_kernel_afterwards": in_kernel(root),
        "files_afterwards": {name: mask(read(os.path.join(folder, name))) for name in FILES},
        "kernel": kernel,
        "effective_kernel": mask(read(root + "/var/lib/uptrack/effective_kernel")),
        "client": mask(said([find(root, "uptrack-upgrade"), "--version"])),
    }
    with open(options.output, "x", encoding="utf-8") as file:
        json.dump(recording, file, indent=1)
        file.write("\n")
    print(
        "Recorded to {}: {} commands, {} updates in the kernel, files: {}. Read it before you send it.".format(
            options.output,
            len(commands),
            len(recording["in_kernel_afterwards"]),
            ", ".join(
                name for name, text in recording["files_afterwards"].items() if text is not None
            )
            or "none",
        )
    )
    return 0


def parse(arguments):
    parser = argparse.ArgumentParser(
        description="Record what the Ksplice client of this host says and writes."
    )
    parser.add_argument("output", help="the file to write; one that is there is not replaced")
    parser.add_argument("--name", default="recorded", help="of the scenario, such as one_pending")
    parser.add_argument("--what", help="a sentence about it")
    parser.add_argument(
        "--verdict",
        default="unknown",
        help="what you know of this host: current, behind:2 (two updates pending), blocked:1, disabled, unsupported, unknown",
    )
    parser.add_argument(
        "--run",
        action="append",
        default=[],
        metavar="'COMMAND'",
        help="one of the client's commands; may be given again",
    )
    options = parser.parse_args(arguments)
    for line in options.run:
        if not line.split() or line.split()[0] not in COMMANDS:
            parser.error(
                "--run {!r} is not one of the client's commands ({}). Nothing was run or written.".format(
                    line, ", ".join(COMMANDS)
                )
            )
    if os.path.exists(options.output):
        parser.error("{} is there already. Nothing was run or written.".format(options.output))
    return options


def find(root, command):
    for folder in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        if os.access(root + folder + "/" + command, os.X_OK):
            return root + folder + "/" + command
    sys.exit(
        "There is no {} on this host. What ran before it has run; nothing was written.".format(
            command
        )
    )


def said(words):
    return (
        subprocess.check_output(words, stdin=subprocess.DEVNULL)
        .decode("utf-8", "replace")
        .rstrip("\n")
    )


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(MOST).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def in_kernel(root):
    """The IDs that the kernel says are applied, whichever of the two places it shows them in."""
    found = set()
    for path in glob.glob(root + "/sys/kernel/ksplice/*/stage") + glob.glob(
        root + "/sys/module/ksplice_*/ksplice/stage"
    ):
        if (read(path) or "").strip() == "applied":
            place = os.path.dirname(path)
            found.add(
                os.path.basename(os.path.dirname(place))[len("ksplice_") :]
                if place.endswith("/ksplice")
                else os.path.basename(place)
            )
    return sorted(found)


class Mask:
    """Text without what belongs to this host alone. Called with None it gives None."""

    def __init__(self, root):
        names = {socket.gethostname(), socket.getfqdn(), os.uname()[1]} | {
            (read(root + path) or "").strip() for path in ("/etc/hostname",)
        }
        names |= {name.split(".")[0] for name in names}
        conf = read(root + "/etc/uptrack/uptrack.conf") or ""
        secrets = re.findall(r"(?mi)^[ \t]*accesskey[ \t]*[=:][ \t]*(\S+)", conf)
        for proxy in re.findall(r"(?mi)^[ \t]*https_proxy[ \t]*[=:][ \t]*(\S+)", conf) + [
            os.environ.get(name, "") for name in ("https_proxy", "HTTPS_PROXY")
        ]:
            credentials = proxy.rpartition("@")[0].rpartition("//")[2]
            secrets += [credentials, credentials.partition(":")[2], credentials.replace("%%", "%")]
        # Whoever is called "localhost" or "vm" gives nothing away, and a word that short would be found everywhere.
        self.words = [
            (wrapped(word), KEY if re.match(HEX + r"{32,}\Z", word) else "masked")
            for word in sorted(secrets, key=len, reverse=True)
            if len(word) > 3 and word != "INSERT_ACCESS_KEY"
        ]
        self.words += [
            (wrapped(word), "vm")
            for word in sorted(names, key=len, reverse=True)
            if len(word) > 3 and word != "localhost"
        ]

    def __call__(self, text):
        if text is None:
            return None
        for word, instead in self.words:
            text = word.sub(instead, text)
        text = re.sub(r"://[^/@\s]*@", "://masked@", text)
        text = re.sub("(?<!{0}){0}{{8}}-(?:{0}{{4}}-){{3}}{0}{{12}}(?!{0})".format(HEX), UUID, text)
        text = re.sub("(?<!{0}){0}{{32,}}(?!{0})".format(HEX), KEY, text)
        # Not the numbers of a version: an address stands alone.
        text = re.sub(r"(?<![\w.-])(?!127\.)\d{1,3}(?:\.\d{1,3}){3}(?![\w.-])", "192.0.2.1", text)
        return re.sub(
            r"(?mi)^(\s*(?:serial|product_serial|chassis_serial)\S*\s*:).*$", r"\1 masked", text
        )


def wrapped(word):
    """The word, also where the client has wrapped it over two lines."""
    return re.compile(r"\s*".join(map(re.escape, word)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
