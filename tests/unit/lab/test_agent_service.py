# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""An agent that checks in at an account which it shares with others."""

import fcntl
import json
import os
import shutil
import threading

import emulated_host
import pytest
from agent_host import ENABLE, FIRST, KERNEL, SECOND
from uptrack_lab import account, scenario_check

NOT_ACTIVATED = (19, "This machine has not been activated.\n")


@pytest.fixture
def directory(tmp_path):
    """The directory of an account that allows new machines."""
    return make_account(tmp_path / "service")


def make_account(folder, new_machines="allowed"):
    folder.mkdir()
    (folder / account.SETTINGS).write_text(json.dumps({"new_machines": new_machines}))
    return str(folder)


def update(known):
    return {"ID": known["id"], "Name": known["name"]}


def test_a_host_that_was_checked_is_known_from_then(make_host, directory):
    host = make_host(service=directory, hostname="web1.example.com")
    [known] = account.machines(directory)
    assert known.pop("last_seen") < known_at_once(host, directory)
    assert known == {
        "uuid": host.read("var/lib/uptrack/uuid").strip(),
        "hostname": "web1.example.com",
        "ip": "127.0.0.1",
        "uptrack_client_version": "1.2.80",
        "autoinstall": False,
        "mmap_min_addr": 4096,
        "unsupported": False,
        "original_kernel": "5.15.0-302.167.6.1.el9uek",
        "effective_kernel": "5.15.0-302.167.6.1.el9uek",
        "installed_updates": [update(ENABLE)],
        "steps": [["Install", update(FIRST)], ["Install", update(SECOND)]],
        "authorization": "allowed",
        "group": "",
    }


def known_at_once(host, directory):
    host.run("upgrade", "-n")
    [known] = account.machines(directory)
    return known["last_seen"]


def test_what_an_upgrade_did_is_known_at_the_service(make_host, directory):
    host = make_host(service=directory, checked=None, config={"Settings": {"suppress_ip": True}})
    assert account.machines(directory) == []
    assert host.run("show")[0] == 1 and account.machines(directory) == []
    assert host.run("upgrade", "-y")[0] == 0
    [known] = account.machines(directory)
    assert known["steps"] == [] and known["ip"] is None
    assert known["installed_updates"] == [update(one) for one in (ENABLE, FIRST, SECOND)]
    assert known["effective_kernel"] == "5.15.0-304.171.4.el9uek"
    host.run("remove", "-y", "cccc3333")
    [known] = account.machines(directory)
    assert known["steps"] == [["Install", update(SECOND)]]


@pytest.mark.parametrize("state", [account.DENIED, account.PENDING])
def test_a_machine_that_is_not_allowed_is_refused_until_it_is(make_host, directory, state):
    host = make_host(service=directory)
    uuid = account.machines(directory)[0]["uuid"]
    account.decide(directory, uuid, authorization=state, group="web")
    for command in (("upgrade", "-y"), ("upgrade", "-n"), ("install", "-y", "bbbb2222")):
        assert host.run(*command) == NOT_ACTIVATED
    assert host.applied == ["aaaa1111"]
    known = account.machine(directory, uuid)
    assert (known["authorization"], known["group"]) == (state, "web")
    assert "Code: 19" in host.read(host.cache + "/results")
    account.decide(directory, uuid, authorization=account.ALLOWED)
    assert host.run("upgrade", "-y")[0] == 0
    assert account.machine(directory, uuid)["group"] == "web"


def test_an_account_that_denies_by_default(make_host, tmp_path):
    directory = make_account(tmp_path / "service", "pending")
    host = make_host(service=directory, checked=None)
    assert host.run("upgrade", "-y") == NOT_ACTIVATED
    [known] = account.machines(directory)
    assert known["authorization"] == "pending"
    account.delete(directory, known["uuid"])
    assert account.machines(directory) == []
    assert host.run("upgrade", "-y") == NOT_ACTIVATED
    assert account.machine(directory, known["uuid"])["authorization"] == "pending"


@pytest.mark.parametrize(
    "trouble, status",
    [({"access_key": "bad"}, 14), ({"network": "dns"}, 10), ({"network": "server_error"}, 18)],
)
def test_what_goes_wrong_before_is_named_first_and_leaves_no_trace(
    make_host, directory, trouble, status
):
    host = make_host(service=directory, checked=None, **trouble)
    assert host.run("upgrade", "-y")[0] == status
    assert account.machines(directory) == []


def test_a_service_that_is_gone_cannot_be_reached(make_host, directory):
    host = make_host(service=directory)
    shutil.rmtree(directory)
    status, said = host.run("upgrade", "-y")
    assert status == 10 and "couldn't connect to host" in said
    assert not os.path.exists(directory)


def test_an_unsupported_kernel_is_known_as_such(make_host, directory):
    make_host(service=directory, unsupported=True, installed=[])
    [known] = account.machines(directory)
    assert known["unsupported"] and known["steps"] == []


def test_a_new_uuid_is_a_new_machine(make_host, directory):
    host = make_host(service=directory, regenerate_uuid=True)
    assert host.run("upgrade", "-n")[0] == 0
    assert len({known["uuid"] for known in account.machines(directory)}) == 2


def test_a_uuid_that_is_none_leads_nowhere(make_host, directory, tmp_path):
    host = make_host(service=directory, checked=None)
    host.write("var/lib/uptrack/uuid", "../../escaped\n")
    assert host.run("upgrade", "-y")[0] == 10
    assert account.machines(directory) == [] and not list(tmp_path.rglob("*escaped*"))


@pytest.mark.parametrize(
    "change",
    [
        lambda directory: account.check_in(directory, {"uuid": "one", "hostname": "b"}),
        lambda directory: account.decide(directory, "one", group="web"),
        lambda directory: account.delete(directory, "one"),
        account.clear,
    ],
    ids=["check_in", "decide", "delete", "clear"],
)
def test_whoever_changes_the_account_waits_for_the_others(directory, change):
    account.check_in(directory, {"uuid": "one", "hostname": "a"})
    before = account.machines(directory)
    with open(os.path.join(directory, "lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        changing = threading.Thread(target=change, args=[directory])
        changing.start()
        changing.join(0.2)
        assert changing.is_alive() and account.machines(directory) == before
    changing.join(10)
    assert account.machines(directory) != before


def test_the_place_of_the_account_is_a_whole_path():
    with pytest.raises(emulated_host.ScenarioError, match="service: must be the whole path"):
        scenario_check.check({"kernel": KERNEL, "service": "service"})
