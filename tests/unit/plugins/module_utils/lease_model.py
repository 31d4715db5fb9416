# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""A small world in which every order of events is tried: members with ledgers, runs that take them in hand, and everything that can go wrong.

The members answer by the real functions of lease, not by copies. Budgets say how often each kind of mishap may happen on one way through; what is
explored is every way there is within them.
"""

import json
from collections import namedtuple
from functools import lru_cache

from ansible_collections.rebootless.ksplice.plugins.module_utils import lease

# What may happen on one way: requests or answers lost, messages that come again, runs that die, clocks that leap, members that boot, commands by hand.
Faults = namedtuple("Faults", "lost repeated crashes leaps boots adhoc")
# ledgers and busy by member; runs; every message ever sent, as one may come again; what is left of the faults.
World = namedtuple("World", "ledgers leaps boots busy runs sent faults")
# pc: what comes next; wants: the host; asked: answers so far, as (member, granted or None, what it told of leases); stale: (host, token) of the
# lease that is in the way.
Run = namedtuple("Run", "name wants pc at attempt asked stale")

SECONDS = 10
LEAP = 100
DONE = ("done", "left", "dead")


class Violation(AssertionError):
    """Too many members of a group in hand; the way there is in it."""


class Rules:
    """The protocol as the role follows it. The tests bend one rule at a time, and must see it found."""

    core = lease
    forgets_at_boot = False
    releases_others_first = False
    checks_own_ledger = True


class Model:

    def __init__(self, groups, wants, faults, rules=Rules):
        self.groups, self.rules = groups, rules
        self.members = sorted({member for group in groups for member in group["members"]})
        self.wants = wants
        runs = tuple(Run(f"r{number}", host, "take", 0, 1, (), None) for number, host in enumerate(wants))
        none = tuple(0 for _member in self.members)
        ledgers, nobody = tuple(json.dumps(rules.core.empty()) for _member in self.members), tuple(None for _member in self.members)
        self.first = World(ledgers, none, none, nobody, runs, frozenset(), faults)
        self.ask = lru_cache(maxsize=None)(self._ask)

    # ---- what members do -----------------------------------------------------------------------------------------

    def _ask(self, ledger, message, leap, boot, busy):
        """A member's answer to a message: its new ledger, whether it granted, and whether a stale lease is in the way."""
        found, (what, token, wish) = json.loads(ledger), json.loads(message)
        now = {"wall": leap * LEAP, "clock": leap * LEAP, "boot": str(boot)}
        core = self.rules.core
        if what == "take":
            after, answer = core.take(found, wish, now, busy)
        elif what == "adopt":
            after, answer = core.adopt(found, wish["old"], wish, now, busy)
        elif what == "clear":
            after, answer = core.clear(found, token, now)
        elif what == "work":
            refusal = core.may_work(found, token, now) if self.rules.checks_own_ledger or not token else None
            after, answer = found, {"granted": refusal is None and not busy}
        else:
            after, answer = core.end(found, token, now)
        stale = "unknown" if answer.get("unknown") else None
        if not answer["granted"] and not stale:
            stale = next(((entry["host"], entry["token"]) for entry in found["leases"] if core.is_stale(entry, now)), None)
        told = tuple((entry["host"], tuple(group["name"] for group in entry["groups"])) for entry in after["leases"])
        return json.dumps(after, sort_keys=True), answer["granted"], stale, told

    def deliver(self, world, member, message):
        place = self.members.index(member)
        after, granted, stale, told = self.ask(world.ledgers[place], message, world.leaps[place], world.boots[place], bool(world.busy[place]))
        return world._replace(ledgers=_put(world.ledgers, place, after)), granted, stale, told

    # ---- what runs do --------------------------------------------------------------------------------------------

    def of(self, host):
        return [group for group in self.groups if host in group["members"]]

    def around(self, host):
        return sorted({member for group in self.of(host) for member in group["members"]})

    def token(self, run):
        return f"{run.name}.{run.attempt}"

    def wish(self, run, host, member, **more):
        missing = [name for name, granted, _told in run.asked if granted is None]
        return dict({"token": self.token(run), "run": run.name, "host": host, "member": member, "groups": self.of(host), "seconds": SECONDS, "reason": "",
                     "unreachable": missing}, **more)

    def next_message(self, run):
        """The message that a run sends next, and to whom; None where its next step is no message."""
        around = self.around(run.wants)
        if run.pc == "take" and run.at < len(around):
            return around[run.at], json.dumps(["take", self.token(run), self.wish(run, run.wants, around[run.at])])
        if run.pc == "work":
            return run.wants, json.dumps(["work", self.token(run), {}])
        if run.pc in ("release", "back off"):
            first = sorted(around, key=lambda member: (member != run.wants, member))
            order = first[1:] + first[:1] if self.rules.releases_others_first else first
            if run.at < len(order):
                return order[run.at], json.dumps(["end", self.token(run), {}])
        if run.stale:
            host, old = run.stale
            others = [member for member in self.around(host) if member != host]
            if run.pc == "adopt":
                return host, json.dumps(["adopt", self.token(run), self.wish(run, host, host, old=old)])
            if run.pc == "fence":
                return host, json.dumps(["clear", old, {}])
            if run.pc == "put back":
                return host, json.dumps(["work", self.token(run), {}])
            if run.pc == "give back":
                return host, json.dumps(["end", self.token(run), {}])
            if run.pc == "tidy" and run.at < len(others):
                return others[run.at], json.dumps(["clear", old, {}])
        return None

    def after_answer(self, run, member, granted, stale=None, told=()):
        """The run after an answer; granted is None where none came."""
        if run.pc == "take":
            asked = run.asked + ((member, granted, told),)
            if granted is False:
                return run._replace(pc="back off", at=0, asked=asked, stale=stale)
            return run._replace(at=run.at + 1, asked=asked)
        if run.pc in ("work", "put back"):
            if granted:
                return run._replace(pc=run.pc + "ing")
            return run._replace(pc="release" if run.pc == "work" else "left", at=0)
        if run.pc in ("release", "back off"):
            return run._replace(at=run.at + 1)
        if run.pc == "adopt":
            # Not adopted where the host does not know the token (it may have died between two messages): then it is fenced there.
            if granted is None:
                return run._replace(pc="left")
            if granted:
                return run._replace(pc="put back", at=0)
            return run._replace(pc="fence" if stale == "unknown" else "left", at=0)
        if run.pc == "fence":
            return run._replace(pc="tidy" if granted else "left", at=0)
        if run.pc == "give back":
            return run._replace(pc="tidy", at=0)
        return run._replace(at=run.at + 1)

    def own_step(self, world, number):
        """A step of a run that is no message; the worlds it leads to."""
        run = world.runs[number]
        if run.pc == "take":
            answers = {}
            for member, granted, told in run.asked:
                leases = [{"host": host, "groups": [{"name": name} for name in names]} for host, names in told]
                answers[member] = None if granted is None else {"granted": granted, "refusal": None, "leases": leases}
            why = self.rules.core.is_taken(self.wish(run, run.wants, run.wants), answers)
            return [self._with(world, number, run._replace(pc="back off" if why else "work", at=0))]
        if run.pc == "working":
            return [self._with(self._busy(world, run.wants, None), number, run._replace(pc="release", at=0))]
        if run.pc == "put backing":
            return [self._with(self._busy(world, run.stale[0], None), number, run._replace(pc="give back"))]
        if run.pc == "release":
            return [self._with(world, number, run._replace(pc="done"))]
        if run.pc == "back off":
            return [self._with(world, number, run._replace(pc="adopt" if run.stale else "left", at=0, attempt=run.attempt + 1, asked=()))]
        if run.pc == "tidy":
            # Once more from the beginning, and then no more.
            fresh = run._replace(pc="take", at=0, attempt=run.attempt + 1, asked=(), stale=None)
            return [self._with(world, number, fresh if run.attempt < 3 else run._replace(pc="left"))]
        return []

    def _with(self, world, number, run):
        return world._replace(runs=_put(world.runs, number, run))

    def _busy(self, world, host, who):
        return world._replace(busy=_put(world.busy, self.members.index(host), who))

    # ---- everything that can happen next ---------------------------------------------------------------------------

    def steps(self, world):
        faults = world.faults
        for number, run in enumerate(world.runs):
            if run.pc in DONE:
                continue
            yield from self._run_steps(world, number, run, faults)
            if faults.crashes:
                dead = self._with(world, number, run._replace(pc="dead"))
                yield dead._replace(faults=faults._replace(crashes=faults.crashes - 1))
        if faults.repeated:
            for member, message in world.sent:
                yield self.deliver(world, member, message)[0]._replace(faults=faults._replace(repeated=faults.repeated - 1))
        for place, member in enumerate(self.members):
            if faults.leaps:
                yield world._replace(leaps=_put(world.leaps, place, world.leaps[place] + 1), faults=faults._replace(leaps=faults.leaps - 1))
            if faults.boots:
                booted = world._replace(boots=_put(world.boots, place, world.boots[place] + 1), faults=faults._replace(boots=faults.boots - 1),
                                        busy=_put(world.busy, place, None))
                if self.rules.forgets_at_boot:
                    booted = booted._replace(ledgers=_put(booted.ledgers, place, json.dumps(self.rules.core.empty())))
                yield booted
            if faults.adhoc and self.deliver(world, member, json.dumps(["work", None, {}]))[1]:
                yield self._busy(world, member, "by hand")._replace(faults=faults._replace(adhoc=faults.adhoc - 1))
            # What a dead run started goes on until it is done; so does what was started by hand.
            who = world.busy[place]
            if who == "by hand" or (who is not None and world.runs[who].pc == "dead"):
                yield world._replace(busy=_put(world.busy, place, None))

    def _run_steps(self, world, number, run, faults):
        message = self.next_message(run)
        if not message:
            yield from self.own_step(world, number)
            return
        member, words = message
        sent = world._replace(sent=world.sent | {message}) if faults.repeated and not words.startswith('["work"') else world
        after, *answer = self.deliver(sent, member, words)
        new = self.after_answer(run, member, *answer)
        if new.pc.endswith("ing"):
            after = self._busy(after, member, number)
        yield self._with(after, number, new)
        # Starting to work is no message: the process is on the host.
        if faults.lost and not words.startswith('["work"'):
            less = faults._replace(lost=faults.lost - 1)
            unheard = self.after_answer(run, member, None)
            yield self._with(sent, number, unheard)._replace(faults=less)
            yield self._with(after, number, unheard)._replace(faults=less)

    # ---- what must hold --------------------------------------------------------------------------------------------

    def in_hand(self, world):
        """The hosts that somebody works on, or may work on at any moment: a run that has taken it, and whose token the host's own ledger holds."""
        hosts = {self.members[place] for place, who in enumerate(world.busy) if who is not None}
        for run in world.runs:
            if run.pc in ("work", "working"):
                found = json.loads(world.ledgers[self.members.index(run.wants)])
                if self.rules.core.find(found, self.token(run)):
                    hosts.add(run.wants)
        return hosts

    def check(self, world):
        hosts = self.in_hand(world)
        for group in self.groups:
            both = hosts.intersection(group["members"])
            if len(both) > group["max_unavailable"]:
                raise Violation(f"{sorted(both)} of {group['name']} are in hand: {world}")

    def explore(self, limit=None):
        """Go every way there is. Returns how many worlds there are, and those in which nothing more happens."""
        seen, waiting, ends = {self.first}, [self.first], []
        while waiting:
            world = waiting.pop()
            self.check(world)
            if all(run.pc in DONE for run in world.runs):
                ends.append(world)
            for after in self.steps(world):
                if after not in seen:
                    seen.add(after)
                    waiting.append(after)
            if limit and len(seen) > limit:
                break
        return len(seen), ends

    def recovers(self, world, host):
        """Whether, once everybody has gone and time has passed, a new run gets the host in hand without mishap. A run clears one stale lease out of
        the way and then another; the next night's clears what is left."""
        for night in range(4):
            world = world._replace(runs=(Run(f"night{night}", host, "take", 0, 1, (), None),), busy=tuple(None for _who in world.busy),
                                   faults=Faults(0, 0, 0, 0, 0, 0), leaps=tuple(leap + 1 for leap in world.leaps), sent=frozenset())
            while world.runs[0].pc not in DONE:
                world = next(iter(self._run_steps(world, 0, world.runs[0], world.faults)))
            if world.runs[0].pc == "done":
                return True
        return False


def _put(values, place, value):
    return values[:place] + (value,) + values[place + 1:]
