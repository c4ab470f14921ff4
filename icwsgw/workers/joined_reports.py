"""Joins requests for reports of the workers; see :mod:`icwsgw.workers.joined_calls`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred

from icwsgw.reactor.clock import Clock, Timer
from icwsgw.workers.joined_calls import JoinedCalls

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
        self._requests: JoinedCalls[bool, None] = JoinedCalls(clock, self._begin, REPORT_PAUSE)
        # of the report in flight: its number, what fires when it has come, and its time limit
        self._in_flight: tuple[int, Deferred[None], Timer] | None = None

    def __len__(self) -> int:
        """How many requests wait."""
        return len(self._requests)

    def request(self, status: bool) -> Deferred[None]:
        """Request a report; fires when all workers have sent it, at the latest after twice :data:`REPORT_TIMEOUT`.

        The Deferred may be cancelled.

        :param status: whether to include the status document
        """
        return self._requests.request(status)

    def look(self) -> None:
        """End the report in flight if no worker owes it any more."""
        if self._in_flight is not None and self._reported() >= self._in_flight[0]:
            self._end()

    def _begin(self, statuses: list[bool]) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        timer = self._clock.callLater(REPORT_TIMEOUT, self._end)
        self._in_flight = self._order(any(statuses)), done, timer
        self.look()
        return done

    def _end(self) -> None:
        assert self._in_flight is not None
        _, done, timer = self._in_flight
        self._in_flight = None
        if timer.active():
            timer.cancel()
        done.callback(None)
