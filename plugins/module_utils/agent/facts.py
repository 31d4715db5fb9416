# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""From the probe's answer to C(ansible_facts.uptrack): one pure function, on the controller and on
the host.

The kernel's own word (sysfs) is the truth; the agent's state files add names, what is available and
when that was asked. Where they contradict each other the kernel wins, and what cannot be known is
None, never guessed.

The plan on disk says what waits only if it was made for what is in the kernel now (C(_Plan)). The
agent's other files are written by runs that make no plan, so no file's time says that another
belongs to it.
"""

import json
import re
from datetime import datetime, timezone

from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import output, state_yaml
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent.exit_status import meaning
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent.probe import read_answer
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import conf
from ansible_collections.rebootless.ksplice.plugins.module_utils.host_id import host_id
from ansible_collections.rebootless.ksplice.plugins.module_utils.times import iso
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import lease

VERDICTS = (
    "current",
    "behind",
    "blocked",
    "disabled",
    "unsupported",
    "unknown",
    "absent",
    "unreachable",
)
# Why a verdict is what it is, where the verdict alone does not say enough to go by.
NO_ROOT, NO_SYSFS = "no_root", "no_sysfs"
REASON_CODES = (*VERDICTS, NO_ROOT, NO_SYSFS)
DAY = 86400
# Seconds that a check may lie in the future before the host's clock is not believed.
CLOCK_SKEW = 300
# The probe's tags for the agent's files, in the order in which C(_Seen) takes them, and their
# names.
FILES = (
    ("status", "status"),
    ("results", "results"),
    ("upgrade_plan", "upgrade_plan"),
    ("init_plan", "init_plan"),
    ("remove_plan", "remove_plan"),
    ("effective", "effective_kernel"),
    ("packages", "packages.yml"),
)
PROVEN, LIKELY = "proven", "likely"
# Compiled here, where a controller's workers find them done: each of them lives for one host.
_CRON_TIME = re.compile(r"[\d*]")
_NUMBER_OR_WORD = re.compile(r"[0-9]+|[A-Za-z]+")
_PACKAGE = re.compile(r"^(\d+\.\d+\.\d+-\d+)\.")
_IMAGE = re.compile(r"(\S+) \(.*\) (#\d.*)$")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_FLAVOUR = re.compile(r"^\d+\.\d+\.\d+-\d+(-\w+)\Z")
_SECONDS = re.compile(r"^\d{1,12}(\.\d*)?$")
_DATE = re.compile(
    r"^(\d{4})-(\d\d?)-(\d\d?)(?:[Tt "
    r"]+(\d\d?):(\d\d):(\d\d)(\.\d*)?)?\s*(?:Z|([-+])(\d\d?):?(\d\d)?)?$"
)
# Seconds within which one run of the agent writes all its files.
ONE_RUN = 2

# The arguments of uptrack_facts, for the module and for the action plugin.
ARGUMENTS = {
    "refresh": {"type": "bool", "default": False},
    "refresh_older_than": {"type": "int"},
    "max_age": {"type": "int", "default": DAY},
    "timeout": {"type": "int", "default": 900},
    "groups": {"type": "bool", "default": False},
    "ha_command": {"type": "str"},
    "kernels": {"type": "bool", "default": False},
}


def refresh(arguments):
    """What the arguments ask of the probe: when to refresh, the age in seconds from which on, how
    long the agent may take, and whether to read the builds of kernels on disk.
    """
    timeout, kernels = max(1, arguments["timeout"]), arguments["kernels"]
    if arguments["refresh"]:
        return "always", 0, timeout, kernels
    if arguments["refresh_older_than"] is not None:
        return "stale", arguments["refresh_older_than"], timeout, kernels
    return "never", 0, timeout, kernels


def facts(text, max_age=DAY):
    """The facts that a probe's answer amounts to.

    :param text: the probe's answer.
    :param max_age: seconds; older knowledge is not believed (verdict C(unknown)).
    """
    answer = read_answer(text)
    if answer is None:
        return nothing(
            "unknown",
            "The probe's answer is incomplete: the host needs sh, uname, id, date and "
            "awk. Run the task with -vvv to see what the host said.",
        )
    seen = _Seen(answer)
    verdict, reason = _verdict(seen, max_age)
    installed = [seen.named(ident) for ident in seen.applied]
    # A plan that was made for something else says nothing of what waits here.
    available, superseded = (seen.available, seen.superseded) if seen.fits else (None, None)
    fixed = cves(installed)
    if not fixed and any(update["name"] is None for update in installed):
        fixed = None
    return {
        "verdict": verdict,
        "reason": reason,
        "reason_code": _reason_code(seen, verdict),
        "agent": {
            "installed": seen.agent,
            "enhanced": "ksplice" in seen.commands,
            "disabled": seen.disabled,
            "last_run": seen.last_run,
            "uuid": _uuid(seen),
        },
        "kernel": {
            "booted": seen.release,
            "version": seen.version,
            "machine": seen.machine,
            "effective": seen.effective,
            "effective_build": seen.effective_build,
            "effective_package": seen.effective_package,
            "on_disk": newest(seen.kernels_on_disk),
            "on_disk_version": _build_on_disk(answer, newest(seen.kernels_on_disk)),
        },
        "updates": {"installed": installed, "available": available, "superseded": superseded},
        "cves": {
            "fixed": fixed,
            "open": None
            if available is None
            else [c for c in cves(available) if c not in (fixed or ())],
        },
        "checked_at": iso(seen.checked),
        "checked_age": None if seen.checked is None else max(0, seen.now - seen.checked),
        "config": seen.config,
        "warnings": seen.warnings(),
        "self_update": _self_update(seen),
        "host_id": host_id(seen.one("machine_id", ""), seen.one("boot_id", "")),
        "redundancy": answer.get("redundancy", []),
        "lease": _lease(answer),
        **_journal(answer),
    }


def nothing(verdict, reason):
    """Facts of a host of which nothing else is known, with every key in its place."""
    return {
        "verdict": verdict,
        "reason": reason,
        "reason_code": verdict,
        "agent": {
            "installed": None,
            "enhanced": None,
            "disabled": None,
            "last_run": None,
            "uuid": None,
        },
        "kernel": {
            "booted": None,
            "version": None,
            "machine": None,
            "effective": None,
            "effective_build": None,
            "effective_package": None,
            "on_disk": None,
            "on_disk_version": None,
        },
        "updates": {"installed": None, "available": None, "superseded": None},
        "cves": {"fixed": None, "open": None},
        "checked_at": None,
        "checked_age": None,
        "config": None,
        "warnings": [],
        "self_update": None,
        "host_id": None,
        "redundancy": None,
        "lease": None,
        "drained": None,
        "turn": None,
    }


def _lease(answer):
    """Who has claimed this host or a peer of it, according to the host's own ledger.

    The first lease in it, one on the host itself before others.
    """
    if "lease" not in answer:
        return None
    try:
        leases = sorted(
            json.loads("\n".join(answer["lease"]))["leases"], key=lambda entry: not entry["own"]
        )
        if not leases:
            return None
        first = leases[0]
        # The clock that cannot be set, where the probe could read it.
        uptime, boot = (answer.get(tag, [None])[-1] for tag in ("uptime", "boot_id"))
        now = {
            "wall": int(answer["now"][-1]),
            "clock": float(uptime.split()[0]) if uptime else 0,
            "boot": boot if uptime else None,
        }
        age = int(lease.age(first, now))
        return {
            "run": first["run"],
            "host": first["host"],
            "own": first["own"],
            "reason": first["reason"],
            "phase": first["phase"],
            "since": iso(int(first["taken_at"])),
            "age": age,
            "seconds": first["seconds"],
            "stale": age > first["seconds"],
            # What a run needs that takes over: every lease here that is renewed no more.
            "left": [
                {
                    "token": one["token"],
                    "run": one["run"],
                    "host": one["host"],
                    "age": int(lease.age(one, now)),
                    "groups": [
                        {"name": group["name"], "members": list(group["members"])}
                        for group in one["groups"]
                    ],
                    "took": list(one.get("took", ())),
                }
                for one in leases
                if lease.age(one, now) > one["seconds"]
            ],
        }
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
    ):
        return {
            "run": None,
            "host": None,
            "own": None,
            "reason": "The lease ledger cannot be read.",
            "phase": None,
            "since": None,
            "age": None,
            "seconds": None,
            "stale": None,
            "left": [],
        }


def _journal(answer):
    """What the journal of the host says: what is out of service by our doing, and its last turn."""
    lines = answer.get("journal", ())
    if not lines:
        return {"drained": [], "turn": None}
    try:
        found = json.loads(lines[0])
        turn = found["turn"]
        return {
            "drained": [{"host": one["host"], "what": one["what"]} for one in found["drained"]],
            "turn": turn
            and {
                "run": turn["run"],
                "state": turn["state"],
                "reason": turn["reason"],
                "reason_code": turn["reason_code"],
                "began": iso(turn["began"]),
                "ended": iso(turn["ended"]),
                "lost_controller": turn["lost_controller"],
                "installed": _installed_by(turn),
            },
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {
            "drained": [{"host": None, "what": "unknown: journal.json cannot be read"}],
            "turn": None,
        }


def _installed_by(turn):
    """IDs that a turn gave its host, and did not take back."""
    if (turn["rolled_back"] or {}).get("ok"):
        return []
    return (turn["applied"] or {}).get("installed") or []


class _Seen:
    """The probe's answer with its files read."""

    def __init__(self, answer):
        self.answer = answer
        self.release, self.version, self.machine = (
            self.one(tag, "") for tag in ("release", "version", "machine")
        )
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

        unpacked = [line.rpartition(" ")[::2] for line in answer.get("unpacked", ())]
        self.unpacked = {
            name[len("ksplice-") :]: _integer(since)
            for name, since in unpacked
            if name.startswith("ksplice-")
        }

        self.unread, self.partial = [], set()
        (
            self.status,
            self.results,
            self.plan,
            self.init_plan,
            self.remove_plan,
            self.effective_file,
            packages,
        ) = (self.file(tag, name) for tag, name in FILES)
        self.asked = self.one("refreshed") == "0"
        showed = self.words if "showed" in answer else ""
        _available, self.shown_installed, self.shown_effective = output.shown(showed)
        self.written = _ids(_get(self.status, "Updates", "Installed"))
        self.problem = None
        self.last_run = self._last_run()
        self.names, known = self._names(packages)
        # The agent lists updates in the catalogue's order, and so do we; what it does not know
        # comes last.
        self.applied = [ident for ident in known if ident in self.kernel_ids] + sorted(
            self.kernel_ids.difference(known)
        )
        self.planned_at = _moment(_get(self.plan, "Time"))
        self.fits = PROVEN if self.asked else self._fits()
        self.available, self.superseded = self._available()
        self.checked = None
        if self.asked and self.available is not None:
            self.checked = self.now
        elif _plan_items(self.plan) is not None:
            self.checked = _seconds(_get(self.plan, "Time"))
        self.effective, self.effective_build, self.effective_package = self._effective()

    def one(self, tag, default=None):
        return self.answer.get(tag, [default])[-1]

    @property
    def words(self):
        return "\n".join(self.answer.get("words", ()))

    def file(self, tag, name):
        """One of the agent's files; None for one that is not there or of no use, and why in
        C(unread).
        """
        odd = dict(line.partition(" ")[::2] for line in self.answer.get("odd", ())).get(tag)
        if odd:
            self.unread.append(
                f"The agent's file {name} is "
                + ("empty." if odd == "empty" else "not a readable file.")
            )
            return None
        if tag not in self.answer:
            return None
        lines = self.answer[tag]
        # The list of updates comes as a part of itself, every other file with the end that the
        # agent writes (reference 2.4).
        if tag != "packages" and "..." not in [line.strip() for line in lines[-2:]]:
            self.unread.append(f"The agent's file {name} is truncated.")
            return None
        document, unread = state_yaml.load("\n".join(lines))
        for one in unread[:3]:
            self.unread.append(
                f"In the agent's file {name}, {one.path or 'the document'} cannot be read: "
                f"it {one.what}."
            )
        if unread:
            self.partial.add(tag)
        kernel = _get(document, "Kernel")
        if (
            tag in ("status", "results")
            and isinstance(kernel, dict)
            and (kernel.get("Release") != self.release or kernel.get("Version") != self.version)
        ):
            self.unread.append(f"The agent's file {name} belongs to another kernel.")
            return None
        if not isinstance(document, dict):
            if not unread:
                self.unread.append(f"The agent's file {name} holds nothing that the agent writes.")
            return None
        return document

    def warnings(self):
        """What is wrong on the host and decides nothing by itself."""
        found = [
            f"/etc/uptrack/uptrack.conf: line {wrong.line} {wrong.what}."
            for wrong in self.conf_faults() + conf.doubts(self.conf_text or "")
        ]
        if "conf unreadable" in self.answer.get("odd", ()):
            found.append("/etc/uptrack/uptrack.conf is not a readable file.")
        result = _get(self.results, "Result")
        alert = _get(result, "Alert")
        if isinstance(alert, str) and alert.strip():
            found.append(f"The update service says: {' '.join(alert.split())[:500]}")
        withdrawn = self.not_written()
        if self.asked and withdrawn:
            found.append(
                f"{', '.join(withdrawn)} is in the kernel, but no longer in the agent's list of "
                "updates (withdrawn)."
            )
        return found + self.unread

    def conf_faults(self):
        """What no agent can read in uptrack.conf, as far as the host told."""
        faults = conf.faults(self.conf_text) if self.conf_text is not None else []
        if "override" in self.answer and self.conf_text is not None:
            at = [
                line.number
                for line in conf.lines_of(self.conf_text)
                if line.name == "hostname_override_file" and line.kind == "key"
            ]
            what = "is not there" if self.one("override") == "missing" else "is empty"
            faults = sorted(
                faults
                + [conf.Problem(at[-1] if at else 1, f"names a hostname_override_file that {what}")]
            )
        return faults

    def not_written(self):
        """What is in the kernel and not in the agent's last list of that."""
        return (
            sorted(self.kernel_ids.difference(self.written or ()))
            if self.written is not None
            else []
        )

    def named(self, ident):
        return output.update(ident, self.names.get(ident))

    def pending(self, ident):
        """An update that waits, and since when the host has it on disk: its date of publication is
        nowhere.
        """
        since = self.unpacked.get(ident)
        age = None if since is None else max(0, self.now - since)
        return dict(self.named(ident), first_seen=iso(since), age=age)

    def _names(self, packages):
        names, known = {}, []
        catalogue = [
            item
            for item in _list(_get(packages, "Updates"))
            if _id_and_name(item)[0] in self.kernel_ids
        ]
        for items in (
            self.shown_installed,
            _get(self.status, "Updates", "Installed"),
            catalogue,
            _get(self.init_plan, "Plan"),
        ):
            for item in _list(items):
                ident, name = _id_and_name(item)
                if ident and ident not in known:
                    known.append(ident)
                if ident and name is not None:
                    names.setdefault(ident, name)
        result = _get(self.results, "Result")
        failed = self.last_run["failed"] if self.last_run else []
        for item in _list(_get(self.plan, "Plan")) + _list(_get(result, "Succeeded")) + failed:
            ident, name = _id_and_name(item)
            if ident and name is not None:
                names.setdefault(ident, name)
        return names, known

    def _fits(self):
        """Whether the plan on disk was made for what is in the kernel now: C(PROVEN), C(LIKELY) or
        None.

        With every plan to upgrade, the agent writes one to bring back (init) and one to take out
        (remove) what is in the kernel at that moment: those name what the plan was made for. But a
        removal without the service writes all three empty, so that an empty one proves nothing by
        itself; and where there are none the run must be found that made the plan. C(LIKELY) is good
        for what waits, never for saying that nothing does.
        """
        items = _plan_items(self.plan)
        if items is None or self.planned_at is None or "upgrade_plan" in self.partial:
            return None
        for tag, plan in (("init_plan", self.init_plan), ("remove_plan", self.remove_plan)):
            at, found = _moment(_get(plan, "Time")), _plan_items(plan)
            if found is None or at is None or abs(at - self.planned_at) > ONE_RUN:
                continue
            if tag in self.partial or {ident for _verb, ident in found} != self.kernel_ids:
                return LIKELY if self._went_on() else None
            if found:
                return PROVEN
        if self._made_by_last_run():
            return PROVEN
        if self._went_on():
            return LIKELY
        added, taken = output.ends_in(items)
        waits = set(added) - self.kernel_ids or set(taken) & self.kernel_ids
        return (
            LIKELY
            if waits and self.written == self.kernel_ids and not set(taken) - self.kernel_ids
            else None
        )

    def _went_on(self):
        """Whether the last run went on from the plan until something would not go in or come out,
        and nothing changed since.
        """
        ended = _moment(_get(self.results, "Time"))
        return (
            bool(self.stuck())
            and self.written == self.kernel_ids
            and ended is not None
            and ended > self.planned_at
        )

    def _made_by_last_run(self):
        """Whether the run that wrote the results made the plan, for what is in the kernel now."""
        result, run = _get(self.results, "Result"), _get(self.results, "RunUUID")
        ended = _moment(_get(self.results, "Time"))
        if (
            not isinstance(result, dict)
            or ended is None
            or self.partial.intersection(("status", "results"))
            or self.last_run["rc"] is None
        ):
            return False
        if _get(self.results, "Client", "Config", "Init") not in (
            None,
            "false",
            "no",
            "off",
            "False",
        ):
            # A boot brought back what was in the kernel when the last plan was made, all of it and
            # nothing else.
            back = {
                ident
                for ident in map(lambda item: _id_and_name(item)[0], _list(result.get("Succeeded")))
                if ident
            }
            return (
                self.last_run["rc"] == 0
                and not self.last_run["failed"]
                and bool(back)
                and back == self.kernel_ids
                and self.planned_at < ended
            )
        if (
            self.last_run["rc"] not in (0, 1)
            or abs(self.planned_at - ended) > ONE_RUN
            or self.written != self.kernel_ids
        ):
            return False
        if _get(self.status, "RunUUID") == run:
            return run is not None or _get(self.status, "Time") == _get(self.results, "Time")
        # uptrack-show wrote the status since. It names an effective kernel only if what is in the
        # kernel is what the run left.
        effective = _short(_get(self.status, "ClientEffectiveKernel"))
        return effective is not None and effective == _short(
            _get(self.results, "ClientEffectiveKernel")
        )

    def _available(self):
        """What is to be put into the kernel and what is to be removed, or (None, None) where that
        is unknown.
        """
        items = _plan_items(self.plan)
        if self.asked:
            steps = output.plan(self.words)
            if steps is not None:
                items = [(step.verb, step.id) for step in steps]
                self.names.update((step.id, step.name) for step in steps)
            elif self.planned_at is None or self.planned_at < (
                _integer((self.answer.get("now") or ["0"])[0]) or 0
            ):
                # It said nothing that can be read, and left no plan of this run either: one from
                # before says nothing of now.
                items = None
        if items is None:
            return None, None
        added, taken = output.ends_in(items)
        # What the last run could not put in still waits, whatever the plan says that it left
        # behind.
        added += [
            failed["id"]
            for failed in self.stuck()
            if failed["verb"] == "install" and failed["id"] not in added
        ]
        return (
            [self.pending(ident) for ident in added if ident not in self.kernel_ids],
            [ident for ident in taken if ident in self.kernel_ids],
        )

    def stuck(self):
        """The failures of the last run that still stand: updates that are not where it was to bring
        them.
        """
        return [
            failed
            for failed in (self.last_run["failed"] if self.last_run else ())
            if (failed["id"] in self.kernel_ids) == (failed["verb"] == "remove")
        ]

    def _last_run(self):
        result = _get(self.results, "Result")
        if not isinstance(result, dict):
            return None
        code = _integer(result.get("Code"))
        failed = []
        for item in _list(result.get("Failed")):
            ident, name = _id_and_name(item)
            if ident:
                abort = item.get("Abort")
                failed.append(
                    {
                        "id": ident,
                        "name": name,
                        "verb": "remove" if item.get("Command") == "Remove" else "install",
                        "reason": abort
                        if isinstance(abort, str) and re.match(r"^[A-Za-z_]+\Z", abort)
                        else "unknown",
                        "processes": _processes(item.get("Stack Check")),
                        "modules": [
                            name
                            for key in ("Nonmatching Modules", "Locked Modules", "UsedBy Modules")
                            for name in _list(item.get(key))
                            if isinstance(name, str)
                        ],
                    }
                )
        done = [
            ident for ident, _name in map(_id_and_name, _list(result.get("Succeeded"))) if ident
        ]
        problem = None
        if code and not failed:
            message = result.get("Message") if isinstance(result.get("Message"), str) else ""
            problem = output.problem(code, message)
            if problem.error_class == "unknown" and message.strip():
                problem = problem._replace(
                    what=f"the agent said: {' '.join(message.split())[:300].rstrip('.')}"
                )
        self.problem = problem
        return {
            "at": iso(_seconds(_get(self.results, "Time"))),
            "rc": code,
            "done": done,
            "failed": failed,
            "what": problem.what if problem else None,
        }

    def _effective(self):
        """The effective kernel: release, build (as --list-effective says it), package version; None
        where unknown.
        """
        if not (self.stages_unreadable or self.has_sysfs):
            return None, None, None
        document = self.effective_file
        original, effective = _get(document, "OriginalKernel"), _get(document, "EffectiveKernel")
        if (
            isinstance(original, dict)
            and isinstance(effective, dict)
            and original.get("Release") == self.release
            and original.get("Version") == self.version
            and _texts(document.get("Installed")) == self.kernel_ids
            and isinstance(effective.get("Release"), str)
        ):
            release = effective.get("Release")
            return release, f"{release}/{effective.get('Version')}", effective.get("PackageVersion")
        if not self.kernel_ids:
            return self.release or None, f"{self.release}/{self.version}", None
        short = None
        if self.written == self.kernel_ids or (self.fits == PROVEN and not self.asked):
            short = _short(_get(self.status, "ClientEffectiveKernel"))
        short = short or self.shown_effective
        if short is None:
            return None, None, None
        builds = [_get(self.status, "ClientEffectiveKernel")] + [
            item.get("EffectiveKernel")
            for plan in (self.init_plan, self.plan)
            for item in _list(_get(plan, "Plan"))
            if isinstance(item, dict)
        ]
        for build in builds:
            if (
                isinstance(build, list)
                and len(build) == 2
                and build[1] == short
                and isinstance(build[0], str)
                and build[0].count("/") >= 3
            ):
                _system, _machine, release, version = build[0].split("/", 3)
                return release, f"{release}/{version}", short
        return _release(short, self.release, self.machine), None, short


