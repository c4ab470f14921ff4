from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from icwsgw.observe.health import Finding
from icwsgw.workers.json_lines import line_of
from icwsgw.workers.orders import ANSWERS_FD, ORDERS_FD
from icwsgw.workers.worker_process import SILENT, WorkerProcess


class Owner:
    """A pool that records what its process reports."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(7)
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def noted(*args: Any) -> None:
            self.calls.append((name, *args))

        return noted


class Transport:
    """Twisted's transport of a process."""

    def __init__(self, pid: int | None = 100) -> None:
        self.pid = pid
        self.orders = b""
        self.signals: list[str] = []
        self.ended = False

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        if self.ended:
            raise KeyError(descriptor)
        assert descriptor == ORDERS_FD
        self.orders += data

    def signalProcess(self, name: str) -> None:
        if self.ended:
            raise ProcessExitedAlready
        self.signals.append(name)


def started() -> tuple[Owner, Transport, WorkerProcess]:
    owner, transport = Owner(), Transport()
    worker = WorkerProcess(owner, 3, b"orders\n")
    worker.makeConnection(transport)
    return owner, transport, worker


def test_it_gets_its_start_parameters_and_then_orders() -> None:
    _, transport, worker = started()
    worker.send({"do": "report", "number": 1})
    assert transport.orders == b'orders\n{"do":"report","number":1}\n'
    assert (worker.started, worker.pid, worker.ready, worker.silent) == (7, 100, False, False)
    assert worker.findings == [Finding("starting", "not ready yet")]


def test_a_process_that_is_ending_loses_orders_and_needs_no_signal() -> None:
    _, transport, worker = started()
    worker.kill()
    transport.ended = True
    transport.pid = None
    worker.send({"do": "report_health"})
    worker.kill()
    assert (transport.orders, transport.signals) == (b"orders\n", ["KILL"])
    assert worker.pid == 100, "the log names the pid"


@pytest.mark.parametrize(
    ("answer", "call"),
    [
        ({"type": "ready"}, ("share_room",)),
        ({"type": "room", "room": False}, ("share_room",)),
        ({"type": "stopped_accepting"}, ("worker_stopped_accepting",)),
        ({"type": "accepted", "canister": "aa"}, ("accepted", None, {"type": "accepted", "canister": "aa"})),
        ({"type": "answer", "number": 4, "answer": None}, ("answered", None, 4, None)),
        (
            {"type": "report", "number": 4, "findings": [["network", "not reached"]], "families": [["a"]]},
            ("reported", None, 4, [["a"]], None),
        ),
        ({"type": "handed_over", "result": {}}, ("handover_reported", None, {"type": "handed_over", "result": {}})),
    ],
)
def test_its_answers_go_to_the_pool(answer: dict[str, Any], call: tuple[Any, ...]) -> None:
    owner, _, worker = started()
    worker.childDataReceived(ANSWERS_FD, line_of(answer))
    assert owner.calls == [tuple(worker if part is None and at == 1 else part for at, part in enumerate(call))]


def test_its_answers_change_its_recorded_state() -> None:
    _, _, worker = started()
    for answer in (
        {"type": "ready"},
        {"type": "health", "findings": [["network", "not reached"]]},
        {"type": "room", "room": False},
        {"type": "prepared", "waits_for": "the network"},
        {"type": "stopped_accepting"},
    ):
        worker.childDataReceived(ANSWERS_FD, line_of(answer))
    assert worker.ready
    assert worker.findings == [Finding("network", "not reached")]
    assert not worker.room
    assert worker.waits_for == "the network"
    assert worker.stopped_accepting


def test_a_line_may_arrive_in_parts() -> None:
    _, _, worker = started()
    line = line_of({"type": "ready"})
    worker.childDataReceived(ANSWERS_FD, line[:5])
    assert not worker.ready
    worker.childDataReceived(ANSWERS_FD, line[5:])
    assert worker.ready


def test_only_answers_end_its_silence() -> None:
    owner, _, worker = started()
    worker.ready = True
    worker.unanswered = SILENT - 1
    assert not worker.silent
    worker.unanswered = SILENT
    assert worker.silent
    worker.childDataReceived(2, b"Traceback\n")
    assert worker.silent
    assert owner.calls == [("output", "Traceback")]
    worker.busy = True
    assert not worker.silent, "a worker that hands over may be silent"
    worker.busy = False
    worker.childDataReceived(ANSWERS_FD, line_of({"type": "health", "findings": []}))
    assert not worker.silent


def test_it_ends_with_the_process_and_not_with_a_pipe() -> None:
    owner, _, worker = started()
    worker.childConnectionLost(ANSWERS_FD)
    assert owner.calls == []
    reason = Failure(ProcessDone(0))
    worker.processEnded(reason)
    assert owner.calls == [("ended", worker, reason)]


def test_its_last_line_needs_no_newline() -> None:
    owner, _, worker = started()
    worker.childDataReceived(2, b"Segmentation fault")
    worker.processEnded(Failure(ProcessDone(0)))
    assert [call[:2] for call in owner.calls] == [("output", "Segmentation fault"), ("ended", worker)]
