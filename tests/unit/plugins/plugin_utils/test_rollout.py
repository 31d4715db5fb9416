# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The steps of a rollout and its record, as pure functions of hosts' variables."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import (
    record,
    report,
    rollout,
    turns,
)
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import ha_settings

sys.path.insert(0, str(Path(__file__).parent))
from rolled import (  # noqa: E402
    AT,
    DRAIN,
    FAILED,
    LATER,
    PATCHED,
    SCHEMA,
    go,
    result,
    surveyed,
    turn,
    unreachable,
)


def test_a_clean_run():
    rows, asked, document = go(
        {
            "a": surveyed(ksplice_ha_group="p"),
            "b": surveyed(ksplice_ha_group="p"),
            "c": surveyed("current"),
        },
        {},
    )
    assert asked == ["a", "b"]
    assert (
        rows["a"]["verdict"] == "current"
        and rows["a"]["kernel_after"] == "k2"
        and rows["a"]["canary"]
    )
    assert (
        rows["a"]["started"] == "2026-11-22T03:00:00.000Z"
        and rows["a"]["ended"] == "2026-11-22T03:00:02.500Z"
    )
    assert rows["c"]["wave"] is None and document["summary"]["attention"] == []
    assert document["summary"]["cves_fixed"] == 1 and document["summary"]["patched"] == 2


def test_every_host_has_exactly_one_row_also_outside_the_run():
    hosts = {
        "a": surveyed(),
        "b": {},
        "c": unreachable(),
        "d": {"ksplice_survey": {"failed": True, "msg": "no sudo"}},
    }
    names = sorted(hosts)
    run = rollout.start(hosts, names, ["a", "c", "d"], {"max_failures": "100%"})
    about = dict(record.about("patch", AT, "me", True, {}), ended=AT)
    document = record.record(hosts, names, ["a", "c", "d"], run, {}, about)
    jsonschema.validate(document, SCHEMA)
    assert [(row["name"], row["verdict"]) for row in document["hosts"]] == [
        ("a", "behind"),
        ("b", "unknown"),
        ("c", "unreachable"),
        ("d", "unknown"),
    ]
    assert (
        document["hosts"][2]["reason"] == "no route to host"
        and "no sudo" in document["hosts"][3]["reason"]
    )
    assert document["summary"]["attention"] == ["c", "d"]


def test_a_run_that_ended_early_says_so_of_hosts_in_waves_never_reached():
    hosts = {"a": surveyed(), "b": surveyed()}
    run = rollout.start(hosts, ["a", "b"], ["a", "b"], {})
    document = record.record(
        hosts,
        ["a", "b"],
        ["a", "b"],
        run,
        {},
        dict(record.about("patch", AT, "me", False, {}), ended=AT),
    )
    assert (
        "the run ended before wave 2" in document["hosts"][1]["reason"]
        and document["hosts"][1]["attention"]
    )


def test_a_failed_canary_stops_its_build_and_no_other():
    rows, asked, _document = go(
        {
            "a1": surveyed(),
            "a2": surveyed(),
            "b1": surveyed(build="k9"),
            "b2": surveyed(build="k9"),
        },
        {"a1": FAILED},
        max_failures=3,
    )
    assert asked == ["a1", "b1", "b2"]
    assert (
        "a1, the canary of its kernel build" in rows["a2"]["reason"]
        and rows["a2"]["verdict"] == "behind"
    )


def test_one_failure_after_the_canary_does_not_stop_the_build():
    _rows, asked, _document = go(
        {name: surveyed() for name in "abcd"}, {"b": FAILED}, max_failures=1, max_parallel=1
    )
    assert asked == ["a", "b", "c", "d"]


def test_the_budget_stops_the_rollout_and_counts_unreachable_hosts():
    hosts = {**{name: surveyed() for name in "abcd"}, "z": unreachable()}
    rows, asked, _document = go(hosts, {"b": FAILED}, max_failures=1, max_parallel=1)
    assert asked == ["a", "b"]
    assert "the rollout stopped" in rows["c"]["reason"] and "(b, z)" in rows["c"]["reason"]
    _rows, asked, _document = go(
        {**{name: surveyed() for name in "abcd"}, "z": unreachable()}, {}, max_failures=0
    )
    assert asked == []