def _reason_code(seen, verdict):
    if seen.agent and not seen.has_sysfs:
        return NO_SYSFS
    return NO_ROOT if seen.agent and not seen.root else verdict


def _verdict(seen, max_age):
    """The verdict and a sentence that says why."""
    if not seen.agent:
        return "absent", "No Ksplice agent is installed."
    if not seen.has_sysfs:
        return (
            "unsupported",
            "There is no /sys/module: a container or chroot has no kernel of its own to patch.",
        )
    if not seen.root:
        return (
            "unknown",
            (
                "Without root neither the kernel's updates nor the agent's "
                "state can be read: use become."
            ),
        )
    if seen.disabled:
        return (
            "disabled",
            (
                "The file /etc/uptrack/disable exists: the agent neither "
                "installs nor removes anything."
            ),
        )
    if "ended" in seen.answer:
        seconds = _integer(seen.one("ended"))
        hung = output.TIMED_OUT
        return (
            "unknown",
            f"The agent did not finish within {seconds} s and was terminated. {hung.advice}",
        )
    refused = _integer(seen.one("refreshed", "0"))
    if refused:
        problem = output.problem(refused, seen.words)
        if refused == 13:
            return "unsupported", _sentence(problem.what, problem.advice)
        return "unknown", "The service could not be asked: " + _sentence(
            problem.what, problem.advice
        )
    if "unasked" in seen.answer:
        return (
            "unknown",
            "The service could not be asked: the host has no uptrack-upgrade.",
        )
    for name, document, key in (
        ("status", seen.status, "Updates"),
        ("results", seen.results, "Result"),
    ):
        if document and not isinstance(document.get(key), (dict, type(None))):
            return (
                "unknown",
                f"The agent's file {name} cannot be believed: its {key} is not a mapping.",
            )
    faults = seen.conf_faults()
    broken = faults and (
        f"The agent cannot read /etc/uptrack/uptrack.conf: line {faults[0].line} "
        f"{faults[0].what}. Every command of the agent fails until that is fixed."
    )
    if broken and "conf_newer" in seen.answer:
        # It has not run since. What an agent that runs makes of its configuration is its own
        # affair.
        return "unknown", broken
    last, last_at = seen.last_run, _moment(_get(seen.results, "Time"))
    if (
        seen.problem
        and last["rc"] != 12
        and not seen.asked
        and (seen.planned_at is None or last_at is None or last_at + ONE_RUN >= seen.planned_at)
    ):
        if last["rc"] == 13:
            return "unsupported", _sentence(seen.problem.what, seen.problem.advice)
        # After a failure of its own the agent may still have been told what waits. What does not
        # wait is not told so.
        if not (
            last["rc"] == 1
            and seen.fits == PROVEN
            and seen.available
            and last_at <= seen.planned_at
        ):
            return "unknown", f"The last check ({last['at']}) failed: " + _sentence(
                seen.problem.what, seen.problem.advice
            )
    if (
        seen.configured
        and seen.config
        and seen.config["access_key"] == "missing"
        and seen.available is None
    ):
        known = meaning(20)
        return "unknown", _sentence(known.what, known.advice)
    if seen.available is None and seen.asked:
        return (
            "unknown",
            (
                "The service was asked, but the agent's answer cannot be read as a plan: "
                f"{' '.join(seen.words.split())[:200] or 'it was empty'}."
            ),
        )
    if seen.available is None:
        never = (
            "According to the agent's files the service has never been asked about "
            "the running kernel: run with refresh."
        )
        return "unknown", broken or " ".join(seen.unread[:1] + [never])
    waiting = [update["id"] for update in seen.available] + seen.superseded
    if seen.checked is None:
        return "unknown", "It is unknown when the service was last asked: run with refresh."
    age = seen.now - seen.checked
    if age < -CLOCK_SKEW:
        return (
            "unknown",
            (
                "The agent's last check lies in the future: set the host's "
                "clock, then run with refresh."
            ),
        )
    if seen.fits is None or (seen.fits == LIKELY and not waiting):
        extra = seen.not_written()
        if extra and seen.written:
            return "unknown", (
                f"{', '.join(extra)} is in the kernel, but not in the agent's files: "
                "withdrawn from its list, or changed by somebody else. Run with refresh."
            )
        return "unknown", (
            "The agent's files do not match what is in the kernel (after a reboot, or "
            "a change by somebody else), or nothing proves "
            "that they do: run with refresh."
        )
    if age > max_age:
        return (
            "unknown",
            broken
            or (
                f"The last check is {_span(age)} old, more than the {_span(max_age)} "
                "allowed: run with refresh."
            ),
        )
    stuck = seen.stuck()
    if stuck:
        verb = "installed" if stuck[0]["verb"] == "install" else "removed"
        return (
            "blocked",
            (
                f"Update {stuck[0]['id']} could not be {verb} ({stuck[0]['reason']}); "
                f"{len(waiting)} pending."
            ),
        )
    if waiting:
        return (
            "behind",
            (
                f"{'At least ' if seen.fits == LIKELY else ''}{len(waiting)} "
                f"update{'s' if len(waiting) > 1 else ''} pending."
            ),
        )
    return "current", f"No updates are pending; the service was asked {_span(max(0, age))} ago."


