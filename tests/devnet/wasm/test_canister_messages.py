"""Calls between canisters: callbacks, rejects, cleanup, and that each call has one answer."""

from __future__ import annotations

import pytest

from icwsgw.devnet.wasm.canister import STOPPED, STOPPING
from icwsgw.devnet.wasm.canister_messages import CanisterRequest
from icwsgw.errors import Rejected
from tests.devnet.wasm.support import ALICE, FIRST, SECOND, World, module


def caller_of(callee: bytes, method: str, more: str = "", *, reply: str = "", cycles: int = 0) -> bytes:
    """Make a canister whose ``go`` calls a method with its own argument, and answers from its callbacks."""
    raw = "".join(f"\\{byte:02x}" for byte in callee)
    return module(
        f"""
        (type $callback (func (param i32)))
        (table 4 funcref) (elem (i32.const 0) $on_reply $on_reject $on_cleanup)
        (data (i32.const 0) "{raw}") (data (i32.const 50) "{method}") (data (i32.const 80) "cleaned")
        (func $on_reply (param $env i32) (call $echo_arg)
          (call $msg_reply_data_append (i32.const 1000) (call $msg_arg_data_size))
          (i32.store (i32.const 300) (local.get $env)) (call $msg_reply_data_append (i32.const 300) (i32.const 4))
          {reply} (call $msg_reply))
        (func $on_reject (param $env i32)
          (call $msg_reject_msg_copy (i32.const 1000) (i32.const 0) (call $msg_reject_msg_size))
          (call $msg_reply_data_append (i32.const 1000) (call $msg_reject_msg_size))
          (i32.store (i32.const 300) (call $msg_reject_code))
          (call $msg_reply_data_append (i32.const 300) (i32.const 4))
          (call $msg_reply))
        (func $on_cleanup (param $env i32) (call $debug_print (i32.const 80) (i32.const 7)))
        (func (export "canister_update go")
          (call $echo_arg)
          (call $call_new (i32.const 0) (i32.const {len(callee)}) (i32.const 50) (i32.const {len(method)})
            (i32.const 0) (i32.const -2) (i32.const 1) (i32.const 9))
          (call $call_data_append (i32.const 1000) (call $msg_arg_data_size))
          (call $call_on_cleanup (i32.const 2) (i32.const 0))
          (call $call_cycles_add (i64.const {cycles}))
          (drop (call $call_perform)))
        (func $echo (call $echo_arg) (call $reply_at (i32.const 1000) (call $msg_arg_data_size)))
        (export "canister_update echo" (func $echo))
        (export "canister_query peek" (func $echo))
        (func (export "canister_update refuse") (call $msg_reject (i32.const 80) (i32.const 7)))
        (func (export "canister_update balance") (call $reply_i64 (call $canister_cycle_balance)))
        (func (export "canister_update silent"))
        {more}
        """
    )


def test_a_call_to_itself_and_its_reply() -> None:
    world = World(caller_of(FIRST.raw, "echo"))
    # the environment is the callback's argument, -2 unsigned
    assert world.call("go", b"question") == b"question" + (2**32 - 2).to_bytes(4, "little")


@pytest.mark.parametrize("method", ["echo", "peek"])
def test_a_call_to_another(method: str) -> None:
    world = World(caller_of(SECOND.raw, method), caller_of(FIRST.raw, "echo"))
    answer = world.call("go", b"question")
    assert isinstance(answer, bytes)
    assert answer.startswith(b"question")


def test_a_reject_reaches_the_reject_callback() -> None:
    world = World(caller_of(SECOND.raw, "refuse"), caller_of(FIRST.raw, "echo"))
    assert world.call("go") == b"cleaned" + (4).to_bytes(4, "little")


def test_what_is_not_there_rejects() -> None:
    world = World(caller_of(SECOND.raw, "missing"), caller_of(FIRST.raw, "echo"))
    answer = world.call("go")
    assert isinstance(answer, bytes)
    assert b"has no update method 'missing'" in answer
    assert answer.endswith((5).to_bytes(4, "little"))


def test_a_callback_that_traps_runs_the_cleanup_and_rejects_the_caller() -> None:
    world = World(caller_of(FIRST.raw, "echo", reply="unreachable"))
    reject = world.reject("go")
    assert reject.error_code == "IC0502"
    assert world.log[-1] == b"cleaned"


def test_no_answer_and_nothing_outstanding() -> None:
    reject = World(caller_of(FIRST.raw, "echo")).reject("silent")
    assert (reject.code, reject.error_code) == (5, "IC0506")


def test_an_answer_from_elsewhere_may_come_later() -> None:
    world = World(caller_of(b"", "raw_rand"))
    answers = world.send("go", b"x")
    world.messages.run(100)
    assert answers == []
    (request,) = world.elsewhere
    assert (request.callee.raw, request.method, request.caller, request.argument) == (b"", "raw_rand", FIRST, b"x")
    request.answered(b"random", 0)
    assert answers == []
    world.messages.run(100)
    assert isinstance(answers[0], bytes)
    assert answers[0].startswith(b"random")


