from __future__ import annotations

import errno
import json
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from icwsgw.admin.api import Replies
from icwsgw.handover.channel import Channel
from icwsgw.workers import worker_pool
from icwsgw.workers.joined_reports import REPORT_PAUSE, REPORT_TIMEOUT
from icwsgw.workers.json_lines import line_of
from icwsgw.workers.orders import ANSWERS_FD, ORDERS_FD
from icwsgw.workers.requests import ANSWER_TIMEOUT
from icwsgw.workers.worker_pool import (
    FIRST_PAUSE,
    HANGS,
    HANGS_IN_HANDOVER,
    KILL_AFTER,
    LAST_PAUSE,
    LOOK_PERIOD,
    REPORT_EVERY,
    START,
    STEADY,
    WorkerPool,
)
from icwsgw.workers.worker_process import SILENT, WorkerProcess


class Process:
    """A worker's process as Twisted represents it, and what the process itself would do."""

    def __init__(self, worker: WorkerProcess, pid: int) -> None:
        self.worker = worker
        self.pid: int | None = pid
        self.orders: list[dict[str, Any]] = []
        self.signals: list[str] = []
        self.closed = self.over = False
        worker.makeConnection(self)

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        if self.closed:
            raise KeyError(descriptor)
        assert descriptor == ORDERS_FD
        self.orders.extend(json.loads(line) for line in data.splitlines())

    def signalProcess(self, name: str) -> None:
        if self.over:
            raise ProcessExitedAlready
        self.signals.append(name)

    def answer(self, **answer: Any) -> None:
        self.worker.childDataReceived(ANSWERS_FD, line_of(answer))

    def report(self, number: int | None = None, status: dict[str, Any] | None = None, **findings: str | None) -> None:
        if number is None:
            numbers = (order["number"] for order in reversed(self.orders) if order.get("do") == "report")
            number = next(numbers, 0)
        families = [["icws_client_messages", "", "counter", [["icws_client_messages_total", {}, 1.0]]]]
        more = {} if status is None else {"status": status}
        self.answer(type="report", number=number, findings=list(findings.items()), families=families, **more)

    def ready(self) -> Process:
        self.answer(type="ready")
        self.report(0)
        return self

    def end(self, status: int = 0, signal: int | None = None) -> None:
        self.over = True
        self.pid = None  # as Twisted does before it reports the end
        done = status == 0 and signal is None
        self.worker.childConnectionLost(ANSWERS_FD)
        self.worker.processEnded(Failure(ProcessDone(0) if done else ProcessTerminated(status, signal)))

    @property
    def last(self) -> dict[str, Any]:
        return self.orders[-1]


class Pool:
    def __init__(self, count: int = 2) -> None:
        self.clock = Clock()
        self.processes: list[Process] = []
        self.output: list[str] = []
        self.pool = WorkerPool(
            self.clock,
            self.spawn,
            lambda number: line_of({"worker": number}),
            count,
            self.output.append,
        )
        self.pool.start()

    def spawn(self, worker: WorkerProcess) -> Process:
        process = Process(worker, 100 + len(self.processes))
        self.processes.append(process)
        return process

    def ready(self) -> Pool:
        for process in self.processes:
            process.ready()
        return self


def fired(deferred: Any) -> list[Any]:
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results


def test_workers_get_start_parameters_and_are_ready_when_they_report_it() -> None:
    world = Pool()
    assert [process.orders for process in world.processes] == [[{"worker": 0}], [{"worker": 1}]]
    assert world.pool.state() == "0 of 2 workers are ready; starting: not ready yet"
    world.processes[1].ready()
    assert world.pool.ready == 1
    assert world.pool.state() is None, "half of the workers are enough"
    world.processes[1].report(network="not reached")
    assert world.pool.state() == "0 of 2 workers are ready; network: not reached; starting: not ready yet"
    world.ready()
    assert world.pool.ready == 2
    world.processes[0].worker.childDataReceived(2, b"Traceback\n")
    assert world.output == ["Traceback"]