def _config(text):
    """The settings of the configuration that are not secret, with the agent's
    defaults filled in.
    """
    if text is None:
        return None
    raw = conf.values(text)
    result = dict(conf.DEFAULTS)
    for key in conf.KEYS:
        value = raw.get((key.section, key.name))
        if key.type == "bool" and key.name in result and value is not None:
            result[key.name] = conf.boolean(value)
    result["access_key"] = (
        "missing" if raw.get(("Auth", "accesskey"), "") in ("", conf.PLACEHOLDER) else "set"
    )
    proxy = raw.get(("Network", "https_proxy"), "")
    result["https_proxy"] = {"": "environment", "none": "none"}.get(proxy.lower(), "set")
    result["effective_version"] = raw.get(("Settings", "effective_version"))
    return result


def _self_update(seen):
    """Whether, and how, this host would install updates without anybody's rollout."""
    ways = []
    if (
        seen.config
        and seen.config["autoinstall"]
        and any(_CRON_TIME.match(line.strip()) for line in seen.answer.get("cron", ()))
    ):
        ways.append("cron with autoinstall")
    elif seen.config and seen.config["autoinstall"]:
        ways.append("autoinstall")
    if any(_says_yes(line) for line in seen.answer.get("cron", ())):
        ways.append("cron")
    if seen.config and seen.config["upgrade_on_reboot"]:
        ways.append("upgrade_on_reboot")
    ways.extend(seen.answer.get("scheduled", ()))
    return ways


