"""What a scrape asks a gateway for."""

from __future__ import annotations

from typing import Any

from icwsgw.core.failure_source import FailureSource
from icwsgw.core.request_kind import RequestKind
from icwsgw.gateway.gauges import FAILING
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.observe.meters import OTHER
from tests.gateway.test_gateway import OTHER as OTHER_CANISTER
from tests.gateway.test_gateway import World
from tests.support.fake_network import CANISTER, REPLIED_OK, envelope


def by_canister(world: World, column: int) -> dict[str, float]:
    return world.context.metrics.canisters.column(column, sum)


def test_a_canister_counts_when_it_has_answered_a_client() -> None:
    world = World(identities=2)
    world.open()
    world.open()
    world.open(OTHER_CANISTER)
    # it may not even exist
    world.connect(Principal(b"\x01" * 10))
    assert by_canister(world, 0) == {CANISTER.text: 2, OTHER_CANISTER.text: 1}
    assert len({session.identity_index for session in world.gateway.registry.sessions}) == 2


def test_figures_of_a_canister_are_those_of_its_worst_poller() -> None:
    world = World(identities=2)
    sessions = [world.open()[1] for _ in range(2)]
    pollers = [session.poller for session in sessions]
    assert len(set(pollers)) == 2
    assert by_canister(world, 1) == by_canister(world, 2) == {}
    assert by_canister(world, 3) == {CANISTER.text: 0}
    for number, poller in enumerate(pollers):
        for _ in range(number + 1):
            poller.backoff.failed(0.0)
        poller.backoff.rtt = 0.1 * number
    assert by_canister(world, 2) == {CANISTER.text: 0.1}
    assert by_canister(world, 3) == {CANISTER.text: 2}


def test_how_the_polls_of_each_poller_end() -> None:
    world = World()
    states = world.context.metrics.poller_states

    def counted() -> dict[str, int]:
        return {state: int(count) for state, count in states.values.items() if count}

    assert counted() == {}
    _, session = world.open()
    _, other = world.open(OTHER_CANISTER)
    world.connect(Principal(b"\x01" * 10))
    assert counted() == {"answered": 2, "opening": 1}
    assert sum(states.values.values()) == world.context.metrics.pollers.value
    for _ in range(FAILING - 1):
        session.poller.backoff.failed(0.0, side=FailureSource.NETWORK)
    assert counted() == {"answered": 2, "opening": 1}, "a few failures are no state"
    session.poller.backoff.failed(0.0, side=FailureSource.NETWORK)
    for _ in range(FAILING):
        other.poller.backoff.failed(0.0, side=FailureSource.CANISTER)
    assert counted() == {"network": 1, "canister": 1, "opening": 1}
    session.poller.backoff.succeeded(1.0, 0.1)
    assert counted() == {"answered": 1, "canister": 1, "opening": 1}


def test_only_so_many_are_shown_and_the_others_are_not_lost() -> None:
    world = World()
    canisters = [Principal(bytes((number, 1, 1))) for number in range(1, 31)]
    for number, canister in enumerate(canisters):
        for _ in range(1 + (number < 5)):
            world.open(canister)
    shown = by_canister(world, 0)
    assert len(shown) == 21
    assert {canister.text for canister in canisters[:5]} <= set(shown)
    assert (shown[OTHER], sum(shown.values())) == (10, 35)
    assert list(shown) == list(by_canister(world, 0)), "the same ones at each scrape"


def test_identities_and_messages_on_their_way() -> None:
    world = World(identities=3)
    metrics = world.context.metrics
    (_, one), (_, two) = world.open(), world.open()
    assert (metrics.identities.value, metrics.identities_in_use.value, metrics.identity_clients_max.value) == (3, 2, 1)
    assert metrics.relay_messages.values == {"waiting": 0, "sent": 0}
    for session in (one, two):
        for number in range(3):
            session.relay.send(envelope(number))
    assert metrics.relay_messages.values == {"waiting": 4, "sent": 2}
    # a client that has left keeps what it sent
    one.left(1000)
    assert metrics.relay_messages.values == {"waiting": 4, "sent": 2}
    assert metrics.ws_closes_pending.value == 0
    finish(world)
    assert metrics.relay_messages.values == {"waiting": 0, "sent": 0}
    assert metrics.ws_closes_pending.value == 1


def finish(world: World) -> None:
    """Answer all calls but ws_close."""
    answered: list[Any] = []
    while open_calls := [
        call for call in world.network.calls[2:] if call not in answered and b"ws_close" not in call.body
    ]:
        for call in open_calls:
            answered.append(call)
            call.answer(REPLIED_OK)


def test_what_is_under_way_to_the_network() -> None:
    world = World()
    metrics, registry = world.context.metrics, world.gateway.registry
    names = {kind.label for kind in RequestKind}
    assert metrics.network_requests.values == dict.fromkeys(names, 0)
    assert (metrics.queries_in_flight.value, metrics.newcomers.value, metrics.draining.value) == (0, 0, 0)
    world.open()
    world.connect(OTHER_CANISTER)
    world.clock.advance(0.25)
    in_flight = [poller.in_flight for poller in registry.pollers.values()]
    assert min(in_flight) > 0
    assert metrics.queries_in_flight.value == sum(in_flight)
    assert metrics.newcomers.value == 1
    sent = metrics.network_requests.values
    assert set(sent) == names
    assert (sent["open"], sent["close"]) == (2, 0)
    assert sum(sent.values()) == len(world.network.calls) + len(world.network.queries)
    world.gateway.draining = True
    assert metrics.draining.value == 1


def test_the_deepest_queue() -> None:
    world = World()
    assert world.context.metrics.poll_window_max.value == 0
    _, session = world.open(identity=Ed25519Identity(b"\x03" * 32))
    session.poller._window.size = 4
    assert world.context.metrics.poll_window_max.value == 4


def test_what_the_budget_of_queries_holds_back() -> None:
    plain = World().context.metrics
    assert plain.poll_interval.value == 0.1
    assert set(plain.queries_held.values.values()) == {0}
    world = World(query_budget=10)
    metrics, budget = world.context.metrics, world.context.budget
    assert budget is not None
    budget.held_ticks, budget.held_wakes, budget.held_queries = 3, 2, 1
    assert metrics.queries_held.values == {"beat": 3, "wake": 2, "window": 1}
    world.open()
    world.open()
    assert metrics.poll_interval.value == budget.interval > 0.1
