"""How much time a party may take for work that is of use to nobody.

Such work is put off so that it takes a twentieth of the time at most, after a start of a few milliseconds: the answers
of a canister's queue that reach no client, which may go on for ever (generic cell rate algorithm over seconds of work).
"""

from __future__ import annotations

#: The part of the time that it may take, and how much of it at once.
SHARE = 0.05
BURST_SECONDS = 0.01


class WorkLimit:
    """One party's."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = 0.0

    def spent(self, now: float, seconds: float) -> None:
        """So much was done in vain."""
        self._until = max(self._until, now) + seconds / SHARE

    def pause(self, now: float) -> float:
        """Seconds until more of it may be done; 0: now."""
        return max(0.0, self._until - now - BURST_SECONDS / SHARE)
