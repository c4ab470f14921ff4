"""The transfer of a gateway with several processes: the supervisor that ends passes sockets to its workers.

    supervisor                            the successor: a supervisor, or a process without workers
                                     <──  {"ready": its version, "groups": [[worker, ...], ...], "sockets": n}, and a
                                          socket for each worker
    {"overrides": ...}               ──>  applies them, and keeps them in case it never receives "go"
    tells the workers of a group     ──>  {"accepted": ...}, both ways: which clients a canister has accepted
    {"reload": true}, when asked     ──>  reads the configuration again, for those of its workers that serve already
    ...
    {"go": true, "metrics", ...}      ──> serves

The workers of a group hand over to the same process, one group after the other. While one does, the others serve. If
none of the first group can hand over, nothing has changed. The pool kills a worker that hangs meanwhile. Afterwards, a
worker that cannot hand over continues until the end and is drained with the supervisor, as at a stop. If the successor
itself ends, its workers end with their clients; this supervisor continues with the workers that it still has, and
starts the others again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from icwsgw.core.written_state import Document
from icwsgw.handover.channel import Channel, ChannelClosed
from icwsgw.handover.early_messages import send_early_overrides, send_early_request
from icwsgw.handover.transfer import SILENCE_SECONDS, send_go
from icwsgw.observe.logs import get_logger
from icwsgw.observe.tolerant import tolerate
from icwsgw.workers.worker_pool import HANGS_IN_HANDOVER

if TYPE_CHECKING:
    import socket as sockets

    from icwsgw.workers.supervisor import SupervisorService
    from icwsgw.workers.worker_process import WorkerProcess

_log = get_logger("handover")


class WorkersTransfer:
    """One transfer.

    :param channel: to the successor; its owner reads it, and calls :meth:`received`
    :param ends: of the transfers, by worker
    :param ready: the successor's message
    :param go, done, failed: as in :class:`icwsgw.handover.transfer.Transfer`
    """

    hangs = HANGS_IN_HANDOVER

    def __init__(
        self,
        supervisor: SupervisorService,
        channel: Channel,
        ends: list[sockets.socket],
        ready: Document,
        go: Callable[[], Document],
        done: Callable[[Document], None],
        failed: Callable[[str], None],
    ) -> None:
        self._supervisor = supervisor
        self._pool = supervisor.pool
        self._channel = channel
        self._ends = dict(enumerate(ends))
        self._groups: list[list[int]] = [list(group) for group in ready.get("groups", ())]
        self._go = go
        self._done = done
        self._failed = failed
        self._over = False
        # the workers that hand over now, that have handed over, and that have ended on their own
        self._waiting: set[int] = set()
        self._results: dict[int, Document] = {}
        self._ended: set[int] = set()
        self._reasons: list[str] = []

    def begin(self, early: bool) -> None:
        """Begin with the first group."""
        self._pool.handover = self
        self._next()

    def received(self, document: Document) -> None:
        """A document of the successor has come."""
        if "accepted" in document:
            self._pool.send({**document["accepted"], "own": False})
        elif "failed" in document:
            self.fail(str(document["failed"]))

    def pass_on(self, request: str) -> None:
        """A reload or new log files were asked for: some of the successor's workers may serve already."""
        if not self._over:
            send_early_request(self._channel, request)

    def fail(self, reason: str) -> None:
        """Give up: continue, and start workers again that have ended or handed over; or stop, with the successor."""
        if self._over:
            return
        self._over = True
        self._close()
        pool = self._pool
        pool.handover = None
        for number in sorted({*self._ended, *self._results}):
            # one that is about to end is started again by the pool
            if number not in pool.workers and not self._supervisor.draining:
                pool.restart(number)
        self._failed(reason)

    def _next(self) -> None:
        if self._supervisor.draining:
            self.fail("the gateway is shutting down")
        elif not self._groups:
            self._finish()
        else:
            self._begin_group(self._groups.pop(0))

    def _begin_group(self, group: list[int]) -> None:
        send_early_overrides(self._channel, self._supervisor.overrides.to_json())
        for number in group:
            end, worker = self._ends.pop(number, None), self._pool.workers.get(number)
            if end is None:
                continue
            with end:
                if worker is None or not worker.ready or worker.passage is None:
                    continue  # it has no clients
                try:
                    worker.passage.socket.settimeout(SILENCE_SECONDS)
                    worker.passage.send({"hand_over": True, "sockets": 1}, [end.fileno()])
                except ChannelClosed:
                    continue
                worker.busy = True
                self._waiting.add(number)
        self._check()

    def _check(self) -> None:
        if self._waiting or self._over:
            return
        if self._reasons and not self._results:
            self.fail(self._reasons[0])
        else:
            self._next()

    def _finish(self) -> None:
        self._over = True
        self._close()
        for reason in self._reasons:
            _log.error("a worker has not handed over, its clients are drained", reason=reason)
        pool, results = self._pool, self._results.values()
        kept: Document = {}
        for keep in (
            lambda: kept.update(self._go()),
            lambda: kept.update(metrics=pool.metrics.kept(but=map(str, self._results))),
            lambda: kept.update(status=pool.statuses.kept(but=self._results)),
            lambda: kept.update(overrides=self._supervisor.overrides.to_json()),
        ):
            tolerate(_log, "not all can be sent to the successor", keep)
        send_go(self._channel, lambda: kept)
        self._supervisor.served_elsewhere = True
        for listener in self._supervisor.listening_services:
            tolerate(_log, "releasing a listening socket failed", listener.detach)
        self._done(
            {
                "connections": sum(result["connections"] for result in results),
                "left": sum(result["left"] for result in results),
                "seconds": max((result["seconds"] for result in results), default=0.0),
                "workers": len(results),
            }
        )

    def _close(self) -> None:
        for end in self._ends.values():
            end.close()
        self._ends.clear()

    # the pool

    def reported(self, worker: WorkerProcess, answer: Mapping[str, Any]) -> None:
        """A worker reports on its handover."""
        number, kind = worker.number, answer["type"]
        if number not in self._waiting:
            return
        self._waiting.discard(number)
        if kind == "handed_over":
            self._results[number] = answer["result"]
        else:
            worker.busy = False
            self._reasons.append(f"worker {number}: {answer.get('reason')}")
        self._check()

    def ended(self, worker: WorkerProcess) -> bool:
        """The process of a worker has ended; it is not started again while there is a successor."""
        number = worker.number
        if number not in self._results:
            self._ended.add(number)
        if number in self._waiting:
            self._waiting.discard(number)
            self._reasons.append(f"worker {number} has died")
            self._check()
        # unless that has ended the handover, which starts it again
        return True

    def accepted(self, order: Mapping[str, Any]) -> None:
        """Tell the successor's workers which client a canister has accepted."""
        if not self._over:
            send_accepted(self._channel, order)


def send_accepted(channel: Channel, order: Mapping[str, Any]) -> None:
    """Tell the other supervisor which client a canister has accepted; it is lost if that has ended."""
    try:
        channel.send({"accepted": dict(order)})
    except ChannelClosed:
        pass