def reports_ordered(process: Process) -> list[int]:
    return [order["number"] for order in process.orders if order.get("do") == "report"]


def test_a_refresh_requests_new_reports() -> None:
    world = Pool().ready()
    one, two = world.processes
    first, second = fired(world.pool.refresh()), fired(world.pool.refresh())
    one.report()
    two.report()
    assert (first, second) == ([None], [])
    world.clock.advance(REPORT_PAUSE)
    one.report()
    assert not second
    two.report()
    assert second == [None]
    assert reports_ordered(one) == reports_ordered(two) == [1, 2]
    world.clock.advance(REPORT_PAUSE)
    assert not world.clock.getDelayedCalls()[1:], "only the timer of the period is left"


def test_a_flood_of_refreshes_costs_a_worker_no_more_than_two() -> None:
    world = Pool().ready()
    done = [fired(world.pool.refresh()) for _ in range(250)]
    for _ in range(3):
        for process in world.processes:
            process.report()
        world.clock.advance(REPORT_PAUSE)
    assert done == [[None]] * 250
    assert [reports_ordered(process) for process in world.processes] == [[1, 2], [1, 2]]


def test_a_refresh_does_not_wait_for_workers_that_cannot_report() -> None:
    world = Pool(3)
    starting, hanging, dying = world.processes
    hanging.ready()
    dying.ready()
    done = fired(world.pool.refresh())
    dying.end(1)
    assert not done
    world.clock.advance(REPORT_TIMEOUT)
    assert done == [None]
    starting.end(1)
    hanging.end(1)
    done = fired(world.pool.refresh())
    world.clock.advance(0)
    assert done == [None], "there are no workers"


def test_a_worker_that_dies_is_started_again_and_its_counts_are_kept() -> None:
    world = Pool().ready()
    world.clock.advance(STEADY)
    world.processes[0].end(signal=9)
    assert world.pool.ready == 1
    world.clock.advance(0)
    assert len(world.processes) == 3
    assert world.processes[2].worker.number == 0
    assert world.pool.restarts == 1
    world.processes[2].ready()
    assert world.pool.ready == 2
    total = sum(sample.value for family in world.pool.metrics.collect() for sample in family.samples)
    assert total == 3


def test_pauses_grow_while_a_worker_dies_early() -> None:
    world = Pool(1)
    pauses = []
    for _ in range(9):
        world.processes[-1].end(1)
        before = world.clock.seconds()
        count = len(world.processes)
        while len(world.processes) == count:
            world.clock.advance(0.5)
        pauses.append(world.clock.seconds() - before)
    assert pauses == [0.5, 1, 2, 4, 8, 16, LAST_PAUSE, LAST_PAUSE, LAST_PAUSE]
    world.processes[-1].ready()
    while world.clock.seconds() < 1000:
        world.clock.advance(LOOK_PERIOD)
        world.processes[-1].report()
    count = len(world.processes)
    world.processes[-1].end(1)
    world.clock.advance(0)
    assert len(world.processes) == count + 1


def test_a_worker_that_hangs_is_killed_within_ten_seconds_and_the_others_continue() -> None:
    world = Pool()
    healthy, hanging = (process.ready() for process in world.processes)
    while not hanging.signals:
        assert world.pool.state() is None, "half of them serve"
        world.clock.advance(LOOK_PERIOD)
        healthy.report()
    # some seconds are left for the start of its successor
    assert world.clock.seconds() == HANGS * LOOK_PERIOD <= 6
    assert healthy.signals == []
    world.clock.advance(LOOK_PERIOD)
    healthy.report()
    assert hanging.signals == ["KILL"], "it is killed once"
    hanging.end(signal=9)
    world.clock.advance(FIRST_PAUSE)
    assert len(world.processes) == 3
    assert world.pool.stuck() is None


