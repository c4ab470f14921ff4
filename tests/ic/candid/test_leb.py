from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.errors import FormatError
from icwsgw.ic.candid.leb import read_signed, read_unsigned, write_signed, write_unsigned

LIMIT = 65_536


@pytest.mark.parametrize(
    ("number", "raw"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (16383, "ff7f"),
        (624485, "e58e26"),
        (60 * 10**15, "808098f4e9b5ca6a"),
    ],
)
def test_unsigned_known(number: int, raw: str) -> None:
    assert write_unsigned(number).hex() == raw
    assert read_unsigned(bytes.fromhex(raw), 0, LIMIT) == (number, len(raw) // 2)


@pytest.mark.parametrize(
    ("number", "raw"),
    [(0, "00"), (-1, "7f"), (63, "3f"), (64, "c000"), (-64, "40"), (-65, "bf7f"), (-128, "807f"), (-123456, "c0bb78")],
)
def test_signed_known(number: int, raw: str) -> None:
    assert write_signed(number).hex() == raw
    assert read_signed(bytes.fromhex(raw), 0, LIMIT) == (number, len(raw) // 2)


@given(st.one_of(st.integers(0), st.integers(0, 4000).map(lambda n: (1 << n) - 1)), st.binary(max_size=3))
def test_unsigned_round_trip(number: int, before: bytes) -> None:
    raw = write_unsigned(number)
    assert read_unsigned(before + raw + b"\xff", len(before), LIMIT) == (number, len(before) + len(raw))
    assert len(raw) == max(1, -(-number.bit_length() // 7))


@given(
    st.one_of(st.integers(), st.integers(0, 4000).map(lambda n: -1 << n), st.integers(0, 4000).map(lambda n: 1 << n))
)
def test_signed_round_trip(number: int) -> None:
    raw = write_signed(number)
    assert read_signed(raw + b"\xff", 0, LIMIT) == (number, len(raw))
    # Shortest: without its last byte it would be another number.
    if len(raw) > 1:
        shorter = raw[:-2] + bytes((raw[-2] & 0x7F,))
        assert read_signed(shorter, 0, LIMIT)[0] != number


@given(st.integers(0), st.integers(1, 50))
def test_overlong_is_read(number: int, padding: int) -> None:
    raw = bytearray(write_unsigned(number))
    raw[-1] |= 0x80
    raw += b"\x80" * (padding - 1) + b"\0"
    assert read_unsigned(bytes(raw), 0, LIMIT) == (number, len(raw))


@pytest.mark.parametrize("read", [read_unsigned, read_signed])
@pytest.mark.parametrize("raw", [b"", b"\x80", b"\xff" * 9])
def test_cut_short(read: object, raw: bytes) -> None:
    with pytest.raises(FormatError, match="cut short"):
        read(raw, 0, LIMIT)  # type: ignore[operator]


def test_too_long() -> None:
    with pytest.raises(FormatError, match="longer than 10 bytes"):
        read_unsigned(b"\x80" * 10 + b"\0", 0, 10)
    assert read_unsigned(b"\x80" * 9 + b"\0", 0, 10) == (0, 10)


def test_negative_has_no_unsigned_form() -> None:
    with pytest.raises(FormatError):
        write_unsigned(-1)


def test_a_large_number_at_the_limit() -> None:
    number = 3 ** (LIMIT * 4)
    assert read_unsigned(write_unsigned(number), 0, LIMIT)[0] == number
    assert read_signed(write_signed(-number), 0, LIMIT)[0] == -number
