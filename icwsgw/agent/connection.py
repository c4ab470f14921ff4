"""One keep-alive HTTP/1.1 connection and one request on its way.

A connection carries one request at a time (no pipelining). httptools parses; what it does not do is done here:

- An answer is given out after ``feed_data`` has returned, never from inside the parser, so that bytes behind
  the answer are seen before the connection can be used again: they mean a server that counts wrongly, and
  taking them for the start of the next answer would give one request another's data.
- A body without length ends with the connection; that end counts only if it is an orderly one.
- llhttp bounds neither head, trailers nor chunk extensions: reads that bring no body are summed up and bounded.
- Answers to HEAD have no body although they tell a length: they end with their head, and with the connection.

A connection that was reused and ends before any byte of its answer was most likely closed by the server while
the request was on its way: such a request goes once more, on a connection that is known to be alive. Requests
of this package may be repeated (queries, reads, and calls with identical envelopes, design 3.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from icwsgw.errors import (
    AnswerMalformed,
    AnswerTooLarge,
    ConnectFailed,
    ConnectionLost,
    IcwsError,
    RequestTimeout,
)
from icwsgw.fastsend import send_now

if TYPE_CHECKING:
    from icwsgw.agent.pool import HostPool

MAX_HEAD = 64 * 1024
"""Bytes of head, trailers and chunk framing an answer may have beyond one read: real heads have about 1 KiB."""


MAX_HEADS = 64
"""Heads a pool remembers: they differ by length of body and, where there is a Date, by second."""


class Answer(NamedTuple):
    """An HTTP answer, whole.

    :ivar status: HTTP status
    :ivar headers: names in lower case; a repeated header's values are joined by ", "
    :ivar body: the whole body
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class KnownHead(NamedTuple):
    """What a head says that the parser has read before: status, headers, length of the body.

    Parsing a head costs more than all else about a small answer, and a server says the same in each of the hundreds
    of answers it gives a second. Only heads of whole answers with a Content-Length on a connection that stays open
    are kept, and only the very same bytes are recognised.
    """

    status: int
    headers: dict[bytes, bytes]
    length: int


class Exchange:
    """One request, from the caller's Deferred to its answer, across at most two connections."""

    __slots__ = ("bucket", "connection", "data", "deferred", "is_head", "max_body", "pool", "retried")

    def __init__(self, pool: HostPool, data: bytes, is_head: bool, max_body: int) -> None:
        self.pool = pool
        self.data = data
        self.is_head = is_head
        self.max_body = max_body
        self.retried = False
        self.bucket = 0
        self.connection: HttpConnection | None = None
        self.deferred: Deferred[Answer] | None = Deferred(self._cancelled)

    def succeed(self, answer: Answer) -> None:
        """Give the answer out, once."""
        deferred = self.deferred
        if deferred is not None:
            self.deferred = None
            self.pool.deadlines.discard(self)
            deferred.callback(answer)

    def fail(self, error: IcwsError) -> None:
        """Give the failure out, once."""
        deferred = self.deferred
        if deferred is not None:
            self.deferred = None
            self.pool.deadlines.discard(self)
            deferred.errback(error)

    def timed_out(self) -> None:
        """Run out of time: a busy connection is given up, as its late answer would be taken for the next one's."""
        if self.connection is None and self.pool.established == 0 and not self.retried:
            error: IcwsError = ConnectFailed(f"no connection to {self.pool.name} in time")
        elif self.connection is None:
            error = RequestTimeout(f"no free connection to {self.pool.name} in time")
        else:
            error = RequestTimeout(f"no whole answer from {self.pool.name} in time")
        self._let_go()
        self.fail(error)

    def _cancelled(self, deferred: Deferred[Answer]) -> None:
        # The Deferred itself errbacks with CancelledError after this.
        self.deferred = None
        self.pool.deadlines.discard(self)
        self._let_go()

    def _let_go(self) -> None:
        connection = self.connection
        if connection is None:
            self.pool.forget(self)
        else:
            self.connection = None
            connection.abandon()


