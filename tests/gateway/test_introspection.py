"""What a gateway tells about its sessions and canisters."""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

from icwsgw.config.access_list import Networks
from icwsgw.errors import HttpError
from icwsgw.gateway.introspection import (
    MAX_ERROR,
    SessionFilter,
    canister_rows,
    find_session,
    find_sessions,
    session_row,
    session_rows,
)
from icwsgw.ic.principal import Principal
from tests.gateway.test_gateway import OTHER, World
from tests.gateway.test_session import Connection
from tests.support.fake_network import CANISTER, NOW_NS
from tests.support.sdk_client import SdkClient


def test_a_session_that_has_not_opened_yet() -> None:
    world = World()
    sdk = SdkClient(CANISTER)
    session = world.gateway.connect(Connection())
    world.clock.advance(2)
    row = session_row(session)
    json.dumps(row)
    assert (row["state"], row["canister"], row["principal"], row["client_nonce"]) == ("init", None, None, None)
    assert (row["age_s"], row["relay_queue"]) == (2.0, 0)
    sdk.gateway = world.context.identities[0].principal
    session.received(sdk.open_payload(NOW_NS), True)
    row = session_row(session)
    assert (row["state"], row["canister"]) == ("setup", CANISTER.text)
    assert (row["principal"], row["client_nonce"]) == (sdk.identity.principal.text, str(sdk.client_nonce))
    assert row["gateway_principal"] == sdk.gateway.text


def test_what_a_session_has_sent_and_what_waits() -> None:
    world = World()
    connection, sdk = Connection(), SdkClient(CANISTER)
    connection.waiting_bytes = 77
    session = world.gateway.connect(connection)
    sdk.gateway = world.context.identities[0].principal
    session.received(sdk.open_payload(NOW_NS), True)
    for _ in range(3):
        session.received(sdk.message_payload(b"DIDL\0\0", NOW_NS), True)
    row = session_row(session)
    assert (row["messages_up"], row["relay_queue"], row["outbox_bytes"]) == (4, 3, 77)
    assert row["bytes_up"] == session.bytes_up > 0
    session.deliver([b"1234", b"56"])
    row = session_row(session)
    assert (row["state"], row["messages_down"], row["bytes_down"], row["peer"]) == ("open", 2, 6, connection.peer)


def test_sessions_are_found_by_what_they_have() -> None:
    world = World(identities=2)
    one = world.open()[1]
    two = world.open()[1]
    other = world.open(OTHER)[1]
    setup = world.connect(OTHER)[1]
    unopened = world.gateway.connect(Connection())
    gateway = world.gateway
    assert {one, two}.issubset(find_sessions(gateway, canister=CANISTER))
    assert set(find_sessions(gateway, canister=OTHER)) == {other, setup}
    assert set(find_sessions(gateway, OTHER, SessionFilter(state="open"))) == {other}
    assert set(find_sessions(gateway, only=SessionFilter(state="init"))) == {unopened}
    assert one.client_key is not None
    principal = Principal(one.client_key[0])
    assert set(find_sessions(gateway, only=SessionFilter(principal))) == {one}
    assert list(find_sessions(gateway, OTHER, SessionFilter(principal))) == []
    assert find_session(gateway, two.id) is two
    assert find_session(gateway, "nobody") is None
    two.left(1000)
    assert two in set(find_sessions(gateway, only=SessionFilter(state="closed")))
    assert two in set(find_sessions(gateway, CANISTER, SessionFilter(state="closed")))
    assert set(find_sessions(gateway, OTHER, SessionFilter(state="closed"))) == set()
    rows, more = session_rows(gateway, 2)
    assert (len(rows), more) == (2, True)
    rows, more = session_rows(gateway, 2, canister=OTHER)
    assert ({row["id"] for row in rows}, more) == ({other.id, setup.id}, False)


def test_sessions_are_found_by_address_origin_age_and_silence() -> None:
    world = World()
    first = world.open()[1]
    first.client.peer, first.client.origin = "203.0.113.7:4711", "https://a.example"
    world.clock.advance(60)
    second = world.open()[1]
    second.client.peer = "[2001:db8::7]:4711"
    gateway = world.gateway

    def found(**only: Any) -> list[str]:
        return [session.id for session in find_sessions(gateway, only=SessionFilter(**only))]

    for network, which in [
        ("203.0.113.0/24", [first.id]),
        ("203.0.114.0/24", []),
        ("2001:db8::/32", [second.id]),
        ("0.0.0.0/0", [first.id]),
    ]:
        assert found(address=Networks([ip_network(network)])) == which
    assert found(origin="https://a.example") == [first.id]
    assert found(origin="https://b.example") == []
    assert found(older=60) == found(idle=60) == [first.id]
    assert set(found(older=0)) == {first.id, second.id}
    assert found(older=60, origin="https://b.example") == []
    assert first.relay is not None
    first.relay.sent = world.clock.seconds()
    assert found(idle=60) == []
    assert [session_row(session)["idle_s"] for session in (first, second)] == [0, 0]
    world.clock.advance(5)
    assert sorted(found(idle=5)) == sorted([first.id, second.id])
    # a client of a unix socket has no address
    first.client.peer = "unix"
    assert found(address=Networks([ip_network("0.0.0.0/0"), ip_network("::/0")])) == [second.id]


def test_canisters_with_the_most_sessions_come_first() -> None:
    world = World(identities=2)
    for _ in range(3):
        world.open(OTHER)
    world.open()
    rows, more = canister_rows(world.gateway, 10)
    json.dumps(rows)
    assert [(row["canister"], row["sessions"]) for row in rows] == [(OTHER.text, 3), (CANISTER.text, 1)]
    assert not more
    assert sum(poller["sessions"] for poller in rows[0]["pollers"]) == 3
    assert len({poller["gateway_principal"] for poller in rows[0]["pollers"]}) == 2
    assert [row["canister"] for row in canister_rows(world.gateway, 1)[0]] == [OTHER.text]
    assert canister_rows(world.gateway, 1)[1]
    assert [row["sessions"] for row in canister_rows(world.gateway, 9, CANISTER)[0]] == [1]
    assert canister_rows(world.gateway, 9, Principal(b"absent")) == ([], False)


def test_how_a_canister_answers() -> None:
    world = World()
    world.open()
    world.clock.advance(0.2)
    (row,) = canister_rows(world.gateway, 1)[0]
    (poller,) = row["pollers"]
    assert poller["in_flight"] > 0
    assert (poller["next_message"], poller["failures"], poller["last_error"], poller["last_error_s"]) == (
        0,
        0,
        None,
        None,
    )
    world.network.queries[0].answer(HttpError(500, "x" * 1000))
    world.clock.advance(1)
    (row,) = canister_rows(world.gateway, 1)[0]
    (poller,) = row["pollers"]
    assert (poller["failures"], poller["last_error_s"]) == (1, 1.0)
    assert poller["last_error"].startswith("HTTP 500: xx")
    assert len(poller["last_error"]) == MAX_ERROR
