# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Each trap of the reference's section 9 that the modules can step into, tried on an emulated host.

The traps about packages (17, 18, 22 in part) belong to what installs packages.
"""

import fcntl
import os

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.agent import apply
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import conf, configure

IDS = ["aaaaaaa1", "bbbbbbb2", "ccccccc3", "ddddddd4"]
BUSY = {"id": "ccccccc3", "abort": "code_busy", "processes": [["bash", 1234], ["rsyslogd -n", 812]]}
STUCK = {"id": "ccccccc3", "abort": "no_match", "modules": ["falcon_lsm"]}


def test_trap_1_changed_comes_from_the_kernel_also_when_the_run_failed(make_host):
    host = make_host(failures=[STUCK])
    result = host.apply()
    assert result["failed"] and result["changed"]
    assert result["installed"] == IDS[:2] == host.in_kernel()
    assert result["after"]["updates"] == IDS[:2]
    assert result["remaining"] == IDS[2:]
    again = host.apply()
    assert again["failed"] and not again["changed"] and again["installed"] == []


def test_trap_2_an_update_removed_and_reinstalled_in_one_plan_did_not_change(make_host):
    updates = [
        {"id": "aaaaaaa1", "name": "Old."},
        {"id": "bbbbbbb2", "name": "Kept."},
        {"id": "ccccccc3", "name": "New, in place of the old.", "supersedes": ["aaaaaaa1"]},
    ]
    host = make_host(updates=updates, installed=["aaaaaaa1", "bbbbbbb2"])
    checked = host.apply(check=True)
    result = host.apply()
    assert result["installed"] == checked["installed"] == ["ccccccc3"]
    assert result["removed"] == checked["removed"] == ["aaaaaaa1"]
    assert result["changed"] and checked["changed"]
    assert host.in_kernel() == ["bbbbbbb2", "ccccccc3"]


def test_trap_3_the_words_of_the_preview_are_read_too(make_host):
    result = make_host().apply(check=True)
    assert result["changed"] and result["installed"] == IDS


def test_trap_4_check_mode_leaves_the_kernel_alone(make_host):
    host = make_host(installed=IDS[:1])
    for params in (
        {},
        {"state": "present", "updates": ["ccccccc3"]},
        {"state": "absent", "all": True},
    ):
        result = host.apply(check=True, **params)
        assert result["changed"] and not result["failed"]
        assert host.in_kernel() == IDS[:1]


def test_trap_5_what_is_available_has_an_age(make_host):
    host = make_host(checked="-100000s")
    assert host.facts()["verdict"] == "unknown"
    assert host.facts(max_age=200000)["verdict"] == "behind"
    assert 100000 <= host.facts()["checked_age"] < 100060
    never = make_host(checked=None).facts()
    assert never["verdict"] == "unknown" and never["updates"]["available"] is None


def test_trap_6_a_preview_with_work_ends_with_12_and_is_no_failure(make_host):
    result = make_host().apply(check=True, state="present", updates=["bbbbbbb2"])
    assert not result["failed"] and result["changed"]


def test_trap_7_an_unknown_id_is_an_error_before_anything_runs(make_host):
    host = make_host()
    with pytest.raises(apply.Refused, match="does not know zzzzzzz9"):
        host.apply(state="present", updates=["bbbbbbb2", "zzzzzzz9"])
    assert host.in_kernel() == []
    assert [command[:2] for command in host.agent_runs()] == [["uptrack-install", "-n"]]


def test_trap_7_an_id_in_the_kernel_already_costs_no_run_of_the_agent(make_host):
    host = make_host(installed=IDS[:2])
    result = host.apply(state="present", updates=["bbbbbbb2"])
    assert not result["changed"] and not result["failed"] and host.agent_runs() == []


def test_trap_8_some_ids_are_never_asked_of_upgrade(make_host):
    host = make_host()
    host.apply(state="present", updates=["bbbbbbb2"])
    assert {command[0] for command in host.agent_runs()} == {"uptrack-install"}
    assert host.in_kernel() == ["bbbbbbb2"]


def test_trap_9_alerts_before_the_plan_and_wrapped_paragraphs(make_host):
    alert = (
        "Your kernel reaches its end of life soon. Install [zzzzzzz9] is what this alert says to "
        "confuse a careless reader of lines. "
    ) * 3
    host = make_host(alert=alert, failures=[BUSY])
    result = host.apply(check=True)
    assert result["installed"] == IDS
    result = host.apply(retries=0)
    assert [(f["id"], f["reason"]) for f in result["failures"]] == [("ccccccc3", "code_busy")]
    assert result["failures"][0]["processes"] == [
        {"name": "bash", "pid": 1234},
        {"name": "rsyslogd -n", "pid": 812},
    ]


def test_trap_10_effective_is_in_the_notation_of_uname(make_host):
    seen = make_host(installed=IDS[:2]).facts()
    assert seen["kernel"]["booted"] == "5.15.0-302.167.6.el9uek.x86_64"
    assert seen["kernel"]["effective"] == "5.15.0-303.167.6.el9uek.x86_64"
    ubuntu = {
        "release": "5.15.0-100-generic",
        "version": "#110-Ubuntu SMP Wed Feb 7 13:27:48 UTC 2024",
        "package_version": "5.15.0-100.110",
    }
    seen = make_host(
        kernel=ubuntu,
        installed=["aaaaaaa1"],
        updates=[
            {
                "id": "aaaaaaa1",
                "name": "CVE-2026-1: Foo.",
                "effective": {
                    "release": "5.15.0-105-generic",
                    "version": "#115-Ubuntu SMP Mon Apr 15 09:52:04 UTC 2024",
                    "package_version": "5.15.0-105.115",
                },
            }
        ],
    ).facts()
    assert seen["kernel"]["effective"] == "5.15.0-105-generic"
    assert seen["kernel"]["effective_package"] == "5.15.0-105.115"


def test_trap_10_a_patched_host_may_be_effectively_what_was_booted(make_host):
    seen = make_host(installed=IDS[:1]).facts()
    assert seen["kernel"]["effective"] == seen["kernel"]["booted"]


def test_trap_11_a_kernel_the_service_does_not_know_is_a_choice(make_host):
    host = make_host(unsupported=True)
    result = host.apply()
    assert result["failed"] and result["error_class"] == "unsupported" and result["rc"] == 13
    result = host.apply(unsupported="ignore")
    assert not result["failed"] and not result["changed"] and result["warnings"]
    assert result["verdict"] == "unsupported" == host.facts("always")["verdict"]


def test_trap_12_the_proxy_s_password_is_cut_out_of_the_agent_s_error(make_host):
    password = "s3cr%40et-pass-word"
    proxy = (
        "http://patching:"
        + password.replace("%", "%%")
        + "@a-rather-long-name-of-a-proxy.example.com:3128"
    )
    host = make_host(network="proxy", config={"Network": {"https_proxy": proxy}})
    result = host.apply(retries=0)
    assert result["failed"] and "proxy" in result["msg"]
    everything = repr(result) + host.probe("always")
    assert "".join(everything.split()).count(password) == 0
    assert "pass-word" not in everything


def test_trap_13_what_the_parser_chokes_on_is_never_written():
    for section, name, value in (
        ("Settings", "autoinstall", ""),
        ("Settings", "autoinstall", "y"),
        ("Network", "ssl_ca_cert_file", ""),
        ("Auth", "accesskey", "two words"),
        ("Network", "update_repo_url", "https://a ; b"),
    ):
        assert conf.value_problem(section, name, value), (name, value)
    new = conf.edit(
        "[Network]\nhttps_proxy =\n", {("Network", "https_proxy"): "http://u:p%40ss@h:1"}
    )
    assert "https_proxy = http://u:p%%40ss@h:1\n" in new and conf.problems(new) == []


def test_trap_13_one_bad_value_breaks_every_command_and_the_facts_say_where(make_host):
    host = make_host()
    host.write(
        "etc/uptrack/uptrack.conf",
        "[Auth]\naccesskey = %s\n\n[Settings]\nautoinstall =\n" % ("0123456789abcdef" * 4),
    )
    seen = host.facts()
    assert seen["verdict"] == "unknown" and "line 5 autoinstall must be yes or no" in seen["reason"]
    # What the agent makes of it is for the agent to say; which line it is, for us.
    result = host.apply()
    assert (
        result["failed"]
        and result["error_class"] == "host"
        and any("line 5" in words for words in result["warnings"])
        and not result["changed"]
    )


@pytest.mark.parametrize(
    "wish, written",
    [
        ("http://h:1", "https_proxy = http://h:1"),
        ("none", "https_proxy = None"),
        ("", "https_proxy ="),
        (None, "https_proxy = http://old:1"),
    ],
)
def test_trap_14_the_proxy_has_three_states_and_null_is_none_of_them(wish, written):
    params = {option: None for option in configure.arguments()}
    params.update(extra={}, https_proxy=wish)
    new = conf.edit("[Network]\nhttps_proxy = http://old:1\n", configure.wishes(params))
    assert new == f"[Network]\n{written}\n"


def test_trap_15_the_lock_is_waited_for_and_never_removed(make_host):
    host = make_host()
    lock = host.path("var/lib/uptrack/lock")
    with open(lock, "w") as other_run:
        fcntl.flock(other_run, fcntl.LOCK_EX)
        host.on_sleep = lambda: len(host.slept) == 2 and fcntl.flock(other_run, fcntl.LOCK_UN)
        before = os.stat(lock).st_ino
        result = host.apply()
    assert not result["failed"] and result["attempts"] == 3 and len(host.slept) == 2
    assert host.in_kernel() == IDS and os.stat(lock).st_ino == before


def test_trap_15_waiting_for_the_lock_has_an_end(make_host):
    host = make_host(lock_held=3600)
    result = host.apply(lock_timeout=30)
    assert (
        result["failed"]
        and result["error_class"] == "transient"
        and "nother run of the agent" in result["msg"]
    )
    assert sum(host.slept) <= 30 and not result["changed"]


def test_trap_16_disabled_blocks_removal_too(make_host):
    host = make_host(installed=IDS[:2], disabled=True)
    assert host.facts()["verdict"] == "disabled"
    for params in ({}, {"state": "absent", "all": True}):
        with pytest.raises(apply.Refused, match="/etc/uptrack/disable"):
            host.apply(**params)
    assert host.in_kernel() == IDS[:2] and host.agent_runs() == []


def test_trap_19_the_switch_against_unloading_modules_is_an_option():
    assert configure.arguments()["no_rmmod"]["type"] == "bool"


def test_trap_20_a_removal_without_the_service_succeeds_with_status_10(make_host):
    host = make_host(installed=IDS, network="dns")
    result = host.apply(state="absent", all=True, retries=0)
    assert host.in_kernel() == []
    assert not result["failed"] and result["changed"] and result["rc"] == 10
    assert result["removed"] == IDS and result["warnings"]
    assert result["cves_open"] == ["CVE-2026-1001", "CVE-2026-1002", "CVE-2026-1003"]


def test_trap_21_facts_need_neither_root_nor_key(make_host):
    seen = make_host(user="other", installed=IDS[:2]).facts()
    assert seen["verdict"] == "unknown" and "root" in seen["reason"]
    assert seen["kernel"]["booted"] == "5.15.0-302.167.6.el9uek.x86_64"
    seen = make_host(access_key="missing", checked=None).facts("always")
    assert seen["verdict"] == "unknown" and "no access key" in seen["reason"].lower()


def test_trap_22_the_agent_is_found_by_its_commands(make_host):
    assert make_host(agent=False).facts()["verdict"] == "absent"
    seen = make_host(client={"enhanced": True}).facts()
    assert seen["agent"] == {
        "installed": True,
        "enhanced": True,
        "disabled": False,
        "last_run": seen["agent"]["last_run"],
        "uuid": seen["agent"]["uuid"],
    }
    with pytest.raises(apply.Refused, match="No Ksplice agent"):
        make_host(agent=False).apply()


def test_trap_23_what_blocks_an_update_is_reported_and_not_killed(make_host):
    host = make_host(failures=[STUCK])
    result = host.apply()
    assert result["error_class"] == "host" and result["failures"][0]["modules"] == ["falcon_lsm"]
    assert "falcon_lsm" in result["msg"] and "unload it" in result["msg"]


def test_trap_24_a_container_is_refused_before_anything_is_done(make_host):
    host = make_host(container=True)
    assert host.facts("always")["verdict"] == "unsupported"
    with pytest.raises(apply.Refused, match="/sys/module") as refused:
        host.apply()
    assert refused.value.error_class == "unsupported" and host.agent_runs() == []


def test_trap_25_what_is_transient_is_tried_again_with_growing_waits(make_host):
    host = make_host(
        faults=[{"network": "dns", "times": 1}, {"network": "server_error", "times": 1}]
    )
    result = host.apply(retry_delay=10)
    assert not result["failed"] and result["attempts"] == 3 and host.in_kernel() == IDS
    assert host.slept[1] == 2 * host.slept[0] and 5 <= host.slept[0] <= 15
    host = make_host(network="dns")
    result = host.apply(retries=2)
    assert (
        result["failed"]
        and result["attempts"] == 3
        and result["rc"] == 10
        and result["error_class"] == "transient"
    )
