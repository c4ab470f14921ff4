"""The look-up in a table of transitions."""

from enum import Enum

import pytest

from icwsgw.core.transitions import transition


class Door(Enum):
    OPEN = 1
    SHUT = 2


class Push(Enum):
    PUSH = 1
    PULL = 2


TABLE = {(Door.OPEN, Push.PUSH): (Door.SHUT, ("bang",))}


def test_a_transition_of_the_table():
    assert transition(TABLE, Door.OPEN, Push.PUSH) == (Door.SHUT, ("bang",))


def test_an_event_that_cannot_happen_is_named_with_the_state():
    with pytest.raises(LookupError, match=r"^PULL in OPEN$"):
        transition(TABLE, Door.OPEN, Push.PULL)
