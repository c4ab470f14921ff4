"""The shutdown of a gateway: its table, tried whole, and scripts of what happens."""

from __future__ import annotations

import itertools

import pytest

from icwsgw.core import drain_machine
from icwsgw.core.drain_machine import (
    DRAIN_PERIOD,
    HURRY_SECONDS,
    LARGEST_GROUP,
    LEAST_WINDOW,
    MIN_CLOSING_SECONDS,
    MOVE_SECONDS,
    TABLE,
    DrainEvent,
    DrainMachine,
    DrainState,
    plan_drain,
)

BEGIN = ["REFUSE_CLIENTS", "SET_DEADLINE", "END_SOME"]


def names(effects: drain_machine.DrainEffects) -> list[str]:
    return [effect.name for effect in effects]


def test_sessions_end_at_a_steady_rate() -> None:
    machine = DrainMachine()
    assert names(machine.drain(10.0, 50_000)) == BEGIN
    assert (machine.group, machine.pause, machine.limit) == (LARGEST_GROUP, 0.02, 20.0)
    assert names(machine.step(DrainEvent.NEXT)) == ["END_SOME"]
    assert names(machine.step(DrainEvent.LATE)) == ["END_LATE"]


@pytest.mark.parametrize("window", [0.05, 1.0, 10.0, 30.0, 600.0])
@pytest.mark.parametrize("sessions", [1, 2, 7, 59, 199, 201, 1_000, 4_999, 50_000])
def test_the_window_is_what_happens_however_few_sessions_there_are(window: float, sessions: int) -> None:
    """The groups follow each other evenly; the last one ends within the window, and not long before its end."""
    machine = DrainMachine()
    machine.drain(window, sessions)
    groups = -(-sessions // machine.group)
    last = (groups - 1) * machine.pause
    assert last < window
    assert last + machine.pause >= window * (1 - 1e-9)
    assert machine.group == 1 or machine.pause < 2 * DRAIN_PERIOD
    # no more system calls and no larger groups than needed
    assert machine.group == LARGEST_GROUP or machine.pause >= min(DRAIN_PERIOD, window) * (1 - 1e-9)


@pytest.mark.parametrize(
    ("sessions", "budget", "opens", "needed"),
    [
        (10_000, 250, 125.0, 80.0),
        (10_000, 250, None, 80.0),
        (10_000, 250, 50.0, 200.0),
        (10_000, None, 50.0, 200.0),
        (10_000, None, None, 0.0),
        (5, 250, 125.0, 0.04),
        (0, 250, 125.0, 0.0),
    ],
)
def test_a_drain_is_as_slow_as_the_network_takes_reconnections(
    sessions: int, budget: float | None, opens: float | None, needed: float
) -> None:
    plan = plan_drain(sessions, None, 600.0, budget, opens)
    assert plan.needed == pytest.approx(needed)
    assert plan.window == max(LEAST_WINDOW, plan.needed)
    assert not plan.hasty


def test_a_drain_is_no_longer_than_what_is_left_and_says_what_it_needed() -> None:
    assert plan_drain(10_000, None, 60.0, 250, 125.0) == (60.0, 80.0)
    assert plan_drain(10_000, None, 60.0, 250, 125.0).hasty
    assert plan_drain(10, None, 2.5, 250, 125.0) == (2.5, 0.08)
    assert not plan_drain(10, None, 2.5, 250, 125.0).hasty


@pytest.mark.parametrize("window", [0.0, 7.0, 3600.0])
def test_the_operators_window_counts(window: float) -> None:
    plan = plan_drain(10_000, window, 60.0, 250, 125.0)
    assert plan == (window, 80.0)
    assert plan.hasty is (window < 80)


@pytest.mark.parametrize(("window", "moving"), [(0.0, 0.0), (1.0, 3.0), (10.0, 8.0), (60.0, MOVE_SECONDS)])
def test_clients_that_can_move_get_some_time_but_not_that_of_ws_close(window: float, moving: float) -> None:
    machine = DrainMachine()
    machine.drain(window, 100)
    assert machine.moving == moving
    assert window + machine.moving <= machine.limit - HURRY_SECONDS
    machine.hurry(100)
    assert machine.moving == 0.0


@pytest.mark.parametrize("sessions", [0, 1, 5_000])
def test_without_a_window_all_sessions_end_at_once(sessions: int) -> None:
    machine = DrainMachine()
    machine.drain(0.0, sessions)
    assert machine.group == min(max(sessions, 1), LARGEST_GROUP)
    assert machine.pause == 0.0, "one group follows the other"
    assert machine.closing == MIN_CLOSING_SECONDS


@pytest.mark.parametrize("window", [0.0, 1.0])
def test_even_a_short_window_gives_canisters_some_seconds(window: float) -> None:
    machine = DrainMachine()
    machine.drain(window, 3)
    assert machine.limit == window + MIN_CLOSING_SECONDS


def test_a_hurry_ends_all_at_once_and_shortens_the_deadline() -> None:
    machine = DrainMachine()
    assert names(machine.hurry(7)) == []
    machine.drain(100.0, 1_000)
    assert names(machine.hurry(1_000)) == ["SET_DEADLINE", "END_SOME"]
    assert (machine.group, machine.pause) == (LARGEST_GROUP, 0.0)
    assert machine.limit == machine.closing == HURRY_SECONDS


def test_a_second_drain_changes_nothing() -> None:
    machine = DrainMachine()
    machine.drain(10.0, 50_000)
    before = machine.group, machine.limit
    assert names(machine.drain(1.0, 50_000)) == []
    assert (machine.group, machine.limit) == before


def test_a_drain_ends_once_and_stays_ended() -> None:
    machine = DrainMachine()
    machine.drain(10.0, 1)
    assert names(machine.step(DrainEvent.DEADLINE)) == ["GIVE_UP"]
    assert names(machine.step(DrainEvent.EMPTY)) == ["STOP_TIMERS", "REPORT"]
    assert names(machine.drain(10.0, 0)) == ["REPORT"]
    assert names(machine.hurry(0)) == []
    assert machine.state is DrainState.DRAINED


@pytest.mark.parametrize(("state", "event"), list(itertools.product(DrainState, DrainEvent)))
def test_every_event_in_every_state(state: DrainState, event: DrainEvent) -> None:
    machine = DrainMachine()
    machine.state = state
    if (state, event) in TABLE:
        assert machine.step(event) == TABLE[state, event][1]
        assert machine.state is TABLE[state, event][0]
    else:
        with pytest.raises(LookupError, match=f"^{event.name} in {state.name}$"):
            machine.step(event)


def test_the_module_shows_the_table() -> None:
    assert drain_machine.__doc__ is not None
    rows = [line.split(None, 3) for line in drain_machine.__doc__.splitlines() if line.startswith("    ")][2:]
    shown = {
        (DrainState[state], DrainEvent[event]): (DrainState[after], effects) for state, event, after, effects in rows
    }
    assert shown == {key: (after, ", ".join(names(effects)) or "-") for key, (after, effects) in TABLE.items()}
