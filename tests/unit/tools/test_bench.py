# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The bench tells the controller's cost from the hosts', measures in turns, and has limits."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def modules(monkeypatch):
    """bench and its machines, which are none of this process's own modules afterwards."""
    names = ("bench", "machines", "machine", "fleet", "emulated_host")
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    return importlib.import_module("bench"), importlib.import_module("machines")


def test_what_is_compared_runs_in_turns(modules):
    bench, machines = modules
    order = []

    def run(name, finished=True):
        order.append(name)
        return machines.Cost(1, 1, finished=finished)

    found = bench.in_turns(2, a_b=lambda: run("a"), c=lambda: run("c", False))
    assert order == ["a", "c", "a"], "what did not finish is not tried again"
    assert list(found) == ["a b", "c"] and len(found["a b"]) == 2


def test_a_missed_limit_and_a_failure_end_with_1(modules, capsys):
    bench, _machines = modules
    table = bench.Table()
    table.limit("good", 1.1, 1.1)
    assert table.close() == 0
    table.limit("bad", 1.2, 1.1)
    assert table.close() == 1
    assert "MISSED  bad: 1.20, limit 1.10" in capsys.readouterr().out
    table = bench.Table()
    table.failure("survey", "no sshd")
    assert table.close() == 1


def test_the_hosts_cost_is_taken_from_the_whole(modules, tmp_path):
    _bench, machines = modules
    one = machines.Bench(tmp_path, tmp_path, forks=1, round_trip=0, patience=60)
    work = (
        "import os; open(os.environ['BENCH_BOOKS'], 'a').write('{} 1 {} 7 {}\\n');"
        " sum(range(10**6))"
    )
    command = (sys.executable, "-c")
    alone = one.run(*command, work.format(0, 100, 5000000))
    cost = one.run(*command, work.format(1000, 200, 6000000))
    assert cost.host == 1000 and cost.controller < -900 < 0 < alone.controller
    assert (cost.sent, cost.memory) == (200, 6000000)


def test_what_does_not_do_its_work_is_no_figure(modules, tmp_path):
    _bench, machines = modules
    one = machines.Bench(tmp_path, tmp_path, forks=1, round_trip=0, patience=1)
    with pytest.raises(machines.Broken, match="ended with status 3: why"):
        one.run("sh", "-c", "echo why; exit 3")
    assert one.run("sleep", 60).finished is False
