from __future__ import annotations

import math

import pytest
from hypothesis import given

from icwsgw.ic.candid import encode
from icwsgw.ic.candid import types as t
from icwsgw.ic.candid.printing import format_value, format_values
from icwsgw.ic.candid.text_values import parse_values
from icwsgw.ic.candid.values import FuncRef, Some
from icwsgw.ic.principal import Principal
from tests.support.candid_strategies import Case, cases


@given(cases)
def test_what_is_written_is_read_back(case: Case) -> None:
    text = format_values([case.value], [case.kind])
    (value,) = parse_values(text, [case.kind], bare_opt=False)
    assert encode([case.kind], [value]) == encode([case.kind], [case.value])


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ({"text": "hi", "n": 3}, t.Record({"text": t.Text, "n": t.Nat8}), 'record { n = 3 : nat8; text = "hi" }'),
        ({}, t.Record({}), "record {}"),
        ({0: 1, 1: -2}, t.Tuple(t.Nat, t.Int), "record { 1 : nat; -2 }"),
        ({"some tag": None}, t.Variant({"some tag": t.Null}), 'variant { "some tag" }'),
        ({"type": 1.5}, t.Variant({"type": t.Float64}), 'variant { "type" = 1.5 : float64 }'),
        (b'\x00"a', t.Blob, r'blob "\00\22a"'),
        ([True, False], t.Vec(t.Bool), "vec { true; false }"),
        (Some(None), t.Opt(t.Opt(t.Nat)), "opt null"),
        (FuncRef(Principal(b""), "go"), t.Func(), 'func "aaaaa-aa".go'),
    ],
)
def test_forms(value: object, kind: t.Type, text: str) -> None:
    assert format_value(value, kind) == text


@pytest.mark.parametrize("kind", [t.Nat, t.Int])
def test_a_number_that_is_too_long_for_decimal_digits_is_written_in_hex(kind: t.Type) -> None:
    """Python refuses to write more than 4300 digits, which takes quadratic time."""
    for number in (10**4200, 1 << 20_000, 256**60_000):
        text = format_values([number], [kind])
        assert parse_values(text, [kind]) == [number]
    assert format_value(1 << 20_000, kind).startswith("0x1000")
    assert format_value(-(1 << 20_000), t.Int).startswith("-0x1000")


def test_a_terminal_is_safe_from_texts() -> None:
    assert format_value("a\x1b[31m\u202e\n", t.Text) == '"a\\u{1b}[31m\\u{202e}\\n"'


def test_nan() -> None:
    assert format_value(math.nan, t.Float64) == "nan : float64"
