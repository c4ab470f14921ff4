"""The clients of one load process, what they do together, and what is counted about them.

Loads are open-loop where they have a rate: each message has a time at which it is meant to leave, the latency counts
from there, and a gateway that is late does not slow the next message down. A closed loop (rate 0) sends the next when
the one before has come back, as a patient user does; its latencies say nothing about a load.
"""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bench.client import LoadClient, State
from bench.histogram import Histogram
from bench.loop import Loop, Timer
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal

Done = Callable[[dict[str, Any]], object]
_KEPT_REASONS = 20


class Target(NamedTuple):
    """Where the gateway is."""

    address: tuple[str, int]
    host: str
    path: str
    context: ssl.SSLContext | None
    loopback: bool


def parse_target(url: str) -> Target:
    """Read a ws:// or wss:// URL; certificates are not checked.

    :raises ValueError: another scheme
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"{url!r} is not a WebSocket URL")
    context = None
    if parts.scheme == "wss":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    address = (parts.hostname, parts.port or (443 if context else 80))
    return Target(address, parts.netloc, parts.path or "/", context, parts.hostname == "127.0.0.1")


def canister_id(number: int) -> Principal:
    """The bench's canister number so and so; in the range of ids that canisters have."""
    return Principal(number.to_bytes(8, "big") + b"\1\1")


