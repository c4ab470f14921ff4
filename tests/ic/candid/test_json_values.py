from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from icwsgw.errors import FormatError
from icwsgw.ic.candid import encode
from icwsgw.ic.candid import types as t
from icwsgw.ic.candid.json_values import value_from_json, value_to_json
from icwsgw.ic.candid.values import FuncRef, ServiceRef, Some
from icwsgw.ic.principal import Principal
from tests.support.candid_strategies import Case, cases

ID = "bkyz2-fmaaa-aaaaa-qaaaq-cai"
HERE = Principal.from_text(ID)
MIXED: dict[str | int, t.Type] = {"text": t.Text, 7: t.Opt(t.Nat)}


@given(cases)
def test_what_is_written_is_read_back(case: Case) -> None:
    written = json.loads(json.dumps(value_to_json(case.value, case.kind)))
    value = value_from_json(written, case.kind)
    assert encode([case.kind], [value]) == encode([case.kind], [case.value])


@pytest.mark.parametrize(
    ("value", "kind", "written"),
    [
        ({"text": "hi", 7: None}, t.Record(MIXED), {"text": "hi", "7": None}),
        ({0: 1, 1: "a"}, t.Tuple(t.Nat, t.Text), [1, "a"]),
        # a field whose name has the hash 0 makes no tuple
        ({"": 1}, t.Record({"": t.Nat}), {"": 1}),
        ({"ok": {}}, t.Variant({"ok": t.Record({})}), {"ok": {}}),
        (b"\x01\xff", t.Blob, "0x01ff"),
        (2**70, t.Nat, 2**70),
        (float("inf"), t.Float64, "inf"),
        (HERE, t.PrincipalType, ID),
        (ServiceRef(HERE), t.Service(), ID),
        (FuncRef(HERE, "f"), t.Func(), [ID, "f"]),
        (Some(3), t.Opt(t.Opt(t.Nat)), [3]),
    ],
)
def test_forms(value: Any, kind: t.Type, written: Any) -> None:
    assert value_to_json(value, kind) == written
    assert value_from_json(written, kind) == value


def test_a_number_that_is_too_long_for_decimal_digits_is_a_text_of_hex_digits() -> None:
    for number in (1 << 20_000, -(1 << 20_000)):
        written = value_to_json(number, t.Int)
        assert isinstance(written, str)
        assert json.loads(json.dumps(written)) == written
        assert value_from_json(written, t.Int) == number
    assert value_to_json(10**4000, t.Nat) == 10**4000
    with pytest.raises(FormatError, match="is not nat8"):
        value_from_json("0x" + "f" * 5000, t.Nat8)
    with pytest.raises(FormatError, match="is not nat"):
        value_from_json("0xg", t.Nat)


def test_other_forms_that_are_read() -> None:
    assert value_from_json("18446744073709551615", t.Nat64) == 2**64 - 1
    assert value_from_json(3.0, t.Nat8) == 3
    assert value_from_json([1, 2], t.Blob) == b"\x01\x02"
    assert value_from_json("ff", t.Blob) == b"\xff"
    assert value_from_json("stop", t.Variant({"stop": t.Null})) == {"stop": None}
    assert value_from_json(1, t.Float64) == 1.0
    assert value_from_json({"any": 1}, t.Reserved) is None


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ({"txet": "hi"}, t.Record({"text": t.Text}), "no field 'txet'; it has text"),
        ({}, t.Record({"text": t.Text}), "lacks the field 'text'"),
        ([], t.Record({"text": t.Text}), "not a record with text"),
        ({"a": 1}, t.Variant({"b": t.Nat}), "no tag 'a'; it has b"),
        ({"a": 1, "b": 2}, t.Variant({"b": t.Nat}), "not a variant"),
        (256, t.Nat8, "256 is not nat8"),
        (1.5, t.Nat, "is not nat"),
        (True, t.Nat, "is not nat"),
        ("x", t.Int, "is not int"),
        (1e400, t.Int, "is not int"),
        (1, t.Text, "is not text"),
        (None, t.Bool, "is not bool"),
        ("zz", t.Blob, "not a blob"),
        (5, t.Vec(t.Nat), "not a list"),
        (5, t.Opt(t.Opt(t.Nat)), "not null and not"),
        ("aaaaa", t.PrincipalType, "principal"),
        (1, t.Empty, "is not empty"),
    ],
)
def test_wrong_values(value: Any, kind: t.Type, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        value_from_json(value, kind)
