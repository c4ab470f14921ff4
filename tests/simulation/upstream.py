"""Connections to the network as bytes: the gateway's real transport over TCP in memory, and a server.

The server keeps connections for a while and ends them at random, sometimes while a request is in flight. Its answers
have a Content-Length, are chunked, or end with the connection; they arrive in pieces of any size, and some ask to close
the connection. The world answers the requests, as it does for the transport without bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
)
from twisted.python.failure import Failure

from icwsgw.agent.http.transport import CONNECT_TIMEOUT, IDLE_TIMEOUT, Transport
from icwsgw.agent.http.tunnel import Proxy, TunnelEndpoint
from icwsgw.devnet.faults import Dropped
from tests.simulation.requests import Request, Requests

if TYPE_CHECKING:
    from icwsgw.agent.http.connection import ParsedResponse
    from icwsgw.agent.http.url import Url
    from tests.simulation.world import SimWorld

#: Seconds for which the server keeps a connection on which nothing is under way.
KEPT = (0.5, 3.0, 10.0, 60.0)
#: Seconds that a new connection is kept at least.
FIRST_REQUEST = 3.0
#: How late the sweep of idle connections may be: a quarter of their time.
SWEEP = IDLE_TIMEOUT / 4


class WireTransport(Transport):
    """The gateway's transport, over connections in memory.

    :param handle: answers a request: (method, path, body)
    :param jitter: seconds that what is sent takes longer, at most
    """

    def __init__(self, world: SimWorld, handle: Any, most: int, jitter: float, random: Random, charge: Any) -> None:
        self.world = world
        self.requests = Requests(world)
        self.server = Server(world, handle, jitter, random, most, self.requests)
        target: Any = self.server
        if world.plan.tunnel:
            target = TunnelEndpoint(world.clock, target, Proxy("proxy.example", 3128), "network.example:443", 10.0)
        super().__init__(world.clock, max_connections=most, endpoint_factory=lambda url: target, charge=charge)

    def submit(self, url: Url, data: bytes, is_head: bool, timeout: float, max_body: int) -> Deferred[ParsedResponse]:
        """As the transport does, and watched."""
        submit = super().submit
        watched: Deferred[ParsedResponse] = self.requests.submit(
            data, timeout, lambda: submit(url, data, is_head, timeout, max_body)
        )
        return watched

    @property
    def in_flight(self) -> int:
        """Requests without an end."""
        return len(self._deadlines)


class Server:
    """The server, as an endpoint to connect to.

    :param most: connections that a client may have
    :param requests: what its connections carry
    :ivar attempts: connections that are being made
    """

    def __init__(
        self, world: SimWorld, handle: Any, jitter: float, random: Random, most: int, requests: Requests
    ) -> None:
        self.world = world
        self.handle = handle
        self.random = random
        # longer than an answer and the next request take: else a request may meet such an end twice
        self.kept = max(random.choice(KEPT), 10 * jitter)
        self.most = most
        self.requests = requests
        self.attempts = 0
        self.connections: dict[Connection, None] = {}
        self._jitter = jitter

    def later(self, call: Any, *arguments: Any) -> None:
        """After the time that bytes take."""
        self.world.clock.callLater(0.001 + self._jitter * self.random.random(), call, *arguments)

    def connect(self, factory: Any) -> Deferred[Any]:
        """As an endpoint."""
        timer: list[Any] = []

        def cancel(_: object) -> None:
            for each in timer:
                if each.active():
                    each.cancel()

        done: Deferred[Any] = Deferred(cancel)

        def arrive() -> None:
            if done.called:
                return
            network = self.world.network
            if network == "refused":
                for each in timer:
                    each.cancel()
                done.errback(ConnectionRefusedError())
            elif network != "lost":
                for each in timer:
                    each.cancel()
                if len(self.connections) >= self.most:
                    self.world.oracle.fail(
                        f"{len(self.connections) + 1} connections to the network, {self.most} may be"
                    )
                connection = Connection(self, factory.buildProtocol(None))
                self.connections[connection] = None
                connection.begin()
                done.callback(connection.protocol)

        def made(result: Any) -> Any:
            self.attempts -= 1
            return result

        self.attempts += 1
        done.addBoth(made)
        timer.append(self.world.clock.callLater(CONNECT_TIMEOUT, lambda: done.errback(TimeoutError())))
        self.later(arrive)
        return done

    def overdue(self, now: float) -> Iterator[str]:
        """Connections that should have been ended."""
        for connection in self.connections:
            free = now - connection.free_since - 0.5
            if connection.carries is not None or connection.ending:
                continue
            if not connection.through:
                if free > CONNECT_TIMEOUT:
                    yield f"the answer of a proxy is awaited for {free - CONNECT_TIMEOUT:.1f} s too long"
            elif free > IDLE_TIMEOUT + SWEEP:
                yield f"a connection to the network is idle for {free - IDLE_TIMEOUT - SWEEP:.1f} s too long"


class Connection:
    """One connection: the transport of the gateway's protocol, and the server at its other end.

    :ivar carries: the request that was written to it last, unless it has ended since
    :ivar through: whether the proxy has answered, if there is one
    :ivar free_since: when it was made, when the proxy has answered, or when the last request has ended
    """

    disconnecting = False

    def __init__(self, server: Server, protocol: Any) -> None:
        self.protocol = protocol
        self.carries: Request | None = None
        self.busy = False
        self.ending = False
        self._tunnelled = self.through = not server.world.plan.tunnel
        self.free_since = server.world.clock.seconds()
        self._server = server
        self._random = server.random
        self._received = bytearray()
        # what is on its way to the gateway, and whether the end comes behind it
        self._sent = bytearray()
        self._end: Exception | None = None
        self._pumping = False
        self._lost = self._whole = self._asked = False
        self._timer: Any = None
        self._answer: Deferred[Any] | None = None

    def begin(self) -> None:
        """It is up."""
        self.protocol.makeConnection(self)
        self._rest()

    # the server

    def _rest(self) -> None:
        self.busy = False
        # nobody ends a connection before its first request could come
        kept = self._server.kept if self._asked else max(self._server.kept, FIRST_REQUEST)
        self._timer = self._server.world.clock.callLater(kept, self._idle_too_long)

    def _idle_too_long(self) -> None:
        self._timer = None
        self.ending = True
        self._finish(ConnectionDone())

    def _arrived(self, data: bytes) -> None:
        if self._lost or self.ending:
            # a request that the end of the connection crosses
            return
        if self._server.world.network != "up":
            if self._server.world.network == "refused":
                self._lose(ConnectionLost())
            return
        self._received += data
        head, found, rest = bytes(self._received).partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode().split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        size = int(headers.get("content-length", "0"))
        if len(rest) < size:
            return
        if not self._tunnelled:
            # the proxy takes it, and only passes on bytes from now on
            self._tunnelled = method == "CONNECT"
            self._received.clear()
            self._send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            return
        if self.busy:
            self._server.world.oracle.fail("a request left on a connection that carries one")
        self._received.clear()
        self._asked = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.busy = True
        answer = self._answer = maybeDeferred(self._server.handle, method, path, rest[:size])
        answer.addCallbacks(self._write, self._drop, callbackArgs=(method,))

    def _write(self, answer: Any, method: str) -> None:
        status, headers, body = answer
        self._answer = None
        if self._lost:
            return
        chance = self._random.random()
        head = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
        goes = chance < 0.05
        if method == "HEAD":
            body = b""
        if 0.2 < chance < 0.4:
            head.append("Transfer-Encoding: chunked")
            at = self._random.randint(0, len(body))
            pieces = [piece for piece in (body[:at], body[at:]) if piece]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        elif chance >= 0.03:
            head.append(f"Content-Length: {len(body)}")
        # else the end of the connection is the end of the body
        if goes:
            head.append("Connection: close")
        surplus = b""
        if 0.9 < chance < 0.93 and method != "HEAD":
            # a server that counts wrongly: what is left is nobody's answer
            surplus = b"HTTP/1.1 200 Whatever\r\nContent-Length: 2\r\n\r\nno"
        self._send(("\r\n".join(head) + "\r\n\r\n").encode() + body + surplus, whole=bool(surplus))
        if goes:
            self.ending = True
            self._finish(ConnectionDone())
        else:
            self._rest()

    def _drop(self, failure: Failure) -> None:
        self._answer = None
        if self._lost:
            return
        error = failure.value
        self.ending = True
        if isinstance(error, Dropped) and error.status is not None:
            head = [f"HTTP/1.1 {error.status} Whatever", f"Content-Length: {max(len(error.body), 1)}"]
            head += [f"{name}: {value}" for name, value in error.headers.items()]
            self._send(("\r\n".join(head) + "\r\n\r\n").encode() + error.body[: len(error.body) // 2])
        self._finish(ConnectionLost())

    def _send(self, data: bytes, whole: bool = False) -> None:
        self._sent += data
        self._whole = whole
        self._pump()

    def _finish(self, error: Exception) -> None:
        self._end = error
        self._pump()

    def _pump(self) -> None:
        if not self._pumping and not self._lost:
            self._pumping = True
            self._server.later(self._pass_on)

    def _pass_on(self) -> None:
        self._pumping = False
        if self._lost or self._server.world.network == "lost":
            return
        size = len(self._sent)
        if size and not self._whole and self._random.random() < 0.2:
            size = self._random.randint(1, size)
        data = bytes(self._sent[:size])
        del self._sent[:size]
        if not self._asked and self._tunnelled and not self._sent:
            # the last piece of the proxy's answer, if there is one
            self.through, self.free_since = True, self._server.world.clock.seconds()
        if data:
            self.protocol.dataReceived(data)
        if self._sent:
            self._pump()
        elif self._end is not None:
            self._lose(self._end)

    def _lose(self, error: Exception) -> None:
        if self._lost:
            return
        self._lost = True
        self._server.connections.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._answer is not None:
            self._answer.addErrback(lambda _: None)
            self._answer.cancel()
        self._server.requests.let_go(self)
        self.protocol.connectionLost(Failure(error))

    # the transport, as Twisted's

    def write(self, data: bytes) -> None:
        if not self._lost and not self.disconnecting:
            self._server.requests.written(self, data)
            self._server.later(self._arrived, data)

    def loseConnection(self) -> None:
        self.disconnecting = True
        self.ending = True
        self._server.requests.let_go(self)
        self._server.later(self._lose, ConnectionDone())

    def abortConnection(self) -> None:
        self.ending = True
        self._server.requests.let_go(self)
        self._server.world.clock.callLater(0, self._lose, ConnectionAborted())

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass
