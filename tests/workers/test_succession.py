"""A supervisor that takes over: its workers wait, take over, and serve."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from tempfile import TemporaryFile
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from icwsgw.admin.control import Overrides
from icwsgw.config.schema import GatewayConfig
from icwsgw.handover.channel import Channel
from icwsgw.handover.early_messages import send_early_overrides, send_early_request
from icwsgw.handover.inheritance import share
from icwsgw.workers import succession
from icwsgw.workers.succession import Succession
from icwsgw.workers.worker_pool import HANGS, HANGS_IN_HANDOVER, LOOK_PERIOD
from tests.workers.test_worker_pool import Pool


class Worker:
    """A worker that has started."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ready, self.busy, self.killed = True, False, False
        self.unanswered = 0
        self.waits_for: str | None = "the network"
        ours, theirs = socket.socketpair()
        self.passage, self.process = Channel(ours), Channel(theirs)

    def kill(self) -> None:
        self.killed = True


class Reactor(Clock):
    stopped = False

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.addReader = self.readers.add
        self.removeReader = self.readers.discard

    def callWhenRunning(self, function: Any, *args: Any) -> None:
        function(*args)

    def stop(self) -> None:
        self.stopped = True


class World:
    """A supervisor of two workers that takes over from ``sources`` workers."""

    def __init__(self, sources: int = 3) -> None:
        self.reactor = Reactor()
        self.workers = {number: Worker(number) for number in range(2)}
        self.kept: list[Any] = []
        self.sent: list[Any] = []
        self.pool: Any = SimpleNamespace(
            count=2,
            workers=self.workers,
            handover=None,
            send=self.sent.append,
            metrics=SimpleNamespace(continue_from=self.kept.append),
            statuses=SimpleNamespace(continue_from=self.kept.append),
        )
        self.served = self.detached = 0
        self.began: list[str] = []
        listener = SimpleNamespace(detach=self.detach)
        self.overridden: list[Overrides] = []
        supervisor: Any = SimpleNamespace(
            pool=self.pool,
            reactor=self.reactor,
            configured=GatewayConfig(),
            override=self.overridden.append,
            serve=self.serve,
            rotate_logs=lambda: self.requested.append("rotate"),
            listening_services=[listener],
        )
        ours, theirs = socket.socketpair()
        self.ours, self.other = Channel(ours), Channel(theirs)
        inheritances = share([[number] for number in range(sources)], 2, 1)
        self.began_with: list[Any] = []
        self.requested: list[str] = []
        self.succession = Succession(
            supervisor, self.ours, inheritances, self.begin, lambda: self.requested.append("reload")
        )
        self.succession.prepare()

    def begin(self, document: Any) -> None:
        self.began_with.append(document)
        self.began.append(str(document.get("pidfile", "")))

    def serve(self) -> None:
        self.served += 1

    def detach(self) -> None:
        self.detached += 1

    def prepared(self) -> Any:
        """Report all workers as ready; return the message to the other process and its number of sockets."""
        for worker in self.workers.values():
            worker.waits_for = None
        self.reactor.advance(0.1)
        document: Any = {}
        while "ready" not in document:
            document, ends = self.other.receive(5.0)
        for end in ends:
            socket.socket(fileno=end).close()
        return document, len(ends)

    def receive(self) -> None:
        for reader in list(self.reactor.readers):
            reader.doRead()

    def reports(self, number: int, **answer: Any) -> None:
        self.succession.reported(self.workers[number], answer)  # type: ignore[arg-type]

    def close(self) -> None:
        for worker in self.workers.values():
            worker.passage.close()
            worker.process.close()
        self.ours.close()
        self.other.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_it_reports_what_it_waits_for_and_then_which_worker_takes_over_from_which(world: World) -> None:
    assert world.other.receive(5.0)[0] == {"at": "worker 0 (the network)"}
    world.workers[0].waits_for = None
    world.workers[1].ready = False
    world.reactor.pump([0.5, 0.6])
    assert world.other.receive(5.0)[0] == {"at": "worker 1 (its start)"}
    world.workers[1].ready = True
    document, count = world.prepared()
    assert (document["groups"], document["early"], count) == ([[0, 2], [1]], True, 3)
    for number, identities in enumerate(([[0], [1]], [[0]])):
        order, ends = world.workers[number].process.receive(5.0)
        assert (order["take_over"], len(ends)) == (identities, len(identities))
        for end in ends:
            socket.socket(fileno=end).close()
    assert all(worker.busy for worker in world.workers.values())


def test_it_serves_after_the_order_to_serve(world: World) -> None:
    world.prepared()
    world.reports(0, type="taken_over", connections=2)
    world.reports(1, type="takeover_failed", reason="silent")
    assert (world.served, [worker.busy for worker in world.workers.values()]) == (0, [False, False])
    overrides = Overrides(maintenance=True)
    go = {"go": True, "pidfile": "/p", "metrics": [1], "status": {"a": 1}, "overrides": overrides.to_json()}
    world.other.send(go)
    world.receive()
    assert world.overridden == [overrides]
    assert (world.served, world.began, world.kept, world.pool.handover) == (1, ["/p"], [[1], {"a": 1}], None)
    assert not world.reactor.stopped


