"""Decides which of several connections of one principal to one canister stays open (decision 0015).

A canister keeps one connection for each principal: the one whose ``ws_open`` it executed last. The timestamp of the
canister's first message to a connection is the connection's *time*. :data:`HERE` compares two connections of this
process when the canister has accepted one of them. :data:`ELSEWHERE` compares a connection of this process with one
that another process has announced:

    the other's time  sign       here         elsewhere
    ----------------  ---------  -----------  -------------
    LATER             any        OTHER_STAYS  OTHER_STAYS
    EARLIER           any        THIS_STAYS   ANNOUNCE_TIME
    SAME              NONE       UNDECIDED    UNDECIDED
    SAME              CONFIRMED  UNDECIDED    THIS_STAYS
    SAME              DISMISSED  THIS_STAYS   OTHER_STAYS
    NO_TIME           any        THIS_STAYS   -
    NO_TIME_LATER     any        -            OTHER_STAYS
    NO_TIME_EARLIER   any        -            NOTHING

In the first table, the sign belongs to the other connection; a CONFIRMED one wins as soon as both are undecided. In
the second, it belongs to the connection of this process. Connections with the same time stay undecided until the
canister shows which one it has: it sends a message to one of them in a later block, it accepts or refuses a message
from one of them, or it answers a ``ws_close``.

A connection that leaves before its first message has no time. If the canister's answer to its ``ws_close`` shows that
the canister still knew it, it had replaced the connections that were opened earlier. The gateway ends those, here and
in other processes: all whose time is not later than the time at which ``ws_close`` was sent, including those that
still wait for their first messages. The gateway does the same if the ``ws_open`` was executed and the outcome of
``ws_close`` is unknown.

The machine (:class:`Replacement`) returns steps, which :mod:`icwsgw.gateway.replacements` performs in order. It has no
registry of connections: the caller passes the open ones as an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Generic, Protocol, TypeVar

from icwsgw.core.session_machine import Opened, State
from icwsgw.core.written_state import Document, read_as


class Order(IntEnum):
    """The other connection's time compared with this connection's."""

    EARLIER = 0
    SAME = 1
    LATER = 2
    NO_TIME = 3
    """At least one connection has no time; both are in this process, which accepted the other one earlier."""
    NO_TIME_LATER = 4
    """At least one connection has no time; the supervisor received the other's announcement later."""
    NO_TIME_EARLIER = 5
    """At least one connection has no time; the supervisor received the other's announcement earlier."""


class Sign(IntEnum):
    """What the canister has shown about a connection since its first message to it."""

    NONE = 0
    """Nothing."""
    CONFIRMED = 1
    """The canister has accepted a message from the connection in a later block."""
    DISMISSED = 2
    """The canister has refused a message from the connection because it does not know the client."""


class Verdict(IntEnum):
    """The result of a comparison."""

    THIS_STAYS = 0
    OTHER_STAYS = 1
    UNDECIDED = 2
    """Wait for a sign."""
    ANNOUNCE_TIME = 3
    """Announce this connection's time: the other process did not know it when it announced its own."""
    NOTHING = 4


class ReplacementEffect(IntEnum):
    """What a step does."""

    REPLACE = 0
    """End the connection as replaced."""
    WATCH = 1
    """Report the canister's next messages to the connection (:meth:`Replacement.received`)."""
    UNWATCH = 2
    """Stop reporting them."""
    ANNOUNCE = 3
    """Send other processes the time of the connection that stays open here."""
    ANNOUNCE_LEFT = 4
    """Tell other processes that the canister knew a connection that has left, and the latest time of its opening."""


