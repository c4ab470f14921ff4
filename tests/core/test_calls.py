"""The machine of a client's call: its table, its judgements, and that every script ends."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.calls import (
    ENDED,
    REFUSED_REPETITIONS,
    TABLE,
    TAKEN,
    TRANSIENT_ATTEMPTS,
    Call,
    CallEffect,
    CallEvent,
    CallState,
    Doubt,
    Gate,
    Heard,
    may_have_kept_state,
    repost_pause,
)

LOST = Heard(arrived=True, again=True)
BUSY = Heard(again=True)
REFUSED = Heard()


def in_flight() -> Call:
    call = Call()
    call.launch()
    call.granted()
    return call


def again(call: Call) -> None:
    call.step(CallEvent.PAUSE_OVER)
    call.granted()


def run(call: Call, *heard: Heard) -> list[str]:
    """Attempts that end so, one after the other; the events."""
    events = []
    for one in heard:
        if call.state is not CallState.IN_FLIGHT:
            again(call)
        event = call.judge(one)
        call.step(event)
        events.append(event.name)
    return events


@pytest.mark.parametrize(
    ("heard", "events"),
    [
        ([ENDED], ["ENDED"]),
        ([BUSY, ENDED], ["NOT_TAKEN", "ENDED"]),
        ([LOST, TAKEN, TAKEN, ENDED], ["LOST", "TAKEN", "TAKEN", "ENDED"]),
        ([REFUSED], ["REFUSED"]),
        ([BUSY, REFUSED], ["NOT_TAKEN", "REFUSED"]),
        # a refusal of a repetition says nothing of the first attempt
        ([LOST, REFUSED, ENDED], ["LOST", "DOUBTED", "ENDED"]),
        ([TAKEN, REFUSED, REFUSED, REFUSED], ["TAKEN", "DOUBTED", "DOUBTED", "UNRESOLVED"]),
        ([TAKEN, REFUSED, TAKEN, REFUSED, ENDED], ["TAKEN", "DOUBTED", "TAKEN", "DOUBTED", "ENDED"]),
        # three in all, but not in a row
        (
            [TAKEN, REFUSED, REFUSED, TAKEN, REFUSED, REFUSED, ENDED],
            ["TAKEN", "DOUBTED", "DOUBTED", "TAKEN", "DOUBTED", "DOUBTED", "ENDED"],
        ),
        # the network that has it may be busy when asked for its end
        ([TAKEN, BUSY, LOST, ENDED], ["TAKEN", "TAKEN", "TAKEN", "ENDED"]),
        ([Heard(arrived=True), ENDED], ["DOUBTED", "ENDED"]),
    ],
)
def test_what_attempts_mean(heard: list[Heard], events: list[str]) -> None:
    assert run(in_flight(), *heard) == events


def test_a_transient_reject_is_believed_a_few_times() -> None:
    events = run(in_flight(), *[Heard(transient=True)] * TRANSIENT_ATTEMPTS)
    assert events == ["NOT_TAKEN"] * (TRANSIENT_ATTEMPTS - 1) + ["REFUSED"]


def test_the_next_call_knows_nothing_of_the_doubts_about_the_last() -> None:
    call = in_flight()
    run(call, TAKEN, REFUSED, ENDED)
    call.launch()
    assert (call.doubt, call.attempts, call.refused) == (Doubt.NONE, 0, 0)


@pytest.mark.parametrize(
    ("gate", "heard", "may"),
    [
        (Gate.SHUT, BUSY, True),
        (Gate.LEFT, LOST, True),
        (Gate.LEFT, TAKEN, False),
        (Gate.OPEN, TAKEN, True),
    ],
)
def test_what_the_network_has_is_not_given_up_before_the_canister_has_spoken(
    gate: Gate, heard: Heard, may: bool
) -> None:
    call = in_flight()
    assert not call.may_be_given_up
    call.gate = gate
    run(call, heard)
    assert call.may_be_given_up is may


def test_an_event_out_of_place_is_a_fault() -> None:
    with pytest.raises(LookupError, match="GRANTED in IDLE"):
        Call().step(CallEvent.GRANTED)


@pytest.mark.parametrize(
    ("event", "short"),
    [(CallEvent.LAUNCH, Call.launch), (CallEvent.GRANTED, Call.granted), (CallEvent.ENDED, Call.ended)],
)
@pytest.mark.parametrize("state", list(CallState))
def test_the_short_ways_are_those_of_the_table(
    event: CallEvent, short: Callable[[Call], None], state: CallState
) -> None:
    call = Call()
    call.state = state
    if (state, event) in TABLE:
        short(call)
        assert call.state is TABLE[state, event][0]
    else:
        with pytest.raises(LookupError, match=f"{event.name} in {state.name}"):
            short(call)


def test_every_state_is_reached_and_left_and_whatever_ends_a_call_goes_on() -> None:
    assert {state for state, _ in TABLE} == set(CallState)
    assert {after for after, _ in TABLE.values()} == set(CallState)
    assert {event for _, event in TABLE} == set(CallEvent)
    assert {effect for _, effects in TABLE.values() for effect in effects} == set(CallEffect)
    for (_, event), (after, effects) in TABLE.items():
        if after is CallState.IDLE and event is not CallEvent.GIVEN_UP:
            assert effects[-1] is CallEffect.NEXT


@given(st.lists(st.sampled_from([LOST, BUSY, REFUSED, TAKEN, Heard(transient=True), Heard(arrived=True)]), max_size=60))
def test_a_call_can_be_written_down_at_any_time(heard: list[Heard]) -> None:
    call = in_flight()
    for one in heard:
        if call.state is CallState.IDLE:
            break
        if call.state is not CallState.IN_FLIGHT:
            again(call)
        copy = Call.load(tuple(json.loads(json.dumps(call.dump()))))
        assert copy.dump() == call.dump()
        assert copy.judge(one) is call.judge(one)
        event = call.judge(one)
        call.step(event)
        assert event is not CallEvent.REFUSED or call.doubt is Doubt.NONE
        assert call.refused <= REFUSED_REPETITIONS + 1


@pytest.mark.parametrize(
    ("code", "error_code", "may"),
    [
        (4, None, True),
        (4, "IC0406", True),
        (5, "IC0503", False),
        (5, "IC0506", True),
        (3, None, False),
        (2, None, False),
    ],
)
def test_only_an_explicit_reject_may_have_kept_the_number(code: int, error_code: str | None, may: bool) -> None:
    assert may_have_kept_state(code, error_code) is may


def test_repostings_come_about_once_a_second_or_as_asked() -> None:
    assert [repost_pause(lambda: 0.0), repost_pause(lambda: 0.5), repost_pause(lambda: 1.0)] == [0.75, 1.0, 1.25]
    assert repost_pause(lambda: 0.0, 7.0) == 7.0


def test_repostings_of_ws_open_come_as_far_apart_as_it_has_taken() -> None:
    """The longer its end is to come, the less often it is asked for; it is known no later than after twice the time."""
    assert [repost_pause(lambda: 0.5, took=took) for took in (0.0, 0.5, 4.0, 60.0)] == [1.0, 1.0, 4.0, 10.0]
    assert repost_pause(lambda: 0.5, 30.0, took=4.0) == 30.0


def test_a_call_that_was_never_sent_has_no_attempts() -> None:
    assert (Call().attempts, Call().refused) == (0, 0)


def test_a_call_that_is_given_up_while_it_pauses_leaves_no_pause() -> None:
    for before in (CallState.RETRYING, CallState.REPOSTING):
        assert TABLE[before, CallEvent.GIVEN_UP] == (CallState.IDLE, (CallEffect.CANCEL_PAUSE,))
    assert TABLE[CallState.WAITING, CallEvent.GIVEN_UP] == (CallState.IDLE, (CallEffect.FORGET_PLACE,))
    assert TABLE[CallState.IN_FLIGHT, CallEvent.GIVEN_UP] == (CallState.IDLE, (CallEffect.CANCEL_CALL,))
