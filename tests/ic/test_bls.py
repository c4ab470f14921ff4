"""BLS: the vectors of the IC's own library, and everything that must not verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from icwsgw.errors import FormatError
from icwsgw.ic import bls
from icwsgw.ic.principal import Principal

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "bls" / "bls.json").read_text())

SECRET = bls.secret_key(b"a seed of thirty-two bytes......")
KEY = bls.public_key(SECRET)
MESSAGE = b"a message"
SIGNATURE = bls.sign(SECRET, MESSAGE)
INFINITY_G1 = b"\xc0" + bytes(47)
INFINITY_G2 = b"\xc0" + bytes(95)
# The smallest x on the curve; the point is not in the subgroup of prime order.
OUTSIDE_G1 = b"\x80" + bytes(46) + b"\x04"
FIELD = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB


@pytest.mark.parametrize("vector", VECTORS["verify"], ids=lambda vector: vector["name"])
def test_vectors_of_the_ic(vector: dict[str, Any]) -> None:
    verified = bls.verify(*(bytes.fromhex(vector[field]) for field in ("public_key", "signature", "message")))
    assert verified is vector["valid"]


@pytest.mark.parametrize("vector", VECTORS["sign"])
def test_signs_as_the_ic_does(vector: dict[str, str]) -> None:
    secret = int(vector["secret_key"], 16)
    message, signature = bytes.fromhex(vector["message"]), bytes.fromhex(vector["signature"])
    assert bls.sign(secret, message) == signature
    assert bls.verify(bls.public_key(secret), signature, message)


def test_what_was_signed_verifies() -> None:
    assert len(KEY) == bls.PUBLIC_KEY_SIZE
    assert len(SIGNATURE) == bls.SIGNATURE_SIZE
    assert bls.verify(KEY, SIGNATURE, MESSAGE)
    assert not bls.verify(KEY, SIGNATURE, MESSAGE + b".")
    assert not bls.verify(bls.public_key(SECRET + 1), SIGNATURE, MESSAGE)


@pytest.mark.parametrize("size", [0, 1, 47, 49, 96])
def test_signatures_of_another_size(size: int) -> None:
    assert not bls.verify(KEY, (SIGNATURE * 3)[:size], MESSAGE)


@pytest.mark.parametrize("size", [0, 48, 95, 97, 192])
def test_keys_of_another_size(size: int) -> None:
    assert not bls.verify((KEY * 3)[:size], SIGNATURE, MESSAGE)


def test_no_flipped_bit_of_a_signature_verifies() -> None:
    for bit in range(0, 8 * bls.SIGNATURE_SIZE, 5):
        flipped = bytearray(SIGNATURE)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not bls.verify(KEY, bytes(flipped), MESSAGE)


def test_no_flipped_bit_of_a_key_verifies() -> None:
    for bit in range(0, 8 * bls.PUBLIC_KEY_SIZE, 11):
        flipped = bytearray(KEY)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not bls.verify(bytes(flipped), SIGNATURE, MESSAGE)


def test_the_point_at_infinity_signs_nothing() -> None:
    assert not bls.verify(INFINITY_G2, INFINITY_G1, MESSAGE)
    assert not bls.verify(KEY, INFINITY_G1, MESSAGE)
    assert not bls.verify(INFINITY_G2, SIGNATURE, MESSAGE)


def test_the_negated_signature_does_not_verify() -> None:
    assert not bls.verify(KEY, bytes([SIGNATURE[0] ^ 0x20]) + SIGNATURE[1:], MESSAGE)


def is_on_g1_curve(x: int) -> bool:
    return pow(x**3 + 4, (FIELD - 1) // 2, FIELD) == 1


def test_points_outside_the_subgroup_are_refused() -> None:
    assert is_on_g1_curve(4)
    assert not bls.verify(KEY, OUTSIDE_G1, MESSAGE)
    # Nearly no point of the twist is in the subgroup, so none of these x may be taken, on the curve or off it.
    for x in range(1, 12):
        assert not bls.verify(b"\x80" + bytes(47) + x.to_bytes(48, "big"), SIGNATURE, MESSAGE)


def test_der() -> None:
    der = bls.der_wrap(KEY)
    assert len(der) == 133
    assert bls.der_unwrap(der) == KEY
    with pytest.raises(FormatError):
        bls.der_wrap(KEY[:-1])


@pytest.mark.parametrize(
    "der",
    [b"", KEY, bls.der_wrap(KEY)[:-1], bls.der_wrap(KEY) + b"\0", b"\x31" + bls.der_wrap(KEY)[1:]],
    ids=["nothing", "bare key", "short", "long", "other algorithm"],
)
def test_der_of_something_else(der: bytes) -> None:
    with pytest.raises(FormatError):
        bls.der_unwrap(der)


def test_the_root_key_is_that_of_mainnet() -> None:
    root_subnet = "tdb26-jop6k-aogll-7ltgs-eruif-6kk7m-qpktf-gdiqx-mxtrf-vb5e6-eqe"
    assert Principal.self_authenticating(bls.MAINNET_ROOT_KEY_DER).text == root_subnet


def test_secret_keys() -> None:
    assert 0 < bls.secret_key(bytes(32)) < bls.ORDER
    assert 0 < bls.secret_key(b"\xff" * 64) < bls.ORDER
    with pytest.raises(ValueError, match="32 bytes"):
        bls.secret_key(bytes(31))


@pytest.mark.parametrize("secret", [0, -1, bls.ORDER, bls.ORDER + 1])
def test_numbers_that_are_no_secret_key(secret: int) -> None:
    with pytest.raises(ValueError, match="not a secret key"):
        bls.sign(secret, MESSAGE)
    with pytest.raises(ValueError, match="not a secret key"):
        bls.public_key(secret)
