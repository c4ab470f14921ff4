"""What a client has sent and the gateway has not: bounded by number, bytes and time.

One call at a time takes one block of the subnet or two, so a client that sends faster has a queue that grows. A bound
in numbers alone let a hundred messages wait for minutes, and a keep-alive behind them came later than the 60 s that the
canister waits for it. So the queue is full when what waits would take too long: the number of calls before a new one
times what this client's calls have taken so far (a moving average). A full queue is not read into (TCP pushes back)
until half of it has drained.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What has bytes."""

    @property
    def body(self) -> bytes:
        """The bytes that count."""


T = TypeVar("T", bound=Sized)

#: A new duration's weight in the average.
WEIGHT = 0.25


class RelayQueue(Generic[T]):
    """The queue of one client.

    :ivar queue: what waits, None when it is empty
    :ivar octets: of what is queued
    :ivar full: the client is not read from
    :ivar took: seconds that a call takes, averaged; 0 before the first has ended
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
        """Queue an item; gives its bytes."""
        queue = self.queue
        if queue is None:
            queue = self.queue = deque()
        queue.append(item)
        size = len(item.body)
        self.octets += size
        return size

    def pop(self) -> T:
        """Give the next item.

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
        """Forget all; gives how many there were."""
        dropped = len(self)
        self.queue = None
        self.octets = 0
        return dropped

    def measured(self, seconds: float) -> None:
        """A call has taken so long, from its turn to its end."""
        self.took = seconds if not self.took else self.took + (seconds - self.took) * WEIGHT

    def wait(self, busy: bool) -> float:
        """Seconds until one that is queued now has ended, by what calls have taken so far.

        :param busy: a call is under way before the first of the queue
        """
        return (len(self) + busy) * self.took

    def too_much(self, messages: int, octets: int, seconds: float) -> bool:
        """Whether a bound is reached; one item may wait whatever it takes."""
        queue = self.queue
        queued = len(queue) if queue is not None else 0
        return queued >= messages or self.octets >= octets or (queued > 1 and queued * self.took >= seconds)

    def has_room(self, messages: int, octets: int, seconds: float) -> bool:
        """Whether a queue that was full has drained enough to be read into again."""
        queued = len(self)
        return not queued or (
            2 * queued <= messages and 2 * self.octets <= octets and (queued == 1 or 2 * queued * self.took <= seconds)
        )
