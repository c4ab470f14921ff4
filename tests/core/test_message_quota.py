"""Held clients take turns, and the quota holds in the long run, whatever comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.message_quota import MessageQuota
from icwsgw.core.rate_limit import RESUME_SECONDS, Rate


def quota(messages: float | None = 10, octets: float | None = None) -> MessageQuota[str]:
    def rate(each: float | None) -> Rate | None:
        return None if each is None else Rate(each, 2 * each)

    return MessageQuota(rate(messages), rate(octets), 0.0)


def test_a_burst_passes_and_the_message_after_it_holds_its_client() -> None:
    limited = quota(10)
    assert [limited.came(100, 0.0) for _ in range(21)] == [""] * 20 + ["messages"]
    assert (limited.hold("a"), limited.hold("a")) == (True, False)
    # it owes a message, so that one token takes two
    assert limited.pause(0.0) == 0.2
    assert limited.release(0.19) == []
    assert limited.release(0.2) == ["a"]
    assert limited.pause(0.2) is None


def test_bytes_are_limited_too_and_a_debt_is_paid_before_any_client_continues() -> None:
    limited = quota(None, 1000)
    assert limited.came(2000, 0.0) == ""
    assert limited.came(5000, 0.0) == "bytes"
    limited.hold("a")
    assert limited.release(5.0) == []
    assert limited.pause(5.0) == RESUME_SECONDS
    assert limited.release(5.01) == ["a"]
    assert quota(10, 1000).came(2001, 0.0) == "bytes"
    slow = quota(None, 1)
    assert (slow.came(2, 0.0), slow.came(1, 0.0), slow.hold("a")) == ("", "bytes", True)
    assert (slow.release(1.5), slow.release(2.0)) == ([], ["a"])


def test_the_pause_is_shorter_when_some_of_it_has_passed() -> None:
    limited = quota(8)
    for _ in range(17):
        limited.came(1, 0.0)
    limited.hold("a")
    assert (limited.pause(0.0), limited.pause(0.125)) == (0.25, 0.125)


def test_who_is_not_held_may_leave() -> None:
    limited = quota()
    limited.hold("a")
    limited.forget("b")
    assert list(limited.held) == ["a"]


def test_no_more_clients_are_let_go_than_there_are_tokens_the_first_held_first() -> None:
    limited = quota(10)
    for number in range(25):
        if limited.came(1, 0.0):
            limited.hold(str(number))
    assert list(limited.held) == ["20", "21", "22", "23", "24"]
    assert limited.release(0.7) == ["20", "21"]
    limited.forget("22")
    assert limited.release(0.8) == ["23", "24"]


def test_another_limit_keeps_what_is_owed_and_none_ends_it() -> None:
    limited = quota(10)
    for _ in range(30):
        limited.came(1, 0.0)
    limited.hold("a")
    limited.change(Rate(100, 200), None, 0.0)
    assert limited.release(0.1) == []
    assert limited.release(0.12) == ["a"]
    limited.change(None, Rate(1, 2), 0.2)
    assert limited.came(1002, 0.2) == "bytes"
    limited.change(None, Rate(1000, 2000), 0.2)
    assert (limited.came(0, 1.0), limited.came(0, 1.25)) == ("bytes", "")
    limited.change(None, None, 1.25)
    assert [limited.came(1 << 20, 0.2) for _ in range(1000)] == [""] * 1000


@given(
    st.floats(1, 100),
    st.lists(st.tuples(st.integers(0, 9), st.floats(0, 0.5)), min_size=1, max_size=300),
)
def test_in_any_time_no_more_comes_than_the_rate_the_burst_and_a_read_of_each_client(
    per_second: float, reads: list[tuple[int, float]]
) -> None:
    """Ten clients send whenever they are read; a read brings one message."""
    limited: MessageQuota[int] = MessageQuota(Rate(per_second, 2 * per_second), None, 0.0)
    now, came = 0.0, 0
    for client, later in reads:
        now += later
        for freed in limited.release(now):
            assert freed not in limited.held
        if client in limited.held:
            continue
        came += 1
        if limited.came(1, now):
            limited.hold(client)
        assert came <= per_second * (now + 2) + 10
        assert (limited.pause(now) is None) is (not limited.held)


@given(st.integers(2, 8), st.integers(1, 5))
def test_a_client_that_sends_more_at_once_gets_no_more_turns_than_the_others(clients: int, greed: int) -> None:
    """All send whenever they are read; one sends several messages with each read."""
    limited: MessageQuota[int] = MessageQuota(Rate(10, 20), None, 0.0)
    turns = dict.fromkeys(range(clients), 0)
    now = 0.0
    for _ in range(400):
        now += 0.05
        limited.release(now)
        for client in turns:
            if client in limited.held:
                continue
            turns[client] += 1
            for _ in range(greed if client == 0 else 1):
                if limited.came(1, now):
                    limited.hold(client)
    greedy, *others = turns.values()
    assert max(others) - min(others) <= 3
    assert greedy <= min(others) + 3


def test_a_client_that_is_not_held_passes_while_others_are_held() -> None:
    limited = quota(10)
    for _ in range(25):
        if limited.came(1, 0.0):
            limited.hold("noisy")
    # its message is taken, and it waits behind the noisy one before its next
    assert limited.came(1, 0.1) == "messages"
    assert limited.hold("quiet")
    assert list(limited.held) == ["noisy", "quiet"]


@pytest.mark.parametrize(
    ("messages", "octets", "limit"), [(8, None, "messages"), (None, 8, "bytes"), (8, 8, "messages")]
)
def test_while_one_is_held_each_that_sends_is_held_for_the_limit(
    messages: float | None, octets: float | None, limit: str
) -> None:
    limited = quota(messages, octets)
    while not limited.came(1, 0.0):
        pass
    limited.hold("first")
    # nothing is owed any more, but the first one has not been let go yet
    assert limited.came(1, 1.0) == limit
    limited.release(1.0)
    assert limited.came(1, 1.0) == ""
