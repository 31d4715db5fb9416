# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The controller's half of the hosts' turns: who of a wave is claimed, with which order, and what
came of it. Pure.

- A C(slice) is what the plan knows of one wave: C(number), C(hosts) (verdict, build, and the
  settings of each), C(groups) (members and max_unavailable of theirs).
- The C(progress) is what has come of the waves so far: C(hosts) (claimed, ok, build of each),
  C(proven) (kernel build to the host that proved its updates, and these), C(banned) (kernel build
  to
  why its updates are not applied any more), C(ended) (of the last wave).
- A C(claim) is what a host's tasks go by: token, groups, members in the order in which they are
  asked, checks, drains.
- An C(outcome) is what the record says of a host.

What hosts answered has been through schema before it comes here.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import facts
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import lease as leases
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import steps
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import (
    ha_settings,
    waves,
    window,
)

# Every code that a row of the record may have. Decisions go by these, and never by sentences.
# docs/record.md describes them.
REASON_CODES = (
    # Of the survey: its verdicts among them.
    *facts.REASON_CODES,
    "not_surveyed",
    "survey_failed",
    "outside_run",
    "not_selected",
    "alias",
    # Of the plan.
    "no_plan",
    "group_unknown",
    "peer_unreachable",
    "peer_unknown",
    "self_update",
    "settings_differ",
    # Of a host that was not claimed.
    "max_failures",
    "closed",
    "banned",
    "canary_failed",
    "canary_ahead",
    "peer_failed",
    "lease_refused",
    "lease_stale",
    "pre_check_failed",
    "refused",
    "given_up",
    "not_begun",
    "under_way",
    "broken_off",
    "not_found",
    # Of its turn.
    *steps.REASON_CODES,
    "patched",
    "deferred",
    "rolled_back",
    "stuck",
    "address",
    "no_answer",
    # Of what an earlier run left.
    "not_taken_over",
    "drained_without_lease",
)
UNREACHABLE = "The host cannot be reached."


def begun():
    """The progress of a run that has not begun."""
    return {"hosts": {}, "proven": {}, "banned": {}, "ended": None}


def planned(progress, plan):
    """The progress once a plan is made: a host that could not be surveyed is without success."""
    hosts = dict(progress["hosts"])
    for name in plan["left"]:
        known = plan["planned_hosts"][name]
        ok = known["verdict"] not in ("unreachable", "unknown")
        hosts.setdefault(name, {"claimed": False, "ok": ok, "build": known["build"]})
    return dict(progress, hosts=hosts)


# ---- before the leases ----


def select(part, progress, now, unreachable=(), conditions=None):
    """Who of a wave is claimed: host to C(reason) and C(reason_code), both None where it is.

    :param part: slice of the plan.
    :param now: time in UTC, ISO 8601.
    :param unreachable: hosts that Ansible has given up.
    :param conditions: see window.closed, and C(promote), C(max_failures).
    """
    conditions = conditions or {}
    failures = sorted(
        set(unreachable).union(name for name, one in progress["hosts"].items() if not one["ok"]),
        key=waves.natural,
    )
    closed = window.closed(conditions, now)
    tried = {}
    for name, one in progress["hosts"].items():
        if one["claimed"]:
            tried.setdefault(one["build"], {})[name] = one["ok"]
    chosen, claimed = {}, []
    for name, host in part["hosts"].items():
        build, code, reason = host["build"], None, None
        of_build = tried.get(build, {})
        beside = next((one for one in claimed if part["hosts"][one]["build"] == build), None)
        if len(failures) > conditions.get("max_failures", 0):
            code = "max_failures"
            reason = (
                f"Not patched: the rollout stopped, because hosts without success are "
                f"{len(failures)} ({some(failures)}) and max_failures allows "
                f"{conditions.get('max_failures', 0)}."
            )
        elif closed:
            code, reason = "closed", f"Not patched: {closed}."
        elif build in progress["banned"]:
            code, reason = "banned", f"Not patched: {progress['banned'][build]}"
        elif build and of_build and not any(of_build.values()):
            code = "canary_failed"
            reason = (
                f"Not patched: {next(iter(of_build))}, the canary of its kernel build, was not "
                "patched with success."
            )
        elif build and not of_build and beside:
            code = "canary_ahead"
            reason = (
                f"Not patched: {beside} goes ahead as the canary of its kernel build, in place of "
                "one that was skipped. Run again."
            )
        else:
            reason = _unavailable(part, progress, name, set(unreachable), claimed)
            code = reason and "peer_failed"
        if reason is None:
            claimed.append(name)
        chosen[name] = {
            "reason": reason,
            "reason_code": code,
            "canary": bool(reason is None and build and not of_build),
            "proven": progress["proven"].get(build) if conditions.get("promote") else None,
        }
    return chosen


