# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""A key beside the one that was checked: real apt and real dnf would trust it, and are never given
it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import build
import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import openpgp
from real_hosts import KEY


@pytest.fixture(scope="module")
def foreign(lab, tmp_path_factory):
    """The lab's repositories once more, signed by somebody else; his key comes back."""
    www = Path(lab.packages) / "www"
    places = www / "foreign-apt", www / "foreign-yum"
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
    signer = build.Signer(str(tmp_path_factory.mktemp("foreign") / "gnupg"), "A stranger")
    try:
        shutil.copytree(www / "apt", places[0])
        for release in places[0].glob("dists/*/Release"):
            signer.clear(str(release), str(release.with_name("InRelease")))
        places[1].mkdir()
        for rpm in (www / "rpms/el").glob("uptrack-*.rpm"):
            shutil.copy(rpm, places[1])
        signer.sign_rpms(str(places[1]))
        build._createrepo(str(places[1]), signer)
        yield signer.public
    finally:
        for place in places:
            shutil.rmtree(place, ignore_errors=True)


def write(lab, name, path, text):
    lab.run(name, ["sh", "-c", 'printf %s "$1" >"$2"', "sh", text, path])


def apt_takes(lab, name, key):
    """Whether real apt takes the foreign repository with a key."""
    codename = lab.run(name, ["sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME"])[1].strip()
    write(lab, name, "/tmp/key.asc", key)
    write(
        lab,
        name,
        "/tmp/foreign.list",
        f"deb [signed-by=/tmp/key.asc] https://lab-repo/foreign-apt/ {codename} ksplice\n",
    )
    options = [
        "-o",
        "Dir::Etc::SourceList=/tmp/foreign.list",
        "-o",
        "Dir::Etc::SourceParts=-",
        "-o",
        "Dir::State::Lists=/tmp/lists",
        "-o",
        "APT::Update::Error-Mode=any",
    ]
    lab.run(name, ["mkdir", "-p", "/tmp/lists/partial"])
    status, words = lab.run(name, ["apt-get", "update", *options], check=False)
    lab.run(name, ["rm", "-rf", "/tmp/lists", "/tmp/key.asc", "/tmp/foreign.list"])
    assert (
        status == 0
        or "NO_PUBKEY" in words
        or "not signed" in words
        or "couldn't be verified" in words
    ), words
    return status == 0


def dnf_takes(lab, name, key):
    """Whether real dnf takes a package that a stranger signed, with a key."""
    write(lab, name, "/tmp/key.asc", key)
    options = [
        "--repofrompath",
        "foreign,https://lab-repo/foreign-yum/",
        "--repo",
        "foreign",
        "--setopt=foreign.gpgcheck=1",
        "--setopt=foreign.gpgkey=file:///tmp/key.asc",
        "--setopt=cachedir=/tmp/foreign",
    ]
    status, words = lab.run(name, ["dnf", "-q", "-y", *options, "install", "uptrack"], check=False)
    lab.run(
        name,
        [
            "sh",
            "-c",
            "rpm -e --nodeps uptrack 2>/dev/null; rpm -e $(rpm -qa 'gpg-pubkey*') 2>/dev/null; "
            "rm -rf /tmp/foreign /tmp/key.asc /etc/uptrack* /var/cache/uptrack /var/lib/uptrack "
            "/var/log/uptrack*",
        ],
        check=False,
    )
    assert status == 0 or "GPG" in words or "public key" in words.lower(), words
    return status == 0


@pytest.mark.parametrize("name, takes", [("bad-ubuntu", apt_takes), ("bad-ol9", dnf_takes)])
def test_a_repository_signed_by_a_second_key(lab, foreign, name, takes):
    genuine = (Path(lab.packages) / "www/apt/ksplice-archive.asc").read_text()
    mixed = genuine + foreign.replace("PUBLIC KEY BLOCK", "PRIVATE KEY BLOCK")
    # What the repository is signed with is taken, so that it is the key that decides.
    assert takes(lab, name, foreign)
    assert not takes(lab, name, openpgp.key(genuine).armored)
    if takes is apt_takes:
        # And apt trusts a second one that stands beside the first, whatever it calls itself.
        assert takes(lab, name, mixed)
    with pytest.raises(openpgp.NotAKey):
        openpgp.key(mixed)


@pytest.mark.parametrize(
    "name", ["bad-ol9", pytest.param("bad-ubuntu", marks=pytest.mark.thorough)]
)
def test_it_is_refused_before_anything_is_written(lab, foreign, name):
    before = lab.traces(name)
    genuine = (Path(lab.packages) / "www/apt/ksplice-archive.asc").read_text()
    options = dict(
        lab.vendor(name),
        repository_key=genuine + foreign.replace("PUBLIC", "PRIVATE"),
        access_key=KEY,
    )
    run = lab.ansible([name], [{"rebootless.ksplice.uptrack_config": options}])
    words = run.msg(name)
    assert run.status != 0 and ("more than one block" in words or "other text beside" in words), (
        run.output[-2000:]
    )
    assert "Nothing was changed" in words and lab.traces(name) == before
