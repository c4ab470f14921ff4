"""``.did`` files, against the parser of dfinity/candid (the Python package ic-candid-parser)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from _ic_candid_core import _ic_candid_core as rust
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.errors import FormatError
from icwsgw.ic import candid
from icwsgw.ic.candid import types as t
from icwsgw.ic.candid.did import Interface, message_type, parse_did
from tests.support.candid_strategies import Schema, schemas

DEVNET = Path(__file__).parents[3] / "icwsgw" / "devnet"
WRITTEN = """
// a service of many forms
type list = opt record { head : int; tail : list };
type Key = record { nat; 7 : text; blob };
type callback = func (list, names : vec text) -> () oneway;
type other = service { get : () -> (opt float64) query; "odd name" : callback };
type shape = variant { circle : float32; "square" : record { side : nat16 }; none };
type reserved_ones = record { a : reserved; b : empty; c : null; d : principal; e : bool };
service counter : (start : nat, opt list) -> {
  add : (nat32, by : int8) -> (nat64, shape);
  read : (Key) -> (other) composite_query;
  on : callback;
  all : (reserved_ones) -> ();
}
"""


class Rust:
    """What the Rust parser says of a file, as our types."""

    def __init__(self, source: str) -> None:
        document = json.loads(rust.parse_did(source))
        self.names = {entry["name"]: t.Recursive() for entry in document["env"]}
        for entry in document["env"]:
            self.names[entry["name"]].define(self.type(entry["datatype"]))
        actor = document.get("actor") or {"methods": []}
        self.methods = {method["name"]: self.func(method) for method in actor["methods"]}

    def func(self, entry: dict[str, Any]) -> t.Func:
        modes = [{"compositequery": "composite_query"}.get(mode, mode) for mode in entry["modes"]]
        return t.Func(map(self.type, entry["args"]), map(self.type, entry["rets"]), modes)

    def type(self, entry: dict[str, Any]) -> t.Type:
        kind: str = entry["type"]
        value: Any = entry.get("value")
        if kind == "Prim":
            return next(found for found in t.PRIMITIVES.values() if found.name == value)
        if kind == "Principal":
            return t.PrincipalType
        if kind == "Id":
            return self.names[value]
        if kind in ("Opt", "Vec"):
            return (t.Opt if kind == "Opt" else t.Vec)(self.type(value))
        if kind in ("Record", "Variant"):
            fields = {key if not str(key).isdigit() else int(key): self.type(part) for key, part in value}
            return (t.Record if kind == "Record" else t.Variant)(fields)
        if kind == "Func":
            return self.func(value)
        assert kind == "Service", entry
        return t.Service({method["name"]: self.func(method) for method in value})


def same(a: t.Type, b: t.Type, assumed: frozenset[tuple[int, int]] = frozenset()) -> bool:
    """Whether two types, which may be cyclic, have the same structure."""
    a, b = t.resolve(a), t.resolve(b)
    pair = (id(a), id(b))
    if pair in assumed:
        return True
    assumed |= {pair}
    if type(a) is not type(b) or a.code != b.code:
        return False
    if isinstance(a, (t.Opt, t.Vec)) and isinstance(b, (t.Opt, t.Vec)):
        return same(a.inner, b.inner, assumed)
    if isinstance(a, (t.Record, t.Variant)) and isinstance(b, (t.Record, t.Variant)):
        parts = zip(a.fields, b.fields, strict=False)
        return len(a.fields) == len(b.fields) and all(
            x == y and same(one, other, assumed) for (x, _, one), (y, _, other) in parts
        )
    if isinstance(a, t.Func) and isinstance(b, t.Func):
        return a.annotations == b.annotations and all(
            len(x) == len(y) and all(same(one, other, assumed) for one, other in zip(x, y, strict=True))
            for x, y in ((a.args, b.args), (a.results, b.results))
        )
    if isinstance(a, t.Service) and isinstance(b, t.Service):
        return list(a.methods) == list(b.methods) and all(
            same(kind, b.methods[name], assumed) for name, kind in a.methods.items()
        )
    return True


def test_the_devnet_s_interfaces_are_read_as_rust_reads_them() -> None:
    for name in ("echo.did", "chat.did"):
        source = (DEVNET / name).read_text()
        ours, theirs = parse_did(source), Rust(source)
        assert set(ours.types) == set(theirs.names)
        assert all(same(ours.types[name], theirs.names[name]) for name in ours.types)
        assert ours.service is not None
        assert same(ours.service, t.Service(theirs.methods))


def test_what_a_file_may_have() -> None:
    found = parse_did(WRITTEN)
    assert list(found.types) == ["list", "Key", "callback", "other", "shape", "reserved_ones"]
    add = found.method("add")
    assert add is not None
    assert [kind.code for kind in add.args] == [t.NAT32, t.INT8]
    read = found.method("read")
    assert read is not None
    assert read.annotations == {"composite_query"}
    key = found.types["Key"]
    assert isinstance(key, t.Record)
    assert [number for number, _, _ in key.fields] == [0, 7, 8]
    named = found.method("on")
    assert named is not None
    assert named.annotations == {"oneway"}
    assert found.method("missing") is None
    # a type that contains itself
    (value,) = candid.decode_as(
        candid.encode([found.types["list"]], [{"head": 1, "tail": {"head": 2, "tail": None}}]), [found.types["list"]]
    )
    assert value == {"head": 1, "tail": {"head": 2, "tail": None}}


def test_the_same_file_read_by_rust() -> None:
    # that package does not tell the types of methods that have the name of a type
    source = WRITTEN.replace('"odd name" : callback', '"odd name" : (nat) -> ()').replace("  on : callback;\n", "")
    ours, theirs = parse_did(source), Rust(source)
    assert set(ours.types) == set(theirs.names)
    assert [name for name in ours.types if not same(ours.types[name], theirs.names[name])] == []
    assert ours.service is not None
    assert same(ours.service, t.Service(theirs.methods))


def text_of(kind: t.Type) -> str:
    """A type in Candid's notation."""
    if isinstance(kind, t.Primitive):
        return kind.name
    if isinstance(kind, (t.Opt, t.Vec)):
        return f"{'opt' if isinstance(kind, t.Opt) else 'vec'} {text_of(kind.inner)}"
    if isinstance(kind, (t.Record, t.Variant)):
        fields = "; ".join(
            f"{key if isinstance(key, int) else quoted(key)} : {text_of(p)}" for _, key, p in kind.fields
        )
        return f"{'record' if isinstance(kind, t.Record) else 'variant'} {{ {fields} }}"
    if isinstance(kind, t.Func):
        return f"func {signature(kind)}"
    assert isinstance(kind, t.Service)
    parts = (f"{quoted(name)} : {signature(f)}" for name, f in kind.methods.items() if isinstance(f, t.Func))
    return f"service {{ {'; '.join(parts)} }}"


