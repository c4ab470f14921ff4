"""Limits what connections hold of partial messages, and frees what ended connections hold.

A message that is whole in one read is never counted and costs nothing here. When the partial messages of all
connections together exceed their bound, a connection whose message continues is not read any more. At the next look the
oldest partial messages of more than :data:`CROWDED_BYTES` are dropped (their clients get 1008) until the rest fits,
shorter ones only if that is not enough. Then the others are read again (decision 0033).

Autobahn and Twisted leave reference cycles around a connection that has ended. The garbage collector rarely looks at
old objects, so a cycle would keep a partial message for hours.
"""

from __future__ import annotations

from typing import Any, Protocol

from icwsgw.server.outbox import CROWDED_BYTES

#: Memory for each piece of a message besides its bytes.
PIECE_BYTES = 64


class PartialMessageOwner(Protocol):
    """A connection, as :class:`PartialMessages` sees it."""

    def pause_partial(self) -> None:
        """Do not read until :meth:`read_on`."""

    def read_on(self) -> None:
        """Read again."""

    def give_up(self, text: str) -> None:
        """End the session with 1008, and hold nothing of the message any more.

        :param text: why
        """


class PartialMessages:
    """Counts the partial messages of all connections.

    :param most: bytes that they may take together
    :ivar octets: bytes that they take
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.octets = 0
        # in the order in which their messages were begun
        self._held: dict[PartialMessageOwner, int] = {}
        self._held_off: set[PartialMessageOwner] = set()

    def __len__(self) -> int:
        """How many messages are partial."""
        return len(self._held)

    def count(self, holder: PartialMessageOwner, octets: int) -> bool:
        """Count what a connection holds now.

        :param holder: the connection
        :param octets: bytes; 0 when nothing is partial
        :return: whether the connection has to stop reading: its ``pause_partial`` was called
        """
        before = self._held.get(holder, 0)
        self.octets += octets - before
        if not octets:
            self._held.pop(holder, None)
            self._held_off.discard(holder)
            return False
        self._held[holder] = octets
        if self.octets <= self.most or octets <= CROWDED_BYTES or octets <= before or holder in self._held_off:
            return False
        self._held_off.add(holder)
        holder.pause_partial()
        return True

    def begun(self, holder: PartialMessageOwner) -> None:
        """The message of a connection is whole and part of the next one is here: it is the youngest now."""
        if holder in self._held:
            self._held[holder] = self._held.pop(holder)

    def look(self) -> None:
        """Drop partial messages until the rest fits, and let the connections read again that had to stop."""
        for least in (CROWDED_BYTES, 0):
            for holder, octets in list(self._held.items()):
                if self.octets <= self.most:
                    break
                if octets > least:
                    self.count(holder, 0)
                    holder.give_up("too many incomplete messages, this is one of the oldest")
        held_off, self._held_off = self._held_off, set()
        for holder in held_off:
            holder.read_on()


def held_by(connection: Any) -> int:
    """Bytes that a connection holds of a partial message, with the memory of its pieces.

    :param connection: a WebSocketServerProtocol that has been opened
    """
    octets: int = len(connection.data)
    if connection.inside_message:
        # Autobahn counts a frame's whole length as soon as it begins
        octets += connection.message_data_total_length
        frame = connection.current_frame
        if frame is not None and frame.opcode < 8:
            octets -= frame.length - connection.current_frame_masker.pointer()
        octets += PIECE_BYTES * (len(connection.message_data or ()) + len(connection.frame_data or ()))
    return octets


class _NoLog:
    """Replaces Autobahn's log, which builds the arguments of a debug line for each step of each connection."""

    def __getattr__(self, name: str) -> Any:
        return self._nothing

    @staticmethod
    def _nothing(*args: Any, **kwargs: Any) -> None:
        pass

    # found without __getattr__, because Autobahn calls them often
    trace = debug = info = warn = error = _nothing


NO_LOG = _NoLog()


class _ClosedTransport:
    """Replaces the transport of a connection that has ended: it does nothing and holds nothing."""

    def pauseProducing(self) -> None:  # noqa: N802
        """Do nothing."""

    resumeProducing = abortConnection = loseConnection = unregisterProducer = pauseProducing  # noqa: N815

    def write(self, data: bytes) -> None:
        """Do nothing."""


CLOSED_TRANSPORT = _ClosedTransport()


def release_buffers(connection: Any) -> None:
    """Free what an ended connection holds, and cut its reference cycles.

    :param connection: a WebSocketServerProtocol after its connectionLost
    """
    connection.data = b""
    # an unfinished message and its frames
    connection.message_data = connection.frame_data = connection.control_frame_data = None
    connection.current_frame = connection.current_frame_masker = None
    connection.inside_message = False
    # a refused request
    connection.http_request_data = connection.http_response_data = b""
    connection.http_headers = {}
    connection.transport = CLOSED_TRANSPORT
