# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Where service, inventory and hosts disagree."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.rebootless.ksplice.plugins.action.rollout import ActionModule
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import reconcile, service_api

NOW = "2026-11-22T03:00:00Z"


def row(name, uuid=None, **more):
    found = {
        "name": name,
        "uuid": uuid,
        "alias_of": None,
        "verdict": "current",
        "reason_code": "current",
        "remaining": [],
        "checked_at": "2026-11-22T02:00:00Z",
    }
    return dict(found, **more)


def machine(uuid, hostname, **more):
    found = {
        "uuid": uuid,
        "hostname": hostname,
        "ip": "192.0.2.1",
        "active": True,
        "status": "uptodate",
        "authorization": "allowed",
        "last_seen": "2026-11-22T02:30:00Z",
    }
    return dict(found, **more)


def findings(rows, known, **more):
    found = reconcile.compare(rows, known, more.pop("addresses", {}), NOW, **more)
    return found, [(one["kind"], one["host"], one["uuid"]) for one in found["findings"]]


def test_all_is_well():
    rows = [row("a", "1"), row("b"), row("al", "1", alias_of="a")]
    known = [machine("1", "x"), machine("2", "b.example.com")]
    found, kinds = findings(rows, known, addresses={"b": ("b.example.com",)})
    assert kinds == []
    assert found == {"machines": 2, "active": 2, "seats": 2, "matched": 2, "findings": []}


def test_seats_are_what_may_use_the_service():
    known = [
        machine("1", "a"),
        machine("2", "b", active=False),
        machine("3", "c", authorization="denied"),
        machine("4", "d", authorization="pending"),
        machine("5", "e", authorization="unknown"),
    ]
    found, kinds = findings([row(name) for name in "abcde"], known)
    assert (found["machines"], found["active"], found["seats"]) == (5, 4, 1)
    assert kinds == [("denied", "c", "3"), ("pending", "d", "4")]


def test_clones_are_told_with_the_command_that_mends_them():
    found, kinds = findings([row("a", "1"), row("b", "1"), row("c", "1")], [machine("1", "a")])
    assert kinds == [("clone", "b", "1"), ("clone", "c", "1")]
    assert "reset_identity=true on b" in found["findings"][0]["advice"]
    # Also where the service does not have it any more.
    assert findings([row("a", "1"), row("b", "1")], [])[1][0] == ("clone", "b", "1")


def test_the_former_machine_of_a_clone_is_not_to_be_denied():
    rows = [row("a.example.com", "1"), row("b", "1")]
    known = [machine("1", "a"), machine("2", "B.example.com"), machine("3", "other")]
    found, kinds = findings(rows, known)
    assert kinds[1:] == [("not_in_inventory", None, "2"), ("not_in_inventory", None, "3")]
    former, other = (one["advice"] for one in found["findings"][1:])
    assert "authorized=false" not in former and "what b was at the service" in former
    assert "authorized=false" in other


def test_a_stranger_that_is_silent_is_one_finding():
    known = [machine("1", "x", last_seen="2020-01-01T00:00:00Z", ip=None)]
    found, kinds = findings([], known)
    assert kinds == [("not_in_inventory", None, "1")]
    [one] = found["findings"]
    assert one["what"].startswith("x (1) is a machine") and "since 2020-01-01" in one["what"]


def test_a_stranger_that_is_silent_and_may_be_a_host_is_one_finding():
    known = [machine("1", "db7", last_seen="2020-01-01T00:00:00Z")]
    found, kinds = findings([row("db7.example.com", verdict="unreachable")], known)
    assert ("ambiguous", "db7.example.com", "1") in kinds and ("silent", None, "1") not in kinds
    assert "since 2020-01-01" in found["findings"][0]["what"]


def test_namesakes_are_told_and_not_guessed():
    known = [machine("1", "twin"), machine("2", "twin")]
    found, kinds = findings([row("twin", None, verdict="unreachable")], known)
    assert kinds == [("ambiguous", "twin", "1")]
    assert "twin may be any of 1 and 2" in found["findings"][0]["what"]


def test_who_is_on_one_side_only():
    rows = [
        row("a"),
        row("gone", verdict="unreachable", reason_code="unreachable"),
        row("bare", verdict="absent", reason_code="absent"),
        row("box", verdict="unsupported", reason_code="no_sysfs"),
        row("other", reason_code="outside_run", verdict="unknown"),
    ]
    known = [machine("9", "new"), machine("8", "old", active=False)]
    found, kinds = findings(rows, known)
    assert kinds == [
        ("not_in_inventory", None, "9"),
        ("not_at_service", "a", None),
        ("not_at_service", "gone", None),
    ]
    what = [one["what"] for one in found["findings"]]
    assert what[0].startswith("new (192.0.2.1, 9) is a machine of the account")
    assert "uuid=9 authorized=false" in found["findings"][0]["advice"]
    assert "its UUID is not known" in what[2]