def _unavailable(part, progress, name, unreachable, claimed):
    """Why a host has to stay in service for the sake of its groups, or None.

    :param claimed: hosts of the same wave that are claimed already.
    """
    for group_name, group in sorted(part["groups"].items()):
        if name not in group["members"]:
            continue
        out = {}
        for peer in group["members"]:
            result = progress["hosts"].get(peer)
            if peer == name:
                continue
            if peer in unreachable:
                out[peer] = "failed or became unreachable in this run"
            elif result and result["claimed"] and not result["ok"]:
                out[peer] = "was not patched with success"
            elif peer in claimed:
                out[peer] = "is claimed"
        if len(out) >= group["max_unavailable"]:
            peer = next(iter(out))
            return f"Skipped: {peer} of its group {group_name} {out[peer]}."
    return None


def claim(part, name, chosen, token, run, options):
    """What the tasks of a host that is claimed go by.

    :param options: those of role rolling.
    """
    host = part["hosts"][name]
    groups = [
        {"name": group_name, "members": sorted(group["members"]), **_limit(group)}
        for group_name, group in sorted(part["groups"].items())
        if name in group["members"]
    ]
    # A host in no group keeps a lease of its own: by it the turn on the host knows its run, and
    # a later run what this one left if it dies.
    groups = groups or [{"name": name, "members": [name], "max_unavailable": 1}]
    members = sorted({member for group in groups for member in group["members"]})
    checks, drains = host["checks"], host["drains"] if options["drain_mode"] != "never" else []
    places = list(dict.fromkeys(one["delegate_to"] for one in drains))
    balancers = [place for place in places if place != name]
    peers = [member for member in members if member != name]
    return {
        "host": name,
        "token": token,
        "run": run,
        "groups": groups,
        "members": members,
        "peers": peers,
        "balancers": balancers,
        "drains": drains,
        "checks": checks,
        "proven": chosen["proven"],
        "post_check_peers": bool(ha_settings.checks(checks, "peers", "after")),
        "post_check_controller": bool(ha_settings.checks(checks, "controller", "after")),
        "options": options,
        "seconds": options["lease_seconds"],
    }


def _limit(group):
    return {"max_unavailable": group["max_unavailable"]}


def notify(claimed):
    """The handlers of role rolling that a claim needs, by when they run: before and after the
    turn.
    """
    peers = len(claimed["members"])
    before = (["second lease"] if peers > 1 else []) + (["other leases"] if peers > 2 else [])
    after = []
    if remote_checks(claimed):
        after += ["first post-check"] if claimed["post_check_peers"] else []
        if claimed["post_check_peers"] and len(claimed["peers"]) > 1:
            after.append("other post-checks")
        after.append("finish")
    if claimed["balancers"]:
        before.append("first balancer")
        after.append("first balancer restored")
        if len(claimed["balancers"]) > 1:
            before.append("other balancers")
            after.append("other balancers restored")
        after.append("own lease")
    after += ["release"] if claimed["peers"] else []
    after += ["other releases"] if len(claimed["peers"]) > 1 else []
    return {
        "before": [f"rolling {word}" for word in before],
        "after": [f"rolling {word}" for word in after],
    }


