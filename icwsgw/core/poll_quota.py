"""The quota of one poller: polls a second, and what it may deliver to the clients of its canister.

Polls need a token each. Messages are counted when they are delivered. Without tokens for them, the canister is polled
later, and only as many messages are taken from an answer as there are tokens for. The canister keeps the others, and
the next poll gets them again. So nothing is lost, and no client is closed.

A page of messages is transferred whole, however few of its messages are taken. So a poller that has used up its tokens
waits for a part of the burst before it polls again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icwsgw.core.message_quota import changed, read_buckets, written_buckets
from icwsgw.core.rate_limit import DebtBucket, Rate
from icwsgw.core.written_state import Document

#: Messages of the usual page of a canister (MAX_NUMBER_OF_RETURNED_MESSAGES of the CDK). So many tokens are worth one
#: more query in flight.
PAGE_MESSAGES = 50
#: The part of the burst that a poller waits for after it has delivered all that it may.
RESUMED_PART = 0.25
#: More than any poller sends or takes at once.
UNLIMITED = 1 << 30


class PollQuota:
    """Counts the polls and deliveries of one poller.

    :param now: seconds of one clock, as in all methods
    """

    __slots__ = ("_bytes", "_messages", "_polls")

    def __init__(self) -> None:
        self._polls: DebtBucket | None = None
        self._messages: DebtBucket | None = None
        self._bytes: DebtBucket | None = None

    def change(self, polls: Rate | None, messages: Rate | None, octets: Rate | None, now: float) -> None:
        """Apply limits, each None for no limit; what is owed stays owed."""
        self._polls = changed(self._polls, polls, now)
        self._messages = changed(self._messages, messages, now)
        self._bytes = changed(self._bytes, octets, now)

    def written(self) -> Document:
        """What is owed, as plain values."""
        return written_buckets(polls=self._polls, messages=self._messages, octets=self._bytes)

    def read(self, document: Mapping[str, Any]) -> None:
        """Take what is owed from a document; a limit that begins or has ended owes nothing.

        :raises FormatError: a value is of the wrong kind
        """
        read_buckets(document, polls=self._polls, messages=self._messages, octets=self._bytes)

    def exceeded(self, now: float) -> str:
        """Which limit does not allow a poll now: ``polls``, ``messages`` or ``bytes``; empty: none."""
        if self._polls is not None and self._polls.refill(now) < 1:
            return "polls"
        if self._messages is not None and self._messages.refill(now) < _resumed(self._messages):
            return "messages"
        if self._bytes is not None and self._bytes.refill(now) < _resumed(self._bytes):
            return "bytes"
        return ""

    @property
    def interval(self) -> float:
        """Seconds between two polls at least, on average."""
        return 0.0 if self._polls is None else 1 / self._polls.rate.per_second

    def queries(self, in_flight: int) -> int:
        """How many queries may be sent, by the last look of :meth:`exceeded`, which has allowed at least one.

        :param in_flight: queries that have not been answered yet
        """
        most = UNLIMITED
        if self._polls is not None:
            most = int(self._polls.level)
        if self._messages is not None:
            most = min(most, max(1, int(self._messages.level / PAGE_MESSAGES) - in_flight))
        if self._bytes is not None:
            # How large an answer is shows when it has come.
            most = min(most, 1)
        return most

    def sent(self, now: float) -> None:
        """Count a query that is sent."""
        if self._polls is not None:
            self._polls.spend(1, now)

    def room(self, now: float) -> tuple[int, int]:
        """How many messages and bytes may be taken from an answer, each at least 1."""
        messages = UNLIMITED if self._messages is None else max(1, int(self._messages.refill(now)))
        octets = UNLIMITED if self._bytes is None else max(1, int(self._bytes.refill(now)))
        return messages, octets

    def delivered(self, messages: int, octets: float, now: float) -> None:
        """Count messages that were delivered.

        :param octets: bytes of their frames
        :param now: seconds of the reactor's clock
        """
        if self._messages is not None:
            self._messages.spend(messages, now)
        if self._bytes is not None:
            self._bytes.spend(octets, now)


def _resumed(bucket: DebtBucket) -> float:
    return max(1.0, bucket.rate.burst * RESUMED_PART)