def test_hosts_that_cannot_be_checked_count_too():
    _rows, asked, _document = go(
        {"a": surveyed(), "b": surveyed("unknown"), "c": surveyed("unknown")}, {}, max_failures=1
    )
    assert asked == []
    _rows, asked, _document = go(
        {"a": surveyed(), "b": surveyed("disabled"), "c": surveyed("unsupported")},
        {},
        max_failures=0,
    )
    assert asked == ["a"]


@pytest.mark.parametrize(
    "result",
    [FAILED, {"unreachable_host": True, "msg": "gone"}, {}, {"msg": "Traceback"}],
)
def test_after_anything_but_success_the_peer_is_skipped(result):
    hosts = {
        "a": surveyed(ksplice_ha_group="p"),
        "b": surveyed(ksplice_ha_group="p"),
        "c": surveyed(build="k7"),
    }
    rows, asked, _document = go(hosts, {"a": result}, max_failures=3)
    assert "b" not in asked and rows["b"]["verdict"] == "behind" and rows["a"]["attention"]
    assert "c" in asked


def test_a_group_of_three_that_can_spare_two():
    hosts = {name: surveyed(ksplice_ha_group="g", ksplice_ha_max_unavailable="2") for name in "abc"}
    _rows, asked, document = go(dict(hosts), {}, max_failures=3)
    assert document["plan"]["waves"] == [["a"], ["b", "c"]] and asked == ["a", "b", "c"]
    rows, asked, _document = go(hosts, {"a": FAILED}, max_failures=3)
    assert asked == ["a"] and "canary" in rows["b"]["reason"]


@pytest.mark.parametrize("verdict", ["unknown", "behind", "blocked", None])
def test_success_is_what_there_is_evidence_of(verdict):
    rows, asked, document = go(
        {"a": surveyed(), "b": surveyed()}, {"a": dict(PATCHED, verdict=verdict)}, max_failures=3
    )
    assert (
        asked == ["a"]
        and document["summary"]["attention"] == ["a", "b"]
        and rows["b"]["verdict"] == "behind"
    )


def test_a_host_with_updates_pending_needs_attention():
    _rows, asked, document = go(
        {"a": surveyed(ksplice_ha_group="p"), "b": unreachable(ksplice_ha_group="p")},
        {},
        max_failures=3,
    )
    assert asked == [] and document["summary"]["attention"] == ["a", "b"]


@pytest.mark.parametrize(
    "variables, words",
    [
        ({"ksplice_ha_group": {"g": 1}}, "ksplice_ha_group is {'g': 1}"),
        ({"ksplice_ha_group": "g", "ksplice_ha_max_unavailable": "lots"}, "allows 'lots' members"),
        ({"ksplice_ha_role": "master"}, "role 'master'"),
        ({"ksplice_ha_group": "g"}, "Group g has one member only"),
    ],
)
def test_bad_variables_are_one_sentence(variables, words):
    error = rollout.start({"a": surveyed(**variables)}, ["a"], ["a"], {})["error"]
    assert words in error and "\n" not in error


def test_two_values_for_one_group_are_refused():
    hosts = {
        "a": surveyed(ksplice_ha_group="g", ksplice_ha_max_unavailable=1),
        "b": surveyed(ksplice_ha_group="g", ksplice_ha_max_unavailable=2),
    }
    assert (
        "two values of ksplice_ha_max_unavailable"
        in rollout.start(hosts, ["a", "b"], ["a", "b"], {})["error"]
    )


def test_events_are_in_order_of_time():
    """Times with a fraction of a second and without one."""
    document = go({"a": surveyed(), "b": unreachable()}, {}, max_failures=2)[2]
    assert document["hosts"][0]["started"].startswith("2026-11-22T03:00:00.")
    told = [event["what"] for event in document["events"]]
    assert told[0].endswith("started.") and told[-1].endswith("ended.")
    assert told.index("no route to host") < told.index("Claimed in wave 1.")


