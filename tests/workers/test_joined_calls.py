"""Requests share calls, so that many of them cost as much as a few."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from icwsgw.workers.joined_calls import JoinedCalls

PAUSE = 0.5


class World:
    """Calls begin, and end when the test says so."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.calls: list[list[str]] = []
        self.begun: list[float] = []
        self.in_flight: Deferred[int] | None = None
        self.idle = 0
        self.joined: JoinedCalls[str, int] = JoinedCalls(self.clock, self.call, PAUSE, self.became_idle)

    def call(self, asks: list[str]) -> Deferred[int]:
        assert self.in_flight is None, "one call at a time"
        self.calls.append(asks)
        self.begun.append(self.clock.seconds())
        self.in_flight = Deferred()
        return self.in_flight

    def became_idle(self) -> None:
        self.idle += 1

    def request(self, ask: str = "a") -> list[Any]:
        results: list[Any] = []
        self.joined.request(ask).addBoth(results.append)
        return results

    def answer(self) -> None:
        assert self.in_flight is not None
        done, self.in_flight = self.in_flight, None
        done.callback(len(self.calls))


def test_requests_that_come_during_a_call_share_the_next_one() -> None:
    world = World()
    first = world.request("a")
    later = [world.request(ask) for ask in "bcd"]
    assert (world.calls, len(world.joined)) == ([["a"]], 4)
    world.answer()
    assert first == [1]
    assert later == [[]] * 3, "the answer may be older than the requests"
    world.clock.advance(PAUSE)
    assert world.calls == [["a"], ["b", "c", "d"]]
    world.answer()
    assert later == [[2]] * 3
    assert len(world.joined) == 0


def test_a_lone_request_does_not_wait() -> None:
    world = World()
    for number in range(1, 4):
        done = world.request()
        world.answer()
        assert done == [number]
        world.clock.advance(PAUSE)
        assert world.idle == number
    assert world.clock.getDelayedCalls() == []


def test_the_next_call_begins_at_the_end_of_one_that_lasts_longer_than_the_pause() -> None:
    world = World()
    world.request()
    world.clock.advance(3 * PAUSE)
    world.request()
    world.answer()
    world.clock.advance(0)
    assert world.begun == [0.0, 3 * PAUSE]


def test_a_call_that_fails_fails_its_requests_only() -> None:
    world = World()
    first, second = world.request(), world.request()
    assert world.in_flight is not None
    done, world.in_flight = world.in_flight, None
    done.errback(RuntimeError("a fault of ours"))
    assert isinstance(first[0].value, RuntimeError)
    world.clock.advance(PAUSE)
    world.answer()
    assert second == [2]


def test_a_cancelled_request_is_not_kept_and_causes_no_call() -> None:
    world = World()
    requests = [world.joined.request(ask) for ask in "abc"]
    results: list[Any] = []
    for request in requests:
        request.addBoth(results.append)
        request.cancel()
    assert [failure.type for failure in results] == [CancelledError] * 3
    assert len(world.joined) == 0
    world.answer()
    world.clock.advance(PAUSE)
    assert (world.calls, world.idle) == ([["a"]], 1)


def test_a_request_may_be_cancelled_by_the_one_before() -> None:
    world = World()
    results: list[Any] = []
    first, second = world.joined.request("a"), world.joined.request("b")
    world.answer()
    third = world.joined.request("c")
    second.addCallback(lambda _: third.cancel())
    third.addBoth(results.append)
    world.clock.advance(PAUSE)
    world.answer()
    assert first.result == 1
    assert [failure.type for failure in results] == [CancelledError]


def test_who_asks_again_when_it_is_answered_waits_for_the_next_call() -> None:
    world = World()
    again: list[list[Any]] = []
    world.joined.request("a").addCallback(lambda _: again.append(world.request("b")))
    world.answer()
    assert again == [[]]
    world.clock.advance(PAUSE)
    world.answer()
    assert again == [[2]]


@given(st.lists(st.sampled_from(["ask", "answer", "cancel", 0.125, 0.25, PAUSE, 2.0]), max_size=40))
def test_each_request_ends_once_and_calls_keep_their_distance(steps: list[str | float]) -> None:
    world = World()
    requests: list[Deferred[int]] = []
    results: list[Any] = []
    for step in steps:
        if step == "ask":
            requests.append(world.joined.request("a").addBoth(results.append))
        elif step == "answer" and world.in_flight is not None:
            world.answer()
        elif step == "cancel" and requests:
            requests.pop().cancel()
        elif isinstance(step, float):
            world.clock.advance(step)
    for _ in range(2):
        if world.in_flight is not None:
            world.answer()
        world.clock.advance(PAUSE)
    assert len(results) == steps.count("ask")
    assert all(later - earlier >= PAUSE for earlier, later in zip(world.begun, world.begun[1:], strict=False))
    assert len(world.joined) == 0
    assert world.clock.getDelayedCalls() == []
