"""Hypothesis strategies for Candid types and their values."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

from icwsgw.ic.candid import types as t
from icwsgw.ic.candid.types import nullable
from icwsgw.ic.candid.values import FuncRef, ServiceRef, Some
from icwsgw.ic.principal import Principal

principals = st.binary(max_size=29).map(Principal)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_wide = st.integers(-(1 << 200), 1 << 200)

_PRIMITIVES: list[tuple[t.Primitive, st.SearchStrategy[Any]]] = [
    (t.Null, st.none()),
    (t.Bool, st.booleans()),
    (t.Nat, st.one_of(st.integers(0, 300), _wide.map(abs))),
    (t.Int, st.one_of(st.integers(-300, 300), _wide)),
    *((kind, st.integers(0, (1 << bits) - 1)) for kind, bits in ((t.Nat8, 8), (t.Nat16, 16), (t.Nat32, 32))),
    (t.Nat64, st.integers(0, (1 << 64) - 1)),
    *((kind, st.integers(-1 << bits - 1, (1 << bits - 1) - 1)) for kind, bits in ((t.Int8, 8), (t.Int16, 16))),
    *((kind, st.integers(-1 << bits - 1, (1 << bits - 1) - 1)) for kind, bits in ((t.Int32, 32), (t.Int64, 64))),
    (t.Float32, st.floats(width=32, allow_nan=False)),
    (t.Float64, st.floats(allow_nan=False)),
    (t.Text, st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
    (t.Reserved, st.none()),
    (t.PrincipalType, principals),
]


class Schema(NamedTuple):
    """A type, and a strategy for its values."""

    kind: t.Type
    values: st.SearchStrategy[Any]


class Case(NamedTuple):
    """A type and one of its values."""

    kind: t.Type
    value: Any


def _optional(inner: Schema) -> Schema:
    present = inner.values.map(Some) if nullable(inner.kind) else inner.values
    return Schema(t.Opt(inner.kind), st.one_of(st.none(), present))


def _vector(inner: Schema) -> Schema:
    if inner.kind is t.Nat8:
        return Schema(t.Vec(inner.kind), st.binary(max_size=200))
    return Schema(t.Vec(inner.kind), st.lists(inner.values, max_size=4))


def _fields(inner: st.SearchStrategy[Schema], min_size: int) -> st.SearchStrategy[dict[Any, Schema]]:
    keys = st.one_of(names, st.integers(0, (1 << 32) - 1))
    unique = st.dictionaries(keys, inner, min_size=min_size, max_size=4)
    # The hash of a name may equal another key's number; a type cannot have both.
    return unique.filter(lambda d: len({t.hash_name(k) if isinstance(k, str) else k for k in d}) == len(d))


def _record(fields: dict[Any, Schema]) -> Schema:
    kind = t.Record({key: schema.kind for key, schema in fields.items()})
    return Schema(kind, st.fixed_dictionaries({key: schema.values for key, schema in fields.items()}))


def _variant(fields: dict[Any, Schema]) -> Schema:
    kind = t.Variant({key: schema.kind for key, schema in fields.items()})
    return Schema(kind, st.one_of([st.fixed_dictionaries({key: s.values}) for key, s in fields.items()]))


def _composite(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return st.one_of(
        inner.map(_optional),
        inner.map(_vector),
        _fields(inner, 0).map(_record),
        _fields(inner, 1).map(_variant),
    )


def _references() -> list[Schema]:
    func = t.Func([t.Nat], [t.Text], ["query"])
    return [
        Schema(func, st.builds(FuncRef, principals, names)),
        Schema(t.Service({"get": func, "set": t.Func()}), st.builds(ServiceRef, principals)),
    ]


primitive_schemas = st.sampled_from([Schema(kind, values) for kind, values in _PRIMITIVES])
data_schemas = st.recursive(primitive_schemas, _composite, max_leaves=8)
schemas = st.recursive(st.one_of(primitive_schemas, st.sampled_from(_references())), _composite, max_leaves=8)


def _case(schema: Schema) -> st.SearchStrategy[Case]:
    return schema.values.map(lambda value: Case(schema.kind, value))


cases = schemas.flatmap(_case)
data_cases = data_schemas.flatmap(_case)
