"""Every metric of the gateway, declared in one place; docs/metrics.md is made of it (scripts/metrics_doc.py).

Seven are the original's, by name (``gateway_metrics.rs``), as totals: it labelled them with client keys and
canister ids, which clients choose, so that its scrape grows without end. Its histograms were summaries; here they are
histograms. Everything else is ours, ``icws_*``.

A declaration has the name, what is counted, the label with its words (:mod:`icwsgw.observe.labels`), what to do when
it moves, and how the figures of several workers become one.
"""

from __future__ import annotations

import platform
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

import twisted
from icwsgw._version import __version__
from icwsgw.observe import labels
from icwsgw.observe.declaring import Declaring
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
#: Canisters that a worker reports by name, so that the greatest of all workers together can be found.
CANISTERS_OF_A_WORKER = 10 * CANISTERS

_RELOADS = (
    "icws_reloads_total",
    "Times the configuration was read again (SIGHUP), by outcome",
    "outcome",
    labels.RELOAD_OUTCOMES,
)
_RELOADS_ADVICE = "failed: the log has the reason, and the configuration before is still in use."
_LOST = (
    "icws_log_lines_dropped_total",
    "Lines that are not in the log, by reason",
    "reason",
    labels.LINE_LOSSES,
)
_LOST_ADVICE = (
    "repeated: too many alike in a minute, the log tells how many of which. "
    "unread: whatever reads the log has stopped, or its disk hangs. unwritable: the disk is full."
)


