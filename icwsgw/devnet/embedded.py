"""Runs the local replica inside the gateway's process (``--devnet``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from icwsgw.config.addresses import parse_description, tcp_port
from icwsgw.config.schema import GatewayConfig
from icwsgw.devnet.command_line import DevnetConfig, DevnetService, devnet_service
from icwsgw.devnet.inspected_traffic import InspectedTraffic
from icwsgw.devnet.inspector import Inspector
from icwsgw.devnet.replica import Replica
from icwsgw.errors import ConfigError

#: Seconds. The JavaScript SDK fetches the root key without waiting for it. If ``ws_open`` took only a few milliseconds,
#: the SDK would verify the first message with mainnet's key. No real network is that fast.
CALL_LATENCY = 0.15


def embedded_devnet(config: GatewayConfig, reactor: Any) -> tuple[DevnetService, Replica]:
    """Return the service that runs the replica of ``--devnet``, and the replica, configured with the gateway's URLs.

    :raises ConfigError: the replica's address is invalid
    """
    if not tcp_port(config.devnet_listen):
        raise ConfigError(f"--devnet-listen {config.devnet_listen}: needs a TCP port other than 0")
    devnet = DevnetConfig(
        listen=config.devnet_listen,
        call_latency=CALL_LATENCY,
        canister_files=config.devnet_canisters,
        reload=config.devnet_reload,
    )
    service, replica = devnet_service(reactor, devnet)
    tls = config.tls_certificate_pem_path is not None
    replica.gateway_urls = [_client_url(address, tls) for address in config.gateway_addresses]
    replica.status_url = _status_url(config)
    replica.inspector = Inspector()
    replica.traffic = InspectedTraffic(replica.inspector, replica.now_ns)
    return service, replica


def places(config: GatewayConfig) -> Iterator[tuple[str, str]]:
    """Yield what a new user needs to know: a few words, and a URL for this machine; for the log at the start."""
    yield "demo page of the embedded replica", config.ic_network_url + "/"
    tls = config.tls_certificate_pem_path is not None
    for address in config.gateway_addresses:
        if tcp_port(address):
            yield "clients connect to the gateway", _client_url(address, tls)
    status = _status_url(config)
    if status is not None:
        yield "status page", status


def _status_url(config: GatewayConfig) -> str | None:
    port = tcp_port(config.prometheus_endpoint) if config.prometheus_endpoint else None
    return f"http://127.0.0.1:{port}/" if port else None


def _client_url(address: str, tls: bool) -> str:
    """Return the URL with which a page on this machine reaches a gateway address."""
    kind = parse_description(address).kind
    scheme = "wss" if tls or kind in ("ssl", "tls") else "ws"
    return f"{scheme}://127.0.0.1:{tcp_port(address) or 8080}"
