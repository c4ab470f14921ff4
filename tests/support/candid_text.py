"""Parses the subset of Candid's textual notation that its test data uses: tokens, types, values.

Values are first parsed without a type and then converted to the expected type by a decoder's rules: extra fields are
dropped, and missing fields become null if they may be null.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from icwsgw.errors import FormatError
from icwsgw.ic.candid import types as t
from icwsgw.ic.candid.types import nullable, resolve
from icwsgw.ic.candid.values import FuncRef, ServiceRef, Some
from icwsgw.ic.principal import Principal

_TOKEN = re.compile(
    rb"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<number>[+-]?(?:0x[0-9a-fA-F_]+|[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9]+)?))
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>->|==|!=|!:|[(){};:=,.])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(?:u\{([0-9a-fA-F_]+)\}|([0-9a-fA-F]{2})|([nrt\\\"']))|\\")
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b'"': b'"', b"'": b"'"}
_WORDS = {kind.name: kind for kind in t.PRIMITIVES.values()} | {"blob": t.Blob}

Token = tuple[str, bytes]


def _unescape(raw: bytes) -> bytes:
    def put(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return chr(int(match[1].replace(b"_", b""), 16)).encode()
        if match[2]:
            return bytes.fromhex(match[2].decode())
        if match[3]:
            return _ESCAPED[match[3]]
        raise FormatError("unknown escape")

    return _ESCAPE.sub(put, raw)


def tokens(source: bytes) -> Iterator[Token]:
    """Kind (string, number, word, sign) and content of each token; strings are unescaped."""
    pos = 0
    while pos < len(source):
        match = _TOKEN.match(source, pos)
        if not match:
            raise FormatError(f"no token at {source[pos : pos + 20]!r}")
        pos = match.end()
        kind = match.lastgroup or ""
        if kind == "string":
            yield kind, _unescape(match[0][1:-1])
        elif kind != "space":
            yield kind, match[0]


class Parser:
    """A token list with a place in it; types are looked up in ``names``."""

    def __init__(self, source: bytes, names: dict[str, t.Recursive] | None = None) -> None:
        self.tokens = [*tokens(source), ("end", b"")]
        self.pos = 0
        self.names = names if names is not None else {}

    # -- tokens

    def peek(self, ahead: int = 0) -> Token:
        return self.tokens[min(self.pos + ahead, len(self.tokens) - 1)]

    def next(self, kind: str | None = None) -> bytes:
        got, content = self.peek()
        if kind is not None and got != kind:
            raise FormatError(f"{kind} expected, not {content!r}")
        self.pos += 1
        return content

    def at(self, content: str, ahead: int = 0) -> bool:
        kind, got = self.peek(ahead)
        return kind in ("sign", "word") and got == content.encode()

    def skip(self, content: str) -> bool:
        found = self.at(content)
        self.pos += found
        return found

    def expect(self, content: str) -> None:
        if not self.skip(content):
            raise FormatError(f"{content} expected, not {self.peek()[1]!r}")

    def items(self, opening: str, separator: str, closing: str, item: Callable[[], Any]) -> list[Any]:
        self.expect(opening)
        out = []
        while not self.skip(closing):
            out.append(item())
            if not self.skip(separator):
                self.expect(closing)
                break
        return out

    def label(self) -> str | int:
        kind, content = self.peek()
        self.pos += 1
        if kind == "number":
            return int(content.replace(b"_", b""), 0)
        if kind in ("word", "string"):
            return content.decode()
        raise FormatError(f"a label expected, not {content!r}")

    # -- types

    def definition(self) -> None:
        """``type name = type``"""
        self.expect("type")
        name = self.next("word").decode()
        self.expect("=")
        self.name(name).define(self.type())

    def name(self, name: str) -> t.Recursive:
        return self.names.setdefault(name, t.Recursive())

    def type(self) -> t.Type:
        word = self.next("word").decode()
        if word in _WORDS:
            return _WORDS[word]
        if word == "opt":
            return t.Opt(self.type())
        if word == "vec":
            return t.Vec(self.type())
        if word == "record":
            return t.Record(self.record_fields())
        if word == "variant":
            return t.Variant(dict(self.items("{", ";", "}", self.alternative)))
        if word == "func":
            return self.function()
        if word == "service":
            return t.Service({str(name): kind for name, kind in self.items("{", ";", "}", self.method)})
        return self.name(word)

    def record_fields(self) -> dict[str | int, t.Type]:
        fields: dict[str | int, t.Type] = {}
        number = 0

        def field() -> None:
            nonlocal number
            key: str | int = number
            if self.at(":", 1):
                key = self.label()
                self.expect(":")
            fields[key] = self.type()
            number = (key if isinstance(key, int) else t.hash_name(key)) + 1

        self.items("{", ";", "}", field)
        return fields

    def alternative(self) -> tuple[str | int, t.Type]:
        key = self.label()
        return key, self.type() if self.skip(":") else t.Null

    def function(self) -> t.Func:
        args = self.type_tuple()
        self.expect("->")
        results = self.type_tuple()
        annotations = []
        while self.at("query") or self.at("oneway") or self.at("composite_query"):
            annotations.append(self.next().decode())
        return t.Func(args, results, annotations)

    def method(self) -> tuple[str | int, t.Type]:
        key = self.label()
        self.expect(":")
        return key, self.function() if self.at("(") else self.type()

    def type_tuple(self) -> list[t.Type]:
        def item() -> t.Type:
            if self.at(":", 1):
                self.label()
                self.expect(":")
            return self.type()

        return self.items("(", ",", ")", item)

    # -- values: (word, content) pairs, fitted to a type by fit()

    def value_tuple(self) -> list[Any]:
        return self.items("(", ",", ")", self.value)

    def value(self) -> tuple[str, Any]:
        kind, content = self.peek()
        self.pos += 1
        if kind == "number":
            return kind, content.replace(b"_", b"").decode()
        if kind == "string":
            return "text", content
        word = content.decode()
        if word in ("null", "true", "false"):
            return word, None
        if word == "opt":
            return word, self.value()
        if word == "vec":
            return word, self.items("{", ";", "}", self.value)
        if word == "record":
            return word, self.record_values()
        if word == "variant":
            self.expect("{")
            key = self.label()
            content_value = self.value() if self.skip("=") else ("null", None)
            self.expect("}")
            return word, (key, content_value)
        if word in ("blob", "principal", "service"):
            return word, self.next("string")
        if word == "func":
            principal = self.next("string")
            self.expect(".")
            return word, (principal, str(self.label()))
        raise FormatError(f"a value expected, not {word!r}")

    def record_values(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0

        def field() -> None:
            nonlocal number
            if self.at("=", 1):
                key = self.label()
                self.expect("=")
                number = key if isinstance(key, int) else t.hash_name(key)
            fields[number] = self.value()
            number += 1

        self.items("{", ";", "}", field)
        return fields


def fit_tuple(values: list[tuple[str, Any]], kinds: list[t.Type]) -> list[Any]:
    """Values of an argument list at the expected types.

    :raises FormatError: one of them does not fit
    """
    record = fit(("record", dict(enumerate(values))), t.Tuple(*kinds))
    return list(record.values())


def fit(value: tuple[str, Any], kind: t.Type) -> Any:
    """The Python value, as icwsgw.ic.candid gives it, of a parsed value at a type.

    :raises FormatError: it does not fit
    """
    kind = resolve(kind)
    word, content = value
    if kind is t.Reserved:
        return None
    if isinstance(kind, t.Opt):
        if word != "opt":
            if word != "null":
                raise FormatError(f"{word} is not an opt")
            return None
        inner = fit(content, kind.inner)
        return Some(inner) if nullable(kind.inner) else inner
    if kind is t.Null and word == "null":
        return None
    if kind is t.Bool and word in ("true", "false"):
        return word == "true"
    if word == "number" and isinstance(kind, t.Primitive):
        return _fit_number(content, kind)
    if kind is t.Text and word == "text":
        return _utf8(content)
    if kind is t.PrincipalType and word == "principal":
        return Principal.from_text(content.decode())
    if isinstance(kind, t.Service) and word == "service":
        return ServiceRef(Principal.from_text(content.decode()))
    if isinstance(kind, t.Func) and word == "func":
        return FuncRef(Principal.from_text(content[0].decode()), content[1])
    if isinstance(kind, t.Vec):
        return _fit_vector(word, content, kind)
    if isinstance(kind, t.Record) and word == "record":
        return _fit_record(content, kind)
    if isinstance(kind, t.Variant) and word == "variant":
        tag, inner = content
        for number, key, part in kind.fields:
            if number == (tag if isinstance(tag, int) else t.hash_name(tag)):
                return {key: fit(inner, part)}
    raise FormatError(f"{word} does not fit {kind}")


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise FormatError("text is not UTF-8") from None


def _fit_number(text: str, kind: t.Primitive) -> int | float:
    if kind in (t.Float32, t.Float64):
        return float(text)
    number = int(text, 0)
    match = re.fullmatch(r"(nat|int)(\d*)", kind.name)
    if not match:
        raise FormatError(f"a number is not {kind}")
    bits = int(match[2] or 10**6)
    low, high = (0, 1 << bits) if match[1] == "nat" else (-1 << bits - 1, 1 << bits - 1)
    if not low <= number < high:
        raise FormatError(f"{number} is not {kind}")
    return number


def _fit_vector(word: str, content: Any, kind: t.Vec) -> Any:
    is_blob = resolve(kind.inner) is t.Nat8
    if word == "blob" and is_blob:
        return content
    if word != "vec":
        raise FormatError(f"{word} is not a vec")
    values = [fit(item, kind.inner) for item in content]
    return bytes(values) if is_blob else values


def _fit_record(content: dict[int, Any], kind: t.Record) -> dict[str | int, Any]:
    out: dict[str | int, Any] = {}
    for number, key, part in kind.fields:
        if number in content:
            out[key] = fit(content[number], part)
        elif nullable(part):
            out[key] = None
        else:
            raise FormatError(f"field {key} is missing")
    return out
