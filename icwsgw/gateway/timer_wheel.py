"""One timer for all connections: a wheel of one-second slots.

Each connection has several deadlines (ping, pong, first envelope, age of its outbox), and nearly none is ever reached.
A reactor timer for each would cost memory, and time at every message that moves it. Instead a connection registers once
for its next visit. The wheel visits it in that second; the connection does what is due and returns the delay of the
next visit.
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
#: A visit may be this many seconds early, since sums of floats are not exact.
TOLERANCE = 0.001

_log = get_logger("gateway")


class Watched(Protocol):
    """What the wheel visits."""

    #: its slot, set by the wheel; -1 for none
    wheel_slot: int

    def look(self, now: float) -> float | None:
        """Do what is due, and return the seconds until the next visit, or None for none."""


class TimerWheel:
    """Visits registered objects, each at most about a second after its time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: by slot: what is in it, and when its visit is due
        self._slots: list[dict[Watched, float]] = [{} for _ in range(SLOTS)]
        #: ticks so far; in :data:`PERIOD`
        self.tick = 0
        self._loop: LoopingCall = LoopingCall(self._turn)
        self._loop.clock = cast(Any, clock)
        self._stopped: Deferred[LoopingCall] | None = None

    def start(self) -> None:
        """Start the timer."""
        self._stopped = self._loop.start(PERIOD, now=False)

    def stop(self) -> None:
        """Stop the timer; nothing is visited any more."""
        if self._loop.running:
            self._loop.stop()

    def watch(self, item: Watched, delay: float) -> None:
        """Visit ``item`` after about ``delay`` seconds, not earlier; this replaces its former visit."""
        self._put(item, self._clock.seconds() + delay, delay)

    def _put(self, item: Watched, due: float, delay: float) -> None:
        self.forget(item)
        # Never the current slot: visiting it would not end.
        ticks = max(1, min(int(delay / PERIOD) + 1, SLOTS - 1))
        item.wheel_slot = (self.tick + ticks) % SLOTS
        self._slots[item.wheel_slot][item] = due

    def forget(self, item: Watched) -> None:
        """Do not visit ``item`` any more."""
        if item.wheel_slot >= 0:
            self._slots[item.wheel_slot].pop(item, None)
            item.wheel_slot = -1

    def due(self, item: Watched) -> float | None:
        """When the next visit of ``item`` is due, in seconds of the clock; None: there is none."""
        return self._slots[item.wheel_slot].get(item) if item.wheel_slot >= 0 else None

    def seconds_since(self, tick: int) -> float:
        """The time since something happened at a tick, about :data:`PERIOD` too long at most."""
        return (self.tick - tick) * PERIOD

    def __len__(self) -> int:
        return sum(map(len, self._slots))

    def _turn(self) -> None:
        self.tick += 1
        self._visit(self.tick % SLOTS)

    def _visit(self, slot: int) -> None:
        """Visit what is due in a slot, in batches: connections that came together have their deadlines together."""
        due = self._slots[slot]
        if not due:
            return
        now = self._clock.seconds()
        for _ in range(BATCH):
            if not due:
                self._slots[slot] = {}
                return
            # One by one, since a visit may move or remove others.
            item, at = due.popitem()
            item.wheel_slot = -1
            if at - now > TOLERANCE:
                # It is due after more than one revolution, or the tick was early.
                self._put(item, at, at - now)
                continue
            try:
                delay = item.look(now)
            except Exception:
                # An exception for one connection must not stop the visits of all others.
                _log.failure("connection timer failed")
                delay = PERIOD
            if delay is not None and item.wheel_slot < 0:
                self.watch(item, delay)
        self._clock.callLater(0, self._continue, slot)

    def _continue(self, slot: int) -> None:
        if self._loop.running:
            self._visit(slot)
