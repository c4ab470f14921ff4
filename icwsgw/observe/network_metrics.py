"""Metrics of the connection to the network: keys, API versions, delegations, connections."""

from __future__ import annotations

from icwsgw.observe import labels
from icwsgw.observe.declaring import Declaring


class NetworkMetrics(Declaring):
    """The network part of :class:`icwsgw.observe.metrics.Metrics`, which calls the methods that declare it."""

    def _of_the_network(self) -> None:
        self._under("The network")
        self._of_reachability()
        self._of_api_versions()
        self._of_delegations()
        self._of_http_connections()

    def _of_reachability(self) -> None:
        self.network_requests = self._gauges(
            "icws_network_requests_total",
            "Requests that --query-budget counts, by kind: beat (regular polls), extra (all other polls), call "
            "(messages of clients), eager (of clients that have sent within the last second), close (ws_close), open "
            "(ws_open), own (status, keys, delegations, time, and requests sent again on another connection or to an "
            "older endpoint)",
            "kind",
            labels.TRAFFIC,
            "counter",
            advice="Together they stay below the budget. Each kind but own has a guaranteed share; own is rare, and "
            "the others wait for it.",
        )
        self.network_ready = self._gauge(
            "icws_network_ready",
            "1 when the network answers and its root key is known, else 0",
            merge="least",
            advice="0: see --ic-network-url, DNS, the firewall, bans by boundary nodes. /health/ready has the reason.",
        )
        self.clock_skew = self._gauge(
            "icws_clock_skew_seconds",
            "How far the network's clock is ahead of this machine's, accurate to about a second, once confirmed",
            merge="greatest",
            advice="Set the machine's clock (NTP). Beyond 30 s either way the gateway is not ready.",
        )
        self.root_key_fetches = self._gauges(
            "icws_root_key_fetches_total",
            "Requests for the root key, by outcome; mainnet's is built in",
            "outcome",
            labels.FETCH_OUTCOMES,
            "counter",
        )
        self.node_key_fetches = self._gauges(
            "icws_node_key_fetches_total",
            "Requests for a subnet's node keys, by outcome",
            "outcome",
            labels.FETCH_OUTCOMES,
            "counter",
            advice="failed: the gateway cannot verify answers to polls, which count as failed.",
        )

    def _of_api_versions(self) -> None:
        self.api_versions = self._gauges(
            "icws_api_version",
            "API version in use, by kind of request; 0 if the network has none",
            "route",
            labels.ROUTES,
            merge="least",
            advice="query 3: clients get another delegation in their certificates, see icws_unverifiable_canisters. "
            "sync_call 0: --relay-order executed is not possible, and refusals of ws_open are late.",
        )
        self.api_version_changes = self._gauges(
            "icws_api_version_changes_total",
            "API versions that disappeared (repeated 404 while others answered) or came back",
            "route",
            labels.ROUTES,
            "counter",
            advice="Many: a proxy in front of the network sometimes answers 404.",
        )

    def _of_delegations(self) -> None:
        self.unverifiable_canisters = self._gauge(
            "icws_unverifiable_canisters",
            "Canisters whose last certificates have a delegation that @dfinity/agent up to 3.4.3 cannot verify",
            advice="Their clients close with Certificate validation failed (4000). The network no longer has query v2 "
            "or read_state v2, or a proxy in front of it hides them: see icws_api_version. Clients have to use "
            "@icp-sdk/core.",
        )
        self.certificates_replaced = self._gauge(
            "icws_certificates_replaced_total",
            "Certificates whose delegation was replaced by one that every client can verify",
            "counter",
            advice="The network answers queries by v3 only. Harmless while icws_unverifiable_canisters is 0.",
        )
        self.delegations = self._gauge(
            "icws_delegations",
            "Verified subnet delegations in memory, at most 1,100",
            advice="Each node of a subnet has its own, renewed every five minutes.",
        )
        self.delegation_lookups = self._gauges(
            "icws_delegation_lookups_total",
            "Look-ups of delegations: already verified (hit), or to be verified (miss, 1.5 ms)",
            "outcome",
            labels.LOOKUPS,
            "counter",
            advice="As many misses as hits: more subnets than the cache holds.",
        )
        self.delegation_fetches = self._gauges(
            "icws_delegation_fetches_total",
            "Requests for a delegation that every client can verify (read_state v2), by outcome",
            "outcome",
            labels.FETCH_OUTCOMES,
            "counter",
            advice="failed: see icws_unverifiable_canisters.",
        )

    def _of_http_connections(self) -> None:
        self.http_connections = self._gauges(
            "icws_http_connections",
            "Current connections to the network, by state",
            "state",
            labels.CONNECTION_STATES,
        )
        self.http_waiting = self._gauge(
            "icws_http_waiting",
            "Requests that wait for a connection",
            advice="All 2048 connections to a host are busy, or connecting fails.",
        )
        self.http_opened = self._gauge(
            "icws_http_connections_opened_total",
            "Connections made to the network",
            "counter",
            advice="Many per second: the other side closes them after each request.",
        )
        self.http_failed = self._gauge(
            "icws_http_connect_failures_total",
            "Failed connections to the network",
            "counter",
            advice="DNS, the firewall, or a ban by a boundary node.",
        )
        self.http_resends = self._gauge(
            "icws_http_resends_total",
            "Requests sent again because the idle connection was dead",
            "counter",
        )
