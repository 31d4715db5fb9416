# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""From the probe's answer to C(ansible_facts.uptrack): one pure function, on the controller and on the host.

The kernel's own word (sysfs) is the truth; the agent's state files add names, what is available and when that was asked.
Where they contradict each other the kernel wins, and what cannot be known is None, never guessed.
"""

import json
import re
from datetime import datetime, timezone

from ansible_collections.rebootless.ksplice.plugins.module_utils import agent_words, conf, state_yaml
from ansible_collections.rebootless.ksplice.plugins.module_utils.exit_status import meaning
from ansible_collections.rebootless.ksplice.plugins.module_utils.probe import read_answer

VERDICTS = ("current", "behind", "blocked", "disabled", "unsupported", "unknown", "absent", "unreachable")
DAY = 86400
# Seconds that a check may lie in the future before the host's clock is not believed.
CLOCK_SKEW = 300

# The arguments of uptrack_facts, for the module and for the action plugin.
ARGUMENTS = {
    "refresh": {"type": "bool", "default": False},
    "refresh_older_than": {"type": "int"},
    "max_age": {"type": "int", "default": DAY},
}


def refresh(arguments):
    """What the arguments ask of the probe: when to refresh, and the age in seconds from which on."""
    if arguments["refresh"]:
        return "always", 0
    if arguments["refresh_older_than"] is not None:
        return "stale", arguments["refresh_older_than"]
    return "never", 0


def facts(text, max_age=DAY):
    """The facts that a probe's answer amounts to.

    :param text: the probe's answer.
    :param max_age: seconds; older knowledge is not believed (verdict C(unknown)).
    """
    answer = read_answer(text)
    if answer is None:
        return nothing("unknown", "The probe's answer is not whole: the host needs sh, uname, id, date and awk. "
                                  "Run the task with -vvv to see what the host said.")
    seen = _Seen(answer)
    verdict, reason = _verdict(seen, max_age)
    installed = [seen.named(ident) for ident in seen.applied]
    fixed = cves(installed)
    available = seen.available
    return {
        "verdict": verdict,
        "reason": reason,
        "agent": {
            "installed": seen.agent,
            "enhanced": "ksplice" in seen.commands,
            "disabled": seen.disabled,
            "last_run": seen.last_run,
        },
        "kernel": {
            "booted": seen.release,
            "version": seen.version,
            "machine": seen.machine,
            "effective": seen.effective,
            "effective_build": seen.effective_build,
            "effective_package": seen.effective_package,
            "on_disk": newest(seen.kernels_on_disk),
        },
        "updates": {"installed": installed, "available": available, "superseded": seen.superseded},
        "cves": {"fixed": fixed, "open": None if available is None else [c for c in cves(available) if c not in fixed]},
        "checked_at": iso(seen.checked),
        "checked_age": None if seen.checked is None else max(0, seen.now - seen.checked),
        "config": seen.config,
        "self_update": _self_update(seen),
        "redundancy": answer.get("redundancy", []),
        "lease": _lease(answer),
        "drained": _drained(answer),
    }


def nothing(verdict, reason):
    """Facts of a host of which nothing else is known, with every key in its place."""
    return {
        "verdict": verdict, "reason": reason,
        "agent": {"installed": None, "enhanced": None, "disabled": None, "last_run": None},
        "kernel": {"booted": None, "version": None, "machine": None, "effective": None, "effective_build": None,
                   "effective_package": None, "on_disk": None},
        "updates": {"installed": None, "available": None, "superseded": None},
        "cves": {"fixed": None, "open": None},
        "checked_at": None, "checked_age": None, "config": None, "self_update": None,
        "redundancy": None, "lease": None, "drained": None,
    }


def _lease(answer):
    """Who has this host or a partner of it in hand, by the host's own ledger. The first lease in it, one on the host itself before others."""
    if "lease" not in answer:
        return None
    try:
        leases = sorted(json.loads("\n".join(answer["lease"]))["leases"], key=lambda entry: not entry["own"])
        if not leases:
            return None
        first, age = leases[0], max(0, int(answer["now"][-1]) - int(leases[0]["renewed_at"]))
        return {"run": first["run"], "host": first["host"], "own": first["own"], "reason": first["reason"], "phase": first["phase"],
                "since": iso(int(first["taken_at"])), "age": age, "seconds": first["seconds"], "stale": age > first["seconds"]}
    except (ValueError, KeyError, TypeError, IndexError):
        return {"run": None, "host": None, "own": None, "reason": "The ledger of leases cannot be read.", "phase": None, "since": None, "age": None,
                "seconds": None, "stale": None}


