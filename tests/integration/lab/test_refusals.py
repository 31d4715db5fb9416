# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What uptrack_config cannot do, on real hosts: one clear error, and the host as it was before."""

from __future__ import annotations

import pytest
from extent import todays
from real_hosts import KEY

BAD = ["bad-ubuntu", "bad-ol9"]


@pytest.fixture(params=[pytest.param("bad-ubuntu", marks=pytest.mark.thorough), "bad-ol9"])
def host(lab, request):
    """A bare host that must be bare afterwards."""
    lab.trouble()
    before = lab.traces(request.param)
    yield request.param
    lab.trouble()
    assert lab.traces(request.param) == before == []


def refused(lab, name, **options):
    run = lab.ansible(
        [name],
        [{"rebootless.ksplice.uptrack_config": dict(lab.vendor(name), access_key=KEY, **options)}],
    )
    result = run.result(name)
    assert run.status != 0 and run.events[-1]["what"] == "failed" and not result.get("changed"), (
        run.output[-2000:]
    )
    assert "Traceback" not in run.output
    return result["msg"]


def test_wrong_fingerprint(lab, host):
    words = refused(
        lab, host, repository_key_fingerprint="0123456789ABCDEF0123456789ABCDEF01234567"
    )
    assert lab.fingerprint in words and "is expected" in words and "Nothing was changed" in words


@pytest.mark.thorough
def test_short_fingerprint(lab, host):
    assert "A short ID can be forged" in refused(lab, host, repository_key_fingerprint="B6D4038E")


@pytest.mark.thorough
def test_key_that_is_none(lab, host):
    assert "has no line -----BEGIN PGP PUBLIC KEY BLOCK-----" in refused(
        lab, host, repository_key="https://lab-repo/yum/uptrack/ol/9/x86_64/repodata/repomd.xml"
    )


@pytest.mark.thorough
def test_key_that_cannot_be_fetched(lab, host):
    words = refused(lab, host, repository_key="https://lab-repo/nowhere")
    assert "could not be fetched from https://lab-repo/nowhere" in words and "404" in words


@pytest.mark.parametrize("host", todays(BAD, of=2), indirect=True)
def test_packages_that_are_not_signed(lab, host):
    url = "https://lab-repo/apt-tampered/" if "ubuntu" in host else "https://lab-repo/unsigned/"
    words = refused(lab, host, repository_url=url)
    assert "uptrack could not be installed" in words and "taken back" in words, words
    if "ol9" in host:
        assert "is not signed" in words


@pytest.mark.thorough
def test_repository_that_goes_down_half_way(lab, host):
    # The key comes, and of the repository the first file.
    lab.trouble(**{"from": 3, "status": 503})
    words = refused(lab, host)
    assert (
        "uptrack could not be installed" in words and "repository ksplice-uptrack set up" in words
    )


@pytest.mark.thorough
def test_repository_that_is_down(lab, host):
    lab.trouble(status=503)
    assert "could not be fetched" in refused(lab, host)


@pytest.mark.thorough
def test_no_space_left(lab, host):
    lab.run(
        host,
        [
            "sh",
            "-c",
            "mkdir -p /var/cache/dnf /var/cache/apt/archives && mount -t tmpfs -o "
            "size=4k,nr_inodes=3 full /var/cache/dnf && mount -t tmpfs -o size=4k,nr_inodes=2 "
            "full /var/cache/apt/archives",
        ],
    )
    try:
        words = refused(lab, host)
    finally:
        lab.run(host, ["umount", "/var/cache/dnf", "/var/cache/apt/archives"])
    assert "could not be installed" in words


def test_package_manager_that_is_at_work(lab, host):
    if "ubuntu" in host:
        lock = (
            "import fcntl, time; f = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(f, "
            "fcntl.LOCK_EX); time.sleep(300)"
        )
        lab.run(host, ["sh", "-c", f'setsid python3 -c "{lock}" >/dev/null 2>&1 & sleep 1'])
        options = {}
    else:
        # Another transaction of rpm holds its lock.
        lock = (
            "import fcntl, time; f = open('/var/lib/rpm/.rpm.lock', 'w'); fcntl.lockf(f, "
            "fcntl.LOCK_EX); time.sleep(300)"
        )
        lab.run(host, ["sh", "-c", f'setsid python3 -c "{lock}" >/dev/null 2>&1 & sleep 1'])
        options = {}
    try:
        words = refused(lab, host, **options)
    finally:
        lab.run(host, ["pkill", "-f", "time.sleep"])
    assert "lock" in words.lower()


