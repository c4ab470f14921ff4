"""Decides how often connections are sent early before the process that has them stops to serve (decision 0070).

A round sends what has changed since the round before. What has changed during the last one has to be sent in the
silence, so the last round should be a short one. Each round is shorter than the one before as long as it catches up
with what clients do. Then its length depends on what else the machine does at that moment. A round that takes long
shows a bad moment, which may last some seconds: then rounds pause, so that the machine serves clients only, and begin
anew. They do not wait for ever: on a machine that is too slow for clients and rounds together, rounds get longer and
longer.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

#: Rounds at most, without the first one; and the number of changes after which another one is not worth it.
MOST_ROUNDS, FEW_CHANGES = 15, 100
#: A round with more than this share of the changes of the best one before has not caught up further; so many of them in
#: a row end the rounds,
WORTH, MOST_STALE = 0.75, 2
#: as soon as one has at most so many times the changes of the best one of the last few: the moment is not a bad one.
NEAR_BEST, LAST_FEW = 1.2, 3
#: Rounds that have ended begin anew if the last one took longer than this, in seconds: the moment is a bad one.
GOOD_SECONDS = 0.4
#: The pause before that, in seconds, and for how long after the first round rounds may begin anew.
PAUSE_SECONDS, PATIENCE_SECONDS = 1.0, 20.0


class Next(Enum):
    """What follows a round."""

    ROUND = "another round"
    PAUSE = "a pause, then another round"
    STOP = "the process stops to serve"


class EarlyRounds:
    """The rounds of one handover, without the first one, which sends all connections.

    :param now: when the first one ended, monotonic seconds
    """

    __slots__ = ("_count", "_last", "_least", "_since", "_stale")

    def __init__(self, now: float) -> None:
        self._since = now
        self._begin()

    def _begin(self) -> None:
        self._count = 0
        self._least = float("inf")
        self._last: deque[int] = deque(maxlen=LAST_FEW)
        self._stale = 0

    def next(self, changed: int, seconds: float, now: float) -> Next:
        """What follows a round.

        :param changed: how many connections had changed
        :param seconds: how long the round took
        :param now: monotonic seconds
        """
        if self._catches_up(changed):
            return Next.ROUND
        if changed <= FEW_CHANGES or seconds <= GOOD_SECONDS or now - self._since >= PATIENCE_SECONDS:
            return Next.STOP
        self._begin()
        return Next.PAUSE

    def _catches_up(self, changed: int) -> bool:
        """Whether another round is worth it at once, after one with so many changes."""
        self._count += 1
        if changed <= FEW_CHANGES or self._count >= MOST_ROUNDS:
            return False
        # One such round may have come at a bad moment: whether there is less to send shows the next one.
        self._stale = self._stale + 1 if changed > self._least * WORTH else 0
        self._least = min(self._least, changed)
        self._last.append(changed)
        return self._stale < MOST_STALE or changed > min(self._last) * NEAR_BEST
