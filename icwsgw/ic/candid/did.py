"""Reads ``.did`` files: the types and the service that a canister publishes (spec, section Core Grammar).

A canister's file is in its metadata ``candid:service``. Names of types may be used before they are defined, and types
may contain themselves. Imports are refused, because a canister's metadata has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from icwsgw.errors import FormatError
from icwsgw.ic.candid.lexer import MAX_DEPTH, TokenReader
from icwsgw.ic.candid.types import (
    ANNOTATIONS,
    PRIMITIVES,
    Blob,
    Func,
    Null,
    Opt,
    Record,
    Recursive,
    Service,
    Type,
    Variant,
    Vec,
    hash_name,
    resolve,
)

_WORDS: Final[dict[str, Type]] = {kind.name: kind for kind in PRIMITIVES.values()} | {"blob": Blob}


class Interface(NamedTuple):
    """The content of a ``.did`` file.

    :ivar types: the types by name
    :ivar service: the service; None: the file has none
    """

    types: Mapping[str, Type]
    service: Service | None

    def method(self, name: str) -> Func | None:
        """Return the type of a method; None: the service has no such method."""
        kind = None if self.service is None else self.service.methods.get(name)
        found = None if kind is None else resolve(kind)
        return found if isinstance(found, Func) else None


def parse_did(source: str | bytes) -> Interface:
    """Read a ``.did`` file.

    :raises FormatError: malformed, a name that is not defined or defined twice, an import, or too long or deep
    """
    parser = TypeParser(source.encode() if isinstance(source, str) else source)
    service = None
    while parser.peek().kind != "end":
        if parser.at("import"):
            raise FormatError("candid text: imports are not supported; give one file with all types")
        if parser.at("type"):
            parser.definition()
        elif service is None:
            service = parser.actor()
        else:
            raise parser.wrong("type")
        if not parser.skip(";") and parser.peek().kind != "end":
            raise parser.wrong(";")
    parser.check_names()
    resolved = None if service is None else _service_of(service)
    return Interface({name: resolve(kind) for name, kind in parser.names.items()}, resolved)


def message_type(interface: Interface) -> Type | None:
    """Return the application's message type: that of the second argument of ``ws_message``, which is an ``opt``.

    :returns: the type; None: the service has no such argument
    """
    method = interface.method("ws_message")
    if method is None or len(method.args) < 2:
        return None
    second = resolve(method.args[1])
    return resolve(second.inner) if isinstance(second, Opt) else None


def _service_of(kind: Type) -> Service:
    found = resolve(kind)
    if not isinstance(found, Service):
        raise FormatError("candid text: the service has a type that is none of a service")
    return found


class TypeParser(TokenReader):
    """Parses types. Names stand for placeholders in ``names`` until they are defined."""

    def __init__(self, source: bytes, names: dict[str, Recursive] | None = None) -> None:
        super().__init__(source)
        self.names = names if names is not None else {}
        self._levels = 0

    def check_names(self) -> None:
        """Check that all names are defined, and not only by each other.

        :raises FormatError: one is not
        """
        for name, kind in self.names.items():
            if kind.meaning is None:
                raise FormatError(f"candid text: type {name} is not defined")
        for kind in self.names.values():
            resolve(kind)

    def definition(self) -> None:
        """Read ``type name = type``."""
        self.expect("type")
        name = self.next("word").decode()
        if self._name(name).meaning is not None or name in _WORDS:
            raise FormatError(f"candid text: type {name} is defined twice")
        self.expect("=")
        self._name(name).define(self.type())

    def actor(self) -> Type:
        """Read ``service name : (arguments) -> { methods }``, or the name of a type after the colon.

        The service's name and the arguments of its installation may be absent.
        """
        self.expect("service")
        if not self.at(":"):
            self.next("word")
        self.expect(":")
        if self.at("("):
            self.type_tuple()
            self.expect("->")
        return self._methods() if self.at("{") else self._name(self.next("word").decode())

    def type(self) -> Type:
        """Read a type."""
        self._levels += 1
        if self._levels > MAX_DEPTH:
            raise FormatError(f"candid text: nested more than {MAX_DEPTH} deep")
        kind = self._type(self.next("word").decode())
        self._levels -= 1
        return kind

    def _type(self, word: str) -> Type:
        if word in _WORDS:
            return _WORDS[word]
        if word == "opt":
            return Opt(self.type())
        if word == "vec":
            return Vec(self.type())
        if word == "record":
            return Record(self._record_fields())
        if word == "variant":
            return Variant(self._unique(self.items("{", ";", "}", self._alternative)))
        if word == "func":
            return self._function()
        if word == "service":
            return self._methods()
        return self._name(word)

    def type_tuple(self) -> list[Type]:
        """Read ``(name : type, type, ...)``; the names are ignored."""
        return self.items("(", ",", ")", self._argument)

    def _argument(self) -> Type:
        if self.at(":", 1):
            self.label()
            self.expect(":")
        return self.type()

    def _name(self, name: str) -> Recursive:
        return self.names.setdefault(name, Recursive())

    def _record_fields(self) -> dict[str | int, Type]:
        number = 0

        def field() -> tuple[str | int, Type]:
            nonlocal number
            key: str | int = number
            if self.at(":", 1):
                key = self.label()
                self.expect(":")
            number = (key if isinstance(key, int) else hash_name(key)) + 1
            return key, self.type()

        return self._unique(self.items("{", ";", "}", field))

    def _alternative(self) -> tuple[str | int, Type]:
        key = self.label()
        return key, self.type() if self.skip(":") else Null

    @staticmethod
    def _unique(fields: list[tuple[str | int, Type]]) -> dict[str | int, Type]:
        found = dict(fields)
        if len(found) != len(fields):
            raise FormatError("candid text: two fields of one name")
        return found

    def _function(self) -> Func:
        args = self.type_tuple()
        self.expect("->")
        results = self.type_tuple()
        annotations = []
        while self.peek().kind == "word" and self.peek().content.decode() in ANNOTATIONS:
            annotations.append(self.next().decode())
        return Func(args, results, annotations)

    def _methods(self) -> Service:
        methods = self.items("{", ";", "}", self._method)
        if len(dict(methods)) != len(methods):
            raise FormatError("candid text: two methods of one name")
        return Service(dict(methods))

    def _method(self) -> tuple[str, Type]:
        if self.peek().kind == "number":
            raise self.wrong("the name of a method")
        key = str(self.label())
        self.expect(":")
        return key, self._function() if self.at("(") else self._name(self.next("word").decode())
