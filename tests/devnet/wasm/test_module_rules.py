"""Modules that the network refuses, each beside the largest one that it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import wasmtime

from icwsgw.devnet.wasm.binary import read_module
from icwsgw.devnet.wasm.module_rules import (
    MAX_CODE,
    MAX_FUNCTIONS,
    MAX_GLOBALS,
    MAX_METHOD_NAMES,
    MAX_METHODS,
    MAX_SECTION_BYTES,
    MAX_SECTIONS,
    ModuleContents,
    check_module,
    visibility,
)
from icwsgw.errors import FormatError
from tests.devnet.wasm.support import FIRST, World, section

EMPTY = ModuleContents(exports=(), functions=0, globals=0, code=0, sections=())


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f"(module {text})"))


def install(file: bytes) -> None:
    World().empty(FIRST).install(file)


# -- limits -------------------------------------------------------------------------------------------------------


def many(kind: str, count: int, length: int = 4) -> list[str]:
    return [f"canister_{kind} {number:0{length}}" for number in range(count)]


@pytest.mark.parametrize(
    ("most", "above", "complaint"),
    [
        ({"functions": MAX_FUNCTIONS}, {"functions": MAX_FUNCTIONS + 1}, "defined 50001 functions, which exceeds"),
        ({"globals": MAX_GLOBALS}, {"globals": MAX_GLOBALS + 1}, "defined 1001 globals which exceeds .* 1000"),
        ({"code": MAX_CODE}, {"code": MAX_CODE + 1}, "code section size of 12582913 exceeds"),
        (
            {"exports": many("query", MAX_METHODS)},
            {"exports": [*many("query", MAX_METHODS), "canister_composite_query x"]},
            "number of exported functions called .* exceeds 1000",
        ),
        (
            {"exports": ["canister_update " + "ä" * (MAX_METHOD_NAMES // 2)]},
            {"exports": ["canister_update " + "ä" * (MAX_METHOD_NAMES // 2), "canister_query x"]},
            "sum of `<name>` lengths .* exceeds 20000",
        ),
        (
            {"sections": [(f"icp:public {number}", 1) for number in range(MAX_SECTIONS)] + [("name", 1)]},
            {"sections": [(f"icp:private {number}", 1) for number in range(MAX_SECTIONS + 1)]},
            "defined 17 custom sections",
        ),
        (
            {"sections": [("icp:public ab", MAX_SECTION_BYTES - 2), ("producers", 5_000_000)]},
            {"sections": [("icp:public ab", MAX_SECTION_BYTES - 2), ("icp:private ", 1)]},
            "total size .* 1048577 bytes, allowed 1048576 bytes",
        ),
    ],
)
def test_limits(most: dict[str, Any], above: dict[str, Any], complaint: str) -> None:
    check_module(replace(EMPTY, **most))
    with pytest.raises(FormatError, match=complaint):
        check_module(replace(EMPTY, **above))


def test_a_module_is_counted() -> None:
    imported = '(import "ic0" "msg_reply" (func))'
    functions = "(func) " * 3
    read_module(wat(imported + functions + "(global i32 (i32.const 1)) " * MAX_GLOBALS))
    with pytest.raises(FormatError, match="defined 1001 globals"):
        read_module(wat(imported + functions + "(global i32 (i32.const 1)) " * (MAX_GLOBALS + 1)))
    read_module(wat(imported + "(func) " * MAX_FUNCTIONS))
    with pytest.raises(FormatError, match="defined 50001 functions"):
        read_module(wat(imported + "(func) " * (MAX_FUNCTIONS + 1)))
    sections = b"".join(section(f"icp:public {number}", b"") for number in range(MAX_SECTIONS + 1))
    with pytest.raises(FormatError, match="defined 17 custom sections"):
        read_module(wat("") + sections)


def test_code_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    # A vector of one body: its length, no locals, end.
    monkeypatch.setattr("icwsgw.devnet.wasm.module_rules.MAX_CODE", 4)
    read_module(wat("(func)"))
    with pytest.raises(FormatError, match="code section size of 7 exceeds the maximum allowed size of 4"):
        read_module(wat("(func) (func)"))


# -- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["update", "query", "composite_query"])
@pytest.mark.parametrize("second", ["update", "query", "composite_query"])
def test_a_method_has_one_kind(first: str, second: str) -> None:
    exports = f'(func $f) (export "canister_{first} m" (func $f)) (export "canister_{second} %s" (func $f))'
    install(wat(exports % "n"))
    if first != second:
        with pytest.raises(FormatError, match=r"export section\. Duplicate function 'm' exported multiple times"):
            install(wat(exports % "m"))


@pytest.mark.parametrize(
    "name", ["canister_balance", "canister_query", "canister_start", "canister_", "canister_init x"]
)
def test_names_of_functions_that_are_reserved(name: str) -> None:
    with pytest.raises(FormatError, match=f"Exporting reserved function '{name}' with \"canister_\" prefix"):
        install(wat(f'(func (export "{name}"))'))


def test_names_that_are_not_reserved() -> None:
    names = ("canister_on_low_wasm_memory", "canister_query ", "canister", "_canister_balance", "main")
    install(wat(" ".join(f'(func (export "{name}"))' for name in names)))
    install(wat('(global (export "canister_global") i32 (i32.const 1)) (memory (export "canister_memory") 1)'))


@pytest.mark.parametrize("scope", ["public", "private"])
def test_a_metadata_section_has_one_scope(scope: str) -> None:
    install(wat("") + section("icp:public x", b"1") + section("icp:private y", b"2"))
    with pytest.raises(FormatError, match=r"custom section\. Invalid custom section: name x already exists"):
        install(wat("") + section("icp:public x", b"1") + section(f"icp:{scope} x", b"2"))


def test_scopes() -> None:
    assert visibility("icp:public  a b") == (" a b", True)
    assert visibility("icp:private ") == ("", False)
    assert visibility("eth:private x") is visibility(" icp:public x") is None
    with pytest.raises(FormatError, match="Custom section 'icp:protected x' has no public/private scope"):
        install(wat("") + section("icp:protected x", b""))
    with pytest.raises(FormatError, match="must have a space"):
        install(wat("") + section("icp:public", b""))


# -- WebAssembly --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("(memory 1) (memory 1)", "multiple memories"),
        ("(memory 1 1 shared)", "threads must be enabled"),
        ("(memory 1) (func (drop (i32.atomic.load (i32.const 0))))", "threads support is not enabled"),
        (
            "(func (param v128) (result v128) local.get 0 local.get 0 local.get 0 f32x4.relaxed_madd)",
            "relaxed SIMD support is not enabled",
        ),
        ("(type (struct (field i32)))", "gc feature"),
        ("(tag (param i32))", "exceptions proposal not enabled"),
        ("(type $t (func)) (func (param (ref $t)) local.get 0 call_ref $t)", "function references required"),
        ("(func $f (param i32)) (start $f)", "start function has parameters or results"),
        ("(func $f (result i32) i32.const 1) (start $f)", "start function has parameters or results"),
    ],
)
def test_what_the_network_has_switched_off(body: str, complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        install(wat(body))


def test_what_the_network_has_switched_on() -> None:
    install(
        wat("""(memory i64 1) (func $f return_call $f) (func $g) (start $g)
        (func (param v128) (result v128) local.get 0 local.get 0 f32x4.add) (func (param funcref) (result i32 i64)
          (memory.fill (i64.const 0) (i32.const 1) (i64.const 2)) (ref.is_null (local.get 0)) i64.const 1)""")
    )
