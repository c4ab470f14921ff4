from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.pacing import (
    LONGEST_PAUSE,
    LONGEST_RETRY_AFTER,
    RETRY_LONGEST,
    STEADY_FAILURES,
    Pacing,
    retry_pause,
)


def pacing() -> Pacing:
    return Pacing(0.1, lambda: 1.0, 0.0)


def test_the_first_failures_keep_the_beat_then_pauses_grow() -> None:
    paced = pacing()
    for _ in range(STEADY_FAILURES):
        paced.failed(10.0)
    assert paced.not_before == 0.0
    pauses = []
    for _ in range(10):
        paced.failed(10.0)
        pauses.append(paced.not_before - 10.0)
    assert pauses == sorted(pauses)
    assert pauses[0] == pytest.approx(0.2)
    assert pauses[-1] == LONGEST_PAUSE


def test_an_overloaded_server_is_believed_at_once() -> None:
    paced = pacing()
    paced.failed(10.0, overloaded=True)
    assert paced.not_before == pytest.approx(10.2)
    paced.failed(10.0, overloaded=True, retry_after=7.0)
    assert paced.not_before == 17.0
    paced.failed(10.0, retry_after=1e9)
    assert paced.not_before == 10.0 + LONGEST_RETRY_AFTER


def test_one_good_answer_ends_it() -> None:
    paced = pacing()
    paced.failed(10.0, overloaded=True)
    paced.succeeded(11.0, 0.5)
    assert (paced.failures, paced.not_before, paced.last_good, paced.rtt) == (0, 0.0, 11.0, 0.5)


def test_round_trips_are_smoothed_and_abandoned_polls_count() -> None:
    paced = pacing()
    paced.succeeded(0.0, 0.1)
    paced.succeeded(0.0, 0.9)
    assert paced.rtt == pytest.approx(0.2)
    before = paced.rtt
    paced.gave_up(1.0)
    assert before < paced.rtt < 1.0
    paced.gave_up(0.0)
    assert paced.rtt < 1.0


@given(st.integers(1, 10_000), st.floats(0, 0.999))
def test_retries_never_hurry_and_never_wait_for_ever(attempt: int, jitter: float) -> None:
    pause = retry_pause(attempt, lambda: jitter)
    assert 0.04 < pause <= RETRY_LONGEST
    assert retry_pause(attempt, lambda: jitter, 0.0) == pause
    assert retry_pause(attempt, lambda: jitter, 3.0) == max(3.0, pause)
    assert retry_pause(attempt, lambda: jitter, 1e9) == LONGEST_RETRY_AFTER


def test_a_server_that_asks_for_no_pause_gets_one_all_the_same() -> None:
    paced = pacing()
    pauses = []
    for _ in range(10):
        paced.failed(10.0, overloaded=True, retry_after=0.0)
        pauses.append(paced.not_before - 10.0)
    assert pauses[0] == pytest.approx(0.2)
    assert pauses[-1] == LONGEST_PAUSE


def test_the_last_failure_is_remembered() -> None:
    paced = pacing()
    assert paced.last_error == ""
    paced.failed(10.0, error="HTTP 500")
    paced.succeeded(11.0, 0.1)
    assert (paced.last_error, paced.last_bad) == ("HTTP 500", 10.0)
