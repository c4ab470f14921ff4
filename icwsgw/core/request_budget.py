"""One bound on the requests a second to one network, shared by all that a process sends there (decision 0034).

Boundary nodes take so many requests a second from one address and then ban it for minutes, which looks like a network
that is gone. So there is one budget, and each kind of traffic has a share of it that no other can take:

BEAT     6/16  the heartbeats of all pollers
EXTRA    2/16  wake-ups, follow-ups, the further queries of a deep queue, reads of state
CALL     4/16  messages of clients, each sending of one counted
CLOSE    1/16  ws_close
OPEN     2/16  ws_open, which strangers send; besides, they have a rate of their own
EAGER    1/16  messages of clients that have sent within the last second
OWN      -     the agent's own: status, keys, delegations, time, and what is sent again at once to another endpoint

What is the agent's own is rare and leaves in any case: it is charged to whichever share has most left, so that others
wait for it.

A share is a token bucket of one second. A kind whose own is used up borrows from one that is at least half full and in
which nobody waits (ws_open: three quarters), so that nothing is left unused, and whoever comes back to its share finds
half a second's worth of it.

Beats are not asked for but booked: each beat books the poller's next one, an interval later or where the last booking
ends. So where there are too many pollers all of them take turns, evenly spread. Together they take three quarters of
the budget at most, and a quarter as long as calls wait. *Newcomers*, canisters that have not spoken to
any client yet, book in a queue of their own, which is short: they are whatever strangers have named.

Calls, ws_close and ws_open that find no token wait in a line each, in which canisters (ws_open: addresses) take turns,
and of one canister its clients: who has not sent lately goes first.
Callers bound what may wait; the line of ws_open has a bound here, since more than can leave in time need not wait. One
address may have half of it, the next one half of what is left, and so on.

Times are in seconds, of one clock.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import IntEnum
from typing import Protocol

from icwsgw.core.fair_queue import FairQueue


class RequestKind(IntEnum):
    """What leaves towards the network."""

    BEAT = 0
    EXTRA = 1
    CALL = 2
    CLOSE = 3
    OPEN = 4
    EAGER = 5
    OWN = 6


#: Sixteenths of the budget that nobody else can take, by kind; OWN has none.
WEIGHTS = (6, 2, 4, 1, 2, 1)
#: The part that beats take at most while no call waits.
MOST_BEATS = 0.75
#: The same while calls wait, or beats owe: less than their share, so that they pay back.
HELD_BEATS = 0.25
#: Seconds' worth of its share that a kind may send at once after a quiet time.
BURST_SECONDS = 1.0
#: Beats a second of all newcomers together: where there is no budget, and as a part of it.
NEWCOMER_BEATS, NEWCOMER_PART = 50.0, 1 / 16
#: A client that has sent within so many seconds is eager.
EAGER_SECONDS = 1.0
#: Seconds' worth of ws_open that may wait: half of what a client waits for.
OPEN_LINE_SECONDS = 30.0
LEAST_OPEN_LINE = 32
#: Ticks that a poller whose beat is far may leave out at once: it may come sooner than it was booked.
LONGEST_REST = 10
#: Who waits is looked at so often at least: what others leave cannot be foreseen.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.001, 0.05

#: Kinds that may have to wait, those that go first before the others.
WAITING = (RequestKind.CALL, RequestKind.CLOSE, RequestKind.EAGER, RequestKind.OPEN)
_NEVER = float("-inf")
# looking a member up in its class costs as much as a call
_OPEN = RequestKind.OPEN


class BudgetWaiter(Hashable, Protocol):
    """What waits in a line."""

    def may_send(self) -> None:
        """It may leave now."""


class _Bucket:
    """The tokens of one kind.

    :ivar lends_from: the level from which on others may take of it
    """

    __slots__ = ("depth", "lends_from", "lends_late", "level", "line", "rate", "stamp")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.depth = max(1.0, rate * BURST_SECONDS)
        self.level = self.depth
        self.lends_from = max(1.0, self.depth / 2)
        self.lends_late = max(1.0, self.depth * 3 / 4)
        self.stamp = 0.0
        self.line: FairQueue[BudgetWaiter] = FairQueue()

    def refill(self, now: float) -> float:
        level = self.level + (now - self.stamp) * self.rate
        if level > self.depth:
            level = self.depth
        self.level = level
        self.stamp = now
        return level


class _SlotSchedule:
    """The beats of some pollers, one after the other.

    :ivar pollers: how many there are
    """

    __slots__ = ("_booked", "gap", "pollers", "tick")

    def __init__(self, gap: float, tick: float) -> None:
        self.gap = gap
        self.tick = tick
        self.pollers = 0
        self._booked = _NEVER

    @property
    def interval(self) -> float:
        return max(self.tick, self.pollers * self.gap)

    def book(self, soonest: float) -> float:
        booked = self._booked
        if booked <= soonest:
            self._booked = soonest + self.gap
            return soonest
        self._booked = booked + self.gap
        booked -= self.tick
        return booked if booked > soonest else soonest

    def leave(self) -> None:
        self.pollers -= 1
        self._booked -= self.gap


class RequestBudget:
    """What one process may send to its network.

    :param per_second: requests a second, more than 0; None for no bound
    :param interval: the polling interval
    :param opens: ws_open a second, more than 0; None for no bound of their own
    :ivar slack: how long before its time a beat may be: the tick nearest to it counts
    :ivar tick: the polling interval
    :ivar sent: requests that have left, by kind
    :ivar held: times that one had to wait, by kind
    :ivar held_beats: ticks that were no beats because there are too many pollers
    :ivar held_wakes: wakes that had to wait for a slot, or for a beat
    :ivar held_queries: queries for deep queues that did not leave at once
    """

    __slots__ = (
        "_base_gap",
        "_buckets",
        "_most_opens",
        "_own_opens",
        "_regular",
        "held",
        "held_beats",
        "held_queries",
        "held_wakes",
        "newcomers",
        "per_second",
        "sent",
        "slack",
        "tick",
    )

    def __init__(self, per_second: float | None, interval: float, opens: float | None = None) -> None:
        self.per_second = per_second
        self.held_beats = self.held_wakes = self.held_queries = 0
        self.sent, self.held = [0] * len(RequestKind), [0] * len(RequestKind)
        self.tick = interval
        self.slack = interval / 2
        self._buckets = tuple(_Bucket((per_second or 0.0) * share / sum(WEIGHTS)) for share in WEIGHTS)
        self._own_opens = None if opens is None else _Bucket(opens)
        most = opens if opens is not None else per_second or 0.0
        self._most_opens = max(LEAST_OPEN_LINE, int(most * OPEN_LINE_SECONDS))
        self._base_gap = 0.0 if per_second is None else 1 / (per_second * MOST_BEATS)
        self._regular = _SlotSchedule(self._base_gap, interval)
        newcomers = NEWCOMER_BEATS if per_second is None else min(NEWCOMER_BEATS, per_second * NEWCOMER_PART)
        self.newcomers = _SlotSchedule(1 / newcomers, interval)

    # beats

    @property
    def pollers(self) -> int:
        """How many there are, newcomers included."""
        return self._regular.pollers + self.newcomers.pollers

    @property
    def interval(self) -> float:
        """Seconds between two beats of a poller that is no newcomer, on average, while no call waits."""
        return max(self.tick, self._regular.pollers * self._base_gap)

    @property
    def stretched(self) -> bool:
        """Whether pollers beat less often than they are meant to."""
        return self.interval > self.tick

    def join(self, now: float, newcomer: bool = False) -> PollSchedule:
        """A poller begins."""
        bookings = self.newcomers if newcomer else self._regular
        bookings.pollers += 1
        return PollSchedule(self, bookings, bookings.book(now))

    def accept(self, turns: PollSchedule, now: float) -> None:
        """A canister is no newcomer any more."""
        if turns.bookings is self.newcomers:
            self.newcomers.leave()
            turns.bookings = self._regular
            self._regular.pollers += 1
            turns.due = self._regular.book(now)

    def leave(self, turns: PollSchedule) -> None:
        """A poller ends, what it has booked is free."""
        turns.bookings.leave()

    # what leaves at once

    def take(self, kind: RequestKind, now: float) -> bool:
        """Take a token for a request that leaves now; whether there is one."""
        if kind is _OPEN and self._own_opens is not None and self._own_opens.refill(now) < 1:
            return False
        if self.per_second is not None:
            bucket = self._buckets[kind]
            if bucket.refill(now) < 1:
                lender = self._lender(kind, now)
                if lender is None:
                    return False
                bucket = lender
            bucket.level -= 1
        if kind is _OPEN and self._own_opens is not None:
            self._own_opens.level -= 1
        self.sent[kind] += 1
        return True

    def _lender(self, kind: RequestKind, now: float) -> _Bucket | None:
        late = kind is RequestKind.OPEN or kind is RequestKind.EAGER
        if kind is not RequestKind.BEAT and self._buckets[RequestKind.BEAT].refill(now) < 0:
            # beats have borrowed more than there was
            return None
        for other, bucket in enumerate(self._buckets):
            if other == kind or bucket.line.size:
                continue
            if bucket.refill(now) >= (bucket.lends_late if late else bucket.lends_from):
                return bucket
        return None

    def charge(self, kind: RequestKind, now: float) -> None:
        """Count a request that leaves in any case; the kind owes it, a burst at most.

        What is OWN is owed by the share that has most left.
        """
        self.sent[kind] += 1
        if self.per_second is None:
            return
        if kind is RequestKind.OWN:
            bucket = max(self._buckets, key=lambda each: each.refill(now) / each.depth)
        else:
            bucket = self._buckets[kind]
            if bucket.refill(now) < 1:
                bucket = self._lender(kind, now) or bucket
        bucket.level = max(bucket.level - 1, -bucket.depth)
        if kind is RequestKind.BEAT or kind is RequestKind.OWN:
            self._pace_beats()

    def extras(self, now: float, wanted: int) -> int:
        """Take up to ``wanted`` further queries that may leave now; how many."""
        taken = 0
        while taken < wanted and self.take(RequestKind.EXTRA, now):
            taken += 1
        self.held_queries += wanted - taken
        return taken

    def slot(self, now: float, before: float) -> float | None:
        """Take the next free extra, if it comes before the time ``before``; when it is free."""
        if self.take(RequestKind.EXTRA, now):
            return now
        self.held_wakes += 1
        bucket = self._buckets[RequestKind.EXTRA]
        free = now + (1 - bucket.level) / bucket.rate
        if free >= before:
            return None
        bucket.level -= 1
        self.sent[RequestKind.EXTRA] += 1
        return free

    # what may have to wait

    def goes(self, kind: RequestKind, now: float) -> bool:
        """Take a token for a call that leaves now, unless others of its kind wait; whether it does."""
        bucket = self._buckets[kind]
        if bucket.line.size:
            return False
        if kind is _OPEN:
            return self.take(kind, now)
        if self.per_second is not None:
            # as take() and refill() do, without a call: each message comes by here
            level = bucket.level + (now - bucket.stamp) * bucket.rate
            if level < 1:
                return self.take(kind, now)
            bucket.level = (level if level < bucket.depth else bucket.depth) - 1
            bucket.stamp = now
        self.sent[kind] += 1
        return True

    def wait(self, kind: RequestKind, flow: Hashable, waiter: BudgetWaiter, rank: float = 0.0) -> None:
        """Let a call wait until :meth:`next` returns it.

        :param flow: who takes turns with others of the kind
        :param rank: of those of its flow the one with the lowest goes first
        """
        self.held[kind] += 1
        self._buckets[kind].line.add(flow, waiter, rank)
        self._pace_beats()

    def forget(self, kind: RequestKind, flow: Hashable, waiter: BudgetWaiter) -> None:
        """Do not let it wait any more."""
        self._buckets[kind].line.remove(flow, waiter)

    def has_room(self, flow: Hashable) -> bool:
        """Whether a ws_open may join its line: as long as fewer of its flow wait than there is room left."""
        line = self._buckets[RequestKind.OPEN].line
        return not line or line.count(flow) < self._most_opens - len(line)

    def next(self, now: float) -> BudgetWaiter | None:
        """The next one that may leave now, calls first and ws_open last."""
        for kind in WAITING:
            line = self._buckets[kind].line
            if line and self.take(kind, now):
                return line.pop()
        return None

    def pause(self, now: float) -> float | None:
        """Seconds until the line is worth a look; None: nobody waits."""
        soonest: float | None = None
        for kind in WAITING:
            bucket = self._buckets[kind]
            if not bucket.line:
                continue
            pause = (1 - bucket.refill(now)) / bucket.rate if self.per_second is not None else 0.0
            if kind is RequestKind.OPEN and self._own_opens is not None:
                own = self._own_opens
                pause = max(pause, (1 - own.refill(now)) / own.rate)
            soonest = pause if soonest is None else min(soonest, pause)
        return None if soonest is None else min(max(soonest, SHORTEST_PAUSE), LONGEST_PAUSE)

    def waiting(self, kind: RequestKind) -> int:
        """How many wait."""
        return len(self._buckets[kind].line)

    def _pace_beats(self) -> None:
        """Let beats have what calls leave, but pay back what they have borrowed."""
        if self.per_second is None:
            return
        bucket, regular = self._buckets[RequestKind.BEAT], self._regular
        owes = bucket.level < (-bucket.depth / 2 if regular.gap == self._base_gap else 0.0)
        held = owes or self._buckets[RequestKind.CALL].line.size > 0 or self._buckets[RequestKind.EAGER].line.size > 0
        regular.gap = 1 / (self.per_second * HELD_BEATS) if held else self._base_gap


class PollSchedule:
    """The turns of one poller.

    :ivar due: when its next beat is
    :ivar bookings: where it books: with newcomers, or with the others
    """

    __slots__ = ("_slot", "bookings", "budget", "due")

    def __init__(self, budget: RequestBudget, bookings: _SlotSchedule, due: float) -> None:
        self.budget = budget
        self.bookings = bookings
        self.due = due
        #: the time of a wake that has been paid for
        self._slot: float | None = None

    @property
    def newcomer(self) -> bool:
        """Whether its canister has not spoken to any client yet."""
        return self.bookings is self.budget.newcomers

    @property
    def interval(self) -> float:
        """Seconds between two of its beats, on average."""
        return self.bookings.interval

    def next_poll_at(self, now: float) -> bool:
        """Whether this tick is a beat."""
        budget, bookings = self.budget, self.bookings
        due, slack = self.due, budget.slack
        if due > now + slack:
            budget.held_beats += 1
            longest = now + bookings.interval
            if due > longest:
                # others have left since it was booked
                self.due = longest
            return False
        # a late one does not delay the next one, unless it is later than the tick after it
        self.due = bookings.book((due if due > now - slack else now - slack) + budget.tick)
        budget.charge(RequestKind.BEAT, now)
        return True

    def rest(self, now: float) -> int:
        """How many ticks there are to the next that may be a beat; those between are left out."""
        ticks = max(1, min(int((self.due - now) / self.budget.tick), LONGEST_REST))
        self.budget.held_beats += ticks - 1
        return ticks

    def wake(self, now: float) -> float | None:
        """How long a wake has to wait; 0: it may poll now; None: not at all, the beat comes first."""
        slot = self._slot
        if slot is None:
            slot = self._slot = self.budget.slot(now, self.due)
            if slot is None:
                return None
        if slot > now:
            return slot - now
        self._slot = None
        return 0.0
