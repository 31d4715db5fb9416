# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""uptrack_apply by the way that a play takes: one round trip, and what becomes of its answer."""

from __future__ import annotations

import json
import os
import sys

import pytest
from ansible_collections.rebootless.ksplice.plugins.action import uptrack_apply
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import host_program

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import by_action  # noqa: E402

DONE = {
    "changed": True,
    "changed_nothing": False,
    "failed": False,
    "installed": ["aaaa1111"],
    "removed": [],
    "before": {"effective": "5.15.0-1", "updates": []},
    "after": {"effective": "5.15.0-2", "updates": ["aaaa1111"]},
    "attempts": 1,
    "rc": 0,
    "seconds": 0.2,
}


@pytest.fixture
def run(monkeypatch):
    """Run the action on a host that prints these lines; the result, and what was sent to it."""
    monkeypatch.setattr(host_program, "packed", lambda _module: b"program\n")
    monkeypatch.setattr(host_program, "interpreter", lambda *_arguments: "")

    def printing(*printed, environment="", diff=False):
        action = by_action.action(uptrack_apply, diff=diff)
        sent = []

        def execute(script, in_data=None):
            sent.append(script)
            return {"rc": 0, "stdout": "\n".join(printed), "stderr": "it died"}

        def by_module(_name, **_arguments):
            sent.append("the module")
            return dict(DONE, installed=["bbbb2222"])

        monkeypatch.setattr(action, "_low_level_execute_command", execute)
        monkeypatch.setattr(action, "_compute_environment_string", lambda: environment)
        monkeypatch.setattr(action, "_execute_module", by_module)
        return action.run(task_vars={}), sent

    return printing


def answer(**more):
    return host_program.MARK + json.dumps(dict(DONE, **more))


def test_one_round_trip_and_what_came_and_went(run):
    result, sent = run(host_program.BEGUN, answer(), diff=True)
    assert result["installed"] == ["aaaa1111"] and len(sent) == 1
    assert result["diff"] == {"before": "", "after": "aaaa1111\n"}


def test_a_host_that_began_is_not_asked_a_second_time(run):
    """It may have installed something: a second answer would say that nothing was to be done."""
    result, sent = run(host_program.BEGUN, "Killed")
    assert result["failed"] and result["changed_nothing"] is False and len(sent) == 1
    assert "what it did is unknown" in result["msg"]


def test_a_host_that_did_not_begin_is_asked_by_the_module(run):
    result, sent = run("sudo: a terminal is required")
    assert result["installed"] == ["bbbb2222"] and sent[1:] == ["the module"]


def test_the_environment_of_the_task_counts(run):
    _result, sent = run(host_program.BEGUN, answer(), environment="https_proxy=http://proxy:3128")
    assert sent[0].startswith("export https_proxy=http://proxy:3128; ")


@pytest.mark.parametrize(
    "lie", [{"installed": "all"}, {"rc": "0"}, {"before": {"updates": 1}}, {"verdict": "fine"}]
)
def test_what_does_not_fit_is_refused(run, lie):
    result, _sent = run(host_program.BEGUN, answer(**lie))
    assert result["failed"] and "is not as uptrack_apply gives it" in result["msg"]


def test_half_a_character_and_a_long_output_do_no_harm(run):
    result, _sent = run(host_program.BEGUN, answer(msg="\ud800", stdout="x" * 50_000, failed=True))
    result["msg"].encode("utf-8")
    assert len(result["stdout"]) == 10_000 and result["failed"]
