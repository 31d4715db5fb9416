# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Turns in whole runs: what they cost, whom they belong to, and what outlives whom."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from control_nodes import (
    BEHIND,
    OTHER,
    host,
    in_background,
    kill,
    turn,
    wait_for,
    with_variables,
)


def trace_into(what):
    """A command that writes a line with the time into the trace of the host it runs on."""
    return f"sh -c 'echo \"$(date +%s.%N) {what}\" >>$UPTRACK_LAB_ROOT/trace'"


def trace(one, name):
    """What happened to a host: (time, what)."""
    path = one.root(name) / "trace"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(float(line.split()[0]), line.split()[1]) for line in lines]


TRACED = [{"adapter": "custom", "drain": trace_into("out"), "restore": trace_into("back")}]


def costs(run, name):
    """What a host costs in a run: its tasks, skipped ones and items of loops among them."""
    found = []
    for event in run.events:
        if event["host"] == name and not (event["run_once"] or event["delegated"] == "localhost"):
            found.append(f"{event['task']} ({event['what']})")
            found += [f"  {one.get('item')}" for one in event["result"].get("results") or ()]
    included = run.output.split("\n")
    found += [line for line in included if line.startswith("included:") and f" {name}" in line]
    return found


@pytest.mark.every_core
def test_what_a_turn_costs_its_hosts_and_the_controller(fleet):
    """In one wave with each other; and a host of its own beside a pair costs nothing for the
    pair.
    """
    check = [{"name": "healthy", "command": "true"}]
    both = [*check, {"name": "peer", "command": "true", "run_on": "peers"}]
    both.append({"name": "here", "command": "true", "run_on": "controller"})
    drain = [{"adapter": "custom", "drain": "true", "restore": "true"}]
    one = fleet(
        {
            "solo0": host(),
            "solo1": host(),
            "a1": host(ksplice_ha_group="a", ksplice_ha_checks=check, ksplice_ha_drain=drain),
            "a2": host(ksplice_ha_group="a", ksplice_ha_checks=check, ksplice_ha_drain=drain),
            "b1": host(ksplice_ha_group="b", ksplice_ha_checks=both, ksplice_ha_drain=drain),
            "b2": host(
                ksplice_ha_group="b",
                ksplice_ha_checks=both,
                ksplice_ha_drain=[*drain, dict(drain[0], delegate_to="lb")],
            ),
            "lb": {"ksplice_rehearsal": dict(BEHIND, pending=0)},
        }
    ).make()
    with_variables(
        one,
        **{
            name: {key: value for key, value in variables.items() if key != "ksplice_rehearsal"}
            for name, variables in one.hosts.items()
        },
    )
    run = one.play("rebootless.ksplice.patch")
    assert run.status == 0, run.output[-3000:]
    waves = one.record()["plan"]["waves"]
    assert ["a1", "b1", "solo1"] in [sorted(wave) for wave in waves], waves
    for name, most in (("solo1", 3), ("a1", 6), ("a2", 6), ("b1", 8), ("b2", 11)):
        tasks = costs(run, name)
        assert len(tasks) <= most, "\n".join(tasks)
    # Each wave costs the controller as much, whatever its size.
    controller = [
        event["task"]
        for event in run.events
        if event["run_once"] and event["task"].startswith("rebootless.ksplice.rolling : ")
    ]
    assert len(controller) <= 5 * len(waves), controller


def test_a_plan_belongs_to_its_play(fleet):
    """First single hosts by the playbook, then a pair by the role, all in one site.yml: the pair
    has
    a plan of its own, with leases and never both at once.
    """
    one = fleet({"solo": host(), "a1": host(), "b1": host()}).make()
    member = {"ksplice_ha_group": "pair", "ksplice_ha_drain": TRACED}
    with_variables(one, a1=member, b1=member)
    run = one.play(
        [
            {
                "ansible.builtin.import_playbook": "rebootless.ksplice.patch",
                "vars": {"ksplice_hosts": "solo"},
            },
            {
                "name": "The pair",
                "hosts": "a1,b1",
                "gather_facts": False,
                "roles": [{"role": "rebootless.ksplice.rolling"}],
            },
        ]
    )
    assert run.status == 0, run.output[-3000:]
    assert all(one.kernel(name) for name in one.names)
    spans = []
    for name in ("a1", "b1"):
        seen = trace(one, name)
        assert [what for _at, what in seen] == ["out", "back"]
        spans.append([at for at, _what in seen])
    first, second = sorted(spans)
    assert first[1] <= second[0], "both of the pair were drained at once"
    assert run.output.count("Request the lease of the second member") == 2


