"""The metrics of the way to the network: keys, API versions, delegations, connections."""

from __future__ import annotations

from icwsgw.observe import labels
from icwsgw.observe.declaring import Declaring


class NetworkMetrics(Declaring):
    """A part of :class:`icwsgw.observe.metrics.Metrics`, which says when it is declared."""

    def _of_the_network(self) -> None:
        self._under("The network")
        self.network_requests = self._gauges(
            "icws_network_requests_total",
            "Requests that --query-budget counts, by kind: beat (regular polls), extra (all other polls), call "
            "(messages of clients), close (ws_close), open (ws_open), own (status, keys, delegations, time, and what "
            "is sent again on another connection or to an older endpoint)",
            "kind",
            labels.TRAFFIC,
            "counter",
            advice="All together stay below the budget. Each kind but own has a share that no other can take; own is "
            "rare, and others wait for it.",
        )
        self.network_ready = self._gauge(
            "icws_network_ready",
            "1 when the network answers and its root key is known, else 0",
            merge="least",
            advice="0: see --ic-network-url, DNS, the firewall, bans by boundary nodes. /health/ready has the reason.",
        )
        self.clock_skew = self._gauge(
            "icws_clock_skew_seconds",
            "How far the network's clock is ahead of this machine's, to about a second, once anything confirms it",
            merge="greatest",
            advice="Set the machine's clock (NTP). Beyond 30 s either way the gateway is not ready.",
        )
        self.root_key_fetches = self._gauges(
            "icws_root_key_fetches_total",
            "Times the root key was asked for, by outcome; on mainnet it is built in",
            "outcome",
            labels.FETCH_OUTCOMES,
            "counter",
        )
        self.node_key_fetches = self._gauges(
            "icws_node_key_fetches_total",
            "Times a subnet's node keys were asked for, by outcome",
            "outcome",
            labels.FETCH_OUTCOMES,
            "counter",
            advice="failed: answers to polls cannot be checked, so that they count as failed polls.",
        )
        self.api_versions = self._gauges(
            "icws_api_version",
            "API version that the network is asked by, by what is asked; 0 where it has none",
            "route",
            labels.ROUTES,
            merge="least",
            advice="query 3: clients get another delegation in their certificates, see icws_unverifiable_canisters. "
            "sync_call 0: --relay-order executed cannot be kept, and refusals of ws_open come late.",
        )
        self.api_version_changes = self._gauges(
            "icws_api_version_changes_total",
            "API versions that went missing (404 again and again, while others answered) or came back",
            "route",
            labels.ROUTES,
            "counter",
            advice="Many: a proxy before the network answers 404 now and then.",
        )
        self.unverifiable_canisters = self._gauge(
            "icws_unverifiable_canisters",
            "Canisters whose last certificates have a delegation that @dfinity/agent up to 3.4.3 cannot verify",
            advice="Their clients end with Certificate validation failed (4000). The network has neither query v2 nor "
            "read_state v2 any more, or a proxy before it hides them: see icws_api_version. Clients have to use "
            "@icp-sdk/core.",
        )
        self.certificates_replaced = self._gauge(
            "icws_certificates_replaced_total",
            "Certificates whose delegation was replaced by one that every client can verify",
            "counter",
            advice="The network answers queries by v3 alone. Harmless, as long as icws_unverifiable_canisters is 0.",
        )
        self.delegations = self._gauge(
            "icws_delegations",
            "Verified delegations of subnets in memory, of 1,100 at most",
            advice="Each node of a subnet has its own, renewed every five minutes.",
        )
        self.delegation_lookups = self._gauges(
            "icws_delegation_lookups_total",
            "Times a delegation was found verified (hit), or had to be verified (miss, 1.5 ms)",
            "outcome",
            labels.LOOKUPS,
            "counter",
            advice="As many misses as hits: more subnets than there is room for.",
        )
        self.delegation_fetches = self._gauges(
            "icws_delegation_fetches_total",
            "Times a delegation that every client can verify was asked for (read_state v2), by outcome",
            "outcome",
            labels.FETCH_OUTCOMES,
            "counter",
            advice="failed: see icws_unverifiable_canisters.",
        )
        self.http_connections = self._gauges(
            "icws_http_connections",
            "Connections to the network at present, by state",
            "state",
            labels.CONNECTION_STATES,
        )
        self.http_waiting = self._gauge(
            "icws_http_waiting",
            "Requests that wait for a connection",
            advice="All 2048 connections to a host are busy, or none can be made.",
        )
        self.http_opened = self._gauge(
            "icws_http_connections_opened_total",
            "Connections to the network that were made",
            "counter",
            advice="Many a second: the other side closes them after each request.",
        )
        self.http_failed = self._gauge(
            "icws_http_connect_failures_total",
            "Connections to the network that could not be made",
            "counter",
            advice="DNS, the firewall, or a ban by a boundary node.",
        )
        self.http_resends = self._gauge(
            "icws_http_resends_total",
            "Requests sent once more, since the idle connection they went out on was dead",
            "counter",
        )
