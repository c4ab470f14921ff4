"""Joins requests for reports of the workers, because a report costs each worker milliseconds.

At most one requested report is in flight, and one begins at most every :data:`REPORT_PAUSE` seconds. Requests that come
meanwhile wait for the next one and share it: it shows what has happened before each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred

from icwsgw.reactor.clock import Clock, Timer

#: Time limit for a report, in seconds.
REPORT_TIMEOUT: Final = 2.0
#: Seconds between the beginnings of two requested reports, at least.
REPORT_PAUSE: Final = 0.1


class JoinedReports:
    """The requests that wait for a report.

    :param order: orders a report from every worker, with the status document if its argument says so; returns the
        number of the report
    :param reported: returns the number of the latest report that no worker owes
    """

    def __init__(self, clock: Clock, order: Callable[[bool], int], reported: Callable[[], int]) -> None:
        self._clock = clock
        self._order = order
        self._reported = reported
        # of the report in flight, and the requests that wait for it
        self._number: int | None = None
        self._waiting: dict[Deferred[None], None] = {}
        # requests for the next one, and whether they need the status document
        self._next: dict[Deferred[None], bool] = {}
        self._started = -math.inf
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._next)

    def request(self, status: bool) -> Deferred[None]:
        """Request a report; fires when all workers have sent it, at the latest after twice :data:`REPORT_TIMEOUT`.

        The Deferred may be cancelled.

        :param status: whether to include the status document
        """
        done: Deferred[None] = Deferred(self._forget)
        self._next[done] = status
        self._begin()
        return done

    def look(self) -> None:
        """End the report in flight if no worker owes it any more."""
        if self._number is not None and self._reported() >= self._number:
            self._end()

    def _forget(self, request: Deferred[None]) -> None:
        self._waiting.pop(request, None)
        self._next.pop(request, None)

    def _begin(self) -> None:
        """Begin the next report, if one is requested, none is in flight and the pause is over."""
        if self._number is not None or self._timer is not None or not self._next:
            return
        now = self._clock.seconds()
        pause = self._started + REPORT_PAUSE - now
        if pause > 0:
            self._timer = self._clock.callLater(pause, self._pause_over)
            return
        status = any(self._next.values())
        self._waiting, self._next = dict.fromkeys(self._next), {}
        self._started = now
        self._timer = self._clock.callLater(REPORT_TIMEOUT, self._end)
        self._number = self._order(status)
        self.look()

    def _pause_over(self) -> None:
        self._timer = None
        self._begin()

    def _end(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._number = None
        waiting, self._waiting = self._waiting, {}
        for request in waiting:
            if not request.called:  # not cancelled by the one before
                request.callback(None)
        self._begin()
