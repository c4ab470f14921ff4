"""A line in which several parties wait and take turns, so that one with many waiters does not hold up the others.

Each waiter belongs to a *flow* (a canister, an address). Flows are served in turn, the waiters of one in their order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

W = TypeVar("W", bound=Hashable)


class Line(Generic[W]):
    """Waiters by flow; each waiter is at most once in it."""

    __slots__ = ("_flows", "_size")

    def __init__(self) -> None:
        self._flows: OrderedDict[Hashable, OrderedDict[W, None]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, flow: Hashable, waiter: W) -> None:
        """Let a waiter stand at the end of its flow."""
        waiters = self._flows.get(flow)
        if waiters is None:
            waiters = self._flows[flow] = OrderedDict()
        if waiter not in waiters:
            waiters[waiter] = None
            self._size += 1

    def remove(self, flow: Hashable, waiter: W) -> bool:
        """Do not let it wait any more; whether it did."""
        waiters = self._flows.get(flow)
        if waiters is None or waiter not in waiters:
            return False
        del waiters[waiter]
        self._size -= 1
        if not waiters:
            del self._flows[flow]
        return True

    def pop(self) -> W:
        """The first waiter of the flow whose turn it is.

        :raises KeyError: nobody waits
        """
        flow, waiters = self._flows.popitem(last=False)
        waiter, _ = waiters.popitem(last=False)
        self._size -= 1
        if waiters:
            self._flows[flow] = waiters
        return waiter

    def count(self, flow: Hashable) -> int:
        """How many of a flow wait."""
        return len(self._flows.get(flow, ()))
