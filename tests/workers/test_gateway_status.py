from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from icwsgw._version import __version__
from icwsgw.admin.merging import merge
from icwsgw.config.schema import GatewayConfig
from icwsgw.observe.health import Finding, Health
from icwsgw.observe.recent_warnings import RecentWarnings
from icwsgw.workers.gateway_status import GatewayStatus, Statuses
from icwsgw.workers.worker_pool import WorkerPool
from icwsgw.workers.worker_process import WorkerProcess
from tests.admin.documents import document, entry


class Process:
    pid = 70

    def writeToChild(self, descriptor: int, data: bytes) -> None:
        pass


class World:
    """A supervisor's pool of two ready workers."""

    def __init__(self) -> None:
        self.health = Health()
        self.recent = RecentWarnings()
        self.config = GatewayConfig(data_dir=Path("/nonexistent"), ic_network_url="https://icp0.io", workers=2)
        self.pool = WorkerPool(Clock(), self.spawn, lambda number: b"", 2)
        self.pool.start()
        self.status = GatewayStatus(
            self.pool, self.health, "aaaaa-aa", lambda: self.config, recent=self.recent, now=lambda: 2e9
        )
        for worker in self.pool.workers.values():
            worker.ready = True
            worker.findings = []

    def spawn(self, worker: WorkerProcess) -> Process:
        process = Process()
        worker.makeConnection(process)
        return process

    def report(self, number: int, **values: Any) -> None:
        part = document(**values)
        part["workers"][0]["worker"] = number
        self.pool.statuses.report(number, part)

    def workers(self) -> list[tuple[Any, ...]]:
        rows = self.status.document()["workers"]
        return [tuple(row[name] for name in ("worker", "pid", "state", "sessions", "restarts")) for row in rows]


def test_the_status_merges_all_workers() -> None:
    world = World()
    world.report(0, network="elsewhere", ready=False)
    world.report(1, errors=[entry(text="x")])
    world.recent({"log_level": None})
    world.health.add_concern(lambda: "a certificate ends soon")
    whole = world.status.document()
    assert set(whole) == set(document())
    assert whole["sessions"]["open"] == 20
    assert whole["totals"]["up"] == 2 * 12345
    assert (whole["network"], whole["principal"], whole["version"]) == ("https://icp0.io", "aaaaa-aa", __version__)
    assert (whole["now"], whole["started"], whole["ready"]) == (2e9, 2e9, True), "the supervisor's own value"
    assert len(whole["errors"]) == 2
    assert "a certificate ends soon" in whole["concerns"]
    assert world.workers() == [(0, 70, "serving", 12, 0), (1, 70, "serving", 12, 0)]


def test_before_any_worker_has_reported() -> None:
    world = World()
    world.health.add("workers", lambda: "0 of 2 workers are ready")
    world.pool.workers[0].ready = False
    whole = world.status.document()
    assert set(whole) == set(document())
    assert (whole["ready"], whole["canisters"], whole["totals"]) == (False, [], {})
    assert whole["findings"] == [{"name": "workers", "reason": "0 of 2 workers are ready"}]
    assert world.workers() == [(0, 70, "starting", 0, 0), (1, 70, "serving", 0, 0)]


def test_the_status_lists_each_worker() -> None:
    world = World()
    one, other = world.pool.workers.values()
    one.findings = [Finding("network", "not reached"), Finding("listening", None)]
    other.stopped_accepting = True
    world.pool.restarted[1] = 3
    assert world.workers() == [(0, 70, "not reached", 0, 0), (1, 70, "draining", 0, 3)]
    del world.pool.workers[1]
    assert world.workers()[1] == (1, None, "is started again", 0, 3)
    world.pool.draining = True
    assert world.workers()[1] == (1, None, "gone", 0, 3)


def test_counts_of_ended_workers_are_kept() -> None:
    statuses = Statuses()
    statuses.ended(0)
    for _ in range(3):
        statuses.report(0, document())
        statuses.ended(0)
    statuses.report(0, document())
    world = World()
    world.pool.statuses = statuses
    whole = world.status.document()
    assert whole["totals"]["up"] == 4 * 12345
    assert whole["closes"]["1000"] == 4 * 80
    assert whole["sessions"]["open"] == 10
    assert len(whole["canisters"]) == len(whole["identities"]) == 1


def test_a_supervisor_that_takes_over_keeps_the_counts_of_ended_workers() -> None:
    former, later = Statuses(), Statuses()
    for number in range(3):
        former.report(number, {"closes": {"1000": 10**number}})
    former.ended(0)
    later.continue_from(former.kept(but=[1]))
    later.report(1, {"closes": {"1000": 10}})
    assert merge(later.parts())["closes"] == merge(former.parts())["closes"] == {"1000": 111}
