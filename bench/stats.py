"""The mock replica's statistics."""

from __future__ import annotations

import time

from bench.histogram import Histogram

#: The length of the timestamp at the start of an application message's content: ns since the run's base, big-endian.
STAMP = 8
_MAX_KEYS = 100_000


class Stats:
    """Counters since the last :meth:`clear`, which does not reset the counters of requests in flight."""

    def __init__(self) -> None:
        self.queries_in_flight = 0
        self.calls_in_flight = 0
        self._last_poll: dict[bytes, int] = {}
        self.clear()

    def clear(self) -> None:
        """Reset the counters."""
        self.queries = 0
        self.empty_queries = 0
        self.messages_out = 0
        self.most_queries = self.queries_in_flight
        self.most_calls = self.calls_in_flight
        self.events: dict[str, int] = {}
        self.gaps = Histogram()
        self.up = Histogram()
        self.last_call_ns = 0
        self.last_close_ns = 0
        self._last_poll.clear()
        self._since = time.monotonic()

    def note(self, event: str) -> None:
        """Count an event."""
        self.events[event] = self.events.get(event, 0) + 1

    def polled(self, key: bytes, now_ns: int) -> None:
        """Record a poll of one canister by one principal."""
        last = self._last_poll.get(key)
        if last is not None:
            self.gaps.add(now_ns - last)
        elif len(self._last_poll) >= _MAX_KEYS:
            self._last_poll.clear()
        self._last_poll[key] = now_ns

    def arrived(self, content: bytes, base_ns: int) -> None:
        """Record a client's application message."""
        now = time.monotonic_ns()
        self.last_call_ns = now
        if base_ns:
            self.up.add(now - base_ns - int.from_bytes(content[:STAMP], "big"))

    def to_json(self) -> dict[str, object]:
        """Return all statistics."""
        return {
            "seconds": time.monotonic() - self._since,
            "queries": self.queries,
            "empty_queries": self.empty_queries,
            "messages_out": self.messages_out,
            "most_queries_in_flight": self.most_queries,
            "most_calls_in_flight": self.most_calls,
            "queries_in_flight": self.queries_in_flight,
            "calls_in_flight": self.calls_in_flight,
            "events": dict(self.events),
            "poll_gaps": self.gaps.to_json(),
            "up": self.up.to_json(),
            "last_call_ns": self.last_call_ns,
            "last_close_ns": self.last_close_ns,
        }
