"""The clock of the devnet's canisters, which a test can move forward.

Canisters see the network's time plus what the clock was moved by. Certificates, blocks and expiry times keep the
network's own time: gateway, clients and agents compare it with their clocks, which nobody moves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from icwsgw.reactor.clock import Clock, Timer

#: How many timers may fire in one :meth:`CanisterClock.advance`: a timer that sets itself again at once has no end.
MAX_FIRED = 100_000


class CanisterTimer:
    """A delayed call of a :class:`CanisterClock`.

    :ivar due: when, in seconds of that clock
    """

    __slots__ = ("_clock", "_timer", "act", "due")

    def __init__(self, clock: CanisterClock, due: float, act: Callable[[], object]) -> None:
        self._clock = clock
        self.due = due
        self.act = act
        self._timer: Timer | None = None

    def active(self) -> bool:
        """Whether the call is still to come."""
        return self._timer is not None

    def cancel(self) -> None:
        """Do not make the call."""
        self.disarm()

    def reset(self, secondsFromNow: float, /) -> None:  # noqa: N803
        """Move the call to ``secondsFromNow`` seconds from now."""
        self.due = self._clock.seconds() + secondsFromNow
        self.arm()

    def getTime(self) -> float:  # noqa: N802
        """When the call will be made, in seconds of its clock."""
        return self.due

    def arm(self) -> None:
        """Wait on the clock below for what is left until the call is due."""
        self.disarm()
        self._timer = self._clock.wait(self)

    def disarm(self) -> None:
        """Stop to wait."""
        timer, self._timer = self._timer, None
        self._clock.forget(self)
        if timer is not None and timer.active():
            timer.cancel()


class CanisterClock:
    """A clock that shows the time of another one, or a later time.

    :param clock: the network's clock
    :param now_ns: returns the network's time, ns since 1970
    :ivar offset: seconds that it is ahead of the network's clock
    """

    def __init__(self, clock: Clock, now_ns: Callable[[], int]) -> None:
        self._clock = clock
        self._network_ns = now_ns
        self._timers: set[CanisterTimer] = set()
        self.offset = 0.0

    def seconds(self) -> float:
        """The time in seconds since an unspecified moment; never goes back."""
        return self._clock.seconds() + self.offset

    def now_ns(self) -> int:
        """The canisters' time, ns since 1970."""
        return self._network_ns() + round(self.offset * 1e9)

    def callLater(self, delay: float, callable: Callable[..., Any], /, *args: Any, **kw: Any) -> CanisterTimer:  # noqa: N802
        """Call ``callable`` after ``delay`` seconds of this clock."""
        timer = CanisterTimer(self, self.seconds() + delay, lambda: callable(*args, **kw))
        timer.arm()
        return timer

    def wait(self, timer: CanisterTimer) -> Timer:
        """Have a timer called when it is due; returns what waits for that."""
        self._timers.add(timer)
        waiting: Timer = self._clock.callLater(max(timer.due - self.seconds(), 0.0), self._fire, timer)
        return waiting

    def forget(self, timer: CanisterTimer) -> None:
        """Do not advance to a timer."""
        self._timers.discard(timer)

    def _fire(self, timer: CanisterTimer) -> None:
        timer.disarm()
        timer.act()

    def advance(self, seconds: float) -> None:
        """Move the clock forward. What becomes due meanwhile is called in its order, each at its own time.

        :raises ValueError: more than :data:`MAX_FIRED` timers became due; the clock stands where they ended
        """
        goal = self.seconds() + seconds
        fired = 0
        while self._timers and (timer := min(self._timers, key=lambda each: each.due)).due <= goal:
            if fired == MAX_FIRED:
                raise ValueError(f"more than {MAX_FIRED:,} timers became due: move the clock in smaller steps")
            fired += 1
            self.offset += max(timer.due - self.seconds(), 0.0)
            self._fire(timer)
        self.offset += max(goal - self.seconds(), 0.0)
        for timer in list(self._timers):
            timer.arm()
