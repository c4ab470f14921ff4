"""How calls leave for the network: a place among the calls under way, then a token of the budget.

Places are shared by canister (:mod:`icwsgw.core.shares`, decision 0025), tokens by kind of traffic
(:mod:`icwsgw.core.budget`, decision 0034). An :class:`Exit` has the face of a lane: ``enter``, ``leave``, ``forget``,
and ``granted`` of the waiter when both are there. While nothing has to wait there is neither a timer nor an
object for a call.

Where messages of one canister wait, its clients take turns: who has not sent lately goes first. Those that have sent
within the last second are traffic of a kind of its own, and leave when there is enough for the others.

ws_open is a stranger's. Those to canisters that have spoken lately share places by canister; those to newcomers a few
places by canister, and by address, so that canisters that do not exist or hang hold up nobody else's. When a newcomer
speaks, what waits for it moves over to the others.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol
from weakref import WeakSet, WeakValueDictionary

from icwsgw.clock import Clock, Timer
from icwsgw.core.budget import EAGER_SECONDS, Budget, Traffic
from icwsgw.core.shares import Lane, Shares
from icwsgw.core.shares import Waiter as PlaceWaiter

#: ws_open under way at once: to canisters that have spoken, by canister; to newcomers, by address and by canister.
MAX_OPENS, MAX_NEWCOMERS_OPENS, MAX_OPENS_OF_NEWCOMER = 128, 64, 16
# looking a member up in its class costs as much as a call
_CALL, _EAGER = Traffic.CALL, Traffic.EAGER


class Caller(PlaceWaiter, Protocol):
    """What leaves by an exit.

    :ivar sent: when it left last, seconds; those that left earlier go before it
    """

    sent: float


class Departures:
    """All exits of one gateway.

    :ivar budget: what may leave
    :ivar calls: places of clients' messages, by canister
    :ivar opens: places of ws_open to canisters that have spoken, by canister
    """

    def __init__(self, clock: Clock, budget: Budget, calls: Shares) -> None:
        self.clock = clock
        self.budget = budget
        self.calls = calls
        self.opens = Shares(MAX_OPENS)
        self._by_address = Shares(MAX_NEWCOMERS_OPENS)
        self._by_newcomer = Shares(MAX_OPENS_OF_NEWCOMER)
        self._exits: WeakValueDictionary[Hashable, Exit] = WeakValueDictionary()
        self._newcomers: WeakValueDictionary[bytes, _Newcomer] = WeakValueDictionary()
        self._timer: Timer | None = None

    def messages(self, canister: bytes) -> Exit:
        """Where messages of a canister's clients leave."""
        key = Traffic.CALL, canister
        found = self._exits.get(key)
        if found is None:
            found = self._exits[key] = Exit(self, Traffic.CALL, canister, (self.calls.lane(canister),))
        return found

    def opening(self, canister: bytes, group: str, newcomer: bool, proved: bool) -> Exit:
        """Where a ws_open leaves.

        :param group: whose address it comes from
        :param newcomer: the canister has not spoken to any client lately
        :param proved: its signatures hold; others of the same address take turns with these
        """
        key = Traffic.OPEN, canister, group, newcomer, proved
        found = self._exits.get(key)
        if found is not None:
            return found
        flow = group, proved
        if newcomer:
            lanes = self._by_newcomer.lane(canister), self._by_address.lane(group)
            found = Exit(self, Traffic.OPEN, flow, lanes)
            found.newcomer = self._newcomers.setdefault(canister, _Newcomer())
            found.newcomer.exits.add(found)
        else:
            found = Exit(self, Traffic.OPEN, flow, (self.opens.lane(canister),))
        self._exits[key] = found
        return found

    def closing(self, canister: bytes, places: Shares) -> Exit:
        """Where ws_close leaves for a canister."""
        key = Traffic.CLOSE, canister
        found = self._exits.get(key)
        if found is None:
            found = self._exits[key] = Exit(self, Traffic.CLOSE, canister, (places.lane(canister),))
        return found

    def settle(self, canister: bytes) -> None:
        """A canister has spoken: what waits for it waits among those that have, from now on."""
        newcomer = self._newcomers.pop(canister, None)
        for found in list(newcomer.exits) if newcomer is not None else ():
            found.newcomer = None
            found.move((self.opens.lane(canister),))

    def watch(self) -> None:
        """Look at the lines when something may leave."""
        if self._timer is None:
            pause = self.budget.pause(self.clock.seconds())
            if pause is not None:
                self._timer = self.clock.callLater(pause, self._look)

    def _look(self) -> None:
        self._timer = None
        try:
            while (waiter := self.budget.next(self.clock.seconds())) is not None:
                waiter.departs()
        finally:
            self.watch()


