"""The deadlines of thousands of requests with one reactor timer.

A request is in a bucket of :data:`GRAIN` seconds, by the time of its deadline. One timer waits for the earliest bucket
that was not empty when the timer was set. Nearly all requests finish long before their deadline, so that bucket is
mostly empty by then: with timeouts of 5 s the timer fires once in 5 s and not 20 times a second. A deadline is never
early, and at most one grain late.
"""

from __future__ import annotations

import math
from typing import Protocol

from icwsgw.reactor.clock import Clock, Timer

GRAIN = 0.05
_PER_SECOND = round(1 / GRAIN)
_ROUNDING = 1e-6


class Timed(Protocol):
    """Something with a deadline; hashable by identity."""

    bucket: int

    def timed_out(self) -> None:
        """The deadline is over; must not raise."""
        ...


class Deadlines:
    """The deadlines of one transport.

    :param reactor: source of time and of the timer
    """

    __slots__ = ("_armed", "_buckets", "_reactor", "_timer")

    def __init__(self, reactor: Clock) -> None:
        self._reactor = reactor
        self._buckets: dict[int, set[Timed]] = {}
        self._timer: Timer | None = None
        self._armed = 0

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def add(self, item: Timed, seconds: float) -> None:
        """Call ``item.timed_out()`` in ``seconds``, at most one grain later, unless it is discarded before."""
        bucket = math.ceil((self._reactor.seconds() + seconds) * _PER_SECOND)
        item.bucket = bucket
        members = self._buckets.get(bucket)
        if members is None:
            members = self._buckets[bucket] = set()
        members.add(item)
        if self._timer is None or bucket < self._armed:
            self._arm(bucket)

    def discard(self, item: Timed) -> None:
        """Forget ``item``. Nothing happens if it is not there."""
        members = self._buckets.get(item.bucket)
        if members is not None:
            members.discard(item)

    def clear(self) -> None:
        """Forget all items, and stop the timer."""
        self._buckets.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, bucket: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = bucket
        delay = max(0.0, bucket / _PER_SECOND - self._reactor.seconds())
        self._timer = self._reactor.callLater(delay, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = math.floor(self._reactor.seconds() * _PER_SECOND + _ROUNDING)
        due: list[Timed] = []
        earliest: int | None = None
        for bucket, members in list(self._buckets.items()):
            if not members:
                del self._buckets[bucket]
            elif bucket <= now:
                due.extend(members)
                del self._buckets[bucket]
            elif earliest is None or bucket < earliest:
                earliest = bucket
        if earliest is not None:
            self._arm(earliest)
        for item in due:
            item.timed_out()
