"""What is counted and logged when a session ends. The lines themselves are in test_log_lines.py."""

from __future__ import annotations

import pytest

from icwsgw.core.session_machine import State
from icwsgw.gateway.session_report import report_end
from tests.memory.world import World


@pytest.mark.parametrize(
    ("before", "left", "outcome", "durations"),
    [
        (State.INIT, True, "left", 0),
        (State.INIT, False, "failed", 0),
        (State.SETUP, True, "left", 1),
        (State.OPEN, True, None, 1),
        (State.DISMISSED, False, None, 1),
    ],
)
def test_each_end_is_counted_once(before: State, left: bool, outcome: str | None, durations: int) -> None:
    world = World()
    session = world.open(1)[0].session
    assert session is not None
    opens = dict(world.metrics.opens.values)
    session.cause = 1011
    report_end(session, before, "text", left)
    assert world.metrics.closes.values["1011"] == 1
    assert world.metrics.connection_duration.count == durations
    changed = {name for name, value in world.metrics.opens.values.items() if value != opens[name]}
    assert changed == ({outcome} if outcome else set())
