from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.backoff import (
    LONGEST_ERROR,
    LONGEST_PAUSE,
    LONGEST_RETRY_AFTER,
    RETRY_LONGEST,
    STEADY_FAILURES,
    HostBackoff,
    PollBackoff,
    retry_pause,
)
from icwsgw.core.failure_source import FailureSource


def backoff() -> PollBackoff:
    return PollBackoff(0.1, lambda: 1.0, 0.0)


def test_the_first_failures_keep_the_beat_then_pauses_grow() -> None:
    paced = backoff()
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


def test_an_overloaded_server_counts_at_once() -> None:
    paced = backoff()
    paced.failed(10.0, overloaded=True)
    assert paced.not_before == pytest.approx(10.2)
    paced.failed(10.0, overloaded=True, retry_after=7.0)
    assert paced.not_before == 10.0 + 7.0 * 1.25
    paced.failed(10.0, retry_after=1e9)
    assert paced.not_before == 10.0 + LONGEST_RETRY_AFTER * 1.25


def test_pauses_are_half_as_long_at_least() -> None:
    paced = PollBackoff(0.1, lambda: 0.0, 0.0)
    paced.failed(10.0, overloaded=True)
    assert paced.not_before == pytest.approx(10.1)
    assert paced.last_error == ""
    assert [retry_pause(attempt, lambda: 0.0) for attempt in (1, 2, 3)] == [0.05, 0.1, 0.2]
    assert [retry_pause(attempt, lambda: 1.0) for attempt in (1, 2, 3)] == [0.1, 0.2, 0.4]


def test_what_was_asked_when_the_pause_was_over_ends_its_growth() -> None:
    paced = backoff()
    paced.failed(10.0, overloaded=True, retry_after=7.0)
    assert paced.held_until == 18.75
    paced.succeeded(19.25, 0.5)
    paced.failed(20.0, overloaded=True)
    assert paced.held_until == pytest.approx(20.2)


def test_a_poll_that_is_given_up_is_a_round_trip_of_that_length_at_least() -> None:
    paced = backoff()
    paced.succeeded(1.0, 0.5)
    paced.gave_up(0.1)
    assert paced.rtt == 0.5
    paced.gave_up(2.5)
    assert paced.rtt == 1.0


def test_a_pause_of_the_host_that_is_over_delays_no_poller() -> None:
    paced = backoff()
    assert paced.host_until == 0.0
    paced.join(10.0, 10.0)
    assert (paced.not_before, paced.held_until) == (0.0, 0.0)
    host = HostBackoff()
    host.retry_after_received(b"a", 0.5, 20.0)
    assert host.until == 0.0, "one alone speaks for itself"
    host.retry_after_received(b"b", 20.0, 30.0)
    assert host.until == 0.0, "the first one's pause is over"


def test_one_good_answer_ends_a_pause_of_our_own() -> None:
    paced = backoff()
    for _ in range(40):
        paced.failed(10.0)
    assert paced.not_before > 11.0
    paced.succeeded(11.0, 0.5)
    assert (paced.failures, paced.not_before, paced.last_good, paced.rtt) == (0, 0.0, 11.0, 0.5)


def test_no_good_answer_ends_a_pause_that_was_asked_for() -> None:
    paced = backoff()
    paced.failed(10.0, overloaded=True, retry_after=4.0)
    paced.succeeded(11.0, 2.0)
    assert (paced.failures, paced.not_before) == (0, 15.0)
    assert paced.held_until == 15.0


def test_jitter_only_makes_a_pause_longer_that_was_asked_for() -> None:
    for retry_after, longest in [(1.0, 2.0), (3.0, 4.0), (8.0, 10.0), (60.0, 75.0)]:
        for jitter in (0.0, 0.5, 0.999):
            paced = PollBackoff(0.1, lambda jitter=jitter: jitter, 0.0)
            paced.failed(10.0, retry_after=retry_after)
            assert paced.not_before == pytest.approx(10.0 + retry_after + jitter * (longest - retry_after))


