"""When a poller polls: at the ticks of a LoopingCall, and between them when it is woken.

A LoopingCall whose function returns a Deferred leaves out ticks while it waits, so a tick returns nothing. There is at
most one timer for wakes; the earliest wins.

If there are too many pollers for the request budget, most ticks would do nothing. Then the LoopingCall is stopped until
the next poll is due (:meth:`icwsgw.core.poll_schedule.PollSchedule.rest`): the empty ticks of a thousand canisters
that unauthenticated clients have named would take a fifth of a core.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, cast

from twisted.internet.task import LoopingCall

from icwsgw.core.poll_schedule import PollSchedule
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Clock, Timer

_log = get_logger("poller")

#: First ticks fall on so many instants of an interval: pollers with the same instant share a turn of the event loop.
PHASES = 16
#: The cause of a wake that a tick makes superfluous.
FOLLOW_UP = "follow_up"


class TickState(IntEnum):
    """The state of a poller's ticks."""

    NEW = 0
    """They have not begun."""
    PAUSED = 1
    """They begin, or continue, after a pause."""
    TICKING = 2
    """They come at each interval."""
    STOPPED = 3
    """There are none any more, nor wakes."""


class PollTimer:
    """Ticks and wakes of one poller.

    :param interval: seconds between two ticks
    :param tick: called at each tick, with the time
    :param woken: called at each wake, with the time and the cause
    :param of: the canister, for logs
    :ivar held: returns whether a quota holds the poller, so that ticks and wakes do nothing; None: there is no quota
    """

    __slots__ = (
        "_cause",
        "_clock",
        "_interval",
        "_loop",
        "_of",
        "_poll_schedule",
        "_rest",
        "_state",
        "_tick",
        "_wake",
        "_woken",
        "held",
    )

    def __init__(
        self,
        clock: Clock,
        interval: float,
        tick: Callable[[float], None],
        woken: Callable[[float, str], None],
        of: str,
    ) -> None:
        self._clock = clock
        self._interval = interval
        self._tick = tick
        self._woken = woken
        self._poll_schedule: PollSchedule | None = None
        self._wake: Timer | None = None
        self._cause = ""
        self._state = TickState.NEW
        # the timer of PAUSED
        self._rest: Timer | None = None
        self._loop = LoopingCall(self._on_tick)
        self._loop.clock = cast(Any, clock)
        self._of = of
        self.held: Callable[[float], bool] | None = None

    def start(self, phase: float, poll_schedule: PollSchedule | None = None) -> None:
        """Start the ticks, at one of :data:`PHASES` instants of the interval.

        :param phase: which of them, in [0, 1)
        :param poll_schedule: decides which ticks poll; None: all
        """
        self._poll_schedule = poll_schedule
        instant = int(phase * PHASES) * self._interval / PHASES
        delay = (instant - self._clock.seconds()) % self._interval
        self._rest_for(delay)

    def _rest_for(self, seconds: float) -> None:
        self._state = TickState.PAUSED
        self._rest = self._clock.callLater(seconds, self._start_loop)

    def _start_loop(self) -> None:
        self._state, self._rest = TickState.TICKING, None
        self._loop.start(self._interval, now=True)

    def hasten(self) -> None:
        """Polls are due earlier than before: pause only until the next tick."""
        rest = self._rest
        if rest is not None:
            rest.reset((rest.getTime() - self._clock.seconds()) % self._interval)

    def stop(self) -> None:
        """Stop ticks and wakes."""
        if self._state is TickState.TICKING:
            self._loop.stop()
        self._state = TickState.STOPPED
        for timer in (self._rest, self._wake):
            if timer is not None:
                timer.cancel()
        self._rest = self._wake = None

    def wake_in(self, delay: float, cause: str) -> None:
        """Wake after ``delay`` seconds, unless an earlier wake is planned.

        :param cause: a label of the metric of wakes
        """
        if self._state is TickState.STOPPED:
            return
        call = self._wake
        if call is None:
            self._wake = self._clock.callLater(delay, self._wake_up)
            self._cause = cause
        elif call.getTime() > self._clock.seconds() + delay:
            call.reset(delay)
            self._cause = cause

    def _wake_up(self) -> None:
        self._wake = None
        now = self._clock.seconds()
        if self.held is None or not self.held(now):
            self._woken(now, self._cause)

    def _on_tick(self) -> None:
        now = self._clock.seconds()
        if self.held is not None and self.held(now):
            # Before a poll is booked that others can use.
            return
        poll_schedule = self._poll_schedule
        if poll_schedule is not None and not poll_schedule.next_poll_at(now):
            if poll_schedule.due - now >= 2 * self._interval:
                self._loop.stop()
                self._rest_for(poll_schedule.rest(now) * self._interval)
            return
        if self._wake is not None and self._cause == FOLLOW_UP:
            # This tick does what the wake was for.
            self._wake.cancel()
            self._wake = None
        try:
            self._tick(now)
        except Exception:
            # An exception that leaves a tick would stop the LoopingCall.
            _log.failure("a poller's tick failed", canister=self._of)
