"""Reads HTTP/1 answers (RFC 9112), without I/O: bytes in, at most one whole answer out.

    HEAD ──> LENGTH | CHUNK_SIZE ──> CHUNK ──> CHUNK_END ... TRAILERS | UNTIL_END ──> DONE
      └─ an interim answer (1xx): HEAD again

Read is what the original's library (hyper) reads, and what clients are told to bear with: lines that end with LF alone,
folded headers, a blank behind a chunk's size, equal Content-Lengths more than once, Transfer-Encoding beside a
Content-Length (the latter says nothing then, and the connection is not used again). What remains ambiguous is refused.

Most of an answer's cost is its head, and a server's heads are nearly the same. :class:`HeadCache` remembers heads, and
lines of heads, for those that differ in one of them (an ``x-request-id``, say).
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final, NamedTuple

from icwsgw.errors import AnswerMalformed, AnswerTooLarge

MAX_HEAD: Final = 64 * 1024
"""Bytes of a head, of trailers, and of chunk framing between two bytes of a body: real heads have about 1 KiB."""

MAX_LINES: Final = 256
"""Lines of a head: hyper takes 100."""

MAX_KNOWN_HEADS: Final = 64
MAX_KNOWN_LINES: Final = 512
"""Remembered for one host. When there are more, all are forgotten: those of use are back at once."""

_FRAMING: Final = frozenset((b"", b"connection", b"content-length", b"transfer-encoding"))
_MAX_KNOWN_LINE: Final = 1024
_MAX_SIZE_DIGITS: Final = 16
_MAX_LENGTH_DIGITS: Final = 19

_BEGINNING: Final = b"HTTP/1."
_HEAD_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"[ \t]*\r?\n[ \t]+")
_LINE_END = re.compile(rb"\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PLAIN = re.compile(rb"[\x21-\x7e]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")


class ParsedResponse(NamedTuple):
    """An HTTP answer, whole.

    :ivar status: HTTP status; 200 for 203, which says that a proxy changed a 200 on the way (RFC 9110, section 15.3.4)
    :ivar headers: names in lower case; a repeated header's values are joined by ", "
    :ivar resent: the request was sent before, on a connection that ended without an answer: it may have been taken
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    resent: bool = False


class ParserState(IntEnum):
    """Where in an answer the reader is."""

    HEAD = 0
    LENGTH = 1
    UNTIL_END = 2
    CHUNK_SIZE = 3
    CHUNK = 4
    CHUNK_END = 5
    TRAILERS = 6
    DONE = 7


# looking a member up in its class costs as much as a call, in the Python 3.11 that most have
_HEAD = ParserState.HEAD
_LENGTH = ParserState.LENGTH
_DONE = ParserState.DONE


class ResponseHead(NamedTuple):
    """What a head says.

    :ivar status: as of :class:`ParsedResponse`
    :ivar headers: as of :class:`ParsedResponse`
    :ivar body: the state that follows the head where there is a body
    :ivar length: bytes of the body, in state LENGTH
    :ivar keep: the connection may carry another request after it
    """

    status: int
    headers: dict[bytes, bytes]
    body: ParserState
    length: int
    keep: bool


class EndOfData(NamedTuple):
    """Where a head has a value that may be any other: the framing of the answer does not depend on it.

    :ivar name: of the header, which is there once
    :ivar start: offset of the value
    :ivar end: offset behind it
    """

    name: bytes
    start: int
    end: int


