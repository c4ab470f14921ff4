"""Executions: what stays, what is rolled back, upgrades, limits."""

from __future__ import annotations

import struct

import pytest

from icwsgw.devnet.wasm import canister as canister_module
from icwsgw.devnet.wasm.binary import KEEP_MEMORY
from icwsgw.devnet.wasm.canister import INITIAL_CYCLES
from icwsgw.devnet.wasm.execution import MANAGEMENT, CallContext, CanisterTrap, Entry, Execution
from icwsgw.devnet.wasm.memory import PAGE
from icwsgw.errors import FormatError
from tests.devnet.wasm.support import ALICE, FIRST, World, module

#: Counts in memory, in a global that is not exported, in stable memory, in certified data and in the timer.
COUNTER = module(
    """
    (global $count (mut i32) (i32.const 0))
    (data (i32.const 0) "oops")
    (func $bump
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (i32.store (i32.const 100) (i32.add (i32.load (i32.const 100)) (i32.const 1)))
      (drop (call $stable_grow (i32.const 1)))
      (call $stable_write (i32.const 0) (i32.const 100) (i32.const 4))
      (call $certified_data_set (i32.const 100) (i32.const 4))
      (drop (call $global_timer_set (i64.extend_i32_u (global.get $count)))))
    (func $report
      (call $msg_reply_data_append (i32.const 100) (i32.const 4))
      (i32.store (i32.const 200) (global.get $count))
      (call $msg_reply_data_append (i32.const 200) (i32.const 4))
      (i32.store (i32.const 200) (call $stable_size))
      (call $msg_reply_data_append (i32.const 200) (i32.const 4))
      (call $msg_reply))
    (func (export "canister_update bump") (call $bump) (call $report))
    (func (export "canister_update bump_and_trap") (call $bump) (call $trap (i32.const 0) (i32.const 4)))
    (func (export "canister_update grow_and_trap") (call $bump) (drop (memory.grow (i32.const 5))) unreachable)
    (func (export "canister_query bump_in_query")
      (global.set $count (i32.const 50)) (i32.store (i32.const 100) (i32.const 60))
      (drop (memory.grow (i32.const 2))) (call $report))
    (func (export "canister_query report") (call $report))
    (func (export "canister_update big") (drop (memory.grow (i32.const 64)))
      (call $msg_reply_data_append (i32.const 0) (i32.const 2097153)))
    """
)


def report(world: World, method: str = "report") -> tuple[int, int, int]:
    """Return the counts in memory, in the global, and the pages of stable memory."""
    answer = world.call(method)
    assert isinstance(answer, bytes)
    memory, count, pages = struct.unpack("<III", answer)
    return memory, count, pages


def test_what_an_update_does_stays() -> None:
    world = World(COUNTER)
    assert report(world, "bump") == (1, 1, 1)
    assert report(world, "bump") == (2, 2, 2)
    assert world.first.certified_data == b"\2\0\0\0"
    assert world.first.global_timer_ns == 2
    assert world.first.stable.read(0, 4) == b"\2\0\0\0"


@pytest.mark.parametrize("method", ["bump_and_trap", "grow_and_trap"])
def test_a_trap_leaves_nothing(method: str) -> None:
    world = World(COUNTER)
    report(world, "bump")
    for _ in range(3):
        reject = world.reject(method)
        assert reject.code == 5
        assert report(world) == (1, 1, 1)
        assert world.first.certified_data == b"\1\0\0\0"
        assert world.first.global_timer_ns == 1
        assert world.first.memory.size == PAGE
    assert report(world, "bump") == (2, 2, 2)


def test_the_words_of_a_trap() -> None:
    world = World(COUNTER)
    reject = world.reject("bump_and_trap")
    assert reject.error_code == "IC0503"
    assert reject.message == f"Error from Canister {FIRST}: Canister called `ic0.trap` with message: 'oops'"
    assert world.log == [b"Canister called `ic0.trap` with message: 'oops'"]
    reject = world.reject("grow_and_trap")
    assert reject.error_code == "IC0502"
    assert reject.message.startswith(
        f"Error from Canister {FIRST}: Canister trapped: unreachable\nCanister Backtrace:\n"
    )


def test_a_query_leaves_no_trace_though_called_as_an_update() -> None:
    world = World(COUNTER)
    report(world, "bump")
    assert report(world, "bump_in_query") == (60, 50, 1)
    assert report(world) == (1, 1, 1)
    assert world.first.memory.size == PAGE


def query(world: World, method: str, certificate: bytes | None = b"certificate") -> bytes:
    execution = Execution(Entry.QUERY, CallContext(ALICE, needs_answer=True), certificate=certificate)
    world.first.query(execution, f"canister_query {method}")
    assert isinstance(execution.response, bytes)
    return execution.response


