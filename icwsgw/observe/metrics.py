"""Every metric of the gateway, declared in one place.

The first seven are the original's, by name (``gateway_metrics.rs``), as totals: it labelled them with client
keys and canister ids, which clients choose, so that its scrape grows without end. Its histograms were
summaries; here they are histograms. Everything else is ours, ``icws_*``.
Label values are listed here; see :mod:`icwsgw.observe.meters` for what an unlisted one becomes.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

import twisted
from icwsgw._version import __version__
from icwsgw.clock import Clock, Timer
from icwsgw.observe.meters import Counter, Declared, Exposition, Gauge, Histogram, LabelledCounter, LabelledGauge

# fmt: off
#: ``cause`` of every class in :mod:`icwsgw.errors`.
CAUSES = (
    "internal", "config", "format", "signature", "certificate", "transport", "connect", "connection_lost", "timeout",
    "answer_too_large", "answer_malformed", "http", "rejected", "canister_refused", "not_ready",
)
#: Close codes of RFC 6455, of the SDK (4000, 4001) and ours (docs/protocol.md).
CLOSE_CODES = tuple(str(code) for code in (
    1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 4000, 4001, *range(4100, 4112),
))
STATES = ("init", "setup", "open", "closed")
OPEN_OUTCOMES = (
    "opened", "refused", "timeout", "expired", "wrong_gateway", "anonymous", "not_allowed", "left", "failed",
)
RELAY_OUTCOMES = ("accepted", "replied", "expired", "abandoned", *CAUSES)
QUERY_OUTCOMES = ("ok", "empty", *CAUSES)
REFUSALS = (
    "connections", "pending", "accept_rate", "connections_per_ip", "accept_rate_per_ip", "connections_per_canister",
    "connections_per_principal", "origin", "draining", "not_ready", "bad_request", "header_size", "header_timeout",
    "tls", "tls_timeout",
)
PUSHBACKS = ("frames", "bytes")
WS_CLOSE_OUTCOMES = ("done", "refused", "abandoned", *CAUSES)

#: Seconds. Network round trips: fine where queries and calls live.
ROUND_TRIP = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 3.5, 5.0, 10.0, 30.0)
OPENING = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.5, 5.0, 10.0, 20.0, 30.0, 60.0)
HANDSHAKE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LIFETIME = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0)
LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
# fmt: on


class Metrics:
    """The meters, and the registry that shows them.

    Count with ``metrics.client_messages.inc()``, ``metrics.closes.inc("4104")``,
    ``metrics.query_seconds.observe(0.02)``; let a gauge ask with ``metrics.pollers.set_function(...)``.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry(auto_describe=False) if registry is None else registry
        self.declared: list[Declared] = []

        # The original's. The first is a counter there too, without the _total that Prometheus asks of one today.
        self.client_connected_count = self._counter(
            "client_connected_count", "Clients that opened their session", "unknown"
        )
        self.clients_connected = self._gauge("clients_connected", "Clients connected to a canister at present")
        self.active_pollers = self._gauge("active_pollers", "Pollers running at present")
        self.connection_duration = self._histogram("connection_duration", "Seconds a session lasted", LIFETIME)
        self.tls_resolution_time = self._histogram("tls_resolution_time", "Seconds a TLS handshake took", HANDSHAKE)
        self.connection_opening_time = self._histogram(
            "connection_opening_time", "Seconds from the connection to the canister's first message", OPENING
        )
        self.poller_duration = self._histogram(
            "poller_duration", "Seconds a canister took to answer a poll", ROUND_TRIP
        )

        # Sessions
        self.sessions = self._labelled_gauge("icws_sessions", "Sessions at present, by state", "state", STATES)
        self.opens = self._labelled(
            "icws_opens_total", "Attempts to open a session, by outcome", "outcome", OPEN_OUTCOMES
        )
        self.closes = self._labelled("icws_closes_total", "Sessions ended, by close code", "cause", CLOSE_CODES)
        self.refused_connections = self._labelled(
            "icws_refused_connections_total", "Connections turned away, by reason", "reason", REFUSALS
        )
        self.pushbacks = self._labelled(
            "icws_client_pushbacks_total",
            "Clients not read for a while, by the rate they went over",
            "limit",
            PUSHBACKS,
        )
        self.client_messages = self._counter("icws_client_messages_total", "Messages from clients")
        self.canister_messages = self._counter("icws_canister_messages_total", "Messages passed on to clients")
        self.outbox_bytes = self._gauge("icws_outbox_bytes", "Bytes that wait for clients to read them")

        # Towards canisters
        self.relays = self._labelled(
            "icws_relays_total", "Client messages relayed, by outcome", "outcome", RELAY_OUTCOMES
        )
        self.relay_seconds = self._histogram(
            "icws_relay_seconds", "Seconds from sending a message to its outcome", ROUND_TRIP
        )
        self.relay_retries = self._counter("icws_relay_retries_total", "Messages sent once more after a failure")
        self.ws_closes = self._labelled(
            "icws_ws_close_total", "Canisters told that a client left, by outcome", "outcome", WS_CLOSE_OUTCOMES
        )

        # From canisters
        self.pollers = self._gauge("icws_pollers", "Pollers running at present")
        self.queries = self._labelled("icws_queries_total", "Polls, by outcome", "outcome", QUERY_OUTCOMES)
        self.query_seconds = self._histogram("icws_query_seconds", "Seconds a poll took", ROUND_TRIP)
        self.queries_in_flight = self._gauge("icws_queries_in_flight", "Polls that wait for their answer")
        self.duplicates = self._counter("icws_duplicates_total", "Messages that came again and were dropped")
        self.gaps = self._counter("icws_gaps_total", "Messages that a canister left out")
        self.resets = self._counter("icws_resets_total", "Canisters that started over")
        self.unroutable_messages = self._counter(
            "icws_unroutable_messages_total", "Messages for clients that are not connected"
        )

        # The process
        self.network_ready = self._gauge("icws_network_ready", "1 when the network has been reached, else 0")
        self.draining = self._gauge("icws_draining", "1 while the gateway closes its clients to stop, else 0")
        self.event_loop_lag = self._histogram(
            "icws_event_loop_lag_seconds", "Seconds by which a timer of the event loop came late", LAG
        )
        self.tls_certificate_expiry = self._gauge(
            "icws_tls_certificate_expiry_seconds", "When the first certificate in use expires, seconds since 1970"
        )
        self.tls_certificate_expiry.set(None)
        build = Gauge()
        build.set(1)
        labels = {"version": __version__, "python": platform.python_version(), "twisted": twisted.__version__}
        self._declare(Declared("icws_build_info", "What runs", "gauge", build, labels=labels))

        self.registry.register(Exposition(self.declared))
        ProcessCollector(registry=self.registry)

    def _declare(self, entry: Declared) -> None:
        self.declared.append(entry)

    def _counter(self, name: str, words: str, kind: str = "counter") -> Counter:
        meter = Counter()
        self._declare(Declared(name, words, kind, meter))
        return meter

    def _labelled(self, name: str, words: str, label: str, values: Iterable[str]) -> LabelledCounter:
        meter = LabelledCounter(values)
        self._declare(Declared(name, words, "counter", meter, label))
        return meter

    def _gauge(self, name: str, words: str) -> Gauge:
        meter = Gauge()
        self._declare(Declared(name, words, "gauge", meter))
        return meter

    def _labelled_gauge(self, name: str, words: str, label: str, values: Iterable[str]) -> LabelledGauge:
        meter = LabelledGauge(values)
        self._declare(Declared(name, words, "gauge", meter, label))
        return meter

    def _histogram(self, name: str, words: str, bounds: Sequence[float]) -> Histogram:
        meter = Histogram(bounds)
        self._declare(Declared(name, words, "histogram", meter))
        return meter


class SupervisorMetrics:
    """What only the supervisor of several workers knows (``--workers``)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.workers = Gauge()
        self.restarts = Gauge()
        self.declared = [
            Declared("icws_workers", "Processes that serve clients", "gauge", self.workers),
            Declared(
                "icws_worker_restarts_total", "Workers started again after they had died", "counter", self.restarts
            ),
        ]
        registry.register(Exposition(self.declared))


class LagSampler:
    """Measures how late the event loop runs its timers.

    :param clock: the reactor, or a test's clock
    :param interval: seconds between samples
    """

    def __init__(self, metrics: Metrics, clock: Clock, interval: float = 0.25) -> None:
        self._histogram = metrics.event_loop_lag
        self._clock = clock
        self._interval = interval
        self._due = 0.0
        self._call: Timer | None = None

    def start(self) -> None:
        """Begin sampling."""
        if self._call is None:
            self._schedule()

    def stop(self) -> None:
        """End sampling."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _schedule(self) -> None:
        self._due = self._clock.seconds() + self._interval
        self._call = self._clock.callLater(self._interval, self._sample)

    def _sample(self) -> None:
        self._histogram.observe(max(0.0, self._clock.seconds() - self._due))
        self._schedule()
