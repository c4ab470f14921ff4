"""One keep-alive HTTP/1.1 connection, and the request that it carries.

A connection carries one request at a time (no pipelining). :mod:`icwsgw.agent.http.response_parser` decides what the
bytes mean and whether the connection may carry another request; :class:`HttpConnection` performs that and tells its
pool.

If a connection was used before and ends before any byte of a response, then most likely the server has closed it while
the request was in flight. The request is sent again, once, on a connection that is known to work. The requests of this
package may be repeated: queries, reads, and calls with identical envelopes (interface spec, "Request: Call").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from icwsgw.agent.http.response_parser import ParsedResponse, ParserState, ResponseParser
from icwsgw.agent.http.tcp_user_timeout import limit_unacknowledged_time
from icwsgw.errors import (
    AnswerMalformed,
    ConnectFailed,
    ConnectionLost,
    IcwsError,
    RequestTimeout,
    TransportError,
)
from icwsgw.reactor.immediate_send import send_now

if TYPE_CHECKING:
    from icwsgw.agent.http.deadlines import Deadlines
    from icwsgw.agent.http.response_head import HeadCache

__all__ = ["Exchange", "HttpConnection", "ParsedResponse", "explain"]

_IDLE = ParserState.IDLE


class ConnectionPool(Protocol):
    """The connections to one host: :class:`icwsgw.agent.http.host_pool.HostPool`.

    :ivar name: of the host, for errors
    :ivar responses: whole responses that have come from the host
    :ivar silence: seconds without an acknowledgement after which a connection has ended
    """

    deadlines: Deadlines
    heads: HeadCache
    name: str
    responses: int
    silence: float

    @property
    def established(self) -> int:
        """Connections that are up."""

    def again(self, exchange: Exchange) -> None:
        """Send a request once more, on a connection known to be alive."""

    def forget(self, exchange: Exchange) -> None:
        """Take back a request that still waits."""

    def answered(self) -> None:
        """Take note that a response has come."""

    def release(self, connection: HttpConnection, new: bool = False) -> None:
        """Take a connection that is ready for a request."""

    def discard(self, connection: HttpConnection) -> None:
        """Do not use a connection any more."""

    def lost(self, connection: HttpConnection) -> None:
        """Forget a connection that has ended."""

    def timed_out(self, connection: HttpConnection) -> None:
        """Take note that a request got no byte in time on a connection that was used before."""

    def drop_unresponsive(self) -> None:
        """End the idle connections on which nothing has come for as long as silence may last."""


class Exchange:
    """One request, from the caller's Deferred to its response, on at most two connections."""

    __slots__ = ("bucket", "connection", "data", "deferred", "is_head", "max_body", "pool", "retried")

    def __init__(self, pool: ConnectionPool, data: bytes, is_head: bool, max_body: int) -> None:
        self.pool = pool
        self.data = data
        self.is_head = is_head
        self.max_body = max_body
        self.retried = False
        self.bucket = 0
        self.connection: HttpConnection | None = None
        self.deferred: Deferred[ParsedResponse] | None = Deferred(self._cancelled)

    def succeed(self, answer: ParsedResponse) -> None:
        """Give the response to the caller, once."""
        deferred = self.deferred
        if deferred is not None:
            self.deferred = None
            self.pool.deadlines.discard(self)
            deferred.callback(answer._replace(resent=True) if self.retried else answer)

    def fail(self, error: IcwsError) -> None:
        """Fail the caller's Deferred, once."""
        deferred = self.deferred
        if deferred is not None:
            self.deferred = None
            self.pool.deadlines.discard(self)
            deferred.errback(error)

    def timed_out(self) -> None:
        """The deadline is over. A busy connection is aborted: its late response would be taken for the next."""
        if self.connection is None and self.pool.established == 0 and not self.retried:
            error: IcwsError = ConnectFailed(f"no connection to {self.pool.name} in time")
        elif self.connection is None:
            error = RequestTimeout(f"no free connection to {self.pool.name} in time")
        else:
            error = RequestTimeout(f"no whole answer from {self.pool.name} in time")
            if self.connection.silent:
                self.pool.timed_out(self.connection)
        self._detach()
        self.fail(error)

    def _cancelled(self, deferred: Deferred[ParsedResponse]) -> None:
        # the Deferred itself fails with CancelledError after this
        self.deferred = None
        self.pool.deadlines.discard(self)
        self._detach()

    def _detach(self) -> None:
        connection = self.connection
        if connection is None:
            self.pool.forget(self)
        else:
            self.connection = None
            connection.abandon()


