# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The inventory plugin, the modules and the agents against the emulated service, by the real
commands. No host of these inventories can be connected to, but for the emulated ones.
"""

from __future__ import annotations

import json
import re
import shlex
import socket
import sys

import pytest
import yaml
from rehearsals import TOP, again, alone
from watched_arguments import watching

sys.path[:0] = [str(TOP / "tests/unit/lab"), str(TOP / "tests/unit/examples")]
from emulated_service import KEY, UPDATE, USER, emulated_service, seen  # noqa: E402
from examples import commands, fenced  # noqa: E402

ONE, TWO, THREE, FOUR, FIVE = (f"00000000-0000-4000-8000-00000000000{one}" for one in range(1, 6))
ALL = (ONE, TWO, THREE, FOUR, FIVE)
CREDENTIALS = {"UPTRACK_API_USERNAME": USER, "UPTRACK_API_KEY": KEY}
NOBODY = {"ansible_host": "nowhere.invalid", "ansible_connection": "ssh"}


@pytest.fixture(scope="module")
def ca_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("pki")


@pytest.fixture(scope="module", autouse=True)
def watch():
    with watching(KEY):
        yield


@pytest.fixture
def service(tmp_path, ca_dir):
    with emulated_service(tmp_path / "fleet/service", ca_dir) as one:
        yield one


@pytest.fixture
def run(fleet, service):
    """run(hosts, *words): a command over hosts that cannot be connected to, with the credentials in
    its environment. Whatever it does, the key is in no output, result or argument.
    """

    def command(hosts, *words, env=None):
        one = fleet({name: {**NOBODY, **(own or {})} for name, own in hosts.items()})
        words = (words[0], "-i", one.inventory, *words[1:])
        done = one.command(*words, env={**CREDENTIALS, **(env or {})})
        assert KEY not in done.output and KEY not in json.dumps(done.events)
        assert "UNREACHABLE" not in done.output
        return done

    return command


# ---- the inventory plugin ------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path, service):
    """source(**options): the path of an inventory source for the service."""

    def write(**options):
        path = tmp_path / "fleet.uptrack.yml"
        ours = {"url": service.running.url, "ca": service.running.ca}
        path.write_text(yaml.safe_dump({"plugin": "rebootless.ksplice.uptrack", **ours, **options}))
        return path

    return write


def machines(service):
    service.machine(ONE, "web1")
    service.machine(TWO, "twin", steps=[["Install", UPDATE]])
    service.machine(THREE, "twin")
    service.machine(FOUR, "gone", last_seen=seen(90_000))
    service.machine(FIVE, "new.example.com", unsupported=True)


def listed(done):
    """What ansible-inventory --list printed: hosts and their variables, groups and their hosts."""
    assert done.status == 0, done.output
    # Before the document come warnings.
    text = done.output[done.output.index("\n{") if done.output[0] != "{" else 0 :]
    found = json.loads(text, object_hook=lambda one: one.get("__ansible_unsafe", one))
    groups = {name: set(own.get("hosts", ())) for name, own in found.items() if name != "_meta"}
    return found["_meta"]["hostvars"], groups


def test_the_machines_join_the_inventory_that_is_there(run, service, source, tmp_path):
    machines(service)
    known = {"web1": {}, "db1": {}, "other": {}}
    beside = tmp_path / "host_vars"
    beside.mkdir()
    (beside / "db1.yml").write_text(f"ksplice_uuid: {TWO}\n")
    words = ("-i", source(describe=True), "--list")
    hosts, groups = listed(run(known, "ansible-inventory", *words))
    assert set(hosts) == {"web1", "db1", "other", "twin", "gone", "new.example.com"}
    assert {
        name: own["uptrack_machine"]["uuid"] for name, own in hosts.items() if name != "other"
    } == {
        "web1": ONE,
        "db1": TWO,
        "twin": THREE,
        "gone": FOUR,
        "new.example.com": FIVE,
    }
    assert hosts["db1"]["uptrack_machine"]["steps"] == [{"verb": "Install", **UPDATE}]
    assert groups["uptrack_inactive"] == {"gone"}
    assert groups["uptrack_status_outofdate"] == {"db1"}
    assert groups["uptrack_status_unsupported"] == {"new.example.com"}
    assert groups["uptrack_kernel_5_15_0_303_167_6_el9uek"] == set(hosts) - {"other"}
    # By nothing but their names, two machines may be twin: neither is guessed.
    done = run({"twin": {}}, "ansible-inventory", "-i", source(), "--graph")
    assert done.status == 0
    assert f"twin may be any of {TWO} and {THREE}" in " ".join(done.output.split())
    assert "|--new.example.com" in done.output and "@uptrack_authorization_allowed" in done.output


def test_no_machine_takes_the_place_of_another_host(run, service, source):
    """It chooses its name, and says which address it has."""
    names = ["localhost", "-oProxyCommand=x", "uptrack_active", "127.0.0.1", "web1"]
    for uuid, name in zip(ALL, names):
        service.machine(uuid, name, ip="192.0.2.66")
    words = "-i", source(compose={"ansible_host": "uptrack_machine.ip", "seen": "'yes'"}), "--list"
    hosts, _groups = listed(run({"web1": {}}, "ansible-inventory", *words))
    assert set(hosts) == {*ALL[:4], "web1"}
    assert hosts["web1"]["ansible_host"] == NOBODY["ansible_host"]
    assert hosts["web1"]["uptrack_machine"]["uuid"] == FIVE and hosts["web1"]["seen"] == "yes"
    assert {hosts[one]["ansible_host"] for one in ALL[:4]} == {"192.0.2.66"}


@pytest.mark.every_core
def test_what_a_machine_is_called_is_no_template(run, service, source, tmp_path):
    """The account's machines name themselves."""
    service.machine(ONE, "{{ 7 * 7 }}")
    service.machine(TWO, "web2", uptrack_client_version="{{ 7 * 7 }}")
    service.decide(TWO, group="{{ 7 * 7 }}")
    options = {"describe": True, "compose": {"client": "uptrack_machine.uptrack_client_version"}}
    options["keyed_groups"] = [{"key": "uptrack_machine.uptrack_client_version", "prefix": "is"}]
    show = {"msg": "{{ [inventory_hostname, uptrack_machine, client, group_names] }}"}
    play = {"name": "Show", "hosts": "all", "gather_facts": False}
    play["tasks"] = [{"name": "Show", "ansible.builtin.debug": show}]
    (tmp_path / "show.yml").write_text(yaml.safe_dump([play]))
    done = run({}, "ansible-playbook", "-i", source(**options), tmp_path / "show.yml")
    assert done.status == 0, done.output
    first, second = (done.result("Show", host)["msg"] for host in (ONE, "web2"))
    assert first[1]["hostname"] == second[2] == second[1]["group"] == "{{ 7 * 7 }}"
    assert second[3] == sorted(
        ["is____7___7___", "uptrack_active", "uptrack_authorization_allowed"]
        + ["uptrack_group____7___7___", "uptrack_kernel_5_15_0_303_167_6_el9uek"]
        + ["uptrack_status_uptodate"]
    )


