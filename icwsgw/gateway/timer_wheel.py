"""One timer for all connections: a wheel of one-second slots.

Each connection has several things to watch (its ping, its pong, its first envelope, the age of its outbox) and
nearly none of them ever happens. A reactor timer for each would cost memory, and time at every message that pushes
it back. Instead a connection says once when it wants to be looked at next; the wheel visits it in that second, it
does what is due and names its next time.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from icwsgw.gateway.batches import BATCH
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Clock

PERIOD = 1.0
SLOTS = 128
#: A visit may be early by this much: sums of floats are not exact.
TOLERANCE = 0.001

_log = get_logger("gateway")


class Watched(Protocol):
    """What a wheel visits."""

    #: the slot it stands in, kept by the wheel; -1 when in none
    wheel_slot: int

    def look(self, now: float) -> float | None:
        """Do what is due; give the seconds until the next visit, or None when it needs none."""


class TimerWheel:
    """Visits watched objects, each at the time it asked for, give or take a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: what stands in a slot, and when its visit is due
        self._slots: list[dict[Watched, float]] = [{} for _ in range(SLOTS)]
        self._position = 0
        self._loop: LoopingCall = LoopingCall(self._turn)
        self._loop.clock = cast(Any, clock)
        self._stopped: Deferred[LoopingCall] | None = None

    def start(self) -> None:
        """Begin to turn."""
        self._stopped = self._loop.start(PERIOD, now=False)

    def stop(self) -> None:
        """Stop turning; what is still watched is not visited any more."""
        if self._loop.running:
            self._loop.stop()

    def watch(self, item: Watched, delay: float) -> None:
        """Visit ``item`` after about ``delay`` seconds, and no sooner; replaces an earlier wish of it."""
        self._put(item, self._clock.seconds() + delay, delay)

    def _put(self, item: Watched, due: float, delay: float) -> None:
        self.forget(item)
        # never the slot of the present turn: that would not end
        ticks = max(1, min(int(delay / PERIOD) + 1, SLOTS - 1))
        item.wheel_slot = (self._position + ticks) % SLOTS
        self._slots[item.wheel_slot][item] = due

    def forget(self, item: Watched) -> None:
        """Do not visit ``item`` any more."""
        if item.wheel_slot >= 0:
            self._slots[item.wheel_slot].pop(item, None)
            item.wheel_slot = -1

    def __len__(self) -> int:
        return sum(map(len, self._slots))

    def _turn(self) -> None:
        self._position = (self._position + 1) % SLOTS
        self._visit(self._position)

    def _visit(self, slot: int) -> None:
        """Visit what is due in a slot, the first slice now: strangers that came together run out of time together."""
        due = self._slots[slot]
        if not due:
            return
        now = self._clock.seconds()
        for _ in range(BATCH):
            if not due:
                self._slots[slot] = {}
                return
            # one by one, since a visit may put off or end what stands behind it
            item, at = due.popitem()
            item.wheel_slot = -1
            if at - now > TOLERANCE:
                # further off than the wheel is long, or the tick came early in its second
                self._put(item, at, at - now)
                continue
            try:
                delay = item.look(now)
            except Exception:
                # a fault in one connection's care must not stop the care of all others
                _log.failure("connection timer failed")
                delay = PERIOD
            if delay is not None and item.wheel_slot < 0:
                self.watch(item, delay)
        self._clock.callLater(0, self._go_on, slot)

    def _go_on(self, slot: int) -> None:
        if self._loop.running:
            self._visit(slot)
