"""Certificates that clients can verify, whatever form of delegation the network's own have."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from icwsgw.agent import delegation_replacer
from icwsgw.agent.delegation_replacer import ATTEMPT_INTERVAL, MEMORY, RENEW, DelegationReplacer
from icwsgw.errors import HttpError, NotReady
from icwsgw.ic.certificate import Certificate, DelegationCache, build_certificate, decode_certificate
from icwsgw.ic.certificate_format import Delegation
from icwsgw.ic.delegations import delegation_of
from icwsgw.ic.network_limits import MAX_CACHED_DELEGATIONS
from icwsgw.ic.principal import Principal
from tests.agent.test_ic_agent import logged
from tests.support.certificates import (
    CANISTER,
    NOW,
    ROOT_KEY_DER,
    SECOND,
    canister,
    delegate,
    sign_as_root,
    sign_as_subnet,
    state,
    verify,
)


def certificate(delegation: Delegation | None, serial: int = 0) -> bytes:
    return build_certificate(state(NOW + serial), sign_as_subnet if delegation else sign_as_root, delegation)


class Rig:
    """A replacer, and a network that gives delegations when the test answers its requests."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.key: bytes | None = ROOT_KEY_DER
        self.requests: list[tuple[Principal, Deferred[Certificate]]] = []
        self.woken = 0
        self.fails: Exception | None = None
        self.cache = DelegationCache()
        self.doubts = 0
        self.readable = DelegationReplacer(
            self.clock, self.now_ns, lambda: self.key, self.cache, self.fetch, self.doubt
        )

    def now_ns(self) -> int:
        return NOW + int(self.clock.seconds() * SECOND)

    def doubt(self) -> None:
        self.doubts += 1

    def fetch(self, canister_id: Principal) -> Deferred[Certificate]:
        if self.fails is not None:
            raise self.fails
        self.requests.append((canister_id, Deferred()))
        return self.requests[-1][1]

    def again(self) -> None:
        self.woken += 1

    def look(self, data: bytes, canister_id: Principal = CANISTER) -> bytes | None:
        return self.readable.look(canister_id, data, self.again)

    def answer(self, delegation: Delegation | None) -> None:
        self.requests.pop(0)[1].callback(decode_certificate(certificate(delegation)))

    def form(self, data: bytes | None) -> Delegation | None:
        assert data is not None
        return delegation_of(data)


FLAT, SHARDED = delegate(sharded=False), delegate(NOW - SECOND, sharded=True)


def test_what_every_client_reads_is_not_touched_and_looked_at_once() -> None:
    rig = Rig()
    for serial in range(5):
        data = certificate(FLAT, serial)
        assert rig.look(data) is data
    assert rig.readable.looks == 1
    assert rig.readable.replaced == 0
    bare = certificate(None)
    assert rig.look(bare) is bare
    assert rig.requests == []


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\xa1\x6adelegation", b"\xa1\x6adelegation\x01" * 3])
def test_what_is_no_certificate_is_left_to_those_who_check_it(data: bytes) -> None:
    assert Rig().look(data) is data


def test_what_was_kept_stands_in_the_place_of_the_newer_form() -> None:
    rig = Rig()
    rig.look(certificate(FLAT))
    for serial in range(3):
        data = rig.look(certificate(SHARDED, serial))
        assert rig.form(data) == FLAT
        assert data is not None
        assert verify(data).time_ns == NOW + serial
    assert rig.requests == []
    assert (rig.readable.looks, rig.readable.replaced) == (2, 3)
    assert rig.readable.concern() is None


def test_without_one_it_is_asked_for_and_messages_wait() -> None:
    rig = Rig()
    data = certificate(SHARDED)
    assert rig.look(data) is None
    assert rig.look(data, canister(101)) is None
    assert [canister_id for canister_id, _ in rig.requests] == [CANISTER], "one request for the subnet"
    rig.answer(FLAT)
    assert rig.woken == 2
    assert rig.form(rig.look(data)) == FLAT
    assert rig.form(rig.look(data, canister(101))) == FLAT
    assert rig.readable.fetches == {"ok": 1, "failed": 0}


