"""Limits the time that a party takes for useless work.

Useless work, such as handling poll answers whose messages reach no client, may continue for ever. After a few
milliseconds at once it gets a twentieth of the time (generic cell rate algorithm over seconds of work).
"""

from __future__ import annotations

from icwsgw.core.written_state import Written

#: The share of the time that it may take, and the seconds at once.
SHARE = 0.05
BURST_SECONDS = 0.01


class WorkLimit(Written):
    """The limit of one party."""

    __slots__ = ("_until",)
    WRITTEN = {"_until": float}

    def __init__(self) -> None:
        self._until = 0.0

    def spent(self, now: float, seconds: float) -> None:
        """So many seconds were spent on useless work."""
        self._until = max(self._until, now) + seconds / SHARE

    def pause(self, now: float) -> float:
        """Seconds until more of it may be done; 0: now."""
        # first the end, then the difference: that of two near times is exact, so the pause leads to its end
        return max(0.0, self._until - BURST_SECONDS / SHARE - now)
