# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What a rollout says of itself while it goes on, and how far it is. Pure but for the clock.

Handed in is what its tasks gave, by the callbacks C(rollout) and C(rollout_lines); what comes back
is lines for whoever looks on. What a host said is in some of them, see wording.printable.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from ansible_collections.rebootless.ksplice.plugins.plugin_utils import query, turns, wording

# Whether a callback shows all this, so that the tasks need not say it themselves. Set before
# Ansible forks its workers, which inherit it.
by_callback = False
# Seconds from which on a turn is long, and its steps are said as they come.
LONG = 10
# What a turn is taken to cost before any was measured, in seconds: by itself, and for each update.
TURN, UPDATE = 8, 1
# Names, notes and hosts that are said; of more, only how many. Characters of a line of names.
MOST, WIDEST = 30, 160

# Where the modules are whose results are steps of a rollout.
OURS = "rebootless.ksplice"
KINDS = {
    "patch": "Patching {}",
    "rehearsal": "Rehearsing a patch run of {}, which are emulated",
    "rehearse": "Making {}, emulated ones",
    "status": "Surveying {}",
    "preview": "Reading the kernels of {}",
    "enroll": "Enrolling {}",
    "retire": "Retiring {}",
}


class Line(NamedTuple):
    """A line, and what it is of: C(plain), C(changed) (a host that was patched) or C(bad)."""

    text: str
    kind: str = "plain"


class Bar(NamedTuple):
    """How far the step is that goes on: C(done) of C(total) hosts, and what else is known."""

    title: str
    done: int
    total: int
    more: str = ""


class Progress:
    """How far a run is. Each method takes what a task gave, and gives lines."""

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self.bar = None
        # Whether a rollout has begun, and whether its end was told.
        self.begun = self.ended = False
        # Sentences that were said of a host, so that none is said twice.
        self.said = {}
        self._began = self._waves_began = None
        self._wave_began = self._clock()
        self._verdicts, self._waves, self._seconds, self._names = {}, [], [], []
        self._number = self._done = 0
        self._turned, self._pace, self._spent = set(), 1.0, 0.0

    def seen(self, action, host, result):
        """The result of a task of this collection, by its module: a list of Line."""
        if action == "rollout" and isinstance(result.get("progress"), dict):
            step = result["progress"]
            steps = {
                "ready": self._ready,
                "taken_over": self._taken_over,
                "plan": self._plan,
                "select": self._select,
                "record": self._record,
                "report": self._report,
            }
            return steps[step["step"]](step)
        if action == "uptrack_turn" and "judged" in result:
            return self._turn(host, result)
        if action == "uptrack_facts" and self.bar and self.bar.title == "Survey":
            facts = (result.get("ansible_facts") or {}).get("uptrack") or {}
            return self._surveyed(host, facts.get("verdict") or "unknown")
        if action == "uptrack_apply" and result.get("changed") and result.get("after"):
            return [Line(_host_line(host, result, result.get("seconds")), "changed")]
        return []

    def failed(self, host, words, unreachable=False):
        """A task that failed on a host, or a host that cannot be reached, in a sentence."""
        if unreachable and self.bar and self.bar.title == "Survey":
            self._surveyed(host, "unreachable")
        if unreachable:
            return self._of(host, words)
        return [Line(wording.printable(f"{host}: {words}"), "bad")]

    def _of(self, host, words):
        """A sentence about a host, unless it was said."""
        if words in self.said.setdefault(host, set()):
            return []
        self.said[host].add(words)
        return [Line(wording.printable(f"{host}: {words}"), "bad")]

    # ---- the steps of a run ----

    def _ready(self, step):
        # Of a question the answer is all that is to be said at the end.
        self.begun, self.ended = True, step["question"]
        # Of a play with serial it is that of its first batch.
        self._began, self._verdicts = self._began or self._clock(), {}
        if not step["hosts"]:
            return []
        hosts = wording.count(step["hosts"], "host")
        words = KINDS.get(step["kind"], "Working on {}").format(hosts)
        check = " (check mode: nothing is changed)" if step["check"] else ""
        if step["kind"] in ("patch", "rehearsal", "status", "preview"):
            self.bar = Bar("Survey", 0, step["hosts"])
        return [Line(f"{words}{check}: run {step['run']}")]

    def _surveyed(self, _host, verdict):
        self._verdicts[verdict] = self._verdicts.get(verdict, 0) + 1
        self.bar = self.bar._replace(done=self.bar.done + 1)
        return []

    def _taken_over(self, step):
        return [Line(wording.printable(f"{step['host']}: {step['what']}"))]

    def _plan(self, step):
        lines = [Line(f"Surveyed: {wording.counts(self._verdicts)}.")] if self._verdicts else []
        self.bar = None
        if step["error"]:
            return [*lines, Line(wording.printable(f"No plan: {step['error']}"), "bad")]
        # A play with serial plans each batch.
        self._waves += step["waves"]
        self._seconds += step["seconds"]
        self._names += [name for wave in step["waves"] for name in wave]
        work = sum(map(len, step["waves"]))
        waves = wording.count(len(step["waves"]), "wave")
        long = f", {span(sum(step['seconds']))}" if step["waves"] else ""
        lines.append(Line(f"Plan {step['hash']}: {wording.count(work, 'host')} in {waves}{long}"))
        lines += _bounded([f"Note: {words}" for words in step["notes"]], "notes")
        described = enumerate(step["described"], 1)
        lines += _bounded([f"Wave {at}: {_names(names)}" for at, names in described], "waves")
        left = [
            f"In no wave: {host}. {why}"
            for host, why in step["left"].items()
            if host not in self.said
        ]
        return lines + _bounded(left, "hosts that are in no wave")

    def _select(self, step):
        self._number, self._wave_began = step["number"], self._clock()
        self._waves_began = self._waves_began or self._wave_began
        self.bar = Bar(f"Wave {self._number} of {len(self._waves)}", 0, len(step["claimed"]))
        self._tell_rest()
        hosts = _names(step["described"])
        lines = [Line(wording.printable(f"{self.bar.title}: {hosts}"))] if hosts else []
        for host, why in step["skipped"].items():
            self._turned.add(host)
            lines += self._of(host, why)
        return lines

    def _turn(self, host, result):
        turn, judged = result.get("turn"), result["judged"]
        if turn and turn["state"] == "waiting" or host in self._turned:
            return []
        self._turned.add(host)
        if self.bar:
            self.bar = self.bar._replace(done=self.bar.done + 1)
            self._tell_rest()
        if judged and judged["reason"]:
            return self._of(host, judged["reason"])
        if turn is None:
            return self._of(host, turns.one_line(result.get("msg"), "The task gave no result."))
        came = turns.of_turn(turn)
        if turn["state"] == "leased":
            # In check mode: what would be.
            count = wording.count(len(came["installed"]), "update")
            return [Line(wording.printable(f"{host} would get {count}"))]
        if not came["ok"] or came.get("seen"):
            return self._of(host, came["reason"])
        took = max(0, turns.ended(turn) - turn["began"])
        return [Line(_host_line(host, came, took), "changed")]

    def _record(self, step):
        took, lines = self._clock() - self._wave_began, []
        for host, words in step["failed"].items():
            if not self.said.get(host):
                lines += self._of(host, words)
        self._done += step["hosts"]
        self._spent += sum(self._seconds[self._number - 1 : self._number])
        if self._spent:
            self._pace = (self._clock() - self._waves_began) / self._spent
        self.bar = None
        words = f"Wave {self._number} of {len(self._waves)} took {took:.1f} s: "
        words += f"{step['patched']} of {wording.count(step['hosts'], 'host')} succeeded"
        if self._number < len(self._waves):
            words += f"; {self._done} of {len(self._names)} hosts done, {self._left()} left"
        return [*lines, Line(words + ".")]

    def _left(self):
        return span(sum(self._seconds[self._number :]) * self._pace)

    def _tell_rest(self):
        done = self._done + self.bar.done
        ahead = self._seconds[self._number - 1 :]
        share = self.bar.done / self.bar.total if self.bar.total else 1
        left = (sum(ahead) - (ahead[0] * share if ahead else 0)) * self._pace
        self.bar = self.bar._replace(more=f"{done} of {len(self._names)} in all, {span(left)} left")

    def _report(self, step):
        self.bar, self.ended, rows = None, True, step["rows"]
        lines = [Line("")]
        needy = sum(row["attention"] for row in rows)
        if rows:
            others = len(rows) - needy
            words = (
                [f"{wording.count(needy, 'host needs', 'hosts need')} attention"] if needy else []
            )
            words += [f"{wording.count(others, 'other')} not current"] if others else []
            lines.append(Line(f"{', '.join(words)}:", "bad" if needy else "plain"))
            shown = [{key: row[key] for key in ("host", "verdict", "reason")} for row in rows]
            kinds = ["plain", *("bad" if row["attention"] else "plain" for row in rows)]
            table = zip(query.text(shown[:MOST], "table"), kinds)
            lines += [Line(f"  {text}", kind) for text, kind in table]
            if len(rows) > MOST:
                lines.append(Line(f"  and {len(rows) - MOST} more, which the report has."))
        for row in rows:
            # What the playbook fails them with, for the exit status.
            self.said.setdefault(row["host"], set()).add(row["reason"])
        lines += [Line(wording.printable(words)) for words in step["summary"]]
        now = self._clock()
        took = span(now - (self._began or now), about="")
        return [*lines, Line(wording.printable(f"Took {took}. The report is {step['report']}"))]


