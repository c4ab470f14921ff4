"""Canisters in WebAssembly's text format, for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import wasmtime

from icwsgw.devnet.wasm.canister import WasmCanister
from icwsgw.devnet.wasm.canister_messages import CanisterRequest, Messages
from icwsgw.devnet.wasm.execution import Response
from icwsgw.devnet.wasm.instance import Compiler
from icwsgw.errors import Rejected
from icwsgw.ic.principal import Principal

ALICE = Principal.self_authenticating(b"alice")
FIRST = Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai")
SECOND = Principal.from_text("bd3sg-teaaa-aaaaa-qaaba-cai")
SUBNET = Principal.self_authenticating(b"subnet")

NODES = 7

#: Functions of the system interface by name, as WebAssembly text wants them imported.
_IMPORTS = {
    "msg_arg_data_size": "(result i32)",
    "msg_arg_data_copy": "(param i32 i32 i32)",
    "msg_caller_size": "(result i32)",
    "msg_caller_copy": "(param i32 i32 i32)",
    "msg_caller_info_data_size": "(result i32)",
    "msg_caller_info_data_copy": "(param i32 i32 i32)",
    "msg_caller_info_signer_size": "(result i32)",
    "msg_caller_info_signer_copy": "(param i32 i32 i32)",
    "msg_reject_code": "(result i32)",
    "msg_reject_msg_size": "(result i32)",
    "msg_reject_msg_copy": "(param i32 i32 i32)",
    "msg_deadline": "(result i64)",
    "msg_reply_data_append": "(param i32 i32)",
    "msg_reply": "",
    "msg_reject": "(param i32 i32)",
    "msg_cycles_available": "(result i64)",
    "msg_cycles_available128": "(param i32)",
    "msg_cycles_accept": "(param i64) (result i64)",
    "msg_cycles_accept128": "(param i64 i64 i32)",
    "msg_cycles_refunded": "(result i64)",
    "msg_cycles_refunded128": "(param i32)",
    "cycles_burn128": "(param i64 i64 i32)",
    "canister_cycle_balance": "(result i64)",
    "canister_cycle_balance128": "(param i32)",
    "canister_liquid_cycle_balance128": "(param i32)",
    "canister_self_size": "(result i32)",
    "canister_self_copy": "(param i32 i32 i32)",
    "canister_version": "(result i64)",
    "canister_status": "(result i32)",
    "subnet_self_size": "(result i32)",
    "subnet_self_copy": "(param i32 i32 i32)",
    "root_key_size": "(result i32)",
    "root_key_copy": "(param i32 i32 i32)",
    "in_replicated_execution": "(result i32)",
    "accept_message": "",
    "msg_method_name_size": "(result i32)",
    "msg_method_name_copy": "(param i32 i32 i32)",
    "call_new": "(param i32 i32 i32 i32 i32 i32 i32 i32)",
    "call_on_cleanup": "(param i32 i32)",
    "call_data_append": "(param i32 i32)",
    "call_cycles_add": "(param i64)",
    "call_cycles_add128": "(param i64 i64)",
    "call_perform": "(result i32)",
    "stable_size": "(result i32)",
    "stable_grow": "(param i32) (result i32)",
    "stable_read": "(param i32 i32 i32)",
    "stable_write": "(param i32 i32 i32)",
    "stable64_grow": "(param i64) (result i64)",
    "certified_data_set": "(param i32 i32)",
    "data_certificate_present": "(result i32)",
    "data_certificate_size": "(result i32)",
    "data_certificate_copy": "(param i32 i32 i32)",
    "time": "(result i64)",
    "global_timer_set": "(param i64) (result i64)",
    "performance_counter": "(param i32) (result i64)",
    "is_controller": "(param i32 i32) (result i32)",
    "cost_call": "(param i64 i64 i32)",
    "cost_create_canister": "(param i32)",
    "cost_http_request": "(param i64 i64 i32)",
    "cost_http_request_v2": "(param i32 i32 i32)",
    "cost_sign_with_ecdsa": "(param i32 i32 i32 i32) (result i32)",
    "cost_sign_with_schnorr": "(param i32 i32 i32 i32) (result i32)",
    "cost_vetkd_derive_key": "(param i32 i32 i32 i32) (result i32)",
    "env_var_count": "(result i32)",
    "env_var_name_size": "(param i32) (result i32)",
    "env_var_name_copy": "(param i32 i32 i32 i32)",
    "env_var_name_exists": "(param i32 i32) (result i32)",
    "env_var_value_size": "(param i32 i32) (result i32)",
    "env_var_value_copy": "(param i32 i32 i32 i32 i32)",
    "debug_print": "(param i32 i32)",
    "trap": "(param i32 i32)",
    "subnet_self_node_count": "(result i32)",
    "mint_cycles128": "(param i64 i64 i32)",
}


def module(body: str, *, memory: str = "(memory 1)") -> bytes:
    """Assemble a module whose functions may call ``$name`` for each function of the system interface.

    ``$echo_arg`` copies the argument to address 1000, ``$reply_at`` replies with bytes from there.
    """
    imports = "\n".join(f'(import "ic0" "{name}" (func ${name} {kind}))' for name, kind in _IMPORTS.items())
    helpers = """
      (func $echo_arg (call $msg_arg_data_copy (i32.const 1000) (i32.const 0) (call $msg_arg_data_size)))
      (func $reply_at (param $at i32) (param $size i32)
        (call $msg_reply_data_append (local.get $at) (local.get $size)) (call $msg_reply))
      (func $reply_i32 (param $value i32)
        (i32.store (i32.const 2000) (local.get $value)) (call $reply_at (i32.const 2000) (i32.const 4)))
      (func $reply_i64 (param $value i64)
        (i64.store (i32.const 2000) (local.get $value)) (call $reply_at (i32.const 2000) (i32.const 8)))
    """
    return bytes(wasmtime.wat2wasm(f"(module {imports} {memory} {helpers} {body})"))


def leb(number: int) -> bytes:
    """An unsigned number in LEB128."""
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def section(name: str, content: bytes) -> bytes:
    """A custom section, to be put behind a module."""
    payload = leb(len(name)) + name.encode() + content
    return b"\0" + leb(len(payload)) + payload


class World:
    """Two canisters and the messages between them; time stands still unless a test moves it.

    :ivar log: what canisters printed
    :ivar elsewhere: requests for anything else
    """

    def __init__(self, *files: bytes) -> None:
        self.time_ns = 1_700_000_000_000_000_000
        self.log: list[bytes] = []
        self.elsewhere: list[CanisterRequest] = []
        self.compiler = Compiler()
        self.canisters: dict[Principal, WasmCanister] = {}
        self.messages = Messages(self.canisters.get, self.elsewhere.append)
        for canister_id, file in zip((FIRST, SECOND), files, strict=False):
            self.canisters[canister_id] = self.empty(canister_id)
            self.canisters[canister_id].install(file, caller=ALICE)

    def empty(self, canister_id: Principal) -> WasmCanister:
        return WasmCanister(
            canister_id,
            self.compiler,
            lambda: self.time_ns,
            root_key=b"root key",
            subnet_id=SUBNET,
            node_count=NODES,
            log=self.log.append,
            controllers=[ALICE],
        )

    @property
    def first(self) -> WasmCanister:
        return self.canisters[FIRST]

    def send(self, method: str, argument: bytes = b"", *, callee: Principal = FIRST, cycles: int = 0) -> list[Response]:
        """Put a call into the queue; the list gets its answer."""
        answers: list[Response] = []
        request = CanisterRequest(callee, method, ALICE, argument, cycles, lambda response, _: answers.append(response))
        self.messages.call(request)
        return answers

    def call(self, method: str, argument: bytes = b"", **options: Any) -> Response:
        """Return the answer to a call; all messages are executed."""
        answers = self.send(method, argument, **options)
        self.messages.run(1000)
        (answer,) = answers
        return answer

    def reject(self, method: str, argument: bytes = b"", **options: Any) -> Rejected:
        """Return the reject of a call."""
        answer = self.call(method, argument, **options)
        assert isinstance(answer, Rejected)
        return answer


#: A canister that prints when it is installed, answers `echo` and `ask` (which calls the management canister), counts
#: the rings of its timer and its heartbeats, and certifies the argument of `certify`.
PRINTING = """
  (type $callback (func (param i32)))
  (table 2 funcref) (elem (i32.const 0) $on_reply $on_reject)
  (data (i32.const 0) "hi\\ff") (data (i32.const 50) "raw_rand")
  (global $rings (mut i32) (i32.const 0)) (global $beats (mut i32) (i32.const 0))
  (func (export "canister_init") (call $debug_print (i32.const 0) (i32.const 3)))
  (func $on_reply (param i32) (call $echo_arg) (call $reply_at (i32.const 1000) (call $msg_arg_data_size)))
  (func $on_reject (param i32)
    (call $msg_reject_msg_copy (i32.const 1000) (i32.const 0) (call $msg_reject_msg_size))
    (call $msg_reject (i32.const 1000) (call $msg_reject_msg_size)))
  (func (export "canister_update ask")
    (call $call_new (i32.const 0) (i32.const 0) (i32.const 50) (i32.const 8)
      (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0))
    (drop (call $call_perform)))
  (func (export "canister_update call")
    (call $echo_arg)
    (call $call_new (i32.const 1000) (call $msg_arg_data_size) (i32.const 50) (i32.const 8)
      (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0))
    (drop (call $call_perform)))
  (func (export "canister_update echo") (call $echo_arg) (call $reply_at (i32.const 1000) (call $msg_arg_data_size)))
  (func (export "canister_update certify") (call $echo_arg)
    (call $certified_data_set (i32.const 1000) (call $msg_arg_data_size)) (call $msg_reply))
  (func (export "canister_update ring_in_1_s")
    (drop (call $global_timer_set (i64.add (call $time) (i64.const 1000000000)))) (call $msg_reply))
  (func (export "canister_global_timer") (global.set $rings (i32.add (global.get $rings) (i32.const 1))))
  (func (export "canister_heartbeat") (global.set $beats (i32.add (global.get $beats) (i32.const 1))))
  (func (export "canister_query rings") (call $reply_i32 (global.get $rings)))
  (func (export "canister_query beats") (call $reply_i32 (global.get $beats)))
