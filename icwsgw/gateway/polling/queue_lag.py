"""How old a canister's messages are when they come, by the canister's own clock.

A message carries the time at which its canister made it (facts 3). Only the newest of an answer is looked at, and only
so often: reading a message means decoding it. A canister's time is that of its subnet's block, so a second or two are
the network's own.
"""

from __future__ import annotations

from icwsgw.core.messages import message_timestamp
from icwsgw.gateway.interfaces import Context
from icwsgw.observe.meters import Histogram

#: Seconds between two messages that are looked at.
EVERY = 0.1
#: Seconds that a lag says something about the canister's queue.
FRESH = 60.0
#: Messages longer than this are not decoded for the sake of their time.
LONGEST = 64 << 10


class QueueLag:
    """The lag of one canister's queue.

    :param histogram: takes each lag that is measured, in seconds
    """

    __slots__ = ("_histogram", "_looked", "_measured", "_seconds")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._looked = float("-inf")
        self._measured = float("-inf")
        self._seconds = 0.0

    def look(self, content: bytes, context: Context) -> None:
        """A message is delivered, the newest of its answer.

        :param content: as the canister's CDK encoded it; one of another form tells nothing
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

    def latest(self, now: float) -> float | None:
        """Seconds of the last one measured, None when that is longer ago than :data:`FRESH`."""
        return self._seconds if now - self._measured <= FRESH else None
