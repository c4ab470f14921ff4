from __future__ import annotations

from dataclasses import dataclass

import pytest

from icwsgw.server.low_priority import TURN, LowPriorityQueue, WaitingEvent


@dataclass(eq=False)
class Place:
    crowd: str
    unauthenticated: bool = True


@dataclass(eq=False)
class Selectable:
    name: str


def waiting(queue: LowPriorityQueue, crowd: str, count: int) -> list[Selectable]:
    added = []
    for number in range(count):
        selectable = Selectable(f"{crowd} {number}")
        assert queue.add(Place(crowd), selectable, number, 1)
        added.append(selectable)
    return added


def served(queue: LowPriorityQueue, seconds: float) -> Selectable:
    selectable = queue.next().selectable
    queue.took(seconds)
    assert isinstance(selectable, Selectable)
    return selectable


def test_one_event_of_a_connection_waits() -> None:
    queue = LowPriorityQueue()
    selectable = Selectable("a")
    assert queue.add(Place("x"), selectable, 7, 1)
    assert not queue.add(Place("x"), selectable, 7, 16)
    assert (queue.waiting, queue.holds(selectable)) == (1, True)
    assert queue.next() == WaitingEvent(selectable, 7, 1)
    assert (queue.waiting, queue.holds(selectable)) == (0, False)
    queue.took(0.0)
    with pytest.raises(KeyError):
        queue.next()
    assert queue.add(Place("x"), selectable, 7, 1), "it may come again"


def test_addresses_take_turns_however_many_connections_one_has() -> None:
    queue = LowPriorityQueue()
    waiting(queue, "crowd", 1000)
    (one,) = waiting(queue, "one", 1)
    (other,) = waiting(queue, "other", 1)
    # half of a turn each
    first = [served(queue, TURN / 2) for _ in range(4)]
    assert one in first
    assert other in first


def test_an_address_whose_events_take_long_has_its_turn_less_often() -> None:
    queue = LowPriorityQueue()
    slow = set(waiting(queue, "slow", 100))
    quick = set(waiting(queue, "quick", 100))
    spent = dict.fromkeys(("slow", "quick"), 0.0)
    for _ in range(80):
        selectable = queue.next().selectable
        took = 8 * TURN if selectable in slow else TURN
        spent["slow" if selectable in slow else "quick"] += took
        queue.took(took)
        slow.discard(selectable)
        quick.discard(selectable)
    assert spent["slow"] == pytest.approx(spent["quick"], abs=9 * TURN)


def test_those_who_are_known_are_guests_until_they_leave() -> None:
    queue = LowPriorityQueue()
    place = Place("x")
    queue.enter(5, place)
    assert queue.connections == {5: place}
    queue.leave(5)
    queue.leave(5)
    assert not queue.connections
