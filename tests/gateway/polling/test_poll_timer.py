from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from icwsgw.core.poll_schedule import LONGEST_REST, PollSchedule
from icwsgw.core.request_budget import RequestBudget
from icwsgw.gateway.polling.poll_timer import FOLLOW_UP, PHASES, PollTimer


class Acts:
    def __init__(self, phase: float = 0.0, poll_schedule: PollSchedule | None = None) -> None:
        self.clock = Clock()
        self.clock.advance(10.0)
        self.ticks: list[float] = []
        self.wakes: list[tuple[float, str]] = []
        self.poll_timer = PollTimer(
            self.clock, 1.0, self.ticks.append, lambda now, cause: self.wakes.append((now, cause)), "canister"
        )
        self.poll_timer.start(phase, poll_schedule)
        self.clock.advance(0)

    def pass_(self, seconds: float) -> None:
        self.clock.pump([0.125] * int(seconds / 0.125))


@pytest.mark.parametrize(("phase", "first"), [(0.0, 10.0), (0.5, 10.5), (0.999, 10.0 + 15 / PHASES)])
def test_it_beats_on_one_of_few_instants(phase: float, first: float) -> None:
    acts = Acts(phase)
    acts.clock.pump([0.0625] * 47)
    assert acts.ticks == [first, first + 1, first + 2]


def test_the_instants_are_parts_of_the_interval() -> None:
    clock = Clock()
    ticks: list[Any] = []
    poll_timer = PollTimer(clock, 0.25, ticks.append, lambda now, cause: None, "canister")
    poll_timer.start(0.5)
    clock.pump([0.0625] * 12)
    assert ticks == [0.125, 0.375, 0.625]
    poll_timer.stop()


def test_the_soonest_wake_wins() -> None:
    acts = Acts()
    acts.poll_timer.wake_in(0.75, "a")
    acts.poll_timer.wake_in(0.25, "b")
    acts.poll_timer.wake_in(0.5, "c")
    acts.poll_timer.wake_in(0.25, "d")
    acts.pass_(0.875)
    assert acts.wakes == [(10.25, "b")]


def test_a_tick_takes_the_place_of_a_follow_up_and_of_no_other_wake() -> None:
    acts = Acts()
    acts.pass_(0.75)
    acts.poll_timer.wake_in(0.5, FOLLOW_UP)
    acts.pass_(1.0)
    assert acts.wakes == []
    acts.poll_timer.wake_in(0.5, "call")
    acts.pass_(1.0)
    assert acts.wakes == [(12.25, "call")]


def test_a_tick_that_is_not_its_turn_is_none_and_leaves_follow_ups_alone() -> None:
    class EachThird(PollSchedule):
        def next_poll_at(self, now: float) -> bool:
            return now % 3 == 0

    acts = Acts(0.0, EachThird(RequestBudget(1.0, 1.0), RequestBudget(1.0, 1.0).newcomers, 0.0))
    acts.pass_(5.5)
    assert acts.ticks == [12.0, 15.0]
    acts.poll_timer.wake_in(2.0, FOLLOW_UP)
    acts.pass_(2.0)
    assert acts.wakes == [(17.5, FOLLOW_UP)]
    acts.poll_timer.wake_in(2.0, FOLLOW_UP)
    acts.pass_(3.0)
    assert acts.ticks == [12.0, 15.0, 18.0]
    assert len(acts.wakes) == 1


class Booked(PollSchedule):
    """A beat now and then."""

    looks = 0

    def next_poll_at(self, now: float) -> bool:
        self.looks += 1
        if now < self.due:
            return False
        self.due = now + 40.0
        return True


def test_while_its_beat_is_far_it_does_not_tick() -> None:
    budget = RequestBudget(1.0, 1.0)
    poll_schedule = Booked(budget, budget.newcomers, 35.0)
    acts = Acts(0.0, poll_schedule)
    acts.pass_(100)
    assert acts.ticks == [35.0, 75.0]
    assert poll_schedule.looks <= 2 + 100 / LONGEST_REST + 4
    assert budget.held_ticks >= 80, "a tick that was left out was no beat"


def test_it_beats_at_the_next_tick_when_it_may_sooner() -> None:
    budget = RequestBudget(1.0, 1.0)
    poll_schedule = Booked(budget, budget.newcomers, 1000.0)
    acts = Acts(0.5, poll_schedule)
    acts.pass_(3.25)
    poll_schedule.due = 13.0
    acts.poll_timer.hasten()
    acts.pass_(1)
    assert acts.ticks == [13.5]
    acts.poll_timer.hasten()
    acts.poll_timer.stop()
    acts.poll_timer.hasten()
    assert acts.clock.getDelayedCalls() == []


def test_after_the_end_there_is_neither_and_no_timer() -> None:
    for seconds in (0.0, 0.5):
        acts = Acts(0.25)
        acts.pass_(seconds)
        acts.poll_timer.wake_in(0.5, "call")
        acts.poll_timer.stop()
        acts.poll_timer.wake_in(0.25, "call")
        assert acts.clock.getDelayedCalls() == []


def test_a_tick_that_fails_does_not_end_it() -> None:
    clock = Clock()
    ticks: list[Any] = []
    logged: list[Any] = []

    def tick(now: float) -> None:
        ticks.append(now)
        raise ZeroDivisionError

    globalLogPublisher.addObserver(logged.append)  # type: ignore[arg-type]
    try:
        PollTimer(clock, 1.0, tick, lambda now, cause: None, "canister").start(0.0)
        clock.advance(0)
        clock.pump([1.0] * 3)
    finally:
        globalLogPublisher.removeObserver(logged.append)  # type: ignore[arg-type]
    assert ticks == [0.0, 1.0, 2.0, 3.0]
    assert sum("log_failure" in event for event in logged) == 4
