"""When a client's socket is read, and how many bytes of partial messages all clients together may use."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.server.outbox import CROWDED_BYTES
from icwsgw.server.partial_messages import PIECE_BYTES
from icwsgw.server.read_control import CROWD, RATE, RELAY
from tests.server.test_protocol import World, frames_of, lose
from tests.support.ws_wire import HANDSHAKE, close_frame, handshake, masked

BIG = 300_000


def open_clients(count: int, **options: Any) -> tuple[World, list[Any]]:
    """Authenticated clients."""
    world = World(**options)
    found = []
    for _ in range(count):
        protocol, transport, _ = world.open()
        protocol.deliver([])
        transport.clear()
        found.append(protocol)
    return world, found


def begin(protocol: Any, size: int = BIG, of: int = 2 * BIG) -> None:
    """Send a part of a message, as TCP would."""
    data = masked(2, bytes(of))[: size + 14]
    for at in range(0, len(data), 1 << 16):
        protocol.dataReceived(data[at : at + (1 << 16)])


def test_reading_goes_on_when_no_reason_against_it_is_left() -> None:
    _, (protocol,) = open_clients(1)
    transport = protocol.transport
    for why in (RELAY, RATE, CROWD, RATE):
        protocol._stop_reading(why)
        assert transport.producerState == "paused"
    for why in (RATE, CROWD, CROWD):
        protocol._start_reading(why)
        assert transport.producerState == "paused"
    protocol._start_reading(RELAY)
    assert transport.producerState == "producing"


@pytest.mark.parametrize("cut", [0, 1, 2, 5, 13, 14, 400, 70_000])
def test_what_is_held_is_counted_whatever_is_cut(cut: int) -> None:
    world, (protocol,) = open_clients(1)
    data = masked(2, bytes(35_000), fin=False) + masked(9, b"ping") + masked(0, bytes(35_000))
    protocol.dataReceived(data[:cut])
    unfinished = world.factory.unfinished
    assert abs(unfinished.octets - cut) <= 3 * PIECE_BYTES + 40
    assert len(unfinished) == (cut > 0)
    assert world.metrics.unfinished_bytes.value == unfinished.octets
    protocol.dataReceived(data[cut:])
    assert (unfinished.octets, len(unfinished)) == (0, 0)


def test_a_message_that_comes_byte_by_byte_counts_what_its_pieces_take() -> None:
    world, (protocol,) = open_clients(1)
    for byte in masked(2, bytes(2000))[:1000]:
        protocol.dataReceived(bytes((byte,)))
    assert world.factory.unfinished.octets > 1000 * PIECE_BYTES * 0.9


def test_whole_messages_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (protocol,) = open_clients(1)
    looked: list[int] = []
    monkeypatch.setattr(type(protocol), "_count_held", lambda self: looked.append(1))
    protocol.dataReceived(masked(2, bytes(500)) * 3)
    protocol.dataReceived(masked(2, bytes(40_000)))
    protocol.dataReceived(masked(9, b"ping"))
    assert not looked


def test_too_many_are_not_read_and_the_oldest_is_given_up() -> None:
    world, (first, second, third) = open_clients(3, max_waiting_bytes=1 << 20)
    for protocol in (first, second, third):
        begin(protocol)
    assert not any(protocol._stopped for protocol in (first, second, third))
    for protocol in (second, third):
        protocol.dataReceived(bytes(1 << 16))
    protocol.dataReceived(bytes(1 << 16))
    assert [protocol._stopped for protocol in (first, second, third)] == [0, 0, CROWD]
    assert third.transport.producerState == "paused"
    assert world.metrics.pushbacks.values["unfinished"] == 1
    world.clock.advance(0.5)
    assert [[code for code, _ in session.ended] for session in world.sessions] == [[CloseCode.POLICY], [], []]
    assert frames_of(first.transport)[0][1][:2] == (1008).to_bytes(2, "big")
    assert third.transport.producerState == "producing"
    assert 0 < world.factory.unfinished.octets <= 1 << 20
    # the first still holds its connection, but no byte of the message; what comes on is dropped
    first.dataReceived(bytes(1 << 16))
    assert not first.frame_data
    assert len(world.factory.unfinished) == 2
    # the others' messages come to their ends
    second.dataReceived(bytes(2 * BIG - BIG - (1 << 16)))
    assert world.sessions[1].received_messages
    lose(third)
    assert (world.factory.unfinished.octets, len(world.factory.unfinished)) == (0, 0)
    first.dataReceived(bytes(2 * BIG - BIG - (1 << 16)) + close_frame(1008))
    assert first.transport.aborted


def test_a_client_whose_message_began_last_is_the_youngest_however_long_it_has_been_here() -> None:
    world, (old, new) = open_clients(2, max_waiting_bytes=1 << 20)
    begin(old)
    begin(new, 700_000, 1_000_000)
    following = masked(2, bytes(2 * BIG))
    old.dataReceived(bytes(BIG) + following[:1000])
    world.sessions[0].messages_up += 1
    for at in range(1000, 400_000, 1 << 16):
        old.dataReceived(following[at : at + (1 << 16)])
    assert world.factory.unfinished.octets > 1 << 20
    world.clock.advance(0.5)
    assert [bool(session.ended) for session in world.sessions] == [False, True]


def test_short_ones_are_given_up_only_if_that_is_not_enough() -> None:
    world, clients = open_clients(20, max_waiting_bytes=1 << 20)
    for protocol in clients:
        begin(protocol, CROWDED_BYTES - 2000)
    assert not any(protocol._stopped for protocol in clients)
    world.clock.advance(0.5)
    ended = [bool(session.ended) for session in world.sessions]
    assert ended == sorted(ended, reverse=True)
    assert 3 <= sum(ended) <= 5
    assert world.factory.unfinished.octets <= 1 << 20


@pytest.mark.parametrize("end", ["lost", "closed by us", "closed by the client", "broken"])
def test_each_end_clears_the_account(end: str) -> None:
    world, (protocol,) = open_clients(1)
    protocol.dataReceived(masked(2, bytes(50_000), fin=False))
    assert world.factory.unfinished.octets > 50_000
    if end == "lost":
        lose(protocol)
    elif end == "closed by us":
        protocol.close(4100, "the end")
    elif end == "closed by the client":
        protocol.dataReceived(close_frame(1000))
    else:
        protocol.dataReceived(masked(2, b"not a continuation"))
    assert (world.factory.unfinished.octets, len(world.factory.unfinished)) == (0, 0)
    assert not protocol.message_data


@pytest.mark.parametrize("cut", [1, 72, len(HANDSHAKE) - 1])
def test_a_request_that_comes_in_pieces_costs_no_message(cut: int) -> None:
    world = World()
    protocol, _ = world.connect()
    request = handshake()
    protocol.dataReceived(request[:cut])
    protocol.dataReceived(request[cut:])
    session = world.sessions[-1]
    for at in (1, 5, 200):
        message = masked(2, b"%d" % at + bytes(400))
        protocol.dataReceived(message[:at])
        protocol.dataReceived(message[at:])
    assert [payload[:3].rstrip(b"\0") for payload, _ in session.received_messages] == [b"1", b"5", b"200"]
