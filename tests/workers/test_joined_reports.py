"""Requests for reports share one, so that many of them cost the workers as much as a few."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from icwsgw.workers.joined_reports import REPORT_PAUSE, REPORT_TIMEOUT, JoinedReports


class World:
    """Reports are ordered, and come when the test says so."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ordered: list[bool] = []
        self.reported = 0
        self.reports = JoinedReports(self.clock, self.order, lambda: self.reported)

    def order(self, status: bool) -> int:
        self.ordered.append(status)
        return len(self.ordered)

    def request(self, status: bool = False) -> list[Any]:
        results: list[Any] = []
        self.reports.request(status).addBoth(results.append)
        return results

    def report(self) -> None:
        self.reported = len(self.ordered)
        self.reports.look()


def test_requests_that_come_while_a_report_is_in_flight_share_the_next_one() -> None:
    world = World()
    first = world.request()
    later = [world.request() for _ in range(100)]
    assert world.ordered == [False]
    world.report()
    assert first == [None]
    assert later == [[]] * 100, "the report may be older than the requests"
    assert len(world.ordered) == 1
    world.clock.advance(REPORT_PAUSE)
    assert len(world.ordered) == 2
    world.report()
    assert later == [[None]] * 100
    world.clock.advance(REPORT_PAUSE)
    assert world.clock.getDelayedCalls() == []


def test_a_flood_costs_a_report_per_pause() -> None:
    world = World()
    for _ in range(50):
        world.request()
        world.report()
        world.clock.advance(REPORT_PAUSE / 10)
    assert len(world.ordered) == 5


def test_a_lone_request_does_not_wait() -> None:
    world = World()
    for number in range(1, 4):
        done = world.request()
        assert len(world.ordered) == number
        world.report()
        assert done == [None]
        world.clock.advance(REPORT_PAUSE)
    assert world.clock.getDelayedCalls() == []


def test_a_report_has_the_status_if_one_of_its_requests_needs_it() -> None:
    world = World()
    world.request(True)
    for status in (False, True, False):
        world.request(status)
    world.report()
    world.clock.advance(REPORT_PAUSE)
    world.request()
    world.report()
    world.clock.advance(REPORT_PAUSE)
    assert world.ordered == [True, True, False]


def test_a_report_that_does_not_come_ends_after_a_time_and_the_next_begins() -> None:
    world = World()
    first, second = world.request(), world.request()
    world.clock.advance(REPORT_TIMEOUT)
    assert (first, second, len(world.ordered)) == ([None], [], 2)
    world.clock.advance(REPORT_TIMEOUT)
    assert second == [None]
    assert len(world.ordered) == 2
    assert world.clock.getDelayedCalls() == []


def test_a_report_that_nobody_owes_is_there_at_once() -> None:
    world = World()
    world.reported = 2
    assert world.request() == [None]
    second = world.request()
    world.clock.advance(REPORT_PAUSE)
    assert second == [None]


def test_a_request_that_is_cancelled_is_not_kept() -> None:
    world = World()
    results: list[Any] = []
    requests = [world.reports.request(False) for _ in range(3)]
    for request in requests:
        request.addBoth(results.append)
    assert len(world.reports) == 3
    for request in requests:
        request.cancel()
    assert len(world.reports) == 0
    assert [failure.check(CancelledError) for failure in results] == [CancelledError] * 3
    world.report()
    world.clock.advance(REPORT_PAUSE)
    assert len(world.ordered) == 1, "nobody waits for another one"
    assert world.clock.getDelayedCalls() == []


def test_who_asks_again_when_it_is_answered_waits_for_the_next_one() -> None:
    world = World()
    again: list[list[Any]] = []
    world.reports.request(False).addCallback(lambda _: again.append(world.request()))
    world.report()
    assert again == [[]]
    world.clock.advance(REPORT_PAUSE)
    world.report()
    assert again == [[None]]
