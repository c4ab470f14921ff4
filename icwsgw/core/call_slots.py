"""Who may have how many calls under way, so that no canister can hold up the others.

A call that hangs keeps its connection for as long as a call may take, and one canister may have thousands of clients.
So calls are counted by canister, in a *lane* each, and a lane may have one more as long as it has fewer under way than
all lanes together have left of the limit. A canister alone may take half of all; the next one, while the first hangs,
half of what is left; and one that has nothing under way may always begin. What finds no room waits in its lane, by rank
(:mod:`icwsgw.core.fair_queue`), and the lanes take turns.

Other things are shared in the same way: queries in flight by canister, what strangers have begun by their address.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Protocol
from weakref import WeakValueDictionary

from icwsgw.core.fair_queue import PriorityQueue


class SlotWaiter(Hashable, Protocol):
    """What waits in a lane."""

    def granted(self) -> None:
        """It has its place now."""


class SlotQueue:
    """The calls of one canister; lives as long as somebody holds it.

    :ivar busy: how many are under way
    :ivar call_slots: what it is one of
    """

    __slots__ = ("__weakref__", "_waiting", "busy", "call_slots")

    def __init__(self, call_slots: CallSlots) -> None:
        self.call_slots = call_slots
        # None while nobody waits
        self._waiting: PriorityQueue[SlotWaiter] | None = None
        self.busy = 0

    def enter(self, waiter: SlotWaiter, rank: float = 0.0) -> bool:
        """Begin a call, which :meth:`leave` ends; where there is no room, ``waiter.granted`` tells when it has begun.

        :param rank: of those that wait here the one with the lowest begins first
        :return: whether it has begun
        """
        if self.try_enter():
            return True
        if self._waiting is None:
            self._waiting = PriorityQueue()
        self._waiting.add(waiter, rank)
        self.call_slots.line[self] = None
        return False

    @property
    def has_room(self) -> bool:
        """Whether one more may begin."""
        call_slots = self.call_slots
        return self.busy < call_slots.least or not (self._waiting or self.busy >= call_slots.limit - call_slots.busy)

    def try_enter(self) -> bool:
        """Begin a call if there is room for it; whether it has begun."""
        call_slots = self.call_slots
        if self.busy >= call_slots.least and (self._waiting or self.busy >= call_slots.limit - call_slots.busy):
            return False
        # as take() does, without a call
        self.busy += 1
        call_slots.busy += 1
        return True

    def take(self) -> None:
        """Begin a call, room or not."""
        self.busy += 1
        self.call_slots.busy += 1

    def leave(self) -> None:
        """A call has ended."""
        call_slots = self.call_slots
        self.busy -= 1
        call_slots.busy -= 1
        if call_slots.line:
            call_slots.grant()

    def forget(self, waiter: SlotWaiter) -> None:
        """Do not wait any more."""
        if self._waiting is not None:
            self._waiting.remove(waiter)
            if not self._waiting:
                self._waiting = None
                self.call_slots.line.pop(self, None)

    @property
    def waits(self) -> bool:
        """Whether somebody waits for a place."""
        return self._waiting is not None

    def next(self) -> SlotWaiter | None:
        """Let the first one that waits begin, if there is room."""
        call_slots, waiting = self.call_slots, self._waiting
        if not waiting or (self.busy >= call_slots.least and self.busy >= call_slots.limit - call_slots.busy):
            return None
        waiter = waiting.pop()
        if not waiting:
            self._waiting = None
        self.busy += 1
        call_slots.busy += 1
        return waiter


class CallSlots:
    """All lanes.

    :param limit: calls under way in all, but for those that each lane may always have
    :param least: how many each lane may always have
    :ivar busy: how many are under way
    :ivar line: lanes in which somebody waits, the next one first
    """

    __slots__ = ("_granting", "_slot_queues", "busy", "least", "limit", "line")

    def __init__(self, limit: int, least: int = 1) -> None:
        self.limit = limit
        self.least = least
        self.busy = 0
        self.line: OrderedDict[SlotQueue, None] = OrderedDict()
        self._slot_queues: WeakValueDictionary[Hashable, SlotQueue] = WeakValueDictionary()
        self._granting = False

    def slot_queue(self, party: Hashable) -> SlotQueue:
        """The lane of a canister, or of whatever else shares are counted by."""
        slot_queue = self._slot_queues.get(party)
        if slot_queue is None:
            slot_queue = self._slot_queues[party] = SlotQueue(self)
        return slot_queue

    def grant(self) -> None:
        """There is room again: let begin what may, each lane in turn."""
        if self._granting:
            return  # a call has ended in its own beginning; the loop below goes on
        self._granting = True
        try:
            more = True
            while more:
                more = False
                for slot_queue in list(self.line):
                    waiter = slot_queue.next()
                    if waiter is None:
                        continue
                    self.line.pop(slot_queue, None)
                    if slot_queue.waits:
                        self.line[slot_queue] = None
                    more = True
                    waiter.granted()
        finally:
            self._granting = False
