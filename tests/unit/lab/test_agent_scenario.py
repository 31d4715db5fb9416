# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""Scenarios: mistakes are named in one line; those that come with the agent do what they say."""

import calendar
import glob
import json
import os
import time

import emulated_host
import pytest
from agent_host import AGENT_DIR, ENABLE, FIRST, KERNEL, SECOND, Host, line, plain
from extent import rounds
from hypothesis import given, settings
from hypothesis import strategies as st
from uptrack_lab import scenario_check

SCENARIOS = sorted(glob.glob(os.path.join(AGENT_DIR, "scenarios", "*.json")))


def wrong(**changes):
    scenario = {"kernel": KERNEL, "updates": [dict(ENABLE), dict(FIRST), dict(SECOND)]}
    scenario.update(changes)
    return {key: value for key, value in scenario.items() if value is not Ellipsis}


@pytest.mark.parametrize(
    "raw,message",
    [
        (wrong(kernel=...), "kernel: is missing, and has to be given"),
        (wrong(kernel={"release": "x"}), "kernel.version: is missing, and has to be given"),
        (
            wrong(kernel={"release": "a/b", "version": "x"}),
            "kernel.release: must be a text without slash or line break, and not empty",
        ),
        (wrong(netwrok="ok"), "netwrok: there is no such key; did you mean 'network'?"),
        (
            wrong(updates=[ENABLE, FIRST, SECOND, {"id": "d", "nmae": "x"}]),
            "updates[3].nmae: there is no such key; did you mean 'name'?",
        ),
        (
            wrong(updates=[{"id": "Abc", "name": "x"}]),
            'updates[0].id: an ID has only lower-case letters and digits, not "Abc"',
        ),
        (
            wrong(updates=[ENABLE, FIRST, dict(ENABLE)]),
            "updates[2].id: 'aaaa1111' is already that of updates[0]; give each update its own",
        ),
        (
            wrong(updates=[ENABLE, dict(FIRST, requires=["aaaa1112"])]),
            "updates[1].requires[0]: no update has the ID 'aaaa1112'; did you mean 'aaaa1111'?",
        ),
        (
            wrong(updates=[dict(ENABLE, supersedes=["aaaa1111"])]),
            "updates[0].supersedes: names the update itself; take it out",
        ),
        (
            wrong(
                updates=[dict(ENABLE, requires=["bbbb2222"]), dict(FIRST, requires=["aaaa1111"])]
            ),
            "updates[0].requires: leads back to 'aaaa1111' itself; break the circle",
        ),
        (wrong(updates={}), "updates: must be a list in [ ], not {}"),
        (wrong(installed=["zzz"]), "installed[0]: no update has the ID 'zzz'"),
        (
            wrong(installed=["aaaa1111", "aaaa1111"]),
            "installed[1]: 'aaaa1111' is there twice; take one out",
        ),
        (
            wrong(failures=[{"id": "bbbb2222", "abort": "code_bussy"}]),
            "failures[0].abort: must be one of no_match, ",
        ),
        (
            wrong(failures=[{"id": "zzz", "abort": "code_busy"}]),
            "failures[0].id: no update has the ID 'zzz'",
        ),
        (
            wrong(failures=[{"id": "bbbb2222", "abort": "code_busy", "processes": ["bash"]}]),
            'failures[0].processes[0]: must be a pair like ["bash", 1234], not "bash"',
        ),
        (
            wrong(faults=[{"network": "dns", "time": 2}]),
            "faults[0].time: there is no such key; did you mean 'times'?",
        ),
        (wrong(lock_wait="10"), 'lock_wait: must be a number, 0 or more, not "10"'),
        (wrong(lock_wait=True), "lock_wait: must be a number, 0 or more, not true"),
        (
            wrong(checked="yesterday"),
            'checked: must be a moment like "2026-11-22T02:40:00Z", or seconds from',
        ),
        (
            wrong(checked="2026-13-22T02:40:00Z"),
            'checked: must be a moment like "2026-11-22T02:40:00Z", or seconds from',
        ),
        (wrong(config={"Auth": "x"}), 'config.Auth: must be a mapping of keys, not "x"'),
        (wrong(disabled=1), "disabled: must be true or false, not 1"),
        (
            wrong(user_space={"processes": [{"name": "a", "pid": 1}]}),
            "user_space.processes[0].target: is missing, and has to be given",
        ),
        (
            wrong(other_kernels=[{"kernel": {"release": "x"}}]),
            "other_kernels[0].kernel.version: is missing, and has to be given",
        ),
        ([], "the whole: must be a mapping in { }, not []"),
    ],
)
def test_mistakes(tmp_path, raw, message):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(emulated_host.ScenarioError) as caught:
        emulated_host.create_host(str(tmp_path / "host"), str(path), str(tmp_path / "program"))
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "host").exists()