def test_a_turn_outlives_its_control_node_and_its_lease_does_not_go_stale(fleet):
    """The whole process group of the control node is killed while the host's agent works, for
    longer
    than a lease lasts: the host is patched and restored all the same, and nobody takes it over.
    """
    drain = [
        {
            "adapter": "custom",
            "drain": "sh -c 'touch $UPTRACK_LAB_ROOT/out; sleep 4'",
            "restore": "sh -c 'rm $UPTRACK_LAB_ROOT/out'",
        }
    ]
    one = fleet({"a1": host(), "b1": host()}).make()
    with_variables(
        one,
        a1={"ksplice_ha_group": "pair", "ksplice_ha_drain": drain, "ksplice_canary": True},
        b1={"ksplice_ha_group": "pair"},
    )
    control = in_background(one, rolling_lease_seconds=2)
    out = one.root("a1") / "out"
    wait_for(out.exists)
    kill(control)
    assert out.exists() and not one.kernel("a1")
    time.sleep(2.5)
    # Its own lease lasts as long as the turn; a second run leaves it alone.
    book = json.loads((one.root("a1") / "var/lib/rebootless-ksplice/leases.json").read_text())
    assert [entry["own"] for entry in book["leases"]] == [True]
    wait_for(lambda: turn(one, "a1")["state"] == "released")
    assert not out.exists() and one.kernel("a1")
    # What is left is the lease of its peer, which the next run clears before it plans.
    run = one.play("rebootless.ksplice.patch", rolling_lease_seconds=2)
    assert run.status == 0, run.output[-3000:]
    assert "a1 was claimed by" in run.output and one.kernel("b1")
    [event] = [one for one in one.record()["events"] if "Its last turn" in one["what"]]
    count = len(one.kernel("a1"))
    assert f"is released, with {count} updates installed" in event["what"]


@pytest.mark.parametrize(
    "wrong", ["rolling_drain", pytest.param("rolling_lease_second", marks=pytest.mark.thorough)]
)
def test_a_misspelt_option_of_the_role_is_refused_before_any_host_is_asked(fleet, wrong):
    one = fleet({"a1": host()}).make()
    role = [{"hosts": "all", "gather_facts": False, "roles": ["rebootless.ksplice.rolling"]}]
    for play in ("rebootless.ksplice.patch", role):
        run = one.play(play, **{wrong: "never"})
        assert run.status == 2 and "did you mean rolling_" in run.output, run.output[-2000:]
        assert "No host was asked anything." in run.output and not one.kernel("a1")


def workers(one, name):
    """The processes that carry a host's turn: the one at work, and its guardian."""
    program = f"{one.root(name)}/var/lib/rebootless-ksplice/turn.py"
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if program in words:
            found["guard" if "guard" in words else "work"] = int(path.parent.name)
    return found


@pytest.mark.thorough
def test_killed_or_booted_another_process_carries_the_turn_on(fleet):
    """One host's process is killed, and its guardian starts another. On the other host both are
    killed, and the control node: there a boot starts it, by what it left for cron.
    """
    drain = [
        {
            "adapter": "custom",
            "drain": "sh -c 'touch $UPTRACK_LAB_ROOT/out; sleep 5'",
            "restore": "sh -c 'rm $UPTRACK_LAB_ROOT/out'",
        }
    ]
    names = ("k1", "k2")
    one = fleet({"k1": host(), "k2": {"ksplice_rehearsal": OTHER}}).make()
    with_variables(one, **dict.fromkeys(names, {"ksplice_ha_drain": drain}))
    control = in_background(one, rolling_lease_seconds=4)
    wait_for(lambda: all((one.root(name) / "out").exists() for name in names))
    kill(control)
    os.kill(workers(one, "k1")["work"], signal.SIGKILL)
    for role in ("guard", "work"):
        os.kill(workers(one, "k2")[role], signal.SIGKILL)
    # Cut off before anything was patched: restored, and its lease says so to the next run.
    wait_for(lambda: turn(one, "k1")["state"] == "restored")
    assert turn(one, "k1")["reason_code"] == "interrupted" and not (one.root("k1") / "out").exists()
    assert turn(one, "k2")["state"] == "draining" and (one.root("k2") / "out").exists()
    cron = one.root("k2") / "etc/cron.d/rebootless-ksplice"
    [line] = [text for text in cron.read_text().splitlines() if text.startswith("@reboot root ")]
    command = line.replace("@reboot root ", "").replace(" /var/", f" {one.root('k2')}/var/")
    subprocess.run(
        command.split(), env=dict(os.environ, UPTRACK_LAB_ROOT=str(one.root("k2"))), check=True
    )
    assert turn(one, "k2")["state"] == "restored" and not (one.root("k2") / "out").exists()
    for name in names:
        left = [one.root(name) / "var/lib/rebootless-ksplice/turn.py", cron]
        assert not any(path.exists() for path in left) and not workers(one, name)
    time.sleep(4.5)
    run = one.play("rebootless.ksplice.patch", rolling_lease_seconds=4)
    assert run.status == 0, run.output[-3000:]
    for name in names:
        assert f"{name} was claimed by" in run.output and one.kernel(name), run.output
        book = one.root(name) / "var/lib/rebootless-ksplice/leases.json"
        assert json.loads(book.read_text())["leases"] == []