def test_requests_and_reports_do_not_wait_for_a_silent_worker() -> None:
    world = Pool()
    healthy, hanging = (process.ready() for process in world.processes)
    waiting = fired(world.pool.refresh())
    answered = fired(world.pool.request({"what": "levels"}))
    for _ in range(2):
        healthy.report()
        healthy.answer(type="answer", number=1, answer={})
        assert (waiting, answered) == ([], [])
        world.clock.advance(LOOK_PERIOD / 2.5)
    world.clock.advance(LOOK_PERIOD)
    healthy.report()
    world.clock.advance(LOOK_PERIOD)
    assert world.pool.ready == 1
    done = fired(world.pool.refresh())
    healthy.report()
    assert done == [None], "at once"
    replies = fired(world.pool.request({"what": "levels"}))
    healthy.answer(type="answer", number=2, answer={})
    assert replies == [Replies({0: {}}, [1])]
    hanging.answer(type="health", findings=[])
    assert world.pool.ready == 2, "it was only slow"


def test_a_pause_of_the_whole_machine_kills_no_worker() -> None:
    world = Pool().ready()
    world.clock.advance(1000 * LOOK_PERIOD)
    assert [process.signals for process in world.processes] == [[], []]
    assert world.pool.stuck() is None


def test_the_gateway_is_stuck_when_no_worker_answers_or_one_cannot_be_ended() -> None:
    world = Pool()
    first, second = (process.ready() for process in world.processes)
    for _ in range(HANGS - 1):
        assert world.pool.stuck() is None
        world.clock.advance(LOOK_PERIOD)
    assert world.pool.stuck() == "no worker answers"
    assert world.pool.state() == "0 of 2 workers are ready; silent: it does not answer"
    first.report()
    assert world.pool.stuck() is None
    world.clock.advance(LOOK_PERIOD)
    assert second.signals == ["KILL"]
    for _ in range(int(KILL_AFTER / LOOK_PERIOD) + 1):
        first.report()
        assert world.pool.stuck() is None
        world.clock.advance(LOOK_PERIOD)
    assert world.pool.stuck() == "worker 1 hangs, and does not end though it was killed"
    second.end(signal=9)
    first.report()
    assert world.pool.stuck() is None


def test_workers_report_their_health_between_reports() -> None:
    world = Pool(1).ready()
    requests = []
    for _ in range(2 * REPORT_EVERY):
        world.clock.advance(LOOK_PERIOD)
        requests.append(world.processes[0].last["do"])
        world.processes[0].answer(type="health", findings=[["network", "not reached"]])
        assert world.pool.ready == 0
    assert requests == [*["report_health"] * (REPORT_EVERY - 1), "report"] * 2


def test_a_worker_that_starts_has_time_to_do_so() -> None:
    world = Pool(1)
    while world.clock.seconds() <= START:
        assert not world.processes[0].signals
        world.clock.advance(LOOK_PERIOD)
    assert world.processes[0].signals == ["KILL"]


def test_acceptances_are_sent_to_all_workers_in_one_order() -> None:
    world = Pool(3).ready()
    world.processes[1].answer(type="accepted", canister="aa", sender="01", at=7, left=False)
    order = {"do": "replaced", "canister": "aa", "sender": "01", "at": 7, "left": False}
    assert [process.last for process in world.processes] == [
        {**order, "own": False},
        {**order, "own": True},
        {**order, "own": False},
    ]


def test_a_drain() -> None:
    world = Pool(3).ready()
    world.clock.advance(STEADY)
    world.processes[2].end(1)
    stopped_accepting, ended = map(fired, world.pool.drain(9.0, 60.0))
    one, two, _ = world.processes
    assert one.last == two.last == {"do": "drain", "window": 9.0}
    assert (stopped_accepting, ended) == ([], [])
    one.answer(type="stopped_accepting")
    assert not stopped_accepting
    two.answer(type="stopped_accepting")
    assert (stopped_accepting, ended) == ([None], [])
    one.end()
    two.closed = True
    world.pool.skip_drain_window()
    two.end(1)
    assert ended == [None]
    world.clock.advance(LAST_PAUSE)
    assert len(world.processes) == 3, "no worker is started any more"
    assert world.clock.getDelayedCalls() == []
    world.pool.skip_drain_window()


