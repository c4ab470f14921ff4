"""How a gateway shuts down; the decisions have their tests in tests/core/test_drain_machine.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.drain_machine import HURRY_SECONDS, LARGEST_GROUP, MIN_CLOSING_SECONDS
from icwsgw.gateway import drain
from icwsgw.gateway.batches import BATCH
from icwsgw.gateway.calls.close_notices import CloseNotices
from icwsgw.gateway.calls.relay import Relay
from icwsgw.gateway.drain import Drain
from icwsgw.gateway.session import ClientSession
from tests.gateway.test_gateway import World
from tests.gateway.test_session import Connection
from tests.support.fake_network import REPLIED_OK


class DrainLog:
    """What the drain logs."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, message: str, **fields: Any) -> None:
        self.lines.append((message, fields))

    warn = info


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> DrainLog:
    log = DrainLog()
    monkeypatch.setattr(drain, "_log", log)
    return log


def test_a_drain_is_spread_over_its_window_and_ends_when_all_are_notified() -> None:
    world = World()
    connections = [world.connect()[0] for _ in range(1000)]
    done: list[None] = []
    world.gateway.drain(2.0).addCallback(done.append)
    closed = []
    for _ in range(40):
        closed.append(sum(bool(connection.closed) for connection in connections))
        world.clock.advance(0.05)
    assert 0 < closed[0] < 100
    assert closed[10] < 500
    assert sum(bool(connection.closed) for connection in connections) == 1000
    assert not done
    for _ in range(10):
        for call in world.network.calls:
            if not call.deferred.called:
                call.answer(REPLIED_OK)
    while not done:
        for call in world.network.calls:
            if not call.deferred.called:
                call.answer(REPLIED_OK)
    assert not world.gateway.registry.ending
    world.gateway.stop()
    assert world.clock.getDelayedCalls() == []


