"""Faults of canisters and the network during traffic: no client of a running canister loses messages or its session."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.devnet.faults import InjectedFault
from icwsgw.devnet.replica import Replica
from icwsgw.gateway import registry
from icwsgw.ic import cbor
from icwsgw.ic.principal import Principal
from tests.memory.world import MemoryClient, World
from tests.support.faults import QUERY_FAULTS

OTHER = Principal(b"\x00\x00\x00\x00\x00\x90\x00\x01\x01\x01")


def name_of(fault: dict[str, Any]) -> str:
    return "-".join(str(value) for value in fault.values())


class Traffic:
    """Clients that send numbered messages all the time, and bystanders on another canister."""

    def __init__(self, world: World, count: int = 3) -> None:
        self.world = world
        self.clients = world.open(count)
        self.bystander = world.open(1, OTHER)[0]
        self.sent = 0

    def go(self, seconds: float) -> None:
        end = self.world.clock.seconds() + seconds
        while self.world.clock.seconds() < end:
            for client in [*self.clients, self.bystander]:
                client.send(b"%d" % self.sent)
            self.sent += 1
            self.world.run(0.1)

    def check(self, seconds: float = 10.0) -> None:
        everybody = [*self.clients, self.bystander]
        self.world.until(lambda: all(len(client.received) == self.sent for client in everybody), seconds)
        expected = [b"%d" % number for number in range(self.sent)]
        for client in everybody:
            assert client.received == expected
            assert client.close_code is None


@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.parametrize("fault", QUERY_FAULTS, ids=name_of)
def test_a_bad_answer_costs_a_poll_and_no_session(fault: dict[str, Any], count: int) -> None:
    world = World(query_latency=0.02)
    traffic = Traffic(world)
    traffic.go(1)
    world.replica.faults.add(
        InjectedFault(on="query", canister=ECHO_ID, method="ws_get_messages", count=count, **fault)
    )
    traffic.go(2)
    traffic.check(30)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "http", "status": 500},
        {"kind": "http", "status": 503},
        {"kind": "http", "status": 429, "retry_after": 1},
        {"kind": "half_body"},
        {"kind": "reset"},
        {"kind": "reset", "after": True},
        {"kind": "delay", "delay": 2.0},
    ],
    ids=name_of,
)
@pytest.mark.parametrize("order", ["accepted", "executed"])
def test_a_lost_call_is_resubmitted_and_order_is_kept(fault: dict[str, Any], count: int, order: str) -> None:
    world = World(call_latency=0.02, relay_order=order)
    traffic = Traffic(world, 3)
    traffic.go(0.5)
    world.replica.faults.add(InjectedFault(on="call", canister=ECHO_ID, method="ws_message", count=count, **fault))
    traffic.go(2)
    traffic.check(60)


def test_a_call_answered_with_an_unreadable_certificate_is_resubmitted() -> None:
    """As a boundary node can make it up: a leaf of the certificate's tree that is not bytes."""
    world = World()
    (client,) = world.open()
    fields = [1, [2, b"reply", [3, 1 << 63]], [2, b"status", [3, b"replied"]]]
    certificate = cbor.dumps({"tree": [2, b"request_status", [2, b"x" * 32, fields]], "signature": b""})
    forged = cbor.dumps({"status": "replied", "certificate": certificate})
    handler = world.transport.handler
    calls: list[bytes] = []

    def handle(method: str, path: str, body: bytes) -> Any:
        if path.endswith("/call"):
            calls.append(body)
            if len(calls) == 1:
                return 200, {}, forged
        return handler(method, path, body)

    world.transport.handler = handle
    client.send(b"one")
    client.send(b"two")
    world.until(lambda: client.received == [b"one", b"two"], 10)
    assert client.close_code is None
    assert calls[0] == calls[1]


def test_a_hanging_query_delays_no_client_by_more_than_a_second() -> None:
    world = World(query_latency=0.02)
    (client,) = world.open()
    client.send(b"before")
    world.until(lambda: len(client.received) == 1)
    world.replica.faults.add(InjectedFault(kind="hang", on="query", canister=ECHO_ID, count=1))
    world.run(0.2)
    client.send(b"during")
    world.until(lambda: len(client.received) == 2, 1)