def test_lines_name_every_host_that_is_not_current():
    _rows, _asked, document = go(
        {"a": surveyed(), "b": unreachable(), "c": surveyed("current")}, {}, max_failures=1
    )
    lines = "\n".join(record.lines(document))
    assert (
        "3 hosts: 2 current, 1 unreachable." in lines
        and "b: unreachable. no route to host" in lines
        and "c:" not in lines
    )


# ---- what a rollout makes of groups that were discovered ----


def told(*groups, role="standby", problems=()):
    every = {"kind": "keepalived", "addresses": [], "peers": [], "instances": [], "role": role}
    return {
        "ansible_facts": {
            "ha": {
                "groups": [dict(every, **one) for one in groups],
                "role": role,
                "problems": list(problems),
            }
        }
    }


def member(name="g", verdict="behind", redundancy=("keepalived",), **group):
    host = surveyed(verdict)
    host["ksplice_survey"]["ansible_facts"]["uptrack"]["redundancy"] = list(redundancy)
    return dict(host, ksplice_ha_asked=told(dict(group, name=name)))


def planned(hosts, **options):
    run = rollout.start(hosts, sorted(hosts), sorted(hosts), dict({"max_failures": 9}, **options))
    assert "error" not in run, run
    return run


def test_one_member_without_its_peer_leaves_the_run_to_the_others():
    run = planned({"a": member(), "s": surveyed()})
    assert run["waves"] == [["s"]] and "no other host of the inventory is" in run["left"]["a"]


def test_a_member_that_did_not_answer_counts_as_out_of_service():
    """Two of a cluster of three answered; and two that name a third as their peer."""
    cluster = {"kind": "pacemaker", "instances": ["n1", "n2", "n3"]}
    for groups in ([dict(cluster, node=node) for node in cluster["instances"]], [{"size": 3}] * 3):
        run = planned({"a": member(**groups[0]), "b": member(**groups[1])})
        assert (
            run["waves"] == []
            and "1 more of its group g did not answer or is not in the inventory"
            in run["left"]["a"]
        )
        run = planned(
            {
                "a": member(**groups[0]),
                "b": member(**groups[1]),
                "c": member(verdict="current", **groups[2]),
            }
        )
        assert run["waves"] == [["a"], ["b"]]
    # A remote node is a member, and stands for none of those that did not answer.
    run = planned(
        {
            "a": member(**dict(cluster, node="n1")),
            "b": member(**dict(cluster, node="n2")),
            "r": member(**dict(cluster, node="remote")),
        }
    )
    assert run["waves"] == [] and "1 more of its group g" in run["left"]["r"]


def test_a_group_beside_a_problem_is_not_all_there_may_be():
    hosts = {name: member() for name in "ab"}
    hosts["a"]["ksplice_ha_asked"]["ansible_facts"]["ha"]["problems"] = ["crm_mon does not answer."]
    run = planned(hosts)
    assert "crm_mon does not answer." in run["left"]["a"] and run["waves"] == [["b"]]
    hosts["a"]["ksplice_ha_group"] = hosts["b"]["ksplice_ha_group"] = "g"
    assert planned(hosts)["waves"] == [["a"], ["b"]]


def test_it_is_unknown_which_of_the_two_is_active():
    """Each counts as active: one after the other, and whoever reads the plan is told."""
    hosts = {name: member(role=None) for name in "ab"}
    for host in hosts.values():
        host["ksplice_ha_asked"]["ansible_facts"]["ha"]["role"] = "active"
    run = planned(hosts)
    assert run["waves"] == [["a"], ["b"]]
    assert [text.partition(",")[0] for text in run["contradictions"]] == [
        f"{name}: it is unknown whether it is active in g" for name in "ab"
    ]


def test_what_the_run_names_wins_over_what_was_discovered():
    broken = dict(surveyed(), ksplice_ha_asked=told(problems=["keepalived.conf cannot be read."]))
    broken["ksplice_survey"]["ansible_facts"]["uptrack"]["redundancy"] = ["keepalived"]
    assert (
        "it is unknown of which. keepalived.conf cannot be read."
        in planned({"a": broken, "s": surveyed()})["left"]["a"]
    )
    run = planned({"a": broken, "b": member("elsewhere")}, groups={"web": ["a", "b"]})
    assert list(run["groups"]) == ["web"] and run["waves"] == [["a"], ["b"]]


