# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The run record: one plain document per run that says, host by host, what happened. Described in
docs/record.md.
"""

from __future__ import annotations

import getpass
import uuid

from ansible_collections.rebootless.ksplice.plugins.module_utils.agent.facts import VERDICTS
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import faces, rollout, wording
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import ha_settings
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import (
    WORK,
    Host,
    machines,
    natural,
)

SCHEMA = 1
# What is true of a machine, by whichever name it is called.
SHARED = (
    "kernel_booted",
    "kernel_before",
    "kernel_after",
    "kernel_on_disk",
    "remaining",
    "cves_open",
    "behind_since",
    "behind_days",
    "still_drained",
    "lease",
    "self_update",
    "checked_at",
    "checked_age",
)


def about(kind, started, who, check, options):
    """What the record says of the run itself. The id is its time and eight random digits, so that
    no two runs share one.
    """
    ident = started.replace("-", "").replace(":", "") + "-" + uuid.uuid4().hex[:8]
    return {
        "id": ident,
        "kind": kind,
        "started": started,
        "ended": None,
        "who": who or getpass.getuser(),
        "check": bool(check),
        "options": options,
    }


def record(variables_of, everyone, in_run, run, state, about, given_up=()):
    """The record of a run.

    :param variables_of: mapping of host name to its variables.
    :param everyone: names of all hosts of the inventory: each gets exactly one row and verdict.
    :param in_run: names of those the run could touch.
    :param run: the plan, see rollout.start.
    :param state: the state of the rollout at its end, or an empty mapping if there was none.
    :param about: C(id), C(started), C(ended) (UTC, ISO 8601; None: it goes on), C(who), C(check),
        C(kind) and C(options); C(stopped), see report.stopped.
    :param given_up: hosts that Ansible asks no more, since a task on them failed or they could
        not be reached.
    """
    # Whatever a host's variables are: it has its row.
    variables_of = rollout.Once(variables_of)
    inside, outcomes = set(in_run), (state or {}).get("outcomes") or {}
    began = (state or {}).get("began") or []
    course = _Course(run, bool(about["check"]), began, given_up, about["ended"])
    hosts = [
        _complete(name, variables_of[name], name in inside, outcomes.get(name), course)
        for name in sorted(everyone, key=natural)
    ]
    for one in run.get("took_over") or ():
        # It was not released: it needs attention.
        if one["host"] in inside and not one["released"]:
            row = next(row for row in hosts if row["name"] == one["host"])
            row.update(
                attention=True,
                still_drained=row["still_drained"] or one["still_drained"],
                reason_code="not_taken_over",
                reason=f"{row['reason']} {one['what']}",
            )
    tell_aliases(hosts, run.get("aliases"))
    took_over = run.get("took_over") or ()
    told = {one["host"] for one in took_over if one["turn"]}
    others = [name for name in in_run if name not in told]
    stopped = {(one["host"], one["run"]) for one in took_over}
    earlier = _earlier_turns(variables_of, others, about, stopped)
    return {
        "schema": SCHEMA,
        "run": dict(
            {key: about[key] for key in ("id", "kind", "started", "ended", "who", "check")},
            resumed_from=sorted(
                {one["run"] for one in took_over}
                | {one["run"] for one in earlier if one["resumed"]}
            ),
        ),
        "options": about["options"],
        "plan": {key: run.get(key) for key in ("hash", "waves", "canaries", "groups")},
        "hosts": hosts,
        "events": _events(about, run, hosts, course.wave_of, outcomes, earlier),
        "summary": summary(hosts),
        # Whoever writes the record asks it, at the end.
        "service": None,
    }


def summary(rows):
    """The numbers of a record, from its rows."""
    verdicts = {
        verdict: sum(row["verdict"] == verdict for row in rows if not row["alias_of"])
        for verdict in VERDICTS
    }
    return {
        "hosts": len(rows),
        "aliases": sum(bool(row["alias_of"]) for row in rows),
        "verdicts": verdicts,
        "patched": sum(bool(row["installed"] or row["removed"]) for row in rows),
        "attention": [row["name"] for row in rows if row["attention"]],
        "cves_fixed": len({cve for row in rows for cve in row["cves_fixed"]}),
        "cves_open": len({cve for row in rows for cve in row["cves_open"] or ()}),
    }


class _Course:
    """The plan and what became of it, by host, since it is looked up for each of thousands.

    :param began: the hosts of each batch that the role was handed.
    """

    def __init__(self, run, check, began, given_up, ended):
        self.run, self.check, self.batches, self.ended = run, check, len(began), ended
        self.wave_of = {
            name: number for number, wave in enumerate(run.get("waves") or [], 1) for name in wave
        }
        self.groups_of = _groups_of(run.get("groups") or {})
        self.canaries = set(run.get("canaries") or ())
        self.begun = {name for batch in began for name in batch}
        self.given_up = set(given_up)


def _groups_of(groups):
    """The groups of a plan, host to their names in the plan's order."""
    found = {}
    for group, known in groups.items():
        for name in known["members"]:
            found.setdefault(name, []).append(group)
    return found


