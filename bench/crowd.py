"""The clients of one load process and their statistics."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from bench.client import LoadClient, State
from bench.histogram import Histogram
from bench.loop import Delay, Loop
from bench.target import canister_id, parse_target
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal

Done = Callable[[dict[str, Any]], object]
_KEPT_REASONS = 20


class Crowd:
    """The clients of one load process and their statistics.

    :ivar verify_every: verify each n-th message of a session in full; 0: none
    :param linger: seconds that a client waits for the gateway to answer its close frame and end the connection
    :ivar base_ns: the time from which timestamps count
    :ivar clients: clients by index
    :ivar stalled: clients that have stopped reading; their messages are counted separately
    :ivar waiting: clients to start: index, number of the canister, scheduled start (ns; 0: now)
    :ivar concurrency: number of clients that may open at the same time
    :ivar on_opened: if set, sessions close as soon as they are open; called for each that is open or has failed
    :ivar on_message: called with the client of each application message
    :ivar longest: the longest latency of an application message by client, ns
    """

    def __init__(
        self,
        loop: Loop,
        url: str,
        seed: str,
        root_key: bytes | None = None,
        verify_every: int = 0,
        linger: float = 10.0,
    ) -> None:
        self.loop = loop
        self.target = parse_target(url)
        self.root_key = root_key
        self.verify_every = verify_every if root_key else 0
        self.base_ns = 0
        self.clients: dict[int, LoadClient] = {}
        self.stalled: set[int] = set()
        self._lingering = Delay(loop, linger)
        self._linger = linger
        self._seed = seed
        self._identities: dict[int, Ed25519Identity] = {}
        self.waiting: deque[tuple[int, int, int]] = deque()
        self._pending: set[LoadClient] = set()
        self.concurrency = 1
        self._receive_buffer = 0
        self._none_pending: Callable[[], object] | None = None
        self.on_opened: Callable[[], object] | None = None
        self.on_message: Callable[[LoadClient], object] | None = None
        self.clear()

    def clear(self) -> None:
        """Reset the statistics."""
        self.opened_count = 0
        self.failed = 0
        self.ended_count = 0
        self.received = 0
        self.received_stalled = 0
        self.bytes = 0
        self.acks = 0
        self.sent = 0
        self.verified = 0
        self.longest: dict[int, int] = {}
        self.order_violations = 0
        self.not_answered = 0
        self.opening = Histogram()
        self.latency = Histogram()
        self.ack_latency = Histogram()
        self.closes: dict[str, int] = {}
        self.canister_closes: dict[str, int] = {}
        self.reasons: list[str] = []
        self.first_received_ns = 0
        self.last_received_ns = 0
        self.last_closed_ns = 0
        self.gateways: dict[bytes, int] = {}

    def snapshot(self) -> dict[str, Any]:
        """Return the statistics."""
        return {
            "open": sum(client.state is State.OPEN for client in self.clients.values()),
            "opened": self.opened_count,
            "failed": self.failed,
            "ended": self.ended_count,
            "received": self.received,
            "received_stalled": self.received_stalled,
            "bytes": self.bytes,
            "acks": self.acks,
            "sent": self.sent,
            "verified": self.verified,
            "order_violations": self.order_violations,
            "not_answered": self.not_answered,
            "opening": self.opening.to_json(),
            "latency": self.latency.to_json(),
            "ack_latency": self.ack_latency.to_json(),
            "closes": dict(self.closes),
            "canister_closes": dict(self.canister_closes),
            "reasons": list(self.reasons),
            "first_received_ns": self.first_received_ns,
            "last_received_ns": self.last_received_ns,
            "last_closed_ns": self.last_closed_ns,
            "gateways": {Principal(raw).text: count for raw, count in self.gateways.items()},
        }

    # events of clients

    def opened(self, client: LoadClient) -> None:
        """Record the canister's OpenMessage."""
        self.opened_count += 1
        self.opening.add(time.monotonic_ns() - client.started)
        if self.on_opened is not None:
            self.on_opened()
            self.hang_up(client)
            self.fill()
            return
        self._pending.discard(client)
        self.fill()

    def application(self, client: LoadClient, stamp_ns: int, size: int) -> None:
        """Record an application message."""
        if client.index in self.stalled:
            self.received_stalled += 1
            return
        now = time.monotonic_ns()
        latency = now - self.base_ns - stamp_ns
        self.latency.add(latency)
        if latency > self.longest.get(client.index, -1):
            self.longest[client.index] = latency
        self.received += 1
        self.bytes += size
        self.last_received_ns = now
        if not self.first_received_ns:
            self.first_received_ns = now
        if self.on_message is not None:
            self.on_message(client)

    def acknowledged(self, client: LoadClient) -> None:
        """Record an AckMessage, before the client answers it."""
        self.acks += 1
        now = time.monotonic_ns()
        self.last_received_ns = now
        self.ack_latency.add(now - self.base_ns)

    def closed_by_canister(self, client: LoadClient, reason: str) -> None:
        """Record a CloseMessage; the client closes with 4001, as the SDK does."""
        self.canister_closes[reason] = self.canister_closes.get(reason, 0) + 1
        self.hang_up(client, 4001)

    def wrong(self, client: LoadClient, what: str) -> None:
        """Record a message that is out of order or invalid."""
        self.order_violations += 1
        self._reason(f"client {client.index}: {what}")

    def ended(self, client: LoadClient, was: State) -> None:
        """Record the end of a connection."""
        self.ended_count += 1
        self.last_closed_ns = time.monotonic_ns()
        self.clients.pop(client.index, None)
        if was < State.OPEN:
            self.failed += 1
            self._reason(f"client {client.index} ended {was.name}: {client.close_code} {client.close_reason}")
        elif was is not State.CLOSING:
            code = str(client.close_code)
            self.closes[code] = self.closes.get(code, 0) + 1
            self._reason(f"client {client.index} was closed: {code} {client.close_reason}")
        self._pending.discard(client)
        if was < State.OPEN and self.on_opened is not None:
            self.on_opened()
        self.fill()

    def _reason(self, text: str) -> None:
        if len(self.reasons) < _KEPT_REASONS:
            self.reasons.append(text)

    # opening

    def _identity(self, index: int) -> Ed25519Identity:
        identity = self._identities.get(index)
        if identity is None:
            identity = self._identities[index] = Ed25519Identity(sha256(f"{self._seed} {index}".encode()).digest())
        return identity

    def _start(self, index: int, canister: int, started: int) -> None:
        client = LoadClient(self, index, self._identity(index), canister_id(canister), started)
        self.clients[index] = client
        self._pending.add(client)
        client.connect(self._receive_buffer)

    def fill(self) -> None:
        """Start waiting clients, as many as the concurrency allows."""
        while self.waiting and len(self._pending) < self.concurrency:
            index, canister, started = self.waiting.popleft()
            self._start(index, canister, started or time.monotonic_ns())
        if not self.waiting and not self._pending and self._none_pending is not None:
            none_pending, self._none_pending = self._none_pending, None
            none_pending()

    def open(
        self,
        clients: Sequence[tuple[int, int]],
        done: Done,
        *,
        concurrency: int = 100,
        timeout: float = 60.0,
        receive_buffer: int = 0,
    ) -> None:
        """Open clients (index, canister number), at most ``concurrency`` at a time."""
        self.waiting.extend((index, canister, 0) for index, canister in clients)
        self.concurrency = concurrency
        self._receive_buffer = receive_buffer
        self.when_none_pending(timeout, done)

    def when_none_pending(self, timeout: float, done: Done) -> None:
        """Call ``done`` when no client is pending. Those still pending after ``timeout`` seconds have failed."""

        def none_pending() -> None:
            timer.cancel()
            done({"failed": self.failed})

        def late() -> None:
            self.waiting.clear()
            for client in list(self._pending):
                client.close_reason = "not done in time"
                client.lost()

        timer = self.loop.call_later(timeout, late)
        self._none_pending = none_pending
        self.fill()

    def hang_up(self, client: LoadClient, code: int = 1000) -> None:
        """Close a session, and end its connection if the gateway does not."""
        client.hang_up(code)
        if client.state is State.CLOSING:
            self._lingering.add(self._give_up, client)

    def _give_up(self, client: LoadClient) -> None:
        if client.state is not State.ENDED:
            self.not_answered += 1
            client.lost()

    def close(self, done: Done, *, code: int = 1000) -> None:
        """Close all open sessions and wait until they have ended."""
        left = list(self.clients.values())
        self._pending.update(left)

        for client in left:
            if not client.reading:
                client.read_on(True)
            self.hang_up(client, code)
        self.when_none_pending(self._linger + 15.0, lambda _result: done({"closed": len(left)}))

    def read(self, indexes: Sequence[int], reading: bool) -> None:
        """Let the given clients stop or resume reading."""
        self.stalled.update(indexes)
        for index in indexes:
            if index in self.clients:
                self.clients[index].read_on(reading)
