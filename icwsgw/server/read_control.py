"""Starts and stops reading a client's socket, and counts what it has sent of a partial message.

A part of :class:`icwsgw.server.protocol.GatewayProtocol`. A socket is not read while there is at least one reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from icwsgw.core.close_reasons import CloseCode
from icwsgw.server.partial_messages import PartialMessages, held_by

if TYPE_CHECKING:
    from icwsgw.gateway.session import ClientSession

#: The reasons not to read a socket: the relay queue is full, the client has reached a rate limit, the partial messages
#: of all clients take too much memory, the connection is being taken over from another process.
RELAY, RATE, CROWD, HANDOVER = 1, 2, 4, 8


class ReadingFactory(Protocol):
    """What reading needs of the server's factory.

    :ivar unfinished: the account of all unfinished messages
    """

    unfinished: PartialMessages

    def backpressure_applied(self, limit: str) -> None:
        """Take note of a client that is not read for a while since it sends too much."""


class ReadControl:
    """The part of a connection that controls reading.

    :ivar session: set while the WebSocket is open
    :ivar inside_message: of Autobahn: a message has begun
    :ivar current_frame: of Autobahn: the frame that has begun
    """

    factory: ReadingFactory
    transport: Any
    state: int
    STATE_OPEN: int
    STATE_CONNECTING: int
    session: ClientSession | None = None
    _frames_left: float
    _bytes_left: float
    _over: Callable[[], bool]
    failedByMe: bool  # noqa: N815
    inside_message = False
    current_frame: Any = None
    message_data: list[bytes] | None
    frame_data: list[bytes] | None

    _stopped = 0
    # bytes that are counted for a partial message, and how many messages came before it
    _held = 0
    _held_after = 0

    def _stop_reading(self, why: int) -> None:
        if not self._stopped:
            self.transport.pauseProducing()
        self._stopped |= why

    def _start_reading(self, why: int) -> None:
        if self._stopped & why:
            self._stopped &= ~why
            if not self._stopped:
                self.transport.resumeProducing()

    def _hold_reading(self) -> None:
        """Read nothing before :meth:`_read_on`. The event loop does not run until then, so the socket stays in it."""
        self._stopped |= HANDOVER

    def _read_on(self) -> None:
        """The connection is taken over: read it, unless there is another reason not to."""
        self._stopped &= ~HANDOVER
        if self._stopped:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def _count_held(self) -> None:
        """Count what the connection holds of a partial message."""
        session, unfinished = self.session, self.factory.unfinished
        if self.state == self.STATE_CONNECTING:
            # part of the HTTP request, which has a bound of its own
            return
        if session is None or self.state != self.STATE_OPEN:
            self._drop_unfinished()
            return
        held = self._held = held_by(self)
        if session.messages_up != self._held_after:
            self._held_after = session.messages_up
            unfinished.begun(self)
        unfinished.count(self, held)

    def _drop_unfinished(self) -> None:
        """Drop a partial message and what follows it. Autobahn still parses, to find the client's close frame."""
        self.failedByMe = True
        if self.inside_message:
            self.message_data = []
            self.frame_data = None if self.current_frame is None else []
        if self._held:
            self._held = 0
            self.factory.unfinished.count(self, 0)

    def pause(self) -> None:
        """Stop reading, because the client's messages come faster than they leave."""
        self._stop_reading(RELAY)

    def resume(self) -> None:
        """Read again, because the client's messages have left."""
        self._start_reading(RELAY)

    # for the TLS transport, see icwsgw.server.tls_transport.CountsOverhead

    def tls_overhead(self, records: int, padding: int) -> None:
        """Count TLS records that have brought little data as frames, and padding as bytes."""
        self._frames_left -= records
        self._bytes_left -= padding
        if self._frames_left < 0 or self._bytes_left < 0:
            self._over()

    # for the count of partial messages, see icwsgw.server.partial_messages.PartialMessageOwner

    def pause_partial(self) -> None:
        """Stop reading, because the partial messages of all clients take too much memory."""
        self.factory.backpressure_applied("unfinished")
        self._stop_reading(CROWD)

    def read_on(self) -> None:
        """Read again, because they do not any more."""
        self._start_reading(CROWD)

    def give_up(self, text: str) -> None:
        """End the session, because its partial message takes too much memory.

        :param text: the reason for the close frame
        """
        self._held = 0
        try:
            if self.session is not None:
                self.session.end(CloseCode.POLICY, text)
        finally:
            self._drop_unfinished()
            self._start_reading(CROWD)
