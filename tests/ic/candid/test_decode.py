"""Besides candid's own test data (test_suite.py): reading by the table alone, and agreement of the two ways."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.errors import FormatError
from icwsgw.ic.candid import (
    Blob,
    Bool,
    FuncRef,
    FutureValue,
    Int,
    Nat,
    Nat8,
    Nat32,
    Null,
    Opt,
    PrincipalType,
    Record,
    Reserved,
    ServiceRef,
    Some,
    Text,
    Tuple,
    Type,
    Variant,
    Vec,
    decode,
    decode_as,
    encode,
    hash_name,
)
from icwsgw.ic.candid import types as t
from icwsgw.ic.candid.types import resolve
from icwsgw.ic.principal import Principal
from tests.support.candid_strategies import Case, Schema, cases, schemas


def numbered(kind: Type, value: Any) -> Any:
    """A value as decode() gives it without names: fields and tags by their numbers."""
    kind = resolve(kind)
    if isinstance(kind, Opt) and value is not None:
        return Some(numbered(kind.inner, value.value)) if isinstance(value, Some) else numbered(kind.inner, value)
    if isinstance(kind, Vec) and not isinstance(value, bytes):
        return [numbered(kind.inner, item) for item in value]
    if isinstance(kind, (Record, Variant)):
        return {number: numbered(part, value[key]) for number, key, part in kind.fields if key in value}
    return value


@given(st.lists(cases, max_size=3))
def test_by_the_table_alone(args: list[Case]) -> None:
    kinds = [case.kind for case in args]
    raw = encode(kinds, [case.value for case in args])
    assert repr(decode(raw)) == repr([numbered(case.kind, case.value) for case in args])


@given(st.lists(cases, max_size=3))
def test_at_the_same_types(args: list[Case]) -> None:
    kinds = [case.kind for case in args]
    values = [case.value for case in args]
    assert decode_as(encode(kinds, values), kinds) == values


@given(cases)
def test_reserved_takes_everything_and_extra_arguments_are_dropped(case: Case) -> None:
    raw = encode([case.kind, Text], [case.value, "after"])
    assert decode_as(raw, [Reserved, Text]) == [None, "after"]
    assert decode_as(raw, []) == []


@given(cases, schemas)
def test_opt_takes_everything(case: Case, other: Schema) -> None:
    """Whatever is expected under an opt, the message is read to its end and what follows stays in place."""
    raw = encode([case.kind, Text], [case.value, "after"])
    value, after = decode_as(raw, [Opt(other.kind), Text])
    assert after == "after"
    if value is not None:
        encode([Opt(other.kind)], [value])


@given(cases, st.integers(1, 5))
def test_cut_messages_are_refused(case: Case, cut: int) -> None:
    raw = encode([case.kind], [case.value])
    with pytest.raises(FormatError):
        decode_as(raw[:-cut], [case.kind])
    with pytest.raises(FormatError):
        decode(raw + b"\0" * cut)


def test_names() -> None:
    raw = encode([Record({"a": Nat, "b": Variant({"Ok": Null})})], [{"a": 1, "b": {"Ok": None}}])
    assert decode(raw, names=["a", "b", "Ok"]) == [{"a": 1, "b": {"Ok": None}}]
    assert decode(raw, names=["a"]) == [{"a": 1, hash_name("b"): {17724: None}}]


def test_nested_options_stay_apart() -> None:
    kind = Opt(Opt(Nat))
    for value in (None, Some(None), Some(5)):
        raw = encode([kind], [value])
        assert decode(raw) == decode_as(raw, [kind]) == [value]
    assert decode_as(encode([Nat], [5]), [kind]) == [Some(5)]
    assert decode_as(encode([Opt(Null)], [Some(None)]), [Opt(Reserved)]) == [Some(None)]


def test_a_value_that_does_not_fit_is_null_in_the_nearest_opt_only() -> None:
    wire = Vec(Tuple(Nat, Tuple(Text, Blob)))
    raw = encode([wire, Text], [[{0: 1, 1: {0: "x", 1: b"yz"}}], "after"])
    assert decode_as(raw, [Vec(Tuple(Nat, Opt(Tuple(Text, Nat)))), Text]) == [[{0: 1, 1: None}], "after"]
    assert decode_as(raw, [Opt(Vec(Tuple(Nat, Tuple(Text, Nat)))), Text]) == [None, "after"]
    with pytest.raises(FormatError):
        decode_as(raw, [Vec(Tuple(Nat, Tuple(Text, Nat))), Text])


def test_what_is_malformed_is_not_null() -> None:
    raw = encode([Tuple(Bool, Text)], [{0: True, 1: "é"}])
    for broken in (raw[:-1] + b"(", raw.replace(b"\x01\x02\xc3", b"\x02\x02\xc3")):
        with pytest.raises(FormatError):
            decode_as(broken, [Opt(Nat)])


def test_vectors_of_other_elements_fit_when_empty() -> None:
    assert decode_as(encode([Vec(Text)], [[]]), [Blob]) == [b""]
    assert decode_as(encode([Blob], [b""]), [Vec(Text)]) == [[]]
    with pytest.raises(FormatError):
        decode_as(encode([Vec(Nat32)], [[1]]), [Blob])
    with pytest.raises(FormatError):
        decode_as(encode([Blob], [b"a"]), [Vec(Nat32)])
    assert decode_as(encode([Vec(Nat)], [[1, 2]]), [Vec(Int)]) == [[1, 2]]
    assert decode_as(encode([Blob], [b"\1\2"]), [Vec(Opt(Nat8))]) == [[1, 2]]


def test_references() -> None:
    principal = Principal(b"\xca\xff\xee")
    func, service = t.Func([Text], [Nat], ["query"]), t.Service()
    raw = encode([func, service], [FuncRef(principal, "get"), ServiceRef(principal)])
    assert decode(raw) == [FuncRef(principal, "get"), ServiceRef(principal)]
    assert decode_as(raw, [Opt(t.Func([Text], [Int], ["query"])), PrincipalType]) == [
        FuncRef(principal, "get"),
        principal,
    ]
    assert decode_as(raw, [Opt(t.Func([Text], [Int])), PrincipalType]) == [None, principal]


@pytest.mark.parametrize(
    "raw", [b"DIDL\x00\x01\x68\x00", b"DIDL\x01\x6a\x00\x00\x00\x01\x00\x00", b"DIDL\x01\x69\x00\x01\x00\x00"]
)
def test_opaque_references_are_refused(raw: bytes) -> None:
    with pytest.raises(FormatError, match="opaque"):
        decode(raw)


def test_principals_are_at_most_29_bytes() -> None:
    assert decode(b"DIDL\x00\x01\x68\x01\x1d" + b"a" * 29) == [Principal(b"a" * 29)]
    with pytest.raises(FormatError):
        decode(b"DIDL\x00\x01\x68\x01\x1e" + b"a" * 30)


def test_future_values() -> None:
    raw = b"DIDL\x01\x67\x03ABC\x02\x00\x7e\x05\x00hello\x01"
    assert decode(raw) == [FutureValue(-25, b"hello"), True]
    assert decode_as(raw, [Opt(Nat), Bool]) == [None, True]
    with pytest.raises(FormatError):
        decode_as(raw, [Nat, Bool])
