"""Checks that a poller looks as soon as anybody has asked it to: what is planned is never later than what was wished.

A call that was executed, an answer that is not the last one and a gap all ask for a poll within a time of their own.
The earliest of these times counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from icwsgw.gateway.polling.poll_timer import PollTimer, Pulse

if TYPE_CHECKING:
    from tests.simulation.truth import Truth

#: What sums of floats may be off by.
EPSILON = 1e-6


class WatchedTimer(PollTimer):
    """A poller's timer that says when a wish is put off."""

    truth: ClassVar[Truth]

    def wake_in(self, delay: float, cause: str) -> None:
        now = self._clock.seconds()
        wished = [now + delay, *([] if self._wake is None else [self._wake.getTime()])]
        super().wake_in(delay, cause)
        if self._pulse is Pulse.STOPPED:
            return
        late = float("inf") if self._wake is None else self._wake.getTime() - min(wished)
        if late > EPSILON:
            self.truth.fail(f"a poll for a {cause} is planned {late:.3f} s later than it was wished")
