"""Answers that came before their turn, where a deep queue is asked for at several numbers at once.

They are delivered in order by number, so what begins beyond the cursor waits for what is missing before it. It is not
asked for again meanwhile, up to a bound: beyond that an answer is forgotten, and asked for again when its turn comes.
"""

from __future__ import annotations

from icwsgw.ic.ws import Batch, nonce_of_key

#: Bytes of answers that wait.
MAX_BYTES = 16 << 20


class ReorderBuffer:
    """The answers of one queue that wait for their turn.

    :ivar kept: by the number of their first message: the answer, when it was asked for, and its bytes
    :ivar size: bytes of them all
    """

    __slots__ = ("kept", "size")

    def __init__(self) -> None:
        self.kept: dict[int, tuple[Batch, float, int]] = {}
        self.size = 0

    def put(self, batch: Batch, asked: float) -> None:
        """Keep an answer that has messages, unless it is there already or would be too much.

        :param asked: when it was asked for
        """
        first = nonce_of_key(batch.messages[0][2])
        size = len(batch.cert) + len(batch.tree) + sum(len(message[3]) for message in batch.messages)
        if first not in self.kept and self.size + size <= MAX_BYTES:
            self.kept[first] = batch, asked, size
            self.size += size

    def take(self, number: int) -> tuple[Batch, float] | None:
        """Take out the first answer if it begins at ``number`` or before; with the time it was asked for."""
        first = min(self.kept, default=None)
        if first is None or first > number:
            return None
        batch, asked, size = self.kept.pop(first)
        self.size -= size
        return batch, asked

    def clear(self) -> None:
        """Forget all."""
        self.kept.clear()
        self.size = 0
