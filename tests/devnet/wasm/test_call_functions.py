"""A canister builds calls to other canisters."""

from __future__ import annotations

import pytest

from icwsgw.devnet.wasm import call_functions
from icwsgw.devnet.wasm.canister import INITIAL_CYCLES
from icwsgw.devnet.wasm.execution import MAX_CALL
from tests.devnet.wasm.support import World, module, refusal, replies

NEW = "(call $call_new" + " (i32.const 0)" * 8 + ")"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("(drop (call $call_perform))", "no call is under construction"),
        (f"{NEW} (drop (call $call_perform)) (drop (call $call_perform))", "no call is under construction"),
        ("(call $call_new (i32.const 0) (i32.const 30)" + " (i32.const 0)" * 6 + ")", "the callee is not a principal"),
        (
            "(i32.store8 (i32.const 0) (i32.const 255)) (call $call_new (i32.const 0) (i32.const 0) (i32.const 0)"
            " (i32.const 1)" + " (i32.const 0)" * 4 + ")",
            "the method's name is not UTF-8",
        ),
        (f"{NEW} (call $call_data_append (i32.const 0) (i32.const {MAX_CALL + 1}))", f"more than {MAX_CALL}"),
        (f"{NEW} (call $call_cycles_add128 (i64.const 1) (i64.const 0))", "out of cycles"),
    ],
)
def test_calls_that_are_not_built_as_they_should(body: str, complaint: str) -> None:
    assert complaint in refusal(body)


def test_two_cleanups_of_one_call() -> None:
    call = "(call $call_new" + " (i32.const 0)" * 8 + ")"
    cleanup = "(call $call_on_cleanup (i32.const 0) (i32.const 0))"
    assert "at most once" in refusal(call + cleanup + cleanup)


def test_a_call_that_is_given_up_gives_its_cycles_back() -> None:
    go = f'(func (export "canister_update go") {NEW} (call $call_cycles_add (i64.const 60)) {NEW} (call $msg_reply))'
    world = World(module(go))
    assert world.call("go") == b""
    assert world.first.cycles == INITIAL_CYCLES


def test_an_execution_performs_a_bounded_number_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_functions, "MAX_CALLS", 0)
    assert replies(f"{NEW} (call $reply_i32 (call $call_perform))") == b"\2\0\0\0"
