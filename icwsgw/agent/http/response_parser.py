"""Parses HTTP/1 responses (RFC 9112) as a state machine, sans I/O: bytes in, at most one whole response out.

    state       event          next
    ----------  -------------  ----------
    IDLE        EXPECT         WAITING
    IDLE        DATA           CLOSED
    WAITING     DATA           HEAD
    HEAD        INTERIM        HEAD
    HEAD        SIZED          LENGTH
    HEAD        CHUNKED        CHUNK_SIZE
    HEAD        UNSIZED        UNTIL_END
    HEAD        COMPLETE       DONE
    LENGTH      COMPLETE       DONE
    UNTIL_END   COMPLETE       DONE
    CHUNK_SIZE  CHUNK_BEGINS   CHUNK
    CHUNK_SIZE  LAST_CHUNK     TRAILERS
    CHUNK       CHUNK_IS_READ  CHUNK_END
    CHUNK_END   CHUNK_ENDS     CHUNK_SIZE
    TRAILERS    COMPLETE       DONE
    DONE        KEEP           IDLE
    DONE        NOT_KEPT       MUST_CLOSE

CLOSE, INVALID and the end of the connection lead to CLOSED from any state. As with h11, the owner of the connection
gives the parser what comes (:meth:`ResponseParser.feed`), performs what the state asks for, and does not decide
anything about HTTP itself: IDLE means that the connection may carry another request, MUST_CLOSE that it may not.

Bytes without a request, or after a response, come from a server that counts wrongly. The parser would
take them for the start of the next response and give one request another's data, so the connection has to end.

The parser accepts lines that end with LF alone, folded headers, empty lines before a head, and a blank after the size
of a chunk, as RFC 9112 asks clients to. It refuses what remains ambiguous.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final, NamedTuple

from icwsgw.agent.http.response_head import BodyFraming, HeadCache, ResponseHead, is_header, with_crlf
from icwsgw.errors import AnswerMalformed, AnswerTooLarge

MAX_HEAD: Final = 64 * 1024
"""Bytes of a head, of trailers, and of chunk framing between two bytes of a body: real heads have about 1 KiB."""

CHUNK_FRAMING: Final = 8 * 1024
"""Bytes of chunk framing that a body may have beyond the bytes of its data: each chunk costs time, however small it is.
Boundary nodes send chunks of kilobytes, with 8 bytes of framing."""

_MAX_SIZE_DIGITS: Final = 16
_BEGINNING: Final = b"HTTP/1."
_HEAD_END = re.compile(rb"\n\r?\n")
_AFTER_SIZE: Final = rb"[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?"
_CHUNK_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]+)" + _AFTER_SIZE)
_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,16})" + _AFTER_SIZE + rb"\r?\n")


class ParsedResponse(NamedTuple):
    """A whole HTTP response.

    :ivar status: as of :class:`~icwsgw.agent.http.response_head.ResponseHead`
    :ivar headers: as of :class:`~icwsgw.agent.http.response_head.ResponseHead`
    :ivar resent: the request was sent before, on a connection that ended without a response: the server may have it
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    resent: bool = False


class ParserState(IntEnum):
    """Where in a response the parser is. From MUST_CLOSE on it expects nothing more on this connection."""

    IDLE = 0
    """No response is expected."""
    WAITING = 1
    """A response is expected, and nothing of it has come."""
    HEAD = 2
    """Part of a head has come."""
    LENGTH = 3
    """In a body that has a length."""
    UNTIL_END = 4
    """In a body that ends with the connection."""
    CHUNK_SIZE = 5
    """In the line that gives the size of a chunk."""
    CHUNK = 6
    """In the data of a chunk."""
    CHUNK_END = 7
    """In the line end that follows a chunk."""
    TRAILERS = 8
    """In the trailers that follow the last chunk."""
    DONE = 9
    """The response is whole; the parser leaves this state before it returns the response."""
    MUST_CLOSE = 10
    """The response was the last one on this connection."""
    CLOSED = 11
    """The connection has ended, or its owner ends it."""


