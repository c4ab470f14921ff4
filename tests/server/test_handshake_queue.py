"""Connections of addresses that have sent forged ws_opens wait in a queue; no address is banned."""

from __future__ import annotations

from typing import Any

from icwsgw.core.suspect_addresses import FORGED, MEMORY, RATE
from tests.server.test_admission import accept, refusals, status, tcp
from tests.server.test_protocol import World, lose
from tests.support.ws_wire import HANDSHAKE, masked

SUSPECT, OTHER = "192.0.2.1", "198.51.100.1"


def suspicious(**options: Any) -> World:
    world = World(**options)
    for _ in range(FORGED):
        world.gateway.context.suspects.forged(SUSPECT, world.clock.seconds())
    assert status(accept(world, tcp(SUSPECT))[1]) == 101
    return world


def forge_on(world: World, seconds: float) -> None:
    """Let time pass in which the attack continues."""
    for _ in range(round(seconds * 100)):
        world.gateway.context.suspects.forged(SUSPECT, world.clock.seconds())
        world.clock.advance(0.01)


def test_connections_of_a_suspect_wait_and_those_of_others_do_not() -> None:
    world = suspicious()
    waiting = [accept(world, tcp(SUSPECT))[1] for _ in range(120)]
    assert [transport.value() for transport in waiting] == [b""] * 120
    assert status(accept(world, tcp(OTHER))[1]) == 101
    forge_on(world, 1.0)
    admitted = [bool(transport.value()) for transport in waiting]
    assert RATE - 2 <= sum(admitted) <= RATE + 1
    assert admitted == sorted(admitted, reverse=True), "in the order in which they came"
    forge_on(world, 1.5)
    assert [status(transport) for transport in waiting] == [101] * 120
    assert len(world.sessions) == 122


def test_each_turn_comes_when_it_is_due() -> None:
    world = suspicious()
    waiting = [accept(world, tcp(SUSPECT))[1] for _ in range(3)]
    admitted = []
    for _ in waiting:
        world.clock.advance(1 / RATE)
        admitted.append(sum(bool(transport.value()) for transport in waiting))
    assert admitted == [1, 2, 3]


def test_behind_a_trusted_proxy_it_is_the_clients_address() -> None:
    world = World(trusted_proxies=("10.0.0.0/8",))
    for _ in range(FORGED):
        world.gateway.context.suspects.forged(SUSPECT, 0.0)
    proxy = tcp("10.0.0.1")
    assert status(accept(world, proxy, f"X-Forwarded-For: {SUSPECT}")[1]) == 101
    assert accept(world, proxy, f"X-Forwarded-For: {SUSPECT}")[1].value() == b""
    assert status(accept(world, proxy, f"X-Forwarded-For: {OTHER}")[1]) == 101


def test_what_comes_too_early_is_kept_and_too_much_of_it_ends_the_connection() -> None:
    world = suspicious()
    early, transport = accept(world, tcp(SUSPECT))
    early.dataReceived(masked(2, b"early"))
    greedy, greedy_transport = accept(world, tcp(SUSPECT))
    for _ in range(20):
        greedy.dataReceived(masked(2, bytes(1000)))
    assert greedy_transport.aborted
    lose(greedy)
    assert transport.value() == b""
    forge_on(world, 0.2)
    assert status(transport) == 101
    assert world.sessions[-1].received_messages == [(b"early", True)]


def test_who_leaves_while_it_waits_costs_no_turn_and_leaves_nothing_behind() -> None:
    world = suspicious()
    gone = [accept(world, tcp(SUSPECT)) for _ in range(500)]
    last, transport = accept(world, tcp(SUSPECT))
    for protocol, _ in gone:
        lose(protocol)
    forge_on(world, 0.2)
    assert status(transport) == 101
    assert len(world.sessions) == 2
    lose(last)
    assert world.gateway.context.suspects.waiting == 0
    assert world.factory.limits.total == 1


def test_a_connection_whose_turn_does_not_come_in_time_gets_an_answer() -> None:
    world = suspicious(header_timeout=2.0)
    waiting = [accept(world, tcp(SUSPECT))[1] for _ in range(300)]
    forge_on(world, 4.0)
    found = [status(transport) for transport in waiting]
    assert set(found) == {101, 429}
    assert found.count(101) <= 3 * RATE
    assert refusals(world) == {"accept_rate_per_ip": found.count(429)}
    assert world.gateway.context.suspects.waiting == 0


def test_when_the_attack_is_over_all_are_admitted() -> None:
    world = suspicious(header_timeout=60.0)
    waiting = [accept(world, tcp(SUSPECT))[1] for _ in range(1000)]
    world.clock.pump([0.05] * round(20 * (MEMORY + 1)))
    assert {status(transport) for transport in waiting} == {101}
    assert status(accept(world, tcp(SUSPECT))[1]) == 101


def test_who_waits_when_the_gateway_begins_to_drain_is_refused() -> None:
    world = suspicious()
    _, transport = accept(world, tcp(SUSPECT))
    world.gateway.draining = True
    forge_on(world, 0.2)
    assert status(transport) == 503
    assert refusals(world) == {"draining": 1}


def test_an_evicted_connection_waits_no_more() -> None:
    world = suspicious(max_pending=3)
    waiting = [accept(world, tcp(SUSPECT))[1] for _ in range(6)]
    forge_on(world, 1.0)
    assert world.gateway.context.suspects.waiting == 0
    assert [status(transport) for transport in waiting][-2:] == [101, 101]
    assert status(waiting[0]) == 503


def test_a_request_in_pieces_waits_once() -> None:
    world = suspicious()
    protocol, transport = world.connect(SUSPECT)
    for byte in HANDSHAKE + b"\r\n":
        protocol.dataReceived(bytes([byte]))
    assert transport.value() == b""
    forge_on(world, 0.2)
    assert status(transport) == 101