def test_a_host_out_of_service_without_a_lease_is_reported():
    """Such as one whose lease a person ended by hand."""
    hosts = {"a": surveyed("current"), "b": surveyed("current")}
    hosts["a"]["ksplice_survey"]["ansible_facts"]["uptrack"]["drained"] = [
        {"host": "a", "what": "keepalived"},
        {"host": "b", "what": "haproxy x y/b"},
    ]
    document = record.record(
        hosts,
        ["a", "b"],
        ["a", "b"],
        {},
        {},
        dict(record.about("status", AT, "me", False, {}), ended=AT),
    )
    jsonschema.validate(document, SCHEMA)
    assert document["summary"]["attention"] == ["a"] and document["hosts"][0]["still_drained"]
    assert "It is out of service (keepalived)" in document["hosts"][0][
        "reason"
    ] and "force=true" in "\n".join(record.lines(document))


def test_mistakes_in_checks_and_drains_are_found_before_any_host_is_asked():
    for variables, words in (
        ({"ksplice_ha_checks": [{"comand": "true"}]}, "has comand"),
        ({"ksplice_ha_drain": [{"adapter": "x"}]}, "there is no adapter 'x'"),
        (
            {"ksplice_ha_drain": [dict(DRAIN[0], delegate_to="nobody")]},
            "which is not in the inventory",
        ),
    ):
        assert words in rollout.ready({"a": variables}, ["a"], ["a"], {})["error"]


def test_a_machine_is_what_the_inventory_says_of_one_of_its_names():
    """The groups that run on it count only where the inventory names none for any of its names."""

    def of(name, **variables):
        one = surveyed(**variables)
        one["ksplice_survey"]["ansible_facts"]["uptrack"].update(
            host_id={"a": "1", "a2": "1"}.get(name, name), redundancy=["keepalived"]
        )
        one["ksplice_ha_asked"] = {
            "ansible_facts": {
                "ha": {
                    "groups": [
                        {
                            "name": "x",
                            "kind": "keepalived",
                            "role": "standby",
                            "addresses": [],
                            "instances": [],
                            "peers": [],
                        }
                    ],
                    "role": "standby",
                    "problems": [],
                }
            }
        }
        return one

    for hosts, options in (
        (
            {
                "a": of("a"),
                "a2": of("a2", ksplice_ha_group="inv"),
                "b": of("b", ksplice_ha_group="inv"),
            },
            {},
        ),
        ({"a": of("a"), "a2": of("a2"), "b": of("b")}, {"groups": {"inv": ["a2", "b"]}}),
    ):
        run = rollout.start(hosts, sorted(hosts), sorted(hosts), options)
        assert "error" not in run, run["error"]
        assert (
            sorted(name for wave in run["waves"] for name in wave)
            == sorted({"a", "a2", "b"} - set(run["aliases"]))
            and len(run["waves"]) == 2
        )
        assert list(run["groups"]) == ["inv"]


def test_each_host_is_read_once():
    class Counted(dict):
        reads = 0

        def __getitem__(self, name):
            Counted.reads += 1
            return super().__getitem__(name)

    hosts = Counted(
        {f"h{number}": surveyed(ksplice_ha_group=f"g{number // 2}") for number in range(20)}
    )
    about = {"options": {"max_parallel": 10, "groups": {"more": ["h1", "h2"]}}}
    assert (
        rollout.ready(hosts, sorted(hosts), sorted(hosts), about) == about and Counted.reads == 20
    )
    assert (
        "error" not in rollout.start(hosts, sorted(hosts), sorted(hosts), about["options"])
        and Counted.reads == 40
    )


CHECK = {"max_parallel": 10}


