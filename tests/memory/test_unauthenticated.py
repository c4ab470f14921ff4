"""Unauthenticated connections do not affect other clients' requests (decision 0034)."""

from __future__ import annotations

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.request_budget import BURST_SECONDS
from icwsgw.core.request_kind import RequestKind
from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.devnet.faults import InjectedFault
from icwsgw.ic.principal import Principal
from tests.memory.world import MemoryClient, World


def made_up(number: int) -> Principal:
    return Principal(number.to_bytes(8, "big") + b"\x02\x01")


def unauthenticated(world: World, canister: Principal, address: str = "192.0.2.66:5") -> MemoryClient:
    client = MemoryClient(world, canister, None, False)
    client.peer = address
    return client.connect()


def polls(world: World, canister: Principal, seconds: float) -> float:
    before = len(world.transport.requests)
    world.run(seconds, step=0.01)
    path = f"/canister/{canister.text}/query"
    return sum(request[1].endswith(path) for request in world.transport.requests[before:]) / seconds


def test_silent_canisters_of_unauthenticated_clients_take_no_polls_of_others() -> None:
    world = World()
    world.replica.faults.add(InjectedFault(kind="hang", on="call", count=None, canister=made_up(0)))
    (honest,) = world.open()
    for number in range(300):
        canister = made_up(number)
        world.replica.faults.add(InjectedFault(kind="hang", on="call", canister=canister, count=None))
        unauthenticated(world, canister)
    world.run(2, step=0.02)
    before = world.context.budget.sent[RequestKind.TICK]
    assert polls(world, ECHO_ID, 5) >= 9
    assert (world.context.budget.sent[RequestKind.TICK] - before) / 5 <= 65
    assert world.metrics.newcomers.value == 300
    honest.echoes(b"hello")
    # a canister that no client has opened yet can be opened too, from another address
    late = unauthenticated(world, CHAT_ID, "198.51.100.1:5")
    world.until(lambda: late.opened, seconds=2)
    assert world.metrics.newcomers.value == 300


def test_the_canisters_that_one_address_may_name_are_limited() -> None:
    world = World(polling_interval=10.0)
    clients = [unauthenticated(world, made_up(number)) for number in range(1100)]
    world.run(0.1, step=0.05)
    closed = [client for client in clients if client.close_code == CloseCode.OVERLOADED]
    assert len(closed) >= 90
    assert "not spoken yet" in closed[0].close_reason
    assert world.metrics.refused_connections.values["newcomers"] == len(closed)
    other = unauthenticated(world, CHAT_ID, "198.51.100.1:5")
    world.until(lambda: other.opened, seconds=20)


def test_openings_are_relayed_at_their_own_rate_and_other_addresses_get_in() -> None:
    world = World(query_budget=160, open_rate=10)
    (honest,) = world.open()
    attackers = [unauthenticated(world, ECHO_ID) for _ in range(100)]
    world.run(0.2)
    before = world.context.budget.sent[RequestKind.OPEN]
    world.run(3)
    assert world.context.budget.sent[RequestKind.OPEN] - before <= 10 * 3 + 1
    friend = unauthenticated(world, ECHO_ID, "198.51.100.1:5")
    world.until(lambda: friend.opened, seconds=1)
    assert not all(client.opened for client in attackers)
    honest.echoes(b"in between")
    world.until(lambda: all(client.opened for client in attackers), seconds=15)
    assert {client.close_code for client in attackers} == {None}


def test_an_address_that_opens_rarely_precedes_those_that_open_all_the_time() -> None:
    world = World(open_rate=10)
    addresses = [f"192.0.2.{number}:5" for number in range(20)]
    attackers = [unauthenticated(world, ECHO_ID, address) for address in addresses * 4]
    world.run(4)
    sent = world.context.budget.sent
    assert sent[RequestKind.OPEN] < len(attackers), "they wait for each other"
    for number in range(3):
        before = sent[RequestKind.OPEN]
        rare = unauthenticated(world, ECHO_ID, f"198.51.100.{number}:5")
        world.until(lambda rare=rare: rare.opened, seconds=5)
        assert sent[RequestKind.OPEN] - before <= 3, "it has not waited for a round of the others"
    world.until(lambda: all(client.opened for client in attackers), seconds=15)


def test_messages_beyond_the_budget_wait_and_arrive_in_order() -> None:
    world = World(query_budget=64, client_message_rate=0, client_byte_rate=0)
    clients = world.open(20)
    (quiet,) = world.open(1, CHAT_ID)
    world.run(5)
    started, sent = world.clock.seconds(), sum(world.context.budget.sent)
    for client in clients:
        for number in range(20):
            client.send(b"%d" % number)
    # another canister's client does not wait behind four hundred messages
    quiet.send(b"quick")
    world.until(
        lambda: world.replica.host(CHAT_ID).ws is not None and world.context.budget.waiting(RequestKind.EAGER) < 400
    )
    world.until(lambda: all(len(client.received) == 20 for client in clients), seconds=60)
    seconds = world.clock.seconds() - started
    assert sum(world.context.budget.sent) - sent <= 64 * (seconds + BURST_SECONDS) + 30
    assert seconds > 3
    for client in clients:
        assert client.received == [b"%d" % number for number in range(20)]
        assert client.close_code is None
    assert world.context.budget.held[RequestKind.EAGER] > 0


def test_a_client_that_sends_little_does_not_wait_behind_floods() -> None:
    world = World(query_budget=64, client_message_rate=0, client_byte_rate=0)
    *floods, quiet = world.open(21)
    world.run(5)
    for client in floods:
        for number in range(100):
            client.send(b"%d" % number)
    took = []
    for number in range(8):
        world.run(1.5)
        assert world.context.budget.waiting(RequestKind.EAGER) >= 15
        started = world.clock.seconds()
        quiet.echoes(b"%d" % number)
        took.append(world.clock.seconds() - started)
    # behind twenty others it would be 0.4 s
    assert max(took) <= 0.2
    for client in floods:
        assert client.received == [b"%d" % number for number in range(len(client.received))]
    counts = [len(client.received) for client in floods]
    assert max(counts) - min(counts) <= 3


def test_many_clients_of_one_address_open_when_their_canister_has_answered() -> None:
    world = World(call_latency=0.2)
    crowd = [unauthenticated(world, ECHO_ID) for _ in range(200)]
    world.until(lambda: all(client.opened for client in crowd), seconds=3)
