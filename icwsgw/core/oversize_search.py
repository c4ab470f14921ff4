"""Skips the pages of a canister's queue that exceed the IC's size limit for answers.

An answer to a query may have at most 3 MiB; fifty messages of 64 kB exceed that. The CDK limits a page by the number
of messages, not by their size. Every poll for an oversize page therefore fails (reject IC0504, or an answer longer
than the gateway accepts), and the gateway cannot reach the messages after it. The search skips as few messages as it
can:

========== =========================================  ==================================================================
state      nonce to poll from                         next state
========== =========================================  ==================================================================
IDLE       the cursor's nonce N                       too large: COUNTING
COUNTING   N                                          a page arrives: IDLE; too large ``REFUSALS`` times within at least
                                                      ``SECONDS``, each poll sent after the previous failure: SEEKING
SEEKING    N + 1, N + 2, N + 4 ...                    a page fits: NARROWING, or CONFIRMING if no nonce lies between
NARROWING  halfway between the last nonce that was    the two nonces are adjacent: CONFIRMING
           too large and the first that fitted
CONFIRMING the last nonce that was too large          it is again: DONE; it fits: IDLE, since the size was not the cause
DONE       the first nonce that fits                  the cursor moves there: IDLE
========== =========================================  ==================================================================

An empty page fits: it means that all messages up to the end of the queue were in oversize pages. A replica that refuses
every page for a while looks the same, and the cursor would move beyond the end of the queue; CONFIRMING detects it. A
search that finds no page within :data:`FARTHEST` nonces restarts: the failure does not come from an oversize page.
"""

from __future__ import annotations

from icwsgw.core.written_state import Written
from icwsgw.errors import AnswerTooLarge, Rejected

REFUSALS = 3
SECONDS = 0.5
FARTHEST = 1 << 20

#: The error code for a canister's reply that exceeds the IC's limit (CanisterContractViolation; it has other causes).
TOO_LARGE = "IC0504"


def too_large(error: BaseException | None) -> bool:
    """Whether a poll failed because the page is too large."""
    return isinstance(error, AnswerTooLarge) or (isinstance(error, Rejected) and error.error_code == TOO_LARGE)


class OversizeSearch(Written):
    """The search for a page that fits.

    :ivar first: the nonce whose page is too large, None while IDLE
    :ivar low: the greatest nonce whose page is known to be too large
    :ivar high: the smallest nonce above ``low`` whose page is known to fit, None until one is found
    """

    __slots__ = ("_known", "_refusals", "_since", "first", "high", "low")
    WRITTEN = {"_known": float, "_refusals": int, "_since": float, "first": int, "high": int, "low": int}

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Go back to IDLE: the canister was reset, or the page arrived after all."""
        self.first: int | None = None
        self.low = 0
        self.high: int | None = None
        self._refusals = 0
        self._since = self._known = 0.0

    @property
    def seeking(self) -> bool:
        """Whether the next poll uses the nonce from :meth:`next_nonce` instead of the cursor's."""
        return self._refusals >= REFUSALS

    def next_nonce(self) -> int:
        """The nonce to poll from while :attr:`seeking`."""
        assert self.first is not None
        if self.high is not None:
            return (self.low + self.high) // 2
        return self.first + max(1, 2 * (self.low - self.first))

    @property
    def _confirming(self) -> bool:
        return self.high is not None and self.high - self.low == 1

    def refused(self, nonce: int, expected: int, now: float, sent: float) -> int | None:
        """Record that the page at a nonce is too large.

        :param expected: the cursor's next nonce
        :param now: monotonic seconds
        :param sent: when the query was sent, monotonic seconds
        :return: the nonce to continue from if the search is done, else None
        """
        if self.first is not None and self.first != expected:
            self.restart()
        if self.seeking:
            return self._sought(nonce, expected, now, sent) if nonce == self.next_nonce() else None
        if nonce != expected:
            return None
        if self.first is None:
            self.first = self.low = nonce
            self._since = now
        elif sent < self._known:
            return None
        self._known = now
        if self._refusals < REFUSALS - 1 or now - self._since >= SECONDS:
            self._refusals += 1
        return None

    def _sought(self, nonce: int, expected: int, now: float, sent: float) -> int | None:
        """The page at the search's own nonce is too large."""
        if self._confirming:
            # Not a query that was in flight when the first refusal came.
            if sent < self._known:
                return None
            beyond = self.high
            self.restart()
            return beyond
        self.low, self._known = nonce, now
        if self.high is None and self.next_nonce() - expected > FARTHEST:
            self.restart()
        return None

    def fitted(self, nonce: int, expected: int) -> None:
        """Record that the page at a nonce has arrived, so it is not too large.

        :param nonce: what was polled
        :param expected: the cursor's next nonce
        """
        if nonce == self.first or self.first != expected:
            # A probe may have brought the messages that seemed to be out of reach.
            self.restart()
        elif self.seeking and nonce == self.next_nonce():
            if self._confirming:
                self.restart()
            else:
                self.high = nonce
