"""Certificates without a delegation speak for the root subnet's canisters alone."""

from __future__ import annotations

import itertools
from typing import Any

import cbor2
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from icwsgw.agent.root_subnet import RootSubnet
from icwsgw.agent.subnet_cache import FIRST_PAUSE, FIRST_READS, LONGEST_PAUSE, MAX_ENTRY_AGE
from icwsgw.agent.trust import Trust
from icwsgw.errors import CertificateInvalid, HttpError, NotReady
from icwsgw.ic.bls import MAINNET_ROOT_KEY_DER
from icwsgw.ic.certificate import Certificate, build_certificate, decode_certificate, root_ranges_cover
from icwsgw.ic.hashtree import from_mapping
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import leb128
from tests.support.certificates import (
    CANISTER,
    IVG37,
    NOW,
    RANGES,
    ROOT_KEY_DER,
    RYJL3,
    bare,
    canister,
    delegate,
    sign_as_root,
    sign_as_subnet,
    state,
    verify,
)
from tests.support.devnet import pending, result_of

ROOT = Principal.self_authenticating(ROOT_KEY_DER)


def root_certificate(form: str) -> bytes:
    """The root subnet's own certificate, with its ranges in one form or none."""
    ranges = cbor2.dumps([[low.raw, high.raw] for low, high in RANGES])
    mapping: dict[bytes, Any] = {b"time": leb128(NOW), b"subnet": {ROOT.raw: {b"public_key": ROOT_KEY_DER}}}
    if form == "flat":
        mapping[b"subnet"][ROOT.raw][b"canister_ranges"] = ranges
    elif form == "sharded":
        mapping[b"canister_ranges"] = {ROOT.raw: {RANGES[0][0].raw: ranges}}
    return build_certificate(from_mapping(mapping), sign_as_root)


class Rig:
    def __init__(self, key: bytes | None = ROOT_KEY_DER) -> None:
        self.requests: list[Deferred[Certificate]] = []
        self.clock = Clock()
        self.trust = Trust(self.clock, lambda: 0.5, lambda: Deferred(), key)
        self.root = RootSubnet(self.clock, self.trust, self.read)

    def read(self, canister_id: Principal) -> Deferred[Certificate]:
        if self.trust.root_key is None:
            raise NotReady("no key")
        self.requests.append(Deferred())
        return self.requests[-1]

    def answer(self, data: bytes) -> None:
        self.requests.pop(0).callback(decode_certificate(data))


def test_mainnet_s_root_subnet_shows_its_ranges() -> None:
    """A vector of dfinity/icp-js-core: its agent asks the same of it."""
    certificate = decode_certificate(bare("root_subnet.bin"))
    assert root_ranges_cover(certificate, MAINNET_ROOT_KEY_DER, RYJL3) is True
    assert root_ranges_cover(certificate, MAINNET_ROOT_KEY_DER, IVG37) is False
    assert root_ranges_cover(certificate, ROOT_KEY_DER, RYJL3) is None


@pytest.mark.parametrize("form", ["flat", "sharded"])
def test_ranges_that_are_shown_have_to_hold_the_canister(form: str) -> None:
    data = root_certificate(form)
    assert verify(data, CANISTER).delegation is None
    with pytest.raises(CertificateInvalid, match="the root subnet may not speak for"):
        verify(data, canister(250))


@pytest.mark.parametrize("form", ["flat", "sharded"])
def test_a_canister_of_the_root_subnet(form: str) -> None:
    rig = Rig()
    assert rig.root.holds(CANISTER) is None
    certificate = decode_certificate(build_certificate(state(), sign_as_root))
    checks = [rig.root.check(certificate, CANISTER) for _ in range(3)]
    assert len(rig.requests) == 1, "one request for all"
    rig.answer(root_certificate(form))
    assert [result_of(check) for check in checks] == [certificate] * 3
    assert rig.root.holds(CANISTER) is True
    assert result_of(rig.root.check(certificate, CANISTER)) is certificate
    assert rig.requests == []