def test_key_that_the_service_refuses(lab, host):
    run = lab.ansible(
        [host], [{"rebootless.ksplice.uptrack_config": dict(lab.vendor(host), access_key="f" * 64)}]
    )
    words = run.msg(host)
    assert (
        "rejected the access key" in words and "taken back" in words and "f" * 64 not in run.output
    )


@pytest.mark.parametrize(
    "options, words",
    [
        ({"packages": ["uptrack", "uptrack-offline"]}, "exclude each other"),
        *[
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in [
                (
                    {"packages": ["uptrack-offline"], "edition": "online"},
                    "not belong to the requested edition",
                ),
                (
                    {"edition": "online", "updates_package": "latest"},
                    "belongs to the offline edition",
                ),
                ({"edition": "both"}, "value of edition must be one of"),
                ({"repository": "platform"}, "describes one: choose one of the two"),
                ({"state": "absent"}, "removes everything"),
            ]
        ],
    ],
)
def test_options_that_contradict_each_other(lab, host, options, words):
    assert words in refused(lab, host, **options)


def test_unsupported_distribution(lab):
    run = lab.ansible(["stranger"], [{"rebootless.ksplice.uptrack_config": {"access_key": KEY}}])
    assert run.msg("stranger").startswith(
        "There is no Ksplice agent for Slackware 15.0"
    ) and "Nothing was changed" in run.msg("stranger")


@pytest.mark.thorough
def test_yum_without_a_fingerprint(lab):
    run = lab.ansible(
        ["bad-ol9"],
        [{"rebootless.ksplice.uptrack_config": {"repository": "vendor", "access_key": KEY}}],
    )
    assert "repository_key_fingerprint is required" in run.msg("bad-ol9")


@pytest.mark.thorough
def test_platform_repositories_are_not_touched(lab):
    """ULN and OCI: the channel is not there, then it is, under the name of either."""
    name, options = "platform", {"repository": "platform", "access_key": KEY}
    run = lab.ansible([name], [{"rebootless.ksplice.uptrack_config": options}])
    assert "The channel ol9_x86_64_ksplice is not enabled" in run.msg(
        name
    ) and "Nothing was changed" in run.msg(name)
    assert lab.traces(name) == []
    repo = (
        "[ol9_ksplice]\nname=Ksplice\n"
        "baseurl=https://lab-repo/yum/uptrack/ol/$releasever/$basearch/\n"
        "gpgcheck=1\ngpgkey=https://lab-repo/yum/RPM-GPG-KEY-ksplice\n"
        "enabled=%d\n"
    )
    write = {"ansible.builtin.copy": {"dest": "/etc/yum.repos.d/oci.repo", "content": repo % 0}}
    disabled = lab.ansible([name], [write, {"rebootless.ksplice.uptrack_config": options}])
    assert "is not enabled" in disabled.msg(name)
    write["ansible.builtin.copy"]["content"] = repo % 1
    lab.ansible(
        [name],
        [write, {"ansible.builtin.rpm_key": {"key": "https://lab-repo/yum/RPM-GPG-KEY-ksplice"}}],
    )
    before = lab.run(name, ["sh", "-c", "ls -l --full-time /etc/yum.repos.d"])[1]
    done = lab.ansible([name], [{"rebootless.ksplice.uptrack_config": options}])
    assert done.result(name)["packages"] == ["uptrack"] and done.result(name)["steps"] == [
        "package uptrack installed"
    ], done.output[-2000:]
    assert lab.run(name, ["sh", "-c", "ls -l --full-time /etc/yum.repos.d"])[1] == before
    # Later somebody disables it: told, not failed, as the agent is there.
    write["ansible.builtin.copy"]["content"] = repo % 0
    told = lab.ansible([name], [write, {"rebootless.ksplice.uptrack_config": options}])
    assert told.status == 0 and "is not enabled" in told.result(name)["warnings"][0]
