"""The quota of one canister's clients together: messages and bytes a second, and who is served next beyond it.

A message is counted when it has come, so the quota may owe tokens. While it does, a client that sends a message is
held: its socket is not read, and TCP slows it down. Held clients are released one after the other, as many as there are
tokens for messages, and all of them once no bytes are owed. While some are held, each one that sends goes to the end of
the line. So the clients of a canister are served round-robin, and nothing is dropped.

A client adds at most one read to the debt before it is held.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

from icwsgw.core.rate_limit import RESUME_SECONDS, DebtBucket, Rate
from icwsgw.core.written_state import Document

W = TypeVar("W", bound=Hashable)

#: A timer that fires on time finds its token, whatever rounding has done to it.
_ROUNDING = 1e-6


class MessageQuota(Generic[W]):
    """Counts the messages of one canister's clients.

    :param messages: the limit on messages; None: there is none
    :param octets: the limit on their bytes; None: there is none
    :param now: seconds of one clock, as in all methods
    :ivar held: the clients that are held, the first to be released first
    """

    __slots__ = ("_bytes", "_messages", "held")

    def __init__(self, messages: Rate | None, octets: Rate | None, now: float) -> None:
        self._messages: DebtBucket | None = None
        self._bytes: DebtBucket | None = None
        self.held: OrderedDict[W, None] = OrderedDict()
        self.change(messages, octets, now)

    def change(self, messages: Rate | None, octets: Rate | None, now: float) -> None:
        """Apply other limits; what is owed stays owed."""
        self._messages = changed(self._messages, messages, now)
        self._bytes = changed(self._bytes, octets, now)

    def written(self) -> Document:
        """What is owed, as plain values. Who is held is held again when it sends."""
        return written_buckets(messages=self._messages, octets=self._bytes)

    def read(self, document: Mapping[str, Any]) -> None:
        """Take what is owed from a document; a limit that begins or has ended owes nothing.

        :raises FormatError: a value is of the wrong kind
        """
        read_buckets(document, messages=self._messages, octets=self._bytes)

    def came(self, size: int, now: float) -> str:
        """Count a message that has come.

        :param size: its bytes
        :return: which limit its client has to be held for, ``messages`` or ``bytes``; empty: none
        """
        limit = ""
        if self._bytes is not None and self._bytes.spend(size, now) < 0:
            limit = "bytes"
        if self._messages is not None and self._messages.spend(1, now) < 0:
            limit = "messages"
        if self.held and not limit:
            # Others wait to be served: this one was.
            limit = "bytes" if self._messages is None else "messages"
        return limit

    def hold(self, client: W) -> bool:
        """Put a client at the end of the line; False if it is held already."""
        if client in self.held:
            return False
        self.held[client] = None
        return True

    def forget(self, client: W) -> None:
        """A client has left."""
        self.held.pop(client, None)

    def release(self, now: float) -> list[W]:
        """Remove the clients that may send again from the line and return them: one for each token for messages."""
        room = float(len(self.held))
        if self._bytes is not None and self._bytes.refill(now) < 1 - _ROUNDING:
            room = 0.0
        if self._messages is not None:
            room = min(room, self._messages.refill(now))
        return [self.held.popitem(last=False)[0] for _ in range(int(room + _ROUNDING))]

    def pause(self, now: float) -> float | None:
        """Seconds until the first client of the line may be released; None: none is held."""
        if not self.held:
            return None
        pause = RESUME_SECONDS
        for bucket in (self._messages, self._bytes):
            if bucket is not None:
                bucket.refill(now)
                pause = max(pause, bucket.wait(1))
        return pause


def written_buckets(**buckets: DebtBucket | None) -> Document:
    """The buckets of limits as plain values, None for no limit."""
    return {name: None if bucket is None else bucket.written() for name, bucket in buckets.items()}


def read_buckets(document: Mapping[str, Any], **buckets: DebtBucket | None) -> None:
    """Give buckets the state of a document, as far as both have the limit.

    :raises FormatError: a value is of the wrong kind
    """
    for name, bucket in buckets.items():
        if bucket is not None:
            bucket.read(document.get(name) or {})


def changed(bucket: DebtBucket | None, rate: Rate | None, now: float) -> DebtBucket | None:
    """The bucket of another limit, which owes what the one before it owed; None for no limit."""
    if rate is None:
        return None
    if bucket is None:
        return DebtBucket(rate, now)
    bucket.change(rate, now)
    return bucket
