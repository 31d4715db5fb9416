# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: rebootless.ksplice contributors
"""The lease protocol in larger worlds than can be gone through: anything happens at random, as
often as it likes.
"""

import os
import sys

import pytest
from ansible_collections.rebootless.ksplice.plugins.module_utils.turn import lease
from extent import rounds

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lease_model import Faults, Model, Violation  # noqa: E402

hypothesis = pytest.importorskip("hypothesis")
stateful = pytest.importorskip("hypothesis.stateful")
st = pytest.importorskip("hypothesis.strategies")

ANY = Faults(1, 1, 1, 1, 1, 1)
MEMBERS = "abcde"


@st.composite
def worlds(draw):
    """Up to five members in up to three groups that may overlap, of which one or two may go, and up
    to four runs, some of which wait.
    """
    groups = []
    for name in "ghi"[: draw(st.integers(1, 3))]:
        members = sorted(draw(st.sets(st.sampled_from(MEMBERS), min_size=2, max_size=5)))
        groups.append(
            {
                "name": name,
                "members": members,
                "max_unavailable": draw(st.integers(1, min(2, len(members) - 1))),
            }
        )
    everybody = sorted({member for group in groups for member in group["members"]})
    wants = draw(st.lists(st.sampled_from(everybody), min_size=2, max_size=4))
    return groups, wants, draw(st.integers(0, 2))


class Fleet(stateful.RuleBasedStateMachine):
    """One way through a world without budgets, and without what the exploration leaves out."""

    @stateful.initialize(world=worlds())
    def begin(self, world):
        groups, wants, patience = world
        self.model = Model(groups, "".join(wants), ANY, patience=patience, plain=True)
        self.world = self.model.first

    def steps(self, kinds):
        return [after for after, kind in self.model.steps(self.world, ANY) if kind in kinds]

    def step(self, data, *kinds):
        following = self.steps(kinds)
        if following:
            self.world = following[data.draw(st.integers(0, len(following) - 1))]

    # What goes well is to happen more often than each mishap.
    @stateful.rule(data=st.data(), times=st.integers(1, 6))
    def go_on(self, data, times):
        for _time in range(times):
            self.step(data, None)
            self.never_too_many()

    @stateful.rule(data=st.data(), kind=st.sampled_from(Faults._fields))
    def mishap(self, data, kind):
        # Two commands by hand at once know nothing of each other, which no lease can help.
        if kind != "adhoc" or self.model.hand not in [
            code >> 1 for code in self.world[self.model.count : 2 * self.model.count]
        ]:
            self.step(data, Faults._fields.index(kind))

    @stateful.invariant()
    def never_too_many(self):
        if hasattr(self, "world") and self.model.too_many[self.model.claimed(self.world)]:
            raise Violation(self.model.words(self.world))

    def teardown(self):
        if not hasattr(self, "world"):
            return
        # Nothing goes wrong any more: every run comes to an end, whatever the order; this is the
        # one that is always there.
        for _step in range(2000):
            following = self.steps((None,))
            if self.model.is_end(self.world) and not following:
                break
            # Whoever waits gives up: the last of the ways that a run has.
            self.world = following[-1]
            self.never_too_many()
        assert self.model.is_end(self.world), self.model.words(self.world)
        for host in self.model.members:
            assert self.model.recovers(self.world, host), (
                f"nobody can take {host}: {self.model.words(self.world)}"
            )


TestFleet = Fleet.TestCase
TestFleet.settings = hypothesis.settings(
    max_examples=rounds(600),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
)


REAL = lease.acquire


def grants_everything(ledger, wish, now, _busy):
    after, answer = REAL(dict(ledger, leases=[]), wish, now, False)
    if not answer["granted"]:
        return ledger, answer
    return dict(after, leases=ledger["leases"] + after["leases"]), answer


def test_careless_members_are_found_out_at_random(monkeypatch):
    """Members that grant everything, and runs that take their word for it."""
    monkeypatch.setattr(lease, "acquire", grants_everything)
    monkeypatch.setattr(lease, "is_acquired", lambda wish, answers: None)
    with pytest.raises(Violation):
        stateful.run_state_machine_as_test(
            Fleet,
            settings=hypothesis.settings(
                TestFleet.settings,
                max_examples=rounds(1000),
                database=None,
                report_multiple_bugs=False,
                phases=[hypothesis.Phase.generate],
                derandomize=True,
            ),
        )
