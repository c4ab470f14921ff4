"""Writes the Grafana dashboards beside it: ``python deploy/grafana/make_dashboards.py``.

The dashboards are data for Grafana (dashboards/*.json); this is what people read and change. A panel is a title, a
unit and its queries; where it stands follows from its row. A test runs this and compares.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent / "dashboards"

#: Chosen on the dashboard, so that it can be imported anywhere.
PROMETHEUS = {"type": "prometheus", "uid": "${prometheus}"}
TEMPO = {"type": "tempo", "uid": "${tempo}"}
#: The gateways chosen on the dashboard.
ON = 'instance=~"$instance"'


class Panel(NamedTuple):
    """One picture.

    :ivar queries: (query, legend) pairs; PromQL, or TraceQL where ``kind`` is "traces"
    :ivar kind: "timeseries", "stat" or "traces"
    :ivar width: of 24
    """

    title: str
    unit: str
    queries: list[tuple[str, str]]
    words: str = ""
    kind: str = "timeseries"
    width: int = 8
    stack: bool = False


def rate(metric: str, by: str, labels: str = "") -> str:
    """Per second, summed by labels."""
    inside = f"{labels},{ON}" if labels else ON
    return f"sum by ({by}) (rate({metric}{{{inside}}}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str = "") -> str:
    """A quantile of a histogram over all chosen gateways."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{{{ON}}}[$__rate_interval])))"


def quantiles(metric: str) -> list[tuple[str, str]]:
    """Half, nine tenths, and all but a hundredth."""
    return [(quantile(share, metric), name) for share, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))]


