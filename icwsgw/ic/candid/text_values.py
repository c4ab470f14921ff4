"""Reads values in Candid's textual notation, for example ``(record { text = "hello"; count = 3 })``.

A value is first parsed without a type and then converted to the expected type by the rules of a decoder: extra fields
are dropped, and missing fields become null if their type allows it. As in Candid's tools, a value without ``opt`` also
stands for a present value of an opt, if the caller says so. Source: dfinity/candid, spec/Candid.md, section Textual
Values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from icwsgw.errors import FormatError
from icwsgw.ic.candid.did import TypeParser
from icwsgw.ic.candid.lexer import MAX_DEPTH, utf8
from icwsgw.ic.candid.types import (
    Bool,
    Float32,
    Float64,
    Func,
    Nat8,
    Null,
    Opt,
    Primitive,
    PrincipalType,
    Record,
    Reserved,
    Service,
    Text,
    Tuple,
    Type,
    Variant,
    Vec,
    hash_name,
    nullable,
    resolve,
)
from icwsgw.ic.candid.values import FuncRef, ServiceRef, Some, number_text
from icwsgw.ic.principal import Principal

#: A value without a type: a word for its kind, and its content.
Parsed = tuple[str, Any]


def parse_values(source: str | bytes, types: Sequence[Type], *, bare_opt: bool = True) -> list[Any]:
    """Read arguments: values in parentheses, or one value without them.

    :param types: the types of the arguments
    :param bare_opt: a value without ``opt`` stands for a present value where an opt is expected
    :returns: the values, as :mod:`icwsgw.ic.candid.values` describes
    :raises FormatError: malformed, or of other types
    """
    parser = ValueParser(source.encode() if isinstance(source, str) else source)
    values = parser.value_tuple() if parser.at("(") else [parser.value()]
    parser.end()
    return fit_tuple(values, types, bare_opt=bare_opt)


class ValueParser(TypeParser):
    """Parses values. The types of annotations, as in ``(5 : nat8)``, are read and ignored."""

    def value_tuple(self) -> list[Parsed]:
        """Read ``(value, value, ...)``."""
        return self.items("(", ",", ")", self._annotated)

    def _annotated(self) -> Parsed:
        value = self.value()
        if self.skip(":"):
            self.type()
        return value

    def value(self) -> Parsed:
        """Read a value."""
        self._levels += 1
        if self._levels > MAX_DEPTH:
            raise FormatError(f"candid text: nested more than {MAX_DEPTH} deep")
        value = self._value()
        self._levels -= 1
        return value

    def _value(self) -> Parsed:
        if self.at("("):
            values = self.value_tuple()
            if len(values) != 1:
                raise self.wrong("one value in parentheses")
            return values[0]
        kind, content, _ = self.peek()
        if kind not in ("number", "string", "word"):
            raise self.wrong("a value")
        self.next()
        if kind == "number":
            return kind, content.replace(b"_", b"").decode()
        if kind == "string":
            return "text", content
        return self._word(content.decode())

    def _word(self, word: str) -> Parsed:
        if word in ("null", "true", "false"):
            return word, None
        if word in ("inf", "nan"):
            return "number", word
        if word == "opt":
            return word, self.value()
        if word == "vec":
            return word, self.items("{", ";", "}", self._annotated)
        if word == "record":
            return word, self._record_values()
        if word == "variant":
            return word, self._variant_value()
        if word in ("blob", "principal", "service"):
            return word, self.next("string")
        if word == "func":
            principal = self.next("string")
            self.expect(".")
            return word, (principal, str(self.label()))
        raise FormatError(f"candid text: a value expected, not {word!r}")

    def _variant_value(self) -> tuple[str | int, Parsed]:
        self.expect("{")
        key = self.label()
        value = self._annotated() if self.skip("=") else ("null", None)
        self.skip(";")
        self.expect("}")
        return key, value

    def _record_values(self) -> dict[int, Parsed]:
        fields: dict[int, Parsed] = {}
        number = 0

        def field() -> None:
            nonlocal number
            if self.at("=", 1):
                key = self.label()
                self.expect("=")
                number = key if isinstance(key, int) else hash_name(key)
            if number in fields:
                raise FormatError("candid text: a field stands twice")
            fields[number] = self._annotated()
            number += 1

        self.items("{", ";", "}", field)
        return fields


def fit_tuple(values: list[Parsed], types: Sequence[Type], *, bare_opt: bool = False) -> list[Any]:
    """Return the values of an argument list at the expected types.

    :raises FormatError: one of them does not fit
    """
    record = fit(("record", dict(enumerate(values))), Tuple(*types), bare_opt=bare_opt)
    return list(record.values())


def fit(value: Parsed, kind: Type, *, bare_opt: bool = False) -> Any:
    """Return a parsed value at a type, as :mod:`icwsgw.ic.candid.values` describes.

    :raises FormatError: it does not fit
    """
    return _Fitter(bare_opt).fit(value, kind)


class _Fitter:
    def __init__(self, bare_opt: bool) -> None:
        self._bare_opt = bare_opt
        self._levels = 0

    def fit(self, value: Parsed, kind: Type) -> Any:
        # an expected ``type t = opt t`` would have an infinite number of levels
        self._levels += 1
        if self._levels > 2 * MAX_DEPTH:
            raise FormatError("candid text: a type that is nested too deeply")
        out = self._fit(value, resolve(kind))
        self._levels -= 1
        return out

    def _fit(self, value: Parsed, kind: Type) -> Any:
        word, content = value
        if kind is Reserved:
            return None
        if isinstance(kind, Opt):
            return self._fit_opt(value, kind)
        if isinstance(kind, Vec):
            return self._fit_vector(word, content, kind)
        if isinstance(kind, Record) and word == "record":
            return self._fit_record(content, kind)
        if isinstance(kind, Variant) and word == "variant":
            return self._fit_variant(content, kind)
        return _fit_simple(word, content, kind)

    def _fit_opt(self, value: Parsed, kind: Opt) -> Any:
        word, content = value
        if word == "null":
            return None
        if word != "opt":
            if not self._bare_opt or nullable(kind.inner):
                raise FormatError(f"candid text: {word} is not an opt")
            content = value
        inner = self.fit(content, kind.inner)
        return Some(inner) if nullable(kind.inner) else inner

    def _fit_vector(self, word: str, content: Any, kind: Vec) -> Any:
        is_blob = resolve(kind.inner) is Nat8
        if word == "blob" and is_blob:
            return content
        if word != "vec":
            raise FormatError(f"candid text: {word} is not a {'blob' if is_blob else 'vec'}")
        values = [self.fit(item, kind.inner) for item in content]
        return bytes(values) if is_blob else values

    def _fit_record(self, content: dict[int, Parsed], kind: Record) -> dict[str | int, Any]:
        out: dict[str | int, Any] = {}
        for number, key, part in kind.fields:
            if number in content:
                out[key] = self.fit(content[number], part)
            elif nullable(part):
                out[key] = None
            else:
                raise FormatError(f"candid text: field {key} is missing")
        return out

    def _fit_variant(self, content: tuple[str | int, Parsed], kind: Variant) -> dict[str | int, Any]:
        tag, inner = content
        wanted = tag if isinstance(tag, int) else hash_name(tag)
        for number, key, part in kind.fields:
            if number == wanted:
                return {key: self.fit(inner, part)}
        raise FormatError(f"candid text: the variant has no tag {tag}")


def _fit_simple(word: str, content: Any, kind: Type) -> Any:
    if kind is Null and word == "null":
        return None
    if kind is Bool and word in ("true", "false"):
        return word == "true"
    if word == "number" and isinstance(kind, Primitive):
        return _fit_number(content, kind)
    if kind is Text and word == "text":
        return utf8(content)
    if kind is PrincipalType and word == "principal":
        return Principal.from_text(utf8(content))
    if isinstance(kind, Service) and word == "service":
        return ServiceRef(Principal.from_text(utf8(content)))
    if isinstance(kind, Func) and word == "func":
        return FuncRef(Principal.from_text(utf8(content[0])), content[1])
    raise FormatError(f"candid text: {word} does not fit {kind}")


def _fit_number(text: str, kind: Primitive) -> int | float:
    try:
        if kind in (Float32, Float64):
            return float(int(text, 16)) if "x" in text.lower() else float(text)
        number = int(text, 16) if "x" in text.lower() else int(text)
    except (ValueError, OverflowError):
        raise FormatError(f"candid text: {text[:60]} is not {kind}") from None
    return check_range(number, kind)


def check_range(number: int, kind: Primitive) -> int:
    """Return a number if the type has it.

    :raises FormatError: the type is none of integers, or is too small
    """
    match = re.fullmatch(r"(nat|int)(\d*)", kind.name)
    if match is None:
        raise FormatError(f"candid text: a number is not {kind}")
    size = int(match[2]) if match[2] else math.inf
    bits = number.bit_length() + (match[1] == "int" and number >= 0)
    if match[1] == "int" and number < 0:
        bits = (~number).bit_length() + 1
    if (match[1] == "nat" and number < 0) or bits > size:
        raise FormatError(f"candid text: {number_text(number)[:60]} is not {kind}")
    return number
