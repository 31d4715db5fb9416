# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Changes what is in the kernel, and says what came of it.

Read, decide, act, read again: C(changed) and the lists of IDs come from the kernel's state before
and after (reference, traps 1 and 2), also when the agent failed half way. The agent's words only
explain. C(decide) and C(outcome) are pure.
"""

import os
import re
import time
import zlib
from collections import namedtuple

from ansible_collections.rebootless.ksplice.plugins.module_utils import commands, redact
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import facts, output, probe
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import ledger

ARGUMENTS = {
    "state": {"type": "str", "choices": ["latest", "present", "absent"], "default": "latest"},
    "updates": {"type": "list", "elements": "str"},
    "cves": {"type": "list", "elements": "str"},
    "exact": {"type": "bool", "default": False},
    "all": {"type": "bool", "default": False},
    "effective": {"type": "str"},
    "allow_downgrade": {"type": "bool", "default": False},
    "pause": {"type": "float", "default": 0.0},
    "lock_timeout": {"type": "int", "default": 300},
    "retries": {"type": "int", "default": 3},
    "retry_delay": {"type": "int", "default": 20},
    "timeout": {"type": "int", "default": 3600},
    "unsupported": {"type": "str", "choices": ["fail", "ignore"], "default": "fail"},
    "lease": {"type": "str", "no_log": False},
}

# A step: the command and its arguments, the IDs that it is to put in or take out, the effective
# build it is to reach.
Work = namedtuple("Work", "command arguments wanted effective")
Work.__new__.__defaults__ = ((), None)


class Refused(Exception):
    """Nothing was done, for a reason that a person has to mend."""

    def __init__(self, msg, error_class="host"):
        super().__init__(msg)
        self.error_class = error_class
        # The module's result, as far as the host was inspected.
        self.result = {"changed": False, "changed_nothing": True}


class Agent:
    """The agent on this host.

    :param run_command: as AnsibleModule's: a list of arguments in, (rc, stdout, stderr) out.
    :param timeout: seconds after which a command of the agent is ended.
    """

    def __init__(self, run_command, timeout=900, root=None):
        self._run_command = run_command
        self.timeout = timeout
        # Whether this process holds work.lock already, by a lease of its own.
        self.has_work_lock = False
        self.root = os.environ.get("UPTRACK_LAB_ROOT", "") if root is None else root
        self.secrets = [
            part
            for name in redact.PROXY_VARIABLES
            for part in redact.of_proxy(os.environ.get(name))
        ]
        try:
            with open(
                self.root + "/etc/uptrack/uptrack.conf", encoding="utf-8", errors="replace"
            ) as file:
                self.secrets += redact.of_configuration(file.read())
        except OSError:
            pass

    def facts(self):
        """What is in the kernel, without asking the service. See the module uptrack_facts."""
        _rc, out, _err = self._run_command(["/bin/sh", "-c", probe.script(timeout=self.timeout)])
        return facts.facts(out)

    def run(self, command, *arguments):
        """Run one of the agent's commands: its exit status, and its words without secrets.

        One that takes too long is ended, and its words say so.
        """
        for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
            path = f"{self.root}{directory}/{command}"
            if os.access(path, os.X_OK):
                begun = time.monotonic()
                rc, out, err = self._run_command(
                    commands.limited([path] + list(arguments), self.timeout)
                )
                words = redact.mask(out + err, self.secrets)
                if rc in commands.ENDED and time.monotonic() - begun >= self.timeout:
                    rc = output.TimedOut(rc)
                    words = (
                        f"{words.rstrip()}\nIt was terminated because it did not finish within "
                        f"{self.timeout} s.\n"
                    )
                return rc, words
        raise Refused(f"There is no {command} on this host: install the agent first.")


def check_arguments(params):
    """Validate the arguments, before the host is inspected."""
    named = bool(params["updates"]) or bool(params["cves"])
    if params["effective"] and (named or params["all"] or params["state"] != "latest"):
        raise Refused(
            "effective requires state=latest, and excludes updates, cves and all. "
            "Nothing was changed."
        )
    if params["allow_downgrade"] and not params["effective"]:
        raise Refused("allow_downgrade=true requires effective. Nothing was changed.")
    if params["exact"] and params["state"] != "present":
        raise Refused("exact=true requires state=present. Nothing was changed.")
    for ident in params["updates"] or ():
        if not re.match(r"^[a-z0-9]+$", ident):
            raise Refused(
                f"updates: {ident!r} is not the ID of an update (lower-case letters and digits, "
                "such as abcd1234). Nothing was changed."
            )
    for cve in params["cves"] or ():
        if not re.match(r"^CVE-\d{4}-\d{4,}$", cve):
            raise Refused(
                f"cves: {cve!r} is not a CVE (such as CVE-2026-12345). Nothing was changed."
            )
    if params["state"] == "latest" and (named or params["all"]):
        raise Refused(
            "state=latest installs everything available: to install only some "
            "updates, use state=present. Nothing was changed."
        )
    if params["state"] == "present" and params["all"]:
        raise Refused(
            "all=true requires state=absent: to install everything, use state=latest. "
            "Nothing was changed."
        )
    if params["state"] == "present" and not named:
        raise Refused("state=present needs updates or cves. Nothing was changed.")
    if params["state"] == "absent" and named == params["all"]:
        raise Refused(
            "state=absent needs updates or cves, or all=true to remove everything. "
            "Nothing was changed."
        )
    for name in ("lock_timeout", "retries", "retry_delay", "pause"):
        if params[name] < 0:
            raise Refused(f"{name} must not be below 0. Nothing was changed.")
    if params["timeout"] < 1:
        raise Refused("timeout must be at least 1 second. Nothing was changed.")


def check_host(before):
    """Refuse a host on which no command of the agent can succeed, in words better than the agent's
    own.
    """
    verdict, reason = before["verdict"], before["reason"]
    if verdict in ("absent", "disabled") or (
        verdict == "unknown" and before["updates"]["installed"] is None
    ):
        raise Refused(f"{reason} Nothing was changed.")
    if before["reason_code"] == facts.NO_SYSFS:
        raise Refused(f"{reason} Nothing was changed.", "unsupported")
    if before["reason_code"] == facts.NO_ROOT:
        raise Refused(f"{reason} Nothing was changed.")


def ids(seen):
    """The IDs of what is in the kernel."""
    return [update["id"] for update in seen["updates"]["installed"] or ()]


def decide(params, seen, builds=()):
    """The work there is, as a list of steps, empty when the kernel is already in the requested
    state.

    :param seen: the host's current facts.
    :param builds: with C(effective), what the offline client lists, lowest first.
    :raises Refused: when a wish cannot be met.
    """
    state, have = params["state"], ids(seen)
    pause = ["--wait", str(params["pause"])] if params["pause"] else []
    if params["effective"]:
        return _decide_effective(params, seen, builds, pause)
    if state == "latest":
        return [Work("uptrack-upgrade", pause)]
    if params["all"]:
        return [Work("uptrack-remove", pause + ["--all"], have)] if have else []
    wanted = list(params["updates"] or ())
    for cve in params["cves"] or ():
        places = ("installed", "available") if state == "present" else ("installed",)
        fixes = [
            update["id"]
            for place in places
            for update in seen["updates"][place] or ()
            if cve in update["cves"]
        ]
        if state == "present" and not fixes:
            raise Refused(f"No update for {cve} is installed or pending. Nothing was changed.")
        wanted.extend(ident for ident in fixes if ident not in wanted)
    if state == "present":
        missing = [ident for ident in wanted if ident not in have]
        return [Work("uptrack-install", pause + missing, wanted)] if missing else []
    present = [ident for ident in have if ident in wanted]
    return [Work("uptrack-remove", pause + present, present)] if present else []


def _decide_effective(params, seen, builds, pause):
    wish, now = params["effective"], seen["kernel"]["effective_build"]
    if not builds:
        raise Refused(
            "The agent lists no effective versions: only the offline client, with its package of "
            "updates for this kernel, can stop at one. Nothing was changed."
        )
    if wish not in builds:
        raise Refused(
            f"effective: {wish!r} is not available for this kernel; available are: "
            f"{'; '.join(builds)}. Nothing was changed."
        )
    if now == wish:
        return []
    upgrade = Work("uptrack-upgrade", pause + [f"--effective={wish}"], effective=wish)
    # What is not in the list is the booted kernel, which lies below all of it, or is unknown.
    if (
        not ids(seen)
        or (now in builds and builds.index(now) < builds.index(wish))
        or now == f"{seen['kernel']['booted']}/{seen['kernel']['version']}"
    ):
        return [upgrade]
    if not params["allow_downgrade"]:
        raise Refused(
            f"The effective kernel is {now or 'unknown'}, and the agent can only go "
            f"up. To get to {wish}, every update has to be removed first, and until it "
            "is reached the kernel has none of the fixes: allow_downgrade=true "
            "permits that. Nothing was changed."
        )
    return [Work("uptrack-remove", pause + ["--all"], ids(seen)), upgrade]


def delay(attempt, first, host):
    """Seconds to wait after the attempt of that number (from 1): doubling, spread over the hosts by
    their names so that a fleet does not come back as one.
    """
    spread = (zlib.crc32(host.encode("utf-8")) % 1000) / 1000.0
    return first * 2 ** (attempt - 1) * (0.5 + spread)


def apply(agent, params, check_mode, host, sleep, clock):
    """Bring the kernel to the wished state.

    :param host: the host's name, for spreading its retries.
    :returns: the module's result; its key C(failed) says whether the task failed.
    """
    check_arguments(params)
    agent.timeout = params["timeout"]
    before = agent.facts()
    try:
        return _apply(agent, params, check_mode, host, sleep, clock, before)
    except Refused as refused:
        refused.result = outcome(before, before)
        raise


def _apply(agent, params, check_mode, host, sleep, clock, before):
    if (
        params["state"] == "absent"
        and before["updates"]["installed"] == []
        and before["verdict"] != "unknown"
    ):
        return outcome(before, before)
    check_host(before)
    if params["state"] == "present" and params["cves"] and not _all_known(params["cves"], before):
        agent.run("uptrack-upgrade", "-n")
        before = agent.facts()
    builds = (
        output.effective_builds(agent.run("uptrack-upgrade", "--list-effective")[1])
        if params["effective"]
        else ()
    )

    steps = decide(params, before, builds)
    if check_mode or not steps:
        return _work(agent, params, check_mode, host, sleep, clock, before, steps)
    if agent.has_work_lock:
        return _work(agent, params, check_mode, host, sleep, clock, before, steps)
    # Another run may have claimed this host, or its peer. The lock tells them, for as long as this
    # process lives.
    try:
        lock, refusal = ledger.Ledger(agent.root).begin_work(
            params["lease"], params["lock_timeout"], sleep, clock, "applying"
        )
    except ledger.Broken as broken:
        raise Refused(str(broken), "lease")
    if refusal:
        raise Refused(refusal, "lease")
    try:
        return _work(agent, params, check_mode, host, sleep, clock, before, steps)
    finally:
        os.close(lock)


def _work(agent, params, check_mode, host, sleep, clock, before, steps):
    after, work, rc, words, attempts = before, None, 0, "", 0
    for work in steps:
        answer = "-n" if check_mode else "-y"
        if work.command == "uptrack-install" or check_mode:
            # The agent skips an ID it does not know and calls that a success (trap 7): what it
            # would do is checked first.
            rc, words, more = _persist(agent, params, host, sleep, clock, work, "-n")
            attempts += more
            if rc not in (0, 12) and "--all" in work.arguments:
                # The real run would go the same way.
                rc, words, more = _persist(
                    agent, params, host, sleep, clock, _without_service(work), "-n"
                )
                attempts += more
                rc = 0 if output.plan(words) is not None else rc
            _check_preview(params, before, work, words)
            if rc not in (0, 12):
                return outcome(before, agent.facts(), work, rc, words, attempts, params)
            if check_mode:
                result = outcome(before, predicted(before, words), None, 0, words, attempts, params)
                if len(steps) > 1:
                    result["warnings"] = [
                        (
                            "What would be installed again after the removal cannot be predicted: "
                            "only the removal is shown."
                        )
                    ]
                return result
        rc, words, more = _persist(agent, params, host, sleep, clock, work, answer)
        after, attempts = agent.facts(), attempts + more
        problem = output.problem(rc, words)
        if (
            "--all" in work.arguments
            and ids(after)
            and problem
            and problem.error_class in ("transient", "licence", "unsupported")
        ):
            # It ends with status 10 even when all went well (trap 20): the kernel decides.
            rc, words, more = _persist(
                agent, params, host, sleep, clock, _without_service(work), answer
            )
            after, attempts = agent.facts(), attempts + more
        if _missed(work, after):
            break
    result = outcome(before, after, work, rc, words, attempts, params)
    if params["state"] == "present":
        result["left"] = after["updates"]["available"] or []
    return result


def _without_service(work):
    """The same removal by the way that needs no service."""
    return work._replace(arguments=list(work.arguments) + ["--no-network"])


def _check_preview(params, before, work, words):
    """Refuse what the agent's preview shows to be something else than what was wished."""
    unknown = output.unknown_updates(words)
    if unknown:
        raise Refused(
            f"The service does not know {', '.join(unknown)} for the kernel "
            f"{before['kernel']['booted']} (an ID belongs to one "
            "kernel build). Nothing was changed."
        )
    if params["exact"] and work.command == "uptrack-install":
        more = [
            ident
            for ident in output.planned(words)[0]
            if ident not in work.wanted and ident not in ids(before)
        ]
        if more:
            raise Refused(
                "With exact=true only the updates named may be installed, but the agent "
                f"would also install {', '.join(more)}, which they "
                "require. Nothing was changed."
            )


