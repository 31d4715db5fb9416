# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The watcher: what the agents' own logs and the clients saw.

It knows nothing of the collection. Pure.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import datetime, timezone

LINE = re.compile(r"(\S+ \S+) \[(\d+)\] EVENT: (apply|undo|run) (begin|end|started|ended)\b")


def spans(log):
    """The spans of time, as (start, end) in seconds, in which a kernel was being changed, by its
    agent's log. One for each run of the agent that changed something, from its first change to its
    last. An end that is missing (the agent died) is the last thing that run wrote.
    """
    runs, order = {}, []
    for line in log.splitlines():
        found = LINE.match(line)
        if not found:
            continue
        at = datetime.fromisoformat(found.group(1)).replace(tzinfo=timezone.utc).timestamp()
        what, pid = found.group(3, 2)
        if what == "run":
            runs.pop(pid, None) if found.group(4) == "started" else None
            continue
        if pid not in runs:
            runs[pid] = [at, at]
            order.append(runs[pid])
        runs[pid][1] = at
    return [tuple(span) for span in order]


def together(spans_of, groups):
    """The moments with two members of a group claimed: (group, one, its span, other, its span)."""
    found = []
    for group, members in groups.items():
        for number, one in enumerate(members):
            for other in members[number + 1 :]:
                found += [
                    (group, one, a, other, b)
                    for a in spans_of[one]
                    for b in spans_of[other]
                    if a[0] < b[1] and b[0] < a[1]
                ]
    return found


class Seen:
    """What the clients saw."""

    def __init__(self, lines):
        self.lines = list(lines)

    def of(self, whom):
        return [line for line in self.lines if line["whom"] == whom]

    def failed(self, pair):
        return [line for line in self.of(pair) if not line["ok"]]

    def rate(self, pair):
        """Requests a second."""
        lines = self.of(pair)
        return len(lines) / max(0.001, lines[-1]["at"] - lines[0]["at"])

    def servers(self, pair):
        """Who answered through the virtual address, one after the other."""
        found = []
        for line in self.of(pair):
            if line["ok"] and (not found or found[-1] != line["said"]):
                found.append(line["said"])
        return found

    def moves(self, pair):
        """When the address moved: (last answer of the one before it, first answer of the other
        after it).
        """
        good = [line for line in self.of(pair) if line["ok"]]
        return [
            (one["at"], other["at"])
            for one, other in zip(good, good[1:])
            if one["said"] != other["said"]
        ]

    def unexplained(self, pair):
        """The failed requests that were not under way while the address moved. VRRP moves an
        address and not the connections that are open at that moment, so that those are cut, however
        it is done.
        """
        return [
            line
            for line in self.failed(pair)
            if not any(
                line["at"] <= after and before <= line["at"] + line["took"]
                for before, after in self.moves(pair)
            )
        ]

    def longest_gap(self, pair):
        """The longest time without an answer through the virtual address, in seconds."""
        good = [line["at"] for line in self.of(pair) if line["ok"]]
        return max((b - a for a, b in zip(good, good[1:])), default=float("inf"))

    def unserved(self, members):
        """The seconds in which no member of a pair answered at its own address."""
        seconds = defaultdict(list)
        for name in members:
            for line in self.of(name):
                seconds[int(line["at"])].append(line["ok"])
        # The first and the last second are not whole.
        return [second for second, answers in sorted(seconds.items())[1:-1] if not any(answers)]

    def summary(self, groups):
        return "; ".join(
            f"pair {pair}: {len(self.of(pair))} requests ({self.rate(pair):.0f}/s), "
            f"{len(self.failed(pair))} failed, longest gap {self.longest_gap(pair):.2f} s, served "
            f"by {' '.join(self.servers(pair))}"
            for pair in groups
        ) + "".join(f"\n  {pair}: {line}" for pair in groups for line in self.failed(pair)[:3])
