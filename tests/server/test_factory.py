"""What connections share: answers to refused connections, limits, the end of the last connection."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from icwsgw.config.schema import GatewayConfig
from icwsgw.core.close_reasons import CloseCode
from icwsgw.observe.labels import PUSHBACKS, REFUSALS
from icwsgw.server import factory as factory_module
from icwsgw.server.factory import FIRST_MESSAGE_BYTES, HOLD_SECONDS
from tests.server.test_protocol import World, lose
from tests.support.ws_wire import handshake, masked


@pytest.mark.parametrize("refusal", sorted(factory_module._ANSWERS))
def test_each_refusal_has_its_answer_and_its_label(refusal: str) -> None:
    status, text = World().factory.answer(refusal)
    assert status in (403, 429, 503)
    assert text
    assert refusal in REFUSALS


def test_options_become_bounds_of_the_class_and_not_of_each_connection() -> None:
    world = World(client_message_rate=5, client_byte_rate=0)
    protocol, _ = world.connect()
    assert (protocol._frames_left, protocol.maxMessagePayloadSize) == (10, FIRST_MESSAGE_BYTES)
    assert "maxMessagePayloadSize" not in vars(protocol)
    assert protocol._bytes_left == inf
    assert world.factory.rates.first_bytes == inf
    assert world.factory.max_message_bytes == GatewayConfig().max_message_bytes
    small = World(max_message_bytes=1024)
    assert small.connect()[0].maxMessagePayloadSize == 1024


@pytest.mark.parametrize(
    ("rate", "longest", "burst"),
    [
        (2 << 20, 2 << 20, 8 << 20),
        (1 << 20, 2 << 20, 4 << 20),
        # a message of maximum size is never a flood, however low the rate
        (1000, 2 << 20, 2 << 20),
        (1000, 1024, 4000),
    ],
)
def test_the_burst_of_bytes_follows_from_the_rate_and_has_room_for_one_message(
    rate: int, longest: int, burst: int
) -> None:
    rates = World(client_byte_rate=rate, max_message_bytes=longest).factory.rates
    assert rates.first_bytes == burst
    verdict = rates.judge(0.0, float(burst - longest - 14), 0.0)
    assert not verdict.flood


@pytest.mark.parametrize("limit", PUSHBACKS)
def test_push_backs_are_counted(limit: str) -> None:
    world = World()
    world.factory.backpressure_applied(limit)
    assert world.metrics.pushbacks.values[limit] == 1


def test_it_notifies_when_the_last_connection_is_gone() -> None:
    world = World()
    one, two = world.connect()[0], world.connect()[0]
    empty = world.factory.when_empty()
    lose(one)
    assert not empty.called
    lose(two)
    assert empty.called
    assert world.factory.when_empty().called
    assert not world.factory.connections


def test_what_is_left_is_dropped() -> None:
    world = World()
    (_, one), (_, two) = world.connect(), world.connect()
    world.factory.abort_all()
    assert (one.aborted, two.aborted) == (True, True)


def test_it_stops_looking_after_connections() -> None:
    world = World()
    world.factory.stop()
    world.factory.stop()
    world.gateway.wheel.stop()
    assert world.clock.getDelayedCalls() == []


def test_a_fault_with_one_client_costs_the_others_nothing() -> None:
    world = World(outbox_age=1.0)
    clients = [world.open() for _ in range(3)]

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    # at the end of a turn
    for protocol, _, _ in clients:
        protocol.deliver([b"a frame"], True)
    clients[1][1].write = fail
    world.clock.advance(0)
    assert [transport.value() for _, transport, _ in clients] == [b"a frame", b"", b"a frame"]
    assert [transport.aborted for _, transport, _ in clients] == [False, True, False]
    # when slow readers are looked for
    for protocol, transport, _ in clients:
        transport.producer.pauseProducing()
        protocol.deliver([b"another"])
    for _, _, session in clients:
        session.end = fail  # type: ignore[assignment]
    world.clock.pump([0.5] * 5)
    clients[2][2].end = lambda *_: ended.append(1)
    ended: list[int] = []
    world.clock.advance(0.5)
    assert ended == [1]


class Held:
    """The interface of an outbox that the factory uses."""

    def __init__(self) -> None:
        self.released = 0

    def release(self) -> None:
        self.released += 1


class Turns:
    """A clock whose timers fire once in a turn, as those of a reactor that are due at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Any] = []

    def seconds(self) -> float:
        return self.now

    def callLater(self, delay: float, call: Any) -> None:
        assert delay == 0
        self.timers.append(call)

    def turn(self, seconds: float = 0.0) -> None:
        self.now += seconds
        timers, self.timers = self.timers, []
        for call in timers:
            call()


