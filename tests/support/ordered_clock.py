"""A clock for simulations with hundreds of concurrent timers."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable

from twisted.internet.base import DelayedCall
from twisted.internet.task import Clock


class _Call(DelayedCall):
    """A delayed call that is moved to its new position as soon as its time changes; Twisted waits for the next sort."""

    def reset(self, secondsFromNow: float) -> None:
        super().reset(secondsFromNow)
        if self.resetter is not None:
            self.resetter(self)

    def delay(self, secondsLater: float) -> None:
        super().delay(secondsLater)
        if self.resetter is not None:
            self.resetter(self)


class OrderedClock(Clock):
    """A Clock that inserts each call at its position, where Twisted's sorts all calls at every turn."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> DelayedCall:  # type: ignore[override]
        call = _Call(self.seconds() + delay, callable, args, kw, self.calls.remove, self._put, self.seconds)
        insort(self.calls, call, key=DelayedCall.getTime)
        return call

    def _put(self, call: DelayedCall) -> None:
        """Move a call after its time has changed."""
        self.calls.remove(call)
        insort(self.calls, call, key=DelayedCall.getTime)

    def _sortCalls(self) -> None:
        """Do nothing: the calls are always sorted."""