def test_a_drain_kills_workers_that_do_not_end() -> None:
    world = Pool(1).ready()
    stopped_accepting, ended = map(fired, world.pool.drain(9.0, 20.0))
    world.clock.advance(19)
    assert not world.processes[0].signals
    world.pool.skip_drain_window()
    assert world.processes[0].last == {"do": "hurry"}
    world.clock.advance(KILL_AFTER)
    assert world.processes[0].signals == ["KILL"]
    world.processes[0].end(signal=9)
    assert (stopped_accepting, ended) == ([None], [None])


def test_a_hurried_drain_does_not_wait_for_a_stopped_worker() -> None:
    world = Pool(2).ready()
    world.pool.drain(60.0, 140.0)
    world.pool.skip_drain_window()
    for _ in range(SILENT):
        assert not world.processes[0].signals
        world.clock.advance(LOOK_PERIOD)
        world.processes[1].answer(type="health", findings=[])
    assert world.processes[0].signals == ["KILL"]
    assert not world.processes[1].signals, "it answers, so it has the whole time"


def test_a_hurried_drain_has_some_seconds_and_not_the_whole_time_of_a_drain() -> None:
    world = Pool(1).ready()
    (process,) = world.processes
    world.pool.drain(60.0, 600.0)
    world.pool.skip_drain_window()
    waited = 0
    while not process.signals:
        world.clock.advance(1.0)
        process.answer(type="health", findings=[])
        waited += 1
        assert waited <= KILL_AFTER
    assert waited == KILL_AFTER


def test_a_drain_before_any_worker_has_started() -> None:
    world = Pool(0)
    stopped_accepting, ended = map(fired, world.pool.drain(9.0, 60.0))
    assert (stopped_accepting, ended) == ([None], [None])


def test_a_drain_while_a_worker_is_starting() -> None:
    world = Pool(2)
    ready, starting = world.processes
    ready.ready()
    stopped_accepting, ended = map(fired, world.pool.drain(9.0, 60.0))
    assert (ready.signals, starting.signals) == ([], ["KILL"])
    ready.answer(type="stopped_accepting")
    assert not stopped_accepting
    starting.end(signal=9)
    ready.end()
    assert (stopped_accepting, ended) == ([None], [None])


def test_the_status_is_in_reports_that_request_it() -> None:
    world = Pool().ready()
    fired(world.pool.refresh())
    assert world.processes[0].last == {"do": "report", "number": 1, "status": False}
    for process in world.processes:
        process.report()
    world.clock.advance(REPORT_PAUSE)
    fired(world.pool.refresh(status=True))
    assert world.processes[0].last == {"do": "report", "number": 2, "status": True}
    world.clock.pump([LOOK_PERIOD] * REPORT_EVERY)
    assert world.processes[0].last == {"do": "report", "number": 3, "status": True}
    world.processes[0].report(status={"totals": {"up": 5}})
    world.processes[0].report()
    assert world.pool.statuses.latest == {0: {"totals": {"up": 5}}}, "a report without one leaves it"
    world.processes[0].end()
    assert world.pool.statuses.latest == {}
    assert world.pool.statuses.parts()[0]["totals"] == {"up": 5}
    world.clock.advance(1)
    assert world.pool.restarted == [1, 0]


def test_serving_workers_answer_requests() -> None:
    world = Pool(3)
    one, two, starting = world.processes
    one.ready()
    two.ready()
    done = fired(world.pool.request({"what": "levels"}))
    assert [process.last["do"] for process in world.processes] == ["ask"] * 3
    one.answer(type="answer", number=one.last["number"], answer={"components": []})
    starting.answer(type="answer", number=one.last["number"], answer={"components": []})
    assert done == []
    two.end(1)
    assert done == [Replies({0: {"components": []}}, [1, 2])]


