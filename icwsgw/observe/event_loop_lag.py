"""Event loop lag: how late timers run, which shows that a process is overloaded."""

from __future__ import annotations

from icwsgw.observe.meters import Histogram
from icwsgw.reactor.clock import Clock, Timer


class EventLoopLag:
    """Measures the event loop lag, by default four times a second.

    :param histogram: gets each lag in seconds
    :param clock: the reactor, or a test's clock
    :param interval: seconds between samples
    """

    def __init__(self, histogram: Histogram, clock: Clock, interval: float = 0.25) -> None:
        self._histogram = histogram
        self._clock = clock
        self._interval = interval
        self._due = 0.0
        self._worst = 0.0
        self._call: Timer | None = None

    def start(self) -> None:
        if self._call is None:
            self._schedule()

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def take_worst(self) -> float:
        """Return the longest lag since the last call of this method, in seconds, including a lag still in progress."""
        late = self._clock.seconds() - self._due if self._call is not None else 0.0
        worst, self._worst = max(self._worst, late), 0.0
        return worst

    def _schedule(self) -> None:
        self._due = self._clock.seconds() + self._interval
        self._call = self._clock.callLater(self._interval, self._sample)

    def _sample(self) -> None:
        late = max(0.0, self._clock.seconds() - self._due)
        self._histogram.observe(late)
        self._worst = max(self._worst, late)
        self._schedule()
