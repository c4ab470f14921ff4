"""Whether a client's socket is read, and what has been read of a message that is not whole yet.

A part of :class:`icwsgw.server.protocol.GatewayProtocol`. There are several reasons not to read; a socket is read again
when the last of them is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icwsgw.core.close_reasons import CloseCode
from icwsgw.server.partial_messages import held_by

if TYPE_CHECKING:
    from icwsgw.gateway.session import ClientSession
    from icwsgw.server.factory import GatewayFactory

#: Why a client's socket is not read: what it sent waits to be relayed, it sends too fast, all unfinished messages
#: together are too large.
RELAY, RATE, CROWD = 1, 2, 4


class ReadControl:
    """What a connection does about reading.

    :ivar session: set while the WebSocket is open
    :ivar inside_message: Autobahn's: a message has begun
    :ivar current_frame: Autobahn's: the frame that has begun
    """

    factory: GatewayFactory
    transport: Any
    state: int
    STATE_OPEN: int
    STATE_CONNECTING: int
    session: ClientSession | None = None
    failedByMe: bool  # noqa: N815
    inside_message = False
    current_frame: Any = None
    message_data: list[bytes] | None
    frame_data: list[bytes] | None

    _stopped = 0
    # bytes of an unfinished message that are in the account of all, and how many messages came before it
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

    def _count_held(self) -> None:
        """Put what is held of an unfinished message into the account of all."""
        session, unfinished = self.session, self.factory.unfinished
        if self.state == self.STATE_CONNECTING:
            # A part of the HTTP request, which has a bound of its own.
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
        """Hold nothing of a message that will not be taken any more: Autobahn reads on to the client's close frame."""
        self.failedByMe = True
        if self.inside_message:
            self.message_data = []
            self.frame_data = None if self.current_frame is None else []
        if self._held:
            self._held = 0
            self.factory.unfinished.count(self, 0)

    def pause(self) -> None:
        """Stop reading: the client's messages leave more slowly than they come."""
        self._stop_reading(RELAY)

    def resume(self) -> None:
        """Read again."""
        self._start_reading(RELAY)

    # the side of the account of unfinished messages, see icwsgw.server.partial_messages.PartialMessageOwner

    def pause_partial(self) -> None:
        """Do not read: too much is unfinished."""
        self.factory.backpressure_applied("unfinished")
        self._stop_reading(CROWD)

    def read_on(self) -> None:
        """Read again."""
        self._start_reading(CROWD)

    def give_up(self, text: str) -> None:
        """End the session, so that its unfinished message makes room."""
        self._held = 0
        try:
            if self.session is not None:
                self.session.end(CloseCode.POLICY, text)
        finally:
            self._drop_unfinished()
            self._start_reading(CROWD)
