"""One principal at many canisters: counted when a canister has accepted it, never by an unverified claim."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from icwsgw.core.close_reasons import CloseCode
from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.gateway.principal_limit import PrincipalLimit
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.gateway.test_gateway import World as GatewayWorld
from tests.memory.world import World

ALICE = Ed25519Identity(b"\x11" * 32)
OTHER = Principal(b"\x80\x00\x00\x00\x00\x10\x00\x77\x01\x01")


def test_no_bound_counts_nothing() -> None:
    limit = PrincipalLimit(0)
    assert limit.add(b"a", cast(Any, object()))
    assert not limit.full(b"a")
    assert len(limit) == 0


def test_a_session_counts_once_and_until_it_ends() -> None:
    limit = PrincipalLimit(2)
    one, two, three = (cast(Any, object()) for _ in range(3))
    assert [limit.add(b"a", session) for session in (one, one, two, three, two)] == [True, True, True, False, True]
    assert limit.full(b"a")
    assert not limit.full(b"b")
    limit.remove(b"a", three)
    limit.remove(b"b", one)
    assert limit.full(b"a")
    limit.remove(b"a", one)
    assert limit.add(b"a", three)
    for session in (two, three):
        limit.remove(b"a", session)
    assert len(limit) == 0


def test_one_principal_at_so_many_canisters() -> None:
    world = World(max_connections_per_principal=2)
    clients = [world.client(canister, ALICE) for canister in (ECHO_ID, CHAT_ID)]
    world.until(lambda: all(client.opened for client in clients))
    third = world.client(OTHER, ALICE)
    world.until(lambda: third.close_code is not None)
    assert third.close_code == CloseCode.OVERLOADED
    assert "connected to 2 canisters" in third.close_reason
    assert world.metrics.refused_connections.values["connections_per_principal"] == 1
    somebody_else = world.client(OTHER)
    world.until(lambda: somebody_else.opened)

    # where it is connected already, a new connection takes the old one's place
    again = world.client(ECHO_ID, ALICE)
    world.until(lambda: again.opened)
    assert clients[0].close_code == CloseCode.REPLACED

    clients[1].leave()
    world.run(0.5)
    late = world.client(OTHER, ALICE)
    world.until(lambda: late.opened)
    for client in (again, late, somebody_else):
        client.leave()
    world.until(lambda: not world.gateway.registry.ending)
    world.check_idle()
    assert len(world.gateway.principals) == 0


def test_those_that_come_at_once_are_counted_when_they_are_accepted() -> None:
    world = World(max_connections_per_principal=1)
    clients = [world.client(canister, ALICE) for canister in (ECHO_ID, CHAT_ID, OTHER)]
    world.until(lambda: sum(client.close_code is not None for client in clients) == 2)
    assert sorted(client.close_code or 0 for client in clients) == [0, CloseCode.OVERLOADED, CloseCode.OVERLOADED]


def test_a_forger_uses_up_no_share_of_others() -> None:
    world = GatewayWorld(max_connections_per_principal=1)
    for _ in range(5):
        # names Alice, and its signature is still to be judged
        world.connect(identity=ALICE)
    connection, _ = world.open(OTHER, ALICE)
    assert connection.closed == []
    refused, _ = world.connect(CHAT_ID, ALICE)
    assert refused.closed[0][0] == CloseCode.OVERLOADED


def test_a_limit_that_begins_counts_those_that_are_connected() -> None:
    world = World()
    clients = [world.client(canister, ALICE) for canister in (ECHO_ID, CHAT_ID)]
    world.until(lambda: all(client.opened for client in clients))
    for most, refused in ((1, True), (2, True), (3, False)):
        world.gateway.serve(replace(world.config, max_connections_per_principal=most))
        assert [client.close_code for client in clients] == [None, None]
        third = world.client(OTHER, ALICE)
        world.until(lambda third=third: third.close_code is not None or third.opened)
        assert (third.close_code is not None) is refused
    world.gateway.serve(replace(world.config, max_connections_per_principal=0))
    fourth = world.client(Principal(OTHER.raw[:-3] + b"\x78\x01\x01"), ALICE)
    world.until(lambda: fourth.opened)
