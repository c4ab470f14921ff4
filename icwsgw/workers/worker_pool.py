"""The supervisor's workers: starts, watches, restarts and drains them.

A worker that dies takes its own clients with it and nobody else's. It is started again at once when it had lived for a
while, and with growing pauses when it had not, so that a fault at the start does not cost a core.

A worker is asked at every look, each :data:`LOOK_PERIOD` seconds, whether it is well. One that has not answered until
the next look is silent: nobody waits for it, and it is not counted as ready. One that has left three questions
unanswered hangs, and is killed. What counts are looks and not seconds: a machine that slept, or a supervisor that was
stopped, must not take all its workers for dead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from icwsgw.admin.api import Replies
from icwsgw.observe.health import Finding
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Clock, Timer
from icwsgw.workers.aggregate import Aggregate
from icwsgw.workers.gateway_status import Statuses
from icwsgw.workers.json_lines import LineSplitter, line_of
from icwsgw.workers.orders import ANSWERS_FD, ORDERS_FD
from icwsgw.workers.requests import Requests

#: Seconds between two looks at the workers, and looks between two reports that nobody has asked for.
LOOK_PERIOD: Final = 2.0
REPORT_EVERY: Final = 3
#: Looks since a worker's last word, this one included: from when on it is silent, is of no use to anybody, and hangs.
#: At the last it is killed, 6 to 8 seconds after it began to hang.
SILENT, USELESS, HANGS = 2, 3, 4
#: Seconds a process may take from its start to its first word.
START: Final = 120.0
#: Seconds that somebody who wants reports waits for them.
REPORT_PATIENCE: Final = 2.0
#: Pauses before a worker is started again: none when it had lived for so long, else doubled from the first to the last.
STEADY: Final = 30.0
FIRST_PAUSE, LAST_PAUSE = 0.5, 30.0
#: Seconds between the end that was asked for and the one that is not.
KILL_AFTER: Final = 10.0

_log = get_logger("workers")


class Spawn(Protocol):
    """Starts a worker's process."""

    def __call__(self, protocol: Worker, /) -> Any:
        """Start it; gives Twisted's process transport."""


class Worker(ProcessProtocol):
    """One process of a worker, from its start to its end.

    :ivar number: of the worker, from 0; its next process has the same
    :ivar ready: it serves clients
    :ivar stopped_accepting: it does not accept any more
    :ivar findings: of its health, as last reported
    :ivar reported: number of its last report
    :ivar unanswered: looks since it last said something
    :ivar killed: when it was killed since it hangs, None if it was not
    """

    def __init__(self, pool: WorkerPool, number: int, orders: bytes) -> None:
        self._pool = pool
        self._orders = orders
        self._splitter = LineSplitter(self._said)
        self.number = number
        self.process: Any = None
        self.started = pool.clock.seconds()
        self.unanswered = 0
        self.killed: float | None = None
        self.ready = False
        self.stopped_accepting = False
        self.reported = 0
        self.findings: list[Finding] = [Finding("starting", "not ready yet")]

    @property
    def silent(self) -> bool:
        """Whether it serves clients but does not answer, so that it is of no use to wait for it."""
        return self.ready and self.unanswered >= SILENT

    @property
    def pid(self) -> int:
        return int(self.process.pid or 0)

    def tell(self, order: Mapping[str, Any]) -> None:
        """Send an order; a process that is about to end does not get it."""
        try:
            self.process.writeToChild(ORDERS_FD, line_of(order))
        except KeyError:
            pass  # its pipe is closed already

    def kill(self) -> None:
        try:
            self.process.signalProcess("KILL")
        except ProcessExitedAlready:
            pass

    def connectionMade(self) -> None:  # noqa: N802
        """Give the process its orders."""
        self.process = self.transport
        self.process.writeToChild(ORDERS_FD, self._orders)

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803
        """Take what the process says."""
        if childFD == ANSWERS_FD:
            self.unanswered = 0
            self._splitter.feed(data)
        else:
            self._pool.output(data, self.number)

    def childConnectionLost(self, childFD: int) -> None:  # noqa: N802, N803
        """Take note of nothing: the end of the process will be told."""

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        self._pool.ended(self, reason)

    def _said(self, answer: dict[str, Any]) -> None:
        what = answer["said"]
        if what == "well":
            self.findings = [Finding(*finding) for finding in answer["findings"]]
        elif what == "ready":
            self.ready = True
            _log.info("worker is ready", number=self.number, pid=self.pid)
        elif what == "report":
            self.findings = [Finding(*finding) for finding in answer["findings"]]
            self._pool.reported(self, answer["number"], answer["families"], answer.get("status"))
        elif what == "stopped_accepting":
            self.stopped_accepting = True
            self._pool.worker_stopped_accepting()
        elif what == "accepted":
            self._pool.accepted(self, answer)
        elif what == "answer":
            self._pool.questions.answered(self.number, answer["number"], answer["answer"])


