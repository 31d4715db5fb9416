# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""What was measured on a real client beyond the recordings: who writes what, what is said when."""

import os

import pytest
import yaml
from agent_host import AFTER_FIRST, BOOTED, ENABLE, FIRST, SECOND, line, plain

INSTALLED = ["aaaa1111", "bbbb2222"]
FILES = ("status", "results", "upgrade_plan", "init_plan", "remove_plan")


def load(host, name):
    return yaml.safe_load(host.read(name if "/" in name else host.cache + "/" + name))


def changed(host, command, *arguments):
    """The state files a command writes."""
    before = {name: host.read(host.cache + "/" + name) for name in FILES}
    host.run(command, *arguments)
    return [name for name in FILES if host.read(host.cache + "/" + name) != before[name]]


def test_which_files_a_command_writes(make_host):
    host = make_host()
    assert changed(host, "show") == ["status"]
    assert changed(host, "show", "--count") == changed(host, "show", "zzzz9999") == ["status"]
    for command in (
        ["upgrade", "-n"],
        ["install", "-y", "bbbb2222"],
        ["remove", "-y", "zzzz9999"],
        ["install"],
    ):
        assert changed(host, *command) == list(FILES)
    host.change(failures=[{"id": "cccc3333", "abort": "no_match"}])
    assert changed(host, "upgrade", "-y") == list(FILES)
    host.write("etc/uptrack/disable", "")
    assert changed(host, "upgrade", "-y") == list(FILES)


@pytest.mark.parametrize(
    "trouble",
    [
        {"network": "dns"},
        {"network": "list_error"},
        {"access_key": "bad"},
        {"access_key": "expired"},
        {"network": "plan_server_error"},
    ],
)
def test_which_files_a_run_without_an_answer_writes(make_host, trouble):
    host = make_host()
    host.change(**trouble)
    assert changed(host, "upgrade", "-y") == ["status", "results"]


def test_no_answer_no_plan(make_host):
    host = make_host()
    assert host.run("upgrade")[0] == 12
    assert changed(host, "upgrade") == ["status", "results"]
    host.change(crash=True)
    assert changed(host, "upgrade", "-y") == ["status", "results"]


def test_status_and_results_of_a_run_have_its_number(make_host):
    host = make_host()
    host.run("upgrade", "-n")
    first = load(host, "status")["RunUUID"]
    assert load(host, "results")["RunUUID"] == first
    host.run("show")
    assert load(host, "status")["RunUUID"] != first == load(host, "results")["RunUUID"]


def test_everything_out_without_network_leaves_empty_plans(make_host):
    host = make_host(installed=INSTALLED)
    assert host.run("remove", "--all", "--no-network", "-y")[0] == 10
    for name in ("upgrade_plan", "init_plan", "remove_plan"):
        assert load(host, name)["Plan"] == []
        assert 0 < (load(host, "results")["Time"] - load(host, name)["Time"]).total_seconds() < 5
    result = load(host, "results")["Result"]
    assert (result["Code"], result["Succeeded"]) == (10, [])
    assert host.run("show", "--available")[1] == "Available updates:\nNone\n\n" + BOOTED


@pytest.mark.parametrize(
    "trouble,code",
    [
        ({"network": "dns"}, 10),
        ({"access_key": "bad"}, 14),
        ({"network": "server_error"}, 18),
        ({"access_key": "not_activated"}, 19),
        ({"accesskey": "INSERT_ACCESS_KEY"}, 20),
    ],
)
def test_early_failure_forgets_what_is_installed(make_host, trouble, code):
    host = make_host(installed=INSTALLED)
    assert host.run("show")[1].endswith("\n" + AFTER_FIRST)
    if "accesskey" in trouble:
        host.write("etc/uptrack/uptrack.conf", "[Auth]\naccesskey = INSERT_ACCESS_KEY\n")
    else:
        host.change(**trouble)
    assert host.run("upgrade", "-n")[0] == code
    assert load(host, "status")["Updates"] == {"Installed": []}
    assert load(host, "status")["ClientEffectiveKernel"] == "5.15.0-303.171.5.2.el9uek"
    assert load(host, "var/lib/uptrack/effective_kernel")["Installed"] == []
    # From now on that file fits nothing, until the service has been asked again.
    assert "Effective" not in host.run("show", "--no-network")[1]
    assert load(host, "status")["ClientEffectiveKernel"] is None
    assert len(load(host, "status")["Updates"]["Installed"]) == 2