@pytest.mark.parametrize(
    "hosts, words",
    [
        # A variable of the run is read once, and hosts that differ in it would get another's.
        (
            {"a": {}, "b": {"ksplice_window": {"from": "00:00"}}},
            "ksplice_window differs between a and b",
        ),
        (
            {"a": {"ksplice_drain": "never"}, "b": {"ksplice_drain": "always"}},
            "ksplice_drain differs between a and b",
        ),
        (
            {"a": {"ksplice_stop_file": "~/STOP"}},
            "ksplice_stop_file is '~/STOP': give an absolute path",
        ),
        ({"a": {"ksplice_timeout": "\u00b2"}}, "ksplice_timeout is '\u00b2'"),
        ({"a": {"ksplice_ha_checks": [{"command": True}]}}, "ksplice_ha_checks has command: True"),
        (
            {"a": {"ksplice_ha_checks": [{"command": False}]}},
            "ksplice_ha_checks has command: False",
        ),
        (
            {"a": {"ksplice_ha_checks": [{"command": "x", "timeout": "\u00b2"}]}},
            "ksplice_ha_checks has timeout: \u00b2",
        ),
        (
            {"a": {"ksplice_ha_checks": [{"command": "x", "allow_preexisting": "perhaps"}]}},
            "allow_preexisting of ksplice_ha_checks is 'perhaps': give true or false",
        ),
        (
            {"a": {"ksplice_ha_checks": [{"port": "http"}]}},
            "ksplice_ha_checks has 'http' for a number",
        ),
        ({"a": {"ksplice_ha_checks": [{"port": 99999}]}}, "ports are 1 to 65535"),
        ({"a": {"ksplice_ha_checks": [{"url": "ftp:/x"}]}}, "a URL begins with http"),
        ({"a": {"ksplice_ha_checks": [{"port": 80, "status": 200}]}}, "status goes with url only"),
        (
            {"a": {"ksplice_ha_drain": [{"adapter": "nginx", False: "lb", "server": "x"}]}},
            "has no option False",
        ),
        (
            {"a": {"ksplice_ha_drain": [{"adapter": "custom", "drain": True, "restore": "x"}]}},
            "drain is True: give a string",
        ),
        (
            {"a": {"ksplice_ha_drain": [{"adapter": "custom", "drain": "a | b", "restore": "x"}]}},
            "only a shell understands",
        ),
        (
            {
                "a": {
                    "ksplice_ha_drain": [
                        {"adapter": "nginx", "file": "x.conf", "upstream": "u", "server": "s"}
                    ]
                }
            },
            "give an absolute path",
        ),
        ({"a": {"ksplice_ha_addresses": 5}}, "ksplice_ha_addresses is 5"),
        ({"a": {"ksplice_stage": "mars"}}, "stage 'mars'"),
        (
            {
                "a": {"ksplice_ha_role": "boss", "ksplice_ha_group": "g"},
                "b": {"ksplice_ha_group": "g"},
            },
            "role 'boss'",
        ),
    ],
)
def test_what_needs_no_answer_of_a_host_is_refused_before_any_is_asked(hosts, words):
    error = rollout.ready(hosts, sorted(hosts), sorted(hosts), {"options": CHECK})["error"]
    assert words in error and "\n" not in error


@pytest.mark.parametrize(
    "groups, words",
    [
        ({51: ["a", "b"]}, "has a group 51"),
        ({"g": ["a", "zz"]}, "names zz, which is not in the inventory"),
        ({"far": ["zz", "zz"], "g": ["a", "b"]}, None),
    ],
)
def test_groups_of_the_run(groups, words):
    about = {"options": dict(CHECK, groups=groups)}
    found = rollout.ready({"a": {}, "b": {}, "c": {}}, ["a", "b", "c"], ["a", "b"], about)
    assert words in found["error"] if words else found == about


def test_a_known_failure_is_allowed_by_its_own_name_only():
    """Two checks that would be called alike: one of them may be bad, the other may not."""
    wanted = ha_settings.wanted_checks(
        "a",
        {
            "ksplice_ha_checks": [
                {"command": "is app"},
                {"command": "is legacy", "allow_preexisting": True},
                {"port": 443},
                {"port": 443, "run_on": "peers", "allow_preexisting": "yes"},
                {"name": 8080, "port": 8080, "allow_preexisting": "no"},
            ]
        },
    )
    assert wanted["allow_preexisting"] == ["command is \u2026 (2)", "port 443 of 127.0.0.1 (2)"]
    assert [
        one["name"]
        for one in ha_settings.checks(wanted, "host", "after", wanted["allow_preexisting"])
    ] == [
        "command is \u2026",
        "port 443 of 127.0.0.1",
        "8080",
    ]
    assert ha_settings.checks(wanted, "peers", "after", wanted["allow_preexisting"]) == []


