# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The turn of one host as a state machine: which state follows which, and what is done in it. Pure.

C(next_step) decides, C(record) keeps what came of a deed. The journal, the process and the deeds
themselves are in journal, process and run. docs/rolling.md has the states for people.
"""

from enum import Enum

SCHEMA = 1


class State(str, Enum):
    """How far a turn is."""

    LEASED = "leased"
    DRAINING = "draining"
    DRAINED = "drained"
    APPLYING = "applying"
    APPLIED = "applied"
    CHECKING = "checking"
    WAITING = "waiting"
    ROLLING_BACK = "rolling_back"
    RESTORING = "restoring"
    RESTORED = "restored"
    STUCK = "stuck"
    RELEASED = "released"


class Deed(str, Enum):
    """What is done in a state."""

    DRAIN = "drain"
    APPLY = "apply"
    # What an apply that was cut off has left in the kernel.
    INSPECT = "inspect"
    CHECK = "check"
    WAIT = "wait"
    ROLL_BACK = "roll_back"
    RESTORE = "restore"
    RELEASE = "release"


class Event(str, Enum):
    """What may happen to a turn."""

    CONTINUE = "continue"
    DONE = "done"
    FAILED = "failed"
    # The process that did the deed is gone; another has taken up the journal.
    INTERRUPTED = "interrupted"
    # The run has no lease on this host any more.
    LEASE_LOST = "lease_lost"
    VERDICT_GOOD = "verdict_good"
    VERDICT_BAD = "verdict_bad"
    NO_VERDICT = "no_verdict"


# Why a turn did not go as it was to go.
REASON_CODES = (
    "unhealthy",
    "not_drained",
    "apply_failed",
    "interrupted",
    "lease_lost",
    "lost_controller",
    "not_restored",
    "journal",
    "error",
)
# Nothing follows by itself.
AT_REST = (State.RELEASED, State.STUCK)
# Deeds that change the host, for which the lease must still be there.
NEED_LEASE = (Deed.DRAIN, Deed.APPLY, Deed.ROLL_BACK)
# The phase of the lease, as whoever is refused because of it reads it.
PHASES = {
    State.DRAINING: "draining",
    State.APPLYING: "applying",
    State.CHECKING: "verifying",
    State.WAITING: "verifying",
    State.ROLLING_BACK: "rolling_back",
    State.RESTORING: "restoring",
}


class Impossible(Exception):
    """The event cannot happen in this state; the words say which."""


# What the controller orders, with the default of each.
ORDER = {
    "token": None,
    "run": None,
    "host": None,
    # Seconds without a renewal after which the host's own lease is stale.
    "lease_seconds": 600,
    # What takes the host out of service on the host itself, as ha_drain's targets, and how.
    "drains": (),
    "drain_when": "active",
    "drain_timeout": 60,
    # Arguments of uptrack_apply.
    "apply": {},
    # The post-checks on the host itself, as ha_check's; known failures are left out.
    "checks": (),
    "addresses": (),
    "check_timeout": 30,
    "stable_for": 0,
    # Whether checks elsewhere have a say, and how long (seconds) the host waits for it.
    "remote_checks": False,
    "verdict_timeout": 300,
    "on_lost_controller": "restore",
    # Whether the controller releases the lease, as balancers are restored before.
    "keep_lease": False,
}


def order(given):
    """The order with its defaults."""
    return {key: given.get(key, value) for key, value in ORDER.items()}


def begun(order, now):
    """The turn as it stands at its beginning.

    :param order: what the controller asks for, see ORDER.
    :param now: seconds since 1970.
    """
    return {
        "token": order["token"],
        "run": order["run"],
        "host": order["host"],
        "order": order,
        "state": State.LEASED.value,
        "reason": None,
        "reason_code": None,
        "began": now,
        "ended": None,
        "steps": [],
        # IDs of the updates in the kernel before anything was done, for the way back.
        "before": None,
        "applied": None,
        "drained": [],
        "checks": None,
        "holds": None,
        "verdict": None,
        "rolled_back": None,
        "restored": None,
        "lost_controller": False,
        "was_stuck": False,
        "not_restored": None,
        "started": False,
        # Why a turn that is over is carried on: a verdict that came late, or a run that takes over.
        "pending": None,
        "resumed": 0,
    }


def next_step(turn, event):
    """The state that follows, and what is to be done in it: C((State, Deed)), or C((State, None)).

    :param turn: as in the journal, with what came of the last deed recorded.
    :raises Impossible:
    """
    state, event = State(turn["state"]), Event(event)
    step = _LEASE_LOST.get(state) if event is Event.LEASE_LOST else _STEPS.get((state, event))
    if step is None:
        raise Impossible(f"A turn that is {state.value} cannot take {event.value}.")
    return step(turn) if callable(step) else step


def _begin(turn):
    return (State.DRAINING, Deed.DRAIN) if turn["order"]["drains"] else (State.APPLYING, Deed.APPLY)


def _applied(turn):
    # Checks tell whether an update did harm. Where the kernel is as it was, there is none.
    return (State.CHECKING, Deed.CHECK) if worked(turn) else (State.RESTORING, Deed.RESTORE)


def _healthy(turn):
    waits = turn["order"]["remote_checks"] and not (
        turn["verdict"] or turn["lost_controller"] or turn["rolled_back"]
    )
    return (State.WAITING, Deed.WAIT) if waits else (State.RESTORING, Deed.RESTORE)


def _unhealthy(turn):
    # Without the update it is no better; or it has been stuck for an unknown time, and what is
    # wrong now need not be the update's doing. It needs attention.
    if turn["rolled_back"] or turn["was_stuck"]:
        return State.STUCK, None
    return State.ROLLING_BACK, Deed.ROLL_BACK


def _bad_verdict(turn):
    return (State.STUCK, None) if turn["rolled_back"] else (State.ROLLING_BACK, Deed.ROLL_BACK)


def _good_verdict(turn):
    # Those elsewhere cannot speak for its own checks.
    if any(not one["ok"] for one in turn["checks"] or ()):
        return State.STUCK, None
    return State.RESTORING, Deed.RESTORE


def _no_verdict(turn):
    if turn["order"]["on_lost_controller"] == "stay":
        return State.STUCK, None
    return State.CHECKING, Deed.CHECK


def _restored(turn):
    # A run that is there ends the lease when the balancers have the host back, too. Of one that
    # is not, the next run reads here what came of its host, and ends it then.
    keeps = turn["order"]["keep_lease"] or turn["lost_controller"] or turn["resumed"]
    return (State.RESTORED, None) if keeps else (State.RESTORED, Deed.RELEASE)


_STEPS = {
    (State.LEASED, Event.CONTINUE): _begin,
    # Nothing was done: the host is as it was.
    (State.LEASED, Event.INTERRUPTED): (State.RESTORING, Deed.RESTORE),
    (State.DRAINING, Event.DONE): (State.DRAINED, None),
    (State.DRAINING, Event.FAILED): (State.RESTORING, Deed.RESTORE),
    (State.DRAINING, Event.INTERRUPTED): (State.RESTORING, Deed.RESTORE),
    (State.DRAINED, Event.CONTINUE): (State.APPLYING, Deed.APPLY),
    (State.DRAINED, Event.INTERRUPTED): (State.RESTORING, Deed.RESTORE),
    (State.APPLYING, Event.DONE): (State.APPLIED, None),
    (State.APPLYING, Event.FAILED): (State.APPLIED, None),
    (State.APPLYING, Event.INTERRUPTED): (State.APPLYING, Deed.INSPECT),
    (State.APPLIED, Event.CONTINUE): _applied,
    (State.APPLIED, Event.INTERRUPTED): _applied,
    (State.CHECKING, Event.DONE): _healthy,
    (State.CHECKING, Event.FAILED): _unhealthy,
    (State.CHECKING, Event.INTERRUPTED): (State.CHECKING, Deed.CHECK),
    (State.WAITING, Event.VERDICT_GOOD): (State.RESTORING, Deed.RESTORE),
    (State.WAITING, Event.VERDICT_BAD): (State.ROLLING_BACK, Deed.ROLL_BACK),
    (State.WAITING, Event.NO_VERDICT): _no_verdict,
    (State.WAITING, Event.FAILED): _no_verdict,
    (State.WAITING, Event.INTERRUPTED): (State.WAITING, Deed.WAIT),
    (State.ROLLING_BACK, Event.DONE): (State.CHECKING, Deed.CHECK),
    (State.ROLLING_BACK, Event.FAILED): (State.STUCK, None),
    (State.ROLLING_BACK, Event.INTERRUPTED): (State.ROLLING_BACK, Deed.ROLL_BACK),
    (State.RESTORING, Event.DONE): _restored,
    (State.RESTORING, Event.FAILED): (State.STUCK, None),
    (State.RESTORING, Event.INTERRUPTED): (State.RESTORING, Deed.RESTORE),
    (State.RESTORED, Event.DONE): (State.RELEASED, None),
    (State.RESTORED, Event.FAILED): (State.RESTORED, None),
    (State.RESTORED, Event.INTERRUPTED): (State.RESTORED, Deed.RELEASE),
    # The controller was late: the host had judged by itself, and the checks elsewhere say no.
    (State.RESTORED, Event.VERDICT_BAD): _bad_verdict,
    (State.RESTORED, Event.VERDICT_GOOD): (State.RESTORED, None),
    # A person, or the next run, has it looked at again.
    (State.STUCK, Event.INTERRUPTED): (State.CHECKING, Deed.CHECK),
    (State.STUCK, Event.VERDICT_GOOD): _good_verdict,
    (State.STUCK, Event.VERDICT_BAD): _bad_verdict,
}
# Without a lease the host is changed no further, and what was drained is restored.
_LEASE_LOST = {
    State.LEASED: (State.RESTORING, Deed.RESTORE),
    State.DRAINED: (State.RESTORING, Deed.RESTORE),
    State.CHECKING: (State.STUCK, None),
    State.WAITING: (State.STUCK, None),
    State.ROLLING_BACK: (State.STUCK, None),
    State.RESTORED: (State.STUCK, None),
    State.STUCK: (State.STUCK, None),
}


def worked(turn):
    """Whether the apply changed the kernel, or may have."""
    applied = turn["applied"]
    return bool(
        applied
        and (applied.get("after") is None or applied.get("installed") or applied.get("removed"))
    )


def record(turn, deed, event, result, now):
    """The turn with what came of a deed: pure, so that a journal that was cut off reads the same.

    :param result: a mapping; C(reason) (a sentence) and C(reason_code) where the deed failed.
    """
    deed, event = Deed(deed), Event(event)
    steps = [dict(one) for one in turn["steps"]]
    if steps and steps[-1]["ended"] is None:
        steps[-1].update(ended=now, result=result.get("result") or event.value)
    new = dict(turn, steps=steps)
    if deed in (Deed.APPLY, Deed.INSPECT):
        new["applied"] = result["applied"]
    elif deed is Deed.DRAIN:
        new["drained"] = result.get("drained", [])
    elif deed is Deed.CHECK:
        new.update(checks=result.get("checks"), holds=result.get("holds"))
    elif deed is Deed.WAIT and event in (Event.NO_VERDICT, Event.FAILED):
        new["lost_controller"] = True
    elif deed is Deed.ROLL_BACK:
        new["rolled_back"] = result["rolled_back"]
    elif deed is Deed.RESTORE:
        new.update(restored=result.get("restored", []), holds=result.get("holds", turn["holds"]))
    # The first thing that went wrong is the reason of what came after it.
    if result.get("reason_code") and not new["reason_code"]:
        new.update(reason=result.get("reason"), reason_code=result["reason_code"])
    return new


def enter(turn, state, deed, now):
    """The turn in a state, with its deed begun."""
    state = State(state)
    new = dict(turn, state=state.value, steps=[dict(one) for one in turn["steps"]])
    if unfinished(turn):
        new["steps"][-1].update(ended=now, result="interrupted")
    if deed is not None:
        new["steps"] = new["steps"] + [
            {"name": Deed(deed).value, "started": now, "ended": None, "result": None}
        ]
    elif state in AT_REST or state is State.RESTORED:
        new["ended"] = now
    if state is State.STUCK:
        new["was_stuck"] = True
    elif state is State.RELEASED:
        # Nothing carries it on any more, and in commands a password may stand.
        new.update(order=None, before=None)
    return new


def unfinished(turn):
    """The deed that was begun and not ended, or None."""
    if turn["steps"] and turn["steps"][-1]["ended"] is None:
        return Deed(turn["steps"][-1]["name"])
    return None


def over(turn):
    """Whether nothing follows by itself any more."""
    state = State(turn["state"])
    return state in AT_REST or (state is State.RESTORED and unfinished(turn) is None)
