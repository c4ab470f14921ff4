"""The gateway treats a canister as reset only if there is proof."""

from __future__ import annotations

from icwsgw.core.close_reasons import CloseCode
from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.devnet.faults import InjectedFault
from tests.memory.world import World


def test_an_altered_byte_is_no_reset() -> None:
    """Only answers to probes have messages while the canister is idle; a node alters a byte in each of them."""
    world = World()
    clients = world.open(3)
    for client in clients:
        client.echoes(b"x")
    world.run(2)
    fault = world.replica.faults.add(InjectedFault(kind="altered", on="query"))
    world.run(30)
    assert fault.hits > 5
    world.replica.faults.remove(fault)
    for client in clients:
        client.echoes(b"y")
    assert [client.close_code for client in clients] == [None] * 3
    assert world.metrics.resets.value == 0
    assert world.metrics.queries.values["certificate"] == fault.hits


def test_a_reset_is_found_quickly_and_proven() -> None:
    world = World()
    clients = world.open(3)
    clients[0].echoes(b"x")
    world.replica.reset(ECHO_ID)
    new = world.client()
    world.until(lambda: new.opened, 5)
    world.until(lambda: all(client.close_code is not None for client in clients), 5)
    assert {client.close_code for client in clients} == {CloseCode.CANISTER_RESET}
    new.echoes(b"y")
