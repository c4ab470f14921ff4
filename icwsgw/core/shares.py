"""Who may have how many calls under way, so that no canister can hold up the others.

A call that hangs keeps its connection for as long as a call may take, and one canister may have thousands of clients.
So calls are counted by canister, in a *lane* each, and a lane may have one more as long as it has fewer under way than
all lanes together have left of the limit. A canister alone may take half of all; the next one, while the first hangs,
half of what is left; and one that has nothing under way may always begin. What finds no room waits in its lane, by rank
(:mod:`icwsgw.core.lines`), and the lanes take turns.

Other things are shared in the same way: queries in flight by canister, what strangers have begun by their address.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Protocol
from weakref import WeakValueDictionary

from icwsgw.core.lines import Ranked


class Waiter(Hashable, Protocol):
    """What waits in a lane."""

    def granted(self) -> None:
        """It has its place now."""


class Lane:
    """The calls of one canister; lives as long as somebody holds it.

    :ivar busy: how many are under way
    :ivar shares: what it is one of
    """

    __slots__ = ("__weakref__", "_waiting", "busy", "shares")

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        # None while nobody waits
        self._waiting: Ranked[Waiter] | None = None
        self.busy = 0

    def enter(self, waiter: Waiter, rank: float = 0.0) -> bool:
        """Begin a call, which :meth:`leave` ends; where there is no room, ``waiter.granted`` tells when it has begun.

        :param rank: of those that wait here the one with the lowest begins first
        :return: whether it has begun
        """
        if self.try_enter():
            return True
        if self._waiting is None:
            self._waiting = Ranked()
        self._waiting.add(waiter, rank)
        self.shares.line[self] = None
        return False

    @property
    def has_room(self) -> bool:
        """Whether one more may begin."""
        shares = self.shares
        return self.busy < shares.least or not (self._waiting or self.busy >= shares.limit - shares.busy)

    def try_enter(self) -> bool:
        """Begin a call if there is room for it; whether it has begun."""
        shares = self.shares
        if self.busy >= shares.least and (self._waiting or self.busy >= shares.limit - shares.busy):
            return False
        # as take() does, without a call
        self.busy += 1
        shares.busy += 1
        return True

    def take(self) -> None:
        """Begin a call, room or not."""
        self.busy += 1
        self.shares.busy += 1

    def leave(self) -> None:
        """A call has ended."""
        shares = self.shares
        self.busy -= 1
        shares.busy -= 1
        if shares.line:
            shares.grant()

    def forget(self, waiter: Waiter) -> None:
        """Do not wait any more."""
        if self._waiting is not None:
            self._waiting.remove(waiter)
            if not self._waiting:
                self._waiting = None
                self.shares.line.pop(self, None)

    @property
    def waits(self) -> bool:
        """Whether somebody waits for a place."""
        return self._waiting is not None

    def next(self) -> Waiter | None:
        """Let the first one that waits begin, if there is room."""
        shares, waiting = self.shares, self._waiting
        if not waiting or (self.busy >= shares.least and self.busy >= shares.limit - shares.busy):
            return None
        waiter = waiting.pop()
        if not waiting:
            self._waiting = None
        self.busy += 1
        shares.busy += 1
        return waiter


class Shares:
    """All lanes.

    :param limit: calls under way in all, but for those that each lane may always have
    :param least: how many each lane may always have
    :ivar busy: how many are under way
    :ivar line: lanes in which somebody waits, the next one first
    """

    __slots__ = ("_granting", "_lanes", "busy", "least", "limit", "line")

    def __init__(self, limit: int, least: int = 1) -> None:
        self.limit = limit
        self.least = least
        self.busy = 0
        self.line: OrderedDict[Lane, None] = OrderedDict()
        self._lanes: WeakValueDictionary[Hashable, Lane] = WeakValueDictionary()
        self._granting = False

    def lane(self, party: Hashable) -> Lane:
        """The lane of a canister, or of whatever else shares are counted by."""
        lane = self._lanes.get(party)
        if lane is None:
            lane = self._lanes[party] = Lane(self)
        return lane

    def grant(self) -> None:
        """There is room again: let begin what may, each lane in turn."""
        if self._granting:
            return  # a call has ended in its own beginning; the loop below goes on
        self._granting = True
        try:
            more = True
            while more:
                more = False
                for lane in list(self.line):
                    waiter = lane.next()
                    if waiter is None:
                        continue
                    self.line.pop(lane, None)
                    if lane.waits:
                        self.line[lane] = None
                    more = True
                    waiter.granted()
        finally:
            self._granting = False
