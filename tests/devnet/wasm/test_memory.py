from __future__ import annotations

import pytest

from icwsgw.devnet.wasm.execution import CanisterTrap
from icwsgw.devnet.wasm.memory import MAX_STABLE, PAGE, StableMemory


def test_what_is_written_is_read() -> None:
    stable = StableMemory()
    assert stable.grow(2) == 0
    assert stable.grow(1) == 2
    stable.write(3 * PAGE - 3, b"end")
    assert stable.read(3 * PAGE - 4, 4) == b"\0end"
    assert stable.read(0, 0) == b""


def test_outside_traps() -> None:
    stable = StableMemory()
    stable.grow(1)
    for access in (lambda: stable.read(PAGE - 1, 2), lambda: stable.write(PAGE, b"x"), lambda: stable.read(1 << 63, 1)):
        with pytest.raises(CanisterTrap, match="stable memory out of bounds"):
            access()


def test_undone_to_the_byte() -> None:
    stable = StableMemory()
    stable.grow(1)
    stable.write(0, b"before")
    stable.begin()
    stable.write(2, b"XX")
    stable.write(3, b"YYYY")
    stable.grow(1)
    stable.write(PAGE - 1, b"across the end")
    stable.undo()
    assert stable.pages == 1
    assert stable.read(0, PAGE) == b"before" + bytes(PAGE - 6)
    # and a second time there is nothing left to undo
    stable.undo()
    assert stable.read(0, 6) == b"before"


def test_growth_has_a_bound() -> None:
    stable = StableMemory()
    assert stable.grow(MAX_STABLE // PAGE + 1) == -1
    assert stable.pages == 0


def test_a_copy_is_independent() -> None:
    stable = StableMemory()
    stable.grow(1)
    copy = stable.copy()
    stable.write(0, b"x")
    assert copy.read(0, 1) == b"\0"
    copy.grow(1)
    assert stable.pages == 1