def test_answers_in_flight_together_are_one_word_of_an_overloaded_server() -> None:
    paced = backoff()
    for at in (10.0, 10.01, 10.02):
        paced.failed(at, overloaded=True)
    assert paced.not_before == pytest.approx(10.22)
    paced.failed(10.3, overloaded=True)
    assert paced.not_before == pytest.approx(10.7)
    # an answer to a query from before the pause does not make the next one short again
    paced.succeeded(10.8, 1.0)
    paced.failed(10.9, overloaded=True)
    assert paced.not_before == pytest.approx(11.7)
    paced.succeeded(12.0, 0.1)
    paced.failed(12.1, overloaded=True)
    assert paced.not_before == pytest.approx(12.3)


def test_each_sides_silence_is_reckoned_for_itself() -> None:
    paced = backoff()
    assert paced.silence(FailureSource.CANISTER, 100.0) == 0.0
    paced.succeeded(10.0, 0.1)
    # nothing is known of the first ten seconds but what ended them
    paced.failed(20.0, side=FailureSource.NETWORK)
    paced.failed(25.0, side=FailureSource.CANISTER)
    paced.failed(27.0, side=FailureSource.CANISTER)
    paced.failed(30.0, side=FailureSource.NETWORK)
    assert paced.silence(FailureSource.NETWORK, 31.0) == 10.0 + 5.0 + 1.0
    assert paced.silence(FailureSource.CANISTER, 31.0) == 5.0
    paced.succeeded(32.0, 0.1)
    paced.failed(33.0, side=FailureSource.CANISTER)
    assert paced.silence(FailureSource.NETWORK, 34.0) == 0.0
    assert paced.silence(FailureSource.CANISTER, 34.0) == 2.0


def test_a_pause_that_was_asked_for_is_not_the_canisters_silence_whatever_came_after_it() -> None:
    """A query that was in flight when the network asked to wait brings a failure of the canister."""
    paced = backoff()
    paced.failed(10.0, side=FailureSource.CANISTER)
    paced.failed(11.0, overloaded=True, retry_after=40.0, side=FailureSource.NETWORK)
    paced.failed(11.5, side=FailureSource.CANISTER)
    assert paced.held_until >= 51.0
    now = paced.held_until + 1.0
    assert paced.silence(FailureSource.CANISTER, now) == pytest.approx(12.0)
    paced.failed(now, side=FailureSource.CANISTER)
    assert paced.silence(FailureSource.CANISTER, now + 2.0) == pytest.approx(14.0)


def test_a_pause_of_all_pollers_is_no_silence() -> None:
    paced = backoff()
    paced.join(10.0, 30.0)
    paused = paced.held_until - 10.0
    paced.failed(40.0, side=FailureSource.CANISTER)
    assert paced.silence(FailureSource.CANISTER, 40.0) == 40.0 - paused
    for at in (70.0, 130.0):
        paced.join(at, at + 40.0)
    assert paced.excused == LONGEST_RETRY_AFTER
    paced.succeeded(200.0, 0.1)
    assert paced.excused == 0.0


def test_time_in_which_a_quota_forbids_polls_is_no_silence() -> None:
    paced = backoff()
    paced.quota_waits(10.0, True)
    paced.succeeded(20.0, 11.0)
    for now in (30.0, 50.0):
        paced.quota_waits(now, True)
    paced.quota_waits(80.0, False)
    paced.quota_waits(80.5, False)
    assert paced.excused == 60.0
    # both queries of this moment fail
    for now in (81.0, 81.1):
        paced.failed(now, side=FailureSource.CANISTER)
    assert paced.silence(FailureSource.CANISTER, 82.0) == 2.0
    # a query that was in flight can bring a failure while the poller waits
    paced.quota_waits(82.0, True)
    paced.quota_waits(200.0, False)
    assert paced.silence(FailureSource.CANISTER, 201.0) == 3.0
    # a pause that all pollers have to make excuses no less than before
    paced.join(201.0, 210.0)
    assert paced.excused == 178.0


def test_a_pause_and_a_wait_for_a_quota_that_overlap_are_excused_once() -> None:
    paced = backoff()
    paced.join(10.0, 18.0)
    assert (paced.held_until, paced.excused) == (20.0, 10.0)
    paced.quota_waits(12.0, True)
    paced.quota_waits(16.0, True)
    assert paced.excused == 10.0
    paced.quota_waits(25.0, False)
    assert paced.excused == 15.0


