"""A poller's quota: later polls, smaller answers, and never more than the rate in the long run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.poll_quota import PAGE_MESSAGES, UNLIMITED, PollQuota
from icwsgw.core.rate_limit import Rate


def quota(polls: float | None = None, messages: float | None = None, octets: float | None = None) -> PollQuota:
    limited = PollQuota()

    def rate(each: float | None) -> Rate | None:
        return None if each is None else Rate(each, max(1.0, 2 * each))

    limited.change(rate(polls), rate(messages), rate(octets), 0.0)
    return limited


def test_without_limits_everything_goes() -> None:
    limited = quota()
    limited.sent(0.0)
    limited.delivered(1000, 1 << 30, 0.0)
    assert (limited.exceeded(0.0), limited.queries(9), limited.room(0.0)) == ("", UNLIMITED, (UNLIMITED, UNLIMITED))


def test_each_poll_takes_a_token() -> None:
    limited = quota(polls=1)
    assert limited.queries(0) == 2
    for _ in range(2):
        assert limited.exceeded(0.0) == ""
        limited.sent(0.0)
    assert limited.exceeded(0.99) == "polls"
    assert (limited.exceeded(1.0), limited.queries(0)) == ("", 1)


def test_its_polls_are_so_many_seconds_apart() -> None:
    assert (quota(polls=0.1).interval, quota(polls=4).interval, quota(messages=1, octets=1).interval) == (10, 0.25, 0)


def test_as_many_messages_are_taken_as_there_are_tokens_and_a_part_of_the_burst_is_waited_for() -> None:
    limited = quota(messages=10)
    assert limited.room(0.0) == (20, UNLIMITED)
    limited.delivered(20, 0, 0.0)
    assert limited.room(0.0) == (1, UNLIMITED)
    assert (limited.exceeded(0.49), limited.exceeded(0.5)) == ("messages", "")
    assert limited.room(0.5)[0] == 5


def test_bytes_are_owed_and_paid() -> None:
    limited = quota(octets=1000)
    assert limited.room(0.0) == (UNLIMITED, 2000)
    limited.delivered(1, 4000, 0.0)
    assert limited.room(0.0) == (UNLIMITED, 1)
    assert (limited.exceeded(2.25), limited.exceeded(2.5)) == ("bytes", "")


def test_a_small_burst_is_waited_for_until_it_has_one_token() -> None:
    for limited in (quota(messages=1), quota(octets=1)):
        limited.delivered(2, 2, 0.0)
        assert limited.exceeded(0.5) != ""
        assert limited.exceeded(1.0) == ""


def owing() -> PollQuota:
    """A quota of 2 polls, 4 messages and 8 bytes a second that has used up its bursts, and 16 of each more."""
    limited = quota(2, 4, 8)
    for _ in range(20):
        limited.sent(0.0)
    limited.delivered(24, 32, 0.0)
    return limited


def test_other_limits_keep_what_is_owed() -> None:
    """Each alone, for the first one that is exceeded hides the others."""
    for limits in ((16.0, None, None), (None, 16.0, None), (None, None, 16.0)):
        limited = owing()
        polls, messages, octets = (None if each is None else Rate(each, 1) for each in limits)
        limited.change(polls, messages, octets, 0.0)
        assert limited.exceeded(0.5) != ""
        assert limited.exceeded(1.0625) == ""


def test_what_is_owed_is_handed_over() -> None:
    before, after = owing(), quota(2, 4, 8)
    after.read(before.written())
    assert after.written() == before.written()
    assert [bucket["level"] for bucket in after.written().values()] == [-16.0, -16.0, -16.0]


def test_a_long_queue_is_read_ahead_only_as_far_as_tokens_are_worth_pages() -> None:
    limited = quota(messages=500)
    assert limited.exceeded(0.0) == ""
    assert limited.queries(0) == 1000 // PAGE_MESSAGES
    assert limited.queries(15) == 5
    # the first query of a tick may always go
    assert limited.queries(1000) == 1
    assert quota(messages=10).queries(0) == 1
    assert quota(octets=1 << 20).queries(0) == 1


@given(
    st.integers(1, 200),
    st.integers(1, 20),
    st.integers(1, 300),
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=200),
)
def test_polls_and_deliveries_keep_within_their_rates(messages: int, polls: int, page: int, ticks: list[float]) -> None:
    limited = quota(polls=polls, messages=messages)
    now, polled, delivered = 0.0, 0, 0
    for tick in ticks:
        now += tick
        if limited.exceeded(now):
            continue
        limited.sent(now)
        polled += 1
        got = min(page, limited.room(now)[0])
        limited.delivered(got, 0, now)
        delivered += got
        assert polled <= polls * (now + 2)
        assert delivered <= messages * (now + 2)


@given(st.integers(1, 100), st.floats(0.05, 0.3))
def test_what_a_quota_allows_is_used_while_the_queue_is_long(messages: int, tick: float) -> None:
    """The rest of a page is asked for again, so nothing of the rate is lost over a minute."""
    limited = quota(messages=messages)
    now, delivered = 0.0, 0
    while now < 60:
        now += tick
        if not limited.exceeded(now):
            got = min(PAGE_MESSAGES, limited.room(now)[0])
            limited.delivered(got, 0, now)
            delivered += got
    assert delivered >= 0.9 * min(messages, PAGE_MESSAGES / tick) * 60 - 1