def test_the_cache_spares_the_service_and_has_no_secret(run, service, source, tmp_path):
    machines(service)
    cache = {"cache": True, "cache_plugin": "jsonfile", "cache_connection": str(tmp_path / "cache")}
    words = ("ansible-inventory", "-vvv", "-i", source(**cache, filters={"active": True}), "--list")
    first = listed(run({"x": {}}, *words))
    assert FIVE in str(first) and FOUR not in str(first)
    asked = service.asked()
    assert listed(run({"x": {}}, *words)) == first and service.asked() == asked != []
    [file] = (tmp_path / "cache").iterdir()
    text = file.read_text()
    assert ONE in text and KEY not in text and USER not in text
    # To another question that is no answer.
    more = ("ansible-inventory", "-i", source(**cache, describe=True), "--list")
    assert "effective_kernel" in str(listed(run({"x": {}}, *more))) and "effective" not in text
    # Without it, it asks anew, and says what became of that.
    source(**cache, filters={"active": True})
    file.unlink()
    service.faults({"key": "rejected"})
    said = " ".join(run({"x": {}}, *words).output.split())
    assert "does not accept the API's user and key" in said and FIVE not in said


WRONG = {
    "credentials": ({"key": "wrong"}, "does not accept the API's user and key"),
    "trust": ({"ca": None}, "The certificate of 127.0.0.1 is not accepted"),
    "option": ({"filters": {"statsu": "x"}}, "filters has statsu"),
    "type": ({"filters": {"active": "yes"}}, "active: 'yes', but active is not true or false"),
    "word": (
        {"filters": {"status": ["uptodate", "outofdated"]}},
        "status: 'outofdated', but status is never outofdated: it is uptodate, outofdate,",
    ),
    "misspelt": ({"filtrs": {"active": True}}, "The source has filtrs"),
    "address": ({"url": "http://x"}, "url is no address"),
}


