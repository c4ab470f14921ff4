import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet import interfaces
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface.verify import verifyObject

from icwsgw.config.client_limits import ClientLimits
from icwsgw.errors import ConfigError
from icwsgw.server import endpoints
from icwsgw.server.connection_limits import ConnectionLimits
from icwsgw.server.endpoints import (
    BACKLOG,
    MOST_ACCEPTS,
    Listenable,
    ListeningService,
    listening_service,
    make_endpoint,
    socket_endpoint,
)
from icwsgw.server.tls import RELOAD_INTERVAL, PemFiles, ServerTls
from icwsgw.server.tls_directory import CertificateDirectory
from tests.support import pem


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> PemFiles:
    return PemFiles(*pem.server(pem.authority()).write(tmp_path_factory.mktemp("tls")))


@pytest.fixture
def tls(files: PemFiles) -> ServerTls:
    return ServerTls(files)


def listen(address: str, tls: ServerTls | None = None) -> tuple[MemoryReactorClock, Any, Listenable]:
    reactor, factory = MemoryReactorClock(), Factory.forProtocol(Protocol)
    made = make_endpoint(reactor, address, tls)
    verifyObject(interfaces.IStreamServerEndpoint, made.endpoint)
    made.endpoint.listen(factory)
    return reactor, factory, made


@pytest.mark.parametrize(
    ("address", "port", "interface"),
    [
        ("tcp:8080", 8080, ""),
        ("0.0.0.0:8080", 8080, "0.0.0.0"),
        ("8080", 8080, ""),
        ("[::1]:8080", 8080, "::1"),
        ("tcp:port=8080:interface=127.0.0.1", 8080, "127.0.0.1"),
    ],
)
def test_plain(address: str, port: int, interface: str) -> None:
    reactor, factory, made = listen(address)
    assert reactor.tcpServers == [(port, factory, BACKLOG, interface)]
    assert made.tls is None


def test_backlog_can_be_given() -> None:
    assert listen("tcp:8080:backlog=7")[0].tcpServers[0][2] == 7


@pytest.mark.parametrize("address", ["tcp:8080", "0.0.0.0:8080", "[::]:8080", "ssl:8080", "tls:8080:interface=0.0.0.0"])
def test_pem_paths_turn_plain_addresses_into_tls(address: str, tls: ServerTls) -> None:
    reactor, factory, made = listen(address, tls)
    ((port, outer, _, _),) = reactor.tcpServers
    assert port == 8080
    assert isinstance(outer, TLSMemoryBIOFactory)
    assert outer.wrappedFactory is factory
    assert made.tls is tls


@pytest.mark.parametrize("kind", ["ssl", "tls"])
def test_tls_with_files_of_its_own(kind: str, files: PemFiles, tmp_path: Path) -> None:
    reactor, _, made = listen(f"{kind}:8443:privateKey={files.key}:certKey={files.certificate}:interface=127.0.0.1")
    ((port, outer, _, interface),) = reactor.tcpServers
    assert (port, interface) == (8443, "127.0.0.1")
    assert isinstance(outer, TLSMemoryBIOFactory)
    assert isinstance(made.tls, ServerTls)
    assert made.tls.files[:2] == files[:2]

    both = tmp_path / "both.pem"
    both.write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    assert listen(f"{kind}:8443:privateKey={both}")[2].tls is not None
    chain = listen(f"{kind}:8443:privateKey={both}:extraCertChain={files.certificate}")[2].tls
    assert isinstance(chain, ServerTls)
    assert chain.files.chain == files.certificate


@pytest.mark.parametrize("form", ["tls:{}:8443", "haproxy:tls:{}:8443:interface=127.0.0.1"])
def test_a_directory_of_certificates(files: PemFiles, tmp_path: Path, form: str) -> None:
    (tmp_path / "localhost.pem").write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    reactor = MemoryReactorClock()
    made = make_endpoint(reactor, form.format(tmp_path))
    assert isinstance(made.tls, CertificateDirectory)
    made.endpoint.listen(Factory.forProtocol(Protocol))
    assert reactor.tcpServers[0][0] == 8443
    verifyObject(interfaces.IStreamServerEndpoint, made.endpoint)
    (tmp_path / "localhost.pem").unlink()
    with pytest.raises(ConfigError, match="there is no certificate in"):
        make_endpoint(reactor, form.format(tmp_path))