def expected(parts, pending, wave_soak):
    """About how many seconds each wave takes.

    :param parts: slices of the plan, see rollout.slices.
    :param pending: host to the number of its pending updates.
    :param wave_soak: seconds between two waves.
    """
    found = []
    for number, part in enumerate(parts):
        longest = max(
            TURN + UPDATE * pending.get(name, 0) + max(host["checks"]["stable_for"].values())
            for name, host in part["hosts"].items()
        )
        found.append(longest + (wave_soak if number else 0))
    return found


def span(seconds, about="about "):
    """A number of seconds as people say it."""
    if seconds < 90:
        return f"{about}{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{about}{round(seconds / 60)} min"
    return f"{about}{seconds / 3600:.1f} h"


def _host_line(host, came, seconds):
    """What came of a host that was patched, on one line."""
    before = (came.get("before") or {}).get("effective") or "an unknown kernel"
    after = (came.get("after") or {}).get("effective") or "an unknown kernel"
    words = [f"{host} {before} → {after}" if before != after else f"{host} {after}"]
    words.append(wording.count(len(came["installed"] or ()), "update"))
    if came.get("removed"):
        words.append(f"{len(came['removed'])} removed")
    if came["cves_fixed"] is None:
        words.append("CVEs unknown")
    else:
        words.append(wording.count(len(came["cves_fixed"]), "CVE"))
    if seconds is not None:
        words.append(f"{seconds:.1f} s")
    return wording.printable(", ".join(words))


def _bounded(texts, what):
    lines = [Line(wording.printable(text)) for text in texts[:MOST]]
    if len(texts) > MOST:
        lines.append(Line(f"And {len(texts) - MOST} more {what}."))
    return lines


def _names(names):
    """As many names as a line holds."""
    text = ""
    for number, name in enumerate(names):
        if number and len(text) + len(name) > WIDEST:
            return f"{text} and {len(names) - number} more"
        text += (", " if text else "") + name
    return text