def test_a_query_that_is_not_replicated() -> None:
    world = World(COUNTER)
    report(world, "bump")
    assert query(world, "bump_in_query") == struct.pack("<III", 60, 50, 1)
    assert query(world, "report") == struct.pack("<III", 1, 1, 1)


def test_a_reply_that_is_too_large() -> None:
    reject = World(COUNTER).reject("big")
    assert reject.error_code == "IC0504"
    assert "application payload size (2097153) cannot be larger than 2097152" in reject.message


def test_no_such_method() -> None:
    reject = World(COUNTER).reject("missing")
    assert (reject.code, reject.error_code) == (5, "IC0536")


LOOP = module(
    """
    (func (export "canister_update loop") (loop (br 0)))
    (func (export "canister_update count")
      (call $reply_i64 (call $performance_counter (i32.const 0))))
    """
)


def test_an_endless_loop_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canister_module, "DEFAULT_INSTRUCTION_LIMIT", 100_000)
    world = World(LOOP)
    reject = world.reject("loop")
    assert reject.error_code == "IC0522"
    assert "exceeded the limit of 100000 instructions" in reject.message
    answer = world.call("count")
    assert isinstance(answer, bytes)
    assert 0 < int.from_bytes(answer, "little") < 100


def test_an_empty_canister() -> None:
    world = World()
    world.canisters[FIRST] = world.empty(FIRST)
    reject = world.reject("anything")
    assert (reject.code, reject.error_code) == (5, "IC0537")
    with pytest.raises(CanisterTrap, match="no Wasm module"):
        query(world, "anything")


# -- code ---------------------------------------------------------------------------------------------------------

LIVES = """
    (func (export "canister_init") (call $echo_arg) (call $debug_print (i32.const 1000) (call $msg_arg_data_size)))
    (func (export "canister_pre_upgrade")
      (if (i32.eqz (call $stable_size)) (then (drop (call $stable_grow (i32.const 1)))))
      (call $stable_write (i32.const 0) (i32.const 100) (i32.const 4)))
    (func (export "canister_post_upgrade")
      (call $stable_read (i32.const 100) (i32.const 0) (i32.const 4)) {more})
    (func (export "canister_update bump")
      (i32.store (i32.const 100) (i32.add (i32.load (i32.const 100)) (i32.const 1)))
      (call $reply_i32 (i32.load (i32.const 100))))
"""


def bump(world: World) -> int:
    answer = world.call("bump")
    assert isinstance(answer, bytes)
    return int.from_bytes(answer, "little")


def test_an_upgrade_keeps_stable_memory() -> None:
    file = module(LIVES.format(more=""))
    world = World(file)
    assert [bump(world), bump(world)] == [1, 2]
    version = world.first.version
    world.first.upgrade(file)
    assert world.first.version == version + 1
    assert bump(world) == 3
    world.first.install(file, b"fresh")
    assert world.log == [b"", b"fresh"]
    assert world.first.stable.pages == 0
    assert bump(world) == 1


def test_an_upgrade_that_traps_changes_nothing() -> None:
    world = World(module(LIVES.format(more="")))
    bump(world)
    hash_before = world.first.module.hash
    with pytest.raises(CanisterTrap, match="unreachable"):
        world.first.upgrade(module(LIVES.format(more="unreachable")))
    assert world.first.module.hash == hash_before
    assert world.first.stable.pages == 0
    assert bump(world) == 2


#: A canister that counts in its main memory and asks to keep it; `pre` and `post` are instructions of its upgrade.
KEEPS = """
  (func $start (i32.store (i32.const 104) (i32.add (i32.load (i32.const 104)) (i32.const 1)))) (start $start)
  (func $count (i32.store (i32.const 100) (i32.add (i32.load (i32.const 100)) (i32.const 1))))
  (func (export "canister_pre_upgrade") (call $count) (drop (memory.grow (i32.const {pages}))))
  (func (export "canister_post_upgrade") {post})
  (func (export "canister_update bump") (call $count) (call $reply_i64 (i64.load (i32.const 100))))
"""


def keeping(section: bytes = KEEP_MEMORY.encode(), pages: int = 0, post: str = "") -> bytes:
    name = b"icp:private " + section
    content = bytes([len(name)]) + name
    return module(KEEPS.format(pages=pages, post=post)) + bytes([0, len(content)]) + content


def counts(world: World) -> tuple[int, int]:
    """How often it counted, and how often `start` ran, in the memory that it has now."""
    number = bump(world)
    return number & 0xFFFFFFFF, number >> 32


@pytest.mark.parametrize("pages", [0, 3])
def test_an_upgrade_keeps_the_main_memory_of_those_who_ask_for_it(pages: int) -> None:
    world = World(keeping(pages=pages))
    assert counts(world) == (1, 1)
    world.first.upgrade(keeping(pages=pages))
    # counted before the upgrade; `start` finds the memory filled
    assert counts(world) == (3, 2)
    world.first.install(keeping())
    assert counts(world) == (1, 1)


