"""Values in Candid's notation; the assertions of dfinity/candid are in test_suite.py."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.errors import FormatError
from icwsgw.ic.candid import types as t
from icwsgw.ic.candid.text_values import check_range, fit, parse_values
from icwsgw.ic.candid.values import FuncRef, ServiceRef, Some
from icwsgw.ic.principal import Principal

ID = "bkyz2-fmaaa-aaaaa-qaaaq-cai"
HERE = Principal.from_text(ID)
PAIR = t.Record({"text": t.Text, "count": t.Opt(t.Nat)})


@pytest.mark.parametrize(
    ("source", "kind", "value"),
    [
        ('(record { text = "hi"; count = opt 3 })', PAIR, {"text": "hi", "count": 3}),
        ('record { "text" = "hi" }', PAIR, {"text": "hi", "count": None}),
        ('record { text = "hi"; count = 3 : nat; }', PAIR, {"text": "hi", "count": 3}),
        ("(5 : nat8)", t.Nat8, 5),
        ("((5))", t.Int, 5),
        ("-0x_ff".replace("_", ""), t.Int, -255),
        ("1_000", t.Nat, 1000),
        ("inf", t.Float64, float("inf")),
        ("-inf", t.Float64, float("-inf")),
        ("1", t.Float32, 1.0),
        ("variant { a }", t.Variant({"a": t.Null}), {"a": None}),
        ("variant { b = vec { 1; 2 }; }", t.Variant({"b": t.Vec(t.Int8)}), {"b": [1, 2]}),
        (r'blob "\00a"', t.Blob, b"\x00a"),
        ("vec { 1; 255 }", t.Blob, b"\x01\xff"),
        (f'principal "{ID}"', t.PrincipalType, HERE),
        (f'service "{ID}"', t.Service(), ServiceRef(HERE)),
        (f'func "{ID}".run', t.Func(), FuncRef(HERE, "run")),
        ("record { 1; 2 }", t.Tuple(t.Nat, t.Nat), {0: 1, 1: 2}),
        ("opt null", t.Opt(t.Opt(t.Nat)), Some(None)),
        ("null", t.Opt(t.Opt(t.Nat)), None),
        ("true", t.Bool, True),
        ("record { 1 }", t.Reserved, None),
    ],
)
def test_values(source: str, kind: t.Type, value: Any) -> None:
    assert parse_values(source, [kind]) == [value]


def test_arguments_may_be_fewer_or_more_as_in_a_message() -> None:
    assert parse_values("(1, 2, 3)", [t.Nat, t.Nat]) == [1, 2]
    assert parse_values("(1)", [t.Nat, t.Opt(t.Nat)]) == [1, None]


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("(256)", t.Nat8, "256 is not nat8"),
        ("(-1)", t.Nat, "-1 is not nat"),
        ("(1.5)", t.Nat, "1.5 is not nat"),
        ('("a")', t.Nat, "text does not fit nat"),
        ("record {}", PAIR, "field text is missing"),
        ("variant { c }", t.Variant({"a": t.Null}), "no tag c"),
        ("record { 1; 0 = 2 }", t.Record({}), "stands twice"),
        (r'"\ff"', t.Text, "not UTF-8"),
        ("(1, 2", t.Nat, "expected"),
        ("1 2", t.Nat, "end expected"),
        ("maybe", t.Nat, "a value expected"),
        ("(1, 2) 3", t.Nat, "end expected"),
        ("((1, 2))", t.Nat, "one value in parentheses"),
        ("3", t.Opt(t.Opt(t.Nat)), "is not an opt"),
        ("opt " * 300 + "1", t.Nat, "nested"),
        ("0x" + "f" * 5000, t.Nat8, "0xfff.* is not nat8"),
        ("0x" + "f" * 300, t.Float64, "0xfff.* is not float64"),
        ("9" * 5000, t.Nat, "is not nat"),
    ],
)
def test_wrong_values(source: str, kind: t.Type, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse_values(source, [kind])


def test_a_bare_value_is_an_opt_only_where_the_caller_says_so() -> None:
    assert fit(("number", "3"), t.Opt(t.Nat), bare_opt=True) == 3
    with pytest.raises(FormatError, match="not an opt"):
        fit(("number", "3"), t.Opt(t.Nat))


def test_an_endless_type_ends() -> None:
    endless = t.Recursive()
    endless.define(t.Opt(endless))
    with pytest.raises(FormatError):
        parse_values("1", [endless])


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        (t.Nat8, 0, 255),
        (t.Nat64, 0, 2**64 - 1),
        (t.Int8, -128, 127),
        (t.Int64, -(2**63), 2**63 - 1),
    ],
)
def test_ranges(kind: t.Primitive, low: int, high: int) -> None:
    assert (check_range(low, kind), check_range(high, kind)) == (low, high)
    for number in (low - 1, high + 1):
        with pytest.raises(FormatError):
            check_range(number, kind)
    assert check_range(-(10**50), t.Int) == -(10**50)