@pytest.mark.parametrize(
    "elsewhere", [True, pytest.param(False, marks=pytest.mark.thorough)], ids=["checked", "alone"]
)
def test_a_slow_wave_mate_makes_no_lease_stale(fleet, elsewhere):
    """One host of a pair is done, and its wave mate works on for several times what a lease lasts.
    Another run over the pair meanwhile takes nothing over before the first run's checks are
    through, and the first run's record stays true.
    """
    check = [{"name": "peer", "command": trace_into("check"), "run_on": "peers"}]
    member = dict(ksplice_ha_group="pair", ksplice_ha_drain=TRACED)
    if elsewhere:
        member["ksplice_ha_checks"] = check
    wait = "touch $UPTRACK_LAB_ROOT/slow; while [ ! -e $UPTRACK_LAB_ROOT/go ]; do sleep 0.2; done"
    slow = [dict(TRACED[0], drain=f"sh -c '{wait}'")]
    one = fleet({name: host() for name in ("first", "a1", "b1", "slow")}).make()
    with_variables(
        one,
        first={"ksplice_canary": True},
        a1=member,
        b1=member,
        slow={"ksplice_ha_drain": slow},
    )
    control = in_background(one, rolling_lease_seconds=2, ksplice_drain_timeout=300)
    try:
        wait_for((one.root("slow") / "slow").exists)
        rest = "waiting" if elsewhere else "released"
        wait_for(lambda: one.kernel("a1") and turn(one, "a1")["state"] == rest)
        time.sleep(3)
        other = one.other("2")
        run = other.play("rebootless.ksplice.patch", "--limit", "a1,b1", rolling_lease_seconds=2)
        if elsewhere:
            # It was claimed all the time: nothing was restored, and its peer stayed in service.
            assert run.status == 2 and "has claimed a1" in other.rows()["b1"]["reason"]
            assert [what for _at, what in trace(one, "a1")] == ["out"] and not one.kernel("b1")
    finally:
        # Whatever was found above, nobody waits for it any more.
        (one.root("slow") / "go").touch()
    assert control.wait() == 0
    rows = one.rows()
    for name in one.names:
        row = rows[name]
        assert row["verdict"] == "current" and not row["attention"], row
        assert one.kernel(name) and not row["still_drained"], row
    (out, _out), *_checks, (back, _back) = trace(one, "a1")
    if elsewhere:
        before, after = [at for at, what in trace(one, "b1") if what == "check"][:2]
        assert before < out < after < back
    for name in one.names:
        book = json.loads((one.root(name) / "var/lib/rebootless-ksplice/leases.json").read_text())
        assert book["leases"] == [], name


@pytest.mark.thorough
def test_no_play_gets_what_an_earlier_one_left(fleet):
    """The role after status, twice in one play, and the playbook twice, in one site.yml: each has a
    plan and leases of its own, and what became behind again in between is patched again.
    """
    one = fleet({"a1": host(), "b1": host()}).make()
    with_variables(
        one, **dict.fromkeys(one.names, dict(ksplice_ha_group="pair", ksplice_ha_drain=TRACED))
    )
    behind = {"rebootless.ksplice.uptrack_apply": {"state": "absent", "all": True}}
    role = {"ansible.builtin.include_role": {"name": "rebootless.ksplice.rolling"}}
    run = one.play(
        [
            {"ansible.builtin.import_playbook": "rebootless.ksplice.status"},
            {"hosts": "all", "gather_facts": False, "tasks": [role, behind, role, behind]},
            {"ansible.builtin.import_playbook": "rebootless.ksplice.patch"},
            {"hosts": "all", "gather_facts": False, "tasks": [behind]},
            {"ansible.builtin.import_playbook": "rebootless.ksplice.patch"},
        ]
    )
    assert run.status == 0, run.output[-3000:]
    spans = []
    for name in one.names:
        seen = trace(one, name)
        assert [what for _at, what in seen] == ["out", "back"] * 4, seen
        spans += [(seen[at][0], seen[at + 1][0]) for at in range(0, 8, 2)]
        assert one.kernel(name) and one.rows()[name]["verdict"] == "current"
    spans.sort()
    for (_out, back), (out, _back) in zip(spans, spans[1:]):
        assert back <= out, "both of the pair were drained at once"
    assert run.output.count("Request the lease of the second member") == 8


