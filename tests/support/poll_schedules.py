"""Polls that are scheduled, for tests of the budget and of its schedules."""

from __future__ import annotations

from icwsgw.core.poll_schedule import PollSchedule
from icwsgw.core.request_budget import RequestBudget

#: The polling interval of the tests, in seconds.
INTERVAL = 0.1


def joined(budget: RequestBudget, count: int, now: float = 0.0, newcomer: bool = False) -> list[PollSchedule]:
    """The schedules of so many pollers."""
    return [budget.join(now, newcomer) for _ in range(count)]


def poll_times(
    schedules: list[PollSchedule], seconds: float, interval: float = INTERVAL, start: float = 0.0
) -> list[list[float]]:
    """The times at which each polls whose ticks are distributed over the interval."""
    times: list[list[float]] = [[] for _ in schedules]
    for tick in range(round(seconds / interval)):
        for index, schedule in enumerate(schedules):
            now = start + (tick + index / len(schedules)) * interval
            if schedule.next_poll_at(now):
                times[index].append(now)
    return times
