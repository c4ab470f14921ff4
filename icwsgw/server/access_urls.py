"""Keeps access lists from URLs up to date: ``--deny-list-url`` and ``--allow-list-url``.

The gateway starts at once, whatever the URL's server does: with the kept copy, or without one. A deny list that was
never fetched denies no client. An allow list that was never fetched admits no client. After a failure the next attempt
comes after ten seconds, then after twice the time, up to the interval. A failure is logged once, and so is its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.python.failure import Failure

from icwsgw.config.provenance import without_secrets
from icwsgw.config.schema import GatewayConfig
from icwsgw.observe.health import Health
from icwsgw.observe.labels import LIST_OUTCOMES
from icwsgw.observe.logs import get_logger
from icwsgw.observe.meters import Gauge, LabelledGauge
from icwsgw.reactor.clock import Timer
from icwsgw.server.list_download import MOST_BYTES, TIMEOUT, ListDownload, ListHttp, ListUnusable

#: Seconds until the first further attempt after a failure.
FIRST_RETRY = 10.0
#: The directory of the kept copies, in the data directory.
DIRECTORY = "lists"
#: The lists by name.
DENY, ALLOW = LISTS = ("deny", "allow")

_log = get_logger("server")


def kept_path(data_dir: Path, name: str) -> Path:
    """Return where the copy of a list is kept."""
    return data_dir / DIRECTORY / f"{name}.list"


#: Makes the client of one URL, from the reactor, the URL, the bytes of a body and the seconds of a request.
MakeHttp = Callable[[Any, str, int, float], ListHttp]


class ListMetrics(Protocol):
    """The metrics of a process that fetches lists."""

    access_list_age: Gauge
    access_list_fetches: LabelledGauge


class UpdatedList:
    """One list, and its attempts.

    :param name: one of :data:`LISTS`
    :param changed: called when the list is another one
    :ivar counts: attempts by outcome
    """

    def __init__(
        self,
        name: str,
        download: ListDownload,
        clock: Any,
        interval: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self.download = download
        self._clock = clock
        self._interval = interval
        self._changed = changed
        self.counts = dict.fromkeys(LIST_OUTCOMES, 0)
        self._failure = ""
        self._failures = 0
        self._timer: Timer | None = None
        self._asking: Deferred[None] | None = None
        self._running = False

    @property
    def failure(self) -> str | None:
        """Why the last attempt failed, or None."""
        return f"the {self.name} list cannot be fetched: {self._failure}" if self._failure else None

    def start(self) -> None:
        """Begin with an attempt at once."""
        self._running = True
        self.look()

    def stop(self) -> None:
        """Make no attempt any more, and break off the present one."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._asking is not None:
            self._asking.cancel()

    def look(self) -> None:
        """Make an attempt now, unless there is one already."""
        if self._asking is not None or not self._running:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._asking = asking = Deferred.fromCoroutine(self._attempt())
        asking.addErrback(self._faulty)
        asking.addBoth(self._ended)

    def _faulty(self, failure: Failure) -> None:
        if self._running or not failure.check(CancelledError):
            _log.failure("fetching an access list failed", failure)

    def _ended(self, _: object) -> None:
        self._asking = None
        if self._running:
            self._timer = self._clock.callLater(self._pause(), self._due)

    def _due(self) -> None:
        self._timer = None
        self.look()

    def _pause(self) -> float:
        interval = self._interval()
        return min(interval, FIRST_RETRY * 2 ** min(self._failures - 1, 20)) if self._failures else interval

    async def _attempt(self) -> None:
        try:
            changed = await self.download.fetch()
        except ListUnusable as error:
            self._failed(str(error))
            return
        except BaseException:
            self._failures += 1
            raise
        self.counts["changed" if changed else "unchanged"] += 1
        self._failures = 0
        if self._failure:
            self._failure = ""
            _log.info("access list can be fetched again", list=self.name, url=without_secrets(self.download.url))
        if changed:
            _log.info("access list fetched", list=self.name, entries=self.download.count)
            self._changed()

    def _failed(self, reason: str) -> None:
        self.counts["failed"] += 1
        self._failures += 1
        if not self._failure:
            _log.error(
                "access list not fetched",
                list=self.name,
                url=without_secrets(self.download.url),
                reason=reason,
                instead=self._instead(),
            )
        self._failure = reason

    def _instead(self) -> str:
        if self.download.at is not None:
            return "the list fetched before stays in force"
        return "it denies no client" if self.name == DENY else "no client may connect until it is fetched"


class AccessUrls(Service):
    """The lists of one gateway that have a URL.

    :param changed: called when a kept copy is another one
    :param make_http: makes the client of each URL
    """

    def __init__(
        self,
        config: GatewayConfig,
        reactor: Any,
        changed: Callable[[], None],
        make_http: MakeHttp,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._now = now
        self.lists: list[UpdatedList] = []
        for name, url in ((DENY, config.deny_list_url), (ALLOW, config.allow_list_url)):
            if url is not None:
                http = make_http(reactor, url, MOST_BYTES, TIMEOUT)
                path = kept_path(config.data_dir, name)
                download = ListDownload(url, path, http, may_be_empty=name == DENY, now=now)
                self.lists.append(UpdatedList(name, download, reactor, self._interval, changed))

    def _interval(self) -> float:
        return self._config.access_list_interval

    def change(self, config: GatewayConfig) -> None:
        """Apply another interval, after the next attempt."""
        self._config = config

    def look(self) -> None:
        """Ask all servers now."""
        for each in self.lists:
            each.look()

    def startService(self) -> None:  # noqa: N802
        """Begin to ask."""
        super().startService()  # type: ignore[no-untyped-call]
        for each in self.lists:
            each.start()

    def stopService(self) -> Any:  # noqa: N802
        """Ask no more; fires when connections have ended."""
        super().stopService()  # type: ignore[no-untyped-call]
        for each in self.lists:
            each.stop()
        return DeferredList([each.download.http.close() for each in self.lists])

    def watch(self, health: Health, metrics: ListMetrics) -> None:
        """Tell of the lists on the status page and in metrics."""
        health.add_concern(self.concern)
        metrics.access_list_age.set_function(self.age)
        metrics.access_list_fetches.set_function(self.fetches)

    def concern(self) -> str | None:
        """Return what the operator should fix, or None."""
        return "; ".join(each.failure for each in self.lists if each.failure is not None) or None

    def age(self) -> float | None:
        """Seconds since a server last said what its list is, of the list for which that is longest; None: no URL.

        Infinite if one was never fetched.
        """
        now = self._now()
        ats = [each.download.at for each in self.lists]
        return max((float("inf") if at is None else max(0.0, now - at) for at in ats), default=None)

    def fetches(self) -> dict[str, int]:
        """Attempts of all lists by outcome."""
        return {outcome: sum(each.counts[outcome] for each in self.lists) for outcome in LIST_OUTCOMES}
