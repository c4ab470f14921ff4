"""Servers on loopback for tests of the transport; they send raw bytes, valid or invalid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory, Protocol

reactor: Any = _reactor


class RawConnection(Protocol):
    """Collects request bytes; calls ``server.on_request(self, request)`` for each whole request."""

    transport: Any

    def __init__(self, server: RawServer) -> None:
        self.server = server
        self.buffer = b""
        self.number = 0
        self.requests = 0

    def connectionMade(self) -> None:
        self.server.connections.append(self)
        self.number = len(self.server.connections)

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, rest = self.buffer.split(b"\r\n\r\n", 1)
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, value = line.split(b":", 1)
                if name.lower() == b"content-length":
                    length = int(value)
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            self.requests += 1
            self.server.requests.append((head, rest[:length]))
            self.server.on_request(self, head, rest[:length])

    def connectionLost(self, reason: Any = None) -> None:
        self.server.ended += 1
        waiting, self.server.end_waiters = self.server.end_waiters, []
        for d in waiting:
            d.callback(None)

    def answer(self, body: bytes = b"ok", status: str = "200 OK", headers: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.transport.write(head.encode() + body)

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def reset(self) -> None:
        self.transport.abortConnection()

    def end(self) -> None:
        self.transport.loseConnection()


class RawServer:
    """Listens on an ephemeral loopback port.

    :ivar connections: all that were ever made
    :ivar requests: (head, body) of all requests
    :ivar ended: how many connections have ended
    """

    def __init__(self, on_request: Callable[[RawConnection, bytes, bytes], object], ssl: Any = None) -> None:
        self.on_request = on_request
        self.connections: list[RawConnection] = []
        self.requests: list[tuple[bytes, bytes]] = []
        self.ended = 0
        self.end_waiters: list[Deferred[None]] = []
        self.factory = Factory.forProtocol(lambda: RawConnection(self))
        self.factory.noisy = False
        self.ssl = ssl
        self.listen(0)

    def listen(self, port: int) -> None:
        if self.ssl is None:
            self.listening: Any = reactor.listenTCP(port, self.factory, interface="127.0.0.1")
        else:
            self.listening = reactor.listenSSL(port, self.factory, self.ssl, interface="127.0.0.1")
        self.port: int = self.listening.getHost().port

    def next_end(self) -> Deferred[None]:
        """Fire when the next connection ends."""
        d: Deferred[None] = Deferred()
        self.end_waiters.append(d)
        return d

    async def stop(self) -> None:
        await maybeDeferred(self.listening.stopListening)
        while self.ended < len(self.connections):
            d = self.next_end()
            for connection in self.connections:
                connection.transport.abortConnection()
            await d
