"""Schedules pieces of work round-robin, so that no party delays the others or the rest of the process.

A piece is done at once if there is time for it: as much as has passed without work, at most a quantum. Everything else
waits and is done in rounds of one quantum each, with other events in between. In a round the parties are served by the
*time* that their pieces take (deficit round robin, Shreedhar and Varghese 1995): a party whose piece took longer than
its share is skipped until it has made up for that.

Times are in seconds of one clock; the caller measures how long a piece takes.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)
W = TypeVar("W")

#: Seconds of work in one round; a page of fifty messages takes a tenth of it. What is sent to one client in a round is
#: joined.
QUANTUM = 0.005


class RoundRobin(Generic[P, W]):
    """Pieces of work by party.

    :ivar waiting: number of pieces that wait
    """

    __slots__ = ("_free", "_lanes", "_owed", "_quantum", "_since", "waiting")

    def __init__(self, quantum: float = QUANTUM) -> None:
        self._quantum = quantum
        self._lanes: OrderedDict[P, deque[W]] = OrderedDict()
        #: by party: what it has taken beyond its share
        self._owed: dict[P, float] = {}
        self._free = quantum
        self._since = 0.0
        self.waiting = 0

    def at_once(self, now: float) -> bool:
        """Whether a new piece may be done at once; :meth:`did` follows then."""
        if self.waiting:
            return False
        free = self._free + now - self._since
        self._free = free if free < self._quantum else self._quantum
        self._since = now
        return self._free > 0

    def did(self, began: float, ended: float) -> None:
        """A piece was done at once."""
        self._free -= ended - began
        self._since = ended

    def add(self, party: P, piece: W) -> None:
        """Queue a piece."""
        lane = self._lanes.get(party)
        if lane is None:
            lane = self._lanes[party] = deque()
        lane.append(piece)
        self.waiting += 1

    def next(self) -> tuple[P, W]:
        """Remove the next piece and return it; :meth:`took` follows.

        :raises KeyError: none waits
        """
        while True:
            party, lane = next(iter(self._lanes.items()), (None, None))
            if party is None or lane is None:
                raise KeyError("nothing waits")
            owed = self._owed.get(party, 0.0)
            if owed < self._quantum or len(self._lanes) == 1:
                self.waiting -= 1
                piece = lane.popleft()
                if not lane:
                    del self._lanes[party]
                return party, piece
            self._owed[party] = owed - self._quantum
            self._lanes.move_to_end(party)

    def took(self, party: P, seconds: float) -> None:
        """The party's piece has taken so many seconds."""
        if not self._lanes:
            self._owed.clear()
            return
        self._owed[party] = self._owed.get(party, 0.0) + seconds
        if party in self._lanes and self._owed[party] >= self._quantum:
            self._lanes.move_to_end(party)
            self._owed[party] -= self._quantum