def test_a_canister_of_another_subnet() -> None:
    rig = Rig()
    delegated = build_certificate(state(), sign_as_subnet, delegate())
    assert result_of(rig.root.check(decode_certificate(delegated), CANISTER)).delegation is not None
    assert rig.requests == []
    lie = decode_certificate(build_certificate(state(), sign_as_root))
    check = rig.root.check(lie, CANISTER)
    rig.answer(delegated)
    with pytest.raises(CertificateInvalid, match="not one of its canisters"):
        result_of(check)
    assert rig.root.holds(CANISTER) is False


def test_where_no_ranges_are_shown_a_test_network_is_accepted_and_mainnet_is_not() -> None:
    data = build_certificate(state(), sign_as_root)
    for key, accepted in ((ROOT_KEY_DER, True), (MAINNET_ROOT_KEY_DER, False)):
        rig = Rig(key)
        check = rig.root.check(decode_certificate(data), CANISTER)
        rig.answer(data)
        if accepted:
            assert result_of(check).delegation is None
        else:
            with pytest.raises(CertificateInvalid, match="does not show"):
                result_of(check)
            assert rig.root.holds(CANISTER) is None


def test_what_fails_is_asked_again() -> None:
    rig = Rig()
    check = rig.root.look_up(CANISTER)
    assert pending(check)
    rig.requests.pop().errback(HttpError(503))
    with pytest.raises(HttpError):
        result_of(check)
    rig.clock.advance(FIRST_PAUSE)
    rig.trust.root_key = None
    with pytest.raises(NotReady):
        result_of(rig.root.look_up(CANISTER))
    rig.trust.root_key = ROOT_KEY_DER
    check = rig.root.look_up(CANISTER)
    rig.answer(root_certificate("flat"))
    assert result_of(check) is True


def test_failures_are_followed_by_growing_pauses() -> None:
    """Each answer without a delegation asks; while the state cannot be read, few of them lead to a request."""
    rig, times = Rig(), []
    while rig.clock.seconds() < 60:
        check = rig.root.look_up(CANISTER)
        if rig.requests:
            times.append(rig.clock.seconds())
            rig.requests.pop().errback(HttpError(503))
        with pytest.raises(HttpError):
            result_of(check)
        rig.clock.advance(1 / 16)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[:6] == [0.25, 0.4375, 0.8125, 1.625, 3.25, LONGEST_PAUSE]
    assert set(pauses[6:]) == {LONGEST_PAUSE}
    # another canister has its own pause, and so has another key
    assert pending(rig.root.look_up(IVG37))
    rig.trust.root_key = MAINNET_ROOT_KEY_DER
    assert pending(rig.root.look_up(CANISTER))


def test_what_was_read_at_one_canister_is_valid_for_all_of_the_root_subnet() -> None:
    rig = Rig()
    checks = [rig.root.look_up(canister(number)) for number in range(100, 200)]
    assert len(rig.requests) == FIRST_READS
    for _ in range(FIRST_READS):
        rig.answer(root_certificate("flat"))
    assert [result_of(check) for check in checks] == [True] * 100
    assert rig.root.holds(canister(150)) is True
    assert rig.root.holds(canister(250)) is None


def test_a_canister_may_move_so_what_is_known_has_an_age() -> None:
    rig = Rig()
    rig.root.look_up(CANISTER)
    rig.answer(root_certificate("flat"))
    rig.clock.advance(MAX_ENTRY_AGE)
    assert rig.root.holds(CANISTER) is True
    rig.clock.advance(1)
    assert rig.root.holds(CANISTER) is None
    check = rig.root.look_up(CANISTER)
    rig.answer(build_certificate(state(), sign_as_subnet, delegate()))
    assert result_of(check) is False


def test_another_root_key_has_no_record_of_it() -> None:
    rig = Rig()
    check = rig.root.look_up(CANISTER)
    rig.answer(root_certificate("flat"))
    assert result_of(check) is True
    rig.trust.root_key = MAINNET_ROOT_KEY_DER
    assert rig.root.holds(CANISTER) is None
