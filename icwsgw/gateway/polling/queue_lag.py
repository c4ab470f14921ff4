"""Measures how old a canister's messages are when they arrive, by the canister's own clock.

A message carries the time at which its canister made it. Only the newest message of an answer is decoded for that, and
at most one every few seconds. A canister's time is that of its subnet's last block, so a lag of a second or two is
normal.
"""

from __future__ import annotations

from typing import Any

from icwsgw.core.messages import message_timestamp
from icwsgw.core.written_state import read_as
from icwsgw.gateway.interfaces import Context
from icwsgw.observe.meters import Histogram

#: Seconds between two measurements.
EVERY = 0.1
#: Seconds for which a measurement is valid.
FRESH = 60.0
#: Longer messages are not decoded for their time.
LONGEST = 64 << 10


class QueueLag:
    """The lag of one canister's queue.

    :param histogram: takes each measured lag, in seconds
    """

    __slots__ = ("_histogram", "_looked", "_measured", "_seconds")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._looked = float("-inf")
        self._measured = float("-inf")
        self._seconds = 0.0

    def look(self, content: bytes, context: Context) -> None:
        """Measure the lag by the newest message of an answer.

        :param content: the message as the CDK encoded it; one in another form has no timestamp
        """
        now = context.clock.seconds()
        if now - self._looked < EVERY or len(content) > LONGEST:
            return
        self._looked = now
        made = message_timestamp(content)
        if made is None:
            return
        self._measured = now
        self._seconds = max(0.0, (context.network_ns() - made) / 1e9)
        self._histogram.observe(self._seconds)

    def written(self) -> list[float] | None:
        """When it was measured last, and what; None if it was not."""
        return None if self._measured < 0 else [self._measured, self._seconds]

    def read(self, value: Any) -> None:
        """Take the last measurement of another process, as :meth:`written` gives it.

        :raises FormatError: it is of the wrong kind
        """
        if value is not None:
            self._measured, self._seconds = (read_as(float, each, "lag") for each in value)

    def latest(self, now: float) -> float | None:
        """The last lag in seconds; None if it was measured longer than :data:`FRESH` seconds ago."""
        return self._seconds if now - self._measured <= FRESH else None