@pytest.mark.parametrize(
    "text,message",
    [
        ("{", "is not JSON: "),
        (
            '{"kernel": {}, "kernel": {}}',
            "is not JSON: the key 'kernel' is there twice in one mapping",
        ),
    ],
)
def test_not_json(tmp_path, text, message):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(emulated_host.ScenarioError) as caught:
        emulated_host.read_scenario(str(path))
    assert str(caught.value).startswith(f"{path}: {message}")


def test_every_key_is_in_the_readme():
    with open(os.path.join(AGENT_DIR, "README.md"), encoding="utf-8") as stream:
        readme = stream.read()
    check = scenario_check.check(
        {
            "kernel": KERNEL,
            "updates": [ENABLE],
            "failures": [{"id": "aaaa1111", "abort": "OTHER"}],
            "user_space": {"processes": [{"name": "a", "pid": 1, "target": "b"}]},
        }
    )
    inner = [
        check["kernel"],
        check["client"],
        check["updates"][0],
        check["failures"][0],
        check["user_space"]["processes"][0],
        dict.fromkeys(scenario_check.PASSING),
    ]
    for keys in [check] + inner:
        assert [key for key in keys if f"`{key}`" not in readme and f'"{key}"' not in readme] == []


def test_agent_names_a_broken_scenario(make_host):
    host = make_host()
    path = "var/lib/uptrack-lab/scenario.json"
    host.write(path, json.dumps(wrong(netwrok="dns")))
    said = f"{host.path(path)}: netwrok: there is no such key; did you mean 'network'?\n"
    for name in ("uptrack-upgrade", "uptrack-uname", "uname"):
        assert host.full(name) == (78, "", said)
    os.unlink(host.path("var/lib/uptrack-lab/scenario.json"))
    status, out, err = host.full("uptrack-show")
    assert (status, out, "there is no scenario" in err) == (78, "", True)


def test_scenario_changed_by_hand_counts_at_once(make_host):
    host = make_host()
    assert host.run("show")[0] == 0
    raw = json.loads(host.read("var/lib/uptrack-lab/scenario.json"))
    raw["access_key"] = "bad"
    host.write("var/lib/uptrack-lab/scenario.json", json.dumps(raw))
    assert host.run("upgrade", "-n")[0] == 14


def test_spoiled_checked_form_is_made_anew(make_host):
    host = make_host()
    for spoiled in ("", "rubbish", "\0"):
        host.write("var/lib/uptrack-lab/scenario.json.checked", spoiled)
        assert host.run("show")[0] == 0


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    sorted(scenario_check.SCENARIO_KEYS) + ["id", "name", "requires", "release"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=rounds(300), deadline=None)
def test_any_document_is_a_scenario_or_one_line(raw):
    try:
        scenario_check.check(raw)
    except scenario_check.ScenarioError as error:
        assert "\n" not in str(error)


@given(st.integers(0, 4102444800))
def test_moments(seconds):
    text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    assert scenario_check.parse_moment(text) == seconds == calendar.timegm(time.gmtime(seconds))


# ---- those that come with the agent --------------------------------------------------------------

