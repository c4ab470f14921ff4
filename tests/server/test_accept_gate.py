"""When a worker accepts connections; tests with real workers are in tests/acceptance/test_workers.py."""

from __future__ import annotations

import itertools

import pytest

from icwsgw.config.client_limits import ClientLimits
from icwsgw.server.accept_gate import AcceptGate
from icwsgw.server.connection_limits import ConnectionLimits


class Port:
    def __init__(self) -> None:
        self.done: list[str] = []

    def stopReading(self) -> None:
        self.done.append("stop")

    def startReading(self) -> None:
        self.done.append("start")


def test_a_gateway_of_one_process_accepts_whether_it_is_full_or_not() -> None:
    gate, port = AcceptGate(), Port()
    gate.add(port)
    gate.set_full(True)
    gate.set_full(False)
    assert not gate.closed
    assert port.done == []


@pytest.mark.parametrize("first", ["full", "elsewhere"])
def test_one_that_is_full_leaves_connections_to_siblings_that_have_room(first: str) -> None:
    gate, ports = AcceptGate(), [Port(), Port()]
    for port in ports:
        gate.add(port)
    steps = [gate.set_full, gate.set_room_elsewhere]
    for step in steps if first == "full" else reversed(steps):
        step(True)
    assert gate.closed
    # nobody has room: it answers, and refuses
    gate.set_room_elsewhere(False)
    assert not gate.closed
    gate.set_room_elsewhere(True)
    gate.set_full(False)
    assert [port.done for port in ports] == [["stop", "start", "stop", "start"]] * 2


def test_a_port_is_opened_and_closed_while_it_listens() -> None:
    gate, early, late = AcceptGate(), Port(), Port()
    gate.add(early)
    gate.set_room_elsewhere(True)
    gate.set_full(True)
    gate.add(late)
    assert late.done == ["stop"]
    gate.remove(early)
    gate.remove(early)
    gate.set_full(False)
    assert (early.done, late.done) == (["stop"], ["stop", "start"])


def test_only_changes_are_done_and_reported() -> None:
    gate, port = AcceptGate(), Port()
    reported: list[bool] = []
    gate.report = reported.append
    gate.add(port)
    for full, room in itertools.product((True, True, False, False), (True, True)):
        gate.set_full(full)
        gate.set_room_elsewhere(room)
    assert reported == [False, True]
    assert port.done == ["stop", "start"]


def test_the_limits_say_when_the_process_is_full() -> None:
    limits = ConnectionLimits(ClientLimits(max_connections=3), 0.0)
    reported: list[bool] = []
    limits.gate.report = reported.append
    rooms = []
    for _ in range(5):
        limits.enter(0.0, "192.0.2.1")
        rooms.append(limits.room)
    assert (rooms, reported, limits.gate.full) == ([2, 1, 0, 0, 0], [False], True)
    limits.leave(None)
    assert (limits.room, reported, limits.gate.full) == (1, [False, True], False)


def test_one_that_is_closed_to_make_room_leaves_none() -> None:
    limits = ConnectionLimits(ClientLimits(max_connections=2), 0.0)
    for name in "ab":
        limits.enter(0.0, "192.0.2.1")
        limits.waiting.enter(name, "192.0.2.1")
    reported: list[bool] = []
    limits.gate.report = reported.append
    assert limits.enter(0.0, "192.0.2.2") is None
    assert limits.waiting.enter("c", "192.0.2.2", full=limits.over_limit) == "a"
    limits.leave(None)
    assert (limits.room, reported, limits.gate.full) == (0, [], True)
