"""Besides candid's own test data (subtypes.test.did, by test_suite.py)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.errors import FormatError
from icwsgw.ic.candid import types as t
from icwsgw.ic.candid.subtype import is_subtype
from tests.support.candid_strategies import schemas


def sub(left: t.Type, right: t.Type) -> bool:
    return is_subtype(left, right, 1000)


@given(schemas)
def test_reflexive_and_bounded(schema: object) -> None:
    kind = schema.kind  # type: ignore[attr-defined]
    assert sub(kind, kind)
    assert sub(kind, t.Reserved)
    assert sub(t.Empty, kind)
    assert sub(kind, t.Opt(t.Empty))


@given(st.lists(schemas, min_size=1, max_size=3), schemas)
def test_width_of_records_variants_and_functions(parts: list[object], more: object) -> None:
    kinds = [part.kind for part in parts]  # type: ignore[attr-defined]
    wider = [*kinds, more.kind]  # type: ignore[attr-defined]
    assert sub(t.Tuple(*wider), t.Tuple(*kinds))
    assert sub(t.Tuple(*kinds), t.Tuple(*wider)) == t.nullable(wider[-1])
    assert sub(t.Variant(dict(enumerate(kinds))), t.Variant(dict(enumerate(wider))))
    assert not sub(t.Variant(dict(enumerate(wider))), t.Variant(dict(enumerate(kinds))))
    # Arguments go the other way.
    assert sub(t.Func(kinds, wider), t.Func(wider, kinds))


def test_annotations_must_agree() -> None:
    assert not sub(t.Func((), (), ["query"]), t.Func())
    assert sub(t.Func((), (), ["query"]), t.Func((), (), ["query"]))


def test_references_and_principals() -> None:
    assert sub(t.Service({"a": t.Func()}), t.Service())
    assert not sub(t.Service(), t.Service({"a": t.Func()}))
    assert sub(t.Service(), t.PrincipalType)
    assert not sub(t.PrincipalType, t.Service())
    assert not sub(t.Func(), t.PrincipalType)


def test_future_types_relate_to_nothing_else() -> None:
    future = t.Future(-25)
    assert sub(future, future)
    assert sub(future, t.Opt(t.Nat))
    assert not sub(future, t.Future(-25))


def test_infinite_types() -> None:
    one, two = t.Recursive(), t.Recursive()
    one.define(t.Record({"next": t.Opt(one), "value": t.Nat}))
    two.define(t.Record({"next": t.Opt(t.Record({"next": t.Opt(two)})), "value": t.Int}))
    assert sub(one, two)
    assert not sub(two, one)


def test_deep_types_need_no_recursion_and_large_ones_are_refused() -> None:
    left: t.Type = t.Nat
    right: t.Type = t.Int
    for _ in range(5000):
        left, right = t.Vec(left), t.Vec(right)
    assert is_subtype(left, right, 10_000)
    assert not is_subtype(right, left, 10_000)
    with pytest.raises(FormatError, match="too large"):
        is_subtype(left, right, 1000)
    wide = t.Tuple(*[t.Vec(t.Nat) for _ in range(2000)])
    with pytest.raises(FormatError, match="too large"):
        is_subtype(wide, t.Tuple(*[t.Vec(t.Nat) for _ in range(2000)]), 1000)


def test_each_part_is_compared_though_the_same_type_is_expected_of_several() -> None:
    expected = t.Vec(t.Text)
    wide = t.Record({"a": expected, "b": expected})
    assert is_subtype(t.Record({"a": t.Vec(t.Text), "b": t.Vec(t.Text)}), wide, 100)
    assert not is_subtype(t.Record({"a": t.Vec(t.Text), "b": t.Vec(t.Nat)}), wide, 100)
    assert not is_subtype(t.Record({"a": t.Vec(t.Nat), "b": t.Vec(t.Text)}), wide, 100)