def _says_yes(line):
    """Whether a line of a crontab lets the agent install without being asked."""
    words = line.split()
    command = next(
        (
            at
            for at, word in enumerate(words)
            if word.rpartition("/")[2] in ("uptrack-upgrade", "ksplice")
        ),
        None,
    )
    return bool(_CRON_TIME.match(line)) and command is not None and "-y" in words[command:]


def newest(releases):
    """The kernel that a person would call the newest of some releases, None of none.

    Rescue images do not count.
    """

    def key(release):
        # Digits by their number, without making one of them: there may be any number of them.
        parts = [
            part.lstrip("0") if part.isdigit() else part
            for part in _NUMBER_OR_WORD.findall(release)
        ]
        return [(0, 0, part) if part.isalpha() else (1, len(part), part) for part in parts]

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


def _processes(value):
    """Who stood in the way: C([[name, pid]]), or C(["name pid"])."""
    found = []
    for item in _list(value):
        words = (
            item
            if isinstance(item, list)
            else item.rsplit(None, 1)
            if isinstance(item, str)
            else []
        )
        if len(words) == 2 and isinstance(words[0], str) and _integer(words[1]) is not None:
            found.append({"name": words[0], "pid": _integer(words[1])})
    return found


def _short(value):
    """The effective kernel as the agent prints it, from its text or from the pair with the whole
    build.
    """
    if isinstance(value, list):
        value = value[1] if len(value) == 2 else None
    return value if isinstance(value, str) and value else None


