"""Several identities in one gateway; the canister keeps a queue for each."""

from __future__ import annotations

from icwsgw.core.close_reasons import CloseCode
from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.ic.identity import Ed25519Identity
from tests.memory.world import World


def test_each_identity_has_its_own_queue_and_poller() -> None:
    world = World(identities=3, clients_per_identity=4)
    clients = world.open(12)
    principals = {identity.principal for identity in world.context.identities}
    assert {client.gateway for client in clients} == principals
    pollers = world.gateway.registry.pollers
    assert sorted(index for _, index in pollers) == [0, 1, 2]
    assert [len(poller.sessions) for poller in pollers.values()] == [4, 4, 4]
    for number in range(3):
        for client in clients:
            client.send(b"%d" % number)
    world.until(lambda: all(client.received == [b"0", b"1", b"2"] for client in clients))
    for client in clients:
        prefix = client.gateway.text if client.gateway else ""
        assert all(key.startswith(prefix + "_") for key in client.keys)
        client.leave()
    world.run(2)
    world.check_idle()
    assert not world.replica.host(ECHO_ID).ws.clients


def test_a_few_clients_need_one_poller_with_any_number_of_identities() -> None:
    world = World(identities=10)
    world.open(5)
    assert len(world.gateway.registry.pollers) == 1


def test_a_newer_connection_under_another_identity_replaces_the_older() -> None:
    world = World(identities=2, clients_per_identity=1)
    same = Ed25519Identity(b"\x31" * 32)
    older = world.client(ECHO_ID, same)
    world.until(lambda: older.opened)
    newer = world.client(ECHO_ID, same)
    world.until(lambda: newer.opened)
    world.run(1)
    assert older.gateway != newer.gateway
    assert older.close_code == CloseCode.REPLACED
    assert newer.close_code is None
    newer.echoes(b"still here")


def test_a_drain_notifies_the_canister_under_each_identity() -> None:
    world = World(identities=3, clients_per_identity=2)
    clients = world.open(6)
    done: list[None] = []
    world.gateway.drain(0.5).addCallback(done.append)
    world.until(lambda: bool(done))
    assert [client.close_code for client in clients] == [CloseCode.DRAINING] * 6
    assert not world.replica.host(ECHO_ID).ws.clients
    assert world.metrics.ws_closes.values["done"] == 6


def test_a_client_that_leaves_before_its_ws_open_frees_its_place() -> None:
    world = World(identities=2, clients_per_identity=2)
    for _ in range(5):
        unauthenticated = [world.client() for _ in range(3)]
        for client in unauthenticated:
            client.automatic = False
        assert world.gateway.identity_assignment.loads == [2, 1]
        for client in unauthenticated:
            client.leave(1001)
        world.run(1)
        assert world.gateway.identity_assignment.loads == [0, 0]
    # so that authenticated clients still fill the first identity first
    clients = world.open(2)
    assert len({client.gateway for client in clients}) == 1
