"""The tables of a client's calls, tried whole."""

from __future__ import annotations

import itertools

import pytest

from icwsgw.core import call_table
from icwsgw.core.call_table import GATES, TABLE, CallEffect, CallEvent, CallState, GateEvent, SendGate
from icwsgw.core.client_calls import ClientCalls, WaitingBytes
from icwsgw.core.messages import ClientEnvelope


@pytest.mark.parametrize(("state", "event"), list(itertools.product(CallState, CallEvent)))
def test_every_event_in_every_state(state: CallState, event: CallEvent) -> None:
    calls: ClientCalls[ClientEnvelope] = ClientCalls(WaitingBytes())
    calls.state = state
    if (state, event) in TABLE:
        following, effects = TABLE[state, event]
        assert calls.step(event) == effects
        assert calls.state is following
        assert len(set(effects)) == len(effects)
    else:
        with pytest.raises(LookupError, match=f"^{event.name} in {state.name}$"):
            calls.step(event)


def test_every_state_is_reached_and_left_and_whatever_ends_a_call_goes_on() -> None:
    assert {state for state, _ in TABLE} == set(CallState)
    assert {after for after, _ in TABLE.values()} == set(CallState)
    assert {event for _, event in TABLE} == set(CallEvent)
    requested = {effect for _, effects in TABLE.values() for effect in effects}
    assert requested == set(CallEffect) - {CallEffect.FULL, CallEffect.DRAINED, CallEffect.ALL_SENT}
    for (_, event), (after, effects) in TABLE.items():
        if after is CallState.IDLE and event is not CallEvent.GIVEN_UP:
            assert effects[-1] is CallEffect.NEXT


def test_what_leaves_a_state_ends_what_the_state_has_under_way() -> None:
    cancels = {
        CallState.WAITING: {CallEffect.LEAVE_QUEUE, CallEffect.RELEASE_SLOT, CallEffect.SUBMIT},
        CallState.RETRYING: {CallEffect.CANCEL_PAUSE, CallEffect.ENTER},
        CallState.RESUBMITTING: {CallEffect.CANCEL_PAUSE, CallEffect.ENTER},
    }
    for (state, event), (_, effects) in TABLE.items():
        # what another process had under way ended with it
        if state in cancels and event is not CallEvent.HANDED_OVER:
            assert len(cancels[state] & set(effects)) == 1


def test_the_gate_opens_once() -> None:
    assert GATES == {
        (SendGate.SHUT, GateEvent.SPOKE): SendGate.OPEN,
        (SendGate.SHUT, GateEvent.LEFT): SendGate.LEFT,
        (SendGate.LEFT, GateEvent.WITHDRAWN): SendGate.WITHDRAWN,
    }


def test_the_module_shows_its_table() -> None:
    assert call_table.__doc__ is not None
    lines = [line.split(maxsplit=3) for line in call_table.__doc__.splitlines() if line.startswith("    ")][2:]
    shown = {(state, event): (after, tuple(effects.split(", "))) for state, event, after, effects in lines}
    assert shown == {
        (state.name, event.name): (after.name, tuple(effect.name for effect in effects))
        for (state, event), (after, effects) in TABLE.items()
    }
