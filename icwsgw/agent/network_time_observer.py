"""Learns the network's time from its answers, for :class:`~icwsgw.core.network_time.NetworkTime`.

It would cost every poll to look at each answer. So the observer looks at one answer each :data:`NOTE_INTERVAL` seconds,
and at the next one at once if something contradicts the known time. The observer reads the certified time

- if Date headers keep contradicting the known time and nothing certified has decided;
- at once, and without traffic, if the text of refusals has changed the estimate, until a certificate decides;
- every :data:`CHECK_INTERVAL` seconds without other evidence, while the estimate differs from this machine's clock. A
  gateway that refuses all clients sends nothing that could correct its estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from icwsgw.agent.http.connection import ParsedResponse
from icwsgw.core.network_time import Evidence, NetworkTime, replica_time
from icwsgw.errors import IcwsError
from icwsgw.http_dates import http_date
from icwsgw.ic.network_limits import SECOND_NS
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock, Timer

NOTE_INTERVAL = 10.0
"""Seconds between two answers that are taken note of: that they came, and what they show of the network's time."""

READ_INTERVAL = 1.0
"""Seconds between two readings of the certified time. During a dispute each answer is taken note of, and if a reading
fails, each would lead to another one."""

CHECK_INTERVAL = 60.0
"""Seconds without evidence after which an estimate that differs from this machine's clock is checked. Also the longest
pause between two readings that fail."""


class NetworkTimeObserver:
    """Learns the time of one network.

    :param now_ns: the wall clock, ns since 1970
    :param read_time: reads a canister's certified ``/time``, and verifies all of the certificate but its age
    :param own_time: the network runs on this machine, and its time may be set (PocketIC). Its web server's Date headers
        then have this machine's time and not the network's.
    :ivar time: the network's time as far as it is known
    :ivar last_answer: when the last answer came that was not a server error (5xx), seconds of the reactor's clock,
        accurate to :data:`NOTE_INTERVAL`; None before the first
    :ivar due: when to look at the next answer
    :ivar signed_due: when to look at the next signed answer
    """

    def __init__(
        self,
        reactor: Clock,
        now_ns: Callable[[], int],
        read_time: Callable[[Principal], Deferred[int]],
        own_time: bool = False,
    ) -> None:
        self.time = NetworkTime()
        self.last_answer: float | None = None
        self.due = self.signed_due = reactor.seconds()
        self._reactor = reactor
        self._now_ns = now_ns
        self._read_time = read_time
        self._own_time = own_time
        self._reading: Deferred[Any] | None = None
        self._read_after = reactor.seconds()
        self._pause = READ_INTERVAL
        self._timer: Timer | None = None
        self._last_evidence = reactor.seconds()
        self._stopped = False
        # of an answered request, else of any
        self._canister: Principal | None = None
        self._canister_answers = False

    def network_ns(self) -> int:
        """The network's time as far as it is known, ns since 1970."""
        return self.time.now_ns(self._reactor.seconds(), self._now_ns())

    def stop(self) -> None:
        """Stop reading the certified time."""
        self._stopped = True
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()

    def note_status(self, status: int) -> None:
        """An answer to a GET came. It shows no time, because a cache may have kept it."""
        if status < 500:
            self.last_answer = self._reactor.seconds()
        # an estimate that was handed over is checked too
        self._watch()

    def note(self, answer: ParsedResponse, canister: Principal, expiry_ns: int | None = None) -> None:
        """An answer to a POST came.

        :param canister: the canister that the request was for
        :param expiry_ns: of the request, if the gateway signed it: that the network accepted it bounds its time
        """
        self.note_status(answer.status)
        answers = answer.status in (200, 202)
        if answers or not self._canister_answers:
            self._canister, self._canister_answers = canister, answers
        if answer.status == 200 and expiry_ns is not None:
            self._take(Evidence.ACCEPTED, expiry_ns)
        value = answer.headers.get(b"date")
        date = None if value is None or b"age" in answer.headers else http_date(value.decode("latin-1"))
        if date is not None and self._own_time:
            self.time.measured_ns = self.time.skew_ns
        elif date is not None:
            # the header has whole seconds, rounded down: half a second is the best estimate of the rest
            self._take(Evidence.DATE, int((date + 0.5) * SECOND_NS))
        self.due = self._next_look()
        if self.time.disputed:
            self._read(canister)

    def note_refusal(self, text: str) -> None:
        """One of the gateway's own requests was refused with status 400.

        If its expiry was the reason, the text contains the replica's time. The text of a refused client's call must not
        be passed: a client can make a replica quote it.
        """
        time_ns = replica_time(text)
        if time_ns is not None:
            self._take(Evidence.REFUSED, time_ns)
            self.due = self._next_look()

    def note_signed(self, time_ns: int) -> None:
        """A node has signed an answer at this time."""
        self._take(Evidence.SIGNED, time_ns)
        self.signed_due = self._next_look()

    def _next_look(self) -> float:
        return self._reactor.seconds() + (0.0 if self.time.eager else NOTE_INTERVAL)

    def _take(self, kind: Evidence, time_ns: int) -> None:
        before = self.time.unconfirmed
        self.time.take(kind, time_ns, self._reactor.seconds(), self._now_ns())
        self._last_evidence = self._reactor.seconds()
        if self.time.unconfirmed and not before:
            # the timer may be set for a later time
            self._pause = READ_INTERVAL
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._read(self._canister)
        self._watch()

    def _watch(self) -> None:
        """Check the estimate later, if it differs from this machine's clock."""
        if self._timer is None and not self._stopped and (self.time.skew_ns or self.time.unconfirmed):
            left = self._last_evidence + CHECK_INTERVAL - self._reactor.seconds()
            self._timer = self._reactor.callLater(self._pause if self._doubtful or left <= 0 else left, self._check)

    @property
    def _doubtful(self) -> bool:
        return self.time.unconfirmed or self.time.eager

    def _check(self) -> None:
        self._timer = None
        if self._doubtful or self._reactor.seconds() >= self._last_evidence + CHECK_INTERVAL:
            self._pause = min(2 * self._pause, CHECK_INTERVAL)
            self._read(self._canister)
        self._watch()

    def _read(self, canister: Principal | None) -> None:
        now = self._reactor.seconds()
        if canister is None or self._stopped or self._reading is not None or now < self._read_after:
            return
        self._read_after = now + READ_INTERVAL
        reading = self._reading = self._read_time(canister)
        reading.addCallback(self._read_ended).addErrback(_ignore).addBoth(self._reading_over)

    def _read_ended(self, time_ns: int) -> None:
        self._pause = READ_INTERVAL
        self._take(Evidence.CERTIFIED, time_ns)

    def _reading_over(self, _: object) -> None:
        self._reading = None


def _ignore(failure: Failure) -> None:
    """No answer came, or none that verifies: the time is read again at a later answer."""
    failure.trap(IcwsError, CancelledError)
