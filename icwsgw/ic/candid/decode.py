"""Decodes Candid messages (spec, sections Deserialisation and Coercion).

:class:`_Reader` reads a value in two ways: :meth:`~_Reader.value` by its wire type alone, and :meth:`~_Reader.coerce`
as an expected type. The spec decodes first and coerces afterwards. This module does both in one pass. The result is the
same, because each coercion reads all bytes of the wire type or fails.

There are two kinds of failure. A malformed message is refused as a whole. A well-formed value that does not fit its
expected type makes the nearest enclosing expected ``opt`` *null*: :class:`_Mismatch` propagates to this opt, which goes
back to the start of its value and skips it by its wire type. Skipping never goes back, and an opt never propagates a
mismatch, so the cost of going back does not multiply with nested opts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from icwsgw.errors import FormatError
from icwsgw.ic.candid.leb import read_signed, read_unsigned
from icwsgw.ic.candid.limits import DEFAULT_LIMITS, Limits
from icwsgw.ic.candid.subtype import is_subtype
from icwsgw.ic.candid.table import read_head
from icwsgw.ic.candid.types import (
    BOOL,
    EMPTY,
    FLOAT32,
    FLOAT64,
    FUNC,
    INT,
    INT8,
    INT16,
    INT32,
    INT64,
    NAT,
    NAT8,
    NAT16,
    NAT32,
    NAT64,
    NULL,
    PRINCIPAL,
    RESERVED,
    SERVICE,
    TEXT,
    Opt,
    Record,
    Type,
    Variant,
    Vec,
    hash_name,
    nullable,
    resolve,
)
from icwsgw.ic.candid.values import FuncRef, FutureValue, ServiceRef, Some
from icwsgw.ic.principal import Principal

#: The format characters for :mod:`struct` of the types with a fixed size.
FIXED_FORMATS = {
    NAT8: "B",
    NAT16: "H",
    NAT32: "I",
    NAT64: "Q",
    INT8: "b",
    INT16: "h",
    INT32: "i",
    INT64: "q",
    FLOAT32: "f",
    FLOAT64: "d",
}
_FIXED = {code: struct.Struct("<" + letter) for code, letter in FIXED_FORMATS.items()}
_LENGTH_BYTES = 10


class _Mismatch(FormatError):
    """A value is well-formed but does not fit its expected type."""


def decode(data: bytes, *, names: Iterable[str] = (), limits: Limits = DEFAULT_LIMITS) -> list[Any]:
    """Decode a message by its own type table.

    :param data: the whole message, which begins with "DIDL"
    :param names: known names of fields and tags; the keys of other fields are their numbers
    :param limits: bounds on the work
    :returns: the arguments, as :mod:`icwsgw.ic.candid.values` describes
    :raises FormatError: malformed, followed by further bytes, or beyond the limits
    """
    head = read_head(data, limits, {hash_name(name): name for name in names})
    reader = _Reader(data, head.size, limits)
    values = [reader.value(kind, limits.depth) for kind in head.args]
    reader.finish()
    return values


def decode_as(data: bytes, types: Sequence[Type], *, limits: Limits = DEFAULT_LIMITS) -> list[Any]:
    """Decode a message as expected types.

    Extra arguments and fields are dropped. Missing ones are None if their type allows null.

    :param data: the whole message, which begins with "DIDL"
    :param types: the expected types of the arguments
    :param limits: bounds on the work
    :returns: one value for each expected type, as :mod:`icwsgw.ic.candid.values` describes
    :raises FormatError: malformed, of other types, followed by further bytes, or beyond the limits
    """
    head = read_head(data, limits)
    reader = _Reader(data, head.size, limits)
    values: list[Any] = []
    for i, kind in enumerate(head.args):
        if i < len(types):
            values.append(reader.coerce(kind, types[i], limits.depth))
        else:
            reader.value(kind, limits.depth)
    reader.finish()
    for kind in types[len(values) :]:
        if not nullable(kind):
            raise FormatError(f"candid: argument {len(values)} is missing")
        values.append(None)
    return values


class _Reader:
    __slots__ = ("budget", "data", "limits", "pos")

    def __init__(self, data: bytes, pos: int, limits: Limits) -> None:
        self.data = data
        self.pos = pos
        self.limits = limits
        self.budget = limits.values

    def finish(self) -> None:
        """Check that no bytes are left.

        :raises FormatError: bytes are left
        """
        if self.pos != len(self.data):
            raise FormatError(f"candid: {len(self.data) - self.pos} bytes follow the last value")

    # -- parts ------------------------------------------------------------------------------------

    def length(self) -> int:
        number, self.pos = read_unsigned(self.data, self.pos, _LENGTH_BYTES)
        return number

    def byte(self) -> int:
        try:
            value = self.data[self.pos]
        except IndexError:
            raise FormatError("candid: the message is cut short") from None
        self.pos += 1
        return value

    def take(self, size: int) -> bytes:
        end = self.pos + size
        if end > len(self.data):
            raise FormatError(f"candid: {size} bytes announced before byte {self.pos}, more than there are")
        part = self.data[self.pos : end]
        self.pos = end
        return part

    def flag(self) -> bool:
        value = self.byte()
        if value > 1:
            raise FormatError(f"candid: byte {self.pos - 1} is {value}, neither 0 nor 1")
        return value == 1

    def text(self) -> str:
        try:
            return self.take(self.length()).decode()
        except UnicodeDecodeError:
            raise FormatError(f"candid: the text before byte {self.pos} is not UTF-8") from None

    def principal(self) -> Principal:
        if self.byte() != 1:
            raise FormatError(f"candid: opaque reference at byte {self.pos - 1}")
        return Principal(self.take(self.length()))

    def func(self) -> FuncRef:
        if self.byte() != 1:
            raise FormatError(f"candid: opaque reference at byte {self.pos - 1}")
        return FuncRef(self.principal(), self.text())

    def future(self, code: int) -> FutureValue:
        size = self.length()
        if self.length():
            raise FormatError("candid: a future value with references, of which there are none")
        return FutureValue(code, self.take(size))

    def elements(self) -> int:
        """Read the length of a vector. The budget bounds it, because elements may take no bytes."""
        count = self.length()
        if count > self.budget:
            raise FormatError(f"candid: {count} elements announced before byte {self.pos}, beyond the limit")
        return count

    def alternative(self, kind: Variant) -> tuple[int, str | int, Type]:
        index = self.length()
        if index >= len(kind.fields):
            raise FormatError(f"candid: variant has no alternative {index}")
        return kind.fields[index]

    def charge(self, depth: int) -> None:
        self.budget -= 1
        if self.budget < 0:
            raise FormatError("candid: more values than the limit")
        if depth <= 0:
            raise FormatError("candid: values are nested too deeply")

    # -- by the type on the wire --------------------------------------------------------------------

    def value(self, kind: Type, depth: int) -> Any:
        """Read a value by its wire type."""
        self.charge(depth)
        code = kind.code
        if code >= EMPTY or code == PRINCIPAL:
            return self.primitive(code)
        if isinstance(kind, Record):
            return {key: self.value(part, depth - 1) for _, key, part in kind.fields}
        if isinstance(kind, Vec):
            return self.vector(kind.inner, depth)
        if isinstance(kind, Opt):
            if not self.flag():
                return None
            value = self.value(kind.inner, depth - 1)
            return Some(value) if nullable(kind.inner) else value
        if isinstance(kind, Variant):
            _, key, part = self.alternative(kind)
            return {key: self.value(part, depth - 1)}
        if code == SERVICE:
            return ServiceRef(self.principal())
        if code == FUNC:
            return self.func()
        return self.future(code)

    def primitive(self, code: int) -> Any:
        if code in _FIXED:
            form = _FIXED[code]
            return form.unpack(self.take(form.size))[0]
        if code == TEXT:
            return self.text()
        if code == BOOL:
            return self.flag()
        if code == PRINCIPAL:
            return self.principal()
        if code == NAT:
            number, self.pos = read_unsigned(self.data, self.pos, self.limits.number_bytes)
            return number
        if code == INT:
            number, self.pos = read_signed(self.data, self.pos, self.limits.number_bytes)
            return number
        if code in (NULL, RESERVED):
            return None
        raise FormatError("candid: a value of type empty")

    def vector(self, inner: Type, depth: int) -> Any:
        code = inner.code
        if code == NAT8:
            return self.take(self.length())
        if code in _FIXED:
            count = self.length()
            raw = self.take(count * _FIXED[code].size)
            self.budget -= count >> 4  # unpacked together, which is much cheaper than one by one
            return list(struct.unpack(f"<{count}{FIXED_FORMATS[code]}", raw))
        return [self.value(inner, depth - 1) for _ in range(self.elements())]

    # -- as an expected type --------------------------------------------------------------------------

    def coerce(self, kind: Type, want: Type, depth: int) -> Any:
        """Read a value of the wire type ``kind`` as the expected type ``want``.

        :raises _Mismatch: the value does not fit; the position in the data is then undefined
        """
        if want.code == 0:
            want = resolve(want)
        code, goal = kind.code, want.code
        if goal == RESERVED:
            self.value(kind, depth)
            return None
        if isinstance(want, Opt):
            return self.optional(kind, want.inner, depth)
        self.charge(depth)
        if code == EMPTY:
            raise FormatError("candid: a value of type empty")
        if code == goal:
            if code >= EMPTY or code == PRINCIPAL:
                return self.primitive(code)
            if isinstance(kind, Record) and isinstance(want, Record):
                return self.record(kind, want, depth)
            if isinstance(kind, Vec) and isinstance(want, Vec):
                return self.vector_as(kind.inner, want.inner, depth)
            if isinstance(kind, Variant) and isinstance(want, Variant):
                number, _, part = self.alternative(kind)
                for wanted, key, target in want.fields:
                    if wanted == number:
                        return {key: self.coerce(part, target, depth - 1)}
                raise _Mismatch(f"candid: unexpected variant tag {number}")
            if code in (FUNC, SERVICE) and is_subtype(kind, want, self.limits.subtype_pairs):
                return self.func() if code == FUNC else ServiceRef(self.principal())
        elif code == NAT and goal == INT:
            return self.primitive(NAT)
        elif code == SERVICE and goal == PRINCIPAL:
            return self.principal()
        raise _Mismatch(f"candid: {kind} before byte {self.pos} where {want} is expected")

    def optional(self, kind: Type, inner: Type, depth: int) -> Any:
        # Charged here too: an expected ``type t = opt t`` has an infinite number of levels that take no bytes.
        self.charge(depth)
        if isinstance(kind, Opt):
            if not self.flag():
                return None
            kind = kind.inner
        elif kind.code in (NULL, RESERVED):
            return None
        start = self.pos
        try:
            value = self.coerce(kind, inner, depth - 1)
        except _Mismatch:
            self.pos = start
            self.value(kind, depth - 1)
            return None
        return Some(value) if nullable(inner) else value

    def record(self, kind: Record, want: Record, depth: int) -> dict[str | int, Any]:
        out: dict[str | int, Any] = {}
        wanted = {number: (key, target) for number, key, target in want.fields}
        for number, _, part in kind.fields:
            if number in wanted:
                key, target = wanted.pop(number)
                out[key] = self.coerce(part, target, depth - 1)
            else:
                self.value(part, depth - 1)
        for key, target in wanted.values():
            if not nullable(target):
                raise _Mismatch(f"candid: field {key!r} is missing")
            out[key] = None
        return out

    def vector_as(self, inner: Type, want: Type, depth: int) -> Any:
        want = resolve(want)
        if inner.code == want.code and inner.code in _FIXED:
            return self.vector(inner, depth)
        values = [self.coerce(inner, want, depth - 1) for _ in range(self.elements())]
        # Only nat8 fits nat8, so a vector of another type reaches this line only if it is empty.
        return b"" if want.code == NAT8 else values