def _all_known(cves, seen):
    known = set(seen["cves"]["fixed"] or ()) | set(seen["cves"]["open"] or ())
    return known.issuperset(cves)


def _persist(agent, params, host, sleep, clock, work, answer):
    """Run the work until it ends in something that another attempt would not change, within the
    bounds of the task.
    """
    patience = clock() + params["lock_timeout"]
    # Everything can be taken out without the service: there is no sense in waiting for it.
    retries = 0 if "--all" in work.arguments else params["retries"]
    attempts = tries = 0
    while True:
        rc, words = agent.run(work.command, answer, *work.arguments)
        attempts += 1
        problem = output.problem(rc, words)
        if problem is None or problem.error_class != "transient" or (rc == 12 and answer == "-n"):
            return rc, words, attempts
        if problem is output.LOCKED:
            wait = min(delay(1, 5, host), patience - clock())
            if wait <= 0:
                return rc, words, attempts
        else:
            tries += 1
            # A removal may end with a status that speaks of the service when the kernel is as
            # wished.
            if tries > retries or (
                answer == "-y"
                and work.command == "uptrack-remove"
                and not _missed(work, agent.facts())
            ):
                return rc, words, attempts
            wait = delay(tries, params["retry_delay"], host)
        sleep(wait)


def predicted(before, words):
    """The facts as they would be after the plan that the agent announced."""
    added, taken = output.planned(words)
    names = {step.id: step.name for step in output.steps(words)}
    have = ids(before)
    installed = [update for update in before["updates"]["installed"] if update["id"] not in taken]
    installed += [output.update(ident, names.get(ident)) for ident in added if ident not in have]
    # What comes out waits again, in its place in the agent's list.
    available = [update for update in before["updates"]["installed"] if update["id"] in taken]
    available += [
        update
        for update in before["updates"]["available"] or ()
        if update["id"] not in added and update["id"] not in taken
    ]
    fixed = facts.cves(installed)
    return dict(
        before,
        kernel=dict(before["kernel"], effective=None),
        updates=dict(before["updates"], installed=installed, available=available, superseded=[]),
        cves={"fixed": fixed, "open": [cve for cve in facts.cves(available) if cve not in fixed]},
    )


