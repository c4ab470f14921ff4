"""Who is admitted, who replaces whom, and how everybody is let go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.identity_assignment import IdentityAssignment
from icwsgw.gateway.batches import BATCH
from icwsgw.gateway.gateway import Gateway
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.gateway.test_session import Connection
from tests.support.fake_network import CANISTER, NOW_NS, REPLIED_OK, FakeNetwork, make_context
from tests.support.sdk_client import SdkClient

OTHER = Principal(b"\x00\x00\x00\x00\x00\x00\x00\x09\x01\x01")


class World:
    def __init__(self, **options: Any) -> None:
        self.context, self.network, self.clock = make_context(**options)
        # few to an identity, so that several are used
        self.gateway = Gateway(self.context, IdentityAssignment(len(self.context.identities), target=1))

    network: FakeNetwork

    def connect(self, canister: Principal = CANISTER, identity: Ed25519Identity | None = None) -> Any:
        """A client whose ws_open has left."""
        connection = Connection()
        session = self.gateway.connect(connection)
        sdk = SdkClient(canister, identity)
        sdk.gateway = self.context.identities[session.identity_index].principal
        session.received(sdk.open_payload(NOW_NS), True)
        return connection, session

    def open(
        self, canister: Principal = CANISTER, identity: Ed25519Identity | None = None, at_ns: int | None = None
    ) -> Any:
        """A client to whom the canister has spoken, at its time ``at_ns``."""
        connection, session = self.connect(canister, identity)
        session.opened_at_ns = at_ns or 0
        self.network.calls[-1].answer(REPLIED_OK)
        session.deliver([b"open"])
        return connection, session


def test_lists_decide_about_canisters() -> None:
    for options, code in [
        ({"denied_canisters": (CANISTER.text,)}, CloseCode.CANISTER_NOT_ALLOWED),
        ({"allowed_canisters": (OTHER.text,)}, CloseCode.CANISTER_NOT_ALLOWED),
        ({"allowed_canisters": (CANISTER.text,)}, None),
        ({}, None),
    ]:
        connection, _ = World(**options).connect()
        assert [closed for closed, _ in connection.closed] == ([code] if code else [])


def test_a_canister_takes_so_many_clients_and_no_more_until_one_leaves() -> None:
    world = World(max_connections_per_canister=2)
    (_, first), _, (late, _) = (world.connect() for _ in range(3))
    assert late.closed[0][0] == CloseCode.OVERLOADED
    other, _ = world.connect(OTHER)
    assert other.closed == []
    first.left(1000)
    again, _ = world.connect()
    assert again.closed == []


@pytest.mark.parametrize("identities", [1, 3])
def test_an_accepted_client_replaces_its_older_connection_under_whatever_identity(identities: int) -> None:
    world = World(identities=identities)
    identity = Ed25519Identity(b"\x21" * 32)
    connections = [world.open(identity=identity)[0] for _ in range(4)]
    other, _ = world.open()
    assert [[code for code, _ in connection.closed] for connection in connections] == [[4109], [4109], [4109], []]
    assert other.closed == []


def test_a_ws_open_replaces_no_session_before_the_canister_has_answered() -> None:
    world = World()
    identity = Ed25519Identity(b"\x22" * 32)
    older, _ = world.open(identity=identity)
    newer, session = world.connect(identity=identity)
    assert older.closed == []
    world.network.calls[-1].answer(REPLIED_OK)
    session.deliver([b"open"])
    assert older.closed[0][0] == CloseCode.REPLACED
    assert newer.closed == []


def test_the_same_client_at_another_canister_is_another_session() -> None:
    world = World()
    identity = Ed25519Identity(b"\x23" * 32)
    one, _ = world.open(identity=identity)
    two, _ = world.open(OTHER, identity)
    assert one.closed == two.closed == []


def test_metrics_count_sessions_by_state() -> None:
    world = World()
    world.gateway.connect(Connection())
    world.connect()
    world.open()
    _, session = world.open()
    session.left(1000)
    states = world.context.metrics.sessions.values
    assert states == {"init": 1, "setup": 1, "open": 1, "closed": 1}
    assert world.context.metrics.clients_connected.value == 2
    assert world.context.metrics.pollers.value == 1


def test_clients_are_spread_over_identities_and_leave_room_when_they_go() -> None:
    world = World(identities=3)
    opened = [world.open() for _ in range(3)]
    assert [session.identity_index for _, session in opened] == [0, 1, 2]
    opened[1][1].left(1000)
    _, early = world.connect()
    assert early.identity_index != 1, "its canister has not been notified yet"
    world.network.calls[-2].answer(REPLIED_OK)
    early.left(1000)
    assert world.open()[1].identity_index == 1
    other = world.gateway.connect(Connection())
    other.left(1000)


def test_a_canister_that_is_denied_later_loses_its_clients() -> None:
    world = World(identities=2)
    clients = [world.open()[0] for _ in range(4)]
    other, _ = world.open(OTHER)
    world.gateway.serve(replace(world.context.config, denied_canisters=(CANISTER.text,)))
    assert [[code for code, _ in client.closed] for client in clients] == [[CloseCode.CANISTER_NOT_ALLOWED]] * 4
    assert other.closed == []
    late, _ = world.connect()
    assert late.closed[0][0] == CloseCode.CANISTER_NOT_ALLOWED
    world.gateway.serve(replace(world.context.config, allowed_canisters=(CANISTER.text,)))
    assert other.closed[0][0] == CloseCode.CANISTER_NOT_ALLOWED
    assert world.connect()[0].closed == []


def test_what_is_announced_to_and_by_other_processes() -> None:
    world = World(identities=2)
    announced: list[tuple[bytes, bytes, int, bool]] = []
    world.gateway.announce = lambda *what: announced.append(what)
    identity = Ed25519Identity(b"\x24" * 32)
    sender = identity.principal.raw
    here, _ = world.open(identity=identity, at_ns=70)
    assert announced == [(CANISTER.raw, sender, 70, False)], "once, though two signs showed it"
    world.gateway.replaced_elsewhere(OTHER.raw, sender, 80, True)
    world.gateway.replaced_elsewhere(CANISTER.raw, b"somebody else", 80, True)
    assert (here.closed, len(announced)) == ([], 1)
    world.gateway.replaced_elsewhere(CANISTER.raw, sender, 60, True)
    assert here.closed == [], "that one came late, but is the older one"
    assert announced[1:] == [(CANISTER.raw, sender, 70, False)], "the newer one is announced once more"
    world.gateway.replaced_elsewhere(CANISTER.raw, sender, 80, False)
    assert here.closed[0][0] == CloseCode.REPLACED


@pytest.mark.parametrize(("left_ns", "ends"), [(69, False), (70, True)])
def test_one_that_has_left_another_process_early_has_replaced_older_ones(left_ns: int, ends: bool) -> None:
    world = World()
    identity = Ed25519Identity(b"\x24" * 32)
    here, _ = world.open(identity=identity, at_ns=70)
    world.gateway.left_elsewhere(CANISTER.raw, b"somebody else", 80, True)
    assert here.closed == []
    world.gateway.left_elsewhere(CANISTER.raw, identity.principal.raw, left_ns, True)
    assert bool(here.closed) is ends


@pytest.mark.parametrize("at_ns", [0, None])
def test_where_the_canister_gives_no_times_the_order_decides(at_ns: int | None) -> None:
    world = World()
    identity = Ed25519Identity(b"\x24" * 32)
    here, _ = world.open(identity=identity, at_ns=at_ns)
    for later in (False, True):
        world.gateway.replaced_elsewhere(CANISTER.raw, identity.principal.raw, 0, later)
        assert bool(here.closed) is later


def test_what_is_denied_at_run_time_is_denied_besides_the_lists_and_whatever_they_become() -> None:
    world = World(identities=2)
    clients = [world.open()[0] for _ in range(3)]
    other, _ = world.open(OTHER)
    assert world.gateway.deny(frozenset({CANISTER.raw})) == 3
    assert [[code for code, _ in client.closed] for client in clients] == [[CloseCode.CANISTER_NOT_ALLOWED]] * 3
    world.gateway.serve(replace(world.context.config, allowed_canisters=(CANISTER.text, OTHER.text)))
    assert not world.gateway.serves(CANISTER)
    assert world.connect()[0].closed[0][0] == CloseCode.CANISTER_NOT_ALLOWED
    assert other.closed == []
    assert world.gateway.deny(frozenset()) == 0
    assert world.connect()[0].closed == []


def test_clients_of_many_denied_canisters_are_closed_in_batches() -> None:
    world = World()
    clients = [world.open(canister)[0] for canister in (CANISTER, OTHER) for _ in range(BATCH // 2 + 10)]
    assert world.gateway.deny(frozenset({CANISTER.raw, OTHER.raw})) == len(clients)
    assert sum(bool(client.closed) for client in clients) == BATCH
    world.clock.advance(0)
    assert all(client.closed for client in clients)


def test_a_connection_that_turns_out_to_be_the_older_one_does_not_take_the_newer_one_along() -> None:
    world = World(identities=2)
    announced: list[int] = []
    world.gateway.announce = lambda canister, sender, at_ns, left: announced.append(at_ns)
    identity = Ed25519Identity(b"\x25" * 32)
    older, session = world.connect(identity=identity)
    world.network.calls[-1].answer(REPLIED_OK)
    newer, _ = world.open(identity=identity, at_ns=80)
    # its own queue delivers it later, though it was opened first
    session.opened_at_ns = 70
    session.deliver([b"open"])
    assert older.closed[0][0] == CloseCode.REPLACED
    assert newer.closed == []
    assert 0 not in announced, "other processes get no notice of a client that had left"


@given(st.permutations(range(5)), st.lists(st.booleans(), min_size=5, max_size=5))
def test_of_connections_under_several_identities_the_newest_is_left_in_whatever_order_they_are_reported(
    order: list[int], executed: list[bool]
) -> None:
    world = World(identities=5)
    identity = Ed25519Identity(b"\x26" * 32)
    clients = [world.connect(identity=identity) for _ in range(5)]
    for call, done in zip(list(world.network.calls), executed, strict=True):
        if done:
            call.answer(REPLIED_OK)
    for number in order:
        connection, session = clients[number]
        session.opened_at_ns = 70 + number
        session.deliver([b"open"])
        reported = order[: order.index(number) + 1]
        assert bool(connection.closed) is (number < max(reported))
    assert [[code for code, _ in connection.closed] for connection, _ in clients] == [[4109]] * 4 + [[]]


def test_a_principal_that_comes_again_and_again_is_counted_once() -> None:
    same = Ed25519Identity(b"\x31" * 32)
    world = World(max_connections_per_principal=1)
    for _ in range(3):
        connection, session = world.open(identity=same)
        assert connection.closed == []
        assert len(world.gateway.principals) == 1
        session.left(1000)
        assert len(world.gateway.principals) == 0