def test_more_than_one_only_where_every_member_says_so():
    hosts = {name: surveyed(ksplice_ha_group="g", ksplice_ha_max_unavailable=2) for name in "abcd"}
    assert (
        rollout.start(hosts, sorted(hosts), sorted(hosts), {})["groups"]["g"]["max_unavailable"]
        == 2
    )
    del hosts["c"]["ksplice_ha_max_unavailable"]
    run = rollout.start(hosts, sorted(hosts), sorted(hosts), {})
    assert run["groups"]["g"]["max_unavailable"] == 1 and max(map(len, run["waves"])) == 1


@pytest.mark.parametrize(
    "window, words",
    [
        ("", None),
        ({}, None),
        ({"from": "22:00", "to": "04:00"}, None),
        ({"until": "05:00"}, "unknown key 'until'"),
        ({"timezone": "Europe/Berln"}, "time zone"),
        ("22:00-05:00", "is not a mapping"),
    ],
)
def test_a_window_that_cannot_be_parsed_is_refused_before_any_host_is_asked(window, words):
    found = rollout.ready({"a": {"ksplice_window": window}}, ["a"], ["a"], {"options": CHECK})
    assert (
        f"ksplice_window cannot be understood ({words}" in found["error"] or words in found["error"]
        if words
        else found == {"options": CHECK}
    )


def test_without_a_plan_plan_and_record_say_why():
    hosts = {"a": surveyed(ksplice_ha_group="p"), "b": surveyed(ksplice_ha_group="p")}
    run = rollout.start(hosts, ["a", "b"], ["a"], {})
    assert (
        record.plan_lines(run) == [f"No plan: {run['error']} No host is patched."]
        and "is split" in run["error"]
    )
    document = record.record(
        hosts,
        ["a", "b"],
        ["a"],
        run,
        {},
        dict(record.about("patch", AT, "me", False, {}), ended=LATER),
    )
    assert "is split" in document["hosts"][0]["reason"] and any(
        "is split" in event["what"] for event in document["events"]
    )


@pytest.mark.parametrize(
    "began, given_up, words",
    [
        ([], [], "the run ended before wave 1. No wave was begun at all"),
        ([["b"]], ["a"], "Ansible had given this host up"),
        ([["a", "b"]], [], "broke off before this host was claimed"),
        ([["b"]], [], "did not find it by its name"),
    ],
)
def test_a_host_of_the_plan_that_was_never_reached_says_what_was_seen(began, given_up, words):
    hosts = {"a": surveyed(), "b": surveyed(build="k2")}
    run = rollout.start(hosts, ["a", "b"], ["a", "b"], {})
    assert run["waves"] == [["a", "b"]]
    about = dict(record.about("patch", AT, "me", False, {}), ended=LATER)
    document = record.record(
        hosts, ["a", "b"], ["a", "b"], run, {"outcomes": {}, "began": began}, about, given_up
    )
    row = document["hosts"][0]
    assert (
        words in row["reason"]
        and row["attention"]
        and not row["canary"]
        and document["summary"]["attention"] == ["a", "b"]
    )


def test_a_run_that_ended_early_says_so():
    hosts = {"a": surveyed(), "b": surveyed()}
    run = rollout.start(hosts, ["a", "b"], ["a", "b"], {})
    about = dict(record.about("patch", AT, "me", False, {}), ended=LATER)
    document = record.record(
        hosts, ["a", "b"], ["a", "b"], run, {"outcomes": {}, "began": [["a"]]}, about, ["a"]
    )
    assert document["hosts"][1]["reason"] == "Not patched: the run ended before wave 2."


