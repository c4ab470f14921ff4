"""Shares call slots fairly between canisters, so that no canister can delay the others.

A call that hangs keeps its connection until its timeout, and one canister may have thousands of clients. So the calls
in flight are counted by canister, in a *slot queue* each. A slot queue may begin another call while it has fewer in
flight than all of them together have left of the limit. One canister alone may use half of all slots; a second one half
of the rest; and one that has none in flight may always begin. Calls that find no slot wait in their slot queue, by rank
(:mod:`icwsgw.core.fair_queue`), and the slot queues are served round-robin.

Slot queues in which calls wait are in *levels*, one for each number of calls in flight. Those of a level may all begin
a call, or none of them. So the end of a call costs the same, however many slot queues wait.

Other things are shared in the same way: queries in flight by canister, and by address what unauthenticated clients have
begun.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol
from weakref import WeakValueDictionary

from icwsgw.core.fair_queue import PriorityQueue


class SlotWaiter(Hashable, Protocol):
    """What waits for a slot."""

    def granted(self) -> None:
        """It has its slot."""


class SlotQueue:
    """The calls of one canister. It exists as long as something refers to it.

    :ivar busy: number of calls in flight
    :ivar call_slots: the slots that it shares
    """

    __slots__ = ("__weakref__", "_waiting", "busy", "call_slots")

    def __init__(self, call_slots: CallSlots) -> None:
        self.call_slots = call_slots
        # None while no call waits
        self._waiting: PriorityQueue[SlotWaiter] | None = None
        self.busy = 0

    def enter(self, waiter: SlotWaiter, rank: float = 0.0) -> bool:
        """Begin a call; :meth:`leave` ends it. If there is no slot, ``waiter.granted`` is called when there is one.

        :param rank: of those that wait here the lowest begins first
        :return: whether the call has begun
        """
        if self.try_enter():
            return True
        if self._waiting is None:
            self._waiting = PriorityQueue()
            self.call_slots.add(self)
        self._waiting.add(waiter, rank)
        return False

    @property
    def has_room(self) -> bool:
        """Whether there is a slot for one more call."""
        call_slots = self.call_slots
        return self.busy < call_slots.least or not (self._waiting or self.busy >= call_slots.limit - call_slots.busy)

    def try_enter(self) -> bool:
        """Begin a call if there is a slot; whether there was."""
        call_slots = self.call_slots
        if self.busy >= call_slots.least and (self._waiting or self.busy >= call_slots.limit - call_slots.busy):
            return False
        # as take(), inlined
        self.busy += 1
        call_slots.busy += 1
        return True

    def take(self) -> None:
        """Begin a call even if there is no slot."""
        self.busy += 1
        self.call_slots.busy += 1

    def leave(self) -> None:
        """A call has ended."""
        call_slots = self.call_slots
        self.busy -= 1
        call_slots.busy -= 1
        if call_slots.line:
            call_slots.grant(self)

    def forget(self, waiter: SlotWaiter) -> None:
        """A waiter does not wait any more."""
        if self._waiting is not None:
            self._waiting.remove(waiter)
            if not self._waiting:
                self._waiting = None
                self.call_slots.remove(self)

    @property
    def waits(self) -> bool:
        """Whether a call waits here."""
        return self._waiting is not None

    def next(self) -> SlotWaiter | None:
        """Begin the first call that waits, if there is a slot."""
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
    """All slot queues.

    :param limit: number of slots, without those that each slot queue always has
    :param least: slots that each slot queue always has
    :ivar busy: number of calls in flight
    :ivar line: slot queues in which a call waits, each with its turn and its level
    """

    __slots__ = ("_granting", "_last_turn", "_levels", "_slot_queues", "busy", "least", "limit", "line")

    def __init__(self, limit: int, least: int = 1) -> None:
        self.limit = limit
        self.least = least
        self.busy = 0
        self.line: dict[SlotQueue, tuple[int, int]] = {}
        # By number of calls in flight: the slot queues, by turn. One with more in flight by now moves when it is first.
        self._levels: dict[int, PriorityQueue[SlotQueue]] = {}
        self._last_turn = 0
        self._slot_queues: WeakValueDictionary[Hashable, SlotQueue] = WeakValueDictionary()
        self._granting = False

    def slot_queue(self, party: Hashable) -> SlotQueue:
        """The slot queue of a canister, or of another key that slots are shared by."""
        slot_queue = self._slot_queues.get(party)
        if slot_queue is None:
            slot_queue = self._slot_queues[party] = SlotQueue(self)
        return slot_queue

    def add(self, slot_queue: SlotQueue) -> None:
        """A call waits in a slot queue: it is served after all others."""
        self._last_turn += 1
        self._place(slot_queue, self._last_turn)

    def remove(self, slot_queue: SlotQueue) -> None:
        """No call waits in a slot queue any more."""
        _, level = self.line.pop(slot_queue)
        waiting = self._levels[level]
        waiting.remove(slot_queue)
        if not waiting:
            del self._levels[level]

    def grant(self, left: SlotQueue) -> None:
        """There is a free slot: begin waiting calls, round-robin.

        :param left: the slot queue whose call has ended
        """
        if left in self.line:
            self._move(left)
        if self._granting:
            return  # a call has ended while it began; the loop below continues
        self._granting = True
        try:
            while (slot_queue := self._next()) is not None:
                self.remove(slot_queue)
                waiter = slot_queue.next()
                if slot_queue.waits:
                    self.add(slot_queue)
                if waiter is not None:
                    waiter.granted()
        finally:
            self._granting = False

    def _next(self) -> SlotQueue | None:
        """The slot queue that is served next, if there is a slot for it."""
        below = max(self.least, self.limit - self.busy)
        found, lowest = None, 0.0
        levels = [level for level in self._levels if level < below]
        for level in levels:
            while level in self._levels:
                turn, slot_queue = self._levels[level].first()
                if slot_queue.busy == level:
                    if found is None or turn < lowest:
                        found, lowest = slot_queue, turn
                    break
                self._move(slot_queue)
                if slot_queue.busy < below:
                    levels.append(slot_queue.busy)
        return found

    def _place(self, slot_queue: SlotQueue, turn: int) -> None:
        level = slot_queue.busy
        self.line[slot_queue] = turn, level
        if level not in self._levels:
            self._levels[level] = PriorityQueue()
        self._levels[level].add(slot_queue, turn)

    def _move(self, slot_queue: SlotQueue) -> None:
        """Move a slot queue to the level of its calls in flight; its turn stays."""
        turn, level = self.line[slot_queue]
        if level != slot_queue.busy:
            self.remove(slot_queue)
            self._place(slot_queue, turn)
