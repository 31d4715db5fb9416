# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What a rollout does beside patching: groups that nobody named, taking out of service, checks and
rollback, promotion, window, stop file, hosts that patch
themselves."""

from __future__ import annotations

import json
import time

import pytest
from rehearsals import UEK7, again, alone, pair

# A state that a command of the operator's tells: what it prints lies on each emulated host.
COMMAND = "sh -c 'cat $UPTRACK_LAB_ROOT/ha.json'"
# A drain that leaves a trace, in the order in which things happen.
DRAIN = {
    "adapter": "custom",
    "drain": "sh -c 'touch $UPTRACK_LAB_ROOT/out; echo out >>$UPTRACK_LAB_ROOT/trace'",
    "restore": "sh -c 'rm $UPTRACK_LAB_ROOT/out; echo back >>$UPTRACK_LAB_ROOT/trace'",
    "is_drained": "sh -c 'test -e $UPTRACK_LAB_ROOT/out'",
}


def tell(fleet, **groups):
    """What the command tells on each host: host to (group, role)."""
    for name in fleet.names:
        found = [{"name": groups[name][0], "role": groups[name][1]}] if name in groups else []
        (fleet.root(name) / "ha.json").write_text(json.dumps({"groups": found}))


def trace(fleet, name):
    path = fleet.root(name) / "trace"
    return path.read_text().split() if path.exists() else []


def started(fleet):
    return {
        name: fleet.patched_when(name)[0][0] for name in fleet.names if fleet.patched_when(name)
    }


# ---- groups ----


@pytest.mark.parametrize("naive", [None, again({}), again({"serial": 1})])
def test_a_group_without_a_name_is_discovered_and_its_standby_goes_first(fleet, naive):
    one = fleet({**alone("p1", "p2"), "idle": {"ksplice_rehearsal": dict(UEK7, pending=0)}}).make()
    tell(one, p1=("g", "active"), p2=("g", "standby"))
    if naive is not None:
        play = [
            {
                "hosts": "all",
                "gather_facts": False,
                "roles": ["rebootless.ksplice.rolling"],
                **naive,
            }
        ]
        run = one.play(play, ksplice_ha_command=COMMAND)
    else:
        run = one.play("rebootless.ksplice.patch", ksplice_ha_command=COMMAND)
        assert (
            one.record()["plan"]["waves"] == [["p2"], ["p1"]]
            and one.rows()["p1"]["groups"] == ["g"]
            and one.rows()["p1"]["role"] == "active"
        )
        assert run.host_tasks("idle") == ["Survey every host"], (
            "a host without work is not asked for its groups"
        )
    assert run.status == 0, run.output[-3000:]
    at = started(one)
    assert sorted(at) == ["p1", "p2"], run.output[-3000:]
    # With serial it is Ansible who says which goes first.
    assert naive == {"serial": 1} or at["p2"] < at["p1"], at
    one.never_two(("p1", "p2"))


@pytest.mark.thorough
def test_a_peer_without_work_or_outside_the_run_is_found_and_grants_its_lease(fleet):
    one = fleet(
        {**alone("p1"), "p2": {"ksplice_rehearsal": dict(UEK7, pending=0)}, **alone("q1", "q2")}
    ).make()
    tell(one, p1=("g", "active"), p2=("g", "standby"), q1=("h", "active"), q2=("h", "standby"))
    run = one.play("rebootless.ksplice.patch", "--limit", "p1,p2,q1", ksplice_ha_command=COMMAND)
    assert (
        run.status == 2
        and "Group h is split: q2 is outside this run" in run.output
        and not started(one)
    )
    run = one.play(
        "rebootless.ksplice.patch",
        "--limit",
        "p1,p2,q1",
        ksplice_ha_command=COMMAND,
        ksplice_partial_groups=True,
    )
    assert run.status == 0, run.output[-3000:]
    assert sorted(started(one)) == ["p1", "q1"]
    for name in ("p2", "q2"):
        ended = json.loads((one.root(name) / "var/lib/rebootless-ksplice/leases.json").read_text())[
            "ended"
        ]
        assert len(ended) == 1, "the peer was asked for its lease"


@pytest.mark.thorough
def test_a_member_with_an_unknown_peer_is_skipped(fleet):
    """Such as one host of each pair in a slice of an inventory."""
    one = fleet(alone("p1", "s1")).make()
    tell(one, p1=("g", "active"))
    run = one.play(
        "rebootless.ksplice.patch", ksplice_ha_command=COMMAND, ksplice_partial_groups=True
    )
    assert run.status == 2 and sorted(started(one)) == ["s1"]
    assert (
        "no other host of the inventory is" in one.rows()["p1"]["reason"]
        and one.rows()["p1"]["attention"]
    )


def test_a_host_with_unreadable_groups_is_skipped(fleet):
    one = fleet(alone("p1", "s1")).make()
    (one.root("s1") / "ha.json").write_text('{"groups": []}')
    run = one.play("rebootless.ksplice.patch", ksplice_ha_command=COMMAND)
    assert run.status == 2 and sorted(started(one)) == ["s1"], run.output[-2000:]
    assert (
        "it is unknown of which" in one.rows()["p1"]["reason"]
        and "exited with status 1" in one.rows()["p1"]["reason"]
    )
    (one.root("p1") / "etc/keepalived").mkdir()
    (one.root("p1") / "etc/keepalived/keepalived.conf").write_text("vrrp_instance x {\n")
    run = one.play("rebootless.ksplice.patch", "--limit", "p1", ksplice_ha_discover=False)
    assert run.status == 0 and sorted(started(one)) == ["p1", "s1"], "told not to look"


@pytest.mark.thorough
def test_half_a_named_group_in_the_inventory_is_skipped_even_when_allowed(fleet):
    one = fleet({**pair("g", "p1"), **alone("s1")}).make()
    run = one.play("rebootless.ksplice.patch")
    assert run.status == 2 and "Group g has one member only, p1" in run.output and not started(one)
    run = one.play("rebootless.ksplice.patch", ksplice_partial_groups=True)
    assert run.status == 2 and sorted(started(one)) == ["s1"]
    assert "the only member of its group g in this inventory" in one.rows()["p1"]["reason"]


@pytest.mark.thorough
def test_the_inventory_wins_and_a_contradiction_is_reported(fleet):
    hosts = pair("named", "p1", "p2")
    hosts["p1"]["ksplice_ha_role"], hosts["p2"]["ksplice_ha_role"] = "standby", "active"
    one = fleet(hosts).make()
    tell(one, p1=("g", "active"), p2=("h", "standby"))
    run = one.play("rebootless.ksplice.patch", ksplice_ha_command=COMMAND)
    assert run.status == 0, run.output[-3000:]
    assert one.record()["plan"]["waves"] == [["p1"], ["p2"]] and list(
        one.record()["plan"]["groups"]
    ) == ["named"]
    said = " ".join(event["what"] for event in one.record()["events"])
    for words in (
        (
            "p1 is standby according to the inventory (ksplice_ha_role) and active "
            "according to what runs on it. The inventory takes precedence."
        ),
        (
            "p1 and p2 are peers in named according to the inventory, but not "
            "according to what runs on them. The inventory takes precedence."
        ),
    ):
        assert words in said and words in run.output


# ---- out of service and back ----


@pytest.mark.parametrize("drain, wanted", [again("never", []), again("active", ["out", "back"])])
def test_a_host_is_out_of_service_while_it_is_patched_and_back_after_it(fleet, drain, wanted):
    one = fleet(
        {**pair("p", "p1", "p2"), "lb": {"ksplice_rehearsal": dict(UEK7, pending=0)}}
    ).make()
    drains = [dict(DRAIN), dict(DRAIN, delegate_to="lb")]
    play = [{"hosts": "p1,p2", "gather_facts": False, "roles": ["rebootless.ksplice.rolling"]}]
    run = one.play(play, ksplice_ha_drain=drains, rolling_drain_mode=drain)
    assert run.status == 0, run.output[-3000:]
    assert trace(one, "p1") == trace(one, "p2") == wanted and trace(one, "lb") == wanted * 2
    assert sorted(started(one)) == ["p1", "p2"]
    for name in one.names if drain != "never" else ("p1", "p2"):
        path = one.root(name) / "var/lib/rebootless-ksplice/journal.json"
        assert json.loads(path.read_text().splitlines()[0])["drained"] == []


def test_a_drain_that_fails_takes_back_what_it_began_and_the_host_is_not_patched(fleet):
    one = fleet(
        {**pair("p", "p1", "p2"), "lb": {"ksplice_rehearsal": dict(UEK7, pending=0)}}
    ).make()
    drains = [
        dict(DRAIN),
        {"adapter": "custom", "delegate_to": "lb", "drain": "false", "restore": "true"},
    ]
    run = one.play("rebootless.ksplice.patch", ksplice_ha_drain=drains, ksplice_max_failures=3)
    assert run.status == 2 and not started(one)
    row = one.rows()["p1"]
    assert (
        "could not be drained" in row["reason"]
        and "exited with status 1" in row["reason"]
        and row["attention"]
        and not row["still_drained"]
    )
    # Balancers come first: the host itself was never drained.
    assert trace(one, "p1") == [] and not one.root("p1").joinpath("out").exists()
    assert (
        "p1" in one.rows()["p2"]["reason"]
        and "was not patched with success" in one.rows()["p2"]["reason"]
        and trace(one, "p2") == []
    )


@pytest.mark.thorough
def test_the_next_run_puts_back_what_a_dead_one_left_although_nothing_waits(fleet):
    """The host is current, and so is its peer; and a single host, in no group, whose run died
    too.
    """
    idle = {"ksplice_rehearsal": dict(UEK7, pending=0)}
    one = fleet(
        {"p1": dict(idle, ksplice_ha_group="p"), "p2": dict(idle, ksplice_ha_group="p"), "s1": idle}
    ).make()
    for host, members in (("p1", ["p1", "p2"]), ("s1", ["s1"])):
        group = [{"name": "p" if host == "p1" else host, "members": members, "max_unavailable": 1}]
        tasks = [
            {
                "rebootless.ksplice.ha_lease": {
                    "state": "acquired",
                    "token": f"dead-{host}",
                    "run": "one that died",
                    "host": host,
                    "groups": group,
                    "member": "{{ inventory_hostname }}",
                    "seconds": 1,
                    "reason": "patching",
                }
            },
            {
                "rebootless.ksplice.ha_drain": {
                    "state": "drained",
                    "host": host,
                    "token": f"dead-{host}",
                    "targets": [DRAIN],
                    "lease": f"dead-{host}",
                },
                "when": f"inventory_hostname == '{host}'",
            },
        ]
        run = one.play([{"hosts": ",".join(members), "gather_facts": False, "tasks": tasks}])
        assert run.status == 0 and trace(one, host) == ["out"], run.output
    time.sleep(2.5)
    run = one.play("rebootless.ksplice.status")
    assert run.status == 0 and one.record()["summary"]["attention"] == ["p1", "p2", "s1"], (
        "a survey tells it, too"
    )
    assert "the run one that died had claimed it" in one.rows()["p1"]["reason"]
    run = one.play("rebootless.ksplice.patch", ksplice_ha_drain=[DRAIN])
    assert run.status == 0, run.output[-3000:]
    for host in ("p1", "s1"):
        assert trace(one, host) == ["out", "back"], "put back, and not taken out again for nothing"
    for name in one.names:
        assert (
            json.loads((one.root(name) / "var/lib/rebootless-ksplice/leases.json").read_text())[
                "leases"
            ]
            == []
        )
    said = " ".join(event["what"] for event in one.record()["events"])
    assert said.count("was claimed by one that died") >= 2 and "restored" in said
    assert one.rows()["p1"]["verdict"] == "current" and not any(
        row["attention"] for row in one.rows().values()
    )


# ---- checks and rollback ----


def well_unless(name):
    patched = "grep -qs applied $UPTRACK_LAB_ROOT/sys/kernel/ksplice/*/stage"
    return {
        "name": "the service is well",
        "command": f"sh -c 'case $UPTRACK_LAB_ROOT in */{name}) ! {patched};; esac'",
        "timeout": 2,
    }


@pytest.mark.thorough
def test_a_host_that_is_not_well_afterwards_gets_its_kernel_back(fleet):
    one = fleet(
        {
            **alone("h1", "h2", "h3", pending=12),
            "other": {"ksplice_rehearsal": {"kernel": "ol8-uek6", "pending": 12}},
        }
    ).make()
    run = one.play(
        "rebootless.ksplice.patch",
        ksplice_ha_checks=[well_unless("h2")],
        ksplice_max_failures=3,
        ksplice_max_parallel=1,
        ksplice_ha_drain=[DRAIN],
    )
    assert run.status == 2
    row = one.rows()["h2"]
    assert (
        row["verdict"] == "behind"
        and row["installed"] == []
        and len(row["rolled_back"]) == 12
        and "the service is well" in row["reason"]
    ), row
    assert (
        one.kernel("h2") == [] and trace(one, "h2") == ["out", "back"] and not row["still_drained"]
    )
    assert (
        one.kernel("h3") == []
        and "h2 was unhealthy after what it was given" in one.rows()["h3"]["reason"]
    ), "not applied again by this run"
    assert len(one.kernel("h1")) == len(one.kernel("other")) == 12


@pytest.mark.thorough
def test_a_host_that_is_not_well_before_is_skipped_unless_it_is_part_of_the_baseline(fleet):
    bad = {"name": "always bad", "command": "false", "timeout": 1}
    one = fleet(alone("h1")).make()
    run = one.play("rebootless.ksplice.patch", ksplice_ha_checks=[bad])
    assert (
        run.status == 2
        and not started(one)
        and "pre-checks failed: always bad" in one.rows()["h1"]["reason"]
    )
    run = one.play(
        "rebootless.ksplice.patch", ksplice_ha_checks=[dict(bad, allow_preexisting=True)]
    )
    assert run.status == 0 and started(one), run.output[-2000:]


@pytest.mark.every_core
def test_checks_on_every_place_and_hosts_of_a_wave_without_any(fleet):
    one = fleet({**pair("p", "p1", "p2"), **alone("h1", kernel="ol8-uek6")}).make()
    inventory = json.loads(one.emulated.read_text())
    trail = one.directory / "trail"
    places = (("host", "both"), ("peers", "before"), ("controller", "after"))
    inventory["all"]["hosts"]["p1"]["ksplice_ha_checks"] = [
        {
            "name": place,
            "run_on": place,
            "command": f"sh -c 'echo {place} >>{trail}'",
            "when": moment,
        }
        for place, moment in places
    ]
    one.emulated.write_text(json.dumps(inventory))
    run = one.play("rebootless.ksplice.patch", ksplice_max_failures=0)
    assert run.status == 0, run.output[-3000:]
    assert one.record()["plan"]["waves"][0] == ["h1", "p1"] and sorted(started(one)) == [
        "h1",
        "p1",
        "p2",
    ]
    assert trail.read_text().split() == ["host", "peers", "host", "controller"]


# ---- promotion ----


@pytest.mark.parametrize("promote", [True, again(False)])
def test_an_update_published_in_the_middle_does_not_slip_in(fleet, promote):
    one = fleet(alone("h1", "h2", pending=2)).make()
    scenario = json.loads((one.root("h2") / "var/lib/uptrack-lab/scenario.json").read_text())
    new = {"id": "brandnew", "name": "CVE-2026-99999: Published at midnight."}
    (one.directory / "published.json").write_text(
        json.dumps(dict(scenario, updates=scenario["updates"] + [new]))
    )
    play = [
        {
            "hosts": "h1,h2",
            "serial": 1,
            "gather_facts": False,
            "roles": ["rebootless.ksplice.rolling"],
            "pre_tasks": [
                {
                    "ansible.builtin.command": f"cp {one.directory}/published.json "
                    f"{one.root('h2')}/var/lib/uptrack-lab/scenario.json",
                    "when": "inventory_hostname == 'h2'",
                    "changed_when": True,
                }
            ],
            "post_tasks": [
                {
                    "ansible.builtin.include_role": {"name": "rebootless.ksplice.report"},
                    "run_once": True,
                    "when": "inventory_hostname == 'h2'",
                }
            ],
        }
    ]
    run = one.play(play, rolling_promote=promote, report_directory=str(one.report))
    assert run.status == 0, run.output[-3000:]
    row = one.rows()["h2"]
    if promote:
        assert one.kernel("h2") == one.kernel("h1") and [
            update["id"] for update in row["deferred"]
        ] == ["brandnew"]
        assert (
            row["verdict"] == "behind"
            and "exactly what h1 was given" in row["reason"]
            and "brandnew" in row["reason"]
            and not row["attention"]
        )
    else:
        assert one.kernel("h2") == sorted([*one.kernel("h1"), "brandnew"]) and row["deferred"] == []


# ---- what is looked at before every wave ----


@pytest.mark.thorough
def test_a_stop_file_stops_before_the_next_wave(fleet):
    one = fleet(alone("h1", "h2")).make()
    stop = one.directory / "stop"
    play = [
        {
            "hosts": "h1,h2",
            "serial": 1,
            "gather_facts": False,
            "roles": ["rebootless.ksplice.rolling"],
            "post_tasks": [
                {
                    "ansible.builtin.file": {"path": str(stop), "state": "touch"},
                    "delegate_to": "localhost",
                },
                {
                    "ansible.builtin.include_role": {"name": "rebootless.ksplice.report"},
                    "run_once": True,
                },
            ],
        }
    ]
    run = one.play(play, rolling_stop_file=str(stop), report_directory=str(one.report))
    assert sorted(started(one)) == ["h1"], run.output[-3000:]
    assert f"the stop file {stop} is there" in one.rows()["h2"]["reason"]


@pytest.mark.parametrize(
    "window, words",
    [
        (
            {"from": "00:00", "to": "24:00", "blackout": ["2000-01-01..2999-12-31"]},
            "is blacked out",
        ),
        again(
            {"timezone": "Mars/Olympus"},
            "is not valid (unknown time zone 'Mars/Olympus'): correct it",
        ),
        again({"days": "someday"}, "is not valid (days is 'someday'"),
        again({"from": "00:00", "to": "24:00"}, None),
    ],
)
def test_a_window(fleet, window, words):
    one = fleet(alone("h1")).make()
    run = one.play("rebootless.ksplice.patch", ksplice_window=window)
    assert bool(started(one)) is (words is None), run.output[-2000:]
    assert words is None or (words in " ".join(run.output.split()) and run.status == 2)


@pytest.mark.parametrize(
    "wish, patched", [("refuse", False), again("warn", True), again("allow", True)]
)
def test_a_host_that_installs_by_itself(fleet, wish, patched):
    one = fleet(
        {**alone("h1", scenario={"config": {"Settings": {"autoinstall": True}}}), **alone("h2")}
    ).make()
    run = one.play("rebootless.ksplice.patch", ksplice_self_update=wish)
    assert "h2" in started(one) and ("h1" in started(one)) is patched, run.output[-2000:]
    said = " ".join(event["what"] for event in one.record()["events"])
    assert ("h1 installs updates by itself" in said) is (wish == "warn")
    assert (run.status == 2) is not patched
    if not patched:
        assert (
            "Skipped: it installs updates by itself (cron with autoinstall)"
            in one.rows()["h1"]["reason"]
        )


@pytest.mark.parametrize(
    "variables, words",
    [
        (
            {"ksplice_drain": "sometimes"},
            "ksplice_drain is 'sometimes': give one of never, active, always",
        ),
        again({"ksplice_self_update": "maybe"}, "ksplice_self_update is 'maybe'"),
        again({"ksplice_soak": "a while"}, "ksplice_soak is 'a while': give a number of seconds"),
        again({"ksplice_ha_drain": [{"adapter": "keepalivd"}]}, "there is no adapter 'keepalivd'"),
        again(
            {"ksplice_ha_drain": [{"adapter": "haproxy", "backend": "web"}]},
            "the adapter haproxy needs server",
        ),
        again(
            {
                "ksplice_ha_drain": [
                    {"adapter": "custom", "drain": "a", "restore": "b", "delegate_to": "nobody"}
                ]
            },
            "names nobody (delegate_to), which is not in the inventory",
        ),
        again({"ksplice_ha_checks": [{"comand": "true"}]}, "ksplice_ha_checks has comand"),
        (
            {"ksplice_ha_checks": [{"command": "true", "on": "peers"}]},
            "ksplice_ha_checks has the key `on`, which YAML reads as true: write run_on",
        ),
        again(
            {"ksplice_ha_drain": [{"adapter": "keepalived", "on": "lb"}]},
            "ksplice_ha_drain has the key `on`, which YAML reads as true: write delegate_to",
        ),
        again(
            {"ksplice_ha_checks": [{"command": "true", "run_on": "moon"}]},
            "ksplice_ha_checks has run_on: moon",
        ),
        again({"ksplice_ha_checks": [{"name": "nothing to look at"}]}, "ksplice_ha_checks"),
        again({"ksplice_ha_checks": [{"command": "true", "timeout": "soon"}]}, "ksplice_ha_checks"),
    ],
)
def test_bad_options_are_one_sentence_and_change_nothing(fleet, variables, words):
    one = fleet(alone("h1")).make()
    run = one.play("rebootless.ksplice.patch", **variables)
    assert run.status == 2 and words in run.output and not started(one), run.output[-2000:]
    assert "Traceback" not in run.output


@pytest.mark.parametrize(
    "name, value",
    [
        again("ksplice_ha_drain", [DRAIN]),
        again("ksplice_ha_checks", [{"command": "false"}]),
        again("ksplice_ha_command", "false"),
    ],
)
def test_a_rehearsal_runs_no_command_of_the_real_service(fleet, name, value):
    one = fleet({"h1": {name: value, "ksplice_rehearsal": dict(UEK7, pending=1)}})
    assert one.rehearse().status == 0 and started(one) and trace(one, "h1") == []


@pytest.mark.parametrize(
    "name, value",
    [
        ("ksplice_ha_drain", [DRAIN]),
        again("ksplice_ha_checks", [{"command": "false"}]),
        again("ksplice_ha_command", "false"),
    ],
)
def test_a_rehearsal_refuses_a_command_of_the_real_service_as_an_extra_variable(fleet, name, value):
    one = fleet({"h1": {"ksplice_rehearsal": dict(UEK7, pending=1)}})
    run = one.rehearse(**{name: value})
    assert run.status == 2 and f"{name} is given as an extra variable" in run.output
