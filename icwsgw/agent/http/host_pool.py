"""The connections to one host, and the requests that wait for one.

- The connection that became idle last is used first, so that the surplus of a busy minute times out.
- If no connection is idle, a request waits in a queue, and a new connection is made for it unless there are too many.
  The connection that is free first, new or old, takes the request that has waited longest.
- A connection that cannot be made fails one waiting request: the oldest.
- A request that is sent again waits at the head of the queue and does not take an idle connection: after a restart of
  the server, idle connections are as dead as the one that has just failed it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from icwsgw.agent.http.connection import Exchange, HttpConnection, explain
from icwsgw.agent.http.response_head import HeadCache
from icwsgw.agent.http.tcp_user_timeout import SILENCE
from icwsgw.errors import ConnectFailed, ConnectionLost

if TYPE_CHECKING:
    from icwsgw.agent.http.deadlines import Deadlines
    from icwsgw.reactor.clock import Clock


class PoolCounts:
    """Counts what happens to the connections of all hosts.

    :ivar opened: connections that were made
    :ivar failed: connections that could not be made
    :ivar resent: requests that were sent again because their connection was dead
    :ivar charge: called for each request that is sent again (decision 0034)
    """

    __slots__ = ("charge", "failed", "opened", "resent")

    def __init__(self, charge: Callable[[], None] = lambda: None) -> None:
        self.charge = charge
        self.opened = 0
        self.failed = 0
        self.resent = 0


@implementer(IProtocolFactory)
class _Connections:
    """Makes connections without a log line for each, which Twisted's own factories write."""

    __slots__ = ("_pool", "_tls")

    def __init__(self, pool: HostPool, tls: bool) -> None:
        self._pool = pool
        self._tls = tls

    def buildProtocol(self, addr: object) -> HttpConnection:  # noqa: N802
        return HttpConnection(self._pool, self._tls)

    def doStart(self) -> None:  # noqa: N802
        """Do nothing."""

    def doStop(self) -> None:  # noqa: N802
        """Do nothing."""


