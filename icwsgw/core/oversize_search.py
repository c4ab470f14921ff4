"""Goes past pages of a canister's queue that the IC will not give.

An answer to a query may have 3 MiB; fifty messages of 64 kB are more. The CDK cuts its pages by number, not by size, so
such a page is refused each time it is asked for (reject IC0504, or an answer longer than the gateway takes), and
nothing behind it would ever come. What cannot be read is given up, as little of it as can be found:

=========  =========================================  ==================================================================
state      what is asked                              goes on
=========  =========================================  ==================================================================
IDLE       the cursor's number N                      too large: COUNTING
COUNTING   N                                          too large ``REFUSALS`` times over ``SECONDS``, each asked when the
                                                      one before was known: SEEKING; a page: IDLE
SEEKING    N + 1, N + 2, N + 4 ...                    a page that fits: NARROWING, or DONE if no number is between
NARROWING  halfway between the last that was too      the two are next to each other: DONE
           large and the first that fitted
DONE       the first number that fits                 the cursor goes there: IDLE
=========  =========================================  ==================================================================

An empty page fits: everything up to the end of the queue was too large. A search that finds nothing within
:data:`FARTHEST` numbers is given up: then it is no page that is too large, and the canister is silent as ever.
"""

from __future__ import annotations

from icwsgw.errors import AnswerTooLarge, Rejected

REFUSALS = 3
SECONDS = 0.5
FARTHEST = 1 << 20

#: A canister's reply is longer than the IC allows (CanisterContractViolation, which has other reasons as well).
TOO_LARGE = "IC0504"


def too_large(error: BaseException | None) -> bool:
    """Whether a poll has failed because the page is too large."""
    return isinstance(error, AnswerTooLarge) or (isinstance(error, Rejected) and error.error_code == TOO_LARGE)


class OversizeSearch:
    """The search for a page that fits.

    :ivar first: the nonce whose page is too large, None while IDLE
    :ivar low: the greatest nonce whose page is known to be too large
    :ivar high: the least nonce beyond it whose page fits, None before
    """

    __slots__ = ("_known", "_refusals", "_since", "first", "high", "low")

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Go back to IDLE: the queue is a new one, or the page arrived after all."""
        self.first: int | None = None
        self.low = 0
        self.high: int | None = None
        self._refusals = 0
        self._since = self._known = 0.0

    @property
    def seeking(self) -> bool:
        """Whether :meth:`ask` gives the nonce to ask from, instead of the cursor."""
        return self._refusals >= REFUSALS

    def ask(self) -> int:
        """The nonce to ask from while :attr:`seeking`."""
        assert self.first is not None
        if self.high is not None:
            return (self.low + self.high) // 2
        return self.first + max(1, 2 * (self.low - self.first))

    def refused(self, nonce: int, expected: int, now: float, asked: float) -> None:
        """The page from a nonce on is too large.

        :param expected: the cursor's next nonce
        :param now: monotonic seconds
        :param asked: when the query was sent, monotonic seconds
        """
        if self.first is not None and self.first != expected:
            self.restart()
        if self.seeking:
            if nonce == self.ask():
                self.low = nonce
                if self.high is None and self.ask() - expected > FARTHEST:
                    self.restart()
            return
        if nonce != expected:
            return
        if self.first is None:
            self.first = self.low = nonce
            self._since = now
        elif asked < self._known:
            return
        self._known = now
        if self._refusals < REFUSALS - 1 or now - self._since >= SECONDS:
            self._refusals += 1

    def fitted(self, nonce: int) -> int | None:
        """The page from a nonce on has arrived.

        :return: the nonce to continue from when the search is done, else None
        """
        if nonce == self.first:
            self.restart()
        elif self.seeking and nonce == self.ask():
            self.high = nonce
        return self.found()

    def found(self) -> int | None:
        """The nonce to continue from if nothing is left to find out, which ends the search; else None."""
        if self.high is None or self.high - self.low > 1:
            return None
        beyond = self.high
        self.restart()
        return beyond
