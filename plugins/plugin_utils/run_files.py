# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What a run knows, between its tasks: in files of the controller's, and what its tasks registered.

The files lie in the temporary folder that Ansible makes for each of its runs, for its own user
only,
and removes at the end. No host gets at them, as it does at variables and facts; nothing templates
them; and a worker reads its own host's part alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile

from ansible import constants as C

# What role rolling registers, by what it is. Each result carries the token of its claim, so that
# what an earlier claim left is not an answer. tests/unit/roles ties these names to the role's.
REGISTERED = {
    "leases": ("__rolling_lease", "__rolling_lease_second", "__rolling_lease_others"),
    "balancers": ("__rolling_balancer", "__rolling_balancer_others"),
    "turn": ("__rolling_turn",),
    "peers": ("__rolling_peer", "__rolling_peer_others"),
    "finish": ("__rolling_finish",),
    "restored": ("__rolling_restored", "__rolling_restored_others"),
    "released": ("__rolling_own", "__rolling_release", "__rolling_release_others"),
}


def results(variables, what, token):
    """What the tasks of a host registered under a claim, in order; of a loop, its items."""
    found = []
    for name in REGISTERED[what]:
        result = variables.get(name)
        if not isinstance(result, dict):
            continue
        found += [
            one
            for one in (result["results"] if "results" in result else [result])
            if isinstance(one, dict) and one.get("token") == token
        ]
    return found


class RunFiles:
    """The files of one run, or of one play of role rolling."""

    def __init__(self, key, folder=None):
        self.key = re.sub(r"[^A-Za-z0-9-]", "_", key)
        self.folder = os.path.join(folder or C.DEFAULT_LOCAL_TMP, f"rebootless-{self.key}")

    @classmethod
    def of(cls, name):
        """Those that a file belongs to, by the file's whole name."""
        return cls(name.partition("/")[0])

    @classmethod
    def of_scope(cls, scope, play):
        """Those of the run, of the play at work, or of whichever of the two began last."""
        if scope == "play":
            return cls(f"play-{play._uuid}")
        return cls(cls("last").read("key.json", "run") if scope == "last" else "run")

    def write_survey(self, host, answer):
        """Keep what a host answered to the survey."""
        self.write(_survey_of(host), answer)

    def survey(self, host):
        """What a host answered, or None where it was not asked in this run."""
        return self.read(_survey_of(host))

    def forget_surveys(self, hosts):
        """Ask these hosts anew: what they answered before does not count any more."""
        for host in hosts:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, _survey_of(host)))

    def clear(self):
        """Nothing of an earlier run stays."""
        if os.path.isdir(self.folder):
            for name in os.listdir(self.folder):
                os.unlink(os.path.join(self.folder, name))

    def write(self, name, value):
        """Keep a value; the file's whole name comes back."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.folder)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(value))
        os.replace(temporary, os.path.join(self.folder, name))
        return f"{self.key}/{name}"

    def read(self, name, otherwise=None):
        """A value by its name or whole name; what is not there is C(otherwise)."""
        try:
            path = os.path.join(self.folder, name.rpartition("/")[2])
            with open(path, encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return otherwise


def _survey_of(host):
    # A host may be called anything, and a file may not.
    return f"survey-{hashlib.sha256(host.encode()).hexdigest()[:32]}.json"
