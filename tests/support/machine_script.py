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
    """One machine, the time, and what the machine has asked for since the last look.

    :ivar now: seconds
    :ivar asked_for: names of effects, in order; with what they are about where a subclass says so
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.asked_for: list[str] = []

    def after(self: Self, seconds: float) -> Self:
        """Time passes."""
        self.now += seconds
        return self

    def shows(self: Self, *asked_for: str) -> Self:
        """The machine has asked for this since the last look, and for nothing else."""
        assert self.asked_for == list(asked_for)
        return self.forgets()

    def forgets(self: Self) -> Self:
        """What the machine has asked for so far does not matter."""
        self.asked_for = []
        return self

    def note(self: Self, effects: Iterable[Enum]) -> Self:
        """Note what the machine asks for."""
        self.asked_for += [effect.name for effect in effects]
        return self
