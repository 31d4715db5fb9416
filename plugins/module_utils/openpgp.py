# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The fingerprints of the public keys in an ASCII-armored block (RFC 4880, RFC 9580), so that a repository's key can be
checked before a package manager is told to trust it. A host need not have gpg, and a controller neither."""

import base64
import binascii
import hashlib
import re

PUBLIC_KEY = 6


class NotAKey(ValueError):
    """The text is no block of public keys; the words say why."""


def fingerprints(text):
    """The fingerprints of the primary keys in the text, in upper-case hexadecimal digits, in their order.

    :raises NotAKey: if there is none, or the block is broken.
    """
    found = [fingerprint for block in _blocks(text) for fingerprint in _of_packets(block)]
    if not found:
        raise NotAKey("it holds no public key")
    return found


def same(one, other):
    """Whether two fingerprints, as people write them, are the same."""
    return _plain(one) == _plain(other)


def _plain(fingerprint):
    return re.sub(r"[\s:]", "", re.sub(r"^0[xX]", "", fingerprint)).upper()


def well_formed(fingerprint):
    """Whether it is a whole fingerprint: 40 hexadecimal digits, or 64. A short key ID can be forged."""
    return bool(re.match(r"^([0-9A-F]{40}|[0-9A-F]{64})$", _plain(fingerprint)))


def _armors(text):
    """What stands between the lines that begin and end a block."""
    body = None
    for line in text.split("\n"):
        if body is None:
            if line.rstrip(" \t\r").endswith("-----BEGIN PGP PUBLIC KEY BLOCK-----"):
                body = []
        elif "-----END PGP PUBLIC KEY BLOCK-----" in line:
            yield "\n".join(body + [line.partition("-----END")[0]])
            body = None
        else:
            body.append(line)


def _blocks(text):
    armors = list(_armors(text))
    if not armors:
        raise NotAKey("it has no block that begins with -----BEGIN PGP PUBLIC KEY BLOCK-----")
    for armor in armors:
        lines = [line.strip() for line in armor.splitlines()]
        # Headers up to an empty line; some writers leave both out.
        body = lines[lines.index("") + 1:] if "" in lines and (not lines[0] or ":" in lines[0]) else lines
        data = "".join(line for line in body if line and not line.startswith("="))
        try:
            yield base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise NotAKey("its block is not base64")


def _of_packets(data):
    at = 0
    while at < len(data):
        tag, start, end = _packet(data, at)
        if end > len(data):
            raise NotAKey("its block is cut off")
        if tag == PUBLIC_KEY:
            yield _fingerprint(data[start:end])
        at = end


def _packet(data, at):
    """Tag, start and end of the body of the packet that begins there."""
    head = data[at]
    if not head & 0x80:
        raise NotAKey("its block is no sequence of packets")
    try:
        if head & 0x40:
            first = data[at + 1]
            if first < 192:
                return head & 0x3f, at + 2, at + 2 + first
            if first < 224:
                start = at + 3
                return head & 0x3f, start, start + ((first - 192) << 8) + data[at + 2] + 192
            if first == 255:
                start = at + 6
                return head & 0x3f, start, start + int.from_bytes(data[at + 2:at + 6], "big")
            raise NotAKey("its block has a packet of no fixed length")
        size = head & 3
        if size == 3:
            raise NotAKey("its block has a packet of no fixed length")
        count = 1 << size
        start = at + 1 + count
        return (head >> 2) & 0xf, start, start + int.from_bytes(data[at + 1:start], "big")
    except IndexError:
        raise NotAKey("its block is cut off")


def _fingerprint(body):
    version = body[:1]
    if version == b"\x04":
        # The fingerprint of version 4 is SHA-1 by definition; nothing here chose it.
        return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()
    if version == b"\x06":
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise NotAKey("it holds a key of a version that nobody should trust any more (only 4 and 6 are known)")
