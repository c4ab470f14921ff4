"""One process of a worker, as the supervisor sees it: sends it orders and reads its answers.

:mod:`icwsgw.workers` lists the orders and answers. :mod:`icwsgw.workers.worker_pool` starts and watches the processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from icwsgw.handover.channel import Channel
from icwsgw.observe.health import Finding
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Clock
from icwsgw.workers.json_lines import LineSplitter, line_of
from icwsgw.workers.orders import ANSWERS_FD, ORDERS_FD
from icwsgw.workers.output_lines import OutputLines

#: Health checks since a worker's last answer, the current one included, from which on the worker is silent.
SILENT: Final = 2

_log = get_logger("workers")


class WorkerOwner(Protocol):
    """The pool, as its processes see it: :class:`icwsgw.workers.worker_pool.WorkerPool`."""

    @property
    def clock(self) -> Clock: ...

    def output(self, line: str, /) -> None:
        """The worker has written a line to its standard streams."""

    def share_room(self) -> None:
        """The worker has become ready, or its room for connections has changed."""

    def reported(self, worker: WorkerProcess, number: int, families: list[Any], status: dict[str, Any] | None) -> None:
        """Report ``number`` has come, with the worker's metrics and perhaps its status document."""

    def worker_stopped_accepting(self) -> None:
        """The worker no longer accepts connections."""

    def accepted(self, worker: WorkerProcess, answer: Mapping[str, Any]) -> None:
        """A canister has accepted a client of the worker."""

    def answered(self, worker: WorkerProcess, request: int, answer: dict[str, Any] | None) -> None:
        """The worker has answered a request; None: it has failed to."""

    def handover_reported(self, worker: WorkerProcess, answer: Mapping[str, Any]) -> None:
        """The worker reports on its handover."""

    def ended(self, worker: WorkerProcess, reason: Failure) -> None:
        """The process has ended."""


class WorkerProcess(ProcessProtocol):
    """One process of a worker, from its start to its end.

    :param orders: the line of start parameters
    :ivar number: the number of the worker, from 0; its next process has the same number
    :ivar pid: of the process, kept after its end; 0 if it was not started
    :ivar ready: the process serves clients
    :ivar stopped_accepting: the process no longer accepts connections
    :ivar findings: the health findings of the last report
    :ivar reported: the number of the last report
    :ivar unanswered: health checks since its last output on the answer pipe
    :ivar killed: the clock's time at which it was killed because it hung; None if it was not
    :ivar passage: the socket for handovers
    :ivar waits_for: why it is not ready to take over, if it waits for that
    :ivar busy: it takes over or hands over, and may not answer health checks
    :ivar room: it has fewer connections than it may have
    :ivar room_elsewhere: whether another worker has room, as of the last order; a worker starts as if one had
    """

    def __init__(self, pool: WorkerOwner, number: int, orders: bytes) -> None:
        self._pool = pool
        self._orders = orders
        self._splitter = LineSplitter(self._answered)
        self._output = OutputLines(pool.output)
        self.number = number
        self.process: Any = None
        self.pid = 0
        self.started = pool.clock.seconds()
        self.unanswered = 0
        self.killed: float | None = None
        self.ready = False
        self.stopped_accepting = False
        self.room = self.room_elsewhere = True
        self.passage: Channel | None = None
        self.waits_for: str | None = "its start"
        self.busy = False
        self.reported = 0
        self.findings: list[Finding] = [Finding("starting", "not ready yet")]

    @property
    def silent(self) -> bool:
        """Whether the worker is ready but has not answered the last health checks; requests do not wait for it."""
        return self.ready and self.unanswered >= SILENT and not self.busy

    def send(self, order: Mapping[str, Any]) -> None:
        """Send an order; it is lost if the process is ending."""
        try:
            self.process.writeToChild(ORDERS_FD, line_of(order))
        except KeyError:
            pass  # the pipe is already closed

    def kill(self) -> None:
        try:
            self.process.signalProcess("KILL")
        except ProcessExitedAlready:
            pass

    def close_passage(self) -> None:
        """Close the socket for handovers: the process has ended, or could not be started."""
        if self.passage is not None:
            self.passage.close()

    def connectionMade(self) -> None:  # noqa: N802
        """Send the process its start parameters."""
        self.process = self.transport
        # Twisted forgets the pid before it reports the end of the process
        self.pid = int(self.process.pid or 0)
        self.process.writeToChild(ORDERS_FD, self._orders)

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803
        """Handle output of the process: answers, or lines of its standard streams."""
        if childFD == ANSWERS_FD:
            self.unanswered = 0
            self._splitter.feed(data)
        else:
            self._output.feed(childFD, data)

    def childConnectionLost(self, childFD: int) -> None:  # noqa: N802, N803
        """Do nothing: :meth:`processEnded` handles the end of the process."""

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        self._output.end()
        self._pool.ended(self, reason)

    def _answered(self, answer: dict[str, Any]) -> None:
        pool, kind = self._pool, answer["type"]
        if kind == "health":
            self.findings = [Finding(*finding) for finding in answer["findings"]]
        elif kind == "ready":
            self.ready = True
            _log.info("worker is ready", number=self.number, pid=self.pid)
            pool.share_room()
        elif kind == "room":
            self.room = answer["room"]
            pool.share_room()
        elif kind == "report":
            self.findings = [Finding(*finding) for finding in answer["findings"]]
            pool.reported(self, answer["number"], answer["families"], answer.get("status"))
        elif kind == "stopped_accepting":
            self.stopped_accepting = True
            pool.worker_stopped_accepting()
        elif kind == "accepted":
            pool.accepted(self, answer)
        elif kind == "answer":
            pool.answered(self, answer["number"], answer["answer"])
        elif kind == "prepared":
            self.waits_for = answer["waits_for"]
        else:
            pool.handover_reported(self, answer)
