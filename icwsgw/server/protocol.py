"""The WebSocket connection of one client: it connects Autobahn with a session.

    connectionMade -> [HTTP handshake: onConnect admits] -> onOpen -> onMessage ... -> onClose

Autobahn parses: handshakes, frames, fragments, masks, UTF-8, closing handshakes. Messages are sent without Autobahn,
because :mod:`icwsgw.core.messages` makes whole frames (decision 0013). The connection decides nothing: it passes
messages to the session, and performs what the session and the machines in :mod:`icwsgw.core` ask for.

The timer wheel visits the connection when one of its deadlines (handshake, ping, pong, closing handshake) is due, in
:meth:`GatewayProtocol.look`.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import WebSocketProtocol
from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener, ISSLTransport
from zope.interface import implementer

from icwsgw.close_codes import ABNORMAL_CLOSURE, NO_STATUS
from icwsgw.core.close_reasons import CloseCode, close_reason
from icwsgw.core.flood_guard import FLOOD_LINGER, FloodEffect, FloodEffects, FloodEvent, FloodGuard
from icwsgw.core.liveness import LivenessDeadlines, LivenessEffect, LivenessState, PartialMessage, step
from icwsgw.core.rate_limit import ClientRates
from icwsgw.core.session_machine import State
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.immediate_send import send_now
from icwsgw.server.admission import OPENED, PLACED, REFUSED, Admission, AdmittingFactory
from icwsgw.server.connection_defaults import IGNORED_EVENT
from icwsgw.server.connection_handover import ConnectionHandover
from icwsgw.server.frames import read_binary_frame
from icwsgw.server.handshake_queue import HandshakeTurn, QueueingFactory
from icwsgw.server.outbox import Outbox, OutboxTotals
from icwsgw.server.partial_messages import NO_LOG, release_buffers
from icwsgw.server.read_control import CROWD, RATE, RELAY, ReadControl, ReadingFactory
from icwsgw.server.tls import why_tls_failed
from icwsgw.server.tls_transport import TlsTransport
from icwsgw.server.upgrade import Upgrading, UpgradingFactory

if TYPE_CHECKING:
    from icwsgw.config.access_list import AccessRules
    from icwsgw.gateway.session import ClientSession
    from icwsgw.observe.tracing import ConnectionTrace, Tracing
    from icwsgw.reactor.clock import Timer
    from icwsgw.server.connection_defaults import Fresh

_log = get_logger("server")

_OPEN, _CLOSED = WebSocketServerProtocol.STATE_OPEN, WebSocketServerProtocol.STATE_CLOSED
_PING = b"\x89\x00"


class ConnectionFactory(OutboxTotals, AdmittingFactory, QueueingFactory, ReadingFactory, UpgradingFactory, Protocol):
    """The server's factory, as its connections know it: :class:`icwsgw.server.factory.GatewayFactory`.

    :ivar connections: every open connection, the ones still shaking hands too
    :ivar fresh: what connections begin with
    :ivar tracing: makes spans; None: no collector is configured
    :ivar traffic: Autobahn's counts of all connections together
    """

    connections: set[GatewayProtocol]
    countConnections: int
    deadlines: LivenessDeadlines
    fresh: Fresh
    max_message_bytes: int
    rates: ClientRates
    tls_timeout: float
    tracing: Tracing | None
    traffic: Any

    def connection_ended(self) -> None:
        """A connection has ended."""


@implementer(IHandshakeListener)
class GatewayProtocol(Upgrading, ReadControl, HandshakeTurn, ConnectionHandover, WebSocketServerProtocol):  # type: ignore[misc]
    """One client's connection. The factory makes a subclass that has Autobahn's options as class attributes.

    The connection counts down the tokens of its rate limits, for each frame and each read. When they are used up,
    :meth:`_over` asks the :class:`~icwsgw.core.flood_guard.FloodGuard` what to do.

    :ivar session: set while the WebSocket is open
    :ivar wheel_slot: see :class:`icwsgw.gateway.timer_wheel.Watched`
    """

    factory: ConnectionFactory
    transport: Any
    peer: str
    data: bytes
    http_headers: dict[str, str]
    log = NO_LOG
    session: ClientSession | None = None
    wheel_slot = -1

    _outbox: Outbox | None = None
    # at which tick of the timer wheel the last bytes have come, if any since its last visit
    _received: int | None = None
    _liveness = LivenessState.QUIET
    _partial: PartialMessage | None = None
    _admission: Admission
    _trace: ConnectionTrace | None = None
    _in_tls = False
    # tokens of the rate limits that are left (the subclass begins with a burst), and the guard once they were used up
    _frames_left = inf
    _bytes_left = inf
    _guard: FloodGuard | None = None
    _guard_timer: Timer | None = None

    # Twisted's side

    is_open = is_closed = IGNORED_EVENT

    def __init__(self) -> None:
        """Skip Autobahn's own, which makes two unused Deferreds and an unused list of events."""

    def connectionMade(self) -> None:
        """The connection was accepted. (Autobahn's own version also collects details, which are not used here.)"""
        if self.handed_over is not None:
            self.take_over(self.handed_over)
            return
        factory, transport = self.factory, self.transport
        factory.fresh.begin(self)
        factory.countConnections += 1
        self.trafficStats = factory.traffic
        admission = self._admission = Admission(factory, transport, self._evicted)
        self.peer = admission.peer
        # the address has a port: TCP
        if admission.peer != admission.host and hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)
        factory.connections.add(self)
        self._in_tls = ISSLTransport.providedBy(transport)
        factory.wheel.watch(self, factory.tls_timeout if self._in_tls else factory.header_timeout)
        if factory.tracing is not None:
            self._trace = factory.tracing.connection(admission.host)
        if admission.refused_without_answer:
            assert admission.refusal is not None
            admission.note(admission.refusal, factory.answer(admission.refusal)[1])
            self._abort()

    def handshakeCompleted(self) -> None:
        """The TLS handshake is done (IHandshakeListener); the HTTP request comes next."""
        self._in_tls = False
        self.factory.wheel.watch(self, self.factory.header_timeout)

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come from the client."""
        self._received = self.factory.wheel.tick
        self._bytes_left -= len(data)
        if self._bytes_left < 0 and self._over():
            return
        # between frames, the most frequent kind is parsed without Autobahn
        if self.state == _OPEN and not self.data and self.current_frame is None and not self.inside_message:
            at, size = 0, len(data)
            while at < size and (read := read_binary_frame(data, at)) is not None and self.state == _OPEN:
                payload, end = read
                if len(payload) > self.maxMessagePayloadSize:
                    break  # Autobahn refuses it
                at = end
                self._frames_left -= 1
                if self._frames_left < 0 and self._over():
                    return
                self.onMessage(payload, True)
            if at:
                data = data[at:]
                if not data:
                    return
        if self.state == _CLOSED:
            # Autobahn would keep it. With TLS it comes until the client has closed, too.
            self.data = b""
            return
        self._dataReceived(data)
        if self._held or self.inside_message or self.current_frame is not None or self.data:
            self._count_held()

    def connectionLost(self, reason: Any = None) -> None:
        """The connection is lost."""
        factory = self.factory
        factory.wheel.forget(self)
        factory.connections.discard(self)
        self._wait_no_more()
        self._admission.left()
        if self._trace is not None:
            self._trace.lost(self._admission.refusal)
        if self._guard_timer is not None:
            self._stop_guard_timer()
        if self._in_tls and reason is not None and reason.check(SSL.Error):
            self._admission.note("tls", why_tls_failed(reason.value))
        if self._outbox is not None:
            self._outbox.stopProducing()
            self._outbox = None
        self._drop_unfinished()
        try:
            if self.session is None and self.state == self.STATE_CONNECTING:
                # nothing has begun that Autobahn would have to end
                self.state = self.STATE_CLOSED
            else:
                WebSocketProtocol._connectionLost(self, reason)
        finally:
            factory.countConnections -= 1
            release_buffers(self)
            factory.connection_ended()

    def _onOpen(self) -> None:
        self.onOpen()

    # Autobahn's side

    def onOpen(self) -> None:
        """The WebSocket is open."""
        self._received = None
        # free what the handshake leaves behind
        self.http_request_data = self.http_response_data = b""
        self.http_headers = {}
        outbox = self._outbox = Outbox(self.transport, self.factory, self)
        outbox.begin(self._answer or b"")
        self._answer = None
        try:
            session = self.session = self.factory.gateway.connect(self)
        finally:
            outbox.release()
        if self._trace is not None and session.state is not State.CLOSED:
            session.trace = self._trace.opened(session.id, self._admission.host)
        _log.debug("client connected", peer=self.peer, session=session.id)
        if self.state == self.STATE_OPEN:
            now = self.factory.clock.seconds()
            delay = self.factory.deadlines.wait(LivenessEffect.WAIT_INTERVAL, now, session.deadline)
            self.factory.wheel.watch(self, delay)

    def onFrameBegin(self) -> None:
        """A frame of any kind begins."""
        self._frames_left -= 1
        if self._frames_left < 0:
            self._over()
        super().onFrameBegin()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """A whole message has come."""
        if self.session is not None:
            try:
                self.session.received(payload, isBinary)
            except Exception:
                _log.failure("handling a client's message failed", session=self.session.id)
                self.session.end(CloseCode.INTERNAL, "internal error")

    def _maybe_opened(self) -> None:
        """If the canister has sent the client a message, the connection is authenticated from now on."""
        if self.session is not None and self.session.state is State.OPEN:
            self._admission.opened()
            self.maxMessagePayloadSize = self.factory.max_message_bytes
            if isinstance(self.transport, TlsTransport):
                self.transport.read_more()

    def _evicted(self) -> None:
        """Close to make room for others, because most of those that wait for a session are from this address."""
        admission = self._admission
        self._wait_no_more()
        status, text = self.factory.answer("pending")
        if admission.refused_without_answer:
            admission.note("pending", text)
            self._abort()
            return
        if self.state == self.STATE_CONNECTING and not self._in_tls:
            admission.refusal = "pending"
            self.failHandshake(text, status)
            self.factory.wheel.watch(self, FLOOD_LINGER)
            return
        admission.note("pending", text)
        if self.session is not None and self.state == _OPEN:
            self.session.end(CloseCode.OVERLOADED, text)
        else:
            self._abort()

    def count_by_address(self) -> None:
        """Count the connection by its address, because a limit by address has begun."""
        self._admission.recount()

    def admitted_by(self, rules: AccessRules) -> bool:
        """Whether rules let the client's address connect. One that is not known yet is judged with the request."""
        admission = self._admission
        return admission.standing < PLACED or admission.standing is REFUSED or rules.admits_address(admission.host)

    @property
    def shown_origin(self) -> str | None:
        """The web origin that its request has shown, empty if none; None: the request has not been judged yet."""
        return self.origin if self.state == _OPEN or self._turn is not None else None

    def close_denied(self, text: str) -> None:
        """Close it, because its client may not connect any more."""
        self._wait_no_more()
        if self.session is not None and self.state == _OPEN:
            self.session.end(CloseCode.POLICY, text)
        else:
            self._abort()

    def tls_silence(self) -> None:
        """End the connection, because it has sent too many TLS records without data."""
        text = "too many TLS records without data"
        self._wait_no_more()
        session, self.session = self.session, None
        if session is not None:
            session.left(ABNORMAL_CLOSURE, text)
        elif self.state == self.STATE_CONNECTING and self._admission.refusal is None:
            self._admission.note("tls_records", text)
        self._abort()

    def _abort(self) -> None:
        """End the connection at once. A TLS handshake that this ends is not logged as failed."""
        self._in_tls = False
        self.transport.abortConnection()

    def _over(self) -> bool:
        """The client has used up its tokens: ask the guard; whether the rest of what came is to be dropped."""
        guard, now = self._guard, self.factory.clock.seconds()
        if guard is None:
            if self.state == self.STATE_CONNECTING:
                return False
            start = now if self.session is None else self.session.started
            guard = self._guard = FloodGuard(start)
        factory = self.factory
        opened = self.session is not None and self.state == _OPEN
        effects = guard.spent(factory.rates, self._frames_left, self._bytes_left, now, opened)
        self._frames_left, self._bytes_left = guard.frames_left, guard.bytes_left
        self._guarded(guard, effects)
        return guard.drops

    def _guarded(self, guard: FloodGuard, effects: FloodEffects) -> None:
        """Perform what the flood guard asks for."""
        for effect in effects:
            if effect is FloodEffect.START_TIMER:
                self._guard_timer = self.factory.clock.callLater(guard.pause, self._pause_over)
            elif effect is FloodEffect.EXTEND_TIMER:
                assert self._guard_timer is not None
                self._guard_timer.reset(guard.pause)
            elif effect is FloodEffect.CANCEL_TIMER:
                self._stop_guard_timer()
            elif effect is FloodEffect.STOP_READING:
                self._stop_reading(RATE)
            elif effect is FloodEffect.START_READING:
                self._start_reading(RATE)
            elif effect is FloodEffect.REPORT:
                self.factory.backpressure_applied(guard.limit)
            elif effect is FloodEffect.DISCARD:
                self.data = b""
            elif effect is FloodEffect.CLOSE:
                if self.session is not None and self.state == _OPEN:
                    self.session.end(CloseCode.RATE_LIMIT, f"too many {guard.limit} at once")
            else:
                self.factory.wheel.watch(self, FLOOD_LINGER)

    def _pause_over(self) -> None:
        self._guard_timer = None
        guard = self._guard
        assert guard is not None, "a guard has set the timer"
        self._guarded(guard, guard.step(FloodEvent.PAUSE_OVER))

    def _stop_guard_timer(self) -> None:
        if self._guard_timer is not None:
            self._guard_timer.cancel()
            self._guard_timer = None

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The WebSocket has ended, by either side."""
        session, self.session = self.session, None
        if session is not None:
            session.left((code or NO_STATUS) if wasClean else ABNORMAL_CLOSURE)

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> bool | None:
        """The client closes. The session ends now, because the connection may need more time to end."""
        if self.state == self.STATE_OPEN:
            if self._outbox is not None:
                self._outbox.flush()
            self._drop_unfinished()
            session, self.session = self.session, None
            if session is not None:
                session.left(code or NO_STATUS, (reasonRaw or b"").decode(errors="replace"))
            self.factory.wheel.watch(self, self.factory.close_timeout)
        result: bool | None = super().onCloseFrame(code, reasonRaw)
        return result

    def _fail_connection(self, code: int = CloseCode.GOING_AWAY, reason: str = "going away") -> None:
        """The client has violated the WebSocket protocol or a limit: Autobahn closes. The session records why."""
        if self.session is not None and not self.session.cause:
            self.session.cause, self.session.failure = code, reason
            reason = close_reason(reason, self.session.id)
        self._drop_unfinished()
        super()._fail_connection(code, reason)
        self.factory.wheel.watch(self, self.factory.close_timeout)

    # the session's side, see icwsgw.gateway.interfaces.Client

    @property
    def waiting_bytes(self) -> int:
        """Bytes in the outbox."""
        return self._outbox.size if self._outbox is not None else 0

    def deliver(self, frames: list[bytes], more: bool = False) -> None:
        """Send frames.

        :param frames: whole WebSocket frames
        :param more: more frames are likely to come in this turn of the reactor: send them together
        """
        if self.state != self.STATE_OPEN or self._outbox is None:
            return
        if self._admission.standing < OPENED:
            self._maybe_opened()
        self._outbox.send(frames[0] if len(frames) == 1 else b"".join(frames), more)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Send what Autobahn writes (handshakes, pongs, close frames), in order with the frames of messages."""
        if self._outbox is not None:
            self._outbox.send(data)
        elif self._answer is not None:
            # the token in the case of RFC 6455, section 4.2.2
            self._answer += data.replace(b"\r\nUpgrade: WebSocket\r\n", b"\r\nUpgrade: websocket\r\n", 1)
        else:
            send_now(self.transport, data)

    def unregisterProducer(self) -> None:
        """Autobahn is about to drop the connection. Before the WebSocket was open there is no producer."""
        if self._outbox is not None:
            # its close frame waits there while the transport is full
            self._outbox.flush()
            self.transport.unregisterProducer()

    def close(self, code: int, reason: str) -> None:
        """End the connection with a close frame, behind what waits for the client unless the client is too slow."""
        if self.state != self.STATE_OPEN:
            return
        if self._outbox is not None:
            if code == CloseCode.TOO_SLOW:
                self._outbox.clear()
            else:
                self._outbox.flush()
        if self._guard is not None:
            self._guarded(self._guard, self._guard.step(FloodEvent.CLOSED))
        self._start_reading(RELAY | CROWD)
        self._drop_unfinished()
        self.sendCloseFrame(code=code, reasonUtf8=reason.encode(), isReply=False)
        self.factory.wheel.watch(self, self.factory.close_timeout)

    # the timer wheel's side

    def look(self, now: float) -> float | None:
        """Perform what is due; see :class:`icwsgw.gateway.timer_wheel.Watched`."""
        if self.state == self.STATE_CONNECTING and self._in_tls:
            self._admission.note("tls_timeout", "the TLS handshake timed out")
            self._abort()
            return None
        if self._turn is not None:
            return self._refuse_turn()
        if self.state == self.STATE_CONNECTING:
            self._admission.refusal = "header_timeout"
            self.failHandshake("the request's header did not come in time", 408)
            return self.factory.close_timeout
        if self.state != self.STATE_OPEN or self.session is None:
            # the closing handshake has not ended in time, or the last bytes have not left
            self.transport.abortConnection()
            return None
        return self._check(self.session, now)

    def _check(self, session: ClientSession, now: float) -> float | None:
        """Ask :mod:`icwsgw.core.liveness` what is due at the open connection, and perform it.

        :return: seconds until the next visit; None: it ends
        """
        deadlines = self.factory.deadlines
        partial = None
        if not self._stopped & ~RATE and (self.inside_message or self.current_frame is not None or self.data):
            partial = PartialMessage.seen(self._partial, session.messages_up, now)
        self._partial = partial
        opens_by = session.deadline if session.state < State.OPEN else inf
        received, self._received = self._received, None
        event = deadlines.event(now, opens_by, partial, received is not None, not self._stopped)
        self._liveness, effects = step(self._liveness, event)
        for effect in effects:
            if effect is LivenessEffect.PING:
                if self._outbox is not None:
                    self._outbox.send(_PING)
            elif effect is LivenessEffect.CLOSE_NOT_OPENED:
                session.overdue(now)
            elif effect is LivenessEffect.CLOSE_INCOMPLETE:
                assert partial is not None
                session.end(CloseCode.POLICY, f"a message is incomplete after {now - partial.since:.0f} s")
            elif effect is LivenessEffect.REPORT_NO_PONG:
                self.session = None
                session.left(ABNORMAL_CLOSURE, f"no answer to a ping within {deadlines.pong_timeout:g} s")
            elif effect is LivenessEffect.ABORT:
                self.transport.abortConnection()
            else:
                silent = 0.0 if received is None else self.factory.wheel.seconds_since(received)
                return deadlines.wait(effect, now, opens_by, silent)
        return None
