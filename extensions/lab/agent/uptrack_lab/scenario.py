# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: rebootless.ksplice contributors
"""The scenario of a host, and the emulator's own memory of what it has played.

scenario.json is the truth.  Beside it lies its checked form, ready to load: a third of a run's time
would otherwise go into reading JSON and looking for mistakes that are not there.
"""

import marshal
import os
import sys
import time

from .world import CHANGING_COMMANDS, ScenarioError, write_atomic

# Beside the program, put there by a package.
EDITION = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "edition")


def load(path):
    """The checked scenario; ScenarioError if there is none, or something is wrong with it.

    Where a package brought the program, the package says which edition it is, and not the scenario.
    """
    scenario = _load(path)
    try:
        with open(EDITION) as stream:
            edition = stream.read().strip()
    except OSError:
        return scenario
    return dict(scenario, client=dict(scenario["client"], edition=edition))


def _load(path):
    try:
        found = os.stat(path)
    except OSError:
        raise ScenarioError(f"{path}: there is no scenario; make the host with emulated_host.py")
    key = (
        sys.version_info[:2],
        os.path.getmtime(__file__),
        found.st_mtime_ns,
        found.st_size,
        found.st_ino,
    )
    checked_path = path + ".checked"
    try:
        with open(checked_path, "rb") as stream:
            kept_key, scenario = marshal.load(stream)
        if kept_key == key:
            return scenario
    except (OSError, ValueError, EOFError, TypeError):
        pass
    from . import scenario_check

    try:
        with open(path, "rb") as stream:
            scenario = scenario_check.parse(stream.read().decode("utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: cannot be read: {error}")
    try:
        write_atomic(checked_path, marshal.dumps((key, scenario)))
    except OSError:
        pass  # not ours to write: read it again next time
    return scenario


def seconds_of(moment, created):
    """A checked moment as seconds since 1970; a relative one counts from the host's creation."""
    return created + float(moment[:-1]) if isinstance(moment, str) else moment


# ---- the emulator's own memory -------------------------------------------------------------------


class State(object):
    """Counters that outlive a run, in state.json; changed under a lock of its own."""

    def __init__(self, path):
        self.path = path

    def read(self):
        import json

        try:
            with open(self.path) as stream:
                return json.load(stream)
        except (FileNotFoundError, ValueError):
            return {}

    def created(self, scenario_path):
        created = self.read().get("created")
        if created is not None:
            return created
        try:
            return os.stat(scenario_path).st_mtime
        except OSError:
            return time.time()

    def change(self, function):
        """Call function(data) with the data; what it does to them is kept, what it returns is
        returned.
        """
        import fcntl
        import json

        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path + ".lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            data = self.read()
            result = function(data)
            write_atomic(self.path, json.dumps(data, sort_keys=True) + "\n")
        return result


def next_fault(scenario, data, command):
    """The keys that are different for this run; notes in `data` that the fault has been played."""
    played = data.setdefault("faults", {})
    for place, fault in enumerate(scenario["faults"]):
        if command not in fault.get("commands", CHANGING_COMMANDS):
            continue
        seen = played.get(str(place), 0)
        skip, times = fault.get("skip", 0), fault.get("times", 1)
        if seen >= skip + times:
            continue
        played[str(place)] = seen + 1
        if seen < skip:
            continue
        return {
            key: value for key, value in fault.items() if key not in ("times", "skip", "commands")
        }
    return {}


def next_failure(scenario, data, update, verb, met):
    """The failure that hits this update now, or None.  `met`: places of those that already count
    for this run.
    """
    played = data.setdefault("failures", {})
    for place, failure in enumerate(scenario["failures"]):
        if failure["id"] != update or failure["verb"] != verb:
            continue
        seen = played.get(str(place), 0)
        if place in met:
            return failure
        if failure["times"] is None or seen < failure["times"]:
            played[str(place)] = seen + 1
            met.add(place)
            return failure
    return None
