# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Fingerprints of keys, with gpg itself as the judge."""

import base64
import os
import shutil
import subprocess

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import openpgp
from hypothesis import given
from hypothesis import strategies as st


def gpg(home, *arguments):
    done = subprocess.Popen(
        ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
        + list(arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    out, err = done.communicate()
    assert done.returncode == 0, err
    return out.decode()


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Fingerprint and armored text of some keys, of several kinds, one with a subkey."""
    if not shutil.which("gpg"):
        pytest.skip("gpg is not installed. On Debian: apt-get install gnupg")
    found = []
    for kind, usage in (("rsa2048", "sign"), ("ed25519", "sign"), ("default", "default")):
        home = tmp_path_factory.mktemp("gnupg")
        os.chmod(str(home), 0o700)
        gpg(
            home,
            "--passphrase",
            "",
            "--quick-gen-key",
            f"{kind} <key@example.com>",
            kind,
            usage,
            "never",
        )
        listing = gpg(home, "--list-keys", "--with-colons")
        primary = next(
            line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:")
        )
        found.append((primary, gpg(home, "--armor", "--export")))
    return found


def shown(home, text):
    """The fingerprints of what gpg takes from a text."""
    path = home / "key"
    path.write_text(text)
    try:
        listing = gpg(home, "--with-colons", "--show-keys", str(path))
    except AssertionError:
        return []
    lines = listing.splitlines()
    return [lines[at + 1].split(":")[9] for at, line in enumerate(lines) if line.startswith("pub:")]


def test_as_gpg_says(keys, tmp_path):
    tmp_path.chmod(0o700)
    for fingerprint, text in keys:
        for written in (
            text,
            text.replace("\n", "\r\n"),
            f"\n  {text}\n\n",
            text.replace("\n\n", "\nComment: a key\n\n", 1),
            "\n".join(line for line in text.splitlines() if not line.startswith("=")),
        ):
            key = openpgp.key(written)
            assert key.fingerprint == fingerprint
            # gpg's own armor of the same packets is the same.
            assert key.armored == text and shown(tmp_path, key.armored) == [fingerprint]


def fixture(name):
    with open(
        os.path.join(os.path.dirname(__file__), "..", "..", "..", "fixtures", "openpgp", name)
    ) as file:
        return file.read()


def test_a_second_key_in_a_block_that_calls_itself_private(tmp_path):
    tmp_path.chmod(0o700)
    genuine, mixed = fixture("genuine.asc"), fixture("mixed.asc")
    assert openpgp.key(genuine).fingerprint == "65F9FA76BC2FE8B92F3057681D407CA1D85D2DBF"
    with pytest.raises(openpgp.NotAKey, match="more than one block"):
        openpgp.key(mixed)


def mixes(one, other):
    """Texts that have another key beside the one, each in its own way."""
    lines, body = other.splitlines(), one.splitlines()
    inside = "".join(line for line in lines[2:-1] if not line.startswith("="))
    data = base64.b64decode("".join(line for line in body[2:-1] if not line.startswith("=")))
    both = base64.b64encode(data + base64.b64decode(inside)).decode()
    yield one + other
    yield other + one
    yield one + other.replace("PUBLIC", "PRIVATE")
    yield other.replace("PUBLIC KEY BLOCK", "MESSAGE") + one
    yield one + "\n".join(lines[2:])
    yield "\n".join(body[:-1] + lines)
    yield "\n".join(body[:-2] + [inside] + body[-2:])
    yield "\n".join([body[0], "", both, body[-1]])
    yield "\n".join([body[0], "", *body[2:-1], "", inside, body[-1]])
    yield "\n".join([body[0], *lines, *body[1:]])
    yield "\n".join([body[0] + " " + lines[0], *lines[1:], *body[1:]])
    yield "\n".join([lines[0], "Comment: -----END PGP PUBLIC KEY BLOCK-----", *lines[1:]]) + one
    yield "words " + one
    yield one + "words"


def test_what_is_installed_is_what_was_checked(keys, tmp_path):
    """Whatever a text has beside the one key: it is refused, or the other is not in what comes out,
    with gpg as the judge.
    """
    tmp_path.chmod(0o700)
    for (fingerprint, one), (_stranger, other) in ((keys[0], keys[1]), (keys[1], keys[2])):
        for number, text in enumerate(mixes(one, other)):
            try:
                key = openpgp.key(text)
            except openpgp.NotAKey:
                continue
            assert shown(tmp_path, key.armored) == [key.fingerprint] == [fingerprint], number


def test_packets_that_belong_to_no_public_key(keys):
    data = base64.b64decode(
        "".join(line for line in keys[0][1].splitlines()[2:-1] if not line.startswith("="))
    )
    # A private key's packet, a literal one, a second primary key; and a name without a key before
    # it.
    for packets in (
        data + b"\xc5\x01\x04",
        data + b"\xcb\x01\x00",
        data + data,
        b"\xcd\x01a" + data,
    ):
        block = "\n".join([openpgp.BEGIN, "", base64.b64encode(packets).decode(), openpgp.END])
        with pytest.raises(openpgp.NotAKey):
            openpgp.key(block)


def test_a_subkey_that_no_signature_binds(keys):
    """Whoever adds one has not the key's secret. Old releases of rpm took it all the same."""
    with_subkey = next(
        data
        for data in (packets_of(text) for _fingerprint, text in keys)
        if [tag for tag, _whole in data].count(14)
    )
    at = [tag for tag, _whole in with_subkey].index(14)
    assert [tag for tag, _whole in with_subkey][at + 1] == 2

    def key(packets):
        return openpgp.key(
            "\n".join(
                [
                    openpgp.BEGIN,
                    "",
                    base64.b64encode(b"".join(whole for _tag, whole in packets)).decode(),
                    openpgp.END,
                ]
            )
        )

    assert key(with_subkey)
    # Without its signature; with one of the user ID's kind in its place; and another one behind the
    # bound one.
    certification = next(one for one in with_subkey if one[0] == 2)
    for packets in (
        with_subkey[: at + 1],
        with_subkey[: at + 1] + [certification],
        with_subkey + [with_subkey[at]],
    ):
        with pytest.raises(openpgp.NotAKey, match="no signature binds"):
            key(packets)


def packets_of(text):
    """The packets of a key, each with its header: (tag, octets)."""
    data, at, found = (
        base64.b64decode(
            "".join(line for line in text.splitlines()[2:-1] if not line.startswith("="))
        ),
        0,
        [],
    )
    while at < len(data):
        tag, _start, end = openpgp._packet(data, at)
        found.append((tag, data[at:end]))
        at = end
    return found


def test_as_people_write_them():
    plain = "5DE2D4F255E23055D3C40F2CF7CA6265B6D4038E"
    for spelt in (
        "5de2 d4f2 55e2 3055 d3c4  0f2c f7ca 6265 b6d4 038e",
        "0x5DE2D4F255E23055D3C40F2CF7CA6265B6D4038E",
    ):
        assert openpgp.same(spelt, plain) and openpgp.well_formed(spelt)
    assert not openpgp.same(plain[:-1] + "F", plain)
    for short in ("B6D4038E", "F7CA6265B6D4038E", "", plain + "00", "Z" * 40):
        assert not openpgp.well_formed(short)


def test_cut_off_or_bent(keys):
    text = keys[0][1]
    lines = text.splitlines()
    for bent in (
        "",
        "<html>404</html>",
        "\n".join(lines[:4]),
        text.replace("PUBLIC KEY", "MESSAGE"),
        "\n".join(lines[:3] + ["!!!!"] + lines[3:]),
    ):
        with pytest.raises(openpgp.NotAKey):
            openpgp.key(bent)
    with pytest.raises(openpgp.NotAKey):
        openpgp.key("\n".join(lines[:5] + lines[-1:]))


@given(st.binary(max_size=200))
def test_any_bytes_from_a_server(data):
    block = (
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n"
        f"{base64.b64encode(data).decode()}\n"
        "-----END PGP PUBLIC KEY BLOCK-----\n"
    )
    try:
        assert openpgp.key(block).armored
    except openpgp.NotAKey:
        pass
