from __future__ import annotations

from random import Random

import pytest
import wasmtime

from icwsgw.devnet.wasm import instance
from icwsgw.devnet.wasm.binary import read_module
from icwsgw.devnet.wasm.execution import CallContext, Entry, Execution
from icwsgw.devnet.wasm.instance import Compiler
from icwsgw.devnet.wasm.system_api import SystemApi
from icwsgw.errors import FormatError
from tests.devnet.wasm.support import ALICE, FIRST, World, module

GROWING = """
  (global $count (mut i64) (i64.const 5))
  (func (export "canister_update grow") (drop (memory.grow (i32.const 3)))
    (global.set $count (i64.add (global.get $count) (i64.const 1)))
    (i64.store (i32.const 70000) (global.get $count)) (call $reply_i64 (global.get $count)))
  (func (export "canister_query look") (drop (memory.grow (i32.const 3)))
    (global.set $count (i64.const 99)) (call $reply_i64 (i64.extend_i32_u (memory.size))))
  (func (export "canister_update count") (call $reply_i64 (global.get $count)))
  (func (export "canister_update size") (call $reply_i64 (i64.extend_i32_u (memory.size))))
"""


def number(answer: object) -> int:
    assert isinstance(answer, bytes)
    return int.from_bytes(answer, "little")


def test_a_module_is_compiled_once() -> None:
    compiler = Compiler()
    read = read_module(module(GROWING))
    assert compiler.compile(read) is compiler.compile(read)


def test_old_modules_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "MAX_COMPILED", 2)
    compiler = Compiler()
    first, second, third = (read_module(module(f"(global i32 (i32.const {number}))")) for number in range(3))
    kept = [compiler.compile(each) for each in (first, second)]
    assert compiler.compile(first) is kept[0]
    compiler.compile(third)
    assert compiler.compile(first) is kept[0]
    assert compiler.compile(second) is not kept[1]


def test_what_executions_do_is_the_same_in_any_order() -> None:
    """The state is saved only when it has changed; a trap, a query or an update may come before each other."""
    body = """
      (func (export "canister_update add") (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
        (call $reply_at (i32.const 0) (i32.const 4)))
      (func (export "canister_update fail") (i32.store (i32.const 0) (i32.const 999)) unreachable)
      (func (export "canister_query look") (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
        (call $reply_at (i32.const 0) (i32.const 4)))"""
    world, random, count = World(module(body)), Random(5), 0
    for _ in range(200):
        step = random.choice(("add", "fail", "look", "upgrade"))
        if step == "add":
            count += 1
            assert number(world.call("add")) == count
        elif step == "fail":
            world.reject("fail")
        elif step == "look":
            execution = Execution(Entry.QUERY, CallContext(ALICE, needs_answer=True))
            world.first.query(execution, "canister_query look")
            assert number(execution.response) == count + 1
        elif random.random() < 0.1:
            world.first.upgrade(module(body))
            count = 0


def test_memory_that_a_query_grew_is_as_it_was() -> None:
    world = World(module(GROWING))
    assert number(world.call("grow")) == 6
    for _ in range(2):
        execution = Execution(Entry.QUERY, CallContext(ALICE, needs_answer=True))
        world.first.query(execution, "canister_query look")
        assert number(execution.response) == 7
    assert number(world.call("size")) == 4
    assert number(world.call("count")) == 6


def test_a_query_on_an_older_state() -> None:
    world = World(module(GROWING))
    world.call("grow")
    before = world.first.snapshot()
    assert before is not None
    world.call("grow")
    for _ in range(2):
        execution = Execution(Entry.QUERY, CallContext(ALICE, needs_answer=True))
        world.first.query_at(before, execution, "canister_query look")
        assert number(execution.response) == 7
    assert number(world.call("size")) == 7
    assert number(world.call("count")) == 7


