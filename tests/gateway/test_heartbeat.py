from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from icwsgw.core.budget import LONGEST_REST, Budget, Turns
from icwsgw.gateway.heartbeat import FOLLOW_UP, PHASES, Heartbeat


class Acts:
    def __init__(self, phase: float = 0.0, turns: Turns | None = None) -> None:
        self.clock = Clock()
        self.clock.advance(10.0)
        self.ticks: list[float] = []
        self.wakes: list[tuple[float, str]] = []
        self.heartbeat = Heartbeat(
            self.clock, 1.0, self.ticks.append, lambda now, cause: self.wakes.append((now, cause)), "canister"
        )
        self.heartbeat.start(phase, turns)
        self.clock.advance(0)

    def pass_(self, seconds: float) -> None:
        self.clock.pump([0.125] * int(seconds / 0.125))


@pytest.mark.parametrize(("phase", "first"), [(0.0, 10.0), (0.5, 10.5), (0.999, 10.0 + 15 / PHASES)])
def test_it_beats_on_one_of_few_instants(phase: float, first: float) -> None:
    acts = Acts(phase)
    acts.clock.pump([0.0625] * 47)
    assert acts.ticks == [first, first + 1, first + 2]


def test_the_instants_are_parts_of_the_interval() -> None:
    clock, ticks = Clock(), []
    heartbeat = Heartbeat(clock, 0.25, ticks.append, lambda now, cause: None, "canister")
    heartbeat.start(0.5)
    clock.pump([0.0625] * 12)
    assert ticks == [0.125, 0.375, 0.625]
    heartbeat.stop()


def test_the_soonest_wake_wins() -> None:
    acts = Acts()
    acts.heartbeat.wake_in(0.75, "a")
    acts.heartbeat.wake_in(0.25, "b")
    acts.heartbeat.wake_in(0.5, "c")
    acts.pass_(0.875)
    assert acts.wakes == [(10.25, "b")]


def test_a_tick_takes_the_place_of_a_follow_up_and_of_no_other_wake() -> None:
    acts = Acts()
    acts.pass_(0.75)
    acts.heartbeat.wake_in(0.5, FOLLOW_UP)
    acts.pass_(1.0)
    assert acts.wakes == []
    acts.heartbeat.wake_in(0.5, "call")
    acts.pass_(1.0)
    assert acts.wakes == [(12.25, "call")]


def test_a_tick_that_is_not_its_turn_is_none_and_leaves_follow_ups_alone() -> None:
    class EachThird(Turns):
        def beat(self, now: float) -> bool:
            return now % 3 == 0

    acts = Acts(0.0, EachThird(Budget(1.0, 1.0), Budget(1.0, 1.0).newcomers, 0.0))
    acts.pass_(5.5)
    assert acts.ticks == [12.0, 15.0]
    acts.heartbeat.wake_in(2.0, FOLLOW_UP)
    acts.pass_(2.0)
    assert acts.wakes == [(17.5, FOLLOW_UP)]
    acts.heartbeat.wake_in(2.0, FOLLOW_UP)
    acts.pass_(3.0)
    assert acts.ticks == [12.0, 15.0, 18.0]
    assert len(acts.wakes) == 1


class Booked(Turns):
    """A beat now and then."""

    looks = 0

    def beat(self, now: float) -> bool:
        self.looks += 1
        if now < self.due:
            return False
        self.due = now + 40.0
        return True


def test_while_its_beat_is_far_it_does_not_tick() -> None:
    budget = Budget(1.0, 1.0)
    turns = Booked(budget, budget.newcomers, 35.0)
    acts = Acts(0.0, turns)
    acts.pass_(100)
    assert acts.ticks == [35.0, 75.0]
    assert turns.looks <= 2 + 100 / LONGEST_REST + 4
    assert budget.held_beats >= 80, "a tick that was left out was no beat"


def test_it_beats_at_the_next_tick_when_it_may_sooner() -> None:
    budget = Budget(1.0, 1.0)
    turns = Booked(budget, budget.newcomers, 1000.0)
    acts = Acts(0.5, turns)
    acts.pass_(3.25)
    turns.due = 13.0
    acts.heartbeat.hasten()
    acts.pass_(1)
    assert acts.ticks == [13.5]
    acts.heartbeat.hasten()
    acts.heartbeat.stop()
    acts.heartbeat.hasten()
    assert acts.clock.getDelayedCalls() == []


def test_after_the_end_there_is_neither_and_no_timer() -> None:
    for seconds in (0.0, 0.5):
        acts = Acts(0.25)
        acts.pass_(seconds)
        acts.heartbeat.wake_in(0.5, "call")
        acts.heartbeat.stop()
        acts.heartbeat.wake_in(0.25, "call")
        assert acts.clock.getDelayedCalls() == []


def test_a_tick_that_fails_does_not_end_it() -> None:
    clock, ticks, logged = Clock(), [], []

    def tick(now: float) -> None:
        ticks.append(now)
        raise ZeroDivisionError

    globalLogPublisher.addObserver(logged.append)
    try:
        Heartbeat(clock, 1.0, tick, lambda now, cause: None, "canister").start(0.0)
        clock.advance(0)
        clock.pump([1.0] * 3)
    finally:
        globalLogPublisher.removeObserver(logged.append)
    assert ticks == [0.0, 1.0, 2.0, 3.0]
    assert sum("log_failure" in event for event in logged) == 4
