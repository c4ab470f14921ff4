"""When to poll next, and when to try a failed call again: policies as values, no clock of their own.

Failures of a poll: the first ``STEADY_FAILURES`` keep the beat, since most are over by the next tick and a late
message costs more than a wasted query. After that the pause grows, with jitter so that the pollers of one network do
not return together.

A server that says it is overloaded (429, 503, or any status with Retry-After) is believed at once, and no poll leaves
before the pause is over, whatever good answers to older queries still come. Retry-After is honoured where it is longer
than our own pause: "0", or a date that a wrong clock has put into the past, must not make a failing request come back
at once for ever. Jitter makes such a pause longer, never shorter. A pause that was asked for is no silence of the
canister, up to ``LONGEST_RETRY_AFTER``.

Silence is reckoned by who is silent (:mod:`icwsgw.core.failure_source`), each for itself: the time from one failure to
the next is the former's. A good answer ends both.

Boundary nodes bound queries by address, by subnet and by canister, and all of it is 429. So what one canister's poller
hears concerns that canister; what the pollers of two canisters hear at the same time concerns the host, and then all
pause (:class:`HostBackoff`).
"""

from __future__ import annotations

from collections.abc import Callable

from icwsgw.core.failure_source import FailureSource

STEADY_FAILURES = 30
LONGEST_PAUSE = 5.0
LONGEST_RETRY_AFTER = 60.0

RETRY_FIRST = 0.1
RETRY_LONGEST = 5.0


class PollBackoff:
    """The beat of one poller, and its patience with a canister that does not answer.

    :ivar last_good: when the last good answer came, or the start
    :ivar failures: failed polls since then
    :ivar excused: seconds since then in which the host had all pollers pause
    :ivar not_before: no poll before this time
    :ivar held_until: the server has asked for no poll before this time
    :ivar host_until: up to when the host's own pause is known here
    :ivar last_error: what the last failure was, for people; empty before the first
    :ivar last_bad: when it was
    """

    __slots__ = (
        "_holds",
        "_interval",
        "_jitter",
        "_marked",
        "_side",
        "_silent",
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

    def __init__(self, interval: float, jitter: Callable[[], float], now: float) -> None:
        self._interval = interval
        self._jitter = jitter
        self._holds = 0
        self._side = FailureSource.CANISTER
        self._marked = now
        self._silent = dict.fromkeys(FailureSource, 0.0)
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

    def succeeded(self, now: float, took: float) -> None:
        """A good answer came after ``took`` seconds."""
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
        """A poll failed; sets when the next may leave.

        :param overloaded: the server asked for less (429, 503)
        :param retry_after: seconds the server asked to wait
        :param error: what it was, for people
        :param side: whose silence it is
        """
        if self.failures:
            self._silent[self._side] += now - self._marked
        else:
            # nothing else is known of the time since the last good answer
            self._silent[side] += now - self.last_good
        self._marked, self._side = now, side
        self.last_bad, self.last_error = now, error
        self.failures += 1
        if overloaded or retry_after is not None:
            if now >= self.held_until:
                # one more that was asked after the last pause; those in flight together are one word
                self._holds += 1
            pause = self._pause(self._holds)
            self._hold(now, pause if not retry_after else max(pause, _asked(retry_after, self._jitter)))
        elif self.failures > STEADY_FAILURES:
            self.not_before = max(self.not_before, now + self._pause(self.failures - STEADY_FAILURES))

    def silence(self, side: FailureSource, now: float) -> float:
        """Seconds that a side has given no good answer for."""
        if not self.failures:
            return 0.0
        seconds = self._silent[side] + (now - self._marked if side is self._side else 0.0)
        return max(0.0, seconds - self.excused)

    def join(self, now: float, until: float) -> None:
        """The host has asked for a pause that this poller has not been told of itself."""
        self.host_until = until
        if until > now:
            held = self.held_until
            self._hold(now, _asked(until - now, self._jitter))
            self.excused = min(self.excused + self.held_until - max(now, held), LONGEST_RETRY_AFTER)

    def _pause(self, exponent: int) -> float:
        return min(self._interval * 2.0 ** min(exponent, 16), LONGEST_PAUSE) * (0.5 + self._jitter() / 2)

    def _hold(self, now: float, pause: float) -> None:
        until = now + pause
        if until > self.held_until:
            self.held_until = until
            self.not_before = max(self.not_before, until)

    def gave_up(self, age: float) -> None:
        """A poll was abandoned after ``age`` seconds without an answer: it counts as a round trip at least as long."""
        self.rtt += max(0.0, age - self.rtt) / 4


def retry_pause(attempt: int, jitter: Callable[[], float], retry_after: float | None = None) -> float:
    """Seconds to wait before a call is sent again.

    :param attempt: how many times it has been sent, from 1
    :param jitter: a random number in [0, 1)
    :param retry_after: what the server asked for, if it did
    """
    pause = min(RETRY_FIRST * 2.0 ** min(attempt - 1, 16), RETRY_LONGEST) * (0.5 + jitter() / 2)
    return pause if not retry_after else max(pause, _asked(retry_after, jitter))


def _asked(seconds: float, jitter: Callable[[], float]) -> float:
    """A pause that was asked for, and up to a quarter more, or a second: all who hear of it must not return at once."""
    seconds = min(seconds, LONGEST_RETRY_AFTER)
    return seconds + jitter() * max(seconds / 4, 1.0)


class HostBackoff:
    """What the pollers of one network have been asked for together.

    :ivar until: no poller polls before this time
    """

    __slots__ = ("_canister", "_until", "until")

    def __init__(self) -> None:
        self._canister = b""
        self._until = 0.0
        self.until = 0.0

    def retry_after_received(self, canister: bytes, now: float, until: float) -> None:
        """A canister's poller was asked to pause until some time: the second one of two that pause speaks for all."""
        if canister != self._canister and self._until > now:
            self.until = max(self.until, min(until, self._until))
        if until >= self._until:
            self._canister, self._until = canister, until
