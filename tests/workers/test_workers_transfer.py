"""A supervisor that hands its workers over, one group after the other, and failures of each part."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from icwsgw.admin.control import Overrides
from icwsgw.handover.channel import Channel, ChannelClosed
from icwsgw.handover.early_messages import read_early
from icwsgw.workers.worker_pool import FIRST_PAUSE, LOOK_PERIOD
from icwsgw.workers.workers_transfer import WorkersTransfer
from tests.workers.test_worker_pool import Pool


class Worker:
    """A worker with its socket for handovers."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ready, self.busy = True, False
        ours, theirs = socket.socketpair()
        self.passage, self.process = Channel(ours), Channel(theirs)

    def received(self) -> Any:
        document, ends = self.process.receive(5.0)
        for end in ends:
            socket.socket(fileno=end).close()
        return document, len(ends)


class World:
    """A supervisor with three workers, and the successor's side."""

    def __init__(self, groups: list[list[int]]) -> None:
        self.workers = {number: Worker(number) for number in range(3)}
        self.restarted: list[int] = []
        self.sent: list[Any] = []
        self.kept: list[Any] = []

        def kept(but: Any) -> Any:
            self.kept.append(sorted(but, key=int))
            return {"kept": 1}

        self.pool: Any = SimpleNamespace(
            workers=self.workers,
            handover=None,
            restart=self.restarted.append,
            send=self.sent.append,
            metrics=SimpleNamespace(kept=kept),
            statuses=SimpleNamespace(kept=kept),
        )
        self.detached = 0
        self.supervisor: Any = SimpleNamespace(
            pool=self.pool,
            draining=False,
            served_elsewhere=False,
            overrides=Overrides(denied=("aaaaa-aa",)),
            listening_services=[SimpleNamespace(detach=self.detach)],
        )
        ours, theirs = socket.socketpair()
        self.ours, self.other = Channel(ours), Channel(theirs)
        self.ends = [socket.socketpair() for _ in range(3)]
        self.done: list[Any] = []
        self.failed: list[str] = []
        self.in_advance: list[Overrides] = []
        supervisor: Any = self.supervisor
        self.transfer = WorkersTransfer(
            supervisor,
            self.ours,
            [one for one, _ in self.ends],
            {"groups": groups},
            lambda: {"pidfile": "/p"},
            self.done.append,
            self.failed.append,
        )
        self.transfer.begin(True)

    def detach(self) -> None:
        self.detached += 1

    def receive(self) -> Any:
        """Return what the successor receives, without what is sent in advance."""
        while (document := read_early(*self.other.receive(5.0))).keys() == {"overrides"}:
            self.in_advance.append(Overrides.from_json(document["overrides"]))
        return document

    def reports(self, number: int, **answer: Any) -> None:
        self.transfer.reported(self.workers[number], answer)  # type: ignore[arg-type]

    def hands_over(self, number: int, connections: int = 2) -> None:
        self.reports(
            number, type="handed_over", result={"connections": connections, "left": 1, "seconds": 0.1 * number}
        )

    def dies(self, number: int) -> bool:
        return self.transfer.ended(self.workers.pop(number))  # type: ignore[arg-type]

    def close(self) -> None:
        self.transfer._close()
        for worker in self.workers.values():
            worker.passage.close()
            worker.process.close()
        for _, other in self.ends:
            other.close()
        self.ours.close()
        self.other.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World([[0, 2], [1]])
    yield made
    made.close()


def test_groups_hand_over_one_after_the_other(world: World) -> None:
    for number in (0, 2):
        assert world.workers[number].received() == ({"hand_over": True, "sockets": 1}, 1)
    assert [world.workers[number].busy for number in range(3)] == [True, False, True]
    world.hands_over(0)
    assert not world.workers[1].busy, "it serves until the first group has handed over"
    world.hands_over(2, connections=3)
    assert world.workers[1].busy
    assert (world.done, world.detached) == ([], 0)
    world.hands_over(1)
    assert world.done == [{"connections": 7, "left": 3, "seconds": 0.2, "workers": 3}]
    assert (world.detached, world.supervisor.served_elsewhere) == (1, True)
    document = world.receive()
    assert Overrides.from_json(document.pop("overrides")).denied == ("aaaaa-aa",)
    assert document == {"go": True, "pidfile": "/p", "metrics": {"kept": 1}, "status": {"kept": 1}}
    assert world.kept == [["0", "1", "2"], [0, 1, 2]], "their successors have their counts"
    world.transfer.fail("too late")
    assert world.failed == []


