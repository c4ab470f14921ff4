"""The outbox of a client: frames that wait to be sent, bounded in bytes and age.

While the client keeps up, bytes go straight to its socket and the outbox is empty. When the transport's own buffer is
full (64 KiB in Twisted), frames wait here until the transport asks for more. The poller never waits. The session ends
with 4104 if its outbox exceeds its bound, if nothing has left it for too long, or if it is far from empty while all
outboxes together exceed theirs. So a client that does not read costs only itself. A client that reads is not slow,
however long a burst takes it (decision 0033): the transport gets 64 KiB at a time, and asks for more when they have
left.

While a canister's queue is deep, several poll answers come in one turn of the reactor, each with a message or two for a
client. The outbox holds them until the end of that turn and sends them at once, because a system call is a third of the
cost of a message. If answers wait for the next round (:mod:`icwsgw.gateway.polling.answer_queue`), it holds them until
none waits, 20 ms at most. It holds at most 64 KiB.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from icwsgw.reactor.immediate_send import send_now

#: Bytes that may wait for one client while the outboxes together exceed their bound: as in Twisted's own buffer.
CROWDED_BYTES = 64 << 10
#: Bytes that the transport gets at a time, so that it shows how they leave.
PIECE = 64 << 10


class OutboxTotals(Protocol):
    """What all outboxes share."""

    #: outboxes that hold bytes
    backlog: set[Outbox]
    #: the most bytes that one may hold
    outbox_bytes: int
    #: bytes that all of them hold, and the most they may
    backlog_bytes: int
    most_backlog_bytes: int

    def hold(self, outbox: Outbox) -> None:
        """Call ``outbox.release`` soon: at the end of this turn of the reactor, or a few turns later."""

    def seconds(self) -> float:
        """Seconds of the reactor's clock."""


class OutboxState(IntEnum):
    """What an outbox does with frames.

    FLOWING ──> PAUSED ──> FULL ──> READY: the transport pauses it, a bound is exceeded, the transport resumes it.
    From PAUSED it resumes to FLOWING. When it is cleared, FULL goes back to PAUSED and READY to FLOWING.
    """

    FLOWING = 0
    """The transport takes frames at once."""
    PAUSED = 1
    """The transport's buffer is full: frames wait in the queue."""
    FULL = 2
    """The same, and a bound was exceeded: nothing more is taken or sent, because a close frame has to come next."""
    READY = 3
    """The same, but the transport's buffer is empty again. It does not ask a second time."""
    STOPPED = 4
    """The connection is lost."""


# looking a member up in its class costs as much as a call, in the Python 3.11 that most have
_FLOWING, _PAUSED, _FULL, _READY, _STOPPED = OutboxState


