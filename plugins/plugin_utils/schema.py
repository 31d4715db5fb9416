# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The border: what a host answered, checked before anything is decided by it.

The owner of a managed host may answer anything. An answer that is not as the module gives it is
refused, for that host and with a sentence; of one that is, only what the module gives comes
through. Pure.
"""

from __future__ import annotations

import ipaddress
from datetime import datetime

from ansible_collections.rebootless.ksplice.plugins.module_utils.agent.facts import (
    REASON_CODES,
    VERDICTS,
)
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import steps
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn.steps import State

LONGEST, MOST, A_YEAR = 10_000, 10_000, 366 * 86400


class Misfit(ValueError):
    """The answer is not as the module gives it; the text says where."""


# ---- shapes: functions of a value and of where it stands, which give the value back or complain
# ----


def text(value, where):
    if not isinstance(value, str) or len(value) > LONGEST:
        raise Misfit(f"{where} is not a string of at most {LONGEST} characters")
    # Half a character, as JSON can tell it, can be written to no file.
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def truth(value, where):
    if not isinstance(value, bool):
        raise Misfit(f"{where} is not true or false")
    return value


def number(low, high):
    def shape(value, where):
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not low <= value <= high
        ):
            raise Misfit(f"{where} is not a number from {low} to {high}")
        return value

    return shape


def plain(value, where, depth=10):
    """Whatever it is: of JSON's own types, none of it deep, long or huge."""
    if depth == 0:
        raise Misfit(f"{where} is nested too deeply")
    if isinstance(value, dict):
        if len(value) > MOST:
            raise Misfit(f"{where} has more than {MOST} keys")
        return {
            text(key, where): plain(one, f"{where}.{key}"[:200], depth - 1)
            for key, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return listed(lambda one, place: plain(one, place, depth - 1))(value, where)
    if isinstance(value, str):
        return text(value, where)
    if value is None or isinstance(value, bool):
        return value
    return number(-1e15, 1e15)(value, where)


def also(**inner):
    """A mapping with these keys as they are to be, and others as they come."""

    def shape(value, where):
        return dict(value, **mapping(**inner)(value, where))

    return shape


def one_of(*words):
    def shape(value, where):
        if not isinstance(value, (str, type(None))) or value not in words:
            raise Misfit(f"{where} is not one of {', '.join(map(str, words))}")
        return value

    return shape


def moment(value, where):
    """A time of the record: UTC, ISO 8601."""
    found = text(value, where)
    try:
        datetime.strptime(found, "%Y-%m-%dT%H:%M:%S.%fZ" if "." in found else "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        raise Misfit(f"{where} is not a time") from None
    return found


def address(value, where):
    try:
        return str(ipaddress.ip_address(text(value, where)))
    except ValueError:
        raise Misfit(f"{where} is not an IP address") from None


def optional(inner):
    def shape(value, where):
        return None if value is None else inner(value, where)

    return shape


def listed(inner, most=MOST):
    def shape(value, where):
        if not isinstance(value, (list, tuple)) or len(value) > most:
            raise Misfit(f"{where} is not a list of at most {most} entries")
        return [inner(one, f"{where}[{number}]") for number, one in enumerate(value)]

    return shape


def mapping(**inner):
    """With these keys; one that is optional may be missing, others are left behind."""

    def shape(value, where):
        if not isinstance(value, dict):
            raise Misfit(f"{where} is not a mapping")
        return {key: of_key(value.get(key), key) for key, of_key in inner.items()}

    shape.keys = inner
    return shape


IDS = listed(text)
GROUP = mapping(name=text, members=listed(text), max_unavailable=number(1, MOST))
ENTRY = mapping(
    token=text,
    run=text,
    host=text,
    own=truth,
    groups=listed(GROUP),
    reason=text,
    phase=text,
    seconds=number(0, A_YEAR),
    took=listed(text),
    acquired_at=optional(text),
    renewed_at=optional(text),
    age=number(0, 1000 * A_YEAR),
    stale=truth,
)
CHECK = mapping(name=text, ok=truth, msg=optional(text))
LEASE = mapping(
    granted=truth,
    changed=truth,
    changed_nothing=optional(truth),
    refusal=optional(text),
    leases=listed(ENTRY),
    busy=truth,
    waited=number(0, A_YEAR),
    unknown=optional(truth),
    adopted=optional(ENTRY),
    checks=optional(listed(CHECK, 1000)),
    holds=optional(listed(text, 1000)),
)
HA = mapping(
    groups=listed(
        mapping(
            name=text,
            kind=one_of("keepalived", "pacemaker", "command"),
            role=one_of("active", "standby", None),
            addresses=listed(address),
            instances=listed(text),
            peers=listed(text),
            size=optional(number(0, MOST)),
            node=optional(text),
        ),
        1000,
    ),
    role=one_of("active", "standby", None),
    problems=listed(text),
    host_id=optional(text),
)
KERNEL = mapping(effective=optional(text), updates=IDS)
UPDATE = mapping(
    id=text,
    name=optional(text),
    first_seen=optional(moment),
    age=optional(number(0, 1000 * A_YEAR)),
)
FAILURE = mapping(
    id=optional(text),
    name=optional(text),
    verb=optional(text),
    reason=optional(text),
    processes=optional(listed(mapping(name=text, pid=number(0, 1 << 32)))),
    modules=optional(IDS),
    advice=optional(text),
)
HA_CHECK = mapping(
    ok=truth,
    changed=optional(truth),
    changed_nothing=optional(truth),
    seconds=optional(number(0, A_YEAR)),
    checks=listed(CHECK),
    holds=listed(text),
)

# Until the year 5138: what comes after it no calendar of Python's can tell.
MOMENT = number(0, 1e11)
# Of an apply, in a turn or by itself.
_OF_APPLY = dict(
    installed=optional(IDS),
    removed=optional(IDS),
    remaining=optional(IDS),
    cves_fixed=optional(IDS),
    cves_open=optional(IDS),
    before=optional(KERNEL),
    after=optional(KERNEL),
    verdict=optional(one_of(*VERDICTS)),
    reason=optional(text),
    error_class=optional(text),
    failures=optional(listed(FAILURE, 1000)),
    msg=optional(text),
    failed=optional(truth),
)
APPLIED = mapping(left=optional(listed(UPDATE)), **_OF_APPLY)
# Of a task of its own, where what is left is told with its CVEs.
APPLY = also(
    changed=truth,
    changed_nothing=optional(truth),
    took_along=optional(IDS),
    left=optional(listed(also(id=text))),
    warnings=optional(IDS),
    attempts=optional(number(0, MOST)),
    rc=optional(number(-1000, 100_000)),
    seconds=optional(number(0, A_YEAR)),
    **_OF_APPLY,
)
TURN = mapping(
    token=text,
    run=text,
    host=text,
    state=one_of(*(state.value for state in State)),
    reason=optional(text),
    reason_code=optional(one_of(*steps.REASON_CODES)),
    began=MOMENT,
    ended=optional(MOMENT),
    steps=listed(
        mapping(name=text, started=MOMENT, ended=optional(MOMENT), result=optional(text)), 1000
    ),
    applied=optional(APPLIED),
    drained=listed(text, 1000),
    checks=optional(listed(CHECK, 1000)),
    holds=optional(listed(text, 1000)),
    verdict=optional(mapping(good=truth, reason=optional(text))),
    rolled_back=optional(
        mapping(
            ok=truth,
            removed=optional(IDS),
            after=optional(KERNEL),
            verdict=optional(one_of(*VERDICTS)),
            remaining=optional(IDS),
            cves_open=optional(IDS),
            msg=optional(text),
        )
    ),
    restored=optional(listed(text, 1000)),
    not_restored=optional(text),
    lost_controller=truth,
    was_stuck=truth,
    started=truth,
    pending=optional(text),
    resumed=number(0, MOST),
)
TURN_ANSWER = mapping(
    changed=truth,
    changed_nothing=optional(truth),
    refusal=optional(text),
    turn=optional(TURN),
    alive=optional(truth),
    unknown=optional(truth),
    took=optional(listed(text, 1000)),
)
DRAIN = mapping(
    changed=truth,
    changed_nothing=optional(truth),
    failed=optional(truth),
    done=truth,
    msg=optional(text),
    active=optional(truth),
    drained=listed(
        mapping(what=text, adapter=text, host=text, token=text, age=number(0, 1000 * A_YEAR))
    ),
    left=listed(text),
)

KNOWN = also(id=text, name=optional(text), cves=listed(text))
PENDING = also(
    id=text,
    name=optional(text),
    cves=listed(text),
    first_seen=optional(moment),
    age=optional(number(0, 1000 * A_YEAR)),
)
FACTS = also(
    verdict=one_of(*VERDICTS),
    reason=text,
    reason_code=optional(one_of(*REASON_CODES)),
    agent=also(uuid=optional(text)),
    kernel=also(
        booted=optional(text),
        version=optional(text),
        machine=optional(text),
        effective=optional(text),
        on_disk=optional(text),
        on_disk_version=optional(text),
    ),
    updates=also(
        installed=optional(listed(KNOWN)),
        available=optional(listed(PENDING)),
    ),
    cves=also(fixed=optional(listed(text)), open=optional(listed(text))),
    checked_at=optional(moment),
    checked_age=optional(number(0, 1000 * A_YEAR)),
    warnings=listed(text),
    self_update=optional(listed(text)),
    host_id=optional(text),
    redundancy=optional(listed(text)),
    lease=optional(
        also(
            run=optional(text),
            host=optional(text),
            own=optional(truth),
            reason=optional(text),
            phase=optional(text),
            since=optional(moment),
            age=optional(number(0, 1000 * A_YEAR)),
            seconds=optional(number(0, A_YEAR)),
            stale=optional(truth),
            left=listed(
                mapping(
                    token=text,
                    run=text,
                    host=text,
                    age=number(0, 1000 * A_YEAR),
                    groups=listed(mapping(name=text, members=listed(text))),
                    took=listed(text, 1000),
                ),
                1000,
            ),
        )
    ),
    drained=optional(listed(mapping(host=optional(text), what=text), 1000)),
    turn=optional(
        mapping(
            run=text,
            state=text,
            reason=optional(text),
            reason_code=optional(one_of(*steps.REASON_CODES)),
            began=optional(moment),
            ended=optional(moment),
            lost_controller=truth,
            installed=IDS,
        )
    ),
)


# ---- answers, by whose they are: what comes in, or Misfit ----


def _answer(module, shape):
    def checked(said):
        try:
            return shape(said, "the answer")
        except Misfit as misfit:
            raise Misfit(f"The host's answer is not as {module} gives it: {misfit}.") from None

    return checked


lease = _answer("ha_lease", LEASE)
ha_check = _answer("ha_check", HA_CHECK)
drained = _answer("ha_drain", DRAIN)
turn = _answer("uptrack_turn", TURN_ANSWER)


def _applied(said, where):
    # What the agent printed is cut; of the rest, what was not given stays away.
    printed = said.get("stdout") if isinstance(said, dict) else None
    if isinstance(printed, str) and len(printed) > LONGEST:
        said = dict(said, stdout="…" + printed[1 - LONGEST :])
    given = set(said) if isinstance(said, dict) else ()
    return {key: one for key, one in APPLY(plain(said, where), where).items() if key in given}


applied = _answer("uptrack_apply", _applied)
# The turn alone, as the first line of a host's journal has it.
turn_shown = _answer("the journal", TURN)
survey = _answer("uptrack_facts", lambda said, where: FACTS(plain(said, where), where))
groups = _answer("ha_facts", HA)
# As the round trip gives it.
facts_of_groups = _answer("ha_facts", mapping(changed=truth, ha=HA))
