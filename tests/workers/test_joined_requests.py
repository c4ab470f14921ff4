"""Equal requests of the admin API share the workers' answers, so that many of them cost as much as a few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from icwsgw.admin.api import Replies
from icwsgw.workers.joined_requests import READS, REQUEST_PAUSE, JoinedRequests

SESSIONS = {"what": "sessions", "limit": 100}


class World:
    """Requests are sent, and answered when the test says so."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.sent: list[Mapping[str, Any]] = []
        self.open: list[Deferred[Replies]] = []
        self.joined = JoinedRequests(self.clock, self.send)

    def send(self, what: Mapping[str, Any]) -> Deferred[Replies]:
        self.sent.append(what)
        self.open.append(Deferred())
        return self.open[-1]

    def request(self, what: Mapping[str, Any] = SESSIONS) -> list[Any]:
        results: list[Any] = []
        self.joined.request(dict(what)).addBoth(results.append)
        return results

    def answer(self) -> Replies:
        replies = Replies({0: {"number": len(self.sent)}}, [])
        self.open.pop(0).callback(replies)
        return replies


def test_equal_requests_share_the_answers_to_the_next_one() -> None:
    world = World()
    first = world.request()
    later = [world.request({"limit": 100, "what": "sessions"}) for _ in range(100)]
    assert first == [] == later[0]
    replies = world.answer()
    assert first == [replies]
    assert later == [[]] * 100, "the answers may be older than the requests"
    assert len(world.sent) == 1
    world.clock.advance(REQUEST_PAUSE)
    assert len(world.sent) == 2
    replies = world.answer()
    assert later == [[replies]] * 100
    world.clock.advance(REQUEST_PAUSE)
    assert len(world.joined) == 0
    assert world.clock.getDelayedCalls() == []


def test_a_flood_costs_a_request_per_pause() -> None:
    world = World()
    for _ in range(50):
        world.request()
        if world.open:
            world.answer()
        world.clock.advance(REQUEST_PAUSE / 10)
    assert len(world.sent) == 5


def test_slow_workers_have_one_request_at_a_time() -> None:
    world = World()
    world.request()
    world.clock.advance(20 * REQUEST_PAUSE)
    world.request()
    assert len(world.sent) == 1
    world.answer()
    world.clock.advance(0)
    assert len(world.sent) == 2


@pytest.mark.parametrize("what", sorted(READS))
def test_different_requests_do_not_wait_for_each_other(what: str) -> None:
    world = World()
    for canister in ("a", "b"):
        world.request({"what": what, "canister": canister})
    world.request({"what": what})
    assert len(world.sent) == 3


def test_a_change_is_sent_each_time_at_once() -> None:
    world = World()
    kicks = [world.request({"what": "kick", "id": "x", "code": 1008}) for _ in range(3)]
    assert len(world.sent) == 3
    assert kicks == [[]] * 3
    answers = [[world.answer()] for _ in kicks]
    assert kicks == answers
    assert len(world.joined) == 0


def test_a_failure_is_that_of_all_and_the_next_one_is_sent() -> None:
    world = World()
    first = world.request()
    world.open.pop().errback(RuntimeError("a fault of ours"))
    assert isinstance(first[0].value, RuntimeError)
    second = world.request()
    world.clock.advance(REQUEST_PAUSE)
    assert second == []
    assert len(world.sent) == 2
    replies = world.answer()
    assert second == [replies]
