# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""What a task of uptrack_turn does on its host."""

import time

from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import (
    journal,
    lease,
    ledger,
    process,
    steps,
)

ARGUMENTS = {
    "state": {
        "type": "str",
        "choices": ["begun", "finished", "resumed", "shown"],
        "default": "shown",
    },
    "token": {"type": "str", "no_log": False},
    "order": {"type": "dict"},
    "verdict": {"type": "dict"},
    "old_token": {"type": "str", "no_log": False},
    "run": {"type": "str"},
    "host": {"type": "str"},
    "seconds": {"type": "int", "default": 600},
    "reason": {"type": "str"},
    "wait": {"type": "float", "default": 0.0},
    "program": {"type": "str"},
}
REQUIRED_IF = [
    ("state", "begun", ["order"]),
    ("state", "finished", ["token", "verdict"]),
    ("state", "resumed", ["token", "old_token", "run", "host"]),
]


class Refused(Exception):
    """It was not done; the text says why."""


def perform(params, check_mode, root, program, sleep=time.sleep, clock=time.monotonic):
    """Begin, finish, resume or show the turn of this host; the module's result comes back.

    :param program: text of the program that carries a turn on, see process.start.
    """
    book, more = journal.Journal(root), {}
    try:
        if params["state"] == "begun":
            changed = _begin(book, params, check_mode, root, program)
        elif params["state"] == "finished":
            changed = _finish(book, params, check_mode, root, program, more)
        elif params["state"] == "resumed":
            changed = _resume(book, params, check_mode, root, program, more)
        else:
            changed = False
        end = clock() + params["wait"]
        while True:
            turn = book.read()["turn"]
            if not changed or check_mode or turn is None or at_rest(turn) or clock() >= end:
                alive = ledger.Ledger(root).at_work()
                foretold = check_mode and changed and params["state"] == "begun"
                shown = _foretold(params, root) if foretold else journal.shown(turn)
                result = {"changed": changed, "refusal": None, "turn": shown, "alive": alive}
                return dict(dict(result, **more), changed_nothing=not changed)
            sleep(0.05)
    except (Refused, ledger.Broken) as refused:
        result = {"changed": False, "refusal": str(refused), "turn": None, "alive": None}
        return dict(dict(result, changed_nothing=True), **more)


def _foretold(params, root):
    """In check mode: the turn that would be begun, with what the agent's plan would lead to."""
    from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import run

    one = run.Turn(root)
    one.turn = steps.begun(steps.order(params["order"]), time.time())
    applied = one.foretell()
    one.turn.update(
        applied=applied,
        reason=applied["msg"],
        reason_code="apply_failed" if applied["failed"] else None,
    )
    return journal.shown(one.turn)


def at_rest(turn):
    """Whether a turn is over, or waits for the controller."""
    return (
        steps.over(turn) or turn["state"] == steps.State.WAITING.value and not turn["verdict"]
    ) and not turn["pending"]


def _begin(book, params, check_mode, root, program):
    order = steps.order(params["order"])
    there = book.read()["turn"]
    if there and there["token"] == order["token"]:
        # Whatever began it, it goes on.
        if (not steps.over(there) or there["pending"]) and not check_mode:
            _start(root, program)
        return False
    if there and not steps.over(there):
        raise Refused(
            f"The turn of the run {there['run']} on this host has not ended ({there['state']}). "
            "Nothing was changed. Wait until it has, or let the next rollout resume it."
        )
    if check_mode:
        # A lease that was only asked for in check mode is not there.
        return True
    refusal = lease.may_work(ledger.Ledger(root).read(), order["token"] or "none", ledger.now(root))
    if refusal:
        raise Refused(refusal)

    def begin(document):
        # Asked twice at once, it is begun once.
        if (document["turn"] or {}).get("token") == order["token"]:
            return document
        return dict(document, turn=steps.begun(order, time.time()))

    book.change(begin)
    try:
        _start(root, program)
    except Refused:
        book.change(lambda document: dict(document, turn=there))
        raise
    return True


def _start(root, program):
    if ledger.Ledger(root).at_work():
        # The process that has the turn reads it in the journal.
        return
    try:
        process.start(root, program)
    except OSError as error:
        raise Refused(
            f"{root}{process.PROGRAM} cannot be written ({error.strerror}), so that the turn was "
            "not begun. The kernel and the service were left as they were. Check space and "
            "permissions."
        )


def _finish(book, params, check_mode, root, program, more):
    found = {}
    if not isinstance(params["verdict"].get("good"), bool):
        raise Refused("The verdict says neither good: true nor good: false. Nothing was changed.")

    def hand_in(document):
        turn = found["turn"] = document["turn"]
        if not turn or turn["token"] != params["token"]:
            raise Refused(
                "There is no turn of this run on this host"
                + (f" (there is one of {turn['run']})" if turn else "")
                + ". Nothing was changed."
            )
        if turn["verdict"] or turn["state"] == steps.State.RELEASED.value:
            return document
        reason = params["verdict"].get("reason")
        verdict = {"good": params["verdict"]["good"], "reason": reason and str(reason)}
        found["new"] = dict(turn, verdict=verdict)
        if steps.over(turn) or turn["lost_controller"]:
            # It had given up waiting: once it is over, it goes by the verdict.
            found["new"]["pending"] = "verdict"
        return dict(document, turn=found["new"])

    if check_mode:
        hand_in(book.read())
        return "new" in found
    book.change(hand_in)
    if "new" in found:
        more["changed_nothing"] = False
        _start(root, program)
    return "new" in found


def _resume(book, params, check_mode, root, program, more):
    """Take a stale lease over, on its host, and carry its turn to the end.

    :param more: gets C(unknown), whether the lease is not here at all, C(took), the tokens that it
        was known by before, and C(changed_nothing), whether a refusal comes before any change.
    """
    wish = {key: params[key] for key in ("token", "run", "host", "seconds", "reason")}
    wish["reason"] = wish["reason"] or "taking over"
    answer = ledger.Ledger(root).change(
        lambda *seen: lease.adopt(seen[0], params["old_token"], wish, *seen[1:]), check_mode
    )
    more["unknown"] = bool(answer.get("unknown"))
    if not answer["granted"]:
        raise Refused(answer["refusal"])
    more["changed_nothing"] = check_mode
    adopted = answer.get("adopted") or {}
    more["took"] = list(adopted.get("took", ())) + [adopted.get("token", params["old_token"])]
    tokens = [params["old_token"]] + more["took"]
    found = {}

    def take(document):
        turn = document["turn"]
        if not turn or turn["token"] not in tokens:
            return document
        new = dict(turn, token=params["token"])
        # What rests after a turn that ended well is only to be released.
        if not steps.over(turn) or turn["state"] == steps.State.STUCK.value:
            found["start"] = True
            new["pending"] = "resume"
        return dict(document, turn=new)

    if not check_mode:
        book.change(take)
        if "start" in found:
            _start(root, program)
    return True


def answer(params, check_mode, root, program):
    """As perform, for the program that asks in one round trip."""
    return perform(params, check_mode, root, program)
