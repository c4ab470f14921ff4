"""Reorder buffer for poll answers, which arrive out of order if several polls are in flight.

Messages are delivered in the order of their nonces, so an answer that begins beyond the cursor waits for the messages
before it. No query is sent for it again meanwhile. An answer that does not fit is dropped and polled again later.

So is an answer whose first message is older than the last delivered one: the canister was reset, and the replica lags
behind and still has the queue from before. The new queue has another message with that nonce, which would be taken for
a duplicate. Dropping costs one more query, so a canister whose times go backwards is only read more slowly.
"""

from __future__ import annotations

from icwsgw.core.cursor import LastMessage
from icwsgw.ic.ws import Batch, nonce_of_key

#: Maximum number of bytes of answers that wait.
MAX_BYTES = 16 << 20


class ReorderBuffer:
    """The answers of one queue that wait for earlier ones.

    :ivar kept: by the nonce of the first message: the answer, when its query was sent, and its bytes
    :ivar size: bytes of all answers
    """

    __slots__ = ("kept", "size")

    def __init__(self) -> None:
        self.kept: dict[int, tuple[Batch, float, int]] = {}
        self.size = 0

    def put(self, batch: Batch, sent: float, last: LastMessage | None = None) -> None:
        """Keep an answer that has messages, unless it is kept already, does not fit or is older than ``last``.

        :param sent: seconds when the query was sent
        :param last: the last delivered message
        """
        if last is not None and last.is_newer_than(batch.messages[0][3]):
            return
        first = nonce_of_key(batch.messages[0][2])
        size = len(batch.cert) + len(batch.tree) + sum(len(message[3]) for message in batch.messages)
        if first not in self.kept and self.size + size <= MAX_BYTES:
            self.kept[first] = batch, sent, size
            self.size += size

    def take(self, number: int) -> tuple[Batch, float] | None:
        """Remove the first answer if it begins at ``number`` or before, and return it with the time of its query."""
        first = min(self.kept, default=None)
        if first is None or first > number:
            return None
        batch, sent, size = self.kept.pop(first)
        self.size -= size
        return batch, sent

    def clear(self) -> None:
        """Drop all answers."""
        self.kept.clear()
        self.size = 0
