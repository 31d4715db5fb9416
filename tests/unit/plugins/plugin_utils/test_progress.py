# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What a rollout says of itself while it goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import progress

sys.path.insert(0, str(Path(__file__).parent))
import rolled  # noqa: E402

PLAN = {
    "step": "plan",
    "error": None,
    "hash": "abc",
    "waves": [["a"], ["b", "c"], ["d"]],
    "seconds": [10, 10, 20],
    "notes": [],
    "left": {},
    "described": [],
}


class Clock:
    """A clock that goes on when it is told to."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def shown():
    clock = Clock()
    one = progress.Progress(clock)
    one.clock = clock
    ready = {"run": "r", "kind": "patch", "hosts": 4, "check": False, "question": False}
    one.seen("rollout", "a", step("ready", **ready))
    return one


def step(name, **more):
    return {"progress": dict(more, step=name)}


def select(number, *names, **skipped):
    described = [f"{name} (web)" for name in names]
    return step("select", number=number, claimed=names, described=described, skipped=skipped)


def texts(lines):
    return [line.text for line in lines]


def test_a_run_from_its_begin_to_its_end(shown):
    assert shown.bar == progress.Bar("Survey", 0, 4)
    for name in "abc":
        facts = {"ansible_facts": {"uptrack": {"verdict": "behind"}}}
        assert shown.seen("uptrack_facts", name, facts) == []
    shown.failed("e", "unreachable: no route", unreachable=True)
    assert shown.bar.done == 4
    assert texts(shown.seen("rollout", "a", {"progress": PLAN})) == [
        "Surveyed: 3 behind, 1 unreachable.",
        "Plan abc: 4 hosts in 3 waves, about 40 s",
    ]
    assert texts(shown.seen("rollout", "a", select(1, "a"))) == ["Wave 1 of 3: a (web)"]
    assert shown.bar == progress.Bar("Wave 1 of 3", 0, 1, "0 of 4 in all, about 40 s left")
    [line] = shown.seen("uptrack_turn", "a", rolled.result(rolled.turn()))
    assert line == progress.Line("a k1 → k2, 1 update, 1 CVE, 2.5 s", "changed")
    assert shown.bar.done == 1 and shown.bar.more == "1 of 4 in all, about 30 s left"
    shown.clock.now = 5.0
    # By what the first wave took it goes twice as fast as foreseen.
    assert texts(shown.seen("rollout", "a", step("record", hosts=1, patched=1, failed={}))) == [
        "Wave 1 of 3 took 5.0 s: 1 of 1 host succeeded; 1 of 4 hosts done, about 15 s left."
    ]
    assert shown.bar is None
    lines = shown.seen("rollout", "a", select(2, "b", "c", c="Skipped: b is claimed."))
    assert texts(lines) == ["Wave 2 of 3: b (web), c (web)", "c: Skipped: b is claimed."]
    assert [line.kind for line in lines] == ["plain", "bad"]


def test_a_host_is_said_once_and_a_failure_as_one_sentence(shown):
    shown.seen("rollout", "a", {"progress": PLAN})
    shown.seen("rollout", "a", select(1, "a", "b", "c"))
    waiting = rolled.result(rolled.turn(state="waiting", ended=None))
    assert shown.seen("uptrack_turn", "a", waiting) == []
    assert len(shown.seen("uptrack_turn", "a", rolled.result(rolled.turn()))) == 1
    assert shown.seen("uptrack_turn", "a", rolled.result(rolled.turn())) == []
    [line] = shown.seen("uptrack_turn", "b", rolled.result(rolled.turn(rolled.FAILED)))
    assert line == progress.Line("b: It would not go in.", "bad")
    lost = dict(rolled.result(None), msg="Task failed: no route\nto host")
    [line] = shown.seen("uptrack_turn", "c", lost)
    assert line.text == "c: no route to host"
    failed = {"b": "It would not go in.", "d": "Its turn is not known."}
    lines = shown.seen("rollout", "a", step("record", hosts=3, patched=1, failed=failed))
    assert texts(lines)[0] == "d: Its turn is not known." and len(lines) == 2


def test_in_check_mode_it_is_what_would_be(shown):
    shown.seen("rollout", "a", {"progress": PLAN})
    shown.seen("rollout", "a", select(1, "a"))
    plan = dict(PLAN, described=[["a (canary)"], ["b", "c"], ["d"]])
    assert "Wave 2: b, c" in texts(shown.seen("rollout", "a", {"progress": plan}))
    foretold = rolled.result(rolled.turn(state="leased", ended=None))
    assert texts(shown.seen("uptrack_turn", "a", foretold)) == ["a would get 1 update"]


def test_what_needs_attention_comes_first_and_is_bounded(shown):
    row = {"verdict": "behind", "reason": "2 updates pending.", "attention": False}
    needy = {"verdict": "blocked", "reason": "It is busy.", "attention": True}
    rows = [dict(needy, host="n"), *(dict(row, host=f"h{one}") for one in range(100))]
    end = step("report", rows=rows, summary=["101 hosts."], report="/r/report.html")
    lines = shown.seen("rollout", "a", end)
    assert lines[1] == progress.Line("1 host needs attention, 100 others not current:", "bad")
    assert lines[2].text.split() == ["host", "verdict", "reason"]
    assert lines[3].text.split()[:2] == ["n", "blocked"] and lines[3].kind == "bad"
    assert f"and {101 - progress.MOST} more" in texts(lines)[3 + progress.MOST]
    assert len(lines) < progress.MOST + 8
    # The playbook fails it with that sentence, for the exit status.
    assert "It is busy." in shown.said["n"] and shown.ended


def test_what_a_host_says_is_no_word_to_the_terminal(shown):
    evil = "\x1b[2J\x1b]0;x\x07\u202e\nnext"
    shown.seen("rollout", "a", {"progress": dict(PLAN, notes=[evil], left={evil: evil})})
    lines = shown.failed(evil, evil)
    lines += shown.seen("rollout", "a", {"progress": dict(PLAN, notes=[evil], left={evil: evil})})
    lines += shown.seen("rollout", "a", step("taken_over", host=evil, what=evil))
    lines += shown.seen("rollout", "a", select(1, evil, **{evil: evil}))
    lines += shown.seen("uptrack_turn", evil + "2", dict(rolled.result(None), msg=evil))
    kernel = {"effective": evil, "updates": []}
    turn = rolled.turn(dict(rolled.PATCHED, before=kernel, reason=evil))
    lines += shown.seen("uptrack_turn", evil + "3", rolled.result(turn))
    rows = [{"host": evil, "verdict": "behind", "reason": evil, "attention": True}]
    lines += shown.seen("rollout", "a", step("report", rows=rows, summary=[evil], report=evil))
    assert len(lines) > 10
    for line in lines:
        assert all(char.isprintable() for char in line.text), line


def test_the_plan_of_many_hosts_is_a_few_lines(shown):
    left = {f"h{number}": "Its verdict is unknown." for number in range(5000)}
    names = [f"web{number:05}" for number in range(5000)]
    plan = dict(PLAN, waves=[names], seconds=[10], left=left, notes=["n"] * 500)
    lines = texts(shown.seen("rollout", "a", {"progress": plan}))
    assert len(lines) < 2 * progress.MOST + 5
    assert f"And {5000 - progress.MOST} more hosts that are in no wave." in lines
    [line] = texts(shown.seen("rollout", "a", select(1, *names)))
    assert len(line) < 250 and line.endswith("more") and "web00001" in line


@pytest.mark.parametrize(
    "seconds, words", [(0.2, "1 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_spans(seconds, words):
    assert progress.span(seconds, about="") == words


def test_a_wave_takes_as_long_as_its_longest_host():
    checks = {"checks": {"stable_for": {"host": 30, "peers": 0, "controller": 5}}}
    quick = {"checks": {"stable_for": {"host": 0, "peers": 0, "controller": 0}}}
    parts = [{"hosts": {"a": quick, "b": checks}}, {"hosts": {"c": quick}}]
    found = progress.expected(parts, {"a": 100, "b": 2}, 60)
    assert found == [progress.TURN + 100 * progress.UPDATE, progress.TURN + 60]
