"""Time as the whole program takes it: the reactor, or a ``task.Clock`` under which hours pass in milliseconds.

Protocols in place of zope's IReactorTime and IDelayedCall, which type checkers cannot follow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A call that is still to come (IDelayedCall)."""

    def active(self) -> int | bool:
        """Whether it has neither happened nor been cancelled."""

    def cancel(self) -> None:
        """Call it off."""

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
