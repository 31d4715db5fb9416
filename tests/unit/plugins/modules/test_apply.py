# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""uptrack_apply on emulated hosts, beyond the traps: exact lists, effective versions, check mode,
every way to end.
"""

import os
import re

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import apply, exit_status

IDS = ["aaaaaaa1", "bbbbbbb2", "ccccccc3", "ddddddd4"]
BUILD = "5.15.0-%d.167.6.el9uek.x86_64/#2 SMP Tue Oct 29 17:10:51 PDT 2024"
OFFLINE = {"client": {"edition": "offline"}}


# ---- check mode ----------------------------------------------------------------------------------


def everything(root):
    """Every file below a root with its content."""
    found = {}
    for directory, _directories, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, root)] = (
                    os.readlink(path) if os.path.islink(path) else file.read()
                )
    return found


# What the agent's own dry run may refresh (trap 4): its cache, its counter and UUID, its log; and
# the lab's books.
MAY_CHANGE = re.compile(
    r"^(var/cache/uptrack/|var/lib/uptrack/(serial|uuid|lock|effective_kernel)$|var/log/|var/lib/uptrack-lab/)"
)
PATHS = [
    ({}, {}),
    ({}, {"installed": IDS}),
    ({}, {"network": "dns"}),
    ({}, {"access_key": "bad"}),
    ({}, {"unsupported": True}),
    ({"state": "present", "updates": ["bbbbbbb2"]}, {}),
    ({"state": "present", "updates": ["zzzzzzz9"]}, {}),
    ({"state": "present", "cves": ["CVE-2026-1003"]}, {"checked": None}),
    ({"state": "present", "updates": ["ccccccc3"], "exact": True}, {}),
    ({"state": "absent", "updates": ["bbbbbbb2"]}, {"installed": IDS}),
    ({"state": "absent", "all": True}, {"installed": IDS}),
    ({"state": "absent", "all": True}, {"installed": IDS, "network": "dns"}),
    ({"state": "absent", "cves": ["CVE-2026-1001"]}, {"installed": IDS}),
    ({"effective": BUILD % 304}, OFFLINE),
    ({"effective": BUILD % 303, "allow_downgrade": True}, dict(OFFLINE, installed=IDS)),
    ({}, {"disabled": True}),
    ({}, {"container": True}),
    ({}, {"agent": False}),
    ({}, {"failures": [{"id": "bbbbbbb2", "abort": "no_match"}]}),
]


@pytest.mark.parametrize("params, scenario", PATHS)
def test_check_mode_never_touches_the_kernel(make_host, params, scenario):
    host = make_host(**scenario)
    before = everything(host.root)
    try:
        host.apply(check=True, retries=0, **params)
    except apply.Refused:
        pass
    after = everything(host.root)
    changed = {name for name in set(before) | set(after) if before.get(name) != after.get(name)}
    assert {name for name in changed if not MAY_CHANGE.match(name)} == set()
    assert (
        "apply begin" not in host.read("var/log/uptrack.log")
        if "var/log/uptrack.log" in after
        else True
    )


@pytest.mark.parametrize(
    "params, scenario",
    [
        one
        for one in PATHS
        if not set(one[1]) & {"failures", "network"} and "allow_downgrade" not in one[0]
    ],
)
def test_check_mode_foretells_what_a_real_run_does(make_host, params, scenario):
    host = make_host(**scenario)
    results = []
    for check in (True, False):
        try:
            result = host.apply(check=check, retries=0, **params)
            results.append(
                {
                    key: sorted(result[key]) if isinstance(result[key], list) else result[key]
                    for key in ("changed", "failed", "installed", "removed", "cves_fixed")
                }
            )
        except apply.Refused as refused:
            results.append(str(refused))
    assert results[0] == results[1]
    if isinstance(results[1], dict) and not results[1]["failed"]:
        again = host.apply(retries=0, **params)
        assert not again["changed"] and not again["failed"]


@pytest.mark.parametrize(
    "params, installed, check, runs",
    [
        ({}, [], False, [["uptrack-upgrade", "-y"]]),
        ({}, [], True, [["uptrack-upgrade", "-n"]]),
        (
            {"state": "present", "updates": ["bbbbbbb2"]},
            [],
            False,
            [["uptrack-install", "-n", "bbbbbbb2"], ["uptrack-install", "-y", "bbbbbbb2"]],
        ),
        (
            {"state": "present", "updates": ["bbbbbbb2"]},
            [],
            True,
            [["uptrack-install", "-n", "bbbbbbb2"]],
        ),
        ({"state": "present", "updates": ["bbbbbbb2"]}, IDS, False, []),
        ({"state": "present", "cves": ["CVE-2026-1003"]}, IDS, False, []),
        (
            {"state": "absent", "updates": ["ddddddd4"]},
            IDS,
            False,
            [["uptrack-remove", "-y", "ddddddd4"]],
        ),
        ({"state": "absent", "updates": ["ddddddd4"]}, IDS[:2], False, []),
        ({"state": "absent", "all": True}, [], False, []),
        ({"state": "absent", "all": True}, IDS, False, [["uptrack-remove", "-y", "--all"]]),
    ],
)
def test_the_agent_is_started_as_few_times_as_the_answer_allows(
    make_host, params, installed, check, runs
):
    host = make_host(installed=installed)
    assert not host.apply(check=check, **params)["failed"]
    assert host.agent_runs() == runs
    # And one probe before, one after a change.
    assert len(host.commands) - len(runs) == (2 if runs and not check else 1)


# ---- exact lists ---------------------------------------------------------------------------------


def test_exact_takes_what_the_canary_took_and_tells_what_it_left(make_host):
    canary = make_host(updates=[dict(one) for one in UPDATES[:3]])
    took = canary.apply()["installed"]
    host = make_host()  # by now the service has a fourth
    result = host.apply(state="present", updates=took, exact=True)
    assert result["installed"] == took == IDS[:3] == host.in_kernel()
    assert [one["id"] for one in result["left"]] == ["ddddddd4"] == result["remaining"]
    left = result["left"][0]
    assert left["name"].startswith("Improved fix") and left["cves"] == ["CVE-2026-1002"]
    assert (
        re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", left["first_seen"])
        and 0 <= left["age"] < 3600
    )
    assert not host.apply(state="present", updates=took, exact=True)["changed"]


UPDATES = [
    {"id": "aaaaaaa1", "name": "Known exploit detection."},
    {"id": "bbbbbbb2", "name": "CVE-2026-1001: Foo."},
    {"id": "ccccccc3", "name": "CVE-2026-1003: Bar.", "requires": ["bbbbbbb2"]},
]


def test_exact_refuses_what_comes_along(make_host):
    host = make_host(updates=UPDATES)
    with pytest.raises(apply.Refused, match="would also install bbbbbbb2"):
        host.apply(state="present", updates=["ccccccc3"], exact=True)
    assert host.in_kernel() == []
    assert host.apply(state="present", updates=["ccccccc3"])["installed"] == [
        "bbbbbbb2",
        "ccccccc3",
    ]


def test_absent_tells_what_the_removal_took_along(make_host):
    last = {"id": "ddddddd4", "name": "CVE-2026-1004: Baz.", "requires": ["ccccccc3"]}
    host = make_host(updates=UPDATES + [last], installed=IDS)
    result = host.apply(state="absent", updates=["ccccccc3"])
    assert result["removed"] == ["ccccccc3", "ddddddd4"] and result["took_along"] == ["ddddddd4"]
    assert host.in_kernel() == IDS[:2]


def test_a_cve_is_fixed_by_all_updates_that_name_it(make_host):
    host = make_host()
    result = host.apply(state="present", cves=["CVE-2026-1002"])
    assert (
        result["installed"] == ["bbbbbbb2", "ddddddd4"] and "CVE-2026-1002" in result["cves_fixed"]
    )


# ---- effective versions --------------------------------------------------------------------------


@pytest.mark.parametrize("blank", ["after", "before", "absent"])
def test_effective_goes_up_to_a_version_and_no_further(make_host, blank):
    host = make_host(list_effective_blank_line=blank, **OFFLINE)
    result = host.apply(effective=BUILD % 304)
    assert not result["failed"] and host.in_kernel() == IDS[:3]
    assert result["after"]["effective"] == "5.15.0-304.167.6.el9uek.x86_64"
    assert host.facts()["kernel"]["effective_build"] == BUILD % 304
    assert not host.apply(effective=BUILD % 304)["changed"]
    assert host.apply(effective=BUILD % 305)["installed"] == ["ddddddd4"]


def test_effective_goes_down_only_when_asked(make_host):
    host = make_host(installed=IDS, **OFFLINE)
    with pytest.raises(apply.Refused, match="allow_downgrade=true permits"):
        host.apply(effective=BUILD % 303)
    assert host.in_kernel() == IDS
    result = host.apply(effective=BUILD % 303, allow_downgrade=True)
    assert not result["failed"] and host.in_kernel() == IDS[:2]
    assert (
        result["removed"] == ["ccccccc3", "ddddddd4"]
        and result["after"]["effective"] == "5.15.0-303.167.6.el9uek.x86_64"
    )


def test_effective_must_be_one_that_there_is(make_host):
    with pytest.raises(
        apply.Refused, match="'5.15.0-999' is not available.*available are: 5.15.0-303"
    ):
        make_host(**OFFLINE).apply(effective="5.15.0-999")
    with pytest.raises(apply.Refused, match="only the offline client"):
        make_host().apply(effective=BUILD % 304)


# ---- how it may end ------------------------------------------------------------------------------

ENDS = [
    ({"network": "dns"}, 10, "transient"),
    ({"network": "tls"}, 10, "host"),
    ({"network": "proxy"}, 10, "host"),
    ({"network": "server_error"}, 18, "transient"),
    ({"unsupported": True}, 13, "unsupported"),
    ({"access_key": "bad"}, 14, "licence"),
    ({"access_key": "expired"}, 17, "licence"),
    ({"access_key": "missing"}, 20, "licence"),
    ({"access_key": "not_activated"}, 19, "licence"),
    ({"client": {"required_to_parse": "9.9.9"}}, 16, "agent"),
    ({"client": {"required_to_install": "9.9.9"}}, 15, "agent"),
    ({"bad_signature": True}, 1, "agent"),
    ({"error": {"code": 42, "message": "Go away."}}, 42, "unknown"),
    ({"crash": True}, 255, "agent"),
    ({"network": "plan_refused"}, 18, "transient"),
    ({"depmod_fails": True}, 1, "host"),
]


@pytest.mark.parametrize("scenario, rc, error_class", ENDS, ids=lambda value: str(value)[:40])
def test_every_end_has_a_class_and_a_sentence(make_host, scenario, rc, error_class):
    result = make_host(**scenario).apply(retries=0)
    assert result["failed"] and (result["rc"], result["error_class"]) == (rc, error_class), result[
        "msg"
    ]
    assert re.match(r"^[A-Z].*[.)]$", result["msg"]) and "\n" not in result["msg"]
    # What happened, what was left, what to do.
    assert ("The kernel was not changed" in result["msg"]) == (not result["changed"])
    assert len(result["msg"].split(". ")) >= 2


def test_every_status_of_the_reference_has_a_meaning():
    for status in (1, 2, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 255):
        found = exit_status.MEANINGS[status]
        assert (
            found.error_class in ("transient", "host", "licence", "unsupported", "agent", "unknown")
            and found.what
            and found.advice
        )
    assert exit_status.meaning(99).error_class == "unknown"


ABORTS = {
    "code_busy": ("code_busy", "transient"),
    "out_of_memory": ("out_of_memory", "transient"),
    "no_match": ("no_match", "host"),
    "failed_to_find": ("no_match", "host"),
    "unexpected": ("unexpected", "host"),
    "bad_system_map": ("unexpected", "host"),
}


@pytest.mark.parametrize("abort", sorted(ABORTS))
def test_every_way_an_update_may_be_refused(make_host, abort):
    host = make_host(
        failures=[
            {"id": "bbbbbbb2", "abort": abort, "modules": ["evil_mod"], "processes": [["bash", 77]]}
        ]
    )
    result = host.apply(retries=0)
    reason, error_class = ABORTS[abort]
    assert (result["failures"][0]["reason"], result["error_class"]) == (reason, error_class)
    assert (
        result["failures"][0]["id"] == "bbbbbbb2"
        and result["failures"][0]["verb"] == "install"
        and result["installed"] == ["aaaaaaa1"]
    )
    assert result["verdict"] == "blocked" == host.facts()["verdict"]


@pytest.mark.parametrize("abort", ["module_busy", "cold_update_loaded", "code_busy"])
def test_an_update_that_will_not_come_out(make_host, abort):
    host = make_host(
        installed=IDS,
        failures=[
            {
                "id": "ddddddd4",
                "abort": abort,
                "verb": "remove",
                "modules": ["loop"],
                "processes": [["sh", 5]],
            }
        ],
    )
    result = host.apply(state="absent", updates=["ddddddd4"], retries=0)
    assert (
        result["failed"]
        and result["failures"][0]["verb"] == "remove"
        and "could not be removed" in result["msg"]
    )
    assert host.in_kernel() == IDS and not result["changed"]


def test_busy_code_gets_its_further_chances(make_host):
    host = make_host(
        failures=[{"id": "bbbbbbb2", "abort": "code_busy", "times": 2, "processes": [["bash", 77]]}]
    )
    result = host.apply()
    assert (
        not result["failed"]
        and result["attempts"] == 3
        and host.in_kernel() == IDS
        and result["installed"] == IDS
    )


def test_an_agent_that_dies_half_way(make_host):
    host = make_host(faults=[{"dies_after": 2, "times": 1}])
    result = host.apply(retries=0)
    assert (
        result["failed"]
        and result["changed"]
        and result["installed"] == IDS[:2] == host.in_kernel()
    )
    assert "killed by signal 9" in result["msg"] and result["verdict"] in ("unknown", "behind")
    assert not host.apply()["failed"] and host.in_kernel() == IDS
