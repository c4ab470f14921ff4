"""Candid values as JSON and back, for command lines and logs.

===================  ==================================================================================
null, reserved       ``null``
bool, text           ``true``, ``"text"``
nat*, int*           a number; also read from a string of digits, because many programs lose digits
                     beyond 2**53, and written as ``"0x"`` and hex digits beyond 4215 decimal ones
float*               a number, or ``"nan"``, ``"inf"``, ``"-inf"``
principal, service   its text
func                 ``["principal", "method"]``
blob                 ``"0x"`` and hex digits; also read from a list of numbers
vec, tuple           a list
record               an object; a field without a name has its number as a string
variant              an object with one entry; a tag without a value is also read from its name alone
opt                  ``null`` or the value; ``[value]`` where the value itself may be null
===================  ==================================================================================
"""

from __future__ import annotations

import math
from typing import Any

from icwsgw.errors import FormatError
from icwsgw.ic.candid.text_values import check_range
from icwsgw.ic.candid.types import (
    BOOL,
    FLOAT32,
    FLOAT64,
    FUNC,
    NAT8,
    NULL,
    PRINCIPAL,
    RESERVED,
    SERVICE,
    TEXT,
    Opt,
    Primitive,
    Record,
    Type,
    Variant,
    Vec,
    nullable,
    resolve,
)
from icwsgw.ic.candid.values import MAX_DECIMAL_BITS, FuncRef, ServiceRef, Some, number_text
from icwsgw.ic.principal import Principal


def value_to_json(value: Any, kind: Type) -> Any:
    """Return a value of a type in the form that the module :mod:`json` writes."""
    kind = resolve(kind)
    if isinstance(kind, Opt):
        if value is None:
            return None
        return [value_to_json(value.value, kind.inner)] if nullable(kind.inner) else value_to_json(value, kind.inner)
    if isinstance(kind, Vec):
        if isinstance(value, bytes):
            return "0x" + value.hex()
        return [value_to_json(item, kind.inner) for item in value]
    if isinstance(kind, Record):
        parts = {str(key): value_to_json(value[key], part) for _, key, part in kind.fields}
        return list(parts.values()) if _is_tuple(kind) else parts
    if isinstance(kind, Variant):
        ((tag, inner),) = value.items()
        return {str(tag): value_to_json(inner, next(part for _, key, part in kind.fields if key == tag))}
    if isinstance(value, FuncRef):
        return [value.principal.text, value.method]
    if isinstance(value, ServiceRef):
        return value.principal.text
    if isinstance(value, Principal):
        return value.text
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, int) and value.bit_length() > MAX_DECIMAL_BITS:
        return number_text(value)
    return value


def value_from_json(value: Any, kind: Type) -> Any:
    """Return a value that was read from JSON as a value of a type.

    :raises FormatError: it does not fit; the text names what is expected
    """
    kind = resolve(kind)
    if isinstance(kind, Opt):
        return _opt(value, kind)
    if isinstance(kind, Vec):
        return _vector(value, kind)
    if isinstance(kind, Record):
        return _record(value, kind)
    if isinstance(kind, Variant):
        return _variant(value, kind)
    code = kind.code
    if code == RESERVED or (code == NULL and value is None):
        return None
    if code == BOOL and isinstance(value, bool):
        return value
    if code in (TEXT, PRINCIPAL, SERVICE) and isinstance(value, str):
        return value if code == TEXT else _reference(value, code)
    if code == FUNC and isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value):
        return FuncRef(Principal.from_text(value[0]), value[1])
    if isinstance(kind, Primitive) and code not in (NULL, BOOL, TEXT, PRINCIPAL):
        return _number(value, kind)
    raise _unfit(value, kind)


def _is_tuple(kind: Record) -> bool:
    return bool(kind.fields) and [key for _, key, _ in kind.fields] == list(range(len(kind.fields)))


def _unfit(value: Any, kind: Type) -> FormatError:
    return FormatError(f"{str(value)[:60]!r} is not {kind}")


def _opt(value: Any, kind: Opt) -> Any:
    if value is None:
        return None
    if not nullable(kind.inner):
        return value_from_json(value, kind.inner)
    if not isinstance(value, list) or len(value) != 1:
        raise FormatError(f"{str(value)[:60]!r} is not null and not [value], which an opt of an opt needs")
    return Some(value_from_json(value[0], kind.inner))


def _reference(text: str, code: int) -> Principal | ServiceRef:
    principal = Principal.from_text(text)
    return principal if code == PRINCIPAL else ServiceRef(principal)


def _number(value: Any, kind: Primitive) -> int | float:
    is_float = kind.code in (FLOAT32, FLOAT64)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _unfit(value, kind)
    try:
        if is_float:
            return float(value)
        if isinstance(value, float) and not value.is_integer():
            raise _unfit(value, kind)
        if isinstance(value, str) and value.removeprefix("-").startswith("0x"):
            return check_range(int(value, 16), kind)
        number = int(value)
    except (ValueError, OverflowError):
        raise _unfit(value, kind) from None
    return check_range(number, kind)


def _vector(value: Any, kind: Vec) -> Any:
    is_blob = resolve(kind.inner).code == NAT8
    if is_blob and isinstance(value, str):
        try:
            return bytes.fromhex(value.removeprefix("0x"))
        except ValueError:
            raise FormatError(f"{value[:60]!r} is not a blob: 0x and hex digits, or a list of numbers") from None
    if not isinstance(value, list):
        raise FormatError(f"{str(value)[:60]!r} is not a list")
    items = [value_from_json(item, kind.inner) for item in value]
    return bytes(items) if is_blob else items


def _record(value: Any, kind: Record) -> dict[str | int, Any]:
    if isinstance(value, list) and _is_tuple(kind):
        value = {str(number): item for number, item in enumerate(value)}
    if not isinstance(value, dict):
        raise FormatError(f"{str(value)[:60]!r} is not a record with {_names(kind)}")
    extra = set(value) - {str(key) for _, key, _ in kind.fields}
    if extra:
        raise FormatError(f"the record has no field {min(extra)!r}; it has {_names(kind)}")
    out: dict[str | int, Any] = {}
    for _, key, part in kind.fields:
        if str(key) in value:
            out[key] = value_from_json(value[str(key)], part)
        elif nullable(part):
            out[key] = None
        else:
            raise FormatError(f"the record lacks the field {key!r}")
    return out


def _variant(value: Any, kind: Variant) -> dict[str | int, Any]:
    if isinstance(value, str):
        value = {value: None}
    if not isinstance(value, dict) or len(value) != 1:
        raise FormatError(f"{str(value)[:60]!r} is not a variant with one of {_names(kind)}")
    ((tag, inner),) = value.items()
    for _, key, part in kind.fields:
        if str(key) == tag:
            return {key: value_from_json(inner, part)}
    raise FormatError(f"the variant has no tag {tag!r}; it has {_names(kind)}")


def _names(kind: Record | Variant) -> str:
    return ", ".join(str(key) for _, key, _ in kind.fields) or "no fields"
