"""A gateway that is measured in its own CPU time, whatever else the machine does.

Clients, attackers and the replica are other machines, so what they compute must not slow the gateway down; on a machine
that all of them share, and with others besides, it does. Here the gateway and all else take turns instead, and time is
what the gateway has computed: it stands still while the others act, goes on by the CPU time that each turn of the
gateway's event loop takes, and jumps to the next timer when nothing is left to do. The others are as fast as can be, so
an attack takes all that the gateway gives.

The gateway is a process of its own with real sockets. :func:`be_gateway` replaces its clocks and the waiting of its
reactor; before each wait it tells the driver how far it has come, and goes on at the time that the driver answers.

    gateway -> driver   now, time of the next timer (inf: none), whether there was nothing to do
    driver -> gateway   now
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from bench.loop import Loop

T = TypeVar("T")

_TOLD = struct.Struct("<dd?")
_ANSWER = struct.Struct("<d")
_ENDS = float("inf")
#: The environment's variable with the number of the socket to the driver.
SOCKET = "BENCH_STEPPED"

_REAL_TIME = time.time()


class Now:
    """A time that somebody sets, in place of the clocks of :mod:`time`; the date goes with it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        """Seconds, from anywhere."""
        return self.seconds

    def replace_clocks(self) -> None:
        """Be the time of this process; before modules that remember a clock are imported."""
        started = _REAL_TIME - self.seconds
        changed: Any = time
        changed.monotonic = changed.perf_counter = self.monotonic
        changed.monotonic_ns = lambda: int(self.monotonic() * 1e9)
        changed.time = lambda: started + self.monotonic()
        changed.time_ns = lambda: int((started + self.monotonic()) * 1e9)


# the gateway's side


class GatewayTime(Now):
    """Goes on with the CPU time of the thread that made it, while that is not :attr:`stopped`."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self.stopped = False
        self._began = self._spent()

    def _spent(self) -> float:
        return time.clock_gettime(self._clock)

    def monotonic(self) -> float:
        """Seconds, from anywhere."""
        return self.seconds if self.stopped else self.seconds + self._spent() - self._began

    def stop(self) -> float:
        """Stand still; gives the time."""
        self.seconds = self.monotonic()
        self.stopped = True
        return self.seconds

    def go_on(self, seconds: float) -> None:
        """Go on from a time."""
        self.seconds = seconds
        self._began = self._spent()
        self.stopped = False


class _Poller:
    """Stands in place of a reactor's epoll object."""

    def __init__(self, poller: Any, now: GatewayTime, driver: socket.socket) -> None:
        self.register, self.modify, self.unregister = poller.register, poller.modify, poller.unregister
        self.close, self.fileno = poller.close, poller.fileno
        self._poller = poller
        self._now = now
        self._driver = driver

    def poll(self, timeout: float | None = None, most: int = -1) -> list[tuple[int, int]]:
        """Let the others act, then wait without waiting."""
        now = self._now.stop()
        due = _ENDS if timeout is None or timeout < 0 else now + timeout
        idle = False
        while True:
            self._driver.sendall(_TOLD.pack(now, due, idle))
            answer = self._driver.recv(_ANSWER.size)
            if len(answer) < _ANSWER.size:
                sys.exit(0)
            (now,) = _ANSWER.unpack(answer)
            self._now.go_on(now)
            ready: list[tuple[int, int]] = self._poller.poll(0, most)
            if ready or self._now.monotonic() >= due:
                return ready
            self._now.stop()
            idle = True


def be_gateway(words: list[str]) -> None:
    """Be twistd with these words, in steps."""
    now = GatewayTime()
    now.replace_clocks()
    driver = socket.socket(fileno=int(os.environ.pop(SOCKET)))
    from twisted.internet import reactor
    from twisted.scripts.twistd import run

    from icwsgw.reactor.clock import use_monotonic_time

    changed: Any = reactor
    use_monotonic_time(reactor, time.monotonic)
    changed._poller = _Poller(changed._poller, now, driver)
    sys.argv = ["twistd", *words]
    run()


# the driver's side


class _Selector(selectors.EpollSelector):
    """Waits for nothing.

    :ivar found: whether there was something
    """

    found = False

    def select(self, timeout: float | None = None) -> Any:
        """What is ready."""
        events = super().select(0)
        self.found = bool(events)
        return events


class SteppedLoop(Loop):
    """The bench's event loop, one turn at a time.

    :ivar found: whether there was something
    """

    found = False

    def _wait(self, most: float) -> list[tuple[int, int]]:
        events = self._epoll.poll(0)
        timers = self._timers
        self.found = bool(events or self._soon or (timers and timers[0].when <= time.monotonic()))
        return events

    @property
    def next(self) -> float:
        """When its next timer is due."""
        return self._timers[0].when if self._timers else _ENDS


class Driver:
    """Everything but the gateway, and its time.

    :ivar now: the time
    :ivar asyncio: the loop for clients and attackers
    :ivar replica: the loop for the replica
    :ivar turns: CPU seconds of each turn of the gateway since :meth:`clear`
    """

    def __init__(self) -> None:
        self.now = Now()
        self.now.replace_clocks()
        self._selector = _Selector()
        self.asyncio = asyncio.SelectorEventLoop(self._selector)
        self.replica = SteppedLoop()
        self.turns: list[float] = []
        self._gateway, self._end = socket.socketpair()
        self._idle = False

    def fileno(self) -> int:
        """The gateway's end of the socket, for :data:`SOCKET`."""
        return self._end.fileno()

    def started(self) -> None:
        """The gateway has been started."""
        self._end.close()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Take turns with the gateway until a coroutine has ended; gives what it returns."""
        asyncio.set_event_loop(self.asyncio)
        task = self.asyncio.create_task(main)
        while not task.done():
            self._step()
        return task.result()

    def _step(self) -> None:
        told = self._gateway.recv(_TOLD.size, socket.MSG_WAITALL)
        if len(told) < _TOLD.size:
            raise EOFError("the gateway has ended")
        now, due, idle = _TOLD.unpack(told)
        if not idle:
            self.turns.append(now - self.now.seconds)
        self.now.seconds = now
        acted = self._act()
        if idle and not acted:
            self.now.seconds = max(now, min(due, self.replica.next, self._asyncio_next()))
            self._act()
        self._gateway.sendall(_ANSWER.pack(self.now.seconds))

    def _act(self) -> bool:
        """Let all others do what there is to do now; whether there was anything."""
        acted = False
        while True:
            loop: Any = self.asyncio
            due = bool(loop._ready) or self._asyncio_next() <= self.now.seconds
            loop._thread_id = threading.get_ident()
            events = asyncio._get_running_loop()
            asyncio._set_running_loop(loop)
            try:
                loop._run_once()
            finally:
                asyncio._set_running_loop(events)
                loop._thread_id = None
            self.replica.turn(0)
            if not (due or self._selector.found or self.replica.found):
                return acted
            acted = True

    def _asyncio_next(self) -> float:
        loop: Any = self.asyncio
        return min((handle._when for handle in loop._scheduled[:1]), default=_ENDS)


if __name__ == "__main__":
    be_gateway(sys.argv[1:])
