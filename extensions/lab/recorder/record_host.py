# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Records what the Ksplice client of this host says and writes, for the tests of this collection.

    python3 record_host.py OUTPUT.json [--name NAME] [--verdict VERDICT] [--run 'COMMAND'...]

As root, on a host with a licence. Without --run it starts nothing but `uptrack-upgrade --version`:
it takes the state files as they lie there. Each --run is one of the client's own commands
('uptrack-upgrade -n', 'uptrack-show', ...), run in the order given, with its output and exit
status. Only -n and uptrack-show leave the kernel as it is: nothing is run that is not named.

What could tell who you are is replaced before anything is written: access keys and everything else
of 32 and more hexadecimal digits, host names, UUIDs, addresses, passwords of proxies, serial
numbers of the hardware. Read the file all the same before you send it.
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
            "Recording needs root: the kernel shows the state of its updates to nobody else. "
            "Nothing was run or written."
        )
    kernel = {
        name: said([root + "/usr/bin/uname" if root else "uname", "-" + name[0]])
        for name in ("sysname", "release", "version", "machine")
    }
    mask = Mask(root)
    client = version(find(root, "uptrack-upgrade"))
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
        "client": mask(client),
    }
    with open(options.output, "x", encoding="utf-8") as file:
        json.dump(recording, file, indent=1)
        file.write("\n")
    print(
        (
            "Recorded to {}: {} commands, {} updates in the kernel, "
            "files: {}. Read it before you send it."
        ).format(
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
        help="what you know of this host: current, behind:2 (two updates pending), blocked:1, "
        "disabled, unsupported, unknown",
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
                (
                    "--run {!r} is not one of the client's commands ({}). "
                    "Nothing was run or written."
                ).format(line, ", ".join(COMMANDS))
            )
    if os.path.exists(options.output):
        parser.error(f"{options.output} is there already. Nothing was run or written.")
    return options


def find(root, command):
    for folder in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        if os.access(root + folder + "/" + command, os.X_OK):
            return root + folder + "/" + command
    sys.exit(
        f"There is no {command} on this host. What ran before it has run; nothing was written."
    )


def said(words):
    return (
        subprocess.check_output(words, stdin=subprocess.DEVNULL)
        .decode("utf-8", "replace")
        .rstrip("\n")
    )


def version(command):
    """What the client says its version is: the one thing that is run without being named, as it
    asks nobody and writes nothing.
    """
    done = subprocess.Popen(
        [command, "--version"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.communicate()[0].decode("utf-8", "replace").rstrip("\n")


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
        names = {
            socket.gethostname(),
            socket.getfqdn(),
            os.uname()[1],
            (read(root + "/etc/hostname") or "").strip(),
        }
        conf = read(root + "/etc/uptrack/uptrack.conf") or ""
        secrets = re.findall(r"(?mi)^[ \t]*accesskey[ \t]*[=:][ \t]*(\S+)", conf)
        proxies = re.findall(r"(?mi)^[ \t]*https_proxy[ \t]*[=:][ \t]*(\S+)", conf)
        for proxy in proxies + [
            os.environ.get(name, "") for name in ("https_proxy", "HTTPS_PROXY", "http_proxy")
        ]:
            credentials, _at, place = proxy.rpartition("://")[2].rpartition("@")
            parts = [credentials, credentials.partition(":")[2]]
            secrets += parts + [part.replace("%%", "%") for part in parts]
            place = place.partition("/")[0].partition(":")[0]
            if "." in place:
                names.add(place)
        # Short names and domains too: db1.internal.example.com gives db1, internal.example.com,
        # example.com.
        for name in list(names):
            parts = name.split(".")
            names |= {parts[0]} | {".".join(parts[at:]) for at in range(1, len(parts) - 1)}
        self.words = [
            (wrapped(word), KEY if re.match(HEX + r"{32,}\Z", word) else "masked")
            for word in sorted(secrets, key=len, reverse=True)
            if len(word) > 3 and word != "INSERT_ACCESS_KEY"
        ]
        # As a word of its own only: a host called "kernel" must not take the kernel's name away.
        # What is shorter, and what names fields have, is masked by the fields below.
        self.words += [
            (wrapped(name, alone=True), "vm")
            for name in sorted(names, key=len, reverse=True)
            if len(name) > 3 and name not in ("localhost", "None")
        ]

    def __call__(self, text):
        if text is None:
            return None
        for word, instead in self.words:
            text = word.sub(instead, text)
        text = re.sub(r"://[^/@\s]*@", "://masked@", text)
        for pattern, instead in PATTERNS:
            text = re.sub(pattern, instead, text)
        return re.sub(f"(?<![:.\\w]){HEX}*:[0-9a-fA-F:]+(?![:\\w])", documentation_address, text)


# Numbers of one host, wherever they stand. Not those of a version: an address stands alone.
PATTERNS = (
    (f"(?<!{HEX}){HEX}{{8}}-(?:{HEX}{{4}}-){{3}}{HEX}{{12}}(?!{HEX})", UUID),
    (f"(?<!{HEX}){HEX}{{32,}}(?!{HEX})", KEY),
    (r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+", "masked@example.com"),
    (f"(?<![:\\w])(?:{HEX}{{2}}:){{5}}{HEX}{{2}}(?![:\\w])", "00:00:00:00:00:00"),
    (r"(?<![\w.-])(?!127\.)\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\w)", "192.0.2.1"),
    (r"(?i)\bip-\d{1,3}(?:-\d{1,3}){3}\b", "ip-192-0-2-1"),
    (
        r"(?i)((?:full)?hostname|localip|[\w ]{0,30}serial[\w ]{0,30})(['\"]?: *)[^,}\n]+",
        r"\1\2masked",
    ),
)


def documentation_address(match):
    """An address of IPv6 that is nobody's, in place of one; a time of the day stays."""
    try:
        socket.inet_pton(socket.AF_INET6, match.group())
    except OSError:
        return match.group()
    return "2001:db8::1"


def wrapped(word, alone=False):
    """The word, also where the client has wrapped it over two lines."""
    pattern = r"\s*".join(map(re.escape, word))
    return re.compile(
        r"(?<![A-Za-z0-9])" + pattern + r"(?![A-Za-z0-9])" if alone else pattern, re.I
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
