# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What keepalived itself makes of configurations: it is started on each, dumps what it has
understood, and is ended.

As a program, on a host with keepalived, in a network namespace of its own (unshare -n): takes
[[FILE, CONFIGURATION ID], ...] as JSON on its standard input, prints {FILE: {"accepted": whether
keepalived -t has nothing to say against it, "instances": [...]}} as JSON.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time

AT_ONCE = 8
# From here on keepalived has dumped all that is asked for.
END = "------< Interfaces >------"
SECTIONS = {
    "Virtual IP": "addresses",
    "Virtual IP Excluded": "addresses",
    "Unicast Peer": "peers",
}


def parsed(words):
    """The instances of a dump."""
    found, section = [], None
    for line in words.splitlines():
        text = re.sub(r"^\w{3} \w{3} [ \d]\d [\d:]+ \d{4}: ", "", line)
        name, sign, value = text.strip().partition(" = ")
        indent = len(text) - len(text.lstrip())
        if name == "VRRP Instance" and indent == 1:
            found.append({"name": value, "addresses": [], "peers": [], "nopreempt": False})
        elif not found or text.startswith("---"):
            section = None
        elif indent == 3:
            section = SECTIONS.get(re.sub(r"( \(\d+\))? ?:$", "", text.strip()))
            one = found[-1]
            if name in ("Virtual Router ID", "Priority"):
                one["router_id" if name[0] == "V" else "priority"] = int(value)
            elif name == "Wantstate":
                one["state"] = value
            elif name == "Interface":
                one["interface"] = re.sub(r".* on ([^,]*).*", r"\1", value)
            elif name == "Preempt":
                one["nopreempt"] = value == "disabled"
        elif section and indent == 5:
            found[-1][section].append(text.split()[0].partition("/")[0])
    return found


def begin(number, path, config_id):
    command = ["keepalived", "-n", "-P", "-l", "-d", "-D", "-i", config_id, "-f", path]
    command += ["-p", f"/run/oracle-{number}.pid", "-r", f"/run/oracle-{number}-vrrp.pid"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def heard(process, seconds=20):
    """What a keepalived says until it has dumped everything, or ends."""
    words, until = b"", time.monotonic() + seconds
    while END.encode() not in words and time.monotonic() < until:
        # One that has no instances has nothing more to say.
        quiet = not select.select([process.stdout], [], [], 1)[0]
        more = b"" if quiet else os.read(process.stdout.fileno(), 65536)
        words += more
        if not more and (not quiet or b"Startup complete" in words):
            break
    # Nothing of it is to be put in order.
    os.killpg(process.pid, 9)
    process.wait()
    return words.decode(errors="surrogateescape")


def accepted(path, config_id):
    """Whether keepalived has nothing to say against it.

    There are those that it never comes to an end with.
    """
    command = ["keepalived", "-t", "-l", "-i", config_id, "-f", path]
    try:
        return not subprocess.run(command, stdout=2, timeout=10, check=False).returncode
    except subprocess.TimeoutExpired:
        return False


def main():
    for command in (
        "ip link set lo up",
        "ip link add eth0 type veth peer name eth1",
        "ip link set eth0 up",
        "ip link set eth1 up",
        "ip addr add 192.0.2.11/24 dev eth0",
        "ip addr add 2001:db8::11/64 dev eth0 nodad",
        "ip netns add hrepvpn",
        "ip -n hrepvpn link add eth0 type veth peer name eth1",
        "ip -n hrepvpn link set eth0 up",
    ):
        subprocess.run(command.split(), check=True)
    cases, answers = json.load(sys.stdin), {}
    for at in range(0, len(cases), AT_ONCE):
        some = cases[at : at + AT_ONCE]
        running = [begin(at + number, *one) for number, one in enumerate(some)]
        for (path, config_id), process in zip(some, running):
            words = heard(process)
            answers[path] = {"accepted": accepted(path, config_id), "instances": parsed(words)}
    subprocess.run("ip netns del hrepvpn".split(), check=True)
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