def test_overrides_are_sent_in_advance_because_this_process_may_die(world: World) -> None:
    world.supervisor.overrides = Overrides(maintenance=True)
    world.hands_over(0)
    world.hands_over(2)
    world.hands_over(1)
    assert world.receive()["go"]
    assert world.in_advance == [Overrides(denied=("aaaaa-aa",)), Overrides(maintenance=True)]


def test_overrides_that_do_not_fit_into_the_socket_are_sent_in_advance_too(world: World) -> None:
    """The other process may be a gateway of one process, which reads nothing before it has the clients."""
    many = Overrides(denied=tuple(f"{number:>0100}" for number in range(30_000)))
    world.supervisor.overrides = many
    world.ours.socket.settimeout(0.0)
    world.hands_over(0)
    world.hands_over(2)
    world.ours.close()
    with pytest.raises(ChannelClosed):
        world.receive()
    assert world.in_advance[1:] == [many]


def test_requests_during_the_handover_are_passed_on_until_its_last_message(world: World) -> None:
    world.hands_over(0)
    world.hands_over(2)
    world.transfer.pass_on("reload")
    assert world.receive() == {"reload": True}
    world.transfer.pass_on("rotate")
    assert world.receive() == {"rotate": True}
    world.hands_over(1)
    assert world.receive()["go"]
    world.transfer.pass_on("reload")
    world.ours.close()
    with pytest.raises(ChannelClosed):
        world.receive()


def test_if_the_first_worker_fails_all_continue(world: World) -> None:
    world.reports(0, type="handover_failed", reason="silent")
    world.reports(2, type="handover_failed", reason="silent")
    assert (world.failed, world.done, world.detached) == (["worker 0: silent"], [], 0)
    assert (world.pool.handover, world.restarted) == (None, [])
    assert not any(worker.busy for worker in world.workers.values())


def test_a_worker_that_fails_later_is_drained(world: World) -> None:
    world.hands_over(0)
    world.hands_over(2)
    world.reports(1, type="handover_failed", reason="silent")
    assert (world.failed, world.done[0]["workers"], world.kept[1]) == ([], 2, [0, 2])


def test_a_worker_that_is_killed_is_not_started_again_while_there_is_a_successor(world: World) -> None:
    assert world.dies(0)
    assert world.restarted == []
    world.reports(2, type="handover_failed", reason="the other one has ended")
    assert (world.failed, world.restarted) == (["worker 0 has died"], [0])


@pytest.mark.parametrize("first", [True, False])
def test_a_worker_that_hangs_ends_its_part_of_the_handover(first: bool) -> None:
    """It is killed: the handover fails if it is the first one, and continues with the others if not."""
    world, pool = World([[0], [1]] if first else [[1], [0]]), Pool().ready()
    transfer: Any = world.transfer
    try:
        hanging, other = pool.processes
        # the pool that watches the processes, in place of the one that the transfer has begun with
        pool.pool.handover = transfer
        for process in pool.processes:
            process.worker.passage, process.worker.busy = world.workers[process.worker.number].passage, True
        transfer._pool = world.supervisor.pool = pool.pool
        if not first:
            other.answer(type="handed_over", result={"connections": 2, "left": 0, "seconds": 0.1})
            other.end()
        while not hanging.signals:
            pool.clock.advance(LOOK_PERIOD)
            if first:
                other.report()
        assert pool.clock.seconds() <= 30.0
        assert (world.failed, world.done) == ([], [])
        hanging.end(signal=9)
        assert (world.failed, [done["workers"] for done in world.done]) == (
            (["worker 0 has died"], []) if first else ([], [1])
        )
        pool.clock.advance(FIRST_PAUSE)
        assert len(pool.processes) == (3 if first else 2), "it is started again if this gateway continues"
    finally:
        world.close()


def test_a_worker_that_dies_before_its_turn_has_no_clients(world: World) -> None:
    assert world.dies(1)
    world.hands_over(0)
    world.hands_over(2)
    assert world.done[0]["workers"] == 2


@pytest.mark.parametrize("moved", [False, True])
def test_the_successor_is_killed(world: World, moved: bool) -> None:
    """The supervisor continues with its present workers and restarts those that have handed over."""
    if moved:
        world.hands_over(0)
        # its process ends when it has handed over
        assert world.dies(0)
    world.other.close()
    world.transfer.fail("the new process has ended")
    assert (len(world.failed), len(world.done), world.detached) == (1, 0, 0)
    assert (world.pool.handover, world.restarted) == (None, [0] if moved else [])


