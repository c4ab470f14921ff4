"""When a canister will have executed a call that the network has only accepted, so that its answer is polled for then.

An accepted call (202) says nothing of its execution; waiting for the next tick costs half an interval on average. But
synchronous calls, ws_open among them, show how long this network takes from a call to its execution. Where the faster
ones agree closely (the slower ones met a busy moment of the network or of ours), the next accepted call will take
about as long, and a poll at that moment finds what it caused. Where they do not, as on the IC's mainnet with its
seconds from block to block, nothing is foreseen: a guess would only add queries.

Planned polls fall on a grid, so that many calls share one; those of a canister that never answers messages soon become
rare.
"""

from __future__ import annotations

from collections import deque
from math import ceil

#: Planned polls of a canister come no closer together than this part of the polling interval.
GRID = 8
#: The fastest quarter of the last so many executions counts, if it differs by no more than this part of the interval.
SAMPLES = 16
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

    __slots__ = ("_grid", "_precision", "_samples", "_skipped", "_takes", "_worth", "planned")

    def __init__(self, interval: float) -> None:
        self._grid = interval / GRID
        self._precision = interval / PRECISION
        self._samples: deque[float] = deque(maxlen=SAMPLES)
        self._takes: float | None = None
        self.planned: deque[float] = deque()
        self._worth = 1.0
        self._skipped = 0

    def executed(self, took: float) -> None:
        """A synchronous call was executed within ``took``."""
        self._samples.append(took)
        ordered = sorted(self._samples)
        quarter = ordered[len(ordered) // 4]
        self._takes = quarter if quarter - ordered[0] <= self._precision else None

    def accepted(self, sent: float, now: float) -> bool:
        """A call that left at ``sent`` was accepted: plan a poll for its execution; whether that was one more."""
        if self._takes is None:
            return False
        if self._worth < WORTH:
            self._skipped += 1
            if self._skipped < RARELY:
                return False
            self._skipped = 0
        at = max(now, ceil((sent + self._takes) / self._grid) * self._grid)
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
