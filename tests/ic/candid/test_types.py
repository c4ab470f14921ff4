from __future__ import annotations

import pytest

from icwsgw.errors import FormatError
from icwsgw.ic.candid import types as t


def test_hash_of_names() -> None:
    # From candid's test data: foo, bar, Ok, Err as LEB128 in type tables.
    assert t.hash_name("foo") == 5097222
    assert t.hash_name("bar") == 4895187
    assert t.hash_name("Ok") == 17724
    assert t.hash_name("Err") == 3456837
    assert t.hash_name("") == 0


def test_fields_are_sorted_by_id() -> None:
    fields: dict[str | int, t.Type] = {"key": t.Text, "client_key": t.Nat, 7: t.Bool, "content": t.Blob}
    kind = t.Record(fields)
    assert [key for _, key, _ in kind.fields] == [7, "key", "content", "client_key"]
    assert [number for number, _, _ in kind.fields] == sorted(number for number, _, _ in kind.fields)


def test_fields_with_one_id_are_refused() -> None:
    fields: dict[str | int, t.Type] = {"Ok": t.Null, 17724: t.Null}
    with pytest.raises(FormatError, match="same id"):
        t.Record(fields)


@pytest.mark.parametrize("number", [-1, 1 << 32])
def test_field_ids_have_32_bits(number: int) -> None:
    with pytest.raises(FormatError, match="32 bits"):
        t.Variant({number: t.Null})


def test_tuple_is_a_record() -> None:
    assert [(key, kind) for _, key, kind in t.Tuple(t.Nat, t.Text).fields] == [(0, t.Nat), (1, t.Text)]


def test_methods_are_sorted_by_name_as_bytes() -> None:
    func = t.Func()
    assert list(t.Service({"\U0001f402": func, "foo": func, "\uffee": func}).methods) == ["foo", "\uffee", "\U0001f402"]


def test_unknown_annotation() -> None:
    with pytest.raises(FormatError, match="annotation"):
        t.Func((), (), ["update"])


def test_nullable() -> None:
    name = t.Recursive()
    name.define(t.Opt(name))
    assert all(map(t.nullable, (t.Null, t.Reserved, t.Opt(t.Nat), name)))
    assert not any(map(t.nullable, (t.Nat, t.Empty, t.Blob, t.Record({}), t.Future(-30))))


def test_resolve() -> None:
    outer, inner = t.Recursive(), t.Recursive()
    outer.define(inner)
    with pytest.raises(FormatError, match="without meaning"):
        t.resolve(outer)
    inner.define(outer)
    with pytest.raises(FormatError, match="without meaning"):
        t.resolve(outer)
    inner.define(t.Nat)
    assert t.resolve(outer) is t.Nat


def test_repr_is_short_for_recursive_types_too() -> None:
    name = t.Recursive()
    assert repr(name.define(t.Opt(name))) == "<candid opt>"
    assert repr(t.Nat64) == "nat64"
