"""Reads the Candid project's test data, ``*.test.did`` (grammar: README.md in the same folder of dfinity/candid).

An assertion has one or two inputs, each a binary message or a text, and a list of types.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from icwsgw.ic.candid import decode_as
from icwsgw.ic.candid.text_values import ValueParser, fit_tuple
from icwsgw.ic.candid.types import Type


class Input(NamedTuple):
    """One input of an assertion: a binary message or a text."""

    is_binary: bool
    content: bytes

    def read(self, types: list[Type]) -> list[Any]:
        """Decode the input at the types.

        :raises FormatError: it does not decode, or not at these types
        """
        if self.is_binary:
            return decode_as(self.content, types)
        parser = ValueParser(self.content)
        values = parser.value_tuple()
        parser.end()
        return fit_tuple(values, types)


class Assertion(NamedTuple):
    """One assertion of a file, with its inputs, operator and types."""

    file: str
    number: int
    operator: str
    """``:`` decodes, ``!:`` does not, ``==`` and ``!=`` compare two inputs."""
    left: Input
    right: Input | None
    types: list[Type]
    text: str

    @property
    def name(self) -> str:
        return f"{self.file}-{self.number}-{self.text}"


def load(path: Path) -> list[Assertion]:
    """All assertions of a file, in order."""
    parser = ValueParser(path.read_bytes())
    out: list[Assertion] = []
    while parser.peek().kind != "end":
        if parser.at("type"):
            parser.definition()
        else:
            out.append(_assertion(parser, path.name.removesuffix(".test.did"), len(out) + 1))
        parser.skip(";")
    return out


def _assertion(parser: ValueParser, file: str, number: int) -> Assertion:
    parser.expect("assert")
    left = _input(parser)
    right = None
    operator = parser.next("sign").decode()
    if operator in ("==", "!="):
        right = _input(parser)
        parser.expect(":")
    types = parser.type_tuple()
    text = parser.next().decode() if parser.peek().kind == "string" else ""
    return Assertion(file, number, operator, left, right, types, text)


def _input(parser: ValueParser) -> Input:
    is_binary = parser.skip("blob")
    return Input(is_binary, parser.next("string"))
