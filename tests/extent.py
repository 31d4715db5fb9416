# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""How much is played: `make test` keeps to one short play of everything, `make test-all`
(KSPLICE_TESTS=all) plays it out.
"""

import datetime
import os

ALL = os.environ.get("KSPLICE_TESTS") == "all"


def rounds(count, short=None):
    """How often to play something that is played C(count) times in all: an eighth of it, or
    C(short), and at least once.
    """
    if ALL:
        return count
    return max(1, count // 8 if short is None else short)


def turn(count):
    """A number below C(count) that is another one tomorrow, so that what takes turns has all had
    one after some days.
    """
    return datetime.date.today().toordinal() % count


def todays(cases, of=4):
    """All of the cases, or in the short play every fourth of them, others tomorrow."""
    return cases if ALL else cases[turn(of) :: of] or cases[:1]


def seed(variable):
    """What random moments come from: the number in an environment variable, to play a failure
    again, or the day's own. It is printed, for pytest to show when the test fails.
    """
    found = int(os.environ.get(variable) or datetime.date.today().strftime("%Y%m%d"))
    print(f"\n{variable}={found} plays these moments again")
    return found
