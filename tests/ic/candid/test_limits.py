"""Messages that ask for far more than they bring: each is refused, and quickly, whatever is expected of it."""

from __future__ import annotations

import random
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.errors import FormatError
from icwsgw.ic.candid import (
    DEFAULT_LIMITS,
    Bool,
    Empty,
    Func,
    Limits,
    Nat,
    Null,
    Opt,
    Record,
    Recursive,
    Reserved,
    Type,
    Variant,
    Vec,
    decode,
    decode_as,
    encode,
)
from icwsgw.ic.candid.leb import write_unsigned

BILLION = b"\x80\x94\xeb\xdc\x03"
endless_opt = Recursive()
endless_opt.define(Opt(endless_opt))
endless_vec = Recursive()
endless_vec.define(Vec(endless_vec))
endless_record = Recursive()
endless_record.define(Record({0: endless_record}))
TYPES: list[Type] = [Nat, Null, Reserved, Empty, Opt(Nat), endless_opt, endless_vec, endless_record, Vec(Opt(Nat))]

BOMBS = {
    "vec null": b"DIDL\x01\x6d\x7f\x01\x00" + BILLION,
    "vec reserved": b"DIDL\x01\x6d\x70\x01\x00" + BILLION,
    "vec record {}": b"DIDL\x02\x6d\x01\x6c\x00\x01\x00" + BILLION,
    "vec vec null": b"DIDL\x02\x6d\x01\x6d\x7f\x01\x00\xff\x7f" + b"\xff\x7f" * 16383,
    "vec nat64": b"DIDL\x01\x6d\x78\x01\x00" + BILLION + b"\0" * 100,
    "blob": b"DIDL\x01\x6d\x7b\x01\x00" + BILLION,
    "text": b"DIDL\x00\x01\x71" + BILLION,
    "record without end": b"DIDL\x01\x6c\x01\x00\x00\x01\x00",
    "variant without end": b"DIDL\x01\x6b\x01\x00\x00\x01\x00" + b"\0" * 100_000,
    "opt without end": b"DIDL\x01\x6e\x00\x01\x00" + b"\1" * 100_000,
    "vec without end": b"DIDL\x01\x6d\x00\x01\x00" + b"\1" * 100_000,
    "trees of vecs": b"DIDL\x01\x6d\x00\x01\x00\xa0\x8d\x06" + b"\0" * 300_000,
    "nat": b"DIDL\x00\x01\x7d" + b"\xff" * 2_000_000 + b"\0",
    "int": b"DIDL\x00\x01\x7c" + b"\xff" * 2_000_000 + b"\0",
    "future value": b"DIDL\x01\x67\x00\x01\x00" + BILLION + b"\0",
    "future references": b"DIDL\x01\x67\x00\x01\x00\x00\x05",
    "doubling records": b"DIDL\x1f"
    + b"".join(b"\x6c\x02\x00%c\x01%c" % (i + 1, i + 1) for i in range(30))
    + b"\x6c\x00\x01\x00",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_bombs(bomb: bytes) -> None:
    for kind in TYPES:
        with pytest.raises(FormatError):
            decode_as(bomb, [kind])
    with pytest.raises(FormatError):
        decode_as(bomb, [])
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            decode(bomb, limits=DEFAULT_LIMITS._replace(values=20_000))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_wide_subtype_question_is_refused() -> None:
    # Functions whose two hundred arguments are records of two hundred fields each, compared with other such records.
    def func_table(depth: int) -> bytes:
        rows = b"".join(
            b"\x6c"
            + write_unsigned(90)
            + b"".join(write_unsigned(i) + bytes((1 + (i + n) % depth,)) for i in range(90))
            for n in range(depth)
        )
        return b"DIDL" + write_unsigned(depth + 1) + b"\x6a\x00\x01\x01\x00" + rows + b"\x01\x00\x01\x01\x00\x01m"

    message = func_table(60)
    knots = [Recursive() for _ in range(60)]
    for n, knot in enumerate(knots):
        knot.define(Record({i: knots[(n * 7 + i) % 60] for i in range(90)}))
    limits = Limits(subtype_pairs=1000)
    with pytest.raises(FormatError, match="too large to compare"):
        decode_as(message, [Func((), [knots[0]])], limits=limits)


def test_limits_are_exact() -> None:
    limits = Limits(depth=5, values=10, number_bytes=4)
    nested = encode([Opt(Record({0: Vec(Variant({0: Bool}))}))], [{0: [{0: True}]}])
    assert decode(nested, limits=limits) == [{0: [{0: True}]}]
    for depth in range(5):
        with pytest.raises(FormatError, match="deeply"):
            decode(nested, limits=limits._replace(depth=depth))
    ten = encode([Vec(Bool)], [[True] * 9])
    assert decode(ten, limits=limits) == [[True] * 9]
    with pytest.raises(FormatError, match="limit"):
        decode(ten, limits=limits._replace(values=9))
    number = encode([Nat], [(1 << 28) - 1])
    assert decode(number, limits=limits) == [(1 << 28) - 1]
    with pytest.raises(FormatError, match="longer than 3 bytes"):
        decode(number, limits=limits._replace(number_bytes=3))


def test_depth_fits_the_interpreter() -> None:
    """The deepest value allowed takes few enough frames to be read far down in a reactor's stack."""
    raw = b"DIDL\x01\x6e\x00\x01\x00" + b"\1" * (DEFAULT_LIMITS.depth - 1) + b"\0"
    frames = 0
    frame = sys._getframe()
    while frame.f_back is not None:
        frames += 1
        frame = frame.f_back
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(frames + 2 * DEFAULT_LIMITS.depth + 60)
    try:
        decode(raw)
        decode_as(raw, [endless_opt])
    finally:
        sys.setrecursionlimit(before)


@given(st.binary(max_size=200), st.sampled_from(TYPES))
def test_any_bytes(data: bytes, kind: Type) -> None:
    for message in (data, b"DIDL" + data):
        try:
            decode_as(message, [kind])
        except FormatError:
            pass
        try:
            decode(message)
        except FormatError:
            pass


def test_mutations_of_the_bombs() -> None:
    chance = random.Random(7)
    limits = Limits(depth=30, values=2000, table_items=500, number_bytes=100)
    for bomb in BOMBS.values():
        for _ in range(40):
            raw = bytearray(bomb[:3000])
            for _ in range(chance.randrange(1, 4)):
                raw[chance.randrange(4, len(raw))] = chance.randrange(256)
            for kind in TYPES:
                try:
                    decode_as(bytes(raw), [kind], limits=limits)
                except FormatError:
                    pass
