"""The flood guard: its table, tried whole, and scripts of what a client sends."""

from __future__ import annotations

import itertools
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core import flood_guard
from icwsgw.core.flood_guard import FLOOD_SIP, TABLE, FloodEffect, FloodEvent, FloodGuard, FloodState
from icwsgw.core.rate_limit import HONEST_FRAMES, RESUME_SECONDS, ClientRates, Rate
from tests.support.machine_script import MachineScript


class Script(MachineScript):
    """A client that may send 10 frames and 1,000 bytes a second, its connection, and what the guard asks of it.

    ``tokens`` is what the connection counts down; it asks the guard as soon as they are below 0.
    """

    def __init__(self) -> None:
        self.rates = ClientRates(Rate(10.0, 20.0), Rate(1000.0, 2000.0))
        super().__init__()
        self.guard = FloodGuard(self.now)
        self.frames, self.octets = self.rates.first_frames, self.rates.first_bytes
        self.opened = True

    def sends(self, frames: float, octets: float = 0.0) -> Script:
        self.frames -= frames
        self.octets -= octets
        if self.frames < 0 or self.octets < 0:
            self.note(self.guard.spent(self.rates, self.frames, self.octets, self.now, self.opened))
            self.frames, self.octets = self.guard.frames_left, self.guard.bytes_left
        return self

    def has_no_session(self) -> Script:
        self.opened = False
        return self

    def happens(self, event: FloodEvent) -> Script:
        return self.note(self.guard.step(event))

    def is_(self, state: FloodState, drops: bool = False) -> Script:
        assert self.guard.state is state
        assert self.guard.drops is drops
        return self


PAUSED = ("START_TIMER", "REPORT", "STOP_READING")
FLOODED = ("DISCARD", "CLOSE", "LINGER")


def test_a_client_within_its_limits_is_left_alone() -> None:
    script = Script()
    for _ in range(100):
        script.sends(1, 100).after(0.1)
    script.shows().is_(FloodState.READING)


def test_one_that_owes_tokens_is_not_read_until_it_has_them() -> None:
    script = Script().sends(25).shows(*PAUSED).is_(FloodState.PAUSED)
    assert script.guard.limit == "frames"
    assert script.guard.pause == pytest.approx(RESUME_SECONDS + 5 / 10)
    script.after(script.guard.pause).happens(FloodEvent.PAUSE_OVER).shows("START_READING").is_(FloodState.READING)
    script.sends(0.4).shows()


@pytest.mark.parametrize("start", [0.0, 86_400.0])
def test_the_first_look_grants_what_was_gained_since_the_start_and_no_more(start: float) -> None:
    rates = ClientRates(Rate(10.0, 20.0), None)
    guard = FloodGuard(start)
    # a burst at once, and one frame more
    assert guard.spent(rates, -1.0, inf, start, True)
    assert (guard.state, guard.frames_left) == (FloodState.PAUSED, -1.0)
    guard = FloodGuard(start)
    assert not guard.spent(rates, -1.0, inf, start + 0.5, True)
    assert guard.frames_left == 4.0


def test_bytes_are_a_limit_of_their_own() -> None:
    script = Script().sends(1, 2500).shows(*PAUSED)
    assert script.guard.limit == "bytes"
    assert script.guard.pause == pytest.approx(RESUME_SECONDS + 500 / 1000)


def test_what_one_read_still_brings_extends_the_pause() -> None:
    script = Script().sends(25).shows(*PAUSED).sends(10).shows("EXTEND_TIMER").is_(FloodState.PAUSED)
    assert script.guard.pause == pytest.approx(RESUME_SECONDS + 15 / 10)


def test_more_than_any_honest_client_owes_is_a_flood() -> None:
    Script().sends(20 + HONEST_FRAMES).shows(*PAUSED).is_(FloodState.PAUSED)
    script = Script().sends(21 + HONEST_FRAMES).shows(*FLOODED).is_(FloodState.DROPPING, drops=True)
    assert script.octets == -inf, "each further byte asks the guard"


def test_one_that_owes_tokens_and_cannot_wait_has_sent_a_flood() -> None:
    Script().has_no_session().sends(20).shows().sends(1).shows(*FLOODED)


