"""The end of a process does not cut an answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from icwsgw.admin import last_answers
from icwsgw.admin.api_site import ApiSite
from icwsgw.admin.last_answers import ANSWER_SECONDS, LOOK_SECONDS, LastAnswers
from icwsgw.admin.prometheus_endpoint import Admin, AdminSite
from icwsgw.observe.health import Health
from icwsgw.observe.metrics import Metrics

GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


class Peer(StringTransport):
    """A connection that ends as soon as it is asked to."""

    aborted = False

    def serves(self, site: Any) -> Any:
        self.protocol = site.buildProtocol(None)
        self.protocol.makeConnection(self)
        return self.protocol

    def loseConnection(self) -> None:
        super().loseConnection()
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        self.aborted = True
        self.protocol.connectionLost(Failure(ConnectionDone()))


def admin_site(clock: Any) -> AdminSite:
    return AdminSite(Admin(Metrics().registry, Health(), dict), clock)


def stopped(site: Any, clock: Any) -> list[Any]:
    ends: list[Any] = []
    LastAnswers(site, clock).stopService().addBoth(ends.append)
    return ends


def test_without_connections_it_ends_at_once() -> None:
    clock = Clock()
    assert stopped(admin_site(clock), clock) == [None]


def test_an_idle_connection_is_closed_and_one_that_asks_at_the_last_moment_is_answered() -> None:
    clock = Clock()
    site = admin_site(clock)
    idle, late = Peer(), Peer()
    idle.serves(site)
    asks = late.serves(site)
    ends = stopped(site, clock)
    # what the process has not read yet
    asks.dataReceived(GET + GET)
    clock.advance(0)
    clock.advance(0)
    assert not idle.disconnecting
    clock.advance(LOOK_SECONDS)
    assert (idle.value(), late.value().count(b"HTTP/1.1 200")) == (b"", 2)
    assert (idle.disconnecting, late.disconnecting, ends) == (True, True, [None])
    assert not idle.aborted
    assert not late.aborted


def test_an_answer_that_takes_long_is_waited_for_but_not_for_ever() -> None:
    clock = Clock()
    answers: list[Deferred[Any]] = []

    async def answer(request: Any) -> Any:
        answers.append(Deferred())
        return await answers[-1]

    access: Any = SimpleNamespace(check=lambda caller: None)
    api: Any = SimpleNamespace(answer=answer)
    site = ApiSite(api, access, clock)
    quick, slow = Peer(), Peer()
    for peer in (quick, slow):
        peer.serves(site).dataReceived(b"GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n")
    ends = stopped(site, clock)
    clock.advance(LOOK_SECONDS)
    answers[0].callback(SimpleNamespace(status=200, document={}, then=None))
    assert (quick.value()[:12], quick.disconnecting, ends) == (b"HTTP/1.1 200", True, [])
    clock.pump([LOOK_SECONDS] * round(ANSWER_SECONDS / LOOK_SECONDS - 2))
    assert (slow.aborted, ends) == (False, [])
    clock.pump([LOOK_SECONDS] * 2)
    assert (slow.value(), slow.aborted, ends) == (b"", True, [None])
    answers[1].errback(ConnectionDone())
    clock.advance(60.0)


class Reads(Protocol):
    """Reads nothing before the test lets it."""

    def connectionMade(self) -> None:
        self.data = bytearray()
        self.lost: Deferred[None] = Deferred()
        transport: Any = self.transport
        transport.pauseProducing()
        transport.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        self.lost.callback(None)


class RealSockets(TestCase):
    def test_what_a_slow_reader_has_not_read_yet_arrives(self) -> Deferred[None]:
        # a busy machine may need longer than the limit for so many bytes
        self.patch(last_answers, "ANSWER_SECONDS", 60.0)

        async def scenario() -> None:
            loop: Any = reactor
            site = admin_site(reactor)
            body = b"x" * (8 << 20)
            site.resource = SimpleNamespace(
                getChildWithDefault=None,
                isLeaf=True,
                prepare=lambda request: None,
                is_probe=lambda request: False,
                render=lambda request: body,
            )
            port = loop.listenTCP(0, site, interface="127.0.0.1")
            endpoint: Any = HostnameEndpoint(reactor, b"127.0.0.1", port.getHost().port)
            reader: Any = await endpoint.connect(Factory.forProtocol(Reads))
            while not any(channel.transport.dataBuffer for channel in site.connections):
                await deferLater(loop, 0.0)
            ending = LastAnswers(site, reactor).stopService()
            await deferLater(loop, 2 * LOOK_SECONDS)
            assert not reader.lost.called
            reader.transport.resumeProducing()
            await ending
            await reader.lost
            assert reader.data.endswith(body)
            await maybeDeferred(port.stopListening)

        return Deferred.fromCoroutine(scenario())
