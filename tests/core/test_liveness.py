"""What is due at an open connection: the table, tried whole, and scripts of visits."""

from __future__ import annotations

import itertools
from math import inf

import pytest

from icwsgw.core import liveness
from icwsgw.core.liveness import (
    TABLE,
    VISIT_SECONDS,
    LivenessDeadlines,
    LivenessEffect,
    LivenessEvent,
    LivenessState,
    PartialMessage,
    step,
)
from tests.support.machine_script import MachineScript

WAITS = (
    LivenessEffect.WAIT_INTERVAL,
    LivenessEffect.WAIT_SILENCE,
    LivenessEffect.WAIT_REST,
    LivenessEffect.WAIT_PONG,
)


class Script(MachineScript):
    """A connection that is visited when it is due, and its effects since the last check.

    Pings are sent each 25 s, pongs are due after 10 s, and a message has to be whole after 30 s.
    """

    def __init__(self, ping_interval: float = 25.0, opens_by: float = inf) -> None:
        self.deadlines = LivenessDeadlines(ping_interval, 10.0, 30.0)
        super().__init__(now=1000.0)
        self.opens_by = opens_by
        self.state = LivenessState.QUIET
        #: seconds before the next visit in which the last bytes come, if any come
        self.silent: float | None = None
        self.is_read = True
        self.messages = 0
        self.partial: PartialMessage | None = None
        self.in_message = False
        self.next: float | None = self.deadlines.wait(LivenessEffect.WAIT_INTERVAL, self.now, opens_by)

    def receives(self, before_the_visit: float = 0.0) -> Script:
        self.silent = before_the_visit
        return self

    def begins_a_message(self) -> Script:
        self.in_message = True
        return self.receives()

    def ends_a_message(self, begins_another: bool = False) -> Script:
        self.messages += 1
        self.in_message = begins_another
        return self.receives()

    def is_not_read(self) -> Script:
        self.is_read = False
        return self

    def is_read_again(self) -> Script:
        self.is_read = True
        return self

    def is_visited(self) -> Script:
        """The wheel visits it at the time that it has requested."""
        assert self.next is not None
        self.now += self.next
        self.partial = PartialMessage.seen(self.partial, self.messages, self.now) if self.in_message else None
        event = self.deadlines.event(self.now, self.opens_by, self.partial, self.silent is not None, self.is_read)
        silent, self.silent = self.silent or 0.0, None
        self.state, effects = step(self.state, event)
        self.next = None
        for effect in effects:
            if effect in WAITS:
                self.next = self.deadlines.wait(effect, self.now, self.opens_by, silent)
            else:
                self.recorded.append(effect.name)
        return self

    def asks(self, *effects: str, next_after: float | None) -> Script:
        assert self.recorded == list(effects)
        assert self.next == (None if next_after is None else pytest.approx(next_after))
        self.recorded = []
        return self


def test_a_client_that_sends_is_never_pinged() -> None:
    script = Script()
    for _ in range(10):
        script.receives().is_visited().asks(next_after=25.0)


@pytest.mark.parametrize("silent", [0.0, 1.0, 14.0, 24.0])
def test_a_client_that_has_sent_is_pinged_when_it_was_silent_for_the_interval(silent: float) -> None:
    script = Script().receives(silent).is_visited().asks(next_after=25.0 - silent)
    script.is_visited().asks("PING", next_after=10.0)


def test_without_pings_a_client_that_has_sent_is_visited_as_seldom_as_others() -> None:
    Script(ping_interval=0.0).receives(24.0).is_visited().asks(next_after=60.0)


def test_a_silent_client_is_pinged_and_ends_without_a_pong() -> None:
    script = Script().is_visited().asks("PING", next_after=10.0)
    script.is_visited().asks("REPORT_NO_PONG", "ABORT", next_after=None)
    assert script.state is LivenessState.ENDED


def test_a_client_that_only_answers_pings_gets_one_each_interval() -> None:
    script = Script().is_visited()
    for _ in range(5):
        script.receives().asks("PING", next_after=10.0).is_visited().asks(next_after=15.0).is_visited()


def test_a_client_that_is_not_read_is_not_asked_for_a_pong() -> None:
    script = Script().is_not_read()
    for _ in range(5):
        script.is_visited().asks(next_after=25.0)
    script.is_read_again().is_visited().asks("PING", next_after=10.0)
    # its pong may be among what is not read now
    script.is_not_read().is_visited().asks(next_after=15.0)


def test_without_pings_a_silent_client_stays() -> None:
    script = Script(ping_interval=0.0)
    for _ in range(5):
        script.is_visited().asks(next_after=VISIT_SECONDS)


def test_pings_that_are_turned_off_meanwhile_do_not_keep_a_client_that_owes_a_pong() -> None:
    script = Script().is_visited().asks("PING", next_after=10.0)
    script.deadlines = script.deadlines._replace(ping_interval=0.0)
    script.is_visited().asks("REPORT_NO_PONG", "ABORT", next_after=None)
    assert script.state is LivenessState.ENDED


