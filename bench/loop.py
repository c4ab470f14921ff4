"""A minimal event loop with epoll and timers for the bench's processes.

The mock replica and the load clients share the machine with the measured gateway, so they must use little CPU time.
Here, a read event costs only epoll and one method call. Timers have a resolution of microseconds, while epoll alone has
milliseconds: an open-loop load that sends late would include its own delay in the latency.
"""

from __future__ import annotations

import heapq
import math
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

#: The size of the buffer in bytes. All sockets of a process share one: data is processed before the next read.
READ_SIZE = 1 << 18
_FINE = 0.002


class Reader(Protocol):
    """Handles the events of a file descriptor."""

    def on_readable(self) -> None:
        """Called when there is data to read, or when the other side has closed."""

    def on_writable(self) -> None:
        """Called when pending data can be written."""


class Timer:
    """A scheduled call."""

    __slots__ = ("args", "call", "cancelled", "when")

    def __init__(self, when: float, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.when = when
        self.call = call
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        """Cancel the call."""
        self.cancelled = True

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when


class Loop:
    """The readers and timers of one thread. Times are those of time.monotonic(), in seconds.

    :param fine: whether timers have a resolution of microseconds; otherwise it is a millisecond, and the timers of a
        millisecond cost one system call together
    :ivar fine: see above; it may be changed at any time
    :ivar latest: by how many seconds the latest timer has been called after its time
    """

    def __init__(self, fine: bool = True) -> None:
        self.fine = fine
        self.latest = 0.0
        self._epoll = select.epoll()
        self._readers: dict[int, Reader] = {}
        self._timers: list[Timer] = []
        self._soon: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._running = False
        #: the shared buffer for reading
        self.buffer = bytearray(READ_SIZE)

    def add(self, fd: int, reader: Reader, writable: bool = False) -> None:
        """Watch a descriptor for reading, and optionally for writing."""
        self._readers[fd] = reader
        self._epoll.register(fd, select.EPOLLIN | (select.EPOLLOUT if writable else 0))

    def change(self, fd: int, *, readable: bool = True, writable: bool = False) -> None:
        """Change the watched events of a descriptor."""
        self._epoll.modify(fd, (select.EPOLLIN if readable else 0) | (select.EPOLLOUT if writable else 0))

    def remove(self, fd: int) -> None:
        """Stop watching a descriptor; call this before it is closed."""
        if self._readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_at(self, when: float, call: Callable[..., object], *args: Any) -> Timer:
        """Schedule a call at a time."""
        timer = Timer(when, call, args)
        heapq.heappush(self._timers, timer)
        return timer

    def call_later(self, delay: float, call: Callable[..., object], *args: Any) -> Timer:
        """Schedule a call after a delay in seconds."""
        return self.call_at(time.monotonic() + delay, call, *args)

    def call_soon(self, call: Callable[..., object], *args: Any) -> None:
        """Schedule a call after the current events are handled."""
        self._soon.append((call, args))

    def take_latest(self) -> float:
        """Return by how many seconds the latest timer since the last time has been late."""
        latest, self.latest = self.latest, 0.0
        return latest

    def stop(self) -> None:
        """End :meth:`run` after the current turn."""
        self._running = False

    def run(self) -> None:
        """Run until :meth:`stop`."""
        self._running = True
        while self._running:
            self.turn()

    def turn(self, most: float = 60.0) -> None:
        """Run one turn: wait for events or timers, at most ``most`` seconds, and handle them."""
        for fd, event in self._wait(most):
            reader = self._readers.get(fd)
            if reader is None:
                continue
            if event & select.EPOLLOUT:
                reader.on_writable()
            if event & ~select.EPOLLOUT and fd in self._readers:
                reader.on_readable()
        soon = self._soon
        for _ in range(len(soon)):
            call, args = soon.popleft()
            call(*args)
        timers = self._timers
        if timers:
            now = time.monotonic()
            while timers and timers[0].when <= now:
                timer = heapq.heappop(timers)
                if not timer.cancelled:
                    self.latest = max(self.latest, now - timer.when)
                    timer.call(*timer.args)

    def _wait(self, most: float) -> list[tuple[int, int]]:
        if self._soon:
            return self._epoll.poll(0)
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            return self._epoll.poll(most)
        left = self._timers[0].when - time.monotonic()
        if left <= 0:
            return self._epoll.poll(0)
        if not self.fine:
            return self._epoll.poll(min(left, most))
        if left < _FINE:
            # select() has a resolution of microseconds.
            select.select([self._epoll.fileno()], [], [], left)
            return self._epoll.poll(0)
        # epoll rounds up to a millisecond: wake one millisecond early and wait for the rest by select().
        return self._epoll.poll(min(left - 0.001, most))


class Delay:
    """Schedules calls that all have the same delay, in order, with one timer for all of them.

    :param delay: seconds
    :param grain: calls are made at multiples of so many seconds, so that some come together; 0: each at its time
    """

    __slots__ = ("_delay", "_grain", "_loop", "_waiting")

    def __init__(self, loop: Loop, delay: float, grain: float = 0.0) -> None:
        self._loop = loop
        self._delay = delay
        self._grain = grain
        self._waiting: deque[tuple[float, Callable[..., object], tuple[Any, ...]]] = deque()

    def add(self, call: Callable[..., object], *args: Any) -> None:
        """Schedule a call after the delay; call at once if the delay is 0."""
        if not self._delay and not self._grain:
            call(*args)
            return
        when = time.monotonic() + self._delay
        if self._grain:
            when = math.ceil(when / self._grain) * self._grain
        self._waiting.append((when, call, args))
        if len(self._waiting) == 1:
            self._loop.call_at(self._waiting[0][0], self._due)

    def _due(self) -> None:
        waiting = self._waiting
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, call, args = waiting[0]
            try:
                call(*args)
            finally:
                waiting.popleft()
        if waiting:
            self._loop.call_at(waiting[0][0], self._due)


class Stream:
    """A non-blocking TCP socket that buffers unwritten data; subclasses implement reading.

    :ivar closed: whether the socket is closed
    :ivar reading: whether the socket is read
    """

    __slots__ = ("_out", "closed", "loop", "reading", "sock")

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self.loop = loop
        self.sock = sock
        self.closed = False
        self.reading = True
        self._out: bytes | memoryview = b""

    def send(self, data: bytes) -> None:
        """Write as much as the kernel accepts now, and the rest later."""
        if self.closed:
            return
        if self._out:
            self._out = bytes(self._out) + data
            return
        try:
            sent = self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.lost()
            return
        if sent < len(data):
            self._out = memoryview(data)[sent:]
            self.loop.change(self.sock.fileno(), readable=self.reading, writable=True)

    def on_writable(self) -> None:
        """Write pending data."""
        rest, self._out = self._out, b""
        if rest:
            self.send(bytes(rest))
        if not self._out and not self.closed:
            self.loop.change(self.sock.fileno(), readable=self.reading)

    def read_on(self, reading: bool) -> None:
        """Resume or stop reading; if stopped, the kernel's buffers fill."""
        self.reading = reading
        self.loop.change(self.sock.fileno(), readable=reading, writable=bool(self._out))

    def on_readable(self) -> None:
        """Read the socket; a subclass implements this."""
        raise NotImplementedError

    def lost(self) -> None:
        """Handle the loss of the connection; a subclass may extend this."""
        self.close()

    def close(self) -> None:
        """Close the socket; do nothing if it is already closed."""
        if not self.closed:
            self.closed = True
            self._out = b""
            self.loop.remove(self.sock.fileno())
            self.sock.close()
