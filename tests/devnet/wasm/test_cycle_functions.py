"""Cycles of messages and of the canister, and costs."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.devnet.wasm.canister import INITIAL_CYCLES
from icwsgw.ic import candid
from tests.devnet.wasm.support import SECOND, World, module, replies, u64, u128

#: Replies with the cycles that each function reports, which it writes at the address in its argument.
CYCLES = """
  (func (export "canister_update available") (call $reply_i64 (call $msg_cycles_available)))
  (func (export "canister_update available128")
    (call $msg_cycles_available128 (i32.const 0)) (call $reply_at (i32.const 0) (i32.const 16)))
  (func (export "canister_update accept") (drop (call $msg_cycles_accept (i64.const 30)))
    (call $msg_cycles_accept128 (i64.const 0) (i64.const 50) (i32.const 0))
    (call $msg_cycles_accept128 (i64.const 1) (i64.const 0) (i32.const 16))
    (call $msg_cycles_available128 (i32.const 32))
    (call $reply_at (i32.const 0) (i32.const 48)))
  (func (export "canister_update burn")
    (call $cycles_burn128 (i64.const 0) (i64.const 70) (i32.const 0))
    (call $canister_cycle_balance128 (i32.const 16))
    (call $cycles_burn128 (i64.const 1) (i64.const 0) (i32.const 32))
    (call $canister_liquid_cycle_balance128 (i32.const 48))
    (call $reply_at (i32.const 0) (i32.const 64)))
  (func (export "canister_update balance") (call $reply_i64 (call $canister_cycle_balance)))
  (func (export "canister_update balance128")
    (call $canister_cycle_balance128 (i32.const 0)) (call $reply_at (i32.const 0) (i32.const 16)))
