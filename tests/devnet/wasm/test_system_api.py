"""The system interface: values, bounds, and from where each function may be called."""

from __future__ import annotations

import re

import pytest

from icwsgw.devnet.wasm.entry_points import ALLOWED
from icwsgw.devnet.wasm.execution import CallContext, CanisterTrap, Entry, Execution
from icwsgw.devnet.wasm.import_types import import_types
from icwsgw.devnet.wasm.memory import LinearMemory
from icwsgw.devnet.wasm.system_api import SystemApi, unsigned
from tests.devnet.wasm.support import ALICE, FIRST, NODES, SUBNET, World, module, refusal, replies, u64


def test_argument_and_caller() -> None:
    body = """(call $echo_arg) (call $msg_reply_data_append (i32.const 1000) (call $msg_arg_data_size))
      (call $msg_caller_copy (i32.const 0) (i32.const 0) (call $msg_caller_size))
      (call $reply_at (i32.const 0) (call $msg_caller_size))"""
    assert replies(body, b"argument") == b"argument" + ALICE.raw


def test_itself() -> None:
    body = """(call $canister_self_copy (i32.const 0) (i32.const 0) (i32.const 10))
      (call $reply_at (i32.const 0) (i32.const 10))"""
    assert replies(body) == FIRST.raw


@pytest.mark.parametrize(
    ("what", "expected"),
    [("canister_self", FIRST.raw), ("subnet_self", SUBNET.raw), ("root_key", b"root key")],
)
def test_who_and_where_it_is(what: str, expected: bytes) -> None:
    body = f"""(call ${what}_copy (i32.const 0) (i32.const 0) (call ${what}_size))
      (call $reply_at (i32.const 0) (call ${what}_size))"""
    assert replies(body) == expected
    assert f"ic0.{what}_copy: offset 1 and size {len(expected)} are outside" in refusal(
        f"(call ${what}_copy (i32.const 0) (i32.const 1) (call ${what}_size))"
    )


def test_nothing_is_known_of_a_caller_but_its_principal() -> None:
    for what in ("data", "signer"):
        size, copy = f"msg_caller_info_{what}_size", f"msg_caller_info_{what}_copy"
        assert replies(f"(call $reply_i32 (call ${size}))") == bytes(4)
        body = f"(i64.store (i32.const 0) (i64.const -1)) (call ${copy} (i32.const 0) (i32.const 0) (i32.const 0))"
        assert replies(f"{body} (call $reply_at (i32.const 0) (i32.const 8))") == b"\xff" * 8, "nothing is written"
        complaint = f"ic0.{copy}: offset 0 and size 1 are outside the 0 bytes"
        assert complaint in refusal(f"(call ${copy} (i32.const 0) (i32.const 0) (i32.const 1))")


def test_what_kind_of_execution_it_is() -> None:
    assert replies("(call $reply_i32 (call $in_replicated_execution))") == b"\1\0\0\0"
    assert replies("(call $reply_i32 (call $canister_status))") == b"\1\0\0\0", "it runs"
    world = World(module('(func (export "canister_query go") (call $reply_i32 (call $in_replicated_execution)))'))
    execution = Execution(Entry.QUERY, CallContext(ALICE, needs_answer=True))
    world.first.query(execution, "canister_query go")
    assert execution.response == bytes(4)


def test_the_deadline_of_its_caller() -> None:
    world = World(module('(func (export "canister_query go") (call $reply_i64 (call $msg_deadline)))'))
    for deadline in (0, 1_700_000_300_000_000_000):
        execution = Execution(Entry.QUERY, CallContext(ALICE, needs_answer=True, deadline_ns=deadline))
        world.first.query(execution, "canister_query go")
        assert execution.response == u64(deadline)


def test_a_reject_handler_alone_has_a_reject() -> None:
    world = World(module(""))
    api = SystemApi(world.first)
    world.first.execution = Execution(Entry.REPLY_CALLBACK, CallContext(ALICE, needs_answer=True))
    assert api.function("msg_reject_code")() == 0
    world.first.execution = Execution(Entry.REJECT_CALLBACK, CallContext(ALICE, needs_answer=True))
    with pytest.raises(CanisterTrap, match="there is no reject"):
        api.function("msg_reject_msg_size")()


