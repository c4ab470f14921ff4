"""HTTP/1.1 towards the network, for many small requests to few hosts.

There are two interfaces to the same connections:

- :meth:`Transport.fetch` for relays: bytes in, one :class:`ParsedResponse` out.
- :meth:`Transport.agent` and the transport itself are :class:`twisted.web.iweb.IAgent`, for treq.

Each request has one deadline for everything (waiting for a connection, connecting, sending, the whole response) and a
limit on the body. The transport does not follow redirects, decode bodies or keep cookies, because the IC's interface
has none of them. A response of any status is a result. Only what is not HTTP, too long, too late or incomplete is an
error (:class:`~icwsgw.errors.TransportError`). Cancelling the Deferred ends the connection that carries the request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet._sslverify import IOpenSSLTrustRoot
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.ssl import Certificate, optionsForClientTLS, platformTrust, trustRootFromCertificates
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from zope.interface import implementer

from icwsgw.agent.http.connection import Exchange, ParsedResponse
from icwsgw.agent.http.deadlines import Deadlines
from icwsgw.agent.http.host_pool import HostPool, PoolCounts
from icwsgw.agent.http.protocols import HttpAgent, NetworkTransport
from icwsgw.agent.http.tcp_user_timeout import SILENCE
from icwsgw.agent.http.treq_response import BodyCollector, BytesProducer, ClientRequest, TreqResponse
from icwsgw.agent.http.tunnel import Proxy, TunnelEndpoint
from icwsgw.agent.http.url import Url
from icwsgw.errors import ConnectFailed
from icwsgw.observe.peers import bracketed
from icwsgw.reactor.clock import Clock, Timer

__all__ = ["CBOR", "MAX_BODY", "NetworkTransport", "ParsedResponse", "Transport", "Url"]

CBOR = b"application/cbor"

MAX_BODY = 3136 << 10
"""Maximum size of an answer's body in bytes, unless the caller says otherwise."""

MAX_CONNECTIONS = 2048
"""Connections to one host: more requests than that wait. One request is under way on each, so these at 100 ms
are 20,000 requests a second, beyond what one process does; 256 made 500 canisters at 100 ms wait for each other."""

MAX_WAITING = 16_384
"""Requests that wait for a connection to one host; the next one fails at once. Each holds its body."""

CONNECT_TIMEOUT = 10.0
"""Seconds for one attempt to connect (the request's own deadline counts too)."""

IDLE_TIMEOUT = 7.0
"""Seconds a connection may be idle, and a quarter more until that is seen: less than the 10 s that the network's
gateways (ic-gateway by ic-bn-lib) wait for the next head on it."""

CLOSE_TIMEOUT = 1.0
"""Seconds that :meth:`Transport.close` waits for orderly ends before it aborts."""

_MAX_URLS = 4096
_DROPPED = frozenset(
    {b"Accept-Encoding", b"Connection", b"Content-Length", b"Host", b"Keep-Alive", b"Transfer-Encoding", b"Upgrade"}
)


@implementer(IOpenSSLTrustRoot)
class _PlatformAnd:
    """The platform's trust roots and further ones."""

    def __init__(self, more: Sequence[Certificate]) -> None:
        platform: Any = platformTrust
        authorities: Any = trustRootFromCertificates
        self._roots = (platform(), authorities(more))

    def _addCACertsToContext(self, context: Any) -> None:
        for root in self._roots:
            root._addCACertsToContext(context)


