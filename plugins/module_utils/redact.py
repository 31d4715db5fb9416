# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Cuts secrets out of text that people will see.

The probe does the same in awk, before its answer leaves the host.
"""

import re
import shlex

from ansible_collections.rebootless.ksplice.plugins.module_utils.enroll import conf

MASK = conf.MASK
_SCHEME = re.compile(r"^[A-Za-z0-9+.-]*://")
_WORD = re.compile(r"\S+")
# Cut out of every text, shorter ones would take words apart that mean something. Those stand in
# URLs, of which everything before the host goes.
SHORTEST = 4
# The agent takes the first of these that is set, where its file names no proxy (reference 2.1).
PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "http_proxy")


def of_configuration(text):
    """The secrets in an uptrack.conf: the access key, and user and password of the proxy."""
    raw = conf.values(text or "")
    found = []
    key = conf.plain(raw.get(("Auth", "accesskey"), ""))
    if key and key != conf.PLACEHOLDER:
        found.append(key)
    found.extend(of_proxy(conf.plain(raw.get(("Network", "https_proxy"), ""))))
    return found


def of_proxy(url):
    """The user with the password, and the password alone, of a proxy's URL."""
    who = _SCHEME.sub("", url or "").rpartition("@")[0]
    return [part for part in (who, who.partition(":")[2]) if part]


def program(command):
    """The program of an operator's command, for people: its arguments may hold a password, and
    what is printed ends up in records.
    """
    words = command.split()
    # A first word with an equals sign is a variable, which only a shell would set.
    return "…" if words and "=" in words[0] else f"{words[0]} …" if len(words) > 1 else command


def output(command, words):
    """What a command of the operator's printed, on one line: without the arguments that it was
    given, of which one may be a password.
    """
    words = " ".join(words.split())
    for value in sorted(set(_values(command)), key=len, reverse=True):
        # As short as a word of its own, it is cut out where it stands as one.
        words = (
            words.replace(value, MASK)
            if len(value) >= SHORTEST
            else re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", MASK, words)
        )
    return mask(words, [])[:200]


def _values(command):
    """What may be a password in a command: its arguments, without names of options and paths; those
    of a script inside of it too.
    """
    try:
        arguments = shlex.split(command)[1:]
    except ValueError:
        arguments = command.split()[1:]
    for argument in arguments:
        # A user and a password, or a variable and its value, may be separated by what prints them.
        yield from (
            part for part in re.split("[=:]", argument)[1:] if part and not part.startswith("/")
        )
        if " " in argument:
            yield from _values("sh " + argument)
        elif re.match(r"-\w..", argument):
            yield argument[2:]
        elif argument and not argument.startswith(("-", "/")):
            yield argument


def without_user(url, instead=""):
    """A URL for people, without user and password.

    A password may have an at sign or a slash in it, so that everything up to the last goes.
    """
    begin, end = url.find("://"), url.rfind("@")
    return url[: begin + 3] + instead + url[end + 1 :] if 0 <= begin < end else url


def address(url):
    """A URL for people, also without what follows its question mark, where keys are handed over as
    well.
    """
    before, sign, _query = without_user(url).partition("?")
    return before + (sign and "?…")


def mask(text, secrets):
    """The text without the secrets, also where the agent wrapped one over two lines."""
    for secret in secrets:
        # Blanks in it may have become others, and nothing else stands between two patterns for
        # blanks.
        secret = "".join(secret.split())
        if len(secret) >= SHORTEST:
            text = re.sub(r"\s*".join(map(re.escape, secret)), MASK, text)
    return _WORD.sub(lambda word: without_user(word.group(0), f"{MASK}@"), text)