@pytest.mark.parametrize("moved", [False, True])
def test_the_other_process_is_killed(world: World, moved: bool) -> None:
    """Before it has received anything, it ends without shutting the other one's sockets down; later, it serves."""
    world.prepared()
    overrides = Overrides(denied=("aaaaa-aa",))
    document = {"overrides": overrides.to_json()}
    world.other.send(document)
    world.receive()
    assert world.overridden == [overrides], "the first workers serve before the last ones"
    world.overridden.clear()
    if moved:
        world.reports(0, type="taken_over", connections=2)
    world.other.close()
    world.receive()
    assert world.began_with == ([document] if moved else [])
    assert world.overridden == ([overrides] if moved else [])
    assert (world.served, world.reactor.stopped, world.detached) == ((1, False, 0) if moved else (0, True, 1))
    assert all(worker.killed is not moved for worker in world.workers.values())


def test_the_other_process_is_killed_after_sending_overrides_that_do_not_fit_into_the_socket(world: World) -> None:
    world.prepared()
    many = Overrides(denied=("aaaaa-aa",) * 60_000)
    send_early_overrides(world.other, many.to_json())
    world.receive()
    world.reports(0, type="taken_over", connections=2)
    world.other.close()
    world.receive()
    assert world.overridden == [many, many]


def test_requests_to_the_other_process_apply_at_once_and_again_if_it_dies(world: World) -> None:
    world.prepared()
    for request in ("reload", "rotate"):
        send_early_request(world.other, request)
        world.receive()
        assert world.requested.pop() == request
    world.reports(0, type="taken_over", connections=2)
    assert (world.served, world.requested) == (0, [])
    world.other.close()
    world.receive()
    assert world.began_with == [{"reload": True, "rotate": True}]


def test_a_file_that_is_not_a_document_is_logged_and_ignored(world: World) -> None:
    world.prepared()
    with TemporaryFile() as file:
        file.write(b"nonsense")
        file.flush()
        world.other.send({"overrides_file": True, "sockets": 1}, [file.fileno()])
    world.receive()
    world.reports(0, type="taken_over", connections=2)
    world.other.send({"go": True})
    world.receive()
    assert (world.served, world.overridden) == (1, [])


def test_the_other_process_is_killed_before_the_workers_are_ready(world: World) -> None:
    world.other.close()
    world.reactor.pump([0.5, 0.6])
    assert (world.reactor.stopped, world.served) == (True, 0)


def test_a_worker_that_dies_before_it_has_clients_ends_the_handover(world: World) -> None:
    world.other.receive(5.0)
    assert world.succession.ended(world.workers[1])  # type: ignore[arg-type]
    assert world.other.receive(5.0)[0] == {"failed": "worker 1 has ended; its output says why"}
    assert world.reactor.stopped


def test_a_worker_that_dies_later_is_started_again(world: World) -> None:
    world.prepared()
    world.reports(0, type="taken_over", connections=2)
    assert not world.succession.ended(world.workers[1])  # type: ignore[arg-type]
    assert not world.reactor.stopped


def test_acceptances_are_sent_in_both_directions(world: World) -> None:
    world.prepared()
    order = {"do": "replaced", "canister": "00", "sender": "01", "at": 5, "left": False}
    world.succession.accepted(order)
    assert world.other.receive(5.0)[0] == {"accepted": order}
    world.other.send({"accepted": order})
    world.receive()
    assert world.sent == [{**order, "own": False}]


def test_a_worker_that_takes_over_nothing_gets_no_such_order() -> None:
    world = World(sources=1)
    try:
        document, count = world.prepared()
        assert (document["groups"], count) == ([[0]], 1)
        assert [worker.busy for worker in world.workers.values()] == [True, False]
        order, ends = world.workers[0].process.receive(5.0)
        assert order["take_over"] == [[0]]
        for end in ends:
            socket.socket(fileno=end).close()
    finally:
        world.close()


def test_it_serves_although_the_counts_are_invalid(world: World) -> None:
    def refuse(kept: Any) -> None:
        raise ValueError(kept)

    world.prepared()
    world.reports(0, type="taken_over", connections=2)
    world.pool.metrics.continue_from = refuse
    world.other.send({"go": True, "metrics": ["of another version"]})
    world.receive()
    assert (world.served, world.began, world.pool.handover) == (1, [""], None)


