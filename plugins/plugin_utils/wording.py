# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Texts for people: what is printed of somebody else's words, and numbers with what they are of."""

from __future__ import annotations

import unicodedata

from ansible_collections.rebootless.ksplice.plugins.module_utils.agent.facts import VERDICTS


def printable(text):
    """A text of somebody else's with nothing in it that a terminal obeys."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        "?" if unicodedata.category(char)[0] in "CZ" and char != " " else char for char in text
    )


def count(number, what, of_many=None):
    """A number and what it is of."""
    return f"{number} {what if number == 1 else of_many or what + 's'}"


def counts(verdicts):
    """How many hosts have which verdict, in the order of the verdicts."""
    found = [f"{verdicts[one]} {one}" for one in VERDICTS if verdicts.get(one)]
    return ", ".join(found) or "no host"