O, V, N = Order, Verdict, Sign  # noqa: E741
_SAME = ((O.SAME, N.NONE), (O.SAME, N.CONFIRMED), (O.SAME, N.DISMISSED))
HERE: dict[tuple[Order, Sign], Verdict] = {
    **{(O.LATER, sign): V.OTHER_STAYS for sign in Sign},
    **{(O.EARLIER, sign): V.THIS_STAYS for sign in Sign},
    **{(O.NO_TIME, sign): V.THIS_STAYS for sign in Sign},
    **dict(zip(_SAME, (V.UNDECIDED, V.UNDECIDED, V.THIS_STAYS), strict=True)),
}
ELSEWHERE: dict[tuple[Order, Sign], Verdict] = {
    **{(O.LATER, sign): V.OTHER_STAYS for sign in Sign},
    **{(O.EARLIER, sign): V.ANNOUNCE_TIME for sign in Sign},
    **{(O.NO_TIME_LATER, sign): V.OTHER_STAYS for sign in Sign},
    **{(O.NO_TIME_EARLIER, sign): V.NOTHING for sign in Sign},
    **dict(zip(_SAME, (V.UNDECIDED, V.THIS_STAYS, V.OTHER_STAYS), strict=True)),
}
del O, V, N


class ReplaceableConnection(Hashable, Protocol):
    """The attributes of a connection that decide (:class:`icwsgw.gateway.session.ClientSession`)."""

    state: State
    opened: Opened
    opened_at_ns: int
    identity_index: int


T = TypeVar("T", bound=ReplaceableConnection)
#: A canister's and a principal's raw bytes.
Key = tuple[bytes, bytes]


#: The effect, its connection (None for announcements), and the time to announce (ns since 1970, 0 if none).
Step = tuple[ReplacementEffect, T | None, int]


@dataclass(frozen=True, slots=True)
class Others(Generic[T]):
    """The other connections of a principal at the time when the ``ws_close`` of one is sent.

    :ivar opened: those whose ``ws_open`` is known to have been executed
    :ivar opening: all others
    :ivar at_ns: the estimated network time, ns since 1970
    """

    opened: list[T]
    opening: list[T]
    at_ns: int

    def written(self, name: Callable[[T], str]) -> Document:
        """The connections as plain values.

        :param name: gives the name of a connection in the document
        """
        return {"opened": [*map(name, self.opened)], "opening": [*map(name, self.opening)], "at_ns": self.at_ns}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], find: Callable[[str], T | None]) -> Others[T]:
        """The connections of a document, as far as they are still there.

        :param find: gives the connection with a name
        :raises FormatError: a value is of the wrong kind
        """
        opened, opening = (_found(document.get(name, ()), find) for name in ("opened", "opening"))
        return cls(opened, opening, read_as(int, document.get("at_ns", 0), "at_ns"))