def test_a_flood_of_equal_requests_is_one_for_the_workers() -> None:
    world = Pool().ready()
    sent = [len(process.orders) for process in world.processes]
    for _ in range(20):
        fired(world.pool.request({"what": "sessions", "limit": 1000}))
    assert [len(process.orders) - before for process, before in zip(world.processes, sent, strict=True)] == [1, 1]


def test_a_request_waits_until_a_worker_is_silent() -> None:
    world = Pool().ready()
    done = fired(world.pool.request({"what": "levels"}))
    for _ in range(SILENT):
        assert done == []
        world.clock.advance(LOOK_PERIOD)
    assert done == [Replies({}, [0, 1])]


def test_a_request_does_not_wait_for_a_worker_that_hangs() -> None:
    world = Pool().ready()
    done = fired(world.pool.request({"what": "levels"}))
    world.processes[1].answer(type="answer", number=1, answer=None)
    world.clock.advance(ANSWER_TIMEOUT)
    assert done == [Replies({}, [0, 1])]


def test_a_process_that_cannot_be_started_is_tried_again() -> None:
    world = Pool().ready()
    spawn, refusals = world.spawn, [OSError(errno.ENOMEM, "Cannot allocate memory")] * 2

    passages: list[Any] = []

    def refuse(worker: WorkerProcess) -> Process:
        if refusals:
            worker.passage = Channel(socket.socket())
            passages.append(worker.passage.socket)
            raise refusals.pop()
        return spawn(worker)

    world.pool._spawn = refuse
    world.clock.advance(STEADY)
    world.processes[1].end(signal=9)
    world.clock.advance(0)
    assert list(world.pool.workers) == [0]
    assert world.pool.state() is None
    world.clock.pump([0.5] * 6)
    assert not refusals
    assert [passage.fileno() for passage in passages] == [-1, -1]
    world.processes[0].report()
    world.processes[2].ready()
    assert world.pool.ready == 2
    assert world.pool.restarts == 1


def test_a_drain_ends_although_a_process_could_not_be_started() -> None:
    world = Pool().ready()
    world.clock.advance(STEADY)

    def refuse(worker: WorkerProcess) -> Process:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    world.pool._spawn = refuse
    world.processes[1].end(signal=9)
    world.clock.advance(0)
    stopped_accepting, ended = map(fired, world.pool.drain(5.0, 30.0))
    world.processes[0].answer(type="stopped_accepting")
    world.processes[0].end()
    assert (stopped_accepting, ended) == ([None], [None])
    assert world.clock.getDelayedCalls() == []


def test_the_log_names_the_process_that_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []
    log = SimpleNamespace(info=lambda *args, **fields: None, error=lambda *args, **fields: lines.append(fields))
    log.warn = log.error
    monkeypatch.setattr(worker_pool, "_log", log)
    world = Pool().ready()
    world.processes[0].end(signal=9)
    assert [(line["number"], line["pid"], line["reason"]) for line in lines] == [(0, 100, "killed by SIGKILL")]
    world.pool.drain(1.0, 5.0)
    world.processes[1].end(status=1)
    assert (lines[-1]["number"], lines[-1]["pid"]) == (1, 101)
    lines.clear()
    world = Pool().ready()
    world.pool.drain(1.0, 5.0)
    for process in world.processes:
        process.end()
    assert lines == [], "they ended on an order"


def rooms(world: Pool) -> list[bool | None]:
    """The last order to each process about room elsewhere; None if there was none."""
    found: list[bool | None] = []
    for process in world.processes:
        values = [order["room"] for order in process.orders if order.get("do") == "siblings"]
        found.append(values[-1] if values else None)
    return found


