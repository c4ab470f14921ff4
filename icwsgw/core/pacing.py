"""When to poll next, and when to try a failed call again: policies as values, no clock of their own.

Failures of a poll: the first ``STEADY_FAILURES`` keep the beat, since most are over by the next tick and a late
message costs more than a wasted query. After that the pause grows, with jitter so that the pollers of one network do
not return together. A server that says it is overloaded (429, 503) is believed at once, and its Retry-After is
honoured where it is longer than our own pause: "0", or a date that a wrong clock has put into the past, must not make
a failing request come back at once for ever.
"""

from __future__ import annotations

from collections.abc import Callable

STEADY_FAILURES = 30
LONGEST_PAUSE = 5.0
LONGEST_RETRY_AFTER = 60.0

RETRY_FIRST = 0.1
RETRY_LONGEST = 5.0


class Pacing:
    """The beat of one poller, and its patience with a canister that does not answer.

    :ivar last_good: when the last good answer came, or the start
    :ivar failures: failed polls since then
    :ivar not_before: no poll before this time
    :ivar last_error: what the last failure was, for people; empty before the first
    :ivar last_bad: when it was
    """

    __slots__ = ("_interval", "_jitter", "failures", "last_bad", "last_error", "last_good", "not_before", "rtt")

    def __init__(self, interval: float, jitter: Callable[[], float], now: float) -> None:
        self._interval = interval
        self._jitter = jitter
        self.last_good = now
        self.failures = 0
        self.not_before = 0.0
        self.last_error = ""
        self.last_bad = now
        #: smoothed round-trip time of good answers in seconds, 0 until the first
        self.rtt = 0.0

    def succeeded(self, now: float, took: float) -> None:
        """A good answer came after ``took`` seconds."""
        self.last_good = now
        self.failures = 0
        self.not_before = 0.0
        self.rtt = took if self.rtt == 0.0 else self.rtt + (took - self.rtt) / 8

    def failed(
        self, now: float, *, overloaded: bool = False, retry_after: float | None = None, error: str = ""
    ) -> None:
        """A poll failed; sets when the next may leave.

        :param overloaded: the server asked for less (429, 503)
        :param retry_after: seconds the server asked to wait
        :param error: what it was, for people
        """
        self.last_bad, self.last_error = now, error
        self.failures += 1
        exponent = self.failures
        if not overloaded and retry_after is None:
            exponent -= STEADY_FAILURES
        if exponent <= 0:
            return
        pause = min(self._interval * 2.0 ** min(exponent, 16), LONGEST_PAUSE) * (0.5 + self._jitter() / 2)
        if retry_after is not None:
            pause = max(pause, min(retry_after, LONGEST_RETRY_AFTER))
        self.not_before = max(self.not_before, now + pause)

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
    return pause if retry_after is None else max(pause, min(retry_after, LONGEST_RETRY_AFTER))
