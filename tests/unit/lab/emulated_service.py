# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The emulated service as the tests see it: its machines, its faults, and who asked it what."""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import timedelta
from pathlib import Path

LAB = Path(__file__).resolve().parents[3] / "extensions" / "lab"
sys.path[:0] = [str(LAB / "agent"), str(LAB / "service")]
import service as lab_service  # noqa: E402
from uptrack_lab import account  # noqa: E402

USER, KEY = "fleet-user-x7", "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
UPDATE = {"ID": "dv4m9d3r", "Name": "CVE-2026-1: Improved update."}


class EmulatedService:
    """A service at work on an account of its own."""

    def __init__(self, directory, running):
        self.directory, self.running = Path(directory), running

    @property
    def options(self):
        """What the client wants to know (service_api.settings)."""
        return {"url": self.running.url, "user": USER, "key": KEY, "ca": self.running.ca}

    def machine(self, uuid, hostname, **said):
        """A machine that checks in: up to date, an hour ago."""
        known = {
            "uuid": uuid,
            "hostname": hostname,
            "ip": "192.0.2.1",
            "uptrack_client_version": "1.2.80",
            "autoinstall": False,
            "mmap_min_addr": 4096,
            "last_seen": seen(3600),
            "unsupported": False,
            "original_kernel": "5.15.0-302.167.6.el9uek",
            "effective_kernel": "5.15.0-303.167.6.el9uek",
            "installed_updates": [{"ID": "diptbg4f", "Name": "Known exploit detection."}],
            "steps": [],
        }
        account.check_in(str(self.directory), {**known, **said})
        return uuid

    def decide(self, uuid, **decided):
        account.decide(str(self.directory), uuid, **decided)

    def known(self, uuid):
        return account.machine(str(self.directory), uuid)

    def faults(self, *faults):
        (self.directory / "faults.json").write_text(json.dumps(faults))

    def asked(self):
        """The requests so far: method, call, UUID, status."""
        log = self.directory / "requests.log"
        return [tuple(one.split()) for one in log.read_text().splitlines()] if log.exists() else []


def seen(ago):
    """A time that was so many seconds ago, as the API has it."""
    return f"{lab_service.answers.utc_now() - timedelta(seconds=ago):%Y-%m-%dT%H:%M:%SZ}"


@contextlib.contextmanager
def emulated_service(directory, ca_dir, **settings):
    """An EmulatedService, with an account that is new.

    :param ca_dir: where the CA is, or is made.
    """
    lab_service.make_account(str(directory), user=USER, key=KEY, **settings)
    with lab_service.running(str(directory), ca_dir=str(ca_dir)) as running:
        yield EmulatedService(directory, running)