def test_a_worker_gets_whether_another_one_has_room() -> None:
    world = Pool(3).ready()
    assert rooms(world) == [None] * 3, "workers assume at first that others have room"
    one, two, three = world.processes
    one.answer(type="room", room=False)
    two.answer(type="room", room=False)
    assert rooms(world) == [None, None, False], "the only worker with room has no sibling with room"
    three.answer(type="room", room=False)
    assert rooms(world) == [False, False, False]
    two.answer(type="room", room=True)
    assert rooms(world) == [True, False, True]
    # an order is sent only if it changes
    two.answer(type="room", room=True)
    assert [order["do"] for order in one.orders[1:]] == ["siblings", "siblings"]


def test_the_room_of_a_worker_that_does_not_answer_does_not_count() -> None:
    world = Pool(2).ready()
    full, silent = world.processes
    full.answer(type="room", room=False)
    for _ in range(2):
        world.clock.advance(LOOK_PERIOD)
        full.report()
    assert rooms(world)[0] is False
    silent.report()
    world.clock.advance(LOOK_PERIOD)
    assert rooms(world)[0] is True


def test_connections_wait_for_a_starting_worker_but_not_for_one_that_fails() -> None:
    world = Pool(2)
    full, starting = world.processes
    full.ready()
    full.answer(type="room", room=False)
    assert rooms(world) == [None, None]
    starting.end(1)
    assert rooms(world)[0] is False
    world.clock.advance(FIRST_PAUSE)
    assert rooms(world)[0] is False
    world.processes[2].ready()
    assert rooms(world)[0] is True
    assert rooms(world)[2] is False


def test_connections_wait_for_the_successor_of_a_worker_that_has_served() -> None:
    world = Pool(2).ready()
    for process in world.processes:
        process.answer(type="room", room=False)
    world.clock.advance(STEADY)
    for process in world.processes:
        process.report()
    world.processes[1].end(signal=9)
    world.clock.advance(0)
    assert rooms(world)[0] is True


def test_a_drain_sends_no_orders_about_room() -> None:
    world = Pool(2).ready()
    world.pool.drain(1.0, 10.0)
    world.processes[0].answer(type="room", room=False)
    world.processes[0].answer(type="stopped_accepting")
    world.processes[0].end()
    assert rooms(world) == [None, None]


class Handover:
    """A handover that records what the pool reports to it."""

    hangs = 7

    def __init__(self, keeps: bool = True) -> None:
        self.received: list[Any] = []
        self.keeps = keeps

    def reported(self, worker: WorkerProcess, answer: Any) -> None:
        self.received.append((worker.number, answer["type"]))

    def ended(self, worker: WorkerProcess) -> bool:
        self.received.append((worker.number, "ended"))
        return self.keeps

    def accepted(self, order: Any) -> None:
        self.received.append(order)


def test_a_handover_gets_the_reports_of_its_workers() -> None:
    world = Pool().ready()
    one, two = world.processes
    one.answer(type="handed_over", result={})
    two.answer(type="prepared", waits_for="the network")
    assert two.worker.waits_for == "the network"
    world.pool.handover = handover = Handover()
    one.answer(type="handover_failed", reason="silent")
    two.answer(type="prepared", waits_for=None)
    assert two.worker.waits_for is None
    assert handover.received == [(0, "handover_failed")], "reports from before the handover do not concern it"


def test_the_other_supervisor_gets_acceptances_as_the_workers_do() -> None:
    world = Pool().ready()
    world.pool.handover = handover = Handover()
    world.processes[1].answer(type="accepted", canister="aa", sender="01", at=7, left=True)
    order = {"do": "replaced", "canister": "aa", "sender": "01", "at": 7, "left": True}
    assert handover.received == [order]
    assert world.processes[0].last == {**order, "own": False}


