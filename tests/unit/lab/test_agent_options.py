# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""The command line and the configuration file."""

import pytest
from agent_host import AFTER_SECOND, BOOTED, FIRST, SECOND, line, plain
from uptrack_lab import config as configs
from uptrack_lab import options as opts

PLAN = "The following steps will be taken:\nInstall " + line(FIRST) + "Install " + line(SECOND)


def test_version(make_host):
    host = make_host(client={"version": "1.2.47"})
    for name in ("upgrade", "install", "remove", "show"):
        assert host.run(name, "-V") == host.run(name, "--version") == (0, "1.2.47\n")


def test_help(make_host):
    host = make_host()
    status, out = host.run("upgrade", "--help")
    assert status == 0
    assert out.startswith("Usage: uptrack-upgrade [options]\n")
    assert "--all" in out
    for hidden in (
        "--count",
        "--available",
        "--no-network",
        "--cron",
        "--init",
        "--uninstall",
        "--list-effective",
    ):
        assert hidden not in out


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["--register", "x"], "no such option: --register"),
        (["-x"], "no such option: -x"),
        (["--wait"], "--wait option requires an argument"),
        (["--wait=soon"], "option --wait: invalid floating-point value: 'soon'"),
        (["--all=yes"], "--all option does not take a value"),
        (["--un", "--ver"], "ambiguous option: --ver (--verbose, --version?)"),
        (["--list-effective"], "no such option: --list-effective"),
    ],
)
def test_usage_errors(make_host, arguments, words):
    assert make_host().full("uptrack-upgrade", *arguments) == (
        2,
        "",
        f"Usage: uptrack-upgrade [options]\n\nuptrack-upgrade: error: {words}\n",
    )


def test_options_are_read_like_optparse_does():
    options = opts.parse(["abc", "-yv", "--wait=1.5", "def", "--verb", "--", "-n"], offline=False)
    assert (options.assume_yes, options.verbose, options.wait) == (True, 2, 1.5)
    assert (options.ids, options.answer) == (["abc", "def", "-n"], "yes")


@pytest.mark.parametrize(
    "name,arguments",
    [
        ("upgrade", ["--uninstall"]),
        ("install", ["--uninstall"]),
        ("show", ["--uninstall"]),
        ("upgrade", ["--available"]),
        ("remove", ["--available", "aaaa1111"]),
        ("show", ["--available", "--count"]),
        ("install", ["--all", "aaaa1111"]),
        ("remove", ["--all", "aaaa1111"]),
        ("show", ["--all", "aaaa1111"]),
        ("upgrade", ["--no-network"]),
        ("remove", ["--no-network", "aaaa1111"]),
        ("install", ["--no-network", "aaaa1111"]),
    ],
)
def test_bad_mixes(make_host, name, arguments):
    host = make_host(access_key="missing", network="dns")  # both come later
    status, out = host.run(name, *arguments)
    assert (status, out.count("\n")) == (1, 1)
    assert host.applied == ["aaaa1111"]


def test_bad_config_comes_before_version_and_version_before_all_else(make_host):
    host = make_host(config={"Settings": {"no_rmmod": "enabled"}})
    assert host.run("show", "-V")[0] == 1
    host = make_host(access_key="missing")
    assert host.run("upgrade", "-V", "--available") == (0, "1.2.80\n")


def test_only_verbose_shows_the_key(make_host):
    """The log has it all the time, and so has the real one's."""
    key = "5ecre7" * 10
    host = make_host(config={"Auth": {"accesskey": key}})
    for arguments in (["-y"], ["-n"], ["-q", "-y"]):
        assert key not in host.run("upgrade", *arguments)[1]
    assert (
        "DEBUG: Verifying your access key is valid by requesting: "
        "https://updates.ksplice.com/update-repository/"
    ) + key in host.read("var/log/uptrack.log")
    assert f"/{key}/+uuid/" in host.run("upgrade", "-n", "-v")[1]


def test_messages_come_first(make_host):
    alert = (
        "Support for this kernel ends on 1 March 2027, and will not be taken up again, so please "
        "move on in time."
    )
    host = make_host(message="Hello.", warning="Mind the gap.", alert=alert)
    status, out = host.run("upgrade", "-n")
    assert status == 0
    assert out == "Hello.\nMind the gap.\n" + alert + "\n" + BOOTED + PLAN  # not wrapped
    assert host.run("upgrade", "-n", "-q") == (0, "Mind the gap.\n")
    assert host.run("show")[1].startswith(alert + "\nInstalled updates:\n")


def test_withdrawn_cron_options_warn(make_host):
    for key in ("cron_output_install", "cron_output_available", "cron_output_error"):
        host = make_host(config={"Settings": {key: "yes"}})
        lines = host.run("upgrade", "-n")[1].split("\n")
        assert lines[0] == "Warning: The cron output configuration options have been removed."
        assert "\n".join(lines[3:]) == BOOTED + PLAN
        assert host.run("upgrade", "--cron") == (0, "")


def test_missing_config_is_a_missing_key(make_host):
    import os

    host = make_host()
    os.unlink(host.path("etc/uptrack/uptrack.conf"))
    assert host.run("upgrade", "-n")[0] == 20


