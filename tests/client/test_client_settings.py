import pytest

from icwsgw.client.client_settings import DEFAULT_SETTINGS
from icwsgw.client.moving_machine import MovePhase, MovingClientMachine, MovingEvent
from tests.client.test_moving_machine import requested_to_move


@pytest.mark.parametrize("field", ["connect_timeout", "open_timeout", "closing_timeout", "overlap", "move_pause"])
def test_all_times_end(field: str) -> None:
    assert 0 < getattr(DEFAULT_SETTINGS, field) <= 60


def test_a_session_opens_within_the_sdks_time() -> None:
    assert DEFAULT_SETTINGS.open_timeout == 60.0


def test_the_times_of_a_move_are_settings() -> None:
    _, machine = requested_to_move()
    assert isinstance(machine, MovingClientMachine)
    machine._settings = DEFAULT_SETTINGS._replace(overlap=3.0, move_pause=7.0)
    machine.next_lost(200.0)
    assert machine.deadline == 207.0
    machine.phase = MovePhase.OPENING
    machine._step(MovingEvent.OPENED, 300.0)
    assert machine.deadline == 303.0
