# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Whether a wave may begin: the window by the clock of its time zone,
blackouts, and the stop file.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import window as windows
from extent import rounds
from hypothesis import given, settings
from hypothesis import strategies as st


def closed(now, window=None, **more):
    return windows.closed(
        dict({"window": window, "stop_file": "/srv/stop", "stop": False}, **more), now
    )


def is_open(now, **window):
    why = closed(now, window)
    assert why is None or why.startswith("the maintenance window is closed") or "blacked out" in why
    return why is None


@pytest.mark.parametrize("window", [None, "", {}])
def test_without_a_window_it_is_always_open(window):
    assert closed("2026-03-01T12:00:00Z", window) is None


def test_the_stop_file_closes_an_open_window():
    assert closed("2026-03-01T12:00:00Z", None, stop=True) == "the stop file /srv/stop is there"
    assert "stop file" in closed("2026-03-01T12:00:00Z", "nonsense", stop=True)


@pytest.mark.parametrize(
    "clock, opened",
    [
        ("21:59:59", False),
        ("22:00:00", True),
        ("22:00:00.123456", True),
        ("23:29:59", True),
        ("23:30:00", False),
        ("00:00:00", False),
    ],
)
def test_a_window_within_a_day(clock, opened):
    assert is_open(f"2026-03-04T{clock}Z", **{"from": "22:00", "to": "23:30"}) is opened


