"""What certificates for /subnet show is read once for all canisters of a subnet; here, the nodes' keys."""

from __future__ import annotations

import itertools

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from icwsgw.agent import subnet_cache
from icwsgw.agent.node_keys import NodeKeyCache
from icwsgw.agent.subnet_cache import (
    FIRST_PAUSE,
    FIRST_READS,
    LONGEST_PAUSE,
    MAX_ENTRY_AGE,
    REFRESH_INTERVAL,
)
from icwsgw.agent.trust import Trust
from icwsgw.errors import ConnectFailed, IcwsError
from icwsgw.ic import hashtree
from icwsgw.ic.certificate import Certificate, Delegation
from icwsgw.ic.principal import Principal
from tests.support.certificates import delegate
from tests.support.devnet import pending, result_of

KEY = b"k" * 133
CANISTER, NEIGHBOUR = Principal(b"\x01"), Principal(b"\x02")
SUBNET = Principal(b"\x09")

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
        self.trust = Trust(self.clock, lambda: 0.0, lambda: Deferred(), KEY)
        self.cache = NodeKeyCache(self.clock, self.trust, self.read)

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
    keys.clock.advance(MAX_ENTRY_AGE + 1)
    assert keys.cache.get(CANISTER) is None


def test_an_unknown_node_cannot_make_us_ask_all_the_time() -> None:
    keys = Keys()
    keys.cache.fetch(CANISTER)
    keys.requests.pop()[1].callback(certificate({b"n": b"key"}))
    assert result_of(keys.cache.fetch(CANISTER)) == {b"n": b"key"}
    assert keys.requests == []
    keys.clock.advance(REFRESH_INTERVAL + 1)
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
    for seconds in (MAX_ENTRY_AGE + 1, REFRESH_INTERVAL):
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
    keys.clock.advance(REFRESH_INTERVAL)
    keys.cache.fetch(NEIGHBOUR)
    keys.requests.pop()[1].callback(certificate({b"m": b"new"}))
    keys.clock.advance(REFRESH_INTERVAL)
    assert result_of(keys.cache.fetch(CANISTER)) == {b"m": b"new"}
    assert keys.requests == []
    assert pending(keys.cache.fetch(CANISTER)), "a node is not among these either"


def test_a_canister_that_has_moved_is_looked_up_though_its_neighbour_refreshes_the_keys() -> None:
    keys = Keys()
    keys.cache.fetch(CANISTER)
    keys.requests.pop()[1].callback(certificate({b"n": b"key"}))
    assert keys.cache.get(NEIGHBOUR) == {b"n": b"key"}
    keys.clock.advance(MAX_ENTRY_AGE + 1)
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
    keys.clock.advance(MAX_ENTRY_AGE + 1)
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
        keys.clock.advance(REFRESH_INTERVAL)
    assert keys.cache.get(NEIGHBOUR) == {b"o": b"key"}
    assert keys.cache.get(CANISTER) == {b"n": b"key"}


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subnet_cache, "MAX_SUBNETS", 3)
    monkeypatch.setattr(subnet_cache, "MAX_CANISTERS", 3)
    keys = Keys()
    for number in range(10):
        canister = Principal(bytes((4, number)))
        keys.cache.fetch(canister)
        ranges = delegate(subnet_id=SUBNET, ranges=[(canister, canister)])
        keys.requests.pop()[1].callback(certificate({b"n": b"key"}, ranges))
        assert keys.cache.get(canister) == {b"n": b"key"}
        assert len(keys.cache._entries) <= 3
        assert len(keys.cache._entry_of) <= 3
        keys.clock.advance(MAX_ENTRY_AGE + 1)
        keys.cache.fetch(canister).addErrback(lambda _: None)
        keys.requests.pop()[1].errback(ConnectFailed("x"))
        assert len(keys.cache._failed) <= 3


def test_a_failed_fetch_fails_all_who_wait() -> None:
    keys = Keys()
    one, two = keys.cache.fetch(CANISTER), keys.cache.fetch(CANISTER)
    keys.requests.pop()[1].errback(ConnectFailed("x"))
    for d in (one, two):
        with pytest.raises(ConnectFailed):
            result_of(d)
    assert keys.cache.fetches == {"ok": 0, "failed": 1}
    keys.clock.advance(FIRST_PAUSE)
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
    assert pauses[:6] == [0.25, 0.4375, 0.8125, 1.625, 3.25, LONGEST_PAUSE]
    assert set(pauses[6:]) == {LONGEST_PAUSE}
    # a neighbour has its own pause, and so has another root key; success ends it
    keys.trust.root_key = b"o" * 133
    assert pending(keys.cache.fetch(CANISTER))
    keys.trust.root_key = KEY
    assert pending(keys.cache.fetch(NEIGHBOUR))
    keys.requests.clear()
    keys.clock.advance(LONGEST_PAUSE)
    fetched = keys.cache.fetch(CANISTER)
    keys.requests.pop()[1].callback(certificate({b"n": b"key"}))
    assert result_of(fetched) == {b"n": b"key"}
    keys.clock.advance(REFRESH_INTERVAL + 1)
    failed = keys.cache.fetch(CANISTER)
    keys.requests.pop()[1].errback(ConnectFailed("no route"))
    with pytest.raises(ConnectFailed):
        result_of(failed)
    keys.clock.advance(FIRST_PAUSE)
    assert pending(keys.cache.fetch(CANISTER))