# ---- the debug log -----------------------------------------------------------------------------


def test_debug_log_of_a_failure_has_the_key(make_host):
    key = "5ecre7" * 10
    host = make_host(
        config={"Auth": {"accesskey": key}}, failures=[{"id": "bbbb2222", "abort": "no_match"}]
    )
    host.run("upgrade", "-n")
    assert not {"UptrackLog", "Debug"} & set(load(host, "results"))
    host.run("upgrade", "-y")
    results = load(host, "results")
    assert results["Debug"] == ""
    assert "/{}/+uuid/{}/status\n".format(key, results["Client"]["UUID"]) in results["UptrackLog"]
    assert "ERROR    The following actions failed:\n" in results["UptrackLog"]
    host.change(access_key="bad")
    host.run("upgrade", "-y")
    results = load(host, "results")
    assert "Debug" not in results
    assert f"Your access key ({key}) is invalid.\n" in results["UptrackLog"]


def test_debug_log_that_is_not_text_is_bytes(make_host):
    host = make_host(access_key="expired", expired_message="Vorbei f\u00fcr immer.")
    host.run("upgrade", "-y")
    log = load(host, "results")["UptrackLog"]
    assert isinstance(log, bytes) and "Vorbei f\u00fcr immer.".encode() in log
    assert b"/update-repository/" + load(host, "results")["Client"]["Key"].encode() in log


def test_debug_log_can_be_turned_off(make_host):
    host = make_host(network="dns", config={"Settings": {"debug_to_server": "no"}})
    host.run("upgrade", "-n")
    assert "UptrackLog" not in load(host, "results")


# ---- one action of the results -----------------------------------------------------------------


def test_actions(make_host):
    host = make_host(failures=[{"id": "cccc3333", "abort": "no_match", "modules": ["xfs"]}])
    host.run("upgrade", "-y")
    result = load(host, "results")["Result"]
    worked, failed = result["Succeeded"][0], result["Failed"][0]
    assert worked == {
        "Abort": None,
        "Command": "Install",
        "Core Version": "1\n",
        "ID": "bbbb2222",
        "Message": "",
        "Locked Modules": [],
        "Name": FIRST["name"],
        "Nonmatching Modules": None,
        "Stack Check": None,
        "UsedBy Modules": [],
    }
    assert (failed["Abort"], failed["Nonmatching Modules"]) == ("no_match", ["xfs"])
    assert failed["Stack Check"] is None
    host.change(failures=[{"id": "cccc3333", "abort": "OTHER", "says": "Oops: 'x'"}])
    host.run("upgrade", "-y")
    assert load(host, "results")["Result"]["Failed"][0]["Abort"] == "Oops: 'x'"


# ---- what is said ------------------------------------------------------------------------------


def test_nothing_asked_for_is_nothing_to_be_done(make_host):
    host = make_host()
    assert host.run("install") == host.run("remove", "-y") == (0, "Nothing to be done.\n")


def test_quiet(make_host):
    host = make_host(alert="The end is near.", failures=[{"id": "bbbb2222", "abort": "OTHER"}])
    for arguments in ([], ["--all"], ["--available"], ["aaaa1111"]):
        assert host.run("show", "-q", *arguments) == (0, "")
    assert host.run("upgrade", "-q", "-n") == (0, "")
    status, out = host.run("upgrade", "-q", "-y")
    assert status == 1
    assert out.startswith(f"The following actions failed:\nInstall {line(FIRST)}\nKsplice was")


def test_an_error_of_the_service_stands_alone(make_host):
    host = make_host(
        message="Hello.", warning="Mind the gap.", error={"code": 42, "message": "No more."}
    )
    assert host.run("upgrade", "-n") == (42, "No more.\n")


def test_a_message_may_look_like_a_plan(make_host):
    message = "Soon:\nInstall [xxxx0000] CVE-2030-1: No.\nInstalling [xxxx0000] CVE-2030-1: No."
    out = make_host(message=message).run("upgrade", "-n")[1]
    steps = f"The following steps will be taken:\nInstall {line(FIRST)}Install {line(SECOND)}"
    assert out == message + "\n" + BOOTED + steps


