"""Which of several connections of one principal to one canister lives: the comparisons as tables (decision 0015).

A canister keeps one connection for each principal, the one whose ws_open it executed last. It tells the time of each by
its first message. :data:`HERE` decides when it has accepted another connection of this process, :data:`ELSEWHERE` when
one of another process is announced:

    the other's time  sign                     here          elsewhere
    ----------------  -----------------------  ------------  ---------------
    LATER             any                      OTHER_LIVES   OTHER_LIVES
    EARLIER           any                      THIS_LIVES    TELL_OUR_TIME
    SAME              NONE                     UNDECIDED     UNDECIDED
    SAME              CONFIRMED                UNDECIDED     THIS_LIVES
    SAME              DISMISSED                THIS_LIVES    OTHER_LIVES
    UNTOLD            any                      THIS_LIVES    -
    UNTOLD_LATER      any                      -             OTHER_LIVES
    UNTOLD_EARLIER    any                      -             NOTHING

A connection that leaves before its first message has no time. If the canister's answer to ``ws_close`` says that it
knew the connection until then, the connections that were opened before are over: here and in other processes those
whose time is not later than the time at which ``ws_close`` was sent, also if their first messages are yet to come.
They are over, too, if its ``ws_open`` was executed and nobody can tell how ``ws_close`` ended.

Here, the sign is the other's, and one that is CONFIRMED wins as soon as both are undecided. Elsewhere, the sign is that
of the connection of this process. Connections with the same time stay undecided until a sign comes: what the canister
sends to one of them in a later block, what it takes from or refuses to one of them, or its answer to ws_close.

The machine (:class:`Replacement`) gives steps, which :mod:`icwsgw.gateway.replacements` performs in order. It knows no
registry: the living connections are an argument.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

from icwsgw.core.session_machine import Opened, State


class Order(IntEnum):
    """The other's time compared with this connection's."""

    EARLIER = 0
    SAME = 1
    LATER = 2
    UNTOLD = 3
    """One of them has none; the other was heard of earlier."""
    UNTOLD_LATER = 4
    """One of them has none; whoever orders the announcements says that the other came later."""
    UNTOLD_EARLIER = 5
    """The same, but earlier."""


class Sign(IntEnum):
    """What the canister has shown about a connection since its first message."""

    NONE = 0
    """Nothing."""
    CONFIRMED = 1
    """It has taken a message of it, in a later block."""
    DISMISSED = 2
    """It has refused a message of it, as it does not know the client."""


class Verdict(IntEnum):
    """What a comparison decides."""

    THIS_LIVES = 0
    OTHER_LIVES = 1
    UNDECIDED = 2
    """Wait for a sign."""
    TELL_OUR_TIME = 3
    """The other process has not known our time when it announced its own."""
    NOTHING = 4


class ReplacementEffect(IntEnum):
    """What the gateway has to do."""

    REPLACE = 0
    """End the connection as replaced."""
    WATCH = 1
    """Report the canister's next messages to the connection."""
    UNWATCH = 2
    """Stop that."""
    ANNOUNCE = 3
    """Tell other processes the time of the connection that lives here."""
    ANNOUNCE_LEFT = 4
    """Tell other processes that the canister knew a connection that has left, and by when it was opened."""


O, V, N = Order, Verdict, Sign  # noqa: E741
_SAME = ((O.SAME, N.NONE), (O.SAME, N.CONFIRMED), (O.SAME, N.DISMISSED))
HERE: dict[tuple[Order, Sign], Verdict] = {
    **{(O.LATER, sign): V.OTHER_LIVES for sign in Sign},
    **{(O.EARLIER, sign): V.THIS_LIVES for sign in Sign},
    **{(O.UNTOLD, sign): V.THIS_LIVES for sign in Sign},
    **dict(zip(_SAME, (V.UNDECIDED, V.UNDECIDED, V.THIS_LIVES), strict=True)),
}
ELSEWHERE: dict[tuple[Order, Sign], Verdict] = {
    **{(O.LATER, sign): V.OTHER_LIVES for sign in Sign},
    **{(O.EARLIER, sign): V.TELL_OUR_TIME for sign in Sign},
    **{(O.UNTOLD_LATER, sign): V.OTHER_LIVES for sign in Sign},
    **{(O.UNTOLD_EARLIER, sign): V.NOTHING for sign in Sign},
    **dict(zip(_SAME, (V.UNDECIDED, V.THIS_LIVES, V.OTHER_LIVES), strict=True)),
}
del O, V, N