def outcome(before, after, work=None, rc=0, words="", attempts=0, params=None):
    """The module's result: pure, from the facts before and after and the agent's last words."""
    had, has = ids(before), ids(after)
    installed = [ident for ident in has if ident not in had]
    removed = [ident for ident in had if ident not in has]
    available = after["updates"]["available"]
    # Where what is pending is no longer known, what was just removed is.
    remaining = removed if available is None else [update["id"] for update in available]
    problem = output.problem(rc, words)
    result = {
        "changed": bool(installed or removed),
        "changed_nothing": not installed and not removed,
        "failed": False,
        "before": {"effective": before["kernel"]["effective"], "updates": had},
        "after": {"effective": after["kernel"]["effective"], "updates": has},
        "installed": installed,
        "removed": removed,
        "remaining": remaining,
        "failures": [],
        "cves_fixed": [
            cve
            for cve in after["cves"]["fixed"] or ()
            if cve not in (before["cves"]["fixed"] or ())
        ],
        "cves_open": _open(before, after, removed),
        "attempts": attempts,
        "rc": int(rc),
        "error_class": None,
        "verdict": after["verdict"],
        "reason": after["reason"],
    }
    warnings = list(after.get("warnings") or ())
    if work is not None:
        wrong = _missed(work, after)
        if params and params["state"] == "absent":
            result["took_along"] = [ident for ident in removed if ident not in work.wanted]
        if problem and not wrong and (work.wanted or work.effective):
            warnings.append(
                f"The agent exited with status {rc} ({problem.what}), but the kernel is in "
                "the requested state."
            )
            problem = None
        elif wrong and not problem:
            problem = output.Problem(
                "agent",
                f"the agent reports success, but {wrong}",
                "Read /var/log/uptrack.log on the host.",
            )
    if (
        problem
        and problem.error_class == "unsupported"
        and params
        and params["unsupported"] == "ignore"
        and not result["changed"]
    ):
        warnings.append(f"{problem.what[:1].upper()}{problem.what[1:]}.")
        problem = None
    if warnings:
        result["warnings"] = warnings
    if problem:
        result["failures"] = [dict(failure._asdict()) for failure in output.failures(words)]
        result.update(
            failed=True,
            error_class=problem.error_class,
            msg=_message(problem, result),
            stdout=words,
        )
    return result