@implementer(IProtocol, IHandshakeListener)
class HttpConnection:
    """The protocol of one connection; its pool decides what it does next."""

    __slots__ = (
        "__weakref__",
        "_body",
        "_complete",
        "_exchange",
        "_extra",
        "_handshaken",
        "_has_body_end",
        "_head_done",
        "_headers",
        "_keep",
        "_parser",
        "_pool",
        "_quiet",
        "_received",
        "_size",
        "_status",
        "closing",
        "idle_since",
        "maybe_stale",
        "transport",
    )

    def __init__(self, pool: HostPool, tls: bool) -> None:
        self._pool = pool
        self._parser: Any = HttpResponseParser(self)
        self._exchange: Exchange | None = None
        self._handshaken = not tls
        self.maybe_stale = False
        self.closing = False
        self.idle_since = 0.0
        self.transport: Any = None
        self._reset()

    def _reset(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._quiet = 0
        self._received = False
        self._head_done = False
        self._status = 0
        self._keep = False
        self._has_body_end = False
        self._complete = False
        self._extra = False

    # The pool's side

    def send(self, exchange: Exchange) -> None:
        """Send a request; the connection must be idle."""
        self._exchange = exchange
        exchange.connection = self
        send_now(self.transport, exchange.data)

    def abandon(self) -> None:
        """End at once, dropping the request under way without a word to its caller."""
        self._exchange = None
        self._abort()

    def close(self) -> None:
        """End an idle connection; the pool's sweep aborts it if a TLS peer does not answer."""
        self.closing = True
        self.transport.loseConnection()

    def fail(self, error: IcwsError) -> None:
        """End at once, failing the request under way."""
        exchange = self._exchange
        self._exchange = None
        self._abort()
        if exchange is not None:
            exchange.connection = None
            exchange.fail(error)

    def _abort(self) -> None:
        self.closing = True
        self.transport.abortConnection()

    # Twisted's side

    def makeConnection(self, transport: Any) -> None:  # noqa: N802
        """Take the transport; requests are small and wait for their answers, so Nagle only delays them."""
        self.transport = transport
        transport.setTcpNoDelay(True)

    def connectionMade(self) -> None:  # noqa: N802
        """Part of IProtocol; everything is done in makeConnection."""

    def handshakeCompleted(self) -> None:  # noqa: N802
        """TLS is up and the certificate is good."""
        self._handshaken = True

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Parse what came."""
        exchange = self._exchange
        if exchange is not None and not self._received:
            end = data.find(b"\r\n\r\n") + 4
            known = self._pool.heads.get(data[:end])
            if known is not None and len(data) - end == known.length <= exchange.max_body and not exchange.is_head:
                self._exchange = None
                exchange.connection = None
                self._pool.release(self)
                exchange.succeed(Answer(known.status, known.headers, data[end:]))
                return
        if exchange is None:
            # Nothing was asked: usually a 408 before the server closes. Or the leftovers after abandon().
            if not self.closing:
                self._pool.discard(self)
                self._abort()
            return
        is_first, self._received = not self._received, True
        size = self._size
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self.fail(AnswerMalformed(f"{self._pool.name} wants to change the protocol"))
            return
        except HttpParserError as error:
            if not self._complete:
                if self._size > exchange.max_body:
                    self.fail(AnswerTooLarge(f"the answer is longer than {exchange.max_body} bytes"))
                else:
                    self.fail(AnswerMalformed(f"not HTTP from {self._pool.name}: {error}"))
                return
            self._extra = True
        if self._complete:
            if is_first:
                self._remember_head(data)
            self._finish(exchange)
        elif self._size == size:
            self._quiet += len(data)
            if self._quiet > MAX_HEAD:
                self.fail(AnswerMalformed(f"head or framing longer than {MAX_HEAD} bytes from {self._pool.name}"))
        else:
            self._quiet = 0

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """Give the request under way its end."""
        exchange = self._exchange
        self._exchange = None
        self.closing = True
        self._parser = None
        if exchange is None:
            self._pool.lost(self)
            return
        exchange.connection = None
        ends_here = self._head_done and not self._has_body_end and not self._complete
        if ends_here and isinstance(reason.value, ConnectionDone):
            answer = Answer(self._status, self._headers, b"".join(self._body))
            self._pool.lost(self)
            exchange.succeed(answer)
        elif not self._received and self.maybe_stale and not exchange.retried:
            exchange.retried = True
            self._pool.lost(self)
            self._pool.again(exchange)
        else:
            self._pool.lost(self)
            if not self._handshaken:
                exchange.fail(ConnectFailed(f"no TLS with {self._pool.name}: {explain(reason)}"))
            else:
                got = "in the middle of" if self._received else "before"
                exchange.fail(ConnectionLost(f"{self._pool.name} closed the connection {got} the answer"))

    def _remember_head(self, data: bytes) -> None:
        """Keep the head of an answer that came whole and plain in one read: the next one is likely to be the same."""
        end = data.find(b"\r\n\r\n") + 4
        length = len(data) - end
        headers = self._headers
        if (
            self._keep
            and not self._extra
            and headers.get(b"content-length") == b"%d" % length == b"%d" % self._size
            and headers.keys().isdisjoint((b"transfer-encoding", b"content-encoding", b"trailer"))
        ):
            heads = self._pool.heads
            if len(heads) >= MAX_HEADS:
                heads.clear()
            heads[data[:end]] = KnownHead(self._status, headers, length)

    def _finish(self, exchange: Exchange) -> None:
        answer = Answer(self._status, self._headers, b"".join(self._body))
        self._exchange = None
        exchange.connection = None
        if self._extra or not self._keep:
            self._pool.discard(self)
            self.close()
        else:
            self._reset()
            # Before the caller hears of the answer, so that its next request finds this connection.
            self._pool.release(self)
        if b"content-encoding" in answer.headers and answer.headers[b"content-encoding"].lower() != b"identity":
            # Not asked for. Decoding it would give bodies without a bound.
            exchange.fail(AnswerMalformed(f"an encoded answer from {self._pool.name}"))
        else:
            exchange.succeed(answer)

    # The parser's side

    def on_message_begin(self) -> None:
        """See whether this is the answer, or one too many."""
        if self._complete:
            self._extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header or trailer."""
        if self._complete:
            return
        name = name.lower()
        headers = self._headers
        if name in headers:
            value = headers[name] + b", " + value
        headers[name] = value

    def on_headers_complete(self) -> None:
        """Refuse early what will be too long."""
        if self._complete:
            return
        exchange = self._exchange
        status = self._parser.get_status_code()
        if exchange is None or status < 200:
            return
        self._head_done = True
        self._status = status
        headers = self._headers
        if exchange.is_head:
            self._complete = True
        elif b"transfer-encoding" in headers:
            # A coding other than chunked at the end makes the body end with the connection (RFC 9112, 6.3).
            self._has_body_end = headers[b"transfer-encoding"].lower().endswith(b"chunked")
        elif (length := headers.get(b"content-length")) is not None:
            self._has_body_end = True
            if length.isdigit() and int(length) > exchange.max_body:
                self._size = int(length)
                raise ValueError("too long")

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        exchange = self._exchange
        if self._complete or exchange is None:
            return
        self._size += len(data)
        if self._size > exchange.max_body:
            raise ValueError("too long")
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Note the end of the answer; an interim one (1xx) is forgotten and the wait goes on."""
        if not self._head_done:
            self._headers = {}
        elif not self._complete:
            self._complete = True
            # llhttp knows this only here; a moment later it has begun to forget.
            self._keep = self._parser.should_keep_alive()


def explain(reason: Failure) -> str:
    """Say in a few words why a connection could not be made."""
    value = reason.value
    text = str(value) or type(value).__name__
    parts = getattr(value, "args", ())
    if parts and isinstance(parts[0], list):
        # OpenSSL: a list of (library, function, reason)
        text = "; ".join(str(entry[-1]) for entry in parts[0] if isinstance(entry, tuple) and entry) or text
    return text[:200]
