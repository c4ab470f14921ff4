"""Makes the connections of clients, and holds what they share.

Connections share the timer wheel that visits them, the totals of their outboxes and partial messages, the limits on
connections, and the options that Autobahn enforces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from autobahn.twisted.websocket import WebSocketServerFactory
from autobahn.websocket.protocol import TrafficStats
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from icwsgw._version import __version__
from icwsgw.close_hints import REFUSAL_HINTS
from icwsgw.config import quantities
from icwsgw.config.access_list import EVERYBODY, AccessRules
from icwsgw.config.addresses import tcp_port
from icwsgw.config.origins import Origins
from icwsgw.config.schema import GatewayConfig
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.liveness import LivenessDeadlines
from icwsgw.core.rate_limit import ClientRates, Rate
from icwsgw.gateway.batches import in_batches
from icwsgw.gateway.ended_sessions import refused_connection, shown_fields
from icwsgw.gateway.gateway import Gateway
from icwsgw.observe.logs import get_logger
from icwsgw.observe.peers import address_group, bracketed
from icwsgw.process.rlimits import REFUSED
from icwsgw.reactor.clock import Clock
from icwsgw.server.connection_defaults import Fresh
from icwsgw.server.connection_limits import ConnectionLimits
from icwsgw.server.handshake_queue import HandshakeQueue
from icwsgw.server.landing_page import landing_page
from icwsgw.server.low_priority import LowPriorityQueue
from icwsgw.server.outbox import Outbox
from icwsgw.server.partial_messages import PartialMessages
from icwsgw.server.protocol import GatewayProtocol
from icwsgw.server.proxies import TrustedProxies, host_of

_log = get_logger("server")

#: The longest time for which outboxes hold bytes while answers of canisters wait for the next round, seconds.
HOLD_SECONDS = 0.02
#: Seconds between two looks at the outboxes that hold bytes.
BACKLOG_PERIOD = 0.5

#: The longest message of an unauthenticated connection, bytes: a ws_open with its delegations.
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
    "denied": (403, "connections from this address are not allowed"),
    "no_allow_list": (503, "this gateway does not know yet who may connect, try again later"),
    "draining": (503, "this gateway is shutting down, try again"),
}


#: Refusals because of limits: they are counted and logged, and say nothing about a mistake of the client.
CROWDED = frozenset(("connections", "pending", "accept_rate", "connections_per_ip", "accept_rate_per_ip", "draining"))


class GatewayFactory(WebSocketServerFactory):  # type: ignore[misc]
    """The factory of the WebSocket server.

    :param most_refused: connections that may wait for the answer that refuses them
    :ivar connections: all connections, also those in their handshake
    :ivar backlog: outboxes that hold bytes
    :ivar low_priority: the queue for sockets of unauthenticated connections
    :ivar tracing: makes spans; None: no collector is configured
    :ivar server_name: the ``Server`` header of answers
    :ivar fresh: the initial attributes of connections
    :ivar origins: the web origins that are allowed
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
        self.max_message_bytes: int = config.max_message_bytes
        self.backlog_bytes = 0
        self.unfinished = PartialMessages(config.max_waiting_bytes)
        self._take(config)
        self._metrics = context.metrics
        self._log_limiter = context.log_limiter
        self._ended_sessions = context.ended_sessions
        self._gone: Deferred[None] | None = None
        self._backlog_loop = LoopingCall(self._check_backlog)
        self._backlog_loop.clock = cast(Any, context.clock)
        self.server_name = self.server.encode()
        self.protocol = self._make_protocol(config.max_message_bytes)
        self._metrics.outbox_bytes.set_function(lambda: self.backlog_bytes)
        self._metrics.unfinished_bytes.set_function(lambda: self.unfinished.octets)
        self._metrics.unfinished_messages.set_function(lambda: len(self.unfinished))

    def change(self, config: GatewayConfig) -> None:
        """Apply other limits, rates, timeouts and origins, also to the present connections."""
        before = self._config.client_message_rate, self._config.client_byte_rate
        counted = self._config.max_connections_per_ip
        self.limits.change(config, self.clock.seconds())
        if config.max_connections_per_ip and not counted:
            for connection in self.connections:
                connection.count_by_address()
        self._take(config)
        if (config.client_message_rate, config.client_byte_rate) == before:
            return
        rates = self.rates
        # new connections have what their class has; the present ones begin with a full burst again
        holders: list[Any] = [self.protocol, *self.connections]
        for holder in holders:
            holder._frames_left = rates.first_frames
            holder._bytes_left = rates.first_bytes
            if holder.handed_over is not None:
                # the limits were set at run time in the process before, where it has used some of its burst
                holder.take_tokens(holder.handed_over)

    def restrict(self, rules: AccessRules) -> None:
        """Apply other rules on who may connect, and close present connections that these rules do not admit any more.

        A connection is judged by its address, and by its web origin if the rules name other origins than before: in
        batches, one in each turn of the event loop.
        """
        before, was = self.limits.rules, self.origins
        self.limits.rules = rules
        self._take(self._config)
        now = self.origins
        same = (rules.denied.origins, rules.allowed.origins) == (before.denied.origins, before.allowed.origins)
        self._close_each(rules, None if same else lambda origin: was.admits(origin) and not now.admits(origin))

    def close_denied(self) -> None:
        """Close present connections that the rules do not admit, which another process has admitted.

        The options on origins close no present connection, so an origin is judged by the lists that name any.
        """
        rules = self.limits.rules.known
        if rules is EVERYBODY:
            return
        allowed = (*self._config.allowed_origins, *rules.allowed.origins) if rules.allowed.origins else ()
        listed = Origins(allowed, rules.denied.origins)
        self._close_each(rules, lambda origin: not listed.admits(origin))

    def _close_each(self, rules: AccessRules, denies: Callable[[str], bool] | None) -> None:
        """Close connections by address and origin, in batches.

        :param denies: whether an origin is denied; None: none is
        """
        # many clients share few origins
        denied: dict[str, bool] = {}

        def judge(connection: GatewayProtocol) -> None:
            if connection not in self.connections:
                return  # it has ended since
            if not connection.admitted_by(rules):
                self._close_denied(connection, "address")
                return
            origin = connection.shown_origin
            if origin is None or denies is None:
                return
            if origin not in denied:
                denied[origin] = denies(origin)
            if denied[origin]:
                self._close_denied(connection, "origin")

        in_batches(self.clock, list(self.connections), judge)

    @staticmethod
    def _close_denied(connection: GatewayProtocol, what: str) -> None:
        try:
            connection.close_denied(f"connections from this {what} are not allowed")
        except Exception:
            _log.failure("closing a denied client failed", peer=connection.peer)

    def _take(self, config: GatewayConfig) -> None:
        self._config = config
        self.rates = ClientRates(
            _rate(config.client_message_rate, FRAME_BURST_SECONDS),
            _rate(config.client_byte_rate, BYTE_BURST_SECONDS, config.max_message_bytes),
        )
        self.outbox_bytes: int = config.outbox_bytes
        self.most_backlog_bytes: int = config.max_waiting_bytes
        self.unfinished.most = config.max_waiting_bytes
        self.tls_timeout: float = config.tls_handshake_timeout
        self.header_timeout: float = config.header_timeout
        self.close_timeout: float = config.close_timeout
        self.deadlines = LivenessDeadlines(config.ping_interval, config.pong_timeout, config.message_timeout)
        allowed = (*config.allowed_origins, *self.limits.rules.allowed.origins)
        self.origins = Origins(allowed, self.limits.rules.denied.origins)

    def _make_protocol(self, max_message_bytes: int) -> type[GatewayProtocol]:
        """Set Autobahn's options, and make the class of the connections that have them."""
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
            # the timer wheel enforces these deadlines without a timer for each connection
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            autoPingInterval=0,
            # refusal() checks origins
            allowNullOrigin=True,
            tcpNoDelay=True,
        )
        # Autobahn copies its options into every connection, unless the class has them
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
        """Start to look for slow readers."""
        self._backlog_loop.start(BACKLOG_PERIOD, now=False)

    def stop(self) -> None:
        """Stop looking for slow readers."""
        if self._backlog_loop.running:
            self._backlog_loop.stop()

    def seconds(self) -> float:
        """Seconds of the reactor's clock, for outboxes."""
        return self.clock.seconds()

    def hold(self, outbox: Outbox) -> None:
        """Release an outbox at the end of this turn of the reactor, or when no answer of a canister waits.

        :param outbox: holds bytes; :data:`HOLD_SECONDS` later it is released in any case
        """
        if not self._held:
            self._held_until = self.clock.seconds() + HOLD_SECONDS
            # timers that are due run before the reactor waits for sockets again
            self.clock.callLater(0, self._release)
        self._held.append(outbox)

    def _release(self) -> None:
        if self._answers.waiting and self.clock.seconds() < self._held_until:
            # the next round brings more for the same clients, and a system call costs as much as the rest of a message
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
        """Abort the connections that are left."""
        for connection in list(self.connections):
            connection.transport.abortConnection()

    # asked by connections

    def refusal(self, headers: Mapping[str, str]) -> str | None:
        """Why the gateway refuses a valid request.

        :param headers: of the request, names in lower case
        :return: a label of the metric; None: the request is accepted
        """
        if self.gateway.draining:
            return "draining"
        return None if self.origins.admits(headers.get("origin", "")) else "origin"

    def answer(self, refusal: str) -> tuple[int, str]:
        """The HTTP status and text for a refusal.

        :param refusal: a label of the metric
        """
        return _ANSWERS[refusal]

    def page(self) -> bytes:
        """The page for a browser that asks for one."""
        config = self._config
        port = tcp_port(config.prometheus_endpoint) if config.devnet and config.prometheus_endpoint else None
        return landing_page(
            __version__,
            [identity.principal.text for identity in self.gateway.context.identities],
            demo=f"{config.ic_network_url}/" if config.devnet else None,
            status=f"http://127.0.0.1:{port}/" if port else None,
        )

    def refused(self, host: str, peer: str, refusal: str, text: str, status: int | None) -> None:
        """Count, keep and log a refused connection.

        :param host: the address of the client
        :param peer: the same with its port
        :param refusal: why, a label of the metric
        :param text: why, in words
        :param status: of the HTTP answer; None if it got none
        """
        self._metrics.refused_connections.inc(refusal)
        now, group = self.clock.seconds(), address_group(host) or host
        if refusal not in CROWDED:
            kept = shown_fields(self._config.log_clients, {"peer": peer})
            hint = REFUSAL_HINTS.get(refusal, "")
            self._ended_sessions.add(group, refused_connection(now, kept, status, text, hint))
        if self._log_limiter.allows(refusal, group, now):
            _log.info("connection refused", reason=text, status=status, peer=peer)

    def no_proxy_header(self, address: Any, reason: str) -> None:
        """Count and log a connection to a ``haproxy:`` address that does not begin with a PROXY header.

        :param address: of the socket
        :param reason: what it began with
        """
        host, port = host_of(address), getattr(address, "port", None)
        self.refused(host, host if port is None else f"{bracketed(host)}:{port}", "proxy_header", reason, None)

    def backpressure_applied(self, limit: str) -> None:
        """Count a client that is not read for a while, because it has reached a limit.

        :param limit: a label of ``icws_client_pushbacks_total``
        """
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
                # an exception would stop the loop for all connections
                _log.failure("closing a slow client failed", session=session.id)


def _rate(per_second: int, burst_seconds: float, least_burst: int = 1) -> Rate | None:
    return Rate(per_second, max(per_second * burst_seconds, least_burst)) if per_second else None
