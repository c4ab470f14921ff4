"""When to poll next and when to resubmit a call: back-off policies that get the time as an argument.

After a failed poll the interval stays the same for the first ``STEADY_FAILURES`` failures: most failures are over by
the next tick, and a late message costs more than a wasted query. After that the pause grows. It has jitter, so that the
pollers of one network do not return together.

If a server says that it is overloaded (429, 503, or any status with Retry-After), no poll is sent before the pause is
over, even if valid answers to earlier queries arrive. Retry-After counts if it is longer than the pause would be
anyway: "0", or a date that a wrong clock has put into the past, must not make a failing request return at once again
and again. Jitter only makes such a pause longer. A pause that was asked for does not count as a failure of the
canister, up to ``LONGEST_RETRY_AFTER``.

The time without a valid answer is counted for the network and the canister separately
(:mod:`icwsgw.core.failure_source`): the time between two failures belongs to the source of the first, but a pause that
the network has asked for belongs to the network, whatever queries in flight bring meanwhile. A valid answer resets
both.

A poller whose canister's quota allows no delivery sends no poll. That time does not count as the canister's silence.

Boundary nodes limit queries by address, by subnet and by canister, and answer 429 in each case. So a pause that one
canister's poller gets is for that canister. If the pollers of two canisters get one at the same time, all pollers pause
(:class:`HostBackoff`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from icwsgw.core.failure_source import FailureSource
from icwsgw.core.written_state import Document, Written, read_as

STEADY_FAILURES = 30
LONGEST_PAUSE = 5.0
LONGEST_RETRY_AFTER = 60.0

RETRY_FIRST = 0.1
RETRY_LONGEST = 5.0

LONGEST_ERROR = 1024
"""Characters of a failure that a poller keeps: a canister can reject a poll with megabytes."""


class PollBackoff(Written):
    """The back-off of one poller, and how long its canister has given no valid answer.

    :ivar last_good: seconds when the last valid answer arrived, or the poller started
    :ivar failures: failed polls since then
    :ivar excused: seconds since then in which all pollers had to pause, or the quota allowed no delivery
    :ivar not_before: seconds before which no poll is sent
    :ivar held_until: the same because the server has asked for it
    :ivar host_until: until when the pause of all pollers is known here
    :ivar last_error: the last failure, for people, at most :data:`LONGEST_ERROR` characters; empty before the first
    :ivar last_bad: seconds when it occurred
    """

    __slots__ = (
        "_asked_until",
        "_holds",
        "_interval",
        "_jitter",
        "_marked",
        "_side",
        "_silent",
        "_waits_since",
        "excused",
        "failures",
        "held_until",
        "host_until",
        "last_bad",
        "last_error",
        "last_good",
        "not_before",
        "rtt",
    )
    WRITTEN = {
        "_asked_until": float,
        "_holds": int,
        "_marked": float,
        "excused": float,
        "failures": int,
        "held_until": float,
        "host_until": float,
        "last_bad": float,
        "last_error": str,
        "last_good": float,
        "not_before": float,
        "rtt": float,
    }

    def __init__(self, interval: float, jitter: Callable[[], float], now: float) -> None:
        self._interval = interval
        self._jitter = jitter
        self._holds = 0
        self._asked_until = 0.0
        self._side = FailureSource.CANISTER
        self._marked = now
        self._silent = dict.fromkeys(FailureSource, 0.0)
        # since when the quota allows no delivery
        self._waits_since = inf
        self.last_good = now
        self.failures = 0
        self.excused = 0.0
        self.not_before = 0.0
        self.held_until = 0.0
        self.host_until = 0.0
        self.last_error = ""
        self.last_bad = now
        #: smoothed round-trip time of good answers in seconds, 0 until the first
        self.rtt = 0.0

    def written(self) -> Document:
        """The state as plain values."""
        silent = {side.value: seconds for side, seconds in self._silent.items()}
        return {**super().written(), "side": self._side.value, "silent": silent}

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the state of a document.

        :raises FormatError: a value is of the wrong kind
        """
        super().read(document)
        self._side = read_as(FailureSource, document.get("side", self._side), "side")
        silent = document.get("silent", {})
        self._silent = {side: read_as(float, silent.get(side.value, 0.0), "silent") for side in FailureSource}

    def succeeded(self, now: float, took: float) -> None:
        """A valid answer arrived after ``took`` seconds."""
        self.last_good = now
        if self.failures:
            self.failures = 0
            self._silent = dict.fromkeys(FailureSource, 0.0)
        self.excused = 0.0
        self.not_before = self.held_until
        if self._holds and now - took >= self.held_until:
            self._holds = 0
        self.rtt = took if self.rtt == 0.0 else self.rtt + (took - self.rtt) / 8

    def failed(
        self,
        now: float,
        *,
        overloaded: bool = False,
        retry_after: float | None = None,
        error: str = "",
        side: FailureSource = FailureSource.CANISTER,
    ) -> None:
        """A poll failed: set when the next one may be sent.

        :param overloaded: the server asked for fewer requests (429, 503)
        :param retry_after: seconds that the server asked to wait
        :param error: the failure, for people
        :param side: the source of the failure
        """
        if self.failures:
            self._count_silence(now)
        else:
            # nothing else is known of the time since the last valid answer
            self._marked, self._side = self.last_good, side
            self._count_silence(now)
        self._side = side
        self.last_bad, self.last_error = now, error[:LONGEST_ERROR]
        self.failures += 1
        if overloaded or retry_after is not None:
            if now >= self.held_until:
                # Count queries that were in flight together only once.
                self._holds += 1
            pause = self._pause(self._holds)
            if retry_after:
                pause = max(pause, _requested_pause(retry_after, self._jitter))
            self._hold(now, pause)
            self._asked_until = max(self._asked_until, now + pause)
        elif self.failures > STEADY_FAILURES:
            self.not_before = max(self.not_before, now + self._pause(self.failures - STEADY_FAILURES))

    @property
    def side(self) -> FailureSource:
        """The source of the last failure."""
        return self._side

    def silence(self, side: FailureSource, now: float) -> float:
        """Seconds for which a source has given no valid answer."""
        if not self.failures:
            return 0.0
        held = self._held(now)
        seconds = self._silent[side] + (now - self._marked - held if side is self._side else 0.0)
        if side is FailureSource.NETWORK:
            seconds += held
        return max(0.0, seconds - self.excused)

    def _held(self, now: float) -> float:
        """Seconds since ``_marked`` in which the network had asked this poller to pause."""
        return min(max(0.0, self._asked_until - self._marked), now - self._marked)

    def _count_silence(self, now: float) -> None:
        """Add the time since ``_marked`` to whom it belongs."""
        held = self._held(now)
        self._silent[FailureSource.NETWORK] += held
        self._silent[self._side] += now - self._marked - held
        self._marked = now

    def join(self, now: float, until: float) -> None:
        """The network has asked all pollers to pause, and this poller's own queries were not answered so."""
        self.host_until = until
        if until > now:
            held = self.held_until
            self._hold(now, _requested_pause(until - now, self._jitter))
            excused = min(self.excused + self.held_until - max(now, held), LONGEST_RETRY_AFTER)
            self.excused = max(self.excused, excused)

    def quota_waits(self, now: float, waits: bool) -> None:
        """Excuse the time in which the quota allows no delivery, unless it is excused as a pause.

        :param waits: the quota allows none now
        """
        self.excused += max(0.0, now - max(self._waits_since, self.last_good, self.held_until))
        self._waits_since = now if waits else inf

    def _pause(self, exponent: int) -> float:
        return min(self._interval * 2.0 ** min(exponent, 16), LONGEST_PAUSE) * (0.5 + self._jitter() / 2)

    def _hold(self, now: float, pause: float) -> None:
        until = now + pause
        if until > self.held_until:
            self.held_until = until
            self.not_before = max(self.not_before, until)

    def gave_up(self, age: float) -> None:
        """A poll was given up after ``age`` seconds: its round trip takes at least as long."""
        self.rtt += max(0.0, age - self.rtt) / 4