def _open(before, after, removed):
    """The CVEs that wait for a fix. Where what is pending is unknown since something was removed,
    that at least; None if it is not known either.
    """
    waiting = after["cves"]["open"]
    if not removed or (waiting is not None and after["verdict"] != "unknown"):
        return waiting
    lost = facts.cves(
        update for update in before["updates"]["installed"] if update["id"] in removed
    )
    known = list(waiting or ())
    known.extend(
        cve for cve in lost if cve not in known and cve not in (after["cves"]["fixed"] or ())
    )
    return known or None


def _missed(work, after):
    """What the wished state lacks, as a clause, or None."""
    has = ids(after)
    if work.effective and after["kernel"]["effective_build"] != work.effective:
        return f"the effective kernel is {after['kernel']['effective_build']}"
    if work.command == "uptrack-install":
        lacking = [ident for ident in work.wanted if ident not in has]
        return f"{', '.join(lacking)} could not be found in the kernel" if lacking else None
    if work.command == "uptrack-remove":
        left = [ident for ident in work.wanted if ident in has]
        return f"{', '.join(left)} is still in the kernel" if left else None
    return None


def _message(problem, result):
    done = []
    if result["installed"]:
        done.append(f"{len(result['installed'])} installed ({_some(result['installed'])})")
    if result["removed"]:
        done.append(f"{len(result['removed'])} removed ({_some(result['removed'])})")
    state = "; ".join(done) if done else "The kernel was not changed"
    stand = ""
    for failure in result["failures"][:1]:
        who = [
            f"{process['name']} (pid {process['pid']})" for process in failure["processes"]
        ] + failure["modules"]
        stand = f" Blocked by: {_some(who)}." if who else ""
    return f"{problem.what[:1].upper()}{problem.what[1:]}.{stand} {state}. {problem.advice}"


def _some(names):
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
