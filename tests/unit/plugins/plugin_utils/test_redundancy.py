# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Whether a redundancy group was ever short, by the record: said only where the record shows it."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.page import redundancy as answers
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.page.redundancy import redundancy
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.turns import REASON_CODES
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from rolled import go, surveyed  # noqa: E402

AT = "2026-11-22T03:00:"


def row(name, started=None, ended=None, **keys):
    """A row of a member of the group g; times are seconds after 3:00."""
    when = [None if one is None else f"{AT}{one:06.3f}Z" for one in (started, ended)]
    common = {"name": name, "alias_of": None, "lease": None, "still_drained": False}
    code = "current" if started is None else "patched"
    known = dict(common, verdict="current", reason_code=code, started=when[0], ended=when[1])
    return dict(known, **keys)


def document(*rows, limit=1, members=None, **run):
    about = {"kind": "patch", "check": False, "started": f"{AT}00Z", "ended": f"{AT}59Z"}
    names = members or [one["name"] for one in rows]
    groups = {"g": {"members": names, "max_unavailable": limit}}
    return {
        "run": dict(about, **run),
        "plan": {"hash": "0123456789ab", "waves": [], "canaries": [], "groups": groups},
        "hosts": list(rows),
    }


def test_one_after_the_other_is_never_short():
    found = redundancy(document(row("a", 1, 5), row("b", 5, 9)))
    assert found == {"state": "kept", "answer": "no pair was ever short", "details": []}
    three = redundancy(document(row("a", 1, 5), row("b", 5, 9), row("c")))
    assert three["answer"] == "no group was ever short"


@pytest.mark.parametrize(
    "a, b",
    [
        (row("a", 1, 5), row("b", 4.999, 9)),
        (row("a", 1, 5, still_drained=True), row("b", 20, 21)),
        (row("a", still_drained=True), row("b", 20, 21)),
        (row("a", 3, 3), row("b", 1, 5)),
        (row("a", 3, 3), row("b", 3, 3)),
    ],
)
def test_two_at_a_time_is_short(a, b):
    found = redundancy(document(a, b))
    assert found["state"] == "short" and found["answer"] == "1 of 1 pair was short"
    assert (
        "a, b were claimed or drained at the same time, and no more than 1 may be"
        in (found["details"][0])
    )
    # Where two of three may be, it is not.
    assert redundancy(document(a, b, row("c"), limit=2))["state"] == "kept"