class Crowd:
    """See the module.

    :ivar verify_every: verify each n-th message of a session in full; 0: none
    :ivar base_ns: what stamps count from
    :ivar stalled: clients that were told to stop reading; what they get is counted apart
    """

    def __init__(self, loop: Loop, url: str, seed: str, root_key: bytes | None = None, verify_every: int = 0) -> None:
        self.loop = loop
        self.target = parse_target(url)
        self.root_key = root_key
        self.verify_every = verify_every if root_key else 0
        self.base_ns = 0
        self.clients: dict[int, LoadClient] = {}
        self.stalled: set[int] = set()
        self._seed = seed
        self._identities: dict[int, Ed25519Identity] = {}
        self._waiting: deque[tuple[int, int, int]] = deque()
        self._pending: set[LoadClient] = set()
        self._concurrency = 1
        self._receive_buffer = 0
        self._settled: Callable[[], object] | None = None
        self._churn: Callable[[LoadClient], object] | None = None
        self._reply: Callable[[LoadClient], object] | None = None
        self._prepared: deque[tuple[int, LoadClient, bytes]] = deque()
        self.clear()

    def clear(self) -> None:
        """Begin to count anew."""
        self.opened_count = 0
        self.failed = 0
        self.ended_count = 0
        self.received = 0
        self.received_stalled = 0
        self.bytes = 0
        self.acks = 0
        self.sent = 0
        self.verified = 0
        self.order_violations = 0
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
        """What was counted."""
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

    # what clients report

    def opened(self, client: LoadClient) -> None:
        """The canister's OpenMessage has come."""
        self.opened_count += 1
        self.opening.add(time.monotonic_ns() - client.started)
        if self._churn is not None:
            client.hang_up()
            return
        self._pending.discard(client)
        self._fill()

    def application(self, client: LoadClient, stamp_ns: int, size: int) -> None:
        """An application message has come."""
        if client.index in self.stalled:
            self.received_stalled += 1
            return
        now = time.monotonic_ns()
        self.latency.add(now - self.base_ns - stamp_ns)
        self.received += 1
        self.bytes += size
        self.last_received_ns = now
        if not self.first_received_ns:
            self.first_received_ns = now
        if self._reply is not None:
            self._reply(client)

    def acknowledged(self, client: LoadClient) -> None:
        """An AckMessage has come, and is about to be answered."""
        self.acks += 1
        now = time.monotonic_ns()
        self.last_received_ns = now
        self.ack_latency.add(now - self.base_ns)

    def closed_by_canister(self, client: LoadClient, reason: str) -> None:
        """A CloseMessage has come; the SDK closes with 4001 then."""
        self.canister_closes[reason] = self.canister_closes.get(reason, 0) + 1
        client.hang_up(4001)

    def wrong(self, client: LoadClient, what: str) -> None:
        """A message out of order, or none at all."""
        self.order_violations += 1
        self._reason(f"client {client.index}: {what}")

    def ended(self, client: LoadClient, was: State) -> None:
        """A connection has ended."""
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
        if self._churn is not None:
            self._churn(client)
        self._fill()

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

    def _fill(self) -> None:
        while self._waiting and len(self._pending) < self._concurrency:
            index, canister, started = self._waiting.popleft()
            self._start(index, canister, started or time.monotonic_ns())
        if not self._waiting and not self._pending and self._settled is not None:
            settled, self._settled = self._settled, None
            settled()

    def open(
        self,
        clients: Sequence[tuple[int, int]],
        done: Done,
        *,
        concurrency: int = 100,
        timeout: float = 60.0,
        receive_buffer: int = 0,
    ) -> None:
        """Open some clients (index, canister number), so many at a time."""
        self._waiting.extend((index, canister, 0) for index, canister in clients)
        self._concurrency = concurrency
        self._receive_buffer = receive_buffer
        self._finally(timeout, done)

    def churn(
        self,
        done: Done,
        *,
        first: int,
        parallel: int,
        seconds: float,
        canister: int,
        rate: float = 0.0,
        stride: int = 1,
    ) -> None:
        """Open and close sessions for a while: so many in parallel, or so many a second."""
        end = time.monotonic_ns() + int(seconds * 1e9)
        pool = max(2_000, 20 * parallel)
        number = 0

        def again(_client: LoadClient | None = None) -> None:
            nonlocal number
            now = time.monotonic_ns()
            if now < end:
                self._waiting.append((first + number % pool * stride, canister, now))
                number += 1

        def by_rate(at: int, start: int) -> None:
            while (meant := start + int(at * 1e9 / rate)) <= time.monotonic_ns():
                self._waiting.append((first + at % pool * stride, canister, meant))
                at += 1
            if meant < end:
                self.loop.call_at(meant / 1e9, by_rate, at, start)
            self._fill()

        def over(result: dict[str, Any]) -> None:
            self._churn = None
            done(result)

        self._concurrency = 100_000 if rate else parallel
        self._receive_buffer = 0
        self._churn = (lambda _client: None) if rate else again
        if rate:
            by_rate(0, time.monotonic_ns())
            self.loop.call_at(end / 1e9 + 0.001, self._finally, 30.0, over)
            return
        for _ in range(parallel):
            again()
        self._finally(seconds + 30.0, over)

    def _finally(self, timeout: float, done: Done) -> None:
        """Say so when nothing is pending any more; what is then still pending has failed."""

        def settled() -> None:
            timer.cancel()
            done({"failed": self.failed})

        def late() -> None:
            self._waiting.clear()
            for client in list(self._pending):
                client.close_reason = "not done in time"
                client.lost()

        timer = self.loop.call_later(timeout, late)
        self._settled = settled
        self._fill()

    def close(self, done: Done, *, code: int = 1000, timeout: float = 15.0) -> None:
        """Close all that are open, and wait for their ends."""
        left = list(self.clients.values())
        self._pending.update(left)

        def over(result: dict[str, Any]) -> None:
            done({"closed": len(left), "late": sum(client.close_reason == "not done in time" for client in left)})

        for client in left:
            if not client.reading:
                client.read_on(True)
            client.hang_up(code)
        self._finally(timeout, over)

    # sending

    def prepare(self, done: Done, *, count: int, rate: float, size: int, first: int = 0, stride: int = 1) -> None:
        """Sign messages beforehand.

        :param count: with a rate: of all; without: of each client
        :param first: with a rate: number of the first one, for the turn that several processes take
        :param stride: how many numbers further the next one is
        """
        self._prepared.clear()
        clients = [client for client in self.clients.values() if client.state is State.OPEN]
        if rate:
            for at in range(count):
                stamp = int((first + at * stride) * 1e9 / rate)
                client = clients[at % len(clients)]
                self._prepared.append((stamp, client, client.envelopes.message(stamp, size)))
        else:
            for client in clients:
                frames = b"".join(client.envelopes.message(0, size) for _ in range(count))
                self._prepared.append((0, client, frames))
        done({"prepared": count if rate else count * len(clients)})

    def send(self, done: Done, *, base_ns: int) -> None:
        """Send what was prepared, each at its time after the base."""
        self.base_ns = base_ns
        started = time.process_time()

        def due() -> None:
            now = time.monotonic_ns() - base_ns
            prepared = self._prepared
            while prepared and prepared[0][0] <= now:
                _, client, frames = prepared.popleft()
                client.send(frames)
                self.sent += 1
            if prepared:
                self.loop.call_at((base_ns + prepared[0][0]) / 1e9, due)
            else:
                done({"sent": self.sent, "cpu_s": time.process_time() - started})

        self.loop.call_at(base_ns / 1e9, due)

    def echo(self, done: Done, *, base_ns: int, seconds: float, size: int, window: int = 1) -> None:
        """A closed loop: each client sends its next message when an echo has come."""
        self.base_ns = base_ns
        end = base_ns + int(seconds * 1e9)
        outstanding = 0
        timer: list[Timer] = []

        def say(client: LoadClient) -> None:
            nonlocal outstanding
            outstanding += 1
            self.sent += 1
            client.say(time.monotonic_ns() - base_ns, size)

        def reply(client: LoadClient) -> None:
            nonlocal outstanding
            outstanding -= 1
            if time.monotonic_ns() < end:
                say(client)
            elif not outstanding:
                finish()

        def finish() -> None:
            if self._reply is not None:
                self._reply = None
                timer[0].cancel()
                done({"sent": self.sent, "outstanding": outstanding})

        def begin() -> None:
            for client in list(self.clients.values()):
                for _ in range(window if client.state is State.OPEN else 0):
                    say(client)

        self._reply = reply
        timer.append(self.loop.call_at(end / 1e9 + 10.0, finish))
        self.loop.call_at(base_ns / 1e9, begin)

    def read(self, indexes: Sequence[int], reading: bool) -> None:
        """Let some clients stop or go on reading."""
        self.stalled.update(indexes)
        for index in indexes:
            if index in self.clients:
                self.clients[index].read_on(reading)
