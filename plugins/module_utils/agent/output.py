# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Reads what the agent prints (reference 1.4 to 1.7, 1.12, 1.13). Pure: text in, values out.

Words never decide what is in the kernel: that is sysfs (see facts). They say what was planned, why
something failed and who stands in the way. The agent wraps its paragraphs at 70 columns and may put
alerts before anything else, so that lines are found by their own shape and paragraphs are joined
before they are matched.
"""

import re
from collections import namedtuple

from ansible_collections.rebootless.ksplice.plugins.module_utils.agent.exit_status import meaning

Step = namedtuple("Step", "verb id name")
Failure = namedtuple("Failure", "id name verb reason processes modules advice")
Problem = namedtuple("Problem", "error_class what advice")

_UPDATE = re.compile(r"^\[([a-z0-9]+)\] (.*)$")
_STEP = re.compile(r"^(Install|Remove) \[([a-z0-9]+)\](?: (.*))?$")
_EFFECTIVE = "Effective kernel version is "
_PLAN = "The following steps will be taken:"
_UNKNOWN = re.compile(r"^Unknown update (\S+), skipping\.$")
_CVE = re.compile(r"CVE-\d{4}-\d{4,}")


def cves(name):
    """The CVEs in an update's name, in its order, each once."""
    found = []
    for cve in _CVE.findall(name or ""):
        if cve not in found:
            found.append(cve)
    return found


def update(ident, name):
    """An update as the modules return it. C(name) is None when nothing on the host names it."""
    return {"id": ident, "name": name, "cves": cves(name)}


def plan(text):
    """The plan that the agent announced, empty when it said that there is nothing to be done. None
    when it said neither, or something of which not every step can be read: what is not understood
    is not nothing.
    """
    lines = text.split("\n")
    if _PLAN not in lines:
        return [] if "Nothing to be done." in lines else None
    found = []
    for line in lines[len(lines) - lines[::-1].index(_PLAN) :]:
        if not line.startswith(("Install [", "Remove [")):
            break
        match = _STEP.match(line)
        if not match:
            return None
        found.append(Step(match.group(1), match.group(2), match.group(3) or ""))
    return found or None


def steps(text):
    """The plan that the agent announced: a list of steps in its order. An ID may be in it twice
    (reference 1.5).

    A message of the service may hold lines of the same shape, before the words that announce the
    plan.
    """
    found, is_plan = [], False
    for line in text.split("\n"):
        match = _STEP.match(line)
        if match and is_plan:
            found.append(Step(match.group(1), match.group(2), match.group(3) or ""))
        elif line.startswith((_PLAN, "Nothing to be done.")):
            found, is_plan = [], True
        elif line.startswith("The following actions failed:"):
            break
    return found


def planned(text):
    """What the plan ends in, as two lists of IDs: those that are to be in the kernel, and those
    that are not.
    """
    return ends_in((step.verb, step.id) for step in steps(text))


def ends_in(pairs):
    """Of (verb, ID) in their order, the IDs whose last verb is Install and those whose last is
    Remove.

    An ID that is removed and installed again in one plan (trap 2) counts by its end, so that a run
    that stopped in between is seen to lack it.
    """
    last = {}
    for verb, ident in pairs:
        last.pop(ident, None)
        last[ident] = verb
    return [ident for ident, verb in last.items() if verb == "Install"], [
        ident for ident, verb in last.items() if verb == "Remove"
    ]


def shown(text):
    """What C(uptrack-show --all) lists: (available, installed, effective), each None where the
    agent did not say.
    """
    lists, current, effective = {}, None, None
    for line in text.split("\n"):
        if line.startswith("Available updates:"):
            current = lists.setdefault("available", [])
        elif line.startswith("Installed updates:"):
            current = lists.setdefault("installed", [])
        elif line.startswith(_EFFECTIVE) and line[len(_EFFECTIVE) :].strip():
            effective, current = line[len(_EFFECTIVE) :].strip(), None
        elif current is not None and _UPDATE.match(line):
            current.append(update(*_UPDATE.match(line).groups()))
    return lists.get("available"), lists.get("installed"), effective


def effective_builds(text):
    """What C(uptrack-upgrade --list-effective) lists, lowest first (reference 1.9; the blank line
    around its header varies).
    """
    _before, found, listed = text.partition("Available effective kernel versions:")
    return [line.strip() for line in listed.split("\n") if "/" in line] if found else []


def unknown_updates(text):
    """The IDs that the agent skipped because it does not know them."""
    return [match.group(1) for match in map(_UNKNOWN.match, text.split("\n")) if match]


LOCKED = Problem(
    "transient",
    "another run of the agent holds its lock",
    "Wait for it to end (its own cron job, perhaps) and run again. Never delete the lock file.",
)
TIMED_OUT = Problem(
    "host",
    "the agent did not finish in time and was terminated",
    "Find out on the host what it was waiting for (the network, a disk, another process), then run "
    "again; a longer timeout helps only if it was making progress.",
)


class TimedOut(int):
    """The exit status of a command that was terminated because it did not finish in time."""


