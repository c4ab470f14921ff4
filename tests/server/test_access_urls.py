"""When access lists are downloaded from their URLs, and how failures are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from icwsgw.config.schema import GatewayConfig
from icwsgw.server import access_urls
from icwsgw.server.access_urls import ALLOW, DENY, FIRST_RETRY, AccessUrls, UpdatedList, kept_path
from icwsgw.server.list_download import ListUnusable
from tests.server.test_access_files import Log as FileLog


class Log(FileLog):
    def error(self, message: str, **fields: object) -> None:
        self.lines.append(f"error {message} {fields['reason']}; {fields['instead']}")

    def failure(self, message: str, *rest: object, **fields: object) -> None:
        self.lines.append(f"failure {message}")


class ScriptedDownload:
    """A download in flight until the test gives its outcome."""

    url = "https://user:word@lists.example/deny?token=secret"
    count = 7

    def __init__(self) -> None:
        self.at: float | None = None
        self.requests = 0
        self.waiting: Deferred[bool] | None = None

    async def fetch(self) -> bool:
        self.requests += 1
        self.waiting = Deferred()
        return await self.waiting

    def end(self, outcome: bool | Exception) -> None:
        assert self.waiting is not None
        waiting, self.waiting = self.waiting, None
        if isinstance(outcome, Exception):
            waiting.errback(outcome)
        else:
            waiting.callback(outcome)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(access_urls, "_log", log)
    return log


def test_a_list_is_fetched_at_once_and_at_each_interval(log: Log) -> None:
    clock, download, changes = Clock(), ScriptedDownload(), list[None]()
    updated = UpdatedList(DENY, download, clock, lambda: 300.0, lambda: changes.append(None))  # type: ignore[arg-type]
    updated.look()
    assert download.requests == 0, "it has not begun"
    updated.start()
    updated.look()
    assert download.requests == 1, "one at a time"
    download.end(True)
    assert len(changes) == 1
    clock.advance(299)
    assert download.requests == 1
    clock.advance(1)
    assert download.requests == 2
    download.end(False)
    assert len(changes) == 1
    # SIGHUP
    updated.look()
    assert download.requests == 3
    updated.stop()
    assert clock.getDelayedCalls() == []
    assert updated.counts == {"changed": 1, "unchanged": 1, "failed": 0}
    assert log.lines == ["info access list fetched {'list': 'deny', 'entries': 7}"]


def test_failures_are_logged_once_and_tried_again_ever_later(log: Log) -> None:
    clock, download = Clock(), ScriptedDownload()
    updated = UpdatedList(DENY, download, clock, lambda: 60.0, lambda: None)  # type: ignore[arg-type]
    updated.start()
    pauses = []
    for number in range(5):
        download.end(ListUnusable(f"reason {number}"))
        assert updated.failure == f"the deny list cannot be fetched: reason {number}"
        (call,) = clock.getDelayedCalls()
        pauses.append(call.getTime() - clock.seconds())
        clock.advance(pauses[-1])
    assert pauses == [FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY, 60, 60]
    download.end(False)
    assert updated.failure is None
    clock.advance(60)
    download.end(ListUnusable("again"))
    assert [line.replace("https://...@lists.example/deny?...", "URL") for line in log.lines] == [
        "error access list not fetched reason 0; it denies no client",
        "info access list can be fetched again {'list': 'deny', 'url': 'URL'}",
        "error access list not fetched again; it denies no client",
    ]
    assert updated.counts["failed"] == 6
    updated.stop()


def test_the_log_says_what_is_in_force_instead(log: Log) -> None:
    for name, at in ((ALLOW, None), (ALLOW, 5.0), (DENY, 5.0)):
        download = ScriptedDownload()
        download.at = at
        updated = UpdatedList(name, download, Clock(), lambda: 60.0, lambda: None)  # type: ignore[arg-type]
        updated.start()
        download.end(ListUnusable("no answer"))
        updated.stop()
    assert [line.partition("; ")[2] for line in log.lines] == [
        "no client may connect until it is fetched",
        "the list fetched before stays in force",
        "the list fetched before stays in force",
    ]


def test_a_fault_of_the_program_ends_nothing(log: Log) -> None:
    clock, download = Clock(), ScriptedDownload()
    updated = UpdatedList(DENY, download, clock, lambda: 60.0, lambda: None)  # type: ignore[arg-type]
    updated.start()
    download.end(ZeroDivisionError())
    clock.advance(FIRST_RETRY)
    assert (download.requests, log.lines) == (2, ["failure fetching an access list failed"])
    updated.stop()


class SilentHttp:
    """An HTTP client whose server never answers."""

    closed = 0

    def __init__(self, reactor: Any, url: str, max_body: int, timeout: float) -> None:
        self.url = url

    def get(self, headers: dict[str, str]) -> Deferred[Any]:
        return Deferred()

    def close(self) -> Deferred[None]:
        SilentHttp.closed += 1
        return succeed(None)


def test_a_server_that_says_nothing_delays_neither_start_nor_stop(tmp_path: Path, log: Log) -> None:
    config = GatewayConfig(data_dir=tmp_path, deny_list_url="https://a.example/d", allow_list_url="https://a.example/a")
    clock, closed = Clock(), SilentHttp.closed
    urls = AccessUrls(config, clock, lambda: None, SilentHttp, now=lambda: 100.0)
    assert urls.age() == float("inf")
    urls.startService()
    assert [each.name for each in urls.lists] == [DENY, ALLOW]
    urls.look()
    assert urls.fetches() == {"changed": 0, "unchanged": 0, "failed": 0}
    assert urls.concern() is None
    urls.stopService()
    assert SilentHttp.closed == closed + 2
    assert log.lines == []
    assert clock.getDelayedCalls() == []


def test_ages_and_failures_of_two(tmp_path: Path, log: Log) -> None:
    config = GatewayConfig(data_dir=tmp_path, deny_list_url="https://a.example/d", allow_list_url="https://a.example/a")
    urls = AccessUrls(config, Clock(), lambda: None, SilentHttp, now=lambda: 100.0)
    for each, at in zip(urls.lists, (40.0, 90.0), strict=True):
        each.download.at = at
        each._failed("no answer")
    assert urls.age() == 60.0
    assert urls.fetches()["failed"] == 2
    assert urls.concern() == "the deny list cannot be fetched: no answer; the allow list cannot be fetched: no answer"
    assert AccessUrls(GatewayConfig(data_dir=tmp_path), Clock(), lambda: None, SilentHttp).age() is None
    assert kept_path(tmp_path, DENY) != kept_path(tmp_path, ALLOW)
