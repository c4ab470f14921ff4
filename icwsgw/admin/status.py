"""The state of one process as a document, for the status page, /status.json and workers' reports.

The status adds no work to the processing of a message. Every five seconds it reads a few counters, and their
differences become the curves of :mod:`icwsgw.admin.history`. Everything else is computed when a document is requested.
Lists are limited, so that a document for a thousand canisters costs no more than one for fifty: about 30 kB.

    now, started           seconds since 1970; upgrades by handover are no new start
    version, python, twisted, autobahn
    network, polling_interval_ms, principal, tls_expires (seconds since 1970, or null)
    ready, draining, findings: [{name, reason}], concerns: [problems that do not affect readiness]
    sessions: {init, setup, open, closed}    connections    in_flight (polls)    outbox_bytes
    totals: counts since the start
    closes: {code: count}    failures: {polls, calls, opens, connections: {why: count}}, without zeros
    history: see icwsgw.admin.history
    canisters: [{canister, sessions, waiting, in_flight, up, down (a second), lag, round_trip, answered_ago,
               failures, trouble, last_error, error_ago, quota}] (seconds; null where there is none); quota: its limits,
               reached (which are used up now), clients_held
    canister_count, canister_count_exact (false: the count is a lower bound, and a row leaves out the clients of
               workers that do not list its canister among their fifty)
    identities: [{number, principal, worker, sessions}]    identity_count
    workers: [{worker, pid, state, started, restarts, sessions, memory (bytes), cpu (cores)}]
    errors: see icwsgw.observe.recent_warnings
    ended: the sessions that ended in the last ten minutes, see icwsgw.gateway.ended_sessions    ended_count
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from heapq import nsmallest
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

from twisted.internet.task import LoopingCall

from icwsgw._version import __version__
from icwsgw.admin.history import INTERVAL, History
from icwsgw.gateway.ended_sessions import end_row
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.introspection import MAX_ERROR, quota_row
from icwsgw.gateway.polling.poller import Poller
from icwsgw.ic.principal import Principal
from icwsgw.observe.event_loop_lag import EventLoopLag
from icwsgw.observe.health import Health
from icwsgw.observe.meters import LabelledCounter
from icwsgw.observe.recent_warnings import RecentWarnings
from icwsgw.reactor.clock import Timer

Document = dict[str, Any]

#: Largest number of canisters, and of identities, in a document.
CANISTERS: Final = 50
IDENTITIES: Final = 100
#: Largest number of ended sessions in a document.
ENDED: Final = 50
#: Seconds without a good answer after which a failing canister is in trouble, and listed first.
TROUBLE: Final = 5.0

#: The series of the curves. :mod:`icwsgw.admin.merging` adds them over processes, or takes the greatest value.
SERIES: Final = ("clients", "up", "down", "polls", "failed", "lag", "loop_lag", "cpu", "memory")

_GOOD_POLLS = ("ok", "empty")
_GOOD_CALLS = ("accepted", "replied")


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of Python, Twisted and Autobahn."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "twisted": version("twisted"),
        "autobahn": version("autobahn"),
    }


class Status:
    """Samples one process and makes its status document.

    :param lag: measures the event loop lag
    :param recent: recent warnings and errors; None to list none
    :param connections: returns the number of connections, including those without a session
    :param identity_numbers: the numbers of the gateway's identities
    :param worker: number of this process
    :param now: returns seconds since 1970
    """

    def __init__(
        self,
        gateway: Gateway,
        health: Health,
        lag: EventLoopLag,
        *,
        recent: RecentWarnings | None = None,
        connections: Callable[[], int] = lambda: 0,
        identity_numbers: Sequence[int] = (0,),
        worker: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._gateway = gateway
        self._health = health
        self._loop_lag = lag
        self._recent = recent
        self._connections = connections
        self._identity_numbers = identity_numbers
        self._worker = worker
        self._now = now
        self._started = self._process_started = now()
        self._history = History(SERIES)
        # The values of the last sample.
        self._sampled = 0.0
        self._counts: dict[str, float] = {}
        self._canister_counts: dict[bytes, tuple[int, int]] = {}
        self._rates: dict[bytes, tuple[float, float]] = {}
        self._begin: Timer | None = None
        self._sampling = LoopingCall(self._sample)
        self._sampling.clock = cast(Any, gateway.context.clock)

    def start(self) -> None:
        """Begin to take samples at the boundaries of the history's slots."""
        self._read(self._gateway.context.clock.seconds())
        delay = -self._now() % INTERVAL
        self._begin = self._gateway.context.clock.callLater(delay, self._start_sampling)

    def _start_sampling(self) -> None:
        self._begin = None
        self._sampling.start(INTERVAL, now=True)

    def stop(self) -> None:
        if self._begin is not None:
            self._begin.cancel()
            self._begin = None
        if self._sampling.running:
            self._sampling.stop()

    # the handover to another process

    def written(self) -> Document:
        """Return what the next process continues with, as plain values."""
        return {
            "started": self._started,
            "history": self._history.document(),
            "warnings": [] if self._recent is None else self._recent.written(),
            "ended": self._gateway.context.ended_sessions.written(),
        }

    def continue_from(self, document: Mapping[str, Any]) -> None:
        """Continue from what another process has written, when all else has been taken over.

        Totals count since the start of the first process.
        """
        self._started = float(document.get("started", self._started))
        self._history.continue_from(document.get("history", {}))
        self._gateway.context.ended_sessions.continue_from(document.get("ended", ()))
        if self._recent is not None:
            self._recent.continue_from(document.get("warnings", ()))
        # The counters have jumped: the next sample must not show that as a rate.
        self._read(self._gateway.context.clock.seconds())

    # samples

    def _sample(self) -> None:
        now = self._gateway.context.clock.seconds()
        before, took = self._counts, now - self._sampled
        if took < INTERVAL / 4:
            # Too soon after the start: a rate over so short a time is meaningless.
            return
        counts = self._read(now)
        rise = {name: counts[name] - before[name] for name in counts}
        answers = rise["lags"]
        self._history.add(
            self._now(),
            {
                "clients": len(self._gateway.registry.sessions),
                "lag": round(rise["lag_seconds"] / answers, 4) if answers else None,
                "loop_lag": round(self._loop_lag.take_worst(), 4),
                "memory": resident_bytes(),
                **{name: round(rise[name] / took, 3) for name in ("up", "down", "polls", "failed", "cpu")},
            },
        )

    def _read(self, now: float) -> dict[str, float]:
        metrics = self._gateway.context.metrics
        polls = metrics.queries.values
        took, self._sampled = max(now - self._sampled, 0.001), now
        self._counts = {
            "up": metrics.client_messages.value,
            "down": metrics.canister_messages.value,
            "polls": sum(polls.values()),
            "failed": _failed(metrics.queries, _GOOD_POLLS),
            "lags": metrics.queue_lag.count,
            "lag_seconds": metrics.queue_lag.sum,
            "cpu": time.process_time(),
        }
        self._read_canisters(took)
        return self._counts

    def _read_canisters(self, took: float) -> None:
        before, self._canister_counts, self._rates = self._canister_counts, {}, {}
        for (canister, _), poller in self._gateway.registry.pollers.items():
            up, down = self._canister_counts.get(canister, (0, 0))
            self._canister_counts[canister] = up + poller.messages_up, down + poller.messages_down
        for canister, (up, down) in self._canister_counts.items():
            # The counts of a poller that has ended are no longer included.
            up_before, down_before = before.get(canister, (up, down))
            self._rates[canister] = max(0, up - up_before) / took, max(0, down - down_before) / took

    # the document

    def document(self) -> Document:
        """Return the present status document, as JSON values."""
        gateway, metrics = self._gateway, self._gateway.context.metrics
        config = gateway.context.config
        findings = self._health.findings()
        rows, count = self._canisters()
        sessions = dict(metrics.sessions.values)
        ended, ended_count = self._ended()
        return {
            "now": self._now(),
            "started": self._started,
            **versions(),
            "network": config.ic_network_url,
            "polling_interval_ms": round(config.polling_interval * 1000),
            "principal": gateway.context.identities[0].principal.text,
            "tls_expires": metrics.tls_certificate_expiry.value,
            "ready": all(finding.reason is None for finding in findings),
            "draining": gateway.draining,
            "findings": [{"name": finding.name, "reason": finding.reason} for finding in findings],
            "concerns": self._health.concerns(),
            "sessions": sessions,
            "connections": self._connections(),
            "in_flight": sum(poller.in_flight for poller in gateway.registry.pollers.values()),
            "outbox_bytes": metrics.outbox_bytes.value or 0,
            "totals": self._totals(),
            "closes": _nonzero(metrics.closes),
            "failures": self._failures(),
            "history": self._history.document(),
            "canisters": rows,
            "canister_count": count,
            "canister_count_exact": True,
            "identities": self._identities(),
            "identity_count": len(gateway.context.identities),
            "workers": [
                {
                    "worker": self._worker,
                    "pid": os.getpid(),
                    "state": "draining" if gateway.draining else "serving",
                    "started": self._process_started,
                    "restarts": 0,
                    "sessions": len(gateway.registry.sessions),
                    "memory": resident_bytes(),
                    "cpu": self._history.last("cpu"),
                }
            ],
            "errors": self._recent.entries() if self._recent is not None else [],
            "ended": ended,
            "ended_count": ended_count,
        }

    def _ended(self) -> tuple[list[Document], int]:
        context = self._gateway.context
        now, now_ns = context.clock.seconds(), context.now_ns()
        records, count = context.ended_sessions.latest(now, ENDED)
        return [end_row(record, now, now_ns) for record in records], count

    def _failures(self) -> dict[str, Mapping[str, float]]:
        metrics = self._gateway.context.metrics
        return {
            "polls": _nonzero(metrics.queries, _GOOD_POLLS),
            "calls": _nonzero(metrics.relays, _GOOD_CALLS),
            "opens": _nonzero(metrics.opens, ("opened",)),
            "connections": _nonzero(metrics.refused_connections),
        }

    def _totals(self) -> dict[str, float]:
        metrics = self._gateway.context.metrics
        return {
            "opened": metrics.opens.values["opened"],
            "closed": sum(metrics.closes.values.values()),
            "refused": sum(metrics.refused_connections.values.values()),
            "pushbacks": sum(metrics.pushbacks.values.values()),
            "up": metrics.client_messages.value,
            "down": metrics.canister_messages.value,
            "bytes_up": metrics.client_bytes.value,
            "bytes_down": metrics.canister_bytes.value,
            "calls": sum(metrics.relays.values.values()),
            "failed_calls": _failed(metrics.relays, _GOOD_CALLS),
            "call_retries": metrics.relay_retries.value,
            "polls": sum(metrics.queries.values.values()),
            "failed_polls": _failed(metrics.queries, _GOOD_POLLS),
            "duplicates": metrics.duplicates.value,
            "gaps": metrics.gaps.value,
            "resets": metrics.resets.value,
            "unroutable": metrics.unroutable_messages.value,
        }

    def _canisters(self) -> tuple[list[Document], int]:
        now = self._gateway.context.clock.seconds()
        pollers: dict[bytes, list[Poller]] = {}
        # The number of clients is negative, so that canisters with more clients come first.
        places: dict[bytes, int] = {}
        fine: dict[bytes, bool] = {}
        for (canister, _), poller in self._gateway.registry.pollers.items():
            pollers.setdefault(canister, []).append(poller)
            places[canister] = places.get(canister, 0) - len(poller.sessions)
            fine[canister] = fine.get(canister, True) and not _is_failing(poller, now)
        shown = nsmallest(CANISTERS, pollers, key=lambda canister: (fine[canister], places[canister], canister))
        return [self._canister(canister, pollers[canister], now) for canister in shown], len(pollers)

    def _canister(self, canister: bytes, pollers: list[Poller], now: float) -> Document:
        up, down = self._rates.get(canister, (0.0, 0.0))
        pacings = [poller.backoff for poller in pollers]
        lags = [lag for poller in pollers if (lag := poller.lag.latest(now)) is not None]
        bad = max((backoff for backoff in pacings if backoff.last_error), key=lambda each: each.last_bad, default=None)
        return {
            "canister": Principal(canister).text,
            "sessions": sum(len(poller.sessions) for poller in pollers),
            "waiting": sum(len(poller.waiting) for poller in pollers),
            "in_flight": sum(poller.in_flight for poller in pollers),
            "up": round(up, 2),
            "down": round(down, 2),
            "lag": round(max(lags), 3) if lags else None,
            "round_trip": round(max(backoff.rtt for backoff in pacings), 4) or None,
            # The longest time over all identities; one without any answer yet has no round trip and is left out.
            "answered_ago": max(
                (round(now - backoff.last_good, 1) for backoff in pacings if backoff.rtt), default=None
            ),
            "failures": max(backoff.failures for backoff in pacings),
            "trouble": any(_is_failing(poller, now) for poller in pollers),
            "last_error": bad.last_error[:MAX_ERROR] if bad is not None else None,
            "error_ago": round(now - bad.last_bad, 1) if bad is not None else None,
            "quota": quota_row(Principal(canister), self._gateway),
        }

    def _identities(self) -> list[Document]:
        loads = self._gateway.identity_assignment.loads
        return [
            {
                "number": self._identity_numbers[index],
                "principal": identity.principal.text,
                "worker": self._worker,
                "sessions": loads[index],
            }
            for index, identity in enumerate(self._gateway.context.identities[:IDENTITIES])
        ]


def resident_bytes() -> int | None:
    """Return the resident memory of this process in bytes; None if the system does not report it (only Linux does)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _is_failing(poller: Poller, now: float) -> bool:
    backoff = poller.backoff
    return backoff.failures > 0 and now - backoff.last_good > TROUBLE


def _failed(counter: LabelledCounter, good: tuple[str, ...]) -> float:
    return sum(count for label, count in counter.values.items() if label not in good)


def _nonzero(counter: LabelledCounter, good: tuple[str, ...] = ()) -> Mapping[str, float]:
    return {label: count for label, count in counter.values.items() if count and label not in good}
