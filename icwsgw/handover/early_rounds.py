"""Decides how often connections are sent early before the process that has them stops to serve (decision 0070).

A round sends what has changed since the round before. What has changed during the last one has to be sent in the
silence, so the last round should be a short one. Each round is shorter than the one before as long as it catches up
with what clients do. Then its length depends on what else the machine does at that moment. To wait for long is no use:
on a machine that is too slow for clients and rounds together, rounds get longer and longer.
"""

from __future__ import annotations

from collections import deque

#: Rounds at most, without the first one; and the number of changes after which another one is not worth it.
MOST_ROUNDS, FEW_CHANGES = 15, 100
#: A round with more than this share of the changes of the best one before has not caught up further; so many of them in
#: a row end the rounds,
WORTH, MOST_STALE = 0.75, 2
#: as soon as one has at most so many times the changes of the best one of the last few: the moment is not a bad one.
NEAR_BEST, LAST_FEW = 1.2, 3


class EarlyRounds:
    """The rounds of one handover, without the first one, which sends all connections."""

    __slots__ = ("_count", "_last", "_least", "_stale")

    def __init__(self) -> None:
        self._count = 0
        self._least = float("inf")
        self._last: deque[int] = deque(maxlen=LAST_FEW)
        self._stale = 0

    def another(self, changed: int) -> bool:
        """Whether another round is worth it, after one with so many changes."""
        self._count += 1
        if changed <= FEW_CHANGES or self._count >= MOST_ROUNDS:
            return False
        # One such round may have come at a bad moment: whether there is less to send shows the next one.
        self._stale = self._stale + 1 if changed > self._least * WORTH else 0
        self._least = min(self._least, changed)
        self._last.append(changed)
        return self._stale < MOST_STALE or changed > min(self._last) * NEAR_BEST
