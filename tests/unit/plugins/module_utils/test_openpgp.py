# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Fingerprints of keys, with gpg itself as the judge."""

import os
import shutil
import subprocess

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils import openpgp
from hypothesis import given
from hypothesis import strategies as st


def gpg(home, *arguments):
    done = subprocess.Popen(["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback"] + list(arguments),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
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
        gpg(home, "--passphrase", "", "--quick-gen-key", f"{kind} <key@example.com>", kind, usage, "never")
        listing = gpg(home, "--list-keys", "--with-colons")
        primary = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
        found.append((primary, gpg(home, "--armor", "--export")))
    return found


def test_as_gpg_says(keys):
    for fingerprint, text in keys:
        assert openpgp.fingerprints(text) == [fingerprint]
        assert openpgp.fingerprints("some words before\n" + text.replace("\n", "\r\n")) == [fingerprint]
    assert openpgp.fingerprints("".join(text for _fingerprint, text in keys)) == [fingerprint for fingerprint, _text in keys]


def test_as_people_write_them():
    plain = "5DE2D4F255E23055D3C40F2CF7CA6265B6D4038E"
    for spelt in ("5de2 d4f2 55e2 3055 d3c4  0f2c f7ca 6265 b6d4 038e", "0x5DE2D4F255E23055D3C40F2CF7CA6265B6D4038E"):
        assert openpgp.same(spelt, plain) and openpgp.well_formed(spelt)
    assert not openpgp.same(plain[:-1] + "F", plain)
    for short in ("B6D4038E", "F7CA6265B6D4038E", "", plain + "00", "Z" * 40):
        assert not openpgp.well_formed(short)


def test_cut_off_or_bent(keys):
    text = keys[0][1]
    lines = text.splitlines()
    for bent in ("", "<html>404</html>", "\n".join(lines[:4]), text.replace("PUBLIC KEY", "MESSAGE"), "\n".join(lines[:3] + ["!!!!"] + lines[3:])):
        with pytest.raises(openpgp.NotAKey):
            openpgp.fingerprints(bent)
    with pytest.raises(openpgp.NotAKey):
        openpgp.fingerprints("\n".join(lines[:5] + lines[-1:]))


@given(st.binary(max_size=200))
def test_whatever_a_server_sends(data):
    import base64
    block = f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{base64.b64encode(data).decode()}\n-----END PGP PUBLIC KEY BLOCK-----\n"
    try:
        assert openpgp.fingerprints(block)
    except openpgp.NotAKey:
        pass
