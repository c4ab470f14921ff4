"""Memory of a canister: the linear memory of an instance, and stable memory with an undo log."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from icwsgw.devnet.wasm.execution import CanisterTrap

if TYPE_CHECKING:
    import wasmtime

PAGE: Final = 65_536
#: Bytes of stable memory: the IC allows 500 GiB, a development machine does not.
MAX_STABLE: Final = 4 << 30


def out_of_bounds(what: str) -> CanisterTrap:
    """Make the trap of an access outside a memory."""
    return CanisterTrap("IC0502", f"Canister trapped: {what} out of bounds")


class LinearMemory:
    """The heap of an instance; addresses and sizes in bytes."""

    __slots__ = ("_memory", "_store")

    def __init__(self, store: wasmtime.Store, memory: wasmtime.Memory) -> None:
        self._store = store
        self._memory = memory

    @property
    def size(self) -> int:
        size: int = self._memory.data_len(self._store)
        return size

    def _address(self) -> int:
        return ctypes.addressof(self._memory.data_ptr(self._store).contents)

    def read(self, address: int, size: int) -> bytes:
        """Copy bytes out.

        :raises CanisterTrap: outside the memory
        """
        if address + size > self.size:
            raise out_of_bounds("heap")
        return ctypes.string_at(self._address() + address, size) if size else b""

    def write(self, address: int, data: bytes) -> None:
        """Copy bytes in.

        :raises CanisterTrap: outside the memory
        """
        if address + len(data) > self.size:
            raise out_of_bounds("heap")
        if data:
            ctypes.memmove(self._address() + address, data, len(data))

    def save(self, into: bytearray) -> None:
        """Copy the whole memory into a buffer, which becomes as long as the memory is."""
        size = self.size
        if len(into) != size:
            into[:] = bytes(size)
        if size:
            ctypes.memmove((ctypes.c_char * size).from_buffer(into), self._address(), size)

    def load(self, saved: bytearray) -> None:
        """Copy a buffer over the whole memory, which grows where it is smaller; it must not be larger.

        :raises ValueError: the memory is larger than what was saved
        """
        if len(saved) < self.size:
            raise ValueError("a memory does not shrink")
        self.keep(saved)

    def keep(self, saved: bytearray) -> None:
        """Copy a buffer over the beginning of the memory, which grows where it is smaller.

        :raises CanisterTrap: it cannot grow so far
        """
        missing = len(saved) - self.size
        if missing > 0:
            try:
                self._memory.grow(self._store, missing // PAGE)
            except Exception as error:
                text = f"the memory cannot grow to the {len(saved)} bytes that are kept: {error}"
                raise CanisterTrap("IC0502", f"Canister trapped: {text}") from None
        if saved:
            ctypes.memmove(self._address(), (ctypes.c_char * len(saved)).from_buffer(saved), len(saved))


class StableMemory:
    """Memory that upgrades keep; changes since :meth:`begin` can be undone."""

    __slots__ = ("_data", "_old_size", "_undo")

    def __init__(self) -> None:
        self._data = bytearray()
        self._undo: list[tuple[int, bytes]] = []
        self._old_size = 0

    @property
    def pages(self) -> int:
        """Size in pages of 64 KiB."""
        return len(self._data) // PAGE

    def begin(self) -> None:
        """What follows can be undone; what came before cannot any more."""
        self._undo.clear()
        self._old_size = len(self._data)

    def undo(self) -> None:
        """Restore what was there at :meth:`begin`."""
        for offset, old in reversed(self._undo):
            self._data[offset : offset + len(old)] = old
        del self._data[self._old_size :]
        self._undo.clear()

    def grow(self, pages: int) -> int:
        """Add pages of zeros.

        :return: the pages there were before; -1: there is no room for so many
        """
        before = self.pages
        if (before + pages) * PAGE > MAX_STABLE:
            return -1
        self._data.extend(bytes(pages * PAGE))
        return before

    def read(self, offset: int, size: int) -> bytes:
        """Copy bytes out.

        :raises CanisterTrap: outside the memory
        """
        if offset + size > len(self._data):
            raise out_of_bounds("stable memory")
        return bytes(self._data[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        """Copy bytes in.

        :raises CanisterTrap: outside the memory
        """
        if offset + len(data) > len(self._data):
            raise out_of_bounds("stable memory")
        kept = min(offset + len(data), self._old_size) - offset
        if kept > 0:
            self._undo.append((offset, bytes(self._data[offset : offset + kept])))
        self._data[offset : offset + len(data)] = data

    def clear(self) -> None:
        """Begin with no pages: the canister was reinstalled."""
        self._data = bytearray()
        self.begin()

    def copy(self) -> StableMemory:
        """Return a memory with the same content."""
        other = StableMemory()
        other._data = bytearray(self._data)
        other.begin()
        return other
