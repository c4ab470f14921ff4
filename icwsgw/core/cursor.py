"""The position of a poller in its canister's queue, and how an answer changes it.

The CDK numbers a gateway's messages from 0; this *nonce* is the tail of each message's key (docs/protocol.md). A poll
gets messages "from nonce n on". Answers come from any replica of the subnet: out of order, twice, or from a replica
that lags behind. So the cursor delivers by nonce alone:

    nonce == next     deliver, next += 1
    nonce <  next     a duplicate: skip it
    nonce >  next     a gap: deliver nothing beyond it, poll again

A gap that stays is real: the canister has deleted messages that are older than its acknowledgement interval. The cursor
skips it after ``GAP_ANSWERS`` answers over at least ``GAP_SECONDS``, each to a query that was sent when the answer
before was known, and reports the missing nonces. (Queries that are in flight together may all meet one faulty replica,
so they count as one piece of evidence.) A cursor that has seen no message yet (``fresh``) begins at the first one that
it gets, whatever its nonce: older ones were deleted.

After a reset of the canister, a replica that lags behind still answers from the queue before it. All messages there are
older, by the canister's own time, than those of the new queue. So for ``FORMER_SECONDS`` after a reset, an answer is
ignored if its first new message is older than the last delivered one: it delivers nothing and is no evidence of a gap.
The same holds after the first message of all, because the reset may have been just before this gateway's first poll.
Later its age does not count, so a canister whose clock goes back is read again after a minute. Before the first
message of the new queue, answers are ignored that begin with messages of the old one: for ``FORMER_SECONDS`` if the
reset is proven, otherwise for ``FRESH_SECONDS``. An absent queue that was taken for a reset may come back, and then it
holds what new clients wait for.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from icwsgw.core.messages import message_timestamp
from icwsgw.core.written_state import Document, Written, read_as
from icwsgw.ic.ws import nonce_of_key

GAP_ANSWERS = 3
GAP_SECONDS = 1.0
#: Seconds after a reset for which answers from the queue before it are ignored: replicas lag behind by less.
FORMER_SECONDS = 60.0
#: The same if the reset is not proven, before any message of the new queue was delivered.
FRESH_SECONDS = 3.0

#: (client principal, client nonce, key, content), as icwsgw.ic.ws reads it
Message = tuple[bytes, int, bytes, bytes]

#: Of a longer last message only digest and timestamp are kept.
KEEP_BYTES = 4096


class LastMessage:
    """The last delivered message, as far as it is needed to recognise it.

    :ivar nonce: its nonce
    """

    __slots__ = ("_content", "_digest", "_timestamp", "nonce")

    def __init__(self, nonce: int, content: bytes) -> None:
        self.nonce = nonce
        self._content: bytes | None = content
        self._digest: bytes | None = None
        self._timestamp: int | None = None
        if len(content) > KEEP_BYTES:
            self._digest = sha256(content).digest()
            self._timestamp = message_timestamp(content)
            self._content = None

    def written(self) -> Document:
        """The message as plain values."""
        return {"nonce": self.nonce, "content": self._content, "digest": self._digest, "timestamp": self._timestamp}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> LastMessage:
        """The message of a document.

        :raises FormatError: a value is missing or of the wrong kind
        """
        message = cls(read_as(int, document.get("nonce"), "nonce"), b"")
        message._content = document.get("content")
        message._digest = document.get("digest")
        message._timestamp = document.get("timestamp")
        read_as(bytes, message._digest if message._content is None else message._content, "content")
        return message

    def is_same(self, content: bytes) -> bool:
        """Whether ``content`` is the content of this message."""
        if self._content is not None:
            return self._content == content
        return self._digest == sha256(content).digest()

    def is_newer_than(self, content: bytes) -> bool:
        """Whether this message is newer than another one, by the canister's timestamps; False if either has none.

        :param content: the other message, in the CDK's CBOR
        """
        own = self.timestamp
        other = None if own is None else message_timestamp(content)
        return own is not None and other is not None and other < own

    @property
    def timestamp(self) -> int | None:
        """The canister's timestamp of the message, ns since 1970; None if the content has none."""
        if self._content is not None:
            return message_timestamp(self._content)
        return self._timestamp


class CursorUpdate:
    """What one answer yields.

    :ivar deliver: the messages to deliver, in order
    :ivar duplicates: number of messages that were delivered before
    :ivar former: the answer is from the queue before the last reset, and ignored
    :ivar missing: (first, beyond) nonce of a gap that has stopped the delivery, else None
    :ivar lost: (first, beyond) nonce of a gap that was skipped, else None
    """

    __slots__ = ("deliver", "duplicates", "former", "lost", "missing")

    def __init__(self) -> None:
        self.deliver: list[Message] = []
        self.duplicates = 0
        self.former = False
        self.missing: tuple[int, int] | None = None
        self.lost: tuple[int, int] | None = None


