"""Counts what Python does: functions called, system calls, memory. The same on every machine, however busy it is."""

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

# What the socket, select and os modules ask the kernel for, by their names for it. What is missing from both lists
# is an error, so that nothing goes uncounted.
_ASKS = {
    "socket": {
        *("_accept", "bind", "close", "connect", "connect_ex", "getpeername", "getsockname", "getsockopt", "listen"),
        *("recv", "recv_into", "recvmsg", "send", "sendall", "sendmsg", "setblocking", "setsockopt", "shutdown"),
    },
    "epoll": {"close", "modify", "poll", "register", "unregister"},
    "posix": {"close", "read", "urandom", "write"},
}
_ASKS_NOTHING = {
    "socket": {"detach", "fileno", "gettimeout"},
    "epoll": {"fileno"},
    "posix": {"fspath"},
}

_HERE = os.path.dirname(__file__)


class Counted:
    """What happened while it was counted.

    :ivar functions: Python functions, by how often each was called; a generator counts each time it goes on
    :ivar asked: system calls, by name
    :ivar unknown: functions of which nobody has said whether they are system calls
    """

    def __init__(self) -> None:
        self.functions: Counter[CodeType] = Counter()
        self.asked: Counter[str] = Counter()
        self.unknown: set[str] = set()

    def seen(self, frame: FrameType, event: str, arg: Any) -> None:
        """Take note of a call (see :func:`sys.setprofile`)."""
        if event == "call":
            code = frame.f_code
            if not code.co_filename.startswith(_HERE):
                self.functions[code] += 1
        elif event == "c_call":
            owner = getattr(arg, "__self__", None)
            kind = owner.__name__ if type(owner) is type(sys) else type(owner).__name__
            if kind in _ASKS:
                if arg.__name__ in _ASKS[kind]:
                    self.asked[f"{kind}.{arg.__name__}"] += 1
                elif arg.__name__ not in _ASKS_NOTHING[kind]:
                    # an exception here would be the gateway's
                    self.unknown.add(f"{kind}.{arg.__name__}")


class Meter:
    """Watches one side, the gateway, and nothing of what is played to it: calls, memory, or nothing.

    :ivar held: bytes that the gateway has more than when its memory was first watched
    :ivar peak: the most that it has had in a turn beyond what it had before the turn
    """

    def __init__(self) -> None:
        self._counted: Counted | None = None
        self._memory = False
        self.held = self.peak = 0

    @contextmanager
    def calls(self, counted: Counted | None) -> Iterator[None]:
        """Count calls in what is watched; None: do not."""
        before, self._counted = self._counted, counted
        try:
            yield
        finally:
            self._counted = before

    def unwatched(self) -> AbstractContextManager[None]:
        """Count no calls."""
        return self.calls(None)

    @contextmanager
    def memory(self) -> Iterator[None]:
        """Count bytes in what is watched. What is garbage belongs to who made it."""
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
        """Let the gateway work."""
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
