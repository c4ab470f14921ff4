"""The bytes of certificates: what decodes, what is refused, and what is built."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.errors import CertificateInvalid, FormatError
from icwsgw.ic import hashtree
from icwsgw.ic.certificate_format import (
    Certificate,
    Delegation,
    build_certificate,
    build_delegation,
    decode_certificate,
    natural,
    signed_message,
)
from icwsgw.ic.hashtree import EMPTY, Found, from_mapping
from icwsgw.ic.request_id import leb128
from tests.support.certificates import CANISTER, NOW, RANGES, SUBNET, SUBNET_KEY_DER, VECTORS, bare, read_state_answer


def test_times_of_a_mainnet_certificate() -> None:
    certificate = decode_certificate(bare("ivg37_request_status.bin"))
    assert certificate.time_ns // 1_000_000 == 1_645_601_880_652
    assert certificate.delegation is not None
    assert decode_certificate(certificate.delegation.certificate).time_ns // 1_000_000 == 1_645_093_069_668


@pytest.mark.parametrize("name", ["ivg37_time.bin", "224od_subnet.bin", "uzr34_node_keys.bin", "o3ow2_subnet_key.bin"])
def test_mainnet_certificates_can_be_built_again(name: str) -> None:
    certificate = decode_certificate(read_state_answer(name))
    again = build_certificate(certificate.tree, lambda _: certificate.signature, certificate.delegation)
    assert cbor2.loads(again) == cbor2.loads(read_state_answer(name))
    assert len(list(VECTORS.glob("*.bin"))) == 9


def test_what_is_signed() -> None:
    messages: list[bytes] = []

    def sign(message: bytes) -> bytes:
        messages.append(message)
        return bytes(48)

    data = build_certificate(EMPTY, sign, Delegation(b"subnet", b"certificate"))
    assert data.startswith(b"\xd9\xd9\xf7\xa3")
    assert messages == [b"\x0dic-state-root" + hashtree.reconstruct(EMPTY)] == [signed_message(EMPTY)]
    certificate = decode_certificate(data)
    assert (certificate.tree, certificate.signature) == (EMPTY, bytes(48))
    assert certificate.delegation == Delegation(b"subnet", b"certificate")


@pytest.mark.parametrize("sharded", [True, False])
def test_where_a_delegation_has_its_ranges(sharded: bool) -> None:
    delegation = build_delegation(
        subnet_id=SUBNET,
        subnet_key_der=SUBNET_KEY_DER,
        ranges=RANGES,
        time_ns=NOW,
        sign=lambda _: bytes(48),
        sharded=sharded,
    )
    certificate = decode_certificate(delegation.certificate)
    assert delegation.subnet_id == SUBNET.raw
    assert certificate.time_ns == NOW
    assert certificate.lookup((b"subnet", SUBNET.raw, b"public_key")) == Found(SUBNET_KEY_DER)
    paths = [(b"canister_ranges", SUBNET.raw, RANGES[0][0].raw), (b"subnet", SUBNET.raw, b"canister_ranges")]
    found = [certificate.lookup(path) for path in paths]
    ranges = found[0 if sharded else 1]
    assert isinstance(ranges, Found)
    assert not isinstance(found[1 if sharded else 0], Found)
    assert cbor2.loads(ranges.value.removeprefix(b"\xd9\xd9\xf7")) == [[first.raw, last.raw] for first, last in RANGES]


@pytest.mark.parametrize(
    "fields",
    [
        None,
        [],
        {},
        {"tree": [0]},
        {"signature": b""},
        {"tree": [9], "signature": b""},
        {"tree": None, "signature": b""},
        {"tree": {}, "signature": b""},
        {"tree": hashtree.to_cbor((0,)), "signature": b""},
        {"tree": [0], "signature": "text"},
        {"tree": [0], "signature": b"", "delegation": []},
        {"tree": [0], "signature": b"", "delegation": {}},
        {"tree": [0], "signature": b"", "delegation": {"subnet_id": b""}},
        {"tree": [0], "signature": b"", "delegation": {"subnet_id": b"", "certificate": "text"}},
        {"tree": [0], "signature": b"", "delegation": {"subnet_id": 7, "certificate": b""}},
    ],
    ids=repr,
)
def test_no_certificate(fields: Any) -> None:
    with pytest.raises(FormatError):
        decode_certificate(cbor2.dumps(fields))


def test_no_byte_less_and_no_byte_more() -> None:
    data = read_state_answer("ivg37_time.bin")
    for end in (0, 1, 3, 4, 100, len(data) - 1):
        with pytest.raises(FormatError):
            decode_certificate(data[:end])
    with pytest.raises(FormatError):
        decode_certificate(data + b"\0")


@given(st.binary(max_size=60))
def test_garbage_is_a_format_error(data: bytes) -> None:
    for prefix in (b"", b"\xd9\xd9\xf7\xa2\x69signature\x41s\x64tree"):
        try:
            decode_certificate(prefix + data)
        except FormatError:
            pass


@given(st.integers(0, 2**64 - 1))
def test_numbers(number: int) -> None:
    assert natural(leb128(number)) == number
    certificate = Certificate(from_mapping({b"time": leb128(number)}), b"")
    assert certificate.time_ns == number
    assert certificate.time_ns == number


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x80",
        leb128(1 << 64),
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
        leb128(7) + b"\0",
        b"\x80" * 10 + b"\0",
    ],
)
def test_malformed_numbers(value: bytes) -> None:
    with pytest.raises(CertificateInvalid, match="malformed"):
        natural(value)


def test_numbers_need_not_be_shortest() -> None:
    assert natural(b"\x87\x00") == 7


def test_a_certificate_without_time() -> None:
    for tree in (EMPTY, from_mapping({b"time": {}}), hashtree.pruned(bytes(32))):
        with pytest.raises(CertificateInvalid, match="no time"):
            _ = Certificate(tree, b"").time_ns


def test_lookup() -> None:
    certificate = Certificate(from_mapping({b"canister": {CANISTER.raw: b"x"}}), b"")
    assert certificate.lookup((b"canister", CANISTER.raw)) == Found(b"x")