def test_a_turn_that_went_wrong_is_reported_by_the_next_run_too():
    """A host without peers rolled back after its run had died, and released its own lease: only its
    journal knows.
    """
    hosts = {"a": surveyed("current"), "b": surveyed("current"), "c": surveyed("current")}
    last = {"run": "night", "state": "released", "began": "x", "ended": None}
    last.update(lost_controller=False, installed=[])
    for name, code, reason in (("a", "unhealthy", "gate (status 1)"), ("b", None, None)):
        seen = hosts[name]["ksplice_survey"]["ansible_facts"]["uptrack"]
        seen["turn"] = dict(last, reason_code=code, reason=reason)
    _rows, _asked, document = go(hosts, {})
    [told] = [one for one in document["events"] if "Its last turn" in one["what"]]
    assert told["host"] == "a"
    assert told["what"] == "Its last turn, of the run night, is released: gate (status 1)"
    assert document["run"]["resumed_from"] == []


def test_a_journal_that_cannot_be_read_needs_attention():
    hosts = {"a": surveyed("current"), "b": surveyed("current")}
    seen = hosts["a"]["ksplice_survey"]["ansible_facts"]["uptrack"]
    seen["drained"] = [{"host": None, "what": "unknown: journal.json cannot be read"}]
    rows, _asked, document = go(hosts, {})
    assert document["summary"]["attention"] == ["a"]
    assert "is unknown: journal.json cannot be read" in rows["a"]["reason"]


def test_a_record_that_is_no_plain_file_is_none_of_a_stopped_run(tmp_path):
    os.mkfifo(tmp_path / "record.json")
    assert report.stopped(str(tmp_path)) is None
    (tmp_path / "record.json").unlink()
    (tmp_path / "record.json").symlink_to("/dev/zero")
    assert report.stopped(str(tmp_path)) is None


def test_what_a_host_did_after_its_run_was_killed_is_in_the_next_record():
    """It ended its turn and its lease by itself, and only a peer still had a copy of the lease."""
    hosts = {"a": surveyed("current"), "b": surveyed("current")}
    last = {"run": "night", "state": "released", "began": "x", "ended": "y", "reason": None}
    last.update(lost_controller=True, reason_code=None, installed=["aaaa", "bbbb"])
    hosts["a"]["ksplice_survey"]["ansible_facts"]["uptrack"]["turn"] = last
    left = {"host": "a", "run": "night", "age": 700}
    cleared = turns.taken_over(left, {"invalidated": {"granted": True}})
    run = rollout.start(hosts, ["a", "b"], ["a", "b"], {})
    about = dict(record.about("patch", AT, "me", False, {}), ended=LATER)
    run["took_over"] = [dict(cleared, at=AT)]
    state = {"outcomes": {}, "began": []}
    document = record.record(hosts, ["a", "b"], ["a", "b"], run, state, about)
    jsonschema.validate(document, SCHEMA)
    [told] = [one for one in document["events"] if "Its last turn" in one["what"]]
    assert told["host"] == "a"
    assert told["what"] == (
        "Its last turn, of the run night, is released, with 2 updates installed."
    )
    assert document["run"]["resumed_from"] == ["night"]


def test_in_check_mode_the_record_says_what_would_be_and_that_nothing_was():
    """Also where the role is played in check mode, whose tasks foretell what they would do."""
    hosts = {"a": surveyed(), "b": surveyed()}
    rows, asked, document = go(hosts, {"b": FAILED}, check=True, max_failures=1)
    assert sorted(asked) == ["a", "b"]
    a, b = rows["a"], rows["b"]
    assert a["verdict"] == "behind" and not a["attention"] and a["started"] is None
    assert a["installed"] == a["cves_fixed"] == [] and a["remaining"] == ["aaaa"]
    assert a["reason"] == "In check mode: 1 update would be installed. Because."
    assert b["attention"] and b["reason_code"] == "apply_failed"
    assert document["summary"]["patched"] == document["summary"]["cves_fixed"] == 0
    assert not any("Claimed" in one["what"] for one in document["events"])


def test_open_cves_are_counted_where_they_are_known():
    hosts = {"a": surveyed(), "b": unreachable()}
    said = record.lines(go(hosts, {}, max_failures=2)[2])
    assert said[1] == (
        "Patched in this run: 1. CVEs fixed: 1, still open somewhere: 0, and unknown on 1 of the "
        "hosts."
    )


