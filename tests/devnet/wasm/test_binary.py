"""Reading modules, and the exports that are added."""

from __future__ import annotations

import gzip
import hashlib

import pytest
import wasmtime

from icwsgw.devnet.wasm.binary import MEMORY_EXPORT, TABLE_EXPORT, Metadata, read_module, unpack
from icwsgw.errors import FormatError


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def exports_of(wasm: bytes) -> list[str]:
    return [each.name for each in wasmtime.Module(wasmtime.Engine(), wasm).exports]


HIDDEN = """(module
  (import "ic0" "msg_reply" (func))
  (memory 1) (table 3 funcref)
  (global (mut i32) (i32.const -7)) (global i64 (i64.const 5)) (global $third (mut f64) (f64.const 1.5))
  (func (export "canister_update go")) (func (export "canister_query look")) (func (export "canister_init"))
)"""


def test_state_becomes_accessible_and_wasmtime_takes_the_module() -> None:
    module = read_module(wat(HIDDEN))
    assert module.has_memory
    assert module.has_table
    assert len(module.globals) == 2
    names = exports_of(module.wasm)
    assert names[:3] == ["canister_update go", "canister_query look", "canister_init"]
    assert set(names[3:]) == {MEMORY_EXPORT, TABLE_EXPORT, *module.globals}


def test_functions_and_methods() -> None:
    module = read_module(wat(HIDDEN))
    assert module.functions == {"canister_update go", "canister_query look", "canister_init"}
    assert module.methods == [("query", "look"), ("update", "go")]
    assert module.has_method("update", "go")
    assert not module.has_method("query", "go")


def test_a_module_without_exports() -> None:
    module = read_module(wat('(module (memory 1) (data (i32.const 0) "x"))'))
    assert exports_of(module.wasm) == [MEMORY_EXPORT]
    assert read_module(wat("(module)")).has_memory is False


def test_imports_of_all_kinds_count() -> None:
    text = """(module (import "a" "f" (func)) (import "a" "g" (global (mut i32))) (import "a" "m" (memory 1 2))
      (import "a" "t" (table 1 funcref)) (global $own (mut i64) (i64.const 1)))"""
    module = read_module(wat(text))
    # an imported global is not the instance's, the first of its own has index 1
    assert module.globals == ("icwsgw global 1",)
    assert exports_of(module.wasm) == ["icwsgw global 1", MEMORY_EXPORT, TABLE_EXPORT]


@pytest.mark.parametrize(
    "value",
    ["i64.const -9223372036854775808", "f32.const 1", "ref.null func", "ref.func $f", "v128.const i64x2 1 2"],
)
def test_initial_values_of_all_kinds(value: str) -> None:
    kind = {"i": "i64", "f": "f32", "r": "funcref", "v": "v128"}[value[0]]
    text = f'(module (func $f (export "f")) (global (mut {kind}) ({value})) (global $last (mut i32) (i32.const 1)))'
    module = read_module(wat(text))
    assert len(module.globals) == 2
    wasmtime.Module(wasmtime.Engine(), module.wasm)


def test_an_extended_constant_expression() -> None:
    text = "(module (global (mut i32) (i32.add (i32.const 1) (i32.mul (i32.const 2) (i32.const 3)))))"
    assert len(read_module(wat(text)).globals) == 1


def test_compressed() -> None:
    plain = wat(HIDDEN)
    packed = gzip.compress(plain)
    module = read_module(packed)
    assert module.wasm == read_module(plain).wasm
    assert module.hash == hashlib.sha256(packed).digest()


def test_metadata() -> None:
    def custom(name: bytes, content: bytes) -> bytes:
        body = bytes([len(name)]) + name + content
        return bytes([0, len(body)]) + body

    plain = wat(HIDDEN)
    file = (
        plain
        + custom(b"icp:public candid:service", b"service : {}")
        + custom(b"icp:private x", b"y")
        + custom(b"z", b"")
    )
    assert read_module(file).metadata == {
        "candid:service": Metadata(True, b"service : {}"),
        "x": Metadata(False, b"y"),
    }


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        (b"", "not a WebAssembly module"),
        (b"\0asm\x02\0\0\0", "not a WebAssembly module"),
        (b"\0asm\x01\0\0\0\x01\xff", "ends too early"),
        (b"\0asm\x01\0\0\0\x07\x04\x01\x02\xff\xff", "not UTF-8"),
        (b"\0asm\x01\0\0\0\x06\x05\x01\x7f\x01\x01\x0b", "unexpected instruction 0x1"),
        (b"\0asm\x01\0\0\0\x01" + b"\xff" * 10, "too long"),
        (b"\0asm\x01\0\0\0\x02\x06\x01\x01a\x01b\x09", "unknown kind 9"),
        pytest.param(gzip.compress(wat(HIDDEN))[:-3], "ends too early", id="compressed, too short"),
        (b"\x1f\x8b\x08\x00garbage that is no deflate stream", "damaged"),
    ],
)
def test_what_is_no_module(file: bytes, complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        read_module(file)


def test_a_module_that_expands_too_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icwsgw.devnet.wasm.binary.MAX_MODULE", 1000)
    with pytest.raises(FormatError, match="larger than 1000 bytes"):
        unpack(gzip.compress(bytes(1001)))
    assert unpack(gzip.compress(bytes(1000))) == bytes(1000)
    with pytest.raises(FormatError, match="larger than 1000 bytes"):
        unpack(bytes(1001))
    assert unpack(bytes(1000)) == bytes(1000)


@pytest.mark.parametrize("length", range(8, 60, 3))
def test_cut_short_anywhere(length: int) -> None:
    file = wat(HIDDEN)
    try:
        module = read_module(file[:length])
    except FormatError:
        return
    # what is whole as far as it goes may still be refused by wasmtime
    assert module.functions <= {"canister_update go", "canister_query look", "canister_init"}