def _drained(answer):
    """What is out of service on or through this host by a mark of ha_drain."""
    try:
        return [{"host": mark["host"], "what": mark["key"]} for mark in json.loads("\n".join(answer.get("drained", ())) or "[]")]
    except (ValueError, KeyError, TypeError):
        return [{"host": None, "what": "nobody knows: drained.json cannot be read"}]


class _Seen:
    """The probe's answer with its files read."""

    def __init__(self, answer):
        self.answer = answer
        self.release, self.version, self.machine = (self.one(tag, "") for tag in ("release", "version", "machine"))
        self.now = _integer(self.one("now")) or 0
        self.root = self.one("uid") == "0"
        self.commands = dict(line.partition(" ")[::2] for line in answer.get("command", ()))
        self.agent = "uptrack-upgrade" in self.commands or "ksplice" in self.commands
        self.has_sysfs = "sysmodule" in answer
        self.disabled = "disabled" in answer
        self.configured = "configured" in answer
        self.kernels_on_disk = answer.get("boot", [])
        self.conf_text = "\n".join(answer["conf"]) if "conf" in answer else None
        self.config = _config(self.conf_text)
        stages = [line.partition(" ")[::2] for line in answer.get("stage", ())]
        self.stages_unreadable = any(stage == "unreadable" for _ident, stage in stages)
        self.kernel_ids = {ident for ident, stage in stages if stage in ("applied", "unreadable")}

        self.shown_available, self.shown_installed, _effective = agent_words.shown(self.words if "showed" in answer else "")
        self.status, self.results, self.plan, self.effective_file = (
            self.file(tag) for tag in ("status", "results", "upgrade_plan", "effective"))
        self.asked = self.one("refreshed") == "0"
        self.last_run = self._last_run()
        self.names, known = self._names()
        # The agent lists updates in the catalogue's order, and so do we; what it does not know comes last.
        self.applied = [ident for ident in known if ident in self.kernel_ids] + sorted(self.kernel_ids.difference(known))
        # A plan belongs to what was in the kernel when it was made, and that stands in the status file written with it.
        # What uptrack-show lists comes from the kernel of now, and tells nothing of the plan.
        written = _ids(_get(self.status, "Updates", "Installed"))
        self.fits = written == self.kernel_ids or (self.status is None and self.asked)
        self.available, self.superseded = self._available()
        self.checked = None
        if _plan_items(self.plan) is not None and "Time" in self.plan:
            self.checked = _seconds(self.plan["Time"])
            if self.checked is None:
                self.checked = _integer(self.one("checked"))
        elif self.asked and self.available is not None:
            self.checked = self.now
        self.effective, self.effective_build, self.effective_package = self._effective()

    def one(self, tag, default=None):
        return self.answer.get(tag, [default])[-1]

    @property
    def words(self):
        return "\n".join(self.answer.get("words", ()))

    def file(self, tag):
        """One of the agent's files. One without its end (reference 2.4) was cut off, by a full disk perhaps."""
        lines = self.answer.get(tag, [])
        if "..." not in [line.strip() for line in lines[-2:]]:
            return None
        document, _unread = state_yaml.load("\n".join(lines))
        return document if isinstance(document, dict) else None

    def named(self, ident):
        return agent_words.update(ident, self.names.get(ident))

    def _names(self):
        names, known = {}, []
        for item in self.shown_installed or _list(_get(self.status, "Updates", "Installed")):
            ident, name = _id_and_name(item)
            if ident:
                names[ident] = name
                known.append(ident)
        failed = self.last_run["failed"] if self.last_run else []
        for item in (self.shown_available or []) + _list(_get(self.plan, "Plan")) + failed:
            ident, name = _id_and_name(item)
            if ident and name:
                names.setdefault(ident, name)
        return names, known

    def _available(self):
        """What is to be put into the kernel and what is to be taken out, or (None, None) where nobody told."""
        items = _plan_items(self.plan)
        if items is None and self.asked and re.search("^(The following steps will be taken:|Nothing to be done.)", self.words, re.M):
            items = [(step.verb, step.id) for step in agent_words.steps(self.words)]
            self.names.update((step.id, step.name) for step in agent_words.steps(self.words))
        if items is None:
            if self.shown_available is None:
                return None, None
            items = [("Install", update["id"]) for update in self.shown_available]
        added, taken = agent_words.ends_in(items)
        # What the last run could not put in still waits, whatever the plan says that it left behind.
        added += [failed["id"] for failed in self.stuck() if failed["verb"] == "install" and failed["id"] not in added]
        return ([self.named(ident) for ident in added if ident not in self.kernel_ids],
                [ident for ident in taken if ident in self.kernel_ids])

    def stuck(self):
        """The failures of the last run that still stand: updates that are not where it was to bring them."""
        return [failed for failed in (self.last_run["failed"] if self.last_run else ())
                if (failed["id"] in self.kernel_ids) == (failed["verb"] == "remove")]

    def _last_run(self):
        result = _get(self.results, "Result")
        if not isinstance(result, dict):
            return None
        code = _integer(result.get("Code"))
        failed = []
        for item in _list(result.get("Failed")):
            ident, name = _id_and_name(item)
            if ident:
                failed.append({"id": ident, "name": name, "verb": "remove" if item.get("Command") == "Remove" else "install",
                               "reason": item.get("Abort") or "unknown"})
        done = [ident for ident, _name in map(_id_and_name, _list(result.get("Succeeded"))) if ident]
        return {"at": iso(_seconds(_get(self.results, "Time"))), "rc": code, "done": done, "failed": failed,
                "what": None if not code or failed else meaning(code).what}

    def _effective(self):
        """The effective kernel: release, build (as --list-effective says it), package version; None where nobody can tell."""
        if self.stages_unreadable or self.has_sysfs:
            document = self.effective_file
            original, effective = _get(document, "OriginalKernel"), _get(document, "EffectiveKernel")
            if (isinstance(original, dict) and isinstance(effective, dict) and original.get("Release") == self.release
                    and original.get("Version") == self.version and _texts(document.get("Installed")) == self.kernel_ids):
                release = effective.get("Release")
                return release, f"{release}/{effective.get('Version')}", effective.get("PackageVersion")
            if not self.kernel_ids:
                return self.release or None, f"{self.release}/{self.version}", None
        return None, None, None