def retry_pause(attempt: int, jitter: Callable[[], float], retry_after: float | None = None) -> float:
    """Seconds until a call is sent again.

    :param attempt: how often it has been sent, from 1
    :param jitter: a random number in [0, 1)
    :param retry_after: seconds that the server asked to wait, if it did
    """
    pause = min(RETRY_FIRST * 2.0 ** min(attempt - 1, 16), RETRY_LONGEST) * (0.5 + jitter() / 2)
    return pause if not retry_after else max(pause, _requested_pause(retry_after, jitter))


def _requested_pause(seconds: float, jitter: Callable[[], float]) -> float:
    """A pause that the server asks for, and up to a quarter (at least up to a second) more: not all return at once."""
    seconds = min(seconds, LONGEST_RETRY_AFTER)
    return seconds + jitter() * max(seconds / 4, 1.0)


class HostBackoff(Written):
    """The pause of all pollers of one network.

    :ivar until: seconds before which no poller polls
    """

    __slots__ = ("_canister", "_until", "until")
    WRITTEN = {"_canister": bytes, "_until": float, "until": float}

    def __init__(self) -> None:
        self._canister = b""
        self._until = 0.0
        self.until = 0.0

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the state of a document, and keep longer pauses: several processes may hand over to one.

        :raises FormatError: a value is of the wrong kind
        """
        canister, canister_until, until = self._canister, self._until, self.until
        super().read(document)
        if canister_until > self._until:
            self._canister, self._until = canister, canister_until
        self.until = max(self.until, until)

    def retry_after_received(self, canister: bytes, now: float, until: float) -> None:
        """A canister's poller was asked to pause; if another canister's is pausing too, all pollers pause."""
        if canister != self._canister and self._until > now:
            self.until = max(self.until, min(until, self._until))
        if until >= self._until:
            self._canister, self._until = canister, until
