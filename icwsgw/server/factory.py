"""Makes the connections of clients and admits them: origins, numbers, draining.

It is also what all connections share: the wheel that looks after them, the list of those that are behind in reading,
and the bounds that Autobahn is to keep.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, cast

from autobahn.twisted.websocket import WebSocketServerFactory
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.types import ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import LoopingCall

from icwsgw._version import __version__
from icwsgw.clock import Clock
from icwsgw.core.closing import CloseCode
from icwsgw.gateway.gateway import Gateway
from icwsgw.observe.logs import get_logger
from icwsgw.server.limits import ConnectionLimits
from icwsgw.server.outbox import Outbox
from icwsgw.server.protocol import GatewayProtocol

_log = get_logger("server")

#: How often outboxes that hold bytes are measured against their bounds.
BACKLOG_PERIOD = 0.5

_ANSWERS = {
    "connections": (503, "this gateway has all the connections it takes, try again later"),
    "connections_per_ip": (429, "too many connections from this address"),
    "origin": (403, "this origin may not use this gateway"),
    "draining": (503, "this gateway is shutting down, try again"),
}


class GatewayFactory(WebSocketServerFactory):  # type: ignore[misc]
    """The WebSocket server's factory.

    :ivar connections: every open connection, the ones still shaking hands too
    :ivar backlog: outboxes that hold bytes
    """

    noisy = False

    def __init__(self, gateway: Gateway) -> None:
        context = gateway.context
        config = context.config
        super().__init__(server=f"icwsgw/{__version__}", reactor=context.clock)
        self.gateway = gateway
        self.clock: Clock = context.clock
        self.wheel = gateway.wheel
        self.connections: set[GatewayProtocol] = set()
        self.backlog: set[Outbox] = set()
        self.traffic = TrafficStats()
        self.limits = ConnectionLimits(config.max_connections, config.max_connections_per_ip)
        self.outbox_bytes: int = config.outbox_bytes
        self.close_timeout: float = config.close_timeout
        self.ping_interval: float = config.ping_interval
        self.pong_timeout: float = config.pong_timeout
        self._config = config
        self._metrics = context.metrics
        self._gone: Deferred[None] | None = None
        self._backlog_loop = LoopingCall(self._check_backlog)
        self._backlog_loop.clock = cast(Any, context.clock)
        self.setProtocolOptions(
            webStatus=False,
            versions=[13],
            utf8validateIncoming=True,
            maxMessagePayloadSize=config.max_message_bytes,
            maxFramePayloadSize=config.max_message_bytes,
            # a broken client gets a close frame that says why
            failByDrop=False,
            echoCloseCodeReason=True,
            # the wheel keeps these deadlines, without a timer for each connection
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            autoPingInterval=0,
            # origins are ours to judge, in refusal()
            allowNullOrigin=True,
            tcpNoDelay=True,
            perMessageCompressionAccept=_accept_deflate if config.compression else None,
        )
        # Autobahn copies its options into every connection unless the class has them: so give them to the class.
        options = {name: getattr(self, name) for name in GatewayProtocol.CONFIG_ATTRS}
        accept = options.pop("perMessageCompressionAccept")
        self.protocol = type(
            "Connection",
            (GatewayProtocol,),
            {**options, "perMessageCompressionAccept": staticmethod(accept), "CONFIG_ATTRS": []},
        )
        self._metrics.outbox_bytes.set_function(lambda: sum(outbox.size for outbox in self.backlog))

    def start(self) -> None:
        """Begin to look after slow readers."""
        self._backlog_loop.start(BACKLOG_PERIOD, now=False)

    def stop(self) -> None:
        """Stop that."""
        if self._backlog_loop.running:
            self._backlog_loop.stop()

    def seconds(self) -> float:
        """The time, for outboxes."""
        return self.clock.seconds()

    def when_empty(self) -> Deferred[None]:
        """Fires when no connection is left."""
        gone = self._gone = Deferred()
        self.connection_ended()
        return gone

    def abort_all(self) -> None:
        """Drop the connections that are left."""
        for connection in list(self.connections):
            connection.transport.abortConnection()

    # asked by connections

    def header_timeout(self, transport: Any) -> float:
        """Seconds a new connection has until its HTTP request is whole, its TLS handshake included."""
        if ISSLTransport.providedBy(transport):
            return self._config.header_timeout + self._config.tls_handshake_timeout
        return self._config.header_timeout

    def refusal(self, request: ConnectionRequest) -> str | None:
        """Why a sound request is refused all the same, a label of the metric; None when it is welcome."""
        if self.gateway.draining:
            return "draining"
        origins = self._config.allowed_origins
        if origins:
            origin = request.headers.get("origin", "").lower()
            if not any(fnmatchcase(origin, pattern.lower()) for pattern in origins):
                return "origin"
        return None

    def answer(self, refusal: str) -> tuple[int, str]:
        """The HTTP status and words of a refusal."""
        return _ANSWERS[refusal]

    def refused(self, peer: str, status: int, reason: str, refusal: str | None) -> None:
        """Take note of a refused request."""
        if refusal is None:
            refusal = "origin" if status == 403 else "draining" if status == 503 else "bad_request"
        self._metrics.refused_connections.inc(refusal)
        _log.info("connection refused", reason=reason, status=status, peer=peer)

    def connection_ended(self) -> None:
        """A connection has ended."""
        if self._gone is not None and not self.connections:
            gone, self._gone = self._gone, None
            gone.callback(None)

    def _check_backlog(self) -> None:
        if not self.backlog:
            return
        now = self.clock.seconds()
        config = self._config
        for outbox in list(self.backlog):
            session = outbox.owner.session
            if session is None:
                continue
            if outbox.full:
                text = f"too slow: {outbox.size >> 10} KiB wait to be read"
            elif outbox.age(now) > config.outbox_age:
                text = f"too slow: a message has waited for {outbox.age(now):.0f} s to be read"
            else:
                continue
            session.end(CloseCode.TOO_SLOW, text)


def _accept_deflate(offers: list[Any]) -> PerMessageDeflateOfferAccept | None:
    """Accepts compression without context kept between messages: that would cost 300 kB a connection."""
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer) and offer.accept_no_context_takeover:
            return PerMessageDeflateOfferAccept(
                offer,
                request_no_context_takeover=True,
                no_context_takeover=True,
            )
    return None
