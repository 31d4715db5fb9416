# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The lab's private certification authority, made with openssl: keys and certificates as files."""

import os
import subprocess

DAYS = "30"
# What strict verification, as Python 3.13 has it, wants of an authority and of what it signed.
CONFIGURATION = """\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {addresses}
"""


def make(directory, name, addresses):
    """Make an authority, C(ca.crt) and C(ca.key); a server's certificate from it, C(server.crt) and
    C(server.key); and one that the server signed itself, C(self-signed.crt).

    :param name: the server's common name.
    :param addresses: what the certificate is for, like C(DNS:lab-repo,IP:127.0.0.1).
    :raises SystemExit: if openssl refuses.
    """
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "openssl.cnf"), "w", encoding="utf-8") as file:
        file.write(CONFIGURATION.format(addresses=addresses))

    def openssl(words, *more):
        done = subprocess.run(
            ["openssl", *words.split(), *more],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"openssl {words} in {directory} failed: {done.stderr.strip()}")

    new = f"req -config openssl.cnf -newkey rsa:2048 -nodes -days {DAYS}"
    signed = f"x509 -req -in server.csr -days {DAYS} -extfile openssl.cnf -extensions server"
    openssl(f"{new} -x509 -extensions authority -keyout ca.key -out ca.crt", "-subj", "/CN=Lab CA")
    openssl(f"{new} -keyout server.key -out server.csr", "-subj", f"/CN={name}")
    openssl(f"{signed} -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt")
    openssl(f"{signed} -signkey server.key -out self-signed.crt")


def lasts(directory):
    """Whether there is a certificate that is good for another day."""
    words = ["openssl", "x509", "-checkend", "86400", "-noout", "-in", f"{directory}/server.crt"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