class Metrics(NetworkMetrics):
    """The meters, and the registry that shows them.

    Count with ``metrics.client_messages.inc()``, ``metrics.closes.inc("4104")``,
    ``metrics.query_seconds.observe(0.02)``; let a gauge ask with ``metrics.pollers.set_function(...)``.

    :ivar declared: all of them, in the order of the docs
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
        self.sessions = self._gauges(
            "icws_sessions",
            "Sessions at present, by state: init until ws_open comes, setup until the canister answers it, open, and "
            "closed while the canister is still to be told",
            "state",
            labels.STATES,
            advice="Many in setup: canisters do not answer, see icws_queue_lag_seconds and icws_queries_total. Many "
            "closed: canisters do not take ws_close.",
        )
        self.opens = self._counters(
            "icws_opens_total",
            "Sessions that came to be open, or ended before, by outcome; one for each connection",
            "outcome",
            labels.OPEN_OUTCOMES,
            advice="timeout: the canister did not answer ws_open in time. silent: no ws_open came. refused: by the "
            "canister or the network, in the log at info. left: the client went before.",
        )
        self.open_signatures = self._counters(
            "icws_open_signatures_total",
            "ws_open checked before it was relayed: the signatures hold, are wrong, or are the replica's to judge",
            "result",
            labels.OPEN_SIGNATURES,
            advice="Many wrong: somebody sends forged ws_open, which are refused with 4101 and never leave.",
        )
        self.closes = self._counters(
            "icws_closes_total",
            "Sessions ended, by close code",
            "cause",
            labels.CLOSE_CODES,
            advice="docs/operations.md tells whose doing each code is, and what to do.",
        )
        self.refused_connections = self._counters(
            "icws_refused_connections_total",
            "Connections turned away, by reason",
            "reason",
            labels.REFUSALS,
            advice="The reason names the option that sets the limit.",
        )
        self.pushbacks = self._counters(
            "icws_client_pushbacks_total",
            "Clients not read for a while, by the rate they went over, or since too much is unfinished",
            "limit",
            labels.PUSHBACKS,
            advice="Clients send more than --client-message-rate or --client-byte-rate allow. unfinished: the messages "
            "of all clients that are not whole yet take more than --max-waiting-bytes.",
        )
        self.outbox_bytes = self._gauge(
            "icws_outbox_bytes",
            "Bytes that wait for clients to read them",
            advice="Clients read too slowly. It counts towards the memory; --outbox-bytes and --outbox-age bound it.",
        )
        self.unfinished_bytes = self._gauge(
            "icws_unfinished_bytes",
            "Bytes of clients' messages that are not whole yet",
            advice="It counts towards the memory; --max-waiting-bytes bounds it.",
        )
        self.unfinished_messages = self._gauge(
            "icws_unfinished_messages",
            "Clients' messages of which a part has come and the rest has not",
            advice="More than a few at a time are slow clients, or an attack.",
        )
        self.identities = self._gauge("icws_identities", "Identities that clients may be given")
        self.identities_in_use = self._gauge("icws_identities_in_use", "Identities that have clients")
        self.identity_clients_max = self._gauge(
            "icws_identity_clients_max",
            "Clients of the identity that has most",
            merge="greatest",
            advice="Above 1000 all identities are full. If most of these clients are one canister's, it has more work"
            " than it needs: raise --identities.",
        )

    def _of_the_way_up(self) -> None:
        self._under("From clients to canisters")
        self.client_messages = self._counter("icws_client_messages_total", "Messages from clients")
        self.client_bytes = self._counter("icws_client_bytes_total", "Bytes of messages from clients")
        self.relays = self._counters(
            "icws_relays_total",
            "Client messages relayed, by outcome",
            "outcome",
            labels.RELAY_OUTCOMES,
            advice="rejected and canister_refused are the canisters' doing, http, connect, timeout the network's. A "
            "client whose message is lost has to reconnect. abandoned: its canister was reset or had not taken the "
            "client, or a drain had no more time.",
        )
        self.relay_seconds = self._histogram(
            "icws_relay_seconds", "Seconds from sending a message to its outcome", labels.ROUND_TRIP
        )
        self.relay_retries = self._counter(
            "icws_relay_retries_total",
            "Messages sent once more after a failure",
            advice="The network fails or is overloaded; nothing is lost as long as envelopes are valid.",
        )
        self.relay_reposts = self._counter(
            "icws_relay_reposts_total",
            "Messages posted again although the network has them, to learn their end",
            advice="Calls take longer than ten seconds, or answers are lost.",
        )
        self.relay_out_of_turn = self._counters(
            "icws_relay_out_of_turn_total",
            "Messages that came before one with a lower sequence number, by whether that one came within a second",
            "outcome",
            labels.OUT_OF_TURN,
            advice="Clients put frames on the wire in the wrong order; held, nothing happens. missed: the canister is "
            "likely to end the session.",
        )
        self.relay_messages = self._gauges(
            "icws_relay_messages",
            "Messages of clients at present that wait for their turn, or have been sent and have no outcome yet",
            "state",
            labels.RELAY_STATES,
            advice="Many waiting: clients send faster than the network takes their calls one by one.",
        )
        self.calls_held = self._gauges(
            "icws_calls_held_total",
            "Calls that waited for the budget of requests, by kind: messages of clients, ws_close, ws_open",
            "kind",
            labels.CALLS,
            "counter",
            advice="Clients send more than --query-budget lets leave; nothing is lost, it comes later. open alone: "
            "strangers open faster than --open-rate, or a crowd reconnects.",
        )
        self.calls_waiting = self._gauges(
            "icws_calls_waiting",
            "Calls at present that wait for the budget of requests, by kind",
            "kind",
            labels.CALLS,
            advice="See icws_calls_held_total.",
        )
        self.ws_closes = self._counters(
            "icws_ws_close_total", "Canisters told that a client left, by outcome", "outcome", labels.WS_CLOSE_OUTCOMES
        )
        self.ws_close_retries = self._counter("icws_ws_close_retries_total", "ws_close sent once more after a failure")
        self.ws_closes_pending = self._gauge(
            "icws_ws_closes_pending",
            "ws_close calls under way or waiting",
            advice="Canisters do not take ws_close; those not told keep the client until their own keep-alive check.",
        )

    def _of_the_way_down(self) -> None:
        self._under("From canisters to clients")
        self.canister_messages = self._counter("icws_canister_messages_total", "Messages passed on to clients")
        self.canister_bytes = self._counter(
            "icws_canister_bytes_total", "Bytes of messages passed on to clients, certificates included"
        )
        self.queue_lag = self._histogram(
            "icws_queue_lag_seconds",
            "Seconds between the canister's own time of a message and its delivery; the newest message of an answer, "
            "at most ten times a second for each canister",
            labels.QUEUE_LAG,
            advice="One to two seconds are the network's own. More: polls fail, are slow, or the queue is deep. See "
            "icws_canister_queue_lag_seconds for whose.",
        )
        self.pollers = self._gauge("icws_pollers", "Pollers running at present: canisters, by identity")
        self.queries = self._counters(
            "icws_queries_total",
            "Polls, by outcome",
            "outcome",
            labels.QUERY_OUTCOMES,
            advice="http, connect and timeout are the network's doing, rejected, canister_refused and format the "
            "canister's, certificate and signature somebody's on the way.",
        )
        self.query_seconds = self._histogram("icws_query_seconds", "Seconds a good poll took", labels.ROUND_TRIP)
        self.queries_in_flight = self._gauge("icws_queries_in_flight", "Polls that wait for their answer")
        self.query_retries = self._counter(
            "icws_query_retries_total", "Polls sent while the canister's last answer was a bad one"
        )
        self.wakes = self._counters(
            "icws_wakes_total",
            "Polls that did not wait for the next tick, by what woke the poller: a call was executed, or is "
            "foreseen to be, a drain found something, an answer left a gap",
            "cause",
            labels.WAKES,
        )
        self.poll_interval = self._gauge(
            "icws_poll_interval_seconds",
            "Seconds between two regular polls of a canister",
            merge="greatest",
            advice="Above --polling-interval there are more canisters than --query-budget has polls for: messages come "
            "later. More addresses (gateways on other hosts) have more budget.",
        )
        self.queries_held = self._gauges(
            "icws_queries_held_total",
            "Polls that --query-budget did not let leave at once: a beat that has to be further from the one before, "
            "a wake that waits, a further answer of a deep queue",
            "kind",
            labels.HELD,
            "counter",
            advice="See icws_poll_interval_seconds. Only wake and window: canisters have bursts, which take longer.",
        )
        self.queries_crowded = self._counter(
            "icws_queries_crowded_total",
            "Polls left out because the canister, or the address that named it, has its part of queries in flight",
            advice="Canisters hang; others are polled all the same.",
        )
        self.newcomers = self._gauge(
            "icws_newcomers",
            "Canisters polled that have not spoken to any client lately",
            advice="Hundreds: strangers name canisters that do not exist, or a crowd has just reconnected. They have a "
            "small part of polls and connections.",
        )
        self.poll_window_max = self._gauge(
            "icws_poll_window_max",
            "Answers that the deepest queue needed for its last drain",
            merge="greatest",
            advice="At --poll-window, that canister sends faster than it is read: raise it, or spread its clients.",
        )
        self.duplicates = self._counter(
            "icws_duplicates_total",
            "Messages that came again and were dropped",
            advice="Replicas that lag behind, and overlapping polls. Harmless.",
        )
        self.gaps = self._counter(
            "icws_gaps_total",
            "Messages that a canister left out",
            advice="They are gone: the canister deleted them before they were read. Their clients reconnect.",
        )
        self.resets = self._counter(
            "icws_resets_total",
            "Canisters that started over",
            advice="They were upgraded or reinstalled; their clients were closed with 4105 and reconnect.",
        )
        self.unroutable_messages = self._counter(
            "icws_unroutable_messages_total",
            "Messages for clients that are not connected",
            advice="Clients that have just left. Many: a canister was not told with ws_close.",
        )

    def _by_canister(self) -> None:
        self._under("By canister")
        self.canisters = Ranking(CANISTERS)
        words = f"of the {CANISTERS} canisters with most open sessions, and of all others together"
        self._ranked("icws_canister_sessions", f"Open sessions {words}", "sum")
        self._ranked(
            "icws_canister_queue_lag_seconds",
            f"Queue lag at the last delivery of the last minute {words} the longest",
            "greatest",
            advice="See icws_queue_lag_seconds.",
        )
        self._ranked("icws_canister_query_seconds", f"Seconds a poll takes, smoothed, {words} the longest", "greatest")
        self._ranked(
            "icws_canister_failed_polls",
            f"Failed polls since the last good one {words} the most",
            "greatest",
            advice="After --canister-grace without a good answer its clients are closed with 4106.",
        )

    def _ranked(self, name: str, words: str, merge: str, **more: Any) -> None:
        column = sum(isinstance(entry.meter, RankedGauge) for entry in self.declared)
        meter = RankedGauge(self.canisters, column, MERGES[merge])
        self._declare(name, words, "gauge", meter, "canister", merge=merge, **more)

    def _of_the_process(self) -> None:
        self._under("The process")
        self.draining = self._gauge(
            "icws_draining", "1 while the gateway closes its clients to stop, else 0", merge="greatest"
        )
        self.event_loop_lag = self._histogram(
            "icws_event_loop_lag_seconds",
            "Seconds by which a timer of the event loop came late",
            labels.LAG,
            advice="The process has more to do than one core can: more gateways, or more --workers.",
        )
        self.tls_certificate_expiry = self._gauge(
            "icws_tls_certificate_expiry_seconds",
            "When the first certificate in use expires, seconds since 1970",
            merge="least",
            advice="See why it was not renewed. New files are taken without a restart.",
        )
        self.tls_certificate_expiry.set(None)
        self.reloads = self._counters(*_RELOADS, advice=_RELOADS_ADVICE)
        self.tls_reloads = self._gauges(
            "icws_tls_reloads_total",
            "Times changed certificate files were read, by outcome",
            "outcome",
            labels.RELOAD_OUTCOMES,
            "counter",
            advice="failed: the log has the reason, and the certificate before is still in use.",
        )
        self.log_lines = self._gauges(
            "icws_log_lines_total",
            "Lines of the main log, by level",
            "level",
            labels.LINE_LEVELS,
            "counter",
            advice="error: something does not work. critical: a fault of the program.",
        )
        self.log_lines_dropped = self._gauges(*_LOST, "counter", advice=_LOST_ADVICE)
        build = Gauge()
        build.set(1)
        versions = {"version": __version__, "python": platform.python_version(), "twisted": twisted.__version__}
        self._declare("icws_build_info", "1; what runs", "gauge", build, labels=versions, merge="greatest")

    def _originals(self) -> None:
        self._under("The original's")
        # A counter there too, without the _total that Prometheus asks of one today.
        self.client_connected_count = Counter()
        self._declare(
            "client_connected_count", "Clients that opened their session", "unknown", self.client_connected_count
        )
        self.clients_connected = self._gauge(
            "clients_connected", "Clients whose ws_open has been sent to a canister and that are still here"
        )
        self._declare("active_pollers", "Pollers running at present; icws_pollers", "gauge", self.pollers)
        self.connection_duration = self._histogram(
            "connection_duration",
            "Seconds a session lasted, of those whose ws_open was sent to a canister",
            labels.LIFETIME,
            unit="seconds",
        )
        self.tls_resolution_time = self._histogram(
            "tls_resolution_time", "Seconds a TLS handshake took", labels.HANDSHAKE, unit="seconds"
        )
        self.connection_opening_time = self._histogram(
            "connection_opening_time",
            "Seconds from the connection to the canister's first message",
            labels.OPENING,
            unit="seconds",
        )
        self._declare(
            "poller_duration",
            "Seconds a canister took to answer a poll; icws_query_seconds",
            "histogram",
            self.query_seconds,
            unit="seconds",
        )


class SupervisorMetrics(Declaring):
    """What only the supervisor of several workers knows (``--workers``); reloads are its own business there."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._under("Several workers")
        self.workers = self._gauge(
            "icws_workers",
            "Processes that serve clients",
            advice="Less than --workers: one has died and is started again, or is not ready; see the log.",
        )
        self.restarts = self._gauge(
            "icws_worker_restarts_total",
            "Workers started again after they had died",
            "counter",
            advice='Look at the lines before "worker has died" in the log, and at the memory limit.',
        )
        # a reload is asked of the supervisor; its workers count none
        self.reloads = self._counters(*_RELOADS, advice=_RELOADS_ADVICE)
        # the supervisor writes lines too: its own, and those of its workers where there is a log file
        self.log_lines_dropped = self._gauges(*_LOST, "counter", advice=_LOST_ADVICE)
        # the supervisor writes lines too: its own, and those of its workers where there is a log file
        self.log_lines_dropped = self._gauges(*_LOST, "counter", advice=_LOST_ADVICE)
        registry.register(Exposition(self.declared))
