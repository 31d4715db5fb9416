# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The journal of a host: the turn that goes on here, and what is out of service by our doing.

C(/var/lib/rebootless-ksplice/journal.json) holds C(schema), C(turn) (as in steps) and C(drained),
the
saved state of each drain, also of those that were made here for other hosts, as on a balancer. Its
first line is what may be shown, and all that leaves the host; the second has the rest, such as
commands of the operator's, in which a password may stand. It is replaced whole, under
C(journal.lock), and is on the disk when the change returns. C(work.lock) is held by the one process
that carries the turn out.
"""

import contextlib
import errno
import fcntl
import json
import os
import stat

from ansible_collections.rebootless.ksplice.plugins.module_utils import files
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import steps
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn.ledger import (
    DIRECTORY,
    Broken,
)

ADVICE = (
    "Nothing was changed. Look at the host, restore what is drained (ha_drain), and "
    "remove the file."
)


# Of a turn, what is large or may hold secrets.
HIDDEN = ("order", "before")


def shown(turn):
    """A turn as it leaves the host; None of none."""
    return turn and {key: value for key, value in turn.items() if key not in HIDDEN}


def drain_shown(saved):
    """The saved state of a drain as it leaves the host."""
    return {
        "what": saved["key"],
        "adapter": saved["target"]["adapter"],
        "host": saved["host"],
        "token": saved["token"],
        "at": saved["at"],
    }


class Journal:
    """The journal of this host.

    :param root: of an emulated host, empty on a real one.
    """

    def __init__(self, root=""):
        self.folder = root + DIRECTORY
        self.path = self.folder + "/journal.json"

    def read(self):
        """Its content; empty on a host on which nothing ever happened.

        :raises Broken: where it cannot be read, which never counts as nothing.
        """
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return {"schema": steps.SCHEMA, "turn": None, "drained": []}
            raise Broken(f"{self.path} cannot be opened ({error.strerror}). {ADVICE}")
        with open(handle, encoding="utf-8") as file:
            what = os.fstat(file.fileno())
            if not stat.S_ISREG(what.st_mode):
                raise Broken(f"{self.path} is not a plain file. {ADVICE}")
            # Whoever writes it decides what root runs.
            if what.st_uid != os.geteuid() or what.st_mode & 0o022:
                raise Broken(
                    f"{self.path} belongs to user {what.st_uid} with mode "
                    f"{stat.S_IMODE(what.st_mode):04o}: it must be writable for root only. {ADVICE}"
                )
            try:
                shown, _newline, rest = file.read().partition("\n")
                found = json.loads(shown)
                self._check_schema(found)
                hidden = json.loads(rest)
                found["drained"] = hidden["drained"]
                if found["turn"] is not None:
                    found["turn"].update(hidden["turn"])
                self._check(found)
            except (OSError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                raise Broken(f"{self.path} is not a complete journal ({error}). {ADVICE}")
        return found

    def _check_schema(self, found):
        schema = found["schema"]
        if not isinstance(schema, int) or schema < 1:
            raise ValueError("it has no schema")
        if schema > steps.SCHEMA:
            raise Broken(
                f"{self.path} has schema {schema}, which a newer version of this collection "
                f"wrote; this one reads up to {steps.SCHEMA}. Nothing was changed. Run it from the "
                "control node with the newer version."
            )

    @staticmethod
    def _check(found):
        for saved in found["drained"]:
            if not {"key", "host", "token", "at", "target"} <= set(saved):
                raise ValueError("the saved state of a drain is incomplete")
        turn = found["turn"]
        if turn is not None:
            steps.State(turn["state"])
            steps.unfinished(turn)
            missing = set(steps.begun(dict.fromkeys(("token", "run", "host")), 0)) - set(turn)
            if missing:
                raise ValueError(f"its turn has no {sorted(missing)[0]}")

    @contextlib.contextmanager
    def locked(self):
        """No other process reads and writes meanwhile. Held for moments only."""
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            lock = os.open(
                self.folder + "/journal.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise Broken(
                f"{self.folder} cannot be written ({error.strerror}): run as root, and check "
                "space. Nothing was changed."
            )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def change(self, function):
        """Replace what stands in it by what the function makes of it; that comes back."""
        with self.locked():
            new = function(self.read())
            self.write(new)
            return new

    def write(self, document):
        turn = document["turn"]
        hidden = {key: turn[key] for key in HIDDEN} if turn else None
        lines = (
            {
                "schema": steps.SCHEMA,
                "turn": shown(turn),
                "drained": [drain_shown(saved) for saved in document["drained"]],
            },
            {"turn": hidden, "drained": document["drained"]},
        )
        try:
            files.replace(self.path, "".join(json.dumps(line) + "\n" for line in lines))
        except OSError as error:
            raise Broken(
                f"{self.path} cannot be written ({error.strerror}): check space and permissions. "
                "It was left as it was."
            )

    def keep(self, turn):
        """Write the turn, with a verdict that was handed in meanwhile, which comes back."""

        def new(document):
            there = document["turn"] or {}
            same = there.get("token") == turn["token"]
            new = same and there["verdict"] and not turn["verdict"]
            more = {key: there[key] for key in ("verdict", "pending")} if new else {}
            return dict(document, turn=dict(turn, **more))

        return self.change(new)["turn"]
