"""TLS records that cost more than they bring: they are counted, and what one read costs is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from icwsgw.core.session_machine import State
from icwsgw.server.endpoints import make_endpoint
from icwsgw.server.tls import PemFiles, ServerTls
from icwsgw.server.tls_transport import (
    FREE_BYTES,
    MOST_SILENT,
    RECORDS_AT_ONCE,
    SMALL_READ,
    RecordCounter,
    TlsTransport,
)
from tests.server.test_protocol import Transport, World
from tests.server.test_released import Front
from tests.support import pem
from tests.support.tls_records import ALERT, HANDSHAKE, RecordClient
from tests.support.ws_wire import handshake, masked, read_frames

LARGE_READ = 65_536


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> PemFiles:
    return PemFiles(*pem.server(pem.authority()).write(tmp_path_factory.mktemp("tls")))


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What OpenSSL has got of the client, call by call."""
    calls: list[bytes] = []
    write = SSL.Connection.bio_write

    def bio_write(connection: SSL.Connection, data: bytes) -> int:
        calls.append(data)
        return write(connection, data)

    monkeypatch.setattr(SSL.Connection, "bio_write", bio_write)
    return calls


@implementer(ITCPTransport)
class Tcp(Transport):
    """A socket's transport in memory."""

    bufferSize = LARGE_READ


class Line:
    """One connection with TLS: a client that makes its records, and the gateway's connection."""

    def __init__(self, files: PemFiles, factory: Any, clock: Any, version: int = SSL.TLS1_3_VERSION) -> None:
        self.clock = clock
        reactor = MemoryReactorClock()
        make_endpoint(reactor, "ssl:8443", ServerTls(files)).endpoint.listen(factory)
        factories: Any = reactor.tcpServers[0][1]
        factories._clock = clock
        self.tls: TlsTransport = factories.buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000))
        self.tcp = Tcp("192.0.2.1")
        self.client = RecordClient(version)
        self.tls.makeConnection(self.tcp)
        self.client.shake_hands(self._exchange)
        if self.client.last_flight:
            self.tls.dataReceived(self.client.last_flight)
        assert self.tls._handshakeDone

    @property
    def protocol(self) -> Any:
        return self.tls.wrappedProtocol

    def _exchange(self, data: bytes) -> bytes:
        self.tls.dataReceived(data)
        return self.answer()

    def answer(self) -> bytes:
        self.clock.advance(0)
        data = self.tcp.value()
        self.tcp.clear()
        return data

    def send(self, data: bytes) -> None:
        """In reads as large as the socket's transport makes them."""
        while data and not self.tcp.aborted:
            piece, data = data[: self.tcp.bufferSize], data[self.tcp.bufferSize :]
            self.tls.dataReceived(piece)


