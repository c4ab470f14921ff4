"""A client's queue and its bounds."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.relay_queue import RelayQueue


@dataclass
class Item:
    body: bytes


def filled(*sizes: int) -> RelayQueue[Item]:
    relay_queue: RelayQueue[Item] = RelayQueue()
    for size in sizes:
        assert relay_queue.add(Item(bytes(size))) == size
    return relay_queue


def test_first_in_first_out_and_counted() -> None:
    relay_queue = filled(1, 2, 3)
    assert (len(relay_queue), relay_queue.octets) == (3, 6)
    assert [len(relay_queue.pop().body) for _ in range(3)] == [1, 2, 3]
    assert (len(relay_queue), relay_queue.octets) == (0, 0)
    with pytest.raises(IndexError):
        relay_queue.pop()
    assert not relay_queue.full
    assert filled(5, 6).clear() == 2
    relay_queue = filled(5, 6)
    relay_queue.clear()
    assert (len(relay_queue), relay_queue.octets) == (0, 0)


def test_bounds_are_reached_by_the_last_item_and_the_last_byte() -> None:
    assert not filled().too_much(1, 1, 1.0)
    assert filled(1).too_much(1, 100, 1.0)
    assert not filled(50, 49).too_much(10, 100, 1.0)
    assert filled(50, 50).too_much(10, 100, 1.0)


@pytest.mark.parametrize(
    ("sizes", "took", "room"),
    [
        # (10 messages, 100 bytes, 10 s): half of each is room, a little more is none
        ((1,) * 5, 0.0, True),
        ((1,) * 6, 0.0, False),
        ((25, 25), 0.0, True),
        ((25, 26), 0.0, False),
        ((51,), 0.0, False),
        ((1, 1), 2.5, True),
        ((1, 1), 2.6, False),
        ((1,), 1000.0, True),
        ((), 1000.0, True),
    ],
)
def test_half_of_each_bound_is_room(sizes: tuple[int, ...], took: float, room: bool) -> None:
    relay_queue = filled(*sizes)
    relay_queue.measured(took)
    assert relay_queue.has_room(10, 100, 10.0) is room


@pytest.mark.parametrize(
    ("count", "took", "full"),
    [(5, 1.9, False), (5, 2.0, True), (1, 60.0, False), (2, 60.0, True), (9, 0.0, False), (10, 0.0, True)],
)
def test_what_waits_is_bounded_in_time_though_one_may_always_wait(count: int, took: float, full: bool) -> None:
    relay_queue = filled(*[10] * count)
    if took:
        relay_queue.measured(took)
    assert relay_queue.too_much(10, 1000, 10.0) is full


def test_a_full_queue_has_room_when_half_has_drained() -> None:
    relay_queue = filled(*[10] * 5)
    relay_queue.measured(2.0)
    room = []
    while len(relay_queue):
        room.append(relay_queue.has_room(100, 1000, 10.0))
        relay_queue.pop()
    assert room == [False, False, False, True, True]
    slow = filled(10)
    slow.measured(100.0)
    assert slow.has_room(100, 1000, 10.0)


def test_durations_are_averaged_and_a_single_slow_call_does_not_decide() -> None:
    relay_queue = filled(1)
    for _ in range(20):
        relay_queue.measured(1.0)
    relay_queue.measured(5.0)
    assert relay_queue.took == 2.0
    assert (relay_queue.wait(False), relay_queue.wait(True)) == (2.0, 4.0)


@given(st.lists(st.one_of(st.integers(0, 100), st.none()), max_size=200))
def test_octets_are_those_of_what_is_queued(steps: list[int | None]) -> None:
    relay_queue: RelayQueue[Item] = RelayQueue()
    shadow: list[int] = []
    for step in steps:
        if step is not None:
            relay_queue.add(Item(bytes(step)))
            shadow.append(step)
        elif shadow:
            assert len(relay_queue.pop().body) == shadow.pop(0)
        assert (len(relay_queue), relay_queue.octets) == (len(shadow), sum(shadow))
