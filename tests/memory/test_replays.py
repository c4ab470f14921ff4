"""A ws_open that an attacker has recorded and sends again does not affect any client."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.ic import cbor
from icwsgw.ic.identity import Ed25519Identity
from tests.memory.world import MemoryClient, World

SAME = Ed25519Identity(b"\x41" * 32)


class RecordedClient(MemoryClient):
    """A client whose first message an attacker can read."""

    first: bytes | None = None

    def send_payload(self, payload: bytes, is_binary: bool = True) -> None:
        if self.first is None:
            self.first = payload
        super().send_payload(payload, is_binary)


class SilentClient(MemoryClient):
    """A client that does not answer."""

    def __init__(self, world: World) -> None:
        super().__init__(world, ECHO_ID, None, False)
        self.automatic = False


def reencoded(payload: bytes, change: str) -> bytes:
    """The same call in another encoding, with the same request id."""
    message: dict[str, Any] = cbor.loads(payload)
    if change == "order":
        message["envelope"]["content"] = dict(reversed(message["envelope"]["content"].items()))
    elif change == "unknown field":
        # the replica leaves it out of the request id
        message["envelope"]["content"]["memo"] = 1
    return payload if change == "none" else cbor.dumps(message)


@pytest.mark.parametrize("change", ["none", "order", "unknown field"])
@pytest.mark.parametrize("older_is_here", [False, True])
def test_a_replayed_ws_open_is_refused_and_ends_no_session(change: str, older_is_here: bool) -> None:
    world = World(identities=2, clients_per_identity=1)
    announced: list[Any] = []
    older = RecordedClient(world, ECHO_ID, SAME, False).connect()
    world.until(lambda: older.opened)
    assert isinstance(older, RecordedClient)
    assert older.first is not None
    if not older_is_here:
        living = world.client(ECHO_ID, SAME)
        world.until(lambda: living.opened)
        world.run(1)
        assert older.close_code == CloseCode.REPLACED
    else:
        living = older
    world.gateway.announce = lambda *what: announced.append(what)
    for _ in range(3):
        newcomer = SilentClient(world).connect()
        world.run(0.1)
        newcomer.send_payload(reencoded(older.first, change))
        world.run(1)
        refused = newcomer.close_code
        if refused is None:
            newcomer.leave()
        world.run(2)
        assert living.close_code is None
        # another identity may be next in round-robin order
        assert refused in ((CloseCode.OPEN_REFUSED,) if living is not older else CloseCode)
    assert announced == []
    living.echoes(b"still here")


def test_another_process_refuses_it_since_it_has_other_identities() -> None:
    here, there = World(), World()
    client = RecordedClient(here, ECHO_ID, SAME, False).connect()
    here.until(lambda: client.opened)
    object.__setattr__(there.context, "identities", (Ed25519Identity(b"\x99" * 32),))
    announced: list[Any] = []
    there.gateway.announce = lambda *what: announced.append(what)
    newcomer = SilentClient(there).connect()
    assert isinstance(client, RecordedClient)
    assert client.first is not None
    newcomer.send_payload(client.first)
    there.run(2)
    assert newcomer.close_code == CloseCode.WRONG_GATEWAY
    assert announced == []
    assert not there.replica.host(ECHO_ID).ws.clients


def test_a_client_may_open_again_with_a_call_of_its_own() -> None:
    world = World()
    for _ in range(3):
        client = world.client(ECHO_ID, SAME)
        world.until(lambda client=client: client.opened)
        client.leave()
        world.run(1)