def tell_aliases(rows, aliases):
    """Give what is another name of a machine the row of the name that did the work: there is one
    truth of a machine.

    :param aliases: as the plan has them; None where there was none, and whoever answered as the
        same machine is one.
    """
    if aliases is None:
        _hosts, aliases = machines(
            [Host(row["name"], row["verdict"], host_id=row["host_id"]) for row in rows]
        )
    by_name = {row["name"]: row for row in rows}
    for row in rows:
        row["alias_of"] = aliases.get(row["name"])
        if row["alias_of"]:
            row.update(
                {key: by_name[row["alias_of"]][key] for key in ("verdict", *SHARED)},
                attention=False,
                reason_code="alias",
                reason=f"Another name of {row['alias_of']}: both have the same machine ID "
                "and boot ID. Its row has the outcome.",
            )


def _complete(name, variables, in_run, outcome, course):
    """A row, with how long it has been behind."""
    row = _row(name, variables, in_run, outcome, course)
    known = [*(rollout.survey_of(variables)["updates"]["available"] or ())]
    known += (outcome or {}).get("left") or ()
    remaining = set(row["remaining"] or ())
    dated = [one for one in known if one.get("first_seen") and one.get("age") is not None]
    seen = [one for one in dated if one["id"] in remaining]
    if seen:
        oldest = max(seen, key=lambda one: one["age"])
        row.update(behind_since=oldest["first_seen"], behind_days=int(oldest["age"] // 86400))
    return row


def _row(name, variables, in_run, outcome, course):
    run, wave = course.run, course.wave_of.get(name)
    survey = rollout.survey_of(variables)
    kernel = survey["kernel"]
    row = {
        "name": name,
        "verdict": survey["verdict"],
        "reason": survey["reason"]
        if in_run
        else "Not surveyed: outside this run (--limit, or ksplice_hosts).",
        "groups": sorted(course.groups_of.get(name, ())),
        "host_id": survey.get("host_id"),
        "uuid": (survey.get("agent") or {}).get("uuid"),
        "role": ha_settings.role(variables),
        "stage": variables.get("ksplice_stage") or None,
        "wave": wave,
        "canary": name in course.canaries,
        "reason_code": (survey.get("reason_code") or survey["verdict"])
        if in_run
        else "outside_run",
        "kernel_booted": kernel["booted"],
        "kernel_before": kernel["effective"],
        "kernel_after": kernel["effective"],
        "kernel_on_disk": kernel.get("on_disk"),
        "installed": [],
        "removed": [],
        "remaining": None
        if survey["updates"]["available"] is None
        else [update["id"] for update in survey["updates"]["available"]],
        "cves_fixed": [],
        "cves_open": survey["cves"]["open"],
        "behind_since": None,
        "behind_days": None,
        "deferred": [],
        "rolled_back": [],
        "drained": [],
        "restored": [],
        "still_drained": False,
        "failures": [],
        "lease": survey.get("lease"),
        "self_update": survey["self_update"],
        "checked_at": survey.get("checked_at"),
        "checked_age": survey.get("checked_age"),
        "started": None,
        "ended": None,
        "steps": [],
        # Hosts that could not be surveyed and, where patching was the point, hosts that still have
        # updates pending.
        "attention": in_run
        and survey["verdict"]
        in ("unreachable", "unknown") + (() if course.check or not run else WORK),
    }
    if name in (run.get("unselected") or ()):
        # That it is behind is what the run was told to leave; all else counts as ever.
        row.update(
            attention=survey["verdict"] in ("unreachable", "unknown"),
            reason=f"Outside this run (ksplice_select). {row['reason']}",
            reason_code="not_selected",
        )
    if in_run and survey.get("lease"):
        row["reason"] += f" {_claimed(survey['lease'])}"
        # One that is not stale may well be a rollout at work.
        row["attention"] |= survey["lease"]["stale"] is not False
    out = [saved["what"] for saved in survey.get("drained") or () if saved["host"] == name]
    if in_run and out and not survey.get("lease"):
        # Its lease was ended by hand, and no run will restore it.
        row.update(
            attention=True,
            still_drained=True,
            reason_code="drained_without_lease",
            reason=f"{row['reason']} It is out of service ({', '.join(out)}), and no run has "
            "claimed it: check it, and restore it "
            f"with ha_drain (state=restored host={name} force=true).",
        )
    unread = [one["what"] for one in survey.get("drained") or () if one["host"] is None]
    if in_run and unread:
        # What is not known is not nothing: it may be out of service.
        row.update(
            attention=True,
            reason=f"{row['reason']} Whether something on it is drained is {unread[0]}.",
        )
    left = (run.get("left") or {}).get(name)
    if outcome is None:
        if in_run and run.get("error") and row["verdict"] in WORK:
            row["reason"] = f"Not patched: there is no plan. {run['error']}"
            row["reason_code"] = "no_plan"
        elif in_run and left and row["verdict"] in ("behind", "blocked"):
            row["reason"], row["reason_code"] = left, run["left_codes"][name]
        elif in_run and wave and not course.check:
            code, why = _never_reached(name, wave, course)
            row.update(reason=why, reason_code=code, canary=False)
        return row
    row["canary"] = outcome.get("canary", False)
    if course.check and outcome["claimed"]:
        # What would come is no outcome: the host is as it was surveyed.
        would = _updates(outcome.get("installed") or ())
        would = f"In check mode: {would} would be installed. {row['reason']}"
        row.update(reason=would if outcome["ok"] else outcome["reason"])
        if not outcome["ok"]:
            row.update(reason_code=outcome["reason_code"], attention=True)
        return row
    if not outcome["claimed"]:
        if row["verdict"] in ("behind", "blocked") or survey.get("lease"):
            row.update(reason=outcome["reason"], reason_code=outcome["reason_code"])
        row["attention"] |= bool(survey.get("lease")) or not outcome["ok"]
        row["still_drained"] = outcome.get("still_drained", False)
        return row
    row.update(
        still_drained=outcome.get("still_drained", False),
        drained=outcome.get("drained") or [],
        restored=outcome.get("restored") or [],
        steps=outcome["steps"],
        reason_code=outcome["reason_code"],
    )
    if outcome.get("seen"):
        # Nothing was done to its kernel: what is known is from the last look.
        seen = outcome["seen"]
        row.update(
            {key: outcome[key] for key in ("verdict", "reason", "started", "ended")},
            attention=not outcome["ok"],
            cves_open=seen["cves"]["open"],
            kernel_after=seen["kernel"]["effective"],
            remaining=None
            if seen["updates"]["available"] is None
            else [update["id"] for update in seen["updates"]["available"]],
        )
        return row
    before, after = outcome.get("before") or {}, outcome.get("after") or {}
    row.update(
        verdict=outcome["verdict"],
        reason=outcome["reason"],
        started=outcome["started"],
        ended=outcome["ended"],
        attention=not outcome["ok"],
        failures=outcome.get("failures") or [],
    )
    row.update({key: outcome.get(key) or [] for key in ("deferred", "rolled_back")})
    if after:
        row.update(
            kernel_before=before.get("effective"),
            kernel_after=after.get("effective"),
            cves_open=outcome["cves_open"],
        )
        for key in ("installed", "removed", "remaining", "cves_fixed"):
            row[key] = outcome[key]
    else:
        # It could not be inspected after the change was started: what the kernel has is unknown.
        row.update(kernel_after=None, remaining=None, cves_open=None)
    return row


def _never_reached(name, wave, course):
    """Why a host of the plan was never claimed, as a code and a sentence, by which hosts the
    role was handed and which Ansible has given up.
    """
    if name in course.given_up:
        return "given_up", (
            "Not patched: Ansible had given this host up, as a task on it failed or it "
            "could not be reached. The output of the run says which."
        )
    if wave > course.batches:
        if not course.ended:
            return "under_way", (
                f"Wave {wave} had not ended when this record was written: whether this host was "
                "patched since is not known here."
            )
        none = (
            ""
            if course.batches
            else " No wave was begun at all: Ansible found no host of the plan by its name, "
            "or was stopped."
        )
        return "not_begun", f"Not patched: the run ended before wave {wave}.{none}"
    if name in course.begun:
        return (
            "broken_off",
            f"Not patched: wave {wave} began and broke off before this host was claimed.",
        )
    return "not_found", (
        f"Not patched: Ansible began wave {wave} without this host, as it did not find it "
        "by its name. Rename the host, or report this."
    )


def _claimed(lease):
    """A lease that the survey found on a host, in a sentence."""
    if lease["run"] is None:
        return lease["reason"]
    whom = "it" if lease["own"] else f"its peer {lease['host']}"
    stale = (
        f": it has stopped renewing its lease, and {lease['host']} may be out of service"
        if lease["stale"]
        else ""
    )
    return (
        f"When it was surveyed, the run {lease['run']} had claimed {whom} ({lease['reason']}, "
        f"{lease['phase'].replace('_', ' ')}), last heard of {lease['age']} seconds before{stale}."
    )


def _earlier_turns(variables_of, names, about, left):
    """What the journals say of turns that no run may have seen the end of: C(run), C(at), C(host),
    C(what) each, and C(resumed), whether that run was stopped and its record does not know the
    outcome.

    :param left: host and run of each lease that a stopped run left.
    """
    found, stopped = [], about.get("stopped") or {"run": None, "known": ()}
    for name in names:
        turn = rollout.survey_of(variables_of[name]).get("turn")
        if not turn:
            continue
        resumed = (turn["run"] == stopped["run"] and name not in stopped["known"]) or (
            (name, turn["run"]) in left
        )
        # What went wrong is told until the host has another turn: nobody else may have told it.
        if resumed or turn["reason_code"]:
            came = f", with {_updates(turn['installed'])} installed" if turn["installed"] else ""
            why = f": {turn['reason']}" if turn["reason"] else "."
            what = f"Its last turn, of the run {turn['run']}, is {turn['state']}{came}{why}"
            # By the controller's clock: the host's own may say anything.
            told = {"run": turn["run"], "at": about["started"], "host": name, "what": what}
            found.append(dict(told, resumed=resumed))
    return found


def _events(about, run, hosts, wave_of, outcomes, earlier):
    events = [{"at": about["started"], "host": None, "what": f"Run {about['id']} started."}]
    events += [
        {"at": about["started"], "host": None, "what": words}
        for words in [
            *([f"There is no plan: {run['error']}"] if run.get("error") else []),
            *(run.get("contradictions") or ()),
            *(run.get("warnings") or ()),
        ]
    ]
    events += [
        {"at": one["at"], "host": one["host"], "what": one["what"]}
        for one in (*(run.get("took_over") or ()), *earlier)
    ]
    for row in hosts:
        if row["started"]:
            events.append(
                {
                    "at": row["started"],
                    "host": row["name"],
                    "what": f"Claimed in wave {wave_of.get(row['name'], '-')}.",
                }
            )
            events.append({"at": row["ended"], "host": row["name"], "what": row["reason"]})
        elif row["verdict"] not in ("current",):
            events.append(
                {
                    "at": (outcomes.get(row["name"]) or {}).get("at") or about["started"],
                    "host": row["name"],
                    "what": row["reason"],
                }
            )
    # With a fraction of a second or not: without the Z the shorter one is the earlier one.
    events.sort(key=lambda event: event["at"].rstrip("Z"))
    if about["ended"]:
        events.append({"at": about["ended"], "host": None, "what": f"Run {about['id']} ended."})
    return events


def lines(document):
    """The record as a few lines for the end of a run: its numbers, and notable hosts."""
    rows = notable(document)
    return [
        *summed_up(document),
        *(f"{row['name']}: {row['verdict']}. {row['reason']}" for row in rows),
    ]


def summed_up(document):
    """The numbers of a record as a few lines."""
    summary, result = document["summary"], []
    counts = wording.counts(summary["verdicts"])
    if summary["aliases"]:
        counts += f", {summary['aliases']} another name of one of these"
    result.append(f"{summary['hosts']} hosts: {counts}.")
    if document["run"]["kind"] == "rehearsal":
        result.append(
            "This was a rehearsal: the hosts are emulated, and nothing of this happened to "
            "the hosts of the inventory."
        )
    if document["run"]["kind"] != "status":
        result.append(
            f"Patched in this run: {summary['patched']}. CVEs fixed: "
            f"{summary['cves_fixed']}, still open somewhere: {summary['cves_open']}"
            f"{faces.open_unknown(document)}."
        )
    if document.get("service"):
        result += faces.of_service(document["service"])
    return result


def notable(document):
    """The rows that a person is told of at the end of a run, those that need attention first."""
    rows = [
        row
        for row in document["hosts"]
        if row["verdict"] != "current"
        or row["attention"]
        or row["alias_of"]
        or (row["lease"] and not row["started"])
    ]
    return sorted(rows, key=lambda row: not row["attention"])


def plan_lines(run):
    """The plan as lines: what a person reads before saying yes."""
    if run.get("error"):
        return [f"No plan: {run['error']} No host is patched."]
    return [
        f"Plan {run['hash']}. Hosts with work: {sum(map(len, run['waves']))}, waves: "
        f"{len(run['waves'])}.",
        *(f"Note: {words}" for words in notes(run)),
        *(f"Wave {number}: " + ", ".join(wave) for number, wave in enumerate(described(run), 1)),
        *(f"In no wave: {name}. {why}" for name, why in in_no_wave(run).items()),
    ]


def notes(run):
    """What is to be known of a plan besides its waves."""
    found = []
    out = [
        name
        for name, host in run["planned_hosts"].items()
        if host["verdict"] in ("unreachable", "unknown")
    ]
    if len(out) > run["max_failures"] and run["waves"]:
        found.append(
            f"No wave will start: {len(out)} hosts cannot be reached or checked, and "
            f"max_failures allows {run['max_failures']}."
        )
    return [*found, *(run.get("contradictions") or ()), *(run.get("warnings") or ())]


def described(run):
    """The hosts of each wave of a plan, each with its groups and its part in them."""
    canaries, groups_of = set(run["canaries"]), _groups_of(run["groups"])

    def words_of(name):
        words = groups_of.get(name, []) + [
            word
            for word in (run["planned_hosts"][name]["role"], "canary" if name in canaries else None)
            if word
        ]
        return f"{name} ({', '.join(words)})" if words else name

    return [list(map(words_of, wave)) for wave in run["waves"]]


def in_no_wave(run):
    """Hosts of a plan that have work and are in no wave, with the reason."""
    return {
        name: why
        for name, why in sorted(run["left"].items(), key=lambda item: natural(item[0]))
        if run["planned_hosts"][name]["verdict"] != "current"
    }


def _updates(ids):
    return f"{len(ids)} update{'' if len(ids) == 1 else 's'}"
