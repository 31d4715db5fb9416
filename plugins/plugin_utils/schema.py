# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The border: what a host answered, checked before anything is decided by it.

Whoever owns a managed host may answer what he likes. An answer that is not as the module gives it is refused, for that host
and with a sentence; of one that is, only what the module gives comes through. Pure.
"""

from __future__ import annotations

import ipaddress

from ansible_collections.rebootless.ksplice.plugins.module_utils.agent.facts import VERDICTS

LONGEST, MOST, A_YEAR = 10_000, 10_000, 366 * 86400


class Misfit(ValueError):
    """The answer is not as the module gives it; the words say where."""


def lease(said):
    """An answer of ha_lease."""
    return _checked("ha_lease", LEASE, said)


def groups(said):
    """An answer of ha_facts: its C(ha)."""
    return _checked("ha_facts", HA, said)


def applied(said):
    """An answer of uptrack_apply that tells what is in the kernel afterwards."""
    return _checked("uptrack_apply", APPLIED, said)


def gate(said):
    """An answer of ha_gate."""
    return _checked("ha_gate", GATE, said)


def _checked(module, shape, said):
    try:
        return shape(said, "the answer")
    except Misfit as misfit:
        raise Misfit(f"The host's answer is not as {module} gives it: {misfit}.") from None


# ---- shapes: functions of a value and of where it stands, which give the value back or complain ----


def text(value, where):
    if not isinstance(value, str) or len(value) > LONGEST:
        raise Misfit(f"{where} is no text of at most {LONGEST} characters")
    return value


def notes(value, where):
    """What whoever renews a lease writes into it; nothing here reads it."""
    if not isinstance(value, dict):
        raise Misfit(f"{where} is not a mapping")
    return value


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
            raise Misfit(f"{where} is no number from {low} to {high}")
        return value

    return shape


def one_of(*words):
    def shape(value, where):
        if not isinstance(value, (str, type(None))) or value not in words:
            raise Misfit(f"{where} is none of {', '.join(map(str, words))}")
        return value

    return shape


def address(value, where):
    try:
        return str(ipaddress.ip_address(text(value, where)))
    except ValueError:
        raise Misfit(f"{where} is no IP address") from None


def optional(inner):
    def shape(value, where):
        return None if value is None else inner(value, where)

    return shape


def listed(inner, most=MOST):
    def shape(value, where):
        if not isinstance(value, (list, tuple)) or len(value) > most:
            raise Misfit(f"{where} is no list of at most {most} things")
        return [inner(one, f"{where}[{number}]") for number, one in enumerate(value)]

    return shape


def mapping(**inner):
    """With these keys; one that is optional may be missing, others are left behind."""

    def shape(value, where):
        if not isinstance(value, dict):
            raise Misfit(f"{where} is not a mapping")
        return {key: of_key(value.get(key), key) for key, of_key in inner.items()}

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
    marks=optional(notes),
    seconds=number(0, A_YEAR),
    took=listed(text),
    taken_at=optional(text),
    renewed_at=optional(text),
    age=number(0, 1000 * A_YEAR),
    stale=truth,
)
LEASE = mapping(
    granted=truth,
    changed=truth,
    refusal=optional(text),
    leases=listed(ENTRY),
    busy=truth,
    waited=number(0, A_YEAR),
    unknown=optional(truth),
    adopted=optional(ENTRY),
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
    id=text, name=optional(text), first_seen=optional(text), age=optional(number(0, 1000 * A_YEAR))
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
APPLIED = mapping(
    installed=IDS,
    removed=IDS,
    remaining=optional(IDS),
    cves_fixed=optional(IDS),
    cves_open=optional(IDS),
    before=optional(KERNEL),
    after=KERNEL,
    verdict=optional(one_of(*VERDICTS)),
    reason=optional(text),
    error_class=optional(text),
    failures=optional(listed(FAILURE, 1000)),
    left=optional(listed(UPDATE)),
    seconds=optional(number(0, A_YEAR)),
    msg=optional(text),
    failed=optional(truth),
    changed=optional(truth),
)
GATE = mapping(
    ok=truth,
    checks=listed(mapping(name=text, ok=truth, said=optional(text))),
    holds=listed(text),
)