def test_a_memory_of_64_bits() -> None:
    wat = """(module (import "ic0" "msg_reply" (func $reply))
      (import "ic0" "msg_reply_data_append" (func $append (param i64 i64)))
      (memory i64 1) (data (i64.const 8) "hello")
      (func (export "canister_update go") (call $append (i64.const 8) (i64.const 5)) (call $reply)))"""
    assert World(bytes(wasmtime.wat2wasm(wat))).call("go") == b"hello"


def test_a_failure_of_the_replica_in_a_system_call_is_a_trap(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(api: SystemApi) -> int:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(SystemApi, "_ic0_canister_version", fail)
    body = """(func (export "canister_update go") (i32.store (i32.const 0) (i32.const 9))
        (drop (call $canister_version)))
      (func (export "canister_update look") (call $reply_at (i32.const 0) (i32.const 4)))"""
    world = World(module(body))
    reject = world.reject("go")
    assert reject.error_code == "IC0502"
    assert "the local replica failed in a system call: ZeroDivisionError: by zero" in reject.message
    assert world.call("look") == bytes(4)


@pytest.mark.parametrize(
    ("functions", "complaint"),
    [
        ('(import "ic0" "msg_reply" (func (param i32)))', r"Expected input params \[\] for 'msg_reply', got \[I32\]"),
        ('(import "ic0" "time" (func (result i32)))', r"Expected return type \[I64\] for 'time', got \[I32\]"),
        ('(func (export "canister_init") (param i64))', r"Expected input params \[\] for 'canister_init', got \[I64\]"),
        ('(func (export "canister_update a") (result i32) unreachable)', "Expected return type .* 'canister_update a'"),
        ('(import "ic0" "stable_size" (func (result i32))) (memory i64 1)', "runtime for a memory of 64 bits"),
        ('(import "ic0" "trap" (func (param i32 i32))) (memory i64 1)', r"params \[I64, I64\] for 'trap'"),
        ('(import "ic0" "trap" (func (param i64 i64))) (memory 1)', r"params \[I32, I32\] for 'trap'"),
        ('(import "ic0" "mint_cycles128" (func))', r"params \[I64, I64, I32\] for 'mint_cycles128'"),
        ('(import "ic0" "made_up" (func))', "imports function 'made_up' from 'ic0' that is not exported"),
        ('(import "wasi_snapshot_preview1" "fd_write" (func))', "'fd_write' from 'wasi_snapshot_preview1' that is not"),
        ('(import "env" "time" (func (result i64)))', r'"time" from "env", expected .* one of \["ic0"\] instead'),
        ('(import "ic0" "time" (global i64))', "Module imports a global, 'time' from 'ic0': only functions"),
        ('(import "env" "memory" (memory 1))', "Module imports a memory, 'memory' from 'env': only functions"),
        ('(import "env" "table" (table 1 funcref))', "Module imports a table, 'table' from 'env': only functions"),
    ],
)
def test_functions_that_the_network_does_not_link_are_refused(functions: str, complaint: str) -> None:
    world = World()
    with pytest.raises(FormatError, match=complaint):
        world.empty(FIRST).install(bytes(wasmtime.wat2wasm(f"(module {functions})")))


def test_functions_that_are_no_entry_points_may_have_any_type() -> None:
    wat = """(module (import "ic0" "mint_cycles128" (func (param i64 i64 i32)))
      (func (export "add") (param i32) (result i32) unreachable))"""
    canister = World().empty(FIRST)
    canister.install(bytes(wasmtime.wat2wasm(wat)))
    assert canister.module is not None


def test_a_disk_that_cannot_be_written_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unwritable(wasmtime.Config):
        @property
        def cache(self) -> bool:
            return False

        @cache.setter
        def cache(self, value: bool) -> None:
            raise wasmtime.WasmtimeError("no home")

    monkeypatch.setattr(wasmtime, "Config", Unwritable)
    world = World(module(GROWING))
    assert number(world.call("count")) == 5
