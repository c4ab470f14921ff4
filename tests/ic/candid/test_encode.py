"""Encoding; icp-py-core, which was not made here, reads what we write and writes what we read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.errors import FormatError
from icwsgw.ic.candid import (
    Blob,
    Bool,
    Empty,
    Float32,
    FuncRef,
    FutureValue,
    Int,
    Int8,
    Nat,
    Nat8,
    Nat64,
    Null,
    Opt,
    PrincipalType,
    Record,
    Recursive,
    Reserved,
    Some,
    Text,
    Type,
    Variant,
    Vec,
    decode_as,
    encode,
    encode_head,
    encode_values,
)
from icwsgw.ic.candid import types as t
from icwsgw.ic.principal import Principal
from tests.support.candid_strategies import Case, data_cases


def their_type(kind: Type, types: Any) -> Any:
    if isinstance(kind, Opt):
        return types.Opt(their_type(kind.inner, types))
    if isinstance(kind, Vec):
        return types.Vec(their_type(kind.inner, types))
    if isinstance(kind, Record):
        return types.Record({str_key(number, key): their_type(part, types) for number, key, part in kind.fields})
    if isinstance(kind, Variant):
        return types.Variant({str_key(number, key): their_type(part, types) for number, key, part in kind.fields})
    assert isinstance(kind, t.Primitive)
    return getattr(types, kind.name.capitalize())


def str_key(number: int, key: str | int) -> str | int:
    """Theirs takes a name made of digits for a number."""
    return number if isinstance(key, str) and (key.isdigit() or key.startswith("_")) else key


def their_value(kind: Type, value: Any) -> Any:
    if isinstance(kind, Opt):
        if value is None:
            return []
        return [their_value(kind.inner, value.value if isinstance(value, Some) else value)]
    if isinstance(kind, Vec):
        return value if isinstance(value, bytes) else [their_value(kind.inner, item) for item in value]
    if isinstance(kind, Record):
        return {str(str_key(n, key)): their_value(part, value[key]) for n, key, part in kind.fields}
    if isinstance(kind, Variant):
        return {str_key(n, key): their_value(part, value[key]) for n, key, part in kind.fields if key in value}
    return value.raw if isinstance(value, Principal) else value


@given(st.lists(data_cases, min_size=1, max_size=3))
def test_icp_py_core_agrees(args: list[Case]) -> None:
    icp_candid = pytest.importorskip("icp_candid")
    kinds = [case.kind for case in args]
    values = [case.value for case in args]
    theirs = [their_type(kind, icp_candid.Types) for kind in kinds]
    params = [
        {"type": kind, "value": their_value(case.kind, case.value)} for kind, case in zip(theirs, args, strict=True)
    ]
    assert decode_as(icp_candid.encode(params), kinds) == values
    # What they read of ours, they write again and we read it.
    read = icp_candid.decode(encode(kinds, values), theirs)
    again = [{"type": kind, "value": row["value"]} for kind, row in zip(theirs, read, strict=True)]
    assert decode_as(icp_candid.encode(again), kinds) == values


def test_known_messages() -> None:
    assert encode([], []) == b"DIDL\x00\x00"
    assert encode([Nat], [128]) == b"DIDL\x00\x01\x7d\x80\x01"
    list_type = Recursive()
    list_type.define(Opt(Record({"head": Int, "tail": list_type})))
    raw = encode([list_type], [{"head": 1, "tail": {"head": 2, "tail": None}}])
    # "record: list" of construct.test.did, shortened
    assert (
        raw == b"DIDL\x02\x6e\x01\x6c\x02\xa0\xd2\xac\xa8\x04\x7c\x90\xed\xda\xe7\x04\x00\x01\x00\x01\x01\x01\x02\x00"
    )


def test_a_node_is_listed_once() -> None:
    assert encode_head([Blob, Blob, Record({0: Blob})]) == b"DIDL\x02\x6d\x7b\x6c\x01\x00\x00\x03\x00\x00\x01"


def test_function_and_service_types() -> None:
    func = t.Func([Text], [Nat], ["composite_query", "query"])
    service = t.Service({"b": func, "a": func})
    raw = encode_head([service])
    assert raw == b"DIDL\x02\x69\x02\x01a\x01\x01b\x01\x6a\x01\x71\x01\x7d\x02\x01\x03\x01\x00"


def test_fields_that_may_be_null_may_be_left_out() -> None:
    kind = Record({"a": Opt(Nat), "b": Null, "c": Reserved, "d": Nat})
    raw = encode([kind], [{"d": 5}])
    assert decode_as(raw, [kind]) == [{"a": None, "b": None, "c": None, "d": 5}]


def test_bytes_alike_and_lists_make_a_blob() -> None:
    expected = encode([Blob], [b"\1\2"])
    for value in (bytearray(b"\1\2"), memoryview(b"\1\2"), [1, 2]):
        assert encode([Blob], [value]) == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Nat, -1),
        (Nat, True),
        (Nat, 1.0),
        (Int, "1"),
        (Int, False),
        (Nat8, 256),
        (Nat8, -1),
        (Nat8, True),
        (Nat64, 1 << 64),
        (Int8, 128),
        (Float32, "x"),
        (Float32, 1e300),
        (Bool, 1),
        (Null, 0),
        (Text, b"x"),
        (Text, "\ud800"),
        (Empty, None),
        (PrincipalType, b"x"),
        (Blob, [256]),
        (Blob, "x"),
        (Vec(Nat), b"\1"),
        (Vec(Nat), 5),
        (Vec(Text), "abc"),
        (Record({"a": Nat}), {}),
        (Record({"a": Nat}), {"a": 1, "b": 2}),
        (Record({}), []),
        (Variant({"a": Null}), {"b": None}),
        (Variant({"a": Null, "b": Null}), {"a": None, "b": None}),
        (Variant({"a": Null}), "a"),
        (Opt(Opt(Nat)), 5),
        (Opt(Null), 5),
        (t.Service(), Principal(b"")),
        (t.Func(), Principal(b"")),
        (t.Future(-25), FutureValue(-25, b"")),
        (t.Service({"a": Nat}), FuncRef(Principal(b""), "a")),
        (Recursive(), None),
    ],
)
def test_values_not_of_their_type(kind: Type, value: Any) -> None:
    with pytest.raises(FormatError):
        encode([kind], [value])


def test_number_of_values() -> None:
    with pytest.raises(FormatError):
        encode_values([Nat], [])


def test_values_are_not_nested_without_bound() -> None:
    kind = Recursive()
    kind.define(Opt(kind))
    value: Any = None
    for _ in range(2000):
        value = Some(value)
    with pytest.raises(FormatError, match="deeply"):
        encode([kind], [value])


def _nested(kind: str, levels: int) -> tuple[Type, Any]:
    own = Recursive()
    value: Any = None
    if kind == "opt":
        own.define(Opt(own))
        for _ in range(levels):
            value = Some(value)
    elif kind == "vec":
        own.define(Vec(own))
        value = []
        for _ in range(levels):
            value = [value]
    elif kind == "record":
        own.define(Record({"a": Opt(own)}))
        value = {}
        for _ in range(levels // 2):
            value = {"a": value}
    else:
        own.define(Variant({"end": Null, "more": own}))
        value = {"end": None}
        for _ in range(levels):
            value = {"more": value}
    return own, value


@pytest.mark.parametrize("kind", ["opt", "vec", "record", "variant"])
def test_values_of_every_kind_are_nested_so_deep_and_no_deeper(kind: str) -> None:
    type_, value = _nested(kind, 98)
    assert encode([type_], [value])
    for levels in (102, 2000):
        type_, value = _nested(kind, levels)
        with pytest.raises(FormatError, match="deeply"):
            encode([type_], [value])


def test_an_opt_may_be_nested_99_times() -> None:
    type_, value = _nested("opt", 99)
    assert encode([type_], [value])
    type_, value = _nested("opt", 100)
    with pytest.raises(FormatError, match="deeply"):
        encode([type_], [value])
