"""Declares every metric of the gateway; scripts/metrics_doc.py generates docs/metrics.md from it.

Seven metrics have the names of the Rust gateway (``gateway_metrics.rs``). Here they are totals without labels: the Rust
gateway uses client keys and canister ids as labels, which clients choose, so that its scrape grows without limit. Its
summaries are histograms here. All other metrics are named ``icws_*``.

A declaration has the name, the meaning, the label with its values (:mod:`icwsgw.observe.labels`), what to do when the
figure moves, and how the figures of several workers are merged.
"""

from __future__ import annotations

import platform
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

import twisted
from icwsgw._version import __version__
from icwsgw.observe import labels
from icwsgw.observe.access_list_metrics import AccessListMetrics
from icwsgw.observe.certificate_metrics import CertificateMetrics
from icwsgw.observe.meters import (
    MERGES,
    Counter,
    Exposition,
    Gauge,
    RankedGauge,
    Ranking,
)
from icwsgw.observe.network_metrics import NetworkMetrics

#: Canisters that a scrape shows by name.
CANISTERS = 20
#: Canisters that a worker reports by name, so that the greatest over all workers can be determined.
CANISTERS_OF_A_WORKER = 10 * CANISTERS

_RELOADS = (
    "icws_reloads_total",
    "Reloads of the configuration (SIGHUP), by outcome",
    "outcome",
    labels.RELOAD_OUTCOMES,
)
_RELOADS_ADVICE = "failed: the log has the reason. The previous configuration stays in use."
_LOST = (
    "icws_log_lines_dropped_total",
    "Lost log lines, by reason",
    "reason",
    labels.LINE_LOSSES,
)
_LOST_ADVICE = (
    "repeated: too many similar lines in a minute, the log has their number. "
    "unread: the log's reader has stopped, or its disk hangs. unwritable: the disk is full."
)