class Exit:
    """Where the calls of one kind and one party leave; lives as long as somebody holds it.

    :ivar newcomer: what its canister is to be told by that it has spoken
    """

    __slots__ = (
        "__weakref__",
        "_budget",
        "_busy",
        "_clock",
        "_departures",
        "_flow",
        "_kind",
        "_lanes",
        "_tickets",
        "newcomer",
    )

    def __init__(self, departures: Departures, kind: Traffic, flow: Hashable, lanes: tuple[Lane, ...]) -> None:
        self._departures = departures
        self._budget = departures.budget
        self._clock = departures.clock
        self._kind = kind
        self._flow = flow
        self._lanes = lanes
        self._busy = 0
        self._tickets: dict[Caller, _Ticket] | None = None
        self.newcomer: _Newcomer | None = None

    def enter(self, waiter: Caller) -> bool:
        """Begin a call, which :meth:`leave` ends; ``waiter.granted`` tells when it has begun, if not now.

        :return: whether it has begun
        """
        kind, now, rank = self._kind, self._clock.seconds(), 0.0
        if kind is _CALL:
            # of ws_open, strangers who come once each would keep out those whose has to be sent again
            rank = waiter.sent
            if now - rank < EAGER_SECONDS:
                kind = _EAGER
        taken = 0
        for lane in self._lanes:
            if not lane.try_enter():
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
        if taken < len(self._lanes):
            self._lanes[taken].enter(ticket, ticket.rank)
        else:
            self._wait(ticket)
        return False

    def leave(self) -> None:
        """A call has ended."""
        self._busy -= 1
        for lane in self._lanes:
            # as Lane.leave does, without a call: each call ends here
            shares = lane.shares
            lane.busy -= 1
            shares.busy -= 1
            if shares.line:
                shares.grant()

    def forget(self, waiter: Caller) -> None:
        """Do not wait any more."""
        ticket = self._tickets.pop(waiter, None) if self._tickets else None
        if ticket is None:
            return
        if ticket.taken == len(self._lanes):
            self._budget.forget(ticket.kind, self._flow, ticket)
            self.leave()
            return
        self._lanes[ticket.taken].forget(ticket)
        for lane in self._lanes[: ticket.taken]:
            lane.leave()

    def move(self, lanes: tuple[Lane, ...]) -> None:
        """Share other places from now on; those under way and those that wait go along."""
        old, self._lanes = self._lanes, lanes
        waiting = [ticket for ticket in (self._tickets or {}).values() if ticket.taken < len(old)]
        for ticket in waiting:
            old[ticket.taken].forget(ticket)
        left = [lane for ticket in waiting for lane in old[: ticket.taken]]
        for ticket in (self._tickets or {}).values():
            ticket.taken = 0 if ticket in waiting else len(lanes)
        for _ in range(self._busy):
            left += old
            for lane in lanes:
                lane.take()
        for lane in left:
            lane.leave()
        for ticket in waiting:
            self.go_on(ticket)

    def go_on(self, ticket: _Ticket) -> None:
        """One that waits may take the places from its next on."""
        while ticket.taken < len(self._lanes):
            if not self._lanes[ticket.taken].enter(ticket, ticket.rank):
                return
            ticket.taken += 1
        self._busy += 1
        if self._budget.goes(ticket.kind, self._clock.seconds()):
            self.departs(ticket)
        else:
            self._wait(ticket)

    def departs(self, ticket: _Ticket) -> None:
        """One that has waited may leave."""
        assert self._tickets is not None
        del self._tickets[ticket.waiter]
        ticket.waiter.granted()

    def _wait(self, ticket: _Ticket) -> None:
        self._budget.wait(ticket.kind, self._flow, ticket, ticket.rank)
        self._departures.watch()


class _Newcomer:
    """The exits to a canister that has not spoken."""

    __slots__ = ("__weakref__", "exits")

    def __init__(self) -> None:
        self.exits: WeakSet[Exit] = WeakSet()


class _Ticket:
    """One call that waits, for a place or for a token.

    :ivar kind: of traffic
    :ivar taken: how many of its exit's lanes it has a place in
    :ivar rank: the lowest goes first, of those that wait with it
    """

    __slots__ = ("_exit", "kind", "rank", "taken", "waiter")

    def __init__(self, exit: Exit, waiter: Caller, kind: Traffic, taken: int, rank: float) -> None:
        self._exit = exit
        self.kind = kind
        self.waiter = waiter
        self.taken = taken
        self.rank = rank

    def granted(self) -> None:
        """There is a place (:class:`icwsgw.core.shares.Waiter`)."""
        self.taken += 1
        self._exit.go_on(self)

    def departs(self) -> None:
        """There is a token (:class:`icwsgw.core.budget.Waiter`)."""
        self._exit.departs(self)