UNCLEAR = {
    "unreachable": row("a", verdict="unreachable", reason_code="unreachable"),
    "unreachable in its turn": row("a", 1, 2, verdict="unreachable", reason_code="unreachable"),
    "stuck": row("a", 1, 2, reason_code="stuck"),
    "no outcome": row("a", 1, None),
    "outside": row("a", verdict="unknown", reason_code="outside_run"),
    "given up": row("a", verdict="behind", reason_code="given_up"),
    "another run": row("a", lease={"own": True, "run": "other"}),
    "leases unread": row("a", lease={"own": None, "run": None}),
    "a code of tomorrow": row("a", 1, 2, reason_code="new_code"),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_what_is_not_known_is_never_counted_as_in_service(case):
    member = UNCLEAR[case]
    found = redundancy(document(member, row("b", 10, 12)))
    assert found["state"] == "unknown"
    assert found["answer"] == "of 1 of 1 pair it is not known whether it was ever short"
    assert found["details"][0].startswith("Whether g was short is not known: a ")
    # One that is lost alone leaves the other: no more than one can be out of service.
    alone = redundancy(document(member, row("b")))
    if case != "outside":
        assert alone["state"] == "kept" and alone["details"][0].startswith("Counted as out of")
        assert "a of g (" in alone["details"][0]


def test_a_member_without_a_row_may_be_anything():
    found = redundancy(document(row("b", 1, 2), members=["a", "b"]))
    assert found["state"] == "unknown" and "a is not in the inventory" in found["details"][0]


def test_two_names_of_a_machine_are_one_member():
    alias = row("a2", alias_of="a")
    assert redundancy(document(row("a", 1, 5), alias, row("b", 6, 9)))["state"] == "kept"
    assert redundancy(document(row("a", 1, 5), alias, row("b", 4, 9)))["state"] == "short"


@pytest.mark.parametrize(
    "change, words",
    [
        ({"kind": "status"}, "a survey, which claims no host"),
        ({"check": True}, "check mode, which claims no host"),
    ],
)
def test_where_nothing_is_claimed_nothing_is_claimed_to_have_held(change, words):
    found = redundancy(document(row("a", 1, 5), row("b", 5, 9), **change))
    assert found == {"state": "none", "answer": words, "details": []}


def test_without_a_plan_or_groups_there_is_no_such_answer():
    one = document(row("a"), row("b"))
    one["plan"].update(hash=None, groups=None)
    assert redundancy(one)["answer"] == "no host was claimed, as there was no plan"
    one["plan"].update(hash=None, groups={})
    assert redundancy(one)["answer"] == "no host was claimed, as there was no plan"
    one["plan"].update(hash="0123456789ab")
    assert redundancy(one)["answer"] == "no redundancy group is known"


def test_a_run_that_has_not_ended_promises_nothing():
    found = redundancy(document(row("a", 1, 5), row("b"), ended=None))
    assert found["state"] == "unknown"
    assert found["answer"] == "no pair was short so far, and the run has not ended"
    assert redundancy(document(row("a", 1, 5), row("b", 4, 6), ended=None))["state"] == "short"


def test_groups_of_which_no_member_is_in_the_run_are_not_counted():
    one = document(row("a", 1, 2), row("b"))
    one["hosts"] += [row(name, verdict="unknown", reason_code="outside_run") for name in "xy"]
    one["plan"]["groups"]["other"] = {"members": ["x", "y"], "max_unavailable": 1}
    assert redundancy(one)["answer"] == "no pair was ever short"


def test_many_groups_are_told_in_few_sentences():
    one = document()
    one["plan"]["groups"] = {}
    for number in range(20):
        names = [f"a{number}", f"b{number}"]
        one["plan"]["groups"][f"g{number}"] = {"members": names, "max_unavailable": 1}
        one["hosts"] += [row(names[0], 1, 5), row(names[1], 4 if number < 12 else 5, 9)]
    found = redundancy(one)
    assert found["answer"] == "12 of 20 pairs were short"
    assert len(found["details"]) == answers.NAMED + 1
    assert found["details"][-1] == "And 7 more like these."


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)), min_size=2, max_size=6))
def test_short_is_what_counting_each_moment_says(spans):
    """Beside a slow count at every half second; ends do not overlap with beginnings."""
    rows = [row(f"h{at}", start, start + length) for at, (start, length) in enumerate(spans)]

    def out(moment):
        return sum(
            start <= moment < start + length or start == moment and not length
            for start, length in spans
        )

    most = max(out(moment / 2) for moment in range(60))
    for limit in (1, 2, 3):
        found = redundancy(document(*rows, limit=limit))
        assert found["state"] == ("short" if most > limit else "kept")


def test_the_codes_that_settle_a_turn_are_codes_of_reasons():
    assert answers.SETTLED <= set(REASON_CODES) and set(answers.UNSEEN) <= set(REASON_CODES)
    # What leaves a host out of service, or unhealthy, settles nothing.
    assert not answers.SETTLED & {"stuck", "unhealthy", "not_restored", "interrupted", "no_answer"}


def test_a_real_rollout_keeps_its_pairs_and_a_forged_one_does_not():
    pair = {name: surveyed(ksplice_ha_group="p") for name in "ab"}
    began = 1795316400
    clock = {
        "a": {"began": began, "ended": began + 5},
        "b": {"began": began + 5, "ended": began + 9},
    }
    found = go(dict(pair, c=surveyed()), {}, clock=lambda _wave, name: clock.get(name, {}))[2]
    assert redundancy(found)["answer"] == "no pair was ever short"
    forged = copy.deepcopy(found)
    forged["hosts"][1]["started"] = forged["hosts"][0]["started"]
    assert redundancy(forged)["answer"] == "1 of 1 pair was short"
