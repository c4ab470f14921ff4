from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.rate_limit import (
    HONEST_BYTES,
    HONEST_FRAMES,
    RESUME_SECONDS,
    Buckets,
    ClientRates,
    DebtBucket,
    Rate,
    TokenBucket,
)

RATES = st.builds(Rate, st.floats(0.1, 1000.0), st.floats(1.0, 1000.0))
GAPS = st.lists(st.floats(0.0, 10.0), max_size=200)


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(Rate(2.0, 5.0), 100.0)
    assert [bucket.take(100.0) for _ in range(6)] == [True] * 5 + [False]
    assert not bucket.take(100.4)
    assert bucket.take(100.5)
    assert not bucket.take(100.5)
    assert [bucket.take(1000.0) for _ in range(6)] == [True] * 5 + [False]


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(Rate(1.0, 1.0), 100.0)
    assert bucket.take(100.0)
    assert not bucket.take(50.0)
    assert not bucket.take(50.5)


@given(RATES, GAPS)
def test_no_stretch_of_time_has_more_than_a_burst_and_its_rate(rate: Rate, gaps: list[float]) -> None:
    now, taken = 0.0, []
    bucket = TokenBucket(rate, now)
    for gap in gaps:
        now += gap
        if bucket.take(now):
            taken.append(now)
    for first in range(0, len(taken), 7):
        for last in range(first, len(taken), 7):
            stretch = taken[last] - taken[first]
            assert last - first + 1 <= rate.burst + stretch * rate.per_second + 1e-6 * (1 + len(taken))


@given(RATES, GAPS)
def test_who_keeps_to_the_rate_is_never_refused(rate: Rate, gaps: list[float]) -> None:
    now = 0.0
    bucket = TokenBucket(rate, now)
    for gap in gaps:
        now += max(gap, 1.001 / rate.per_second)
        assert bucket.take(now)


def test_keys_have_buckets_of_their_own_and_the_oldest_is_forgotten() -> None:
    buckets = Buckets(Rate(1.0, 1.0), most=2)
    assert buckets.take("a", 0.0)
    assert not buckets.take("a", 0.0)
    assert buckets.take("b", 0.0)
    assert not buckets.take("a", 0.1)
    assert buckets.take("c", 0.1)
    assert len(buckets) == 2
    assert not buckets.take("a", 0.2)
    assert buckets.take("b", 0.2)


class Sender:
    """Counts down as a connection does: reads of some frames each, none while it is paused."""

    def __init__(self, rates: ClientRates) -> None:
        self.rates = rates
        self.frames_left, self.bytes_left = rates.first_frames, rates.first_bytes
        self.looked = self.ready = 0.0
        self.flood = False

    def read(self, now: float, frames: int, octets: int) -> bool:
        """Whether the read took place."""
        if now < self.ready or self.flood:
            return False
        self.frames_left -= frames
        self.bytes_left -= octets
        if self.frames_left < 0 or self.bytes_left < 0:
            verdict = self.rates.judge(self.frames_left, self.bytes_left, now - self.looked)
            self.looked = now
            self.frames_left, self.bytes_left = verdict.frames_left, verdict.bytes_left
            self.flood = verdict.flood
            self.ready = now + verdict.pause
            assert (verdict.pause > 0) == bool(verdict.limit)
        return True


@given(
    RATES,
    st.lists(st.tuples(st.floats(0.0, 5.0), st.integers(1, 50)), max_size=200),
)
def test_a_client_gets_two_bursts_and_its_rate_at_most(rate: Rate, reads: list[tuple[float, int]]) -> None:
    sender = Sender(ClientRates(rate, None))
    now = 0.0
    done: list[tuple[float, int]] = []
    for gap, frames in reads:
        now += gap
        if sender.read(now, frames, 100):
            done.append((now, frames))
    for first in range(0, len(done), 5):
        total = 0
        for at, frames in done[first:]:
            total += frames
            # one read may go over, by what it brings
            allowed = 2 * rate.burst + (at - done[first][0]) * rate.per_second + frames
            assert total <= allowed + 1e-6 * (1 + total)


