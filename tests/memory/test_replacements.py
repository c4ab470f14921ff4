"""Two connections of one principal: the gateway ends the replaced one, whatever the order of the answers."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from icwsgw.core.close_reasons import CloseCode
from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.devnet.consensus import BlockTiming
from icwsgw.devnet.faults import InjectedFault
from icwsgw.devnet.hosting import CdkSettings
from icwsgw.ic import cbor, ws
from icwsgw.ic.certificate import build_certificate
from icwsgw.ic.hashtree import from_mapping
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.request_id import leb128, request_id
from tests.memory.world import MemoryClient, World

BLOCKS = BlockTiming(1.0, 0.0)
SAME = Ed25519Identity(b"\x11" * 32)


def registered(world: World, client: MemoryClient) -> bool:
    return (SAME.principal.raw, client.client_nonce) in world.replica.host(ECHO_ID).ws.clients


def test_the_canister_decides_which_connection_is_the_newer_one() -> None:
    world = World()
    answer = world.transport.handler
    slow = [True]

    def handle(method: str, path: str, body: bytes) -> Any:
        given = answer(method, path, body)
        if not path.endswith("/call") or not slow:
            return given
        slow.clear()
        late: Deferred[Any] = Deferred()
        given.addCallback(lambda result: world.clock.callLater(1.0, late.callback, result))
        return late

    world.transport.handler = handle
    # executed first, answered last
    first = world.client(ECHO_ID, SAME)
    world.until(lambda: registered(world, first))
    second = world.client(ECHO_ID, SAME)
    world.until(lambda: second.opened)
    world.run(2)
    assert first.close_code == CloseCode.REPLACED
    assert second.close_code is None
    second.echoes(b"still here")


def test_ws_open_of_a_client_that_has_left_is_not_resubmitted() -> None:
    world = World()
    world.replica.faults.add(
        InjectedFault(kind="http", status=503, on="call", method="ws_open", count=1, retry_after=2.0)
    )
    gone = world.client(ECHO_ID, SAME)
    world.run(0.5)
    gone.leave()
    (newer,) = [world.client(ECHO_ID, SAME)]
    world.until(lambda: newer.opened)
    world.run(5)
    assert registered(world, newer)
    newer.echoes(b"still here")


def test_ws_open_in_flight_when_its_client_leaves_is_not_resubmitted() -> None:
    world = World()
    world.replica.faults.add(InjectedFault(kind="hang", on="call", method="ws_open", count=1))
    gone = world.client(ECHO_ID, SAME)
    world.run(0.5)
    gone.leave()
    world.replica.release()
    world.run(10)
    assert world.replica.host(ECHO_ID).ws.clients == []
    assert world.replica.stats["ws_open"] == 1
    world.check_idle()


def test_a_client_replaced_by_one_that_has_left_is_closed() -> None:
    world = World()
    world.replica.faults.add(InjectedFault(kind="delay", delay=2.0, on="call", method="ws_open", count=1))
    gone = world.client(ECHO_ID, SAME)
    world.run(0.5)
    newer = world.client(ECHO_ID, SAME)
    world.until(lambda: newer.opened)
    gone.leave()
    # the delayed call is executed now; the gateway cannot prevent it
    world.until(lambda: newer.close_code is not None)
    assert newer.close_code == CloseCode.REPLACED
    world.run(5)
    world.check_idle()


def test_a_canister_with_one_message_a_page_is_polled_beyond_the_probe() -> None:
    world = World(settings=CdkSettings(max_messages=1), polling_interval=1.0)
    (first,) = world.open()
    first.echoes(b"x")
    first.leave()
    world.run(2)
    second = world.client()
    world.until(lambda: second.opened, 4)


def test_a_position_of_an_earlier_poller_needs_confirmation() -> None:
    world = World(query_latency=0.02)
    (first,) = world.open()
    first.leave()
    world.run(2)
    world.replica.reset(ECHO_ID)
    other = world.replica.host(ECHO_ID).ws
    # the first probe is answered late, a regular query right after it; the new queue is as long as the old one was
    world.replica.faults.add(InjectedFault(kind="delay", delay=1.0, on="query", count=1))
    gateway = world.context.identities[0].principal
    other.ws_open(Ed25519Identity(b"\x22" * 32).principal, 7, gateway)
    second = world.client()
    world.until(lambda: second.opened, 3)
    world.run(3)
    assert second.close_code is None
    second.echoes(b"x")


def test_a_first_message_that_is_not_the_canisters_first_one_shows_a_reset() -> None:
    world = World(query_latency=0.02)
    (old,) = world.open()
    failing = world.replica.faults.add(InjectedFault(kind="http", status=500, on="query", count=None))
    world.replica.reset(ECHO_ID)
    newcomer = world.client()
    host = world.replica.host(ECHO_ID)
    world.until(lambda: bool(host.ws.clients))
    # OpenMessage is number 0 in the new queue; in the old one number 0 was a message that was delivered
    host.ws.send(newcomer.identity.principal, b"second")
    world.replica.faults.remove(failing)
    world.until(lambda: old.close_code is not None and (newcomer.opened or newcomer.close_code is not None), 5)
    assert old.close_code == CloseCode.CANISTER_RESET
    if newcomer.close_code is None:
        world.until(lambda: newcomer.received == [b"second"], 5)
    else:
        assert newcomer.close_code == CloseCode.CANISTER_RESET
        assert newcomer.received == []


def test_a_replacement_under_another_identity_that_has_left_is_noticed() -> None:
    world = World(call_latency=0.3, identities=2, clients_per_identity=1)
    first = world.client(ECHO_ID, SAME)
    world.until(lambda: first.opened)
    second = world.client(ECHO_ID, SAME)
    assert first.session is not None
    assert second.session is not None
    assert first.session.identity_index != second.session.identity_index
    world.run(0.1)
    second.leave()
    world.until(lambda: first.close_code is not None, 2)
    assert first.close_code == CloseCode.REPLACED
    world.run(5)
    world.check_idle()


def test_after_each_opening_only_the_newest_connection_is_open() -> None:
    """With one identity and with several; checked after each opening, not only at the end."""
    for identities in (1, 3):
        world = World(identities=identities, clients_per_identity=1)
        clients: list[MemoryClient] = []
        for _ in range(6):
            clients.append(world.client(ECHO_ID, SAME))
            world.until(lambda: clients[-1].opened)  # noqa: B023
            world.run(1)
            assert [client.close_code for client in clients[:-1]] == [CloseCode.REPLACED] * (len(clients) - 1)
            assert clients[-1].close_code is None
            clients[-1].echoes(b"the newest")
            assert sum(world.gateway.identity_assignment.loads) == 1


def opened_in_one_block(slow: int, **options: Any) -> tuple[World, MemoryClient, MemoryClient]:
    """Two connections of one principal, with different identities, whose ws_opens are executed in the same block.

    :param slow: the identity whose queue is polled late, so that the gateway gets its first message last
    :return: the world, the connection that the canister knows, and the one that it has dropped
    """
    world = World(identities=2, clients_per_identity=1, pace=BLOCKS, **options)
    handle, caller = world.transport.handler, world.context.identities[slow].principal.raw

    def late(method: str, path: str, body: bytes) -> Any:
        given = handle(method, path, body)
        if not path.endswith("/query") or caller not in body or all(client.opened for client in clients):
            return given
        answer: Deferred[Any] = Deferred()
        given.addCallback(lambda result: world.clock.callLater(0.5, answer.callback, result))
        return answer

    world.transport.handler = late
    clients = [world.client(ECHO_ID, SAME) for _ in range(2)]
    world.until(lambda: all(client.opened for client in clients), 5)
    assert {client.session.identity_index for client in clients if client.session} == {0, 1}
    known, dropped = sorted(clients, key=lambda client: not registered(world, client))
    assert registered(world, known)
    assert not registered(world, dropped)
    return world, known, dropped


def alone(world: World, known: MemoryClient) -> None:
    """Check that one connection is left, and no undecided replacement."""
    assert known.close_code is None
    known.echoes(b"still here")
    assert len(world.gateway.replacements) == 0
    assert sum(world.gateway.identity_assignment.loads) == 1


@pytest.mark.parametrize("slow", [0, 1])
@pytest.mark.parametrize("sign", ["push", "sends", "refused", "leaves", "round"])
def test_of_two_opened_in_one_block_the_one_registered_at_the_canister_stays(slow: int, sign: str) -> None:
    world, known, dropped = opened_in_one_block(slow, settings=CdkSettings(ack_interval_ms=20_000))
    assert (known.close_code, dropped.close_code) == (None, None)
    if sign == "push":
        world.replica.host(ECHO_ID).ws.send(SAME.principal, b"news")
    elif sign == "sends":
        known.send(b"x")
    elif sign == "refused":
        dropped.send(b"x")
    elif sign == "leaves":
        dropped.leave()
    else:
        world.run(20)
    world.run(5)
    if sign != "leaves":
        assert dropped.close_code == CloseCode.REPLACED
        assert dropped.close_reason.startswith("replaced by a newer connection of the same client")
    alone(world, known)


@pytest.mark.parametrize("slow", [0, 1])
def test_of_two_opened_in_one_block_none_stays_if_the_known_one_leaves(
    slow: int,
) -> None:
    world, known, dropped = opened_in_one_block(slow)
    known.leave()
    world.run(5)
    assert dropped.close_code == CloseCode.REPLACED
    assert len(world.gateway.replacements) == 0
    world.run(5)
    world.check_idle()


@pytest.mark.parametrize("slow", [0, 1])
def test_an_answer_to_ws_close_after_a_first_attempt_proves_nothing(slow: int) -> None:
    world, known, dropped = opened_in_one_block(slow)
    world.replica.faults.add(InjectedFault(kind="http", status=503, on="call", method="ws_close", count=1))
    dropped.leave()
    world.run(10)
    assert known.close_code == CloseCode.REPLACED
    world.check_idle()


@pytest.mark.parametrize("slow", [0, 1])
def test_a_third_connection_replaces_two_undecided_ones(slow: int) -> None:
    world, known, dropped = opened_in_one_block(slow)
    third = world.client(ECHO_ID, SAME)
    world.until(lambda: third.opened, 5)
    world.run(3)
    assert [known.close_code, dropped.close_code] == [CloseCode.REPLACED] * 2
    alone(world, third)


@pytest.mark.parametrize("order", ["accepted", "executed"])
def test_a_replacement_by_a_client_that_left_with_an_unknown_outcome_is_noticed(order: str) -> None:
    world = World(identities=2, clients_per_identity=1, relay_order=order)
    first = world.client(ECHO_ID, SAME)
    world.until(lambda: first.opened, 5)
    # executed, and the answer is lost
    world.replica.faults.add(InjectedFault(kind="reset", after=True, on="call", method="ws_open", count=1))
    second = world.client(ECHO_ID, SAME)
    world.until(lambda: bool(world.replica.stats["ws_open"] == 2), 1)
    second.leave()
    world.run(10)
    assert first.close_code == CloseCode.REPLACED
    world.check_idle()


def test_a_replacement_before_the_first_message_by_a_client_that_left_is_noticed() -> None:
    world = World(identities=2, clients_per_identity=1, query_latency=0.5)
    first, second = (world.client(ECHO_ID, SAME) for _ in range(2))
    world.until(lambda: bool(world.replica.stats["ws_open"] == 2), 1)
    assert registered(world, second)
    assert not first.opened
    second.leave()
    world.run(5)
    assert first.close_code == CloseCode.REPLACED
    world.check_idle()


@pytest.mark.parametrize("late", [False, True])
def test_a_replacement_is_noticed_although_the_older_ones_opening_is_reported_late(late: bool) -> None:
    world = World(identities=2, clients_per_identity=1, query_latency=0.5)
    world.replica.faults.add(InjectedFault(kind="reset", after=True, on="call", method="ws_open", count=1))
    if late:
        world.replica.faults.add(InjectedFault(kind="delay", delay=2.0, on="query"))
    first = world.client(ECHO_ID, SAME)
    world.until(lambda: bool(world.replica.stats["ws_open"] == 1), 1)
    second = world.client(ECHO_ID, SAME)
    world.until(lambda: registered(world, second), 1)
    second.leave()
    world.run(8)
    assert first.close_code == CloseCode.REPLACED
    world.check_idle()


@pytest.mark.parametrize("when", [0.0, 0.25, 0.5])
def test_a_new_client_stays_while_an_older_one_of_its_principal_leaves(when: float) -> None:
    world = World(identities=2, clients_per_identity=1, query_latency=0.5, call_latency=0.2)
    gone = world.client(ECHO_ID, SAME)
    world.until(lambda: registered(world, gone), 1)
    gone.leave()
    world.run(when)
    newer = world.client(ECHO_ID, SAME)
    world.until(lambda: newer.opened, 5)
    world.run(5)
    assert newer.close_code is None
    newer.echoes(b"still here")


def test_a_forged_answer_to_ws_close_ends_no_other_connection() -> None:
    """The network withholds the ws_open of a second connection, and claims that its canister has accepted it."""
    world = World(identities=2, clients_per_identity=1)
    answer = world.transport.handler
    older = world.client(ECHO_ID, SAME)
    world.until(lambda: older.opened)
    forged: list[str] = []

    def handle(method: str, path: str, body: bytes) -> Any:
        content = cbor.loads(body)["content"] if path.endswith("/call") else {}
        name = content.get("method_name")
        if name == "ws_open":
            return 202, {}, b""
        if name == "ws_close":
            forged.append(name)
            status = {request_id(content): {b"status": b"replied", b"reply": ws.UNIT_OK}}
            tree = from_mapping({b"request_status": status, b"time": leb128(world.now_ns())})
            certificate = build_certificate(tree, lambda _: b"\x80" * 48)
            return 200, {}, cbor.dumps({"status": "replied", "certificate": certificate})
        return answer(method, path, body)

    world.transport.handler = handle
    newer = world.client(ECHO_ID, SAME)
    world.run(1)
    newer.leave()
    # until the ws_open has expired and ws_close has been given up
    world.until(lambda: not world.gateway.registry.ending, 600.0, step=0.1)
    assert len(forged) > 1
    assert older.close_code is None
    older.echoes(b"still here")
