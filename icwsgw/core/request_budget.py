"""Limits the requests a second from one process to one network (decision 0034).

Boundary nodes accept a number of requests a second from one address and then ban it for minutes, which looks like a
network failure. So there is one budget, and each kind of request (:mod:`icwsgw.core.request_kind`) has a share of it
that no other kind can take.

The agent's own requests are rare and never wait: each is charged to the share with most tokens in which no request
waits. Kinds that wait pay only while each other share owes more than half a second's worth.

A share is a token bucket of one second. A kind without tokens borrows from a share that is at least half full (for
ws_open: three quarters) and in which no request waits. So nothing is left unused, and a kind that becomes active again
finds half a second's worth of its share.

Polls at ticks do not wait for tokens; they are scheduled (:mod:`icwsgw.core.poll_schedule`). Together they take three
quarters of the budget at most, and a quarter while calls wait. *Newcomers*, canisters that have not spoken to any
client yet, have a small schedule of their own, since unauthenticated clients may have made them up.

Calls, ws_close and ws_open without a token wait in a queue each, in which canisters (for ws_open: addresses) are served
round-robin, and of one canister its clients: one that has not sent lately is first. Callers limit what may wait. The
queue of ws_open is limited here, since only as many need to wait as can be sent in time. One address may have half of
it, the next one half of the rest, and so on.

Times are in seconds of one clock.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Protocol

from icwsgw.core.fair_queue import FairQueue
from icwsgw.core.poll_schedule import PollSchedule, SharedSchedule
from icwsgw.core.request_kind import WAITING, WEIGHTS, RequestKind
from icwsgw.core.written_state import Document, Written, read_as

#: The share of the budget that ticks take at most while no call waits.
MOST_TICKS = 0.75
#: The same while calls wait, or ticks owe tokens: less than their share, so that they pay back.
HELD_TICKS = 0.25
#: Seconds of its share that a kind may use at once after a quiet time.
BURST_SECONDS = 1.0
#: Polls a second of all newcomers together: without a budget, and as a part of the budget.
NEWCOMER_TICKS, NEWCOMER_PART = 50.0, 1 / 16
#: A client that has sent within so many seconds is EAGER.
EAGER_SECONDS = 1.0
#: Seconds of ws_open that may wait: half of the time that a client waits.
OPEN_QUEUE_SECONDS = 30.0
LEAST_OPEN_QUEUE = 32
#: Maximum seconds between two looks at the queues: what others will leave cannot be predicted.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.001, 0.05

# Looking up a member of an enum costs as much as a call.
_OPEN = RequestKind.OPEN


class BudgetWaiter(Hashable, Protocol):
    """What waits for a token."""

    def may_send(self) -> None:
        """It has its token."""


class _Bucket(Written):
    """The tokens of one kind.

    :ivar line: the calls that wait for a token
    :ivar lends_from: the level above which others may borrow
    :ivar lends_late: the same for ws_open and eager clients
    """

    __slots__ = ("depth", "lends_from", "lends_late", "level", "line", "rate", "stamp")
    WRITTEN = {"level": float, "stamp": float}

    def __init__(self, rate: float) -> None:
        self.set_rate(rate)
        self.level = self.depth
        self.stamp = 0.0
        self.line: FairQueue[BudgetWaiter] = FairQueue()

    def set_rate(self, rate: float) -> None:
        self.rate = rate
        self.depth = max(1.0, rate * BURST_SECONDS)
        self.lends_from = max(1.0, self.depth / 2)
        self.lends_late = max(1.0, self.depth * 3 / 4)

    def refill(self, now: float) -> float:
        level = self.level + (now - self.stamp) * self.rate
        if level > self.depth:
            level = self.depth
        self.level = level
        self.stamp = now
        return level


class RequestBudget:
    """The budget of one process.

    :param per_second: requests a second, more than 0; None: no limit
    :param interval: the polling interval in seconds
    :param opens: ws_open a second, more than 0; None: no limit of their own
    :ivar slack: seconds by which a poll may be early: the nearest tick counts
    :ivar tick: the polling interval in seconds
    :ivar sent: number of requests that were sent, by kind
    :ivar held: how often a request had to wait, by kind
    :ivar held_ticks: ticks without a poll because there are too many pollers
    :ivar held_wakes: wakes that had to wait
    :ivar held_queries: further polls of long queues that had to wait
    """

    __slots__ = (
        "_base_gap",
        "_buckets",
        "_most_opens",
        "_own_opens",
        "_regular",
        "held",
        "held_queries",
        "held_ticks",
        "held_wakes",
        "newcomers",
        "per_second",
        "sent",
        "slack",
        "tick",
    )

    def __init__(self, per_second: float | None, interval: float, opens: float | None = None) -> None:
        self.per_second = per_second
        self.held_ticks = self.held_wakes = self.held_queries = 0
        self.sent, self.held = [0] * len(RequestKind), [0] * len(RequestKind)
        self.tick = interval
        self.slack = interval / 2
        self._buckets = tuple(_Bucket((per_second or 0.0) * share / sum(WEIGHTS)) for share in WEIGHTS)
        self._own_opens = None if opens is None else _Bucket(opens)
        self._regular = SharedSchedule(0.0, interval)
        self.newcomers = SharedSchedule(0.0, interval)
        self._set_gaps(opens)

    def change(self, per_second: float | None, opens: float | None, now: float) -> None:
        """Apply other rates. A limit that begins grants a full burst; if one ends, nothing waits for it any more."""
        begins, self.per_second = self.per_second is None, per_second
        for bucket, share in zip(self._buckets, WEIGHTS, strict=True):
            bucket.set_rate((per_second or 0.0) * share / sum(WEIGHTS))
            if begins:
                bucket.level, bucket.stamp = bucket.depth, now
        own = self._own_opens = None if opens is None else self._own_opens or _Bucket(opens)
        if own is not None and opens is not None:
            own.set_rate(opens)
        self._set_gaps(opens)
        if per_second is None:
            self._regular.clear()

    def _set_gaps(self, opens: float | None) -> None:
        per_second = self.per_second
        most = opens if opens is not None else per_second or 0.0
        self._most_opens = max(LEAST_OPEN_QUEUE, int(most * OPEN_QUEUE_SECONDS))
        self._base_gap = self._regular.gap = 0.0 if per_second is None else 1 / (per_second * MOST_TICKS)
        newcomers = NEWCOMER_TICKS if per_second is None else min(NEWCOMER_TICKS, per_second * NEWCOMER_PART)
        self.newcomers.gap = 1 / newcomers

    # the handover to another process

    def written(self) -> Document:
        """The tokens and the last scheduled polls as plain values, without the calls that wait."""
        names = [kind.label for kind in RequestKind]
        return {
            "tokens": {name: bucket.written() for name, bucket in zip(names, self._buckets, strict=False)},
            "opens": self._own_opens and self._own_opens.written(),
            "booked": self._regular.next,
            "booked_newcomers": self.newcomers.next,
        }

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the tokens of a document; a limit that begins or has ended has none.

        :raises FormatError: a value is of the wrong kind
        """
        tokens = document.get("tokens", {})
        for kind, bucket in zip(RequestKind, self._buckets, strict=False):
            bucket.read(tokens.get(kind.label, {}))
        opens = document.get("opens")
        if self._own_opens is not None and opens is not None:
            self._own_opens.read(opens)

    def read_schedule(self, document: Mapping[str, Any]) -> None:
        """Continue behind the last scheduled polls of a document, when all pollers of it are there.

        :raises FormatError: a value is of the wrong kind
        """
        for name, schedule in (("booked", self._regular), ("booked_newcomers", self.newcomers)):
            last = document.get(name)
            if last is not None:
                schedule.next = read_as(float, last, name)

    # polls at ticks

    @property
    def pollers(self) -> int:
        """Number of pollers, newcomers included."""
        return self._regular.pollers + self.newcomers.pollers

    @property
    def interval(self) -> float:
        """Average seconds between two polls of a poller (no newcomer) while no call waits."""
        return max(self.tick, self._regular.pollers * self._base_gap)

    @property
    def stretched(self) -> bool:
        """Whether polls are less frequent than at each tick."""
        return self.interval > self.tick

    def join(self, now: float, newcomer: bool = False) -> PollSchedule:
        """A poller starts."""
        shared = self.newcomers if newcomer else self._regular
        shared.pollers += 1
        return PollSchedule(self, shared, shared.schedule(now))

    def accept(self, schedule: PollSchedule, now: float) -> None:
        """A canister is no newcomer any more."""
        if schedule.shared is self.newcomers:
            self.newcomers.leave()
            schedule.shared = self._regular
            self._regular.pollers += 1
            schedule.due = self._regular.schedule(now)

    def leave(self, schedule: PollSchedule) -> None:
        """A poller stops, and its scheduled poll is free."""
        schedule.shared.leave()

    # requests that never wait

    def take(self, kind: RequestKind, now: float) -> bool:
        """Take a token for a request that is sent now; False if there is none."""
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
        if kind is not RequestKind.TICK and self._buckets[RequestKind.TICK].refill(now) < 0:
            # Ticks have borrowed more than there was.
            return None
        for other, bucket in enumerate(self._buckets):
            if other == kind or bucket.line.size:
                continue
            if bucket.refill(now) >= (bucket.lends_late if late else bucket.lends_from):
                return bucket
        return None

    def charge(self, kind: RequestKind, now: float) -> None:
        """Count a request that is sent in any case; its kind owes the token, at most a burst.

        OWN has no share: the fullest one in which no request waits owes its token; the fullest of all while each of
        these owes more than half a burst.
        """
        self.sent[kind] += 1
        if self.per_second is None:
            return
        if kind is RequestKind.OWN:
            spare = [b for b in self._buckets if b.refill(now) >= -b.depth / 2 and not b.line.size]
            bucket = max(spare or self._buckets, key=lambda each: each.level / each.depth)
        else:
            bucket = self._buckets[kind]
            if bucket.refill(now) < 1:
                bucket = self._lender(kind, now) or bucket
        bucket.level = max(bucket.level - 1, -bucket.depth)
        if kind is RequestKind.TICK or kind is RequestKind.OWN:
            self._pace_ticks()

    def extras(self, now: float, wanted: int) -> int:
        """Take up to ``wanted`` tokens for further polls; returns how many."""
        taken = 0
        while taken < wanted and self.take(RequestKind.EXTRA, now):
            taken += 1
        self.held_queries += wanted - taken
        return taken

    def slot(self, now: float, before: float) -> float | None:
        """Take the next token for a poll outside the schedule (a wake); see :class:`.poll_schedule.ScheduleBudget`."""
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

    # requests that may wait

    def goes(self, kind: RequestKind, now: float) -> bool:
        """Take a token for a call, unless others of its kind wait; False if there is none."""
        bucket = self._buckets[kind]
        if bucket.line.size:
            return False
        if kind is _OPEN:
            return self.take(kind, now)
        if self.per_second is not None:
            # as take() and refill(), inlined: each message comes by here
            level = bucket.level + (now - bucket.stamp) * bucket.rate
            if level < 1:
                return self.take(kind, now)
            bucket.level = (level if level < bucket.depth else bucket.depth) - 1
            bucket.stamp = now
        self.sent[kind] += 1
        return True

    def wait(self, kind: RequestKind, flow: Hashable, waiter: BudgetWaiter, rank: float = 0.0) -> None:
        """Queue a call until :meth:`next` returns it.

        :param flow: the party that is served round-robin with others of the kind
        :param rank: within the flow the lowest goes first
        """
        self.held[kind] += 1
        self._buckets[kind].line.add(flow, waiter, rank)
        self._pace_ticks()

    def forget(self, kind: RequestKind, flow: Hashable, waiter: BudgetWaiter) -> None:
        """A call does not wait any more."""
        self._buckets[kind].line.remove(flow, waiter)

    def has_room(self, *flows: Hashable) -> bool:
        """Whether one more ws_open may wait: while fewer of its address (``flows``) wait than there is room left."""
        line = self._buckets[RequestKind.OPEN].line
        return not line or sum(map(line.count, flows)) < self._most_opens - len(line)

    def next(self, now: float) -> BudgetWaiter | None:
        """Remove the next call that may be sent now and return it: calls first, ws_open last."""
        for kind in WAITING:
            line = self._buckets[kind].line
            if line and self.take(kind, now):
                return line.pop()
        return None

    def pause(self, now: float) -> float | None:
        """Seconds until the next look at the queues; None if no call waits."""
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
        """Number of waiting calls."""
        return len(self._buckets[kind].line)

    def _pace_ticks(self) -> None:
        """Give the polls at ticks what calls leave, less what they have borrowed."""
        if self.per_second is None:
            return
        bucket, regular = self._buckets[RequestKind.TICK], self._regular
        owes = bucket.level < (-bucket.depth / 2 if regular.gap == self._base_gap else 0.0)
        held = owes or self._buckets[RequestKind.CALL].line.size > 0 or self._buckets[RequestKind.EAGER].line.size > 0
        regular.gap = 1 / (self.per_second * HELD_TICKS) if held else self._base_gap