class Replacement(Generic[T]):
    """Decides which connection of each principal stays open.

    :ivar undecided: watched connections with the same time, by canister and principal
    :ivar outlived: for each connection that waits for its first message, a time in ns since 1970; if the connection
        was opened at that time or earlier, it is replaced
    """

    __slots__ = ("outlived", "undecided")

    def __init__(self) -> None:
        self.undecided: dict[Key, dict[T, None]] = {}
        self.outlived: dict[T, int] = {}

    def written(self, name: Callable[[T], str]) -> Document:
        """What is undecided, as plain values.

        :param name: gives the name of a connection in the document
        """
        return {
            "undecided": [[*key, [*map(name, rivals)]] for key, rivals in self.undecided.items()],
            "outlived": {name(connection): at_ns for connection, at_ns in self.outlived.items()},
        }

    def read(self, document: Mapping[str, Any], find: Callable[[str], T | None]) -> list[Step[T]]:
        """Take what is undecided from a document, as far as its connections are still there.

        :param find: gives the connection with a name
        :return: the steps after that
        :raises FormatError: a value is of the wrong kind
        """
        steps: list[Step[T]] = []
        for canister, sender, names in document.get("undecided", ()):
            key = read_as(bytes, canister, "canister"), read_as(bytes, sender, "principal")
            for rival in _found(names, find):
                steps += self._leave_open(key, rival)
        for name, at_ns in document.get("outlived", {}).items():
            for connection in _found((name,), find):
                self.outlived[connection] = read_as(int, at_ns, "outlived")
        return steps

    def accepted(self, key: Key, this: T, living: Iterable[T]) -> list[Step[T]]:
        """Return the steps after a canister has accepted a connection.

        :param living: the open connections of its principal that the canister has accepted, under all identities
        """
        mine = this.opened_at_ns
        if self.outlived and mine <= self.outlived.pop(this, -1):
            return [(ReplacementEffect.REPLACE, this, 0)]
        steps: list[Step[T]] = []
        living = list(living)
        for other in living:
            if other is this:
                continue
            verdict = HERE[_order(mine, other.opened_at_ns), _sign(other)]
            if verdict is Verdict.OTHER_STAYS:
                steps.append((ReplacementEffect.REPLACE, this, 0))
            elif verdict is Verdict.THIS_STAYS:
                steps.append((ReplacementEffect.REPLACE, other, 0))
            else:
                steps += (*self._leave_open(key, other), *self._leave_open(key, this))
        for rival in list(self.undecided.get(key, ())):
            if rival.opened is Opened.CONFIRMED and rival.opened_at_ns == mine:
                steps += self.known(key, rival, living)
        return steps

    def accepted_elsewhere(self, key: Key, at_ns: int, later: bool, living: Iterable[T]) -> list[Step[T]]:
        """Return the steps after another process has announced that a canister accepted its connection.

        :param at_ns: the other connection's time (the canister's timestamp of its first message), ns since 1970;
            0 if it has none
        :param later: whether the supervisor received its announcement later; decides if a timestamp is missing
        :param living: the open connections of its principal in this process that the canister has accepted
        """
        steps: list[Step[T]] = []
        living = list(living)
        for ours in living:
            mine = ours.opened_at_ns
            if mine and at_ns:
                order = _order(mine, at_ns)
            else:
                order = Order.NO_TIME_LATER if later else Order.NO_TIME_EARLIER
            verdict = ELSEWHERE[order, _sign(ours)]
            if verdict is Verdict.OTHER_STAYS:
                steps.append((ReplacementEffect.REPLACE, ours, 0))
            elif verdict is Verdict.THIS_STAYS:
                steps += self.known(key, ours, living)
            elif verdict is Verdict.ANNOUNCE_TIME:
                steps.append((ReplacementEffect.ANNOUNCE, None, mine))
            elif verdict is Verdict.UNDECIDED and (watched := self._leave_open(key, ours)):
                # The other process may have received our announcement before its own connection was accepted.
                steps += (*watched, (ReplacementEffect.ANNOUNCE, None, mine))
        return steps

    def left_elsewhere(self, at_ns: int, later: bool, living: Iterable[T], waiting: Iterable[T]) -> list[Step[T]]:
        """Return the steps after a connection of another process left before its first message.

        The canister knew that connection until it left.

        :param at_ns: the latest network time at which it was opened, ns since 1970
        :param later: as for :meth:`accepted_elsewhere`
        :param living: the connections of its principal that the canister has accepted
        :param waiting: the connections of its principal that wait for their first messages
        """
        for ours in waiting:
            self.outlived[ours] = max(at_ns, self.outlived.get(ours, 0))
        return [
            (ReplacementEffect.REPLACE, ours, 0)
            for ours in living
            if (ours.opened_at_ns <= at_ns if ours.opened_at_ns else later)
        ]

    def received(self, key: Key, this: T, time_ns: int | None, living: Iterable[T]) -> list[Step[T]]:
        """Return the steps after the canister has sent another message to an undecided connection.

        :param time_ns: the canister's timestamp of the message, ns since 1970; a message of the same block proves
            nothing
        """
        if time_ns is None or time_ns <= this.opened_at_ns:
            return []
        return self.known(key, this, living)

    def known(self, key: Key, this: T, living: Iterable[T]) -> list[Step[T]]:
        """Return the steps after a later block has shown that the canister knows this connection."""
        steps: list[Step[T]] = [(ReplacementEffect.UNWATCH, rival, 0) for rival in self.undecided.pop(key, ())]
        # That block is later. With the new time, this connection is newer than any with the old time.
        this.opened_at_ns += 1
        older = (other for other in living if other is not this and other.opened_at_ns < this.opened_at_ns)
        steps += ((ReplacementEffect.REPLACE, other, 0) for other in older)
        return [*steps, (ReplacementEffect.ANNOUNCE, None, this.opened_at_ns)]

    def answered(self, key: Key, this: T, known: bool | None, others: Others[T]) -> list[Step[T]]:
        """Return the steps after the ``ws_close`` of a connection has ended.

        If it is unknown whether the canister knew the connection, its ``ws_open`` decides: if that was executed, the
        other connections are replaced. Otherwise they might stay open without ever receiving messages.

        :param known: whether the canister knew the connection until its ``ws_close``; False: the canister may know
            another one; None: unknown
        :param others: the principal's other connections at the time when the ``ws_close`` was sent
        """
        if known is False:
            self.forget(key, this)
        if known is False or this.opened >= Opened.SPOKE or (known is None and this.opened is not Opened.EXECUTED):
            return []
        # Its ws_open, whose execution was not known until now, has replaced these.
        steps: list[Step[T]] = [(ReplacementEffect.REPLACE, other, 0) for other in others.opened]
        for other in others.opening:
            if other.state < State.OPEN:
                self.outlived[other] = others.at_ns
            elif other.opened_at_ns <= others.at_ns:
                steps.append((ReplacementEffect.REPLACE, other, 0))
        return [*steps, (ReplacementEffect.ANNOUNCE_LEFT, None, others.at_ns)]

    def left(self, key: Key, this: T) -> list[Step[T]]:
        """Return the steps after a connection has ended by a ``ws_close`` to a canister that knew it.

        If the connection was undecided, the ``ws_close`` shows that the canister had replaced its rivals.
        """
        rivals = self.undecided.get(key, {})
        if this not in rivals:
            return []
        del self.undecided[key]
        steps: list[Step[T]] = [(ReplacementEffect.UNWATCH, rival, 0) for rival in rivals]
        steps += [(ReplacementEffect.REPLACE, rival, 0) for rival in rivals if rival is not this]
        return [*steps, (ReplacementEffect.ANNOUNCE, None, this.opened_at_ns + 1)]

    def forget(self, key: Key | None, this: T) -> None:
        """Remove a connection that has ended.

        :param key: its canister and principal; None if the canister has never accepted it
        """
        self.outlived.pop(this, None)
        rivals = self.undecided.get(key) if key is not None else None
        if key is not None and rivals is not None:
            rivals.pop(this, None)
            if not rivals:
                del self.undecided[key]

    def _leave_open(self, key: Key, this: T) -> list[Step[T]]:
        """Mark a connection as undecided and watch it, unless it is watched already."""
        rivals = self.undecided.setdefault(key, {})
        if this in rivals:
            return []
        rivals[this] = None
        return [(ReplacementEffect.WATCH, this, 0)]


def _found(names: Iterable[Any], find: Callable[[str], T | None]) -> list[T]:
    found = (find(read_as(str, name, "connection")) for name in names)
    return [connection for connection in found if connection is not None]


def _order(mine: int, theirs: int) -> Order:
    if theirs > mine:
        return Order.LATER
    if theirs < mine:
        return Order.EARLIER
    return Order.SAME if mine else Order.NO_TIME


def _sign(connection: ReplaceableConnection) -> Sign:
    if connection.state is State.DISMISSED:
        return Sign.DISMISSED
    return Sign.CONFIRMED if connection.opened is Opened.CONFIRMED else Sign.NONE
