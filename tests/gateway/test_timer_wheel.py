from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from icwsgw.gateway.batches import BATCH
from icwsgw.gateway.timer_wheel import SLOTS, TimerWheel


class Item:
    def __init__(self, clock: Clock, *delays: float | Exception | None) -> None:
        self.wheel_slot = -1
        self.seen: list[float] = []
        self._clock = clock
        self._delays = list(delays)

    def look(self, now: float) -> float | None:
        assert now == self._clock.seconds()
        self.seen.append(now)
        delay = self._delays.pop(0) if self._delays else None
        if isinstance(delay, Exception):
            raise delay
        return delay


def running() -> tuple[TimerWheel, Clock]:
    clock = Clock()
    wheel = TimerWheel(clock)
    wheel.start()
    return wheel, clock


def test_an_item_is_visited_when_it_asked_and_then_when_it_asks_again() -> None:
    wheel, clock = running()
    item = Item(clock, 5.0, None)
    wheel.watch(item, 2.5)
    clock.pump([0.5] * 40)
    assert item.seen == [3.0, 9.0]
    assert len(wheel) == 0


def test_a_visit_is_never_early() -> None:
    wheel, clock = running()
    for delay in (0.0, 0.2, 1.0, 1.7, 30.0):
        item = Item(clock)
        start = clock.seconds()
        wheel.watch(item, delay)
        clock.pump([1.0] * 40)
        assert start + delay <= item.seen[0] <= start + delay + 2.0


def test_a_new_wish_replaces_the_old_and_forgetting_forgets() -> None:
    wheel, clock = running()
    item, gone = Item(clock), Item(clock)
    wheel.watch(item, 2)
    wheel.watch(item, 6)
    wheel.watch(gone, 2)
    wheel.forget(gone)
    wheel.forget(gone)
    clock.pump([1.0] * 10)
    assert item.seen == [7.0]
    assert gone.seen == []


def test_a_delay_longer_than_the_wheel_takes_more_turns_than_one() -> None:
    wheel, clock = running()
    for delay in (SLOTS - 2, SLOTS - 1, SLOTS, SLOTS + 0.5, 600, 3600):
        item = Item(clock)
        start = clock.seconds()
        wheel.watch(item, delay)
        clock.pump([1.0] * (int(delay) + 3))
        assert len(item.seen) == 1
        assert start + delay <= item.seen[0] <= start + delay + 2.0


def test_the_time_since_a_tick_is_a_second_too_long_at_most() -> None:
    wheel, clock = running()
    clock.pump([0.25] * 14)
    tick = wheel.tick
    for passed in (0.0, 0.25, 0.5, 1.0, 200.0):
        clock.pump([0.25] * int(passed / 0.25))
        assert passed <= wheel.seconds_since(tick) <= passed + 1.0
        tick = wheel.tick
        clock.pump([0.5])


def test_a_fault_in_one_visit_costs_no_other() -> None:
    wheel, clock = running()
    items = [Item(clock, 1.0), Item(clock, RuntimeError("a fault"), 1.0), Item(clock, 1.0)]
    for item in items:
        wheel.watch(item, 1)
    clock.pump([1.0] * 10)
    assert [len(item.seen) for item in items] == [2, 3, 2]


def test_a_stopped_wheel_leaves_no_timer() -> None:
    wheel, clock = running()
    wheel.stop()
    wheel.stop()
    assert clock.getDelayedCalls() == []


def test_what_a_visit_forgets_or_puts_off_is_not_visited_in_the_same_turn() -> None:
    wheel, clock = running()
    items: list[Item] = []

    class Forgets(Item):
        def look(self, now: float) -> float | None:
            for item in items:
                wheel.forget(item)
            return super().look(now)

    class PutsOff(Item):
        def look(self, now: float) -> float | None:
            for item in items:
                if item is not self and not item.seen:
                    wheel.watch(item, 10)
            return super().look(now)

    for kind, visits in ((Forgets, 1), (PutsOff, 4)):
        items[:] = [kind(clock) for _ in range(4)]
        for item in items:
            wheel.watch(item, 1)
        clock.pump([1.0] * 300)
        seen = sorted(at for item in items for at in item.seen)
        assert len(seen) == visits
        assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(seen))
        assert len(wheel) == 0


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(-1, 700)), min_size=1, max_size=30))
def test_visits_come_when_they_were_asked_for(wishes: list[tuple[float, float]]) -> None:
    wheel, clock = running()
    items = []
    for passed, delay in wishes:
        clock.pump([0.1] * int(passed * 10))
        item = Item(clock)
        wheel.watch(item, delay)
        items.append((item, clock.seconds() + delay))
    clock.pump([0.5] * 1500)
    for item, due in items:
        (seen,) = item.seen
        # a second for the slot, one for a tick that comes late, and what the clock moves by
        assert max(0.0, due) - 0.01 <= seen <= max(0.0, due) + 2.51 + 5.0 * (due < 0)


def test_many_that_are_due_together_are_visited_a_slice_a_turn() -> None:
    class Turns(Clock):
        """A clock that keeps what is asked for at once for the next turn, as a reactor does."""

        def __init__(self) -> None:
            super().__init__()
            self.next: list[tuple[Any, Any]] = []

        def callLater(self, delay: float, call: Any, *args: Any, **options: Any) -> Any:  # type: ignore[override]
            if delay:
                return super().callLater(delay, call, *args, **options)
            self.next.append((call, args))
            return None

        def turn(self) -> None:
            calls, self.next = self.next, []
            for call, args in calls:
                call(*args)

    clock = Turns()
    wheel = TimerWheel(clock)
    wheel.start()
    items = [Item(clock, 5.0) for _ in range(2 * BATCH + 50)]
    for item in items:
        wheel.watch(item, 0.5)

    def seen() -> int:
        return sum(len(item.seen) for item in items)

    clock.advance(1)
    assert seen() == BATCH
    # one that stands behind is put off, and one is gone
    left = [item for item in items if not item.seen]
    wheel.watch(left[0], 20)
    wheel.forget(left[1])
    clock.turn()
    assert seen() == 2 * BATCH
    # the next second begins before the last ones are visited
    clock.advance(1)
    clock.turn()
    assert seen() == len(items) - 2
    assert clock.next == []
    assert len(wheel) == len(items) - 1
    while not clock.next:
        clock.advance(1)
    before = seen()
    wheel.stop()
    clock.turn()
    assert clock.next == []
    assert seen() == before


def test_when_the_next_visit_is_due() -> None:
    wheel, clock = running()
    item = Item(clock)
    assert wheel.due(item) is None
    wheel.watch(item, 300.5)
    assert wheel.due(item) == 300.5
    wheel.forget(item)
    assert wheel.due(item) is None
