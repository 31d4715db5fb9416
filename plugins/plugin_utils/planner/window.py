# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Whether a wave may begin now: the maintenance window and the stop file. Pure.

A window that cannot be understood is closed: a rollout that does not begin does no harm.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
KEYS = {"timezone", "from", "to", "days", "blackout"}


class Closed(ValueError):
    """A window that cannot be understood; the words say why."""


def closed(conditions, now):
    """Why no wave may begin now, as a sentence, or None.

    :param conditions: C(stop_file) (path), C(stop) (whether that file is there), C(window) (see
        docs/rolling.md) or None.
    :param now: time in UTC, ISO 8601.
    """
    if conditions.get("stop"):
        return f"the stop file {conditions.get('stop_file')} is there"
    window = conditions.get("window")
    if window in (None, "", {}):
        return None
    try:
        shape = read(window)
    except Closed as error:
        return f"the maintenance window is not valid and counts as closed ({error})"
    at = (
        datetime.strptime(now.partition(".")[0].rstrip("Z"), "%Y-%m-%dT%H:%M:%S")
        .replace(tzinfo=timezone.utc)
        .astimezone(shape["timezone"])
    )
    clock = f"it is {at:%a %Y-%m-%d %H:%M} in {window.get('timezone', 'UTC')}"
    minute = at.hour * 60 + at.minute
    begins, ends = shape["from"], shape["to"]
    # A window over midnight belongs to the day on which it opens.
    day = at.date()
    if begins < ends:
        inside = begins <= minute < ends
    else:
        # One that ends when it begins is a day long.
        inside = minute >= begins or minute < ends
        if minute < ends:
            day -= timedelta(days=1)
    for first, last in shape["blackout"]:
        # Both the day it is and the one that the window belongs to.
        for one in (at.date(), day):
            if first <= one <= last:
                return f"{one} is blacked out"
    if not inside or DAYS[day.weekday()] not in shape["days"]:
        return f"the maintenance window is closed ({clock})"
    return None


def read(window):
    """A window with its parts understood.

    :raises Closed: in one clause.
    """
    if not isinstance(window, dict):
        raise Closed(f"{window!r} is not a mapping")
    strange = sorted(set(window) - KEYS, key=str)
    if strange:
        raise Closed(f"unknown key {strange[0]!r}; known are {', '.join(sorted(KEYS))}")
    try:
        zone = ZoneInfo(str(window.get("timezone", "UTC")))
    except (KeyError, ValueError, OSError) as error:
        raise Closed(f"unknown time zone {window.get('timezone')!r}") from error
    days = window.get("days", list(DAYS))
    days = (
        [str(day).lower() for day in ([days] if isinstance(days, str) else days)]
        if isinstance(days, (str, list, tuple))
        else []
    )
    days = [day[:3] if day in NAMES else day for day in days]
    if not days or set(days) - set(DAYS):
        raise Closed(f"days is {window.get('days')!r}, not a list of names such as mon")
    blackout = window.get("blackout") or []
    if not isinstance(blackout, (list, tuple)):
        raise Closed(f"blackout is {blackout!r}, not a list of dates")
    return {
        "timezone": zone,
        "days": days,
        "from": _minute(window, "from", "00:00"),
        "to": _minute(window, "to", "24:00"),
        "blackout": [_span(one) for one in blackout],
    }


def _minute(window, key, otherwise):
    text = str(window.get(key, otherwise))
    found = re.fullmatch(r"(\d{1,2}):(\d{2})", text)
    # A window may end at 24:00, and begins at 00:00 of the day after.
    last = 1440 if key == "to" else 1439
    if (
        not found
        or int(found.group(1)) * 60 + int(found.group(2)) > last
        or int(found.group(2)) > 59
    ):
        raise Closed(f'{key} is {window.get(key)!r}, not a time such as "22:30" in quotes')
    return int(found.group(1)) * 60 + int(found.group(2))


def _span(text):
    parts = [part.strip() for part in str(text).split("..")]
    try:
        first, last = (date.fromisoformat(part) for part in (parts * 2)[:2])
    except ValueError as error:
        raise Closed(
            f"blackout has {text!r}, not a date such as 2026-12-24 or 2026-12-24..2026-12-26"
        ) from error
    if len(parts) > 2 or last < first:
        raise Closed(f"blackout has {text!r}, which is not a span of dates")
    return first, last
