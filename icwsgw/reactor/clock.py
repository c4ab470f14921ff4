"""The clock of the whole program: the reactor, or a ``task.Clock`` in tests.

The protocols replace zope's IReactorTime and IDelayedCall, which type checkers do not understand.

Twisted's reactors use the wall clock, which can be set. Set back by an hour, it delays every timer by an hour; set
forward, it makes every timer due. :func:`use_monotonic_time` makes a reactor use the system's monotonic clock. Code
that needs the date uses :mod:`time`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.base import ReactorBase


class Timer(Protocol):
    """A delayed call (IDelayedCall)."""

    def active(self) -> int | bool:
        """Whether the call is still to come: not made, and not cancelled."""

    def cancel(self) -> None: ...

    def reset(self, secondsFromNow: float, /) -> None:  # noqa: N803
        """Move the call to ``secondsFromNow`` seconds from now."""

    def getTime(self) -> float:  # noqa: N802
        """When the call will be made, in seconds of its clock."""


class Clock(Protocol):
    """The part of IReactorTime that this program uses."""

    def seconds(self) -> float:
        """The time in seconds since an unspecified moment; never goes back."""

    def callLater(self, delay: float, callable: Callable[..., Any], /, *args: Any, **kw: Any) -> Any:  # noqa: N802
        """Call ``callable`` after ``delay`` seconds; returns a :class:`Timer`."""


def use_monotonic_time(reactor: Any, seconds: Callable[[], float] = time.monotonic) -> None:
    """Make a reactor use a clock that cannot be set. Delayed calls keep their remaining time.

    :param reactor: a reactor of Twisted; any other stays unchanged
    :param seconds: the clock
    """
    if not isinstance(reactor, ReactorBase):
        return
    ahead = reactor.seconds() - seconds()
    # Any: type checkers do not allow assignments to methods
    changed: Any = reactor
    changed.seconds = seconds
    # cancelled calls, too: they are in the same heap
    for call in (*changed._pendingTimedCalls, *changed._newTimedCalls):
        call.time -= ahead
        call.seconds = seconds