def remote_checks(claimed):
    """Whether checks elsewhere have a say in a host's turn."""
    return claimed["post_check_peers"] or claimed["post_check_controller"]


def pre_checks(claimed, member):
    """What the question for a lease to a member carries: checks, addresses."""
    place = "host" if member == claimed["host"] else "peers"
    checks = claimed["checks"]
    return {
        "checks": ha_settings.checks(checks, place, "before"),
        "addresses": checks["addresses"],
        "check_timeout": checks["timeout"],
    }


# ---- between the leases and the turn ----


def judge(claimed, answers, controller):
    """Whether the turn of a host may begin, by what its members answered.

    :param answers: member to its answer, see schema.LEASE; None for one that cannot be reached;
        a mapping with C(msg) alone for one that gave no answer that is one. Members that were not
        asked any more are missing.
    :param controller: what the controller's own pre-checks gave, as ha_check does.
    :returns: C(reason), C(reason_code), both None where it may, and C(known) (titles of what was
        unhealthy before and is allowed to be).
    """
    for member, answer in answers.items():
        if answer is not None and "granted" not in answer:
            return _skipped(
                "no_answer", f"{member} gave no answer about its leases: {answer['msg']}"
            )
    refused = next((one for one in answers.values() if one and not one["granted"]), None)
    said = {member: answers.get(member) for member in claimed["members"]}
    why = (refused and refused["refusal"]) or leases.is_acquired(
        {"host": claimed["host"], "groups": claimed["groups"]}, said
    )
    if why:
        groups = {group["name"] for group in claimed["groups"]}
        stale = any(
            entry["stale"] and groups.intersection(group["name"] for group in entry["groups"])
            for answer in said.values()
            for entry in (answer or {}).get("leases", ())
        )
        return _skipped("lease_stale" if stale else "lease_refused", why)
    results = {"host": [], "peers": [], "controller": []}
    for member, answer in said.items():
        if answer and answer.get("checks") is not None:
            place = "host" if member == claimed["host"] else "peers"
            results[place].append((member, answer))
    if controller is not None:
        results["controller"].append((claimed["host"], controller))
    bad = ha_settings.failed_checks(claimed["checks"], results, claimed["members"], [])
    known = sorted(bad)
    allowed = claimed["checks"]["allow_preexisting"]
    bad = {title: why for title, why in bad.items() if title not in allowed}
    if bad:
        return _skipped("pre_check_failed", f"pre-checks failed: {described(bad)}.")
    return {"reason": None, "reason_code": None, "known": known}


def _skipped(code, why):
    return {"reason": f"Skipped: {why}", "reason_code": code, "known": []}


def order(claimed, known):
    """What the host is to do, see ORDER of the turn's steps."""
    options, checks, proven = claimed["options"], claimed["checks"], claimed["proven"]
    apply = {
        key: options[key] for key in ("pause", "lock_timeout", "timeout", "retries", "retry_delay")
    }
    if proven:
        # Exactly what the canary of its kernel build was given.
        apply.update(state="present", updates=proven["updates"], exact=True)
    return {
        "token": claimed["token"],
        "run": claimed["run"],
        "host": claimed["host"],
        "lease_seconds": claimed["seconds"],
        "drains": [
            one["target"] for one in claimed["drains"] if one["delegate_to"] == claimed["host"]
        ],
        "drain_when": "always" if options["drain_mode"] == "always" else "active",
        "drain_timeout": options["drain_timeout"],
        "apply": apply,
        "checks": ha_settings.checks(checks, "host", "after", known),
        "addresses": checks["addresses"],
        "check_timeout": checks["timeout"],
        "stable_for": checks["stable_for"]["host"],
        "remote_checks": remote_checks(claimed),
        "verdict_timeout": options["verdict_timeout"],
        "on_lost_controller": options["on_lost_controller"],
        "keep_lease": bool(claimed["balancers"]),
    }


