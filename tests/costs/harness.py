"""A whole gateway in this process, whose reactor the test runs turn by turn; its network and clients use sockets.

The service, Twisted's epoll reactor and TCP on loopback are the real ones. The clock stands still unless the test
advances it, and the reactor turns only if the test says so and there is something to do. So the results depend on the
program alone.
"""

from __future__ import annotations

import random
import select
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from fcntl import ioctl
from functools import lru_cache, partial
from operator import itemgetter
from pathlib import Path
from struct import pack, unpack
from termios import FIONREAD
from typing import Any
from unittest.mock import patch

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from icwsgw.config.schema import GatewayConfig
from icwsgw.devnet.canisters import ECHO_ID, app_message
from icwsgw.devnet.replica import Replica
from icwsgw.gateway.identities import load_or_create_key_file
from icwsgw.ic import cbor
from icwsgw.ic.envelope import call_content, sign_request
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.reactor.clock import use_monotonic_time
from icwsgw.service import GatewayService
from tests.costs.counting import Meter
from tests.support.sdk_client import SdkClient
from tests.support.ws_wire import close_frame, handshake, masked, read_frames

_EPOCH_NS = 1_700_000_000_000_000_000
#: The offset keeps the gateway's other timers from coinciding with a poll: no interval divides it.
_EPOCH = 1000.013
#: Real seconds after which a wait fails.
_TIMEOUT = 30.0

#: The boundary nodes in front of the replicas add headers that a replica does not send.
_HEAD = "HTTP/1.1 {status} {reason}\r\n{headers}date: {date}\r\ncontent-length: {size}\r\n\r\n"
_REASONS = {200: "OK", 202: "Accepted"}

#: Takes the replica's status and content, and returns those to send.
Change = Callable[[int, bytes], "tuple[int, bytes]"]


class Wire:
    """The other end of one of the gateway's sockets."""

    def __init__(self, harness: Harness, end: socket.socket) -> None:
        self._harness = harness
        self._end = end
        self._end.settimeout(_TIMEOUT)
        self._other = -1

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, data: bytes) -> None:
        """Send, and wait until the gateway can read all of it."""
        self._end.sendall(data)
        other = self._gateways()
        arrival = select.poll()
        arrival.register(other, select.POLLIN)
        until = time.monotonic() + _TIMEOUT
        while _unread(other) < len(data):
            assert time.monotonic() < until, "what was sent does not arrive"
            arrival.poll(1000)

    def receive(self) -> bytes:
        """The bytes that the gateway has sent: at least one, or none if it has closed the connection."""
        return self._end.recv(1 << 20)

    def disconnect(self) -> None:
        """Close, and wait until the gateway's socket sees it."""
        other = self._gateways()
        self._end.close()
        ending = select.poll()
        ending.register(other, select.POLLRDHUP)
        assert ending.poll(1000 * _TIMEOUT)

    def close(self) -> None:
        """Close without waiting."""
        self._end.close()

    def _gateways(self) -> int:
        """The gateway's file descriptor of this connection."""
        if self._other < 0:
            ends = self._end.getpeername(), self._end.getsockname()
            self._other = next(fd for fd, own, other in self._harness.connections() if (own, other) == ends)
        return self._other


class Network:
    """The devnet's replica behind a socket; it answers one request at each :meth:`answer`.

    :ivar change: applied to each answer
    """

    def __init__(self, harness: Harness, call_latency: float) -> None:
        self._harness = harness
        self._time = Clock()
        self.replica = Replica(self._time, harness.now_ns, b"costs", call_latency=call_latency)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_TIMEOUT)
        self.port: int = self._listener.getsockname()[1]
        self._wires: dict[int, Wire] = {}
        self.change: Change | None = None

    def advance(self, seconds: float) -> None:
        self._time.advance(seconds)

    def answer(self) -> str:
        """Wait for a request, and send its answer to the gateway.

        :returns: the last part of the path: call, query, read_state, status
        """
        wire, method, path, body = self._request()
        answers: list[Any] = []
        self.replica.handle(method, path, body).addBoth(answers.append)
        if not answers:
            self._harness.advance(self.replica.ingress.latency)
        ((status, headers, content),) = answers
        if self.change is not None:
            status, content = self.change(status, content)
        lines = "".join(f"{name.lower()}: {value}\r\n" for name, value in headers.items())
        date = formatdate(self._harness.now_ns() / 1e9, usegmt=True)
        head = _HEAD.format(status=status, reason=_REASONS[status], headers=lines, date=date, size=len(content))
        wire.send(head.encode() + content)
        return path.rpartition("/")[2]

    def close(self) -> None:
        self.replica.close()
        self._listener.close()
        for wire in self._wires.values():
            wire.close()

    def _request(self) -> tuple[Wire, str, str, bytes]:
        """Wait for a complete request; accepts the gateway's connections meanwhile."""
        data = b""
        while True:
            ready = select.poll()
            for descriptor in (self._listener.fileno(), *self._wires):
                ready.register(descriptor, select.POLLIN)
            events = ready.poll(1000 * _TIMEOUT)
            assert events, "the gateway asks for nothing"
            descriptor = events[0][0]
            if descriptor == self._listener.fileno():
                wire = Wire(self._harness, self._listener.accept()[0])
                self._wires[wire.fileno()] = wire
                # the gateway sends when it has noticed that it is connected
                self._harness.turn()
                continue
            wire = self._wires[descriptor]
            more = wire.receive()
            if not more:
                del self._wires[descriptor]
                continue
            data += more
            head, end, body = data.partition(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in lines)
            if end and len(body) == int(fields.get("content-length", 0)):
                method, path, _ = first.split(" ")
                return wire, method, path, body


