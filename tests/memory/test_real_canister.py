"""The gateway over a canister in WebAssembly with the CDK of crates.io: sessions, bursts, rounds, resets, blocks."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.close_codes import CloseCode
from icwsgw.devnet.consensus import BlockTiming
from icwsgw.devnet.faults import InjectedFault
from icwsgw.ic import cbor
from icwsgw.ic.ws import CloseMessage, decode_service_message
from tests.memory.world import ECHO_ID, World
from tests.support.built_canisters import build

pytestmark = pytest.mark.rust

VERIFYING = {"verify": True, "verify_batches": True, "verify_queries": "on"}


def world_of(**options: Any) -> World:
    world = World(**{**VERIFYING, **options}, echo_any=False)
    world.replica.canisters.install_wasm(ECHO_ID, build("echo"))
    return world


def burst(number: int) -> list[bytes]:
    return [b"message %d" % each for each in range(number)]


@pytest.mark.parametrize("order", ["executed", "accepted"])
def test_sessions_and_bursts(order: str) -> None:
    world = world_of(relay_order=order)
    clients = world.open(10)
    sent = burst(30)
    for client in clients:
        for message in sent:
            client.send(message)
    world.until(lambda: all(client.received == sent for client in clients))
    for client in clients:
        client.leave()
    world.run(1)
    newcomer = world.open()[0]
    newcomer.echoes(b"after all others have left")


def test_rounds_of_acknowledgements() -> None:
    world = world_of(polling_interval=1.0)
    clients = world.open(3)
    for number in range(2):
        world.run(300, step=0.05)
        for client in clients:
            assert client.close_code is None
            client.echoes(b"round %d" % number)


def test_a_silent_client_is_removed_with_a_close_message() -> None:
    world = world_of(polling_interval=1.0)
    talker, mute = world.open(2)
    seen: list[bytes] = []
    mute.handle = lambda payload, now_ns: seen.append(payload) or []  # type: ignore[func-returns-value]
    world.run(365, step=0.05)
    content = cbor.loads(cbor.loads(seen[-1])["content"])["content"]
    assert decode_service_message(content) == CloseMessage("KeepAliveTimeout")
    talker.echoes(b"still here")


def test_a_reset_ends_old_sessions_and_new_ones_open() -> None:
    world = world_of()
    clients = world.open(5)
    for client in clients:
        client.echoes(b"before")
    world.replica.reset(ECHO_ID)
    world.until(lambda: all(client.close_code is not None for client in clients))
    assert {client.close_code for client in clients} == {CloseCode.CANISTER_RESET}
    for client in world.open(5):
        client.echoes(b"after")


def test_a_message_that_traps_ends_the_session_of_its_sender_alone() -> None:
    world = world_of()
    unlucky, bystander = world.open(2)
    unlucky.send(b"trap")
    world.until(lambda: unlucky.close_code is not None)
    assert unlucky.close_code == CloseCode.MESSAGE_REFUSED
    assert "reject 5 IC0503" in unlucky.close_reason
    bystander.echoes(b"not affected")


def test_a_wrong_number() -> None:
    world = world_of()
    client, bystander = world.open(2)
    client._sequence_out += 1
    client.send(b"one is missing")
    world.until(lambda: client.close_code is not None)
    bystander.echoes(b"not affected")


def test_stopped_and_started() -> None:
    world = world_of()
    (client,) = world.open()
    world.replica.stop(ECHO_ID)
    world.run(5)
    world.replica.start(ECHO_ID)
    client.echoes(b"again")


@pytest.mark.parametrize("lag", [0, 5])
def test_on_blocks_with_many_nodes(lag: int) -> None:
    world = world_of(pace=BlockTiming(0.4, 0.2, lag), nodes=13, query_latency=0.1)
    clients = [world.client() for _ in range(5)]
    world.until(lambda: all(client.opened for client in clients), seconds=60, step=0.02)
    sent = burst(5)
    for client in clients:
        for message in sent:
            client.send(message)
    world.until(lambda: all(client.received == sent for client in clients), seconds=60, step=0.02)


@pytest.mark.parametrize("fault", [{"kind": "reset"}, {"kind": "hang"}, {"kind": "http", "status": 502}], ids=str)
def test_faults_of_the_network_during_traffic(fault: dict[str, Any]) -> None:
    world = world_of()
    (client,) = world.open()
    world.replica.faults.add(InjectedFault(on="query", count=3, **fault))
    sent = burst(20)
    for message in sent:
        client.send(message)
    world.until(lambda: client.received == sent, seconds=60)
