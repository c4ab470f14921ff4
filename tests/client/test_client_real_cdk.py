"""The client against a canister in WebAssembly with the CDK of crates.io."""

from __future__ import annotations

import pytest

from icwsgw.client.client_events import ClientOpened, Disconnected
from icwsgw.client.client_machine import ClientState
from icwsgw.client.client_session import Acknowledged
from icwsgw.ic.candid import Null, Record, Text, Type
from tests.client.memory_link import MemoryLink
from tests.memory.test_real_canister import world_of

pytestmark = pytest.mark.rust


@pytest.mark.parametrize("kind", [Null, Record({"text": Text})], ids=["no type", "a type"])
def test_the_cdk_takes_what_the_client_sends(kind: Type) -> None:
    """Whatever type stands beside a message, in whose place the canister's own one is null."""
    world = world_of()
    client = MemoryLink(world, message_type=kind).opened()
    sent = [b"%d" % number for number in range(20)]
    for message in sent:
        client.client.send(message)
    world.until(lambda: client.received == sent)
    assert client.of(Disconnected) == []


def test_rounds_of_acknowledgements_and_keep_alives() -> None:
    world = world_of(polling_interval=1.0)
    client = MemoryLink(world).opened()
    handle = client.client.send(b"hello")
    world.run(400, step=0.1)
    assert client.of(Acknowledged)[0].handles == (handle,)
    # the canister would have removed it 60 s after its first acknowledgement
    assert client.machine.state is ClientState.OPEN
    client.client.send(b"still here")
    world.until(lambda: client.received == [b"hello", b"still here"])


def test_a_reset_canister_is_opened_again() -> None:
    world = world_of()
    client = MemoryLink(world).opened()
    client.client.send(b"before")
    world.until(lambda: client.received == [b"before"])
    world.replica.reset(world.replica.names["echo"])
    world.until(lambda: len(client.of(ClientOpened)) == 2, 100)
    client.client.send(b"after")
    world.until(lambda: client.received == [b"before", b"after"])