WANTED = {
    "fresh_host": (0, "Install [k3v9x2ma]"),
    "up_to_date": (0, "Nothing to be done."),
    "one_pending": (0, "Install [lx0gzdnf]"),
    "hundred_pending": (0, "Remove [qkq98r33]"),
    "busy_then_success": (0, "Install [lx0gzdnf]"),
    "no_match_with_modules": (0, "Install [q7hwz1rn]"),
    "half_applied": (0, "Install [q7hwz1rn]"),
    "dies_half_way": (0, "Install [q7hwz1rn]"),
    "bad_key": (14, "with your access key."),
    "missing_key": (20, "You must specify an access key"),
    "expired": (
        17,
        "Your Ksplice Uptrack subscription ended on 2026-10-31. Installing updates is disabled.",
    ),
    "service_503": (18, "transient error"),
    "dns_failure": (10, "Could not resolve host"),
    "proxy_with_password": (10, "(http://lab:h0peless@proxy.example.com:3128)"),
    "unsupported_kernel": (13, "probably not yet supported"),
    "disabled": (1, "Uptrack disabled by system administrator"),
    "container": (21, "/sys/module was not found"),
    "eol_alert": (0, "no longer be supported"),
    "cron_output_warning": (0, "Warning: The cron output configuration options have been removed."),
    "ubuntu": (0, "Effective kernel version is 5.15.0-60.66"),
    "unknown_effective": (0, "The following steps will be taken:"),
    "odd_names": (0, 'Install [aa00odd2] XSA-300: No CVE: [two] "colons" & more'),
    "offline_blank_after": (0, "Install [lx0gzdnf]"),
    "offline_blank_before": (0, "Install [lx0gzdnf]"),
    "offline_blank_absent": (0, "Install [lx0gzdnf]"),
    "known_exploit_detection": (0, "Install [lx0gzdnf]"),
    "enhanced_user_space": (0, "Install [lx0gzdnf]"),
}


@pytest.mark.parametrize("path", SCENARIOS, ids=[os.path.basename(path)[:-5] for path in SCENARIOS])
def test_scenarios(tmp_path, program_dir, path):
    name = os.path.basename(path)[:-5]
    host = Host(tmp_path / "host", path, program_dir)
    assert host.scenario["comment"].endswith(".")
    if name.startswith("lock_held"):
        host.change(
            lock_held=1.5, lock_wait=0 if name.endswith("30s") else 5
        )  # the same thing, but quick
        assert host.run("upgrade", "-n")[0] == (1 if name.endswith("30s") else 0)
        return
    status, words = WANTED[name]
    got, out = host.run("upgrade", "-n")
    assert (got, words in plain(out)) == (status, True)


def test_hundred_pending(tmp_path, program_dir):
    host = Host(
        tmp_path / "host", os.path.join(AGENT_DIR, "scenarios", "hundred_pending.json"), program_dir
    )
    out = host.run("upgrade", "-y")[1].split("\n")
    ids = {
        verb: [row.split("[")[1].split("]")[0] for row in out if row.startswith(verb + " ")]
        for verb in ("Remove", "Install", "Removing", "Installing")
    }
    assert ids["Remove"] == ids["Removing"] and ids["Install"] == ids["Installing"]
    assert (len(ids["Remove"]), len(ids["Install"])) == (7, 117)
    assert len(set(ids["Remove"]) & set(ids["Install"])) == 6
    assert host.run("upgrade", "-n")[1].endswith("Nothing to be done.\n")


def test_busy_then_success(tmp_path, program_dir):
    host = Host(
        tmp_path / "host",
        os.path.join(AGENT_DIR, "scenarios", "busy_then_success.json"),
        program_dir,
    )
    host.change(retry_wait=0)
    assert [host.run("upgrade", "-y")[0] for dummy in range(3)] == [1, 1, 0]


def test_odd_names_survive(tmp_path, program_dir):
    host = Host(
        tmp_path / "host", os.path.join(AGENT_DIR, "scenarios", "odd_names.json"), program_dir
    )
    host.run("upgrade", "-y")
    names = "".join(line(update) for update in host.scenario["updates"])
    assert host.run("show")[1].startswith("Installed updates:\n" + names + "\n")


def test_by_hand(tmp_path, capsys):
    good = os.path.join(AGENT_DIR, "scenarios", "one_pending.json")
    assert emulated_host.main(["check", good]) == 0
    assert emulated_host.main(["create", str(tmp_path / "h"), good]) == 0
    assert (
        capsys.readouterr().out
        == f"UPTRACK_LAB_ROOT={tmp_path}/h {tmp_path}/h/usr/sbin/uptrack-upgrade -n\n"
    )
    assert emulated_host.main(["create", str(tmp_path / "h"), good]) == 1
    assert emulated_host.main(["reboot", str(tmp_path / "h")]) == 0
    assert "Install [lx0gzdnf]" in capsys.readouterr().out  # from the late stage, which only looks
    assert emulated_host.main(["hold-lock", str(tmp_path / "h"), "0.1"]) == 0
    assert emulated_host.main(["check", "/nonexistent.json"]) == 1
    assert emulated_host.main(["dance"]) == 2
