"""The system interface: values, bounds, and from where each function may be called."""

from __future__ import annotations

import re

import pytest

from icwsgw.devnet.wasm.entry_points import ALLOWED
from icwsgw.devnet.wasm.execution import CallContext, CanisterTrap, Entry, Execution
from icwsgw.devnet.wasm.memory import LinearMemory
from icwsgw.devnet.wasm.system_api import SystemApi, unsigned
from tests.devnet.wasm.support import ALICE, FIRST, World, module


def replies(body: str, argument: bytes = b"", **more: str) -> bytes:
    """Return the reply of an update whose body this is."""
    answer = World(module(f'(func (export "canister_update go") {body})', **more)).call("go", argument)
    assert isinstance(answer, bytes), answer
    return answer


def refusal(body: str) -> str:
    return World(module(f'(func (export "canister_update go") {body})')).reject("go").message


def test_argument_and_caller() -> None:
    body = """(call $echo_arg) (call $msg_reply_data_append (i32.const 1000) (call $msg_arg_data_size))
      (call $msg_caller_copy (i32.const 0) (i32.const 0) (call $msg_caller_size))
      (call $reply_at (i32.const 0) (call $msg_caller_size))"""
    assert replies(body, b"argument") == b"argument" + ALICE.raw


def test_itself() -> None:
    body = """(call $canister_self_copy (i32.const 0) (i32.const 0) (i32.const 10))
      (call $reply_at (i32.const 0) (i32.const 10))"""
    assert replies(body) == FIRST.raw


def test_time_does_not_pass_within_an_execution() -> None:
    body = "(call $reply_i64 (i64.sub (call $time) (call $time)))"
    assert replies(body) == bytes(8)
    assert replies("(call $reply_i64 (call $time))") == (1_700_000_000_000_000_000).to_bytes(8, "little")


def test_a_controller() -> None:
    body = "(call $echo_arg) (call $reply_i32 (call $is_controller (i32.const 1000) (call $msg_arg_data_size)))"
    assert replies(body, ALICE.raw) == b"\1\0\0\0"
    assert replies(body, FIRST.raw) == b"\0\0\0\0"


def test_stable_memory_in_both_widths() -> None:
    body = """(drop (call $stable_grow (i32.const 1))) (drop (call $stable64_grow (i64.const 2)))
      (call $reply_i32 (call $stable_size))"""
    assert replies(body) == b"\3\0\0\0"
    assert replies("(call $reply_i32 (call $stable_grow (i32.const 65537)))") == b"\xff\xff\xff\xff"
    assert replies("(call $reply_i64 (call $stable64_grow (i64.const 1000000)))") == b"\xff" * 8


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("(call $msg_arg_data_copy (i32.const 0) (i32.const 0) (i32.const 1))", "outside the 0 bytes"),
        ("(call $msg_reply_data_append (i32.const 65535) (i32.const 2))", "heap out of bounds"),
        ("(call $msg_reply_data_append (i32.const -1) (i32.const 2))", "heap out of bounds"),
        ("(call $stable_read (i32.const 0) (i32.const 0) (i32.const 1))", "stable memory out of bounds"),
        ("(call $stable_write (i32.const 0) (i32.const 0) (i32.const 1))", "stable memory out of bounds"),
        ("(call $msg_reply) (call $msg_reply)", "already replied"),
        ("(call $msg_reply) (call $msg_reject (i32.const 0) (i32.const 0))", "already replied"),
        ("(drop (call $call_perform))", "no call is under construction"),
        ("(call $certified_data_set (i32.const 0) (i32.const 33))", "no larger than 32 bytes. Found 33 bytes"),
        ("(drop (call $data_certificate_size))", "cannot be executed in update mode"),
        ("(call $accept_message)", "cannot be executed in update mode"),
        ("(drop (call $msg_reject_code))", "cannot be executed in update mode"),
        ("(drop (call $performance_counter (i32.const 2)))", "no counter 2"),
        ("(call $made_up)", "ic0.made_up is not available"),
        ("(drop (call $is_controller (i32.const 0) (i32.const 30)))", "not a principal"),
    ],
)
def test_misuse_traps_in_plain_words(body: str, complaint: str) -> None:
    assert complaint in refusal(body)


def test_two_cleanups_of_one_call() -> None:
    call = "(call $call_new" + " (i32.const 0)" * 8 + ")"
    cleanup = "(call $call_on_cleanup (i32.const 0) (i32.const 0))"
    assert "at most once" in refusal(call + cleanup + cleanup)


def test_a_query_has_a_certificate() -> None:
    world = World(
        module(
            """(func (export "canister_query go")
              (call $data_certificate_copy (i32.const 0) (i32.const 0) (call $data_certificate_size))
              (call $reply_at (i32.const 0) (call $data_certificate_size)))
            (func (export "canister_query ask") (call $reply_i32 (call $data_certificate_present)))"""
        )
    )
    for method, certificate, expected in (
        ("go", b"proof", b"proof"),
        ("ask", b"", b"\1\0\0\0"),
        ("ask", None, bytes(4)),
    ):
        execution = Execution(Entry.QUERY, CallContext(ALICE, needs_answer=True), certificate=certificate)
        world.first.query(execution, f"canister_query {method}")
        assert execution.response == expected
    # as an update, a query method has none
    assert world.call("ask") == bytes(4)
    assert "cannot be executed in replicated query mode" in world.reject("go").message


def test_a_message_is_inspected() -> None:
    world = World(
        module(
            '(func (export "canister_inspect_message") (if (call $msg_arg_data_size) (then (call $accept_message))))'
        )
    )
    for argument, accepted in ((b"", False), (b"x", True)):
        execution = Execution(Entry.INSPECT, CallContext(ALICE, needs_answer=False), argument=argument, method="m")
        world.first.query(execution, "canister_inspect_message")
        assert execution.accepted is accepted


def test_every_function_with_a_rule_exists() -> None:
    for name in ALLOWED:
        assert hasattr(SystemApi, f"_{name}"), name


@pytest.mark.parametrize("entry", Entry)
def test_each_function_is_refused_where_the_specification_does_not_list_it(entry: Entry) -> None:
    world = World(module(""))
    world.first.execution = Execution(entry, CallContext(ALICE, needs_answer=True))
    api = SystemApi(world.first)
    for name, allowed in ALLOWED.items():
        if entry in allowed:
            continue
        with pytest.raises(CanisterTrap, match=re.escape(f'"ic0_{name}" cannot be executed')):
            api.function(name)(*[0] * 3)


def test_integers_become_unsigned() -> None:
    seen: list[tuple[int, ...]] = []

    def function(*values: int) -> None:
        seen.append(values)

    for bits in ((), (32,), (32, 64), (32, 64, 32), (64, 64, 32, 32)):
        unsigned(function, bits)(*[-1] * len(bits))
        assert seen.pop() == tuple((1 << each) - 1 for each in bits)


def test_memory_that_moves_is_found_again() -> None:
    world = World(
        module(
            '(func (export "canister_update go") (drop (memory.grow (i32.const 100))) (call $reply_i32 (i32.const 5)))'
        )
    )
    memory = world.first.memory
    assert isinstance(memory, LinearMemory)
    assert world.call("go") == b"\5\0\0\0"
    memory.write(101 * 65_536 - 1, b"x")
    assert memory.read(101 * 65_536 - 1, 1) == b"x"
    with pytest.raises(CanisterTrap):
        memory.read(101 * 65_536, 1)