def _verdict(seen, max_age):
    """The verdict and a sentence that says why."""
    if not seen.agent:
        return "absent", "No Ksplice agent is installed."
    if not seen.has_sysfs:
        return "unsupported", "There is no /sys/module: a container or chroot has no kernel of its own to patch."
    if not seen.root:
        return "unknown", "Without root neither the kernel's updates nor the agent's state can be read: use become."
    if seen.conf_text is not None:
        wrong = conf.problems(seen.conf_text)
        if wrong:
            return "unknown", (f"The agent cannot read /etc/uptrack/uptrack.conf: line {wrong[0].line} {wrong[0].what}. "
                               "Every command of the agent fails until that is mended.")
    if seen.disabled:
        return "disabled", "The file /etc/uptrack/disable exists: the agent neither installs nor removes anything."
    refused = _integer(seen.one("refreshed", "0"))
    if refused:
        problem = agent_words.problem(refused, seen.words)
        if refused == 13:
            return "unsupported", _sentence(problem.what, problem.advice)
        return "unknown", "The service could not be asked: " + _sentence(problem.what, problem.advice)
    if "unasked" in seen.answer:
        return "unknown", "The service was to be asked, but the host has no uptrack-upgrade to ask it with."
    last, last_at = seen.last_run, _seconds(_get(seen.results, "Time"))
    if last and last["rc"] and not last["failed"] and (seen.checked is None or (last_at or 0) > seen.checked):
        known = meaning(last["rc"])
        if last["rc"] == 13:
            return "unsupported", _sentence(known.what, known.advice)
        if last["rc"] not in (1, 12):
            return "unknown", f"The last check ({last['at']}) failed: " + _sentence(known.what, known.advice)
    if seen.configured and seen.config and seen.config["access_key"] == "missing" and seen.available is None:
        known = meaning(20)
        return "unknown", _sentence(known.what, known.advice)
    if seen.available is None:
        return "unknown", "The service has never been asked for the running kernel: run with refresh."
    if not seen.fits:
        return "unknown", ("What the agent wrote down does not fit what is in the kernel (a reboot, or somebody else's change): "
                           "run with refresh.")
    if seen.checked is None:
        return "unknown", "When the service was last asked cannot be told: run with refresh."
    age = seen.now - seen.checked
    if age < -CLOCK_SKEW:
        return "unknown", "The agent's last check lies in the future: set the host's clock, then run with refresh."
    if age > max_age:
        return "unknown", f"What is known is {_span(age)} old, more than the {_span(max_age)} allowed: run with refresh."
    waiting = [update["id"] for update in seen.available] + seen.superseded
    stuck = seen.stuck()
    if stuck:
        verb = "go in" if stuck[0]["verb"] == "install" else "come out"
        return "blocked", f"Update {stuck[0]['id']} would not {verb} ({stuck[0]['reason']}); {len(waiting)} waiting."
    if waiting:
        return "behind", f"{len(waiting)} update{'s' if len(waiting) > 1 else ''} waiting."
    return "current", f"Nothing is waiting; asked {_span(max(0, age))} ago."


