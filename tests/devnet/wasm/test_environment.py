"""What functions of the system interface read and write in a canister's memory."""

from __future__ import annotations

import pytest

from icwsgw.devnet.wasm.environment import SystemFunctions
from icwsgw.devnet.wasm.execution import CanisterTrap
from tests.devnet.wasm.support import World, module


def test_parts_are_copied_as_far_as_there_is_something() -> None:
    world = World(module(""))
    functions = SystemFunctions(world.first)
    functions._copy(b"abcdef", "ic0.x", 10, 2, 3)
    assert functions._read(9, 5) == b"\0cde\0"
    functions._copy(b"abc", "ic0.x", 20, 3, 0)
    with pytest.raises(CanisterTrap, match=r"ic0\.x: offset 2 and size 2 are outside the 3 bytes there are"):
        functions._copy(b"abc", "ic0.x", 10, 2, 2)


def test_numbers_of_128_bits_are_written_with_the_lowest_byte_first() -> None:
    functions = SystemFunctions(World(module("")).first)
    functions._write_u128(8, (1 << 64) + 5)
    assert functions._read(8, 16) == b"\5" + bytes(7) + b"\1" + bytes(7)
