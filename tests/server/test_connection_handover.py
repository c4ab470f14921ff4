"""Connections as documents: the state that each stage of a connection needs to continue in another process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.address import IPv4Address

from icwsgw.core.flood_guard import FloodState
from icwsgw.core.liveness import LivenessState, PartialMessage
from icwsgw.core.session_machine import State
from icwsgw.core.suspect_addresses import FORGED
from icwsgw.errors import FormatError
from icwsgw.gateway.gateway_handover import take_over_session
from icwsgw.ic import cbor
from icwsgw.reactor import detached_socket
from icwsgw.server import connection_handover
from icwsgw.server.admission import Standing
from icwsgw.server.connection_handover import PONG_SECONDS, Stage
from tests.server.test_protocol import Transport, World, frames_of, lose
from tests.support.ws_wire import close_frame, handshake, masked, read_frames

HANDSHAKE = handshake()


class Plain(Transport):
    """An in-memory transport with the attributes of a plain socket that a handover uses."""

    TLS = False
    disconnecting = False
    _aborting = False
    _writeDisconnecting = False
    connected = True
    dataBuffer = b""
    offset = 0

    def __init__(self, host: str = "192.0.2.1") -> None:
        super().__init__(host)
        self._tempDataBuffer: list[bytes] = []
        self._tempDataLen = 0
        self.socket = self
        self.closed = False

    def stopReading(self) -> None:
        self.pauseProducing()

    def stopWriting(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def fileno(self) -> int:
        return 77


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached_socket, "_PLAIN", frozenset({Plain}))
    # sessions in these tests are not the gateway's
    monkeypatch.setattr(connection_handover, "session_document", lambda session: {"id": session.id})
    monkeypatch.setattr(
        connection_handover, "take_over_session", lambda gateway, client, document: gateway.connect(client)
    )


def connect(world: World) -> tuple[Any, Plain]:
    protocol = world.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000))
    transport = Plain()
    protocol.makeConnection(transport)
    return protocol, transport


def opened(world: World) -> tuple[Any, Plain, Any]:
    protocol, transport = connect(world)
    protocol.dataReceived(HANDSHAKE)
    transport.clear()
    session = world.sessions[-1]
    session.state, session.id = State.OPEN, "1"
    protocol.deliver([])
    return protocol, transport, session


class Full(Plain):
    """A transport whose client reads nothing."""

    def write(self, data: bytes) -> None:
        super().write(data)
        self.producer.pauseProducing()


def taken_over(world: World, document: Any, transport: Plain | None = None) -> tuple[Any, Plain]:
    """The connection in the successor."""
    protocol = world.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000))
    protocol.handed_over = cbor.loads(cbor.dumps(document))
    transport = transport or Plain()
    protocol.makeConnection(transport)
    return protocol, transport


def test_a_request_that_has_come_in_part_is_completed_by_the_other_process() -> None:
    first, second = World(), World()
    protocol, _ = connect(first)
    protocol.dataReceived(HANDSHAKE[:30])
    document = protocol.written()
    assert document is not None
    assert (document["stage"], document["unread"]) == (Stage.REQUEST, HANDSHAKE[:30])
    after, transport = taken_over(second, document)
    assert transport.producerState == "producing", "the event loop does not run before all is taken over"
    after.read_unread()
    assert transport.producerState == "producing"
    after.dataReceived(HANDSHAKE[30:])
    assert transport.value().startswith(b"HTTP/1.1 101 ")
    assert (second.factory.limits.total, second.factory.countConnections) == (1, 1)
    after.detach()
    assert (second.factory.limits.total, second.factory.countConnections) == (0, 0)


def test_an_open_connection_goes_on_in_the_middle_of_a_message() -> None:
    first, second = World(), World()
    protocol, transport, session = opened(first)
    data = masked(2, b"one") + masked(2, b"tw", fin=False) + masked(9, b"ping") + masked(0, b"o")
    protocol.dataReceived(data[:20])
    transport.clear()
    document = protocol.written()
    assert document is not None
    assert protocol.written() == document, "nothing changes"
    assert protocol.detach() is session
    assert transport.closed
    assert (first.factory.connections, first.factory.limits.total) == (set(), 0)
    assert session.left_with is None, "no client is notified"
    after, transport = taken_over(second, document)
    transport.clear()
    assert len(second.sessions) == 1
    assert (after.peer, after._admission.standing) == (protocol.peer, Standing.OPENED)
    after.read_unread()
    after.dataReceived(data[20:])
    received = [*session.received_messages, *second.sessions[-1].received_messages]
    assert received == [(b"one", True), (b"two", True)]
    assert frames_of(transport) == [(10, b"ping")]


def test_what_waits_for_a_slow_reader_is_sent_by_the_other_process_in_order() -> None:
    first, second = World(), World()
    protocol, transport, _ = opened(first)
    transport._tempDataBuffer = [b"\x82\x01a"]
    protocol._outbox.pauseProducing()
    protocol.deliver([b"\x82\x01b"])
    protocol.deliver([b"\x82\x01c"])
    document = protocol.written()
    assert document is not None
    after, transport = taken_over(second, document)
    assert b"\x82\x01a" not in transport.value(), "the other process may still go on"
    after.send_unsent()
    sent = read_frames(transport.value())
    assert [payload for _, payload in sent if payload != b"greeting"] == [b"a", b"b", b"c"]


def test_nothing_is_read_where_the_document_has_nothing_unread() -> None:
    first, second = World(), World()
    protocol, _, _ = opened(first)
    document = protocol.written()
    assert document is not None
    assert document.pop("unread") == b""
    after, transport = taken_over(second, document)
    transport.clear()
    after.send_unsent()
    after.read_unread()
    assert (transport.value(), transport.disconnecting) == (b"", False)
    after.dataReceived(masked(2, b"the first"))
    assert second.sessions[-1].received_messages == [(b"the first", True)]


def test_an_open_connection_without_its_session_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_handover, "take_over_session", take_over_session)
    first, second = World(), World()
    protocol, _, _ = opened(first)
    document = protocol.written()
    assert document is not None
    del document["session"]
    with pytest.raises(FormatError, match="identity"):
        taken_over(second, document)


def test_a_connection_that_has_ended_before_it_was_read_is_not_read() -> None:
    first, second = World(), World()
    protocol, _, _ = opened(first)
    protocol.dataReceived(masked(2, b"one") + masked(2, b"tw", fin=False))
    after, _ = taken_over(second, protocol.written())
    after.send_unsent()
    lose(after)
    after.read_unread()
    assert (second.sessions[-1].received_messages, after.handed_over) == ([], None)


def test_a_connection_that_has_a_reason_not_to_read_by_then_is_not_read() -> None:
    first, second = World(), World()
    protocol, _, _ = opened(first)
    after, transport = taken_over(second, protocol.written())
    # its relay queue is full, which it notices when its session continues
    after.pause()
    after.send_unsent()
    after.read_unread()
    assert transport.producerState == "paused"
    after.resume()
    assert transport.producerState == "producing"


def test_a_reason_that_is_over_by_then_is_none() -> None:
    first, second = World(), World()
    protocol, _, _ = opened(first)
    after, transport = taken_over(second, protocol.written())
    after.pause()
    after.resume()
    after.read_unread()
    assert transport.producerState == "producing"


def test_the_rest_of_a_frame_that_has_begun_comes_first() -> None:
    first = World()
    protocol, _, _ = opened(first)
    outbox = protocol._outbox
    outbox.pauseProducing()
    big = b"\x82\x7e\xff\xff" + bytes(65535)
    outbox.send(big + b"\x82\x01z")
    outbox.resumeProducing()
    outbox.pauseProducing()
    begun, waiting = outbox.waiting()
    assert len(begun) + len(waiting) == outbox.size


def test_a_connection_that_waits_for_a_pong_waits_in_the_other_process() -> None:
    first, second = World(ping_interval=10.0, pong_timeout=5.0), World(ping_interval=10.0, pong_timeout=5.0)
    protocol, _, _ = opened(first)
    for _ in range(12):
        first.clock.advance(1.0)
        second.clock.advance(1.0)
    assert protocol._liveness is LivenessState.PINGED
    after, transport = taken_over(second, protocol.written())
    second.sessions[-1].state = State.OPEN
    after.read_unread()
    for _ in range(8):
        second.clock.advance(1.0)
    assert transport.aborted


def test_the_time_limit_of_a_request_does_not_begin_anew() -> None:
    first, second = World(header_timeout=10.0), World(header_timeout=10.0)
    protocol, _ = connect(first)
    for world in (first, second):
        world.clock.pump([1.0] * 8)
    after, transport = taken_over(second, protocol.written())
    assert second.factory.wheel.due(after) == 10.0
    after.read_unread()
    second.clock.pump([1.0] * 4)
    assert b" 408 " in transport.value()


def test_a_message_that_is_incomplete_was_begun_when_it_was() -> None:
    first, second = World(), World()
    protocol, _, session = opened(first)
    protocol.dataReceived(masked(2, b"a part", fin=False))
    first.clock.advance(3.0)
    protocol._check(session, first.clock.seconds())
    protocol._received = first.factory.wheel.tick
    after, _ = taken_over(second, protocol.written())
    assert after._partial == protocol._partial == PartialMessage(0, 3.0)
    assert after._received is not None


def test_a_client_that_is_not_read_for_its_rate_is_not_read_until_it_may() -> None:
    first, second = World(client_message_rate=10), World(client_message_rate=10)
    protocol, _, _ = opened(first)
    for world in (first, second):
        world.clock.advance(20.0)
    protocol.dataReceived(masked(2, b"x") * 65)
    assert protocol._guard is not None
    assert protocol._guard.state is FloodState.PAUSED
    pause = protocol._guard.pause
    document = protocol.written()
    assert document is not None
    after, transport = taken_over(second, document)
    second.sessions[-1].state = State.OPEN
    after.read_unread()
    assert transport.producerState == "paused"
    second.clock.advance(pause - 0.01)
    assert transport.producerState == "paused"
    second.clock.advance(0.02)
    assert transport.producerState == "producing"
    # what it owes it still owes: it has no new burst
    assert after._guard.written() == {**protocol._guard.written(), "state": FloodState.READING}
    lose(after)


def test_a_client_that_reads_nothing_is_too_slow_in_the_other_process_too() -> None:
    first, second = World(), World()
    protocol, transport, _ = opened(first)
    transport._tempDataBuffer = [b"\x82\x01a"]
    protocol._outbox.pauseProducing()
    protocol.deliver([b"\x82\x01b"])
    for world in (first, second):
        world.clock.advance(7.0)
    document = protocol.written()
    assert document is not None
    assert document["waits_since"] == 0.0
    after, _ = taken_over(second, document, Full())
    after.send_unsent()
    assert after._outbox.age(second.clock.seconds()) == 7.0


def test_a_closing_handshake_goes_on() -> None:
    first, second = World(), World()
    protocol, _, session = opened(first)
    session.state = State.CLOSED
    protocol.close(4100, "away")
    document = protocol.written()
    assert document is not None
    assert document["stage"] == Stage.CLOSING
    after, transport = taken_over(second, document)
    after.read_unread()
    after.dataReceived(close_frame(4100))
    assert transport.aborted, "as after any closing handshake"
    assert second.sessions == [], "its session is handed over without it"


def test_a_session_whose_client_has_violated_the_protocol_ends_in_the_other_process() -> None:
    """Its session continues until its connection has ended; otherwise the canister would not get ws_close."""
    first, second = World(), World()
    protocol, _, session = opened(first)
    # a reserved opcode
    protocol.dataReceived(masked(3, b""))
    assert (protocol.state, protocol.session) == (protocol.STATE_CLOSING, session)
    document = cbor.loads(cbor.dumps(protocol.written()))
    assert document["stage"] == Stage.CLOSING
    after, transport = taken_over(second, document)
    assert after.session is not None
    assert not after.update(document), "it is made anew"
    transport.clear()
    after.send_unsent()
    after.read_unread()
    assert transport.value() == b"", "the close frame has left already"
    taken = after.session
    assert taken.left_with is None
    lose(after)
    assert taken.left_with is not None


def test_deadlines_stay_spread() -> None:
    first, second = World(ping_interval=10.0), World(ping_interval=10.0)
    due: list[tuple[Any, Any]] = []
    for _ in range(3):
        protocol, _, _ = opened(first)
        after, _ = taken_over(second, protocol.written())
        due.append((first.factory.wheel.due(protocol), second.factory.wheel.due(after)))
        first.clock.advance(1.0)
        second.clock.advance(1.0)
    assert [ours for ours, _ in due] == [theirs for _, theirs in due] == [due[0][0] + 1.0 * n for n in range(3)]


@pytest.mark.parametrize("cut", [3, 5, 9, 14, 20, 22])
@pytest.mark.parametrize("first", [masked(2, b"a whole frame"), masked(2, b"some", fin=False) + masked(0, b"more")])
def test_a_closing_handshake_goes_on_in_the_middle_of_a_message(first: bytes, cut: int) -> None:
    here, there = World(), World()
    protocol, _, _ = opened(here)
    data = first + close_frame(4100)
    protocol.dataReceived(data[:3])
    protocol.close(4100, "away")
    protocol.session = None
    protocol.dataReceived(data[3:cut])
    document = protocol.written()
    assert document is not None
    after, transport = taken_over(there, document)
    transport.clear()
    after.read_unread()
    after.dataReceived(data[max(3, cut) :])
    assert transport.aborted, "the client's close frame was found"
    assert not after.wasNotCleanReason
    assert after.maxMessagePayloadSize == there.factory.max_message_bytes, "messages may still be long"
    assert transport.value() == b"", "and nothing was wrong before it"


@pytest.mark.parametrize("what", ["TLS", "disconnecting", "_aborting", "_writeDisconnecting"])
def test_what_cannot_be_handed_over(what: str) -> None:
    protocol, transport, _ = opened(World())
    setattr(transport, what, True)
    assert protocol.written() is None


def test_other_transports_and_refused_connections_stay() -> None:
    world = World()
    protocol, _ = world.connect()
    assert protocol.written() is None
    protocol, _ = connect(world)
    protocol._admission.evict()
    assert protocol.written() is None


def test_limits_count_what_is_taken_over() -> None:
    first, second = World(max_connections_per_ip=5), World(max_connections_per_ip=5)
    protocol, _, _ = opened(first)
    after, _ = taken_over(second, protocol.written())
    limits = second.factory.limits
    assert (limits.total, limits._by_group, len(limits.waiting)) == (1, {"192.0.2.1": 1}, 0)
    lose(after)
    assert (limits.total, limits._by_group) == (0, {})


def test_an_unauthenticated_connection_can_still_be_evicted() -> None:
    first, second = World(), World()
    protocol, _ = connect(first)
    after, _ = taken_over(second, protocol.written())
    assert len(second.factory.limits.waiting) == 1
    lose(after)
    assert len(second.factory.limits.waiting) == 0


def test_equal_marks_mean_equal_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens to a connection at rest, its mark changes if its document does."""
    # the world's sessions are not the gateway's
    monkeypatch.setattr(connection_handover, "mark", lambda session: (session.id, len(session.received_messages)))
    monkeypatch.setattr(
        connection_handover, "session_document", lambda session: {"n": len(session.received_messages), "id": session.id}
    )
    world = World(ping_interval=10.0, pong_timeout=5.0, client_message_rate=5, client_byte_rate=5_000)
    protocol, _, session = opened(world)
    steps = [
        lambda: protocol.dataReceived(masked(2, b"one")),
        lambda: protocol.dataReceived(masked(9, b"")),
        lambda: protocol.dataReceived(masked(2, b"part")[:5]),
        lambda: protocol.dataReceived(masked(2, b"part")[5:]),
        lambda: protocol.deliver([b"\x82\x01a"]),
        lambda: protocol._outbox.pauseProducing(),
        lambda: protocol.deliver([b"\x82\x01b"]),
        lambda: protocol._outbox.resumeProducing(),
        *([lambda: world.clock.advance(1.0)] * 12),
        lambda: protocol.dataReceived(masked(10, b"")),
        *([lambda: world.clock.advance(1.0)] * 12),
        *([lambda: protocol.dataReceived(masked(2, b"x"))] * 15),
        lambda: setattr(session, "state", State.CLOSED),
    ]
    seen: list[tuple[Any, Any]] = []
    marks = 0
    for step in steps:
        step()
        mark, document = protocol.mark(), protocol.written()
        if mark is not None:
            marks += 1
            assert all(before == document for other, before in seen if other == mark)
            seen.append((mark, document))
    assert 20 < marks < len(steps), "some are at rest and others are not"
    assert len({mark for mark, _ in seen}) > 5


