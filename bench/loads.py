"""The loads that the clients of a load process generate.

A load with a rate is open-loop: each message has a scheduled time, its latency counts from that time, and a slow
gateway does not delay the next message. A closed loop (rate 0) sends the next message when the last has come back; its
latencies do not show how the gateway behaves under a given load.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from bench.client import LoadClient, State
from bench.crowd import Crowd, Done
from bench.loop import Timer

#: Number of client identities for a closed loop of sessions. One is free again when the canister knows that its session
#: has ended.
_POOL = 20_000
_ECHO_SECONDS = 10.0
_CLOSING_SECONDS = 30.0
#: Messages that are signed in one turn of the loop, about 50 ms.
_SIGNED_AT_ONCE = 500


def churn(
    crowd: Crowd,
    done: Done,
    *,
    first: int,
    parallel: int,
    seconds: float,
    canister: int,
    rate: float = 0.0,
    stride: int = 1,
) -> None:
    """Open and close sessions for ``seconds``: ``parallel`` at a time, or at a rate per second.

    In parallel mode, the next session starts when one has sent its close frame, because gateways differ in when they
    end the connection.
    """
    end = time.monotonic_ns() + int(seconds * 1e9)
    pool = max(_POOL, 20 * parallel)
    number = 0

    def again() -> None:
        nonlocal number
        now = time.monotonic_ns()
        if now < end:
            crowd.waiting.append((first + number % pool * stride, canister, now))
            number += 1

    def by_rate(at: int, start: int) -> None:
        while (meant := start + int(at * 1e9 / rate)) <= time.monotonic_ns():
            crowd.waiting.append((first + at * stride, canister, meant))
            at += 1
        if meant < end:
            crowd.loop.call_at(meant / 1e9, by_rate, at, start)
        crowd.fill()

    def over(result: dict[str, Any]) -> None:
        crowd.on_opened = None
        done(result)

    # Closing sessions must not delay new ones.
    crowd.concurrency = 1_000_000
    crowd.on_opened = (lambda: None) if rate else again
    if rate:
        by_rate(0, time.monotonic_ns())
        crowd.loop.call_at(end / 1e9 + 0.001, crowd.when_none_pending, _CLOSING_SECONDS, over)
        return
    for _ in range(parallel):
        again()
    crowd.when_none_pending(seconds + _CLOSING_SECONDS, over)


class Messages:
    """Application messages of a crowd; they are signed before the measurement."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._prepared: deque[tuple[int, LoadClient, bytes, int]] = deque()

    def prepare(self, done: Done, *, count: int, rate: float, size: int, first: int = 0, stride: int = 1) -> None:
        """Sign messages.

        :param count: number of messages; with a rate: of all clients; without: of each client
        :param first: with a rate: number of this process's first message; load processes alternate
        :param stride: distance between the numbers of two messages of this process
        """
        self._prepared.clear()
        clients = [client for client in self._crowd.clients.values() if client.state is State.OPEN]
        if rate:
            for at in range(count if clients else 0):
                stamp = int((first + at * stride) * 1e9 / rate)
                client = clients[at % len(clients)]
                self._prepared.append((stamp, client, client.envelopes.message(stamp, size), 1))
        else:
            for client in clients:
                frames = b"".join(client.envelopes.message(0, size) for _ in range(count))
                self._prepared.append((0, client, frames, count))
        done({"prepared": sum(each[3] for each in self._prepared)})

    def send(self, done: Done, *, base_ns: int) -> None:
        """Send the prepared messages, each at its time after the base."""
        crowd = self._crowd
        crowd.base_ns = base_ns

        def due() -> None:
            now = time.monotonic_ns() - base_ns
            prepared = self._prepared
            while prepared and prepared[0][0] <= now:
                _, client, frames, count = prepared.popleft()
                client.send(frames)
                crowd.sent += count
            if prepared:
                crowd.loop.call_at((base_ns + prepared[0][0]) / 1e9, due)
            else:
                done({"sent": crowd.sent})

        crowd.loop.call_at(base_ns / 1e9, due)


class Flow:
    """Application messages at a rate, until they are stopped.

    The first ones are signed in advance, and expire as if they were signed when due; the others are signed when due.
    Clients must send nothing else meanwhile, because a signed message has its sequence number.
    """

    def __init__(self, crowd: Crowd, rate: float, size: int) -> None:
        self._crowd = crowd
        self._rate, self._size = rate, size
        self._clients = [client for client in crowd.clients.values() if client.state is State.OPEN]
        self._at = 0
        self._timer: Timer | None = None
        self._signed: deque[bytes] = deque()

    def sign(self, done: Done, ahead: int) -> None:
        """Sign the first messages in advance, in batches: meanwhile clients answer pings.

        :param ahead: how many
        """
        if self._clients:
            for at in range(len(self._signed), min(ahead, len(self._signed) + _SIGNED_AT_ONCE)):
                meant = self._meant(at)
                self._signed.append(self._client(at).envelopes.message(meant, self._size, meant))
        if self._clients and len(self._signed) < ahead:
            self._crowd.loop.call_soon(self.sign, done, ahead)
        else:
            done({"signed": len(self._signed)})

    def _meant(self, at: int) -> int:
        """When a message is due, ns after the base."""
        return int(at * 1e9 / self._rate)

    def _client(self, at: int) -> LoadClient:
        return self._clients[at % len(self._clients)]

    def begin(self, base_ns: int) -> None:
        """Send the first message at ``base_ns``, and the others at the rate from then on."""
        self._crowd.base_ns = base_ns
        self._timer = self._crowd.loop.call_at(base_ns / 1e9, self._due)

    def _due(self) -> None:
        crowd, signed = self._crowd, self._signed
        elapsed = time.monotonic_ns() - crowd.base_ns
        while (meant := self._meant(self._at)) <= elapsed:
            client = self._client(self._at)
            self._at += 1
            frame = signed.popleft() if signed else b""
            if client.state is State.OPEN:
                client.send(frame or client.envelopes.message(meant, self._size))
                crowd.sent += 1
        self._timer = crowd.loop.call_at((crowd.base_ns + meant) / 1e9, self._due)

    def stop(self) -> int:
        """Send no more; return how many were sent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._crowd.sent


def echo(crowd: Crowd, done: Done, *, base_ns: int, seconds: float, size: int, window: int = 1) -> None:
    """A closed loop: each client sends its next message when an echo arrives."""
    crowd.base_ns = base_ns
    end = base_ns + int(seconds * 1e9)
    outstanding = 0
    timer: list[Timer] = []

    def send_next(client: LoadClient) -> None:
        nonlocal outstanding
        outstanding += 1
        crowd.sent += 1
        client.send_message(time.monotonic_ns() - base_ns, size)

    def reply(client: LoadClient) -> None:
        nonlocal outstanding
        outstanding -= 1
        if time.monotonic_ns() < end:
            send_next(client)
        elif not outstanding:
            finish()

    def finish() -> None:
        if crowd.on_message is not None:
            crowd.on_message = None
            timer[0].cancel()
            done({"sent": crowd.sent, "outstanding": outstanding})

    def begin() -> None:
        for client in list(crowd.clients.values()):
            for _ in range(window if client.state is State.OPEN else 0):
                send_next(client)

    crowd.on_message = reply
    timer.append(crowd.loop.call_at(end / 1e9 + _ECHO_SECONDS, finish))
    crowd.loop.call_at(base_ns / 1e9, begin)
