# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What a task of ha_lease does on its host."""

import time

from ansible_collections.rebootless.ksplice.plugins.module_utils import times
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import lease, ledger

ARGUMENTS = {
    "state": {
        "type": "str",
        "choices": ["acquired", "renewed", "released", "adopted", "ended", "shown", "broken"],
        "default": "shown",
    },
    "token": {"type": "str", "no_log": False},
    "run": {"type": "str"},
    "host": {"type": "str"},
    "member": {"type": "str"},
    "groups": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "members": {"type": "list", "elements": "str", "required": True},
            "max_unavailable": {"type": "int", "default": 1},
        },
    },
    "unreachable": {"type": "list", "elements": "str", "default": []},
    "seconds": {"type": "int", "default": 600},
    "wait": {"type": "int", "default": 0},
    "phase": {"type": "str", "choices": list(lease.PHASES)},
    "old_token": {"type": "str", "no_log": False},
    "reason": {"type": "str"},
    # What the question carries, so that it takes no second one: pre-checks, and who holds the
    # addresses.
    "checks": {"type": "list", "elements": "dict", "default": []},
    "check_timeout": {"type": "int", "default": 0},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "held": {"type": "list", "elements": "str"},
}
# Seconds that addresses have to get where they belong, once a host is back.
SETTLE = 5
REQUIRED_IF = [
    ("state", "acquired", ["token", "run", "host", "member", "groups", "reason"]),
    ("state", "renewed", ["token"]),
    ("state", "released", ["token"]),
    ("state", "adopted", ["token", "old_token", "run", "host", "reason"]),
    ("state", "ended", ["token"]),
    ("state", "broken", ["reason"]),
]


def run(params, check_mode, root, sleep=time.sleep, clock=time.monotonic):
    """Ask the ledger; the module's result comes back."""
    book = ledger.Ledger(root)
    begun, state = clock(), params["state"]
    if state == "shown" or (state == "broken" and not book.exists()):
        answer = {
            "granted": True,
            "refusal": None,
            "changed": False,
            "leases": book.read()["leases"],
        }
    else:
        answer = book.change(lambda *seen: decide(params, *seen), check_mode)
        # What stands in the way may go by itself. A lease that is stale does not: it has to be
        # taken over.
        while (
            state == "acquired"
            and not answer["granted"]
            and clock() - begun < params["wait"]
            and not check_mode
            and not _any_stale(answer, ledger.now(root))
        ):
            sleep(1)
            answer = book.change(lambda *seen: decide(params, *seen), check_mode)
    result = dict(shown(answer, ledger.now(root), book.busy()), waited=int(clock() - begun))
    if answer["granted"] and (params["checks"] or params["addresses"]):
        result.update(_look(params, root, sleep, clock))
    return result


def _look(params, root, sleep, clock):
    """The pre-checks of this member, and which of the addresses it holds."""
    # Only here, as hardly any question needs what they bring.
    from ansible_collections.rebootless.ksplice.plugins.module_utils import commands
    from ansible_collections.rebootless.ksplice.plugins.module_utils.ha import checks, groups

    wish = {
        "checks": params["checks"],
        "addresses": params["addresses"],
        "timeout": params["check_timeout"],
        "stable_for": 0,
    }
    machine, end = groups.Machine(commands.run, root), clock() + SETTLE
    try:
        while True:
            found = checks.run(machine, wish, sleep=sleep, clock=clock)
            # VRRP takes a moment to move an address.
            if params["held"] is None or set(found["holds"]) == set(params["held"]):
                break
            if clock() >= end:
                break
            sleep(0.2)
    except (checks.Wrong, checks.keepalived.Unreadable) as error:
        return {"checks": [{"name": "checks", "ok": False, "msg": str(error)}], "holds": []}
    return {"checks": found["checks"], "holds": found["holds"]}


def answer(params, check_mode, root, _program):
    """As run, for the program that asks in one round trip."""
    try:
        return run(params, check_mode, root)
    except ledger.Broken as broken:
        return {"failed": True, "msg": str(broken), "changed_nothing": True}


def _any_stale(answer, now):
    return any(lease.is_stale(entry, now) for entry in answer["leases"])


def decide(params, found, now, busy):
    """What the ledger becomes by a question, and the answer, see lease."""
    state = params["state"]
    if state == "acquired":
        return lease.acquire(found, params, now, busy)
    if state == "renewed":
        return lease.renew(found, params["token"], now, params["phase"], params["seconds"])
    if state == "adopted":
        return lease.adopt(found, params["old_token"], params, now, busy)
    if state == "ended":
        return lease.clear(found, params["token"], now, params["host"])
    if state == "released":
        return lease.release(found, params["token"], now)
    tokens = [params["token"]] if params["token"] else [entry["token"] for entry in found["leases"]]
    changed = False
    for token in tokens:
        found, answer = lease.end(found, token, now)
        changed = changed or answer["changed"]
    return found, {"granted": True, "refusal": None, "changed": changed}


def shown(answer, now, busy):
    """An answer as it leaves the member."""

    def of(entry):
        return dict(
            {
                key: entry[key]
                for key in (
                    "token",
                    "run",
                    "host",
                    "own",
                    "groups",
                    "reason",
                    "phase",
                    "seconds",
                )
            },
            took=list(entry.get("took", ())),
            acquired_at=times.iso(int(entry["taken_at"])),
            renewed_at=times.iso(int(entry["renewed_at"])),
            age=int(lease.age(entry, now)),
            stale=lease.is_stale(entry, now),
        )

    result = dict(
        answer,
        changed_nothing=not answer["changed"],
        unknown=answer.get("unknown", False),
        leases=[of(entry) for entry in answer["leases"]],
        busy=busy,
    )
    if answer.get("adopted"):
        result["adopted"] = of(answer["adopted"])
    return result