@pytest.mark.parametrize("rounds", [1, 5, 1000])
def test_what_is_held_leaves_after_the_rounds_that_may_add_to_it(rounds: int) -> None:
    """With the last answer that waits, and not later than a few rounds take."""
    factory = World().factory
    clock: Any = Turns()
    answers: Any = SimpleNamespace(waiting=rounds)
    factory.clock, factory._answers = clock, answers
    outbox: Any = Held()
    factory.hold(outbox)
    turns = 0
    while not outbox.released:
        clock.turn(0.001)
        turns += 1
        answers.waiting = max(0, answers.waiting - 1)
    assert turns == min(rounds + 1, 20)
    assert clock.seconds() <= HOLD_SECONDS + 0.001
    assert outbox.released == 1
    assert clock.timers == []


def test_what_is_held_leaves_in_the_same_turn_where_no_answer_waits() -> None:
    factory = World().factory
    clock: Any = Turns()
    factory.clock = clock
    outbox: Any = Held()
    factory.hold(outbox)
    clock.turn()
    assert outbox.released == 1


def test_no_handshake_is_accepted_while_the_gateway_drains() -> None:
    world = World()
    protocol, transport = world.connect()
    world.gateway.draining = True
    protocol.dataReceived(handshake())
    assert transport.value().startswith(b"HTTP/1.1 503 ")
    assert world.sessions == []
    assert world.metrics.refused_connections.values["draining"] == 1


def test_one_whose_session_has_ended_hides_no_slow_reader() -> None:
    world = World(outbox_age=1.0)
    clients = [world.open() for _ in range(3)]
    for protocol, transport, _ in clients:
        transport.producer.pauseProducing()
        protocol.deliver([b"a frame"])
    for number in (0, 1):
        clients[number][0].session = None
    world.clock.pump([0.5] * 5)
    assert [code for code, _ in clients[2][2].ended] == [CloseCode.TOO_SLOW]


def test_other_limits_and_timeouts_apply_to_present_and_new_connections() -> None:
    world = World(client_message_rate=0, client_byte_rate=0)
    present, transport, _ = world.open()
    world.factory.change(
        replace(world.factory._config, client_message_rate=1, header_timeout=3.0, outbox_bytes=5 << 20)
    )
    assert world.factory.outbox_bytes == 5 << 20
    later, later_transport, _ = world.open()
    for protocol in (present, later):
        for _ in range(4):
            protocol.dataReceived(masked(2, b"x"))
    # two seconds' worth, and then they are not read
    assert (transport.producerState, later_transport.producerState) == ("paused", "paused")
    # and one that dawdles has the new time
    dawdling, dawdling_transport = world.connect()
    dawdling.dataReceived(b"GET")
    for _ in range(4):
        world.clock.advance(1.0)
    assert dawdling_transport.value().startswith(b"HTTP/1.1 408 ")
    # without a limit again, nobody is stopped
    world.factory.change(replace(world.factory._config, client_message_rate=0))
    free, free_transport, _ = world.open()
    for _ in range(1000):
        free.dataReceived(masked(2, b"x"))
    assert free_transport.producerState == "producing"


def test_a_change_of_something_else_gives_no_client_a_new_burst() -> None:
    world = World(client_message_rate=10)
    protocol, _, _ = world.open()
    before = protocol._frames_left
    protocol.dataReceived(masked(2, b"x"))
    world.factory.change(replace(world.factory._config, max_connections=7))
    assert protocol._frames_left == before - 1
    assert world.factory.limits.room == 6


@pytest.mark.parametrize(
    ("per_second", "seconds", "burst"), [(1, 0.5, 1.0), (1, 1.0, 1.0), (1, 2.0, 2.0), (100, 0.5, 50.0)]
)
def test_the_burst_of_a_rate_is_at_least_one(per_second: int, seconds: float, burst: float) -> None:
    assert factory_module._rate(per_second, seconds) == (per_second, burst)
    assert factory_module._rate(0, seconds) is None