def test_a_unix_socket_stays_plain(tls: ServerTls, tmp_path: Path) -> None:
    reactor, factory, made = listen(f"unix:{tmp_path}/icws.sock", tls)
    assert reactor.unixServers[0][:2] == (f"{tmp_path}/icws.sock", factory)
    assert made.tls is None


class Remember(Protocol):
    """Collects received data and the peers' addresses."""

    received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data


def test_a_proxys_header_names_the_client_and_comes_before_tls(tls: ServerTls) -> None:
    reactor = MemoryReactorClock()
    made: list[Remember] = []

    class Remembering(Factory):
        protocol = Remember

        def buildProtocol(self, address: object) -> Protocol:
            protocol = Remember()
            made.append(protocol)
            return protocol

    make_endpoint(reactor, "haproxy:tcp:8080:interface=127.0.0.1").endpoint.listen(Remembering())
    outer = reactor.tcpServers[0][1].buildProtocol(None)  # type: ignore[call-arg]
    outer.makeConnection(StringTransport())  # type: ignore[call-arg]
    outer.dataReceived(b"PROXY TCP4 192.0.2.7 127.0.0.1 5555 8080\r\nhello")  # type: ignore[call-arg]
    assert made[0].received == b"hello"
    assert made[0].transport.getPeer().host == "192.0.2.7"

    # a proxy that speaks the PROXY protocol has ended TLS, unless the address says otherwise
    for plain in ("haproxy:tcp:8080", "haproxy:tcp6:8080"):
        assert make_endpoint(MemoryReactorClock(), plain, tls).tls is None
    secure = MemoryReactorClock()
    listenable = make_endpoint(secure, "haproxy:ssl:8080", tls)
    assert listenable.tls is tls
    listenable.endpoint.listen(Remembering())
    inner = secure.tcpServers[0][1].wrappedFactory
    assert isinstance(inner, TLSMemoryBIOFactory)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ssl:8443", "needs privateKey= and certKey="),
        ("tls:8443:certKey=c.pem", "certKey but no privateKey"),
        ("ssl:8443:privateKey=/nowhere/k.pem", "cannot read /nowhere/k.pem"),
        ("ssl:8443:sslmethod=TLSv1_METHOD", "sslmethod is not known"),
        ("tcp:8080:colour=red", "colour is not known"),
        ("http:8080:x", "Unknown endpoint type"),
        ("haproxy:", "haproxy:"),
        ("haproxy:unknown:1", "Unknown endpoint type"),
        ("systemd:domain=INET:index=7", "systemd has handed over no such socket; it has handed over none"),
        ("systemd:domain=INET", "needs name= or index=, one of them"),
        ("unix:/x:mode=rwx", "mode=rwx is not octal, such as 660"),
        ("unix:/x:mode=", r"mode= is not octal"),
        ("tcp6:8080:backlog=many", "backlog=many is not a number"),
    ],
)
def test_refusals(address: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        make_endpoint(MemoryReactorClock(), address)
    assert "\n" not in str(caught.value)


def test_a_socket_of_an_invalid_address_is_refused_in_plain_words() -> None:
    with pytest.raises(ConfigError, match=r"^address 'http:8080:x': Unknown endpoint type"):
        socket_endpoint(MemoryReactorClock(), "http:8080:x")


class Port:
    """A port that records that it was closed."""

    closed = 0

    def stopListening(self) -> Deferred[None]:
        self.closed += 1
        return succeed(None)


class Endpoint:
    """An endpoint whose results the test gives."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def listen(self, factory: object) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def service(*answers: Any, tls: ServerTls | None = None, clock: Clock | None = None) -> ListeningService:
    return ListeningService("tcp:8080", Listenable(Endpoint(*answers), tls), object(), clock or Clock())


def test_it_listens_in_the_privileged_phase_and_only_once() -> None:
    port = Port()
    listening = service(succeed(port))
    listening.privilegedStartService()
    assert listening.port is port
    listening.startService()
    stopped: list[object] = []
    listening.stopService().addCallback(stopped.append)
    assert (stopped, listening.port, port.closed) == ([None], None, 1)
    assert listening.stopService().called


def test_it_listens_when_started_later() -> None:
    one, two = Port(), Port()
    listening = service(succeed(one), succeed(two))
    listening.startService()
    listening.stopService()
    listening.startService()
    assert listening.port is two


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CannotListenError("", 8080, OSError(98, "Address already in use")), "Address already in use"),
        (CannotListenError("nohost", 8080, socket.gaierror(-2, "Name or service not known")), "Name or service"),
        (PermissionError(13, os.strerror(13)), "Permission denied"),
    ],
)
def test_a_taken_port_ends_the_start(error: Exception, words: str) -> None:
    for answer in (error, fail(error)):
        with pytest.raises(ConfigError, match=f"^cannot listen on tcp:8080: {words}"):
            service(answer).privilegedStartService()


def test_the_option_that_asked_for_a_taken_port_is_named() -> None:
    class Taken(MemoryReactorClock):
        def listenTCP(self, *_: Any, **__: Any) -> Any:
            raise CannotListenError("", 8080, OSError(98, "Address already in use"))

    listening = listening_service("tcp:8080", Factory(), reactor=Taken(), option="--admin-endpoint")
    with pytest.raises(ConfigError, match=r"^cannot listen on tcp:8080 \(--admin-endpoint\): Address already in use$"):
        listening.privilegedStartService()


def test_a_later_failure_is_logged_unless_it_was_stopped_before() -> None:
    waiting: Deferred[Any] = Deferred()
    listening = service(waiting)
    listening.startService()
    waiting.errback(CannotListenError("", 8080, OSError(98, "Address already in use")))
    assert listening.port is None
    listening.stopService()

    waiting = Deferred()
    listening = service(waiting)
    listening.startService()
    assert listening.stopService().called
    assert waiting.called


class Listening(Port):
    """A port of a reactor in memory, with its own socket; it is read from its start."""

    def __init__(self, reactor: MemoryReactorClock) -> None:
        self.socket = SimpleNamespace(close=self.close)
        self.left = 0
        self.startReading = lambda: reactor.addReader(self)
        self.stopReading = lambda: reactor.removeReader(self)
        self.startReading()

    def close(self) -> None:
        self.left += 1


def test_one_that_does_not_accept_yet_is_not_read_until_it_does() -> None:
    reactor = MemoryReactorClock()
    port = Listening(reactor)
    listening = ListeningService("tcp:8080", Listenable(Endpoint(succeed(port)), None), object(), reactor)
    listening.accepting = False
    # it has nothing that could be accepted
    listening.accept()
    listening.accepting = False
    listening.startService()
    assert (listening.port, reactor.readers) == (port, set())
    listening.accept()
    assert (listening.accepting, reactor.readers) == (True, {port})


def test_a_gate_opens_and_closes_one_that_accepts_and_no_other() -> None:
    reactor = MemoryReactorClock()
    port, limits = Listening(reactor), ConnectionLimits(ClientLimits(max_connections=1), 0.0)
    made = Listenable(Endpoint(succeed(port)), None)
    listening = ListeningService("tcp:8080", made, object(), reactor, limits)
    listening.accepting = False
    listening.startService()
    gate = limits.gate
    gate.set_full(True)
    gate.set_room_elsewhere(True)
    gate.set_full(False)
    assert reactor.readers == set(), "it does not accept yet, whichever process has room"
    gate.set_full(True)
    listening.accept()
    assert reactor.readers == set(), "the siblings have room"
    listening.accept()
    gate.set_full(False)
    assert reactor.readers == {port}
    gate.set_full(True)
    assert reactor.readers == set()
    listening.detach()
    gate.set_full(False)
    assert reactor.readers == set()


def test_a_socket_that_another_process_has_too_is_left_without_an_end_of_listening() -> None:
    reactor = MemoryReactorClock()
    port, limits = Listening(reactor), ConnectionLimits(ClientLimits(max_connections=1), 0.0)
    made = Listenable(Endpoint(succeed(port)), None)
    listening = ListeningService("tcp:8080", made, object(), reactor, limits)
    listening.startService()
    listening.detach()
    assert (listening.port, port.left, port.closed, reactor.readers) == (None, 1, 0, set())
    # the gate leaves alone what is not its own any more
    limits.gate.set_full(True)
    limits.gate.set_room_elsewhere(True)
    listening.detach()
    assert port.left == 1
    listening.stopService()
    assert port.closed == 0

    class Bare:
        close = port.close
        stopReading = staticmethod(port.stopReading)

    listening = ListeningService("tcp:8080", Listenable(Endpoint(succeed(Bare())), None), object(), reactor)
    listening.startService()
    listening.detach()
    assert port.left == 2, "a port may be the socket itself"


def test_the_certificate_is_looked_after_while_it_runs(tls: ServerTls) -> None:
    clock = Clock()
    looks: list[float] = []
    tls.reload_if_changed = lambda: looks.append(clock.seconds()) or False  # type: ignore[func-returns-value]
    listening = service(succeed(Port()), tls=tls, clock=clock)
    listening.startService()
    clock.pump([RELOAD_INTERVAL] * 2)
    assert looks == [RELOAD_INTERVAL, 2 * RELOAD_INTERVAL]
    listening.stopService()
    assert clock.getDelayedCalls() == []


def test_a_fault_at_one_look_at_the_certificate_does_not_end_the_looks(
    tls: ServerTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    logged: list[str] = []
    looks: list[float] = []

    def look() -> bool:
        looks.append(clock.seconds())
        raise RuntimeError("a fault")

    tls.reload_if_changed = look
    listening = service(succeed(Port()), tls=tls, clock=clock)
    listening.startService()
    monkeypatch.setattr(endpoints, "_log", SimpleNamespace(failure=logged.append))
    clock.pump([RELOAD_INTERVAL] * 3)
    assert len(looks) == 3
    listening.stopService()
    assert logged == ["checking the TLS certificate failed"] * 3


def test_made_of_an_address() -> None:
    reactor = MemoryReactorClock()
    factory = Factory()
    listening = listening_service("0.0.0.0:8080", factory, reactor=reactor)
    assert listening.address == "tcp:8080:interface=0.0.0.0"
    listening.startService()
    assert reactor.tcpServers[0][:2] == (8080, factory)


def test_made_of_an_address_with_the_certificate_of_the_options(tls: ServerTls) -> None:
    reactor = MemoryReactorClock()
    listening = listening_service("tcp:8080", Factory(), reactor=reactor, tls=tls)
    assert listening.tls is tls
    listening.startService()
    assert isinstance(reactor.tcpServers[0][1], TLSMemoryBIOFactory)


def test_the_socket_alone_and_what_is_laid_on_another(tls: ServerTls) -> None:
    for address in ("tcp:8080", "haproxy:tcp:8080", "ssl:8080"):
        reactor = MemoryReactorClock()
        factory = Factory.forProtocol(Protocol)
        socket_endpoint(reactor, address).listen(factory)
        assert reactor.tcpServers[0][:2] == (8080, factory), "neither TLS nor the PROXY protocol"

    class Below:
        factory: Any = None

        def listen(self, factory: Any) -> Deferred[None]:
            self.factory = factory
            return succeed(None)

    for address, secured in (("tcp:8080", True), ("unix:/s", False), ("haproxy:ssl:8080", True)):
        below = Below()
        make_endpoint(MemoryReactorClock(), address, tls, below=below).endpoint.listen(factory)
        assert below.factory is not factory or not secured
        assert isinstance(below.factory, TLSMemoryBIOFactory) == (secured and "haproxy" not in address)
    with pytest.raises(ConfigError, match="needs an address behind it"):
        socket_endpoint(MemoryReactorClock(), "haproxy:interface=x")


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.7 127.0.0.1 x 8080\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1  8080\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 " + b"9" * 5000 + b" 8080\r\n",
        b"PROXY TCP6 \xff \xff 1 2\r\n",
        b"PROXY TCP4\r\n",
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_a_proxy_header_that_is_none_ends_the_connection(header: bytes) -> None:
    reactor = MemoryReactorClock()
    make_endpoint(reactor, "haproxy:tcp:8080").endpoint.listen(Factory.forProtocol(Protocol))
    outer: Any = reactor.tcpServers[0][1].buildProtocol(IPv4Address("TCP", "10.0.0.1", 1))  # type: ignore[call-arg]
    transport = StringTransport(peerAddress=IPv4Address("TCP", "10.0.0.1", 1))
    outer.makeConnection(transport)
    outer.dataReceived(header)
    assert transport.disconnecting


def test_a_fault_behind_the_proxy_header_counts_as_our_own() -> None:
    class Faulty(Protocol):
        def dataReceived(self, data: bytes) -> None:
            int("x")

    reactor = MemoryReactorClock()
    make_endpoint(reactor, "haproxy:tcp:8080").endpoint.listen(Factory.forProtocol(Faulty))
    outer: Any = reactor.tcpServers[0][1].buildProtocol(IPv4Address("TCP", "10.0.0.1", 1))  # type: ignore[call-arg]
    outer.makeConnection(StringTransport(peerAddress=IPv4Address("TCP", "10.0.0.1", 1)))
    for data in (b"PROXY TCP4 192.0.2.7 127.0.0.1 5555 8080\r\nx", b"x"):
        with pytest.raises(ValueError, match="int"):
            outer.dataReceived(data)


class Crowded:
    """A port of Twisted at which more connections wait than it accepts in one turn.

    :ivar turns: the number of connections accepted in each turn
    :ivar stopped: whether reading is stopped
    """

    numberAccepts = 100

    def __init__(self) -> None:
        self.turns: list[int] = []
        self.stopped = False

    def doRead(self) -> None:
        self.turns.append(self.numberAccepts)
        self.numberAccepts += 20

    def stopReading(self) -> None:
        self.stopped = True

    def startReading(self) -> None:
        self.stopped = False

    def stopListening(self) -> None:
        pass


def crowded_service(limits: ConnectionLimits | None = None) -> tuple[Any, ListeningService]:
    """A port at which many connections wait, and the service that listens on it."""
    port: Any = Crowded()

    class Below:
        def listen(self, factory: Any) -> Deferred[Any]:
            return succeed(port)

    service = listening_service("tcp:0", Factory(), reactor=MemoryReactorClock(), below=Below(), limits=limits)
    service.startService()
    return port, service


def test_one_that_shares_its_sockets_takes_no_more_than_it_has_room_for() -> None:
    limits = ConnectionLimits(ClientLimits(max_connections=3), 0.0)
    port, service = crowded_service(limits)
    service.port.doRead()
    limits.gate.set_room_elsewhere(True)
    service.port.doRead()
    for _ in range(3):
        limits.enter(0.0, "192.0.2.1")
    assert port.stopped
    # one that a turn had under way already
    service.port.doRead()
    limits.gate.set_room_elsewhere(False)
    assert not port.stopped
    service.port.doRead()
    assert port.turns == [MOST_ACCEPTS, 3, 1, MOST_ACCEPTS]
    service.stopService()
    limits.gate.set_room_elsewhere(True)
    assert not port.stopped, "it does not listen any more"


def test_a_crowd_is_taken_a_few_a_turn() -> None:
    """Twisted accepts a hundred at once, and twenty more each time that there are as many."""
    port, service = crowded_service()
    for _ in range(5):
        service.port.doRead()
    assert port.turns == [MOST_ACCEPTS] * 5
    # fewer when there are fewer
    port.numberAccepts = 3
    service.port.doRead()
    assert port.turns[-1] == 3