# ---- after the turn ----


def verdict(claimed, known, turn, peers, controller):
    """What the checks elsewhere amount to: C(good), C(reason).

    :param peers: a list of (member, its answer as ha_check's).
    """
    checks = claimed["checks"]
    results = {"host": [], "peers": peers, "controller": []}
    if turn.get("holds") is not None:
        results["host"].append((claimed["host"], {"checks": [], "holds": turn["holds"]}))
    if controller is not None:
        results["controller"].append((claimed["host"], controller))
    # A peer that has died since is not the update's fault.
    gone = [member for member, answer in peers if answer.get("unreachable_host")]
    bad = ha_settings.failed_checks(checks, results, claimed["members"], gone)
    bad = {
        title: why
        for title, why in bad.items()
        if not (title in checks["allow_preexisting"] and title in known)
    }
    return {"good": not bad, "reason": described(bad) if bad else None}


def may_serve(result):
    """Whether balancers may send a host anything again, by the result of its turn: nothing was done
    to it, or it serves again."""
    judged, turn = result.get("judged"), result.get("turn")
    if judged and judged["reason"]:
        return True
    if turn is None:
        return bool(result.get("changed_nothing"))
    return turn["state"] in ("restored", "released")


def keeps_lease(claimed, member, result, restored, own):
    """Whether a member is to keep the lease of a host, in a run that has come to the releases.

    A host that may be out of service keeps its lease, so that no run claims its peer. The others
    follow the host: where its own lease may still be there, that of a run that took it over
    included, theirs stay too.

    :param result: of the last task of its turn, or None.
    :param restored: what came of restoring it on balancers.
    :param own: the host's answer to the release of its own lease; None where it was not asked, as
        it had granted none, or as its turn released it.
    """
    if not (result and may_serve(result) and all(one["done"] for one in restored)):
        return True
    turn = result.get("turn")
    if member == claimed["host"] or turn and turn["state"] == "released":
        return False
    return not own.get("granted") if own else bool(turn)


def outcome(part, name, chosen, result, released, times):
    """What came of a host of a wave.

    :param chosen: see select.
    :param result: of its task uptrack_turn (C(judged), C(turn), C(msg), C(unreachable)), or None.
    :param released: member to its answer to the release, None where there was none to release.
    :param times: when it was claimed and now, in UTC, ISO 8601.
    """
    host = part["hosts"][name]
    found = {
        "build": host["build"],
        "claimed": False,
        "ok": True,
        "canary": False,
        "reason": chosen["reason"],
        "reason_code": chosen["reason_code"],
        "started": None,
        "ended": None,
        "still_drained": False,
        "drained": [],
        "steps": [],
        "took_over": None,
    }
    if chosen["reason"]:
        return found
    # Without a result Ansible ran its tasks no further, and how far the host is, is unknown.
    result = result or {}
    judged = result.get("judged")
    if judged and judged["reason"]:
        found.update(reason=judged["reason"], reason_code=judged["reason_code"])
        if judged["reason_code"] == "not_drained":
            # A host that its balancer did not drain is not safe to go on without: its peers wait.
            found.update(claimed=True, ok=False, seen=True, verdict=None)
            found.update(started=times["claimed"], ended=times["now"])
        return found
    found.update(
        claimed=True, canary=chosen["canary"], started=times["claimed"], ended=times["now"]
    )
    turn = result.get("turn")
    if turn is None:
        untouched = bool(result.get("changed_nothing"))
        why = one_line(result.get("msg"), "The task returned no result.")
        if untouched:
            return dict(
                found,
                claimed=False,
                ok=False,
                reason_code="refused",
                reason=f"Not patched, nothing was changed: {why}",
                started=None,
                ended=None,
            )
        gone = bool(result.get("unreachable_host"))
        return dict(
            found,
            ok=False,
            verdict="unreachable" if gone else "unknown",
            reason_code="unreachable" if gone else "no_answer",
            reason=(
                "It became unreachable, or gave no answer, during its turn, which it ends by "
                "itself: the next run reads the result. "
                f"{why}"
            ),
        )
    found.update(of_turn(turn, chosen["proven"]))
    if turn["state"] in UNDER_WAY and result.get("msg"):
        found["reason"] += f" {one_line(result['msg'], '')}"
    kept = [
        member
        for member, one in (released or {}).items()
        if not one or not (one.get("granted") or one.get("kept"))
    ]
    if kept:
        found["reason"] += (
            f" The lease on {', '.join(sorted(kept))} could not be released: it becomes stale, and "
            "the next run takes it over."
        )
    return found


