# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The recordings of a real client by the way that a play takes: the action plugin and what it sends
over a connection.
"""

from __future__ import annotations

import os
import sys

import pytest
from ansible_collections.rebootless.ksplice.plugins.action import uptrack_facts

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "module_utils"))
import test_recordings  # noqa: E402

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import by_action  # noqa: E402


@pytest.mark.parametrize("name", test_recordings.RECORDINGS)
def test_the_honest_verdict_by_the_action(tmp_path, monkeypatch, name):
    host = test_recordings.Recorded(tmp_path / "host", name)
    action = by_action.action(uptrack_facts)
    sent = []

    def execute(script):
        sent.append(script)
        return {"rc": 0, "stdout": host.probe(), "stderr": ""}

    monkeypatch.setattr(action, "_low_level_execute_command", execute)
    seen = action.run(task_vars={})["ansible_facts"]["uptrack"]
    waiting = len((seen["updates"]["available"] or []) + (seen["updates"]["superseded"] or []))
    wanted = host.recording["honest_verdict"].split("|")
    assert seen["verdict"] in wanted or f"{seen['verdict']}:{waiting}" in wanted, seen["reason"]
    assert len(sent) == 1
