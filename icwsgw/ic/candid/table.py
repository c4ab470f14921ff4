"""Decodes the head of a Candid message: magic number, type table, types of the arguments.

Entries of the table may refer to later entries and to themselves. So all entries are created first and linked
afterwards. The result is a graph of :mod:`~icwsgw.ic.candid.types` nodes. It is checked as the spec requires: the table
has only composite types, field ids are below 2**32 and ascending, method names are ascending, and methods are of
function type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from icwsgw.errors import FormatError
from icwsgw.ic.candid.leb import read_signed, read_unsigned
from icwsgw.ic.candid.limits import DEFAULT_LIMITS, Limits
from icwsgw.ic.candid.types import (
    ANNOTATIONS,
    FUNC,
    OPT,
    PRIMITIVES,
    PRINCIPAL,
    RECORD,
    SERVICE,
    VARIANT,
    VEC,
    Field,
    Func,
    Future,
    Opt,
    Record,
    Service,
    Type,
    Variant,
    Vec,
)

MAGIC = b"DIDL"
# The most bytes of a length or index: a 64-bit number takes ten, and encoders do not pad beyond that.
_INDEX_BYTES = 10
_ANNOTATION_NAMES = {byte: name for name, byte in ANNOTATIONS.items()}


class Head(NamedTuple):
    """The head of a message."""

    args: list[Type]
    """The types of the arguments."""
    size: int
    """The size of the head in bytes, which is the offset of the first value."""


def read_head(data: bytes, limits: Limits = DEFAULT_LIMITS, names: Mapping[int, str] | None = None) -> Head:
    """Decode magic number, type table and argument types.

    :param data: the message, or at least its head
    :param limits: bounds on the work
    :param names: known names by field id; they are used as keys instead of the ids
    :raises FormatError: malformed, or beyond the limits
    """
    return _TableReader(data, limits, names or {}).head()


class _TableReader:
    __slots__ = ("budget", "data", "joins", "names", "pos", "table")

    def __init__(self, data: bytes, limits: Limits, names: Mapping[int, str]) -> None:
        self.data = data
        self.pos = 4
        self.budget = limits.table_items
        self.names = names
        self.table: list[Type] = []
        self.joins: list[Callable[[], None]] = []

    def head(self) -> Head:
        if self.data[:4] != MAGIC:
            raise FormatError("candid: the message does not begin with DIDL")
        for _ in range(self.count()):
            self.table.append(self.entry())
        for join in self.joins:
            join()
        return Head([self.type_at(self.index()) for _ in range(self.count())], self.pos)

    def number(self) -> int:
        value, self.pos = read_unsigned(self.data, self.pos, _INDEX_BYTES)
        return value

    def index(self) -> int:
        value, self.pos = read_signed(self.data, self.pos, _INDEX_BYTES)
        return value

    def count(self) -> int:
        """Read a number of items, each of which takes at least one byte."""
        value = self.number()
        if value > len(self.data) - self.pos:
            raise FormatError(f"candid: {value} items announced before byte {self.pos}, more than there are bytes")
        self.budget -= value
        if self.budget < 0:
            raise FormatError("candid: the type table is too large")
        return value

    def take(self, size: int) -> bytes:
        part = self.data[self.pos : self.pos + size]
        if len(part) != size:
            raise FormatError(f"candid: the type table is cut short at byte {self.pos}")
        self.pos += size
        return part

    def type_at(self, index: int) -> Type:
        if index >= 0:
            if index >= len(self.table):
                raise FormatError(f"candid: type {index} is not in the table of {len(self.table)}")
            return self.table[index]
        kind = PRIMITIVES.get(index)
        if kind is None:
            raise FormatError(f"candid: opcode {index} is not that of a primitive type")
        return kind

    def entry(self) -> Type:
        code = self.index()
        if code in (OPT, VEC):
            return self.container(code)
        if code in (RECORD, VARIANT):
            return self.fields(code)
        if code == FUNC:
            return self.func()
        if code == SERVICE:
            return self.service()
        if code < PRINCIPAL:
            self.take(self.number())
            return Future(code)
        raise FormatError(f"candid: opcode {code} cannot stand in the type table")

    def container(self, code: int) -> Type:
        index = self.index()
        kind = Opt(_UNSET) if code == OPT else Vec(_UNSET)

        def join() -> None:
            kind.inner = self.type_at(index)

        self.joins.append(join)
        return kind

    def fields(self, code: int) -> Type:
        rows: list[tuple[int, int]] = []
        last = -1
        for _ in range(self.count()):
            number = self.number()
            if not last < number < 1 << 32:
                raise FormatError(f"candid: field id {number} is too large or out of order")
            last = number
            rows.append((number, self.index()))
        kind = Record({}) if code == RECORD else Variant({})
        names = self.names

        def join() -> None:
            fields: list[Field] = [(number, names.get(number, number), self.type_at(index)) for number, index in rows]
            kind.fields = tuple(fields)

        self.joins.append(join)
        return kind

    def func(self) -> Type:
        args = [self.index() for _ in range(self.count())]
        results = [self.index() for _ in range(self.count())]
        annotations = []
        for byte in self.take(self.count()):
            if byte not in _ANNOTATION_NAMES:
                raise FormatError(f"candid: unknown function annotation {byte}")
            annotations.append(_ANNOTATION_NAMES[byte])
        kind = Func((), (), annotations)

        def join() -> None:
            kind.args = tuple(map(self.type_at, args))
            kind.results = tuple(map(self.type_at, results))

        self.joins.append(join)
        return kind

    def service(self) -> Type:
        rows: list[tuple[str, int]] = []
        last: bytes | None = None
        for _ in range(self.count()):
            raw = self.take(self.number())
            if last is not None and raw <= last:
                raise FormatError("candid: service methods are out of order")
            last = raw
            try:
                name = raw.decode()
            except UnicodeDecodeError:
                raise FormatError("candid: a method name is not UTF-8") from None
            rows.append((name, self.index()))
        kind = Service()

        def join() -> None:
            methods = {name: self.type_at(index) for name, index in rows}
            if any(method.code != FUNC for method in methods.values()):
                raise FormatError("candid: a service method is not of function type")
            kind.methods = methods

        self.joins.append(join)
        return kind


_UNSET: Type = PRIMITIVES[-1]  # placeholder in a container until its entry is linked
