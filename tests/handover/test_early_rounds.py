"""When early rounds continue, and when they end."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.handover.early_rounds import (
    FEW_CHANGES,
    GOOD_SECONDS,
    MOST_ROUNDS,
    PATIENCE_SECONDS,
    PAUSE_SECONDS,
    EarlyRounds,
    Next,
)


def rounds(changes: Iterable[int]) -> list[int]:
    """The rounds that take place, given the number of changes in each."""
    early, done = EarlyRounds(0.0), []
    for changed in changes:
        done.append(changed)
        if early.next(changed, GOOD_SECONDS, 0.0) is not Next.ROUND:
            break
    return done


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        # few changes are left
        ([3_000, FEW_CHANGES, 1], 2),
        # two rounds in a row with no decrease
        ([4_000, 1_500, 600, 590, 580, 1], 5),
        # a single round without a decrease may have been at a bad moment
        ([4_000, 1_500, 1_400, 600, 590, 580, 1], 6),
        # bad moments: rounds continue until the changes are as few as before
        ([1_519, 963, 787, 1_723, 2_000, 1_000, 1], 6),
        ([943, 625, 662, 452, 385, 741, 400, 1], 7),
        # a machine that has become slower need not reach its former speed
        ([386, 334, 678, 1_106, 699, 1], 5),
        ([464, 1_259, 881, 626, 1], 4),
        # a machine too slow for clients and rounds together only gets slower
        ([8_667, 4_730, 2_503, 2_309, 3_129, 3_766, 3_398, 3_865, 7_894], 7),
        # a smaller number of changes starts the count again
        ([1_000, 900, 2_000, 400, 410, 420, 1], 6),
    ],
)
def test_when_rounds_end(changes: list[int], count: int) -> None:
    assert rounds(changes) == changes[:count]


@given(st.lists(st.integers(0, 100_000), min_size=MOST_ROUNDS, max_size=3 * MOST_ROUNDS))
def test_rounds_end_in_any_case(changes: list[int]) -> None:
    done = rounds(changes)
    assert len(done) <= MOST_ROUNDS
    if 1 < len(done) < MOST_ROUNDS:
        assert done[-1] <= max(FEW_CHANGES, 1.2 * min(done[-3:])), "the last one is a short one"


def test_rounds_of_a_busy_gateway_end() -> None:
    assert len(rounds(500 * 2**number for number in range(100))) == MOST_ROUNDS


#: Rounds that end after the third one.
SERIES = (1_000, 900, 890)


def ended(early: EarlyRounds, seconds: float, now: float) -> Next:
    """What follows the last round of a series, if it takes this long."""
    *before, last = SERIES
    assert [early.next(changed, seconds, now) for changed in before] == [Next.ROUND] * len(before)
    return early.next(last, seconds, now)


def test_a_long_last_round_is_followed_by_a_pause_and_by_rounds_that_begin_anew() -> None:
    early = EarlyRounds(100.0)
    assert ended(early, 2 * GOOD_SECONDS, 101.0) is Next.PAUSE
    assert ended(early, 2 * GOOD_SECONDS, 103.0) is Next.PAUSE
    assert ended(early, GOOD_SECONDS, 105.0) is Next.STOP


def test_a_long_round_with_few_changes_needs_no_better_moment() -> None:
    assert EarlyRounds(0.0).next(FEW_CHANGES, 2 * GOOD_SECONDS, 1.0) is Next.STOP


def test_a_slow_machine_is_not_waited_for_for_ever() -> None:
    early, now, pauses = EarlyRounds(100.0), 100.0, 0
    while ended(early, 2 * GOOD_SECONDS, now) is Next.PAUSE:
        pauses, now = pauses + 1, now + PAUSE_SECONDS
    assert now == 100 + PATIENCE_SECONDS
    assert pauses == PATIENCE_SECONDS / PAUSE_SECONDS


def test_rounds_that_only_get_longer_end_too() -> None:
    early, now, done = EarlyRounds(0.0), 0.0, 0
    while (after := early.next(500 * 2**done, 1.0, now)) is not Next.STOP:
        done, now = done + 1, now + (PAUSE_SECONDS if after is Next.PAUSE else 1.0)
    assert PATIENCE_SECONDS <= now <= PATIENCE_SECONDS + MOST_ROUNDS
