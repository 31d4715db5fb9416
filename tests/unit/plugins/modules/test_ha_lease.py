# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Leases on real ledgers, with real locks and real processes; and uptrack_apply, which honours
them.
"""

import fcntl
import json
import os
import signal
import time

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import apply
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import (
    lease,
    lease_task,
    ledger,
)

PAIR = [{"name": "pair", "members": ["a", "b"], "max_unavailable": 1}]


def task(root, state, **params):
    given = {name: spec.get("default") for name, spec in lease_task.ARGUMENTS.items()}
    given.update(params, state=state)
    return lease_task.run(given, params.get("check", False), str(root))


def acquire(root, token, host="a", member="b", **more):
    return task(
        root,
        "acquired",
        **dict(
            {
                "token": token,
                "run": "night",
                "host": host,
                "member": member,
                "groups": PAIR,
                "reason": "patching",
            },
            **more,
        ),
    )


def test_acquiring_showing_renewing_releasing(tmp_path):
    assert task(tmp_path, "shown") == {
        "granted": True,
        "refusal": None,
        "changed": False,
        "changed_nothing": True,
        "unknown": False,
        "leases": [],
        "busy": False,
        "waited": 0,
    }
    assert not (tmp_path / "var").exists(), "looking must leave nothing behind"
    first = acquire(tmp_path, "t1")
    assert (
        first["granted"]
        and first["changed"]
        and first["leases"][0]["phase"] == "acquired"
        and not first["leases"][0]["stale"]
    )
    assert acquire(tmp_path, "t1")["changed"] is False
    renewed = task(tmp_path, "renewed", token="t1", phase="draining")
    assert renewed["leases"][0]["phase"] == "draining"
    assert task(tmp_path, "released", token="t1")["leases"] == []
    assert task(tmp_path, "released", token="t1")["changed"] is False
    lost = task(tmp_path, "renewed", token="t1")
    assert not lost["granted"] and "not here any more" in lost["refusal"]
    late = acquire(tmp_path, "t1")
    assert not late["granted"], "a message that comes late must not raise the dead"


def test_check_mode_grants_nothing(tmp_path):
    assert acquire(tmp_path, "t1", check=True)["granted"]
    assert task(tmp_path, "shown")["leases"] == []


def test_the_peer_is_refused_in_a_sentence(tmp_path):
    acquire(tmp_path, "t1")
    refused = acquire(tmp_path, "t2", host="b", member="b", run="colleague")
    assert not refused["granted"] and not refused["changed"] and refused["changed_nothing"]
    for part in (
        "The run night has claimed a",
        "patching",
        "seconds ago",
        "Wait until it is done",
    ):
        assert part in refused["refusal"]


def test_breaking_by_hand(tmp_path):
    acquire(tmp_path, "t1")
    assert task(tmp_path, "broken", reason="power cut")["leases"] == []
    assert acquire(tmp_path, "t2", host="b", member="b")["granted"]
    assert not acquire(tmp_path, "t1")["granted"]


def test_a_broken_ledger_is_not_an_empty_one(tmp_path):
    acquire(tmp_path, "t1")
    path = tmp_path / "var/lib/rebootless-ksplice/leases.json"
    for text in ("", "{", "[]", '{"leases": [1], "ended": []}', '{"leases": {}, "ended": []}'):
        path.write_text(text)
        for ask in (
            lambda: acquire(tmp_path, "t2", host="b", member="b"),
            lambda: task(tmp_path, "shown"),
        ):
            with pytest.raises(ledger.Broken, match="cannot be read.*Nothing was changed"):
                ask()
        assert path.read_text() == text


def test_files_are_roots_alone(tmp_path):
    acquire(tmp_path, "t1")
    folder = tmp_path / "var/lib/rebootless-ksplice"
    assert oct(folder.stat().st_mode)[-3:] == "700" and {
        oct(path.stat().st_mode)[-3:] for path in folder.iterdir()
    } == {"600"}


def in_processes(count, function):
    """Run function(number) in so many processes at once; their exit statuses come back."""
    pids = []
    for number in range(count):
        pid = os.fork()
        if not pid:
            status = 99
            try:
                status = function(number)
            finally:
                os._exit(status)
        pids.append(pid)
    return [os.WEXITSTATUS(os.waitpid(pid, 0)[1]) for pid in pids]


def test_many_at_once_get_one_lease(tmp_path):
    """Both directions of a pair, from many processes: one is granted."""
    for attempt in range(10):
        root = tmp_path / str(attempt)
        statuses = in_processes(
            8,
            lambda number: int(
                acquire(root, f"t{number}", host="ab"[number % 2], member="a")["granted"]
            ),
        )
        assert sum(statuses) == 1 and len(task(root, "shown")["leases"]) == 1


def test_killed_while_it_writes(tmp_path):
    """Whenever a process dies, the ledger is the one before or the one after."""
    acquire(tmp_path, "keep", host="x", member="b", groups=[])

    def endlessly(_number):
        count = 0
        while True:
            count += 1
            acquire(tmp_path, f"t{count}", host="h", member="b", groups=[])
            task(tmp_path, "released", token=f"t{count}")

    for moment in range(20):
        pid = os.fork()
        if not pid:
            try:
                endlessly(0)
            finally:
                os._exit(1)
        time.sleep(0.005 + moment * 0.003)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        found = json.loads((tmp_path / "var/lib/rebootless-ksplice/leases.json").read_text())
        assert [entry["token"] for entry in found["leases"]][0] == "keep" and len(
            found["leases"]
        ) <= 2
        assert acquire(tmp_path, f"after{moment}", host=f"h{moment}", member="b", groups=[])[
            "granted"
        ]
        task(tmp_path, "released", token=f"after{moment}")
        for entry in found["leases"][1:]:
            task(tmp_path, "released", token=entry["token"])


def test_who_works_counts_as_claimed(tmp_path):
    book = ledger.Ledger(str(tmp_path))
    lock, refusal = book.begin_work(None)
    assert lock and refusal is None and book.busy()
    refused = acquire(tmp_path, "t1", host="a", member="b")
    assert (
        not refused["granted"]
        and "A process is at work on b" in refused["refusal"]
        and refused["busy"]
    )
    again, why = book.begin_work(None, seconds=0)
    assert again is None and "Another process" in why
    os.close(lock)
    assert acquire(tmp_path, "t1", host="a", member="b")["granted"]


def test_the_agents_own_run_counts_too(tmp_path):
    path = tmp_path / "var/lib/uptrack/lock"
    path.parent.mkdir(parents=True)
    with open(str(path), "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not acquire(tmp_path, "t1", host="b", member="b")["granted"]
    assert acquire(tmp_path, "t1", host="b", member="b")["granted"]


# ---- uptrack_apply -------------------------------------------------------------------------------


def test_an_ad_hoc_command_is_refused_beside_a_rollout(make_host):
    """On the claimed host and on its peer alike; the kernel stays as it was."""
    for member in ("a", "b"):
        host = make_host()
        acquire(host.root, "t1", host="a", member=member)
        with pytest.raises(
            apply.Refused, match="Nothing was changed. The run night has claimed a "
        ) as refused:
            host.apply()
        assert (
            refused.value.error_class == "lease"
            and host.in_kernel() == []
            and host.agent_runs() == []
        )
        assert host.apply(check=True)["failed"] is False, "looking is allowed"
        task(host.root, "released", token="t1")
        assert host.apply()["changed"] and len(host.in_kernel()) == 4


def test_with_its_lease_a_run_may_work(make_host):
    host = make_host()
    acquire(host.root, "t1", host="a", member="a")
    assert host.apply(lease="t1")["changed"] and len(host.in_kernel()) == 4


@pytest.mark.parametrize("what", ["never taken", "released", "broken", "taken over", "the peer's"])
def test_a_run_that_lost_its_lease_does_nothing(make_host, what):
    host = make_host()
    if what != "never taken":
        acquire(host.root, "t1", host="a", member="b" if what == "the peer's" else "a", seconds=-1)
    if what in ("released", "broken"):
        task(host.root, what, token="t1", reason="x")
    if what == "taken over":
        assert task(
            host.root,
            "adopted",
            token="t2",
            old_token="t1",
            run="morning",
            host="a",
            member="a",
            reason="x",
            groups=PAIR,
        )["granted"]
    with pytest.raises(apply.Refused, match="has no lease on the host any more"):
        host.apply(lease="t1")
    assert host.in_kernel() == []


def test_a_run_whose_lease_was_taken_over_cannot_end_it(make_host):
    host = make_host()
    acquire(host.root, "t1", host="a", member="a", seconds=-1)
    task(
        host.root,
        "adopted",
        token="t2",
        old_token="t1",
        run="morning",
        host="a",
        member="a",
        reason="x",
        groups=PAIR,
    )
    refused = task(host.root, "released", token="t1")
    assert (
        not refused["granted"]
        and "morning has claimed a" in refused["refusal"]
        and [one["token"] for one in refused["leases"]] == ["t2"]
    )
    assert not task(host.root, "ended", token="t1")["granted"]
    assert (
        task(host.root, "released", token="t2")["granted"]
        and task(host.root, "released", token="t1")["granted"]
    )


def test_an_ad_hoc_command_leaves_no_ledger(make_host):
    host = make_host()
    assert host.apply()["changed"]
    assert not os.path.exists(host.path("var/lib/rebootless-ksplice/leases.json"))


def test_the_words_say_when_it_is_stale(tmp_path):
    acquire(tmp_path, "t1", seconds=-1)
    refused = acquire(tmp_path, "t2", host="b", member="b")
    assert (
        not refused["granted"]
        and "stale" in refused["refusal"]
        and "state=broken" in refused["refusal"]
    )
    assert lease.PHASES[0] == "acquired"