class ParserEvent(IntEnum):
    """What the parser finds, and what its owner reports to it."""

    EXPECT = 0
    """A request leaves."""
    DATA = 1
    """Bytes come."""
    INTERIM = 2
    """The head is that of an interim response (1xx): another head follows."""
    SIZED = 3
    """The head gives the length of the body."""
    CHUNKED = 4
    """The head says that the body comes in chunks."""
    UNSIZED = 5
    """The head gives no length, so that the body ends with the connection."""
    CHUNK_BEGINS = 6
    """The line gives the size of a chunk."""
    CHUNK_IS_READ = 7
    """The data of the chunk is whole."""
    CHUNK_ENDS = 8
    """The line end behind the chunk is there."""
    LAST_CHUNK = 9
    """The line gives the size 0."""
    COMPLETE = 10
    """The response is whole."""
    KEEP = 11
    """The connection may carry another request."""
    NOT_KEPT = 12
    """The server ends the connection, or more came than the response."""


S, E = ParserState, ParserEvent
TABLE: dict[tuple[ParserState, ParserEvent], ParserState] = {
    (S.IDLE, E.EXPECT): S.WAITING,
    (S.IDLE, E.DATA): S.CLOSED,
    (S.WAITING, E.DATA): S.HEAD,
    (S.HEAD, E.INTERIM): S.HEAD,
    (S.HEAD, E.SIZED): S.LENGTH,
    (S.HEAD, E.CHUNKED): S.CHUNK_SIZE,
    (S.HEAD, E.UNSIZED): S.UNTIL_END,
    (S.HEAD, E.COMPLETE): S.DONE,
    (S.LENGTH, E.COMPLETE): S.DONE,
    (S.UNTIL_END, E.COMPLETE): S.DONE,
    (S.CHUNK_SIZE, E.CHUNK_BEGINS): S.CHUNK,
    (S.CHUNK_SIZE, E.LAST_CHUNK): S.TRAILERS,
    (S.CHUNK, E.CHUNK_IS_READ): S.CHUNK_END,
    (S.CHUNK_END, E.CHUNK_ENDS): S.CHUNK_SIZE,
    (S.TRAILERS, E.COMPLETE): S.DONE,
    (S.DONE, E.KEEP): S.IDLE,
    (S.DONE, E.NOT_KEPT): S.MUST_CLOSE,
}
_FRAMED: dict[BodyFraming, ParserEvent] = {
    BodyFraming.LENGTH: E.SIZED,
    BodyFraming.CHUNKS: E.CHUNKED,
    BodyFraming.CONNECTION: E.UNSIZED,
}
# looking a member up in its class costs as much as a call, in the Python 3.11 that most have
_IDLE, _WAITING, _LENGTH, _DONE, _CLOSED, _MUST_CLOSE = S.IDLE, S.WAITING, S.LENGTH, S.DONE, S.CLOSED, S.MUST_CLOSE
_BY_LENGTH = BodyFraming.LENGTH
del S, E