GATEWAY: list[tuple[str, list[Panel]]] = [
    (
        "Now",
        [
            Panel("Clients", "short", [(f"sum(clients_connected{{{ON}}})", "")], "Open sessions.", "stat", 3),
            Panel("Canisters polled", "short", [(f"sum(icws_pollers{{{ON}}})", "")], "", "stat", 3),
            Panel("Gateways ready", "short", [(f"sum(icws_network_ready{{{ON}}})", "")], "Network reached.", "stat", 2),
            Panel("Draining", "short", [(f"sum(icws_draining{{{ON}}})", "")], "", "stat", 2),
            Panel(
                "Message age",
                "s",
                [(f"max(icws:queue_lag_seconds:p99_5m{{{ON}}})", "")],
                "At delivery, by the canister's clock; all but a hundredth, the worst gateway.",
                "stat",
                3,
            ),
            Panel("To clients", "msg/s", [(f"sum(rate(icws_canister_messages_total{{{ON}}}[5m]))", "")], "", "stat", 3),
            Panel("From clients", "msg/s", [(f"sum(rate(icws_client_messages_total{{{ON}}}[5m]))", "")], "", "stat", 3),
            Panel(
                "Polls that fail",
                "percentunit",
                [(f"max(icws:query_failures:ratio5m{{{ON}}})", "")],
                "The worst gateway.",
                "stat",
                3,
            ),
            Panel(
                "Certificate",
                "s",
                [(f"min(icws_tls_certificate_expiry_seconds{{{ON}}}) - time()", "")],
                "Until the first expires.",
                "stat",
                2,
            ),
        ],
    ),
    (
        "Sessions",
        [
            Panel(
                "Sessions by state",
                "short",
                [(f'sum by (state) (icws_sessions{{state!="closed",{ON}}})', "{{state}}")],
                stack=True,
            ),
            Panel(
                "Clients by gateway",
                "short",
                [(f"sum by (instance) (clients_connected{{{ON}}})", "{{instance}}")],
                stack=True,
            ),
            Panel("Attempts to open, by outcome", "ops", [(rate("icws_opens_total", "outcome"), "{{outcome}}")]),
            Panel(
                "Sessions ended, by close code",
                "ops",
                [(rate("icws_closes_total", "cause"), "{{cause}}")],
                "docs/protocol.md explains the codes.",
            ),
            Panel(
                "Connections turned away, by reason",
                "ops",
                [(rate("icws_refused_connections_total", "reason"), "{{reason}}")],
            ),
            Panel("Until the first message of the canister", "s", quantiles("connection_opening_time")),
            Panel("How long sessions last", "s", quantiles("connection_duration")),
            Panel("TLS handshake", "s", quantiles("tls_resolution_time")),
            Panel(
                "Clients not read for a while",
                "ops",
                [(rate("icws_client_pushbacks_total", "limit"), "{{limit}}")],
                "By the rate they went over.",
            ),
            Panel(
                "Over a canister's quota",
                "short",
                [
                    (f"sum(icws_clients_over_quota{{{ON}}})", "clients not read"),
                    (f"sum(icws_canisters_over_quota{{{ON}}})", "canisters"),
                    (f"sum by (limit) (increase(icws_polls_over_quota_total{{{ON}}}[5m]))", "polls delayed {{limit}}"),
                ],
                "What their quotas hold back.",
            ),
            Panel(
                "Identities",
                "short",
                [
                    (f"sum by (instance) (icws_identities_in_use{{{ON}}})", "in use {{instance}}"),
                    (f"sum by (instance) (icws_identities{{{ON}}})", "held {{instance}}"),
                ],
                "They are filled one after the other.",
                width=12,
            ),
            Panel(
                "Clients of the fullest identity",
                "short",
                [(f"max by (instance) (icws_identity_clients_max{{{ON}}})", "{{instance}}")],
                "1000 before the next is used; more when all are full.",
                width=12,
            ),
            Panel(
                "Signatures of ws_open checked before it leaves",
                "ops",
                [(rate("icws_open_signatures_total", "result"), "{{result}}")],
                "wrong: forged ws_opens, refused with 4101. unknown: keys that the replica judges.",
            ),
            Panel(
                "Bytes of unfinished messages",
                "bytes",
                [(f"sum by (instance) (icws_unfinished_bytes{{{ON}}})", "{{instance}}")],
                "What clients have sent of messages that are not whole yet. --max-waiting-bytes bounds them.",
            ),
            Panel(
                "Unfinished messages",
                "short",
                [(f"sum by (instance) (icws_unfinished_messages{{{ON}}})", "{{instance}}")],
                "More than a few at a time are slow clients, or an attack.",
            ),
        ],
    ),
    (
        "By canister",
        [
            Panel(
                "Clients",
                "short",
                [(f"sum by (canister) (icws_canister_sessions{{{ON}}})", "{{canister}}")],
                "The canisters with most open sessions, and the others together.",
                width=12,
                stack=True,
            ),
            Panel(
                "Age of messages at delivery",
                "s",
                [(f"max by (canister) (icws_canister_queue_lag_seconds{{{ON}}})", "{{canister}}")],
                "By the canister's clock. A second or two are the network's own.",
                width=12,
            ),
            Panel(
                "How long a poll takes",
                "s",
                [(f"max by (canister) (icws_canister_query_seconds{{{ON}}})", "{{canister}}")],
                "Smoothed.",
                width=12,
            ),
            Panel(
                "Failed polls in a row",
                "short",
                [(f"max by (canister) (icws_canister_failed_polls{{{ON}}})", "{{canister}}")],
                "Until --canister-grace has passed; then its clients are closed with 4106.",
                width=12,
            ),
        ],
    ),
    (
        "From canisters to clients",
        [
            Panel(
                "Messages", "msg/s", [(rate("icws_canister_messages_total", "instance"), "{{instance}}")], stack=True
            ),
            Panel("Age of messages at delivery", "s", quantiles("icws_queue_lag_seconds"), "By the canister's clock."),
            Panel("Bytes", "Bps", [(rate("icws_canister_bytes_total", "instance"), "{{instance}}")], stack=True),
            Panel("Polls by outcome", "ops", [(rate("icws_queries_total", "outcome"), "{{outcome}}")]),
            Panel(
                "Pollers by their last polls",
                "short",
                [(f"sum by (state) (icws_poller_states{{{ON}}})", "{{state}}")],
                "network, canister: three failures or more in a row, and whose.",
                stack=True,
            ),
            Panel("How long a poll takes", "s", quantiles("icws_query_seconds")),
            Panel(
                "Polls in flight", "short", [(f"sum by (instance) (icws_queries_in_flight{{{ON}}})", "{{instance}}")]
            ),
            Panel(
                "Polls out of turn",
                "ops",
                [
                    (rate("icws_wakes_total", "cause"), "{{cause}}"),
                    (rate("icws_query_retries_total", "job"), "after a failure"),
                ],
                "By what woke the poller before its next tick.",
            ),
            Panel(
                "Answers for the deepest queue",
                "short",
                [(f"max by (instance) (icws_poll_window_max{{{ON}}})", "{{instance}}")],
                "At --poll-window, that canister sends faster than it is read.",
            ),
            Panel(
                "Polls held back by the query budget",
                "ops",
                [(rate("icws_queries_held_total", "kind"), "{{kind}}")],
                "beat: there are more canisters than --query-budget has regular polls for.",
            ),
            Panel(
                "Canisters that have not spoken to any client lately",
                "short",
                [(f"sum by (instance) (icws_newcomers{{{ON}}})", "{{instance}}")],
                "They share a small part of polls and connections.",
            ),
            Panel(
                "Polls left out",
                "ops",
                [(rate("icws_queries_crowded_total", "instance"), "{{instance}}")],
                "Their canister, or the address that named it, has its part of queries in flight.",
            ),
            Panel(
                "Time between regular polls of a canister",
                "s",
                [(f"max by (instance) (icws_poll_interval_seconds{{{ON}}})", "{{instance}}")],
                "Above --polling-interval, messages come later by that.",
            ),
            Panel(
                "Bytes that wait for clients",
                "bytes",
                [(f"sum by (instance) (icws_outbox_bytes{{{ON}}})", "{{instance}}")],
            ),
            Panel(
                "What went wrong with messages",
                "ops",
                [
                    (rate("icws_duplicates_total", "instance"), "again {{instance}}"),
                    (rate("icws_gaps_total", "instance"), "missing {{instance}}"),
                    (rate("icws_resets_total", "instance"), "canister reset {{instance}}"),
                    (rate("icws_unroutable_messages_total", "instance"), "no client {{instance}}"),
                ],
            ),
        ],
    ),
    (
        "From clients to canisters",
        [
            Panel("Messages", "msg/s", [(rate("icws_client_messages_total", "instance"), "{{instance}}")], stack=True),
            Panel("Bytes", "Bps", [(rate("icws_client_bytes_total", "instance"), "{{instance}}")], stack=True),
            Panel("Relays by outcome", "ops", [(rate("icws_relays_total", "outcome"), "{{outcome}}")]),
            Panel(
                "Relays that fail",
                "ops",
                [(rate("icws_relay_failures_total", "side"), "{{side}}")],
                "By who has caused it; the network's are the operator's concern.",
            ),
            Panel("How long a relay takes", "s", quantiles("icws_relay_seconds")),
            Panel(
                "Messages on their way",
                "short",
                [(f"sum by (state) (icws_relay_messages{{{ON}}})", "{{state}}")],
                "A client's next message waits until its last one is taken.",
            ),
            Panel(
                "Sent once more",
                "ops",
                [
                    (rate("icws_relay_retries_total", "instance"), "messages {{instance}}"),
                    (rate("icws_relay_reposts_total", "instance"), "messages under way {{instance}}"),
                    (rate("icws_relay_out_of_turn_total", "outcome"), "out of turn, the missing one {{outcome}}"),
                    (rate("icws_ws_close_retries_total", "instance"), "ws_close {{instance}}"),
                ],
            ),
            Panel(
                "Calls held back by the query budget",
                "ops",
                [(rate("icws_calls_held_total", "kind"), "{{kind}}")],
                "open alone: unauthenticated clients open faster than --open-rate, or a crowd reconnects.",
                width=12,
            ),
            Panel(
                "Calls that wait for the query budget",
                "short",
                [(f"sum by (kind) (icws_calls_waiting{{{ON}}})", "{{kind}}")],
                "At present.",
                width=12,
            ),
            Panel(
                "Close notices",
                "ops",
                [(rate("icws_ws_close_total", "outcome"), "{{outcome}}")],
                width=12,
            ),
            Panel(
                "Canisters that still get ws_close",
                "short",
                [(f"sum by (instance) (icws_ws_closes_pending{{{ON}}})", "{{instance}}")],
                width=12,
            ),
        ],
    ),
    (
        "The network",
        [
            Panel(
                "Requests by kind",
                "ops",
                [(rate("icws_network_requests_total", "kind"), "{{kind}}")],
                "All that --query-budget counts.",
                width=24,
                stack=True,
            ),
            Panel(
                "Connections",
                "short",
                [
                    (f"sum by (state) (icws_http_connections{{{ON}}})", "{{state}}"),
                    (f"sum(icws_http_waiting{{{ON}}})", "requests that wait for one"),
                ],
            ),
            Panel(
                "What happens to connections",
                "ops",
                [
                    (rate("icws_http_connections_opened_total", "instance"), "opened {{instance}}"),
                    (rate("icws_http_connect_failures_total", "instance"), "failed {{instance}}"),
                    (rate("icws_http_resends_total", "instance"), "dead, sent again {{instance}}"),
                ],
            ),
            Panel(
                "Clock skew",
                "s",
                [(f"max by (instance) (abs(icws_clock_skew_seconds{{{ON}}}))", "{{instance}}")],
                "Beyond 30 s a gateway is not ready.",
            ),
            Panel(
                "Keys asked for",
                "ops",
                [
                    (rate("icws_root_key_fetches_total", "outcome"), "root key {{outcome}}"),
                    (rate("icws_node_key_fetches_total", "outcome"), "nodes' keys {{outcome}}"),
                ],
                width=12,
            ),
            Panel(
                "Network reached",
                "short",
                [(f"min by (instance) (icws_network_ready{{{ON}}})", "{{instance}}")],
                width=12,
            ),
            Panel(
                "Canisters whose clients cannot verify",
                "short",
                [(f"sum by (instance) (icws_unverifiable_canisters{{{ON}}})", "{{instance}}")],
                "The network gives no delegation that their agents read.",
            ),
            Panel(
                "API versions",
                "short",
                [
                    (f"min by (route) (icws_api_version{{{ON}}})", "{{route}}"),
                    (rate("icws_api_version_changes_total", "route"), "changes a second {{route}}"),
                ],
                "0: the network has none. Queries by 3: delegations are replaced.",
            ),
            Panel(
                "Delegations",
                "ops",
                [
                    (rate("icws_certificates_replaced_total", "instance"), "replaced {{instance}}"),
                    (rate("icws_delegation_fetches_total", "outcome"), "asked for {{outcome}}"),
                    (rate("icws_delegation_lookups_total", "outcome"), "looked up {{outcome}}"),
                ],
            ),
            Panel("Delegations in memory", "short", [(f"icws_delegations{{{ON}}}", "{{instance}}")]),
        ],
    ),
    (
        "Process",
        [
            Panel(
                "CPU", "percentunit", [(rate("process_cpu_seconds_total", "instance"), "{{instance}}")], "Of one core."
            ),
            Panel("Memory", "bytes", [(f"process_resident_memory_bytes{{{ON}}}", "{{instance}}")]),
            Panel(
                "Event loop late",
                "s",
                [(quantile(0.99, "icws_event_loop_lag_seconds", "instance"), "p99 {{instance}}")],
                "A loop that is late has more to do than one core can.",
            ),
            Panel("File descriptors", "short", [(f"process_open_fds{{{ON}}}", "{{instance}}")]),
            Panel("Lines of the log", "ops", [(rate("icws_log_lines_total", "level"), "{{level}}")], stack=True),
            Panel(
                "Lines left out of the log",
                "ops",
                [(rate("icws_log_lines_dropped_total", "reason"), "{{reason}}")],
                "Too many alike in a minute, or the disk is full.",
            ),
            Panel(
                "Reloads",
                "short",
                [
                    (f"sum by (outcome) (increase(icws_reloads_total{{{ON}}}[5m]))", "configuration {{outcome}}"),
                    (f"sum by (outcome) (increase(icws_tls_reloads_total{{{ON}}}[5m]))", "certificate {{outcome}}"),
                    (f"sum by (outcome) (increase(icws_acme_orders_total{{{ON}}}[5m]))", "ACME order {{outcome}}"),
                    (f"sum(icws_acme_missing_certificates{{{ON}}})", "names without a certificate"),
                    (
                        f"sum by (outcome) (increase(icws_access_list_fetches_total{{{ON}}}[5m]))",
                        "access list {{outcome}}",
                    ),
                ],
                "In five minutes.",
            ),
            Panel(
                "Age of access lists",
                "s",
                [(f"max(icws_access_list_age_seconds{{{ON}}})", "oldest")],
                "Of --deny-list-url and --allow-list-url. Much more than --access-list-interval: their server is away.",
            ),
            Panel(
                "Workers",
                "short",
                [
                    (f"sum by (instance) (icws_workers{{{ON}}})", "ready {{instance}}"),
                    (f"sum by (instance) (increase(icws_worker_restarts_total{{{ON}}}[5m]))", "restarted {{instance}}"),
                ],
                "Where there are several (--workers).",
            ),
            Panel(
                "Versions",
                "short",
                [
                    (
                        f"count by (version, python, twisted) (icws_build_info{{{ON}}})",
                        "{{version}}, Python {{python}}, Twisted {{twisted}}",
                    )
                ],
            ),
        ],
    ),
]

