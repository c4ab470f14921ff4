"""Admission and refusal of connections, at the level of bytes: limits, proxies, rates, deadlines, oversized input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.flood_guard import FLOOD_SIP
from icwsgw.core.messages import frame
from icwsgw.core.session_machine import State
from icwsgw.process.rlimits import REFUSED
from icwsgw.server import factory as factory_module
from icwsgw.server.endpoints import make_endpoint
from icwsgw.server.protocol import GatewayProtocol
from tests.server.test_protocol import Session, Transport, World, frames_of, lose
from tests.support.ws_wire import HANDSHAKE, handshake, masked, read_frames


class Lines:
    """Records the calls of a logger."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
        self.lines: list[dict[str, Any]] = []
        monkeypatch.setattr(module, "_log", self)

    def info(self, message: str, /, **fields: Any) -> None:
        self.lines.append({"message": message, **fields})


def status(transport: Transport) -> int:
    return int(transport.value().split(b" ", 2)[1])


def refusals(world: World) -> dict[str, float]:
    return {reason: count for reason, count in world.metrics.refused_connections.values.items() if count}


def pushbacks(world: World) -> float:
    return sum(world.metrics.pushbacks.values.values())


def accept(world: World, peer: Any, *headers: str, proxy: bytes | None = None) -> tuple[Any, Transport]:
    """A connection from ``peer``, on a haproxy: endpoint when there is a PROXY header, and its request."""
    if proxy is None:
        transport = Transport("")
        transport.peerAddr = peer
        outer: Any = world.factory.buildProtocol(peer)
        protocol = outer
        outer.makeConnection(transport)
    else:
        outer, transport = proxied(world, peer)
        protocol = outer.wrappedProtocol
    if proxy:
        outer.dataReceived(proxy)
    outer.dataReceived(handshake(*headers))
    protocol.outer = outer
    return protocol, transport


def proxied(world: World, peer: Any) -> tuple[Any, Transport]:
    """A connection from ``peer`` on a haproxy: endpoint, before its PROXY header."""
    transport = Transport("")
    transport.peerAddr = peer
    reactor = MemoryReactorClock()
    make_endpoint(reactor, "haproxy:tcp:8080").endpoint.listen(world.factory)
    outer: Any = reactor.tcpServers[0][1].buildProtocol(peer)  # type: ignore[call-arg]
    outer.makeConnection(transport)
    return outer, transport


def tcp(host: str) -> Any:
    return (IPv6Address if ":" in host else IPv4Address)("TCP", host, 40000)


# by address


def test_an_address_is_a_subscriber_and_what_has_none_is_not_counted() -> None:
    world = World(max_connections_per_ip=1)
    peers = ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
    found = [status(accept(world, tcp(host))[1]) for host in peers]
    assert found == [101, 429, 101, 429, 101]
    assert [status(accept(world, UNIXAddress(None))[1]) for _ in range(3)] == [101] * 3
    assert refusals(world) == {"connections_per_ip": 2}


