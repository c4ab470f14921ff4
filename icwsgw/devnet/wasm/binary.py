"""Reads a canister's WebAssembly file and makes its state accessible.

The runtime has to save and restore all state of an instance: a query leaves no trace, and a trap rolls back. Rust and
Motoko keep the stack pointer in a mutable global that the module does not export, and their memory and table may have
any name or none. :func:`read_module` therefore adds exports for the memory, the table and each mutable global. It also
replaces the start section by an export, because an upgrade may have to fill the memory before ``start`` runs.

Formats: WebAssembly core specification, "Binary Format"; IC interface specification, "Canister module format".
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from icwsgw.devnet.wasm.import_types import METHODS
from icwsgw.devnet.wasm.module_rules import ModuleContents, check_module, visibility
from icwsgw.errors import FormatError

#: Bytes of a module, unpacked (the IC's limit for a module that is installed in chunks).
MAX_MODULE: Final = 100 << 20
#: Names of the exports that are added. No compiler makes names with this prefix.
MEMORY_EXPORT: Final = "icwsgw memory"
TABLE_EXPORT: Final = "icwsgw table"
GLOBAL_EXPORT: Final = "icwsgw global "
START_EXPORT: Final = "icwsgw start"
#: A private custom section by which a compiler asks that an upgrade keeps the main memory (Motoko since 0.14).
KEEP_MEMORY: Final = "enhanced-orthogonal-persistence"

_MAGIC = b"\0asm\x01\0\0\0"
_GZIP = b"\x1f\x8b"
_CUSTOM, _TYPE, _IMPORT, _FUNCTION, _TABLE, _MEMORY, _GLOBAL, _EXPORT, _START = range(9)
_CODE = 10
_TAG = 13
#: Sections that stand before the exports.
_BEFORE_EXPORTS = (_TYPE, _IMPORT, _FUNCTION, _TABLE, _MEMORY, _TAG, _GLOBAL)
_KIND_FUNCTION, _KIND_TABLE, _KIND_MEMORY, _KIND_GLOBAL, _KIND_TAG = range(5)


@dataclass(frozen=True)
class Metadata:
    """A custom section ``icp:public NAME`` or ``icp:private NAME``.

    :ivar public: whether everybody may read it, or only controllers
    """

    public: bool
    content: bytes


@dataclass(frozen=True)
class CanisterModule:
    """A canister's code.

    :ivar wasm: the module with the added exports
    :ivar hash: SHA-256 of the file as it was given, compressed or not
    :ivar functions: names of the exported functions
    :ivar metadata: custom sections by name
    :ivar globals: names under which the mutable globals are exported
    :ivar has_memory: whether there is a memory, exported as :data:`MEMORY_EXPORT`
    :ivar has_table: whether there is a table, exported as :data:`TABLE_EXPORT`
    :ivar has_start: whether there is a start function, exported as :data:`START_EXPORT`
    """

    wasm: bytes
    hash: bytes
    functions: frozenset[str]
    metadata: Mapping[str, Metadata]
    globals: tuple[str, ...]
    has_memory: bool
    has_table: bool
    has_start: bool

    @property
    def keeps_memory(self) -> bool:
        """Whether an upgrade keeps the main memory."""
        return KEEP_MEMORY in self.metadata

    def has_method(self, kind: str, name: str) -> bool:
        """Whether a method is exported.

        :param kind: ``update``, ``query`` or ``composite_query``
        """
        return f"canister_{kind} {name}" in self.functions

    @property
    def methods(self) -> list[tuple[str, str]]:
        """Kind and name of each method, sorted."""
        return sorted(
            (kind.strip().removeprefix("canister_"), function.removeprefix(kind))
            for function in self.functions
            for kind in METHODS
            if function.startswith(kind)
        )


class _Reader:
    """Reads the primitive values of the binary format; raises FormatError at the end of the data."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    @property
    def at_end(self) -> bool:
        return self.position >= len(self.data)

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise FormatError("WebAssembly module ends too early")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """Read a LEB128 number of at most 64 bits, as if it were unsigned."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise FormatError("number in WebAssembly module is too long")

    def name(self) -> str:
        try:
            return self.take(self.number()).decode()
        except UnicodeDecodeError:
            raise FormatError("name in WebAssembly module is not UTF-8") from None

    # -- parts that are skipped -----------------------------------------------------------------------------------

    def value_type(self) -> None:
        if self.byte() in (0x63, 0x64):  # (ref null ht), (ref ht)
            self.number()

    def limits(self) -> None:
        flags = self.byte()
        self.number()
        if flags & 1:
            self.number()
        if flags & 8:
            self.number()

    def constant_expression(self) -> None:
        while True:
            code = self.byte()
            if code == 0x0B:  # end
                return
            if code in (0x41, 0x42, 0x23, 0xD0, 0xD2):  # i32.const, i64.const, global.get, ref.null, ref.func
                self.number()
            elif code == 0x43:  # f32.const
                self.take(4)
            elif code == 0x44:  # f64.const
                self.take(8)
            elif code == 0xFD and self.number() == 12:  # v128.const
                self.take(16)
            elif code not in (0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E):  # add, sub, mul
                raise FormatError(f"unexpected instruction {code:#x} in a constant expression")


class _Scan:
    """What the sections of a module say."""

    def __init__(self) -> None:
        self.functions: list[str] = []
        self.metadata: dict[str, Metadata] = {}
        self.sections: list[tuple[str, int]] = []
        self.globals: list[int] = []
        self.imported_globals = 0
        self.defined_globals = 0
        self.defined_functions = 0
        self.code = 0
        self.memories = 0
        self.tables = 0
        self.exports = b""
        self.export_count = 0
        self.start: int | None = None

    def section(self, number: int, content: bytes) -> None:
        reader = _Reader(content)
        if number == _CUSTOM:
            self._custom(reader)
        elif number == _IMPORT:
            self._imports(reader)
        elif number == _FUNCTION:
            self.defined_functions += reader.number()
        elif number == _CODE:
            self.code += len(content)
        elif number == _TABLE:
            self.tables += reader.number()
        elif number == _MEMORY:
            self.memories += reader.number()
        elif number == _GLOBAL:
            self._globals(reader)
        elif number == _EXPORT:
            self._exports(reader)
        elif number == _START:
            self.start = reader.number()

    def _custom(self, reader: _Reader) -> None:
        section = reader.name()
        content = reader.data[reader.position :]
        self.sections.append((section, len(content)))
        found = visibility(section)
        if found is not None:
            name, public = found
            self.metadata[name] = Metadata(public, content)

    def _imports(self, reader: _Reader) -> None:
        for _ in range(reader.number()):
            reader.name()
            reader.name()
            kind = reader.byte()
            if kind == _KIND_FUNCTION:
                reader.number()
            elif kind == _KIND_TABLE:
                reader.value_type()
                reader.limits()
                self.tables += 1
            elif kind == _KIND_MEMORY:
                reader.limits()
                self.memories += 1
            elif kind == _KIND_GLOBAL:
                reader.value_type()
                reader.byte()
                self.imported_globals += 1
            elif kind == _KIND_TAG:
                reader.byte()
                reader.number()
            else:
                raise FormatError(f"import of unknown kind {kind} in WebAssembly module")

    def _globals(self, reader: _Reader) -> None:
        self.defined_globals = reader.number()
        for index in range(self.imported_globals, self.imported_globals + self.defined_globals):
            reader.value_type()
            if reader.byte():
                self.globals.append(index)
            reader.constant_expression()

    def _exports(self, reader: _Reader) -> None:
        self.export_count = reader.number()
        self.exports = reader.data[reader.position :]
        for _ in range(self.export_count):
            name = reader.name()
            if reader.byte() == _KIND_FUNCTION:
                self.functions.append(name)
            reader.number()

    def contents(self) -> ModuleContents:
        return ModuleContents(self.functions, self.defined_functions, self.defined_globals, self.code, self.sections)


def _leb128(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + _leb128(len(content)) + content


def _export(name: str, kind: int, index: int) -> bytes:
    raw = name.encode()
    return _leb128(len(raw)) + raw + bytes([kind]) + _leb128(index)


def unpack(file: bytes) -> bytes:
    """Return a module that may be compressed with gzip.

    :raises FormatError: damaged, or larger than :data:`MAX_MODULE`
    """
    if not file.startswith(_GZIP):
        if len(file) > MAX_MODULE:
            raise FormatError(f"module is larger than {MAX_MODULE} bytes")
        return file
    inflater = zlib.decompressobj(31)
    try:
        data = inflater.decompress(file, MAX_MODULE + 1)
    except zlib.error as error:
        raise FormatError(f"gzip data of the module is damaged: {error}") from None
    if len(data) > MAX_MODULE:
        raise FormatError(f"module is larger than {MAX_MODULE} bytes")
    if not inflater.eof:
        raise FormatError("gzip data of the module ends too early")
    return data


def read_module(file: bytes) -> CanisterModule:
    """Read a canister's file, and add exports for its state.

    :param file: a WebAssembly module, or one compressed with gzip
    :raises FormatError: not a WebAssembly module, larger than :data:`MAX_MODULE`, or against the rules of the network
    """
    data = unpack(file)
    if not data.startswith(_MAGIC):
        raise FormatError("not a WebAssembly module: it does not begin with \\0asm and version 1")
    reader = _Reader(data)
    reader.take(len(_MAGIC))
    sections: list[tuple[int, bytes]] = []
    scan = _Scan()
    while not reader.at_end:
        number, content = reader.byte(), reader.take(reader.number())
        sections.append((number, content))
        scan.section(number, content)
    check_module(scan.contents())
    added = [_export(f"{GLOBAL_EXPORT}{index}", _KIND_GLOBAL, index) for index in scan.globals]
    if scan.memories:
        added.append(_export(MEMORY_EXPORT, _KIND_MEMORY, 0))
    if scan.tables:
        added.append(_export(TABLE_EXPORT, _KIND_TABLE, 0))
    if scan.start is not None:
        added.append(_export(START_EXPORT, _KIND_FUNCTION, scan.start))
    exports = _leb128(scan.export_count + len(added)) + scan.exports + b"".join(added)
    return CanisterModule(
        wasm=_MAGIC + _with_exports(sections, exports),
        hash=hashlib.sha256(file).digest(),
        functions=frozenset(scan.functions),
        metadata=scan.metadata,
        globals=tuple(f"{GLOBAL_EXPORT}{index}" for index in scan.globals),
        has_memory=scan.memories > 0,
        has_table=scan.tables > 0,
        has_start=scan.start is not None,
    )


def _with_exports(sections: list[tuple[int, bytes]], exports: bytes) -> bytes:
    kept = [(number, content) for number, content in sections if number not in (_EXPORT, _START)]
    before = max((index + 1 for index, (number, _) in enumerate(kept) if number in _BEFORE_EXPORTS), default=0)
    kept.insert(before, (_EXPORT, exports))
    return b"".join(_section(number, content) for number, content in kept)