def test_both_have_to_ask_for_it() -> None:
    for first, second in ((b"other", KEEP_MEMORY.encode()), (KEEP_MEMORY.encode(), b"other")):
        world = World(keeping(first))
        assert counts(world) == (1, 1)
        world.first.upgrade(keeping(second))
        assert counts(world) == (1, 1)


@pytest.mark.parametrize("pages", [0, 3])
def test_an_upgrade_that_traps_leaves_the_main_memory_as_it_was(pages: int) -> None:
    world = World(keeping(pages=pages))
    assert counts(world) == (1, 1)
    with pytest.raises(CanisterTrap, match="unreachable"):
        world.first.upgrade(keeping(pages=pages, post="unreachable"))
    assert counts(world) == (2, 1)


def test_an_init_that_traps_leaves_the_canister_empty() -> None:
    world = World()
    canister = world.canisters[FIRST] = world.empty(FIRST)
    with pytest.raises(CanisterTrap):
        canister.install(module('(func (export "canister_init") unreachable)'))
    assert canister.module is None
    assert canister.version == 0


def test_a_start_function_runs_and_may_trap() -> None:
    world = World(
        module("(func $start (i32.store (i32.const 100) (i32.const 7))) (start $start)" + LIVES.format(more=""))
    )
    assert bump(world) == 8
    with pytest.raises(CanisterTrap, match="unreachable"):
        world.first.install(module("(func $start unreachable) (start $start)"))
    assert bump(world) == 9


def test_a_module_that_does_not_validate_or_asks_for_something_else() -> None:
    import wasmtime

    world = World()
    canister = world.empty(FIRST)
    with pytest.raises(FormatError, match="failed validation"):
        canister.install(b"\0asm\x01\0\0\0\x0a\x04\x01\x02\x00\x0b")
    foreign = bytes(wasmtime.wat2wasm('(module (import "wasi" "fd_write" (func)))'))
    with pytest.raises(FormatError, match="imports function 'fd_write' from 'wasi'"):
        canister.install(foreign)


#: Reads as a module, but does not validate or asks for functions that are not there.
REFUSED = {
    "of another environment": '(module (import "wasi" "fd_write" (func)) (func (export "canister_pre_upgrade")))',
    "with an imported global": '(module (import "ic0" "time" (global i64)))',
}


@pytest.mark.parametrize("wat", REFUSED.values(), ids=list(REFUSED))
def test_a_refused_module_leaves_the_canister_as_it_was(wat: str) -> None:
    import wasmtime

    refused, file = bytes(wasmtime.wat2wasm(wat)), COUNTER
    world = World()
    canister = world.canisters[FIRST] = world.empty(FIRST)
    with pytest.raises(FormatError):
        canister.install(refused)
    assert (canister.module, canister.version) == (None, 0)
    canister.install(file)
    for _ in range(2):
        report(world, "bump")
    for replace in (canister.install, canister.upgrade):
        with pytest.raises(FormatError):
            replace(refused)
        assert report(world) == (2, 2, 2)
        assert (canister.certified_data, canister.global_timer_ns, canister.version) == (b"\2\0\0\0", 2, 1)
    canister.upgrade(file)
    assert canister.version == 2


def test_uninstalled() -> None:
    world = World(module(LIVES.format(more="")))
    world.first.uninstall()
    assert world.reject("bump").error_code == "IC0537"
    assert world.first.certified_data == b""


def test_the_balance_is_part_of_what_rolls_back() -> None:
    file = module(
        """
        (func (export "canister_update take") (drop (call $msg_cycles_accept (i64.const 30)))
          (call $reply_i64 (call $msg_cycles_available)))
        (func (export "canister_update take_and_trap") (drop (call $msg_cycles_accept (i64.const 30))) unreachable)
        """
    )
    world = World(file)
    assert world.call("take", cycles=100) == (70).to_bytes(8, "little")
    assert world.first.cycles == INITIAL_CYCLES + 30
    world.reject("take_and_trap", cycles=100)
    assert world.first.cycles == INITIAL_CYCLES + 30


def test_a_system_task() -> None:
    world = World(
        module(
            """
            (func (export "canister_global_timer")
              (call $msg_caller_copy (i32.const 0) (i32.const 0) (call $msg_caller_size))
              (i32.store (i32.const 0) (call $msg_caller_size)) (call $debug_print (i32.const 0) (i32.const 4)))
            """
        )
    )
    world.messages.system_task(world.first, "canister_global_timer")
    assert world.log == [b"\0\0\0\0"]
    assert MANAGEMENT.raw == b""
