"""The supervisor's workers: starts, watches, restarts and drains them.

When a worker dies, only its clients lose their connections. The pool restarts it at once if it ran for at least
:data:`STEADY` seconds, otherwise with an exponential back-off, so that a fault at startup does not use a whole core.

Every :data:`LOOK_PERIOD` seconds, the pool sends each worker a health check. A worker that has not answered by the next
check is silent: requests do not wait for it, and it does not count as ready. A worker that has left three checks
unanswered hangs, and the pool kills it. During a handover it may leave more of them unanswered. The pool counts checks
and not seconds: after the machine was suspended, or the supervisor was stopped, it must not treat all workers as hung.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from icwsgw.admin.api import Replies
from icwsgw.observe.logs import get_logger
from icwsgw.process.child_end import how_it_ended
from icwsgw.reactor.clock import Clock, Timer
from icwsgw.workers.aggregate import Aggregate
from icwsgw.workers.gateway_status import Statuses
from icwsgw.workers.joined_reports import JoinedReports
from icwsgw.workers.joined_requests import JoinedRequests
from icwsgw.workers.requests import Requests
from icwsgw.workers.worker_process import SILENT, WorkerProcess

#: Seconds between two health checks, and the number of checks between two periodic reports.
LOOK_PERIOD: Final = 1.5
REPORT_EVERY: Final = 4
#: Health checks since a worker's last answer, the current one included. From these counts on, the whole pool is stuck
#: if all workers have this count (:meth:`WorkerPool.stuck`); a worker hangs and is killed, 4.5 to 6 seconds after it
#: stopped answering, so that another process serves within ten.
STUCK, HANGS = 3, 4
#: The same for a worker that hands over, which does nothing else meanwhile: each wait of it has a time limit of 10 s.
HANGS_IN_HANDOVER: Final = 20
#: Time limit from the start of a process until it is ready, in seconds.
START: Final = 120.0
#: Back-off before a restart, in seconds: none if the process ran for at least STEADY; otherwise from FIRST_PAUSE,
#: doubled at each failure, to LAST_PAUSE.
STEADY: Final = 30.0
FIRST_PAUSE, LAST_PAUSE = 0.5, 30.0
#: Seconds after which a worker that was asked to stop is killed, or a killed one counts as stuck.
KILL_AFTER: Final = 10.0

_log = get_logger("workers")


class Spawn(Protocol):
    """Starts a worker's process."""

    def __call__(self, protocol: WorkerProcess, /) -> Any:
        """Start the process; return Twisted's process transport.

        :raises OSError: the process cannot be started
        """


class PoolHandover(Protocol):
    """A handover of which the pool is a part: :mod:`icwsgw.workers.workers_transfer` or ``succession``.

    :ivar hangs: health checks since a worker's last answer, from which on a worker that is busy with it hangs
    """

    hangs: int

    def reported(self, worker: WorkerProcess, answer: Mapping[str, Any]) -> None:
        """A worker reports on its handover."""

    def ended(self, worker: WorkerProcess) -> bool:
        """The process of a worker has ended; whether it is not to be started again."""

    def accepted(self, order: Mapping[str, Any]) -> None:
        """A canister has accepted a client of a worker."""


