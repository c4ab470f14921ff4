from __future__ import annotations

from typing import NoReturn

import pytest

from icwsgw.client import pending_requests
from icwsgw.client.client_errors import NotOpen, QueueFull
from icwsgw.client.pending_requests import PendingRequests


def unexpected(what: object) -> NoReturn:
    pytest.fail(f"called with {what!r}")


def test_the_first_request_that_a_message_answers_gets_it() -> None:
    requests, replies = PendingRequests(), []
    requests.add(lambda message: message == 1, lambda reply: replies.append(("a", reply)), unexpected)
    requests.add(lambda message: message < 3, lambda reply: replies.append(("b", reply)), unexpected)
    assert not requests.take(5)
    assert requests.take(1)
    assert requests.take(1)
    assert not requests.take(1)
    assert replies == [("a", 1), ("b", 1)]
    assert len(requests) == 0


def test_a_condition_that_fails_costs_its_request_alone() -> None:
    requests = PendingRequests()
    replies: list[object] = []
    requests.add(lambda message: message["kind"] == "reply", unexpected, replies.append)
    requests.add(lambda message: bool(next(iter(()))), unexpected, replies.append)
    requests.add(lambda message: True, replies.append, unexpected)
    assert requests.take({"text": "hello"})
    missing, stopped, reply = replies
    assert isinstance(missing, KeyError)
    # StopIteration has a meaning of its own in coroutines and futures
    assert isinstance(stopped, RuntimeError)
    assert isinstance(stopped.__cause__, StopIteration)
    assert reply == {"text": "hello"}
    assert len(requests) == 0


def test_a_failure_may_end_other_requests() -> None:
    requests = PendingRequests()
    requests.add(lambda message: 1 / 0 > 0, unexpected, lambda error: requests.remove(other))
    other = requests.add(lambda message: True, unexpected, unexpected)
    assert not requests.take(1)


def test_requests_are_forgotten() -> None:
    requests = PendingRequests()
    request = requests.add(lambda message: True, unexpected, unexpected)
    requests.remove(request)
    requests.remove(request)
    assert not requests.take(1)


def test_what_came_before_its_message_left_is_no_reply() -> None:
    queued = [7]
    requests = PendingRequests(queued.__contains__)
    replies: list[int] = []
    requests.add(lambda message: True, replies.append, unexpected).handle = 7
    assert not requests.take(1)
    queued.clear()
    assert requests.take(2)
    assert replies == [2]


def test_requests_whose_message_waits_survive_a_connection() -> None:
    requests, failed = PendingRequests([2, 3].__contains__), []
    for handle in (1, 2, 3):
        requests.add(lambda message: True, unexpected, lambda _, name=handle: failed.append(name)).handle = handle
    error = NotOpen("closed")
    requests.fail(error)
    assert failed == [1]
    requests.fail(error, queued=True)
    assert failed == [1, 2, 3]
    assert len(requests) == 0


def test_a_session_that_ends_fails_them_in_their_order() -> None:
    requests, failed = PendingRequests(), []
    for name in "ab":
        requests.add(lambda message: True, unexpected, lambda error, name=name: failed.append((name, error)))
    error = NotOpen("closed")
    requests.fail(error)
    assert failed == [("a", error), ("b", error)]
    assert not requests.take(1)


def test_their_number_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_requests, "MAX_REQUESTS", 1)
    requests = PendingRequests()
    requests.add(lambda message: True, unexpected, unexpected)
    with pytest.raises(QueueFull):
        requests.add(lambda message: True, unexpected, unexpected)