def test_a_pong_that_comes_after_pings_were_turned_off_keeps_the_client() -> None:
    script = Script().is_visited().asks("PING", next_after=10.0)
    script.deadlines = script.deadlines._replace(ping_interval=0.0)
    script.receives().is_visited().asks(next_after=VISIT_SECONDS - 10.0).is_visited().asks(next_after=VISIT_SECONDS)


def test_a_visit_has_an_effect_for_whatever_it_finds() -> None:
    """The deadlines may have changed since the visit before, in this process or in a handover."""
    for state in set(LivenessState) - {LivenessState.ENDED}:
        assert not [event for event in LivenessEvent if (state, event) not in TABLE]


def test_a_session_that_is_not_opened_in_time_is_closed_whatever_else_comes() -> None:
    script = Script(opens_by=1030.0).receives().is_visited().asks(next_after=5.0)
    script.receives().is_visited().asks("CLOSE_NOT_OPENED", next_after=None)
    assert script.state is LivenessState.ENDED


def test_no_ping_delays_the_end_of_a_session_that_is_not_opened_in_time() -> None:
    script = Script(opens_by=1030.0).is_visited().asks(next_after=5.0)
    script.is_visited().asks("CLOSE_NOT_OPENED", next_after=None)
    assert script.now == 1030.0
    # the pong would be due at the same time
    script = Script(opens_by=1035.0).is_visited().asks("PING", next_after=10.0)
    script.is_visited().asks("CLOSE_NOT_OPENED", next_after=None)


def test_a_session_that_opens_meanwhile_has_its_ping_then() -> None:
    script = Script(opens_by=1030.0).is_visited().asks(next_after=5.0)
    script.opens_by = inf
    script.is_visited().asks("PING", next_after=10.0)
    script.is_visited().asks("REPORT_NO_PONG", "ABORT", next_after=None)


def test_a_pong_that_is_missed_shortly_before_the_session_has_to_be_open_ends_it() -> None:
    script = Script(opens_by=1040.0).is_visited().asks("PING", next_after=10.0)
    script.is_visited().asks("REPORT_NO_PONG", "ABORT", next_after=None)


def test_a_deadline_that_has_passed_does_not_shorten_a_wait() -> None:
    assert LivenessDeadlines(25.0, 10.0, 30.0).wait(LivenessEffect.WAIT_INTERVAL, 1000.0, 1000.0) == 25.0


def test_an_interval_that_the_time_for_the_pong_fills_leaves_a_second() -> None:
    assert LivenessDeadlines(5.0, 10.0, 30.0).wait(LivenessEffect.WAIT_REST, 0.0, inf) == 1.0


def test_a_message_that_does_not_end_is_closed_though_bytes_come() -> None:
    script = Script().begins_a_message().is_visited().asks(next_after=25.0)
    script.receives().is_visited().asks(next_after=25.0)
    script.receives().is_visited().asks("CLOSE_INCOMPLETE", next_after=None)


def test_the_time_of_a_message_begins_when_it_is_seen_first() -> None:
    script = Script().begins_a_message().is_visited()
    for _ in range(10):
        script.ends_a_message(begins_another=True).is_visited().asks(next_after=25.0)
    assert script.partial == PartialMessage(10, script.now)


def test_a_partial_message_is_the_same_until_a_whole_one_comes() -> None:
    first = PartialMessage.seen(None, 3, 10.0)
    assert first == PartialMessage(3, 10.0)
    assert PartialMessage.seen(first, 3, 20.0) is first
    assert PartialMessage.seen(first, 4, 20.0) == PartialMessage(4, 20.0)


def test_a_message_has_its_time_to_the_end() -> None:
    deadlines, partial = LivenessDeadlines(25.0, 10.0, 30.0), PartialMessage(0, 100.0)
    assert deadlines.event(130.0, inf, partial, True, True) is LivenessEvent.RECEIVED
    assert deadlines.event(130.1, inf, partial, True, True) is LivenessEvent.INCOMPLETE


@pytest.mark.parametrize(("state", "event"), list(itertools.product(LivenessState, LivenessEvent)))
def test_every_event_in_every_state(state: LivenessState, event: LivenessEvent) -> None:
    if (state, event) in TABLE:
        assert step(state, event) == TABLE[state, event]
    else:
        with pytest.raises(LookupError, match=f"^{event.name} in {state.name}$"):
            step(state, event)


def test_each_visit_asks_for_another_one_or_ends_the_connection() -> None:
    for after, effects in TABLE.values():
        assert sum(effect in WAITS for effect in effects) == (after is not LivenessState.ENDED)
    assert {event for _, event in TABLE} == set(LivenessEvent)
    assert {effect for _, effects in TABLE.values() for effect in effects} == set(LivenessEffect)


def test_the_module_shows_its_table() -> None:
    assert liveness.__doc__ is not None
    lines = [line.split(maxsplit=3) for line in liveness.__doc__.splitlines() if line.startswith("    ")][2:]
    shown = {(state, event): (after, effects) for state, event, after, effects in lines}
    assert shown == {
        (state.name, event.name): (after.name, ", ".join(effect.name for effect in effects))
        for (state, event), (after, effects) in TABLE.items()
    }
