# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""A small world in which every order of events is tried: members with ledgers, runs that take them
claimed, and everything that can go wrong.

What decides is what decides in a rollout: a member's answer is lease_task's, checked as at the
border; whom a run asks, whether it begins, and what it releases is said by turns; whether the
process on the host goes on, by lease.proceed. Only the order of the role's tasks is told again
here. Budgets say how often each kind of mishap may happen on one way through; what is explored is
every way there is within them.

What makes the end of a world reachable, and why nothing is missed by it:

- A world is a tuple of small numbers. Ledgers, runs and messages are looked up by number, so that
  the functions of lease are asked once for each question.
- Time is kept as the age of each lease, as nothing else is ever asked of a clock: fresh, stale, or
  (after a boot, by a wall clock that was set) from the future.
- What a run does by itself alone, without a message, happens with the message before: nobody else
  sees it, it depends on nothing of anybody else, and the host counts as claimed from the earlier
  moment on.
- A run that is gone is forgotten but for what it left on the members; whether it was done or died
  makes no difference to anybody.
- A message that its member has refused for good (its attempt ended there, and the member's own
  function refuses it and changes nothing) is not kept, as its coming again is no event. That an
  attempt ended is forgotten where no message of it can come any more.
- A world that was reached with a budget is not gone into again with a smaller one: whatever follows
  then follows from the larger one too. That the runs come to an end is looked at without further
  mishap, so that no budget matters there.
- A clock that leaps, or a boot, that makes no difference is no event.

