"""When a canister will have executed a call that the network has only accepted, so that its answer is polled for then.

An accepted call (202) says nothing of its execution; waiting for the next tick costs half an interval on average. But
synchronous calls, ws_open among them, show how long this network takes from a call to its execution. Where they agree
closely, the next accepted call will take as long, and a poll at that moment finds what it caused. Where they do not,
as on the IC's mainnet with its seconds from block to block, nothing is foreseen: a guess would only add queries.

Mean and deviation are smoothed as TCP does with its round trips (RFC 6298). Planned polls fall on a grid, so that
many calls share one; those of a canister that never answers messages soon become rare.
"""

from __future__ import annotations

from collections import deque
from math import ceil

#: Planned polls of a canister come no closer together than this part of the polling interval.
GRID = 8
#: Foreseen is what deviates by no more than this part of the polling interval.
PRECISION = 4
#: Below this share of planned polls that find something, only each ``RARELY``-th call is planned for.
WORTH = 0.25
RARELY = 16
#: More calls under way than this need no plan of their own: ticks come as often.
MOST = 256


class Foresight:
    """What is foreseen for one canister. Times and durations are in seconds.

    :ivar planned: when polls are planned, the next one first; at most :data:`MOST`
    """

    __slots__ = ("_deviation", "_grid", "_mean", "_precision", "_skipped", "_worth", "planned")

    def __init__(self, interval: float) -> None:
        self._grid = interval / GRID
        self._precision = interval / PRECISION
        self._mean = self._deviation = 0.0
        self.planned: deque[float] = deque()
        self._worth = 1.0
        self._skipped = 0

    def executed(self, took: float) -> None:
        """A synchronous call was executed within ``took``."""
        if not self._mean:
            self._mean, self._deviation = took, took / 2
            return
        off = took - self._mean
        self._deviation += (abs(off) - self._deviation) / 4
        self._mean += off / 8

    def accepted(self, sent: float, now: float) -> bool:
        """A call that left at ``sent`` was accepted: plan a poll for its execution; whether that was one more."""
        if not self._mean or self._deviation > self._precision:
            return False
        if self._worth < WORTH:
            self._skipped += 1
            if self._skipped < RARELY:
                return False
            self._skipped = 0
        at = max(now, ceil((sent + self._mean + self._deviation) / self._grid) * self._grid)
        planned = self.planned
        if planned and (planned[-1] >= at or len(planned) >= MOST):
            return False
        planned.append(at)
        return True

    def polled(self, now: float) -> bool:
        """A poll leaves: planned ones that are due are done with it; whether there were any."""
        planned = self.planned
        due = False
        while planned and planned[0] <= now:
            planned.popleft()
            due = True
        return due

    def found(self, something: bool) -> None:
        """What came of a planned poll."""
        self._worth += (something - self._worth) / 8