class HeadCache:
    """What has been parsed before, shared by the connections to one host.

    :ivar heads: whole heads by their bytes
    :ivar lines: lines of heads, as name and value
    :ivar passed: by the length of a head, the value that was new in the last one of that length
    :ivar others: heads by their bytes but for that value
    """

    __slots__ = ("heads", "lines", "others", "passed")

    def __init__(self) -> None:
        self.heads: dict[bytes, ResponseHead] = {}
        self.lines: dict[bytes, tuple[bytes, bytes]] = {}
        self.passed: dict[int, EndOfData] = {}
        self.others: dict[bytes, ResponseHead] = {}

    def find(self, head: bytes) -> tuple[ResponseHead, dict[bytes, bytes]] | None:
        """Read a head that is not among :attr:`heads`: what it says, but for the headers; these. None: not plain."""
        passed = self.passed.get(len(head))
        if passed is not None:
            name, start, end = passed
            found = self.others.get(head[:start] + head[end:])
            if found is not None and _PLAIN.fullmatch(head, start, end) is not None:
                headers = found.headers.copy()
                headers[name] = head[start:end]
                return found, headers
        try:
            return (found := self.parse(head)), found.headers
        except AnswerMalformed:
            return None  # it may be sound if it is cut elsewhere, or its lines end otherwise

    def _pass_over(self, head: bytes, line: bytes, made: ResponseHead) -> None:
        """Remember a head of which one line is new, for others that differ from it in that line's value."""
        name, value = self.lines.get(line, (b"", b""))
        start = (head + b"\r\n").find(b"\r\n" + line + b"\r\n") + 2 + len(line) - len(value)
        end = start + len(value)
        if name in _FRAMING or not _PLAIN.fullmatch(value) or head[start:end] != value or made.headers[name] != value:
            return
        if len(self.others) >= MAX_KNOWN_HEADS:
            self.others.clear()
            self.passed.clear()
        self.passed[len(head)] = EndOfData(name, start, end)
        self.others[head[:start] + head[end:]] = made

    def parse(self, head: bytes) -> ResponseHead:
        """Parse a head whose lines end with CRLF.

        :param head: without the empty line behind it
        :raises AnswerMalformed: it is none, or has another form
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
            self._pass_over(head, new[0], made)
        return made

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


def _head(first: bytes, headers: dict[bytes, bytes]) -> ResponseHead:
    """Say how the body is framed (RFC 9112, section 6.3)."""
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise AnswerMalformed("a status line that is none")
    modern, status = match[1] == b"1", 200 if match[2] == b"203" else int(match[2])
    coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
    keep = _keeps(headers.get(b"connection"), modern)
    if status < 200 or status in (204, 304):
        return ResponseHead(status, headers, ParserState.LENGTH, 0, keep)
    if coding is not None:
        if coding.rpartition(b",")[2].strip(b" \t").lower() != b"chunked":
            # a coding other than chunked at the end makes the body end with the connection
            return ResponseHead(status, headers, ParserState.UNTIL_END, 0, False)
        return ResponseHead(status, headers, ParserState.CHUNK_SIZE, 0, keep and modern and length is None)
    if length is None:
        return ResponseHead(status, headers, ParserState.UNTIL_END, 0, False)
    return ResponseHead(status, headers, ParserState.LENGTH, _length(length), keep)


def _length(value: bytes) -> int:
    """Read a Content-Length, which may be there several times if all are the same (RFC 9112, section 6.3, point 5)."""
    if not value.isdigit():
        values = {each.strip(b" \t") for each in value.split(b",")}
        value = values.pop()
        if values or not value.isdigit():
            raise AnswerMalformed("a Content-Length that is none, or several")
    if len(value) > _MAX_LENGTH_DIGITS:
        raise AnswerMalformed("a Content-Length beyond all bounds")
    return int(value)


def _keeps(connection: bytes | None, modern: bool) -> bool:
    if connection is None:
        return modern
    options = {option.strip(b" \t") for option in connection.lower().split(b",")}
    return b"close" not in options and (modern or b"keep-alive" in options)


class ResponseParser:
    """Reads the answer to one request after the other.

    :param known: what has been parsed before
    :ivar state: where it is
    :ivar keep: when DONE: the connection may carry another request
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_framing",
        "_head",
        "_is_head",
        "_known",
        "_left",
        "_max_body",
        "_seen",
        "keep",
        "state",
    )

    def __init__(self, known: HeadCache) -> None:
        self._known = known
        self._forget()
        self.begin(False, 0)

    def begin(self, is_head: bool, max_body: int) -> None:
        """Expect the answer to a new request; the one before must have ended.

        :param is_head: it was a HEAD
        :param max_body: bytes of the body
        """
        self.state = _HEAD
        self.keep = False
        self._is_head = is_head
        self._max_body = max_body

    def _forget(self) -> None:
        self._head: ResponseHead | None = None
        # what has come and is not read yet, and up to where an end was looked for in it
        self._buffer: bytes | bytearray = b""
        self._seen = 0
        self._body = bytearray()
        self._left = 0
        self._framing = 0

    def feed(self, data: bytes) -> ParsedResponse | None:
        """Take what came.

        :returns: the answer, once it is whole. Bytes behind it make :attr:`keep` false: a server that counts wrongly,
            and their start would be taken for that of the next answer
        :raises AnswerMalformed: not HTTP, ambiguous, or more framing than :data:`MAX_HEAD`
        :raises AnswerTooLarge: the body is
        """
        if self.state is _HEAD and not self._buffer and not self._framing:
            # nearly always: a whole answer with a Content-Length; Answer() would be one call more
            end = data.find(b"\r\n\r\n")
            if 0 < end <= MAX_HEAD and not self._is_head:
                head = self._known.heads.get(data[:end])
                found = (head, head.headers) if head is not None else self._known.find(data[:end])
                if found is not None:
                    (status, _, body, length, keep), headers = found
                    if body is _LENGTH and status >= 200 and len(data) - end - 4 == length <= self._max_body:
                        self.state = _DONE
                        self.keep = keep
                        return tuple.__new__(ParsedResponse, (status, headers, data[end + 4 :], False))
        self._take(data)
        while self._step():
            pass
        if self.state is ParserState.DONE:
            if self._buffer:
                self.keep = False
            return self._answer()
        return None

    def end(self) -> ParsedResponse | None:
        """Take the orderly end of the connection; gives the answer if it ends with it."""
        if self.state is not ParserState.UNTIL_END:
            return None
        self.state = ParserState.DONE
        return self._answer()

    def _take(self, data: bytes) -> None:
        if not self._buffer:
            self._buffer = data
        else:
            if type(self._buffer) is bytes:
                self._buffer = bytearray(self._buffer)
            self._buffer += data

    def _drop(self, size: int) -> None:
        """Forget what has been read of the buffer."""
        if size == len(self._buffer):
            self._buffer = b""
        elif type(self._buffer) is bytearray:
            del self._buffer[:size]
        else:
            self._buffer = bytearray(memoryview(self._buffer)[size:])
        self._seen = 0

    def _answer(self) -> ParsedResponse:
        head = self._head
        assert head is not None
        answer = ParsedResponse(head.status, head.headers, bytes(self._body))
        self._forget()
        return answer

    def _step(self) -> bool:
        """Read on by one state; whether there may be more to read."""
        state = self.state
        if state is ParserState.DONE:
            return False
        if state is ParserState.HEAD:
            return self._read_head()
        if state is ParserState.CHUNK_SIZE:
            return self._read_chunk_size()
        if state is ParserState.CHUNK_END:
            return self._read_chunk_end()
        if state is ParserState.TRAILERS:
            return self._read_trailers()
        return self._read_body()

    # Heads

    def _read_head(self) -> bool:
        buffer = self._buffer
        if self._seen == 0 and buffer[:1] in (b"\r", b"\n"):
            # empty lines in front (RFC 9112, section 2.2), at most as many as make up a head
            stripped = len(buffer) - len(buffer.lstrip(b"\r\n"))
            self._spend(stripped)
            self._drop(stripped)
            buffer = self._buffer
        end = _HEAD_END.search(buffer, max(0, self._seen - 2))
        if end is None:
            if not buffer.startswith(_BEGINNING[: len(buffer)]):
                raise AnswerMalformed("a status line that is none")
            self._seen = len(buffer)
            if self._framing + len(buffer) > MAX_HEAD:
                raise AnswerMalformed(f"head or framing longer than {MAX_HEAD} bytes")
            return False
        self._spend(end.end())
        text = bytes(buffer[: end.start()])
        self._drop(end.end())
        head = self._known.parse(_with_crlf(text))
        if head.status < 200:
            if head.status == 101:
                raise AnswerMalformed("it wants to change the protocol")
            return bool(self._buffer)
        self._head = head
        self._framing = 0
        self.keep = head.keep
        if self._is_head:
            # nobody counts on the lengths that such an answer tells
            self.state = ParserState.DONE
            self.keep = False
            return False
        self.state = head.body
        if head.body is ParserState.LENGTH:
            self._left = head.length
            self._check_size(head.length)
            if head.length == 0:
                self.state = ParserState.DONE
        return bool(self._buffer)

    def _spend(self, size: int) -> None:
        self._framing += size
        if self._framing > MAX_HEAD:
            raise AnswerMalformed(f"head or framing longer than {MAX_HEAD} bytes")

    def _check_size(self, more: int) -> None:
        if more > self._max_body - len(self._body):
            raise AnswerTooLarge(f"the answer is longer than {self._max_body} bytes")

    # Bodies

    def _read_body(self) -> bool:
        buffer, body = self._buffer, self._body
        if self.state is ParserState.UNTIL_END:
            self._check_size(len(buffer))
            body += buffer
            self._drop(len(buffer))
            return False
        if not buffer:
            return False
        self._framing = 0
        left = self._left
        if len(buffer) <= left:
            body += buffer
            size = len(buffer)
        else:
            body += memoryview(buffer)[:left]
            size = left
        self._left = left - size
        self._drop(size)
        if self._left == 0:
            self.state = ParserState.DONE if self.state is ParserState.LENGTH else ParserState.CHUNK_END
        return True

    def _read_chunk_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None or len(match[1].lstrip(b"0")) > _MAX_SIZE_DIGITS:
            raise AnswerMalformed("a chunk's size that is none")
        size = int(match[1], 16)
        self._check_size(size)
        self._left = size
        self.state = ParserState.CHUNK if size else ParserState.TRAILERS
        return True

    def _read_chunk_end(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if line:
            raise AnswerMalformed("a chunk that is longer than its size")
        self.state = ParserState.CHUNK_SIZE
        return True

    def _read_trailers(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if not line:
            self.state = ParserState.DONE
        elif _NAME.fullmatch(line.partition(b":")[0]) is None or b":" not in line:
            raise AnswerMalformed("a trailer that is not of the form NAME: VALUE")
        return True

    def _line(self) -> bytes | None:
        """Take a line of framing from the buffer; None: it is not whole yet."""
        buffer = self._buffer
        end = buffer.find(b"\n", self._seen)
        if end < 0:
            self._seen = len(buffer)
            if self._framing + len(buffer) > MAX_HEAD:
                raise AnswerMalformed(f"head or framing longer than {MAX_HEAD} bytes")
            return None
        self._spend(end + 1)
        line = bytes(buffer[: end - 1 if end and buffer[end - 1] == 13 else end])
        self._drop(end + 1)
        return line


def _with_crlf(head: bytes) -> bytes:
    """Give a head the form in which all lines end with CRLF and none is folded."""
    if head.endswith(b"\r"):
        head = head[:-1]
    if b"\n " in head or b"\n\t" in head:
        head = _FOLD.sub(b" ", head)
    if head.count(b"\n") != head.count(b"\r\n"):
        head = b"\r\n".join(_LINE_END.split(head))
    return head
