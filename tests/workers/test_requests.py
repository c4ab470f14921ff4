"""Requests to workers that answer, answer late, die, or are missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.task import Clock

from icwsgw.admin.api import Replies
from icwsgw.workers.requests import ANSWER_TIMEOUT, Requests

WHAT = {"what": "levels"}


class Pool:
    def __init__(self) -> None:
        self.clock = Clock()
        self.requests = Requests(self.clock)
        self.sent: list[tuple[int, Mapping[str, Any]]] = []
        self.replies: list[Replies] = []

    def request(self, count: int, living: set[int], ready: set[int]) -> None:
        def sender(worker: int) -> Any:
            return lambda order: self.sent.append((worker, order))

        senders = {worker: sender(worker) for worker in living}
        self.requests.send(WHAT, count, senders, ready).addCallback(self.replies.append)


def test_all_workers_answer() -> None:
    pool = Pool()
    pool.request(2, {0, 1}, {0, 1})
    assert pool.sent == [(0, {"do": "ask", "number": 1, "what": WHAT}), (1, {"do": "ask", "number": 1, "what": WHAT})]
    pool.requests.answered(1, 1, {"b": 2})
    assert pool.replies == []
    pool.requests.answered(0, 1, {"a": 1})
    assert pool.replies == [Replies({0: {"a": 1}, 1: {"b": 2}}, [])]
    assert (len(pool.requests), pool.clock.getDelayedCalls()) == (0, [])


def test_a_worker_hangs() -> None:
    pool = Pool()
    pool.request(2, {0, 1}, {0, 1})
    pool.requests.answered(0, 1, {})
    pool.clock.advance(ANSWER_TIMEOUT)
    assert pool.replies == [Replies({0: {}}, [1])]
    pool.requests.answered(1, 1, {"too": "late"})
    assert len(pool.replies) == 1


def test_a_worker_dies_and_its_successor_got_no_request() -> None:
    pool = Pool()
    pool.request(2, {0, 1}, {0, 1})
    pool.requests.lost(1)
    pool.requests.answered(1, 1, {"not": "asked"})
    assert pool.replies == []
    pool.requests.answered(0, 1, {})
    assert pool.replies == [Replies({0: {}}, [1])]


def test_the_last_worker_waited_for_dies() -> None:
    pool = Pool()
    pool.request(1, {0}, {0})
    pool.request(1, {0}, {0})
    pool.requests.lost(0)
    assert pool.replies == [Replies({}, [0])] * 2


def test_a_worker_fails() -> None:
    pool = Pool()
    pool.request(1, {0}, {0})
    pool.requests.answered(0, 1, None)
    assert pool.replies == [Replies({}, [0])]


def test_a_worker_is_starting_and_another_is_missing() -> None:
    pool = Pool()
    pool.request(3, {0, 1}, {0})
    assert [worker for worker, _ in pool.sent] == [0, 1], "the starting worker executes it later"
    pool.requests.answered(1, 1, {"not": "waited for"})
    pool.requests.answered(0, 1, {})
    assert pool.replies == [Replies({0: {}}, [1, 2])]


def test_no_worker_is_present() -> None:
    pool = Pool()
    pool.request(2, set(), set())
    assert pool.replies == [Replies({}, [0, 1])]
    assert pool.clock.getDelayedCalls() == []


def test_requests_are_independent() -> None:
    pool = Pool()
    pool.request(1, {0}, {0})
    pool.request(1, {0}, {0})
    pool.requests.answered(0, 2, {"second": True})
    assert pool.replies == [Replies({0: {"second": True}}, [])]
    pool.requests.answered(0, 1, {"first": True})
    assert pool.replies[1] == Replies({0: {"first": True}}, [])