@pytest.mark.parametrize(
    "what",
    ["credentials", "word", *map(again, ("trust", "option", "type", "misspelt", "address"))],
)
def test_a_source_that_cannot_be_read_is_said_to_be_so(run, service, source, what):
    options, words = WRONG[what]
    machines(service)
    env = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true"}
    done = run({"x": {}}, "ansible-inventory", "-i", source(**options), "--list", env=env)
    assert done.status != 0 and words in " ".join(done.output.split())
    assert "No host was added" in " ".join(done.output.split()) and ONE not in done.output
    assert "ksplice_api" not in done.output


# ---- the modules ---------------------------------------------------------------------------------


@pytest.fixture
def play(run, service, tmp_path):
    """play(hosts, *tasks): the tasks as a play; each is a mapping of a module to its arguments and
    has other keys beside it. Returns the run, with C(results): of each task, by host.
    """

    def command(hosts, *tasks, options=(), env=None, **api):
        ours = {"api_url": service.running.url, "api_ca": service.running.ca, **api}
        path = tmp_path / "play.yml"
        document = {
            "name": "Ask the service",
            "hosts": "all",
            "gather_facts": False,
            "vars_files": [str(tmp_path / "vault.yml")],
            "module_defaults": {"group/rebootless.ksplice.service": ours},
            "tasks": [
                {"name": f"Task {number}", "ignore_errors": True, **task}
                for number, task in enumerate(tasks)
            ],
        }
        path.write_text(yaml.safe_dump([document], sort_keys=False))
        (tmp_path / "vault.yml").write_text(yaml.safe_dump({"vault_key": KEY}))
        done = run(hosts, "ansible-playbook", path, *options, env=env)
        assert done.status == 0, done.output
        done.results = [
            {
                event["host"]: event["result"]
                for event in done.events
                if event["task"].endswith(f"Task {number}")
            }
            for number in range(len(tasks))
        ]
        return done

    return command


INFO = "uptrack_machine_info"
OWN = {name: f"rebootless.ksplice.{name}" for name in ("uptrack_machine", INFO)}


def task(**arguments):
    return {OWN["uptrack_machine"]: arguments}


def test_a_machine_is_allowed_denied_and_grouped_once(play, service):
    machines(service)
    hosts = {"web1": {}, "db1": {"ksplice_uuid": TWO}}
    wish = task(authorized=False, group="web")
    done = play(
        hosts,
        {**wish, "check_mode": True},
        wish,
        wish,
        task(group=""),
        {OWN[INFO]: {"api_user": USER, "api_key": "{{ vault_key }}"}},
        options=["--diff", "-vvv"],
    )
    planned, first, second, _ungrouped, about = done.results
    for host, uuid in (("web1", ONE), ("db1", TWO)):
        states = [one[host]["machine"]["authorization"] for one in (planned, first, second)]
        assert states == ["denied"] * 3
        assert [one[host]["changed"] for one in done.results] == [True, True, False, True, False]
        assert (
            planned[host]["diff"]
            == first[host]["diff"]
            == {
                "before": {"authorization": "allowed", "group": ""},
                "after": {"authorization": "denied", "group": "web"},
            }
        )
        assert first[host]["machine"]["uuid"] == uuid
        [machine] = about[host]["machines"]
        assert (machine["uuid"], machine["authorization"]) == (uuid, "denied")
        assert machine["group"] == service.known(uuid)["group"] == ""
    # In check mode nobody was asked to change anything, and only what changes is.
    posts = [one[1:3] for one in service.asked() if one[0] == "POST"]
    assert sorted(posts) == sorted(
        (call, uuid) for uuid in (ONE, TWO) for call in ("authorize", "group", "group")
    )
    assert re.search(r"^- .*authorization.*allowed", done.output, re.MULTILINE)


