"""A bound on the queries a second to one network, shared by all pollers of a process so that each gets its turns.

Boundary nodes take so many requests a second from one address and then ban it for minutes, which looks like a network
that is gone. So the queries are budgeted:

beats    The heartbeats of all pollers come first. Together they take at most three quarters of the budget: each beat
         books the poller's next one, an interval later or where the last booking ends. So where there are too many
         pollers, all of them take turns, evenly spread. A poller's ticks stay where they are; :meth:`Turns.beat`
         says which of them are beats.
extras   Wake-ups, follow-ups and the further queries of a deep queue share what the beats leave, a quarter at least:
         a queue that is deep, or a client that waits, is worth more than one more look at an idle canister. A wake is
         given the next free slot and keeps it, unless the poller's own beat comes before that. A deep queue asks for
         what is free at that moment.
calls    Messages of clients are never held back here. They count as extras, up to a debt of one burst.

Both are the generic cell rate algorithm (ITU-T I.371): one number, the time of the next free slot, is the whole queue.
Times are in seconds, of one clock.
"""

from __future__ import annotations

#: The part of the budget that heartbeats leave to others.
RESERVE = 0.25
#: Seconds' worth of extras that may leave at once after a quiet time.
BURST_SECONDS = 1.0


class Budget:
    """What the queries of one process to its network may be.

    :param per_second: queries a second, more than 0
    :param interval: the polling interval
    :ivar interval: seconds between two beats of each poller, on average
    :ivar pollers: how many there are
    :ivar slack: how long before its time a beat may be: the tick nearest to it counts
    :ivar tick: the polling interval
    :ivar held_beats: ticks that were no beats because there are too many pollers
    :ivar held_wakes: wakes that had to wait for a slot, or for a beat
    :ivar held_queries: queries for deep queues that did not leave at once
    """

    __slots__ = (
        "_beat_gap",
        "_booked",
        "_free",
        "_gap",
        "held_beats",
        "held_queries",
        "held_wakes",
        "interval",
        "per_second",
        "pollers",
        "slack",
        "tick",
    )

    def __init__(self, per_second: float, interval: float) -> None:
        self.per_second = per_second
        self.pollers = 0
        self.held_beats = self.held_wakes = self.held_queries = 0
        self.tick = interval
        self.slack = interval / 2
        #: where the bookings of beats end, and how far apart they are
        self._booked = float("-inf")
        self._beat_gap = 1 / (per_second * (1 - RESERVE))
        #: from when on the next extra is free, and how much later the one after it
        self._free = float("-inf")
        self._share()

    @property
    def stretched(self) -> bool:
        """Whether pollers beat less often than they are meant to."""
        return self.interval > self.tick

    def join(self, now: float) -> Turns:
        """A poller begins."""
        self.pollers += 1
        self._share()
        return Turns(self, self.book(now))

    def leave(self) -> None:
        """A poller ends, what it has booked is free."""
        self.pollers -= 1
        self._booked -= self._beat_gap
        self._share()

    def book(self, soonest: float) -> float:
        """Book a beat; when it is."""
        booked = self._booked
        if booked <= soonest:
            self._booked = soonest + self._beat_gap
            return soonest
        self._booked = booked + self._beat_gap
        booked -= self.tick
        return booked if booked > soonest else soonest

    def _share(self) -> None:
        self.interval = max(self.tick, self.pollers * self._beat_gap)
        self._gap = 1 / (self.per_second - self.pollers / self.interval)

    def extras(self, now: float, wanted: int) -> int:
        """Take up to ``wanted`` extras that are free now; how many."""
        free = self._earliest(now)
        taken = min(wanted, int((now - free) / self._gap) + 1) if free <= now else 0
        self._free = free + taken * self._gap
        self.held_queries += wanted - taken
        return taken

    def slot(self, now: float, before: float) -> float | None:
        """Take the next free extra, if it comes before the time ``before``; when it is free."""
        free = self._earliest(now)
        if free <= now:
            self._free = free + self._gap
            return now
        self.held_wakes += 1
        if free >= before:
            return None
        self._free = free + self._gap
        return free

    def charge(self, now: float, count: int = 1) -> None:
        """Count what left unasked, as far as the debt stays within a burst."""
        free = self._earliest(now)
        self._free = max(free, min(free + count * self._gap, now + BURST_SECONDS))

    def _earliest(self, now: float) -> float:
        return max(self._free, now - BURST_SECONDS)


class Turns:
    """The turns of one poller.

    :ivar due: when its next beat is
    """

    __slots__ = ("_slot", "budget", "due")

    def __init__(self, budget: Budget, due: float) -> None:
        self.budget = budget
        self.due = due
        #: the time of a wake that has been paid for
        self._slot: float | None = None

    def beat(self, now: float) -> bool:
        """Whether this tick is a beat."""
        budget = self.budget
        due, slack = self.due, budget.slack
        if due > now + slack:
            budget.held_beats += 1
            if due > now + budget.interval:
                # others have left since it was booked
                self.due = now + budget.interval
            return False
        # a late one does not delay the next one, unless it is later than the tick after it
        self.due = budget.book((due if due > now - slack else now - slack) + budget.tick)
        return True

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
