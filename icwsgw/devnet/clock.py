"""Time as the devnet takes it: a reactor, or a ``task.Clock`` under which hours pass in milliseconds.

Protocols in place of zope's IReactorTime, which type checkers cannot follow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A call that is still to come."""

    def active(self) -> bool:
        """Return whether it has neither happened nor been cancelled."""

    def cancel(self) -> None:
        """Call it off."""


class Clock(Protocol):
    """The part of IReactorTime that is used."""

    def seconds(self) -> float:
        """Return the time in seconds."""

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kw: object) -> Timer:  # noqa: N802
        """Call after some seconds."""
