# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""No secret is in the arguments of a program."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path


class Watch(threading.Thread):
    """Reads the argument lists of all processes, over and over, and keeps those with a secret in
    them.
    """

    def __init__(self, secrets):
        super().__init__(daemon=True)
        self.secrets = [secret.encode() for secret in secrets]
        self.found, self.going, self.looks = [], True, 0

    def run(self):
        while self.going:
            self.looks += 1
            for name in filter(str.isdigit, os.listdir("/proc")):
                try:
                    words = Path("/proc", name, "cmdline").read_bytes()
                except OSError:
                    continue
                if any(secret in words for secret in self.secrets):
                    self.found.append(words)
            time.sleep(0.05)


@contextlib.contextmanager
def watching(*secrets):
    """Fails if any of the secrets is in an argument of a program meanwhile."""
    one = Watch(secrets)
    one.start()
    try:
        yield
    finally:
        one.going = False
        one.join()
    assert one.looks > 10 and one.found == []
