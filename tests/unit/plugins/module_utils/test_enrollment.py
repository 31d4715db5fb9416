# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What a host lacks to be enrolled: pure decisions, over the tables of the
reference (3.1 to 3.3).
"""

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import enroll, enrollment

FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"
SYSTEMS = {
    "ol7": ('ID="ol"\nVERSION_ID="7.9"\nPRETTY_NAME="Oracle Linux Server 7.9"\n', "ol", "7"),
    "ol8": ('ID="ol"\nVERSION_ID="8.10"\nPRETTY_NAME="Oracle Linux Server 8.10"\n', "ol", "8"),
    "ol9": ('ID="ol"\nVERSION_ID="9.4"\nPRETTY_NAME="Oracle Linux Server 9.4"\n', "ol", "9"),
    "ol10": ('ID="ol"\nVERSION_ID="10.0"\nPRETTY_NAME="Oracle Linux Server 10.0"\n', "ol", "10"),
    "centos7": (
        'ID="centos"\nVERSION_ID="7"\nPRETTY_NAME="CentOS Linux 7 (Core)"\n',
        "centos",
        "7",
    ),
    "rhel8": (
        'ID="rhel"\nVERSION_ID="8.9"\nPRETTY_NAME="Red Hat Enterprise Linux 8.9"\n',
        "rhel",
        "8",
    ),
    "ubuntu": (
        'ID=ubuntu\nVERSION_ID="22.04"\nVERSION_CODENAME=jammy\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
        "ubuntu",
        "22",
    ),
    "slackware": ('ID=slackware\nPRETTY_NAME="Slackware 15.0"\n', "slackware", ""),
}


def params(**given):
    return dict(
        {name: option.get("default") for name, option in enroll.arguments().items()}, **given
    )


def seen(system="ol9", **more):
    return dict(
        {
            "emulated": False,
            "release": "5.15.0-1.el9uek.x86_64",
            "commands": [],
            "edition": None,
            "packages": [],
            "distribution": enrollment.distribution(SYSTEMS[system][0], "x86_64"),
            "repository_file": None,
            "key_file": None,
            "key_imported": False,
            "enabled_channels": [],
            "old_yum": False,
        },
        **more,
    )


ONLINE = {"commands": ["uptrack-upgrade"], "packages": ["uptrack"], "edition": "online"}


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_distribution(name):
    text, ident, major = SYSTEMS[name]
    read = enrollment.distribution(text, "x86_64")
    assert (read.id, read.major) == (ident, major)


@pytest.mark.parametrize(
    "system, options, packages",
    [
        ("ol9", {}, ["uptrack"]),
        ("ol9", {"enhanced": True}, ["ksplice", "uptrack"]),
        ("ol9", {"edition": "offline"}, ["uptrack-offline"]),
        ("ol7", {"edition": "offline", "enhanced": True}, ["ksplice-offline", "uptrack-offline"]),
        ("ol10", {}, ["ksplice"]),
        ("ol10", {"edition": "offline"}, ["ksplice-offline"]),
        ("ubuntu", {}, ["uptrack"]),
        ("ol9", {"packages": ["uptrack-1.2.80"]}, ["uptrack-1.2.80"]),
    ],
)
def test_packages_of_the_reference(system, options, packages):
    assert enrollment.wanted_packages(params(**options), seen(system)) == packages


@pytest.mark.parametrize(
    "system, options, url",
    [
        ("centos7", {}, "https://www.ksplice.com/yum/uptrack/centos/$releasever/$basearch/"),
        ("rhel8", {}, "https://www.ksplice.com/yum/uptrack/rhel/$releasever/$basearch/"),
        (
            "ol9",
            {"repository": "vendor"},
            "https://www.ksplice.com/yum/uptrack/ol/$releasever/$basearch/",
        ),
        ("ubuntu", {}, "https://www.ksplice.com/apt/"),
        ("ol9", {"repository_url": "https://mirror/x/"}, "https://mirror/x/"),
    ],
)
def test_repositories_of_the_reference(system, options, url):
    wanted = enrollment.wanted_repository(
        params(repository_key_fingerprint=FINGERPRINT, **options), seen(system)
    )
    assert wanted["url"] == url


def test_the_public_fingerprint_is_the_default_for_apt_only():
    assert (
        enrollment.wanted_repository(params(), seen("ubuntu"))["fingerprint"]
        == enrollment.APT_FINGERPRINT
    )
    with pytest.raises(enrollment.Refused, match="repository_key_fingerprint is required"):
        enrollment.wanted_repository(params(), seen("centos7"))


@pytest.mark.parametrize(
    "system, options",
    [("ol9", {}), ("ubuntu", {"repository": "none"}), ("ubuntu", {"repository": "platform"})],
)
def test_repositories_that_are_not_touched(system, options):
    assert enrollment.wanted_repository(params(**options), seen(system)) is None
    assert enrollment.wanted_repository(params(**options), seen(system, **ONLINE)) is None


def test_a_host_that_has_everything_needs_nothing():
    for system in ("ol9", "ubuntu", "centos7"):
        assert enrollment.present(params(access_key="k"), seen(system, **ONLINE)) == []
        assert enrollment.present(params(edition="online"), seen(system, **ONLINE)) == []


def test_the_agent_is_found_by_its_commands():
    """Installed by hand, or under a name that nobody knows: it is there."""
    assert enrollment.present(params(), seen("centos7", commands=["uptrack-upgrade"])) == []
    assert (
        enrollment.present(params(edition="offline"), seen("centos7", commands=["uptrack-upgrade"]))
        == []
    )


def test_an_emulated_host_has_no_packages():
    assert enrollment.present(params(edition="offline"), seen("slackware", emulated=True)) == []
    assert enrollment.absent(seen("ol9", emulated=True, packages=["uptrack"])) == []


@pytest.mark.parametrize(
    "channel",
    ["ol9_x86_64_ksplice", "ol9_ksplice", "local_ol9_x86_64_ksplice", "ol9_x86_64_ksplice_ELS"],
)
def test_channels_of_uln_oci_and_mirrors(channel):
    assert [
        need["what"]
        for need in enrollment.present(
            params(), seen("ol9", enabled_channels=["ol9_baseos", channel])
        )
    ] == ["agent"]


def test_a_channel_that_is_not_enabled():
    with pytest.raises(
        enrollment.Refused,
        match="The channel ol9_x86_64_ksplice is not enabled.*Nothing was changed",
    ):
        enrollment.present(params(), seen("ol9", enabled_channels=["ol9_baseos"]))
    assert enrollment.present(params(channel="mirror"), seen("ol9", enabled_channels=["mirror"]))
    assert enrollment.present(params(repository="none"), seen("ol9"))


def test_exchange_of_editions():
    (need,) = enrollment.present(
        params(edition="offline", repository="none"), seen("ol9", **ONLINE)
    )
    assert (need["what"], need["packages"], need["switch_from"], need["remove"]) == (
        "agent",
        ["uptrack-offline"],
        "online",
        ["uptrack"],
    )


def test_unsupported_distribution():
    with pytest.raises(enrollment.Refused, match="no Ksplice agent for Slackware 15.0"):
        enrollment.present(params(), seen("slackware"))


def test_updates_package():
    offline = seen(
        "ol9", commands=["uptrack-upgrade"], packages=["uptrack-offline"], edition="offline"
    )
    wish = params(updates_package="present")
    with pytest.raises(enrollment.Refused, match="outside of any rollout"):
        enrollment.updates(wish, offline, lambda key: False)
    (need,) = enrollment.updates(wish, offline, lambda key: key == "skip_apply_after_pkg_install")
    assert need["packages"] == ["uptrack-updates-5.15.0-1.el9uek.x86_64"] and not need["latest"]
    there = dict(offline, packages=["uptrack-offline", "uptrack-updates-5.15.0-1.el9uek.x86_64"])
    assert enrollment.updates(wish, there, lambda key: True) == []
    assert enrollment.updates(params(updates_package="latest"), there, lambda key: True)[0][
        "latest"
    ]
    with pytest.raises(
        enrollment.Refused,
        match="belongs to the offline edition, and this host has the online edition",
    ):
        enrollment.updates(wish, seen("ol9", **ONLINE), lambda key: True)


def test_what_retiring_takes():
    needs = enrollment.absent(
        seen(
            "ubuntu",
            packages=["uptrack"],
            repository_file="URIs: https://me:secret@lab-repo/apt/\n",
        )
    )
    assert [need["what"] for need in needs] == ["remove", "forget"]
    assert "/var/lib/apt/lists/lab-repo_apt_*" in enrollment.cached(needs[1])
    assert enrollment.absent(seen("ol9")) == []