def test_a_worker_that_has_handed_over_and_not_ended_yet_is_left_to_the_pool(world: World) -> None:
    world.hands_over(0)
    world.transfer.fail("the new process has ended")
    assert (world.failed, world.restarted) == (["the new process has ended"], [])


def test_a_stop_ends_the_handover(world: World) -> None:
    world.supervisor.draining = True
    world.reports(0, type="handover_failed", reason="the gateway is shutting down")
    world.reports(2, type="handover_failed", reason="the gateway is shutting down")
    assert len(world.failed) == 1


def test_acceptances_are_sent_in_both_directions(world: World) -> None:
    order = {"do": "replaced", "canister": "00", "sender": "01", "at": 5, "left": False}
    world.transfer.accepted(order)
    assert world.receive() == {"accepted": order}
    world.transfer.received({"accepted": order})
    assert world.sent == [{**order, "own": False}]


@pytest.mark.parametrize("moved", [False, True])
def test_the_successor_reports_that_it_has_failed(world: World, moved: bool) -> None:
    if moved:
        world.hands_over(0)
    world.transfer.received({"failed": "no memory"})
    assert (world.failed, world.done) == (["no memory"], [])
    # later messages of the other one are ignored
    world.hands_over(2)
    assert world.done == []


def test_a_stop_between_two_groups_stops_the_successor_too(world: World) -> None:
    world.hands_over(0)
    assert world.dies(0)
    world.supervisor.draining = True
    world.hands_over(2)
    assert not world.workers[1].busy
    assert (world.done, world.failed, world.restarted) == ([], ["the gateway is shutting down"], [])


def test_a_successor_that_has_ended_at_the_last_moment_changes_nothing(world: World) -> None:
    """After the first worker has handed over, the handover cannot be undone."""
    world.hands_over(0)
    world.hands_over(2)
    world.other.close()
    world.hands_over(1)
    assert ([done["workers"] for done in world.done], world.failed, world.detached) == ([3], [], 1)
    world.transfer.accepted({"do": "replaced"})


def test_acceptances_are_dropped_when_the_successor_has_ended(world: World) -> None:
    world.other.close()
    world.transfer.accepted({"do": "replaced"})
    assert (world.failed, world.done) == ([], []), "the next read of the channel shows it"


def test_a_worker_whose_socket_is_closed_or_that_does_not_serve_is_left_out() -> None:
    world = World([[0]])
    try:
        # one whose process is about to end, and one that is starting
        world.workers[1].process.close()
        world.workers[2].ready = False
        world.transfer._groups = [[1, 2, 7]]
        world.hands_over(0)
        assert [world.workers[number].busy for number in (1, 2)] == [False, False]
        assert world.done[0]["workers"] == 1
        assert [end.fileno() for end, _ in world.ends] == [-1, -1, -1]
    finally:
        world.close()


def test_a_worker_that_reports_twice_counts_once(world: World) -> None:
    world.hands_over(0)
    world.hands_over(0, connections=50)
    assert world.dies(0), "after a handover the worker's process ends"
    world.hands_over(2)
    world.hands_over(1)
    assert (world.done[0]["connections"], world.restarted) == (6, [])


def test_acceptances_are_not_sent_after_the_end(world: World) -> None:
    world.transfer.fail("the new process has ended")
    world.transfer.accepted({"do": "replaced"})
    world.ours.close()
    with pytest.raises(ChannelClosed, match="has ended"):
        world.receive()


@pytest.mark.parametrize("fault", ["metrics", "statuses", "go", "listener", "channel"])
def test_a_failure_after_a_worker_has_handed_over_stops_no_other_step(world: World, fault: str) -> None:
    faults: list[str] = []

    def broken(*values: object, **named: object) -> None:
        faults.append(fault)
        raise OSError(fault)

    if fault == "go":
        world.transfer._go = broken  # type: ignore[assignment]
    elif fault == "listener":
        world.supervisor.listening_services.insert(0, SimpleNamespace(detach=broken))
    elif fault == "channel":
        world.ours.send = broken
    else:
        setattr(world.pool, fault, SimpleNamespace(kept=broken))
    for number in (0, 2, 1):
        world.hands_over(number)
    # there are messages before the first group, too
    assert faults == [fault] * (2 if fault == "channel" else 1)
    assert (len(world.done), world.detached, world.failed) == (1, 1, [])
    if fault != "channel":
        document = world.receive()
        left_out = {"metrics": "metrics", "statuses": "status", "go": "pidfile"}.get(fault)
        assert document.keys() == {"go", "pidfile", "metrics", "status", "overrides"} - {left_out}
