# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""Leases: what keeps two members of a redundancy group from being claimed at once.
Pure; files and clocks are in ledger.

To claim host X of a group, a run asks every member of the group, X included, in the order
of their names, and stops at the first that
refuses. Each member records the leases that it granted in its own ledger, and decides by
that alone.
Whoever acts on X looks into X's ledger
first: a run whose lease is not there any more can do nothing. docs/leases.md has the whole of it
for people.

A ledger is C({"leases": [entry, …], "ended": [[token, when], …]}). An entry's keys: C(token) (new
for every attempt), C(run), C(host) (which is
X), C(own) (this ledger is X's), C(groups) (C(name), C(members), C(max_unavailable) each),
C(reason), C(taken_at) and C(renewed_at) (wall clock),
C(clock) and C(boot) (of the renewal), C(seconds) (until it is stale), C(phase), and,
where the lease was taken over, C(took) (the tokens that it
was known by before, under which the other members still have it).

C(now) is C({"wall": seconds, "clock": seconds since boot, "boot": the boot's ID}).
"""

# What is about to be done with the host; set before it is done.
PHASES = ("acquired", "draining", "applying", "verifying", "restoring")
# Tokens that have ended are remembered so long (seconds), and so many of them at most: a message
# that comes late must not raise the dead.
REMEMBERED = 200
# What a refusal says to people; code goes by changed_nothing.
NOTHING = "Nothing was changed."


def empty():
    """The ledger of a host that has granted no lease."""
    return {"leases": [], "ended": []}


def age(entry, now):
    """Seconds since the lease was renewed. Within one boot by the monotonic clock, since a
    wall clock may jump.
    """
    if entry["boot"] == now["boot"]:
        return max(0, now["clock"] - entry["clock"])
    return max(0, now["wall"] - entry["renewed_at"])


def is_stale(entry, now):
    """Whether it was not renewed in time. Stale is not free: the host may be half way through
    something.
    """
    return age(entry, now) > entry["seconds"]


def find(ledger, token):
    """The entry of a token, or None."""
    return next((entry for entry in ledger["leases"] if entry["token"] == token), None)


def own(ledger):
    """The entry that has claimed this very host, or None."""
    return next((entry for entry in ledger["leases"] if entry["own"]), None)


def acquire(ledger, wish, now, busy):
    """One member's answer to a run that wants to claim a host.

    :param wish: C(token), C(run), C(host), C(member) (the name of the member asked), C(groups),
        C(seconds), C(reason), C(unreachable) (names of members
        that could not be asked).
    :param busy: whether a process is at work on this member now, or its agent is.
    :returns: the new ledger, and the answer: C(granted), C(refusal) (a sentence or None),
        C(changed).
    """
    is_own = wish["member"] == wish["host"]
    if wish["token"] in [token for token, _at in ledger["ended"]]:
        return _refused(ledger, f"This attempt to claim {wish['host']} has ended already.")
    if find(ledger, wish["token"]):
        return ledger, {"granted": True, "refusal": None, "changed": False}
    other = next((entry for entry in ledger["leases"] if entry["host"] == wish["host"]), None)
    if other:
        return _refused(ledger, describe(other, now))
    if busy and is_own:
        return _refused(
            ledger,
            f"A process is at work on {wish['host']}, or its agent is: wait until that ends.",
        )
    for group in wish["groups"]:
        others = claimed_hosts(ledger, group["name"]) | set(wish["unreachable"]).intersection(
            group["members"]
        )
        if busy:
            others.add(wish["member"])
        others.discard(wish["host"])
        if len(others) + 1 > group["max_unavailable"]:
            return _refused(ledger, _why(ledger, group, others, wish, now))
    entry = {
        "token": wish["token"],
        "run": wish["run"],
        "host": wish["host"],
        "own": is_own,
        "groups": wish["groups"],
        "reason": wish["reason"],
        "taken_at": now["wall"],
        "renewed_at": now["wall"],
        "clock": now["clock"],
        "boot": now["boot"],
        "seconds": wish["seconds"],
        "phase": "acquired",
    }
    return dict(ledger, leases=ledger["leases"] + [entry]), {
        "granted": True,
        "refusal": None,
        "changed": True,
    }


def claimed_hosts(ledger, group):
    """The hosts of a group that are claimed by this ledger, stale leases included."""
    return {
        entry["host"]
        for entry in ledger["leases"]
        if group in [one["name"] for one in entry["groups"]]
    }


def _refused(ledger, why):
    return ledger, {"granted": False, "refusal": why, "changed": False}


def _why(ledger, group, others, wish, now):
    entry = next((entry for entry in ledger["leases"] if entry["host"] in others), None)
    if entry:
        return describe(entry, now)
    missing = sorted(others.intersection(wish["unreachable"]))
    if missing:
        return (
            f"{', '.join(missing)} of the group {group['name']} cannot be reached, so "
            f"that {wish['host']} has to stay in service."
        )
    return (
        f"A process is at work on {wish['member']} of the group {group['name']}, or its "
        f"agent is, so that {wish['host']} has to stay in service."
    )


def describe(entry, now):
    """A lease in a sentence for whoever is refused because of it."""
    text = (
        f"The run {entry['run']} has claimed {entry['host']} ({entry['reason']}; "
        f"{entry['phase'].replace('_', ' ')}; "
        f"last heard of {int(age(entry, now))} seconds ago)."
    )
    if is_stale(entry, now):
        return (
            f"{text} The lease is stale: the run has stopped renewing it. The next rollout takes "
            "it over and lets the host end its turn; ha_lease with state=broken and a reason ends "
            "it by hand."
        )
    return f"{text} Wait until it is done."


def renew(ledger, token, now, phase=None, seconds=None):
    """Keep a lease alive, and write down what is about to be done. Refused where the lease is not
    there (any more).

    :returns: as acquire.
    """
    entry = find(ledger, token)
    if not entry:
        return _refused(
            ledger,
            "The lease is not here any more: it was released, broken, or taken over by "
            "another run. Nothing was changed.",
        )
    new = dict(
        entry,
        renewed_at=now["wall"],
        clock=now["clock"],
        boot=now["boot"],
        phase=phase or entry["phase"],
        seconds=seconds or entry["seconds"],
    )
    leases = [new if one is entry else one for one in ledger["leases"]]
    return dict(ledger, leases=leases), {"granted": True, "refusal": None, "changed": True}


def end(ledger, token, now):
    """End a token here: release, break, or what is left of one that was taken over. It is
    remembered whether it was here or not, so that a message that
    is still on its way cannot bring it back.

    :returns: as acquire.
    """
    there = find(ledger, token) is not None
    if token in [known for known, _at in ledger["ended"]] and not there:
        return ledger, {"granted": True, "refusal": None, "changed": False}
    # By their number and not by their age, since a wall clock may jump.
    ended = [[known, at] for known, at in ledger["ended"] if known != token][-REMEMBERED + 1 :]
    return (
        {
            "leases": [entry for entry in ledger["leases"] if entry["token"] != token],
            "ended": ended + [[token, now["wall"]]],
        },
        {"granted": True, "refusal": None, "changed": there},
    )


def release(ledger, token, now):
    """End a token here, as the run that has it does. On the claimed host it is refused where
    another run took the lease over: the leases that the other
    members have under the old token belong to that run now, and a run that is refused here does not
    release them.

    :returns: as acquire.
    """
    entry = taken_over(ledger, token)
    if entry:
        return _refused(ledger, describe(entry, now))
    return end(ledger, token, now)


def taken_over(ledger, token):
    """The entry that has claimed this very host and was known by this token before, or None."""
    return next(
        (entry for entry in ledger["leases"] if entry["own"] and token in entry.get("took", ())),
        None,
    )


def clear(ledger, token, now, host=None):
    """End what is left of a lease whose host does not know it (any more). On that host itself it
    is the protection against a message that is still on its way; asked of the host that it has
    claimed it is refused, as that one is to be adopted.

    :param host: the claimed host. A token came from what some member answered: the lease of another
        host is not ended on its word.
    :returns: as acquire.
    """
    entry = find(ledger, token) or taken_over(ledger, token)
    if entry and (entry["own"] or host and entry["host"] != host):
        return _refused(ledger, describe(entry, now))
    return end(ledger, token, now)


def adopt(ledger, old, wish, now, busy):
    """Take over, on the host itself, the stale lease that has claimed it: in one step the old
    token ends and the new one takes its place, so that the
    host is claimed all the time. The phase stays, as it says how far the other run was. The
    other members keep the lease under the token
    that it was granted to, so that a lease is found by each token that it ever had.

    :returns: as acquire, and C(adopted) (the old entry). A refusal has C(unknown): whether the
        lease is not here at all, so that it has to be cleared.
    """
    entry = find(ledger, old) or taken_over(ledger, old)
    if find(ledger, wish["token"]):
        return ledger, {
            "granted": True,
            "refusal": None,
            "changed": False,
            "adopted": find(ledger, wish["token"]),
        }
    if wish["token"] in [token for token, _at in ledger["ended"]]:
        return _refused(ledger, f"This attempt to take over {wish['host']} has ended already.")
    if not entry or not entry["own"]:
        answer = _refused(
            ledger,
            f"{wish['host']} is not claimed by the lease that was to be taken over. Nothing "
            "was changed.",
        )[1]
        return ledger, dict(answer, unknown=True)
    if not is_stale(entry, now):
        return _refused(ledger, describe(entry, now))
    if busy:
        return _refused(
            ledger,
            f"A process is at work on {wish['host']}, or its agent is: wait until that ends. "
            "Nothing was changed.",
        )
    new = dict(
        entry,
        token=wish["token"],
        run=wish["run"],
        reason=wish["reason"],
        seconds=wish["seconds"],
        taken_at=now["wall"],
        renewed_at=now["wall"],
        clock=now["clock"],
        boot=now["boot"],
        took=entry.get("took", []) + [entry["token"]],
    )
    ledger = end(
        dict(ledger, leases=[new if one is entry else one for one in ledger["leases"]]),
        entry["token"],
        now,
    )[0]
    return ledger, {"granted": True, "refusal": None, "changed": True, "adopted": entry}


def may_work(ledger, token, now):
    """Whether a run or a person may work on this host now: None, or the sentence that refuses.

    :param token: of the lease that has claimed this host, or None for whoever has none, such as a
        person's ad-hoc command.
    """
    if token:
        entry = find(ledger, token)
        if entry and entry["own"]:
            return None
        mine = own(ledger)
        return "This run has no lease on the host any more" + (
            f". {NOTHING} {describe(mine, now)}"
            if mine
            else f": it was released, broken, or taken over. {NOTHING}"
        )
    if ledger["leases"]:
        return f"{NOTHING} {describe(ledger['leases'][0], now)}"
    return None


def proceed(ledger, token, now, phase=None):
    """Go on with the turn of this host: the lease is renewed, with what is about to be done.
    Refused where it is not the run's (any more).

    :returns: as acquire.
    """
    refusal = may_work(ledger, token, now)
    if refusal:
        return _refused(ledger, refusal)
    return renew(ledger, token, now, phase)


def is_acquired(wish, answers):
    """The last check of the run that asks, over all answers: None where the host is claimed, or why
    it is not (a sentence).

    :param answers: member to its answer, with C(leases) (of the member's ledger after the answer)
        and C(busy) (whether somebody is at work there, or its
        agent is); None for a member that could not be asked.
    """
    for group in wish["groups"]:
        said = {member: answers.get(member) for member in group["members"]}
        granted = [member for member, answer in said.items() if answer and answer["granted"]]
        refusal = next(
            (answer["refusal"] for answer in said.values() if answer and not answer["granted"]),
            None,
        )
        if refusal:
            return refusal
        if not said.get(wish["host"]):
            return f"{wish['host']} cannot be reached."
        if 2 * len(granted) <= len(group["members"]):
            return (
                f"Only {len(granted)} of the {len(group['members'])} members of the group "
                f"{group['name']} could be asked, which is not a majority."
            )
        others = {member for member, answer in said.items() if not answer or answer.get("busy")}
        for answer in said.values():
            others |= {
                entry["host"]
                for entry in (answer or {}).get("leases", ())
                if group["name"] in [one["name"] for one in entry["groups"]]
            }
        others.discard(wish["host"])
        if len(others) + 1 > group["max_unavailable"]:
            return (
                f"{', '.join(sorted(others))} of the group {group['name']} is claimed, at "
                f"work or cannot be reached, so that {wish['host']} has to stay "
                "in service."
            )
    return None