@pytest.mark.parametrize("keeps", [True, False])
def test_a_handover_decides_whether_a_worker_is_started_again(keeps: bool) -> None:
    world = Pool().ready()
    world.pool.handover = handover = Handover(keeps)
    world.processes[0].end(signal=9)
    world.clock.advance(FIRST_PAUSE)
    assert handover.received == [(0, "ended")]
    assert len(world.processes) == (2 if keeps else 3)


def test_a_worker_that_ended_during_a_failed_handover_is_started_again_after_a_pause() -> None:
    world = Pool().ready()
    world.pool.handover = Handover()
    world.processes[1].end()
    world.pool.handover = None
    world.pool.restart(1)
    assert len(world.processes) == 2
    world.clock.advance(FIRST_PAUSE)
    assert [process.worker.number for process in world.processes] == [0, 1, 1]
    assert world.pool.restarted == [0, 1]


def test_a_worker_is_watched_again_after_its_handover_has_failed() -> None:
    """The supervisor notices the successor's end first; then the worker has no handover to report to."""
    world = Pool(1).ready()
    (process,) = world.processes
    process.worker.busy = True
    for _ in range(HANGS):
        world.clock.advance(LOOK_PERIOD)
    assert process.signals == [], "a worker that hands over may be silent"
    process.answer(type="handover_failed", reason="the new process has ended")
    for _ in range(HANGS):
        assert process.signals == []
        world.clock.advance(LOOK_PERIOD)
    assert process.signals == ["KILL"]


@pytest.mark.parametrize("under_way", [True, False], ids=["under way", "given up"])
def test_a_worker_that_hangs_in_its_handover_is_killed(under_way: bool) -> None:
    """Otherwise neither its clients nor the upgrade would go on."""
    world = Pool().ready()
    hanging, healthy = world.processes
    hanging.worker.busy = healthy.worker.busy = True
    world.pool.handover = Handover() if under_way else None
    for _ in range(Handover.hangs if under_way else HANGS_IN_HANDOVER):
        assert hanging.signals == []
        world.clock.advance(LOOK_PERIOD)
        healthy.report()
    world.clock.advance(LOOK_PERIOD)
    assert (hanging.signals, healthy.signals) == (["KILL"], [])


def test_a_gateway_is_not_stuck_while_its_workers_hand_over() -> None:
    """They answer nobody for a moment, which may be long on a slow machine."""
    world = Pool().ready()
    for process in world.processes:
        process.worker.busy = True
    for _ in range(HANGS_IN_HANDOVER - 1):
        world.clock.advance(LOOK_PERIOD)
        assert world.pool.stuck() is None
    for process in world.processes:
        process.answer(type="handover_failed", reason="silent")
    for _ in range(HANGS - 1):
        world.clock.advance(LOOK_PERIOD)
    assert world.pool.stuck() == "no worker answers"


def test_a_gateway_that_drains_is_not_stuck() -> None:
    world = Pool(1).ready()
    for _ in range(HANGS - 1):
        world.clock.advance(LOOK_PERIOD)
    assert world.pool.stuck() == "no worker answers"
    world.pool.drain(1.0, 60.0)
    assert world.pool.stuck() is None


def test_workers_that_do_not_stop_in_time_are_killed_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []
    log = SimpleNamespace(info=lambda *args, **fields: None, error=lambda *args, **fields: lines.append(fields))
    log.warn = log.info
    monkeypatch.setattr(worker_pool, "_log", log)
    world = Pool(3).ready()
    _, ended = map(fired, world.pool.drain(1.0, 5.0))
    _, hanging, over = world.processes
    hanging.worker.killed = 1.0
    # the kernel has ended it, and Twisted has not noticed yet
    over.over = True
    # fewer checks than make a worker count as hanging
    world.clock.advance(5.0)
    assert [process.signals for process in world.processes] == [["KILL"], [], []]
    assert lines == [{"number": 0, "pid": 100}, {"number": 2, "pid": 102}]
    for process in world.processes:
        process.end(signal=9)
    assert ended == [None]
