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
    service, replica = devnet_service(reactor, devnet, option="--devnet-listen")
    replica.gateway_urls = _client_urls(config)
    replica.status_url = _status_url(config)
    replica.inspector = Inspector()
    replica.traffic = InspectedTraffic(replica.inspector, replica.now_ns)
    return service, replica


def places(config: GatewayConfig) -> Iterator[tuple[str, str]]:
    """Yield what a new user needs to know: a few words, and a URL for this machine; for the log at the start."""
    yield "demo page of the embedded replica", config.ic_network_url + "/"
    for url in _client_urls(config):
        yield "clients connect to the gateway", url
    status = _status_url(config)
    if status is not None:
        yield "status page", status


def _status_url(config: GatewayConfig) -> str | None:
    port = tcp_port(config.prometheus_endpoint) if config.prometheus_endpoint else None
    return f"http://127.0.0.1:{port}/" if port else None


def _client_urls(config: GatewayConfig) -> list[str]:
    """Return the URLs with which a page on this machine reaches the gateway's addresses, as far as it can."""
    # as configured_tls() has it; plain addresses of TCP have TLS then
    tls = bool(config.tls_certificate_pem_path or config.tls_certificate_dir or config.acme_domains)
    urls = []
    for address in config.gateway_addresses:
        if port := tcp_port(address):
            scheme = "wss" if tls or parse_description(address).kind in ("ssl", "tls") else "ws"
            urls.append(f"{scheme}://127.0.0.1:{port}")
    return urls
