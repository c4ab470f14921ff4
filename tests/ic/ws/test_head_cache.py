from __future__ import annotations

import pytest
from hypothesis import given

from icwsgw.errors import FormatError
from icwsgw.ic.candid import Blob, Bool, Nat, Nat32, Opt, Record, Text, Type, Variant, Vec, encode, encode_head
from icwsgw.ic.candid.table import read_head
from icwsgw.ic.candid.types import resolve
from icwsgw.ic.ws.head_cache import MAX_HEAD_SIZE, MAX_HEADS, CandidHeadCache, same_type
from tests.support.candid_strategies import Schema, data_schemas

KNOWN = [(encode_head([Bool]), 7)]


def count_args(args: list[Type]) -> int:
    return len(args)


def test_known_heads_are_found_and_others_learnt() -> None:
    calls: list[int] = []

    def classify(args: list[Type]) -> int:
        calls.append(len(args))
        return len(args)

    heads = CandidHeadCache(KNOWN, classify)
    assert heads.find(encode([Bool], [True])) == (len(KNOWN[0][0]), 7)
    assert calls == []
    message = encode([Record({"a": Nat}), Text], [{"a": 1}, "x"])
    size = len(encode_head([Record({"a": Nat}), Text]))
    for _ in range(3):
        assert heads.find(message) == (size, 2)
    assert calls == [2]
    heads.forget()
    assert heads.rows == KNOWN


def test_heads_are_bounded() -> None:
    """A sender that makes up a head for each message neither fills the memory nor drives out the known ones."""
    heads = CandidHeadCache(KNOWN, count_args)
    for i in range(3 * MAX_HEADS):
        message = encode([Record({i: Nat})], [{i: 1}])
        for _ in range(2):
            assert heads.find(message)[1] == 1
        assert len(heads.rows) <= MAX_HEADS
        assert heads.rows[:1] == KNOWN
    before = list(heads.rows)
    huge = Record({f"extra{i}": Opt(Nat32) for i in range(300)})
    assert heads.find(encode([huge], [{}]))[0] > MAX_HEAD_SIZE
    assert heads.rows == before


@pytest.mark.parametrize("message", [b"", b"DIDL", b"DIDL\x01\x6d", b"XXXX\x00\x00"])
def test_malformed_heads_are_not_kept(message: bytes) -> None:
    heads = CandidHeadCache(KNOWN, count_args)
    with pytest.raises(FormatError):
        heads.find(message)
    assert heads.rows == KNOWN


@given(data_schemas)
def test_a_type_is_the_same_after_its_journey(schema: Schema) -> None:
    (wire,) = read_head(encode_head([schema.kind])).args
    assert same_type(wire, resolve(schema.kind))


def test_other_types_are_not_the_same() -> None:
    kinds: list[Type] = [Nat, Text, Blob, Vec(Nat), Opt(Nat), Record({}), Record({"a": Nat}), Record({"b": Nat})]
    kinds += [Record({"a": Text}), Record({"a": Nat, "b": Nat}), Variant({"a": Nat}), Variant({})]
    for i, left in enumerate(kinds):
        for j, right in enumerate(kinds):
            assert same_type(left, right) == (i == j)
