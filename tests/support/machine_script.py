"""The base class of scripts that test state machines: it advances time, records effects and compares them.

A script describes one machine's history as a chain of calls. The methods of a subclass set preconditions or cause
events, and return the script; :meth:`MachineScript.shows` compares the machine's effects since its last call.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TypeVar

Self = TypeVar("Self", bound="MachineScript")


class MachineScript:
    """Drives one state machine: holds the time and the effects since the last check.

    :ivar now: seconds
    :ivar recorded: names of effects, in order; a subclass may append what an effect refers to
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.recorded: list[str] = []

    def after(self: Self, seconds: float) -> Self:
        """Advance the time."""
        self.now += seconds
        return self

    def shows(self: Self, *expected: str) -> Self:
        """Assert that exactly these effects occurred since the last check."""
        assert self.recorded == list(expected)
        return self.discards_effects()

    def discards_effects(self: Self) -> Self:
        """Drop the effects so far without checking them."""
        self.recorded = []
        return self

    def note(self: Self, effects: Iterable[Enum]) -> Self:
        """Record the machine's effects."""
        self.recorded += [effect.name for effect in effects]
        return self
