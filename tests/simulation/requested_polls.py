"""Checks that a poller polls as early as it was asked to: the scheduled time is never later than the requested one.

A call that was executed, an answer that is not the last one and a gap each request a poll within their own delay. The
earliest of these times counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from icwsgw.gateway.polling.poll_timer import PollTimer, TickState

if TYPE_CHECKING:
    from tests.simulation.oracle import Oracle

#: Tolerance for sums of floats.
EPSILON = 1e-6


class WatchedTimer(PollTimer):
    """A poller's timer that reports a poll scheduled later than requested."""

    oracle: ClassVar[Oracle]

    def wake_in(self, delay: float, cause: str) -> None:
        now = self._clock.seconds()
        wished = [now + delay, *([] if self._wake is None else [self._wake.getTime()])]
        super().wake_in(delay, cause)
        if self._state is TickState.STOPPED:
            return
        late = float("inf") if self._wake is None else self._wake.getTime() - min(wished)
        if late > EPSILON:
            self.oracle.fail(f"a poll for a {cause} is planned {late:.3f} s later than it was wished")
