"""A page that is too large is gone past, as little as can be, and never for one refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.oversize_search import FARTHEST, REFUSALS, SECONDS, OversizeSearch, too_large
from icwsgw.errors import AnswerTooLarge, HttpError, Rejected

N = 100


class Script:
    """A queue whose pages up to ``limit`` are too large, polled as a poller does, a quarter of a second apart."""

    def __init__(self, fits_from: int) -> None:
        self.search = OversizeSearch()
        self.fits_from = fits_from
        self.polls: list[int] = []
        self.now = 0.0

    def step(self) -> int | None:
        number = self.search.next_nonce() if self.search.seeking else N
        self.polls.append(number)
        sent, self.now = self.now, self.now + 0.25
        if number < self.fits_from:
            return self.search.refused(number, N, self.now, sent)
        self.search.fitted(number, N)
        return None

    def run(self, steps: int = 60) -> int | None:
        for _ in range(steps):
            beyond = self.step()
            if beyond is not None:
                return beyond
        return None


@pytest.mark.parametrize(
    ("fits_from", "polls"),
    [
        (101, [101, 100]),
        (102, [101, 102, 101]),
        (103, [101, 102, 104, 103, 102]),
        (104, [101, 102, 104, 103, 103]),
        (113, [101, 102, 104, 108, 116, 112, 114, 113, 112]),
    ],
)
def test_it_asks_farther_and_farther_then_halves_and_asks_once_more(fits_from: int, polls: list[int]) -> None:
    script = Script(fits_from)
    assert script.run() == fits_from
    assert script.polls == [N] * REFUSALS + polls
    assert script.search.first is None
    assert not script.search.seeking


@given(st.integers(1, 5000))
def test_the_first_number_that_fits_is_found_in_few_questions(distance: int) -> None:
    script = Script(N + distance)
    assert script.run() == N + distance
    assert len(script.polls) <= REFUSALS + 2 * distance.bit_length() + 2


def test_a_page_that_comes_after_all_ends_the_search() -> None:
    for refusals in range(1, 8):
        script = Script(10_000)
        script.run(refusals)
        assert script.search.first == N
        script.search.fitted(N, N)
        assert script.search.first is None
        assert not script.search.seeking


def test_refusals_that_were_in_flight_together_are_one() -> None:
    search = OversizeSearch()
    for _ in range(10):
        search.refused(N, N, 1.0, 0.0)
    assert not search.seeking
    search.refused(N, N, 2.0, 1.5)
    search.refused(N, N, 3.0, 2.5)
    assert search.seeking


def test_refusals_in_a_moment_do_not_count() -> None:
    search = OversizeSearch()
    for number in range(20):
        search.refused(N, N, number * SECONDS / 40, number * SECONDS / 40)
        assert not search.seeking
    search.refused(N, N, SECONDS, SECONDS)
    assert search.seeking


def test_numbers_outside_the_search_change_nothing() -> None:
    search = OversizeSearch()
    search.refused(N + 50, N, 0.0, 0.0)
    assert search.first is None
    script = Script(10_000)
    script.run(REFUSALS + 2)
    nonce = script.search.next_nonce()
    script.search.refused(nonce + 1, N, script.now, script.now)
    script.search.fitted(nonce + 5, N)
    assert script.search.next_nonce() == nonce


def test_a_cursor_that_has_moved_begins_anew() -> None:
    script = Script(10_000)
    script.run(REFUSALS + 2)
    script.search.refused(N + 7, N + 7, script.now, script.now)
    assert script.search.first == N + 7
    assert not script.search.seeking


def test_a_canister_that_refuses_everything_is_not_sought_for_ever() -> None:
    script = Script(1 << 62)
    assert script.run(500) is None
    assert max(script.polls) <= N + FARTHEST
    assert script.polls.count(N) > 3 * REFUSALS


def test_what_is_too_large() -> None:
    assert too_large(AnswerTooLarge("x"))
    assert too_large(Rejected(5, "payload size (3200000) cannot be larger than 3145728.", "IC0504"))
    for other in (Rejected(5, "trapped", "IC0503"), HttpError(413), None):
        assert not too_large(other)


def test_refusals_count_after_three_over_half_a_second() -> None:
    search = OversizeSearch()
    seeking = []
    for now in (1000.0, 1000.1, 1000.2, 1000.3, 1000.0 + SECONDS):
        search.refused(N, N, now, now)
        seeking.append(search.seeking)
    assert seeking == [False, False, False, False, True]
    # a new queue begins to count anew
    search.restart()
    seeking = []
    for now in (2000.0, 2001.0, 2002.0):
        search.refused(N, N, now, now)
        seeking.append(search.seeking)
    assert seeking == [False, False, True]


def test_it_looks_as_far_as_the_limit_and_then_begins_again() -> None:
    first = 5 * FARTHEST
    search = OversizeSearch()
    for now in range(REFUSALS):
        search.refused(first, first, float(now), float(now))
    polls = []
    while search.seeking:
        polls.append(search.next_nonce() - first)
        search.refused(search.next_nonce(), first, 10.0, 10.0)
    assert polls == [1 << power for power in range(FARTHEST.bit_length())]
    assert search.first is None


def test_a_search_ends_when_its_messages_have_come_another_way() -> None:
    script = Script(fits_from=N + 4)
    while not (script.search.seeking and script.search.low > N):
        script.step()
    # a probe has brought what the search was to go past
    script.search.fitted(script.search.next_nonce(), N + 3)
    assert script.search.first is None


@pytest.mark.parametrize("refusals", range(REFUSALS, REFUSALS + 12))
def test_a_replica_that_refuses_every_page_for_a_while_costs_no_message(refusals: int) -> None:
    script = Script(1 << 62)
    assert script.run(refusals) is None
    # the queue ends at N: pages from there on are empty, and were all the time
    script.fits_from = 0
    assert script.run() is None
    assert script.search.first is None


def test_a_refusal_that_was_in_flight_confirms_nothing() -> None:
    script = Script(103)
    while script.search.high is None or script.search.high - script.search.low > 1:
        script.step()
    low = script.search.low
    assert script.search.next_nonce() == low
    assert script.search.refused(low, N, script.now, script.now - 2.0) is None
    assert script.search.seeking
    assert script.search.refused(low, N, script.now, script.now) == 103