class WorkerPool:
    """All workers.

    :param spawn: starts a process
    :param orders: returns the line of start parameters for a worker number
    :param count: the number of workers
    :param output: called with each line that a worker writes to its standard streams, if these are pipes
    :ivar workers: the running processes by worker number
    :ivar metrics: the merged metrics of the workers
    :ivar statuses: the status documents of the workers
    :ivar restarted: the number of restarts, by worker number
    :ivar handover: the handover that is under way
    :ivar requests: the pending requests to workers, see :meth:`request`
    """

    def __init__(
        self,
        clock: Clock,
        spawn: Spawn,
        orders: Callable[[int], bytes],
        count: int,
        output: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.clock = clock
        self.output = output
        self.count = count
        self.workers: dict[int, WorkerProcess] = {}
        self.metrics = Aggregate()
        self.statuses = Statuses()
        self.restarted = [0] * count
        self.draining = False
        self.handover: PoolHandover | None = None
        self._hurried = False
        self.requests = Requests(clock)
        self._joined_requests = JoinedRequests(clock, self._send_request)
        self._spawn = spawn
        self._orders = orders
        self._failures = [0] * count
        self._restarting: dict[int, Timer] = {}
        self._number = 0
        self._reports = JoinedReports(clock, self._request_reports, self._last_reported)
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
        """The number of workers that serve clients and report no health problem."""
        return sum(self._content(worker) for worker in self.workers.values())

    @property
    def restarts(self) -> int:
        """The number of restarts of all workers together."""
        return sum(self.restarted)

    def state(self) -> str | None:
        """Return why the pool is not ready, or None if it is: at least half of the workers must be ready."""
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
        """Return why only a restart of the whole gateway would help, or None.

        The pool normally replaces a worker that hangs, and only that worker's clients are lost. This does not help if
        all workers hang, or if a killed process does not end (for example because of a hung disk): its number stays
        taken.
        """
        if self.draining:
            return None
        now = self.clock.seconds()
        workers = self.workers.values()
        stay = [w.number for w in workers if w.killed is not None and now - w.killed > KILL_AFTER]
        if stay:
            return f"worker {stay[0]} hangs, and does not end though it was killed"
        if workers and all(w.ready and w.unanswered >= STUCK and not w.busy for w in workers):
            return "no worker answers"
        return None

    @staticmethod
    def _content(worker: WorkerProcess) -> bool:
        return worker.ready and not worker.silent and all(finding.reason is None for finding in worker.findings)

    def refresh(self, status: bool = False) -> Deferred[None]:
        """Request a report from every worker, together with other requests; see :meth:`JoinedReports.request`.

        :param status: whether to include the status document
        """
        return self._reports.request(status)

    def request(self, what: Mapping[str, Any]) -> Deferred[Replies]:
        """Send a request to all workers, or share the answers to an equal one.

        :mod:`icwsgw.admin.control` defines the requests, and :mod:`icwsgw.workers.joined_requests` which are shared.
        """
        return self._joined_requests.request(what)

    def _send_request(self, what: Mapping[str, Any]) -> Deferred[Replies]:
        senders = {number: worker.send for number, worker in self.workers.items()}
        ready = {number for number, worker in self.workers.items() if worker.ready and not worker.silent}
        return self.requests.send(what, self.count, senders, ready)

    def send(self, order: Mapping[str, Any]) -> None:
        """Send an order to all workers."""
        for worker in self.workers.values():
            worker.send(order)

    # shutdown

    def drain(self, window: float | None, timeout: float) -> tuple[Deferred[None], Deferred[None]]:
        """Drain all workers, and start no more of them.

        :param window: seconds over which clients are closed; None: each worker chooses
        :param timeout: seconds after which the remaining workers are killed
        :return: two Deferreds: the first fires when no worker accepts connections, the second when all have ended
        """
        self.draining = True
        self._all_stopped_accepting, self._empty = Deferred(), Deferred()
        stopped_accepting, empty = self._all_stopped_accepting, self._empty
        for timer in self._restarting.values():
            timer.cancel()
        self._restarting.clear()
        self._killing = self.clock.callLater(timeout, self._kill)
        self.send({"do": "drain", "window": window})
        for worker in self.workers.values():
            if not worker.ready:
                # it has no clients, and may take seconds to read the order
                worker.kill()
        self.worker_stopped_accepting()
        self._check_empty()
        return stopped_accepting, empty

    def skip_drain_window(self) -> None:
        if self._killing is not None and self._killing.active():
            self._killing.reset(KILL_AFTER)
            self._hurried = True
            self.send({"do": "hurry"})

    def _kill(self) -> None:
        for worker in self.workers.values():
            if worker.killed is None:
                _log.error("worker does not stop, killing it", number=worker.number, pid=worker.pid)
                worker.kill()

    def worker_stopped_accepting(self) -> None:
        """Fire the first Deferred of :meth:`drain` once no worker accepts connections."""
        waiting = self._all_stopped_accepting
        if waiting is not None and all(worker.stopped_accepting for worker in self.workers.values()):
            self._all_stopped_accepting = None
            waiting.callback(None)

    # events from workers

    def share_room(self) -> None:
        """Tell each worker whether another one has room for connections, where that has changed."""
        if self.draining:
            return
        accepting = {worker.number for worker in self.workers.values() if self._accepts(worker)}
        for worker in self.workers.values():
            room = bool(accepting - {worker.number})
            if worker.ready and room != worker.room_elsewhere:
                worker.room_elsewhere = room
                worker.send({"do": "siblings", "room": room})

    def _accepts(self, worker: WorkerProcess) -> bool:
        """Whether a worker has room for connections, or will soon: connections may wait for it."""
        if worker.silent or worker.killed is not None:
            return False
        return worker.room if worker.ready else not self._failures[worker.number]

    def reported(
        self, worker: WorkerProcess, number: int, families: list[Any], status: dict[str, Any] | None = None
    ) -> None:
        worker.reported = max(worker.reported, number)
        self.metrics.report(str(worker.number), families)
        if status is not None:
            self.statuses.report(worker.number, status)
        self._reports.look()

    def accepted(self, worker: WorkerProcess, answer: Mapping[str, Any]) -> None:
        """Pass on a worker's message about a client to all workers, the sender included, in the same order for all."""
        order = {"do": "replaced", **{name: answer[name] for name in ("canister", "sender", "at", "left")}}
        for each in self.workers.values():
            each.send({**order, "own": each is worker})
        if self.handover is not None:
            self.handover.accepted(order)

    def answered(self, worker: WorkerProcess, request: int, answer: dict[str, Any] | None) -> None:
        """Take a worker's answer to a request, None if the worker failed."""
        self.requests.answered(worker.number, request, answer)

    def handover_reported(self, worker: WorkerProcess, answer: Mapping[str, Any]) -> None:
        """Pass on what a worker reports on its handover."""
        if self.handover is not None:
            self.handover.reported(worker, answer)
        elif answer["type"] != "handed_over":
            # the supervisor has given up or serves; the worker answers health checks again
            worker.busy = False

    def ended(self, worker: WorkerProcess, reason: Failure) -> None:
        """Handle the end of a worker's process: restart it, unless the pool drains."""
        number = worker.number
        del self.workers[number]
        worker.close_passage()
        self.metrics.ended(str(number))
        self.statuses.ended(number)
        self.requests.lost(number)
        self.share_room()
        self._reports.look()
        self.worker_stopped_accepting()
        if self.draining:
            if worker.ready and not reason.check(ProcessDone):
                _log.warn("worker ended unexpectedly", number=number, pid=worker.pid, reason=how_it_ended(reason))
            self._check_empty()
            return
        if self.handover is not None and self.handover.ended(worker):
            return
        event = "worker has died, its clients have to connect again"
        self._start_later(number, worker.started, event, pid=worker.pid, reason=how_it_ended(reason))

    # internals

    def _start_later(self, number: int, started: float, event: str, **fields: object) -> None:
        """Log why a worker has no process, and start it again after the back-off.

        :param event: the line of the log
        :param started: the clock's time at which its last process was started
        """
        lived = self.clock.seconds() - started
        self._failures[number] = 0 if lived >= STEADY else self._failures[number] + 1
        failures = self._failures[number]
        pause = min(FIRST_PAUSE * 2 ** (failures - 1), LAST_PAUSE) if failures else 0.0
        _log.error(event, number=number, **fields, lived_s=round(lived, 1), next_in_s=pause)
        self._restarting[number] = self.clock.callLater(pause, self._restart, number)

    def restart(self, number: int) -> None:
        """Start a worker again whose process has ended during a handover that has failed."""
        self._start_later(number, self.clock.seconds(), "worker has ended during a handover")

    def _restart(self, number: int) -> None:
        del self._restarting[number]
        self.restarted[number] += self._start(number)

    def _start(self, number: int) -> bool:
        """Start a worker's process; if that fails, try again later. Return whether it was started."""
        worker = WorkerProcess(self, number, self._orders(number))
        self.workers[number] = worker
        try:
            worker.process = self._spawn(worker)
        except OSError as error:
            # no memory or no free process slot, which may be temporary
            del self.workers[number]
            worker.close_passage()
            self._start_later(number, worker.started, "worker cannot be started", reason=error)
            return False
        self.share_room()
        return True

    def _look(self) -> None:
        now = self.clock.seconds()
        self._looks += 1
        for worker in list(self.workers.values()):
            worker.unanswered += 1
            if worker.killed is None and self._hangs(worker, now):
                _log.error("worker hangs, killing it", number=worker.number, pid=worker.pid)
                worker.killed = now
                worker.kill()
            if worker.silent:
                self.requests.lost(worker.number)
        self.share_room()
        self._reports.look()
        if self._looks % REPORT_EVERY:
            self.send({"do": "report_health"})
        else:
            self._request_reports(status=True)

    def _hangs(self, worker: WorkerProcess, now: float) -> bool:
        if not worker.ready:
            return now - worker.started > START
        if worker.busy:
            most = HANGS_IN_HANDOVER if self.handover is None else self.handover.hangs
        else:
            # a hurried drain does not wait for a worker that does not answer
            most = SILENT if self._hurried else HANGS
        return worker.unanswered >= most

    def _request_reports(self, status: bool) -> int:
        self._number += 1
        self.send({"do": "report", "number": self._number, "status": status})
        return self._number

    def _last_reported(self) -> int:
        # a worker that is not ready does not read its pipe yet
        asked = [worker.reported for worker in self.workers.values() if worker.ready and not worker.silent]
        return min(asked, default=self._number)

    def _check_empty(self) -> None:
        waiting = self._empty
        if waiting is not None and not self.workers:
            self._empty = None
            if self._killing is not None and self._killing.active():
                self._killing.cancel()
            if self._loop.running:
                self._loop.stop()
            waiting.callback(None)
