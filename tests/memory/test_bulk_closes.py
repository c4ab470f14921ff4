"""An event that affects many clients at once does not block the event loop for others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.devnet.faults import InjectedFault
from icwsgw.gateway.batches import BATCH
from tests.memory.test_faults import reset
from tests.memory.world import CHAT_ID, ECHO_ID, MemoryClient, World

MANY = 2 * BATCH + 10


def silence(world: World) -> None:
    world.replica.faults.add(InjectedFault(kind="trap", on="query", canister=ECHO_ID, count=None))


def deny(world: World) -> None:
    world.gateway.deny(frozenset([ECHO_ID.raw]))


def closes_by_turn(world: World, clients: list[MemoryClient]) -> list[int]:
    """Record how many of the clients are closed in each turn of the event loop, from now on."""
    turns = [0]

    def counting(close: Callable[[int, str], None]) -> Callable[[int, str], None]:
        def count(code: int, reason: str) -> None:
            if not turns[-1]:
                world.clock.callLater(0, turns.append, 0)
            turns[-1] += 1
            close(code, reason)

        return count

    for client in clients:
        client.close = counting(client.close)  # type: ignore[assignment]
    return turns


@pytest.mark.parametrize(
    ("strike", "code"),
    [
        (reset, CloseCode.CANISTER_RESET),
        (silence, CloseCode.CANISTER_SILENT),
        (deny, CloseCode.CANISTER_NOT_ALLOWED),
    ],
)
def test_many_clients_are_closed_in_batches(strike: Callable[[World], object], code: CloseCode) -> None:
    world = World(canister_grace=5.0)
    clients, (bystander,) = world.open(MANY), world.open(1, CHAT_ID)
    turns = closes_by_turn(world, clients)
    strike(world)
    world.until(lambda: sum(turns) == MANY, 30)
    assert turns[:3] == [BATCH, BATCH, MANY - 2 * BATCH]
    assert {client.close_code for client in clients} == {code}
    world.run(1)
    assert bystander.close_code is None
    assert list(world.gateway.registry.pollers) == [(CHAT_ID.raw, 0)]
    bystander.leave()
    world.replica.faults.clear()
    world.run(5)
    world.check_idle()
