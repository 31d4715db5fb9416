# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Whether a redundancy group was ever short: whether more of its members were out of service at
the same time than may be (C(max_unavailable)). A pure function of the record.

Two bounds are worked out. A host is certainly out of service while it is claimed, and for good
where it is still drained. It may be out of service, too, while nothing is known of it. A group
was short if the certain ones are too many; it was not if both together are few enough; between
the two it is not known.
"""

from __future__ import annotations

import math

from ansible_collections.rebootless.ksplice.plugins.plugin_utils import turns
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.page.timeline import seconds

# After a turn that ended with one of these codes the host was in the service that it had before,
# unless it is still drained. Whatever else came of a turn leaves the host's state open.
SETTLED = frozenset(
    "patched deferred current behind blocked apply_failed rolled_back pre_check_failed "
    "refused not_drained lease_refused canary_failed".split()
)
# Hosts that were not looked at, did not answer, or were lost on the way.
UNSEEN = {
    "broken_off": "was in a wave that broke off",
    "given_up": "was given up by Ansible",
    "outside_run": "is outside this run",
    "not_surveyed": "was not surveyed",
    "survey_failed": "could not be surveyed",
}
NAMED = 5


def redundancy(document):
    """What the record says of the redundancy groups of a run.

    :returns: C(state), of C(kept) (no group was short), C(short), C(unknown) (of at least one
        group it is not known, and none is known to have been short) and C(none) (the question does
        not arise: nothing was claimed, or no group is known); C(answer), a clause for a sentence;
        C(details), sentences.
    """
    run, plan = document["run"], document["plan"]
    rows = {row["name"]: row for row in document["hosts"]}
    claimed = any(row["started"] for row in rows.values())
    if run["kind"] == "status":
        return _answer("none", "a survey, which claims no host")
    if run["check"]:
        return _answer("none", "check mode, which claims no host")
    if plan["groups"] is None or (plan["hash"] is None and not claimed):
        return _answer("none", "no host was claimed, as there was no plan")
    groups = {
        name: group
        for name, group in plan["groups"].items()
        if any(member in rows and _in_run(rows[member]) for member in group["members"])
    }
    if not groups:
        return _answer("none", "no redundancy group is known")
    word = "pair" if all(len(group["members"]) == 2 for group in groups.values()) else "group"
    short, unknown, counted = [], [], []
    for name, group in groups.items():
        state, sentence, doubtful = _of_group(name, group, rows, run)
        {"short": short, "unknown": unknown, "kept": []}[state].append(sentence)
        counted += [f"{one} of {name} ({doubtful[one]})" for one in doubtful if state == "kept"]
    if counted:
        counted = [f"Counted as out of service, since nothing is known of it: {some(counted)}."]
    details = [*short[:NAMED], *unknown[:NAMED], *counted]
    left = len(short[NAMED:]) + len(unknown[NAMED:])
    if left:
        details.insert(-len(counted) or len(details), f"And {left} more like these.")
    return _verdict(run, word, len(groups), len(short), len(unknown), details)


def _verdict(run, word, groups, short, unknown, details):
    if not run["ended"]:
        details.append("Hosts that were claimed after this was written are not in it.")
    of = f"{groups} {word}{'' if groups == 1 else 's'}"
    unclear = f"of {unknown} of {of} it is not known"
    if short:
        answer = f"{short} of {of} {'was' if short == 1 else 'were'} short"
        return _answer("short", f"{answer}, {unclear}" if unknown else answer, details)
    if unknown:
        return _answer(
            "unknown",
            f"{unclear} whether {'it was' if unknown == 1 else 'they were'} ever short",
            details,
        )
    if not run["ended"]:
        return _answer("unknown", f"no {word} was short so far, and the run has not ended", details)
    return _answer("kept", f"no {word} was ever short", details)


def _answer(state, answer, details=()):
    return {"state": state, "answer": answer, "details": list(details)}


def some(names):
    """Some of many names, in words."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _in_run(row):
    return row["reason_code"] != "outside_run"


def _of_group(name, group, rows, run):
    """Whether a group was short, in a word and a sentence, and why nothing is known of some of its
    members for a while.
    """
    limit, certain, possible, doubtful = group["max_unavailable"], [], [], {}
    # Two names of one machine are one member.
    members = {
        (rows[member]["alias_of"] or member) if member in rows else member
        for member in group["members"]
    }
    begun = seconds(run["started"])
    for member in sorted(members):
        sure, perhaps, why = _out(rows.get(member), begun)
        certain += [(*one, member) for one in sure]
        possible += [(*one, member) for one in perhaps or sure]
        if why:
            doubtful[member] = why
    at, together = _most(certain)
    if len(together) > limit:
        when = turns.iso(at)
        return (
            "short",
            (
                f"{name} was short at {when}: {some(together)} were claimed or drained at the same "
                f"time, and no more than {limit} may be."
            ),
            [],
        )
    if len(_most(possible)[1]) > limit:
        why = ", ".join(f"{member} {words}" for member, words in list(doubtful.items())[:NAMED])
        return "unknown", f"Whether {name} was short is not known: {why}.", {}
    return "kept", None, doubtful


def _out(row, begun):
    """When a host was out of service, as lists of first and last second: certainly, and at most
    (empty: the same), and why the two differ.
    """
    if row is None:
        return [], [(begun, math.inf)], "is not in the inventory"
    if row["started"]:
        start = seconds(row["started"])
        end = seconds(row["ended"]) if row["ended"] else None
        if row["still_drained"]:
            return [(start, math.inf)], [], None
        if end is None:
            return [(start, start)], [(start, math.inf)], "was still claimed"
        if row["reason_code"] not in SETTLED:
            why = f"was left in a state that is not known ({row['reason_code']})"
            return [(start, end)], [(start, math.inf)], why
        return [(start, end)], [], None
    if row["still_drained"]:
        return [(begun, math.inf)], [], None
    if row["verdict"] == "unreachable":
        return [], [(begun, math.inf)], "cannot be reached"
    if row["reason_code"] in UNSEEN:
        return [], [(begun, math.inf)], UNSEEN[row["reason_code"]]
    lease = row["lease"]
    if lease and (lease["own"] is not False or lease["run"] is None):
        return [], [(begun, math.inf)], "had been claimed by another run, or may have been"
    return [], [], None


def _most(spans):
    """When most hosts were out of service at the same time, and which those were.

    :param spans: first second, last second, host. A host that ends when the next begins is not
        out of service together with it.
    """
    moves = []
    for start, end, name in spans:
        moves.append((start, 1, name, True))
        # What took no time at all was there nevertheless.
        moves.append((end, 2 if end <= start else 0, name, False))
    out, most, at = set(), [], None
    for moment, _order, name, begins in sorted(moves):
        (out.add if begins else out.discard)(name)
        if len(out) > len(most):
            most, at = sorted(out), moment
    return at, most
