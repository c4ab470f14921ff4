"""Lines in which several parties wait and take turns, so that one that wants much does not hold up the others.

Each waiter belongs to a *flow* (a canister, an address). Flows are served in turn. A *new* flow, one that has not been
served in the last round, joins one round before the last one (as flow queueing does, RFC 8290, but a flow is overtaken
by a round of new ones at most). So a party that wants something now and then is served next, however many others wait
all the time, and flows that come once each do not keep out the others.

Within a flow the waiter with the lowest *rank* comes first, and of equal ranks the one that has waited longest. Where
the rank is the time at which the waiter was served last, the waiters of a flow take turns too: one that has not been
served lately goes before those that come back at once, and nobody waits forever, since whoever overtakes has a higher
rank the next time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

W = TypeVar("W", bound=Hashable)


class PriorityQueue(Generic[W]):
    """The waiters of one flow, in the order of their ranks; each is at most once in it."""

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
        """Let a waiter wait; whether it did not before."""
        if waiter in self._numbers:
            return False
        self._number = self._numbers[waiter] = self._number + 1
        heappush(self._heap, (rank, self._number, waiter))
        return True

    def remove(self, waiter: W) -> bool:
        """Do not let it wait any more; whether it did."""
        if self._numbers.pop(waiter, None) is None:
            return False
        # what is left of it goes when its turn comes, or when half of the heap is such
        if len(self._heap) > 2 * len(self._numbers) + 8:
            self._heap = [entry for entry in self._heap if self._numbers.get(entry[2]) == entry[1]]
            heapify(self._heap)
        return True

    def pop(self) -> W:
        """The one whose turn it is, which waits no more.

        :raises KeyError: nobody waits
        """
        if not self._numbers:
            raise KeyError("nobody waits")
        while True:
            _, number, waiter = heappop(self._heap)
            if self._numbers.get(waiter) == number:
                del self._numbers[waiter]
                return waiter


class _Flow(PriorityQueue[W]):
    """The waiters of one flow.

    :ivar turn: when its turn comes; the lowest is served next
    """

    __slots__ = ("turn",)

    def __init__(self, turn: int) -> None:
        super().__init__()
        self.turn = turn


class FairQueue(Generic[W]):
    """Waiters by flow; each waiter is at most once in it.

    :ivar size: how many wait; read for each call that leaves, where ``len`` would cost a call
    """

    __slots__ = ("_last", "_new", "_served", "size")

    def __init__(self) -> None:
        # both in the order of their turns, since what a turn is computed from only grows
        self._new: OrderedDict[Hashable, _Flow[W]] = OrderedDict()
        # a flow stays here until its turn comes and nobody waits in it
        self._served: OrderedDict[Hashable, _Flow[W]] = OrderedDict()
        self._last = 0
        self.size = 0

    def __len__(self) -> int:
        return self.size

    def add(self, flow: Hashable, waiter: W, rank: float = 0.0) -> None:
        """Let a waiter wait among those of its flow."""
        waiters = self._find(flow)
        if waiters is None:
            # one round before the last
            waiters = self._new[flow] = _Flow(self._last - len(self._new) - len(self._served))
            self._last += 1
        self.size += waiters.add(waiter, rank)

    def remove(self, flow: Hashable, waiter: W) -> bool:
        """Do not let it wait any more; whether it did."""
        waiters = self._find(flow)
        if waiters is None or not waiters.remove(waiter):
            return False
        if not waiters:
            self._new.pop(flow, None)
        self._left()
        return True

    def pop(self) -> W:
        """The first waiter of the flow whose turn it is.

        :raises KeyError: nobody waits
        """
        if not self.size:
            raise KeyError("nobody waits")
        flow, waiters = self._next()
        waiter = waiters.pop()
        waiters.turn = self._last
        self._last += 1
        self._served[flow] = waiters
        self._left()
        return waiter

    def count(self, flow: Hashable) -> int:
        """How many of a flow wait."""
        return len(self._find(flow) or ())

    def _find(self, flow: Hashable) -> _Flow[W] | None:
        waiters = self._served.get(flow)
        return self._new.get(flow) if waiters is None else waiters

    def _next(self) -> tuple[Hashable, _Flow[W]]:
        """Take out the flow whose turn it is; forget those whose turn has come and in which nobody waits."""
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
