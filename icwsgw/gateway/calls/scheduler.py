"""Decides when calls are sent: each needs a call slot, then a token of the request budget.

Call slots are shared by canister (:mod:`icwsgw.core.call_slots`, decision 0025), tokens by kind of request
(:mod:`icwsgw.core.request_budget`, decision 0034). A :class:`CallQueue` has the methods of a slot queue: ``enter``,
``leave`` and ``forget``; it calls ``granted`` of the waiter when the call has both. While nothing has to wait, a call
costs neither a timer nor an object.

If messages of one canister wait, its clients are served round-robin: who has not sent lately goes first. Clients that
have sent within the last second form a kind of their own, which gets what the others leave.

A ``ws_open`` comes from an unauthenticated client. Calls to canisters that have spoken lately share slots by canister.
All other canisters share a few slots by canister and by address, so canisters that do not exist or hang delay no one
else. When such a canister speaks, its waiting calls move to the other slots.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol
from weakref import WeakSet, WeakValueDictionary

from icwsgw.core.call_slots import CallSlots, SlotQueue, SlotWaiter
from icwsgw.core.in_flight_limits import InFlightLimits
from icwsgw.core.request_budget import EAGER_SECONDS, RequestBudget
from icwsgw.core.request_kind import RequestKind
from icwsgw.reactor.clock import Clock, Timer

# Looking up a member of an enum costs as much as a call.
_CALL, _EAGER = RequestKind.CALL, RequestKind.EAGER


class CallOwner(SlotWaiter, Protocol):
    """Who sends a call.

    :ivar sent: seconds when it last sent one; the smallest goes first
    """

    sent: float


class CallScheduler:
    """The call queues of one gateway.

    :ivar budget: the request budget
    :ivar calls: slots of clients' messages, by canister
    :ivar opens: slots of ``ws_open`` to canisters that have spoken, by canister
    """

    def __init__(self, clock: Clock, budget: RequestBudget, calls: CallSlots, limits: InFlightLimits) -> None:
        self.clock = clock
        self.budget = budget
        self.calls = calls
        self.opens = CallSlots(limits.opens)
        self._by_address = CallSlots(limits.newcomers_opens)
        self._by_newcomer = CallSlots(limits.opens_of_newcomer)
        self._call_queues: WeakValueDictionary[Hashable, CallQueue] = WeakValueDictionary()
        self._newcomers: WeakValueDictionary[bytes, _NewCanister] = WeakValueDictionary()
        self._timer: Timer | None = None

    def messages(self, canister: bytes) -> CallQueue:
        """The call queue for messages of a canister's clients."""
        key = RequestKind.CALL, canister
        found = self._call_queues.get(key)
        if found is None:
            slot_queues = (self.calls.slot_queue(canister),)
            found = self._call_queues[key] = CallQueue(self, RequestKind.CALL, canister, slot_queues)
        return found

    def opening(self, canister: bytes, group: str, newcomer: bool, proved: bool) -> CallQueue:
        """The call queue for a ``ws_open``.

        :param group: the group of the client's address
        :param newcomer: the canister has not spoken to any client lately
        :param proved: the signatures of the call were verified; those of one address that were not are served
            round-robin with them
        """
        key = RequestKind.OPEN, canister, group, newcomer, proved
        found = self._call_queues.get(key)
        if found is not None:
            return found
        flow = group, proved
        if newcomer:
            slot_queues = self._by_newcomer.slot_queue(canister), self._by_address.slot_queue(group)
            found = CallQueue(self, RequestKind.OPEN, flow, slot_queues)
            found.newcomer = self._newcomers.setdefault(canister, _NewCanister())
            found.newcomer.call_queues.add(found)
        else:
            found = CallQueue(self, RequestKind.OPEN, flow, (self.opens.slot_queue(canister),))
        self._call_queues[key] = found
        return found

    def may_open(self, group: str) -> bool:
        """Whether one more ``ws_open`` from a group of addresses may wait for its token."""
        return self.budget.has_room((group, True), (group, False))

    def closing(self, canister: bytes, call_slots: CallSlots) -> CallQueue:
        """The call queue for ``ws_close`` to a canister."""
        key = RequestKind.CLOSE, canister
        found = self._call_queues.get(key)
        if found is None:
            slot_queues = (call_slots.slot_queue(canister),)
            found = self._call_queues[key] = CallQueue(self, RequestKind.CLOSE, canister, slot_queues)
        return found

    def canister_has_spoken(self, canister: bytes) -> None:
        """A canister has spoken: its waiting calls move to the slots of such canisters."""
        newcomer = self._newcomers.pop(canister, None)
        for found in list(newcomer.call_queues) if newcomer is not None else ():
            found.newcomer = None
            found.move((self.opens.slot_queue(canister),))

    def watch(self) -> None:
        """Set the timer for the next token, if a call waits for one."""
        if self._timer is None:
            pause = self.budget.pause(self.clock.seconds())
            if pause is not None:
                self._timer = self.clock.callLater(pause, self._look)

    def _look(self) -> None:
        self._timer = None
        try:
            while (waiter := self.budget.next(self.clock.seconds())) is not None:
                waiter.may_send()
        finally:
            self.watch()