def test_a_bounded_number_of_messages_at_a_time() -> None:
    world = World(caller_of(FIRST.raw, "echo"))
    answers = world.send("go", b"x")
    for _ in range(3):
        assert answers == []
        world.messages.run(1)
    assert len(answers) == 1
    assert len(world.messages) == 0


def test_cycles_go_with_a_call_and_come_back() -> None:
    world = World(caller_of(SECOND.raw, "echo", cycles=500), caller_of(FIRST.raw, "echo"))
    before = world.first.cycles
    answers = world.send("go", b"x")
    world.messages.run(1)
    assert world.first.cycles == before - 500
    world.messages.run(100)
    assert len(answers) == 1
    assert world.first.cycles == before


def test_more_cycles_than_there_are() -> None:
    world = World(caller_of(SECOND.raw, "echo", cycles=10**18))
    reject = world.reject("go")
    assert (reject.code, reject.error_code) == (2, "IC0207")


def test_cycles_that_went_back_with_an_answer_cannot_be_accepted() -> None:
    file = module("""
      (table 1 funcref) (elem (i32.const 0) $answered) (data (i32.const 50) "raw_rand")
      (func $answered (param i32) (drop (call $msg_cycles_accept (i64.const 1000))))
      (func (export "canister_update go") (drop (call $msg_cycles_accept (i64.const 1)))
        (call $call_new (i32.const 0) (i32.const 0) (i32.const 50) (i32.const 8)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
        (drop (call $call_perform)) (call $msg_reply))""")
    world = World(file)
    refunds: list[int] = []
    before = world.first.cycles
    world.messages.call(CanisterRequest(FIRST, "go", ALICE, b"", 1000, lambda _, cycles: refunds.append(cycles)))
    world.messages.run(10)
    world.elsewhere[0].answered(b"x", 0)
    world.messages.run(10)
    assert refunds == [999]
    assert world.first.cycles == before + 1


@pytest.mark.parametrize(("status", "code"), [(STOPPED, "IC0508"), (STOPPING, "IC0509")])
def test_a_canister_that_does_not_run(status: int, code: str) -> None:
    world = World(caller_of(FIRST.raw, "echo"))
    world.first.status = status
    assert world.reject("echo").error_code == code


def test_an_answer_reaches_a_canister_that_is_stopping() -> None:
    world = World(caller_of(b"", "raw_rand"))
    answers = world.send("go")
    world.messages.run(100)
    world.first.status = STOPPING
    world.elsewhere[0].answered(Rejected(2, "later"), 0)
    world.messages.run(100)
    assert answers == [b"later" + (2).to_bytes(4, "little")]


def test_an_uninstalled_canister_has_no_callbacks_left() -> None:
    file = caller_of(b"", "raw_rand", cycles=500)
    world = World(file)
    before = world.first.cycles
    early, late = world.send("go"), world.send("go")
    world.messages.run(100)
    assert len(world.elsewhere) == 2
    world.elsewhere[0].answered(b"random", 0)
    world.messages.run(100)
    assert len(early) == 1
    world.first.uninstall()
    world.messages.uninstalled(world.first)
    (reject,) = late
    assert isinstance(reject, Rejected)
    assert (reject.code, reject.error_code, reject.message) == (4, "IC0406", "Canister has been uninstalled.")
    world.first.install(file)
    world.elsewhere[1].answered(b"random", 500)
    world.messages.run(100)
    assert (len(early), len(late)) == (1, 1)
    assert world.first.cycles == before - 500
    assert world.messages._waiting == {}
    # a call after that is a new one
    again = world.send("go")
    world.messages.run(100)
    world.elsewhere[2].answered(b"random", 500)
    world.messages.run(100)
    assert again == early
    assert world.messages._waiting == {}


def test_a_callback_outside_the_table() -> None:
    world = World(
        module(
            """
            (data (i32.const 50) "x")
            (func (export "canister_update go")
              (call $call_new (i32.const 0) (i32.const 0) (i32.const 50) (i32.const 1)
                (i32.const 77) (i32.const 0) (i32.const 77) (i32.const 0))
              (drop (call $call_perform)))
            """
        )
    )
    answers = world.send("go")
    world.messages.run(1)
    world.messages.run(1)
    world.elsewhere[0].answered(b"", 0)
    world.messages.run(1)
    (answer,) = answers
    assert isinstance(answer, Rejected)
    assert "null function call" in answer.message


def test_many_calls_of_one_execution_are_bounded() -> None:
    world = World(
        module(
            """
            (table 1 funcref)
            (func (export "canister_update go") (local $n i32) (local $refused i32)
              (loop $again
                (call $call_new (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                  (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
                (if (call $call_perform) (then (local.set $refused (i32.add (local.get $refused) (i32.const 1)))))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $n) (i32.const 505))))
              (call $reply_i32 (local.get $refused)))
            """
        )
    )
    assert world.call("go") == (5).to_bytes(4, "little")
