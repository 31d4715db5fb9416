# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The timeline of a run as numbers: when which host was claimed, in lanes. A pure function of the
record; where it is drawn, and how large, is the template's business.
"""

from __future__ import annotations

import functools
import math
from datetime import datetime, timezone
from itertools import accumulate

from ansible_collections.rebootless.ksplice.plugins.plugin_utils import turns
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner.waves import natural

LANES = 60
# In a lane with more bars, or more of them at a time, single hosts could not be seen.
BARS = 40
LEVELS = 8
# Columns of an aggregated lane, and parts of the axis.
COLUMNS = 120
PARTS = 4
# More bands of waves than these cannot be told apart.
WAVES = 30


def timeline(document):
    """Lanes, one for each redundancy group and for each host that is in none, with a bar for each
    claim. Above LANES lanes those in which something needs attention stay what they are, as many
    as there is room for, and all others become two, which come first: how many of their hosts
    were claimed when.

    All positions and lengths are percent of the axis.

    :returns: None where no host was claimed; else C(lanes) (see below), C(ticks) (C(x), C(at)),
        C(waves) (C(wave), C(x), C(width), C(hosts)) and C(seconds), the length of the axis.

        A lane has C(name), C(group) (whether it is one), C(hosts), C(levels) (numbers), and either
        C(bars), each with C(host), C(row) (its index in the record), C(x), C(width), C(level) (bars
        on one level do not overlap), C(room) (up to the next bar of its level), C(attention),
        C(out) (still drained, or not ended), C(started), C(ended), C(wave), C(canary);
        or C(columns), each with C(x), C(width), C(hosts), C(attention) (numbers) and C(share),
        C(bad) (the same as percent of C(most)).
    """
    indexes = [index for index, row in enumerate(document["hosts"]) if row["started"]]
    if not indexes:
        return None
    rows = {index: document["hosts"][index] for index in indexes}
    axis = _Axis(rows.values(), document["run"])
    lanes = {}
    for index in sorted(rows, key=lambda one: natural(rows[one]["name"])):
        row = rows[index]
        for group in row["groups"] or [None]:
            key = (group is None, group or row["name"])
            lane = {"name": group or row["name"], "group": group is not None, "bars": []}
            lanes.setdefault(key, lane)["bars"].append(_bar(index, row, axis))
    order = sorted(lanes, key=lambda key: (key[0], natural(key[1])))
    lanes = [_levelled(lanes[key]) for key in order]
    if len(lanes) > LANES:
        lanes = _aggregated(lanes, axis)
    return {
        "lanes": [_seen(lane, axis) for lane in lanes],
        "ticks": axis.ticks(),
        "waves": _waves(rows.values(), axis),
        "seconds": round(axis.length),
    }


class _Axis:
    """From the first claim to the end of the last one, with at least a second between."""

    def __init__(self, rows, run):
        self.first = min(seconds(row["started"]) for row in rows)
        last = max(seconds(row["ended"] or row["started"]) for row in rows)
        if run["ended"] and any(row["still_drained"] or not row["ended"] for row in rows):
            last = max(last, seconds(run["ended"]))
        self.last = max(last, self.first + 1)
        self.length = self.last - self.first

    def at(self, seconds):
        """A time as percent."""
        return round(100 * (min(seconds, self.last) - self.first) / self.length, 2)

    def ticks(self):
        """C(x) and C(at), a time of day in UTC, of evenly spaced moments."""
        every = [self.first + self.length * part / PARTS for part in range(PARTS + 1)]
        form = "%m-%d %H:%M" if self.length > 86400 else "%H:%M:%S"
        return [
            {
                "x": self.at(moment),
                "at": datetime.fromtimestamp(moment, timezone.utc).strftime(form),
            }
            for moment in every
        ]


def _bar(index, row, axis):
    out = bool(row["still_drained"] or not row["ended"])
    first = seconds(row["started"])
    last = axis.last if out else seconds(row["ended"])
    return {
        "host": row["name"],
        "row": index,
        "x": axis.at(first),
        "width": round(axis.at(last) - axis.at(first), 2),
        "attention": bool(row["attention"]),
        "out": out,
        "started": row["started"],
        "ended": row["ended"],
        "first": first,
        "last": last,
        "wave": row["wave"],
        "canary": row["canary"],
    }


def _levelled(lane):
    """A lane with its bars on as few levels as there is room for."""
    ends, last = [], {}
    lane["bars"].sort(key=lambda bar: (bar["first"], bar["last"]))
    for bar in lane["bars"]:
        free = (level for level, end in enumerate(ends) if end <= bar["first"])
        bar["level"] = level = next(free, len(ends))
        ends[level : level + 1] = [bar["last"]]
        bar["room"] = round(100 - bar["x"] - bar["width"], 2)
        if level in last:
            last[level]["room"] = round(bar["x"] - last[level]["x"] - last[level]["width"], 2)
        last[level] = bar
    return dict(lane, levels=len(ends))


def _aggregated(lanes, axis):
    """The lanes that need attention, and those into which all others go."""
    kept = [lane for lane in lanes if any(bar["attention"] or bar["out"] for bar in lane["bars"])][
        : LANES - 2
    ]
    names = {(lane["group"], lane["name"]) for lane in kept}
    many, rest = [], [lane for lane in lanes if (lane["group"], lane["name"]) not in names]
    other = "other " if kept else ""
    for group, word in ((True, "groups"), (False, "hosts in no group")):
        some = [lane for lane in rest if lane["group"] is group]
        if some:
            bars = {bar["row"]: bar for lane in some for bar in lane["bars"]}
            name = f"{len(some)} {other}{word}"
            many.append({"name": name, "group": group, "levels": 0, "bars": list(bars.values())})
    return [*many, *kept]


def _seen(lane, axis):
    """A lane with bars, or with columns where bars could not be told apart."""
    bars = lane["bars"]
    lane = dict(lane, hosts=len(bars), columns=[], most=None)
    if not lane["levels"] or lane["levels"] > LEVELS or len(bars) > BARS:
        lane.update(levels=1, bars=[], **_columns(bars, axis))
    return lane


def _columns(bars, axis):
    """How many hosts of these lanes were claimed in each part of the axis, if only for a moment."""
    everyone = _counts(bars, axis)
    needy = _counts([bar for bar in bars if bar["attention"]], axis)
    most = max(everyone)
    return {
        "most": most,
        "columns": [
            {
                "x": round(100 * number / COLUMNS, 2),
                "width": round(100 / COLUMNS, 2),
                "hosts": hosts,
                "attention": needy[number],
                "share": round(100 * hosts / most, 1),
                "bad": round(100 * needy[number] / most, 1),
            }
            for number, hosts in enumerate(everyone)
            if hosts
        ],
    }


def _counts(bars, axis):
    """How many of the bars are in each column."""
    width, changes = axis.length / COLUMNS, [0] * (COLUMNS + 1)
    for bar in bars:
        first = min(int((bar["first"] - axis.first) / width), COLUMNS - 1)
        last = min(math.ceil((bar["last"] - axis.first) / width), COLUMNS)
        changes[first] += 1
        changes[max(last, first + 1)] -= 1
    return list(accumulate(changes[:COLUMNS]))


def _waves(rows, axis):
    """When the hosts of each wave were claimed, unless these are too many to be told apart."""
    spans = {}
    for row in rows:
        if row["wave"]:
            first, last = seconds(row["started"]), seconds(row["ended"] or row["started"])
            known = spans.setdefault(row["wave"], [first, last, 0])
            known[:] = [min(known[0], first), max(known[1], last), known[2] + 1]
    if len(spans) > WAVES:
        return []
    return [
        {
            "wave": wave,
            "x": axis.at(first),
            "width": round(axis.at(last) - axis.at(first), 2),
            "hosts": hosts,
        }
        for wave, (first, last, hosts) in sorted(spans.items())
    ]


@functools.lru_cache(1 << 16)
def seconds(at):
    """A time of the record as seconds since 1970."""
    return turns.when(at).timestamp()