@pytest.mark.parametrize("network,code", [("plan_server_error", 18), ("plan_error", 10)])
def test_no_plan_from_the_service(make_host, network, code):
    host = make_host(network=network)
    status, out = host.run("upgrade", "-n")
    assert (status, "The following steps" in out) == (code, False)
    words = {
        18: "The Ksplice Uptrack service has experienced a transient error.",
        10: "An error occurred requesting upgrade plans from the server.",
    }
    assert plain(out).startswith(words[code])
    assert [one["ID"] for one in load(host, "status")["Updates"]["Installed"]] == ["aaaa1111"]


def test_a_boot_that_fails_says_so(make_host):
    import emulated_host

    host = make_host(installed=INSTALLED, failures=[{"id": "bbbb2222", "abort": "code_busy"}])
    status, out = emulated_host.reboot_host(host.root)[0]
    assert status == 1
    assert out.startswith("Error processing ksplice-bbbb2222.tar.gz\nThe following actions")
    assert load(host, "status")["Client"]["Config"]["Init"] == "late"


# ---- removing ----------------------------------------------------------------------------------


def test_what_does_not_need_it_stays(make_host):
    third = {"id": "dddd4444", "name": "Improved fix.", "requires": ["aaaa1111"]}
    host = make_host(
        updates=[ENABLE, FIRST, SECOND, third],
        installed=["aaaa1111", "bbbb2222", "cccc3333", "dddd4444"],
    )
    assert host.run("remove", "-y", "bbbb2222")[1].startswith(
        f"The following steps will be taken:\nRemove {line(SECOND)}Remove {line(FIRST)}Removing "
    )
    assert host.applied == ["aaaa1111", "dddd4444"]


# ---- uptrack.conf ------------------------------------------------------------------------------

AUTH = "[Auth]\naccesskey = 0123456789abcdef\n"
READ = {
    "a key twice": AUTH + "[Settings]\nautoinstall = no\nautoinstall = yes\n",
    "a section twice": AUTH + "[Settings]\nautoinstall = no\n[Settings]\nautoinstall = yes\n",
    "comment behind a value": AUTH + "[Settings]\nautoinstall = yes ; really\n",
    "percent where nobody looks": AUTH + "[Settings]\nwhatever = 50%\n",
    "rem": "rem a remark\n" + AUTH + "rem another\n[Settings]\nREM = 1\nautoinstall = no\n",
    "unknown keys": AUTH + "[Settings]\nunknown =\nother = maybe\n[New]\nautoinstall = maybe\n",
}
REFUSED = {
    "indented comment under a header": AUTH + "[Settings]\n  # a comment\nautoinstall = no\n",
    "bad boolean for all sections": AUTH
    + "[Settings]\nno_rmmod = no\n[DEFAULT]\nautoinstall = maybe\n",
    "missing host name file": AUTH + "[Settings]\nhostname_override_file = /nonexistent\n",
    "empty boolean": AUTH + "[Settings]\nautoinstall =\n",
    "unknown boolean": AUTH + "[Settings]\nautoinstall = enabled\n",
    "byte order mark": "\ufeff" + AUTH,
    "text before the first section": "accesskey = x\n" + AUTH,
}
CRASHED = {"percent": AUTH + "[Network]\nhttps_proxy = http://a:b%40c@proxy:3128\n"}
CONFIGURATIONS = [
    (name, texts[name], status)
    for texts, status in ((READ, 0), (REFUSED, 1), (CRASHED, 255))
    for name in sorted(texts)
]


@pytest.mark.parametrize(
    "text,status", [row[1:] for row in CONFIGURATIONS], ids=[row[0] for row in CONFIGURATIONS]
)
def test_configuration(make_host, text, status):
    host = make_host()
    host.write("etc/uptrack/uptrack.conf", text)
    before = os.stat(host.path(host.cache + "/status")).st_mtime
    got, out = host.run("show")
    assert got == status
    assert out.startswith("Error loading configuration file:\n") == (status == 1)
    # Those that cannot read their configuration end too early to write anything.
    assert (os.stat(host.path(host.cache + "/status")).st_mtime == before) == (status != 0)