"""


def log_of(seen: list[tuple[str, str]]) -> Callable[[Principal, str], None]:
    """A log that keeps id and text in a list."""
    return lambda canister_id, text: seen.append((canister_id.text, text))


#: A canister with a Candid interface: `greet` replies with the text "hi", `shout` prints before that.
GREETING = """
  (data (i32.const 0) "hello from the canister") (data (i32.const 100) "DIDL\\00\\01\\71\\02hi")
  (func (export "canister_init") (call $debug_print (i32.const 0) (i32.const 23)))
  (func (export "canister_query greet") (call $reply_at (i32.const 100) (i32.const 10)))
  (func (export "canister_update shout")
    (call $debug_print (i32.const 0) (i32.const 5)) (call $reply_at (i32.const 100) (i32.const 10)))
"""
GREETING_DID = "service : { greet : () -> (text) query; shout : () -> (text) }"


def greeting(more: bytes = b"") -> bytes:
    """The canister that greets, with its interface as public metadata.

    :param more: further sections
    """
    return module(GREETING) + section("icp:public candid:service", GREETING_DID.encode()) + more


def replies(body: str, argument: bytes = b"", **more: str) -> bytes:
    """Return the reply of an update whose body this is."""
    answer = World(module(f'(func (export "canister_update go") {body})', **more)).call("go", argument)
    assert isinstance(answer, bytes), answer
    return answer


def u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def u128(number: int) -> bytes:
    return number.to_bytes(16, "little")


def refusal(body: str) -> str:
    return World(module(f'(func (export "canister_update go") {body})')).reject("go").message