def _release(short, booted, machine):
    """The release behind what the agent prints, in the notation of the booted one; None where they
    have nothing in common.
    """
    if booted.endswith("." + machine):
        return short if short.endswith("." + machine) else f"{short}.{machine}"
    # Ubuntu: the package 5.15.0-119.129 is the release 5.15.0-119-generic.
    package, flavour = _PACKAGE.match(short), _FLAVOUR.match(booted)
    return package.group(1) + flavour.group(1) if package and flavour else None


def _texts(value):
    return {item for item in _list(value) if isinstance(item, str)}


def _build_on_disk(answer, release):
    """The build of a kernel on disk as C(uname -v) would print it; None where that was not asked,
    or its image does not tell.
    """
    for line in answer.get("build", ()):
        name, _blank, text = line.partition(" ")
        # release (who@where) #2 SMP Wed May 22 20:24:12 PDT 2026
        match = _IMAGE.match(text)
        if name == release and match and match.group(1) == release:
            return match.group(2)
    return None


def _uuid(seen):
    """By which UUID the service knows this machine; None where that is not on its disk."""
    if seen.config and seen.config.get("use_hw_uuid"):
        return None
    found = seen.one("uuid", "").strip().lower()
    return found if _UUID.match(found) else None


def _ids(value):
    """The IDs in a list of the agent's updates; None if it is no such list."""
    found = [_id_and_name(item)[0] for item in value] if isinstance(value, list) else [None]
    return None if None in found else set(found)


