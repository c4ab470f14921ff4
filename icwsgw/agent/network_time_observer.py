"""Learns the network's time from its answers, for :class:`~icwsgw.core.network_time.NetworkTime`.

It would cost every poll to look at each answer. So the observer looks at one answer each :data:`NOTE_INTERVAL` seconds,
and at the next one at once if something contradicts the known time. If Date headers keep contradicting it and nothing
certified has decided, the observer reads the certified time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from icwsgw.agent.http.connection import ParsedResponse
from icwsgw.agent.outcome import http_date
from icwsgw.core.network_time import Evidence, NetworkTime, replica_time
from icwsgw.errors import IcwsError
from icwsgw.ic.network_limits import SECOND_NS
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock

NOTE_INTERVAL = 10.0
"""Seconds between two answers that are taken note of: that they came, and what they show of the network's time."""

READ_INTERVAL = 1.0
"""Seconds between two readings of the certified time. During a dispute each answer is taken note of, and if a reading
fails, each would lead to another one."""


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

    def network_ns(self) -> int:
        """The network's time as far as it is known, ns since 1970."""
        return self.time.now_ns(self._reactor.seconds(), self._now_ns())

    def stop(self) -> None:
        """Cancel the request for the certified time, if there is one."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()

    def note_status(self, status: int) -> None:
        """An answer to a GET came. It shows no time, because a cache may have kept it."""
        if status < 500:
            self.last_answer = self._reactor.seconds()

    def note(self, answer: ParsedResponse, canister: Principal, expiry_ns: int | None = None) -> None:
        """An answer to a POST came.

        :param canister: the canister that the request was for
        :param expiry_ns: of the request, if the gateway signed it: that the network accepted it bounds its time
        """
        self.note_status(answer.status)
        if answer.status == 200 and expiry_ns is not None:
            self._take(Evidence.ACCEPTED, expiry_ns)
        value = answer.headers.get(b"date")
        date = None if value is None or b"age" in answer.headers else http_date(value)
        if date is not None and self._own_time:
            self.time.measured_ns = self.time.skew_ns
        elif date is not None:
            # the header has whole seconds, rounded down: half a second is the best estimate of the rest
            self._take(Evidence.DATE, int((date + 0.5) * SECOND_NS))
        self.due = self._next_look()
        now = self._reactor.seconds()
        if self.time.disputed and self._reading is None and now >= self._read_after:
            self._read_after = now + READ_INTERVAL
            reading = self._reading = self._read_time(canister)
            reading.addCallback(self._read_ended).addErrback(_ignore).addBoth(self._reading_over)

    def note_refusal(self, text: str) -> None:
        """A request was refused with status 400. If its expiry was the reason, the text contains the replica's time."""
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
        self.time.take(kind, time_ns, self._reactor.seconds(), self._now_ns())

    def _read_ended(self, time_ns: int) -> None:
        self._take(Evidence.CERTIFIED, time_ns)

    def _reading_over(self, _: object) -> None:
        self._reading = None


def _ignore(failure: Failure) -> None:
    """No answer came, or none that verifies: the time is read again at a later answer."""
    failure.trap(IcwsError, CancelledError)
