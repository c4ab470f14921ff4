import errno
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import interfaces
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from icwsgw.errors import ConfigError
from icwsgw.server.tls import PemFiles, ServerTls
from icwsgw.workers.sockets import ACCEPTS, PAUSE, GivenEndpoint, HeldSocket, UnixPort
from tests.support import pem


class Hello(Protocol):
    def connectionMade(self) -> None:
        self.transport.write(b"hello")  # type: ignore[call-arg]
        self.transport.loseConnection()


class Sockets(TestCase):
    """Sockets that one service binds and two others accept from, over the real reactor."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.directory = tmp_path

    async def hold(self, address: str) -> Any:
        from twisted.internet import reactor

        held: Any = HeldSocket(address, reactor)
        held.privilegedStartService()
        held.startService()
        self.addCleanup(held.stopService)
        assert held.port not in reactor.getReaders()
        return held

    async def serve(self, held: Any) -> Any:
        from twisted.internet import reactor

        endpoint = GivenEndpoint(reactor, os.dup(held.port.fileno()), held.family)
        verifyObject(interfaces.IStreamServerEndpoint, endpoint)
        return await endpoint.listen(Factory.forProtocol(Hello))  # type: ignore[arg-type]

    async def ask(self, family: int, address: Any) -> bytes:
        from twisted.internet import reactor

        client = socket.socket(family)
        client.setblocking(False)
        client.connect(address)
        got: Deferred[bytes] = Deferred()

        class Reader(Protocol):
            data = b""

            def dataReceived(self, data: bytes) -> None:
                self.data += data

            def connectionLost(self, reason: Any = None) -> None:
                got.callback(self.data)

        reactor.adoptStreamConnection(client.fileno(), family, Factory.forProtocol(Reader))
        client.close()
        return await got

    async def test_unix(self) -> None:
        path = self.directory / "s"
        held = await self.hold(f"unix:{path}:mode=600")
        assert held.family == socket.AF_UNIX
        first, second = await self.serve(held), await self.serve(held)
        verifyObject(interfaces.IListeningPort, first)
        assert isinstance(first, UnixPort)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert first.getHost().name == str(path).encode()
        assert await self.ask(socket.AF_UNIX, str(path)) == b"hello"
        await first.stopListening()
        await first.stopListening()
        assert path.exists(), "others still accept from it"
        assert await self.ask(socket.AF_UNIX, str(path)) == b"hello"
        await second.stopListening()
        await held.stopService()
        assert not path.exists()

    async def test_tcp(self) -> None:
        held = await self.hold("tcp:0:interface=127.0.0.1")
        assert held.family == socket.AF_INET
        place = ("127.0.0.1", held.port.getHost().port)
        first, second = await self.serve(held), await self.serve(held)
        await first.stopListening()
        client = socket.create_connection(place, timeout=10)
        client.close()
        await second.stopListening()
        # a client that connects now waits in the kernel until a service accepts again
        waiting = socket.create_connection(place, timeout=10)
        third = await self.serve(held)
        waiting.close()
        await third.stopListening()


def test_an_invalid_certificate_ends_the_start(tmp_path: Path) -> None:
    from twisted.internet import reactor

    with pytest.raises(ConfigError, match="needs privateKey="):
        HeldSocket("ssl:8443", reactor)
    for address in (f"tls:{tmp_path}:8443", f"haproxy:tls:{tmp_path}:8443"):
        with pytest.raises(ConfigError, match="there is no certificate in"):
            HeldSocket(address, reactor)
    tls = ServerTls(PemFiles(*pem.server(pem.authority()).write(tmp_path)))
    for address in ("ssl:0:interface=127.0.0.1", "haproxy:tcp:0:interface=127.0.0.1"):
        held: Any = HeldSocket(address, reactor, tls)
        assert held.tls is None, "the workers watch the certificate"
        held.privilegedStartService()
        held.stopService()


class Reactor(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.readers: set[object] = set()
        self.adopted: list[int] = []
        self.full = False

    def addReader(self, reader: object) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.discard(reader)

    def adoptStreamConnection(self, descriptor: int, family: int, factory: object) -> None:
        assert family == socket.AF_UNIX
        if self.full:
            raise OSError(errno.EMFILE, "Too many open files")
        self.adopted.append(descriptor)


class Listening:
    """A listening socket with ``waiting`` clients in its queue, or with an error."""

    def __init__(self, waiting: int, error: OSError | None = None) -> None:
        self.waiting = waiting
        self.error = error

    def accept(self) -> tuple[socket.socket, str]:
        if self.error is not None:
            raise self.error
        if not self.waiting:
            raise BlockingIOError
        self.waiting -= 1
        ours, theirs = socket.socketpair()
        theirs.close()
        return ours, ""

    def fileno(self) -> int:
        return 99

    def close(self) -> None:
        pass


class Accepting(SynchronousTestCase):
    def port(self, listening: Listening) -> tuple[Reactor, UnixPort]:
        reactor = Reactor()
        port = UnixPort(reactor, listening, Factory())  # type: ignore[arg-type]
        port.startListening()
        assert (port.fileno(), port.logPrefix(), reactor.readers) == (99, "UnixPort", {port})
        return reactor, port

    def test_it_accepts_several_clients_in_one_turn(self) -> None:
        reactor, port = self.port(Listening(ACCEPTS + 3))
        port.doRead()
        assert len(reactor.adopted) == ACCEPTS
        port.doRead()
        assert len(reactor.adopted) == ACCEPTS + 3
        port.connectionLost(None)
        assert not reactor.readers

    def test_it_pauses_when_no_descriptor_is_left(self) -> None:
        listening = Listening(1, OSError(errno.EMFILE, "Too many open files"))
        reactor, port = self.port(listening)
        port.doRead()
        assert not reactor.readers
        listening.error = ConnectionAbortedError()
        reactor.advance(PAUSE)
        assert reactor.readers == {port}
        port.doRead()
        assert reactor.readers == {port}
        listening.error = OSError(errno.ENFILE, "")
        port.doRead()
        port.stopListening()
        assert reactor.getDelayedCalls() == []

    def test_it_pauses_when_accepting_has_used_the_last_descriptor(self) -> None:
        reactor, port = self.port(Listening(3))
        reactor.full = True
        port.doRead()
        assert not reactor.readers
        reactor.full = False
        reactor.advance(PAUSE)
        assert reactor.readers == {port}
        port.doRead()
        assert len(reactor.adopted) == 2

    def test_nothing_is_accepted_while_it_is_stopped_not_even_within_a_turn(self) -> None:
        reactor, port = self.port(Listening(5))
        adopt = reactor.adoptStreamConnection

        def adopt_and_stop(descriptor: int, family: int, factory: object) -> None:
            adopt(descriptor, family, factory)
            port.stopReading()

        reactor.adoptStreamConnection = adopt_and_stop
        port.doRead()
        assert len(reactor.adopted) == 1
        assert not reactor.readers
        port.startReading()
        assert reactor.readers == {port}

    def test_one_that_is_stopped_in_a_pause_stays_stopped_after_it(self) -> None:
        listening = Listening(1, OSError(errno.EMFILE, "Too many open files"))
        reactor, port = self.port(listening)
        port.doRead()
        port.stopReading()
        reactor.advance(PAUSE)
        assert not reactor.readers
        port.startReading()
        assert reactor.readers == {port}
        port.doRead()
        port.stopReading()
        port.startReading()
        assert not reactor.readers, "the pause continues"
        reactor.advance(PAUSE)
        assert reactor.readers == {port}

    def test_a_closed_one_does_not_read_and_its_file_remains(self) -> None:
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        path = Path(directory) / "s"
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        reactor = Reactor()
        port = UnixPort(reactor, listening, Factory())
        port.startListening()
        assert port._factory.numPorts == 1
        port.stopReading()
        port.close()
        assert (port.fileno(), path.exists()) == (-1, True)
        port.startReading()
        port.stopReading()
        assert not reactor.readers