def test_after_a_flood_each_read_is_dropped_and_followed_by_a_pause() -> None:
    script = Script().sends(1000).happens(FloodEvent.CLOSED).shows(*FLOODED)
    for _ in range(5):
        script.sends(0, 1).shows("START_TIMER", "STOP_READING").is_(FloodState.RESTING, drops=True)
        assert script.guard.pause == FLOOD_SIP
        # a TLS transport may have some more of the same read
        script.sends(0, 1).shows()
        script.after(FLOOD_SIP).happens(FloodEvent.PAUSE_OVER).shows("START_READING").is_(FloodState.DROPPING, True)


def test_a_flood_is_not_forgiven_however_long_it_is_ago() -> None:
    Script().sends(1000).shows(*FLOODED).after(3600.0).sends(0, 1).shows("START_TIMER", "STOP_READING")


def test_the_clients_close_frame_is_read_though_it_had_to_wait() -> None:
    script = Script().sends(25).happens(FloodEvent.CLOSED).shows(*PAUSED, "CANCEL_TIMER", "START_READING")
    script.is_(FloodState.READING)
    # a flood out of a pause: the close frame ends the pause as well
    script = Script().sends(25).sends(1000).shows(*PAUSED, *FLOODED).is_(FloodState.RESTING, drops=True)
    script.happens(FloodEvent.CLOSED).shows("CANCEL_TIMER", "START_READING").is_(FloodState.DROPPING, drops=True)


def test_without_limits_nothing_is_too_much() -> None:
    script = Script()
    script.rates = ClientRates(None, None)
    script.sends(1e9, 1e12).shows().is_(FloodState.READING)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(FloodState, FloodEvent)))
def test_every_event_in_every_state(state: FloodState, event: FloodEvent) -> None:
    guard = FloodGuard(0.0)
    guard.state = state
    if (state, event) in TABLE:
        assert guard.step(event) == TABLE[state, event][1]
        assert guard.state is TABLE[state, event][0]
    else:
        with pytest.raises(LookupError, match=f"^{event.name} in {state.name}$"):
            guard.step(event)


def test_reading_and_timer_follow_from_the_state() -> None:
    """Stopped in PAUSED and RESTING, with a timer; read in the others, without one."""
    stopped = {FloodState.PAUSED, FloodState.RESTING}
    for (state, event), (after, effects) in TABLE.items():
        starts = FloodEffect.START_TIMER in effects
        assert starts == (FloodEffect.STOP_READING in effects) == (state not in stopped and after in stopped)
        assert (FloodEffect.START_READING in effects) == (state in stopped and after not in stopped)
        ends = state in stopped and after not in stopped
        assert (FloodEffect.CANCEL_TIMER in effects) == (ends and event is not FloodEvent.PAUSE_OVER)
    assert {event for _, event in TABLE} == set(FloodEvent)
    assert {effect for _, effects in TABLE.values() for effect in effects} == set(FloodEffect)


def test_the_module_shows_its_table() -> None:
    assert flood_guard.__doc__ is not None
    lines = [line.split(maxsplit=3) for line in flood_guard.__doc__.splitlines() if line.startswith("    ")][2:]
    shown = {(state, event): (after, effects) for state, event, after, effects in lines}
    assert shown == {
        (state.name, event.name): (after.name, ", ".join(effect.name for effect in effects) or "-")
        for (state, event), (after, effects) in TABLE.items()
    }


@given(st.lists(st.tuples(st.sampled_from(["send", "wait", "pause", "close"]), st.integers(1, 400)), max_size=40))
def test_a_client_is_closed_for_a_flood_at_most_once(words: list[tuple[str, int]]) -> None:
    script = Script()
    for word, size in words:
        dropped = script.guard.drops
        if word == "send":
            script.sends(size)
        elif word == "wait":
            script.after(size / 100)
        elif word == "close":
            script.happens(FloodEvent.CLOSED)
        elif script.guard.state in (FloodState.PAUSED, FloodState.RESTING):
            script.happens(FloodEvent.PAUSE_OVER)
        assert script.guard.drops or not dropped
    assert script.recorded.count("CLOSE") == script.guard.drops