@pytest.mark.parametrize("splitter", [b"\x85", b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e"])
def test_a_byte_within_a_value_begins_no_header(splitter: bytes) -> None:
    world = World(max_connections_per_ip=1, trusted_proxies=("10.0.0.0/8",))
    found = []
    for number in range(3):
        protocol, transport = world.connect("10.0.0.1")
        lines = b"X-A: b" + splitter + b"X-Forwarded-For: 10.9.8.%d" % number, b"X-Forwarded-For: 198.51.100.1"
        protocol.dataReceived(HANDSHAKE + b"\r\n".join(lines) + b"\r\n\r\n")
        found.append(status(transport))
    assert found == ([101, 429, 429] if splitter == b"\x85" else [400] * 3)


@pytest.mark.parametrize(
    ("header", "name"), [("x-forwarded-for", "X-Forwarded-For: {}"), ("forwarded", "Forwarded: for={}")]
)
def test_the_header_of_a_trusted_proxy_names_the_client(header: str, name: str) -> None:
    world = World(max_connections_per_ip=1, trusted_proxies=("10.0.0.0/8",), forwarded_header=header)
    proxy = tcp("10.0.0.1")
    first, transport = accept(world, proxy, name.format("198.51.100.1"))
    assert (status(transport), first.peer) == (101, "198.51.100.1")
    assert status(accept(world, proxy, name.format("198.51.100.2"))[1]) == 101
    again, transport = accept(world, proxy, name.format("198.51.100.1"))
    assert status(transport) == 429
    assert b"\r\nRetry-After: " in transport.value()
    lose(again)
    lose(first)
    assert status(accept(world, proxy, name.format("198.51.100.1"))[1]) == 101


def test_a_header_of_an_untrusted_peer_is_ignored() -> None:
    world = World(max_connections_per_ip=1, trusted_proxies=("10.0.0.0/8",))
    found = [status(accept(world, tcp("192.0.2.1"), f"X-Forwarded-For: 198.51.100.{n}")[1]) for n in range(3)]
    assert found == [101, 429, 429]


def test_an_address_is_counted_before_its_request_unless_it_is_a_proxys() -> None:
    world = World(max_connections_per_ip=1, trusted_proxies=("10.0.0.0/8",))
    for host, expected in [("192.0.2.1", 429), ("10.0.0.1", 101)]:
        world.connect(host)  # never sends its request
        assert status(accept(world, tcp(host))[1]) == expected


V2_LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
V1 = b"PROXY TCP4 %b 127.0.0.1 5555 8080\r\n"


def test_the_proxy_protocol_names_the_client_on_its_endpoints_only() -> None:
    world = World(max_connections_per_ip=1)
    first, transport = accept(world, tcp("10.0.0.1"), proxy=V1 % b"192.0.2.7")
    assert (status(transport), first.peer) == (101, "192.0.2.7:5555")
    assert status(accept(world, tcp("10.0.0.2"), proxy=V1 % b"192.0.2.7")[1]) == 429
    assert status(accept(world, tcp("10.0.0.1"), proxy=V1 % b"192.0.2.8")[1]) == 101
    # as the proxy's own health checks: version 2, LOCAL
    assert status(accept(world, tcp("10.0.0.1"), proxy=V2_LOCAL)[1]) == 101
    lose(first.outer)
    assert status(accept(world, tcp("10.0.0.1"), proxy=V1 % b"192.0.2.7")[1]) == 101

    _, transport = world.connect()
    protocol = world.factory.buildProtocol(tcp("192.0.2.9"))
    transport = Transport("192.0.2.9")
    protocol.makeConnection(transport)
    protocol.dataReceived(V1 % b"192.0.2.10" + handshake())
    assert status(transport) == 400


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", V2_LOCAL])
@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8",)])
def test_a_header_without_an_address_means_the_sockets_own(header: bytes, trusted: tuple[str, ...]) -> None:
    world = World(max_connections_per_ip=1, trusted_proxies=trusted)
    _, transport = accept(world, tcp("192.0.2.9"), proxy=header)
    assert status(transport) == 101
    assert status(accept(world, tcp("192.0.2.9"), proxy=header)[1]) == 429


@pytest.mark.parametrize("header", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 x\x9b y 1 2\r\n", b"\r\n\r\n\0\r\nQUIX"])
def test_a_connection_without_a_proxy_header_leaves_a_trace(header: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    log = Lines(monkeypatch, factory_module)
    for number in range(20):
        protocol, transport = accept(world, IPv4Address("TCP", "10.0.0.1", number), proxy=header)
        assert transport.disconnecting
        lose(protocol)
    assert refusals(world) == {"proxy_header": 20}
    assert len(log.lines) == 10
    assert log.lines[1]["peer"] == "10.0.0.1:1"
    assert "PROXY header" in log.lines[0]["reason"]
    assert world.factory.limits.total == 0


@pytest.mark.parametrize("begun", [b"P", b"PROXY TCP4 192.0.2.9", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0"])
def test_a_connection_that_ends_within_its_proxy_header_leaves_a_trace(
    begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    log = Lines(monkeypatch, factory_module)
    for data in (begun, b""):
        protocol, _ = proxied(world, tcp("10.0.0.1"))
        if data:
            protocol.dataReceived(data)
        protocol.connectionLost(Failure(ConnectionDone()))
    # nothing at all is a check of the port
    assert refusals(world) == {"proxy_header": 1}
    assert log.lines[0]["reason"] == "the connection ended within its PROXY header"
    assert world.factory.limits.total == 0


def test_a_proxy_header_that_dawdles_is_counted_once() -> None:
    world = World()
    protocol, transport = proxied(world, tcp("10.0.0.1"))
    protocol.dataReceived(b"PROXY TCP4 192.0.2.9")
    for _ in range(12):
        world.clock.advance(1.0)
    assert status(transport) == 408
    protocol.connectionLost(Failure(ConnectionDone()))
    assert refusals(world) == {"header_timeout": 1}


def test_where_proxies_are_listed_the_proxy_header_of_others_is_ignored() -> None:
    world = World(max_connections_per_ip=1, trusted_proxies=("10.0.0.0/8",))
    inside = [accept(world, tcp("10.0.0.1"), proxy=V1 % b"192.0.2.%d" % n) for n in range(2)]
    outside = [accept(world, tcp("203.0.113.1"), proxy=V1 % b"192.0.2.%d" % n) for n in (10, 11)]
    assert [status(transport) for _, transport in inside + outside] == [101, 101, 101, 429]
    assert outside[0][0].peer.startswith("203.0.113.1")


def test_a_proxy_behind_a_proxy() -> None:
    world = World(max_connections_per_ip=1, trusted_proxies=("10.0.0.0/8",))
    found = [
        accept(world, tcp("10.0.0.1"), f"X-Forwarded-For: {client}", proxy=V1 % b"10.0.0.2")
        for client in ("198.51.100.1", "198.51.100.2", "198.51.100.1")
    ]
    assert [status(transport) for _, transport in found] == [101, 101, 429]


# numbers and speed


def test_unauthenticated_connections_are_bounded_until_their_canister_has_answered() -> None:
    """A client whose ws_open hangs at its canister is still unauthenticated."""
    world = World(max_pending=2)
    protocol, _ = accept(world, tcp("192.0.2.1"))
    session = world.sessions[-1]
    _, second = accept(world, tcp("192.0.2.1"))
    protocol.dataReceived(masked(2, b"ws_open"))
    session.state = State.SETUP
    protocol.dataReceived(masked(2, b"held back until the session is open"))
    assert len(world.factory.limits.waiting) == 2
    session.state = State.OPEN
    protocol.deliver([frame(b"the canister's first message")])
    assert len(world.factory.limits.waiting) == 1
    assert status(accept(world, tcp("192.0.2.3"))[1]) == 101
    assert status(accept(world, tcp("192.0.2.4"))[1]) == 101
    # an authenticated connection is not evicted to make room
    assert [bool(each.ended) for each in world.sessions] == [False, True, False, False]
    assert b"too many clients are connecting" in second.value()
    assert refusals(world) == {"pending": 1}
    protocol.dataReceived(masked(2, bytes(100_000)))
    assert session.received_messages[-1] == (bytes(100_000), True)


@pytest.mark.parametrize("state", [State.INIT, State.SETUP])
def test_an_unauthenticated_message_has_at_most_64_kib(state: State) -> None:
    world = World(max_pending=2)
    protocol, transport = accept(world, tcp("192.0.2.1"))
    world.sessions[-1].state = state
    protocol.dataReceived(masked(2, b"ws_open"))
    transport.clear()
    protocol.dataReceived(masked(2, bytes((64 << 10) + 1))[:20])
    assert read_frames(transport.value())[0][1][:2] == (1009).to_bytes(2, "big")


@pytest.mark.parametrize("state", list(State))
def test_a_client_that_leaves_in_any_state_frees_its_place(state: State) -> None:
    world = World(max_pending=1)
    for _ in range(3):
        protocol, transport = accept(world, tcp("192.0.2.1"))
        assert status(transport) == 101
        world.sessions[-1].state = state
        protocol.dataReceived(masked(2, b"ws_open"))
        if state is State.OPEN:
            protocol.deliver([frame(b"the canister's first message")])
        lose(protocol)
        limits = world.factory.limits
        assert (limits.total, len(limits.waiting), limits.refused) == (0, 0, 0)


def test_silent_connections_of_one_address_keep_no_client_out() -> None:
    world = World(max_pending=200)
    silent = [world.connect("2001:db8::1") for _ in range(200)]
    admitted = [accept(world, tcp(f"192.0.2.{number}"))[1] for number in range(40)]
    assert [status(transport) for transport in admitted] == [101] * 40
    silent += [world.connect(f"2001:db8::{number:x}") for number in range(1000)]
    assert not any(transport.disconnecting or transport.aborted for transport in admitted)
    answered = [transport for _, transport in silent if transport.value()]
    assert {status(transport) for transport in answered} == {503}
    assert len(answered) == REFUSED
    assert refusals(world) == {"pending": 1200 - 160}
    # an answered client keeps no place and is not waited for, and no more than that wait for their answer at a time
    assert (world.factory.limits.total, world.factory.limits.refused) == (200, 1200 - 160)
    assert [transport.aborted for _, transport in silent].count(True) == 1200 - 160 - REFUSED
    for protocol, _ in silent:
        lose(protocol)
    limits = world.factory.limits
    assert (limits.total, len(limits.waiting), limits.refused) == (40, 40, 0)


@pytest.mark.parametrize("max_pending", [0, 50, 5_000])
def test_silent_unauthenticated_connections_do_not_fill_the_total_either(max_pending: int) -> None:
    """With --max-pending unlimited, equal to --max-connections, or above it."""
    world = World(max_connections=50, max_pending=max_pending)
    members = [world.open()[0] for _ in range(10)]
    for member in members:
        member.deliver([frame(b"the canister's first message")])
    silent = [world.connect("2001:db8::1") for _ in range(200)]
    assert world.factory.limits.total == 50
    admitted = [accept(world, tcp(f"192.0.2.{number}"))[1] for number in range(20)]
    assert [status(transport) for transport in admitted] == [101] * 20
    limits = world.factory.limits
    assert (limits.total, len(limits.waiting)) == (50, 40)
    # nobody whose canister has spoken went for them
    assert not any(session.ended for session in world.sessions[:10])
    for protocol, _ in silent:
        lose(protocol)
    assert (limits.total, len(limits.waiting), limits.refused) == (30, 20, 0)


def test_where_all_connections_are_taken_a_crowd_does_not_push_out_one_another() -> None:
    world = World(max_connections=5)
    first = [accept(world, tcp(f"192.0.2.{number}"))[1] for number in range(5)]
    late = [accept(world, tcp(f"198.51.100.{number}"))[1] for number in range(20)]
    assert [status(transport) for transport in first] == [101] * 5
    assert not any(session.ended for session in world.sessions)
    assert [status(transport) for transport in late] == [503] * 20
    assert refusals(world) == {"connections": 20}
    # two of one address make room for one of another, which is then no worse off than anybody
    world = World(max_connections=5)
    for number in (1, 1, 2, 3, 4):
        accept(world, tcp(f"192.0.2.{number}"))
    assert [status(accept(world, tcp(f"198.51.100.{number}"))[1]) for number in range(3)] == [101, 503, 503]
    assert [bool(session.ended) for session in world.sessions] == [True] + [False] * 5


def test_an_evicted_connection_that_stays_holds_no_place() -> None:
    world = World(max_connections=20, max_pending=10)
    for _ in range(100):
        accept(world, tcp("192.0.2.1"))
    # their closing handshakes are not done
    assert (world.factory.limits.total, world.factory.limits.refused) == (10, 90)
    assert status(accept(world, tcp("192.0.2.2"))[1]) == 101


def test_a_connection_evicted_in_a_tls_handshake_is_dropped() -> None:
    world = World(max_pending=1)
    first, transport = world.connect()
    first._in_tls = True
    accept(world, tcp("192.0.2.3"))
    assert transport.aborted
    assert refusals(world) == {"pending": 1}
    lose(first)


@pytest.mark.parametrize(
    ("in_tls", "reason", "noted"),
    [
        (True, SSL.Error([("SSL routines", "", "no shared cipher")]), {"tls": 1}),
        (True, ConnectionLost(), {}),
        (True, None, {}),
        (False, SSL.Error([("SSL routines", "", "no shared cipher")]), {}),
    ],
)
def test_a_tls_handshake_that_fails_is_counted_and_a_loss_is_none(
    in_tls: bool, reason: Exception | None, noted: dict[str, float]
) -> None:
    world = World()
    protocol, _ = world.connect()
    protocol._in_tls = in_tls
    protocol.connectionLost(None if reason is None else Failure(reason))
    assert refusals(world) == noted


def test_behind_a_proxy_unauthenticated_addresses_are_distinguished_when_it_has_named_them() -> None:
    world = World(max_pending=3, trusted_proxies=("10.0.0.1",))
    many = [accept(world, tcp("10.0.0.1"), "X-Forwarded-For: 198.51.100.1") for _ in range(2)]
    one = accept(world, tcp("10.0.0.1"), "X-Forwarded-For: 198.51.100.2")[1]
    new = accept(world, tcp("10.0.0.1"), "X-Forwarded-For: 198.51.100.3")[1]
    assert [status(transport) for transport in (one, new)] == [101, 101]
    assert b"too many clients" in many[0][1].value()
    assert b"too many clients" not in many[1][1].value()
    assert b"too many clients" not in one.value()


def test_how_fast_connections_may_come() -> None:
    world = World(accept_rate=2)
    assert [status(accept(world, tcp(f"192.0.2.{n}"))[1]) for n in range(6)] == [101] * 4 + [503] * 2
    world.clock.advance(0.5)
    assert status(accept(world, tcp("192.0.2.9"))[1]) == 101
    world = World(accept_rate_per_ip=1)
    assert [status(accept(world, tcp("192.0.2.1"))[1]) for n in range(6)] == [101] * 5 + [429]
    assert status(accept(world, tcp("192.0.2.2"))[1]) == 101
    assert refusals(world) == {"accept_rate_per_ip": 1}


@pytest.mark.parametrize("option", ["accept_rate", "accept_rate_per_ip"])
def test_after_a_burst_that_a_rate_refused_the_counts_are_those_of_who_is_there(option: str) -> None:
    world = World(**{option: 1}, max_connections=8, max_pending=8)
    limits = world.factory.limits
    found = [accept(world, tcp("192.0.2.1")) for _ in range(60)]
    admitted = [each for each in found if status(each[1]) == 101]
    assert 2 <= len(admitted) <= 5
    # those that are refused wait for their answer outside of the counts
    assert (limits.total, len(limits.waiting), limits.refused) == (len(admitted), len(admitted), 60 - len(admitted))
    for protocol, _ in found:
        lose(protocol)
    assert (limits.total, len(limits.waiting), limits.refused) == (0, 0, 0)
    world.clock.advance(60.0)
    assert status(accept(world, tcp("192.0.2.1"))[1]) == 101


def test_refused_connections_do_not_pile_up() -> None:
    world = World(max_connections=1)
    inside, _ = world.connect()
    waiting = [world.connect() for _ in range(REFUSED)]
    assert not any(transport.aborted for _, transport in waiting)
    late, transport = world.connect()
    assert transport.aborted
    assert refusals(world) == {"connections": 1}
    for protocol, _ in waiting:
        lose(protocol)
    lose(late)
    assert (world.factory.limits.total, world.factory.limits.refused) == (1, 0)
    lose(inside)
    assert status(accept(world, tcp("192.0.2.1"))[1]) == 101


def test_repeated_lines_are_counted_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(allowed_origins=("https://app.example",))
    log = Lines(monkeypatch, factory_module)
    for n in range(50):
        lose(accept(world, tcp("2001:db8::1" if n % 2 else "192.0.2.1"))[0])
    assert len(log.lines) == 20
    assert log.lines[0] == {
        "message": "connection refused",
        "reason": "no origin was sent, only https://app.example may connect",
        "status": 403,
        "peer": "192.0.2.1:40000",
    }
    assert log.lines[1]["peer"] == "[2001:db8::1]:40000"
    log.lines.clear()
    world.clock.pump([1.0] * 61)
    assert [(line["reason"], line["peer"], line["count"]) for line in log.lines] == [
        ("origin", "192.0.2.1", 15),
        ("origin", "2001:db8::/64", 15),
    ]
    assert refusals(world) == {"origin": 50}


# rates


def opened(world: World, *headers: str) -> tuple[GatewayProtocol, Transport, Session]:
    """A client to which its canister has spoken."""
    protocol, transport = world.connect()
    protocol.dataReceived(handshake(*headers))
    assert status(transport) == 101
    transport.clear()
    session = world.sessions[-1]
    session.state = State.OPEN
    protocol.dataReceived(masked(2, b"ws_open"))
    protocol.deliver([frame(b"the canister's first message")])
    transport.clear()
    session.received_messages.clear()
    return protocol, transport, session


def test_bursts_pass_and_a_client_over_its_rate_is_not_read_for_a_while() -> None:
    world = World(client_message_rate=25)
    protocol, transport, session = opened(world)
    world.clock.advance(100.0)
    for n in range(49):
        protocol.dataReceived(masked(2, b"%d" % n))
    assert transport.producerState == "producing"
    # up to a second burst after a quiet time, see icwsgw.core.rate_limit
    protocol.dataReceived(b"".join(masked(2, b"x") for _ in range(61)))
    assert transport.producerState == "paused"
    assert len(session.received_messages) == 110
    assert pushbacks(world) == 1
    world.clock.advance(0.3)
    assert transport.producerState == "paused"
    world.clock.advance(0.3)
    assert transport.producerState == "producing"
    assert not session.ended


def test_the_rate_over_a_long_time() -> None:
    world = World(client_message_rate=100)
    protocol, transport, session = opened(world)
    for _ in range(1000):
        # as many reads as the kernel has data for, as long as the socket is read
        for _ in range(20):
            if transport.producerState == "producing":
                protocol.dataReceived(masked(2, b"x"))
        world.clock.advance(0.01)
    assert 1000 <= len(session.received_messages) <= 1000 + 2 * 200 + 10
    assert not session.ended


def test_a_paused_client_is_not_taken_for_a_dead_one() -> None:
    world = World(client_message_rate=1, ping_interval=10.0)
    protocol, transport, _ = opened(world)
    protocol.dataReceived(masked(2, b"x") * 180)
    assert transport.producerState == "paused"
    world.clock.pump([1.0] * 60)
    assert not transport.aborted
    assert frames_of(transport) == []


@pytest.mark.parametrize(
    ("flood", "what"),
    [
        (masked(9, b"") * 2000, "pings"),
        (masked(10, b"") * 2000, "pongs"),
        (masked(2, b"") * 2000, "empty messages"),
        (masked(2, b"", fin=False) + masked(0, b"", fin=False) * 2000, "empty fragments"),
        (masked(2, b"x", fin=False) + (masked(0, b"y", fin=False) + masked(9, b"z")) * 1000, "fragments and pings"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_flood_of_frames_is_closed_and_what_follows_is_dropped(flood: bytes, what: str) -> None:
    world = World()
    protocol, transport, session = opened(world)
    protocol.dataReceived(flood)
    assert [code for code, _ in session.ended] == [CloseCode.RATE_LIMIT], what
    assert len(session.received_messages) <= 800
    sent = frames_of(transport)
    assert sent[-1][1][:2] == (4108).to_bytes(2, "big")
    assert len(sent) <= 801
    for _ in range(100):
        protocol.dataReceived(flood)
    assert frames_of(transport) == []
    assert protocol.data == b""
    world.clock.pump([1.0] * 4)
    assert transport.aborted
    lose(protocol)


def test_what_follows_a_flood_is_read_in_sips() -> None:
    world = World()
    protocol, transport, _ = opened(world)
    protocol.dataReceived(masked(9, b"") * 2000)
    for _ in range(20):
        assert transport.producerState == "producing"
        protocol.dataReceived(masked(9, b"") * 2000)
        assert transport.producerState == "paused"
        world.clock.advance(FLOOD_SIP)
    world.clock.pump([1.0] * 4)
    assert transport.aborted
    lose(protocol)
    assert [call for call in world.clock.getDelayedCalls() if call.func == protocol._pause_over] == []


def test_it_is_paused_once_for_both_reasons() -> None:
    world = World(client_message_rate=5)
    protocol, transport, _ = opened(world)
    protocol.dataReceived(masked(2, b"x") * 15)
    protocol.pause()
    world.clock.advance(5.0)
    assert transport.producerState == "paused"
    protocol.resume()
    assert transport.producerState == "producing"

    protocol.pause()
    protocol.dataReceived(masked(2, b"x") * 12)
    protocol.resume()
    assert transport.producerState == "paused"
    world.clock.advance(5.0)
    assert transport.producerState == "producing"
    protocol.dataReceived(masked(2, b"x") * 15)
    lose(protocol)
    assert [call for call in world.clock.getDelayedCalls() if call.func == protocol._pause_over] == []


def test_bytes_are_limited_too() -> None:
    world = World(client_byte_rate=25_000, client_message_rate=0, max_message_bytes=80_000)
    protocol, transport, session = opened(world)
    protocol.dataReceived(masked(2, bytes(60_000)))
    assert transport.producerState == "producing"
    protocol.dataReceived(masked(2, bytes(60_000)))
    assert transport.producerState == "paused"
    assert world.metrics.pushbacks.values["bytes"] == 1
    world.clock.advance(3.0)
    assert transport.producerState == "producing"
    assert not session.ended


def test_no_limit_means_none() -> None:
    world = World(client_byte_rate=0, client_message_rate=0)
    protocol, transport, session = opened(world)
    protocol.dataReceived(masked(2, b"x") * 20_000)
    assert len(session.received_messages) == 20_000
    assert transport.producerState == "producing"


def test_a_connection_that_is_being_closed_cannot_flood_either() -> None:
    world = World()
    protocol, transport, session = opened(world)
    protocol.close(CloseCode.REPLACED, "replaced")
    protocol.dataReceived(masked(9, b"") * 2000)
    assert protocol.data == b""
    assert [opcode for opcode, _ in frames_of(transport)] == [8]
    assert session.ended == []
    world.clock.pump([1.0] * 4)
    assert transport.aborted


# sizes


def test_an_unauthenticated_message_is_short() -> None:
    world = World()
    protocol, transport, session = world.open()
    protocol.dataReceived(masked(2, bytes(65_537))[:20])
    assert frames_of(transport)[0][1][:2] == (1009).to_bytes(2, "big")
    assert session.cause == 1009

    protocol, transport, session = opened(world)
    protocol.dataReceived(masked(2, bytes(2 << 20)))
    assert session.received_messages == [(bytes(2 << 20), True)]


def test_an_unauthenticated_client_gets_room_by_its_ws_open_only() -> None:
    world = World()
    protocol, transport, session = world.open()
    session.state = State.INIT
    protocol.dataReceived(masked(2, b"rubbish"))
    protocol.dataReceived(masked(2, bytes(65_537)))
    assert frames_of(transport)[0][1][:2] == (1009).to_bytes(2, "big")
    assert len(world.factory.limits.waiting) == 1


# deadlines


@pytest.mark.parametrize("kind", ["frames that go on", "one frame that dribbles"])
def test_a_message_that_never_ends_is_closed(kind: str) -> None:
    world = World(message_timeout=100.0)
    protocol, _, session = opened(world)
    protocol.dataReceived(masked(2, b"x", fin=False) if kind.startswith("frames") else masked(2, bytes(200_000))[:100])
    for _ in range(200):
        world.clock.advance(1.0)
        if not session.ended:
            protocol.dataReceived(masked(0, b"y", fin=False) if kind.startswith("frames") else b"y")
    code, text = session.ended[0]
    assert code == CloseCode.POLICY
    assert "is incomplete" in text


def test_a_frame_header_that_never_ends_is_closed() -> None:
    """One byte of it after the other, just often enough that the client is not closed as idle."""
    world = World(message_timeout=100.0)
    protocol, _, session = opened(world)
    header = masked(2, bytes(70_000))[:14]
    for byte in header[:-1]:
        protocol.dataReceived(bytes((byte,)))
        world.clock.pump([1.0] * 20)
    code, text = session.ended[0]
    assert code == CloseCode.POLICY
    assert "is incomplete" in text


def test_many_messages_in_fragments_are_none_that_never_ends() -> None:
    world = World(message_timeout=60.0)
    protocol, _, session = opened(world)
    for _ in range(100):
        protocol.dataReceived(masked(2, b"x", fin=False))
        world.clock.advance(2.5)
        # whenever the wheel looks, a message is unfinished
        session.messages_up += 1
        protocol.dataReceived(masked(0, b"y") + masked(2, b"z", fin=False))
        world.clock.advance(2.5)
        session.messages_up += 1
        protocol.dataReceived(masked(0, b"y"))
    assert not session.ended


def test_a_client_that_never_reads_costs_a_bounded_amount() -> None:
    world = World(client_message_rate=0, client_byte_rate=0, outbox_bytes=4 << 20)
    protocol, transport, session = opened(world)
    outbox: Any = transport.producer
    outbox.pauseProducing()
    for _ in range(500):
        protocol.dataReceived(masked(9, bytes(125)) * 100)
    assert outbox.size <= world.factory.outbox_bytes + 200
    world.clock.advance(1.0)
    assert session.ended[0][0] == CloseCode.TOO_SLOW


def test_the_request_may_dawdle_for_so_long_whatever_it_sends() -> None:
    world = World()
    protocol, transport = world.connect()
    for byte in (HANDSHAKE * 3)[:30]:
        protocol.dataReceived(bytes((byte,)))
        world.clock.advance(1.0)
    assert status(transport) == 408
    assert transport.aborted
    assert refusals(world) == {"header_timeout": 1}
    protocol.connectionLost(Failure(ConnectionDone()))


def test_a_limit_by_address_that_begins_counts_those_that_are_connected() -> None:
    world = World()
    for _ in range(3):
        accept(world, tcp("192.0.2.1"))
    accept(world, tcp("192.0.2.2"))
    world.connect()
    assert status(accept(world, tcp("192.0.2.1"))[1]) == 101
    config = replace(world.factory._config, max_connections_per_ip=3)
    world.factory.change(config)
    # nobody is closed, and nobody more may come
    assert [bool(session.ended) for session in world.sessions] == [False] * len(world.sessions)
    assert status(accept(world, tcp("192.0.2.1"))[1]) == 429
    assert status(accept(world, tcp("192.0.2.2"))[1]) == 101
    # changed, it counts nobody twice
    world.factory.change(replace(config, max_connections_per_ip=5))
    assert [status(accept(world, tcp("192.0.2.2"))[1]) for _ in range(4)] == [101, 101, 101, 429]
    world.factory.change(replace(config, max_connections_per_ip=0))
    assert status(accept(world, tcp("192.0.2.1"))[1]) == 101
    for connection in list(world.factory.connections):
        lose(connection)
    assert world.factory.limits._by_group == {}
    assert world.factory.limits.total == 0