@implementer(IAgent)
class Transport:
    """Pools of keep-alive connections to any number of hosts.

    :param reactor: source of time and of connections
    :param extra_trust_roots: certificates (``twisted.internet.ssl.Certificate``) of authorities that TLS trusts in
        addition to the platform's
    :param max_connections: connections to one host
    :param max_waiting: requests that may wait for a connection to one host
    :param connect_timeout: seconds for one attempt to connect
    :param idle_timeout: seconds for which a connection may be idle
    :param silence: seconds without a TCP acknowledgement after which a connection is dead
    :param max_body: bytes of a response's body, if a request gives no limit
    :param proxy: the proxy for https hosts, if any
    :param endpoint_factory: makes the endpoint for a URL's host, instead of TCP and TLS (for tests)
    :param charge: called for each request that is sent again
    :ivar counts: what has happened to connections
    """

    def __init__(
        self,
        reactor: Clock,
        *,
        extra_trust_roots: Sequence[Certificate] = (),
        max_connections: int = MAX_CONNECTIONS,
        max_waiting: int = MAX_WAITING,
        connect_timeout: float = CONNECT_TIMEOUT,
        idle_timeout: float = IDLE_TIMEOUT,
        silence: float = SILENCE,
        max_body: int = MAX_BODY,
        proxy: Proxy | None = None,
        endpoint_factory: Callable[[Url], Any] | None = None,
        charge: Callable[[], None] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._proxy = proxy
        self._trust = _PlatformAnd(extra_trust_roots) if extra_trust_roots else None
        self._max_connections = max_connections
        self._max_waiting = max_waiting
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._silence = silence
        self._max_body = max_body
        self._endpoint_factory = endpoint_factory or self._endpoint
        self._deadlines = Deadlines(reactor)
        self._pools: dict[tuple[str, str, int], HostPool] = {}
        self.counts = PoolCounts(charge)
        self._sweeper: Timer | None = None
        self._urls: dict[bytes, Url] = {}
        self._closed = False
        self._all_gone = False
        self._closers: list[Deferred[None]] = []
        self._default = self.agent(30.0)

    def fetch(
        self,
        method: bytes,
        url: Url,
        body: bytes = b"",
        *,
        timeout: float,
        max_body: int | None = None,
        content_type: bytes = CBOR,
    ) -> Deferred[ParsedResponse]:
        """Send one request and wait for its whole response.

        The server may get the request twice, because it is sent again if a kept connection turns out to be dead.

        :param method: in upper case, for example b"POST"
        :param timeout: seconds for everything
        :param max_body: bytes of the response's body; None: the transport's limit
        :param content_type: of the request's body; empty: no header
        :returns: a response of any status; fails with a :class:`~icwsgw.errors.TransportError`
        """
        head = url.head(method, content_type if body else b"")
        most = self._max_body if max_body is None else max_body
        return self.submit(url, b"%b%d\r\n\r\n%b" % (head, len(body), body), method == b"HEAD", timeout, most)

    def agent(self, timeout: float, max_body: int | None = None) -> HttpAgent:
        """Make an IAgent over the same connections.

        :param timeout: seconds for a whole request
        :param max_body: bytes of a response's body; None: the transport's limit
        """
        return _LimitedAgent(self, timeout, self._max_body if max_body is None else max_body)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: Any = None,
    ) -> Deferred[Any]:
        """Send a request as IAgent, with a deadline of 30 s."""
        return self._default.request(method, uri, headers, bodyProducer)

    def close(self) -> Deferred[None]:
        """End all connections; requests in flight fail. It may be called again.

        :return: fires when all connections have ended
        """
        done: Deferred[None] = Deferred()
        self._closers.append(done)
        if not self._closed:
            self._closed = True
            if self._sweeper is not None:
                self._sweeper.cancel()
                self._sweeper = None
            force = self._reactor.callLater(CLOSE_TIMEOUT, self._abort)
            all_gone = DeferredList([pool.close() for pool in self._pools.values()])
            all_gone.addCallback(self._gone, force)
        elif self._all_gone:
            self._fire_closers()
        return done

    def _abort(self) -> None:
        for pool in self._pools.values():
            pool.abort()

    def _gone(self, _: object, force: Timer) -> None:
        if force.active():
            force.cancel()
        self._deadlines.clear()
        self._pools.clear()
        self._all_gone = True
        self._fire_closers()

    def _fire_closers(self) -> None:
        closers, self._closers = self._closers, []
        for closer in closers:
            closer.callback(None)

    @property
    def connections(self) -> dict[str, int]:
        """The number of connections by "host:port"."""
        return {pool.name: pool.established for pool in self._pools.values()}

    @property
    def states(self) -> dict[str, int]:
        """How many connections carry a request or are closing (busy), are idle, or are being made (connecting)."""
        idle = sum(pool.idle for pool in self._pools.values())
        return {
            "busy": sum(pool.established for pool in self._pools.values()) - idle,
            "idle": idle,
            "connecting": sum(pool.connecting for pool in self._pools.values()),
        }

    @property
    def waiting(self) -> int:
        """How many requests wait for a connection."""
        return sum(pool.waiting for pool in self._pools.values())

    def url(self, uri: bytes) -> Url:
        """Parse a URL; the result is remembered.

        :raises ValueError: it is not a URL
        """
        url = self._urls.get(uri)
        if url is None:
            url = Url.parse(uri.decode("ascii"))
            if len(self._urls) >= _MAX_URLS:
                self._urls.clear()
            self._urls[uri] = url
        return url

    def submit(self, url: Url, data: bytes, is_head: bool, timeout: float, max_body: int) -> Deferred[ParsedResponse]:
        """Send a request that is complete as bytes; see :meth:`fetch`."""
        pool = self._pools.get(url.origin)
        if pool is None:
            if self._closed:
                return fail(ConnectFailed("the transport is closed"))
            pool = self._new_pool(url)
        elif self._closed:
            return fail(ConnectFailed("the transport is closed"))
        exchange = Exchange(pool, data, is_head, max_body)
        deferred = exchange.deferred
        assert deferred is not None
        self._deadlines.add(exchange, timeout)
        pool.submit(exchange)
        return deferred

    def _new_pool(self, url: Url) -> HostPool:
        pool = HostPool(
            self._reactor,
            self._endpoint_factory(url),
            f"{url.host}:{url.port}",
            url.scheme == "https",
            self._deadlines,
            self._max_connections,
            self._max_waiting,
            self.counts,
            self._silence,
        )
        self._pools[url.origin] = pool
        if self._sweeper is None:
            self._sweeper = self._reactor.callLater(self._idle_timeout / 4, self._sweep)
        return pool

    def _sweep(self) -> None:
        self._sweeper = None
        before = self._reactor.seconds() - self._idle_timeout
        for origin, pool in list(self._pools.items()):
            pool.sweep(before)
            if pool.empty:
                del self._pools[origin]
        if self._pools:
            self._sweeper = self._reactor.callLater(self._idle_timeout / 4, self._sweep)

    def _endpoint(self, url: Url) -> Any:
        if url.scheme != "https":
            return self._tcp(url.host, url.port)
        endpoint: Any
        if self._proxy is None:
            endpoint = self._tcp(url.host, url.port)
        else:
            proxy = self._proxy
            endpoint = self._tcp(proxy.host, proxy.port)
            target = f"{bracketed(url.host)}:{url.port}"
            endpoint = TunnelEndpoint(self._reactor, endpoint, proxy, target, self._connect_timeout)
        trust = cast(Any, self._trust)
        # no ALPN: without it a server speaks HTTP/1.1, and Twisted's servers without ALPN refuse any offer
        options = optionsForClientTLS(url.host, trustRoot=trust)
        return wrapClientTLS(cast(Any, options), endpoint)

    def _tcp(self, host: str, port: int) -> Any:
        reactor: Any = self._reactor
        timeout = self._connect_timeout
        if isIPAddress(host):
            return TCP4ClientEndpoint(reactor, host, port, timeout)
        if isIPv6Address(host):
            return cast(Any, TCP6ClientEndpoint)(reactor, host, port, timeout)
        return HostnameEndpoint(reactor, host, port, timeout)