@implementer(IPushProducer)
class Outbox:
    """The frames that wait to be sent to one client.

    :ivar owner: the connection that it belongs to
    :ivar size: bytes that wait
    :ivar state: what it does with frames
    """

    __slots__ = (
        "_backlog",
        "_closing",
        "_held",
        "_holding",
        "_left",
        "_queue",
        "_transport",
        "owner",
        "size",
        "state",
    )

    def __init__(self, transport: Any, backlog: OutboxTotals, owner: Any) -> None:
        self._transport = transport
        self._backlog = backlog
        self.state = _FLOWING
        self._held: list[bytes] | None = None
        self._holding = 0  # bytes in it
        self._queue: deque[tuple[float, bytes | memoryview]] | None = None
        self._closing = False
        self._left = 0.0  # when some of it has last left
        self.owner = owner
        self.size = 0
        transport.registerProducer(self, True)

    @property
    def full(self) -> bool:
        """Whether a bound was exceeded, so that the client is too slow."""
        return self.state is _FULL or self.state is _READY

    def send(self, data: bytes, more: bool = False) -> None:
        """Send bytes, or keep them until the transport takes more.

        :param data: one or more frames
        :param more: hold them, because more is likely to come at once
        """
        held = self._held
        if held is not None:
            self._holding += len(data)
            if self._holding <= PIECE:
                held.append(data)
                return
            self.release()
        if self.state is not _FLOWING:
            self._wait(data)
        elif more:
            self._held = [data]
            self._holding = len(data)
            self._backlog.hold(self)
        elif len(data) <= PIECE:
            send_now(self._transport, data)
        else:
            at = 0
            while at < len(data) and self.state is _FLOWING:
                send_now(self._transport, data[at : at + PIECE])
                at += PIECE
            if at < len(data):
                self._wait(memoryview(data)[at:])

    def _wait(self, data: bytes | memoryview) -> None:
        """Keep bytes until the transport takes more, unless nothing is taken any more."""
        if self.state is not _PAUSED:
            return
        if self._queue is None:
            self._queue = deque()
            self._backlog.backlog.add(self)
        self._queue.append((self._backlog.seconds(), data))
        self.size += len(data)
        backlog = self._backlog
        backlog.backlog_bytes += len(data)
        if self._closing:
            return
        if self.size > backlog.outbox_bytes or (
            backlog.backlog_bytes > backlog.most_backlog_bytes and self.size > CROWDED_BYTES
        ):
            self.state = _FULL

    def begin(self, data: bytes) -> None:
        """Hold the first bytes of the connection until the caller calls :meth:`release`."""
        self._held = [data]
        self._holding = len(data)

    def release(self) -> None:
        """Send what was held."""
        held, self._held = self._held, None
        if held is not None:
            self.send(b"".join(held))

    def age(self, now: float) -> float:
        """Seconds for which the oldest frame has waited while nothing has left."""
        return now - self._stuck_since if self._queue else 0.0

    @property
    def _stuck_since(self) -> float:
        assert self._queue, "something waits"
        return max(self._queue[0][0], self._left)

    @property
    def since(self) -> float | None:
        """Since when the oldest frame has waited while nothing has left, seconds; None: nothing waits."""
        return self._stuck_since if self._queue else None

    def waits_since(self, since: float) -> None:
        """Set since when the first frame waits: it has waited in another process before.

        :param since: seconds of the monotonic clock
        """
        if self._queue:
            self._queue[0] = since, self._queue[0][1]

    def flush(self) -> None:
        """Give everything to the transport at once, because a close frame comes next."""
        self.release()
        queue = self._queue
        self._emptied()
        if queue:
            self._transport.write(b"".join([data for _, data in queue]))

    def clear(self) -> None:
        """Drop everything that waits, except the rest of a frame that has begun.

        The client would read whatever came next as that rest.
        """
        self._held = None
        # no bound on what follows: it is a close frame
        self._closing = True
        begun = _begun(self._queue[0][1]) if self._queue else b""
        self._emptied()
        if not begun:
            return
        if self.state is _FLOWING:
            send_now(self._transport, bytes(begun))
        else:
            self._wait(begun)

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self.size and not self._held and self._queue is None

    def waiting(self) -> tuple[bytes, bytes]:
        """What waits, unchanged: the rest of a frame that has begun, and whole frames."""
        items = [data for _, data in self._queue or ()]
        begun = bytes(_begun(items[0])) if items else b""
        return begun, b"".join((*items, *(self._held or ())))[len(begun) :]

    def _emptied(self) -> None:
        self._queue = None
        self._backlog.backlog_bytes -= self.size
        self.size = 0
        if self.state is _FULL:
            self.state = _PAUSED
        elif self.state is _READY:
            self.state = _FLOWING
        self._backlog.backlog.discard(self)

    # IPushProducer; the names are Twisted's

    def pauseProducing(self) -> None:  # noqa: N802
        """The transport's buffer is full."""
        if self.state is _FLOWING:
            self.state = _PAUSED

    def resumeProducing(self) -> None:  # noqa: N802
        """The transport's buffer is empty."""
        if self.state is _FULL:
            self.state = _READY
        if self.state is not _PAUSED:
            return
        self.state = _FLOWING
        queue = self._queue
        if queue:
            self._left = self._backlog.seconds()
        while queue and self.state is _FLOWING:
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
        """The connection is lost: take nothing more, and hold nothing (decision 0033)."""
        self.state = _STOPPED
        self._held = None
        self._emptied()
        self.owner = self._transport = None


def _begun(waiting: bytes | memoryview) -> bytes | memoryview:
    """The rest of the frame whose beginning has left.

    :param waiting: a view of what is left of some whole frames; bytes: none of them has left
    :return: a view of the one frame, empty where one begins
    """
    if not isinstance(waiting, memoryview):
        return b""
    frames: bytes = waiting.obj  # type: ignore[assignment]
    start, left = 0, len(frames) - len(waiting)
    while start < left:
        # as they are sent to clients: unmasked
        size = frames[start + 1]
        if size < 126:
            end = start + 2 + size
        elif size == 126:
            end = start + 4 + int.from_bytes(frames[start + 2 : start + 4], "big")
        else:
            end = start + 10 + int.from_bytes(frames[start + 2 : start + 10], "big")
        if end > left:
            return memoryview(frames[start:end])[left - start :]
        start = end
    return b""
