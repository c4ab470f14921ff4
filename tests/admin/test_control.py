"""One process's answers to the admin API: a whole gateway in memory, with the devnet behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from icwsgw.admin.control import NO_OVERRIDES, Control, Overrides
from icwsgw.core.close_reasons import CloseCode
from icwsgw.gateway.batches import BATCH
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.observe.levels import DEBUG, INFO
from icwsgw.observe.logs import get_logger
from tests.memory.world import CHAT_ID, ECHO_ID, World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    yield
    Control(World(start=False).gateway).override(NO_OVERRIDES)


def ask(world: World, what: str, **more: Any) -> Any:
    """An answer, after a journey through JSON as between processes."""
    request = json.loads(json.dumps({"what": what, **more}))
    return json.loads(json.dumps(Control(world.gateway).answer(request)))


def closed(*clients: Any) -> list[int | None]:
    return [client.close_code for client in clients]


def test_sessions(world: World) -> None:
    one, _ = world.open(2)
    (chatter,) = world.open(canister=CHAT_ID)
    answer = ask(world, "sessions", limit=100)
    assert (len(answer["rows"]), answer["more"]) == (3, False)
    assert ask(world, "sessions", limit=2)["more"]
    (row,) = ask(world, "sessions", limit=100, canister=CHAT_ID.text, state="open")["rows"]
    assert row["principal"] == chatter.identity.principal.text
    (row,) = ask(world, "sessions", limit=100, principal=one.identity.principal.text)["rows"]
    assert (row["id"], row["canister"], row["peer"]) == (one.session.id, ECHO_ID.text, "memory")
    assert ask(world, "sessions", id=one.session.id)["rows"][0]["id"] == one.session.id
    assert ask(world, "sessions", id="nobody") == {"rows": [], "more": False}
    assert ask(world, "sessions", limit=9, state="setup")["rows"] == []


def test_canisters(world: World) -> None:
    world.open(2)
    world.open(canister=CHAT_ID)
    answer = ask(world, "canisters", limit=100)
    assert [(row["canister"], row["sessions"]) for row in answer["rows"]] == [(ECHO_ID.text, 2), (CHAT_ID.text, 1)]
    assert answer["rows"][0]["pollers"][0]["next_message"] > 0
    assert ask(world, "canisters", limit=1)["more"]
    assert [row["sessions"] for row in ask(world, "canisters", limit=5, canister=CHAT_ID.text)["rows"]] == [1]


def test_sessions_that_have_ended(world: World) -> None:
    one, two = world.open(2)
    (chatter,) = world.open(canister=CHAT_ID)
    for client in (one, chatter, two):
        client.leave()
        world.run(1)
    answer = ask(world, "ended", limit=9)
    assert [row["id"] for row in answer["rows"]] == [client.session.id for client in (two, chatter, one)]
    assert not answer["more"]
    assert ask(world, "ended", limit=2)["more"]
    (row,) = ask(world, "ended", limit=9, canister=CHAT_ID.text)["rows"]
    assert (row["code"], row["by"], row["hint"]) == (1000, "client", "")
    (row,) = ask(world, "ended", limit=9, principal=one.identity.principal.text)["rows"]
    assert row["id"] == one.session.id


def test_a_client_is_kicked_and_its_canister_notified(world: World) -> None:
    one, two = world.open(2)
    assert ask(world, "kick", id=one.session.id, code=1008) == {"closed": 1}
    world.run(1)
    assert closed(one, two) == [CloseCode.POLICY, None]
    assert one.close_reason.startswith("closed by the operator")
    assert world.replica.stats["ws_close"] == 1
    assert ask(world, "kick", id=one.session.id, code=1008) == {"closed": 0}
    two.send(b"DIDL\0\0")
    world.until(lambda: two.received)


def test_kicks_by_what_clients_have(world: World) -> None:
    same = Ed25519Identity(b"\x31" * 32)
    here, there = world.client(identity=same), world.client(CHAT_ID, same)
    others = world.open(2)
    world.until(lambda: here.opened and there.opened)
    principal = same.principal.text
    assert ask(world, "kick", canister=CHAT_ID.text, principal=principal, code=4100) == {"closed": 1}
    assert closed(there, here) == [CloseCode.DRAINING, None]
    assert "reconnect" in there.close_reason
    assert ask(world, "kick", principal=principal, code=1008) == {"closed": 1}
    assert closed(here, *others) == [CloseCode.POLICY, None, None]
    assert ask(world, "kick", canister=ECHO_ID.text, code=1008) == {"closed": 2}
    assert ask(world, "kick", canister=ECHO_ID.text, code=1008) == {"closed": 0}
    world.run(1)
    world.check_idle()


def test_many_are_not_kicked_in_one_turn(world: World) -> None:
    clients = world.open(BATCH + 10)
    assert ask(world, "kick", canister=ECHO_ID.text, code=1008) == {"closed": len(clients)}
    assert closed(*clients).count(None) == 10
    world.run(2)
    assert set(closed(*clients)) == {CloseCode.POLICY}
    world.check_idle()


def test_overrides(world: World) -> None:
    clients, (chatter,) = world.open(2), world.open(canister=CHAT_ID)
    bans = ((None, "aaaaa-aa", 1e9), (ECHO_ID.text, None, 12.5))
    overrides = Overrides((ECHO_ID.text,), {"gateway": DEBUG}, bans, True, {"ping-interval": ("5",)})
    assert Overrides.from_json(json.loads(json.dumps(overrides.to_json()))) == overrides
    answer = ask(world, "override", overrides=overrides.to_json())
    assert answer["closed"] == 2
    assert {"gateway", "session", "relay"} <= set(answer["components"])
    assert closed(*clients, chatter) == [CloseCode.CANISTER_NOT_ALLOWED] * 2 + [None]
    assert get_logger("gateway").level == DEBUG
    late = world.client()
    world.until(lambda: late.close_code == CloseCode.CANISTER_NOT_ALLOWED)
    assert ask(world, "override", overrides=NO_OVERRIDES.to_json())["closed"] == 0
    assert get_logger("gateway").level == INFO
    assert ask(world, "levels") == {"components": answer["components"]}
    world.open()