test_lease compares with an exploration that leaves the last four out (plain).
"""

from collections import namedtuple

from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import lease, lease_task
from ansible_collections.rebootless.ksplice.plugins.plugin_utils import schema, turns
from ansible_collections.rebootless.ksplice.plugins.plugin_utils.planner import ha_settings

# What may happen on one way: requests or answers lost, messages that come again (or late: one that
# was lost comes after all), runs that die, clocks that leap (all at once or one member's; where
# members boot also the wall clock alone, ahead or back), members that boot, commands by hand.
Faults = namedtuple("Faults", "lost repeated crashes leaps boots adhoc")
LOST, REPEATED, CRASHES, LEAPS, BOOTS, ADHOC = range(6)
NONE = Faults(0, 0, 0, 0, 0, 0)
# pc: what comes next; wants: the host; at: how many members were asked (while it ends its attempt:
# whether the host itself had granted it); asked: answers so far, as (member, granted or None, hosts
# claimed by its ledger, whether somebody is at work there); stale: (host, token) of the first stale
# lease that an answer told of; todo: members that a message goes to yet; waits: how often it was
# refused and asked again.
Run = namedtuple("Run", "name wants pc at attempt asked stale todo waits")
Message = namedtuple("Message", "what token host old unreachable")
Explored = namedtuple("Explored", "worlds ends complete stuck")

SECONDS, LEAP, NOW = 10, 100, 10**7
CLOCKS = {"wall": NOW, "clock": NOW, "boot": "now"}
# What a message asks a member, in ha_lease's words.
QUESTIONS = {"take": "acquired", "adopt": "adopted", "clear": "ended", "end": "released"}
OPTIONS = {"drain_mode": "never", "lease_seconds": SECONDS}
CHECKS = ha_settings.wanted_checks("a", {})
GONE = ("gone", "done")
# In this order a run goes through them within one attempt, so that no way without mishap is
# endless.
ORDER = (
    "take",
    "work",
    "working",
    "release",
    "back off",
    "adopt",
    "invalidate",
    "restore",
    "restoring",
    "give back",
    "tidy",
    "gone",
    "done",
)
ENDLESS = -1


class Violation(AssertionError):
    """Too many members of a group claimed; the way there is in it."""


class Rules:
    """The protocol as the role follows it.

    The tests bend one rule at a time, here or in lease itself, and must see it found.
    """

    forgets_at_boot = False
    checks_own_ledger = True
    own_host_first = False


class Table:
    """Numbers for values."""

    def __init__(self):
        self.numbers, self.values = {}, []

    def number(self, value):
        found = self.numbers.get(value)
        if found is None:
            found = self.numbers[value] = len(self.values)
            self.values.append(value)
        return found


class Model:
    """
    :param wants: the host that each run wants. Runs are alike but for that, so that "ab" is "ba".
    :param patience: how often a run that is refused asks the same member again; ENDLESS: it never
        gives up as long as no stale lease is in the way.
    :param teams: runs that are the hosts of one wave, as tuples of numbers: none of them goes on
        before the others have come as far.
    :param by_name: whether the hosts of a wave come as far by the name of the member that is asked,
        not by the number of members asked.
    :param plain: without the reductions that could be doubted.
    """

    def __init__(
        self, groups, wants, faults, rules=Rules, patience=0, teams=(), by_name=False, plain=False
    ):
        self.groups, self.rules, self.wants, self.faults, self.plain = (
            groups,
            rules,
            wants,
            faults,
            plain,
        )
        self.patience, self.by_name = patience, by_name
        self.mates = {
            one: [other for other in team if other != one] for team in teams for one in team
        }
        self.members = sorted({member for group in groups for member in group["members"]})
        self.places = {member: place for place, member in enumerate(self.members)}
        self.count, self.hand = len(self.members), len(wants) + 1
        part = {
            "hosts": dict.fromkeys(self.members, {"checks": CHECKS, "drains": []}),
            "groups": {group["name"]: group for group in groups},
        }
        self.claims = {
            host: turns.claim(part, host, {"proven": None}, None, None, OPTIONS)
            for host in self.members
        }
        self.around = {host: self._around(host) for host in self.members}
        # Wall clocks matter where members boot only, and who is done where nothing goes wrong only.
        self.boots, self.tells_done = bool(faults.boots), not any(faults)
        self.ledgers, self.runs, self.messages, self.sent = Table(), Table(), Table(), Table()
        self.asked, self.moved, self.aged, self.working, self.cleaned, self.stripped = (
            {},
            {},
            {},
            {},
            {},
            {},
        )
        self.nothing, self.none_sent = self.ledgers.number(((), ())), self.sent.number(frozenset())
        runs = tuple(
            self.runs.number(self.fresh(f"r{number}", host)) for number, host in enumerate(wants)
        )
        self.first = (self.nothing,) * self.count + (0,) * self.count + runs + (self.none_sent,)
        self.too_many = [
            any(
                sum(mask >> self.places[member] & 1 for member in group["members"])
                > group["max_unavailable"]
                for group in groups
            )
            for mask in range(1 << self.count)
        ]

    @staticmethod
    def fresh(name, host):
        return Run(name, host, "take", 0, 1, (), None, (), 0)

    def of(self, host):
        return [group for group in self.groups if host in group["members"]]

    def _around(self, host):
        members = self.claims[host]["members"]
        return (
            [host] + [member for member in members if member != host]
            if self.rules.own_host_first
            else members
        )

    # ---- what members do -------------------------------------------------------------------------

    def ledger(self, number):
        """A ledger as the functions of lease have it."""
        leases, ended = self.ledgers.values[number]
        return {
            "leases": [
                {
                    "token": token,
                    "run": token,
                    "host": host,
                    "own": own,
                    "groups": self.of(host),
                    "reason": "",
                    "taken_at": NOW,
                    "renewed_at": NOW + wall,
                    "clock": NOW + clock,
                    "boot": "before" if before else "now",
                    "seconds": SECONDS,
                    "phase": phase,
                    "took": list(took),
                }
                for token, host, own, wall, clock, before, phase, took in leases
            ],
            "ended": [[token, NOW] for token in ended],
        }

    def _number(self, ledger):
        leases = []
        for entry in ledger["leases"]:
            before = entry["boot"] != "now"
            clock = 0 if before else max(-LEAP, min(LEAP, entry["clock"] - NOW))
            wall = max(-LEAP, min(LEAP, entry["renewed_at"] - NOW)) if self.boots else clock
            leases.append(
                (
                    entry["token"],
                    entry["host"],
                    entry["own"],
                    wall,
                    clock,
                    before,
                    entry["phase"],
                    tuple(entry.get("took", ())),
                )
            )
        return self.ledgers.number(
            (tuple(leases), tuple(sorted(token for token, _at in ledger["ended"])))
        )

    def ask(self, place, ledger, message, busy):
        """A member's answer to a message: its new ledger, whether it granted, whose hosts it tells
        to be claimed, the first stale lease it tells of, of a lease to be adopted its phase, or
        True where it does not know it, and whether somebody is at work there.
        """
        key = (place, ledger, message, busy)
        if key not in self.asked:
            self.asked[key] = self._ask(*key)
        return self.asked[key]

    def _ask(self, place, number, message, busy):
        found, message = self.ledger(number), self.messages.values[message]
        if message.what == "work":
            after, answer = found, {"granted": True}
            if not message.token:
                answer = {"granted": lease.may_work(found, None, CLOCKS) is None}
            elif self.rules.checks_own_ledger:
                after, answer = lease.proceed(found, message.token, CLOCKS, "applying")
            if busy:
                after, answer = found, {"granted": False}
        else:
            asked = {
                "state": QUESTIONS[message.what],
                "token": message.token,
                "old_token": message.old,
                "run": message.token,
                "host": message.host,
                "member": self.members[place],
                "seconds": SECONDS,
                "reason": "",
                "groups": self.of(message.host) if message.host else [],
                "unreachable": message.unreachable,
            }
            after, answer = lease_task.decide(asked, found, CLOCKS, busy)
            answer = schema.lease(
                dict(lease_task.shown(dict(answer, leases=after["leases"]), CLOCKS, busy), waited=0)
            )
        told = tuple(sorted({entry["host"] for entry in after["leases"]}))
        stale = next(
            (
                (entry["host"], entry["token"])
                for entry in after["leases"]
                if lease.is_stale(entry, CLOCKS)
            ),
            None,
        )
        after = self._number(after)
        # That a refused wish leaves no trace is what makes waiting safe: who asks again and again
        # is no more than slow.
        assert answer["granted"] or after == number, "a refusal changed the ledger"
        # What an adopted lease was about decides whether anything is to be restored.
        about = answer["adopted"]["phase"] if answer.get("adopted") else bool(answer.get("unknown"))
        return after, answer["granted"], told, stale, about, busy

    def age(self, number, how):
        """A ledger after its member's clock leapt or it booted."""
        key = (number, how)
        if key not in self.aged:
            found = self.ledger(number)
            for entry in found["leases"]:
                if how == BOOTS:
                    entry["boot"] = "before"
                elif how == "back":
                    entry["renewed_at"] += LEAP
                else:
                    entry["renewed_at"] -= LEAP
                    entry["clock"] -= LEAP if how == LEAPS else 0
            self.aged[key] = (
                self.nothing if how == BOOTS and self.rules.forgets_at_boot else self._number(found)
            )
        return self.aged[key]

    # ---- what runs do ----------------------------------------------------------------------------

    @staticmethod
    def token(run):
        return f"{run.name}.{run.attempt}"

    def next_message(self, run):
        """The message that a run sends next, and to whom; None where it is at work on a host."""
        token = self.token(run)
        unreachable = tuple(
            member for member, granted, _told, _busy in run.asked if granted is None
        )
        if run.pc == "take":
            return self.around[run.wants][run.at], Message(
                "take", token, run.wants, None, unreachable
            )
        if run.pc == "work":
            return run.wants, Message("work", token, None, None, ())
        if run.pc in ("release", "back off"):
            return run.todo[0], Message("end", token, None, None, ())
        if run.pc in ("working", "restoring"):
            return (run.wants if run.pc == "working" else run.stale[0]), None
        host, old = run.stale
        if run.pc == "adopt":
            return host, Message("adopt", token, host, old, ())
        if run.pc == "invalidate":
            return host, Message("clear", old, host, None, ())
        if run.pc == "restore":
            return host, Message("work", token, None, None, ())
        if run.pc == "give back":
            return host, Message("end", token, None, None, ())
        return run.todo[0], Message("clear", old, host, None, ())

    def answered(self, run, member, granted, told=(), stale=None, about=False, busy=False):
        """What a run may become by an answer; granted is None where none came."""
        if run.pc == "take":
            known = run.stale or stale
            told = tuple(host for host in told if host != run.wants)
            if granted is False:
                # What stands in the way may go by itself; a lease that is stale does not.
                waits = not stale and (self.patience == ENDLESS or run.waits < self.patience)
                again = (
                    [run._replace(waits=run.waits + (self.patience != ENDLESS))] if waits else []
                )
                if waits and self.patience == ENDLESS:
                    return again
                return again + [
                    self._ending(
                        run._replace(stale=known, asked=run.asked + ((member, False, told, busy),)),
                        "back off",
                    )
                ]
            run = run._replace(
                at=run.at + 1,
                asked=run.asked + ((member, granted, told, busy),),
                stale=known,
                waits=0,
            )
            return [run if run.at < len(self.around[run.wants]) else self._decided(run)]
        if run.pc in ("work", "restore"):
            if granted:
                return [run._replace(pc={"work": "working", "restore": "restoring"}[run.pc])]
            return [self._ending(run, "release") if run.pc == "work" else self._again(run)]
        if run.pc in ("release", "back off"):
            # What the next members are asked for is decided by the host's own answer.
            own = {"granted": granted} if member == run.wants and run.at else None
            todo = run.todo[1:]
            if member == run.wants:
                todo = tuple(other for other in todo if not self._keeps(run, other, own))
            run = run._replace(todo=todo)
            return [run if todo else self._ended(run)]
        if run.pc == "adopt":
            if granted:
                return [run._replace(pc="give back" if about == "acquired" else "restore")]
            # Not adopted where the host does not know the token (its run may have died between two
            # messages): then its token is invalidated there.
            return [
                run._replace(pc="invalidate")
                if granted is False and about is True
                else self._again(run)
            ]
        if run.pc in ("invalidate", "give back"):
            others = tuple(other for other in self.around[run.stale[0]] if other != run.stale[0])
            return [
                run._replace(pc="tidy", todo=others) if granted and others else self._again(run)
            ]
        run = run._replace(todo=run.todo[1:])
        return [run if run.todo else self._again(run)]

    def _decided(self, run):
        """The run's own last look, over all answers."""
        answers = {}
        for member, granted, told, busy in run.asked:
            leases = [{"host": host, "groups": self.of(host), "stale": False} for host in told]
            answers[member] = (
                None
                if granted is None
                else {"granted": granted, "refusal": None, "leases": leases, "busy": busy}
            )
        if turns.judge(self.claims[run.wants], answers, None)["reason"]:
            return self._ending(run, "back off")
        return run._replace(pc="work", at=1, asked=(), stale=None)

    def _ending(self, run, pc):
        """The run, about to release its leases: the host's first."""
        asked = (
            [member for member, _granted, _told, _busy in run.asked]
            if pc == "back off"
            else self.around[run.wants]
        )
        had = pc == "release" or (run.wants, True) in [
            (member, granted) for member, granted, _told, _busy in run.asked
        ]
        # Where a member cannot be reached nothing is taken over.
        stale = (
            None
            if any(granted is None for _member, granted, _told, _busy in run.asked)
            else run.stale
        )
        return run._replace(
            pc=pc,
            at=int(had),
            asked=(),
            stale=stale,
            waits=0,
            todo=(run.wants,) + tuple(member for member in asked if member != run.wants),
        )

    def _keeps(self, run, member, own):
        """Whether a member keeps the lease, see turns.keeps_lease."""
        judged = {"reason": "skipped" if run.pc == "back off" else None}
        turn = {"state": "restored"} if run.pc == "release" else None
        result = {"judged": judged, "turn": turn}
        return turns.keeps_lease(self.claims[run.wants], member, result, [], own)

    def _ended(self, run):
        if run.pc == "back off" and run.stale and run.attempt == 1:
            return run._replace(pc="adopt", at=0, attempt=2)
        return self._gone(run, run.pc == "release")

    @staticmethod
    def _again(run):
        """Once more from the beginning, and then no more."""
        return Run(run.name, run.wants, "take", 0, 3, (), None, (), 0)

    def _gone(self, run, done=False):
        return Run(
            run.name,
            run.wants,
            "done" if done and self.tells_done else "gone",
            0,
            0,
            (),
            None,
            (),
            0,
        )

    def rank(self, run):
        """Grows with every step of a run, so that no way is endless."""
        if run.pc in GONE:
            return (9,)
        return (
            run.attempt,
            ORDER.index(run.pc),
            run.at if run.pc == "take" else -len(run.todo),
            run.waits,
        )

    def moves(self, number, run_id, ledger, code):
        """What a run may do next on the member it turns to, by that member's ledger and who works
        there: (new ledger, new code, new run, the message to keep or None, whether something was
        lost).
        """
        key = (run_id, ledger, code)
        if key not in self.moved:
            run = self.runs.values[run_id]
            member, message = self.next_message(run)
            self.moved[key] = member, tuple(self._moves(number, run, member, message, ledger, code))
            for _ledger, _code, new, _message, _lost in self.moved[key][1]:
                assert (
                    new == run_id
                    and self.patience == ENDLESS
                    or self.rank(self.runs.values[new]) > self.rank(run)
                ), "a run goes in circles"
        return self.moved[key][1]

    def _moves(self, number, run, member, message, ledger, code):
        who, out = code >> 1, code & 1
        if message is None:
            mine = who == number + 1
            if run.pc == "working":
                # Whoever lost the lease meanwhile is not let in to put it back, and whoever took
                # over has done it.
                back = mine or lease.find(self.ledger(ledger), self.token(run)) is not None
                after = self._ending(run, "release")
            else:
                back, after = mine, run._replace(pc="give back") if mine else self._again(run)
            yield (
                ledger,
                ((0 if mine else who) << 1) | (out and not back),
                self.runs.number(after),
                None,
                False,
            )
            return
        message_id, place = self.messages.number(message), self.places[member]
        after, *answer = self.ask(place, ledger, message_id, bool(who))
        # Starting to work is no message: the process is on the host.
        works = message.what == "work"
        kept = None if works else message_id
        for new in self.answered(run, member, *answer):
            begun = works and answer[0]
            yield (
                after,
                ((number + 1) << 1 | (out or new.pc == "working")) if begun else code,
                self.runs.number(new),
                kept,
                False,
            )
        if not works:
            for new in self.answered(run, member, None):
                yield ledger, code, self.runs.number(new), kept, True
                if after != ledger:
                    yield after, code, self.runs.number(new), kept, True

    def held_up(self, world, number):
        """Whether a run waits for others of its wave."""

        def far(run):
            if run.pc in GONE:
                return (9,)
            rank = self.rank(run)
            if run.pc == "take":
                return rank[:2] + ((self.next_message(run)[0],) if self.by_name else (run.at,))
            return ((8,) + rank[1:2] if run.pc in ("work", "working", "release") else rank[:2]) + (
                0,
            )

        runs = world[2 * self.count : -1]
        mine = far(self.runs.values[runs[number]])
        return any(far(self.runs.values[runs[mate]]) < mine for mate in self.mates[number])

    # ---- messages that come again ----------------------------------------------------------------

    def keep(self, sent, place, ledger, message=None):
        """The messages that may come again and change something, after this member's ledger changed
        or a message went to it.
        """
        key = (sent, place, ledger, message)
        if key not in self.cleaned:
            kept = self.sent.values[sent] | (set() if message is None else {(place, message)})
            self.cleaned[key] = self.sent.number(
                frozenset(
                    one
                    for one in kept
                    if one[0] != place or self.plain or not self._is_over(ledger, *one)
                )
            )
        return self.cleaned[key]

    def _is_over(self, ledger, place, message):
        """Whether a message changes nothing any more.

        The member itself is asked, so that one that forgets is found out.
        """
        leases, ended = self.ledgers.values[ledger]
        token = self.messages.values[message].token
        if token not in ended or token in [entry[0] for entry in leases]:
            return False
        after, granted = self.ask(place, ledger, message, False)[:2]
        return after == ledger and (
            self.messages.values[message].what in ("end", "clear") or not granted
        )

    def strip(self, place, ledger, run_id, sent):
        """The ledger without those ended attempts of a run that no message can name any more."""
        key = (place, ledger, run_id, sent)
        if key not in self.stripped:
            leases, ended = self.ledgers.values[ledger]
            run = self.runs.values[run_id]
            needed = set()
            if (
                run.pc == "take"
                and self.members[place] in self.around[run.wants][run.at :]
                or run.pc == "adopt"
                and run.stale[0] == self.members[place]
            ):
                needed.add(self.token(run))
            needed |= {
                self.messages.values[message].token
                for where, message in self.sent.values[sent]
                if where == place
            }
            self.stripped[key] = self.ledgers.number(
                (
                    leases,
                    tuple(
                        token
                        for token in ended
                        if token in needed or token.partition(".")[0] != run.name
                    ),
                )
            )
        return self.stripped[key]

    # ---- everything that can happen next ---------------------------------------------------------

    def normal(self, world, number=None, places=()):
        """A world without what makes no difference, after a step of a run, on these members."""
        if self.plain:
            return tuple(world)
        count, sent = self.count, world[-1]
        runs = world[2 * count : -1]
        for place in range(count):
            for run_id in runs if place in places else () if number is None else (runs[number],):
                if self.ledgers.values[world[place]][1]:
                    world[place] = self.strip(place, world[place], run_id, sent)
        return tuple(world)

    def steps(self, world, left):
        """The worlds that follow: (world, kind of the mishap or None).

        What leaves the world as it is is no step, and not among them.
        """
        count, values = self.count, self.runs.values
        gone = True
        for number, run_id in enumerate(world[2 * count : -1]):
            run = values[run_id]
            if run.pc in GONE:
                continue
            gone = False
            if self.mates and self.held_up(world, number):
                continue
            place = (
                self.places[self.next_message(run)[0]]
                if run_id not in self.working
                else self.working[run_id]
            )
            self.working[run_id] = place
            for ledger, code, new, message, lost in self.moves(
                number, run_id, world[place], world[count + place]
            ):
                if lost and not left[LOST]:
                    continue
                after = list(world)
                after[place], after[count + place], after[2 * count + number] = ledger, code, new
                if left[REPEATED]:
                    after[-1] = self.keep(world[-1], place, ledger, message)
                after = self.normal(after, number, (place,))
                if after != world:
                    yield after, LOST if lost else None
            if left[CRASHES]:
                dead = list(world)
                dead[2 * count + number] = self.runs.number(self._gone(run))
                yield self.normal(dead, number), CRASHES
        if left[REPEATED]:
            for place, message in self.sent.values[world[-1]]:
                after = list(world)
                after[place] = self.ask(place, world[place], message, world[count + place] > 1)[0]
                after[-1] = self.keep(world[-1], place, after[place])
                yield self.normal(after, None, (place,)), REPEATED
        for place in range(count):
            who, out = world[count + place] >> 1, world[count + place] & 1
            # What a dead run started goes on until it is done; so does what was started by hand.
            # What it was in the middle of stays as it is.
            if who == self.hand or who and values[world[2 * count + who - 1]].pc in GONE:
                yield self._with(world, count + place, out), None
            for after in self._ended_by_itself(world, place, who):
                yield after, None
            if (
                left[ADHOC]
                and self.ask(
                    place,
                    world[place],
                    self.messages.number(Message("work", None, None, None, ())),
                    bool(who),
                )[1]
            ):
                yield self._with(world, count + place, self.hand << 1 | out), ADHOC
            if gone and not self.plain:
                # recovers lets time pass itself.
                continue
            if left[BOOTS]:
                after = list(world)
                after[place], after[count + place] = self.age(world[place], BOOTS), out
                yield tuple(after), BOOTS
            if left[LEAPS]:
                for how in (LEAPS, "ahead", "back") if self.boots else (LEAPS,):
                    yield self._with(world, place, self.age(world[place], how)), LEAPS
        if left[LEAPS] and not (gone and not self.plain):
            yield tuple(self.age(ledger, LEAPS) for ledger in world[:count]) + world[count:], LEAPS

    def _ended_by_itself(self, world, place, who):
        """Worlds in which the process on a host has ended its turn without its run: the host
        serves, and its own lease is released, or stays for the run to do that.
        """
        run = self.runs.values[world[2 * self.count + who - 1]] if 0 < who < self.hand else None
        if run is None or run.pc not in (*GONE, "working"):
            return
        after = self._with(world, self.count + place, 0)
        yield after
        for entry in self.ledger(world[place])["leases"]:
            if entry["own"] and entry["token"].partition(".")[0] == run.name:
                asked = self.messages.number(Message("end", entry["token"], None, None, ()))
                yield self._with(after, place, self.ask(place, world[place], asked, False)[0])

    @staticmethod
    def _with(world, place, value):
        return world[:place] + (value,) + world[place + 1 :]

    # ---- what must hold --------------------------------------------------------------------------

    def may_work(self, run_id, place, ledger):
        run = self.runs.values[run_id]
        return (
            run.pc in ("work", "working")
            and run.wants == self.members[place]
            and lease.find(self.ledger(ledger), self.token(run)) is not None
        )

    def claimed(self, world):
        """The hosts (as bits) that somebody works on or is in the middle of, or may work on at any
        moment: a run that has taken it, and whose token the host's own ledger holds.
        """
        count, mask = self.count, 0
        for place in range(count):
            if world[count + place]:
                mask |= 1 << place
        for run_id in world[2 * count : -1]:
            run = self.runs.values[run_id]
            if run.pc in ("work", "working"):
                place = self.places[run.wants]
                key = (run_id, world[place])
                may = self.working.get(key)
                if may is None:
                    may = self.working[key] = self.may_work(run_id, place, world[place])
                if may:
                    mask |= 1 << place
        return mask

    def is_end(self, world):
        return all(self.runs.values[run_id].pc in GONE for run_id in world[2 * self.count : -1])

    def explore(self, limit=None, parents=None, graph=None):
        """Go every way there is, those with the fewest mishaps first.

        :param limit: of worlds; complete tells whether the end was reached before.
        :param parents: a mapping that is filled with the way to each world.
        :param graph: a mapping that is filled with the worlds that follow each world without
            further mishap.
        :returns: how many worlds there are; those in which every run has come to an end; whether
            that is all; worlds in which somebody has not come to an end and nobody can go on.
        """
        budgets = [
            Faults(a, b, c, d, e, f)
            for a in range(self.faults[0] + 1)
            for b in range(self.faults[1] + 1)
            for c in range(self.faults[2] + 1)
            for d in range(self.faults[3] + 1)
            for e in range(self.faults[4] + 1)
            for f in range(self.faults[5] + 1)
        ]
        numbers = {budget: number for number, budget in enumerate(budgets)}
        less = [
            [
                numbers.get(budget._replace(**{kind: getattr(budget, kind) - 1}))
                for kind in Faults._fields
            ]
            for budget in budgets
        ]
        covers = [
            1 << number
            if self.plain
            else sum(
                1 << other
                for other, one in enumerate(budgets)
                if all(x <= y for x, y in zip(one, budget))
            )
            for number, budget in enumerate(budgets)
        ]
        full = len(budgets) - 1
        seen, ends, stuck = {self.first: covers[full]}, set(), []
        waiting = [[] for _level in range(sum(self.faults) + 1)]
        waiting[0].append((self.first, full))
        for level, worlds in enumerate(waiting):
            while worlds:
                world, number = worlds.pop()
                if self.too_many[self.claimed(world)]:
                    self._violated(world, limit, parents)
                left, goes_on = budgets[number], False
                if graph is not None:
                    graph[world] = set()
                for after, kind in self.steps(world, left):
                    if kind is None:
                        goes_on, budget = True, number
                        if graph is not None:
                            graph[world].add(after)
                    else:
                        budget = less[number][kind]
                        if kind == REPEATED and not budgets[budget][REPEATED]:
                            after = self.normal(
                                list(after[:-1]) + [self.none_sent], None, range(self.count)
                            )
                    known = seen.get(after, 0)
                    if known >> budget & 1:
                        continue
                    seen[after] = known | covers[budget]
                    waiting[level + (kind is not None)].append((after, budget))
                    if parents is not None and not known:
                        parents[after] = world
                if self.is_end(world):
                    ends.add(world)
                elif not goes_on:
                    stuck.append(world)
                if limit and len(seen) > limit:
                    return Explored(len(seen), ends, False, stuck)
        return Explored(len(seen), ends, True, stuck)

    def _violated(self, world, limit, parents):
        if parents is None:
            self.explore(limit, {})
        way = [world]
        while way[-1] in (parents or {}):
            way.append(parents[way[-1]])
        raise Violation(
            "Too many are claimed:\n" + "\n".join(self.words(one) for one in reversed(way))
        )

    def words(self, world):
        count = self.count
        parts = [
            f"{member}: {self.ledgers.values[world[place]]}"
            + (
                f" at work {world[count + place] >> 1} out {world[count + place] & 1}"
                if world[count + place]
                else ""
            )
            for place, member in enumerate(self.members)
        ]
        for run_id in world[2 * count : -1]:
            run = self.runs.values[run_id]
            parts.append(f"{run.name} for {run.wants}: {run.pc} {run.attempt} {run.at} {run.todo}")
        return " | ".join(parts)

    def left(self, world):
        """What of a world in which everybody has gone matters to recovers."""
        return tuple(self.age(ledger, LEAPS) for ledger in world[: self.count]) + tuple(
            code & 1 for code in world[self.count : 2 * self.count]
        )

    def recovers(self, world, host):
        """Whether, once everybody has gone and time has passed, a new run gets the claimed host
        without mishap. A run clears one stale lease out of the way and then another; the next
        night's clears what is left.
        """
        ledgers, out = (
            list(world[: self.count]),
            [code & 1 for code in world[self.count : 2 * self.count]],
        )
        for night in range(len(self.members) + 2):
            ledgers = [self.age(ledger, LEAPS) for ledger in ledgers]
            run, codes = self.fresh(f"night{night}", host), list(out)
            while run.pc not in GONE:
                before = run
                place = self.places[self.next_message(run)[0]]
                run_id = self.runs.number(run)
                # The last of its ways that lose nothing: it does not wait.
                moves = [
                    move
                    for move in self.moves(90, run_id, ledgers[place], codes[place])
                    if not move[-1]
                ]
                ledgers[place], codes[place], run = (
                    moves[-1][0],
                    moves[-1][1],
                    self.runs.values[moves[-1][2]],
                )
                if before.pc == "working":
                    return True
            out = [code & 1 for code in codes]
        return False
