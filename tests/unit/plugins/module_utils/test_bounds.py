# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Whatever a host holds or its programs print, reading it costs in proportion to its size.

Every reader is given one nasty fragment over and over, a number of times and four times that. Four
times as much may cost four times as much; what is squared costs sixteen times.
"""

import signal
import time

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils import redact
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import (
    facts,
    output,
    state_yaml,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.drain import nginx_config
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import (
    conf,
    enrollment,
    openpgp,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll.host_packages import (
    _enabled,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import (
    keepalived,
    keepalived_process,
    pacemaker,
)
from extent import todays

SMALL = 8192
# Below this many seconds the machine's own affairs are all that is measured.
NOISE = 0.1
# Linear is 4, squared is 16.
TOO_STEEP = 10
HANG = 60

FRAGMENTS = [
    '"',
    "'",
    'k: "open\n',
    "k: 'open\n",
    "[",
    "{",
    "]",
    "a: b\n",
    "- ",
    "- \n",
    " ",
    "\t",
    "\n",
    " \n",
    "[]",
    "a,",
    "{a,",
    "\\",
    '"\\',
    "\\\n",
    "k: |\n",
    "k: >\n  a\n",
    "? a\n: b\n",
    ": ",
    "&a ",
    "*a ",
    "!",
    "!!binary a\n",
    "#",
    "# \n",
    "%",
    "---\n",
    "...\n",
    "\u2028",
    "\x85",
    "\r",
    "k: [\n",
    "x: 'a\n\n\n",
    "''",
    "a ",
    "a=b\n",
    "=",
    ";",
    " ;",
    "[a]\n",
    "[Auth]\naccesskey = x\n",
    " x\n",
    "Effective kernel version is x ",
    "Install [aaaa1111] x\n",
    "  - x (pid 1)",
    "  - x (pid 1)\n",
    " (pid 1",
    "The following actions failed:\n",
    "[aaaa1111] x\n",
    "://",
    "://a",
    "@",
    "a@",
    "CVE-2024-1",
    "$a=",
    "$a = x \n",
    "${a",
    "priority ",
    "include ",
    "$a=\\\n",
    "$a\n",
    "~SEQ(a, 1, 9) ",
    "~LST(a, {1, 2}, ",
    "@me ",
    "a {\n",
    "vrrp_instance a {\nvirtual_router_id 1\n}\n",
    "--namespace\n",
    '<node name="n1" id_as_resource="n1"/>',
    "{",
    "}",
    "ID=' \n",
    "-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
    "cluster_name",
    "cluster_name: \n",
    "baseurl = \n",
    "0 0 uptrack-upgrade ",
    "secret",
    "s e c r e t ",
    "1",
    "1.",
]
# What a reader must have seen before a fragment can hurt it.
BEGINNINGS = {
    "state_yaml": ["x: ", 'x: "', "x: '", "x: [", "Plan:\n- ", "x: |\n  "],
    "faults": ["[Auth]\nk = ", "[Auth]\naccesskey"],
    "doubts": ["[Auth]\nk = "],
    "masked": ["[Network]\nhttps_proxy = "],
    "edit": ["[Auth]\naccesskey = "],
    "of conf": ["[Network]\nhttps_proxy = "],
    "shown": ["Effective kernel version is x", "Installed updates:\n"],
    "failures": ["The following actions failed:\nInstall [aaaa1111] x\n  - "],
    "os-release": ["ID="],
    "repo": ["[x]\n"],
    "keepalived": ["$a=x\n", "$a=x \\\ny\n\n", "x {\n", "~SEQ(a, 1, 9) ~SEQ(b, 1, 9) "],
    "cluster's state": ["<crm_mon><nodes>"],
}
ANSWER = "@uid 0\n@sysmodule 1\n@now 1\n@command uptrack-upgrade x\n"


class Lines:
    """A configuration of keepalived in one file."""

    def __init__(self, text):
        self.text = text

    def lines(self, _path):
        return self.text.split("\n")

    def matching(self, _path):
        return []


def told(tag):
    def read(text):
        facts.facts(
            ANSWER
            + "".join(f"@{tag} {line}\n" for line in text.split("\n"))
            + (f"@{tag} ...\n")
            + "@end"
        )

    return read


def in_keepalived(text):
    try:
        keepalived.groups(keepalived.read(Lines(text), "x", "me"), set())
    except keepalived.Unreadable:
        pass


def in_command_line(text):
    try:
        keepalived_process.options(text.split("\n"))
    except keepalived.Unreadable:
        pass


def in_nginx(text):
    try:
        nginx_config.parse(text, "x")
    except nginx_config.Unreadable:
        pass


def mentioned(text):
    source = keepalived.Source()
    source.files = {"x": text.split("\n")}
    keepalived.mentioned(source, "me")


def in_cluster(text):
    try:
        pacemaker.group("", text, "n1")
    except pacemaker.Unreadable:
        pass


def in_openpgp(text):
    try:
        openpgp.key(text)
    except openpgp.NotAKey:
        pass


READERS = {
    "state_yaml": state_yaml.load,
    "lines of conf": conf.lines_of,
    "faults": conf.faults,
    "doubts": conf.doubts,
    "masked": conf.masked,
    "edit": lambda text: conf.edit(text, {("Auth", "accesskey"): "y"}),
    "shown": output.shown,
    "steps": output.steps,
    "failures": output.failures,
    "problem": lambda text: output.problem(1, text),
    "builds": output.effective_builds,
    "unknown": output.unknown_updates,
    "cves": output.cves,
    "secrets": lambda text: redact.mask(text, ["secret", "s e c r e t", "aaaa", "    x"]),
    "of conf": redact.of_configuration,
    "status": told("status"),
    "results": told("results"),
    "plan": told("upgrade_plan"),
    "words": told("words"),
    "cron": told("cron"),
    "conf": told("conf"),
    "lease": told("lease"),
    "drained": told("drained"),
    "times": facts._moment,
    "newest": lambda text: facts.newest([text]),
    "os-release": lambda text: enrollment.distribution(text, "x"),
    "url": enrollment._url,
    "repo": _enabled,
    "keepalived": in_keepalived,
    "nginx": in_nginx,
    "mentioned": mentioned,
    "keepalived's command line": in_command_line,
    "cluster's state": in_cluster,
    "openpgp": in_openpgp,
    "cluster": pacemaker.cluster_name,
    "complaint": pacemaker.complaint,
    "without user": redact.without_user,
    "proxy": redact.of_proxy,
}


def cost(read, text):
    begun = time.process_time()
    read(text)
    return time.process_time() - begun


@pytest.fixture(autouse=True)
def no_hang():
    def hang(_number, _frame):
        raise AssertionError(f"still at work after {HANG} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(10 * HANG)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("reader", sorted(READERS))
def test_the_cost_grows_with_the_size(reader):
    read = READERS[reader]
    for fragment in todays(sorted(set(FRAGMENTS)), of=24):
        for beginning in [""] + BEGINNINGS.get(reader, []):
            text = beginning + fragment * (SMALL // len(fragment))
            signal.alarm(HANG)
            large = cost(read, beginning + fragment * (4 * SMALL // len(fragment)) + "y\nx")
            if large > NOISE:
                # Twice, since one measurement may have met something else.
                small = min(cost(read, text + "y\nx") for _time in range(2))
                large = min(
                    large, cost(read, beginning + fragment * (4 * SMALL // len(fragment)) + "y\nx")
                )
                assert large < NOISE or large < TOO_STEEP * small, (
                    beginning,
                    fragment,
                    small,
                    large,
                )


def test_the_test_can_fail():
    """What is squared is found out."""

    def squared(text):
        for at in range(0, len(text), 64):
            text.count("never", at) + text.count("again", at)

    small, large = cost(squared, "x" * SMALL * 4), cost(squared, "x" * SMALL * 16)
    assert large > TOO_STEEP * small


def test_parameters_of_parameters_of_keepalived():
    text = "$a=x\n" + "".join(
        f"${chr(98 + at)}=${{{chr(97 + at)}}}${{{chr(97 + at)}}}\n" for at in range(24)
    )
    with pytest.raises(keepalived.Unreadable):
        keepalived.read(Lines(text + "$y\n"), "x", "me")