# Names of the spans: facts of the original, kept (its gateway_tracing.rs).
_OURS = 'resource.service.name=~"ic-ws-gw-.*"'
TRACES: list[tuple[str, list[Panel]]] = [
    (
        "Slow or failed",
        [
            Panel(
                "Handshakes that took long",
                "",
                [(f'{{{_OURS} && name="Accept Connection" && duration>2s}}', "")],
                kind="traces",
                width=12,
            ),
            Panel(
                "Messages of clients that took long",
                "",
                [(f'{{{_OURS} && name="Client Message" && duration>1s}}', "")],
                kind="traces",
                width=12,
            ),
            Panel(
                "Polls that took long",
                "",
                [(f'{{{_OURS} && name="Polling Iteration" && duration>1s}}', "")],
                kind="traces",
                width=12,
            ),
            Panel("Failed", "", [(f"{{{_OURS} && status=error}}", "")], kind="traces", width=12),
        ],
    ),
    (
        "Latest",
        [
            Panel("Connections", "", [(f'{{{_OURS} && name="Accept Connection"}}', "")], kind="traces", width=12),
            Panel(
                "Messages of canisters", "", [(f'{{{_OURS} && name="Canister Message"}}', "")], kind="traces", width=12
            ),
        ],
    ),
]


def make_panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    """A panel as Grafana takes it."""
    made: dict[str, Any] = {
        "id": number,
        "title": panel.title,
        "type": "table" if panel.kind == "traces" else panel.kind,
        "datasource": TEMPO if panel.kind == "traces" else PROMETHEUS,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": 4 if panel.kind == "stat" else 8},
        "targets": [_target(panel.kind, index, *query) for index, query in enumerate(panel.queries)],
    }
    if panel.words:
        made["description"] = panel.words
    if panel.kind == "timeseries":
        custom: dict[str, Any] = {"fillOpacity": 20 if panel.stack else 0, "showPoints": "never"}
        if panel.stack:
            custom["stacking"] = {"mode": "normal", "group": "A"}
        made["fieldConfig"] = {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []}
        made["options"] = {"tooltip": {"mode": "multi", "sort": "desc"}, "legend": {"displayMode": "list"}}
    elif panel.kind == "stat":
        made["fieldConfig"] = {"defaults": {"unit": panel.unit}, "overrides": []}
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none"}
    return made