@pytest.mark.parametrize(
    "remaining, status, told",
    [
        (["x"], "uptodate", True),
        ([], "outofdate", True),
        ([], "uptodate", False),
        (["x"], "outofdate", False),
        (None, "uptodate", False),
        (["x"], "unsupported", False),
        (["x"], "unknown", False),
    ],
)
def test_a_host_and_the_service_disagree_about_updates(remaining, status, told):
    rows = [row("a", "1", remaining=remaining)]
    found, kinds = findings(rows, [machine("1", "a", status=status)])
    assert kinds == ([("disagree", "a", "1")] if told else [])
    if told:
        own = "has updates pending" if remaining else "has no updates pending"
        assert found["findings"][0]["what"].startswith(f"a {own}, by its own look")


def test_silent_for_days():
    known = [
        machine("1", "a", last_seen="2026-11-07T00:00:00Z"),
        machine("2", "b", last_seen="2026-11-09T00:00:00Z"),
        machine("3", "c", last_seen="2020-01-01T00:00:00Z", active=False),
        machine("4", "d", last_seen=None),
    ]
    rows = [row(name) for name in "abcd"]
    assert findings(rows, known)[1] == [("silent", "a", "1")]
    assert findings(rows, known, silent_days=100)[1] == []


def test_a_machine_that_may_be_a_host_that_was_not_asked_is_not_to_be_denied():
    rows = [
        row("db7", reason_code="outside_run", verdict="unknown"),
        row("web1.example.com", verdict="unreachable", reason_code="unreachable"),
        row("10.0.0.1", reason_code="not_selected"),
        row("a", "1"),
    ]
    known = [
        machine("7", "db7.example.com"),
        machine("8", "WEB1"),
        machine("9", "10"),
        machine("1", "a"),
    ]
    found, kinds = findings(rows, known, addresses={"10.0.0.1": ("ten.example.com",)})
    assert [one for one in kinds if one[0] != "not_at_service"] == [
        ("ambiguous", "db7", "7"),
        ("ambiguous", "web1.example.com", "8"),
        ("not_in_inventory", None, "9"),
    ]
    first, second, third = found["findings"][:3]
    assert "may be db7, whose UUID is not known" in first["what"]
    assert "deny" not in first["advice"] + second["advice"]
    assert third["advice"].startswith("It may be one of 3 hosts whose UUIDs are not known: survey")
    # As soon as they all are known, it can only be another.
    rows = [row("db7", "2"), row("a", "1")]
    advice = findings(rows, known[:1])[0]["findings"][0]["advice"]
    assert advice.startswith("Add it to the inventory, or deny it")


@pytest.fixture
def service_of(monkeypatch):
    """service_of(rows, known, hostvars, silent_days): what an action makes of it."""

    def service(rows, known, hostvars=None, silent_days=14):
        monkeypatch.setattr(service_api, "settings", lambda _options: {})
        machines = SimpleNamespace(machines=lambda: known)
        monkeypatch.setattr(service_api, "Service", lambda _settings: machines)
        action = object.__new__(ActionModule)
        action.params = {"api": {}, "ask_api": True, "silent_days": silent_days}
        action.files = SimpleNamespace(read=lambda _name: {})
        own = {one["name"]: {} for one in rows} if hostvars is None else hostvars
        action.task_vars = {"hostvars": own}
        return action._service({"run": {"kind": "status"}, "hosts": rows}, NOW)

    return service


def test_what_goes_wrong_in_the_comparison_costs_nobody_the_record(service_of):
    assert service_of([row("a")], [machine("1", "a")])["error"] is None
    found = service_of([row("a")], [machine("1", "a")], silent_days=999_999)
    assert found == {
        "error": "The service's machines could not be compared with ours (OverflowError)."
    }


def test_only_hosts_without_a_uuid_are_looked_up_by_names(service_of):
    """Which takes seconds for thousands; a name that is a template is what it stands for."""
    asked = []

    class HostVars(dict):
        def __getitem__(self, name):
            asked.append(name)
            return {"ansible_host": f"{name}.example.com"}

    known = [machine("aa", "x"), machine("bb", "b.example.com")]
    found = service_of([row("a", "AA"), row("b")], known, HostVars())
    assert (found["matched"], found["findings"], asked) == (2, [], ["b"])