# 2026-03-06 is a Friday.
@pytest.mark.parametrize(
    "now, opened",
    [
        ("2026-03-06T21:59", False),
        ("2026-03-06T22:00", True),
        ("2026-03-07T00:00", True),
        ("2026-03-07T03:59", True),
        ("2026-03-07T04:00", False),
        # Saturday night does not belong to Friday, and Friday's first hours to Thursday.
        ("2026-03-07T22:00", False),
        ("2026-03-08T01:00", False),
        ("2026-03-06T01:00", False),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens(now, opened):
    assert is_open(f"{now}:00Z", days=["fri"], **{"from": "22:00", "to": "04:00"}) is opened


@pytest.mark.parametrize(
    "now, opened",
    [
        ("2026-03-06T21:59", False),
        ("2026-03-06T22:00", True),
        ("2026-03-07T21:59", True),
        ("2026-03-07T22:00", False),
    ],
)
def test_a_window_that_ends_when_it_begins_is_a_day_long(now, opened):
    assert is_open(f"{now}:00Z", days=["fri"], **{"from": "22:00", "to": "22:00"}) is opened


@pytest.mark.parametrize(
    "days, opened",
    [
        (["fri"], True),
        ("fri", True),
        (["Friday"], True),
        (["FRI", "sat"], True),
        (["sat", "sun"], False),
        (("mon", "tue", "wed", "thu"), False),
    ],
)
def test_days(days, opened):
    assert is_open("2026-03-06T12:00:00Z", days=days) is opened


@pytest.mark.parametrize(
    "now, opened",
    [
        # Winter: UTC+1. The clock goes from 02:00 to 03:00 on 2026-03-29, and from 03:00 back to
        # 02:00 on 2026-10-25.
        ("2026-01-10T00:59", False),
        ("2026-01-10T01:00", True),
        ("2026-01-10T02:59", True),
        ("2026-01-10T03:00", False),
        ("2026-07-10T00:00", True),
        ("2026-07-10T01:59", True),
        ("2026-07-10T02:00", False),
        ("2026-03-29T00:59", False),
        ("2026-03-29T01:00", True),
        ("2026-03-29T01:59", True),
        ("2026-03-29T02:00", False),
        ("2026-10-24T23:59", False),
        ("2026-10-25T00:00", True),
        ("2026-10-25T01:00", True),
        ("2026-10-25T02:59", True),
        ("2026-10-25T03:00", False),
    ],
)
def test_the_clock_of_a_time_zone_with_summer_time(now, opened):
    assert (
        is_open(f"{now}:00Z", timezone="Europe/Berlin", **{"from": "02:00", "to": "04:00"})
        is opened
    )


# When a window from 22:00 to 04:00, or from 01:30 to 02:30, is open around both changes of the
# year: UTC minutes from the first to the last.
CHANGES = [
    # Forward at 02:00 (to 03:00), back at 03:00 (to 02:00): the night is an hour shorter or longer.
    ("Europe/Berlin", "22:00", "04:00", "2026-03-28T21:00", "2026-03-29T01:59"),
    ("Europe/Berlin", "22:00", "04:00", "2026-10-24T20:00", "2026-10-25T02:59"),
    ("America/New_York", "22:00", "04:00", "2026-03-08T03:00", "2026-03-08T07:59"),
    ("America/New_York", "22:00", "04:00", "2026-11-01T02:00", "2026-11-01T08:59"),
    # South of the equator it is the other way round, and on Lord Howe by half an hour.
    ("Australia/Sydney", "22:00", "04:00", "2026-10-03T12:00", "2026-10-03T16:59"),
    ("Australia/Sydney", "22:00", "04:00", "2026-04-04T11:00", "2026-04-04T17:59"),
    ("Australia/Lord_Howe", "22:00", "04:00", "2026-10-03T11:30", "2026-10-03T16:59"),
    ("Australia/Lord_Howe", "22:00", "04:00", "2026-04-04T11:00", "2026-04-04T17:29"),
    # Of a window that begins before the hour that is left out, what is left; one that reaches into
    # the hour that comes twice, until it ends for the last time.
    ("Europe/Berlin", "01:30", "02:30", "2026-03-29T00:30", "2026-03-29T00:59"),
    ("Europe/Berlin", "02:30", "03:30", "2026-03-29T01:00", "2026-03-29T01:29"),
    # No change at all.
    ("Asia/Kathmandu", "22:00", "04:00", "2026-03-28T16:15", "2026-03-28T22:14"),
    ("UTC", "22:00", "04:00", "2026-03-28T22:00", "2026-03-29T03:59"),
]


@pytest.mark.parametrize("zone, begins, ends, first, last", CHANGES)
def test_both_changes_of_the_year(zone, begins, ends, first, last):
    first, last = (datetime.fromisoformat(text) for text in (first, last))
    window = {"timezone": zone, "from": begins, "to": ends}
    # Half a day before and after; each open minute is one of those in the table, and each of those
    # is open.
    minutes = [
        first - timedelta(hours=12) + timedelta(minutes=number) for number in range(0, 31 * 60)
    ]
    opened = [one for one in minutes if is_open(f"{one:%Y-%m-%dT%H:%M:%SZ}", **window)]
    assert [one for one in opened if one <= last + timedelta(hours=12)] == [
        one for one in minutes if first <= one <= last
    ]


def test_the_hour_that_comes_twice_is_open_twice():
    window = {"timezone": "Europe/Berlin", "from": "02:00", "to": "02:30"}
    opened = [
        f"{hour:02}:{minute:02}"
        for hour in range(3)
        for minute in range(60)
        if is_open(f"2026-10-25T{hour:02}:{minute:02}:00Z", **window)
    ]
    assert (opened[0], opened[29], opened[30], opened[-1], len(opened)) == (
        "00:00",
        "00:29",
        "01:00",
        "01:29",
        60,
    )


def test_an_hour_that_does_not_exist_that_day_opens_nothing():
    minutes = [
        datetime(2026, 3, 28, 22, tzinfo=timezone.utc) + timedelta(minutes=number)
        for number in range(360)
    ]
    assert not any(
        is_open(
            f"{one:%Y-%m-%dT%H:%M:%SZ}",
            timezone="Europe/Berlin",
            **{"from": "02:00", "to": "03:00"},
        )
        for one in minutes
    )


def test_the_day_is_that_of_the_time_zone():
    # Friday noon in UTC is Saturday on Kiritimati (UTC+14) and still Friday in Honolulu.
    assert is_open("2026-03-06T12:00:00Z", timezone="Pacific/Kiritimati", days=["sat"])
    assert is_open("2026-03-07T09:59:00Z", timezone="Pacific/Honolulu", days=["fri"])
    assert "it is Sat 2026-03-07 02:00 in Pacific/Kiritimati" in closed(
        "2026-03-06T12:00:00Z", {"timezone": "Pacific/Kiritimati", "days": ["fri"]}
    )


@pytest.mark.parametrize(
    "blackout, opened",
    [
        (["2026-12-24"], False),
        ([date(2026, 12, 24)], False),
        (["2026-12-24..2026-12-26"], False),
        (["2026-12-20 .. 2026-12-24"], False),
        (["2026-12-25", "2026-12-23"], True),
        (["2026-12-25..2027-01-06"], True),
        ([], True),
        (None, True),
    ],
)
def test_blackouts(blackout, opened):
    assert is_open("2026-12-24T12:00:00Z", blackout=blackout) is opened


def test_the_night_after_a_blacked_out_day_belongs_to_it():
    window = {"from": "22:00", "to": "04:00", "blackout": ["2026-12-24"]}
    assert [
        is_open(f"2026-12-{day}T{clock}:00Z", **window)
        for day, clock in (
            (23, "23:00"),
            (24, "01:00"),
            (24, "23:00"),
            (25, "01:00"),
            (25, "23:00"),
        )
    ] == [True, False, False, False, True]
    assert closed("2026-12-25T01:00:00Z", window) == "2026-12-24 is blacked out"


@pytest.mark.parametrize(
    "window, words",
    [
        ("22:00-04:00", "is not a mapping"),
        ([], "is not a mapping"),
        (True, "is not a mapping"),
        ({"form": "22:00"}, "unknown key 'form'; known are blackout, days, from, timezone, to"),
        ({1: 2, "x": 3}, "unknown key 1"),
        ({"timezone": "Europe/Berln"}, "unknown time zone 'Europe/Berln'"),
        ({"timezone": "../../etc/passwd"}, "unknown time zone"),
        ({"timezone": None}, "unknown time zone"),
        ({"days": []}, "days is"),
        ({"days": ["weekday"]}, "days is"),
        ({"days": "mon,tue"}, "days is 'mon,tue'"),
        ({"days": {"mon": 1}}, "days is"),
        ({"days": 5}, "days is"),
        ({"from": 1350}, 'from is 1350, not a time such as "22:30" in quotes'),
        ({"to": "24:01"}, "to is"),
        ({"from": "24:00"}, "from is"),
        ({"from": "12:60"}, "from is"),
        ({"from": "noon"}, "from is"),
        ({"from": None}, "from is"),
        ({"blackout": "2026-12-24"}, "not a list of dates"),
        ({"blackout": ["24.12.2026"]}, "not a date such as"),
        ({"blackout": ["2026-02-30"]}, "not a date such as"),
        ({"blackout": ["2026-12-26..2026-12-24"]}, "not a span of dates"),
        ({"blackout": ["2026-12-24..2026-12-25..2026-12-26"]}, "not a span of dates"),
    ],
)
def test_a_window_that_cannot_be_parsed_is_closed_and_reported(window, words):
    why = closed("2026-03-06T12:00:00Z", window)
    assert (
        why.startswith("the maintenance window is not valid and counts as closed (")
        and words in why
        and "\n" not in why
    )


times = st.integers(0, 1440).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")


@settings(max_examples=rounds(300), deadline=None)
@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),
    times.filter(lambda text: text != "24:00"),
    times,
    st.sets(st.sampled_from(windows.DAYS), min_size=1),
    st.sampled_from(
        ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
    ),
)
def test_against_the_days_on_which_it_opens(moment, begins, ends, days, zone):
    """The same asked the other way round: does a window that opened today or yesterday reach until
    now, by the clock on the wall?
    """
    window = {"from": begins, "to": ends, "days": sorted(days), "timezone": zone}
    here = (
        moment.replace(tzinfo=timezone.utc)
        .astimezone(ZoneInfo(zone))
        .replace(tzinfo=None, second=0, microsecond=0)
    )
    first, last = (int(text[:2]) * 60 + int(text[3:]) for text in (begins, ends))
    expected = False
    for back in (0, 1):
        midnight = datetime(here.year, here.month, here.day) - timedelta(days=back)
        length = last - first if first < last else last - first + 1440
        opens = midnight + timedelta(minutes=first)
        expected = (
            expected
            or windows.DAYS[midnight.weekday()] in days
            and opens <= here < opens + timedelta(minutes=length)
        )
    assert is_open(f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}", **window) is expected