@pytest.mark.parametrize("answer", [SHARDED, None, HttpError(404), NotReady("no key")])
def test_where_none_is_to_be_had_certificates_reach_clients_as_they_are_and_operators_hear_of_it(answer) -> None:
    rig = Rig()
    data = certificate(SHARDED)
    with logged() as lines:
        if isinstance(answer, NotReady):
            rig.fails = answer
        first = rig.look(data)
        assert first is None
        if isinstance(answer, HttpError):
            rig.requests.pop()[1].errback(answer)
        elif not isinstance(answer, NotReady):
            rig.answer(answer)
        assert rig.woken == 1
        assert rig.look(data) is data
        assert rig.look(certificate(SHARDED, 1)) == certificate(SHARDED, 1)
    assert lines == ["clients may be unable to verify certificates"]
    assert rig.readable.unreadable() == 1
    assert "1 canister: read_state v2 gives no delegation: " in str(rig.readable.concern())
    assert rig.readable.fetches == {"ok": 0, "failed": 1}
    # it is tried again after a while
    rig.fails = None
    rig.clock.advance(ATTEMPT_INTERVAL)
    assert rig.look(certificate(SHARDED, 2)) is None
    rig.answer(FLAT)
    with logged() as lines:
        assert rig.form(rig.look(certificate(SHARDED, 2))) == FLAT
        assert rig.readable.unreadable() == 0
    assert lines == ["every client can verify certificates again"]
    assert rig.readable.concern() is None


def test_a_canister_without_new_certificates_counts_no_more() -> None:
    rig = Rig()
    rig.key = None
    rig.look(certificate(SHARDED))
    assert "the root key is not known yet" in str(rig.readable.concern())
    rig.clock.advance(MEMORY - 1)
    assert rig.readable.unreadable() == 1
    rig.clock.advance(2)
    assert rig.readable.unreadable() == 0


def test_a_canister_whose_certificates_are_right_again_counts_no_more() -> None:
    rig = Rig()
    rig.key = None
    for _ in range(2):
        rig.look(certificate(SHARDED))
        assert rig.readable.unreadable() == 1
        rig.look(certificate(FLAT))
        assert rig.readable.unreadable() == 0


def test_a_lying_replica_costs_a_pairing_in_a_while_and_displaces_nothing() -> None:
    rig = Rig()
    rig.look(certificate(FLAT))
    assert rig.cache.misses == 1
    rig.clock.advance(RENEW + 1)
    for number in range(50):
        rig.look(certificate(delegate(NOW + number, sharded=False, sign=sign_as_subnet)))
    assert (rig.cache.misses, rig.doubts) == (2, 1)
    assert rig.form(rig.look(certificate(SHARDED))) == FLAT


def test_what_is_kept_is_renewed() -> None:
    rig = Rig()
    rig.look(certificate(FLAT))
    newer = delegate(NOW + 60 * SECOND, sharded=False)
    rig.look(certificate(newer))
    assert rig.form(rig.look(certificate(SHARDED))) == FLAT, "young enough"
    rig.clock.advance(RENEW + 1)
    latest = delegate(rig.now_ns(), sharded=False)
    rig.look(certificate(latest))
    assert rig.form(rig.look(certificate(SHARDED))) == latest


def test_all_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(delegation_replacer, "MAX_CACHED_DELEGATIONS", 10)
    rig = Rig()
    for number in range(30):
        rig.look(certificate(delegate(NOW + number, sharded=False)))
        rig.look(certificate(delegate(NOW + number, sharded=True)))
    assert len(rig.readable._known) == len(rig.readable._fine) == 10
    assert MAX_CACHED_DELEGATIONS >= 40 * 13 * 2


def test_the_delegation_in_the_answer_to_a_call_is_kept_where_there_is_none() -> None:
    rig = Rig()
    rig.readable.offer(b"status and " + certificate(FLAT))
    assert rig.form(rig.look(certificate(SHARDED))) == FLAT
    assert rig.requests == []
    misses = rig.cache.misses
    for number in range(5):
        rig.readable.offer(certificate(delegate(NOW + number, sharded=False)))
    assert rig.cache.misses == misses, "one is enough"


@pytest.mark.parametrize("data", [b"", b"\x6adelegation", certificate(None), certificate(SHARDED)])
def test_an_answer_that_has_none_offers_none(data: bytes) -> None:
    rig = Rig()
    rig.readable.offer(data)
    rig.key = None
    rig.readable.offer(certificate(FLAT))
    rig.key = ROOT_KEY_DER
    assert len(rig.readable.flat) == 0