def _target(kind: str, index: int, query: str, legend: str) -> dict[str, Any]:
    letter = chr(ord("A") + index)
    if kind == "traces":
        return {
            "refId": letter,
            "datasource": TEMPO,
            "queryType": "traceql",
            "query": query,
            "limit": 20,
            "tableType": "traces",
        }
    target = {"refId": letter, "datasource": PROMETHEUS, "expr": query}
    return {**target, "legendFormat": legend} if legend else {**target, "instant": True}


def make_dashboard(
    uid: str, title: str, rows: list[tuple[str, list[Panel]]], variables: list[dict[str, Any]]
) -> dict[str, Any]:
    """A dashboard as Grafana takes it: rows below each other, panels from left to right."""
    panels: list[dict[str, Any]] = []
    y = 0
    for name, row in rows:
        panels.append(
            {"id": len(panels) + 1, "title": name, "type": "row", "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}}
        )
        y += 1
        x = 0
        for panel in row:
            if x + panel.width > 24:
                x, y = 0, y + panels[-1]["gridPos"]["h"]
            panels.append(make_panel(panel, len(panels) + 1, x, y))
            x += panel.width
        y += panels[-1]["gridPos"]["h"]
    return {
        "uid": uid,
        "title": title,
        "tags": ["icws"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables},
        "annotations": {"list": []},
        "panels": panels,
    }


def _datasource(kind: str) -> dict[str, Any]:
    return {"name": kind, "label": kind.capitalize(), "type": "datasource", "query": kind, "hide": 0}


_INSTANCE = {
    "name": "instance",
    "label": "Gateway",
    "type": "query",
    "datasource": PROMETHEUS,
    "query": {"query": "label_values(icws_build_info, instance)", "refId": "instance"},
    "refresh": 2,
    "includeAll": True,
    "allValue": ".*",
    "multi": True,
    "current": {"text": "All", "value": "$__all"},
}


def dashboards() -> dict[str, str]:
    """All dashboards: file name and content."""
    made = {
        "gateway.json": make_dashboard(
            "icws-gateway", "IC WebSocket Gateway", GATEWAY, [_datasource("prometheus"), _INSTANCE]
        ),
        "traces.json": make_dashboard("icws-traces", "IC WebSocket Gateway: traces", TRACES, [_datasource("tempo")]),
    }
    return {name: json.dumps(content, indent=1) + "\n" for name, content in made.items()}


def main() -> None:
    """Write them."""
    HERE.mkdir(exist_ok=True)
    for name, content in dashboards().items():
        (HERE / name).write_text(content)


if __name__ == "__main__":
    main()
