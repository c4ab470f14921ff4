"""The gateway's access to the network: its request budget, its connections, its requests, and how the network is.

The parts are those of :mod:`icwsgw.agent`; here they get the values of the configuration, their metrics and health.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from icwsgw.agent.http.transport import Transport
from icwsgw.agent.http.tunnel import chosen_proxy
from icwsgw.agent.http.url import Url
from icwsgw.agent.ic_agent import IcAgent
from icwsgw.agent.local_networks import LocalNetworks
from icwsgw.agent.network_monitor import NetworkMonitor
from icwsgw.config.schema import GatewayConfig
from icwsgw.core.in_flight_limits import InFlightLimits
from icwsgw.core.request_budget import RequestBudget
from icwsgw.core.request_kind import RequestKind
from icwsgw.ic.networks import is_loopback
from icwsgw.observe.health import Health
from icwsgw.observe.metrics import Metrics

_VERIFY = {"auto": None, "on": True, "off": False}


class NetworkAccess:
    """These parts, which share one budget.

    :param max_connections: the most connections to the network
    :ivar url: the network's URL
    :ivar in_flight_limits: how many requests its connections allow
    :ivar budget: the requests that the gateway may make
    :ivar transport: the connections
    :ivar agent: sends requests
    :ivar monitor: looks whether the network answers, and at its clock
    """

    def __init__(self, config: GatewayConfig, reactor: Any, max_connections: int) -> None:
        self._reactor = reactor
        self.url = url = config.ic_network_url
        self.budget = RequestBudget(config.queries_per_second, config.polling_interval, config.opens_per_second)
        self.in_flight_limits = InFlightLimits.of(max_connections)
        own_time = is_loopback(Url.parse(url).host) and not config.is_mainnet
        self.transport = Transport(
            reactor,
            max_connections=max_connections,
            max_body=config.max_answer_bytes,
            proxy=chosen_proxy(url, os.environ, "the network"),
            charge=self._charge,
        )
        self.agent = IcAgent(
            reactor,
            self.transport,
            url,
            now_ns=time.time_ns,
            root_key=config.network.root_key,
            verify_query_signatures=_VERIFY[config.verify_queries],
            own_time=own_time,
            charge=self._charge,
        )
        elsewhere = LocalNetworks(self.transport, url).look
        self.monitor = NetworkMonitor(reactor, self.agent, url, elsewhere, own_time)

    def _charge(self) -> None:
        self.budget.charge(RequestKind.OWN, self._reactor.seconds())

    def change(self, config: GatewayConfig) -> None:
        """Apply another configuration: the budget. Everything else stays until a restart."""
        self.budget.change(config.queries_per_second, config.opens_per_second, self._reactor.seconds())

    def watch(self, metrics: Metrics, health: Health, config: Callable[[], GatewayConfig]) -> None:
        """Report metrics and health.

        :param config: returns the configuration as it is now
        """
        agent, transport, readable = self.agent, self.transport, self.agent.readable
        metrics.network_ready.set_function(lambda: int(self.monitor.network() is None))
        metrics.clock_skew.set_function(lambda: None if agent.clock_skew_ns is None else agent.clock_skew_ns / 1e9)
        metrics.root_key_fetches.set_function(lambda: agent.root_key_fetches)
        metrics.node_key_fetches.set_function(lambda: agent.node_key_fetches)
        cache = agent.delegations
        metrics.unverifiable_canisters.set_function(readable.unreadable)
        metrics.certificates_replaced.set_function(lambda: readable.replaced)
        metrics.delegations.set_function(lambda: len(cache))
        metrics.delegation_lookups.set_function(lambda: {"hit": cache.hits, "miss": cache.misses})
        metrics.delegation_fetches.set_function(lambda: readable.fetches)
        metrics.api_versions.set_function(lambda: {name: uses or 0 for name, uses in agent.api_versions.items()})
        metrics.api_version_changes.set_function(lambda: agent.api_version_changes)
        metrics.http_connections.set_function(lambda: transport.states)
        metrics.http_waiting.set_function(lambda: transport.waiting)
        metrics.http_opened.set_function(lambda: transport.counts.opened)
        metrics.http_failed.set_function(lambda: transport.counts.failed)
        metrics.http_resends.set_function(lambda: transport.counts.resent)
        health.add_concern(lambda: None if agent.mainnet else config().network.concern)
        health.add_concern(readable.concern)
        health.add_concern(lambda: self._order_concern(config()))
        health.add_concern(self.monitor.concern)
        health.add("network", self.monitor.network)
        health.add("clock", self.monitor.clock)

    def _order_concern(self, config: GatewayConfig) -> str | None:
        if self.agent.api_versions["sync_call"] is not None or config.relay_order != "executed":
            return None
        return "the network has no synchronous call: clients' messages leave in accepted order"

    def start(self) -> None:
        """Contact the network."""
        self.agent.start()
        self.monitor.start()

    async def stop(self) -> None:
        """End all requests and close all connections."""
        self.monitor.stop()
        await self.agent.stop()
        await self.transport.close()