class Client(SdkClient):
    """A client of the echo canister."""

    def __init__(self, harness: Harness, number: int) -> None:
        super().__init__(ECHO_ID, Ed25519Identity(number.to_bytes(32, "big")))
        # large, so that its CBOR form always has the same length
        self.client_nonce = 1 << 63 | number
        self._harness = harness
        self._calls = 0
        self._wire = Wire(harness, socket.create_connection(("127.0.0.1", harness.port), _TIMEOUT))
        harness.turn()

    def do_handshake(self) -> None:
        """Do the WebSocket handshake, and read the handshake message."""
        self._wire.send(handshake())
        self._harness.turn()
        data = self._wire.receive()
        head, _, rest = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        self._opening = self.take(rest)

    def send_ws_open(self) -> None:
        """Send ws_open."""
        (payload,) = self._opening
        self.send(payload)
        self._harness.turn()

    def open(self) -> None:
        """Open a session, up to the canister's first message."""
        self.do_handshake()
        self.send_ws_open()
        assert self._harness.network.answer() == "call"
        self._harness.turn()
        self._harness.poll()
        self.read()
        assert self.opened

    def send(self, payload: bytes) -> None:
        """Send a message to the gateway."""
        self._wire.send(masked(2, payload))

    def message(self, size: int = 40) -> bytes:
        """A signed message."""
        return self.message_payload(app_message("x" * size), self._harness.now_ns())

    def send_half(self, size: int) -> None:
        """Send the first half of a message, and let the gateway read it."""
        frame = masked(2, self.message(size))
        self._wire.send(frame[: len(frame) // 2])
        self._harness.turn()

    def envelope(self, method: str, arg: bytes, now_ns: int, ttl: float = 240.0) -> bytes:
        """As the SDK's, but with the same nonces in each run."""
        self._calls += 1
        nonce, sender = self._calls.to_bytes(16, "big"), self.identity.principal
        content = call_content(sender, self.canister, method, arg, now_ns + int(ttl * 1e9), nonce)
        body = sign_request(self.identity, content).body
        return cbor.SELF_DESCRIBE + b"\xa1\x68envelope" + body.removeprefix(cbor.SELF_DESCRIBE)

    def read(self) -> None:
        """Read the frames that the gateway has sent."""
        data = self._wire.receive()
        while not _whole(data):
            data += self._wire.receive()
        self.take(data)

    def take(self, frames: bytes) -> list[bytes]:
        return [
            answer
            for opcode, payload in read_frames(frames)
            if opcode == 2
            for answer in self.handle(payload, self._harness.now_ns())
        ]

    def close_cleanly(self) -> None:
        """Send a close frame, and read the gateway's."""
        self._wire.send(close_frame(1000))
        self._harness.turn()
        assert self._wire.receive()

    def close(self) -> None:
        self._wire.close()

    def disconnect(self) -> None:
        """End the connection without a close frame."""
        self._wire.disconnect()
        self._harness.turn()


@lru_cache
def _begin_logging() -> None:
    """Discard log lines; Twisted would keep them until a log observer starts."""
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)


def _unread(descriptor: int) -> int:
    """The number of bytes that a socket has to read."""
    size: int
    (size,) = unpack("i", ioctl(descriptor, FIONREAD, pack("i", 0)))
    return size


def _whole(frames: bytes) -> bool:
    """Whether the last frame is complete."""
    at = 0
    while at + 4 <= len(frames):
        size = frames[at + 1]
        at += 2 + size if size < 126 else 4 + int.from_bytes(frames[at + 2 : at + 4], "big")
    return at == len(frames)


class Harness:
    """The gateway and its network; see the module.

    :param call_latency: seconds until a call is executed
    :param options: of the gateway
    :ivar meter: counts the gateway's work
    :ivar port: the gateway's port for clients
    """

    def __init__(self, call_latency: float = 0.0, **options: Any) -> None:
        _begin_logging()
        self._folder = tempfile.TemporaryDirectory()
        self._seconds = [_EPOCH]
        self._wall = [_EPOCH_NS]
        self.meter = Meter()
        self._clients: list[Client] = []
        self.reactor: Any = EPollReactor()
        # functions in C, as those of the real clocks are
        use_monotonic_time(self.reactor, partial(itemgetter(0), self._seconds))
        self.network = Network(self, call_latency)
        config = GatewayConfig(
            data_dir=Path(self._folder.name) / "data",
            gateway_addresses=("tcp:0:interface=127.0.0.1",),
            prometheus_endpoint=None,
            ic_network_url=f"http://127.0.0.1:{self.network.port}",
        )
        load_or_create_key_file(config.key_path, random_bytes=bytes)
        now_ns = partial(itemgetter(0), self._wall)
        with patch("time.time_ns", now_ns), patch("random.random", random.Random(1).random):
            self.service = GatewayService(replace(config, **options), self.reactor)
        self.service.status._now = lambda: self._wall[0] / 1e9
        self.service.privilegedStartService()
        self.service.startService()
        self.port: int = self.service._listeners[0].port.getHost().port
        # the root key, and whether the network answers
        self.turn()
        while not self.service.agent.ready or self.service.agent.last_answer is None:
            assert self.network.answer() == "status"
            self.turn()

    def now_ns(self) -> int:
        return self._wall[0]

    def connections(self) -> list[tuple[int, Any, Any]]:
        """The gateway's connections: file descriptor, own address, other address."""
        return [
            (descriptor, each.socket.getsockname(), each.socket.getpeername())
            for descriptor, each in self.reactor._selectables.items()
            if hasattr(each, "socket") and not hasattr(each, "factory") and each.connected
        ]

    def turn(self) -> None:
        """Run the reactor until nothing is due, as it does when the kernel wakes it."""
        self.meter.watch(self._run_turns)
        # more than Twisted reads at once
        while any(_unread(descriptor) for descriptor, _, _ in self.connections()):
            self.meter.watch(self._run_turns)

    def _run_turns(self) -> None:
        reactor = self.reactor
        while True:
            reactor.doIteration(0)
            reactor.runUntilCurrent()
            if reactor.timeout() != 0:
                return

    def poll(self) -> None:
        """Advance the time to the gateway's next poll, and answer it. Anything due earlier is not counted."""
        poller = self.poller
        with self.meter.unwatched():
            while (due := self._next_timer()) < self._next_poll():
                self._advance_to(due)
                self.turn()
        self._advance_to(self._next_poll())
        self.turn()
        while poller.in_flight:
            # the first answers make the gateway fetch the keys that have signed them
            assert self.network.answer() in ("query", "read_state")
            self.turn()

    def rest(self) -> None:
        """Advance the time until only the periodic timer is left."""
        for _ in range(6):
            self.poll()

    def new_second(self) -> None:
        """Advance to the next full second; the answers' Date headers contain it."""
        second = self._wall[0] // 1_000_000_000
        while self._wall[0] // 1_000_000_000 == second:
            self.poll()

    def until(self, timer: Any) -> None:
        """Advance the time until a timer is due; the next turn runs it."""
        with self.meter.unwatched():
            while (due := self._next_timer()) < timer.getTime():
                if due == self._next_poll():
                    self.poll()
                else:
                    self._advance_to(due)
                    self.turn()
        self._advance_to(timer.getTime())

    def client(self) -> Client:
        """Connect another client."""
        client = Client(self, len(self._clients) + 1)
        self._clients.append(client)
        return client

    def canister_sends(self, client: Client, messages: int) -> None:
        """Let the canister send messages to a client."""
        cdk = self.network.replica.host(ECHO_ID).ws
        for _ in range(messages):
            cdk.send(client.identity.principal, app_message("x" * 40))

    @property
    def poller(self) -> Any:
        """The poller of the only canister."""
        (poller,) = self.service.gateway.registry.pollers.values()
        return poller

    def pass_first_minute(self) -> None:
        """Set the poller's position to where answers' ages no longer count (:mod:`icwsgw.core.cursor`)."""
        cursor = self.poller.cursor
        cursor.read({**cursor.written(), "_former_until": 0.0})

    @property
    def relay(self) -> Any:
        """The relay of the only client."""
        (session,) = self.poller.sessions.values()
        return session.relay

    def close(self) -> None:
        """Close files and sockets."""
        self.network.close()
        for client in self._clients:
            client.close()
        for each in self.reactor.removeAll():
            each.connectionLost(Failure(ConnectionDone()))
        self.reactor._poller.close()
        self._folder.cleanup()

    def _next_timer(self) -> float:
        return min(call.getTime() for call in self.reactor.getDelayedCalls())

    def _next_poll(self) -> float:
        poll_timer = self.poller.poll_timer
        calls = (poll_timer._loop.call, poll_timer._wake, poll_timer._rest)
        return min(call.getTime() for call in calls if call is not None)

    def advance(self, seconds: float) -> None:
        """Advance the time; the gateway sees it at its next turn."""
        self._seconds[0] += seconds
        self._wall[0] += round(seconds * 1e9)
        self.network.advance(seconds)

    def _advance_to(self, until: float) -> None:
        self.advance(max(until - self._seconds[0], 0.0))