def test_a_selection_is_widened_until_every_group_is_whole():
    names = ["a", "al", "b", "c", "d", "e", "m"]
    groups = {"g1": ["a", "b"], "g2": ["b", "c"], "g3": ["m", "e"]}
    plan = {
        "groups": {name: {"members": members} for name, members in groups.items()},
        "aliases": {"al": "m"},
    }
    assert rollout.with_groups({"c"}, names, plan) == ["a", "b", "c"]
    assert rollout.with_groups({"a"}, names, plan) == ["a", "b", "c"]
    assert rollout.with_groups({"d"}, names, plan) == ["d"]
    assert rollout.with_groups({"al"}, names, plan) == ["al", "e", "m"]
    assert rollout.with_groups({"x"}, names, plan) == []


def test_what_was_not_selected_keeps_every_alarm_but_that_it_is_behind():
    hosts = {"a": surveyed(), "b": surveyed(), "c": unreachable(), "d": surveyed(), "e": surveyed()}
    seen = hosts["d"]["ksplice_survey"]["ansible_facts"]["uptrack"]
    seen["drained"] = [{"host": "d", "what": "keepalived"}]
    run = rollout.start(hosts, sorted(hosts), ["a"], {})
    run["unselected"] = ["b", "c", "d", "e"]
    left = {"host": "e", "run": "night", "age": 700}
    run["took_over"] = [dict(turns.taken_over(left, {}), at=AT)]
    about = dict(record.about("patch", AT, "me", False, {}), ended=LATER)
    state = {"outcomes": {}, "began": []}
    document = record.record(hosts, sorted(hosts), sorted(hosts), run, state, about)
    jsonschema.validate(document, SCHEMA)
    rows = {row["name"]: row for row in document["hosts"]}
    assert rows["b"]["reason_code"] == "not_selected" and not rows["b"]["attention"]
    assert rows["b"]["reason"].startswith("Outside this run (ksplice_select).")
    assert rows["c"]["attention"] and rows["c"]["verdict"] == "unreachable"
    assert rows["d"]["attention"] and rows["d"]["reason_code"] == "drained_without_lease"
    assert rows["e"]["attention"] and rows["e"]["reason_code"] == "not_taken_over"


def test_how_long_a_host_has_been_behind():
    hosts = {"a": surveyed(), "b": surveyed("current", build="k2"), "d": surveyed(build="k9")}
    never = surveyed(build="k8")
    [one] = never["ksplice_survey"]["ansible_facts"]["uptrack"]["updates"]["available"]
    one.update(first_seen=None, age=None)
    hosts["n"] = never
    rows = go(hosts, {"d": FAILED, "n": FAILED}, max_failures=5)[0]
    since = {name: (row["behind_since"], row["behind_days"]) for name, row in rows.items()}
    assert since["d"] == ("2026-11-10T02:00:00Z", 12)
    # Patched; what waits for a current one is withdrawn or unknown to no one; not known.
    assert since["a"] == since["n"] == (None, None)
    assert rows["n"]["remaining"] == ["aaaa"]


def test_the_times_of_the_steps_are_by_the_begin_of_their_turn():
    began = turn()["began"]
    taken = [
        {"name": "drain", "started": began + 0.5, "ended": began + 2.25, "result": "out"},
        {"name": "apply", "started": began + 2.5, "ended": None, "result": None},
        # A clock that was set back meanwhile.
        {"name": "check", "started": began - 100, "ended": began - 200, "result": "ok"},
    ]
    rows, _asked, document = go(
        {"a": surveyed(), "b": surveyed()}, {"a": result(turn(steps=taken))}
    )
    assert rows["a"]["steps"] == [
        {"name": "drain", "after": 0.5, "seconds": 1.75},
        {"name": "apply", "after": 2.5, "seconds": None},
        {"name": "check", "after": 0.0, "seconds": 0.0},
    ]
    assert rows["b"]["steps"] == []
    jsonschema.validate(document, SCHEMA)
