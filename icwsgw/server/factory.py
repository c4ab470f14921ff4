"""Makes the connections of clients and admits them: origins, numbers, draining.

It is also what all connections share: the wheel that looks after them, the list of those that are behind in reading,
and the bounds that Autobahn is to keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from autobahn.twisted.websocket import WebSocketServerFactory
from autobahn.websocket.protocol import TrafficStats
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from icwsgw._version import __version__
from icwsgw.config import quantities
from icwsgw.config.origins import Origins
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.liveness import LivenessDeadlines
from icwsgw.core.rate_limit import ClientRates, Rate
from icwsgw.gateway.gateway import Gateway
from icwsgw.observe.logs import get_logger
from icwsgw.observe.peers import address_group, bracketed
from icwsgw.process.rlimits import REFUSED
from icwsgw.reactor.clock import Clock
from icwsgw.server.connection_defaults import Fresh
from icwsgw.server.connection_limits import ConnectionLimits
from icwsgw.server.handshake_queue import HandshakeQueue
from icwsgw.server.low_priority import LowPriorityQueue
from icwsgw.server.outbox import Outbox
from icwsgw.server.partial_messages import PartialMessages
from icwsgw.server.protocol import GatewayProtocol
from icwsgw.server.proxies import TrustedProxies, host_of

_log = get_logger("server")

#: Seconds for which outboxes hold bytes at most while answers of canisters wait for their round.
HOLD_SECONDS = 0.02
#: How often outboxes that hold bytes are measured against their bounds.
BACKLOG_PERIOD = 0.5

#: The longest message of a client whose canister has not spoken yet: ws_open with its delegations.
FIRST_MESSAGE_BYTES = 64 << 10

#: The bursts of the limits on one client, in seconds of its rates. A message of maximum size is no flood, so the burst
#: of bytes is one at least.
FRAME_BURST_SECONDS = 2.0
BYTE_BURST_SECONDS = 4.0

_ANSWERS = {
    "connections": (503, "connection limit reached, try again later"),
    "pending": (503, "too many clients are connecting, try again"),
    "accept_rate": (503, "too many clients are connecting, try again"),
    "connections_per_ip": (429, "too many connections from this address"),
    "accept_rate_per_ip": (429, "too many new connections from this address, try again later"),
    "origin": (403, "origin not allowed"),
    "draining": (503, "this gateway is shutting down, try again"),
}


class GatewayFactory(WebSocketServerFactory):  # type: ignore[misc]
    """The WebSocket server's factory.

    :param most_refused: connections that may wait to be told that they are too many
    :ivar connections: every open connection, the ones still shaking hands too
    :ivar backlog: outboxes that hold bytes
    :ivar low_priority: where sockets of unauthenticated connections wait
    :ivar tracing: makes spans; None when nobody collects them
    :ivar server_name: what answers call us
    :ivar fresh: what connections begin with
    :ivar origins: the web origins that are welcome from now on
    """

    noisy = False

    def __init__(self, gateway: Gateway, most_refused: int = REFUSED) -> None:
        context = gateway.context
        config = context.config
        super().__init__(server=f"icwsgw/{__version__}", reactor=context.clock)
        self.gateway = gateway
        self.clock: Clock = context.clock
        self.wheel = gateway.wheel
        self.connections: set[GatewayProtocol] = set()
        self.backlog: set[Outbox] = set()
        self._held: list[Outbox] = []
        self._held_until = 0.0
        self._answers = context.answers
        self.tracing = context.tracing
        self.traffic = TrafficStats()
        self.limits = ConnectionLimits(config, self.clock.seconds(), most_refused)
        self.low_priority = LowPriorityQueue()
        self.handshake_queue = HandshakeQueue(self.clock, context.suspects)
        self.proxies = TrustedProxies(config.trusted_proxies, config.forwarded_header)
        self.rates = ClientRates(
            _rate(config.client_message_rate, FRAME_BURST_SECONDS),
            _rate(config.client_byte_rate, BYTE_BURST_SECONDS, config.max_message_bytes),
        )
        self.max_message_bytes: int = config.max_message_bytes
        self.outbox_bytes: int = config.outbox_bytes
        self.backlog_bytes = 0
        self.most_backlog_bytes: int = config.max_waiting_bytes
        self.unfinished = PartialMessages(config.max_waiting_bytes)
        self.tls_timeout: float = config.tls_handshake_timeout
        self.header_timeout: float = config.header_timeout
        self.close_timeout: float = config.close_timeout
        self.deadlines = LivenessDeadlines(config.ping_interval, config.pong_timeout, config.message_timeout)
        self.origins = Origins(config.allowed_origins)
        self._config = config
        self._metrics = context.metrics
        self._log_limiter = context.log_limiter
        self._gone: Deferred[None] | None = None
        self._backlog_loop = LoopingCall(self._check_backlog)
        self._backlog_loop.clock = cast(Any, context.clock)
        self.server_name = self.server.encode()
        self.protocol = self._make_protocol(config.max_message_bytes)
        self._metrics.outbox_bytes.set_function(lambda: self.backlog_bytes)
        self._metrics.unfinished_bytes.set_function(lambda: self.unfinished.octets)
        self._metrics.unfinished_messages.set_function(lambda: len(self.unfinished))

    def _make_protocol(self, max_message_bytes: int) -> type[GatewayProtocol]:
        """Set Autobahn's options, and make the class of connections that have them."""
        self.setProtocolOptions(
            webStatus=False,
            versions=[13],
            utf8validateIncoming=True,
            # until the canister has spoken, see GatewayProtocol._maybe_opened
            maxMessagePayloadSize=min(max_message_bytes, FIRST_MESSAGE_BYTES),
            maxFramePayloadSize=0,
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
        )
        # Autobahn copies its options into every connection unless the class has them: so give them to the class.
        options = {name: getattr(self, name) for name in GatewayProtocol.CONFIG_ATTRS}
        # a function as a class attribute would become a method; no offer reaches it (icwsgw.server.request_head)
        options["perMessageCompressionAccept"] = staticmethod(options["perMessageCompressionAccept"])
        options["CONFIG_ATTRS"] = []
        kind = type("Connection", (GatewayProtocol,), options)
        probe = kind()
        probe.factory = self
        self.fresh = Fresh(probe)
        rates = {"_frames_left": self.rates.first_frames, "_bytes_left": self.rates.first_bytes}
        return type("Connection", (kind,), {**self.fresh.shared, **rates})

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

    def hold(self, outbox: Outbox) -> None:
        """Have an outbox send what it holds at the end of this turn of the reactor, or of the rounds that follow it."""
        if not self._held:
            self._held_until = self.clock.seconds() + HOLD_SECONDS
            # timers that are due run before the reactor waits for sockets again
            self.clock.callLater(0, self._release)
        self._held.append(outbox)

    def _release(self) -> None:
        if self._answers.waiting and self.clock.seconds() < self._held_until:
            # the next round brings more for the same clients: a system call for each message costs as much as the rest
            self.clock.callLater(0, self._release)
            return
        held, self._held = self._held, []
        for outbox in held:
            try:
                outbox.release()
            except Exception:
                _log.failure("sending to a client failed", peer=outbox.owner.peer)
                outbox.owner.transport.abortConnection()

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

    def refusal(self, headers: Mapping[str, str]) -> str | None:
        """Why a sound request is refused all the same, a label of the metric; None when it is welcome.

        :param headers: of the request, names in lower case
        """
        if self.gateway.draining:
            return "draining"
        return None if self.origins.admits(headers.get("origin", "")) else "origin"

    def answer(self, refusal: str) -> tuple[int, str]:
        """The HTTP status and words of a refusal."""
        return _ANSWERS[refusal]

    def refused(self, host: str, peer: str, refusal: str, text: str, status: int | None) -> None:
        """Take note of a refused connection.

        :param host: of the client
        :param refusal: the label of the metric
        :param status: of the HTTP answer, None when it was given none
        """
        self._metrics.refused_connections.inc(refusal)
        if self._log_limiter.allows(refusal, address_group(host) or host, self.clock.seconds()):
            _log.info("connection refused", reason=text, status=status, peer=peer)

    def no_proxy_header(self, address: Any, reason: str) -> None:
        """Take note of a connection to a ``haproxy:`` address that does not begin with a PROXY header.

        :param address: of the socket
        """
        host, port = host_of(address), getattr(address, "port", None)
        self.refused(host, host if port is None else f"{bracketed(host)}:{port}", "proxy_header", reason, None)

    def backpressure_applied(self, limit: str) -> None:
        """Take note of a client that is not read for a while since it sends too much."""
        self._metrics.pushbacks.inc(limit)

    def connection_ended(self) -> None:
        """A connection has ended."""
        if self._gone is not None and not self.connections:
            gone, self._gone = self._gone, None
            gone.callback(None)

    def _check_backlog(self) -> None:
        now = self.clock.seconds()
        try:
            self.unfinished.look()
        except Exception:
            _log.failure("dropping an incomplete message failed")
        for refusal, host, count in self._log_limiter.ended(now):
            _log.info("similar lines suppressed in the last minute", reason=refusal, peer=host, count=count)
        config = self._config
        for outbox in list(self.backlog):
            session = outbox.owner.session
            if session is None:
                continue
            if outbox.full:
                text = f"too slow: {quantities.size(outbox.size)} wait to be read"
            elif outbox.age(now) > config.outbox_age:
                text = f"too slow: nothing has been read for {outbox.age(now):.0f} s"
            else:
                continue
            try:
                session.end(CloseCode.TOO_SLOW, text)
            except Exception:
                # it would end this care of all
                _log.failure("closing a slow client failed", session=session.id)


def _rate(per_second: int, burst_seconds: float, least_burst: int = 1) -> Rate | None:
    return Rate(per_second, max(per_second * burst_seconds, least_burst)) if per_second else None
