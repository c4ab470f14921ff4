"""Questions to workers that answer, answer late, die, or are not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.task import Clock

from icwsgw.admin.api import Replies
from icwsgw.workers.requests import ANSWER_TIMEOUT, Requests

WHAT = {"what": "levels"}


class Asking:
    def __init__(self) -> None:
        self.clock = Clock()
        self.questions = Requests(self.clock)
        self.told: list[tuple[int, Mapping[str, Any]]] = []
        self.replies: list[Replies] = []

    def ask(self, count: int, living: set[int], ready: set[int]) -> None:
        def tell(worker: int) -> Any:
            return lambda order: self.told.append((worker, order))

        tells = {worker: tell(worker) for worker in living}
        self.questions.ask(WHAT, count, tells, ready).addCallback(self.replies.append)


def test_all_answer() -> None:
    asking = Asking()
    asking.ask(2, {0, 1}, {0, 1})
    assert asking.told == [(0, {"do": "ask", "number": 1, "what": WHAT}), (1, {"do": "ask", "number": 1, "what": WHAT})]
    asking.questions.answered(1, 1, {"b": 2})
    assert asking.replies == []
    asking.questions.answered(0, 1, {"a": 1})
    assert asking.replies == [Replies({0: {"a": 1}, 1: {"b": 2}}, [])]
    assert (len(asking.questions), asking.clock.getDelayedCalls()) == (0, [])


def test_one_hangs() -> None:
    asking = Asking()
    asking.ask(2, {0, 1}, {0, 1})
    asking.questions.answered(0, 1, {})
    asking.clock.advance(ANSWER_TIMEOUT)
    assert asking.replies == [Replies({0: {}}, [1])]
    asking.questions.answered(1, 1, {"too": "late"})
    assert len(asking.replies) == 1


def test_one_dies_and_its_successor_was_not_asked() -> None:
    asking = Asking()
    asking.ask(2, {0, 1}, {0, 1})
    asking.questions.lost(1)
    asking.questions.answered(1, 1, {"not": "asked"})
    assert asking.replies == []
    asking.questions.answered(0, 1, {})
    assert asking.replies == [Replies({0: {}}, [1])]


def test_the_last_one_waited_for_dies() -> None:
    asking = Asking()
    asking.ask(1, {0}, {0})
    asking.ask(1, {0}, {0})
    asking.questions.lost(0)
    assert asking.replies == [Replies({}, [0])] * 2


def test_one_fails_at_it() -> None:
    asking = Asking()
    asking.ask(1, {0}, {0})
    asking.questions.answered(0, 1, None)
    assert asking.replies == [Replies({}, [0])]


def test_one_is_starting_and_one_is_not_there() -> None:
    asking = Asking()
    asking.ask(3, {0, 1}, {0})
    assert [worker for worker, _ in asking.told] == [0, 1], "it will do it when it comes to it"
    asking.questions.answered(1, 1, {"not": "waited for"})
    asking.questions.answered(0, 1, {})
    assert asking.replies == [Replies({0: {}}, [1, 2])]


def test_nobody_is_there() -> None:
    asking = Asking()
    asking.ask(2, set(), set())
    assert asking.replies == [Replies({}, [0, 1])]
    assert asking.clock.getDelayedCalls() == []


def test_questions_do_not_disturb_each_other() -> None:
    asking = Asking()
    asking.ask(1, {0}, {0})
    asking.ask(1, {0}, {0})
    asking.questions.answered(0, 2, {"second": True})
    assert asking.replies == [Replies({0: {"second": True}}, [])]
    asking.questions.answered(0, 1, {"first": True})
    assert asking.replies[1] == Replies({0: {"first": True}}, [])