def test_delivery_resumes_after_all_queries_hung_for_a_while() -> None:
    world = World(query_latency=0.02)
    (client,) = world.open()
    hang = world.replica.faults.add(InjectedFault(kind="hang", on="query", canister=ECHO_ID, count=None))
    world.run(4)
    client.send(b"during")
    world.run(1)
    assert client.received == []
    world.replica.faults.remove(hang)
    world.until(lambda: client.received == [b"during"], 1.2)


def test_hanging_calls_of_one_canister_do_not_block_another_canisters_clients() -> None:
    world = World()
    world.replica.faults.add(InjectedFault(kind="hang", on="call", canister=ECHO_ID, count=None))
    stuck = [world.client() for _ in range(60)]
    world.run(0.5)
    (other,) = world.open(1, CHAT_ID)
    assert other.close_code is None
    assert not any(client.opened for client in stuck)


def test_clients_that_left_before_a_silent_canister_answered_are_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The network has accepted each ws_open, and whether it will be executed is unknown until it expires."""
    monkeypatch.setattr(registry, "MAX_UNANSWERED", 5)
    world = World()
    (other,) = world.open(1, CHAT_ID)
    world.replica.ingress.latency = 1000.0
    for _ in range(4):
        clients = [world.client() for _ in range(3)]
        world.run(12)
        for client in clients:
            client.leave()
        world.run(0.5)
        assert len(world.gateway.registry.ending) <= 5
    assert other.close_code is None
    world.replica.ingress.latency = 0.0
    world.run(300)
    assert not world.gateway.registry.ending
    assert not world.gateway.registry.unanswered
    assert world.gateway.identity_assignment.loads == [1]


def test_a_silent_canisters_clients_are_closed_after_the_grace_period() -> None:
    world = World(canister_grace=20.0)
    clients, (bystander,) = world.open(3), world.open(1, CHAT_ID)
    world.replica.faults.add(InjectedFault(kind="trap", on="query", canister=ECHO_ID, count=None))
    world.run(15)
    assert all(client.close_code is None for client in clients)
    world.run(10)
    assert {client.close_code for client in clients} == {CloseCode.CANISTER_SILENT}
    assert bystander.close_code is None
    assert list(world.gateway.registry.pollers) == [(CHAT_ID.raw, 0)]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"kind": "reject", "code": 4, "message": "no entry", "error_code": "IC0406"}, "no entry"),
        ({"kind": "reject", "code": 5, "message": "out of cycles", "certified": True}, "out of cycles"),
        ({"kind": "trap"}, "IC0503"),
        ({"kind": "stopped"}, "IC0508"),
        ({"kind": "cdk_err", "message": "guests only"}, "guests only"),
        ({"kind": "http", "status": 400, "message": "malformed"}, "HTTP 400"),
        ({"kind": "http", "status": 413, "message": "too large"}, "HTTP 413"),
    ],
    ids=lambda value: value if isinstance(value, str) else name_of(value),
)
def test_a_refused_ws_open_reaches_the_client_with_the_reason(fault: dict[str, Any], words: str) -> None:
    world = World()
    world.replica.faults.add(InjectedFault(on="call", method="ws_open", count=1, **fault))
    client = world.client()
    world.until(lambda: client.close_code is not None, 1)
    assert client.close_code == CloseCode.OPEN_REFUSED
    assert words in client.close_reason
    world.run(1)
    assert world.replica.stats["ws_close"] == 0
    world.check_idle()


def test_a_refused_message_ends_the_session_because_its_sequence_is_broken() -> None:
    world = World()
    (client,) = world.open()
    world.replica.faults.add(
        InjectedFault(kind="reject", code=4, message="not today", on="call", method="ws_message", count=1)
    )
    client.send(b"x")
    world.until(lambda: client.close_code is not None, 1)
    assert client.close_code == CloseCode.MESSAGE_REFUSED
    assert "not today" in client.close_reason
    world.run(1)
    assert world.replica.stats["ws_close"] == 1


REFUSALS: list[dict[str, Any]] = [{"kind": "http", "status": 400}, {"kind": "stopped"}, {"kind": "reject", "code": 4}]


@pytest.mark.parametrize("refusal", REFUSALS, ids=name_of)
def test_a_message_whose_resubmission_is_refused_may_have_been_executed(
    refusal: dict[str, Any],
) -> None:
    world = World(call_latency=0.02)
    traffic = Traffic(world, 1)
    traffic.go(0.5)
    lost = {"kind": "reset", "after": True}
    for fault in (lost, refusal):
        world.replica.faults.add(InjectedFault(on="call", canister=ECHO_ID, method="ws_message", count=1, **fault))
    traffic.go(2)
    traffic.check()


@pytest.mark.parametrize("refusal", REFUSALS, ids=name_of)
def test_a_ws_open_whose_resubmission_is_refused_opens_if_it_was_executed(refusal: dict[str, Any]) -> None:
    world = World(query_latency=0.3)
    for fault in ({"kind": "reset", "after": True}, refusal):
        world.replica.faults.add(InjectedFault(on="call", method="ws_open", count=1, **fault))
    client = world.client()
    world.until(lambda: client.opened, 2)
    client.echoes(b"x")


def test_a_refused_ws_open_that_may_have_been_executed_is_followed_by_ws_close() -> None:
    world = World()
    for kind in ("query", "call"):
        # the call is executed, but the gateway cannot know it
        world.replica.faults.add(InjectedFault(kind="garbage", on=kind, count=None, method="ws_get_messages"))
    world.replica.faults.add(InjectedFault(kind="reset", after=True, on="call", method="ws_open", count=1))
    world.replica.faults.add(InjectedFault(kind="http", status=400, on="call", method="ws_open", count=3))
    client = world.client()
    world.until(lambda: client.close_code is not None, 8)
    assert client.close_code == CloseCode.OPEN_REFUSED
    world.until(lambda: not world.replica.host(ECHO_ID).ws.clients, 1)
    world.replica.faults.clear()
    world.run(1)
    world.check_idle()


def test_canisters_that_do_not_answer_ws_close_do_not_delay_those_of_others() -> None:
    world = World()
    world.replica.faults.add(InjectedFault(kind="hang", on="call", canister=ECHO_ID, method="ws_close", count=None))
    for client in world.open(150):
        client.leave()
    (other,) = world.open(1, CHAT_ID)
    other.leave()
    world.until(lambda: not world.replica.host(CHAT_ID).ws.clients, 1)


def test_a_rate_limited_network_is_given_time_and_nothing_is_lost() -> None:
    world = World(query_latency=0.02)
    traffic = Traffic(world, 2)
    (third,) = world.open(1, CHAT_ID)
    traffic.go(0.5)
    pauses = [
        world.replica.faults.add(
            InjectedFault(kind="http", status=429, retry_after=2, on="query", canister=canister, count=1)
        )
        for canister in (ECHO_ID, OTHER)
    ]
    traffic.go(0.5)
    assert [fault.hits for fault in pauses] == [1, 1]
    before = len(world.transport.requests)
    world.run(1.3)
    assert not any("/query" in path for _, path, _ in world.transport.requests[before:])
    traffic.check()
    assert third.close_code is None


def test_ws_close_arrives_although_the_network_fails_for_a_while() -> None:
    world = World()
    (client,) = world.open()
    world.replica.faults.add(InjectedFault(kind="http", status=503, on="call", method="ws_close", count=6))
    client.leave()
    world.run(30)
    assert not world.replica.host(ECHO_ID).ws.clients
    world.check_idle()


def reset(world: World) -> None:
    world.replica.reset(ECHO_ID)


def test_a_reset_closes_old_clients_soon_and_new_ones_open_at_once() -> None:
    world = World(query_latency=0.02)
    old = world.open(5)
    for client in old:
        client.send(b"x")
    world.until(lambda: all(client.received for client in old))
    reset(world)
    newcomer = world.client()
    world.until(lambda: newcomer.opened, 1)
    assert {client.close_code for client in old} == {CloseCode.CANISTER_RESET}
    newcomer.echoes(b"new life")


def test_a_reset_is_found_without_a_new_client() -> None:
    world = World(query_latency=0.02)
    old = world.open(3)
    reset(world)
    world.until(lambda: all(client.close_code == CloseCode.CANISTER_RESET for client in old), 5)


def test_a_reset_is_found_although_the_new_queue_is_longer_than_the_old_one() -> None:
    world = World(query_latency=0.02)
    (old,) = world.open()
    hang = world.replica.faults.add(InjectedFault(kind="http", status=500, on="query", canister=ECHO_ID, count=None))
    reset(world)
    newcomers = [world.client() for _ in range(4)]
    world.run(1)
    world.replica.faults.remove(hang)
    world.until(lambda: old.close_code == CloseCode.CANISTER_RESET, 5)
    world.until(lambda: all(client.opened or client.close_code is not None for client in newcomers), 5)
    again = world.client()
    world.until(lambda: again.opened, 2)


def test_a_queue_that_went_on_in_the_new_one_delays_no_client_after_the_reset_is_found() -> None:
    """Before that, the new queue's messages seemed to follow those of the old one."""
    world = World(query_latency=0.02)
    (old,) = world.open()
    world.run(2)
    reset(world)
    lost = world.client()
    world.run(0.02)
    newcomer = world.client()
    world.until(lambda: newcomer.opened, 1)
    assert not lost.opened
    assert old.close_code is None
    world.until(lambda: old.close_code == CloseCode.CANISTER_RESET, 5)
    again = world.client()
    world.until(lambda: again.opened, 1)


