# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""An ASCII-armored public key (RFC 4880, RFC 9580), read so that a repository's key can be checked
before a package manager is made to trust it. A host need not have gpg, and a controller neither.

What was checked has to be what is installed: whoever reads keys after this, apt and rpm, may see
blocks and packets where this reader sees none. So a text with anything beside one key is refused,
and what is installed is made of nothing but the packets that were read here.
"""

import base64
import binascii
import hashlib
import re
from collections import namedtuple

BEGIN, END = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
PUBLIC_KEY = 6
# Characters; a key with hundreds of signatures has fewer.
MOST = 1 << 20
SIGNATURE, SUBKEY, BINDING = 2, 14, 0x18
# What else belongs to a public key: signatures, names, pictures, subkeys, padding.
PARTS = {2: "signature", 13: "user ID", 14: "public subkey", 17: "user attribute", 21: "padding"}

# fingerprint: of the primary key, in upper-case hexadecimal digits. armored: the key anew, and
# nothing else.
Key = namedtuple("Key", "fingerprint armored")


class NotAKey(ValueError):
    """The text is not one public key; the words say why."""


def key(text):
    """The one public key that a text is.

    :raises NotAKey: if it is none, is broken, or if anything stands beside it: another key or
        block, words, packets of another kind.
    """
    data = _data(text)
    fingerprint = None
    packets = list(_packets(data))
    for number, (tag, body) in enumerate(packets):
        if tag == SUBKEY and not _is_bound(packets[number + 1 :]):
            raise NotAKey("it has a subkey that no signature binds to it")
        if tag == PUBLIC_KEY:
            if fingerprint:
                raise NotAKey("it holds more than one public key")
            fingerprint = _fingerprint(body)
        elif fingerprint is None or tag not in PARTS:
            raise NotAKey(
                f"its block has a packet that does not belong to a public key (tag {tag})"
            )
    if not fingerprint:
        raise NotAKey("it holds no public key")
    return Key(fingerprint, _armored(data))


def _is_bound(following):
    """Whether a signature of the binding kind stands among those behind a subkey.

    Package managers check it; old ones took a subkey without any.
    """
    for tag, body in following:
        if tag != SIGNATURE:
            return False
        kind = body[2:3] if body[:1] in (b"\x02", b"\x03") else body[1:2]
        if kind == bytes([BINDING]):
            return True
    return False


def same(one, other):
    """Whether two fingerprints, as people write them, are the same."""
    return _plain(one) == _plain(other)


def _plain(fingerprint):
    return re.sub(r"[\s:]", "", re.sub(r"^0[xX]", "", fingerprint)).upper()


def well_formed(fingerprint):
    """Whether it is a whole fingerprint: 40 hexadecimal digits, or 64.

    A short key ID can be forged.
    """
    return bool(re.match(r"^([0-9A-F]{40}|[0-9A-F]{64})$", _plain(fingerprint)))


def _data(text):
    """The packets of the only block of a text."""
    if len(text) > MOST:
        raise NotAKey(f"it has more than {MOST} characters")
    lines = [line.strip() for line in text.lstrip("\ufeff").strip().split("\n")]
    if BEGIN not in lines:
        raise NotAKey(f"it has no line {BEGIN}")
    if lines[0] != BEGIN or END not in lines:
        raise NotAKey(f"it has other text beside its block, or no line {END}")
    last = lines.index(END)
    if any(line.startswith("-----") for line in lines[1:last] + lines[last + 1 :]):
        raise NotAKey("it holds more than one block")
    if last != len(lines) - 1:
        raise NotAKey("it has other text beside its block")
    body = lines[1:last]
    # Headers up to an empty line; some writers leave both out.
    if "" in body and (not body[0] or ":" in body[0]):
        body = body[body.index("") + 1 :]
    # The checksum behind the data may be missing, and need not be verified.
    if body and body[-1].startswith("="):
        body = body[:-1]
    try:
        return base64.b64decode("".join(body), validate=True)
    except (binascii.Error, ValueError):
        raise NotAKey("its block is not base64")


def _armored(data):
    encoded = base64.b64encode(data).decode()
    lines = [encoded[at : at + 64] for at in range(0, len(encoded), 64)]
    check = base64.b64encode(_crc24(data).to_bytes(3, "big")).decode()
    return "\n".join([BEGIN, "", *lines, f"={check}", END]) + "\n"


def _crc24(data):
    """The checksum of an armor (RFC 4880, 6.1), without which older releases of rpm read none."""
    crc = 0xB704CE
    for octet in data:
        crc ^= octet << 16
        for _bit in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc


def _packets(data):
    at = 0
    while at < len(data):
        tag, start, end = _packet(data, at)
        if end > len(data):
            raise NotAKey("its block is truncated")
        yield tag, data[start:end]
        at = end


def _packet(data, at):
    """Tag, start and end of the body of the packet that begins there."""
    head = data[at]
    if not head & 0x80:
        raise NotAKey("its block is not a sequence of packets")
    try:
        if head & 0x40:
            first = data[at + 1]
            if first < 192:
                return head & 0x3F, at + 2, at + 2 + first
            if first < 224:
                start = at + 3
                return head & 0x3F, start, start + ((first - 192) << 8) + data[at + 2] + 192
            if first == 255:
                start = at + 6
                return head & 0x3F, start, start + int.from_bytes(data[at + 2 : at + 6], "big")
            raise NotAKey("its block has a packet of no fixed length")
        size = head & 3
        if size == 3:
            raise NotAKey("its block has a packet of no fixed length")
        count = 1 << size
        start = at + 1 + count
        return (head >> 2) & 0xF, start, start + int.from_bytes(data[at + 1 : start], "big")
    except IndexError:
        raise NotAKey("its block is truncated")


def _fingerprint(body):
    version = body[:1]
    if version == b"\x04" and len(body) < 1 << 16:
        # The fingerprint of version 4 is SHA-1 by definition; nothing here chose it.
        return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()
    if version == b"\x06":
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise NotAKey("it holds a key of an obsolete version (only 4 and 6 are accepted)")
