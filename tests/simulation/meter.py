"""A leaky bucket that is independent of the gateway's code."""

from __future__ import annotations

#: What sums of floats may be off by.
EPSILON = 1e-6


class Meter:
    """A leaky bucket of the simulation's own: reports when more has come than a rate allows.

    :param per_second: the rate
    :param burst: what may come at once
    """

    def __init__(self, per_second: float, burst: float) -> None:
        self.per_second = per_second
        self.burst = burst
        self.level = self.highest = 0.0
        self._stamp = 0.0

    def count(self, now: float) -> bool:
        """Whether one that comes now is within the rate."""
        self.level = max(0.0, self.level - (now - self._stamp) * self.per_second) + 1
        self._stamp = now
        self.highest = max(self.highest, self.level)
        return self.level <= self.burst + EPSILON