def test_a_journal_that_cannot_be_believed_stops_its_host_alone(fleet):
    """Of somebody else, torn, of a newer version, not to be written: the record names the file and
    what to do, nothing is changed, and the others are patched.
    """
    one = fleet({name: host() for name in ("well", "owner", "torn", "newer", "readonly")}).make()
    one.hosts["well"]["ksplice_canary"] = True
    with_variables(one, well={"ksplice_canary": True})
    folders = {name: one.root(name) / "var/lib/rebootless-ksplice" for name in one.names}
    for name, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        if name != "well":
            (folder / "journal.json").write_text('{"schema": 1, "turn": null, "drained": []}\n')
    journals = {name: folder / "journal.json" for name, folder in folders.items()}
    with open(journals["owner"], "a") as file:
        file.write('{"turn": null, "drained": []}\n')
    os.chown(journals["owner"], 4711, -1)
    journals["newer"].write_text('{"schema": 99, "turn": null, "drained": []}\n{}\n')
    journals["readonly"].unlink()
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "none", str(folders["readonly"])]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("it needs root that may mount")
    try:
        run = one.play("rebootless.ksplice.patch", ksplice_max_failures=10)
    finally:
        subprocess.run(["umount", folders["readonly"]], check=True)
    rows = one.rows()
    words = {
        "owner": ("journal.json belongs to user 4711", "remove the file"),
        "torn": ("journal.json is not a complete journal", "remove the file"),
        "newer": ("journal.json has schema 99", "with the newer version"),
        "readonly": ("rebootless-ksplice cannot be written", "check"),
    }
    for name, wanted in words.items():
        assert all(word in rows[name]["reason"] for word in wanted), rows[name]["reason"]
        assert not one.kernel(name) and not one.patched_when(name)
        book = folders[name] / "leases.json"
        assert not book.exists() or json.loads(book.read_text())["leases"] == []
    assert one.kernel("well") and rows["well"]["verdict"] == "current", run.output[-3000:]


@pytest.mark.thorough
def test_what_a_turn_refuses_ad_hoc(fleet):
    """No turn to finish, a turn of another run, one that was begun without a lease: a sentence
    each, and nothing is changed.
    """
    one = fleet({"a1": host()}).make()

    def ad_hoc(**options):
        said = one.command(
            *("ansible", "a1", "-i", one.emulated, "-m", "rebootless.ksplice.uptrack_turn"),
            *("-a", json.dumps(options)),
        )
        return said.events[0]["result"]["refusal"]

    verdict = {"good": True, "reason": None}
    none = ad_hoc(state="finished", token="t9", verdict=verdict)
    assert none.startswith("There is no turn of this run on this host. Nothing was changed.")
    order = {"token": "t1", "run": "night", "host": "a1"}
    assert "no lease on the host any more" in ad_hoc(state="begun", order=order)
    run = one.play("rebootless.ksplice.patch")
    assert run.status == 0, run.output[-3000:]
    other = ad_hoc(state="finished", token="t9", verdict=verdict)
    assert f"there is one of {turn(one, 'a1')['run']}" in other and "Nothing was changed" in other
    assert turn(one, "a1")["state"] == "released"


@pytest.mark.thorough
def test_a_host_added_after_the_survey_takes_leases_like_the_others(fleet):
    """A play adds the peer of a pair, which status and inventory know nothing of, and then has the
    role over both: the second of them waits for the first.
    """
    one = fleet({"a1": host(), "b1": host()}).make()
    member = {"ksplice_ha_group": "pair", "ksplice_ha_drain": TRACED}
    with_variables(one, a1=member, b1=member)
    inventory = json.loads(one.emulated.read_text())
    added = dict(inventory["all"]["hosts"].pop("b1"), name="b1", groups="late")
    one.emulated.write_text(json.dumps(inventory))
    run = one.play(
        [
            {"ansible.builtin.import_playbook": "rebootless.ksplice.status"},
            {
                "hosts": "localhost",
                "gather_facts": False,
                "tasks": [{"ansible.builtin.add_host": added}],
            },
            {
                "hosts": "a1,b1",
                "gather_facts": False,
                "roles": [{"role": "rebootless.ksplice.rolling"}],
            },
        ]
    )
    spans = []
    for name in one.names:
        seen = trace(one, name)
        assert [what for _at, what in seen] in ([], ["out", "back"]), seen
        # Patched under a lease, by a turn; or not at all.
        assert bool(one.kernel(name)) == bool(seen), run.output[-3000:]
        spans += [tuple(at for at, _what in seen)] if seen else []
    spans.sort()
    assert all(back <= out for (_out, back), (out, _back) in zip(spans, spans[1:]))
    assert spans and run.status == 0, run.output[-3000:]
