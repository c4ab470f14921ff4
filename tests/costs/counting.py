"""Counts what Python does: functions called, system calls, memory. The counts are the same on every machine."""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import CodeType, FrameType
from typing import Any

# Functions of the modules socket, select and os that make a system call, with the call's name. A function that is in
# neither list is an error, so that nothing is left uncounted.
_SYSTEM_CALLS = {
    "socket": {
        *("_accept", "bind", "close", "connect", "connect_ex", "getpeername", "getsockname", "getsockopt", "listen"),
        *("recv", "recv_into", "recvmsg", "send", "sendall", "sendmsg", "setblocking", "setsockopt", "shutdown"),
    },
    "epoll": {"close", "modify", "poll", "register", "unregister"},
    "posix": {"close", "read", "urandom", "write"},
}
_OTHER_FUNCTIONS = {
    "socket": {"detach", "fileno", "gettimeout"},
    "epoll": {"fileno"},
    "posix": {"fspath"},
}

_HERE = os.path.dirname(__file__)


class Counted:
    """The counts of one measurement.

    :ivar functions: Python functions, with the number of calls; a generator counts each time it resumes
    :ivar system_calls: system calls, by name
    :ivar unknown: functions that are in neither list of system calls
    """

    def __init__(self) -> None:
        self.functions: Counter[CodeType] = Counter()
        self.system_calls: Counter[str] = Counter()
        self.unknown: set[str] = set()

    def seen(self, frame: FrameType, event: str, arg: Any) -> None:
        """Count a call (see :func:`sys.setprofile`)."""
        if event == "call":
            code = frame.f_code
            if not code.co_filename.startswith(_HERE):
                self.functions[code] += 1
        elif event == "c_call":
            owner = getattr(arg, "__self__", None)
            kind = owner.__name__ if type(owner) is type(sys) else type(owner).__name__
            if kind in _SYSTEM_CALLS:
                if arg.__name__ in _SYSTEM_CALLS[kind]:
                    self.system_calls[f"{kind}.{arg.__name__}"] += 1
                elif arg.__name__ not in _OTHER_FUNCTIONS[kind]:
                    # an exception here would be raised in the gateway
                    self.unknown.add(f"{kind}.{arg.__name__}")


class Meter:
    """Counts the gateway's calls or memory, and leaves out what the test does around it.

    :ivar held: bytes that the gateway has allocated since its memory was first measured
    :ivar peak: the largest increase within one turn, in bytes
    """

    def __init__(self) -> None:
        self._counted: Counted | None = None
        self._memory = False
        self.held = self.peak = 0

    @contextmanager
    def calls(self, counted: Counted | None) -> Iterator[None]:
        """Count calls in the gateway's work; None: do not."""
        before, self._counted = self._counted, counted
        try:
            yield
        finally:
            self._counted = before

    def unwatched(self) -> AbstractContextManager[None]:
        """Count no calls in this context."""
        return self.calls(None)

    @contextmanager
    def memory(self) -> Iterator[None]:
        """Count bytes in the gateway's work. Garbage is attributed to the code that made it."""
        self.held = self.peak = 0
        self._memory = True
        gc.collect()
        gc.freeze()
        tracemalloc.start(1)
        try:
            yield
        finally:
            tracemalloc.stop()
            gc.unfreeze()
            self._memory = False

    def watch(self, work: Callable[[], None]) -> None:
        """Run a piece of the gateway's work, and count it."""
        if self._counted is not None:
            seen = self._counted.seen
            sys.setprofile(seen)
            try:
                work()
            finally:
                sys.setprofile(None)
        elif self._memory:
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            work()
            peak = tracemalloc.get_traced_memory()[1]
            gc.collect()
            self.held += tracemalloc.get_traced_memory()[0] - before
            self.peak = max(self.peak, peak - before)
        else:
            work()
