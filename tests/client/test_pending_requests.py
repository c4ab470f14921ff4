from __future__ import annotations

import pytest

from icwsgw.client import pending_requests
from icwsgw.client.client_errors import QueueFull
from icwsgw.client.pending_requests import PendingRequests


def test_the_first_request_that_a_message_answers_gets_it() -> None:
    requests, replies = PendingRequests(), []
    requests.add("a", lambda message: message == 1, lambda reply: replies.append(("a", reply)))
    requests.add("b", lambda message: message < 3, lambda reply: replies.append(("b", reply)))
    assert not requests.take(5)
    assert requests.take(1)
    assert requests.take(1)
    assert not requests.take(1)
    assert replies == [("a", 1), ("b", 1)]
    assert len(requests) == 0


def test_requests_are_forgotten() -> None:
    requests = PendingRequests()
    requests.add("a", lambda message: True, pytest.fail)
    requests.remove("a")
    requests.remove("a")
    assert not requests.take(1)
    requests.add("a", lambda message: True, pytest.fail)
    requests.add("b", lambda message: True, pytest.fail)
    assert requests.take_all() == ["a", "b"]
    assert not requests.take(1)


def test_their_number_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_requests, "MAX_REQUESTS", 1)
    requests = PendingRequests()
    requests.add("a", lambda message: True, pytest.fail)
    with pytest.raises(QueueFull):
        requests.add("b", lambda message: True, pytest.fail)
