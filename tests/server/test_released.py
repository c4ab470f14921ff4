"""Nothing refers to a connection that has ended: its objects and bytes are freed at once, without a collection.

The collector hardly ever runs over old objects (what the program is made of is frozen), so that a cycle around a
connection would keep megabytes of an unfinished message for hours. The tests use real sockets, TLS and the PROXY
protocol over their own reactor; the gateway's clock is the test's.
"""

from __future__ import annotations

import gc
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.tcp import Server
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOProtocol

from icwsgw.config.origins import Origins
from icwsgw.core.close_reasons import CloseCode
from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.gateway.calls.relay import Relay
from icwsgw.gateway.session import ClientSession
from icwsgw.server.admission import Admission
from icwsgw.server.endpoints import make_endpoint
from icwsgw.server.factory import GatewayFactory
from icwsgw.server.outbox import Outbox
from icwsgw.server.protocol import GatewayProtocol
from icwsgw.server.tls import PemFiles, ServerTls
from tests.memory.world import World
from tests.support import pem
from tests.support.sdk_client import SdkClient
from tests.support.ws_wire import close_frame, handshake, masked

KINDS = (
    GatewayProtocol,
    ClientSession,
    Relay,
    Outbox,
    Admission,
    Server,
    TLSMemoryBIOProtocol,
    HAProxyProtocolWrapper,
    SSL.Connection,
    socket.socket,
)
#: What each connection leaves unfinished: more than a collection's noise, less than an unauthenticated client may send.
HALF = 60_000

PROXIED = b"PROXY TCP4 192.0.2.7 192.0.2.8 4000 443\r\n"


def alive() -> Counter[str]:
    """How many objects there are of each kind; this does not collect."""
    return Counter(kind.__name__ for thing in gc.get_objects() for kind in KINDS if isinstance(thing, kind))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> PemFiles:
    return PemFiles(*pem.server(pem.authority()).write(tmp_path_factory.mktemp("tls")))