def test_key_written_later_is_used(make_host):
    host = make_host(access_key="missing", accepted_keys=["right"])
    assert host.run("upgrade", "-n")[0] == 20
    for key, status in (("", 20), ("INSERT_ACCESS_KEY", 20), ("wrong", 14), ("right", 0)):
        host.write("etc/uptrack/uptrack.conf", f"[Auth]\naccesskey = {key}\n")
        assert host.run("upgrade", "-n")[0] == status


def test_proxy_has_three_states(make_host):
    host = make_host(network="proxy")
    assert host.run("upgrade", "-n")[0] == 10
    direct = make_host(network="proxy", config={"Network": {"https_proxy": "NONE"}})
    assert direct.run("upgrade", "-n", env={"https_proxy": "http://p:1"})[0] == 0
    host.write("etc/uptrack/uptrack.conf", "[Auth]\naccesskey = x\n[Network]\nhttps_proxy =\n")
    assert host.run("upgrade", "-n")[0] == 0
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy"):
        status, out = host.run("upgrade", "-n", env={name: "http://from.environment:1"})
        assert (status, "(http://from.environment:1)" in plain(out)) == (10, True)


def test_host_name_override(make_host):
    host = make_host(config={"Settings": {"hostname_override_file": "/etc/uptrack/name"}})
    assert host.run("upgrade", "-n")[0] == 1
    host.write("etc/uptrack/name", "\n")
    assert host.run("show")[0] == 1
    host.write("etc/uptrack/name", "other.example.com\n")
    assert host.run("upgrade", "-n")[0] == 0
    assert "Hostname: other.example.com" in host.read(host.cache + "/status")


# ---- the parser itself ---------------------------------------------------------------------------


def parsed(text):
    return configs.Config("[Settings]\n" + text)


def test_booleans():
    for word in ("yes", "TRUE", "On", "1"):
        assert parsed("autoinstall = " + word).autoinstall is True
    for word in ("no", "False", "OFF", "0"):
        assert parsed("autoinstall: " + word).autoinstall is False
    for word in ("", "y", "enabled", '"yes"', "yes # really", "2"):
        with pytest.raises(configs.ConfigError) as caught:
            parsed("autoinstall = " + word)
        assert (
            str(caught.value)
            == "Unable to read autoinstall setting from /etc/uptrack/uptrack.conf."
        )


def test_defaults():
    config = configs.Config("")
    assert (config.install_on_reboot, config.gconf_proxy_lookup, config.debug_to_server) == (
        True,
        True,
        True,
    )
    assert not (
        config.upgrade_on_reboot
        or config.autoinstall
        or config.no_rmmod
        or config.known_exploit_detection
    )
    assert config.url == "https://updates.ksplice.com/update-repository"


def test_python_2_rules():
    assert parsed("AutoInstall = yes").autoinstall  # keys in any case
    assert not configs.Config("[settings]\nautoinstall = yes").autoinstall  # sections are not
    assert parsed("autoinstall = no\nautoinstall = yes").autoinstall  # the last one counts
    assert parsed(
        "autoinstall = yes\n[Auth]\n[Settings]\nno_rmmod = yes"
    ).autoinstall  # sections merge
    assert parsed("autoinstall = yes ; why not").autoinstall
    assert (
        parsed(
            "# autoinstall = maybe\n; autoinstall = maybe\nrem autoinstall = maybe\n"
        ).autoinstall
        is False
    )
    assert parsed("unknown = %(nothing)s\n[More]\nx = 50%").autoinstall is False  # never fetched
    assert configs.Config("[DEFAULT]\nautoinstall = yes\n[Settings]\n").autoinstall
    assert configs.Config("[Auth]\naccesskey = a#b ; c").accesskey == "a#b"
    assert configs.Config("[Auth]\naccesskey = 'k'").accesskey == "'k'"
    assert configs.Config("[Auth]\naccesskey = a\n  b").accesskey == "a\nb"
    assert (
        configs.Config("[Network]\nhttps_proxy = http://u:p%%40w@h").https_proxy
        == "http://u:p%40w@h"
    )
    assert configs.Config("[Network]\nssl_ca_cert_file =\n").ssl_ca_cert_file == ""
    assert configs.Config("[Auth]\naccesskey = %(x)s\nx = k%%y").accesskey == "k%y"


@pytest.mark.parametrize("text", ["accesskey = x", "[Auth]\njust words", "[Auth\naccesskey = x"])
def test_unparsable(text):
    with pytest.raises(configs.ConfigError) as caught:
        configs.Config(text)
    assert str(caught.value).startswith("Unable to parse config file: ")


@pytest.mark.parametrize("value", ["p%40w", "50%", "%(nothing)s", "%(accesskey)s"])
def test_a_lone_percent_crashes(value):
    with pytest.raises(configs.InterpolationCrash):
        configs.Config("[Auth]\naccesskey = " + value)


def test_upgrade_all(make_host):
    assert (
        make_host().run("upgrade", "-y", "--all")[1].endswith(AFTER_SECOND)
    )  # what the offline package runs
