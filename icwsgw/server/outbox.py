"""What a client has still to be sent: bounded in bytes and age, so that a client that does not read costs itself only.

As long as the client keeps up, bytes go straight to its socket and nothing is kept here. When the transport says that
its own buffer is full (64 KiB in Twisted), frames wait here until it says that they may come. The poller never waits;
an outbox over its bound, or of which nothing has left for too long, ends the session with 4104 (design 3.10, 6); so
does one that is far from empty while all of them together are over theirs. A client that reads is not slow, however
long a burst takes it (decision 0033): bytes are handed over 64 KiB at a time, so that a transport that asks for more
shows that some have left.

While a canister's queue is deep, several answers come in one turn of the reactor, each with a message or two for a
client. What they bring is held until the end of that turn and sent at once: a system call for a message is a third of
its cost. Where answers wait for the next round (:mod:`icwsgw.gateway.answers`), it is held until none waits, 20 ms at
most. No more than 64 KiB are held.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from icwsgw.fastsend import send_now

#: Bytes that may wait for a client where too much waits for all of them: what Twisted's own buffer takes.
CROWDED_BYTES = 64 << 10
#: Bytes that are handed to the transport at a time, so that it tells how they leave.
PIECE = 64 << 10


class Backlog(Protocol):
    """Who keeps the list of outboxes with something in them."""

    #: outboxes that hold bytes
    backlog: set[Outbox]
    #: the most bytes that one may hold
    outbox_bytes: int
    #: bytes that all of them hold, and the most they may
    backlog_bytes: int
    most_backlog_bytes: int

    def hold(self, outbox: Outbox) -> None:
        """Call the outbox's ``release`` soon: at the end of this turn of the reactor, or a few turns later."""

    def seconds(self) -> float:
        """The time."""


@implementer(IPushProducer)
class Outbox:
    """The way out to one client.

    :ivar owner: the connection it belongs to
    :ivar size: bytes that wait here
    :ivar full: it has been over its bound; nothing more is taken or sent until it is cleared or flushed, for the close
        frame that has to come next
    """

    __slots__ = (
        "_backlog",
        "_held",
        "_holding",
        "_left",
        "_paused",
        "_queue",
        "_ready",
        "_transport",
        "full",
        "owner",
        "size",
    )

    def __init__(self, transport: Any, backlog: Backlog, owner: Any) -> None:
        self._transport = transport
        self._backlog = backlog
        self._paused = False
        self._ready = False  # the transport wants more, but was given nothing since it was too much
        self._held: list[bytes] | None = None
        self._holding = 0  # bytes in it
        self._queue: deque[tuple[float, bytes | memoryview]] | None = None
        self._left = 0.0  # when some of it has last left
        self.owner = owner
        self.size = 0
        self.full = False
        transport.registerProducer(self, True)

    def send(self, data: bytes, more: bool = False) -> None:
        """Send bytes, or keep them until the transport takes more.

        :param more: further bytes are likely to come at once, wait for them
        """
        held = self._held
        if held is not None:
            self._holding += len(data)
            if self._holding <= PIECE:
                held.append(data)
                return
            self.release()
        if not self._paused:
            if more:
                self._held = [data]
                self._holding = len(data)
                self._backlog.hold(self)
                return
            if len(data) <= PIECE:
                send_now(self._transport, data)
                return
            at = 0
            while at < len(data) and not self._paused:
                send_now(self._transport, data[at : at + PIECE])
                at += PIECE
            if at >= len(data):
                return
            waiting: bytes | memoryview = memoryview(data)[at:]
        else:
            waiting = data
        if self.full:
            return
        if self._queue is None:
            self._queue = deque()
            self._backlog.backlog.add(self)
        self._queue.append((self._backlog.seconds(), waiting))
        self.size += len(waiting)
        backlog = self._backlog
        backlog.backlog_bytes += len(waiting)
        if self.size > backlog.outbox_bytes or (
            backlog.backlog_bytes > backlog.most_backlog_bytes and self.size > CROWDED_BYTES
        ):
            self.full = True

    def begin(self, data: bytes) -> None:
        """Hold the connection's first bytes until :meth:`release`, which the caller sees to."""
        self._held = [data]
        self._holding = len(data)

    def release(self) -> None:
        """Send what was held."""
        held, self._held = self._held, None
        if held is not None:
            self.send(b"".join(held))

    def age(self, now: float) -> float:
        """Seconds for which the oldest frame has waited, and nothing has left."""
        return now - max(self._queue[0][0], self._left) if self._queue else 0.0

    def flush(self) -> None:
        """Hand all to the transport at once: a close frame comes next."""
        self.release()
        queue = self._queue
        self.clear()
        if queue:
            self._transport.write(b"".join([data for _, data in queue]))

    def clear(self) -> None:
        """Forget what waits."""
        self._held = None
        self._emptied()

    def _emptied(self) -> None:
        self._queue = None
        self._backlog.backlog_bytes -= self.size
        self.size = 0
        self.full = False
        if self._ready:
            self._ready = self._paused = False
        self._backlog.backlog.discard(self)

    # IPushProducer; the names are Twisted's

    def pauseProducing(self) -> None:  # noqa: N802
        """The transport's buffer is full."""
        self._paused = True

    def resumeProducing(self) -> None:  # noqa: N802
        """The transport's buffer is empty."""
        if self.full:
            # it does not ask a second time
            self._ready = True
            return
        self._paused = False
        queue = self._queue
        if queue:
            self._left = self._backlog.seconds()
        while queue and not self._paused:
            since, data = queue.popleft()
            if len(data) > PIECE:
                queue.appendleft((since, memoryview(data)[PIECE:]))
                data = data[:PIECE]
            self.size -= len(data)
            self._backlog.backlog_bytes -= len(data)
            self._transport.write(bytes(data))
        if not queue:
            self._emptied()

    def stopProducing(self) -> None:  # noqa: N802
        """The connection is lost: nothing more is taken, and nothing of it is held (decision 0033)."""
        self._paused = True
        self._ready = False
        self.clear()
        self.full = True
        self.owner = self._transport = None
