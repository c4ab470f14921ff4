"""Hands connections over to another process, and takes them over (decision 0069).

A part of :class:`icwsgw.server.protocol.GatewayProtocol`. A connection is written down as plain values, with the bytes
that it has not read yet and those that it has not sent. The other process gets the same socket. A connection with TLS
cannot be handed over, and neither can one whose request waits in the handshake queue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from math import inf
from typing import TYPE_CHECKING, Any, cast

from icwsgw.core.flood_guard import FloodGuard, FloodState
from icwsgw.core.liveness import LivenessEffect, LivenessState, PartialMessage
from icwsgw.core.session_machine import State
from icwsgw.core.written_state import Document, read_as
from icwsgw.gateway.gateway_handover import client_document, take_over_session
from icwsgw.gateway.session_handover import mark, session_document, update
from icwsgw.reactor.detached_socket import detach, has_unsent_bytes, plain_transport, unsent_bytes
from icwsgw.server.admission import Admission, Standing
from icwsgw.server.outbox import Outbox
from icwsgw.server.read_control import RATE
from icwsgw.server.unread_bytes import unread_bytes, unread_while_closing

if TYPE_CHECKING:
    from icwsgw.gateway.session import ClientSession
    from icwsgw.observe.tracing import ConnectionTrace
    from icwsgw.reactor.clock import Timer


class Stage(IntEnum):
    """How far a connection has come."""

    REQUEST = 0
    """Its HTTP request has not come, or not all of it."""
    OPEN = 1
    """Its WebSocket is open."""
    CLOSING = 2
    """One side has sent a close frame."""


#: The parts of an open connection's state that may change later.
_UPDATABLE = frozenset(
    (
        *("unread", "unsent", "waiting", "waits_since", "session"),
        *("liveness", "heard", "partial", "tokens", "due"),
    )
)
#: Seconds at least until the absence of a pong counts.
PONG_SECONDS = 5.0


class ConnectionHandover:
    """The part of a connection that hands it over.

    :ivar handed_over: the document from which the connection is made; None for one that was accepted here
    """

    factory: Any
    transport: Any
    peer: str
    origin: str
    state: int
    data: bytes
    current_frame: Any
    inside_message: bool
    session: ClientSession | None
    closedByMe: bool  # noqa: N815
    STATE_CONNECTING: int
    STATE_CLOSING: int
    STATE_OPEN: int
    _trace: ConnectionTrace | None
    _turn: Any
    _admission: Admission
    _outbox: Outbox | None
    _liveness: LivenessState
    _guard: FloodGuard | None
    _guard_timer: Timer | None
    _received: int | None
    _partial: PartialMessage | None
    wheel_slot: int
    _frames_left: float
    _bytes_left: float
    _evicted: Callable[[], None]
    _drop_unfinished: Callable[[], None]
    _pause_over: Callable[[], None]
    _stop_guard_timer: Callable[[], None]
    _stop_reading: Callable[[int], None]
    _hold_reading: Callable[[], None]
    _read_on: Callable[[], None]
    dataReceived: Callable[[bytes], None]  # noqa: N815

    handed_over: Mapping[str, Any] | None = None

    # the process that hands over

    def written(self) -> Document | None:
        """The connection as plain values; nothing changes. None: it cannot be handed over."""
        socket = plain_transport(self.transport)
        if socket is None or self._admission.standing in (Standing.PROXIED, Standing.REFUSED):
            return None
        if self._guard is not None and self._guard.drops:
            return None
        document: Document = {
            "admission": self._admission.written(),
            "unsent": unsent_bytes(socket),
            "due": self.factory.wheel.due(self),
        }
        if self.state == self.STATE_CONNECTING:
            if self._turn is not None or not hasattr(self, "data"):
                return None
            return {**document, "stage": Stage.REQUEST.value, "unread": self.data}
        if self._outbox is not None:
            begun, document["waiting"] = self._outbox.waiting()
            document["unsent"] += begun
            document["waits_since"] = self._outbox.since
        if self.session is None:
            return {**document, "stage": Stage.CLOSING.value, "unread": unread_while_closing(self)}
        if self.state != self.STATE_OPEN:
            document |= {"stage": Stage.CLOSING.value, "unread": b""}
            if self.session.state is State.CLOSED:
                # it goes on without its connection
                return document
            # the client has violated the protocol: the session ends with the connection
            return {**document, **client_document(cast(Any, self)), "session": session_document(self.session)}
        return {
            **document,
            **client_document(cast(Any, self)),
            "stage": Stage.OPEN.value,
            "unread": unread_bytes(self),
            "session": session_document(self.session),
            "liveness": int(self._liveness),
            "heard": self._received is not None,
            "partial": self._partial and list(self._partial),
            "tokens": [self._frames_left, self._bytes_left],
            "guard": self._guard and self._guard.written(),
            "read_again": self._guard_timer and self._guard_timer.getTime(),
        }

    def mark(self) -> tuple[object, ...] | None:
        """What changes whenever the document of a connection at rest does; None: it is not at rest."""
        session, outbox = self.session, self._outbox
        if session is None or outbox is None or self.state != self.STATE_OPEN or self._guard is not None:
            return None
        if self.data or self.current_frame is not None or self.inside_message or not outbox.idle:
            return None
        of_session, socket = mark(session), plain_transport(self.transport)
        if of_session is None or socket is None or has_unsent_bytes(socket):
            return None
        return (
            *of_session,
            *(self._liveness, self._received is not None, self._partial, self.factory.wheel.due(self)),
            *(self._frames_left, self._bytes_left),
        )

    @property
    def descriptor(self) -> int:
        """The socket of a connection that can be handed over."""
        number: int = plain_transport(self.transport).fileno()
        return number

    def detach(self) -> ClientSession | None:
        """Leave the connection to the other process, without sending anything to the client.

        :return: its session, if it has one
        """
        factory = self.factory
        session, self.session = self.session, None
        # first of all, so that this process touches the socket no more, whatever fails
        detach(plain_transport(self.transport))
        factory.wheel.forget(self)
        factory.connections.discard(self)
        factory.countConnections -= 1
        self._admission.left()
        if self._trace is not None:
            self._trace.lost(None)
        self._stop_guard_timer()
        if self._outbox is not None:
            self._outbox.stopProducing()
            self._outbox = None
        self._drop_unfinished()
        return session

    # the process that takes over

    def take_over(self, document: Mapping[str, Any]) -> None:
        """Continue from a document in place of ``connectionMade``; :meth:`send_unsent` follows.

        :raises FormatError: a value is of the wrong kind
        """
        factory, transport = self.factory, self.transport
        factory.fresh.begin(self)
        factory.countConnections += 1
        factory.connections.add(self)
        self.trafficStats = factory.traffic
        admission = self._admission = Admission.handed_over(
            factory, transport, self._evicted, document.get("admission", {})
        )
        self.peer = admission.peer
        self._hold_reading()
        if admission.standing is Standing.OPENED:
            self.maxMessagePayloadSize = factory.max_message_bytes
        stage = Stage(document.get("stage", Stage.REQUEST))
        if stage is Stage.REQUEST:
            self._watch(document, factory.header_timeout)
            return
        self._outbox = Outbox(transport, factory, self)
        if stage is Stage.CLOSING:
            self.state, self.closedByMe = self.STATE_CLOSING, True
            self._watch(document, factory.close_timeout)
            if "session" in document:
                self._take_session(document)
            return
        self.state = self.STATE_OPEN
        self._take_liveness(document)
        self._take_over_guard(document)
        self._watch_liveness(self._take_session(document), document)

    def _take_session(self, document: Mapping[str, Any]) -> ClientSession:
        self.origin = str(document.get("origin", ""))
        session = take_over_session(self.factory.gateway, cast(Any, self), document.get("session", {}))
        self.session = session
        return session

    def _take_liveness(self, document: Mapping[str, Any]) -> None:
        self._liveness = LivenessState(document.get("liveness", LivenessState.QUIET))
        self.take_tokens(document)
        # as if it came now: of the time before, the document says nothing
        self._received = self.factory.wheel.tick if document.get("heard") else None
        partial = document.get("partial")
        self._partial = PartialMessage(*partial) if partial else None

    def take_tokens(self, document: Mapping[str, Any]) -> None:
        """Continue with the tokens of the rate limits that are left, at most a burst of the limits of now.

        :raises FormatError: a value is of the wrong kind
        """
        frames, octets = document.get("tokens", (inf, inf))
        rates = self.factory.rates
        self._frames_left = min(read_as(float, frames, "tokens"), rates.first_frames)
        self._bytes_left = min(read_as(float, octets, "tokens"), rates.first_bytes)

    def _watch_liveness(self, session: ClientSession, document: Mapping[str, Any]) -> None:
        """Keep the deadline; a pong may still be unread."""
        pinged = self._liveness is LivenessState.PINGED
        effect = LivenessEffect.WAIT_PONG if pinged else LivenessEffect.WAIT_INTERVAL
        usual = self.factory.deadlines.wait(effect, self.factory.clock.seconds(), session.deadline)
        self._watch(document, usual, PONG_SECONDS if pinged else 0.0)

    def _watch(self, document: Mapping[str, Any], usual: float, least: float = 0.0) -> None:
        """Ask for the visit of the timer wheel that was due in the other process.

        :param usual: seconds until the visit if the document does not say when it was due
        :param least: seconds until the visit at least
        """
        due, wheel, now = document.get("due"), self.factory.wheel, self.factory.clock.seconds()
        wheel.watch(self, usual if due is None else max(least, read_as(float, due, "due") - now))

    def _take_over_guard(self, document: Mapping[str, Any]) -> None:
        """Continue with the rate limits of a client that has used up its tokens before."""
        state = document.get("guard")
        if state is None:
            return
        clock = self.factory.clock
        guard = self._guard = FloodGuard(clock.seconds())
        guard.read(state)
        if guard.state is FloodState.PAUSED:
            until = read_as(float, document.get("read_again") or 0.0, "read_again")
            self._guard_timer = clock.callLater(max(0.0, until - clock.seconds()), self._pause_over)
            self._stop_reading(RATE)

    def update(self, document: Mapping[str, Any]) -> bool:
        """Bring a connection that was taken over, and has not gone on yet, to a later state.

        :return: whether that was possible; otherwise nothing has changed, and the connection has to be made anew
        :raises FormatError: a value is of the wrong kind
        """
        before, session = self.handed_over, self.session
        if before is None or session is None or before.get("stage") != Stage.OPEN.value:
            return False
        differing = {name for name in before.keys() | document.keys() if before.get(name) != document.get(name)}
        if not differing <= _UPDATABLE or not update(session, before["session"], document["session"]):
            return False
        self.handed_over = document
        self._take_liveness(document)
        self._watch_liveness(session, document)
        return True

    def send_unsent(self) -> None:
        """Send what the other process had not sent; nothing may be sent before. :meth:`read_unread` follows."""
        document = self.handed_over
        assert document is not None, "the connection was taken over"
        if unsent := document.get("unsent"):
            self.transport.write(unsent)
        if (waiting := document.get("waiting")) and self._outbox is not None:
            self._outbox.send(waiting)
            if (since := document.get("waits_since")) is not None:
                self._outbox.waits_since(read_as(float, since, "waits_since"))

    def read_unread(self) -> None:
        """Read what had come before the handover, and then the socket again, unless the connection has ended since."""
        document, self.handed_over = self.handed_over, None
        if document is None or self not in self.factory.connections:
            return
        unread = document.get("unread", b"")
        self._read_on()
        if unread:
            # It was counted when it came.
            self._bytes_left += len(unread)
            self.dataReceived(unread)
