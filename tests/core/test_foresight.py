from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.foresight import GRID, MOST, RARELY, SAMPLES, Foresight

INTERVAL = 0.1


def steady(took: float = 0.05, interval: float = INTERVAL) -> Foresight:
    foresight = Foresight(interval)
    for _ in range(60):
        foresight.executed(took)
    return foresight


def test_without_a_synchronous_call_nothing_is_foreseen() -> None:
    foresight = Foresight(INTERVAL)
    assert not foresight.accepted(1.0, 1.01)
    assert not foresight.planned


def test_a_call_is_polled_for_when_it_is_likely_to_have_been_executed() -> None:
    foresight = steady(0.05)
    assert foresight.accepted(7.0, 7.001)
    (due,) = foresight.planned
    assert 7.05 <= due <= 7.05 + 0.001 + INTERVAL / GRID
    assert not foresight.polled(due - 0.001)
    assert foresight.polled(due)
    assert not foresight.planned


def test_what_is_planned_is_bounded() -> None:
    foresight = steady(60.0)
    for number in range(10_000):
        foresight.accepted(float(number), float(number))
    assert len(foresight.planned) == MOST


def test_calls_that_end_together_share_a_poll() -> None:
    foresight = steady()
    planned = sum(foresight.accepted(7.0 + number / 10_000, 7.1) for number in range(1000))
    assert planned <= 0.1 / (INTERVAL / GRID) + 1


def test_nothing_is_foreseen_where_executions_take_now_this_long_now_that() -> None:
    foresight = Foresight(INTERVAL)
    for number in range(40):
        foresight.executed(1.5 + number % 8 / 8)
    assert not foresight.accepted(1.0, 1.01)


def test_slow_ones_among_them_are_no_measure() -> None:
    foresight = Foresight(INTERVAL)
    for number in range(40):
        foresight.executed(0.1 + (number % 3) * 0.2)
    assert foresight.accepted(7.0, 7.001)
    assert 7.1 <= foresight.planned[0] <= 7.101 + INTERVAL / GRID


def test_the_fastest_quarter_counts_if_it_agrees_within_a_quarter_of_the_interval() -> None:
    def foresees(fast: int, quarter: float) -> float | None:
        foresight = Foresight(0.5)
        for number in range(SAMPLES):
            foresight.executed(1.0 if number < fast else quarter)
        return foresight.planned[0] if foresight.accepted(8.0, 8.0) else None

    assert foresees(4, 1.125) == 9.125
    assert foresees(5, 1.125) == 9.0
    assert foresees(4, 1.126) is None


def test_a_network_that_becomes_slower_is_noticed() -> None:
    foresight = steady(0.05)
    for _ in range(SAMPLES):
        foresight.executed(0.4)
    assert foresight.accepted(7.0, 7.001)
    assert 7.4 <= foresight.planned[0] <= 7.401 + INTERVAL / GRID


def test_after_eleven_polls_for_nothing_each_sixteenth_call_is_planned_for() -> None:
    foresight = steady()
    planned = []
    for number in range(11 + 3 * RARELY):
        now = float(number)
        planned.append(foresight.accepted(now, now))
        if planned[-1]:
            foresight.polled(now + 0.5)
            foresight.found(False)
    assert planned == [True] * 11 + ([False] * (RARELY - 1) + [True]) * 3


def test_polls_that_find_nothing_become_rare_and_come_back_when_they_do() -> None:
    foresight = steady()
    polls = 0
    for number in range(400):
        now = float(number)
        if foresight.accepted(now, now):
            polls += 1
            assert foresight.polled(now + 0.5)
            foresight.found(False)
    assert 10 < polls < 10 + 400 / RARELY + 5
    for number in range(400, 800):
        now = float(number)
        if foresight.accepted(now, now):
            foresight.polled(now + 0.5)
            foresight.found(True)
    assert all(foresight.accepted(float(now), float(now)) for now in range(800, 820))


@given(st.lists(st.tuples(st.sampled_from(["call", "poll", "executed"]), st.floats(0, 0.3)), max_size=60))
def test_plans_are_ahead_in_order_and_bounded(script: list[tuple[str, float]]) -> None:
    foresight = Foresight(INTERVAL)
    now = 100.0
    for step, amount in script:
        now += amount / 10
        if step == "executed":
            foresight.executed(amount)
        elif step == "call" and foresight.accepted(now - amount, now):
            assert foresight.planned[0] >= now - 10
        elif step == "poll":
            foresight.polled(now)
            assert not foresight.planned or foresight.planned[0] > now
        planned = list(foresight.planned)
        assert planned == sorted(set(planned))
