"""The table of a session's life, tried whole."""

from __future__ import annotations

import itertools

import pytest

from icwsgw.core import session_machine
from icwsgw.core.session_machine import LABELS, TABLE, Effect, Event, State, step

ENDS = {Event.CLIENT_LEFT, Event.END, Event.CANISTER_RESET}
POSSIBLE = {
    State.INIT: {Event.ENVELOPE, Event.CLIENT_LEFT, Event.END},
    State.SETUP: {Event.CANISTER_SPOKE, Event.OPEN_UNCERTAIN, Event.OPEN_REFUSED, *ENDS},
    State.UNCERTAIN: {Event.CANISTER_SPOKE, *ENDS},
    State.OPEN: {Event.REFUSED, *ENDS},
    State.DISMISSED: ENDS,
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_event_in_every_state(state: State, event: Event) -> None:
    if state is State.CLOSED:
        assert step(state, event) == (State.CLOSED, ())
    elif event in POSSIBLE[state]:
        following, effects = step(state, event)
        assert following > state
        assert len(set(effects)) == len(effects)
    else:
        with pytest.raises(LookupError, match=f"{event.name} in {state.name}"):
            step(state, event)


def test_nothing_in_the_table_is_impossible() -> None:
    assert dict.fromkeys(TABLE) == {(state, event): None for state, events in POSSIBLE.items() for event in events}


def test_a_close_notice_follows_exactly_when_the_canister_may_know_the_client() -> None:
    for (state, event), (following, effects) in TABLE.items():
        notified = Effect.QUEUE_CLOSE_NOTICE in effects
        knows = state >= State.SETUP and event in (Event.CLIENT_LEFT, Event.END)
        assert notified == (following is State.CLOSED and knows), (state, event)


def test_only_a_registered_session_is_unregistered() -> None:
    for (state, event), (following, effects) in TABLE.items():
        assert (Effect.REGISTER in effects) == (event is Event.ENVELOPE)
        assert (Effect.UNREGISTER in effects) == (following is State.CLOSED and state >= State.SETUP)


def test_the_client_key_is_registered_before_anything_leaves() -> None:
    _, effects = step(State.INIT, Event.ENVELOPE)
    assert effects == (Effect.REGISTER, Effect.RELAY)


def test_a_wait_begins_and_ends_with_its_state() -> None:
    waits = (State.UNCERTAIN, State.DISMISSED)
    for (state, _), (following, effects) in TABLE.items():
        assert (Effect.WAIT in effects) == (following in waits)
        assert effects[:1] == (Effect.STOP_WAITING,) if state in waits else Effect.STOP_WAITING not in effects


def test_operators_see_four_states() -> None:
    assert LABELS == ("init", "setup", "open", "closed")
    assert [state.label for state in (State.UNCERTAIN, State.DISMISSED)] == ["setup", "open"]


def test_the_module_shows_the_table() -> None:
    assert session_machine.__doc__ is not None
    rows = [line.split(None, 3) for line in session_machine.__doc__.splitlines() if line.startswith("    ")][2:]
    shown = {(State[state], Event[event]): (State[following], effects) for state, event, following, effects in rows}
    assert shown == {
        key: (following, ", ".join(effect.name for effect in effects) or "-")
        for key, (following, effects) in TABLE.items()
    }


def test_a_socket_is_closed_unless_the_client_closed_it() -> None:
    for (_, event), (following, effects) in TABLE.items():
        if following is State.CLOSED:
            assert (Effect.CLOSE in effects) == (event is not Event.CLIENT_LEFT)
