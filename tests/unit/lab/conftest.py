# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""Emulated hosts for the tests of the emulated agent: each test gets its own."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from agent_host import ENABLE, FIRST, KERNEL, SECOND, Host  # noqa: E402


@pytest.fixture(scope="session")
def program_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("program")


@pytest.fixture
def make_host(tmp_path, program_dir):
    """make_host(key=value, ...): a host with three updates out, of which it has the first; quick in
    all waits.
    """
    made = []

    def make(**changes):
        scenario = {
            "kernel": KERNEL,
            "updates": [ENABLE, FIRST, SECOND],
            "installed": ["aaaa1111"],
            "checked": "-600s",
            "lock_wait": 0.2,
            "retry_wait": 0,
            "cron_sleep": 0,
            "hostname": "web1",
        }
        scenario.update(changes)
        made.append(None)
        return Host(tmp_path / f"host{len(made)}", scenario, program_dir)

    return make
