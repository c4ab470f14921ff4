"""A canister in WebAssembly in the network: its calls, its timers, its part of the state tree, and older blocks."""

from __future__ import annotations

import gc
import weakref

import pytest
import wasmtime

from icwsgw.devnet.consensus import BlockTiming
from icwsgw.devnet.wasm.canister import Snapshot, WasmCanister
from icwsgw.devnet.wasm.host import MESSAGES_AT_ONCE, WasmHost
from icwsgw.errors import Rejected
from icwsgw.ic import hashtree
from tests.devnet.wasm.support import PRINTING, module
from tests.support.devnet import Net, identity, pending, result_of

ALICE = identity(1)


def installed(wat: str = PRINTING, **options: object) -> tuple[Net, WasmHost]:
    net = Net(**options)
    return net, net.replica.canisters.install_wasm(net.replica.canisters.free_id(), module(wat))


def number(answer: bytes) -> int:
    return int.from_bytes(answer, "little")


def test_a_call_and_a_query_through_the_endpoints() -> None:
    net, host = installed()
    assert net.call(ALICE, "echo", b"argument", host.id) == b"argument"
    assert net.query(ALICE, "rings", b"", host.id) == bytes(4)
    for attempt in (net.call, net.query):
        with pytest.raises(Rejected, match=r"has no .* method 'none'"):
            attempt(ALICE, "none", b"", host.id)


def test_what_it_certifies_is_in_the_state_tree() -> None:
    net, host = installed()
    net.call(ALICE, "certify", b"data", host.id)
    tree = host.state()
    assert hashtree.lookup(tree, [b"certified_data"]).value == b"data"
    assert hashtree.lookup(tree, [b"module_hash"]).value == host.canister.module.hash


def test_it_knows_the_size_of_its_subnet() -> None:
    wat = '(func (export "canister_query nodes") (call $reply_i32 (call $subnet_self_node_count)))'
    net, host = installed(wat, nodes=5)
    assert number(net.query(ALICE, "nodes", b"", host.id)) == 5


def test_the_global_timer() -> None:
    net, host = installed()
    net.call(ALICE, "ring_in_1_s", b"", host.id)
    net.advance(0.9)
    assert number(net.query(ALICE, "rings", b"", host.id)) == 0
    net.advance(0.1)
    assert number(net.query(ALICE, "rings", b"", host.id)) == 1
    net.advance(10, step=0.5)
    assert number(net.query(ALICE, "rings", b"", host.id)) == 1


@pytest.mark.parametrize("stopped_for", [0.5, 3, 100])
def test_a_timer_of_a_stopped_canister_fires_when_it_is_started(stopped_for: float) -> None:
    net, host = installed()
    net.call(ALICE, "ring_in_1_s", b"", host.id)
    due = host.canister.global_timer_ns
    net.replica.stop(host.id)
    net.advance(stopped_for, step=0.5)
    assert host.canister.global_timer_ns == due
    net.replica.start(host.id)
    assert number(net.query(ALICE, "rings", b"", host.id)) == 0
    net.advance(max(1 - stopped_for, 0))
    assert number(net.query(ALICE, "rings", b"", host.id)) == 1
    net.advance(10, step=0.5)
    assert number(net.query(ALICE, "rings", b"", host.id)) == 1
    assert host.canister.global_timer_ns == 0


def test_an_upgrade_clears_the_timer_of_a_stopped_canister() -> None:
    net, host = installed()
    net.call(ALICE, "ring_in_1_s", b"", host.id)
    net.replica.stop(host.id)
    net.advance(2)
    net.replica.reset(host.id)
    net.replica.start(host.id)
    net.advance(2, step=0.5)
    assert number(net.query(ALICE, "rings", b"", host.id)) == 0


def test_heartbeats_stop_while_the_canister_is_stopped() -> None:
    net, host = installed()
    net.advance(5, step=1)
    assert number(net.query(ALICE, "beats", b"", host.id)) == 5
    net.replica.stop(host.id)
    net.advance(5, step=1)
    with pytest.raises(Rejected, match="is stopped") as caught:
        net.query(ALICE, "beats", b"", host.id)
    assert caught.value.error_code == "IC0508"
    with pytest.raises(Rejected, match="is stopped"):
        net.call(ALICE, "echo", b"", host.id)
    net.replica.start(host.id)
    assert number(net.query(ALICE, "beats", b"", host.id)) == 5
    net.replica.close()
    assert net.clock.getDelayedCalls() == []


def test_a_reset_is_an_upgrade_with_the_same_code() -> None:
    net, host = installed()
    net.advance(3, step=1)
    version = host.canister.version
    net.replica.reset(host.id)
    assert host.canister.version == version + 1
    assert number(net.query(ALICE, "beats", b"", host.id)) == 0


