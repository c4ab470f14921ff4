"""Encodes Candid messages (spec, section Serialisation).

The type table has each composite node of the type graph once, outer types before their parts, and fields in ascending
order of their ids. The Rust crate numbers types in the same order. The head depends only on the types, so a caller that
sends the same types repeatedly encodes it once (:func:`encode_head`).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from icwsgw.errors import FormatError
from icwsgw.ic.candid.decode import FIXED_FORMATS
from icwsgw.ic.candid.leb import write_signed, write_unsigned
from icwsgw.ic.candid.table import MAGIC
from icwsgw.ic.candid.types import (
    ANNOTATIONS,
    BOOL,
    EMPTY,
    FUNC,
    INT,
    NAT,
    NAT8,
    NULL,
    PRIMITIVES,
    PRINCIPAL,
    RESERVED,
    SERVICE,
    TEXT,
    Func,
    Opt,
    Record,
    Service,
    Type,
    Variant,
    Vec,
    nullable,
    resolve,
)
from icwsgw.ic.candid.values import FuncRef, ServiceRef, Some
from icwsgw.ic.principal import Principal

# The values come from this program, so this only finds errors: the decoder refuses deeper nesting by default.
_MAX_DEPTH = 100


def encode(types: Sequence[Type], values: Sequence[Any]) -> bytes:
    """Encode a message.

    :param types: the types of the arguments
    :param values: the arguments, as :mod:`icwsgw.ic.candid.values` describes; fields that may be null may be left out
    :raises FormatError: a value does not fit its type, or a type cannot be encoded
    """
    return encode_head(types) + encode_values(types, values)


def encode_head(types: Sequence[Type]) -> bytes:
    """Encode the head: magic number, type table and argument types.

    :raises FormatError: a type cannot be encoded: a future type, or a service method that is not a function
    """
    table = _Table()
    args = b"".join([table.index(kind) for kind in types])
    return MAGIC + write_unsigned(len(table.rows)) + b"".join(table.rows) + write_unsigned(len(types)) + args


def encode_values(types: Sequence[Type], values: Sequence[Any]) -> bytes:
    """Encode the values of the arguments, which follow the head.

    :raises FormatError: a value does not fit its type, or the numbers of types and values differ
    """
    if len(types) != len(values):
        raise FormatError(f"candid: {len(values)} values for {len(types)} types")
    out = bytearray()
    for kind, value in zip(types, values, strict=True):
        _write(kind, value, out, _MAX_DEPTH)
    return bytes(out)


class _Table:
    """Builds a type table. It numbers composite types in the order in which it visits them."""

    __slots__ = ("indexes", "rows")

    def __init__(self) -> None:
        self.indexes: dict[int, bytes] = {}
        self.rows: list[bytes] = []

    def index(self, kind: Type) -> bytes:
        kind = resolve(kind)
        if kind.code in PRIMITIVES:
            return write_signed(kind.code)
        known = self.indexes.get(id(kind))
        if known is None:
            place = len(self.rows)
            known = self.indexes[id(kind)] = write_signed(place)
            self.rows.append(b"")
            self.rows[place] = write_signed(kind.code) + self.parts(kind)
        return known

    def parts(self, kind: Type) -> bytes:
        if isinstance(kind, (Opt, Vec)):
            return self.index(kind.inner)
        if isinstance(kind, (Record, Variant)):
            rows = [write_unsigned(number) + self.index(part) for number, _, part in kind.fields]
            return write_unsigned(len(rows)) + b"".join(rows)
        if isinstance(kind, Func):
            return self.sequence(kind.args) + self.sequence(kind.results) + _annotations(kind)
        if isinstance(kind, Service):
            rows = []
            for name, method in kind.methods.items():
                if not isinstance(resolve(method), Func):
                    raise FormatError(f"candid: method {name!r} is not of function type")
                raw = name.encode()
                rows.append(write_unsigned(len(raw)) + raw + self.index(method))
            return write_unsigned(len(rows)) + b"".join(rows)
        raise FormatError(f"candid: {kind} cannot be written")

    def sequence(self, kinds: tuple[Type, ...]) -> bytes:
        return write_unsigned(len(kinds)) + b"".join([self.index(kind) for kind in kinds])


def _annotations(kind: Func) -> bytes:
    marks = sorted(ANNOTATIONS[name] for name in kind.annotations)
    return bytes((len(marks), *marks))


def _wrong(kind: Type, value: Any) -> FormatError:
    return FormatError(f"candid: {type(value).__name__} value does not fit {kind}")


def _write(kind: Type, value: Any, out: bytearray, depth: int) -> None:
    if depth <= 0:
        raise FormatError("candid: values are nested too deeply")
    kind = resolve(kind)
    if kind.code >= EMPTY or kind.code == PRINCIPAL:
        _write_primitive(kind, value, out)
    elif isinstance(kind, Opt):
        if value is None:
            out.append(0)
        else:
            out.append(1)
            if isinstance(value, Some):
                value = value.value
            elif nullable(kind.inner):
                raise FormatError("candid: a present value of a nested opt must be given as Some")
            _write(kind.inner, value, out, depth - 1)
    elif isinstance(kind, Vec):
        _write_vector(kind, value, out, depth)
    elif isinstance(kind, Record):
        _write_record(kind, value, out, depth)
    elif isinstance(kind, Variant):
        _write_variant(kind, value, out, depth)
    elif kind.code == SERVICE and isinstance(value, ServiceRef):
        _write_principal(value.principal, out)
    elif kind.code == FUNC and isinstance(value, FuncRef):
        out.append(1)
        _write_principal(value.principal, out)
        _write_blob(value.method.encode(), out)
    else:
        raise _wrong(kind, value)


def _write_primitive(kind: Type, value: Any, out: bytearray) -> None:
    code = kind.code
    if code in FIXED_FORMATS:
        if isinstance(value, bool):
            raise _wrong(kind, value)
        try:
            out += struct.pack("<" + FIXED_FORMATS[code], value)
        except (struct.error, OverflowError):
            raise _wrong(kind, value) from None
    elif code == TEXT and isinstance(value, str):
        try:
            _write_blob(value.encode(), out)
        except UnicodeEncodeError:
            raise FormatError("candid: text with lone surrogates") from None
    elif code == BOOL and isinstance(value, bool):
        out.append(value)
    elif code == PRINCIPAL and isinstance(value, Principal):
        _write_principal(value, out)
    elif code == NAT and isinstance(value, int) and not isinstance(value, bool):
        out += write_unsigned(value)
    elif code == INT and isinstance(value, int) and not isinstance(value, bool):
        out += write_signed(value)
    elif code != RESERVED and not (code == NULL and value is None):
        raise _wrong(kind, value)


def _write_blob(raw: bytes, out: bytearray) -> None:
    out += write_unsigned(len(raw))
    out += raw


def _write_principal(principal: Principal, out: bytearray) -> None:
    out.append(1)
    _write_blob(principal.raw, out)


def _write_vector(kind: Vec, value: Any, out: bytearray, depth: int) -> None:
    if isinstance(value, (bytes, bytearray, memoryview)):
        if resolve(kind.inner).code != NAT8:
            raise _wrong(kind, value)
        _write_blob(bytes(value), out)
        return
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _wrong(kind, value)
    out += write_unsigned(len(value))
    for item in value:
        _write(kind.inner, item, out, depth - 1)


def _write_record(kind: Record, value: Any, out: bytearray, depth: int) -> None:
    if not isinstance(value, Mapping):
        raise _wrong(kind, value)
    used = 0
    for _, key, part in kind.fields:
        if key in value:
            used += 1
            _write(part, value[key], out, depth - 1)
        elif nullable(part):
            _write(part, None, out, depth - 1)
        else:
            raise FormatError(f"candid: field {key!r} is missing")
    if used != len(value):
        raise FormatError(f"candid: the record has no field {(value.keys() - {key for _, key, _ in kind.fields})!r}")


def _write_variant(kind: Variant, value: Any, out: bytearray, depth: int) -> None:
    if isinstance(value, Mapping) and len(value) == 1:
        ((tag, content),) = value.items()
        for i, (_, key, part) in enumerate(kind.fields):
            if key == tag:
                out += write_unsigned(i)
                _write(part, content, out, depth - 1)
                return
    raise _wrong(kind, value)
