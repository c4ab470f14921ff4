"""Reads a channel in the reactor, between other work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from icwsgw.core.written_state import Document
from icwsgw.errors import FormatError
from icwsgw.handover.channel import Channel


@implementer(IReadDescriptor)
class Conversation:
    """Receives documents as they come.

    :param received: called with each document and its sockets
    :param ended: called once, with the reason, when no more come: the other end is closed (None), or sends no document
    """

    def __init__(
        self,
        reactor: Any,
        channel: Channel,
        received: Callable[[Document, list[int]], object],
        ended: Callable[[str | None], object],
    ) -> None:
        self._reactor = reactor
        self.channel = channel
        self._received = received
        self._ended = ended
        self._runs = False

    def begin(self) -> None:
        """Start to receive."""
        self.channel.socket.setblocking(False)
        self._runs = True
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Receive no more; the channel stays open."""
        if self._runs:
            self._runs = False
            self._reactor.removeReader(self)

    def close(self) -> None:
        """Receive no more, and close the channel."""
        self.stop()
        self.channel.close()

    # Twisted's IReadDescriptor

    def fileno(self) -> int:
        return self.channel.socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802
        """Return the name for Twisted's log."""
        return "handover"

    def connectionLost(self, reason: object) -> None:  # noqa: N802
        """The reactor ends."""
        self._end("the process is shutting down")

    def doRead(self) -> None:  # noqa: N802
        """Read what has come."""
        channel = self.channel
        try:
            alive = channel.read()
            while self._runs and (found := channel.next()) is not None:
                self._received(*found)
        except BlockingIOError:
            return
        except FormatError as error:
            self._end(f"the other process sends no valid document: {error}")
            return
        if not alive:
            self._end(None)

    def _end(self, reason: str | None) -> None:
        if self._runs:
            self.stop()
            self._ended(reason)
