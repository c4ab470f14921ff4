"""Which ticks poll, under a budget that does not suffice for all."""

from __future__ import annotations

from itertools import pairwise

import pytest

from icwsgw.core.poll_schedule import LONGEST_REST
from icwsgw.core.request_budget import MOST_TICKS, NEWCOMER_TICKS, RequestBudget
from icwsgw.core.request_kind import RequestKind
from tests.support.poll_schedules import INTERVAL, joined, poll_times

TICK = RequestKind.TICK


def test_every_tick_polls_where_the_budget_suffices() -> None:
    budget = RequestBudget(100, INTERVAL)
    turns = joined(budget, 7)
    assert not budget.stretched
    assert [len(times) for times in poll_times(turns, 5)] == [50] * 7
    assert budget.held_ticks == 0
    assert budget.sent[TICK] == 350


@pytest.mark.parametrize("late", [0.0, 0.02, 0.08])
def test_a_late_tick_costs_no_poll(late: float) -> None:
    turn = RequestBudget(100, INTERVAL).join(0.0)
    assert all(turn.next_poll_at(tick * INTERVAL + (late if tick % 3 else 0.0)) for tick in range(60))


def test_too_many_pollers_poll_less_often_each_as_often_as_the_others() -> None:
    budget = RequestBudget(200, INTERVAL)
    turns = joined(budget, 500)
    assert budget.stretched
    assert budget.interval == pytest.approx(500 / 150)
    times = poll_times(turns, 100)
    assert max(map(len, times)) - min(map(len, times)) <= 2
    assert sum(map(len, times)) == pytest.approx(100 * 200 * MOST_TICKS, rel=0.05)
    gaps = [later - sooner for each in times for sooner, later in pairwise(each)]
    assert max(gaps) < budget.interval + 2 * INTERVAL
    assert min(gaps) > budget.interval - 2 * INTERVAL
    # and never do many come at once
    seconds = [int(time) for each in times for time in each]
    assert max(seconds.count(second) for second in range(100)) <= 165


def test_a_stretched_interval_need_not_be_a_multiple_of_the_ticks() -> None:
    budget = RequestBudget(100, INTERVAL)
    turns = joined(budget, 10)
    assert budget.interval == pytest.approx(0.1333, abs=0.001)
    assert all(abs(len(each) - 75) <= 1 for each in poll_times(turns, 10))


def test_who_stays_polls_more_often_when_others_leave() -> None:
    budget = RequestBudget(10, INTERVAL)
    turns = joined(budget, 75)
    assert budget.interval == pytest.approx(10)
    assert turns[74].due > 9
    for turn in turns[:74]:
        budget.leave(turn)
    times = poll_times(turns[74:], 10)[0]
    assert times[0] < 0.2
    assert len(times) > 70


def test_newcomers_have_few_polls_however_many_there_are() -> None:
    for per_second, most in ((None, NEWCOMER_TICKS), (160, 10)):
        budget = RequestBudget(per_second, INTERVAL)
        known = joined(budget, 3)
        newcomers = joined(budget, 1000, newcomer=True)
        count = sum(map(len, poll_times(newcomers, 30)))
        assert most * 30 * 0.95 <= count <= most * 30 * 1.01 + 2
        assert all(len(times) == 50 for times in poll_times(known, 5, start=30.0))


def test_a_newcomer_that_is_accepted_polls_like_all_others() -> None:
    budget = RequestBudget(None, INTERVAL)
    newcomers = joined(budget, 1000, newcomer=True)
    assert newcomers[999].due > 19
    assert newcomers[999].newcomer
    budget.accept(newcomers[999], 1.0)
    budget.accept(newcomers[999], 1.0)
    assert not newcomers[999].newcomer
    assert len(poll_times(newcomers[999:], 5, start=1.0)[0]) == 50
    assert (budget.pollers, budget.newcomers.pollers) == (1000, 999)
    for turn in newcomers:
        budget.leave(turn)
    assert budget.pollers == 0


def test_all_that_are_accepted_count() -> None:
    budget = RequestBudget(10, INTERVAL)
    for turn in joined(budget, 75, newcomer=True):
        budget.accept(turn, 1.0)
    assert (budget.pollers, budget.newcomers.pollers) == (75, 0)
    assert budget.interval == pytest.approx(10)


def test_who_leaves_frees_one_poll_and_no_more() -> None:
    budget = RequestBudget(10, INTERVAL)
    turns = joined(budget, 75)
    budget.leave(turns[0])
    # 74 polls are scheduled, 7.5 a second
    assert budget.join(0.0).due == pytest.approx(74 / 7.5, abs=2 * INTERVAL)


def test_a_poll_schedules_the_next_one_from_its_own_time_if_it_is_not_too_late() -> None:
    turn = RequestBudget(100, INTERVAL).join(0.0)
    assert turn.next_poll_at(0.0)
    assert turn.due == pytest.approx(0.1)
    assert turn.next_poll_at(0.06), "early, by less than half a tick"
    assert turn.due == pytest.approx(0.2)
    assert turn.next_poll_at(0.24)
    assert turn.due == pytest.approx(0.3)
    assert turn.next_poll_at(10.0), "much too late"
    assert turn.due == pytest.approx(10.05)


def test_ticks_that_do_not_poll_are_counted() -> None:
    budget = RequestBudget(10, 1.0)
    turn = joined(budget, 75)[0]
    turn.due = 2.5
    assert [turn.next_poll_at(now) for now in (0.5, 1.0, 1.5, 2.0)] == [False, False, False, True]
    assert budget.held_ticks == 3


def test_a_slot_is_used_once() -> None:
    budget = RequestBudget(160, INTERVAL)
    turn = budget.join(0.0)
    turn.due = 200.0
    budget.extras(100.0, 1000)
    pause = turn.wake(100.0)
    assert pause is not None
    assert turn.wake(100.0 + pause) == 0.0
    again = turn.wake(100.0)
    assert again is not None
    assert again > pause


def test_a_wake_gives_way_to_the_tick_that_comes_before_its_slot() -> None:
    budget = RequestBudget(16, INTERVAL)
    turns = joined(budget, 60)
    budget.extras(100.0, 1000)
    slot = budget.slot(100.0, 200.0)
    assert slot is not None
    turns[0].due = slot
    assert turns[0].wake(100.0) is None
    turns[1].due = 200.0
    assert turns[1].wake(100.0) == pytest.approx(slot - 100.0 + 0.5), "the next slot is still there"


def test_a_rest_ends_before_the_poll() -> None:
    budget = RequestBudget(160, INTERVAL)
    (turns,) = joined(budget, 1)
    for ticks in (1.5, 2.0, 5.5, 1000.0):
        turns.due = 100.0 + ticks * INTERVAL
        before = budget.held_ticks
        rest = turns.rest(100.0)
        assert 1 <= rest <= LONGEST_REST
        assert rest <= ticks
        assert budget.held_ticks - before == rest - 1
    turns.due = 50.0
    assert turns.rest(100.0) == 1
