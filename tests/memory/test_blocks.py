"""The gateway on a network that orders calls as the public one does: pools, gossip, and blocks by changing makers."""

from __future__ import annotations

import pytest

from icwsgw.devnet.canisters import app_message
from icwsgw.devnet.consensus import BlockTiming
from tests.memory.world import World

CLIENTS, MESSAGES = 20, 10


def burst(order: str, pace: BlockTiming, count: int = MESSAGES, **options: object) -> int:
    """The number of twenty clients whose sessions survive messages sent back to back, each of which is echoed."""
    world = World(relay_order=order, pace=pace, nodes=13, query_latency=0.1, **options)  # type: ignore[arg-type]
    clients = [world.client() for _ in range(CLIENTS)]
    world.until(lambda: all(client.opened for client in clients), seconds=60, step=0.02)
    sent = [app_message(str(number)) for number in range(count)]
    for client in clients:
        for message in sent:
            client.send(message)
    world.run(count * 4.0, step=0.02)
    return sum(client.received == sent and client.closed_by_canister is None for client in clients)


@pytest.mark.parametrize("pace", [BlockTiming(0.4, 0.2), BlockTiming(1.0, 0.3)], ids=["0.4", "1.0"])
def test_accepted_orders_nothing(pace: BlockTiming) -> None:
    assert burst("accepted", pace) == 0


@pytest.mark.parametrize("pace", [BlockTiming(0.4, 0.2), BlockTiming(1.0, 0.3)], ids=["0.4", "1.0"])
def test_executed_keeps_each_session(pace: BlockTiming) -> None:
    assert burst("executed", pace) == CLIENTS


def test_executed_keeps_each_session_behind_nodes_that_lag() -> None:
    options = {"verify": True, "verify_batches": True, "verify_queries": "on"}
    assert burst("executed", BlockTiming(0.4, 0.2, 10), 3, **options) == CLIENTS
