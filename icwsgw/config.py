# ruff: noqa: RUF009 - option() makes a dataclass field, not a shared default
"""The gateway's configuration: every option declared once, checked before anything starts.

The fields of :class:`GatewayConfig` are the table. From it come the rows of the command line
(:mod:`icwsgw.tap`), the environment names (``ICWS_`` + name) and the keys of the ``--config`` file
(:mod:`icwsgw.sources`), and the generated manual.

Names, forms and meanings of the first group are those of the original (``main.rs`` of
omnia-network/ic-websocket-gateway), so that its command lines run unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from icwsgw.access_options import ACCESS, AccessOptions
from icwsgw.addresses import Reach, reach, tcp_port
from icwsgw.client_limits import CLIENTS, ClientLimits
from icwsgw.errors import ConfigError
from icwsgw.ic.networks import AUTO, FETCH, Network, network_of
from icwsgw.log_options import COLLECTOR, LOGS, LogOptions
from icwsgw.network_options import TIMES, NetworkOptions
from icwsgw.observe.collector import exports_anything, trace_level
from icwsgw.options import (
    ADDRESS,
    ADDRESSES,
    DIRECTORY,
    FILE,
    FLAG,
    OPTIONAL_ADDRESS,
    ROOT_KEY,
    URL,
    Option,
    automatic,
    choice,
    count,
    milliseconds,
    option,
    options_of,
    seconds,
    size,
)

#: Requests a second on mainnet. Its boundary nodes take 300 a second from one address, 600 at once, before they ban it
#: in their firewall (ic-boundary's bouncer).
MAINNET_BUDGET = 250


# Groups, in the order of the manual
GROUPS = _MAIN, _PROTOCOL, _TIMES, _BOUNDS, _CLIENTS, _ACCESS, _LOGS = (
    "Main",
    "Protocol",
    TIMES,
    "Bounds",
    CLIENTS,
    ACCESS,
    LOGS,
)


@dataclass(frozen=True)
class GatewayConfig(ClientLimits, NetworkOptions, AccessOptions, LogOptions):
    """What an operator decided. Durations in seconds, sizes in bytes; paths absolute."""

    gateway_addresses: tuple[str, ...] = option(
        ("tcp:8080",),
        ADDRESSES,
        "gateway-address",
        "Where WebSocket clients connect: IP:port or a Twisted server endpoint string; repeatable.",
        "The original's port.",
        group=_MAIN,
    )
    ic_network_url: str = option(
        "http://127.0.0.1:4943",
        URL,
        "ic-network-url",
        "The IC network; icp0.io, icp-api.io, ic0.app, icp.net and all names below them mean mainnet.",
        "Where a local replica listens.",
        group=_MAIN,
    )
    root_key: str = option(
        AUTO,
        ROOT_KEY,
        "root-key",
        "The network's root key: mainnet, fetch (ask the network), the key's DER in hex, or a file with it; auto: "
        "mainnet if the URL says so, else fetch.",
        "Whoever is in between could name a key of their own, so mainnet's is built in.",
        group=_MAIN,
        example="mainnet",
    )
    polling_interval: float = option(
        0.1,
        milliseconds(0.001, 60.0),
        "polling-interval",
        "Time between two polls of a canister, start to start.",
        "The original's.",
        group=_MAIN,
        example="200",
    )
    prometheus_endpoint: str | None = option(
        "tcp:9090",
        OPTIONAL_ADDRESS,
        "prometheus-endpoint",
        "Where metrics, health and the status page are served: IP:port or an endpoint string; empty for none.",
        "The port the original documents.",
        group=_MAIN,
    )
    admin_endpoint: str | None = option(
        None,
        OPTIONAL_ADDRESS,
        "admin-endpoint",
        "Where the admin API (docs/admin-api.md, icwsctl) is served: an endpoint string or IP:port; a unix socket is "
        "its owner's alone unless it has a mode=; empty for none.",
        "Whoever reaches it can close clients and end the gateway.",
        group=_MAIN,
        example="unix:/run/icws/admin.sock",
    )
    admin_token_file: Path | None = option(
        None,
        FILE,
        "admin-token-file",
        "File with the token that callers of the admin API have to send; needed where other machines may reach it.",
        "A unix socket is guarded by its mode, loopback by being on this machine.",
        group=_MAIN,
        example="/etc/icws/admin-token",
    )
    tls_certificate_pem_path: Path | None = option(
        None,
        FILE,
        "tls-certificate-pem-path",
        "Certificate chain (PEM) that turns plain TCP addresses into TLS; read again when the file changes.",
        "TLS may end at a proxy, and a local gateway needs none.",
        group=_MAIN,
    )
    tls_certificate_key_pem_path: Path | None = option(
        None,
        FILE,
        "tls-certificate-key-pem-path",
        "Private key (PEM) of that certificate.",
        "It goes with the certificate.",
        group=_MAIN,
        example="/etc/icws/tls/privkey.pem",
    )
    opentelemetry_collector_endpoint: str | None = option(
        None,
        COLLECTOR,
        "opentelemetry-collector-endpoint",
        "OpenTelemetry collector of traces: grpc://host:port, or https://host:port for TLS; empty for none; needs "
        "icwsgw[otel].",
        "The original's: spans cost CPU, and need somebody who looks at them.",
        group=_MAIN,
    )
    data_dir: Path = option(
        Path("data"),
        DIRECTORY,
        "data-dir",
        "Directory of the key file key_pair and of traces/.",
        "The original's, relative to the working directory.",
        group=_MAIN,
    )
    identities: int = option(
        1,
        count(1, 1000),
        "identities",
        "Gateway principals of each process, all derived from the key file; each serves about 1,000 clients, then the "
        "next is used.",
        "A canister's work grows with the square of the clients it has under one principal.",
        group=_MAIN,
        example="10",
    )
    workers: int = option(
        1,
        count(1, 128),
        "workers",
        "Processes that serve clients under one that watches them, each with its own identities and its share of what "
        "is bounded for all.",
        "One process is simplest; one for each core is fastest.",
        group=_MAIN,
        example="4",
    )
    devnet: bool = option(
        False,
        FLAG,
        "devnet",
        "Run the embedded local replica with its demo canisters in this process.",
        "It is for trying things out; its keys are known to everybody.",
        group=_MAIN,
    )
    devnet_listen: str = option(
        "tcp:4943:interface=127.0.0.1",
        ADDRESS,
        "devnet-listen",
        "Where the embedded replica listens.",
        "Loopback: anybody who reaches it can change its state.",
        group=_MAIN,
        example="127.0.0.1:4944",
    )

    relay_order: str = option(
        "executed",
        choice("executed", "accepted"),
        "relay-order",
        "A client's next message leaves when the one before was executed, or as soon as it was accepted.",
        "The IC may execute accepted calls in another order, and a canister ends a client at the first wrong one.",
        group=_PROTOCOL,
        example="accepted",
    )
    verify_queries: str = option(
        "auto",
        choice("auto", "on", "off"),
        "verify-queries",
        "Check the node's signature on every query answer; auto: on mainnet.",
        "Test networks may not sign.",
        group=_PROTOCOL,
        example="on",
    )
    verify_batches: bool = option(
        False,
        FLAG,
        "verify-batches",
        "Check the certificate of every batch of messages before it is passed on.",
        "Clients check it themselves.",
        group=_PROTOCOL,
    )
    poll_window: int = option(
        32,
        count(1, 1024),
        "poll-window",
        "Queries in flight for one canister at most.",
        "Reaches 10,000 messages a second at 100 ms of latency.",
        group=_PROTOCOL,
        example="64",
    )
    query_budget: int | None = option(
        None,
        automatic(count(0, 1_000_000)),
        "query-budget",
        "Requests a second to the network, of all workers: polls, clients' messages, ws_open and ws_close have a share "
        f"each; 0 for no bound; auto: {MAINNET_BUDGET} on mainnet and on public networks that are asked for their root "
        "key.",
        "Beyond 300 requests a second boundary nodes ban an address, and all gateways behind it, for minutes.",
        group=_PROTOCOL,
        example="100",
    )
    compression: bool = option(
        False,
        FLAG,
        "compression",
        "Take permessage-deflate where clients offer it; needs Python 3.11.",
        "Certificates and hashes do not compress, decompression bombs do harm.",
        group=_PROTOCOL,
    )

    drain_window: float = option(
        10.0,
        seconds(0.0, 3600.0),
        "drain-window",
        "Time over which sockets are closed when the gateway stops.",
        "Reconnections reach the other gateways spread out.",
        group=_TIMES,
        example="60",
    )
    tls_handshake_timeout: float = option(
        10.0,
        seconds(0.1, 600.0),
        "tls-handshake-timeout",
        "TLS handshake.",
        "The original's.",
        group=_TIMES,
        example="5",
    )
    header_timeout: float = option(
        10.0,
        seconds(0.1, 600.0),
        "header-timeout",
        "The HTTP request that opens the WebSocket.",
        "Slow peers may not hold connections.",
        group=_TIMES,
        example="5",
    )
    first_message_timeout: float = option(
        30.0,
        seconds(0.1, 3600.0),
        "first-message-timeout",
        "From the WebSocket to the client's ws_open.",
        "The SDK sends it at once; a person may have to approve it.",
        group=_TIMES,
        example="10",
    )
    open_timeout: float = option(
        60.0,
        seconds(0.1, 3600.0),
        "open-timeout",
        "From the WebSocket to the canister's first message.",
        "The SDK gives up after 60 s itself.",
        group=_TIMES,
        example="90",
    )
    ping_interval: float = option(
        25.0,
        seconds(0.0, 3600.0),
        "ping-interval",
        "Time between pings to a client; 0 for none.",
        "Proxies cut idle connections after 30 or 60 s.",
        group=_TIMES,
        example="50",
    )
    pong_timeout: float = option(
        10.0,
        seconds(0.1, 3600.0),
        "pong-timeout",
        "Time a client has to answer a ping.",
        "Long even for a mobile network; a dead client is gone before its canister misses it.",
        group=_TIMES,
        example="20",
    )
    close_timeout: float = option(
        10.0,
        seconds(0.1, 600.0),
        "close-timeout",
        "Time a client has to answer a close frame.",
        "A client that lives answers within a round trip; the rest would hold their descriptors.",
        group=_TIMES,
        example="5",
    )

    max_message_bytes: int = option(
        (2 << 20) + (64 << 10),
        size(1 << 10),
        "max-message-bytes",
        "Longest message of a client.",
        "The IC takes 2 MiB in a call; the envelope and CBOR come on top.",
        group=_BOUNDS,
        example="1M",
    )
    max_answer_bytes: int = option(
        (3 << 20) + (64 << 10),
        size(64 << 10),
        "max-answer-bytes",
        "Longest answer of the network.",
        "A canister answers 3 MiB at most; signatures, certificate and CBOR come on top.",
        group=_BOUNDS,
    )
    relay_queue_messages: int = option(
        100,
        count(1),
        "relay-queue-messages",
        "Messages of one client that wait to be relayed; beyond, its socket is not read.",
        "More than a burst of the SDK.",
        group=_BOUNDS,
        example="50",
    )
    relay_queue_bytes: int = option(
        4 << 20,
        size(64 << 10),
        "relay-queue-bytes",
        "Bytes of one client that wait to be relayed.",
        "Two of the longest messages.",
        group=_BOUNDS,
    )
    outbox_bytes: int = option(
        32 << 20,
        size(64 << 10),
        "outbox-bytes",
        "Bytes that wait for one client to read them; beyond, it is closed with 4104.",
        "A burst of 32 MB is read within 13 s at 20 Mbit/s. --max-waiting-bytes bounds all together.",
        group=_BOUNDS,
    )
    outbox_age: float = option(
        30.0,
        seconds(0.1, 3600.0),
        "outbox-age",
        "Time for which they may wait while the client reads nothing at all.",
        "The canister expects keep-alives within 60 s.",
        group=_BOUNDS,
        example="60",
    )

    def __post_init__(self) -> None:
        _check(self)

    @property
    def network(self) -> Network:
        """The network, with its root key if that is known."""
        return network_of(self.ic_network_url, self.root_key)

    @property
    def is_mainnet(self) -> bool:
        """Whether the network is the IC itself, by its root key: signatures are checked, queries budgeted."""
        return self.network.mainnet

    @property
    def queries_per_second(self) -> int | None:
        """The budget of requests to the network; None for no bound."""
        if self.query_budget is None:
            return MAINNET_BUDGET if self.network.may_be_mainnet else None
        return self.query_budget or None

    @property
    def opens_per_second(self) -> float | None:
        """The bound on ws_open to the network; None for no bound."""
        if self.open_rate is None:
            budget = self.queries_per_second
            return None if budget is None else budget / 2
        return self.open_rate or None

    @property
    def exports_traces(self) -> bool:
        """Whether there is a collector, and a level at which spans are made."""
        return self.opentelemetry_collector_endpoint is not None and exports_anything(trace_level(self.trace_level))

    @property
    def key_file(self) -> Path:
        """The file of the gateway's identity."""
        return self.data_dir / "key_pair"