@implementer(IAgent)
class _LimitedAgent:
    """The transport as IAgent, with one deadline and one limit for all requests."""

    __slots__ = ("_max_body", "_timeout", "_transport")

    def __init__(self, transport: Transport, timeout: float, max_body: int) -> None:
        self._transport = transport
        self._timeout = timeout
        self._max_body = max_body

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: Any = None,
    ) -> Deferred[Any]:
        """Send a request.

        :return: fails with ValueError if the URL or a header is invalid
        """
        if headers is None:
            headers = Headers()
        if bodyProducer is None or isinstance(bodyProducer, BytesProducer):
            return self._send(method, uri, headers, b"" if bodyProducer is None else bodyProducer.body)
        collector = BodyCollector()
        produced: Deferred[Any] = bodyProducer.startProducing(collector)
        return produced.addCallback(lambda _: self._send(method, uri, headers, collector.body()))

    def _send(self, method: bytes, uri: bytes, headers: Headers, body: bytes) -> Deferred[Any]:
        try:
            url = self._transport.url(uri)
            head = _head(url, method, headers)
        except ValueError:
            return fail()
        data = b"%b%d\r\n\r\n%b" % (head, len(body), body)
        answer = self._transport.submit(url, data, method == b"HEAD", self._timeout, self._max_body)
        request = ClientRequest(method, uri, headers)
        return answer.addCallback(lambda whole: TreqResponse(whole, request))


def _head(url: Url, method: bytes, headers: Headers) -> bytes:
    """The request head with a caller's headers, up to ``Content-Length: `` without the number."""
    content_type = b""
    lines: list[bytes] = []
    for name, values in headers.getAllRawHeaders():
        if name == b"Content-Type" and len(values) == 1:
            content_type = values[0]
        elif name not in _DROPPED:
            lines.extend(b"%b: %b" % (name, value) for value in values)
    if not lines:
        return url.head(method, content_type)
    return url.head_with(method, content_type, lines)