class HostPool:
    """The connections to one (scheme, host, port).

    :param reactor: source of time
    :param endpoint: makes connections (IStreamClientEndpoint)
    :param name: "host:port", for messages
    :param tls: whether the endpoint adds TLS
    :param deadlines: the deadlines of the requests
    :param max_connections: connections at a time, also those that are being made or closed
    :param max_waiting: requests that may wait for a connection; more are refused at once
    :param counts: shared by the pools of all hosts
    :param silence: seconds without a TCP acknowledgement after which a connection is dead
    :ivar responses: whole responses that have come from the host
    """

    __slots__ = (
        "_attempts",
        "_closed",
        "_connecting",
        "_connections",
        "_counts",
        "_endpoint",
        "_factory",
        "_idle",
        "_making",
        "_max_connections",
        "_max_waiting",
        "_reactor",
        "_unanswered",
        "_waiting",
        "deadlines",
        "emptied",
        "heads",
        "name",
        "responses",
        "silence",
    )

    def __init__(
        self,
        reactor: Clock,
        endpoint: Any,
        name: str,
        tls: bool,
        deadlines: Deadlines,
        max_connections: int,
        max_waiting: int,
        counts: PoolCounts | None = None,
        silence: float = SILENCE,
    ) -> None:
        self._counts = counts or PoolCounts()
        self._reactor = reactor
        self._endpoint = endpoint
        self.name = name
        self._factory = _Connections(self, tls)
        self._attempts = 0
        self.deadlines = deadlines
        self._max_connections = max_connections
        self._max_waiting = max_waiting
        self._idle: list[HttpConnection] = []
        self._connections: set[HttpConnection] = set()
        self._connecting: dict[int, Deferred[HttpConnection]] = {}
        self._waiting: OrderedDict[Exchange, None] = OrderedDict()
        self._closed = False
        self._making = False
        self.silence = silence
        # how many requests have timed out without a byte since the last response
        self._unanswered = 0
        self.responses = 0
        self.heads = HeadCache()
        self.emptied: Deferred[None] | None = None

    @property
    def established(self) -> int:
        """Connections that are made, perhaps before the end of their TLS handshake."""
        return len(self._connections)

    @property
    def idle(self) -> int:
        """Connections without a request."""
        return len(self._idle)

    @property
    def connecting(self) -> int:
        """Connections that are being made."""
        return len(self._connecting)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return len(self._waiting)

    @property
    def empty(self) -> bool:
        """Whether the pool has neither connections nor requests."""
        return not (self._connections or self._connecting or self._waiting)

    def submit(self, exchange: Exchange) -> None:
        """Send a request as soon as there is a connection for it."""
        if self._idle:
            self._idle.pop().send(exchange)
        elif len(self._waiting) >= self._max_waiting:
            exchange.fail(ConnectFailed(f"{self._max_waiting} requests wait for a connection to {self.name}"))
        else:
            self._waiting[exchange] = None
            self._connect_more()

    def forget(self, exchange: Exchange) -> None:
        """Drop a request that still waits."""
        self._waiting.pop(exchange, None)

    def again(self, exchange: Exchange) -> None:
        """Send a request again, on a connection that is known to work."""
        if exchange.deferred is None:
            return
        if self._closed:
            exchange.fail(ConnectionLost("the transport is closed"))
            return
        self._counts.resent += 1
        self._counts.charge()
        self._waiting[exchange] = None
        self._waiting.move_to_end(exchange, last=False)
        self._connect_more()

    def answered(self) -> None:
        """Take note that a response has come."""
        self.responses += 1
        self._unanswered = 0

    def release(self, connection: HttpConnection, new: bool = False) -> None:
        """Take a connection that is ready for a request.

        :param new: nothing has come on it; otherwise a response
        """
        connection.idle_since = self._reactor.seconds()
        if not new:
            self.responses += 1
            self._unanswered = 0
        if self._waiting:
            connection.send(self._waiting.popitem(last=False)[0])
        elif self._closed:
            connection.close()
        else:
            connection.maybe_stale = True
            self._idle.append(connection)

    def timed_out(self, connection: HttpConnection) -> None:
        """A request timed out without a byte of its response, on a connection that was used before.

        When that happens twice in a row and nothing at all has come from this host since the request left, all such
        connections count as dead, because a middlebox may have forgotten them. Their requests are sent again on new
        connections.
        """
        if self.responses != connection.responses_before:
            return
        self._unanswered += 1
        if self._unanswered >= 2:
            self._unanswered = 0
            self.drop_unresponsive()
            for other in list(self._connections):
                if other is not connection and other.silent:
                    other.retry_elsewhere()

    def drop_unresponsive(self) -> None:
        """Abort the connections that have been idle for longer than ``silence``, because one such was dead."""
        before = self._reactor.seconds() - self.silence
        idle, self._idle = self._idle, []
        for connection in idle:
            if connection.idle_since < before:
                connection.abandon()
            else:
                self._idle.append(connection)

    def discard(self, connection: HttpConnection) -> None:
        """Do not use a connection any more: it is closing from now on."""
        connection.idle_since = self._reactor.seconds()
        if connection in self._idle:
            self._idle.remove(connection)

    def lost(self, connection: HttpConnection) -> None:
        """Forget a connection that has ended."""
        self.discard(connection)
        self._connections.discard(connection)
        self._connect_more()
        self._note_empty()

    def sweep(self, before: float) -> None:
        """Close the connections that have been idle since ``before``, and abort those that do not close.

        :param before: seconds of the reactor's clock
        """
        # the list is in order of idle_since, because it changes at its end only
        old = 0
        while old < len(self._idle) and self._idle[old].idle_since < before:
            old += 1
        surplus, self._idle = self._idle[:old], self._idle[old:]
        for connection in list(self._connections):
            if connection.closing and connection.idle_since < before:
                connection.abandon()
        for connection in surplus:
            connection.close()

    def close(self) -> Deferred[None]:
        """Fail all requests and end all connections.

        :return: fires when the connections have ended
        """
        self._closed = True
        done: Deferred[None] = Deferred()
        self.emptied = done
        while self._waiting:
            self._waiting.popitem(last=False)[0].fail(ConnectionLost("the transport is closed"))
        for attempt in list(self._connecting.values()):
            attempt.cancel()
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        for connection in self._connections.difference(idle):
            if not connection.closing:
                connection.fail(ConnectionLost("the transport is closed"))
        self._note_empty()
        return done

    def abort(self) -> None:
        """Abort the connections that :meth:`close` has not ended yet: a TLS peer may never answer its close."""
        for connection in list(self._connections):
            connection.abandon()

    def _note_empty(self) -> None:
        if self.emptied is not None and self.empty:
            done, self.emptied = self.emptied, None
            done.callback(None)

    def _connect_more(self) -> None:
        if self._making:
            return  # an attempt has failed at once; the loop below continues
        self._making = True
        try:
            while (
                len(self._waiting) > len(self._connecting)
                and len(self._connections) + len(self._connecting) < self._max_connections
                and not self._closed
            ):
                key = self._attempts = self._attempts + 1
                attempt: Deferred[HttpConnection] = self._endpoint.connect(self._factory)
                self._connecting[key] = attempt
                attempt.addCallbacks(self._connected, self._not_connected, callbackArgs=(key,), errbackArgs=(key,))
        finally:
            self._making = False

    def _connected(self, connection: HttpConnection, key: int) -> None:
        self._connecting.pop(key, None)
        self._connections.add(connection)
        self._counts.opened += 1
        self.release(connection, new=True)

    def _not_connected(self, reason: Failure, key: int) -> None:
        self._connecting.pop(key, None)
        if not isinstance(reason.value, CancelledError):
            self._counts.failed += 1
            if self._waiting:
                oldest = self._waiting.popitem(last=False)[0]
                # the server may have a request that was sent before, on a connection that was dead
                kind = ConnectionLost if oldest.retried else ConnectFailed
                oldest.fail(kind(f"no connection to {self.name}: {explain(reason)}"))
        self._connect_more()
        self._note_empty()
