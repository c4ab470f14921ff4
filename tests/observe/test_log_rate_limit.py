from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.observe.log_rate_limit import WINDOW, LogRateLimiter


def test_so_many_a_minute_then_a_count() -> None:
    log_limiter = LogRateLimiter(most=3)
    assert [log_limiter.allows("origin", "192.0.2.1", 0.1 * n) for n in range(10)] == [True] * 3 + [False] * 7
    assert log_limiter.allows("origin", "192.0.2.2", 1.0)
    assert log_limiter.allows("draining", "192.0.2.1", 1.0)
    assert log_limiter.ended(WINDOW - 0.1) == []
    assert log_limiter.ended(WINDOW) == [("origin", "192.0.2.1", 7)]
    assert log_limiter.allows("origin", "192.0.2.1", WINDOW)
    assert log_limiter.ended(WINDOW + 1.0) == []
    assert len(log_limiter) == 1
    assert log_limiter.left_out == 7


def test_many_peers_count_together() -> None:
    log_limiter = LogRateLimiter(most=2, keys=3)
    allowed = [log_limiter.allows("origin", f"peer{n}", 0.0) for n in range(10)]
    assert allowed == [True] * 5 + [False] * 5
    assert len(log_limiter) == 4
    assert log_limiter.ended(WINDOW) == [("origin", "others", 5)]
    assert len(log_limiter) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 20.0)), max_size=300))
def test_every_line_is_written_or_counted(events: list[tuple[str, float]]) -> None:
    log_limiter = LogRateLimiter(most=4, keys=2)
    now, written, counted = 0.0, 0, 0
    for peer, gap in events:
        now += gap
        counted += sum(count for _, _, count in log_limiter.ended(now))
        written += log_limiter.allows("reason", peer, now)
    counted += sum(count for _, _, count in log_limiter.ended(now + WINDOW + 1.0))
    assert written + counted == len(events)
    assert len(log_limiter) == 0