class Metrics(NetworkMetrics, CertificateMetrics, AccessListMetrics):
    """The meters, and the registry that shows them.

    Count with ``metrics.client_messages.inc()``, ``metrics.closes.inc("4104")``,
    ``metrics.query_seconds.observe(0.02)``; set the function of a gauge with ``metrics.pollers.set_function(...)``.

    :ivar declared: all metrics, in the order of docs/metrics.md
    :ivar canisters: the rows of the figures by canister: sessions, queue lag, seconds of a poll, failed polls in a row
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__()
        self.registry = CollectorRegistry(auto_describe=False) if registry is None else registry
        self._of_sessions()
        self._of_the_way_up()
        self._of_the_way_down()
        self._by_canister()
        self._of_the_network()
        self._of_the_process()
        self._originals()
        self.registry.register(Exposition(self.declared))
        ProcessCollector(registry=self.registry)

    def _of_sessions(self) -> None:
        self._under("Sessions")
        self._of_session_ends()
        self._of_client_limits()
        self._of_identities()

    def _of_session_ends(self) -> None:
        self.sessions = self._gauges(
            "icws_sessions",
            "Current sessions, by state: init until ws_open arrives, setup until the canister answers it, open, and "
            "closed until ws_close was sent",
            "state",
            labels.STATES,
            advice="Many in setup: canisters do not answer, see icws_queue_lag_seconds and icws_queries_total. Many in "
            "closed: canisters do not accept ws_close.",
        )
        self.opens = self._counters(
            "icws_opens_total",
            "Sessions that opened, or ended before, by outcome; one for each connection",
            "outcome",
            labels.OPEN_OUTCOMES,
            advice="timeout: the canister did not answer ws_open in time. silent: the client sent no ws_open. "
            "refused: by the canister or the network, logged at info. left: the client left before. canister: it was "
            "reset or did not answer polls. failed: a fault of the gateway.",
        )
        self.open_signatures = self._counters(
            "icws_open_signatures_total",
            "ws_open calls checked before relaying: valid signatures, wrong ones, or ones that only replicas verify",
            "result",
            labels.OPEN_SIGNATURES,
            advice="Many wrong: a client sends forged ws_open calls. They are refused with 4101 and not relayed.",
        )
        self.closes = self._counters(
            "icws_closes_total",
            "Sessions ended, by close code",
            "cause",
            labels.CLOSE_CODES,
            advice="docs/close-codes.md says whose fault each code is, docs/runbook.md what to check.",
        )

    def _of_client_limits(self) -> None:
        self.refused_connections = self._counters(
            "icws_refused_connections_total",
            "Refused connections, by reason",
            "reason",
            labels.REFUSALS,
            advice="The reason names the option that sets the limit.",
        )
        self.pushbacks = self._counters(
            "icws_client_pushbacks_total",
            "Clients that were not read for a while, by the limit that they reached",
            "limit",
            labels.PUSHBACKS,
            advice="Clients send more than --client-message-rate or --client-byte-rate allow. unfinished: the "
            "incomplete messages of all clients take more than --max-waiting-bytes. canister_messages, canister_bytes: "
            "the clients of one canister send more than its quota (--message-rate-per-canister, --canister-quota).",
        )
        self.clients_over_quota = self._gauge(
            "icws_clients_over_quota",
            "Clients that are not read now, because the clients of their canister send more than its quota",
            advice="The log and icwsctl canisters say which canister. Other canisters are not affected.",
        )
        self.canisters_over_quota = self._gauge(
            "icws_canisters_over_quota",
            "Canisters that have used up a part of their quota now, in either direction",
            advice="The log and icwsctl canisters say which. Raise its quota, or ask its owner to send less.",
        )
        self.outbox_bytes = self._gauge(
            "icws_outbox_bytes",
            "Bytes in the outboxes of all clients",
            advice="Clients read too slowly. It counts towards memory; --outbox-bytes and --outbox-age limit it.",
        )
        self.unfinished_bytes = self._gauge(
            "icws_unfinished_bytes",
            "Bytes of clients' incomplete messages",
            advice="It counts towards memory; --max-waiting-bytes limits it.",
        )
        self.unfinished_messages = self._gauge(
            "icws_unfinished_messages",
            "Incomplete messages of clients",
            advice="More than a few at a time are slow clients, or an attack.",
        )

    def _of_identities(self) -> None:
        self.identities = self._gauge("icws_identities", "Available identities")
        self.identities_in_use = self._gauge("icws_identities_in_use", "Identities that have clients")
        self.identity_clients_max = self._gauge(
            "icws_identity_clients_max",
            "Clients of the identity with the most clients",
            merge="greatest",
            advice="Above 1000 all identities are full. If most of these clients belong to one canister, raise "
            "--identities.",
        )

    def _of_the_way_up(self) -> None:
        self._under("From clients to canisters")
        self._of_relays()
        self._of_calls_in_flight()

    def _of_relays(self) -> None:
        self.client_messages = self._counter("icws_client_messages_total", "Messages from clients")
        self.client_bytes = self._counter("icws_client_bytes_total", "Bytes of messages from clients")
        self.relays = self._counters(
            "icws_relays_total",
            "Client messages relayed, by outcome",
            "outcome",
            labels.RELAY_OUTCOMES,
            advice="rejected and canister_refused: canisters. http, connect, timeout: the network. A client whose "
            "message is lost has to reconnect. abandoned: the canister was reset or had not opened the session, or a "
            "drain ran out of time.",
        )
        self.relay_failures = self._counters(
            "icws_relay_failures_total",
            "Client messages that were not accepted, by who caused it",
            "side",
            labels.FAILURE_SOURCES,
            advice="network: no answer, or one that says nothing of the canister. canister: refused by the canister or "
            "because of it, or expired.",
        )
        self.relay_seconds = self._histogram(
            "icws_relay_seconds", "Seconds from sending a message to its outcome", labels.ROUND_TRIP
        )
        self.relay_retries = self._counter(
            "icws_relay_retries_total",
            "Messages sent again after a failure",
            advice="The network fails or is overloaded. Nothing is lost while envelopes are valid.",
        )
        self.relay_reposts = self._counter(
            "icws_relay_reposts_total",
            "Messages resubmitted although the network has them, to get their outcome",
            advice="Calls take longer than ten seconds, or answers are lost.",
        )
        self.relay_out_of_turn = self._counters(
            "icws_relay_out_of_turn_total",
            "Messages ahead of their sequence number, by whether the missing one arrived within a second",
            "outcome",
            labels.OUT_OF_TURN,
            advice="Clients send frames in the wrong order. came: the gateway reordered them. missed: the canister is "
            "likely to end the session.",
        )

    def _of_calls_in_flight(self) -> None:
        self.relay_messages = self._gauges(
            "icws_relay_messages",
            "Messages in relay queues (waiting), and messages that were sent and have no outcome yet",
            "state",
            labels.RELAY_STATES,
            advice="Many waiting: clients send faster than the network executes their calls one by one.",
        )
        self.calls_held = self._gauges(
            "icws_calls_held_total",
            "Calls that waited for the request budget, by kind: messages of clients, ws_close, ws_open, messages of "
            "clients that have sent within the last second (eager)",
            "kind",
            labels.CALLS,
            "counter",
            advice="Clients send more than --query-budget allows. Nothing is lost, messages are late. eager only: only "
            "clients that send without pause have to wait. open only: "
            "ws_open calls arrive faster than --open-rate, from an attack or a reconnecting crowd.",
        )
        self.calls_waiting = self._gauges(
            "icws_calls_waiting",
            "Calls that wait for the request budget now, by kind",
            "kind",
            labels.CALLS,
            advice="See icws_calls_held_total.",
        )
        self.ws_closes = self._counters(
            "icws_ws_close_total", "ws_close calls, by outcome", "outcome", labels.WS_CLOSE_OUTCOMES
        )
        self.ws_close_retries = self._counter(
            "icws_ws_close_retries_total", "ws_close calls sent again after a failure"
        )
        self.ws_closes_pending = self._gauge(
            "icws_ws_closes_pending",
            "ws_close calls in flight or waiting",
            advice="Canisters do not accept ws_close. They keep the client until their own keep-alive check.",
        )

    def _of_the_way_down(self) -> None:
        self._under("From canisters to clients")
        self._of_deliveries()
        self._of_polls()
        self._of_the_poll_rate()
        self._of_missing_messages()

    def _of_deliveries(self) -> None:
        self.canister_messages = self._counter("icws_canister_messages_total", "Messages delivered to clients")
        self.canister_bytes = self._counter(
            "icws_canister_bytes_total", "Bytes of messages delivered to clients, with certificates"
        )
        self.queue_lag = self._histogram(
            "icws_queue_lag_seconds",
            "Seconds from the canister's timestamp of a message to its delivery; for the newest message of an answer, "
            "at most ten times a second for each canister",
            labels.QUEUE_LAG,
            advice="One to two seconds are normal on mainnet. More: polls fail or are slow, or the queue is long. "
            "icws_canister_queue_lag_seconds shows whose.",
        )

    def _of_polls(self) -> None:
        self.pollers = self._gauge("icws_pollers", "Running pollers: one for each canister and identity")
        self.poller_states = self._gauges(
            "icws_poller_states",
            "Running pollers by how their last polls ended",
            "state",
            labels.POLLER_STATES,
            advice="network, canister: the last three polls or more failed, because of the network or of the canister. "
            "opening: no client has an open session, so anybody may have named this canister.",
        )
        self.queries = self._counters(
            "icws_queries_total",
            "Polls, by outcome",
            "outcome",
            labels.QUERY_OUTCOMES,
            advice="http, connect and timeout: the network. rejected, canister_refused and format: the canister. "
            "certificate and signature: a wrong --root-key, or an attacker on the path.",
        )
        self.query_seconds = self._histogram(
            "icws_query_seconds", "Duration of successful polls, seconds", labels.ROUND_TRIP
        )
        self.queries_in_flight = self._gauge("icws_queries_in_flight", "Polls in flight")
        self.query_retries = self._counter(
            "icws_query_retries_total", "Polls sent after a failed one of the same canister"
        )
        self.wakes = self._counters(
            "icws_wakes_total",
            "Polls between two ticks, by cause: a call was executed, a poll found messages, an answer left a gap",
            "cause",
            labels.WAKES,
        )

    def _of_the_poll_rate(self) -> None:
        self.poll_interval = self._gauge(
            "icws_poll_interval_seconds",
            "Seconds between two regular polls of a canister",
            merge="greatest",
            advice="Above --polling-interval, --query-budget is too small for the number of canisters: messages are "
            "late. Gateways on other addresses have their own budget.",
        )
        self.queries_held = self._gauges(
            "icws_queries_held_total",
            "Polls that --query-budget delayed: a regular poll (beat), one between two ticks (wake), a further one "
            "for a long queue (window)",
            "kind",
            labels.HELD,
            "counter",
            advice="See icws_poll_interval_seconds. Only wake and window: bursts of canisters take longer.",
        )
        self.polls_over_quota = self._counters(
            "icws_polls_over_quota_total",
            "Polls that a canister's quota delayed: for polls, or for messages or bytes to its clients",
            "limit",
            labels.POLL_QUOTAS,
            advice="The canister keeps its messages meanwhile. icwsctl canisters says which canister it is.",
        )
        self.queries_crowded = self._counter(
            "icws_queries_crowded_total",
            "Polls skipped because the canister, or the address that named it, has its share of queries in flight",
            advice="Canisters hang. Others are polled as usual.",
        )
        self.newcomers = self._gauge(
            "icws_newcomers",
            "Polled canisters that have not answered a client lately",
            advice="Hundreds: clients name canisters that do not exist, or many have just reconnected. They get a "
            "small share of polls and connections.",
        )
        self.poll_window_max = self._gauge(
            "icws_poll_window_max",
            "Polls that the longest queue needed the last time it was emptied",
            merge="greatest",
            advice="At --poll-window, that canister sends faster than it is polled: raise it, or split its clients.",
        )

    def _of_missing_messages(self) -> None:
        self.duplicates = self._counter(
            "icws_duplicates_total",
            "Duplicate messages that were dropped",
            advice="Replicas lag behind, or polls overlap. Harmless.",
        )
        self.gaps = self._counter(
            "icws_gaps_total",
            "Messages missing in canisters' queues",
            advice="The canister deleted them before they were polled. Their clients reconnect.",
        )
        self.resets = self._counter(
            "icws_resets_total",
            "Canister resets",
            advice="Upgrades or reinstalls. Their clients are closed with 4105 and reconnect.",
        )
        self.unroutable_messages = self._counter(
            "icws_unroutable_messages_total",
            "Messages for clients that are not connected",
            advice="Clients that have just left. Many: a canister did not get ws_close.",
        )

    def _by_canister(self) -> None:
        self._under("By canister")
        self.canisters = Ranking(CANISTERS)
        scope = f"of the {CANISTERS} canisters with most open sessions, and of all others together"
        self._ranked("icws_canister_sessions", f"Open sessions {scope}", "sum")
        self._ranked(
            "icws_canister_queue_lag_seconds",
            f"Queue lag at the last delivery of the last minute {scope} the longest",
            "greatest",
            advice="See icws_queue_lag_seconds.",
        )
        self._ranked("icws_canister_query_seconds", f"Seconds a poll takes, smoothed, {scope} the longest", "greatest")
        self._ranked(
            "icws_canister_failed_polls",
            f"Failed polls since the last successful one {scope} the most",
            "greatest",
            advice="After --canister-grace without a valid answer its clients are closed with 4106.",
        )

    def _ranked(self, name: str, help_text: str, merge: str, **more: Any) -> None:
        column = sum(isinstance(entry.meter, RankedGauge) for entry in self.declared)
        meter = RankedGauge(self.canisters, column, MERGES[merge])
        self._declare(name, help_text, "gauge", meter, "canister", merge=merge, **more)

    def _of_the_process(self) -> None:
        self._under("The process")
        self.draining = self._gauge("icws_draining", "1 while the gateway drains, else 0", merge="greatest")
        self.event_loop_lag = self._histogram(
            "icws_event_loop_lag_seconds",
            "Seconds by which a timer of the event loop was late",
            labels.LAG,
            advice="One core is too little for the process: add gateways or --workers.",
        )
        self._of_certificates()
        self.reloads = self._counters(*_RELOADS, advice=_RELOADS_ADVICE)
        self._access_lists()
        self.log_lines = self._gauges(
            "icws_log_lines_total",
            "Log lines, by level",
            "level",
            labels.LINE_LEVELS,
            "counter",
            advice="error: something does not work. critical: a bug of the gateway.",
        )
        self._of_acme()
        self.log_lines_dropped = self._gauges(*_LOST, "counter", advice=_LOST_ADVICE)
        build = Gauge()
        build.set(1)
        versions = {"version": __version__, "python": platform.python_version(), "twisted": twisted.__version__}
        self._declare(
            "icws_build_info", "1, with the versions as labels", "gauge", build, labels=versions, merge="greatest"
        )

    def _originals(self) -> None:
        self._under("Of the Rust gateway")
        # A counter in the Rust gateway too, without the _total that Prometheus requires today.
        self.client_connected_count = Counter()
        self._declare(
            "client_connected_count", "Clients that opened their session", "unknown", self.client_connected_count
        )
        self.clients_connected = self._gauge("clients_connected", "Connected clients whose ws_open was relayed")
        self._declare("active_pollers", "Running pollers; icws_pollers", "gauge", self.pollers)
        self.connection_duration = self._histogram(
            "connection_duration",
            "Duration of sessions whose ws_open was relayed, seconds",
            labels.LIFETIME,
            unit="seconds",
        )
        self.tls_resolution_time = self._histogram(
            "tls_resolution_time", "Duration of TLS handshakes, seconds", labels.HANDSHAKE, unit="seconds"
        )
        self.connection_opening_time = self._histogram(
            "connection_opening_time",
            "Seconds from the connection to the canister's first message",
            labels.OPENING,
            unit="seconds",
        )
        self._declare(
            "poller_duration",
            "Duration of polls, seconds; icws_query_seconds",
            "histogram",
            self.query_seconds,
            unit="seconds",
        )


class SupervisorMetrics(CertificateMetrics, AccessListMetrics):
    """The metrics of the supervisor (``--workers``); the supervisor, not the workers, counts reloads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._under("Several workers")
        self.workers = self._gauge(
            "icws_workers",
            "Processes that serve clients",
            advice="Less than --workers: a worker died and restarts, or is not ready. See the log.",
        )
        self.restarts = self._gauge(
            "icws_worker_restarts_total",
            "Worker restarts after a death",
            "counter",
            advice='See the lines before "worker ended unexpectedly" in the log, and the memory limit.',
        )
        # What the supervisor does, and its workers do not: it reloads, asks for certificates and fetches lists.
        self.reloads = self._counters(*_RELOADS, advice=_RELOADS_ADVICE)
        self._of_acme()
        self._access_lists()
        # The supervisor writes its own lines and, with a log file, those of its workers.
        self.log_lines_dropped = self._gauges(*_LOST, "counter", advice=_LOST_ADVICE)
        registry.register(Exposition(self.declared))
