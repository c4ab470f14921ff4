"""Which ticks of a poller poll, if the request budget does not suffice for all ticks of all pollers (decision 0034).

Polls at ticks take no tokens in advance; they are scheduled, one after the other with a gap between them. Each poll
schedules its poller's next one: an interval later, or behind the last one that is scheduled. So if there are too many
pollers, all of them poll less often, evenly spread. The budget sets the gap (:mod:`icwsgw.core.request_budget`).

Times are in seconds of one clock.
"""

from __future__ import annotations

from typing import Protocol

from icwsgw.core.request_kind import RequestKind

#: Maximum number of ticks that are left out at once: a poll may become due earlier than it was scheduled.
LONGEST_REST = 10

_NEVER = float("-inf")
# Looking up a member of an enum costs as much as a call.
_TICK = RequestKind.TICK


class SharedSchedule:
    """The scheduled polls of some pollers.

    :ivar gap: seconds between two polls
    :ivar tick: the polling interval in seconds
    :ivar pollers: number of pollers
    """

    __slots__ = ("_next", "gap", "pollers", "tick")

    def __init__(self, gap: float, tick: float) -> None:
        self.gap = gap
        self.tick = tick
        self.pollers = 0
        self._next = _NEVER

    @property
    def interval(self) -> float:
        """Average seconds between two polls of one poller."""
        return max(self.tick, self.pollers * self.gap)

    @property
    def next(self) -> float | None:
        """When the gap behind the last scheduled poll ends; None: none is scheduled."""
        return None if self._next == _NEVER else self._next

    @next.setter
    def next(self, time: float) -> None:
        self._next = time

    def schedule(self, soonest: float) -> float:
        """Schedule one more poll; returns when it is due, ``soonest`` or later."""
        due = self._next
        if due <= soonest:
            self._next = soonest + self.gap
            return soonest
        self._next = due + self.gap
        due -= self.tick
        return due if due > soonest else soonest

    def clear(self) -> None:
        """Forget what is scheduled: there is no limit any more."""
        self._next = _NEVER

    def leave(self) -> None:
        """A poller stops, and the time of its scheduled poll is free."""
        self.pollers -= 1
        self._next -= self.gap


class ScheduleBudget(Protocol):
    """What a schedule uses of :class:`icwsgw.core.request_budget.RequestBudget`."""

    tick: float
    slack: float
    held_ticks: int
    newcomers: SharedSchedule

    def charge(self, kind: RequestKind, now: float) -> None:
        """Count a request that is sent in any case."""

    def slot(self, now: float, before: float) -> float | None:
        """Take the next token for a poll outside the schedule (a wake), if there is one in time.

        :param now: seconds of the reactor's clock
        :param before: the time at which the next scheduled poll is due
        :return: when the poll may be sent; None: not before that time
        """


class PollSchedule:
    """The schedule of one poller.

    :ivar due: seconds when its next poll is due
    :ivar shared: the schedule that it is part of: of newcomers, or of the others
    """

    __slots__ = ("_slot", "budget", "due", "shared")

    def __init__(self, budget: ScheduleBudget, shared: SharedSchedule, due: float) -> None:
        self.budget = budget
        self.shared = shared
        self.due = due
        #: the time of a wake that has been paid for
        self._slot: float | None = None

    @property
    def newcomer(self) -> bool:
        """Whether its canister has not spoken to any client yet."""
        return self.shared is self.budget.newcomers

    @property
    def interval(self) -> float:
        """Average seconds between two of its polls."""
        return self.shared.interval

    def next_poll_at(self, now: float) -> bool:
        """Whether this tick polls."""
        budget, shared = self.budget, self.shared
        due, slack = self.due, budget.slack
        if due > now + slack:
            budget.held_ticks += 1
            longest = now + shared.interval
            if due > longest:
                # Other pollers have stopped since it was scheduled.
                self.due = longest
            return False
        # A late poll does not delay the next one, unless it is later than the tick after it.
        self.due = shared.schedule((due if due > now - slack else now - slack) + budget.tick)
        budget.charge(_TICK, now)
        return True

    def rest(self, now: float) -> int:
        """Number of ticks until the next one that may poll; the ticks before it are left out."""
        ticks = max(1, min(int((self.due - now) / self.budget.tick), LONGEST_REST))
        self.budget.held_ticks += ticks - 1
        return ticks

    def wake(self, now: float) -> float | None:
        """Seconds that a wake has to wait; 0: poll now; None: not at all, since the next tick comes first."""
        slot = self._slot
        if slot is None:
            slot = self._slot = self.budget.slot(now, self.due)
            if slot is None:
                return None
        if slot > now:
            return slot - now
        self._slot = None
        return 0.0