def signature(kind: t.Func) -> str:
    return f"({', '.join(map(text_of, kind.args))}) -> ({', '.join(map(text_of, kind.results))}) " + " ".join(
        kind.annotations
    )


def quoted(name: str) -> str:
    return '"' + "".join(f"\\u{{{ord(character):x}}}" for character in name) + '"'


@given(schemas)
def test_any_type_is_read_back(schema: Schema) -> None:
    found = parse_did(f"type it = {text_of(schema.kind)};")
    assert same(found.types["it"], schema.kind)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("type a = b;", "type b is not defined"),
        ("type a = nat; type a = int;", "type a is defined twice"),
        ("type nat = int;", "type nat is defined twice"),
        ("type a = a;", "recursive type without meaning"),
        ("type a = record { x : nat; x : int };", "two fields of one name"),
        ('import "other.did"; type a = nat;', "imports are not supported"),
        ("service : { a : () -> (); a : () -> () }", "two methods of one name"),
        ("service : { a : () -> () } service : {}", "; expected"),
        ("service : { a : () -> () }; service : {}", "type expected"),
        ("type a = nat", None),
        ("service : a; type a = nat", "is none of a service"),
        ("type a = vec", "word expected, not the end"),
        ("type a = record { -1 : nat }", "a field expected"),
        ("type a = record { 4294967296 : nat }", "outside 32 bits"),
        ("type a = " + "opt " * 300 + "nat;", "nested"),
        ("type a = " + "record { " * 300 + "nat", "nested"),
    ],
)
def test_wrong_files(source: str, words: str | None) -> None:
    if words is None:
        parse_did(source)
        return
    with pytest.raises(FormatError, match=words):
        parse_did(source)


def test_the_message_type_is_the_second_argument_of_ws_message() -> None:
    echo = message_type(parse_did((DEVNET / "echo.did").read_text()))
    assert isinstance(echo, t.Record)
    assert [key for _, key, _ in echo.fields] == ["text"]
    for service in (
        "service : {}",
        "service : { ws_message : (record {}) -> () }",
        "service : { ws_message : (nat, nat) -> () }",
    ):
        assert message_type(parse_did(service)) is None
    assert message_type(Interface({}, None)) is None


@given(st.text(st.sampled_from('type a=record{}();:,>-0 "opt vec service nat\n/*'), max_size=60))
def test_any_text_is_read_or_refused(source: str) -> None:
    try:
        parse_did(source)
    except FormatError:
        return
