# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What goes wrong for some requests, as the file C(faults.json) says; README.md has its keys."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "agent"))
from uptrack_lab import scenario, scenario_check  # noqa: E402
from uptrack_lab.scenario_check import count, list_of, number, one_of, optional  # noqa: E402

CALLS = ("machines", "describe", "authorize", "group", "inspector", "status", "page")
# A connection is made before anything is asked.
CONNECTION = "connection"
FAULTS = list_of(
    scenario_check.mapping(
        {
            "calls": (list_of(one_of(*CALLS)), list(CALLS)),
            "times": (count, 1),
            "skip": (count, 0),
            "status": (optional(count), None),
            "retry_after": (optional(count), None),
            "body": (one_of("whole", "html", "malformed", "torn"), "whole"),
            "seconds": (number, 0),
            "key": (one_of("accepted", "rejected"), "accepted"),
            "certificate": (one_of("signed", "self-signed"), "signed"),
        }
    )
)


class Faults:
    """The faults of a file, counted from when the file was written."""

    def __init__(self, path):
        self._path, self._lock = path, threading.Lock()
        self._seen, self._faults, self._played = None, [], {}

    def next(self, call):
        """The fault that a request meets, or a connection; empty if none.

        :param call: one of C(CALLS), or C(CONNECTION).
        :raises uptrack_lab.world.ScenarioError: if the file is wrong, in one line.
        """
        with self._lock:
            try:
                written = os.stat(self._path).st_mtime_ns
            except FileNotFoundError:
                return {}
            if written != self._seen:
                self._faults, self._played, self._seen = _read(self._path), {}, written
            return scenario.next_fault({"faults": self._faults}, self._played, call)


def _read(path):
    text = Path(path).read_text(encoding="utf-8")
    faults = scenario_check.whole(FAULTS, scenario_check.parse_json(text, path), path)
    found = []
    for fault in faults:
        calls = fault.pop("calls")
        by_connection = fault["certificate"] == "self-signed"
        found.append(dict(fault, commands=[CONNECTION] if by_connection else calls))
    return found
