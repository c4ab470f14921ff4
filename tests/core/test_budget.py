from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.budget import BURST_SECONDS, RESERVE, Budget, Turns

INTERVAL = 0.1


def joined(budget: Budget, count: int, now: float = 0.0) -> list[Turns]:
    return [budget.join(now) for _ in range(count)]


def beats(turns: list[Turns], seconds: float, interval: float = INTERVAL) -> list[list[float]]:
    """The times at which each polls whose ticks are spread over the interval."""
    times: list[list[float]] = [[] for _ in turns]
    for tick in range(round(seconds / interval)):
        for index, turn in enumerate(turns):
            now = (tick + index / len(turns)) * interval
            if turn.beat(now):
                times[index].append(now)
    return times


def test_every_tick_is_a_beat_where_the_budget_suffices() -> None:
    budget = Budget(100, INTERVAL)
    turns = joined(budget, 7)
    assert not budget.stretched
    assert [len(times) for times in beats(turns, 5)] == [50] * 7
    assert budget.held_beats == 0


@pytest.mark.parametrize("late", [0.0, 0.02, 0.08])
def test_a_late_tick_costs_no_beat(late: float) -> None:
    turn = Budget(100, INTERVAL).join(0.0)
    assert all(turn.beat(tick * INTERVAL + (late if tick % 3 else 0.0)) for tick in range(60))


def test_too_many_pollers_beat_less_often_each_as_often_as_the_others() -> None:
    budget = Budget(200, INTERVAL)
    turns = joined(budget, 500)
    assert budget.stretched
    assert budget.interval == pytest.approx(500 / 150)
    times = beats(turns, 100)
    assert {len(each) for each in times} <= {29, 30, 31}
    gaps = [later - sooner for each in times for sooner, later in pairwise(each)]
    assert max(gaps) < budget.interval + 2 * INTERVAL
    assert min(gaps) > budget.interval - 2 * INTERVAL
    # and never do many come at once
    seconds = [int(time) for each in times for time in each]
    assert max(seconds.count(second) for second in range(100)) <= 165


def test_a_stretched_interval_need_not_be_a_multiple_of_the_ticks() -> None:
    budget = Budget(100, INTERVAL)
    turns = joined(budget, 10)
    assert budget.interval == pytest.approx(0.1333, abs=0.001)
    assert all(abs(len(each) - 75) <= 1 for each in beats(turns, 10))


def test_who_stays_beats_more_often_when_others_leave() -> None:
    budget = Budget(10, INTERVAL)
    turns = joined(budget, 75)
    assert budget.interval == pytest.approx(10)
    assert turns[74].due > 9
    for _ in range(74):
        budget.leave()
    times = beats(turns[74:], 10)[0]
    assert times[0] < 0.2
    assert len(times) > 70


def test_extras_get_what_beats_leave() -> None:
    budget = Budget(100, INTERVAL)
    joined(budget, 4)  # 40 beats a second
    assert budget.extras(10.0, 1000) == 61  # a second's worth, and the one that was free
    assert budget.extras(10.0, 5) == 0
    assert budget.extras(11.0, 1000) == pytest.approx(60, abs=1)
    assert budget.held_queries == 1000 - 61 + 5 + 1000 - 60


def test_extras_have_a_quarter_however_many_pollers_there_are() -> None:
    budget = Budget(100, INTERVAL)
    joined(budget, 1000)
    taken = sum(budget.extras(step / 100, 3) for step in range(1000))
    assert taken == pytest.approx(10 * 100 * RESERVE + 100 * RESERVE * BURST_SECONDS, abs=2)


def test_wakes_get_one_slot_after_the_other_in_their_order() -> None:
    budget = Budget(8, INTERVAL)
    turns = joined(budget, 60)  # a beat each ten seconds, two extras a second
    now = 100.0
    for turn in turns:
        turn.due = now + 10
    budget.extras(now, 1000)
    pauses = [turn.wake(now) for turn in turns[:4]]
    assert pauses == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert budget.extras(now + 1, 1) == 0, "a deep queue does not overtake them"
    # asking again neither costs another slot nor loses the one there is
    assert turns[1].wake(now + 0.6) == pytest.approx(0.4)
    assert [turn.wake(now + 2.0) for turn in turns[:4]] == [0.0] * 4
    assert turns[0].wake(now + 2.0) == pytest.approx(0.5)


def test_a_wake_gives_way_to_the_beat_that_comes_before_its_slot() -> None:
    budget = Budget(8, INTERVAL)
    turns = joined(budget, 60)
    budget.extras(100.0, 1000)
    turns[0].due = 100.4
    assert turns[0].wake(100.0) is None
    assert turns[1].wake(100.0) is None, "due already"
    turns[2].due = 100.6
    assert turns[2].wake(100.0) == pytest.approx(0.5), "the slot is still there"


def test_calls_count_but_their_debt_is_bounded() -> None:
    budget = Budget(100, INTERVAL)
    budget.join(0.0)
    for _ in range(10_000):
        budget.charge(50.0)
    assert budget.extras(50.0, 1) == 0
    assert budget.extras(50.0 + BURST_SECONDS, 10) == 1
    assert budget.extras(51.0 + BURST_SECONDS, 100) == pytest.approx(90, abs=1)


def test_a_charge_takes_no_slot_back() -> None:
    budget = Budget(8, INTERVAL)
    turns = joined(budget, 60)
    for turn in turns:
        turn.due = 200.0
    budget.extras(100.0, 1000)
    pauses = [turn.wake(100.0) for turn in turns[:9]]
    budget.charge(100.0, 3)
    after = turns[9].wake(100.0)
    assert after is not None
    assert after > max(pause for pause in pauses if pause is not None)


@given(
    st.integers(1, 400),
    st.integers(0, 200),
    st.lists(
        st.tuples(st.sampled_from(["beat", "wake", "deep", "call"]), st.integers(0, 199), st.floats(0, 0.05)),
        max_size=400,
    ),
)
def test_no_order_of_events_sends_more_than_the_budget(per_second: int, pollers: int, events: list[Any]) -> None:
    budget = Budget(per_second, INTERVAL)
    turns = joined(budget, pollers)
    now, extras, asked = 1000.0, 0, 0
    for turn in turns:
        turn.due = now + 1000.0
    for what, index, pause in events:
        now += pause
        turn = turns[index % pollers] if pollers else None
        if what == "deep":
            asked = 1 + index % 32
            taken = budget.extras(now, asked)
            assert 0 <= taken <= asked
            extras += taken
        elif what == "call":
            budget.charge(now)
        elif turn is not None and what == "wake":
            extras += turn.wake(now) == 0.0
    rate = per_second - pollers / budget.interval
    assert extras <= rate * (now - 1000.0 + BURST_SECONDS) + 1 + 1e-6
