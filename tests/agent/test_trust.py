"""The root key's state, and the nodes' keys."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from icwsgw.agent import trust as trust_module
from icwsgw.agent.trust import (
    DOUBT_INTERVAL,
    LAST_PAUSE,
    NODE_KEYS_AGE,
    NODE_KEYS_LONGEST_PAUSE,
    NODE_KEYS_PAUSE,
    NODE_KEYS_REFETCH,
    NodeKeyCache,
    Trust,
)
from icwsgw.errors import CertificateInvalid, ConnectFailed, NotReady
from icwsgw.ic import cbor, hashtree
from icwsgw.ic.certificate import Certificate, Delegation
from icwsgw.ic.principal import Principal
from tests.support.certificates import ROOT_KEY_DER, delegate
from tests.support.devnet import pending, result_of

KEY = b"k" * 133
CANISTER, NEIGHBOUR = Principal(b"\x01"), Principal(b"\x02")
SUBNET = Principal(b"\x09")


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


DELEGATION = delegate(subnet_id=SUBNET, ranges=[(CANISTER, NEIGHBOUR)])
#: of the same subnet, to which NEIGHBOUR does not belong any more
WITHOUT_NEIGHBOUR = delegate(subnet_id=SUBNET, ranges=[(CANISTER, CANISTER)])
ELSEWHERE = delegate(subnet_id=Principal(b"\x0a"), ranges=[(NEIGHBOUR, NEIGHBOUR)])


def certificate(nodes: dict[bytes, bytes], delegation: Delegation = DELEGATION) -> Certificate:
    subnet = {b"node": {name: {b"public_key": key} for name, key in nodes.items()}}
    state = {b"subnet": {delegation.subnet_id: subnet}}
    return Certificate(hashtree.from_mapping(state), b"s" * 48, delegation)


class Keys:
    def __init__(self) -> None:
        self.clock = Clock()
        self.requests: list[tuple[Principal, Deferred[Certificate]]] = []
        trust = Trust(self.clock, lambda: 0.0, lambda: Deferred(), KEY)
        self.cache = NodeKeyCache(self.clock, trust, self.read)

    def read(self, canister: Principal) -> Deferred[Certificate]:
        d: Deferred[Certificate] = Deferred()
        self.requests.append((canister, d))
        return d


def test_node_keys_are_fetched_once() -> None:
    keys = Keys()
    assert keys.cache.get(CANISTER) is None
    one, two, cancelled = (keys.cache.fetch(CANISTER) for _ in range(3))
    cancelled.cancel()
    with pytest.raises(CancelledError):
        result_of(cancelled)
    ((canister, reading),) = keys.requests
    assert canister == CANISTER
    reading.callback(certificate({b"n": b"key"}))
    assert result_of(one) == result_of(two) == {b"n": b"key"}
    assert keys.cache.fetches == {"ok": 1, "failed": 0}
    assert keys.cache.get(CANISTER) == {b"n": b"key"}
    assert keys.cache.get(Principal(b"\x03")) is None
    keys.clock.advance(NODE_KEYS_AGE + 1)
    assert keys.cache.get(CANISTER) is None


def test_an_unknown_node_cannot_make_us_ask_all_the_time() -> None:
    keys = Keys()
    keys.cache.fetch(CANISTER)
    keys.requests.pop()[1].callback(certificate({b"n": b"key"}))
    assert result_of(keys.cache.fetch(CANISTER)) == {b"n": b"key"}
    assert keys.requests == []
    keys.clock.advance(NODE_KEYS_REFETCH + 1)
    again = keys.cache.fetch(CANISTER)
    assert pending(again)
    keys.requests.pop()[1].callback(certificate({b"m": b"new"}))
    assert result_of(again) == {b"m": b"new"}


def some(count: int) -> tuple[list[Principal], Delegation]:
    """Canisters of one subnet, and its delegation."""
    canisters = [Principal(bytes((1, number >> 8, number & 255))) for number in range(count)]
    return canisters, delegate(subnet_id=SUBNET, ranges=[(canisters[0], canisters[-1])])


def test_what_was_read_at_one_canister_is_valid_for_all_of_its_subnet() -> None:
    canisters, delegation = some(500)
    keys = Keys()
    keys.cache.fetch(canisters[0])
    keys.requests.pop()[1].callback(certificate({b"n": b"key"}, delegation))
    assert [keys.cache.get(canister) for canister in canisters] == [{b"n": b"key"}] * 500
    assert keys.cache.get(CANISTER) is None
    # all want the keys again at once, because they are too old, or because a node is unknown
    for seconds in (NODE_KEYS_AGE + 1, NODE_KEYS_REFETCH):
        keys.clock.advance(seconds)
        waiting = [keys.cache.fetch(canister) for canister in canisters]
        ((_, reading),) = keys.requests
        keys.requests.clear()
        reading.callback(certificate({b"m": b"new"}, delegation))
        assert [result_of(d) for d in waiting] == [{b"m": b"new"}] * 500
    assert keys.cache.fetches == {"ok": 3, "failed": 0}


def test_one_that_has_older_keys_gets_those_that_came_since() -> None:
    keys = Keys()
    keys.cache.fetch(NEIGHBOUR)
    keys.requests.pop()[1].callback(certificate({b"n": b"key"}))
    assert keys.cache.get(CANISTER) == {b"n": b"key"}
    keys.clock.advance(NODE_KEYS_REFETCH)
    keys.cache.fetch(NEIGHBOUR)
    keys.requests.pop()[1].callback(certificate({b"m": b"new"}))
    keys.clock.advance(NODE_KEYS_REFETCH)
    assert result_of(keys.cache.fetch(CANISTER)) == {b"m": b"new"}
    assert keys.requests == []
    assert pending(keys.cache.fetch(CANISTER)), "a node is not among these either"


def test_a_canister_that_has_moved_is_looked_up_though_its_neighbour_refreshes_the_keys() -> None:
    keys = Keys()
    keys.cache.fetch(CANISTER)
    keys.requests.pop()[1].callback(certificate({b"n": b"key"}))
    assert keys.cache.get(NEIGHBOUR) == {b"n": b"key"}
    keys.clock.advance(NODE_KEYS_AGE + 1)
    refreshed, moved, cancelled = (keys.cache.fetch(each) for each in (CANISTER, NEIGHBOUR, NEIGHBOUR))
    ((_, reading),) = keys.requests
    keys.requests.clear()
    reading.callback(certificate({b"n": b"key"}, WITHOUT_NEIGHBOUR))
    assert result_of(refreshed) == {b"n": b"key"}
    assert keys.cache.get(NEIGHBOUR) is None
    cancelled.cancel()
    with pytest.raises(CancelledError):
        result_of(cancelled)
    ((canister, reading),) = keys.requests
    assert (canister, pending(moved)) == (NEIGHBOUR, True)
    keys.requests.clear()
    reading.callback(certificate({b"o": b"other"}, ELSEWHERE))
    assert result_of(moved) == keys.cache.get(NEIGHBOUR) == {b"o": b"other"}
    assert keys.cache.get(CANISTER) == {b"n": b"key"}


def test_one_that_has_moved_fails_alone() -> None:
    keys = Keys()
    keys.cache.fetch(CANISTER)
    keys.requests.pop()[1].callback(certificate({b"n": b"key"}))
    keys.cache.get(NEIGHBOUR)
    keys.clock.advance(NODE_KEYS_AGE + 1)
    refreshed, moved = keys.cache.fetch(CANISTER), keys.cache.fetch(NEIGHBOUR)
    keys.requests.pop()[1].callback(certificate({b"n": b"key"}, WITHOUT_NEIGHBOUR))
    keys.requests.pop()[1].errback(ConnectFailed("x"))
    assert result_of(refreshed) == {b"n": b"key"}
    with pytest.raises(ConnectFailed):
        result_of(moved)


def test_the_newest_keys_are_those_of_the_subnet_that_a_canister_has_moved_to() -> None:
    keys = Keys()
    for delegation, node in ((DELEGATION, b"n"), (ELSEWHERE, b"o")):
        keys.cache.fetch(NEIGHBOUR)
        keys.requests.pop()[1].callback(certificate({node: b"key"}, delegation))
        keys.clock.advance(NODE_KEYS_REFETCH)
    assert keys.cache.get(NEIGHBOUR) == {b"o": b"key"}
    assert keys.cache.get(CANISTER) == {b"n": b"key"}


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_module, "MAX_SUBNETS", 3)
    monkeypatch.setattr(trust_module, "MAX_CANISTERS", 3)
    keys = Keys()
    for number in range(10):
        canister = Principal(bytes((4, number)))
        keys.cache.fetch(canister)
        ranges = delegate(subnet_id=SUBNET, ranges=[(canister, canister)])
        keys.requests.pop()[1].callback(certificate({b"n": b"key"}, ranges))
        assert keys.cache.get(canister) == {b"n": b"key"}
        assert len(keys.cache._subnets) <= 3
        assert len(keys.cache._subnet_of) <= 3


def test_a_failed_fetch_fails_all_who_wait() -> None:
    keys = Keys()
    one, two = keys.cache.fetch(CANISTER), keys.cache.fetch(CANISTER)
    keys.requests.pop()[1].errback(ConnectFailed("x"))
    for d in (one, two):
        with pytest.raises(ConnectFailed):
            result_of(d)
    assert keys.cache.fetches == {"ok": 0, "failed": 1}
    keys.clock.advance(NODE_KEYS_PAUSE)
    again = keys.cache.fetch(CANISTER)
    keys.requests.pop()[1].callback(certificate({b"n": b"key"}))
    assert result_of(again) == {b"n": b"key"}


def test_failures_are_followed_by_growing_pauses() -> None:
    """Each answer of a canister asks for the keys while there are none: ten times a second where it is polled so."""
    keys = Keys()
    times = []
    for _ in range(1200):
        fetched = keys.cache.fetch(CANISTER)
        if keys.requests:
            times.append(keys.clock.seconds())
            keys.requests.pop()[1].errback(ConnectFailed("no route"))
        with pytest.raises(ConnectFailed, match="no route"):
            result_of(fetched)
        # a sum without an error
        keys.clock.advance(0.0625)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[:6] == [0.25, 0.4375, 0.8125, 1.625, 3.25, NODE_KEYS_LONGEST_PAUSE]
    assert set(pauses[6:]) == {NODE_KEYS_LONGEST_PAUSE}
    # a neighbour has its own pause, and success ends it
    assert pending(keys.cache.fetch(NEIGHBOUR))
    keys.requests.clear()
    keys.clock.advance(NODE_KEYS_LONGEST_PAUSE)
    fetched = keys.cache.fetch(CANISTER)
    keys.requests.pop()[1].callback(certificate({b"n": b"key"}))
    assert result_of(fetched) == {b"n": b"key"}
    keys.clock.advance(NODE_KEYS_REFETCH + 1)
    failed = keys.cache.fetch(CANISTER)
    keys.requests.pop()[1].errback(ConnectFailed("no route"))
    with pytest.raises(ConnectFailed):
        result_of(failed)
    keys.clock.advance(NODE_KEYS_PAUSE)
    assert pending(keys.cache.fetch(CANISTER))


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


@pytest.mark.parametrize("ranges", [False, True])
def test_node_keys_of_the_root_subnet_need_its_canister_ranges(ranges) -> None:
    clock = Clock()
    root = Principal.self_authenticating(ROOT_KEY_DER)
    subnet = {b"node": {b"n": {b"public_key": b"k"}}}
    if ranges:
        subnet[b"canister_ranges"] = cbor.dumps([[CANISTER.raw, CANISTER.raw]])  # type: ignore[assignment]
    read = Certificate(hashtree.from_mapping({b"subnet": {root.raw: subnet}}), b"s" * 48)
    reading: Deferred[Certificate] = Deferred()
    keys = NodeKeyCache(clock, Trust(clock, lambda: 0.5, Status(clock), ROOT_KEY_DER), lambda _: reading)
    fetching = keys.fetch(CANISTER)
    reading.callback(read)
    if ranges:
        assert result_of(fetching) == {b"n": b"k"}
    else:
        with pytest.raises(CertificateInvalid, match="does not show its canister ranges"):
            result_of(fetching)