class Cursor(Written):
    """The position in one queue.

    :ivar next: the nonce to poll from
    :ivar fresh: no message has been seen since the start (or the last restart)
    :ivar last: the last delivered message, None while fresh
    """

    __slots__ = (
        "_former",
        "_former_until",
        "_fresh_until",
        "_gap_asks",
        "_gap_last",
        "_gap_since",
        "fresh",
        "last",
        "next",
    )
    WRITTEN = {
        "next": int,
        "fresh": bool,
        "_gap_asks": int,
        "_gap_since": float,
        "_gap_last": float,
        "_former_until": float,
        "_fresh_until": float,
    }

    def __init__(self) -> None:
        self.next = 0
        self.fresh = True
        self.last: LastMessage | None = None
        #: the last message before the last reset, and until when answers from the queue of then may come; 0: none come
        self._former: LastMessage | None = None
        self._former_until = 0.0
        #: the same as long as no message of the new queue was delivered
        self._fresh_until = 0.0
        self._gap_asks = 0
        self._gap_since = 0.0
        self._gap_last = 0.0

    def written(self) -> Document:
        """The position as plain values."""
        return {
            **super().written(),
            "last": self.last and self.last.written(),
            "former": self._former and self._former.written(),
        }

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the position of a document.

        :raises FormatError: a value is of the wrong kind
        """
        super().read(document)
        if "_fresh_until" not in document:
            # a version before revision 3 has written it
            self._fresh_until = self._former_until - FORMER_SECONDS + FRESH_SECONDS
        last, former = document.get("last"), document.get("former")
        self.last = None if last is None else LastMessage.from_document(last)
        self._former = None if former is None else LastMessage.from_document(former)

    def restart(self, now: float, former: LastMessage | None, proven: bool = False) -> None:
        """Begin again at nonce 0: the queue is a new one.

        :param now: monotonic seconds
        :param former: the last message that is known to be of the old queue; None: ages cannot be compared with it
        :param proven: a certified message of the new queue has shown the reset
        """
        self._former = former
        self._former_until = now + FORMER_SECONDS
        self._fresh_until = now + (FORMER_SECONDS if proven else FRESH_SECONDS)
        self.next = 0
        self.fresh = True
        self.last = None
        self._gap_asks = 0

    def skip(self, beyond: int) -> None:
        """Continue at a nonce, without the messages before it."""
        self.next = beyond
        self._gap_asks = 0

    def take(self, messages: list[Message], now: float, sent: float) -> CursorUpdate:
        """Sort an answer's messages into new, known and out of reach, and move ``next``.

        :param now: monotonic seconds
        :param sent: when the query was sent, monotonic seconds
        """
        taken = CursorUpdate()
        deliver = taken.deliver
        expected = self.next
        for message in messages:
            # the usual form of a key with the expected nonce, without a call for each message
            nonce = expected if message[2].endswith(b"_%020d" % expected) else nonce_of_key(message[2])
            if nonce == expected:
                deliver.append(message)
                expected += 1
            elif nonce < expected:
                taken.duplicates += 1
            elif self.fresh and not deliver:
                deliver.append(message)
                expected = nonce + 1
            elif not deliver and self._former_until and self._is_former(message[3], now):
                taken.former = True
                return taken
            elif not deliver and self._gap_stays(now, sent):
                taken.lost = (expected, nonce)
                deliver.append(message)
                expected = nonce + 1
            else:
                taken.missing = (expected, nonce)
                break
        if deliver and self._former_until and self._is_former(deliver[0][3], now):
            taken.former = True
            deliver.clear()
            taken.missing = None
        if deliver:
            if self.fresh and not self._former_until:
                # the canister may have been reset shortly before the first poll
                self._former_until = now + FORMER_SECONDS
            self.next = expected
            self.fresh = False
            self._gap_asks = 0
            self.last = LastMessage(expected - 1, deliver[-1][3])
        return taken

    def _is_former(self, content: bytes, now: float) -> bool:
        """Whether the first new message of an answer is from the queue before the last reset."""
        if now >= self._former_until:
            self._former, self._former_until = None, 0.0
            return False
        if self.last is not None:
            return self.last.is_newer_than(content)
        former = self._former
        if former is None or now >= self._fresh_until:
            return False
        return former.is_same(content) or former.is_newer_than(content)

    def _gap_stays(self, now: float, sent: float) -> bool:
        """Count one more answer that begins beyond ``next``; True if the gap is to be skipped now."""
        if self._gap_asks == 0:
            self._gap_since = now
        elif sent < self._gap_last:
            return False
        self._gap_last = now
        self._gap_asks += 1
        return self._gap_asks >= GAP_ANSWERS and now - self._gap_since >= GAP_SECONDS
