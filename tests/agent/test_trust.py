"""The root key's state."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from icwsgw.agent.trust import DOUBT_INTERVAL, LAST_PAUSE, Trust
from icwsgw.errors import ConnectFailed, NotReady
from tests.support.devnet import result_of

KEY = b"k" * 133


class Status:
    """RequestedPause for the status; a test answers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.requests: list[Deferred[dict[str, Any]]] = []
        self.times: list[float] = []

    def __call__(self) -> Deferred[dict[str, Any]]:
        d: Deferred[dict[str, Any]] = Deferred()
        self.requests.append(d)
        self.times.append(self.clock.seconds())
        return d

    def fail(self) -> None:
        self.requests.pop().errback(ConnectFailed("refused"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def status(clock: Clock) -> Status:
    return Status(clock)


@pytest.fixture
def trust(clock: Clock, status: Status) -> Trust:
    return Trust(clock, lambda: 0.5, status, None)


def test_the_key_comes(trust, status, clock) -> None:
    ready = trust.when_ready()
    with pytest.raises(NotReady):
        trust.require()
    trust.start()
    trust.start()
    assert len(status.requests) == 1
    status.requests.pop().callback({"root_key": KEY})
    assert result_of(ready) is None
    assert result_of(trust.when_ready()) is None
    assert trust.require() == KEY
    assert clock.getDelayedCalls() == []


def test_it_is_asked_for_as_long_as_it_takes(trust, status, clock) -> None:
    trust.start()
    for _ in range(30):
        status.fail()
        assert trust.last_failure == "refused"
        clock.advance(LAST_PAUSE)
    assert len(status.times) == 31
    pauses = [b - a for a, b in zip(status.times, status.times[1:], strict=False)]
    assert max(pauses) <= LAST_PAUSE
    status.requests.pop().callback({"root_key": KEY})
    assert trust.require() == KEY
    assert trust.last_failure is None
    assert trust.fetches == {"ok": 1, "failed": 30}


def test_backoff_with_jitter(clock, status) -> None:
    trust = Trust(clock, lambda: 0.0, status, None)
    trust.start()
    for expected in (0.1, 0.16, 0.256):
        status.fail()
        (call,) = clock.getDelayedCalls()
        assert call.getTime() - clock.seconds() == pytest.approx(expected)
        clock.advance(expected)


@pytest.mark.parametrize("answer", [{}, {"root_key": "text"}, {"root_key": b"short"}])
def test_a_status_without_a_key_is_a_failure(trust, status, clock, answer) -> None:
    trust.start()
    status.requests.pop().callback(answer)
    assert trust.root_key is None
    assert "root_key" in trust.last_failure or "root key" in trust.last_failure
    clock.advance(1)
    assert len(status.requests) == 1


def test_stop_while_asking_and_while_pausing(trust, status, clock) -> None:
    ready, given_up = trust.when_ready(), trust.when_ready()
    given_up.cancel()
    with pytest.raises(CancelledError):
        result_of(given_up)
    trust.start()
    trust.stop()
    trust.stop()
    with pytest.raises(NotReady):
        result_of(ready)
    assert clock.getDelayedCalls() == []
    trust.start()
    status.requests[-1].errback(ConnectFailed("x"))
    trust.stop()
    assert clock.getDelayedCalls() == []


def test_a_known_key_needs_no_asking(clock, status) -> None:
    trust = Trust(clock, lambda: 0.0, status, KEY)
    trust.start()
    assert status.requests == []
    assert result_of(trust.when_ready()) is None


def test_doubts_fetch_the_key_again_now_and_then(trust, status, clock) -> None:
    trust.start()
    status.requests.pop().callback({"root_key": KEY})
    trust.doubt()
    assert status.requests == []
    clock.advance(DOUBT_INTERVAL)
    trust.doubt()
    trust.doubt()
    assert len(status.requests) == 1
    before = trust.delegations
    status.requests.pop().callback({"root_key": KEY})
    assert trust.delegations is before
    trust.doubt()
    assert status.requests == [], "it has just been requested"
    clock.advance(DOUBT_INTERVAL)
    trust.doubt()
    status.requests.pop().callback({"root_key": b"n" * 133})
    assert trust.root_key == b"n" * 133
    assert trust.delegations is before, "they are kept by root key"
    trust.stop()


def test_a_key_that_was_given_is_not_doubted(status, clock) -> None:
    trust = Trust(clock, lambda: 0.5, status, KEY)
    trust.start()
    clock.advance(DOUBT_INTERVAL)
    trust.doubt()
    assert status.requests == []