"""


def test_cycles_of_a_call_are_there_until_they_are_accepted() -> None:
    world = World(module(CYCLES))
    assert world.call("available", cycles=100) == u64(100)
    assert world.call("available128", cycles=(1 << 64) + 5) == u128((1 << 64) + 5)
    assert world.first.cycles == INITIAL_CYCLES, "nothing was accepted"
    # what is asked for, and at most what is left
    assert world.call("accept", cycles=100) == u128(50) + u128(20) + u128(0)
    assert world.first.cycles == INITIAL_CYCLES + 100


def test_cycles_are_burnt_as_far_as_there_are_any() -> None:
    world = World(module(CYCLES))
    rest = INITIAL_CYCLES - 70
    assert world.call("burn") == u128(70) + u128(rest) + u128(rest) + u128(0)
    assert world.first.cycles == 0


def test_cycles_that_do_not_fit_are_readable_in_128_bits_alone() -> None:
    world = World(module(CYCLES))
    world.first.cycles = (1 << 64) - 1
    assert world.call("balance") == b"\xff" * 8
    world.first.cycles = 1 << 64
    assert "does not fit into 64 bits" in world.reject("balance").message
    assert "does not fit into 64 bits" in world.reject("available", cycles=1 << 64).message
    assert world.call("balance128") == u128(1 << 64)


def test_a_balance_has_at_most_128_bits() -> None:
    world = World(module(CYCLES))
    for more in (2**127, 2**128, 2**200):
        world.first.cycles += more
    assert world.call("balance128") == b"\xff" * 16
    burnt = world.call("burn")
    assert isinstance(burnt, bytes)
    assert burnt[16:32] == u128(2**128 - 1 - 70)


@pytest.mark.parametrize(("method", "kept"), [("keep", 30), ("nothing_of_the_kind", 0)])
def test_cycles_that_come_back_with_an_answer(method: str, kept: int) -> None:
    callee = "".join(f"\\{byte:02x}" for byte in SECOND.raw)
    caller = f"""
      (type $callback (func (param i32)))
      (table 1 funcref) (elem (i32.const 0) $answered)
      (data (i32.const 0) "{callee}") (data (i32.const 50) "{method}")
      (func $answered (param i32)
        (i64.store (i32.const 100) (call $msg_cycles_refunded)) (call $msg_cycles_refunded128 (i32.const 108))
        (call $reply_at (i32.const 100) (i32.const 24)))
      (func (export "canister_update go")
        (call $call_new (i32.const 0) (i32.const {len(SECOND.raw)}) (i32.const 50) (i32.const {len(method)})
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
        (call $call_cycles_add (i64.const 60)) (call $call_cycles_add128 (i64.const 0) (i64.const 40))
        (drop (call $call_perform)))
    """
    keeping = '(func (export "canister_update keep") (drop (call $msg_cycles_accept (i64.const 30))) (call $msg_reply))'
    world = World(module(caller), module(keeping))
    assert world.call("go") == u64(100 - kept) + u128(100 - kept)
    assert [canister.cycles - INITIAL_CYCLES for canister in world.canisters.values()] == [-kept, kept]


#: Parameters of an HTTPS outcall, as Candid.
_COUNTS = candid.Record(dict.fromkeys(("min_responses", "max_responses", "total_requests"), candid.Nat32))
_SIZES = ("request_bytes", "http_roundtrip_time_ms", "raw_response_bytes", "transformed_response_bytes")
_OUTCALL = dict.fromkeys((*_SIZES, "transform_instructions"), candid.Nat64)
_KIND = candid.Variant({"non_replicated": candid.Null, "flexible": candid.Opt(_COUNTS)})


@pytest.mark.parametrize("kind", [None, {"non_replicated": None}, {"flexible": None}, {"flexible": 1}])
def test_the_parameters_of_an_outcall(kind: Any) -> None:
    if kind == {"flexible": 1}:
        kind = {"flexible": dict.fromkeys(("min_responses", "max_responses", "total_requests"), 2)}
    outcall = {**dict.fromkeys(_OUTCALL, 1), "outcall_type": kind}
    argument = candid.encode([candid.Record({**_OUTCALL, "outcall_type": candid.Opt(_KIND)})], [outcall])
    body = """(func (export "canister_update go") (call $echo_arg)
      (i64.store (i32.const 0) (i64.const -1)) (i64.store (i32.const 8) (i64.const -1))
      (call $cost_http_request_v2 (i32.const 1000) (call $msg_arg_data_size) (i32.const 0))
      (call $reply_at (i32.const 0) (i32.const 16)))"""
    world = World(module(body))
    assert world.call("go", argument) == bytes(16)
    empty = candid.encode([candid.Record({})], [{}])
    for wrong in (b"", argument[:-1], argument + b"x", empty):
        assert world.reject("go", wrong).error_code == "IC0504"


@pytest.mark.parametrize(
    ("function", "curves"), [("sign_with_ecdsa", 1), ("sign_with_schnorr", 2), ("vetkd_derive_key", 1)]
)
def test_the_curve_of_a_key_must_exist(function: str, curves: int) -> None:
    for curve in range(curves + 2):
        cost = f"(call $cost_{function} (i32.const 50) (i32.const 5) (i32.const {curve}) (i32.const 0))"
        body = f"""(i64.store (i32.const 0) (i64.const -1)) (i32.store (i32.const 16) {cost})
          (i32.store (i32.const 8) (i32.load (i32.const 16)))
          (call $reply_at (i32.const 0) (i32.const 12))"""
        known = curve < curves
        assert replies(body) == (bytes(8) if known else b"\xff" * 8) + (bytes(4) if known else b"\1\0\0\0"), curve


def test_nothing_costs_anything() -> None:
    for cost in (
        "(call $cost_call (i64.const 10) (i64.const 1000) (i32.const 0))",
        "(call $cost_create_canister (i32.const 0))",
        "(call $cost_http_request (i64.const 10) (i64.const 1000) (i32.const 0))",
        "(drop (call $cost_sign_with_ecdsa (i32.const 50) (i32.const 5) (i32.const 0) (i32.const 0)))",
    ):
        before = "(i64.store (i32.const 0) (i64.const -1)) (i64.store (i32.const 8) (i64.const -1))"
        assert replies(f"{before} {cost} (call $reply_at (i32.const 0) (i32.const 16))") == bytes(16), cost
