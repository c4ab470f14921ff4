"""The machine of one ws_close: its table, tried whole, and scripts of what happens to a notice."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core import close_notice
from icwsgw.core.close_notice import (
    MAX_RETRY_SECONDS,
    OBSOLETE_SECONDS,
    TABLE,
    CloseNotice,
    NoticeEffect,
    NoticeEvent,
    NoticeState,
)
from tests.support.machine_script import MachineScript

TOLD = (NoticeEffect.NOTIFY_KNOWN, NoticeEffect.NOTIFY_NOT_KNOWN, NoticeEffect.NOTIFY_UNCERTAIN)


class Script(MachineScript):
    """A notice whose client left at 1000 s, and its effects since the last check."""

    def __init__(self) -> None:
        super().__init__(now=1000.0)
        self.notice = CloseNotice(self.now)

    def gets_a_place(self) -> Script:
        return self.note(self.notice.slot_granted(self.now))

    def happens(self, *events: NoticeEvent) -> Script:
        for event in events:
            self.note(self.notice.step(event))
        return self

    def is_refused(self) -> Script:
        return self.note(self.notice.refused())

    def fails(self, otherwise: NoticeEvent = NoticeEvent.FAILED, retry_after: float | None = None) -> Script:
        return self.note(self.notice.failed(otherwise, self.now, lambda: 0.5, retry_after))


def in_flight() -> Script:
    return Script().gets_a_place().shows("SEND")


@pytest.mark.parametrize(
    ("event", "effects"),
    [
        (NoticeEvent.REMOVED, ["NOTIFY_KNOWN", "END"]),
        (NoticeEvent.UNREADABLE, ["NOTIFY_UNCERTAIN", "END"]),
        (NoticeEvent.REJECTED, ["REPORT_REJECTED", "NOTIFY_UNCERTAIN", "END"]),
        (NoticeEvent.FAILED, ["REPORT_FAILED", "NOTIFY_UNCERTAIN", "END"]),
    ],
)
def test_what_the_canister_says_is_the_end(event: NoticeEvent, effects: list[str]) -> None:
    script = in_flight().happens(event).shows(*effects)
    assert script.notice.state is NoticeState.OVER


def test_an_answer_that_the_client_is_unknown_counts_at_the_first_attempt_alone() -> None:
    in_flight().is_refused().shows("REPORT_NOT_NEEDED", "NOTIFY_NOT_KNOWN", "END")
    # an earlier attempt may have been what removed the client
    again = in_flight().fails().happens(NoticeEvent.PAUSE_OVER).gets_a_place().shows("RETRY", "ENTER", "SEND")
    again.is_refused().shows("REPORT_NOT_NEEDED", "NOTIFY_UNCERTAIN", "END")


def test_what_may_pass_is_tried_again_until_the_time_is_up() -> None:
    script = in_flight()
    pauses = []
    for _ in range(3):
        script.fails().happens(NoticeEvent.PAUSE_OVER).gets_a_place().shows("RETRY", "ENTER", "SEND")
        pauses.append(round(script.notice.pause, 3))
    assert pauses == [0.075, 0.15, 0.3]
    script.after(MAX_RETRY_SECONDS - 0.1).fails().shows("RETRY")
    script.happens(NoticeEvent.PAUSE_OVER).gets_a_place().after(0.1).shows("ENTER", "SEND")
    script.fails().shows("REPORT_FAILED", "NOTIFY_UNCERTAIN", "END")


def test_a_transient_reject_ends_as_a_reject_when_the_time_is_up() -> None:
    script = in_flight().fails(NoticeEvent.REJECTED).shows("RETRY")
    script.happens(NoticeEvent.PAUSE_OVER).gets_a_place().after(MAX_RETRY_SECONDS).shows("ENTER", "SEND")
    script.fails(NoticeEvent.REJECTED).shows("REPORT_REJECTED", "NOTIFY_UNCERTAIN", "END")


def test_it_pauses_for_as_long_as_the_network_asks_to() -> None:
    script = in_flight().fails(retry_after=7.0)
    assert 7.0 <= script.notice.pause <= 7.0 * 1.5


@pytest.mark.parametrize(
    ("waited", "effects"),
    [
        (OBSOLETE_SECONDS - 0.1, ["SEND"]),
        (OBSOLETE_SECONDS, ["RELEASE_SLOT", "REPORT_GIVEN_UP", "NOTIFY_UNCERTAIN", "END"]),
    ],
)
def test_a_place_that_comes_when_the_canister_has_found_out_is_given_back(waited: float, effects: list[str]) -> None:
    Script().after(waited).gets_a_place().shows(*effects)


def test_what_is_given_up_leaves_nothing_behind() -> None:
    give_up = NoticeEvent.GIVEN_UP
    Script().happens(give_up).shows("LEAVE_QUEUE", "NOTIFY_UNCERTAIN", "END")
    in_flight().fails().shows("RETRY").happens(give_up).shows("CANCEL", "NOTIFY_UNCERTAIN", "END")
    # it is over before its call is cancelled, which reports a failure of the attempt
    in_flight().happens(give_up).shows("NOTIFY_UNCERTAIN", "END", "CANCEL").fails().happens(
        NoticeEvent.FAILED
    ).is_refused().shows()


@pytest.mark.parametrize(("state", "event"), list(itertools.product(NoticeState, NoticeEvent)))
def test_every_event_in_every_state(state: NoticeState, event: NoticeEvent) -> None:
    notice = CloseNotice(0.0)
    notice.state = state
    if state is NoticeState.OVER:
        assert notice.step(event) == ()
    elif (state, event) in TABLE:
        assert notice.step(event) == TABLE[state, event][1]
        assert notice.state is TABLE[state, event][0]
    else:
        with pytest.raises(LookupError, match=f"^{event.name} in {state.name}$"):
            notice.step(event)


@pytest.mark.parametrize("state", [NoticeState.IN_FLIGHT, NoticeState.PAUSING, NoticeState.OVER])
def test_only_one_that_waits_can_get_a_place(state: NoticeState) -> None:
    notice = CloseNotice(0.0)
    notice.state = state
    with pytest.raises(LookupError, match=f"GRANTED in {state.name}"):
        notice.slot_granted(0.0)


def test_each_way_to_the_end_ends_it_once_and_can_be_given_up() -> None:
    for (state, _), (after, effects) in TABLE.items():
        assert effects.count(NoticeEffect.END) == (after is NoticeState.OVER)
        assert sum(effect in TOLD for effect in effects) == (after is NoticeState.OVER)
        assert (state, NoticeEvent.GIVEN_UP) in TABLE
    assert {event for _, event in TABLE} == set(NoticeEvent)
    assert {effect for _, effects in TABLE.values() for effect in effects} == set(NoticeEffect)


def test_the_module_shows_its_table() -> None:
    assert close_notice.__doc__ is not None
    lines = [line.split(maxsplit=3) for line in close_notice.__doc__.splitlines() if line.startswith("    ")][2:]
    shown = {(state, event): (after, tuple(effects.split(", "))) for state, event, after, effects in lines}
    assert shown == {
        (state.name, event.name): (after.name, tuple(effect.name for effect in effects))
        for (state, event), (after, effects) in TABLE.items()
    }


@given(st.lists(st.sampled_from(["place", "removed", "refused", "fails", "pause", "give up", "wait"]), max_size=40))
def test_whatever_happens_it_ends_at_most_once_and_says_nothing_afterwards(words: list[str]) -> None:
    script = Script()
    notice = script.notice
    for word in words:
        over = notice.state is NoticeState.OVER
        if word == "wait":
            script.after(70.0)
        elif word == "give up":
            script.happens(NoticeEvent.GIVEN_UP)
        elif word == "place" and notice.state is NoticeState.WAITING:
            script.gets_a_place()
        elif word == "pause" and notice.state in (NoticeState.PAUSING, NoticeState.OVER):
            script.happens(NoticeEvent.PAUSE_OVER)
        elif notice.state in (NoticeState.IN_FLIGHT, NoticeState.OVER):
            if word == "removed":
                script.happens(NoticeEvent.REMOVED)
            elif word == "refused":
                script.is_refused()
            elif word == "fails":
                script.fails()
        assert not over or notice.state is NoticeState.OVER
    assert script.recorded.count("END") == (notice.state is NoticeState.OVER)
    assert sum(effect.startswith("TELL") for effect in script.recorded) <= 1
