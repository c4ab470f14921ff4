"""The state of a gateway that has some of everything, the shape of that state, and its saved samples.

The gateway of :func:`busy_world` is a real one in memory, with connections in each stage. Some machines are set by
hand to states that a network would bring about only after minutes. The samples are in ``tests/handover/samples``.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel

from icwsgw.admin.control import Overrides
from icwsgw.admin.status import Status
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.cursor import LastMessage
from icwsgw.core.failure_source import FailureSource
from icwsgw.core.liveness import PartialMessage
from icwsgw.core.network_time import Evidence
from icwsgw.core.session_machine import State
from icwsgw.core.suspect_addresses import FORGED
from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.gateway.ended_sessions import refused_connection
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.session import NEXT_MESSAGE_SECONDS
from icwsgw.handover.service_state import Handed, Taken
from icwsgw.ic import cbor
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.observe.event_loop_lag import EventLoopLag
from icwsgw.observe.health import Health
from icwsgw.observe.recent_warnings import RecentWarnings
from icwsgw.observe.tracing import Tracing
from icwsgw.reactor import detached_socket
from icwsgw.server.factory import GatewayFactory
from tests.memory.world import World
from tests.support.sdk_client import SdkClient
from tests.support.ws_wire import handshake, masked, read_frames

SAMPLES = Path(__file__).resolve().parents[1] / "handover" / "samples"

#: Maps whose keys are data, by name: their entries are of one kind.
MAPS = frozenset({"counters", "options", "levels", "suspects", "outlived", "accepts_by_group", "series", "senders"})

Document = dict[str, Any]


class PlainTransport(StringTransport):
    """An in-memory transport with the attributes of a plain socket that a handover uses."""

    TLS = False
    _aborting = _writeDisconnecting = False
    connected = True

    def __init__(self) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "192.0.2.1", 40000))
        self.dataBuffer, self.offset = b"", 0
        self._tempDataBuffer: list[bytes] = []
        self._tempDataLen = 0
        self.aborted = self.closed = False
        self.socket, self.far = socket.socketpair()

    def stopReading(self) -> None:
        self.pauseProducing()

    def stopWriting(self) -> None:
        pass

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def fileno(self) -> int:
        return self.socket.fileno()


class WireClient(SdkClient):
    """An SDK client whose bytes go through the gateway's own WebSocket protocol."""

    def __init__(self, service: Any, canister: Principal = ECHO_ID, identity: Ed25519Identity | None = None) -> None:
        super().__init__(canister, identity)
        self._world: World = service.world
        self.transport = PlainTransport()
        self.protocol: Any = service.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000))
        self.protocol.makeConnection(self.transport)

    def do_handshake(self, *headers: str) -> WireClient:
        self.protocol.dataReceived(handshake(*headers))
        answer, _, frames = self.transport.value().partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        self.transport.clear()
        self.transport.write(frames)
        return self

    def open(self, *headers: str) -> WireClient:
        self.do_handshake(*headers)
        self._world.until(lambda: self.read() and self.opened)
        return self

    def read(self) -> bool:
        """Read the frames so far, and send the answers."""
        data = self.transport.value()
        self.transport.clear()
        for opcode, payload in read_frames(data):
            if opcode == 2:
                for answer in self.handle(payload, self._world.now_ns()):
                    self.protocol.dataReceived(masked(2, answer))
        return True

    def send_message(self, content: bytes) -> None:
        self.protocol.dataReceived(masked(2, self.message_payload(content, self._world.now_ns())))


def service_around(world: World, gateway: Gateway) -> Any:
    """A service with a gateway and a server that does not listen."""
    factory = GatewayFactory(gateway)
    overridden: list[Overrides] = []

    def adopt(descriptor: int, family: int, maker: Any) -> None:
        protocol = maker.buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000))
        protocol.makeConnection(PlainTransport())

    return SimpleNamespace(
        world=world,
        gateway=gateway,
        metrics=gateway.context.metrics,
        overrides=Overrides(),
        configured=gateway.context.config,
        override=overridden.append,
        overridden=overridden,
        factory=factory,
        status=Status(
            gateway,
            Health(),
            EventLoopLag(gateway.context.metrics.event_loop_lag, world.clock),
            recent=RecentWarnings(),
            now=lambda: world.now_ns() / 1e9,
        ),
        listening_services=[],
        reactor=SimpleNamespace(adoptStreamConnection=adopt, seconds=world.clock.seconds),
    )