def test_lagging_replicas_are_no_reset() -> None:
    world = World(query_latency=0.02)
    traffic = Traffic(world, 2)
    world.replica.faults.add(InjectedFault(kind="lagging", hide=8, on="query", count=None, rate=0.5))
    traffic.go(30)
    world.replica.faults.clear()
    traffic.check()
    assert world.metrics.resets.value == 0


def test_faults_in_one_percent_of_all_requests_affect_no_client() -> None:
    world = World(query_latency=0.02, call_latency=0.02)
    traffic = Traffic(world, 5)
    for fault in QUERY_FAULTS:
        if fault["kind"] != "delay":
            world.replica.faults.add(InjectedFault(on="query", count=None, rate=0.01, **fault))
    for kind in ("reset", "half_body"):
        world.replica.faults.add(InjectedFault(kind=kind, on="call", count=None, rate=0.01))
    traffic.go(30)
    traffic.check(60)


def test_the_replica_may_start_after_the_gateway() -> None:
    world = World(start=False)
    down = world.replica.faults.add(InjectedFault(kind="reset", on="status", count=None))
    world.agent.start()
    world.gateway.start()
    world.run(20)
    assert not world.agent.ready
    world.replica.faults.remove(down)
    world.until(lambda: world.agent.ready, 30)
    world.open(1)


def deep_queue(client: MemoryClient, count: int) -> None:
    for number in range(count):
        client.world.replica.host(client.canister).ws.send(client.identity.principal, b"%d" % number)


@pytest.mark.parametrize("latency", [0.0, 0.1, 0.35])
def test_a_deep_queue_is_drained_by_many_queries_in_order(latency: float) -> None:
    world = World(query_latency=latency)
    clients = world.open(2)
    for client in clients:
        client._root_key = None
        deep_queue(client, 2000)
    started = world.clock.seconds()
    world.until(lambda: all(len(client.received) == 2000 for client in clients), 60)
    assert clients[0].received == [b"%d" % number for number in range(2000)]
    # sequential queries would take 80 round trips
    assert world.clock.seconds() - started < 25 * latency + 1


def test_a_test_network_recreated_with_another_root_key_is_trusted() -> None:
    world = World(verify_batches=True, verify_queries="on")
    (old,) = world.open()
    world.replica = Replica(world.clock, world.now_ns, b"another seed")
    world.until(lambda: old.close_code == CloseCode.CANISTER_RESET, 15)
    (new,) = world.open()
    new.echoes(b"new world")
    assert world.agent.root_key == world.replica.root_key_der
