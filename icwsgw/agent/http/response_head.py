"""Parses the heads of HTTP/1 responses (RFC 9112), and remembers them. Sans I/O.

Most of the cost of a response is its head, and a server's heads are nearly the same. :class:`HeadCache` remembers heads
by their bytes, and lines of heads. For heads that differ in one value (an ``x-request-id``, say) it remembers the rest.

The parser accepts what the Rust gateway's library (hyper) accepts and what RFC 9112 asks clients to tolerate: equal
Content-Lengths more than once, and Transfer-Encoding beside a Content-Length (which then counts for nothing, and the
connection is not used again). It refuses what remains ambiguous.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final, NamedTuple

from icwsgw.errors import AnswerMalformed

MAX_LINES: Final = 256
"""Lines of a head: hyper accepts 100."""

MAX_KNOWN_HEADS: Final = 64
MAX_KNOWN_LINES: Final = 512
"""Heads that the cache holds for one host. If there are more, it is emptied; those in use are back at once."""

_FRAMING: Final = frozenset((b"", b"connection", b"content-length", b"transfer-encoding"))
_MAX_KNOWN_LINE: Final = 1024
_MAX_LENGTH_DIGITS: Final = 19

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PLAIN = re.compile(rb"[\x21-\x7e]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_FOLD = re.compile(rb"[ \t]*\r?\n[ \t]+")
_LINE_END = re.compile(rb"\r?\n")


class BodyFraming(IntEnum):
    """How a response says where its body ends (RFC 9112, section 6.3)."""

    LENGTH = 0
    """By its length in bytes."""
    CHUNKS = 1
    """By chunks, of which the last one is empty."""
    CONNECTION = 2
    """By the end of the connection."""


class ResponseHead(NamedTuple):
    """What a head says.

    :ivar status: HTTP status; 200 for 203, which says that a proxy has changed a 200 (RFC 9110, section 15.3.4)
    :ivar headers: names in lower case; the values of a repeated header are joined by ", "
    :ivar framing: how the body ends
    :ivar length: bytes of the body, where the framing is LENGTH
    :ivar keep: the connection may carry another request
    """

    status: int
    headers: dict[bytes, bytes]
    framing: BodyFraming
    length: int
    keep: bool


class VariableValue(NamedTuple):
    """A value in a head that may differ between responses, because the framing does not depend on it.

    :ivar name: of the header, which the head has once
    :ivar start: offset of the value
    :ivar end: offset of what follows the value
    """

    name: bytes
    start: int
    end: int


class HeadCache:
    """Heads that were parsed before. The connections to one host share it.

    :ivar heads: whole heads by their bytes
    :ivar lines: lines of heads, as name and value
    :ivar variable: by the length of a head, the value that was new in the last head of that length
    :ivar others: heads by their bytes without that value
    """

    __slots__ = ("heads", "lines", "others", "variable")

    def __init__(self) -> None:
        self.heads: dict[bytes, ResponseHead] = {}
        self.lines: dict[bytes, tuple[bytes, bytes]] = {}
        self.variable: dict[int, VariableValue] = {}
        self.others: dict[bytes, ResponseHead] = {}

    def find(self, head: bytes) -> tuple[ResponseHead, dict[bytes, bytes]] | None:
        """Parse a head that is not among :attr:`heads`.

        :return: what it says except for the headers, and the headers; None if the head is not in the usual form
        """
        variable = self.variable.get(len(head))
        if variable is not None:
            name, start, end = variable
            found = self.others.get(head[:start] + head[end:])
            if found is not None and _PLAIN.fullmatch(head, start, end) is not None:
                headers = found.headers.copy()
                headers[name] = head[start:end]
                return found, headers
        try:
            return (found := self.parse(head)), found.headers
        except AnswerMalformed:
            return None  # it may be valid if its end is elsewhere, or its lines end with LF

    def parse(self, head: bytes) -> ResponseHead:
        """Parse a head whose lines end with CRLF.

        :param head: without the empty line that follows it
        :raises AnswerMalformed: it is not a head, or has another form
        """
        first, *lines = head.split(b"\r\n")
        if len(lines) > MAX_LINES:
            raise AnswerMalformed(f"a head of more than {MAX_LINES} lines")
        known = self.lines
        headers: dict[bytes, bytes] = {}
        repeated: dict[bytes, list[bytes]] | None = None
        new: list[bytes] = []
        for line in lines:
            pair = known.get(line)
            if pair is None:
                new.append(line)
                pair = self._parse_line(line)
            name, value = pair
            if name not in headers:
                headers[name] = value
            else:
                if repeated is None:
                    repeated = {}
                repeated.setdefault(name, [headers[name]]).append(value)
        if repeated is not None:
            for name, values in repeated.items():
                headers[name] = b", ".join(values)
        made = _head(first, headers)
        if not new:
            if len(self.heads) >= MAX_KNOWN_HEADS:
                self.heads.clear()
            self.heads[head] = made
        elif len(new) == 1:
            self._remember_without(head, new[0], made)
        return made

    def _remember_without(self, head: bytes, line: bytes, made: ResponseHead) -> None:
        """Remember a head without the value of one line, for heads that differ in that value."""
        name, value = self.lines.get(line, (b"", b""))
        start = (head + b"\r\n").find(b"\r\n" + line + b"\r\n") + 2 + len(line) - len(value)
        end = start + len(value)
        if name in _FRAMING or not _PLAIN.fullmatch(value) or head[start:end] != value or made.headers[name] != value:
            return
        if len(self.others) >= MAX_KNOWN_HEADS:
            self.others.clear()
            self.variable.clear()
        self.variable[len(head)] = VariableValue(name, start, end)
        self.others[head[:start] + head[end:]] = made

    def _parse_line(self, line: bytes) -> tuple[bytes, bytes]:
        name, colon, value = line.partition(b":")
        if not colon or _NAME.fullmatch(name) is None:
            raise AnswerMalformed("a header line that is not of the form NAME: VALUE")
        if _CONTROL.search(value) is not None:
            raise AnswerMalformed("a control character in a header")
        pair = name.lower(), value.strip(b" \t")
        if len(line) <= _MAX_KNOWN_LINE:
            if len(self.lines) >= MAX_KNOWN_LINES:
                self.lines.clear()
            self.lines[line] = pair
        return pair


def is_header(line: bytes) -> bool:
    """Whether a line has the form NAME: VALUE."""
    name, colon, _ = line.partition(b":")
    return bool(colon) and _NAME.fullmatch(name) is not None


def with_crlf(head: bytes) -> bytes:
    """Give a head the form in which every line ends with CRLF and no header is folded.

    :param head: its lines may end with LF alone, and it may end with the CR of a CRLF
    """
    if head.endswith(b"\r"):
        head = head[:-1]
    if b"\n " in head or b"\n\t" in head:
        head = _FOLD.sub(b" ", head)
    if head.count(b"\n") != head.count(b"\r\n"):
        head = b"\r\n".join(_LINE_END.split(head))
    return head


def _head(first: bytes, headers: dict[bytes, bytes]) -> ResponseHead:
    """Find out how the body is framed (RFC 9112, section 6.3)."""
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise AnswerMalformed("an invalid status line")
    modern, status = match[1] == b"1", 200 if match[2] == b"203" else int(match[2])
    coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
    keep = _keeps(headers.get(b"connection"), modern)
    if status < 200 or status in (204, 304):
        return ResponseHead(status, headers, BodyFraming.LENGTH, 0, keep)
    if coding is not None:
        if coding.rpartition(b",")[2].strip(b" \t").lower() != b"chunked":
            # if the last coding is not chunked, the body ends with the connection
            return ResponseHead(status, headers, BodyFraming.CONNECTION, 0, False)
        return ResponseHead(status, headers, BodyFraming.CHUNKS, 0, keep and modern and length is None)
    if length is None:
        return ResponseHead(status, headers, BodyFraming.CONNECTION, 0, False)
    return ResponseHead(status, headers, BodyFraming.LENGTH, _length(length), keep)


def _length(value: bytes) -> int:
    """Parse a Content-Length. It may be repeated if all values are equal (RFC 9112, section 6.3, point 5)."""
    if not value.isdigit():
        values = {each.strip(b" \t") for each in value.split(b",")}
        value = values.pop()
        if values or not value.isdigit():
            raise AnswerMalformed("an invalid Content-Length, or several")
    if len(value) > _MAX_LENGTH_DIGITS:
        raise AnswerMalformed("a Content-Length that is too large")
    return int(value)


def _keeps(connection: bytes | None, modern: bool) -> bool:
    if connection is None:
        return modern
    options = {option.strip(b" \t") for option in connection.lower().split(b",")}
    return b"close" not in options and (modern or b"keep-alive" in options)
