"""The local replica inside the gateway's process (``--devnet``)."""

from __future__ import annotations

from typing import Any

from icwsgw.config.addresses import parse_description, tcp_port
from icwsgw.config.schema import GatewayConfig
from icwsgw.devnet.command_line import DevnetConfig, DevnetService, devnet_service
from icwsgw.devnet.replica import Replica
from icwsgw.errors import ConfigError

#: The JavaScript SDK fetches the root key without waiting for it; a replica that opens within a few milliseconds finds
#: it verifying with mainnet's key. No real one is that fast.
CALL_LATENCY = 0.15


def embedded_devnet(config: GatewayConfig, reactor: Any) -> tuple[DevnetService, Replica]:
    """Return the service that runs the replica of ``--devnet``, and the replica, which knows the gateway's addresses.

    :raises ConfigError: its address is of no use
    """
    if not tcp_port(config.devnet_listen):
        raise ConfigError(f"--devnet-listen {config.devnet_listen}: needs a TCP port other than 0")
    devnet = DevnetConfig(listen=config.devnet_listen, call_latency=CALL_LATENCY)
    service, replica = devnet_service(reactor, devnet)
    tls = config.tls_certificate_pem_path is not None
    replica.gateway_urls = [_client_url(address, tls) for address in config.gateway_addresses]
    return service, replica


def _client_url(address: str, tls: bool) -> str:
    """The URL by which a page on this machine reaches a gateway address."""
    kind = parse_description(address).kind
    scheme = "wss" if tls or kind in ("ssl", "tls") else "ws"
    return f"{scheme}://127.0.0.1:{tcp_port(address) or 8080}"