@pytest.mark.parametrize("hurried", [True, False])
def test_many_clients_end_in_groups_and_their_canisters_have_time_after_the_last(
    hurried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    connections = [world.connect()[0] for _ in range(3 * LARGEST_GROUP + 10)]
    closing = HURRY_SECONDS if hurried else MIN_CLOSING_SECONDS
    turns = [0]
    end = ClientSession.end

    def costly(session: ClientSession, *cause: Any) -> None:
        if not turns[-1]:
            world.clock.callLater(0, turns.append, 0)
        turns[-1] += 1
        world.clock.rightNow += closing / LARGEST_GROUP  # a group takes as long as canisters have
        end(session, *cause)

    monkeypatch.setattr(ClientSession, "end", costly)
    done: list[None] = []
    world.gateway.drain(60.0 if hurried else 0.0).addCallback(done.append)
    if hurried:
        turns[:] = [0]
        world.gateway.skip_drain_window()
    while not all(connection.closed for connection in connections):
        world.clock.advance(0)
    assert [count for count in turns if count][:3] == [LARGEST_GROUP] * 3
    assert not done
    world.clock.advance(closing / 2)
    assert not done, "the time begins with the last group"
    world.clock.advance(closing)
    assert done == [None]
    world.gateway.stop()
    assert world.clock.getDelayedCalls() == []


def test_sessions_that_cannot_be_ended_do_not_stop_a_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    for _ in range(LARGEST_GROUP + 10):
        world.connect()
    tries: list[None] = []

    def fails(session: ClientSession, *cause: Any) -> None:
        tries.append(None)
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(ClientSession, "end", fails)
    done: list[None] = []
    world.gateway.drain(0.0).addCallback(done.append)
    world.clock.pump([0.05] * round(MIN_CLOSING_SECONDS / 0.05 + 2))
    assert done == [None]
    assert len(tries) < 110 * LARGEST_GROUP


@pytest.mark.parametrize("clients", [3, 60])
def test_few_clients_leave_over_the_whole_window_too(clients: int) -> None:
    world = World()
    connections = [world.connect()[0] for _ in range(clients)]
    world.gateway.drain(30.0)
    left = []
    for _ in range(30):
        left.append(sum(not connection.closed for connection in connections))
        world.clock.pump([0.125] * 8)
    assert left[0] == clients - 1
    assert abs(left[15] - clients / 2) <= 1
    assert left[19] > 0
    assert all(connection.closed for connection in connections)


def test_a_second_drain_waits_for_the_first() -> None:
    world = World()
    world.connect()
    done: list[int] = []
    world.gateway.drain(1.0).addCallback(lambda _: done.append(1))
    world.gateway.drain(1.0).addCallback(lambda _: done.append(2))
    world.clock.pump([1.0] * 10)
    assert done == [1, 2]


def test_a_drain_without_a_window_is_as_slow_as_ws_open_may_be(log: DrainLog) -> None:
    world = World(query_budget=0, open_rate=5, drain_timeout=120.0)
    for _ in range(100):
        world.connect()
    world.gateway.drain(None)
    words, fields = log.lines[0]
    assert (words, fields["clients"], fields["seconds"]) == ("draining", 100, 20.0)


def test_a_drain_in_a_hurry() -> None:
    world = World()
    world.gateway.skip_drain_window()  # nothing to hurry yet
    connections = [world.open()[0] for _ in range(1000)]
    done: list[None] = []
    world.gateway.drain(60.0).addCallback(done.append)
    assert not all(connection.closed for connection in connections)
    world.gateway.skip_drain_window()
    world.clock.advance(0)
    assert all(connection.closed for connection in connections)
    world.clock.advance(HURRY_SECONDS - 0.01)
    assert not done
    world.clock.advance(0.02)
    assert done == [None]
    assert world.context.metrics.ws_closes.values["abandoned"] == 1000
    world.gateway.skip_drain_window()
    world.gateway.stop()
    # nor does what the drain had planned before come back
    assert world.clock.getDelayedCalls() == []


def test_what_is_given_up_at_the_end_is_given_up_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that cannot be ended, messages that wait, and close notices without an answer."""
    world = World()
    connections = [world.open()[0] for _ in range(2 * BATCH + 10)]
    stuck = set(list(world.gateway.registry.sessions)[BATCH:])
    turns: dict[str, list[int]] = {}

    def counted(cls: type, name: str, applies: Callable[[Any], bool] = lambda _: True) -> None:
        act, counts = getattr(cls, name), turns.setdefault(name, [0])

        def count(each: Any, *args: Any) -> None:
            if applies(each):
                if not counts[-1]:
                    world.clock.callLater(0, counts.append, 0)
                counts[-1] += 1
                act(each, *args)

        monkeypatch.setattr(cls, name, count)

    counted(Relay, "drop")
    counted(CloseNotices, "_give_up")
    counted(Drain, "_give_up_all")
    counted(ClientSession, "end", lambda session: session not in stuck or turns["_give_up_all"] != [0])
    done: list[None] = []
    world.gateway.drain(60.0).addCallback(done.append)
    world.gateway.skip_drain_window()
    world.clock.advance(0)
    assert set(world.gateway.registry.sessions) == stuck
    turns["end"][:] = [0]
    world.clock.pump([0.01] * round(HURRY_SECONDS / 0.01 + 10))
    assert done == [None]
    assert all(connection.closed for connection in connections)
    assert {what: [count for count in each if count] for what, each in turns.items()} == {
        "_give_up_all": [1],
        "end": [BATCH, 10],
        "drop": [BATCH, BATCH, 10],
        "_give_up": [BATCH, BATCH, 10],
    }
    world.gateway.stop()
    assert world.clock.getDelayedCalls() == []


def test_a_drain_without_clients_is_over_at_once_and_stays_so() -> None:
    world = World()
    done: list[int] = []
    world.gateway.drain(5.0).addCallback(lambda _: done.append(1))
    assert done == [1]
    late, _ = world.connect()
    assert late.closed[0][0] == CloseCode.DRAINING
    world.gateway.skip_drain_window()
    world.gateway.drain(5.0).addCallback(lambda _: done.append(2))
    assert done == [1, 2]
    world.gateway.stop()
    assert world.clock.getDelayedCalls() == []


def test_a_fault_with_one_client_does_not_hold_the_drain_up() -> None:
    world = World()

    class Broken(Connection):
        def close(self, code: int, reason: str) -> None:
            raise RuntimeError("a fault of ours")

    clients = []
    for number in range(30):
        connection = Broken() if number == 7 else Connection()
        world.gateway.connect(connection)
        clients.append(connection)
    done: list[None] = []
    world.gateway.drain(0.1).addCallback(done.append)
    world.clock.pump([0.05] * 10)
    assert sum(bool(client.closed) for client in clients) == 29
    world.clock.pump([1.0] * 10)
    assert done == [None]
    assert world.clock.getDelayedCalls() == []


def test_a_drain_chooses_its_window_and_says_so(log: DrainLog) -> None:
    world = World(query_budget=8, drain_timeout=80.0)
    connections = [world.connect()[0] for _ in range(60)]
    world.gateway.drain(None)
    assert log.lines == [("draining", {"clients": 60, "canisters": 1, "seconds": 15.0})]
    world.clock.pump([0.25] * 4 * 7)
    assert 25 <= sum(bool(connection.closed) for connection in connections) <= 30
    world.clock.pump([0.25] * 4 * 8)
    assert all(connection.closed for connection in connections)


def test_a_process_that_has_handed_over_drains_what_is_left_and_says_what_that_is(log: DrainLog) -> None:
    world = World()
    world.gateway.served_elsewhere = True
    done: list[None] = []
    world.gateway.drain(1.0).addCallback(done.append)
    assert (done, log.lines) == ([None], []), "nobody is drained"
    world = World()
    world.connect()
    world.gateway.served_elsewhere = True
    world.gateway.drain(1.0)
    text, fields = log.lines[0]
    assert (text, fields["clients"]) == ("draining clients that could not be handed over", 1)


@pytest.mark.parametrize(("window", "option"), [(None, "--drain-timeout"), (3.0, "--drain-window")])
def test_a_drain_that_is_too_fast_for_the_network_says_so(window: float | None, option: str, log: DrainLog) -> None:
    world = World(query_budget=8, drain_timeout=40.0)
    for _ in range(60):
        world.connect()
    world.gateway.drain(window)
    text, fields = log.lines[1]
    assert text == f"clients are closed faster than the network takes their reconnections, see {option}"
    timeout = 40.0 if window is None else None
    assert fields == {"seconds": window or 10.0, "needed": 15, "drain_timeout": timeout}