class Front:
    """A gateway that listens on a port of this machine, and its clients' sockets."""

    def __init__(self, reactor: Any, tls: ServerTls | None, proxied: bool, **options: Any) -> None:
        self.world = World(**options)
        self.factory = GatewayFactory(self.world.gateway)
        self.factory.start()
        self.reactor = reactor
        # the PEM options leave a plain address behind haproxy: plain
        place = f"{'ssl' if tls is not None else 'tcp'}:0:interface=127.0.0.1"
        address = f"haproxy:{place}" if proxied else place
        ports: list[Any] = []
        make_endpoint(self.reactor, address, tls).endpoint.listen(self.factory).addCallback(ports.append)
        self.port = ports[0]
        self.tls, self.proxied = tls, proxied

    def until(self, condition: Callable[[], object], what: str) -> None:
        for _ in range(20_000):
            if condition():
                return
            self.reactor.iterate(0.002)
            self.world.clock.advance(0)
        raise AssertionError(f"never: {what}")

    def connect(self) -> Any:
        before = len(self.factory.connections)
        client = socket.create_connection(("127.0.0.1", self.port.getHost().port))
        if self.proxied:
            client.sendall(PROXIED)
        self.until(lambda: len(self.factory.connections) > before, "accepted")
        return client

    def secure(self, client: Any) -> Any:
        """Do the TLS handshake, if there is one."""
        if self.tls is None:
            client.setblocking(False)
            return client
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client.setblocking(False)
        client = context.wrap_socket(client, do_handshake_on_connect=False)

        def done() -> bool:
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                return False
            return True

        self.until(done, "TLS")
        return client

    def open(self) -> Any:
        """A client whose WebSocket is open."""
        client = self.secure(self.connect())
        self.send(client, handshake())
        self.until(lambda: b"gateway_principal" in self.read(client), "the greeting")
        return client

    def open_session(self) -> Any:
        """A client that its canister has accepted."""
        client = self.secure(self.connect())
        self.send(client, handshake())
        sdk = SdkClient(ECHO_ID, None, None)
        stream = b""

        def goes_on() -> bool:
            nonlocal stream
            stream += self.read(client)
            if b"\r\n\r\n" in stream:
                stream = stream.partition(b"\r\n\r\n")[2]
            while stream[:1] == b"\x82":
                size, at = stream[1], 2
                if size == 126:
                    size, at = int.from_bytes(stream[2:4], "big"), 4
                if len(stream) < at + size:
                    break
                payload, stream = stream[at : at + size], stream[at + size :]
                for answer in sdk.handle(payload, self.world.now_ns()):
                    self.send(client, masked(2, answer))
            self.world.run(0.05)
            return sdk.opened

        self.until(goes_on, "the session")
        return client

    def send(self, client: Any, data: bytes) -> None:
        left = [data]

        def all_sent() -> bool:
            try:
                left[0] = left[0][client.send(left[0]) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                pass
            return not left[0]

        self.until(all_sent, "sent")

    @staticmethod
    def read(client: Any) -> bytes:
        try:
            data: bytes = client.recv(1 << 16)
        except (BlockingIOError, ssl.SSLWantReadError):
            return b""
        return data

    def stop(self) -> None:
        self.factory.stop()
        self.port.stopListening()
        for _ in range(5):
            self.reactor.iterate(0)
        self.reactor.disconnectAll()


def half(size: int = HALF) -> bytes:
    return masked(2, bytes(size))[:-1]


def in_the_middle(front: Front) -> Any:
    client = front.open()
    (connection,) = front.factory.connections
    front.send(client, half())
    front.until(lambda: held(connection) >= HALF - 1, "the half message")
    return client


def held(connection: Any) -> int:
    return sum(map(len, getattr(connection, "frame_data", None) or ())) + len(connection.data)


def reset(client: Any) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def peer_resets(front: Front) -> None:
    reset(in_the_middle(front))


def peer_ends(front: Front) -> None:
    in_the_middle(front).close()


def closing_handshake(front: Front) -> None:
    client = front.open()
    front.send(client, masked(2, bytes(HALF // 2), fin=False) + close_frame(1000))
    front.until(lambda: b"\x88\x02\x03\xe8" in front.read(client), "the close frame")
    client.close()


def a_refused_message(front: Front) -> None:
    """The gateway closes, the client answers with a close frame."""
    client = front.open()
    front.send(client, masked(2, bytes(HALF // 2), fin=False) + masked(9, b"x" * 125))
    (connection,) = front.factory.connections
    assert connection.session is not None
    connection.session.end(CloseCode.POLICY, "enough")
    front.send(client, close_frame(1000))
    front.until(lambda: not front.factory.connections, "closed")
    client.close()


def we_abort(front: Front) -> None:
    client = in_the_middle(front)
    front.factory.abort_all()
    front.until(lambda: not front.factory.connections, "aborted")
    client.close()


def the_first_message_is_late(front: Front) -> None:
    client = in_the_middle(front)
    front.world.run(90, step=1.0)
    front.until(lambda: not front.factory.connections, "closed by the wheel")
    client.close()


def a_drain(front: Front) -> None:
    client = in_the_middle(front)
    for connection in front.factory.connections:
        assert connection.session is not None
        connection.session.end(CloseCode.DRAINING, "the gateway is shutting down")
    front.world.run(30, step=1.0)
    front.until(lambda: not front.factory.connections, "dropped")
    client.close()


def half_a_request(front: Front) -> None:
    client = front.secure(front.connect())
    front.send(client, handshake()[:-2] + b"x: " + b"y" * 8000)
    front.until(lambda: any(len(each.data) > 8000 for each in front.factory.connections), "half a request")
    client.close()


def a_late_request(front: Front) -> None:
    client = front.secure(front.connect())
    front.send(client, handshake()[:-2] + b"x: " + b"y" * 8000)
    front.until(lambda: any(len(each.data) > 8000 for each in front.factory.connections), "half a request")
    front.world.run(60, step=1.0)
    front.until(lambda: not front.factory.connections, "refused")
    client.close()


def refused(front: Front) -> None:
    client = front.secure(front.connect())
    front.factory.origins = Origins(("https://app.example",))
    front.send(client, handshake("Origin: https://other.example", "x: " + "y" * 8000))
    front.until(lambda: b"403" in front.read(client), "refused")
    front.factory.origins = Origins(())
    client.close()


def half_a_tls_handshake(front: Front) -> None:
    client = front.connect()
    client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200))
    for _ in range(5):
        front.reactor.iterate(0.002)
    client.close()


def a_late_tls_handshake(front: Front) -> None:
    client = front.connect()
    client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200))
    front.world.run(60, step=1.0)
    front.until(lambda: not front.factory.connections, "dropped")
    client.close()


def no_tls_at_all(front: Front) -> None:
    client = front.connect()
    client.sendall(handshake())
    front.until(lambda: not front.factory.connections, "dropped")
    client.close()


def a_session(front: Front) -> None:
    """A session opened by its canister, with an echo and a partial message; ws_close is sent after it."""
    client = front.open_session()
    front.send(client, half())
    (connection,) = front.factory.connections
    front.until(lambda: held(connection) >= HALF - 1, "the half message")
    client.close()


def does_not_read(front: Front) -> None:
    """Bytes that wait for a client, in the outbox and in the transport, are freed with it."""
    client = front.open()
    (connection,) = front.factory.connections
    for _ in range(40):
        connection.deliver([bytes(1 << 18)])
    assert connection.waiting_bytes
    reset(client)


ENDINGS = [
    peer_ends,
    peer_resets,
    closing_handshake,
    a_refused_message,
    we_abort,
    the_first_message_is_late,
    a_drain,
    half_a_request,
    a_late_request,
    refused,
    does_not_read,
    a_session,
]
TLS_ENDINGS = [*ENDINGS, half_a_tls_handshake, a_late_tls_handshake, no_tls_at_all]


@pytest.fixture
def reactor(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = SelectReactor()
    # TLS sends what it has gathered in the reactor's next turn
    monkeypatch.setattr("twisted.protocols.tls._get_default_clock", lambda: made, raising=False)
    return made


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    ("how", "secure", "proxied"),
    [
        *((how, False, False) for how in ENDINGS),
        *((how, True, False) for how in TLS_ENDINGS),
        (peer_resets, False, True),
        (peer_ends, True, True),
        (refused, False, True),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_nothing_is_left(
    how: Callable[[Any], None], secure: bool, proxied: bool, files: PemFiles, reactor: Any
) -> None:
    front = Front(reactor, ServerTls(files) if secure else None, proxied)
    before = alive()
    for _ in range(2):
        how(front)
        front.until(lambda: not front.factory.connections, "the end")
        front.world.run(1.0)
        front.reactor.iterate(0)
    left = alive()
    front.stop()
    assert left - before == Counter()
