# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The fleet of the tests. Where the machine cannot have one they are skipped, with the reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from extent import ALL

sys.path.insert(0, str(Path(__file__).parent))
from ha_hosts import HaLab  # noqa: E402
from real_hosts import LIVES, OTHERS, PREFIX, Lab, namespaced_hosts  # noqa: E402

# Every host has one test, or a chain of tests, to itself: what one changes nobody else meets.
HOSTS = {
    "life-ubuntu": {"flavour": "ubuntu"},
    "life-ol9": {"flavour": "ol9"},
    "life-ol10": {"flavour": "ol10"},
    "life-centos": {"flavour": "centos8"},
    "life-ol7": {"flavour": "ol7"},
    "switch-ubuntu": {"flavour": "ubuntu", "agent": ["uptrack"]},
    "switch-ol9": {"flavour": "ol9", "agent": ["uptrack"]},
    "bad-ubuntu": {"flavour": "ubuntu"},
    "bad-ol9": {"flavour": "ol9"},
    "platform": {"flavour": "ol9"},
    "stranger": {
        "flavour": "debian",
        "files": {"/usr/lib/os-release": 'ID=slackware\nPRETTY_NAME="Slackware 15.0"\n'},
    },
    "role-ubuntu": {"flavour": "ubuntu"},
    "role-ol9": {"flavour": "ol9"},
    "boot": {"flavour": "ol9", "agent": ["uptrack"]},
    # Each with a kernel build of its own, so that they take their turns in one wave.
    "turn-ol9": {"flavour": "ol9", "agent": ["uptrack"]},
    "turn-ubuntu": {"flavour": "ubuntu", "agent": ["uptrack"]},
    "turn-ol10": {"flavour": "ol10", "agent": ["ksplice"]},
    "turn-ol7": {"flavour": "ol7", "agent": ["uptrack"]},
    "turn-centos": {"flavour": "centos8", "agent": ["uptrack"]},
    "turn-next": {"flavour": "ol9", "agent": ["uptrack"], "kernel": "ol9-next"},
}
if not ALL:
    for name in (
        "switch-ubuntu",
        "role-ubuntu",
        "platform",
        "turn-ol7",
        "turn-centos",
        "turn-next",
    ):
        del HOSTS[name]
    for name in set(OTHERS).difference(LIVES):
        del HOSTS[name]


def _possible():
    wrong = namespaced_hosts.problems()
    if wrong:
        pytest.skip(f"no real hosts on this machine: {'; '.join(wrong)}")


@pytest.fixture(scope="session")
def lab():
    _possible()
    lab = Lab(prefix=PREFIX)
    lab.down()
    lab.up(HOSTS)
    lab.trouble()
    yield lab
    lab.down()


@pytest.fixture(scope="session")
def ha():
    """Pairs and balancers, with their services running; whoever takes one out of service puts it
    back.
    """
    _possible()
    lab = HaLab(prefix=PREFIX + "d")
    try:
        lab.begin()
        yield lab
    finally:
        lab.down()


@pytest.fixture
def config():
    """A task of uptrack_config."""

    def task(**options):
        return [{"name": "Configure", "rebootless.ksplice.uptrack_config": options}]

    return task
