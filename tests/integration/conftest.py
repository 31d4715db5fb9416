# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from rehearsals import Rehearsal  # noqa: E402


@pytest.fixture
def fleet(tmp_path):
    """fleet({host: variables}, **variables of all): a fleet that is not made yet."""

    def make(hosts, **variables):
        return Rehearsal(tmp_path, hosts, **variables)

    return make