def test_two_canisters_that_are_asked_to_pause_speak_for_the_host() -> None:
    host = HostBackoff()
    host.retry_after_received(b"a", 10.0, 14.0)
    host.retry_after_received(b"a", 11.0, 15.0)
    assert host.until == 0.0
    host.retry_after_received(b"b", 12.0, 13.0)
    assert host.until == 13.0
    host.retry_after_received(b"b", 13.0, 18.0)
    assert host.until == 15.0
    host.retry_after_received(b"c", 20.0, 25.0)
    assert host.until == 15.0


def test_several_processes_hand_over_their_pauses_to_one() -> None:
    pausing, asked, new = HostBackoff(), HostBackoff(), HostBackoff()
    pausing.retry_after_received(b"a", 0.0, 50.0)
    pausing.retry_after_received(b"b", 0.0, 40.0)
    asked.retry_after_received(b"c", 0.0, 60.0)
    for document in (pausing.written(), asked.written(), HostBackoff().written()):
        new.read(document)
    assert new.until == 40.0
    # the last pause that a canister alone was asked for is the one of c
    new.retry_after_received(b"c", 55.0, 70.0)
    assert new.until == 40.0
    new.retry_after_received(b"d", 55.0, 90.0)
    assert new.until == 70.0


def test_who_joins_a_pause_of_the_host_waits_as_long_and_a_little_more() -> None:
    paced = backoff()
    paced.join(10.0, 18.0)
    assert (paced.not_before, paced.host_until, paced.failures) == (20.0, 18.0, 0)
    paced = backoff()
    paced.join(10.0, 9.0)
    assert (paced.not_before, paced.host_until) == (0.0, 9.0)


def test_round_trips_are_smoothed_and_abandoned_polls_count() -> None:
    paced = backoff()
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
    assert max(3.0, pause) <= retry_pause(attempt, lambda: jitter, 3.0) <= max(4.0, pause)
    assert LONGEST_RETRY_AFTER <= retry_pause(attempt, lambda: jitter, 1e9) <= 1.25 * LONGEST_RETRY_AFTER


def test_a_server_that_asks_for_no_pause_gets_one_too() -> None:
    paced = backoff()
    now, pauses = 10.0, []
    for _ in range(10):
        paced.failed(now, overloaded=True, retry_after=0.0)
        pauses.append(paced.not_before - now)
        now = paced.not_before
    assert pauses[0] == pytest.approx(0.2)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE)


def test_the_last_failure_is_remembered() -> None:
    paced = backoff()
    assert paced.last_error == ""
    paced.failed(10.0, error="HTTP 500")
    paced.succeeded(11.0, 0.1)
    assert (paced.last_error, paced.last_bad) == ("HTTP 500", 10.0)


def test_of_a_long_failure_the_beginning_is_remembered() -> None:
    paced = backoff()
    paced.failed(10.0, error="refused: " + "x" * 3_000_000)
    assert paced.last_error == ("refused: " + "x" * LONGEST_ERROR)[:LONGEST_ERROR]


@pytest.mark.parametrize(("second", "until"), [(10.0, 22.5), (2.0, 15.0)])
def test_of_two_pauses_that_overlap_the_longer_one_counts(second: float, until: float) -> None:
    """A query that was in flight gets a pause of its own, while the first one lasts."""
    paced = backoff()
    paced.failed(10.0, overloaded=True, retry_after=4.0)
    assert paced.held_until == 15.0
    paced.failed(10.0, overloaded=True, retry_after=second)
    assert (paced.held_until, paced.not_before) == (until, until)
    paced.succeeded(11.0, 0.5)
    assert paced.not_before == until


def test_each_second_of_pauses_of_the_host_that_overlap_is_excused_once() -> None:
    paced = backoff()
    for now, until in ((10.0, 15.0), (11.0, 22.0), (12.0, 14.0)):
        paced.join(now, until)
        assert paced.excused == paced.held_until - 10.0


@pytest.mark.parametrize(("second", "until"), [(20.0, 15.0), (12.0, 12.0)])
def test_a_hosts_pause_grows_with_a_longer_one_that_overlaps(second: float, until: float) -> None:
    host = HostBackoff()
    host.retry_after_received(b"one", 10.0, 15.0)
    assert host.until == 0.0
    host.retry_after_received(b"two", 11.0, second)
    assert host.until == until
    # a third, of which the second is the other witness
    host.retry_after_received(b"three", 11.5, 30.0)
    assert host.until == max(until, min(30.0, max(second, 15.0)))