def test_the_name_of_the_method_that_is_inspected() -> None:
    # accepts only what is called as its first byte says
    world = World(
        module(
            """(func (export "canister_inspect_message")
              (call $msg_method_name_copy (i32.const 0) (i32.const 0) (call $msg_method_name_size))
              (if (i32.eq (i32.load8_u (i32.const 0)) (i32.const 109)) (then (call $accept_message))))"""
        )
    )
    for method, accepted in (("m", True), ("other", False)):
        execution = Execution(Entry.INSPECT, CallContext(ALICE, needs_answer=False), method=method)
        world.first.query(execution, "canister_inspect_message")
        assert execution.accepted is accepted


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
        ("(call $certified_data_set (i32.const 0) (i32.const 33))", "no larger than 32 bytes. Found 33 bytes"),
        ("(drop (call $data_certificate_size))", "cannot be executed in update mode"),
        ("(call $accept_message)", "cannot be executed in update mode"),
        ("(drop (call $msg_reject_code))", "cannot be executed in update mode"),
        ("(drop (call $performance_counter (i32.const 2)))", "no counter 2"),
        (
            "(call $mint_cycles128 (i64.const 0) (i64.const 1) (i32.const 0))",
            "ic0.mint_cycles128 exists on the IC, but not on the local replica",
        ),
        ("(drop (call $is_controller (i32.const 0) (i32.const 30)))", "not a principal"),
        ("(call $msg_reject (i32.const 0) (i32.const 2097153))", "2097153 bytes are more than 2097152"),
        ("(call $msg_reply_data_append (i32.const 0) (i32.const 2097153))", "(2097153) cannot be larger than 2097152"),
        (
            "(i32.store8 (i32.const 0) (i32.const 255)) (call $msg_reject (i32.const 0) (i32.const 1))",
            "ic0.msg_reject: invalid UTF-8 string provided",
        ),
    ],
)
def test_misuse_traps_in_plain_words(body: str, complaint: str) -> None:
    assert complaint in refusal(body)


@pytest.mark.parametrize(
    ("entry", "most"),
    [(Entry.REPLICATED_QUERY, 2 << 20), (Entry.QUERY, 3 << 20), (Entry.COMPOSITE_QUERY, 3 << 20)],
)
def test_a_reply_of_a_query_may_be_longer_than_one_of_a_call(entry: Entry, most: int) -> None:
    for size in (most, most + 1):
        body = f'(func (export "canister_query go") (call $reply_at (i32.const 0) (i32.const {size})))'
        world = World(module(body, memory="(memory 64)"))
        execution = Execution(entry, CallContext(ALICE, needs_answer=True))
        if size > most:
            with pytest.raises(CanisterTrap, match=f"cannot be larger than {most}"):
                world.first.query(execution, "canister_query go")
        else:
            world.first.query(execution, "canister_query go")
            assert execution.response == bytes(most)


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


def test_printing_what_is_outside_the_memory_is_no_trap() -> None:
    body = "(call $debug_print (i32.const 65530) (i32.const 7)) (call $debug_print (i32.const -1) (i32.const -1))"
    world = World(module(f'(func (export "canister_update go") {body} (call $msg_reply))'))
    assert world.call("go") == b""
    assert world.log == [b"(debug_print message out of memory bounds)"] * 2


def test_the_number_of_nodes_of_the_subnet() -> None:
    assert replies("(call $reply_i32 (call $subnet_self_node_count))") == NODES.to_bytes(4, "little")


def test_every_function_with_a_rule_exists() -> None:
    for name in ALLOWED:
        assert hasattr(SystemApi, f"_ic0_{name}"), name


def test_what_is_no_function_of_the_interface_cannot_be_called() -> None:
    """The class's other attributes are no functions of the interface."""
    world = World(module(""))
    world.first.execution = Execution(Entry.UPDATE, CallContext(ALICE, needs_answer=True))
    names = [name.lstrip("_") for name in (*dir(SystemApi), "env") if not name.startswith("_ic0_")]
    for name in names:
        assert name not in import_types(memory64=False)
        with pytest.raises(CanisterTrap, match=re.escape(f"ic0.{name} exists on the IC, but not on the local replica")):
            SystemApi(world.first).function(name)(0, 0)


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
