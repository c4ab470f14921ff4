"""The queue of messages that a client has sent and the gateway has not relayed yet, bounded in number, bytes and time.

Calls are sent one at a time and take a block or two each, so a client that sends faster has a growing queue. A limit on
the number alone let a hundred messages wait for minutes, and a keep-alive behind them came later than the 60 s that the
canister waits for it. So the queue is also full when it would take too long: the number of waiting calls times the time
that this client's calls have taken so far (a moving average). While the queue is full, the client's socket is not read,
until half of the queue has drained.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

from icwsgw.core.written_state import Written


class Sized(Protocol):
    """Something with a number of bytes."""

    @property
    def body(self) -> bytes:
        """The bytes that count."""


T = TypeVar("T", bound=Sized)

#: The weight of a new duration in the average.
WEIGHT = 0.25


class RelayQueue(Written, Generic[T]):
    """The queue of one client.

    :ivar queue: the waiting items, None if there are none
    :ivar octets: bytes in the queue
    :ivar full: the client's socket is not read
    :ivar took: seconds that a call takes on average; 0 before the first has ended
    """

    __slots__ = ("full", "octets", "queue", "took")

    def __init__(self) -> None:
        self.queue: deque[T] | None = None
        self.octets = 0
        self.full = False
        self.took = 0.0

    def __len__(self) -> int:
        return len(self.queue) if self.queue is not None else 0

    def add(self, item: T) -> int:
        """Queue an item; returns its number of bytes."""
        queue = self.queue
        if queue is None:
            queue = self.queue = deque()
        queue.append(item)
        size = len(item.body)
        self.octets += size
        return size

    def pop(self) -> T:
        """Remove the next item and return it.

        :raises IndexError: there is none
        """
        if self.queue is None:
            raise IndexError("nothing is queued")
        item = self.queue.popleft()
        self.octets -= len(item.body)
        if not self.queue:
            self.queue = None
        return item

    def clear(self) -> int:
        """Drop all items; returns how many there were."""
        dropped = len(self)
        self.queue = None
        self.octets = 0
        return dropped

    def measured(self, seconds: float) -> None:
        """A call has taken so many seconds from its turn to its end."""
        self.took = seconds if not self.took else self.took + (seconds - self.took) * WEIGHT

    def wait(self, busy: bool) -> float:
        """Seconds until an item that is queued now will have been executed, as calls took so far.

        :param busy: there is a current call before the queue
        """
        return (len(self) + busy) * self.took

    def too_much(self, messages: int, octets: int, seconds: float) -> bool:
        """Whether a limit is reached; one item may always wait."""
        queue = self.queue
        queued = len(queue) if queue is not None else 0
        return queued >= messages or self.octets >= octets or (queued > 1 and queued * self.took >= seconds)

    def has_room(self, messages: int, octets: int, seconds: float) -> bool:
        """Whether a full queue has drained enough for its client's socket to be read again: to half of each limit.

        :param messages: the limit on messages
        :param octets: the limit on bytes
        :param seconds: the limit on the time until the last message leaves
        """
        queued = len(self)
        return not queued or (
            2 * queued <= messages and 2 * self.octets <= octets and (queued == 1 or 2 * queued * self.took <= seconds)
        )
