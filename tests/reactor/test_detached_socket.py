"""A socket is detached from its transport, and the connection stays open."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from icwsgw.reactor.detached_socket import detach, has_unsent_bytes, plain_transport, unsent_bytes

reactor: Any = _reactor


class Server(Protocol):
    lost = False

    def connectionMade(self) -> None:
        self.factory.made.callback(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class Detached(TestCase):
    def connect(self) -> tuple[Deferred[Server], socket.socket, Any]:
        factory: Any = ServerFactory()
        factory.protocol = Server
        factory.made = Deferred()
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return factory.made, socket.create_connection(("127.0.0.1", port.getHost().port)), port

    def test_the_other_end_sees_nothing_and_the_protocol_is_not_notified(self) -> Deferred[None]:
        async def scenario() -> None:
            made, client, _ = self.connect()
            server = await made
            transport: Any = server.transport
            assert plain_transport(transport) is transport
            assert not has_unsent_bytes(transport)
            transport.write(b"never sent")
            assert unsent_bytes(transport) == b"never sent"
            assert has_unsent_bytes(transport)
            with socket.socket(fileno=os.dup(transport.fileno())) as kept:
                detach(transport)
                assert unsent_bytes(transport) == b""
                await deferLater(reactor, 0.0)
                kept.sendall(b"from the other process")
                client.settimeout(5.0)
                assert client.recv(100) == b"from the other process"
                client.sendall(b"answer")
                kept.settimeout(5.0)
                assert kept.recv(100) == b"answer"
            assert client.recv(1) == b"", "now nobody has it"
            client.close()
            assert not server.lost

        return Deferred.fromCoroutine(scenario())

    def test_a_connection_that_ends_is_not_handed_over(self) -> Deferred[None]:
        async def scenario() -> None:
            made, client, _ = self.connect()
            server = await made
            transport: Any = server.transport
            transport.write(b"last words")
            transport.loseConnection()
            assert plain_transport(transport) is None
            client.close()
            while not server.lost:
                await deferLater(reactor, 0.0)

        return Deferred.fromCoroutine(scenario())

    def test_other_transports_are_not_plain(self) -> None:
        assert plain_transport(StringTransport()) is None
        assert plain_transport(None) is None
