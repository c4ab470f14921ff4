"""Immediate sends: no byte lost, doubled or out of order, in any state of the transport."""

from __future__ import annotations

import socket
import struct
from collections.abc import Generator
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from icwsgw.reactor.immediate_send import send_now

reactor: Any = _reactor


class Collector(Protocol):
    """Collects received bytes; ``gone`` fires with it when the connection ends."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.gone: Deferred[bytes] = Deferred()
        self.made: Deferred[None] = Deferred()
        self.awaited: tuple[int, Deferred[bytes]] | None = None
        self.reason: Failure | None = None

    def connectionMade(self) -> None:
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.awaited is not None and len(self.received) >= self.awaited[0]:
            d = self.awaited[1]
            self.awaited = None
            d.callback(bytes(self.received))

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.reason = reason
        self.gone.callback(bytes(self.received))

    def wait_for(self, size: int) -> Deferred[bytes]:
        d: Deferred[bytes] = Deferred()
        self.awaited = (size, d)
        self.dataReceived(b"")
        return d


class SendNowOverSockets(TestCase):
    timeout = 20

    @inlineCallbacks
    def setUp(self) -> Generator[Any, Any, None]:  # type: ignore[override]
        self.server = Collector()
        factory = Factory.forProtocol(lambda: self.server)
        self.port = yield TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(self.port.stopListening)
        self.client = yield connectProtocol(
            TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port), Collector()
        )
        yield self.server.made
        self.addCleanup(self.hang_up)

    @inlineCallbacks
    def hang_up(self) -> Generator[Any, Any, None]:
        for end in (self.client, self.server):
            end.transport.abortConnection()
            if not end.gone.called:
                yield end.gone

    def test_leaves_in_the_same_turn(self) -> None:
        """The bytes are in the peer's socket before the reactor turns."""
        send_now(self.client.transport, b"at once")
        peer = self.server.transport.socket
        self.assertEqual(peer.recv(100), b"at once")

    @inlineCallbacks
    def test_stays_behind_what_is_queued(self) -> Generator[Any, Any, None]:
        self.client.transport.write(b"first ")
        send_now(self.client.transport, b"second ")
        self.client.transport.write(b"third ")
        send_now(self.client.transport, b"fourth")
        got = yield self.server.wait_for(25)
        self.assertEqual(got, b"first second third fourth")

    @inlineCallbacks
    def test_a_full_socket_keeps_order(self) -> Generator[Any, Any, None]:
        """Sends more than the kernel accepts, in many pieces, to a reader that is paused at first."""
        self.server.transport.pauseProducing()
        pieces = [struct.pack(">I", n) * 4096 for n in range(1000)]
        for piece in pieces:
            send_now(self.client.transport, piece)
        self.assertTrue(self.client.transport.dataBuffer or self.client.transport._tempDataLen)
        self.server.transport.resumeProducing()
        whole = b"".join(pieces)
        got = yield self.server.wait_for(len(whole))
        self.assertEqual(got, whole)
        send_now(self.client.transport, b"more")
        got = yield self.server.wait_for(len(whole) + 4)
        self.assertTrue(got.endswith(b"more"))

    @inlineCallbacks
    def test_a_reset_connection_is_reported_by_twisted(self) -> Generator[Any, Any, None]:
        peer = self.server.transport.socket
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.transport.abortConnection()
        yield self.server.gone
        send_now(self.client.transport, b"x")
        send_now(self.client.transport, b"y")
        self.assertFalse(self.client.gone.called)
        yield self.client.gone

    @inlineCallbacks
    def test_after_lose_connection_as_write_does(self) -> Generator[Any, Any, None]:
        """Twisted sends what was written after loseConnection while its buffer is not empty; nothing beyond that."""
        send_now(self.client.transport, b"before")
        self.client.transport.loseConnection()
        send_now(self.client.transport, b"")
        yield self.client.gone
        send_now(self.client.transport, b"after")
        got = yield self.server.gone
        self.assertEqual(got, b"before")

    @inlineCallbacks
    def test_nothing_after_abort(self) -> Generator[Any, Any, None]:
        self.client.transport.abortConnection()
        send_now(self.client.transport, b"late")
        yield self.client.gone
        got = yield self.server.gone
        self.assertEqual(got, b"")

    @inlineCallbacks
    def test_half_close_as_write_does(self) -> Generator[Any, Any, None]:
        """Twisted sends what is written until the half-close is carried out in the next turn; nothing later."""
        self.client.transport.loseWriteConnection()
        send_now(self.client.transport, b"in time")
        got = yield self.server.gone
        send_now(self.client.transport, b"late")
        self.assertEqual(got, b"in time")
        yield self.client.gone

    @inlineCallbacks
    def test_a_producer_is_paused_when_the_rest_is_queued(self) -> Generator[Any, Any, None]:
        class Producer:
            paused = 0

            def pauseProducing(self) -> None:
                self.paused += 1

            def resumeProducing(self) -> None:
                pass

            def stopProducing(self) -> None:
                pass

        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.server.transport.pauseProducing()
        for _ in range(100):
            send_now(self.client.transport, b"z" * 100_000)
        self.assertGreater(producer.paused, 0)
        self.server.transport.resumeProducing()
        got = yield self.server.wait_for(10_000_000)
        self.assertEqual(len(got), 10_000_000)


class SendNowElsewhere(TestCase):
    def test_string_transport(self) -> None:
        transport = StringTransport()
        send_now(transport, b"a")
        send_now(transport, b"b")
        self.assertEqual(transport.value(), b"ab")