class WorkerPool:
    """All workers.

    :param spawn: starts a process
    :param orders: gives the line of orders of a worker by its number
    :param count: how many
    :param output: told (bytes, worker number) that a worker wrote to its standard streams, where these are pipes
    :ivar workers: the living processes by worker number
    :ivar metrics: sums of what they count
    :ivar statuses: what the status page shows of each
    :ivar restarted: how many processes were started beyond the first, by worker number
    :ivar questions: those that were put to workers, see :meth:`ask`
    """

    def __init__(
        self,
        clock: Clock,
        spawn: Spawn,
        orders: Callable[[int], bytes],
        count: int,
        output: Callable[[bytes, int], None] = lambda data, number: None,
    ) -> None:
        self.clock = clock
        self.output = output
        self.count = count
        self.workers: dict[int, Worker] = {}
        self.metrics = Aggregate()
        self.statuses = Statuses()
        self.restarted = [0] * count
        self.draining = False
        self.questions = Requests(clock)
        self._spawn = spawn
        self._orders = orders
        self._failures = [0] * count
        self._restarting: dict[int, Timer] = {}
        self._wanted: list[tuple[int, Deferred[None]]] = []
        self._number = 0
        self._looks = 0
        self._empty: Deferred[None] | None = None
        self._all_stopped_accepting: Deferred[None] | None = None
        self._killing: Timer | None = None
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock  # type: ignore[assignment]

    def start(self) -> None:
        for number in range(self.count):
            self._start(number)
        self._loop.start(LOOK_PERIOD, now=False)

    @property
    def ready(self) -> int:
        """How many workers serve clients, and are content with themselves."""
        return sum(self._content(worker) for worker in self.workers.values())

    @property
    def restarts(self) -> int:
        """How many processes were started beyond the first of each worker."""
        return sum(self.restarted)

    def state(self) -> str | None:
        """Why the workers as a whole are not ready, or None: half of them have to be."""
        ready = self.ready
        if 2 * ready >= self.count and ready:
            return None
        reasons = {
            f"{name}: {reason}"
            for worker in self.workers.values()
            for name, reason in worker.findings
            if reason is not None
        }
        reasons |= {"silent: it does not answer" for worker in self.workers.values() if worker.silent}
        return "; ".join([f"{ready} of {self.count} workers are ready", *sorted(reasons)])

    def stuck(self) -> str | None:
        """Why restarting the whole gateway would help, or None.

        A worker that hangs is replaced, and costs its own clients only. That does not help where all hang, or where one
        that was killed does not end (a hung disk), whose place nobody can take.
        """
        if self.draining:
            return None
        now = self.clock.seconds()
        workers = self.workers.values()
        stay = [w.number for w in workers if w.killed is not None and now - w.killed > KILL_AFTER]
        if stay:
            return f"worker {stay[0]} hangs, and does not end though it was killed"
        if workers and all(worker.ready and worker.unanswered >= USELESS for worker in workers):
            return "no worker answers"
        return None

    @staticmethod
    def _content(worker: Worker) -> bool:
        return worker.ready and not worker.silent and all(finding.reason is None for finding in worker.findings)

    def refresh(self, status: bool = False) -> Deferred[None]:
        """Have every worker report; fires when all have, or after :data:`REPORT_PATIENCE` without some.

        :param status: what the status page shows, too
        """
        done: Deferred[None] = Deferred()
        number = self._ask(status)
        late = self.clock.callLater(REPORT_PATIENCE, self._answer, number)
        done.addBoth(_cancel, late)
        self._wanted.append((number, done))
        self._check_reports()
        return done

    def ask(self, what: Mapping[str, Any]) -> Deferred[Replies]:
        """Put a question to all; see :mod:`icwsgw.admin.control` for what may be asked."""
        tells = {number: worker.tell for number, worker in self.workers.items()}
        ready = {number for number, worker in self.workers.items() if worker.ready and not worker.silent}
        return self.questions.ask(what, self.count, tells, ready)

    def tell(self, order: Mapping[str, Any]) -> None:
        """Send an order to all."""
        for worker in self.workers.values():
            worker.tell(order)

    # the end

    def drain(self, window: float, patience: float) -> tuple[Deferred[None], Deferred[None]]:
        """Drain all workers, and start none any more.

        :param window: seconds over which clients are closed
        :param patience: seconds after which those that are left are killed
        :return: fires when none accepts any more; fires when all have ended
        """
        self.draining = True
        self._all_stopped_accepting, self._empty = Deferred(), Deferred()
        stopped_accepting, empty = self._all_stopped_accepting, self._empty
        for timer in self._restarting.values():
            timer.cancel()
        self._restarting.clear()
        self._killing = self.clock.callLater(patience, self._kill)
        self.tell({"do": "drain", "window": window})
        for worker in self.workers.values():
            if not worker.ready:
                # nobody is connected to it, and it may take seconds to hear of the drain
                worker.kill()
        self.worker_stopped_accepting()
        self._check_empty()
        return stopped_accepting, empty

    def skip_drain_window(self) -> None:
        if self._killing is not None and self._killing.active():
            self._killing.reset(KILL_AFTER)
            self.tell({"do": "hurry"})

    def _kill(self) -> None:
        for worker in self.workers.values():
            _log.error("worker does not stop, killing it", number=worker.number, pid=worker.pid)
            worker.kill()

    def worker_stopped_accepting(self) -> None:
        """One more worker does not accept any more."""
        waiting = self._all_stopped_accepting
        if waiting is not None and all(worker.stopped_accepting for worker in self.workers.values()):
            self._all_stopped_accepting = None
            waiting.callback(None)

    # told by workers

    def reported(self, worker: Worker, number: int, families: list[Any], status: dict[str, Any] | None = None) -> None:
        worker.reported = max(worker.reported, number)
        self.metrics.report(str(worker.number), families)
        if status is not None:
            self.statuses.report(worker.number, status)
        self._check_reports()

    def accepted(self, worker: Worker, answer: Mapping[str, Any]) -> None:
        """Tell all workers, its own too, what one says of a canister's clients; all hear it in the same order."""
        order = {"do": "replaced", **{name: answer[name] for name in ("canister", "sender", "at", "left")}}
        for each in self.workers.values():
            each.tell({**order, "own": each is worker})

    def ended(self, worker: Worker, reason: Failure) -> None:
        """A worker's process has ended: start it again."""
        number = worker.number
        del self.workers[number]
        self.metrics.ended(str(number))
        self.statuses.ended(number)
        self.questions.lost(number)
        self._check_reports()
        self.worker_stopped_accepting()
        if self.draining:
            if worker.ready and not reason.check(ProcessDone):
                _log.warn("worker ended unexpectedly", number=number, pid=worker.pid, reason=_plain(reason))
            self._check_empty()
            return
        words = "worker has died, its clients have to connect again"
        self._start_later(number, worker.started, words, pid=worker.pid, reason=_plain(reason))

    # inside

    def _start_later(self, number: int, started: float, words: str, **fields: object) -> None:
        """Say why a worker has no process, and start it again.

        :param started: when its last process was
        """
        lived = self.clock.seconds() - started
        self._failures[number] = 0 if lived >= STEADY else self._failures[number] + 1
        failures = self._failures[number]
        pause = min(FIRST_PAUSE * 2 ** (failures - 1), LAST_PAUSE) if failures else 0.0
        _log.error(words, number=number, **fields, lived_s=round(lived, 1), next_in_s=pause)
        self._restarting[number] = self.clock.callLater(pause, self._restart, number)

    def _restart(self, number: int) -> None:
        del self._restarting[number]
        self.restarted[number] += self._start(number)

    def _start(self, number: int) -> bool:
        """Start a worker's process, or see to it that it is tried again; whether there is one."""
        worker = Worker(self, number, self._orders(number))
        self.workers[number] = worker
        try:
            worker.process = self._spawn(worker)
        except OSError as error:
            # no memory or no process to be had, which may pass
            del self.workers[number]
            self._start_later(number, worker.started, "worker cannot be started", reason=error)
            return False
        return True

    def _look(self) -> None:
        now = self.clock.seconds()
        self._looks += 1
        for worker in list(self.workers.values()):
            worker.unanswered += 1
            hangs = worker.unanswered >= HANGS if worker.ready else now - worker.started > START
            if hangs and worker.killed is None:
                _log.error("worker hangs, killing it", number=worker.number, pid=worker.pid)
                worker.killed = now
                worker.kill()
            if worker.silent:
                self.questions.lost(worker.number)
        self._check_reports()
        if self._looks % REPORT_EVERY:
            self.tell({"do": "say"})
        else:
            self._ask(status=True)

    def _ask(self, status: bool) -> int:
        self._number += 1
        self.tell({"do": "report", "number": self._number, "status": status})
        return self._number

    def _check_reports(self) -> None:
        # one that is not ready yet has not begun to read
        asked = [worker.reported for worker in self.workers.values() if worker.ready and not worker.silent]
        self._answer(min(asked, default=self._number))

    def _answer(self, number: int) -> None:
        """Answer those that wanted the reports of this number, or of one before."""
        waiting = self._wanted
        self._wanted = [each for each in waiting if each[0] > number]
        for wanted, done in waiting:
            if wanted <= number:
                done.callback(None)

    def _check_empty(self) -> None:
        waiting = self._empty
        if waiting is not None and not self.workers:
            self._empty = None
            if self._killing is not None and self._killing.active():
                self._killing.cancel()
            if self._loop.running:
                self._loop.stop()
            waiting.callback(None)


def _cancel(result: None, timer: Timer) -> None:
    if timer.active():
        timer.cancel()


def _plain(reason: Failure) -> str:
    value: Any = reason.value
    if getattr(value, "signal", None) is not None:
        return f"signal {value.signal}"
    return f"status {getattr(value, 'exitCode', None)}"