# States in which a turn is not over, and what came of it is not known. Of a turn that is leased
# nothing was done, or, in check mode, only foretold.
UNDER_WAY = tuple(
    state.value
    for state in steps.State
    if state not in (*steps.AT_REST, steps.State.RESTORED, steps.State.LEASED)
)


def of_turn(turn, proven=None):
    """What a turn amounts to, for the record."""
    applied, rolled_back = turn["applied"], turn["rolled_back"]
    found = {
        "started": iso(turn["began"]),
        "ended": iso(ended(turn)),
        "drained": turn["drained"],
        "restored": turn["restored"] or [],
        "steps": [_step(one, turn["began"]) for one in turn["steps"]],
        "left": (applied or {}).get("left") or [],
        "error_class": (applied or {}).get("error_class"),
    }
    for key in ("installed", "removed", "remaining", "cves_fixed", "cves_open", "before", "after"):
        found[key] = (applied or {}).get(key)
    for key in ("installed", "removed", "cves_fixed"):
        found[key] = found[key] or []
    found["failures"] = (applied or {}).get("failures") or []
    found["verdict"] = (applied or {}).get("verdict") or "unknown"
    code, why = turn["reason_code"], one_line(turn["reason"], "It gave no reason.")
    if rolled_back:
        found.update(_rolled_back(turn, applied, rolled_back, why))
    elif applied is None:
        found.update(ok=False, verdict=None, seen=True, reason_code=code or "interrupted")
        before = {
            "not_drained": "Not patched, as it could not be drained",
            "lease_lost": "Not patched, nothing was changed",
        }.get(code, "Not patched")
        found["reason"] = f"{before}: {why}"
    else:
        found.update(_applied(applied, proven))
        if code == "interrupted" and not found["ok"]:
            found.update(reason_code=code, reason=f"{why} {found['reason']}")
    if turn["state"] == "stuck":
        stays = turn["not_restored"] or why
        # It may have been restored before, and then unhealthy by a verdict that came late.
        out = bool(turn["not_restored"] or turn["drained"] and turn["restored"] is None)
        found.update(
            ok=False,
            still_drained=out,
            reason_code="not_restored" if turn["not_restored"] else "stuck",
        )
        found["reason"] += f" STILL OUT OF SERVICE: {stays}" if out else f" It is stuck: {stays}"
    elif turn["state"] in UNDER_WAY:
        found.update(ok=False, still_drained=bool(turn["drained"]), reason_code="no_answer")
        found["reason"] += (
            f" Its turn is {turn['state'].replace('_', ' ')}, and the host ends it by itself: the "
            "next run reads the result."
        )
    elif turn["lost_controller"] and found["ok"]:
        found["reason"] += " The controller gave no verdict: it was restored by its own checks."
    elif turn["not_restored"]:
        found.update(ok=False, still_drained=True, reason_code="not_restored")
        found["reason"] += f" STILL OUT OF SERVICE: {turn['not_restored']}"
    return found


