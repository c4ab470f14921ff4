from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.observe.repeats import WINDOW, Repeats


def test_so_many_a_minute_then_a_count() -> None:
    repeats = Repeats(most=3)
    assert [repeats.allows("origin", "192.0.2.1", 0.1 * n) for n in range(10)] == [True] * 3 + [False] * 7
    assert repeats.allows("origin", "192.0.2.2", 1.0)
    assert repeats.allows("draining", "192.0.2.1", 1.0)
    assert repeats.ended(WINDOW - 0.1) == []
    assert repeats.ended(WINDOW) == [("origin", "192.0.2.1", 7)]
    assert repeats.allows("origin", "192.0.2.1", WINDOW)
    assert repeats.ended(WINDOW + 1.0) == []
    assert len(repeats) == 1
    assert repeats.left_out == 7


def test_many_peers_count_together() -> None:
    repeats = Repeats(most=2, keys=3)
    allowed = [repeats.allows("origin", f"peer{n}", 0.0) for n in range(10)]
    assert allowed == [True] * 5 + [False] * 5
    assert len(repeats) == 4
    assert repeats.ended(WINDOW) == [("origin", "others", 5)]
    assert len(repeats) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 20.0)), max_size=300))
def test_every_line_is_written_or_counted(events: list[tuple[str, float]]) -> None:
    repeats = Repeats(most=4, keys=2)
    now, written, counted = 0.0, 0, 0
    for peer, gap in events:
        now += gap
        counted += sum(count for _, _, count in repeats.ended(now))
        written += repeats.allows("reason", peer, now)
    counted += sum(count for _, _, count in repeats.ended(now + WINDOW + 1.0))
    assert written + counted == len(events)
    assert len(repeats) == 0