OPTIONS: tuple[Option, ...] = tuple(sorted(options_of(GatewayConfig), key=lambda entry: GROUPS.index(entry.group)))
BY_NAME: dict[str, Option] = {entry.name: entry for entry in OPTIONS}


def _check(config: GatewayConfig) -> None:
    """Refuse values that contradict each other."""
    if not config.gateway_addresses:
        raise ConfigError("--gateway-address: at least one is needed")
    if (config.tls_certificate_pem_path is None) != (config.tls_certificate_key_pem_path is None):
        raise ConfigError("--tls-certificate-pem-path and --tls-certificate-key-pem-path go together")
    if both := set(config.allowed_canisters) & set(config.denied_canisters):
        raise ConfigError(f"canister {min(both)} is both in --allowed-canister and in --denied-canister")
    if config.admin_token_file is None and config.admin_endpoint and reach(config.admin_endpoint) is Reach.ANYWHERE:
        raise ConfigError(
            f"--admin-endpoint {config.admin_endpoint}: other machines may reach it, so it needs --admin-token-file; "
            "or use a unix socket, or interface=127.0.0.1"
        )
    if config.devnet and config.root_key not in (AUTO, FETCH):
        raise ConfigError("--devnet has a root key of its own: leave out --root-key")
    _in_order(config, "first_message_timeout", "open_timeout")
    if config.ping_interval:
        _in_order(config, "pong_timeout", "ping_interval")
    for queue in ("relay_queue_bytes", "outbox_bytes"):
        _in_order(config, "max_message_bytes", queue)
    others = (config.prometheus_endpoint, config.admin_endpoint, config.devnet_listen if config.devnet else None)
    listening = [*config.gateway_addresses, *filter(None, others)]
    for address in listening:
        if listening.count(address) > 1 and tcp_port(address) != 0:
            raise ConfigError(f"address {address} is used twice")


def _in_order(config: GatewayConfig, lower: str, upper: str) -> None:
    if getattr(config, lower) > getattr(config, upper):
        names = {entry.field: entry for entry in OPTIONS}
        low, high = names[lower], names[upper]
        raise ConfigError(
            f"--{low.name} ({low.kind.show(getattr(config, lower))}) may not be above "
            f"--{high.name} ({high.kind.show(getattr(config, upper))})"
        )