def _config(text):
    """What the configuration says that is nobody's secret, with the agent's defaults filled in."""
    if text is None:
        return None
    raw = conf.values(text)
    result = dict(conf.DEFAULTS)
    for key in conf.KEYS:
        value = raw.get((key.section, key.name))
        if key.type == "bool" and key.name in result and value is not None:
            result[key.name] = conf.boolean(value)
    result["access_key"] = "missing" if raw.get(("Auth", "accesskey"), "") in ("", conf.PLACEHOLDER) else "set"
    proxy = raw.get(("Network", "https_proxy"), "")
    result["https_proxy"] = {"": "environment", "none": "none"}.get(proxy.lower(), "set")
    result["effective_version"] = raw.get(("Settings", "effective_version"))
    return result


def _self_update(seen):
    """Whether, and how, this host would install updates without anybody's rollout."""
    ways = []
    if seen.config and seen.config["autoinstall"] and any(re.match(r"\d|\*", line.strip()) for line in seen.answer.get("cron", ())):
        ways.append("cron with autoinstall")
    elif seen.config and seen.config["autoinstall"]:
        ways.append("autoinstall")
    for line in seen.answer.get("cron", ()):
        if re.match(r"[\d*]", line) and re.search(r"uptrack-upgrade.*\s-y\b|ksplice\s.*-y\b", line):
            ways.append("cron")
            break
    if seen.config and seen.config["upgrade_on_reboot"]:
        ways.append("upgrade_on_reboot")
    ways.extend(seen.answer.get("scheduled", ()))
    return ways


def newest(releases):
    """The kernel that a person would call the newest of some releases, None of none. Rescue images do not count."""
    def key(release):
        return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.findall(r"\d+|[A-Za-z]+", release)]
    found = sorted((release for release in releases if "rescue" not in release), key=key)
    return found[-1] if found else None


def cves(updates):
    """The CVEs that some updates name, each once."""
    found = []
    for update in updates:
        found.extend(cve for cve in update["cves"] if cve not in found)
    return found


def _get(document, *path):
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _list(value):
    return value if isinstance(value, list) else []


def _texts(value):
    return {item for item in _list(value) if isinstance(item, str)}


def _ids(value):
    """The IDs in a list of the agent's updates; None if it is no such list."""
    found = [_id_and_name(item)[0] for item in value] if isinstance(value, list) else [None]
    return None if None in found else set(found)


def _plan_items(plan):
    """The plan as (verb, ID) in its order; None where any of it cannot be read, since what is left out would seem not to wait."""
    if not isinstance(plan, dict) or "Plan" not in plan or not isinstance(plan["Plan"] or [], list):
        return None
    items = [(item.get("Command") if isinstance(item, dict) else None, _id_and_name(item)[0]) for item in plan["Plan"] or []]
    return items if all(verb in ("Install", "Remove") and ident for verb, ident in items) else None


def _id_and_name(item):
    if not isinstance(item, dict):
        return None, None
    ident, name = item.get("ID", item.get("id")), item.get("Name", item.get("name"))
    return (ident if isinstance(ident, str) else None), (name if isinstance(name, str) else None)


def _integer(value):
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _seconds(value):
    """A time of the agent's files in seconds since 1970: a number, or a date and time in UTC."""
    if not isinstance(value, str):
        return None
    if re.match(r"^\d{1,12}(\.\d*)?$", value):
        return int(float(value))
    match = re.match(r"^(\d{4})-(\d\d?)-(\d\d?)(?:[Tt ]+(\d\d?):(\d\d):(\d\d))?(?:\.\d*)?\s*(?:Z|([-+])(\d\d?):?(\d\d)?)?$", value)
    if not match:
        return None
    try:
        when = datetime(*(int(part or 0) for part in match.groups()[:6]), tzinfo=timezone.utc)
    except ValueError:
        return None
    sign, hours, minutes = match.groups()[6:]
    offset = (int(hours or 0) * 60 + int(minutes or 0)) * 60 * (-1 if sign == "-" else 1)
    return int(when.timestamp()) - offset


def iso(seconds):
    """Seconds since 1970 as UTC in ISO 8601."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None


def _span(seconds):
    for unit, name in ((DAY, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name}s"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def _sentence(what, advice):
    return f"{what[:1].upper()}{what[1:]}. {advice}"
