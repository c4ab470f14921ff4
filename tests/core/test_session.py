"""The table of a session's life, tried whole."""

from __future__ import annotations

import itertools

import pytest

from icwsgw.core.session import TABLE, Effect, Event, State, step

POSSIBLE = {
    State.INIT: {Event.ENVELOPE, Event.CLIENT_LEFT, Event.END},
    State.SETUP: {Event.CANISTER_SPOKE, Event.OPEN_REFUSED, Event.CLIENT_LEFT, Event.END, Event.CANISTER_GONE},
    State.OPEN: {Event.CLIENT_LEFT, Event.END, Event.CANISTER_GONE},
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


def test_a_canister_is_told_exactly_when_it_may_know_the_client() -> None:
    for (state, event), (following, effects) in TABLE.items():
        told = Effect.TELL in effects
        knows = state >= State.SETUP and event in (Event.CLIENT_LEFT, Event.END)
        assert told == (following is State.CLOSED and knows), (state, event)


def test_whoever_registers_is_unregistered_and_no_other() -> None:
    for (state, event), (following, effects) in TABLE.items():
        assert (Effect.REGISTER in effects) == (event is Event.ENVELOPE)
        assert (Effect.UNREGISTER in effects) == (following is State.CLOSED and state >= State.SETUP)


def test_the_client_key_is_registered_before_anything_leaves() -> None:
    _, effects = step(State.INIT, Event.ENVELOPE)
    assert effects == (Effect.REGISTER, Effect.RELAY)


def test_a_socket_is_closed_unless_the_client_closed_it() -> None:
    for (_, event), (following, effects) in TABLE.items():
        if following is State.CLOSED:
            assert (Effect.CLOSE in effects) == (event is not Event.CLIENT_LEFT)
