from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.admin.history import INTERVAL, SLOTS, History, merge_histories

T = 1_700_000_000.0


def history(*values: float | None, start: float = T, name: str = "up") -> dict[str, Any]:
    """What comes through a pipe from a process that has seen these values."""
    history = History([name])
    for number, value in enumerate(values):
        history.add(start + number * INTERVAL, {name: value})
    document: dict[str, Any] = json.loads(json.dumps(history.document()))
    return document


def up(*parts: dict[str, Any]) -> list[float | None]:
    series: list[float | None] = merge_histories(parts, {})["series"]["up"]
    return series


def test_values_in_their_order() -> None:
    history = History(["up", "lag"])
    assert history.last("up") is None
    assert history.document() == {"interval": INTERVAL, "end": 0, "series": {"up": [], "lag": []}}
    history.add(T, {"up": 1, "lag": None})
    history.add(T + 5.3, {"up": 2})
    assert history.document() == {"interval": 5.0, "end": T + 5, "series": {"up": [1, 2], "lag": [None, None]}}
    assert history.last("up") == 2


def test_slots_that_were_missed_have_no_value_and_the_same_slot_again_has_the_later() -> None:
    history = History(["up"])
    for seconds, value in ((0, 1), (20, 2), (21, 3)):
        history.add(T + seconds, {"up": value})
    assert history.document()["series"]["up"] == [1, None, None, None, 3]
    history.add(T + 20 + SLOTS * INTERVAL * 2, {"up": 4})
    assert history.document()["series"]["up"] == [4], "after a long sleep"
    history.add(T, {"up": 5})
    assert history.document() == {"interval": 5.0, "end": T, "series": {"up": [5]}}, "the clock was set back"


def test_as_many_as_wanted() -> None:
    values = history(*range(SLOTS + 7))["series"]["up"]
    assert values == list(range(7, SLOTS + 7))


def test_processes_add_up_slot_by_slot() -> None:
    assert up(history(1, 2, 3), history(10, 20, 30)) == [11, 22, 33]
    assert up(history(1, 2, 3), history(20, 30, start=T + INTERVAL)) == [1, 22, 33], "one began later"
    assert up(history(1, None, 3), history(10, None, None)) == [11, None, 3]


def test_a_slot_that_is_not_complete_yet_is_left_out() -> None:
    assert up(history(1, 2, 3), history(10, 20)) == [11, 22]
    merged = merge_histories([history(1, 2, 3), history(10, 20)], {})
    assert merged["end"] == T + INTERVAL


def test_a_process_that_has_ended_leaves_its_past() -> None:
    assert up(history(10, 20), history(1, 2, 3, 4, 5, 6)) == [11, 22, 3, 4, 5, 6]
    assert up(history(10), history(1, start=T + SLOTS * INTERVAL)) == [1], "for ten minutes"


def test_how_values_become_one_is_a_matter_of_the_series() -> None:
    parts = [history(1, 5, name="lag"), history(4, 2, name="lag")]
    assert merge_histories(parts, {"lag": max})["series"] == {"lag": [4, 5]}


def test_nothing() -> None:
    assert merge_histories([], {}) == {"interval": INTERVAL, "end": 0, "series": {}}
    assert merge_histories([history()], {}) == {"interval": INTERVAL, "end": 0, "series": {"up": []}}
    assert up(history(), history(1, 2)) == [1, 2]


@given(st.lists(st.lists(st.none() | st.integers(0, 9), min_size=1, max_size=2 * SLOTS), min_size=1, max_size=4))
def test_nothing_is_counted_twice_or_lost(worlds: list[list[float | None]]) -> None:
    longest = max(map(len, worlds))
    parts = [history(*values, start=T + (longest - len(values)) * INTERVAL) for values in worlds]
    expected = sum(value or 0 for values in worlds for value in values[-SLOTS:])
    assert sum(value or 0 for value in up(*parts)) == expected
    assert len(up(*parts)) == min(longest, SLOTS)


def test_another_process_goes_on_with_the_past() -> None:
    history_ = History(["up", "lag"])
    history_.add(T, {"up": 9.0})
    history_.continue_from(history(1.0, 2.0, start=T - INTERVAL))
    assert history_.document()["series"] == {"up": [1.0, 2.0], "lag": [None, None]}
    history_.add(T + INTERVAL, {"up": 3.0, "lag": 0.5})
    assert history_.document()["series"] == {"up": [1.0, 2.0, 3.0], "lag": [None, None, 0.5]}


@pytest.mark.parametrize("series", [{}, {"up": []}, {"other": [1.0]}])
def test_a_past_without_a_value_of_our_series_is_none(series: dict[str, Any]) -> None:
    history_ = History(["up"])
    history_.continue_from({"interval": INTERVAL, "end": T, "series": series})
    history_.add(T, {"up": 9.0})
    assert history_.document() == {"interval": INTERVAL, "end": T, "series": {"up": [9.0]}}


@pytest.mark.parametrize("past", [{}, {"interval": 1.0, "end": T, "series": {"up": [1]}}, history()])
def test_a_past_of_another_kind_is_none(past: dict[str, Any]) -> None:
    history_ = History(["up"])
    history_.add(T, {"up": 9.0})
    history_.continue_from(past)
    assert history_.document()["series"] == {"up": [9.0]}