_ANCHORS = (
    # Only the meanings that the exit status 1 leaves open, or that say more than the status does.
    ("It appears that another Uptrack process is currently running on this", LOCKED),
    (
        "Uptrack disabled by system administrator",
        Problem(
            "host",
            "the agent is disabled by /etc/uptrack/disable",
            "Remove that file if the host is to be patched; a boot with the kernel argument "
            "nouptrack leaves it behind.",
        ),
    ),
    (
        "could not verify the package list signature",
        Problem(
            "agent",
            "the signature of the list of updates is not valid",
            "Delete nothing by hand; run again, and report it to Oracle if it persists.",
        ),
    ),
    (
        "Error loading configuration file:",
        Problem(
            "host",
            "the agent cannot parse /etc/uptrack/uptrack.conf",
            "Correct the option or line that it names, for example with "
            "rebootless.ksplice.uptrack_config.",
        ),
    ),
    (
        "Could not verify the Ksplice Uptrack server's SSL certificate",
        Problem(
            "host",
            "the TLS certificate of the update service could not be verified",
            "Check ssl_ca_cert_file in uptrack.conf, the clock, and whether a proxy "
            "intercepts TLS.",
        ),
    ),
    (
        "Could not resolve your proxy server",
        Problem(
            "host",
            "the name of the proxy could not be resolved",
            "Check https_proxy in uptrack.conf.",
        ),
    ),
    (
        "Malformed URL",
        Problem("host", "update_repo_url is not a URL", "Correct it in uptrack.conf."),
    ),
    (
        "Unexpected error downloading update",
        Problem("transient", "an update could not be downloaded", "Run again."),
    ),
    (
        "Couldn't download update",
        Problem("transient", "an update could not be downloaded", "Run again."),
    ),
    (
        "Error running ksplice-depmod",
        Problem("host", "depmod failed", "Run depmod on the host and read what it says."),
    ),
    (
        "Unable to set up the logger",
        Problem(
            "host",
            "the agent could not open its log, which needs root",
            "Run with become: true; check that /var/log can be written.",
        ),
    ),
    ("Interrupted!", Problem("transient", "the agent was interrupted", "Run again.")),
    (
        "Ksplice Uptrack client too old",
        Problem("agent", "the agent is too old for the service", "Update the agent's package."),
    ),
    (
        "Unable to read the package list",
        Problem(
            "host",
            "the agent has no list of updates for this kernel",
            "Have it ask the service once.",
        ),
    ),
)


def problem(status, text):
    """Why the agent ended with C(status), or None for 0: its class, a clause that says what
    happened, and what to do.
    """
    if status == 0:
        return None
    if isinstance(status, TimedOut):
        return TIMED_OUT
    if status < 0:
        return Problem(
            "transient",
            f"the agent was killed by signal {-status}",
            "Run again; find out what killed it.",
        )
    joined = " ".join(text.split())
    for anchor, found in _ANCHORS:
        if anchor in joined:
            return found
    failed = failures(text)
    if failed:
        transient = all(failure.reason in ("code_busy", "out_of_memory") for failure in failed)
        first = failed[0]
        return Problem(
            "transient" if transient else "host",
            f"update {first.id} could not be "
            f"{'installed' if first.verb == 'install' else 'removed'} ({first.reason})",
            first.advice,
        )
    return Problem(*meaning(status))


_REASONS = (
    (
        "because one or more programs are constantly using",
        "code_busy",
        (
            "The programs named are always inside the code that changes. Run again at a quieter "
            "time, or restart them."
        ),
    ),
    (
        "because the rfcomm module",
        "code_busy",
        "Bluetooth's rfcomm is in use: stop it and run again.",
    ),
    (
        "because your kernel is out of memory",
        "out_of_memory",
        "Free memory on the host and run again.",
    ),
    (
        "because modules that Uptrack patched off-line are currently loaded",
        "cold_update_loaded",
        "Unload the modules named, then run again.",
    ),
    (
        "because the code in your running kernel does not match the expected version",
        "no_match",
        (
            "A module named changes kernel code (often a security product): unload it or ask its "
            "vendor, then run again."
        ),
    ),
    (
        "because your running kernel has been modified from the version",
        "no_match",
        (
            "Something changed kernel code in memory; look for tainting modules (grep -l P "
            "/sys/module/*/taint)."
        ),
    ),
    (
        "because it is in use by one or more kernel modules",
        "module_busy",
        "Unload the modules named, then run again.",
    ),
    (
        "due to an unexpected internal error",
        "unexpected",
        "Read /var/log/uptrack.log on the host and report it to Oracle.",
    ),
)


def failures(text):
    """The updates that would not go in or come out, from the agent's failure block (reference
    1.13).
    """
    _before, is_there, block = text.partition("The following actions failed:")
    if not is_there:
        return []
    lines = block.split("\n")
    starts = [at for at, line in enumerate(lines) if _STEP.match(line)]
    result = []
    for start, end in zip(starts, starts[1:] + [len(lines)]):
        verb, ident, name = _STEP.match(lines[start]).groups()
        step = Step(verb, ident, name or "")
        joined = " ".join(" ".join(lines[start + 1 : end]).split())
        reason, advice = "unknown", "Read /var/log/uptrack.log on the host."
        for anchor, name, what_to_do in _REASONS:
            if anchor in joined:
                reason, advice = name, what_to_do
                break
        processes, modules = [], []
        for line in lines[start + 1 : end]:
            # "  - name (pid 12)" is a process, "  - name" a module.
            sign, _blank, rest = line.strip().partition(" ")
            name, found, pid = rest.rpartition(" (pid ")
            if sign != "-" or line[:1] not in (" ", "\t"):
                continue
            if found and name and pid[-1:] == ")" and pid[:-1].isdigit() and len(pid) < 20:
                processes.append({"name": name, "pid": int(pid[:-1])})
            elif len(rest.split()) == 1:
                modules.append(rest)
        result.append(
            Failure(step.id, step.name, step.verb.lower(), reason, processes, modules, advice)
        )
    return result
