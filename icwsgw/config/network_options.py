"""Options for the network: its URL, and timeouts; part of :class:`icwsgw.config.schema.GatewayConfig`."""

from __future__ import annotations

from dataclasses import dataclass

from icwsgw.config.option import NETWORK, NETWORK_URL, count, option, seconds
from icwsgw.ic.networks import LOCAL_PORTS, MAINNET_HOSTS


@dataclass(frozen=True)
class NetworkOptions:
    """Where the network is, time limits of requests to it, and grace periods for failures. Durations in seconds."""

    ic_network_url: str = option(
        f"http://127.0.0.1:{LOCAL_PORTS['dfx']}",
        NETWORK_URL,
        "ic-network-url",
        f"URL of the IC network. {', '.join(MAINNET_HOSTS)} and all names below them mean mainnet. auto: the local "
        "network of icp.yaml or dfx.json in the working directory, else the port of icp-cli or dfx that answers.",
        "A local replica listens there.",
        group=NETWORK,
    )
    gateways_per_address: int = option(
        1,
        count(1, 1000),
        "gateways-per-address",
        "Number of gateways that reach the network from the same address: on one machine, in pods of one node, behind "
        "one NAT. An automatic --query-budget is divided by it.",
        "Boundary nodes count requests by address, and a gateway cannot see who shares its own.",
        group=NETWORK,
        example="3",
    )
    canister_grace: float = option(
        60.0,
        seconds(0.0),
        "canister-grace",
        "How long a canister may give no valid answer before its clients are closed. Failures of the network do not "
        "count.",
        "A canister's upgrade is shorter.",
        group=NETWORK,
        example="5m",
        reloaded=True,
    )
    network_grace: float = option(
        600.0,
        seconds(0.0),
        "network-grace",
        "How long the network may fail to reach a canister before the canister's clients are closed.",
        "A subnet's upgrade takes minutes, and the canister still knows its clients afterwards.",
        group=NETWORK,
        example="30m",
        reloaded=True,
    )
    query_timeout: float = option(
        5.0,
        seconds(0.1, 300.0),
        "query-timeout",
        "Timeout of one query.",
        "As in the Rust gateway.",
        group=NETWORK,
        example="10",
        reloaded=True,
    )
    call_timeout: float = option(
        30.0,
        seconds(0.1, 300.0),
        "call-timeout",
        "Timeout of one call.",
        "A replica answers a synchronous call within 10 s.",
        group=NETWORK,
        example="20s",
        reloaded=True,
    )