def ended(turn):
    """When a turn ended, in seconds since 1970; of one that is not quite over, its last step."""
    steps_ended = [one["ended"] for one in turn["steps"] if one["ended"] is not None]
    return turn["ended"] or max([turn["began"], *steps_ended])


def _step(step, began):
    """A step of a turn by how long after its begin it began, and how long it took, in seconds: the
    clock of a host may be wrong.
    """
    took = None if step["ended"] is None else round(max(0.0, step["ended"] - step["started"]), 3)
    after = round(max(0.0, step["started"] - began), 3)
    return {"name": step["name"], "after": after, "seconds": took}


def _applied(applied, proven):
    if applied.get("failed"):
        return {
            "ok": False,
            "reason_code": "apply_failed",
            "reason": one_line(applied.get("msg"), "The agent gave no reason."),
        }
    # Success is what there is evidence of: the kernel has everything, and that was looked at.
    has = (applied.get("after") or {}).get("updates") or []
    if proven and applied.get("verdict") == "behind" and set(proven["updates"]).issubset(has):
        deferred = [
            {key: one.get(key) for key in ("id", "name", "age")}
            for one in applied.get("left") or ()
        ]
        return {
            "ok": True,
            "deferred": deferred,
            "reason_code": "deferred",
            "reason": (
                f"It has exactly what {proven['host']} was given. Deferred to another run: "
                f"{some([one['id'] for one in deferred])}, which came later."
            ),
        }
    verdict = applied.get("verdict") or "unknown"
    return {
        "ok": verdict == "current",
        "reason_code": "patched" if verdict == "current" and applied.get("installed") else verdict,
        "reason": one_line(applied.get("reason"), "The agent gave no reason."),
    }


def _rolled_back(turn, applied, rolled_back, why):
    """What became of a host that was unhealthy after the update."""
    was = (applied or {}).get("installed") or []
    found = {"ok": False, "unhealthy": why, "reason_code": "rolled_back"}
    if not rolled_back["ok"]:
        said = one_line(rolled_back.get("msg"), "The agent gave no reason.")
        found.update(
            reason_code="stuck",
            reason=(
                f"Unhealthy after the update ({why}), and what was installed ({some(was)}) could "
                f"NOT be rolled back: {said}"
            ),
        )
        return found
    found["reason"] = (
        f"Unhealthy after the update: {why}. What was installed was rolled back ({some(was)})."
    )
    if turn["state"] == "stuck" and not turn["not_restored"]:
        found["reason"] += " It is NOT healthy without it either."
    found.update(rolled_back=rolled_back.get("removed") or was, installed=[], cves_fixed=[])
    for key in ("after", "verdict", "remaining", "cves_open"):
        if rolled_back.get(key) is not None:
            found[key] = rolled_back[key]
    return found


def taken_over(left, results):
    """What came of a lease that a stopped run left: C(host), C(what) (a sentence), C(released)
    and C(still_drained).

    :param left: the lease, see rollout.left_behind.
    :param results: of the tasks of takeover.yml, by what they did.
    """
    host, resumed = left["host"], results.get("resumed") or {}
    turn, who = resumed.get("turn"), f"{left['host']} was claimed by {left['run']}"
    who += f", which had not renewed its lease for {left['age']} seconds"
    found = {"host": host, "run": left["run"], "released": False, "still_drained": False}
    # Whether the words below have what came of its turn.
    found["turn"] = bool(turn)
    if (results.get("released") or {}).get("granted"):
        what = f"{who}: its lease was taken over"
        if turn:
            came = of_turn(turn)
            what += f", and its turn ended ({came['reason'].rstrip('.')})"
        places = (results.get("places") or {}).get("results") or ()
        if (turn and turn["restored"]) or any(one.get("changed") for one in places):
            what += f", and {host} restored"
        return dict(found, what=f"{what}.", released=True)
    if (results.get("invalidated") or {}).get("granted"):
        return dict(found, what=f"{who}: what was left of its lease was cleared.", released=True)
    if turn:
        came = of_turn(turn)
        why, drained = came["reason"], came.get("still_drained", False)
        what = (
            f"{who}: its lease was taken over, and it was left as it is, because it is "
            f"not healthy: {why}"
        )
        return dict(found, what=what, still_drained=drained)
    failed = [
        one_line(one.get("msg"), "The task returned no result.")
        for one in (results.get("places") or {}).get("results") or ()
        if not one.get("done") and not one.get("skipped")
    ]
    if failed:
        what = f"{who}: its lease was taken over, but {host} is STILL OUT OF SERVICE: {failed[0]}"
        return dict(found, what=what, still_drained=True)
    why = one_line(resumed.get("refusal") or resumed.get("msg"), UNREACHABLE)
    return dict(found, what=f"{who}. It could not be taken over: {why}")