def test_which_machine_it_is(play, service):
    machines(service)
    tasks = [
        task(uuid=FIVE, authorized=False),
        task(name="NEW.example.com", authorized=True),
        task(name="twin", authorized=False),
        task(uuid=FIVE[:-1] + "9", authorized=False),
        task(authorized=False),
        task(uuid=ONE, name="web1"),
        task(uuid="", authorized=False),
        {OWN[INFO]: {"name": " "}},
        {OWN[INFO]: {"name": "nobody"}},
        {OWN[INFO]: {"all": True, "describe": False}},
    ]
    done = play({"web1": {}, "nobody": {}}, *tasks, options=["--limit", "nobody"])
    found = [one["nobody"] for one in done.results]
    by_uuid, by_name, twins, deleted, host, both, *empty, asked, everyone = found
    assert [one["msg"].partition(" is empty: ")[0] for one in empty] == ["uuid", "name"]
    assert "Nothing was changed." in host["msg"] and "Nothing" not in asked["msg"]
    assert by_uuid["machine"]["authorization"] == "denied"
    assert by_name["changed"] and by_name["machine"]["authorization"] == "allowed"
    assert twins["error"] == "Ambiguous" and TWO in twins["msg"] and THREE in twins["msg"]
    assert deleted["error"] == "NotFound" and FIVE[:-1] + "9" in deleted["msg"]
    assert host["error"] == "NotFound" and "nobody" in host["msg"]
    assert "mutually exclusive" in both["msg"]
    assert [one["uuid"] for one in everyone["machines"]] == list(ALL)
    assert all(service.known(uuid)["authorization"] == "allowed" for uuid in ALL)


def test_what_goes_wrong_is_one_sentence_and_changes_nothing(play, service):
    machines(service)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        elsewhere = f"https://127.0.0.1:{closed.getsockname()[1]}/api/1"
    troubles = [
        ({"api_key": "{{ vault_key[1:] }}"}, "Rejected"),
        ({"api_key": "{{ vault_key }} "}, "Misconfigured"),
        ({"api_ca": "/nowhere"}, "Misconfigured"),
        ({"api_url": elsewhere}, "Unreachable"),
        ({"api_url": service.running.page}, "NotFound"),
        ({"api_ca": service.running.ca.replace("ca.crt", "self-signed.crt")}, "Untrusted"),
        ({}, "Untrusted"),
        ({}, "RateLimited"),
        ({}, "NotTheService"),
    ]
    # After the connections, and the one request, that reach the service before.
    service.faults(
        {"certificate": "self-signed", "skip": 3},
        {"calls": ["describe"], "skip": 1, "status": 429, "retry_after": 86400},
        {"calls": ["describe"], "skip": 1, "body": "html"},
    )
    wish = {"uuid": ONE, "authorized": False}
    tasks = [task(**{**wish, **more}) for more, _kind in troubles]
    done = play({"x": {}}, *tasks, {OWN[INFO]: {"uuid": ONE}}, options=["-vvv"])
    for found, (_more, kind) in zip(done.results, troubles):
        assert found["x"].get("error") == kind and "\n" not in found["x"]["msg"], found
    assert KEY[1:] not in done.output
    [machine] = done.results[-1]["x"]["machines"]
    assert machine["authorization"] == "allowed"


def test_what_was_done_before_an_error_is_said(play, service):
    """And what may have been, as the answer to it was torn."""
    machines(service)
    service.faults({"calls": ["group"], "key": "rejected"}, {"calls": ["group"], "body": "torn"})
    wish = task(uuid=ONE, authorized=False, group="web")
    first, torn, last = (one["x"] for one in play({"x": {}}, wish, wish, wish).results)
    assert [one["changed"] for one in (first, torn)] == [True, True]
    assert (first["error"], torn["error"]) == ("Rejected", "Unreachable")
    assert "authorization was set to 'denied', and group was not set to 'web'" in first["msg"]
    assert "group may have been set to 'web'" in torn["msg"] and "authorization" not in torn["msg"]
    assert not any("Nothing was changed" in one["msg"] for one in (first, torn))
    assert (last["machine"]["authorization"], last["machine"]["group"]) == ("denied", "web")