def plain_sockets() -> Any:
    """Make the handover accept transports of this module as plain sockets."""
    return mock.patch.object(detached_socket, "_PLAIN", frozenset({PlainTransport}))


def world_with_limits() -> World:
    """A world in which every limit that has a state is set."""
    return World(
        call_latency=0.05,
        query_latency=0.01,
        identities=2,
        accept_rate=100,
        accept_rate_per_ip=50,
        max_connections_per_ip=100,
        max_connections_per_principal=10,
        query_budget=100,
        open_rate=20,
        clients_per_identity=3,
        message_rate_per_canister=1000,
        byte_rate_per_canister=1_000_000,
        delivery_rate_per_canister=1000,
        delivery_byte_rate_per_canister=1_000_000,
        poll_rate_per_canister=100,
    )


def busy_world() -> Any:
    """A service that has some of everything.

    :return: as :func:`service_around`
    """
    world = world_with_limits()
    service = service_around(world, world.gateway)
    service.overrides = Overrides(
        denied=("aaaaa-aa",),
        levels={"session": 10},
        bans=(("aaaaa-aa", None, 1000.0), (None, "2vxsx-fae", 900.0)),
        maintenance=True,
        options={"drain-window": ("3",)},
    )
    clients = [WireClient(service, canister).open() for canister in (ECHO_ID, ECHO_ID, CHAT_ID, ECHO_ID, CHAT_ID)]
    for client in clients[:2]:
        client.send_message(b"before")
    world.run(0.5)
    for client in clients:
        client.read()
    # each stage of a connection
    WireClient(service).protocol.dataReceived(handshake()[:30])
    WireClient(service).do_handshake()
    opening = WireClient(service).do_handshake()
    opening.read()
    world.run(0.01)
    closing = WireClient(service).do_handshake()
    closing.protocol.dataReceived(masked(8, b"\x03\xe8"))
    # a partial message, and bytes that wait for the client
    clients[0].protocol.dataReceived(masked(2, b"a part", fin=False) + masked(0, b"another")[:4])
    clients[0].transport.dataBuffer = b"\x82\x01a"
    # calls in flight, queued, and out of order
    for content in (b"one", b"two", b"three"):
        clients[1].send_message(content)
    clients[1]._sequence_out += 1
    clients[1].send_message(b"out of turn")
    # two clients have left, their canisters do not know it yet; one of them sent a message before
    clients[3].send_message(b"the last word")
    for client in clients[3:]:
        client.protocol.session.left(1001)
        client.protocol.session = None
        service.factory.connections.discard(client.protocol)
    world.run(0.01)
    _by_hand(service, clients, opening)
    return service


def _by_hand(service: Any, clients: list[WireClient], opening: WireClient) -> None:
    """Set states that would need minutes, or a network that fails."""
    world: World = service.world
    context, now = world.context, world.clock.seconds()
    sessions = [client.protocol.session for client in clients]
    context.host_backoff.retry_after_received(b"\x01", now, now + 5)
    context.host_backoff.retry_after_received(b"\x02", now, now + 5)
    context.network.time.take(Evidence.DATE, world.now_ns(), now, world.now_ns())
    for _ in range(FORGED):
        context.suspects.forged("192.0.2.9", now)
    machine = world.gateway.replacements.machine
    key = sessions[0].poller.canister.raw, sessions[0].client_key[0]
    world.gateway.replacements._perform(key, machine._leave_open(key, sessions[0]))
    machine.outlived[opening.protocol.session] = world.now_ns()
    context.metrics.gaps.inc()
    service.status._history.add(world.now_ns() / 1e9, {"clients": 3})
    service.status._recent({"log_level": LogLevel.warn, "icws_message": "a warning", "log_time": now})
    end = refused_connection(now, {"peer": "192.0.2.7"}, 403, "the origin is not welcome", "")
    context.ended_sessions.add("192.0.2.7", end)
    connection = Tracing("abcde-fg").connection("192.0.2.1")
    assert connection is not None
    sessions[0].trace = connection.opened(sessions[0].id, "192.0.2.1")
    # a client that the gateway does not read from, and one that does not read
    clients[1].protocol._frames_left = -5.0
    clients[1].protocol._over()
    clients[0].protocol._outbox.pauseProducing()
    clients[0].protocol.deliver([b"\x82\x05whole"])
    clients[0].protocol._partial = PartialMessage(3, now)
    watched = sessions[1]
    watched.stream.keep_alive_late()
    watched.stream.watch.acknowledged(now)
    watched.stream.watch.over(now, False)
    doubtful = sessions[2]
    doubtful.state = State.DISMISSED
    doubtful.after_wait = CloseCode.MESSAGE_REFUSED, "refused"
    doubtful.wait = world.clock.callLater(NEXT_MESSAGE_SECONDS, doubtful.wait_over)
    poller = sessions[0].poller
    poller.suspects.add(sessions[0])
    poller.backoff.failed(now, overloaded=True, retry_after=2.0, error="HTTP 503", side=FailureSource.NETWORK)
    poller._oversize_pages.search.refused(poller.cursor.next, poller.cursor.next, now, now)
    poller._reset_proof._witnessed = now
    poller.lag._measured, poller.lag._seconds = now, 0.5
    poller.cursor.last = LastMessage(poller.cursor.next - 1, bytes(5000))
    poller._polling.due_look = LastMessage(poller.cursor.next - 1, b"the last one")
    # positions of canisters without clients
    world.gateway.registry._keep((b"\x07" * 10, 0), poller.cursor)


