"""Many canisters share a small budget of queries (icwsgw/core/request_budget.py)."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from icwsgw.core.request_budget import BURST_SECONDS, MOST_TICKS
from icwsgw.core.request_kind import RequestKind
from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.devnet.faults import InjectedFault
from icwsgw.devnet.hosting import CdkSettings
from icwsgw.ic.principal import Principal
from tests.memory.world import MemoryClient, World

BUDGET = 20
OTHERS = [Principal(bytes(7) + bytes([number, 1, 1])) for number in range(100, 139)]


class Crowd(World):
    """A client on each of 40 canisters.

    :ivar sent: times of queries, by canister
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(query_budget=BUDGET, **options)
        self.sent: dict[bytes, list[float]] = {}
        query = self.agent.query

        def recording(canister: Principal, request: Any, *, timeout: float) -> Any:
            self.sent.setdefault(canister.raw, []).append(self.clock.seconds())
            return query(canister, request, timeout=timeout)

        self.agent.query = recording
        self.clients = [self.client(canister) for canister in [ECHO_ID, *OTHERS]]
        self.until(lambda: all(client.opened for client in self.clients), seconds=30)

    def rest(self, seconds: float) -> list[float]:
        """Let time pass; returns the times of all queries in it."""
        self.sent.clear()
        self.run(seconds, step=0.02)
        return sorted(time for times in self.sent.values() for time in times)

    def leave(self) -> None:
        for client in self.clients:
            client.leave()
        self.run(30, step=0.02)
        self.check_idle()


def test_idle_canisters_are_polled_in_turn() -> None:
    world = Crowd()
    budget = world.context.budget
    assert budget is not None
    times = world.rest(48)
    beats = BUDGET * MOST_TICKS
    counts = [len(times) for times in world.sent.values()]
    assert len(counts) == 40
    assert beats * 48 * 0.95 < len(times) <= BUDGET * 49
    assert min(counts) >= 48 * beats / 40 - 2
    # a few queries are probes, which are counted in addition
    assert max(counts) <= 48 * beats / 40 * 1.4
    gaps = [later - sooner for each in world.sent.values() for sooner, later in pairwise(each)]
    assert max(gaps) < budget.interval + 0.3
    assert world.metrics.poll_interval.value == budget.interval == 40 / beats
    assert world.metrics.queries_held.values["beat"] > 0
    world.leave()
    assert not budget.stretched


def test_queries_never_exceed_the_budget_and_its_burst() -> None:
    world = Crowd()
    for client in world.clients[::3]:
        client.send(b"hello")
    times = world.rest(20)
    for first in range(0, len(times), 7):
        for seconds in (1, 5):
            within = sum(times[first] <= time < times[first] + seconds for time in times)
            # a burst, and what timer ticks shift
            assert within <= BUDGET * seconds + BUDGET * BURST_SECONDS + 4
    world.leave()


def test_an_answer_does_not_wait_for_a_regular_poll() -> None:
    world = Crowd()
    world.rest(10)
    waits = []
    for client in world.clients[:10]:
        sent = world.clock.seconds()
        client.echoes(b"hello")
        waits.append(world.clock.seconds() - sent)
        world.run(1, step=0.02)
    # the period of regular polls is 2.7 s
    assert max(waits) < 0.5
    world.leave()


def test_a_deep_queue_drains_while_all_others_are_polled() -> None:
    world = Crowd(settings=CdkSettings(max_messages=10))
    reader: MemoryClient = world.clients[0]
    cdk = world.replica.host(ECHO_ID).ws
    for number in range(600):
        cdk.send(reader.identity.principal, b"%d" % number)
    started = world.clock.seconds()
    world.sent.clear()
    world.until(lambda: len(reader.received) == 600, seconds=60, step=0.02)
    assert reader.received == [b"%d" % number for number in range(600)]
    took = world.clock.seconds() - started
    # 60 pages; regular polls alone would need 160 s
    assert took < 60 / (BUDGET * (1 - MOST_TICKS)) + 3
    others = [len(times) for raw, times in world.sent.items() if raw != ECHO_ID.raw]
    assert len(others) == 39
    assert min(others) >= int(took * BUDGET * MOST_TICKS / 40) - 1
    world.leave()


@pytest.mark.parametrize("mood", ["calm", "calls under way", "failing"])
def test_all_requests_are_counted_by_kind(mood: str) -> None:
    world = World(query_budget=100, call_latency=12.0 if mood == "calls under way" else 0.0)
    if mood == "failing":
        world.replica.faults.add(InjectedFault(kind="http", on="call", rate=0.4))
        world.replica.faults.add(InjectedFault(kind="http", on="read_state", rate=0.4))
    clients = [world.client() for _ in range(3)]
    world.until(lambda: all(client.opened for client in clients), seconds=60)
    for client in clients:
        client.send(b"hello")
    world.until(lambda: all(client.received for client in clients), seconds=60)
    for client in clients:
        client.leave()
    world.run(60, step=0.02)
    sent = world.context.budget.sent
    left: Counter[str] = Counter(path.rpartition("/")[2] for _, path, _ in world.transport.requests)
    calls = sent[RequestKind.CALL] + sent[RequestKind.EAGER] + sent[RequestKind.CLOSE] + sent[RequestKind.OPEN]
    if mood == "calls under way":
        assert calls > 3 + 3 + 3, "posted again"
    if mood == "failing":
        assert calls > 3 + 3 + 3, "tried again"
    assert left["status"] >= 1
    assert left["status"] + left["read_state"] + left["call"] == sent[RequestKind.OWN] + calls
    # a slot that was reserved may turn out not to be needed
    assert left["query"] <= sent[RequestKind.TICK] + sent[RequestKind.EXTRA] <= left["query"] * 1.1 + 5
    assert sum(left.values()) <= sum(sent)


def test_a_sufficient_budget_delays_nothing() -> None:
    world = World(query_budget=100)
    (client,) = world.open()
    for number in range(20):
        client.echoes(b"%d" % number)
    world.run(5)
    assert set(world.metrics.queries_held.values.values()) == {0}
    assert world.metrics.poll_interval.value == 0.1
