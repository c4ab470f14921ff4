"""Builds the status document of a gateway with several workers, from their reports and the supervisor's data.

Workers send their documents with their periodic reports, every few seconds, and when the status page is requested. A
scrape of metrics does not request them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from icwsgw.admin.merging import merge, remains
from icwsgw.admin.status import Document, versions
from icwsgw.config.schema import GatewayConfig
from icwsgw.observe.health import Finding, Health
from icwsgw.observe.recent_warnings import RecentWarnings


class Statuses:
    """The last document of each worker, and the counts of workers whose process has ended.

    :ivar latest: by worker number
    """

    def __init__(self) -> None:
        self.latest: dict[int, Document] = {}
        self._ended: Document = {}

    def report(self, worker: int, document: Document) -> None:
        """Replace the worker's previous document."""
        self.latest[worker] = document

    def ended(self, worker: int) -> None:
        """Keep the counts of a worker whose process has ended, as of its last document."""
        last = self.latest.pop(worker, None)
        if last is not None:
            self._ended = remains(merge([self._ended, remains(last)]))

    def kept(self, but: Iterable[int] = ()) -> Document:
        """The counts of all workers, for the supervisor that continues.

        :param but: workers whose own successors have theirs
        """
        left_out = set(but)
        last = [remains(document) for worker, document in self.latest.items() if worker not in left_out]
        return remains(merge([self._ended, *last]))

    def continue_from(self, kept: Document) -> None:
        """Add what a former supervisor has kept."""
        self._ended = remains(merge([self._ended, kept]))

    def parts(self) -> list[Document]:
        """Return all documents, for :func:`icwsgw.admin.merging.merge`."""
        return [*self.latest.values(), self._ended]


class ReportedWorker(Protocol):
    """A worker's process: :class:`icwsgw.workers.worker_process.WorkerProcess`."""

    ready: bool
    stopped_accepting: bool

    @property
    def pid(self) -> int | None: ...

    @property
    def findings(self) -> Sequence[Finding]: ...


class ReportingPool(Protocol):
    """The workers: :class:`icwsgw.workers.worker_pool.WorkerPool`.

    :ivar restarted: how many processes were started beyond the first, by worker number
    """

    count: int
    draining: bool
    restarted: list[int]
    statuses: Statuses

    @property
    def workers(self) -> Mapping[int, ReportedWorker]: ...


class GatewayStatus:
    """The status document of the whole gateway.

    :param principal: the principal of the key file
    :param config: returns the current configuration
    :param recent: the supervisor's last warnings and errors
    :param now: returns the Unix time in seconds
    """

    def __init__(
        self,
        pool: ReportingPool,
        health: Health,
        principal: str,
        config: Callable[[], GatewayConfig],
        *,
        recent: RecentWarnings | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._health = health
        self._principal = principal
        self._config = config
        self._recent = recent
        self._now = now
        self._started = now()

    def document(self) -> Document:
        """Return the status from the workers' last reports.

        :meth:`icwsgw.workers.worker_pool.WorkerPool.refresh` requests new ones.
        """
        config = self._config()
        own: Document = {"concerns": self._health.concerns()}
        if self._recent is not None:
            own["errors"] = self._recent.entries()
        findings = self._health.findings()
        return {
            **merge([*self._pool.statuses.parts(), own]),
            "now": self._now(),
            "started": self._started,
            **versions(),
            "network": config.ic_network_url,
            "polling_interval_ms": round(config.polling_interval * 1000),
            "principal": self._principal,
            "ready": all(finding.reason is None for finding in findings),
            "draining": self._pool.draining,
            "findings": [{"name": finding.name, "reason": finding.reason} for finding in findings],
            "workers": [self._worker(number) for number in range(self._pool.count)],
        }

    def _worker(self, number: int) -> Document:
        """Return the status of one worker, which may have no process at present."""
        worker = self._pool.workers.get(number)
        reported: Mapping[str, Any] = next(iter(self._pool.statuses.latest.get(number, {}).get("workers", ())), {})
        if worker is None:
            state = "gone" if self._pool.draining else "is started again"
        elif worker.stopped_accepting:
            state = "draining"
        elif not worker.ready:
            state = "starting"
        else:
            reasons = [finding.reason for finding in worker.findings if finding.reason is not None]
            state = "serving" if not reasons else "; ".join(reasons)
        return {
            "worker": number,
            "pid": worker.pid if worker is not None else None,
            "state": state,
            "started": reported.get("started"),
            "restarts": self._pool.restarted[number],
            "sessions": reported.get("sessions", 0),
            "memory": reported.get("memory"),
            "cpu": reported.get("cpu"),
        }