def documents_of(service: Any) -> list[Document]:
    """The documents by which a service is handed over, as the successor receives them; sets are sorted."""
    with plain_sockets():
        documents = [cbor.loads(cbor.dumps(document)) for document, _ in Handed(service).documents()]
    documents[0]["gateway"]["ended"].sort(key=lambda ended: ended["id"])
    for document in documents:
        document.get("connections", []).sort(key=cbor.dumps)
    return documents


def take_over(documents: Iterable[Document], service: Any) -> None:
    """Let a service continue from documents."""
    taken = Taken(service)
    for document in documents:
        sockets = []
        for _ in range(document.get("sockets", 0)):
            ours, theirs = socket.socketpair()
            sockets.append(os.dup(ours.fileno()))
            ours.close()
            theirs.close()
        with plain_sockets():
            taken.add(document, sockets)
    with plain_sockets():
        taken.begin()


# the shape of a state


def shape_of(documents: Iterable[Document]) -> list[str]:
    """The shape of a state: a line for each path, with the types of its values."""
    kinds: dict[str, set[str]] = {}
    for document in documents:
        _look("", document, kinds)
    return [f"{path}: {' | '.join(sorted(found))}" for path, found in sorted(kinds.items())]


def has_data(path: str) -> bool:
    """Whether the keys of the map at a path are data, not names of fields."""
    names = path.removesuffix(".*").rpartition(".")[2], path.rpartition(".")[2]
    return any(name in MAPS for name in names)


def below(path: str, key: Any) -> str:
    """The path of an entry of a map."""
    return f"{path}.*" if has_data(path) else f"{path}.{key}".lstrip(".")


def _look(path: str, value: Any, kinds: dict[str, set[str]]) -> None:
    if path:
        kinds.setdefault(path, set()).add("number" if type(value) in (int, float) else type(value).__name__)
    if isinstance(value, Mapping):
        for key, item in value.items():
            _look(below(path, key), item, kinds)
    elif isinstance(value, (list, tuple)):
        # rows, in which each position has its own meaning
        mixed = len({type(item) for item in value}) > 1
        for index, item in enumerate(value):
            _look(f"{path}[{index}]" if mixed else f"{path}[]", item, kinds)


# kept samples: JSON, with bytes and maps of bytes marked


def save(documents: list[Document], path: Path) -> None:
    """Save a state to a file."""
    path.write_text(json.dumps(_to_json(documents), indent=1) + "\n")


def load(path: Path) -> list[Document]:
    """Load a saved state."""
    found: list[Document] = _from_json(json.loads(path.read_text()))
    return found


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and value.keys() not in ({"bytes"}, {"map"}):
            return {key: _to_json(item) for key, item in value.items()}
        return {"map": [[_to_json(key), _to_json(item)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"bytes"}:
            return bytes.fromhex(value["bytes"])
        if value.keys() == {"map"}:
            return {_from_json(key): _from_json(item) for key, item in value["map"]}
        return {key: _from_json(item) for key, item in value.items()}
    return [_from_json(item) for item in value] if isinstance(value, list) else value
