"""The look-up in a machine's table of transitions (decision 0011).

Machines on the hottest paths look up their tables themselves, to save the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)
Effects = TypeVar("Effects")


def transition(table: Mapping[tuple[S, E], tuple[S, Effects]], state: S, event: E) -> tuple[S, Effects]:
    """The next state and the effects of an event.

    :raises LookupError: the event cannot happen in this state; the message names both
    """
    try:
        return table[state, event]
    except KeyError:
        raise LookupError(f"{event.name} in {state.name}") from None