class ResponseParser:
    """Parses the responses on one connection, one after the other.

    :param known: the heads that were parsed before
    :ivar state: where it is
    """

    __slots__ = (
        *("_body", "_buffer", "_chunk_framing", "_framing", "_head", "_is_head", "_keep", "_known", "_left"),
        *("_max_body", "_seen", "state"),
    )

    def __init__(self, known: HeadCache) -> None:
        self._known = known
        self.state = _IDLE
        self._is_head = self._keep = False
        self._max_body = 0
        self._forget()

    def _forget(self) -> None:
        self._head: ResponseHead | None = None
        # what has come and is not parsed yet, and up to where the parser has looked for an end in it
        self._buffer: bytes | bytearray = b""
        self._seen = 0
        self._body = bytearray()
        self._left = 0
        # bytes of framing: since the last data, and before it in this body
        self._framing = self._chunk_framing = 0

    @property
    def received(self) -> bool:
        """Whether some of the response that is expected has come."""
        return _WAITING < self.state < _DONE

    def expect(self, is_head: bool, max_body: int) -> None:
        """Expect the response to a new request.

        :param is_head: it is a HEAD request: the response has no body, although it may give a length
        :param max_body: bytes of the body at most
        :raises LookupError: the parser is not IDLE
        """
        if self.state is not _IDLE:
            raise LookupError(f"EXPECT in {self.state.name}")
        self.state = _WAITING
        self._is_head = is_head
        self._max_body = max_body

    def feed(self, data: bytes) -> ParsedResponse | None:
        """Parse what has come.

        What comes in MUST_CLOSE and CLOSED is ignored.

        :return: the response, once it is whole
        :raises AnswerMalformed: the data is not HTTP, ambiguous, has more framing than :data:`MAX_HEAD` or
            :data:`CHUNK_FRAMING` allow, or no request is open
        :raises AnswerTooLarge: the body has more than ``max_body`` bytes
        """
        state = self.state
        if state is _WAITING:
            # nearly always: a whole response with a Content-Length; ParsedResponse() would be one call more
            end = data.find(b"\r\n\r\n")
            if 0 < end <= MAX_HEAD and not self._is_head:
                head = self._known.heads.get(data[:end])
                found = (head, head.headers) if head is not None else self._known.find(data[:end])
                if found is not None:
                    (status, _, framing, length, keep), headers = found
                    if framing is _BY_LENGTH and status >= 200 and len(data) - end - 4 == length <= self._max_body:
                        self.state = _IDLE if keep else _MUST_CLOSE
                        return tuple.__new__(ParsedResponse, (status, headers, data[end + 4 :], False))
            self.state = TABLE[state, ParserEvent.DATA]
        elif state is _IDLE:
            self.state = TABLE[state, ParserEvent.DATA]
            raise AnswerMalformed("data without a request")
        elif state >= _MUST_CLOSE:
            return None
        self._take(data)
        try:
            while self._step():
                pass
        except (AnswerMalformed, AnswerTooLarge):
            self.close()
            raise
        return self._response() if self.state is _DONE else None

    def end(self) -> ParsedResponse | None:
        """The connection has ended in order.

        :return: the response, if its body ends with the connection
        """
        if self.state is not ParserState.UNTIL_END:
            self.close()
            return None
        self.state = TABLE[self.state, ParserEvent.COMPLETE]
        response = self._response()
        self.close()
        return response

    def close(self) -> None:
        """Expect nothing more: the connection has ended, or its owner ends it."""
        self.state = _CLOSED
        self._forget()

    def _response(self) -> ParsedResponse:
        head = self._head
        assert head is not None
        event = ParserEvent.KEEP if self._keep and not self._buffer else ParserEvent.NOT_KEPT
        self.state = TABLE[self.state, event]
        response = ParsedResponse(head.status, head.headers, bytes(self._body))
        self._forget()
        return response

    def _step(self) -> bool:
        """Parse one element; whether there may be more to parse."""
        state = self.state
        if state is _DONE:
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
            # empty lines before the head (RFC 9112, section 2.2), at most as many bytes as a head may have
            stripped = len(buffer) - len(buffer.lstrip(b"\r\n"))
            self._spend(stripped)
            self._drop(stripped)
            buffer = self._buffer
        end = _HEAD_END.search(buffer, max(0, self._seen - 2))
        if end is None:
            if not buffer.startswith(_BEGINNING[: len(buffer)]):
                raise AnswerMalformed("an invalid status line")
            self._look_further()
            return False
        self._spend(end.end())
        text = bytes(buffer[: end.start()])
        self._drop(end.end())
        head = self._known.parse(with_crlf(text))
        self.state = TABLE[self.state, self._use(head)]
        return self.state is not _DONE and bool(self._buffer)

    def _use(self, head: ResponseHead) -> ParserEvent:
        """Take over what a head says."""
        if head.status == 101:
            raise AnswerMalformed("the server wants to change the protocol")
        if head.status < 200:
            return ParserEvent.INTERIM
        self._head = head
        self._framing = 0
        # lengths in a response to HEAD are not reliable
        self._keep = head.keep and not self._is_head
        if self._is_head:
            return ParserEvent.COMPLETE
        if head.framing is _BY_LENGTH:
            self._check_size(head.length)
            self._left = head.length
            if not head.length:
                return ParserEvent.COMPLETE
        return _FRAMED[head.framing]

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
        if self._framing:
            self._count_framing(0)
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
            event = ParserEvent.COMPLETE if self.state is _LENGTH else ParserEvent.CHUNK_IS_READ
            self.state = TABLE[self.state, event]
        return True

    def _count_framing(self, more: int) -> None:
        """Data follows the framing: count it for the whole body.

        :param more: bytes of framing that :meth:`_spend` has not counted
        """
        self._chunk_framing += self._framing + more
        self._framing = 0
        if self._chunk_framing > CHUNK_FRAMING + len(self._body):
            raise AnswerMalformed("more chunk framing than data")

    def _read_chunk_size(self) -> bool:
        if not self._seen:
            self._read_whole_chunks()
        line = self._line()
        if line is None:
            return False
        match = _CHUNK_SIZE_LINE.fullmatch(line)
        if match is None or len(match[1].lstrip(b"0")) > _MAX_SIZE_DIGITS:
            raise AnswerMalformed("an invalid chunk size")
        size = int(match[1], 16)
        self._check_size(size)
        self._left = size
        self.state = TABLE[self.state, ParserEvent.CHUNK_BEGINS if size else ParserEvent.LAST_CHUNK]
        return True

    def _read_whole_chunks(self) -> None:
        """Take the chunks that are whole, as the steps below do, in less time: there may be thousands of small ones."""
        buffer, at = self._buffer, 0
        while (head := _CHUNK_HEAD.match(buffer, at)) is not None:
            size, start = int(head[1], 16), head.end()
            end = start + size
            line_end = 2 if buffer[end : end + 2] == b"\r\n" else 1
            if not size or buffer[end + line_end - 1 : end + line_end] != b"\n":
                break
            self._check_size(size)
            self._count_framing(start - at)
            self._body += memoryview(buffer)[start:end]
            self._framing = line_end
            at = end + line_end
        if at:
            self._drop(at)

    def _read_chunk_end(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if line:
            raise AnswerMalformed("a chunk that is longer than its size")
        self.state = TABLE[self.state, ParserEvent.CHUNK_ENDS]
        return True

    def _read_trailers(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if not line:
            self.state = TABLE[self.state, ParserEvent.COMPLETE]
        elif not is_header(line):
            raise AnswerMalformed("a trailer that is not of the form NAME: VALUE")
        return True

    # The buffer

    def _line(self) -> bytes | None:
        """Take a line of framing from the buffer; None if it is not whole yet."""
        buffer = self._buffer
        end = buffer.find(b"\n", self._seen)
        if end < 0:
            self._look_further()
            return None
        self._spend(end + 1)
        line = bytes(buffer[: end - 1 if end and buffer[end - 1] == 13 else end])
        self._drop(end + 1)
        return line

    def _look_further(self) -> None:
        """Look for the end in what comes next."""
        self._seen = len(self._buffer)
        if self._framing + self._seen > MAX_HEAD:
            raise AnswerMalformed(f"head or framing longer than {MAX_HEAD} bytes")

    def _take(self, data: bytes) -> None:
        if not self._buffer:
            self._buffer = data
        else:
            if type(self._buffer) is bytes:
                self._buffer = bytearray(self._buffer)
            self._buffer += data

    def _drop(self, size: int) -> None:
        """Forget what has been parsed of the buffer."""
        if size == len(self._buffer):
            self._buffer = b""
        elif type(self._buffer) is bytearray:
            del self._buffer[:size]
        else:
            self._buffer = bytearray(memoryview(self._buffer)[size:])
        self._seen = 0