@given(RATES, st.lists(st.floats(0.0, 5.0), max_size=100))
def test_a_client_within_its_rate_is_never_stopped(rate: Rate, gaps: list[float]) -> None:
    sender = Sender(ClientRates(rate, Rate(rate.per_second * 100, rate.burst * 100)))
    now = 0.0
    for gap in gaps:
        now += max(gap, 1.001 / rate.per_second)
        assert sender.read(now, 1, 100)
        assert not sender.flood


@given(RATES, st.integers(1, 2000))
def test_a_debt_is_waited_out_and_more_than_an_honest_one_is_a_flood(rate: Rate, frames: int) -> None:
    verdict = ClientRates(rate, None).judge(rate.burst - frames, inf, 0.0)
    debt = frames - rate.burst
    assert verdict.bytes_left == inf
    assert verdict.flood is (debt > max(rate.burst, HONEST_FRAMES))
    if debt <= 0:
        assert (verdict.pause, verdict.limit) == (0.0, "")
    else:
        assert verdict.limit == "frames"
        assert abs(verdict.pause - debt / rate.per_second - RESUME_SECONDS) < 1e-6 * (1 + verdict.pause)


def test_the_longer_wait_names_the_limit() -> None:
    rates = ClientRates(Rate(10.0, 10.0), Rate(1000.0, 1000.0))
    assert (rates.first_frames, rates.first_bytes) == (10.0, 1000.0)
    assert rates.judge(-5.0, -100.0, 0.0).limit == "frames"
    assert rates.judge(-1.0, -900.0, 0.0).limit == "bytes"
    assert not rates.judge(1.0, -HONEST_BYTES, 0.0).flood
    assert rates.judge(1.0, -HONEST_BYTES - 1, 0.0).flood
    assert not rates.judge(-5.0, -100.0, 1.0).pause


def test_no_limit_is_no_limit() -> None:
    rates = ClientRates(None, None)
    assert (rates.first_frames, rates.first_bytes) == (inf, inf)
    assert rates.judge(-1e12, -1e12, 0.0) == (inf, inf, 0.0, "", False)


@pytest.mark.parametrize("rate", [Rate(2.0, 3.0), Rate(0.5, 1.0), Rate(10.0, 50.0)])
@pytest.mark.parametrize("refusals", [1, 7, 200])
def test_refusals_take_nothing_and_gain_nothing(rate: Rate, refusals: int) -> None:
    """However often it is refused meanwhile, there is a token again when one has been gained, and one alone."""
    bucket = TokenBucket(rate, 0.0)
    while bucket.take(0.0):
        pass
    whole = (1 - bucket.level) / rate.per_second
    for number in range(refusals):
        assert not bucket.take(whole * 0.99 * number / refusals)
    assert bucket.take(whole * 1.001)
    assert not bucket.take(whole * 1.001)


def test_refusals_of_a_key_take_nothing_and_gain_nothing() -> None:
    buckets = Buckets(Rate(1.0, 2.0))
    assert [buckets.take("a", 0.0) for _ in range(4)] == [True, True, False, False]
    assert [buckets.take("a", 0.1 * number) for number in range(1, 10)] == [False] * 9
    assert [buckets.take("a", 1.001) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("pauses", [[100.0], [1.0] * 30, [100.0, 0.0, 100.0]])
def test_a_bucket_that_is_full_gains_nothing(pauses: list[float]) -> None:
    rate = Rate(2.0, 5.0)
    level = rate.burst
    for pause in pauses:
        level = rate.refilled(level, pause)
    assert level == rate.burst
    bucket = TokenBucket(rate, 0.0)
    assert [bucket.take(sum(pauses)) for _ in range(6)] == [True] * 5 + [False]


def test_a_debt_is_paid_by_waiting_however_large_it_is() -> None:
    bucket = DebtBucket(Rate(10, 20), 0.0)
    assert bucket.spend(520, 0.0) == -500
    assert bucket.wait(0) == 50
    assert bucket.refill(25.0) == -250
    assert bucket.refill(50.0) == 0
    assert bucket.refill(1000.0) == 20
    # a clock that goes back gives nothing
    assert bucket.refill(999.0) == 20


def test_another_rate_caps_the_tokens_and_keeps_the_debt() -> None:
    bucket = DebtBucket(Rate(10, 20), 0.0)
    bucket.change(Rate(1, 2), 0.0)
    assert bucket.level == 2
    bucket.spend(12, 0.0)
    bucket.change(Rate(100, 200), 0.0)
    assert bucket.refill(0.1) == 0