def test_a_worker_that_still_begins_to_serve_has_time_for_it() -> None:
    """The other process is done before this one's worker: its ``go`` may come before the worker's report."""
    world, pool = World(sources=1), Pool().ready()
    for number, worker in world.workers.items():
        pool.pool.workers[number].passage, pool.pool.workers[number].waits_for = worker.passage, None
    world.succession._pool = pool.pool
    pool.pool.handover = world.succession
    try:
        world.reactor.advance(0.1)
        taking, other = pool.processes
        assert taking.worker.busy

        def checks(count: int) -> None:
            for _ in range(count):
                pool.clock.advance(LOOK_PERIOD)
                other.report()

        # the early rounds
        checks(2 * HANGS_IN_HANDOVER)
        assert taking.signals == []
        world.succession._connections = 2
        world.succession._received({"go": True}, [])
        assert (world.served, pool.pool.handover) == (1, None)
        checks(HANGS_IN_HANDOVER - 1)
        assert taking.signals == []
        taking.answer(type="taken_over", connections=5)
        assert not taking.worker.busy
        checks(HANGS)
        assert (taking.signals, other.signals) == (["KILL"], []), "it is watched as usual from then on"
    finally:
        world.close()


def test_a_worker_that_never_takes_over_is_killed() -> None:
    world, pool = World(sources=1), Pool().ready()
    for number, worker in world.workers.items():
        pool.pool.workers[number].passage, pool.pool.workers[number].waits_for = worker.passage, None
    world.succession._pool = pool.pool
    pool.pool.handover = world.succession
    try:
        world.reactor.advance(0.1)
        hanging, other = pool.processes
        for _ in range(succession.HANGS_TAKING_OVER):
            assert hanging.signals == []
            pool.clock.advance(LOOK_PERIOD)
            other.report()
        assert hanging.signals == ["KILL"]
        hanging.end(signal=9)
        assert world.reactor.stopped, "nothing is taken over"
    finally:
        world.close()


def test_it_begins_to_serve_only_once(world: World) -> None:
    world.prepared()
    world.reports(0, type="taken_over", connections=2)
    world.other.send({"unknown": True})
    world.receive()
    assert world.served == 0
    world.succession._received({"go": True, "pidfile": "/p"}, [])
    world.succession._received({"go": True, "pidfile": "/q"}, [])
    assert (world.served, world.began) == (1, ["/p"])
    assert world.kept == [(), {}], "the other process has sent no counts"


def test_the_log_has_the_number_of_connections_taken_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[Any] = []
    log = SimpleNamespace(info=lambda text, **fields: lines.append((text, fields)))
    monkeypatch.setattr(succession, "_log", log)
    world.prepared()
    for number in (0, 1):
        world.reports(number, type="taken_over", connections=2 + number)
    world.succession._received({"go": True}, [])
    assert lines == [("taken over", {"workers": 2, "connections": 5})]


def test_it_gives_up_only_once(world: World) -> None:
    world.prepared()
    world.other.close()
    world.receive()
    assert world.succession.ended(world.workers[0])  # type: ignore[arg-type]
    assert world.succession.ended(world.workers[1])  # type: ignore[arg-type]
    assert (world.detached, world.reactor.stopped, world.served) == (1, True, 0)


def test_a_worker_dies_when_the_other_process_has_ended(world: World) -> None:
    world.other.close()
    assert world.succession.ended(world.workers[1])  # type: ignore[arg-type]
    assert (world.detached, world.reactor.stopped) == (1, True)
    assert world.workers[0].killed, "it has no clients"


@pytest.mark.parametrize("fault", ["metrics", "status", "serve", "override", "began"])
def test_a_failure_after_the_workers_have_taken_over_stops_no_other_step(world: World, fault: str) -> None:
    faults: list[str] = []

    def broken(*values: object) -> None:
        faults.append(fault)
        raise ValueError(fault)

    supervisor: Any = world.succession._supervisor
    owner, name = {
        "metrics": (world.pool.metrics, "continue_from"),
        "status": (world.pool.statuses, "continue_from"),
        "serve": (supervisor, "serve"),
        "override": (supervisor, "override"),
        "began": (world.succession, "_began"),
    }[fault]
    setattr(owner, name, broken)
    world.prepared()
    world.reports(0, type="taken_over", connections=2)
    overrides = Overrides(maintenance=True)
    go = {"go": True, "pidfile": "/p", "metrics": 1, "status": 2, "overrides": overrides.to_json()}
    world.other.send(go)
    world.receive()
    assert faults == [fault]
    assert world.served == (fault != "serve")
    assert world.began == ([] if fault == "began" else ["/p"])
    assert world.overridden == ([] if fault == "override" else [overrides])
    assert world.kept == [each for each, of in ((1, "metrics"), (2, "status")) if of != fault]
    assert (world.pool.handover, world.reactor.stopped) == (None, False)


def test_the_pid_file_is_written_before_overrides_are_applied(world: World) -> None:
    order: list[Any] = []
    supervisor: Any = world.succession._supervisor
    supervisor.override = lambda overrides: order.append(overrides)
    world.succession._began = lambda document: order.append(document["pidfile"])
    world.prepared()
    world.reports(0, type="taken_over", connections=2)
    overrides = Overrides(denied=("aaaaa-aa",))
    world.other.send({"go": True, "pidfile": "/p", "overrides": {**overrides.to_json(), "quotas": [1]}})
    world.receive()
    assert order == ["/p", overrides], "an unknown override does not prevent the others"
