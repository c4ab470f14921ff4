"""Splits Candid's textual notation into tokens, for types (``.did`` files) and for values.

Source: dfinity/candid, spec/Candid.md, section Concrete Syntax. The notation is bytes, because a string may hold bytes
that are not UTF-8, by escapes such as ``\\ff``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeVar

from icwsgw.errors import FormatError

#: The most bytes that are read: an interface of a thousand methods has about 100 KiB.
MAX_SOURCE: Final = 4 << 20
#: How deeply types and values may be nested.
MAX_DEPTH: Final = 100

T = TypeVar("T")

_TOKEN: Final = re.compile(
    rb"""(?P<space>\s+|//[^\n]*)
    |(?P<comment>/\*)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F][0-9a-fA-F_]*|[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9]+)?|(?:inf|nan)\b))
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>->|==|!=|!:|[(){};:=,.])""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_PART: Final = re.compile(rb"/\*|\*/")
_ESCAPE: Final = re.compile(rb"\\(?:u\{([0-9a-fA-F_]+)\}|([0-9a-fA-F]{2})|([nrt\\\"']))|\\")
_ESCAPED: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b'"': b'"', b"'": b"'"}


class Token(NamedTuple):
    """A token: string, number, word, sign or end, its content (a string without its escapes), its offset in bytes."""

    kind: str
    content: bytes
    at: int


def tokens(source: bytes) -> Iterator[Token]:
    """Yield the tokens of a source.

    :raises FormatError: something that is no token
    """
    pos = 0
    while pos < len(source):
        match = _TOKEN.match(source, pos)
        if match is None:
            shown = source[pos : pos + 20].decode(errors="replace")
            raise FormatError(f"candid text: line {line_of(source, pos)}: {shown!r} is not understood")
        kind = match.lastgroup or ""
        if kind == "string":
            yield Token(kind, _unescape(match[0][1:-1]), pos)
        elif kind not in ("space", "comment"):
            yield Token(kind, match[0], pos)
        pos = _end_of_comment(source, match.end()) if kind == "comment" else match.end()


def line_of(source: bytes, at: int) -> int:
    """Return the number of the line, from 1, in which an offset lies."""
    return source.count(b"\n", 0, at) + 1


def _end_of_comment(source: bytes, pos: int) -> int:
    """Return the offset behind a comment that begins before ``pos``; comments are nested."""
    depth = 1
    while depth:
        part = _COMMENT_PART.search(source, pos)
        if part is None:
            raise FormatError("candid text: a comment does not end")
        depth += 1 if part[0] == b"/*" else -1
        pos = part.end()
    return pos


def _unescape(raw: bytes) -> bytes:
    def put(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return _utf8(match[1].replace(b"_", b""))
        if match[2]:
            return bytes.fromhex(match[2].decode())
        if match[3]:
            return _ESCAPED[match[3]]
        raise FormatError("candid text: an unknown escape in a string")

    return _ESCAPE.sub(put, raw)


def _utf8(digits: bytes) -> bytes:
    try:
        return chr(int(digits, 16)).encode()
    except (ValueError, OverflowError):
        raise FormatError("candid text: an escape that is no Unicode character") from None


class TokenReader:
    """A list of tokens with a place in it; the base of the parsers of types and values.

    :raises FormatError: the source is too long, or has something that is no token
    """

    def __init__(self, source: bytes) -> None:
        if len(source) > MAX_SOURCE:
            raise FormatError(f"candid text: more than {MAX_SOURCE >> 20} MiB")
        self._source = source
        self._tokens = [*tokens(source), Token("end", b"", len(source))]
        self._pos = 0
        self._depth = 0

    def peek(self, more: int = 0) -> Token:
        """Return the next token, or one of the tokens after it."""
        return self._tokens[min(self._pos + more, len(self._tokens) - 1)]

    def next(self, kind: str | None = None) -> bytes:
        """Return the content of the next token and go past it.

        :raises FormatError: the token is of another kind
        """
        token = self.peek()
        if kind is not None and token.kind != kind:
            raise self.wrong(kind)
        self._pos += 1
        return token.content

    def at(self, content: str, more: int = 0) -> bool:
        """Return whether the next token is this sign or word."""
        token = self.peek(more)
        return token.kind in ("sign", "word") and token.content == content.encode()

    def skip(self, content: str) -> bool:
        """Go past the next token if it is this sign or word, and return whether it was."""
        found = self.at(content)
        self._pos += found
        return found

    def expect(self, content: str) -> None:
        """Go past this sign or word.

        :raises FormatError: the next token is another one
        """
        if not self.skip(content):
            raise self.wrong(content)

    def end(self) -> None:
        """Check that nothing follows.

        :raises FormatError: something follows
        """
        self.next("end")

    def items(self, opening: str, separator: str, closing: str, item: Callable[[], T]) -> list[T]:
        """Read items between signs; a separator may follow the last one."""
        self.expect(opening)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FormatError(f"candid text: nested more than {MAX_DEPTH} deep")
        out = []
        while not self.skip(closing):
            out.append(item())
            if not self.skip(separator):
                self.expect(closing)
                break
        self._depth -= 1
        return out

    def label(self) -> str | int:
        """Read the name or number of a field."""
        token = self.peek()
        if token.kind == "number" and not token.content.startswith((b"-", b"+")):
            self._pos += 1
            return self.natural(token.content)
        if token.kind in ("word", "string"):
            self._pos += 1
            return utf8(token.content)
        raise self.wrong("a field")

    def natural(self, content: bytes) -> int:
        """Return the natural number that a token's content stands for."""
        try:
            digits = content.replace(b"_", b"")
            return int(digits, 16) if digits[:2].lower() == b"0x" else int(digits)
        except ValueError:
            raise self.wrong("a natural number") from None

    def wrong(self, expected: str) -> FormatError:
        """Return the error that something else was expected at this place."""
        token = self.peek()
        found = "the end" if token.kind == "end" else repr(token.content[:40].decode(errors="replace"))
        return FormatError(f"candid text: line {line_of(self._source, token.at)}: {expected} expected, not {found}")


def utf8(content: bytes) -> str:
    """Return the text of a string token.

    :raises FormatError: not UTF-8
    """
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise FormatError("candid text: a text that is not UTF-8") from None