def test_the_examples_of_the_document(fleet, service, tmp_path):
    """Its sources and plays, by the commands that it has for them."""
    machines(service)
    blocks = fenced(TOP / "docs/service.md")
    for block in blocks:
        named = re.match(r"# (\S+\.yml)", block.text)
        if block.language == "yaml" and named:
            text = block.text
            for url, ca in (("url", "ca"), ("api_url", "api_ca")):
                text = re.sub(
                    rf"^( *){url}: https://.*",
                    rf"\1{url}: {service.running.url}\n\1{ca}: {service.running.ca}",
                    text,
                    flags=re.MULTILINE,
                )
            assert service.running.ca in text
            text = text.replace("~/.cache", str(tmp_path / "cache"))
            (tmp_path / named[1]).write_text(text)
    vault = {"uptrack_api_user": USER, "uptrack_api_key": KEY}
    (tmp_path / "vault.yml").write_text(yaml.safe_dump(vault))
    one = fleet({"web1": NOBODY})
    inventory = {"web": {"hosts": {"web1": NOBODY}}}
    one.inventory.write_text(yaml.safe_dump(inventory))
    console = [block for block in blocks if block.language == "console"]
    told = [shlex.split(command) for block in console for command in commands(block)]
    ours = [words for words in told if {"fleet.uptrack.yml", "service.yml"} & set(words)]
    graph, play = (one.command(*words, env=CREDENTIALS) for words in ours)
    assert graph.status == play.status == 0, graph.output + play.output
    assert "|--new.example.com" in graph.output and "gone" not in graph.output
    assert service.known(ONE)["group"] == "web"
    denied = {uuid for uuid in ALL if service.known(uuid)["authorization"] == "denied"}
    assert denied == {FOUR} and KEY not in play.output


# ---- the agents ----------------------------------------------------------------------------------


def test_a_machine_that_is_denied_is_refused_until_it_is_allowed(fleet, service):
    service.machine(ONE, "web1")
    one = fleet(alone("web1", pending=2)).make()
    api = {"api_url": service.running.url, "api_ca": service.running.ca}

    def authorized(wish):
        return {"name": f"Authorized {wish}", OWN["uptrack_machine"]: {**api, "authorized": wish}}

    facts = {"rebootless.ksplice.uptrack_facts": {"refresh": True}, "failed_when": False}
    tasks = [
        {"name": "Known", OWN[INFO]: api},
        {"name": "Facts", "rebootless.ksplice.uptrack_facts": {}},
        authorized(False),
        {
            "name": "Denied apply",
            "rebootless.ksplice.uptrack_apply": {"retries": 0},
            "failed_when": False,
        },
        {"name": "Denied facts", **facts},
        authorized(True),
        {"name": "Apply", "rebootless.ksplice.uptrack_apply": {"retries": 0}},
        {"name": "Known in the end", OWN[INFO]: api},
    ]
    play = [{"name": "One", "hosts": "all", "gather_facts": False, "tasks": tasks}]
    done = one.play(play, env=CREDENTIALS)
    assert done.status == 0, done.output
    # The one machine of that name: what the account knew of an earlier fleet is gone.
    [before] = done.result("Known", "web1")["machines"]
    assert (before["hostname"], before["status"], len(before["steps"])) == ("web1", "outofdate", 2)
    refused = done.result("Denied apply", "web1")
    assert refused["rc"] == 19 and refused["error_class"] == "licence", refused
    assert "not activated" in refused["msg"]
    facts = done.result("Denied facts", "web1")["ansible_facts"]["uptrack"]
    assert (facts["verdict"], facts["agent"]["last_run"]["rc"]) == ("unknown", 19)
    assert "not activated" in facts["reason"]
    [after] = done.result("Known in the end", "web1")["machines"]
    assert (after["status"], after["steps"], after["authorization"]) == ("uptodate", [], "allowed")
    assert after["last_seen"] > before["last_seen"]
    assert len(after["installed_updates"]) == len(one.kernel("web1")) == 12
