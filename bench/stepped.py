"""Measures a gateway in its own CPU time, so that other processes on the machine do not affect the result.

In reality, clients, attackers and the replica run on other machines and do not slow the gateway down. On one shared
machine they do. In stepped mode, the gateway and all other parts run in turns, and a virtual clock counts the
gateway's CPU time: it stands still while the other parts run, advances by the CPU time of each turn of the gateway's
event loop, and jumps to the next timer when there is nothing to do. The other parts take no virtual time, so an attack
sends as much as the gateway accepts.

The gateway is a separate process with real sockets. :func:`be_gateway` replaces its clocks and its reactor's waiting.
Before each wait, the gateway sends its time to the driver, and continues at the time in the driver's answer:

    gateway -> driver   now, time of the next timer (inf: none), whether it was idle
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

_REPORT = struct.Struct("<dd?")
_ANSWER = struct.Struct("<d")
_ENDS = float("inf")
#: The environment variable with the descriptor of the socket to the driver.
SOCKET = "BENCH_STEPPED"

_REAL_TIME = time.time()


class Now:
    """A virtual time that replaces the clocks of :mod:`time`, including the wall clock."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        """Seconds, from anywhere."""
        return self.seconds

    def replace_clocks(self) -> None:
        """Replace the clocks of this process. Call this before importing modules that keep a reference to a clock."""
        started = _REAL_TIME - self.seconds
        changed: Any = time
        changed.monotonic = changed.perf_counter = self.monotonic
        changed.monotonic_ns = lambda: int(self.monotonic() * 1e9)
        changed.time = lambda: started + self.monotonic()
        changed.time_ns = lambda: int((started + self.monotonic()) * 1e9)


# the gateway's side


class GatewayTime(Now):
    """A time that advances with the CPU time of the thread that created it, unless it is :attr:`stopped`."""

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
        """Stop the clock and return the time."""
        self.seconds = self.monotonic()
        self.stopped = True
        return self.seconds

    def resume(self, seconds: float) -> None:
        """Start the clock at a time in seconds."""
        self.seconds = seconds
        self._began = self._spent()
        self.stopped = False


class _Poller:
    """Replaces a reactor's epoll object."""

    def __init__(self, poller: Any, now: GatewayTime, driver: socket.socket) -> None:
        self.register, self.modify, self.unregister = poller.register, poller.modify, poller.unregister
        self.close, self.fileno = poller.close, poller.fileno
        self._poller = poller
        self._now = now
        self._driver = driver

    def poll(self, timeout: float | None = None, most: int = -1) -> list[tuple[int, int]]:
        """Give the driver its turn, then return the ready descriptors without waiting."""
        now = self._now.stop()
        due = _ENDS if timeout is None or timeout < 0 else now + timeout
        idle = False
        while True:
            self._driver.sendall(_REPORT.pack(now, due, idle))
            answer = self._driver.recv(_ANSWER.size)
            if len(answer) < _ANSWER.size:
                sys.exit(0)
            (now,) = _ANSWER.unpack(answer)
            self._now.resume(now)
            ready: list[tuple[int, int]] = self._poller.poll(0, most)
            if ready or self._now.monotonic() >= due:
                return ready
            self._now.stop()
            idle = True


def be_gateway(args: list[str]) -> None:
    """Run twistd with these arguments in stepped mode."""
    now = GatewayTime()
    now.replace_clocks()
    driver = socket.socket(fileno=int(os.environ.pop(SOCKET)))
    from twisted.internet import reactor
    from twisted.scripts.twistd import run

    from icwsgw.reactor.clock import use_monotonic_time

    changed: Any = reactor
    use_monotonic_time(reactor, time.monotonic)
    changed._poller = _Poller(changed._poller, now, driver)
    sys.argv = ["twistd", *args]
    run()


# the driver's side


class _Selector(selectors.EpollSelector):
    """A selector that never waits.

    :ivar found: whether the last call found a ready descriptor
    """

    found = False

    def select(self, timeout: float | None = None) -> Any:
        """Return the ready descriptors at once."""
        events = super().select(0)
        self.found = bool(events)
        return events


class SteppedLoop(Loop):
    """The bench's event loop, which runs one turn at a time and never waits.

    :ivar found: whether the last turn had anything to do
    """

    found = False

    def _wait(self, most: float) -> list[tuple[int, int]]:
        events = self._epoll.poll(0)
        timers = self._timers
        self.found = bool(events or self._soon or (timers and timers[0].when <= time.monotonic()))
        return events

    @property
    def next(self) -> float:
        """The time of the next timer."""
        return self._timers[0].when if self._timers else _ENDS


class Driver:
    """Runs all parts except the gateway, and controls the virtual time.

    :ivar now: the virtual time
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
        """Record that the gateway has been started."""
        self._end.close()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run in turns with the gateway until a coroutine has ended; return its result."""
        asyncio.set_event_loop(self.asyncio)
        task = self.asyncio.create_task(main)
        while not task.done():
            self._step()
        return task.result()

    def _step(self) -> None:
        report = self._gateway.recv(_REPORT.size, socket.MSG_WAITALL)
        if len(report) < _REPORT.size:
            raise EOFError("the gateway has ended")
        now, due, idle = _REPORT.unpack(report)
        if not idle:
            self.turns.append(now - self.now.seconds)
        self.now.seconds = now
        acted = self._act()
        if idle and not acted:
            self.now.seconds = max(now, min(due, self.replica.next, self._asyncio_next()))
            self._act()
        self._gateway.sendall(_ANSWER.pack(self.now.seconds))

    def _act(self) -> bool:
        """Run all loops until nothing is ready; return whether anything was."""
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
