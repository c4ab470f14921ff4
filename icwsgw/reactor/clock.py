"""The clock of the whole program: the reactor, or a ``task.Clock`` in tests.

Protocols in place of zope's IReactorTime and IDelayedCall, which type checkers cannot follow.

Twisted's reactors take their time from the wall clock, which somebody may set: an hour back, and every timer waits an
hour longer; forward, and everything is late at once. :func:`use_monotonic_time` gives a reactor the system's monotonic
clock instead. What needs the date asks :mod:`time` for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.base import ReactorBase


class Timer(Protocol):
    """A call that is still to come (IDelayedCall)."""

    def active(self) -> int | bool:
        """Whether it has neither happened nor been cancelled."""

    def cancel(self) -> None: ...

    def reset(self, secondsFromNow: float, /) -> None:  # noqa: N803
        """Put it off, or bring it forward, to so many seconds from now."""

    def getTime(self) -> float:  # noqa: N802
        """When it will happen, on its clock."""


class Clock(Protocol):
    """The part of IReactorTime that is used."""

    def seconds(self) -> float:
        """The time in seconds, from wherever the clock counts; it only goes forward."""

    def callLater(self, delay: float, callable: Callable[..., Any], /, *args: Any, **kw: Any) -> Any:  # noqa: N802
        """Call after some seconds; gives a :class:`Timer`."""


def use_monotonic_time(reactor: Any, seconds: Callable[[], float] = time.monotonic) -> None:
    """Let a reactor take its time from a clock that nobody sets; calls that are still to come keep their distance.

    :param reactor: left as it is unless it is one of Twisted's own
    :param seconds: the clock
    """
    if not isinstance(reactor, ReactorBase):
        return
    ahead = reactor.seconds() - seconds()
    # for type checkers methods are not to be replaced
    changed: Any = reactor
    changed.seconds = seconds
    # the cancelled ones too: they are in the same heap
    for call in (*changed._pendingTimedCalls, *changed._newTimedCalls):
        call.time -= ahead
        call.seconds = seconds