class ReplaceableConnection(Hashable, Protocol):
    """What is known of a connection (:class:`icwsgw.gateway.session.ClientSession`)."""

    state: State
    opened: Opened
    opened_at_ns: int
    identity_index: int


T = TypeVar("T", bound=ReplaceableConnection)
#: A canister's and a principal's raw bytes.
Key = tuple[bytes, bytes]


#: What to do, with which connection (None for announcements), and the time to announce (ns since 1970, 0 if none).
Step = tuple[ReplacementEffect, T | None, int]


@dataclass(frozen=True, slots=True)
class Others(Generic[T]):
    """The other connections of a principal when the ``ws_close`` of one is sent.

    :ivar opened: those whose ``ws_open`` is known to have been executed
    :ivar opening: the others
    :ivar at_ns: the network's time as far as it is known, ns since 1970
    """

    opened: list[T]
    opening: list[T]
    at_ns: int


class Replacement(Generic[T]):
    """Decides between the connections of each principal.

    :ivar undecided: connections with the same time, by principal and canister
    :ivar outlived: connections that wait for their first messages, and by when each must have been opened to be
        replaced
    """

    __slots__ = ("outlived", "undecided")

    def __init__(self) -> None:
        self.undecided: dict[Key, dict[T, None]] = {}
        self.outlived: dict[T, int] = {}

    def accepted(self, key: Key, this: T, living: Iterable[T]) -> list[Step[T]]:
        """A canister has accepted a connection.

        :param living: the connections of its principal that the canister has accepted, under all identities
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
            if verdict is Verdict.OTHER_LIVES:
                steps.append((ReplacementEffect.REPLACE, this, 0))
            elif verdict is Verdict.THIS_LIVES:
                steps.append((ReplacementEffect.REPLACE, other, 0))
            else:
                steps += (*self._leave_open(key, other), *self._leave_open(key, this))
        for rival in list(self.undecided.get(key, ())):
            if rival.opened is Opened.CONFIRMED and rival.opened_at_ns == mine:
                steps += self.known(key, rival, living)
        return steps

    def accepted_elsewhere(self, key: Key, at_ns: int, later: bool, living: Iterable[T]) -> list[Step[T]]:
        """A canister has accepted a connection of another process.

        :param at_ns: the canister's timestamp of its first message, ns since 1970; 0 if there is none
        :param later: whether the supervisor has heard of it later; counts if there are no timestamps
        :param living: the connections of its principal here that the canister has accepted
        """
        steps: list[Step[T]] = []
        living = list(living)
        for ours in living:
            mine = ours.opened_at_ns
            if mine and at_ns:
                order = _order(mine, at_ns)
            else:
                order = Order.UNTOLD_LATER if later else Order.UNTOLD_EARLIER
            verdict = ELSEWHERE[order, _sign(ours)]
            if verdict is Verdict.OTHER_LIVES:
                steps.append((ReplacementEffect.REPLACE, ours, 0))
            elif verdict is Verdict.THIS_LIVES:
                steps += self.known(key, ours, living)
            elif verdict is Verdict.TELL_OUR_TIME:
                steps.append((ReplacementEffect.ANNOUNCE, None, mine))
            elif verdict is Verdict.UNDECIDED and (watched := self._leave_open(key, ours)):
                # The other process may have heard of ours before its own was accepted.
                steps += (*watched, (ReplacementEffect.ANNOUNCE, None, mine))
        return steps

    def left_elsewhere(self, at_ns: int, later: bool, living: Iterable[T], waiting: Iterable[T]) -> list[Step[T]]:
        """A connection of another process has left before its first message, and the canister knew it until then.

        :param at_ns: the network's time by which it was opened, ns since 1970
        :param later: as for :meth:`accepted_elsewhere`
        :param living: those of its principal that the canister has accepted
        :param waiting: those that wait for their first messages
        """
        for ours in waiting:
            self.outlived[ours] = max(at_ns, self.outlived.get(ours, 0))
        return [
            (ReplacementEffect.REPLACE, ours, 0)
            for ours in living
            if (ours.opened_at_ns <= at_ns if ours.opened_at_ns else later)
        ]

    def heard(self, key: Key, this: T, time_ns: int | None, living: Iterable[T]) -> list[Step[T]]:
        """The canister has sent another message to an undecided connection.

        :param time_ns: the canister's timestamp of it; a message of the same block tells nothing
        """
        if time_ns is None or time_ns <= this.opened_at_ns:
            return []
        return self.known(key, this, living)

    def known(self, key: Key, this: T, living: Iterable[T]) -> list[Step[T]]:
        """A later block has shown that the canister knows this connection."""
        steps: list[Step[T]] = [(ReplacementEffect.UNWATCH, rival, 0) for rival in self.undecided.pop(key, ())]
        # That block is later, so whoever compares with the old time finds this connection the newer one.
        this.opened_at_ns += 1
        older = (other for other in living if other is not this and other.opened_at_ns < this.opened_at_ns)
        steps += ((ReplacementEffect.REPLACE, other, 0) for other in older)
        return [*steps, (ReplacementEffect.ANNOUNCE, None, this.opened_at_ns)]

    def answered(self, key: Key, this: T, known: bool | None, others: Others[T]) -> list[Step[T]]:
        """The ws_close of a connection has ended.

        Where nobody can tell whether the canister knew the connection, its ws_open counts if it was executed: other
        connections are replaced, rather than left open and without messages.

        :param known: whether the canister knew the connection until then; if not, it may be another one that lives;
            None: nobody can tell
        :param others: those that there were when the ws_close was sent
        """
        if known is False:
            self.forget(key, this)
        if known is False or this.opened >= Opened.SPOKE or (known is None and this.opened is not Opened.EXECUTED):
            return []
        # Its opening, of which nobody had heard, has replaced these.
        steps: list[Step[T]] = [(ReplacementEffect.REPLACE, other, 0) for other in others.opened]
        for other in others.opening:
            if other.state < State.OPEN:
                self.outlived[other] = others.at_ns
            elif other.opened_at_ns <= others.at_ns:
                steps.append((ReplacementEffect.REPLACE, other, 0))
        return [*steps, (ReplacementEffect.ANNOUNCE_LEFT, None, others.at_ns)]

    def gone(self, key: Key, this: T) -> list[Step[T]]:
        """A connection is over, and its canister was told; if the canister knew it, undecided others are over."""
        rivals = self.undecided.get(key, {})
        if this not in rivals:
            return []
        del self.undecided[key]
        steps: list[Step[T]] = [(ReplacementEffect.UNWATCH, rival, 0) for rival in rivals]
        steps += [(ReplacementEffect.REPLACE, rival, 0) for rival in rivals if rival is not this]
        return [*steps, (ReplacementEffect.ANNOUNCE, None, this.opened_at_ns + 1)]

    def forget(self, key: Key | None, this: T) -> None:
        """A connection is over.

        :param key: None if the canister has never accepted it
        """
        self.outlived.pop(this, None)
        rivals = self.undecided.get(key) if key is not None else None
        if key is not None and rivals is not None:
            rivals.pop(this, None)
            if not rivals:
                del self.undecided[key]

    def _leave_open(self, key: Key, this: T) -> list[Step[T]]:
        """Watch a connection, if it is not watched already."""
        rivals = self.undecided.setdefault(key, {})
        if this in rivals:
            return []
        rivals[this] = None
        return [(ReplacementEffect.WATCH, this, 0)]


def _order(mine: int, theirs: int) -> Order:
    if theirs > mine:
        return Order.LATER
    if theirs < mine:
        return Order.EARLIER
    return Order.SAME if mine else Order.UNTOLD


def _sign(connection: ReplaceableConnection) -> Sign:
    if connection.state is State.DISMISSED:
        return Sign.DISMISSED
    return Sign.CONFIRMED if connection.opened is Opened.CONFIRMED else Sign.NONE