def test_a_flood_is_not_handed_over() -> None:
    world = World(client_message_rate=10)
    protocol, _, _ = opened(world)
    protocol.dataReceived(masked(2, b"x") * 65)
    assert protocol.written() is not None, "it is paused alone"
    protocol._guard.state = FloodState.DROPPING
    assert protocol.written() is None
    lose(protocol)


def test_one_that_waits_for_its_handshake_stays() -> None:
    world = World()
    for _ in range(FORGED):
        world.gateway.context.suspects.forged("192.0.2.1", world.clock.seconds())
    protocols = [connect(world)[0] for _ in range(30)]
    for protocol in protocols:
        protocol.dataReceived(HANDSHAKE)
    waiting = [protocol for protocol in protocols if protocol._turn is not None]
    assert waiting
    assert all((protocol.written() is None) is (protocol in waiting) for protocol in protocols)
    for protocol in protocols:
        lose(protocol)


def test_the_trace_of_a_connection_ends_in_the_process_that_hands_over() -> None:
    protocol, _, session = opened(World())
    lost: list[object] = []
    protocol._trace = SimpleNamespace(lost=lost.append)
    assert protocol.detach() is session
    assert lost == [None]


@pytest.fixture
def updatable(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Lets sessions, which are fakes here, be updated to a later state."""
    answers = [True]
    monkeypatch.setattr(connection_handover, "update", lambda session, before, after: answers[0])
    return answers


def test_one_is_brought_to_a_later_state(updatable: list[bool]) -> None:
    first, second = World(ping_interval=10.0, pong_timeout=5.0), World(ping_interval=10.0, pong_timeout=5.0)
    protocol, _, session = opened(first)
    after, transport = taken_over(second, protocol.written())
    transport.clear()
    for world in (first, second):
        world.clock.pump([1.0] * 12)
    assert protocol._liveness is LivenessState.PINGED
    later = cbor.loads(cbor.dumps(protocol.written()))
    assert after.update(later)
    assert after._liveness is LivenessState.PINGED
    # the pong may be among what is still unread
    assert second.factory.wheel.due(after) == max(later["due"], second.clock.seconds() + PONG_SECONDS)
    protocol.dataReceived(masked(2, b"a part", fin=False))
    protocol._check(session, first.clock.seconds())
    protocol._received = first.factory.wheel.tick
    assert after.update(cbor.loads(cbor.dumps(protocol.written())))
    assert (after._liveness, after._received is not None) == (LivenessState.QUIET, True)
    assert after._partial == protocol._partial == PartialMessage(0, 12.0)
    assert (after._frames_left, after._bytes_left) == (protocol._frames_left, protocol._bytes_left)
    assert transport.value() == b"", "no client is notified before all is taken over"
    after.read_unread()
    after.dataReceived(masked(0, b" and the rest"))
    assert second.sessions[-1].received_messages == [(b"a part and the rest", True)]


def test_one_that_has_become_another_is_made_anew(updatable: list[bool]) -> None:
    first, second = World(), World()
    protocol, _, _ = opened(first)
    document = cbor.loads(cbor.dumps(protocol.written()))
    after, _ = taken_over(second, document)
    later = document | {"heard": not document["heard"]}
    assert not after.update(later | {"stage": Stage.CLOSING.value})
    assert not after.update({name: value for name, value in later.items() if name != "admission"})
    updatable[0] = False
    assert not after.update(later)
    assert (after.handed_over, after._received is not None) == (document, document["heard"]), "nothing has changed"
    updatable[0] = True
    assert after.update(later)
    assert (after.handed_over, after._received is not None) == (later, later["heard"])
    after.read_unread()
    assert not after.update(document), "it has gone on already"
    # without a session there is nothing that could be brought to a later state
    request, _ = connect(first)
    unopened, _ = taken_over(second, request.written())
    assert not unopened.update(request.written())
