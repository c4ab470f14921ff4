"""Many sessions are handled in batches, a few in each turn (see tests/memory/test_bulk_closes.py)."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from icwsgw.gateway.batches import BATCH, finish_batches, in_batches


@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH + 1, 3 * BATCH])
def test_each_once_and_the_first_at_once(count: int) -> None:
    clock = Clock()
    sessions: list[Any] = list(range(count))
    seen: list[Any] = []
    ends: list[int] = []
    in_batches(clock, sessions, seen.append, lambda: ends.append(len(seen)))
    assert seen == sessions[:BATCH]
    clock.advance(0)
    assert seen == sessions
    assert ends == [count]
    assert clock.getDelayedCalls() == []


def test_others_have_their_turn_between_slices() -> None:
    clock = Clock()
    seen: list[Any] = []
    sessions: list[Any] = list(range(BATCH + 1))
    clock.callLater(0, seen.append, "another")
    in_batches(clock, sessions, seen.append)
    clock.advance(0)
    assert seen == [*sessions[:BATCH], "another", BATCH]


def test_a_fault_with_one_costs_the_others_nothing() -> None:
    clock = Clock()
    seen: list[Any] = []
    ends: list[int] = []

    def act(session: Any) -> None:
        if session.id in ("0", str(BATCH)):
            raise RuntimeError("a fault of ours")
        seen.append(session.id)

    in_batches(clock, [Numbered(number) for number in range(BATCH + 2)], act, lambda: ends.append(1))
    clock.advance(0)
    assert seen == [str(number) for number in range(BATCH + 2) if number not in (0, BATCH)]
    assert ends == [1]


class Numbered:
    def __init__(self, number: int) -> None:
        self.id = str(number)


def test_what_is_left_can_be_done_at_once() -> None:
    clock = Clock()
    done: list[Any] = []
    sessions: list[Any] = list(range(3 * BATCH + 1))
    in_batches(clock, sessions, done.append, lambda: done.append("end"))
    in_batches(clock, ["a"] * (BATCH + 1), done.append)
    assert len(done) == 2 * BATCH
    finish_batches(clock)
    assert sorted(done, key=str) == sorted([*sessions, *["a"] * (BATCH + 1), "end"], key=str)
    assert clock.getDelayedCalls() == []
    finish_batches(Clock())