def cleared(answer, gone):
    """A survey without the lease that it saw, where that was taken over since. The other members
    saw it, too, before it was cleared on them.

    :param gone: host and run of each lease that is gone.
    """
    seen = (answer.get("ansible_facts") or {}).get("uptrack") or {}
    lease = seen.get("lease")
    if not lease or (lease["host"], lease["run"]) not in gone:
        return answer
    return dict(answer, ansible_facts={"uptrack": dict(seen, lease=None)})


def address_trouble(claimed, turn, released):
    """After the release: which address not exactly one member holds, in a clause, or None."""
    wanted = claimed["checks"]["addresses"]
    if not wanted or turn.get("holds") is None or turn["state"] == "stuck":
        return None
    holders = {one: [claimed["host"]] if one in turn["holds"] else [] for one in wanted}
    for member in claimed["peers"]:
        answer = released.get(member)
        if not answer or answer.get("holds") is None:
            return None
        for one in answer["holds"]:
            holders.setdefault(one, []).append(member)
    bad = {
        f"the address {one}": f"held by {' and '.join(found) or 'no member'}"
        for one, found in holders.items()
        if len(found) != 1
    }
    return described(bad) if bad else None


def note(progress, part, outcomes, now):
    """The progress after a wave."""
    hosts, proven = dict(progress["hosts"]), dict(progress["proven"])
    banned = dict(progress["banned"])
    for name, one in outcomes.items():
        hosts[name] = {"claimed": one["claimed"], "ok": one["ok"], "build": one["build"]}
        updates = (one.get("after") or {}).get("updates")
        if one["claimed"] and one["ok"] and updates and one["build"] not in proven:
            proven[one["build"]] = {"host": name, "updates": updates}
        if one.get("unhealthy"):
            banned[one["build"]] = (
                f"{name} was unhealthy after what it was given ({one['unhealthy']})."
            )
    ended = now if any(one["claimed"] for one in outcomes.values()) else progress["ended"]
    return {"hosts": hosts, "proven": proven, "banned": banned, "ended": ended}


# ---- texts ----


def described(bad):
    """Checks that failed, in one clause."""
    return "; ".join(f"{title} ({why})" for title, why in sorted(bad.items()))


def one_line(text, otherwise):
    """A message on one line, without what newer releases of ansible-core put in front of it."""
    words = " ".join(str(text or "").split())
    return re.sub(r"^(Task failed: |Module failed: |Action failed: )+", "", words) or otherwise


def some(names):
    """Some of many names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def iso(seconds):
    """Seconds since 1970 as a time of the record: UTC, to the millisecond."""
    at = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def when(at):
    """A time of the record (with a fraction of a second or not) as a datetime."""
    return datetime.strptime(
        at, "%Y-%m-%dT%H:%M:%S.%fZ" if "." in at else "%Y-%m-%dT%H:%M:%SZ"
    ).replace(tzinfo=timezone.utc)