def first_fetches(canisters: list[Principal]) -> tuple[Keys, list[Deferred[dict[bytes, bytes]]]]:
    """All want the keys at once, as after a restart."""
    keys = Keys()
    return keys, [keys.cache.fetch(canister) for canister in canisters]


def test_after_a_restart_few_reads_serve_all_canisters_of_a_subnet() -> None:
    canisters, delegation = some(500)
    keys, waiting = first_fetches(canisters)
    assert [canister for canister, _ in keys.requests] == canisters[:FIRST_READS]
    for _, reading in keys.requests:
        reading.callback(certificate({b"n": b"key"}, delegation))
    assert [result_of(d) for d in waiting] == [{b"n": b"key"}] * 500
    assert keys.cache.fetches == {"ok": FIRST_READS, "failed": 0}
    assert [keys.cache.get(canister) for canister in canisters] == [{b"n": b"key"}] * 500


def test_canisters_of_many_subnets_wait_for_few_reads_at_others() -> None:
    """Thirty subnets of ten canisters each, in a mixed sequence."""
    subnets = [[Principal(bytes((subnet, number))) for number in range(10)] for subnet in range(30)]
    canisters = [subnets[number * 7 % 30][number // 30] for number in range(300)]
    keys, waiting = first_fetches(canisters)
    seen = most = 0
    while seen < len(keys.requests):
        most = max(most, len(keys.requests) - seen)
        canister, reading = keys.requests[seen]
        seen += 1
        own = subnets[canister.raw[0]]
        delegation = delegate(subnet_id=Principal(bytes((9, canister.raw[0]))), ranges=[(own[0], own[-1])])
        reading.callback(certificate({canister.raw[:1]: b"key"}, delegation))
    assert [result_of(d) for d in waiting] == [{canister.raw[:1]: b"key"} for canister in canisters]
    assert most == FIRST_READS
    assert seen < 30 + FIRST_READS


def test_a_read_that_fails_lets_more_of_the_others_begin() -> None:
    canisters, _ = some(500)
    keys, waiting = first_fetches(canisters)
    in_flight = []
    # each round is a timeout
    while keys.requests:
        in_flight.append(len(keys.requests))
        reads, keys.requests = keys.requests, []
        for _, reading in reads:
            reading.errback(ConnectFailed("timed out"))
    assert in_flight[0] == FIRST_READS
    assert len(in_flight) <= 4
    for d in waiting:
        with pytest.raises(ConnectFailed):
            result_of(d)
    # and when all try again, few begin again
    keys.clock.advance(FIRST_PAUSE)
    again = [keys.cache.fetch(canister) for canister in canisters]
    assert len(keys.requests) == FIRST_READS
    assert all(map(pending, again))


def test_reads_that_fail_at_once_need_no_stack() -> None:
    canisters, _ = some(3000)
    keys, waiting = first_fetches(canisters)
    read = iter(keys.requests[:])
    keys.cache._read_subnet = lambda _: _failing()
    for _, reading in read:
        reading.errback(ConnectFailed("no route"))
    for d in waiting:
        with pytest.raises(IcwsError):
            result_of(d)


def _failing() -> Deferred[Certificate]:
    failed: Deferred[Certificate] = Deferred()
    failed.errback(ConnectFailed("no route"))
    return failed


def test_one_that_no_longer_waits_is_not_read_and_keeps_its_place() -> None:
    canisters, delegation = some(FIRST_READS + 3)
    keys, waiting = first_fetches(canisters)
    first, left, stays = waiting[FIRST_READS:]
    for d in (first, left):
        d.cancel()
        with pytest.raises(CancelledError):
            result_of(d)
    back = keys.cache.fetch(canisters[FIRST_READS])
    keys.requests[0][1].callback(certificate({b"e": b"key"}, ELSEWHERE))
    assert [canister for canister, _ in keys.requests[FIRST_READS:]] == [canisters[FIRST_READS]]
    keys.requests[1][1].callback(certificate({b"e": b"key"}, ELSEWHERE))
    assert [canister for canister, _ in keys.requests[FIRST_READS + 1 :]] == [canisters[-1]]
    keys.requests[-1][1].callback(certificate({b"n": b"key"}, delegation))
    assert result_of(stays) == {b"n": b"key"}
    assert pending(back)


def test_what_another_root_key_has_signed_does_not_count() -> None:
    """A test network that was created anew."""
    keys = Keys()
    keys.cache.fetch(CANISTER)
    keys.requests.pop()[1].callback(certificate({b"n": b"key"}))
    keys.trust.root_key = b"o" * 133
    assert keys.cache.get(CANISTER) is None
    assert pending(keys.cache.fetch(CANISTER))
