"""The clock of one canister in Python: while the canister is stopped, its timers wait, as on the IC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from icwsgw.reactor.clock import Clock, Timer


class PausableTimer:
    """A delayed call of a :class:`PausableClock`."""

    __slots__ = ("_act", "_clock", "_due", "_timer")

    def __init__(self, clock: PausableClock, delay: float, act: Callable[[], object]) -> None:
        self._clock = clock
        self._act = act
        self._due = 0.0
        self._timer: Timer | None = None
        self.reset(delay)

    def active(self) -> bool:
        """Whether the call is still to come, now or after the pause."""
        return self._timer is not None or self._clock.holds(self)

    def cancel(self) -> None:
        """Do not make the call."""
        timer, self._timer = self._timer, None
        self._clock.drop(self)
        if timer is not None and timer.active():
            timer.cancel()

    def reset(self, secondsFromNow: float, /) -> None:  # noqa: N803
        """Move the call to ``secondsFromNow`` seconds from now."""
        self.cancel()
        self._due = self._clock.seconds() + secondsFromNow
        self._timer = self._clock.wait(secondsFromNow, self._fire)

    def getTime(self) -> float:  # noqa: N802
        """When the call is due, in seconds of its clock; a pause makes it later."""
        return self._due

    def _fire(self) -> None:
        self._timer = None
        if self._clock.paused:
            self._clock.hold(self)
        else:
            self._act()


class PausableClock:
    """A clock whose time goes on during a pause, but whose calls that become due wait for its end.

    :param clock: the clock below
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._paused = False
        # in the order in which they became due
        self._held: dict[PausableTimer, None] = {}

    @property
    def paused(self) -> bool:
        """Whether calls wait. When the pause ends, those that are due are made in the next turn of the event loop."""
        return self._paused

    @paused.setter
    def paused(self, value: bool) -> None:
        self._paused = value
        if not value:
            held, self._held = self._held, {}
            for timer in held:
                timer.reset(0)

    def seconds(self) -> float:
        """The time in seconds since an unspecified moment; never goes back."""
        return self._clock.seconds()

    def callLater(self, delay: float, callable: Callable[..., Any], /, *args: Any, **kw: Any) -> PausableTimer:  # noqa: N802
        """Call ``callable`` after ``delay`` seconds, but not during a pause."""
        return PausableTimer(self, delay, lambda: callable(*args, **kw))

    def wait(self, delay: float, act: Callable[[], object]) -> Timer:
        """Call ``act`` after ``delay`` seconds of the clock below."""
        waiting: Timer = self._clock.callLater(delay, act)
        return waiting

    def hold(self, timer: PausableTimer) -> None:
        """Keep a call that became due during the pause."""
        self._held[timer] = None

    def holds(self, timer: PausableTimer) -> bool:
        """Whether a call waits for the end of the pause."""
        return timer in self._held

    def drop(self, timer: PausableTimer) -> None:
        """Forget a call that waits, if it does."""
        self._held.pop(timer, None)
