"""Deadlines: never early, at most a grain late, and hardly a timer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from icwsgw.agent.http.deadlines import GRAIN, Deadlines


class Item:
    bucket = 0

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.at: float | None = None

    def timed_out(self) -> None:
        assert self.at is None
        self.at = self.clock.seconds()


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0.001, 5), st.booleans()), max_size=30), st.floats(0, 1e9))
def test_each_in_its_time(plan, start) -> None:
    clock = Clock()
    clock.advance(start)
    deadlines = Deadlines(clock)
    items = []
    for pause, seconds, discarded in plan:
        clock.advance(pause)
        item = Item(clock)
        deadlines.add(item, seconds)
        items.append((item, clock.seconds() + seconds, discarded))
        if discarded:
            deadlines.discard(item)
    clock.pump([0.01] * 600)
    for item, due, discarded in items:
        if discarded:
            assert item.at is None
        else:
            assert item.at is not None
            # A plan's own pauses let a timer run late, as a busy reactor would.
            assert item.at >= due - 1e-5
            assert item.at <= due + GRAIN + 3.02
    assert len(deadlines) == 0
    assert clock.getDelayedCalls() == []


def test_lateness_is_a_grain() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    item = Item(clock)
    deadlines.add(item, 1.01)
    clock.pump([0.001] * 1100)
    assert item.at is not None
    assert 1.01 <= item.at <= 1.01 + GRAIN + 0.002


def test_few_timers() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    made = 0
    original = clock.callLater

    def counted(*args):
        nonlocal made
        made += 1
        return original(*args)

    clock.callLater = counted  # type: ignore[assignment]
    for _ in range(2000):
        item = Item(clock)
        deadlines.add(item, 5.0)
        clock.advance(0.01)
        deadlines.discard(item)
    assert made <= 8


def test_a_nearer_deadline_moves_the_timer() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    late, soon = Item(clock), Item(clock)
    deadlines.add(late, 60)
    deadlines.add(soon, 1)
    clock.advance(1.1)
    assert soon.at is not None
    assert late.at is None
    assert len(clock.getDelayedCalls()) == 1
    deadlines.clear()
    assert clock.getDelayedCalls() == []


def test_a_time_out_may_ask_again() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    second = Item(clock)

    class Again(Item):
        def timed_out(self) -> None:
            deadlines.add(second, 1)

    deadlines.add(Again(clock), 1)
    clock.pump([0.5] * 6)
    assert second.at is not None
