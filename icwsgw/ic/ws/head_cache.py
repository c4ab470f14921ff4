"""Remembers the heads of Candid messages and what is known of the values behind them.

A head ends where its own counts say, so no head is the beginning of another: the one that a message starts with
is its head. A form is a small number whose meaning is its owner's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from icwsgw.ic.candid import Opt, Record, Type, Variant, Vec
from icwsgw.ic.candid.table import read_head
from icwsgw.ic.ws.client_keys import LIMITS

# More numberings of the same few types than there are encoders; each costs a comparison of some 30 ns.
MAX_HEADS = 32
MAX_HEAD_SIZE = 1024


class CandidHeadCache:
    """Heads with their forms, bounded.

    Those given at the start stay; others are forgotten together when there are too many of them, so that a sender
    that makes up a new head for each message costs itself a parse, and others one now and then.

    :param known: heads with their forms
    :param classify: gives the form of a head that is met for the first time, from the types of its arguments
    """

    __slots__ = ("_classify", "_known", "rows")

    def __init__(self, known: Iterable[tuple[bytes, int]], classify: Callable[[list[Type]], int]) -> None:
        self._known = tuple(known)
        self._classify = classify
        self.rows: list[tuple[bytes, int]] = list(self._known)

    def find(self, message: bytes) -> tuple[int, int]:
        """Offset of a message's values and the form of its head.

        :raises FormatError: the head is malformed or too large
        """
        for head, form in self.rows:
            if message.startswith(head):
                return len(head), form
        return self._learn(message)

    def forget(self) -> None:
        """Forget all but those given at the start."""
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
    """Whether two types are the same, field names aside; kind is not recursive, so this ends."""
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
