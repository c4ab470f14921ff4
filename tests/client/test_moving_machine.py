"""A client that moves: two gateways with the devnet in memory, and the machine by hand where they would not do it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icwsgw.client import moving_machine
from icwsgw.client.client_events import (
    AbortNext,
    ClientOpened,
    CloseConnection,
    ConnectNext,
    Disconnected,
    Ended,
    Promote,
)
from icwsgw.client.client_machine import ClientState
from icwsgw.client.client_session import MessageReceived
from icwsgw.client.client_settings import DEFAULT_SETTINGS, ClientSettings
from icwsgw.client.moving_machine import (
    TABLE,
    MovePhase,
    MovingClientMachine,
    MovingEvent,
)
from icwsgw.core.call_slots import CallSlots
from icwsgw.core.client_calls import WaitingBytes
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.messages import handshake
from icwsgw.core.move_machine import CALLS_RELAYED, CLIENT_LEAVING, move_request
from icwsgw.gateway.gateway import Gateway
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.observe.metrics import Metrics
from tests.client.memory_link import MemoryLink
from tests.memory.world import World

OTHER = Ed25519Identity(b"\x08" * 32)


def other_gateway(world: World) -> Gateway:
    """A gateway of another process, with a key of its own."""
    context = replace(
        world.context,
        identities=(OTHER,),
        metrics=Metrics(),
        calls=CallSlots(1024),
        waiting=WaitingBytes(),
        queries=CallSlots(512, 3),
        newcomers_queries=CallSlots(64),
        newcomers=CallSlots(2000),
    )
    gateway = Gateway(context)
    gateway.start()
    return gateway


def moving(world: World, settings: ClientSettings | None = None) -> MemoryLink:
    """A client with an open session that knows another gateway."""
    link = MemoryLink(world, settings=settings or ClientSettings())
    link.others.append(other_gateway(world))
    return link.opened()


def machine_of(link: MemoryLink) -> MovingClientMachine:
    assert isinstance(link.machine, MovingClientMachine)
    return link.machine


def end(world: World, link: MemoryLink) -> None:
    link.client.stop()
    world.run(2)
    link.others[0].stop()


def test_the_module_shows_the_table() -> None:
    assert moving_machine.__doc__ is not None
    rows = [line.split() for line in moving_machine.__doc__.splitlines() if line.startswith("    ")][2:]
    shown = {(phase, event): (after, effect) for phase, event, after, effect in rows}
    table = {
        (p.name, e.name): (after.name, effect.name if effect else "-") for (p, e), (after, effect) in TABLE.items()
    }
    assert shown == table


@pytest.mark.parametrize("latency", [0.0, 0.4])
def test_its_session_moves_while_messages_go_up_and_down(latency: float) -> None:
    world = World(call_latency=latency, query_latency=latency / 4)
    link = moving(world)
    first = link.machine.gateway
    done: list[None] = []
    sent = 0
    # a client has one call in flight
    for _ in range(60):
        if sent == 10:
            world.gateway.drain(30.0).addCallback(done.append)
        link.client.send(b"%d" % sent)
        sent += 1
        world.run(0.1 + latency)
    world.until(lambda: len(link.received) == sent)
    world.run(1.5)
    assert link.received == [b"%d" % number for number in range(sent)]
    assert [event.resumed for event in link.of(ClientOpened)] == [False, True]
    assert link.of(Disconnected) == []
    assert link.machine.gateway == OTHER.principal != first
    assert done == [None]
    # ws_close of the session that the canister has replaced
    assert (world.replica.stats["ws_open"], world.replica.stats["ws_close"]) == (2, 1)
    end(world, link)


def test_it_leaves_only_when_the_other_gateway_answers() -> None:
    world = World()
    link = moving(world)
    link.refusing_others = 3
    world.gateway.drain(30.0)
    world.run(2.5)
    assert machine_of(link).phase is MovePhase.CONNECTING
    link.client.send(b"here")
    world.until(lambda: link.received == [b"here"])
    assert link.machine.gateway != OTHER.principal
    world.until(lambda: link.machine.gateway == OTHER.principal)
    assert link.of(Disconnected) == []
    end(world, link)


def test_who_does_not_find_another_gateway_in_time_reconnects_as_ever() -> None:
    world = World()
    link = moving(world)
    link.refusing_others = 1000
    world.gateway.drain(30.0)
    world.until(lambda: link.of(Disconnected), 20)
    (lost,) = link.of(Disconnected)
    assert lost.error.code == CloseCode.DRAINING
    assert machine_of(link).phase is MovePhase.STAYING
    end(world, link)


def test_an_end_while_it_moves_ends_both_connections() -> None:
    world = World(call_latency=0.5)
    link = moving(world)
    link.client.send(b"on its way")
    world.gateway.drain(30.0)
    world.until(lambda: machine_of(link).phase is MovePhase.LEAVING)
    link.client.stop()
    world.run(3)
    assert isinstance(link.events[-1], Ended)
    assert link.others[0].registry.sessions == set()
    assert world.gateway.registry.sessions == set()
    link.others[0].stop()


def test_a_client_that_does_not_reconnect_does_not_move() -> None:
    world = World()
    link = moving(world, ClientSettings(reconnect=False))
    world.gateway.drain(30.0)
    world.run(1)
    assert isinstance(link.events[-1], Ended)
    link.others[0].stop()


# -- by hand ----------------------------------------------------------------------------------------------------------


def requested_to_move() -> tuple[World, MovingClientMachine]:
    """A machine that was requested to move, and connects."""
    world = World()
    machine = machine_of(moving(world))
    assert machine.received(move_request(8), 100.0, world.now_ns()) == [ConnectNext("ws://memory")]
    return world, machine


def test_the_calls_of_this_session_end_before_the_next_one_opens() -> None:
    world, machine = requested_to_move()
    machine.send(b"waits")
    assert machine.next_payload(world.now_ns()) is None
    assert machine.next_received(handshake(OTHER.principal.raw), 101.0, world.now_ns()) == []
    assert machine.payload(world.now_ns()) == (CLIENT_LEAVING, [])
    assert machine.payload(world.now_ns()) == (None, [])
    assert machine.next_payload(world.now_ns()) is None
    assert machine.received(CALLS_RELAYED, 102.0, world.now_ns()) == []
    opening = machine.next_payload(world.now_ns())
    assert opening is not None
    assert b"ws_open" in opening
    assert machine.next_payload(world.now_ns()) is None
    assert machine.phase is MovePhase.OPENING


def test_a_failure_after_leaving_is_another_attempt_and_is_reported_once() -> None:
    world, machine = requested_to_move()
    now_ns = world.now_ns()
    machine.next_received(handshake(OTHER.principal.raw), 101.0, now_ns)
    machine.payload(now_ns)
    assert machine.next_lost(101.5) == []
    assert machine.phase is MovePhase.LEFT
    machine.received(CALLS_RELAYED, 101.6, now_ns)
    assert machine.phase is MovePhase.RELAYED
    assert machine.deadline == 101.5 + DEFAULT_SETTINGS.move_pause
    assert machine.tick(102.4) == []
    assert machine.tick(machine.deadline) == [ConnectNext("ws://memory")]
    machine.next_received(handshake(OTHER.principal.raw), 103.0, now_ns)
    assert machine.payload(now_ns) == (None, [])
    assert machine.next_payload(now_ns) is not None
    # no answer to ws_open in time
    assert machine.tick(400.0) == [AbortNext()]
    assert machine.tick(401.1) == [ConnectNext("ws://memory")]


class NextSession:
    """The next session, once it is open; its messages are numbers."""

    gateway = OTHER.principal

    def receive(self, payload: bytes, now_ns: int) -> MessageReceived:
        return MessageReceived(payload, 1, now_ns)


def overlapping() -> tuple[World, MovingClientMachine]:
    """A machine with two open sessions."""
    world, machine = requested_to_move()
    now_ns = world.now_ns()
    machine.next_received(handshake(OTHER.principal.raw), 101.0, now_ns)
    machine.received(CALLS_RELAYED, 102.0, now_ns)
    machine._next = NextSession()  # type: ignore[assignment]
    machine._step(MovingEvent.OPENED, 103.0)
    assert (machine.phase, machine.deadline) == (MovePhase.OVERLAPPING, 103.0 + DEFAULT_SETTINGS.overlap)
    return world, machine


@pytest.mark.parametrize("by", ["time", "the other side"])
def test_messages_of_the_next_session_follow_those_of_this_one(by: str) -> None:
    _, machine = overlapping()
    for payload, now_ns in ((b"one", 7), (b"two", 8)):
        assert machine.next_received(payload, 103.5, now_ns) == []
    over = machine.tick(103.0 + DEFAULT_SETTINGS.overlap) if by == "time" else machine.lost(1000, "bye", 103.7)
    assert over == [
        Promote(),
        ClientOpened(OTHER.principal, True, ()),
        *(MessageReceived(b"one", 1, 7), MessageReceived(b"two", 1, 8)),
    ]
    assert (machine.phase, machine.gateway, machine.deadline) == (MovePhase.STAYING, OTHER.principal, None)
    # there is no second connection any more
    assert machine.next_lost(105.0) == []
    assert machine.next_received(b"three", 105.0, 9) == []
    # and it can move again
    assert machine.received(move_request(8), 200.0, 10) == [ConnectNext("ws://memory")]
    assert machine.next_payload(10) is None
    machine.next_received(handshake(OTHER.principal.raw), 201.0, 10)
    assert machine.payload(10) == (CLIENT_LEAVING, [])


def test_what_it_does_not_do_by_itself_is_that_of_any_client() -> None:
    machine = machine_of(moving(World()))
    assert machine.received(b"text", 1.0, 10**18, binary=False) == [CloseConnection(4000, "a text message came")]
    machine = machine_of(moving(World()))
    (lost,) = machine.lost(4105, "the canister was reset", 1.0)
    assert isinstance(lost, Disconnected)
    assert "the canister was reset" in str(lost.error)
    for arguments, close in (((), (1000, "")), ((4001, "bye"), (4001, "bye"))):
        machine = machine_of(moving(World()))
        assert machine.stop(1.0, *arguments) == [CloseConnection(*close)]


def test_messages_that_do_not_belong_there_end_the_second_connection() -> None:
    for payload, binary in ((b"no CBOR", True), (handshake(b"\1" * 29), False), (b"\xa0", True)):
        world, machine = requested_to_move()
        assert machine.next_received(payload, 101.0, world.now_ns(), binary=binary) == [AbortNext()]
        assert machine.phase is MovePhase.CONNECTING


def test_what_waits_of_the_next_session_is_bounded() -> None:
    world, machine = requested_to_move()
    machine.phase = MovePhase.OVERLAPPING
    machine._held = []
    half = bytes(DEFAULT_SETTINGS.max_held_bytes // 2)
    assert machine.next_received(half, 101.0, world.now_ns()) == []
    assert machine.next_received(half, 101.0, world.now_ns()) == []
    assert machine.next_received(b"x", 101.0, world.now_ns()) == [AbortNext()]


def test_words_of_the_gateway_at_other_times_do_nothing() -> None:
    world = World()
    machine = machine_of(moving(world))
    assert machine.received(CALLS_RELAYED, 1.0, world.now_ns()) == []
    assert machine.received(b"\xd9\xd9\xf7\xa1\x67weather\xf5", 1.0, world.now_ns()) == []
    assert machine.next_received(b"", 1.0, world.now_ns()) == []
    assert machine.next_lost(1.0) == []
    assert machine.state is ClientState.OPEN
    assert DEFAULT_SETTINGS.overlap > 0