def _plan_items(plan):
    """The plan as (verb, ID) in its order; None where any of it cannot be read, since what is left
    out would seem not to wait.
    """
    if not isinstance(plan, dict) or "Plan" not in plan or not isinstance(plan["Plan"] or [], list):
        return None
    items = [
        (item.get("Command") if isinstance(item, dict) else None, _id_and_name(item)[0])
        for item in plan["Plan"] or []
    ]
    return items if all(verb in ("Install", "Remove") and ident for verb, ident in items) else None


def _id_and_name(item):
    if not isinstance(item, dict):
        return None, None
    ident, name = item.get("ID", item.get("id")), item.get("Name", item.get("name"))
    return (ident if isinstance(ident, str) else None), (name if isinstance(name, str) else None)


def _integer(value):
    try:
        return int(value) if len(value) <= 20 else None
    except (TypeError, ValueError):
        return None


def _seconds(value):
    """A time of the agent's files in whole seconds since 1970."""
    moment = _moment(value)
    return None if moment is None else int(moment)


def _moment(value):
    """A time of the agent's files in seconds since 1970: a number, or a date and time in UTC."""
    if not isinstance(value, str) or len(value) > 60:
        return None
    if _SECONDS.match(value):
        return float(value)
    match = _DATE.match(value)
    if not match:
        return None
    try:
        numbers = [int(part or 0) for part in match.groups()[:6]]
        when = datetime(*numbers, tzinfo=timezone.utc)
    except ValueError:
        return None
    fraction, sign, hours, minutes = match.groups()[6:]
    offset = (int(hours or 0) * 60 + int(minutes or 0)) * 60 * (-1 if sign == "-" else 1)
    return when.timestamp() - offset + float("0" + (fraction or ".") + "0")


def _span(seconds):
    for unit, name in ((DAY, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name}s"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def _sentence(what, advice):
    return f"{what[:1].upper()}{what[1:]}. {advice}"