class GatewayLine(Line):
    """The same with a scripted gateway behind it."""

    def __init__(self, files: PemFiles, version: int = SSL.TLS1_3_VERSION, **options: Any) -> None:
        self.world = World(**options)
        super().__init__(files, self.world.factory, self.world.clock, version)

    def opens(self) -> GatewayLine:
        """The WebSocket is open, and the canister has spoken."""
        self.send(self.client.record(handshake()))
        self.world.sessions[-1].state = State.OPEN
        self.protocol.deliver([b"\x82\x02hi"])
        head, _, frames = self.client.read(self.answer()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert read_frames(frames) == [(2, b"greeting"), (2, b"hi")]
        return self

    @property
    def refused(self) -> float:
        return self.world.metrics.refused_connections.values["tls_records"]


def key_updates(line: Line, count: int) -> bytes:
    return b"".join(line.client.key_update() for _ in range(count))


def one_byte_records(line: Line, data: bytes) -> bytes:
    return b"".join(line.client.record(data[at : at + 1]) for at in range(len(data)))


def most_records(fed: list[bytes]) -> int:
    """How many records OpenSSL has got at most in one call."""
    counter = RecordCounter()
    return max(counter.take(data, 0, len(data))[1] for data in fed)


def test_an_unauthenticated_socket_is_read_in_small_pieces_and_a_clients_is_not(files: PemFiles) -> None:
    line = GatewayLine(files)
    assert line.tcp.bufferSize == SMALL_READ
    line.opens()
    assert line.tcp.bufferSize == LARGE_READ


def test_key_updates_end_an_unauthenticated_connection(files: PemFiles, fed: list[bytes]) -> None:
    line = GatewayLine(files)
    line.answer()
    fed.clear()
    line.send(key_updates(line, 2000))
    assert line.tcp.aborted
    assert line.refused == 1
    assert sum(map(len, fed)) <= (MOST_SILENT + RECORDS_AT_ONCE) * 27
    assert most_records(fed) <= RECORDS_AT_ONCE
    # the answers that wait for a client that does not read
    assert len(line.tcp.value()) <= (MOST_SILENT + RECORDS_AT_ONCE) * 27 + 100


def test_a_flood_of_records_has_a_hint_of_its_own(files: PemFiles) -> None:
    line = GatewayLine(files)
    line.answer()
    line.send(key_updates(line, 2000))
    assert line.world.metrics.refused_connections.values["tls"] == 0
    (record,), _ = line.world.factory._ended_sessions.latest(line.world.clock.seconds(), 9)
    assert "certificate" not in record.hint
    assert "--deny-list" in record.hint


def test_key_updates_of_a_client_end_it_and_say_why(files: PemFiles, fed: list[bytes]) -> None:
    line = GatewayLine(files).opens()
    fed.clear()
    line.send(key_updates(line, 2000))
    assert line.tcp.aborted
    session = line.world.sessions[-1]
    assert (session.left_with, session.left_saying) == (1006, "too many TLS records without data")
    assert line.refused == 0
    assert sum(map(len, fed)) <= (MOST_SILENT + RECORDS_AT_ONCE) * 27


def test_data_between_key_updates_does_not_hide_them(files: PemFiles) -> None:
    line = GatewayLine(files).opens()
    session = line.world.sessions[-1]
    for number in range(MOST_SILENT):
        line.send(line.client.key_update() + line.client.record(masked(2, b"%d" % number)))
    assert len(session.received_messages) == MOST_SILENT
    assert not line.tcp.aborted, "an honest client may send some"
    line.send(line.client.key_update() + line.client.record(masked(2, b"more")))
    assert line.tcp.aborted


@pytest.mark.parametrize("size", [0, 1, 15])
def test_empty_records_are_counted_whatever_their_padding(files: PemFiles, size: int) -> None:
    line = GatewayLine(files).opens()
    for _ in range(MOST_SILENT // 8):
        empty = b"".join(line.client.record(b"", padding=size * 1024) for _ in range(8))
        line.send(empty + line.client.record(masked(2, b"x")))
    assert not line.tcp.aborted
    line.send(line.client.record(b""))
    assert line.tcp.aborted


def test_renegotiations_are_counted(files: PemFiles) -> None:
    line = GatewayLine(files, SSL.TLS1_2_VERSION).opens()
    hello = b"\x01\x00\x00\x00"
    line.send(b"".join(line.client.record(hello, HANDSHAKE) for _ in range(MOST_SILENT)))
    assert line.answer(), "each is refused"
    assert not line.tcp.aborted
    line.send(line.client.record(masked(2, b"still here")))
    assert line.world.sessions[-1].received_messages == [(b"still here", True)]
    line.send(line.client.record(hello, HANDSHAKE))
    assert line.tcp.aborted


def test_records_of_one_byte_are_passed_on_together(files: PemFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    line = GatewayLine(files)
    pieces: list[int] = []
    received = line.protocol.dataReceived

    def data_received(data: bytes) -> None:
        pieces.append(len(data))
        received(data)

    line.protocol.dataReceived = data_received
    line.send(one_byte_records(line, handshake()))
    assert line.client.read(line.answer()).startswith(b"HTTP/1.1 101 ")
    assert sum(pieces) == len(handshake())
    # what OpenSSL gets at a time, and one more for each read that a record is torn by
    assert len(pieces) <= len(handshake()) / RECORDS_AT_ONCE + 2 * len(handshake()) * 23 / SMALL_READ + 2


def test_records_of_one_byte_count_as_frames(files: PemFiles) -> None:
    line = GatewayLine(files, client_message_rate=200).opens()
    line.send(one_byte_records(line, masked(2, bytes(60_000))[:20_000]))
    assert [code for code, _ in line.world.sessions[-1].ended] == [4108]
    assert line.tcp.bufferSize == SMALL_READ, "what it sends on costs little"


def test_padding_counts_as_bytes(files: PemFiles) -> None:
    line = GatewayLine(files, client_byte_rate=1 << 20).opens()
    burst = int(line.protocol._bytes_left)
    for _ in range(burst // 16_000 - 1):
        line.send(line.client.record(masked(9, b""), padding=16_000))
    assert line.tcp.producerState == "producing"
    for _ in range(4):
        line.send(line.client.record(masked(9, b""), padding=16_000))
    assert line.tcp.producerState == "paused"


def test_messages_of_honest_clients_cost_what_they_cost_without_tls(files: PemFiles) -> None:
    line = GatewayLine(files, client_message_rate=200, client_byte_rate=1 << 20).opens()
    frames, size = line.protocol._frames_left, line.protocol._bytes_left
    messages = [masked(2, bytes(300))] * 50
    line.send(b"".join(line.client.record(message) for message in messages))
    # head and payload in records of their own
    line.send(b"".join(line.client.record(message[:8]) + line.client.record(message[8:]) for message in messages))
    assert len(line.world.sessions[-1].received_messages) == 100
    assert line.protocol._frames_left == frames - 100
    assert line.protocol._bytes_left == size - 2 * sum(map(len, messages))
    large = masked(2, bytes(60_000))
    line.send(b"".join(line.client.record(large[at : at + 1400]) for at in range(0, len(large), 1400)))
    assert line.protocol._frames_left == frames - 101
    assert line.tcp.bufferSize == LARGE_READ


class Collect(Protocol):
    """A protocol without rate limits, as those of the operator's addresses."""

    received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data


def test_other_protocols_are_protected_too(files: PemFiles) -> None:
    line = Line(files, Factory.forProtocol(Collect), World().clock)
    line.send(one_byte_records(line, bytes(500)))
    assert line.protocol.received == bytes(500)
    assert not line.tcp.aborted
    line.send(key_updates(line, MOST_SILENT + 1))
    assert line.tcp.aborted


def test_what_comes_before_the_end_is_passed_on(files: PemFiles) -> None:
    line = Line(files, Factory.forProtocol(Collect), World().clock)
    line.send(line.client.record(b"last words") + line.client.record(b"\x01\x00", ALERT))
    assert line.protocol.received == b"last words"
    assert line.tcp.disconnecting
    line = Line(files, Factory.forProtocol(Collect), World().clock)
    line.send(line.client.record(b"last words") + b"\x17\x03\x03\x00\x20" + bytes(32))
    assert line.protocol.received == b"last words"
    assert line.tcp.disconnecting


@pytest.fixture
def front(files: PemFiles, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    reactor = SelectReactor()
    # TLS sends what it has gathered in the reactor's next turn
    monkeypatch.setattr("twisted.protocols.tls._get_default_clock", lambda: reactor)
    made = Front(reactor, ServerTls(files), True)
    yield made
    made.stop()


def test_a_socket_is_read_in_small_pieces(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over loopback, behind the PROXY protocol."""
    reads: list[int] = []
    received = TlsTransport.dataReceived

    def data_received(transport: TlsTransport, data: bytes) -> None:
        reads.append(len(data))
        received(transport, data)

    monkeypatch.setattr(TlsTransport, "dataReceived", data_received)
    client = front.open()
    front.send(client, masked(2, bytes(40_000))[:-1])
    front.until(lambda: sum(reads) > 40_000, "all of it")
    assert max(reads) <= SMALL_READ
    client.close()


class TestRecordCounter:
    """Records end where their headers say, however they are torn."""

    DATA = b"".join(b"\x17\x03\x03" + size.to_bytes(2, "big") + bytes(size) for size in (0, 1, 300, 22, 0, 16_401))
    ENDS = (5, 11, 316, 343, 348, 16_754)

    @pytest.mark.parametrize("piece", [1, 2, 3, 4, 5, 6, 7, 100, 4096, 100_000])
    def test_pieces(self, piece: int) -> None:
        counter = RecordCounter()
        ends = []
        for start in range(0, len(self.DATA), piece):
            data, at = self.DATA[start : start + piece], 0
            while at < len(data):
                at, records = counter.take(data, at, 1)
                ends += [start + at] * records
                last = max((0, *ends))
                assert counter.begun == start + at - last
        assert tuple(ends) == self.ENDS

    def test_as_many_as_asked_for(self) -> None:
        counter = RecordCounter()
        assert counter.take(self.DATA, 0, 4) == (343, 4)
        assert counter.take(self.DATA, 343, 4) == (len(self.DATA), 2)
        assert counter.take(self.DATA[:320], 0, 4) == (320, 3)
        assert counter.begun == 4


def test_the_bounds_leave_room_for_honest_records() -> None:
    assert SMALL_READ >= 2048, "a ClientHello with keys against quantum computers"
    assert FREE_BYTES < 128, "half of the smallest message"
