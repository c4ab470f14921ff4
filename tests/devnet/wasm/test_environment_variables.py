"""What a canister sees of the environment variables in its settings."""

from __future__ import annotations

import pytest

from tests.devnet.wasm.support import World, module

READING = """
  (func (export "canister_query count") (call $reply_i32 (call $env_var_count)))
  (func (export "canister_query name") (call $echo_arg)
    (call $env_var_name_copy (i32.load (i32.const 1000)) (i32.const 3000) (i32.const 0)
      (call $env_var_name_size (i32.load (i32.const 1000))))
    (call $reply_at (i32.const 3000) (call $env_var_name_size (i32.load (i32.const 1000)))))
  (func (export "canister_query exists") (call $echo_arg)
    (call $reply_i32 (call $env_var_name_exists (i32.const 1000) (call $msg_arg_data_size))))
  (func (export "canister_query value") (call $echo_arg)
    (call $env_var_value_copy (i32.const 1000) (call $msg_arg_data_size) (i32.const 3000) (i32.const 0)
      (call $env_var_value_size (i32.const 1000) (call $msg_arg_data_size)))
    (call $reply_at (i32.const 3000) (call $env_var_value_size (i32.const 1000) (call $msg_arg_data_size))))
  (func (export "canister_query too_much") (call $echo_arg)
    (call $env_var_value_copy (i32.const 1000) (call $msg_arg_data_size) (i32.const 3000) (i32.const 1) (i32.const 5)))
"""
NAME = "PUBLIC_CANISTER_ID:grüezi".encode()


@pytest.fixture
def world() -> World:
    return World(module(READING))


def number(value: int) -> bytes:
    return value.to_bytes(4, "little")


def test_without_settings_there_are_none(world: World) -> None:
    assert world.call("count") == number(0)
    assert world.call("exists", NAME) == number(0)


def test_names_and_values(world: World) -> None:
    world.first.variables = [(b"A", b""), (NAME, b"12345")]
    assert world.call("count") == number(2)
    assert [world.call("name", number(index)) for index in range(2)] == [b"A", NAME]
    assert [world.call("exists", name) for name in (NAME, b"A", b"B", b"")] == [number(n) for n in (1, 1, 0, 0)]
    assert [world.call("value", name) for name in (b"A", NAME)] == [b"", b"12345"]


@pytest.mark.parametrize(
    ("method", "argument"),
    [
        *(("name", number(2)), ("name", number(2**32 - 1)), ("value", b"B"), ("too_much", NAME)),
        *((method, name) for method in ("exists", "value") for name in (b"\xff", b"x" * 129)),
    ],
)
def test_what_is_not_there_traps(world: World, method: str, argument: bytes) -> None:
    world.first.variables = [(b"A", b""), (NAME, b"12345")]
    assert world.reject(method, argument).error_code == "IC0504"
