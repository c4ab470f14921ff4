"""Caches the heads of Candid messages with the form of the values after them.

The counts in a head determine its length, so no head is a prefix of another. If a message starts with a cached head,
that is its head. A form is a small number; each cache's owner defines what its forms mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from icwsgw.ic.candid import Opt, Record, Type, Variant, Vec
from icwsgw.ic.candid.table import read_head
from icwsgw.ic.ws.client_keys import LIMITS

# Encoders number the same few types in fewer ways than this. Each cached head costs a comparison of about 30 ns.
MAX_HEADS = 32
MAX_HEAD_SIZE = 1024


class CandidHeadCache:
    """A bounded cache of heads and their forms.

    Heads given at creation stay. When the cache is full, all others are dropped together. So a sender that uses a new
    head for each message pays for parsing each of them, and other senders must have theirs parsed again only sometimes.

    :param known: heads that are never dropped, with their forms
    :param classify: returns the form of a new head, from the types of its arguments
    """

    __slots__ = ("_classify", "_known", "rows")

    def __init__(self, known: Iterable[tuple[bytes, int]], classify: Callable[[list[Type]], int]) -> None:
        self._known = tuple(known)
        self._classify = classify
        self.rows: list[tuple[bytes, int]] = list(self._known)

    def find(self, message: bytes) -> tuple[int, int]:
        """Return the offset of a message's values and the form of its head.

        :raises FormatError: the head is malformed or too large
        """
        for head, form in self.rows:
            if message.startswith(head):
                return len(head), form
        return self._learn(message)

    def forget(self) -> None:
        """Drop all heads except those given at creation."""
        self.rows[:] = self._known

    def _learn(self, message: bytes) -> tuple[int, int]:
        args, size = read_head(message, LIMITS)
        form = self._classify(args)
        if size <= MAX_HEAD_SIZE:
            if len(self.rows) >= MAX_HEADS:
                self.forget()
            self.rows.append((message[:size], form))
        return size, form


def same_type(wire: Type, kind: Type) -> bool:
    """Return whether two types are equal apart from field names. ``kind`` must not be recursive, so that this ends."""
    if wire.code != kind.code:
        return False
    if isinstance(wire, (Opt, Vec)) and isinstance(kind, (Opt, Vec)):
        return same_type(wire.inner, kind.inner)
    if isinstance(wire, (Record, Variant)) and isinstance(kind, (Record, Variant)):
        return len(wire.fields) == len(kind.fields) and all(
            ours[0] == theirs[0] and same_type(theirs[2], ours[2])
            for theirs, ours in zip(wire.fields, kind.fields, strict=True)
        )
    return True