@implementer(IProtocol, IHandshakeListener)
class HttpConnection:
    """The protocol of one connection. Its pool decides what it carries next.

    :ivar idle_since: when it was last ready for a request, or began to close; seconds of the reactor's clock
    :ivar maybe_stale: it was idle before, so that the server may have closed it
    :ivar responses_before: the responses of its host when its last request was sent
    """

    __slots__ = (
        *("__weakref__", "_exchange", "_handshaken", "_parser", "_pool"),
        *("idle_since", "maybe_stale", "responses_before", "transport"),
    )

    def __init__(self, pool: ConnectionPool, tls: bool) -> None:
        self._pool = pool
        self._parser = ResponseParser(pool.heads)
        self._exchange: Exchange | None = None
        self._handshaken = not tls
        self.maybe_stale = False
        self.idle_since = 0.0
        self.responses_before = 0
        self.transport: Any = None

    # The pool's side

    def send(self, exchange: Exchange) -> None:
        """Send a request. The connection must be idle."""
        self._exchange = exchange
        self.responses_before = self._pool.responses
        self._parser.expect(exchange.is_head, exchange.max_body)
        exchange.connection = self
        send_now(self.transport, exchange.data)

    @property
    def closing(self) -> bool:
        """Whether it carries no more requests, because it ends or has ended."""
        return self._parser.state >= ParserState.MUST_CLOSE

    @property
    def silent(self) -> bool:
        """Whether it was used before, and not a byte of the response to its request has come."""
        return self.maybe_stale and self._parser.state is ParserState.WAITING

    def retry_elsewhere(self) -> None:
        """Abort a silent connection, and send its request on another one, unless that was done before."""
        exchange = self._exchange
        if exchange is not None and not exchange.retried:
            self.abandon()
            exchange.connection = None
            exchange.retried = True
            self._pool.again(exchange)

    def abandon(self) -> None:
        """Abort, and drop the request without telling its caller."""
        self._exchange = None
        self._abort()

    def close(self) -> None:
        """Close an idle connection. The pool's sweep aborts it if a TLS peer does not answer."""
        self._parser.close()
        self.transport.loseConnection()

    def fail(self, error: IcwsError) -> None:
        """Abort, and fail the request."""
        exchange = self._exchange
        self._exchange = None
        self._pool.discard(self)
        self._abort()
        if exchange is not None:
            exchange.connection = None
            exchange.fail(error)

    def _abort(self) -> None:
        self._parser.close()
        self.transport.abortConnection()

    # Twisted's side

    def makeConnection(self, transport: Any) -> None:  # noqa: N802
        """Take the transport. Requests are small and wait for their responses, so Nagle would only delay them."""
        self.transport = transport
        transport.setTcpNoDelay(True)
        limit_unacknowledged_time(transport, self._pool.silence)

    def connectionMade(self) -> None:  # noqa: N802
        """Part of IProtocol; makeConnection does everything."""

    def handshakeCompleted(self) -> None:  # noqa: N802
        """The TLS handshake is done, and the certificate is valid."""
        self._handshaken = True

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Parse what has come; what comes without a request (usually a 408 before the server closes) ends it."""
        try:
            response = self._parser.feed(data)
        except AnswerMalformed as error:
            self.fail(AnswerMalformed(f"not HTTP from {self._pool.name}: {error}"))
        except TransportError as error:
            self.fail(error)
        else:
            if response is not None:
                self._finish(response)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """End the request that the connection carries."""
        exchange, parser, pool = self._exchange, self._parser, self._pool
        self._exchange = None
        in_order, received = isinstance(reason.value, ConnectionDone), parser.received
        # a body that ends with the connection is whole only if the connection ends in order
        response = parser.end() if in_order else None
        parser.close()
        if exchange is not None:
            exchange.connection = None
        pool.lost(self)
        if exchange is None:
            return
        if response is not None:
            exchange.succeed(response)
        elif not received and self.maybe_stale and not exchange.retried:
            exchange.retried = True
            if not in_order:
                pool.drop_unresponsive()
            pool.again(exchange)
        elif not self._handshaken:
            exchange.fail(ConnectFailed(f"no TLS with {pool.name}: {explain(reason)}"))
        else:
            got = "in the middle of" if received else "before"
            exchange.fail(ConnectionLost(f"{pool.name} closed the connection {got} the answer"))

    def _finish(self, response: ParsedResponse) -> None:
        exchange = self._exchange
        assert exchange is not None, "the parser expects a response to a request"
        self._exchange = None
        exchange.connection = None
        if self._parser.state is _IDLE:
            # before the caller gets the response, so that its next request finds this connection
            self._pool.release(self)
        else:
            self._pool.answered()
            self._pool.discard(self)
            self.close()
        coding = response.headers.get(b"content-encoding")
        if coding and coding.lower() != b"identity":
            # not asked for; a decoded body would have no bound
            exchange.fail(AnswerMalformed(f"an encoded answer from {self._pool.name}"))
        else:
            exchange.succeed(response)


def explain(reason: Failure) -> str:
    """Why a connection could not be made, in a few words."""
    value = reason.value
    text = str(value) or type(value).__name__
    parts = getattr(value, "args", ())
    if parts and isinstance(parts[0], list):
        # OpenSSL: a list of (library, function, reason)
        text = "; ".join(str(entry[-1]) for entry in parts[0] if isinstance(entry, tuple) and entry) or text
    return text[:200]