def test_a_call_of_an_uninstalled_canister_is_rejected() -> None:
    """It is rejected when the code is taken out, not when the answer comes for which the canister waits."""
    net, host = installed()
    # The management canister does not answer.
    asked: list[object] = []
    host._runner.messages._elsewhere = asked.append
    request = net.call_request(ALICE, "ask", b"", host.id)
    answer = net.submit(request, host.id)
    assert pending(answer)
    host.uninstall()
    with pytest.raises(Rejected, match="Canister has been uninstalled") as caught:
        net.outcome(result_of(answer), request, host.id)
    assert (caught.value.code, caught.value.error_code) == (4, "IC0406")
    assert len(asked) == 1


def test_a_message_is_inspected_first() -> None:
    net, host = installed(
        """(func (export "canister_inspect_message")
             (if (i32.eq (call $msg_method_name_size) (i32.const 2)) (then (call $accept_message))))
           (func (export "canister_update go") (call $msg_reply))
           (func (export "canister_update stay") (call $msg_reply))"""
    )
    assert net.call(ALICE, "go", b"", host.id) == b""
    with pytest.raises(Rejected, match="rejected the message") as caught:
        net.call(ALICE, "stay", b"", host.id)
    assert (caught.value.code, caught.value.error_code) == (4, "IC0406")


def test_more_messages_than_one_turn_takes() -> None:
    # `go` calls itself until its argument's count is used up; each call is a request and an answer
    net, host = installed(
        f"""(type $callback (func (param i32))) (table 1 funcref) (elem (i32.const 0) $done)
            (data (i32.const 50) "go") (global $count (mut i32) (i32.const 0))
            (func $done (param i32) (call $msg_reply))
            (func (export "canister_update go")
              (global.set $count (i32.add (global.get $count) (i32.const 1)))
              (call $canister_self_copy (i32.const 0) (i32.const 0) (i32.const 10))
              (if (i32.gt_u (global.get $count) (i32.const {MESSAGES_AT_ONCE}))
                (then (call $msg_reply))
                (else (call $call_new (i32.const 0) (i32.const 10) (i32.const 50) (i32.const 2)
                  (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (drop (call $call_perform)))))"""
    )
    request = net.call_request(ALICE, "go", b"", host.id)
    answer = net.submit(request, host.id)
    assert pending(answer)
    for _ in range(4):
        net.advance(0)
    assert net.outcome(result_of(answer), request, host.id) == b""


def test_queries_on_older_blocks() -> None:
    net, host = installed(pace=BlockTiming(1.0, 0.0, 3), nodes=4)
    net.advance(12, step=0.25)
    seen = {number(net.query(ALICE, "beats", b"", host.id)) for _ in range(40)}
    assert len(seen) > 1, "nodes that are behind answer with what was"


def test_blocks_that_no_node_answers_from_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[weakref.ref[object]] = []
    snapshot = WasmCanister.snapshot

    def counted(canister: WasmCanister) -> Snapshot | None:
        copy = snapshot(canister)
        copies.append(weakref.ref(copy))
        return copy

    monkeypatch.setattr(WasmCanister, "snapshot", counted)
    net, host = installed(pace=BlockTiming(1.0, 0.0, 5), nodes=4)

    def kept() -> int:
        net.advance(40, step=1)
        gc.collect()
        return sum(copy() is not None for copy in copies)

    # One more is executed and not yet certified.
    assert 2 < kept() <= 5 + 2
    net.replica.set_pace(BlockTiming(1.0))
    assert kept() == 2
    assert len(copies) >= 80
    assert number(net.query(ALICE, "beats", b"", host.id)) >= 78


def test_a_trap_in_a_timer_is_logged() -> None:
    seen: list[str] = []
    net = Net(log=lambda canister_id, text: seen.append(text))
    host = net.replica.canisters.install_wasm(
        net.replica.canisters.free_id(),
        module(
            """(func (export "canister_init") (drop (call $global_timer_set (call $time))))
               (func (export "canister_global_timer") unreachable)"""
        ),
    )
    net.advance(0.1)
    assert seen[0].startswith("Canister trapped: unreachable"), seen
    assert host.canister.global_timer_ns == 0


def test_a_canister_without_memory() -> None:
    wat = '(module (import "ic0" "msg_reply" (func $reply)) (func (export "canister_update go") (call $reply)))'
    net = Net()
    host = net.replica.canisters.install_wasm(net.replica.canisters.free_id(), bytes(wasmtime.wat2wasm(wat)))
    assert net.call(ALICE, "go", b"", host.id) == b""
