"""Writes values in Candid's textual notation; :mod:`icwsgw.ic.candid.text_values` reads it back.

Invisible and control characters in texts become escapes, so that a terminal can show untrusted text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from icwsgw.escaping import is_visible
from icwsgw.ic.candid.types import (
    BOOL,
    FLOAT32,
    FLOAT64,
    INT,
    NULL,
    PRINCIPAL,
    RESERVED,
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
from icwsgw.ic.candid.values import FuncRef, ServiceRef, number_text

_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Words that cannot be names without quotation marks; the names of most primitive types can.
_KEYWORDS: Final = frozenset(
    (
        *("blob", "composite_query", "false", "func", "import", "null", "oneway", "opt", "principal", "query"),
        *("record", "service", "true", "type", "variant", "vec"),
    )
)
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def format_values(values: Sequence[Any], types: Sequence[Type]) -> str:
    """Return arguments as text in parentheses.

    :param values: as :mod:`icwsgw.ic.candid.values` describes
    :param types: their types, one for each value
    """
    return f"({', '.join(format_value(value, kind) for value, kind in zip(values, types, strict=True))})"


def format_value(value: Any, kind: Type) -> str:
    """Return a value of a type as text."""
    kind = resolve(kind)
    if isinstance(kind, Opt):
        if value is None:
            return "null"
        return f"opt {format_value(value.value if nullable(kind.inner) else value, kind.inner)}"
    if isinstance(kind, Vec):
        if isinstance(value, bytes):
            return f"blob {_blob(value)}"
        return _braces("vec", [format_value(item, kind.inner) for item in value])
    if isinstance(kind, Record):
        is_tuple = [key for _, key, _ in kind.fields] == list(range(len(kind.fields)))
        parts = [(key, format_value(value[key], part)) for _, key, part in kind.fields]
        return _braces("record", [text if is_tuple else f"{_label(key)} = {text}" for key, text in parts])
    if isinstance(kind, Variant):
        ((tag, inner),) = value.items()
        part = next(part for _, key, part in kind.fields if key == tag)
        shown = "" if resolve(part).code == NULL else f" = {format_value(inner, part)}"
        return f"variant {{ {_label(tag)}{shown} }}"
    if isinstance(value, ServiceRef):
        return f'service "{value.principal}"'
    if isinstance(value, FuncRef):
        return f'func "{value.principal}".{_label(value.method)}'
    return _PRIMITIVES[kind.code](value) if kind.code in _PRIMITIVES else f"{_plain(value)} : {_name(kind)}"


def quoted(text: str) -> str:
    """Return a text in quotation marks, with escapes."""
    return '"' + "".join(_SHORT.get(c, c if is_visible(c) else f"\\u{{{ord(c):x}}}") for c in text) + '"'


def _plain(value: Any) -> str:
    return number_text(value) if isinstance(value, int) else str(value)


def _name(kind: Type) -> str:
    return kind.name if isinstance(kind, Primitive) else ""


def _braces(word: str, parts: list[str]) -> str:
    return f"{word} {{ {'; '.join(parts)} }}" if parts else f"{word} {{}}"


def _label(key: str | int) -> str:
    if isinstance(key, int):
        return str(key)
    return key if _WORD.fullmatch(key) and key not in _KEYWORDS else quoted(key)


def _blob(data: bytes) -> str:
    return '"' + "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\' else f"\\{b:02x}" for b in data) + '"'


def _float(name: str) -> Callable[[float], str]:
    def text(value: float) -> str:
        return f"{'nan' if math.isnan(value) else repr(float(value))} : {name}"

    return text


_PRIMITIVES: Final[dict[int, Callable[[Any], str]]] = {
    NULL: lambda value: "null",
    RESERVED: lambda value: "null : reserved",
    BOOL: lambda value: "true" if value else "false",
    INT: number_text,
    TEXT: quoted,
    PRINCIPAL: lambda value: f'principal "{value}"',
    FLOAT32: _float("float32"),
    FLOAT64: _float("float64"),
}