class CallQueue:
    """Sends calls of one kind and one party. It exists as long as something refers to it.

    :ivar newcomer: the call queues of its canister, while that has not spoken; otherwise None
    """

    __slots__ = (
        "__weakref__",
        "_budget",
        "_busy",
        "_call_scheduler",
        "_clock",
        "_flow",
        "_kind",
        "_slot_queues",
        "_tickets",
        "newcomer",
    )

    def __init__(
        self, call_scheduler: CallScheduler, kind: RequestKind, flow: Hashable, slot_queues: tuple[SlotQueue, ...]
    ) -> None:
        self._call_scheduler = call_scheduler
        self._budget = call_scheduler.budget
        self._clock = call_scheduler.clock
        self._kind = kind
        self._flow = flow
        self._slot_queues = slot_queues
        self._busy = 0
        self._tickets: dict[CallOwner, _Ticket] | None = None
        self.newcomer: _NewCanister | None = None

    def enter(self, waiter: CallOwner) -> bool:
        """Begin a call; :meth:`leave` ends it. If it has to wait, ``waiter.granted`` is called later.

        :return: whether the call may be sent now
        """
        kind, now, rank = self._kind, self._clock.seconds(), 0.0
        if kind is _CALL:
            # Rank ws_open by its arrival: clients that come once each would otherwise starve those that are
            # resubmitted.
            rank = waiter.sent
            if now - rank < EAGER_SECONDS:
                kind = _EAGER
        taken = 0
        for slot_queue in self._slot_queues:
            if not slot_queue.try_enter():
                break
            taken += 1
        else:
            self._busy += 1
            if self._budget.goes(kind, now):
                return True
        ticket = _Ticket(self, waiter, kind, taken, rank)
        if self._tickets is None:
            self._tickets = {}
        self._tickets[waiter] = ticket
        if taken < len(self._slot_queues):
            self._slot_queues[taken].enter(ticket, ticket.rank)
        else:
            self._wait(ticket)
        return False

    def leave(self) -> None:
        """A call has ended."""
        self._busy -= 1
        for slot_queue in self._slot_queues:
            # As SlotQueue.leave, inlined: each call ends here.
            call_slots = slot_queue.call_slots
            slot_queue.busy -= 1
            call_slots.busy -= 1
            if call_slots.line:
                call_slots.grant(slot_queue)

    def forget(self, waiter: CallOwner) -> None:
        """A waiter does not wait any more."""
        ticket = self._tickets.pop(waiter, None) if self._tickets else None
        if ticket is None:
            return
        if ticket.taken == len(self._slot_queues):
            self._budget.forget(ticket.kind, self._flow, ticket)
            self.leave()
            return
        self._slot_queues[ticket.taken].forget(ticket)
        for slot_queue in self._slot_queues[: ticket.taken]:
            slot_queue.leave()

    def move(self, slot_queues: tuple[SlotQueue, ...]) -> None:
        """Use other slots from now on; calls in flight and waiting calls move along."""
        old, self._slot_queues = self._slot_queues, slot_queues
        waiting: list[_Ticket] = []
        left: list[SlotQueue] = []
        for ticket in (self._tickets or {}).values():
            if ticket.taken == len(old):
                # It waits for a token, with all its slots.
                ticket.taken = len(slot_queues)
                continue
            waiting.append(ticket)
            old[ticket.taken].forget(ticket)
            left += old[: ticket.taken]
            ticket.taken = 0
        for _ in range(self._busy):
            left += old
            for slot_queue in slot_queues:
                slot_queue.take()
        for slot_queue in left:
            slot_queue.leave()
        for ticket in waiting:
            self.resume(ticket)

    def resume(self, ticket: _Ticket) -> None:
        """A waiting call may take its next slot."""
        while ticket.taken < len(self._slot_queues):
            if not self._slot_queues[ticket.taken].enter(ticket, ticket.rank):
                return
            ticket.taken += 1
        self._busy += 1
        if self._budget.goes(ticket.kind, self._clock.seconds()):
            self.may_send(ticket)
        else:
            self._wait(ticket)

    def may_send(self, ticket: _Ticket) -> None:
        """A waiting call has got its token."""
        assert self._tickets is not None
        del self._tickets[ticket.waiter]
        ticket.waiter.granted()

    def _wait(self, ticket: _Ticket) -> None:
        self._budget.wait(ticket.kind, self._flow, ticket, ticket.rank)
        self._call_scheduler.watch()


class _NewCanister:
    """The call queues of a canister that has not spoken."""

    __slots__ = ("__weakref__", "call_queues")

    def __init__(self) -> None:
        self.call_queues: WeakSet[CallQueue] = WeakSet()


class _Ticket:
    """One call that waits for a slot or a token.

    :ivar kind: of request
    :ivar taken: in how many slot queues it has its slot already
    :ivar rank: its rank among those that wait with it; the lowest goes first
    """

    __slots__ = ("_call_queue", "kind", "rank", "taken", "waiter")

    def __init__(self, call_queue: CallQueue, waiter: CallOwner, kind: RequestKind, taken: int, rank: float) -> None:
        self._call_queue = call_queue
        self.kind = kind
        self.waiter = waiter
        self.taken = taken
        self.rank = rank

    def granted(self) -> None:
        """There is a slot (:class:`icwsgw.core.call_slots.SlotWaiter`)."""
        self.taken += 1
        self._call_queue.resume(self)

    def may_send(self) -> None:
        """There is a token (:class:`icwsgw.core.request_budget.BudgetWaiter`)."""
        self._call_queue.may_send(self)
