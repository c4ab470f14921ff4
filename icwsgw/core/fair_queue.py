"""Queues in which several parties are served in turn, so that a party with many waiters does not delay the others.

Each waiter belongs to a *flow* (a canister, an address). Flows are served round-robin. A *new* flow, one that was not
served in the last round, joins one round before the last one (similar to flow queueing, RFC 8290, but new flows delay
another one by at most one round). So a party that waits rarely is served next, however many others always
wait, and flows that come only once do not starve the others.

Within a flow the waiter with the lowest *rank* is first; of equal ranks, the one that has waited longest. If the rank
is the time at which the waiter was served last, the waiters of a flow are served round-robin too. Each is
served at some time, because the one that overtakes has a higher rank the next time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

W = TypeVar("W", bound=Hashable)


class PriorityQueue(Generic[W]):
    """The waiters of one flow by rank; each is in it at most once."""

    __slots__ = ("_heap", "_number", "_numbers")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, W]] = []
        self._numbers: dict[W, int] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, waiter: object) -> bool:
        return waiter in self._numbers

    def add(self, waiter: W, rank: float = 0.0) -> bool:
        """Add a waiter; False if it waits already."""
        if waiter in self._numbers:
            return False
        self._number = self._numbers[waiter] = self._number + 1
        heappush(self._heap, (rank, self._number, waiter))
        return True

    def remove(self, waiter: W) -> bool:
        """Remove a waiter; False if it does not wait."""
        if self._numbers.pop(waiter, None) is None:
            return False
        # what is left of it goes when its turn comes, or when half of the heap is such
        if len(self._heap) > 2 * len(self._numbers) + 8:
            self._heap = [entry for entry in self._heap if self._numbers.get(entry[2]) == entry[1]]
            heapify(self._heap)
        return True

    def first(self) -> tuple[float, W]:
        """The lowest rank, and its waiter.

        :raises KeyError: there is no waiter
        """
        if not self._numbers:
            raise KeyError("no waiter")
        while True:
            rank, number, waiter = self._heap[0]
            if self._numbers.get(waiter) == number:
                return rank, waiter
            heappop(self._heap)

    def pop(self) -> W:
        """Remove the first waiter and return it.

        :raises KeyError: there is no waiter
        """
        if not self._numbers:
            raise KeyError("no waiter")
        while True:
            _, number, waiter = heappop(self._heap)
            if self._numbers.get(waiter) == number:
                del self._numbers[waiter]
                return waiter


class _Flow(PriorityQueue[W]):
    """The waiters of one flow.

    :ivar turn: the number of its turn; the lowest is served next
    """

    __slots__ = ("turn",)

    def __init__(self, turn: int) -> None:
        super().__init__()
        self.turn = turn


class FairQueue(Generic[W]):
    """Waiters by flow; each is in it at most once.

    :ivar size: number of waiters, as an attribute because ``len`` would cost a call for each call that is sent
    """

    __slots__ = ("_last", "_new", "_served", "size")

    def __init__(self) -> None:
        # both in the order of their turns, since what a turn is computed from only grows
        self._new: OrderedDict[Hashable, _Flow[W]] = OrderedDict()
        # a flow stays here until its turn comes and it has no waiter
        self._served: OrderedDict[Hashable, _Flow[W]] = OrderedDict()
        self._last = 0
        self.size = 0

    def __len__(self) -> int:
        return self.size

    def add(self, flow: Hashable, waiter: W, rank: float = 0.0) -> None:
        """Add a waiter to a flow."""
        waiters = self._find(flow)
        if waiters is None:
            # one round before the last
            waiters = self._new[flow] = _Flow(self._last - len(self._new) - len(self._served))
            self._last += 1
        self.size += waiters.add(waiter, rank)

    def remove(self, flow: Hashable, waiter: W) -> bool:
        """Remove a waiter; False if it does not wait."""
        waiters = self._find(flow)
        if waiters is None or not waiters.remove(waiter):
            return False
        if not waiters:
            self._new.pop(flow, None)
        self._left()
        return True

    def pop(self) -> W:
        """Remove the first waiter of the next flow and return it.

        :raises KeyError: there is no waiter
        """
        if not self.size:
            raise KeyError("no waiter")
        flow, waiters = self._next()
        waiter = waiters.pop()
        waiters.turn = self._last
        self._last += 1
        self._served[flow] = waiters
        self._left()
        return waiter

    def count(self, flow: Hashable) -> int:
        """Number of waiters of a flow."""
        return len(self._find(flow) or ())

    def _find(self, flow: Hashable) -> _Flow[W] | None:
        waiters = self._served.get(flow)
        return self._new.get(flow) if waiters is None else waiters

    def _next(self) -> tuple[Hashable, _Flow[W]]:
        """Take out the flow whose turn it is; forget those whose turn has come and that have no waiter."""
        new, served = self._new, self._served
        first = next(iter(new.values())).turn if new else None
        while served:
            flow, waiters = next(iter(served.items()))
            if first is not None and waiters.turn >= first:
                break
            del served[flow]
            if waiters:
                return flow, waiters
        return new.popitem(last=False)

    def _left(self) -> None:
        self.size -= 1
        if not self.size:
            self._served.clear()
