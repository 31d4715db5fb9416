# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The four pairs of the fire test.

Where the machine cannot have them the tests are skipped, with the reason.
"""

from __future__ import annotations

import sys
from pathlib import Path

import extent
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pairs import Pairs, real_hosts  # noqa: E402


@pytest.fixture(scope="session")
def pairs():
    wrong = real_hosts.namespaced_hosts.problems()
    if wrong:
        pytest.skip(f"no fleet of real hosts on this machine: {'; '.join(wrong)}")
    fleet = Pairs(prefix=real_hosts.PREFIX + "f")
    fleet.down()
    fleet.up(fleet.describe())
    fleet.trouble()
    fleet.settle()
    yield fleet
    fleet.down()


@pytest.fixture(scope="session")
def seed():
    """What the random moments come from; FIRE_SEED replays a failure."""
    return extent.seed("FIRE_SEED")
