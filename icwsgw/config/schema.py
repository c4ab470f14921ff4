# ruff: noqa: RUF009 - option() makes a dataclass field, not a shared default
"""The gateway's configuration: declares every option once; all values are checked before anything starts.

The fields of :class:`GatewayConfig` define the options. The rows of the command line (:mod:`icwsgw.tap`), the
environment variables (``ICWS_`` + name), the keys of the ``--config`` file (:mod:`icwsgw.config.sources`) and the
manual are generated from them.

The first group has the names, formats and meanings of the Rust gateway (``main.rs`` of
omnia-network/ic-websocket-gateway), so that its command lines run unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from icwsgw.config.access_options import AccessOptions
from icwsgw.config.addresses import Exposure, bound_port, exposure
from icwsgw.config.client_limits import ClientLimits
from icwsgw.config.devnet_options import DevnetOptions
from icwsgw.config.drain_options import DrainOptions
from icwsgw.config.log_options import COLLECTOR, LogOptions
from icwsgw.config.network_options import NetworkOptions
from icwsgw.config.option import (
    ADDRESSES,
    ADMIN,
    CONNECTIONS,
    DIRECTORY,
    FILE,
    FLAG,
    GROUPS,
    LOGS,
    MOST_USED,
    NETWORK,
    OPTIONAL_ADDRESS,
    QUEUES,
    ROOT_KEY,
    TIMES,
    Option,
    RemovedOption,
    automatic,
    choice,
    count,
    milliseconds,
    option,
    options_of,
    seconds,
    size,
)
from icwsgw.config.quota_options import QuotaOptions
from icwsgw.config.tls_options import TlsOptions, acme_directory_name, check_tls_options
from icwsgw.errors import ConfigError
from icwsgw.ic.network_limits import AROUND_BYTES, MAX_INGRESS_BYTES, MAX_REPLY_BYTES
from icwsgw.ic.networks import AUTO, FETCH, Network, network_of
from icwsgw.observe.collector import exports_anything, trace_level

#: Requests per second on mainnet. Boundary nodes accept 300 per second from one address, with a burst of 600; above
#: that, their firewall bans the address (ic-boundary's bouncer).
MAINNET_BUDGET = 250

#: The most common options, in the order of the documentation, which lists them under the first heading and not under
#: that of their subject.
MOST_USED_NAMES = (
    "gateway-address",
    "ic-network-url",
    "data-dir",
    "tls-certificate-pem-path",
    "tls-certificate-key-pem-path",
    "prometheus-endpoint",
    "admin-endpoint",
    "devnet",
    "workers",
    "identities",
    "polling-interval",
    "trusted-proxy",
    "allowed-canister",
    "allowed-origin",
    "log-level",
)


@dataclass(frozen=True)
class GatewayConfig(
    QuotaOptions, ClientLimits, DrainOptions, NetworkOptions, AccessOptions, TlsOptions, LogOptions, DevnetOptions
):
    """The values of all options. Durations are in seconds, sizes in bytes; paths are absolute.

    :raises ConfigError: values contradict each other
    """

    gateway_addresses: tuple[str, ...] = option(
        ("tcp:8080",),
        ADDRESSES,
        "gateway-address",
        "Address for WebSocket clients: IP:port or a Twisted server endpoint string; repeatable.",
        "The port of the Rust gateway.",
        group=CONNECTIONS,
    )
    root_key: str = option(
        AUTO,
        ROOT_KEY,
        "root-key",
        "Root key of the network: mainnet, fetch (ask the network), the DER key in hex, or a file that holds it; "
        "auto: mainnet if the URL is mainnet's, else fetch.",
        "An attacker on the path could supply another key, so mainnet's key is built in.",
        group=NETWORK,
        example="mainnet",
    )
    polling_interval: float = option(
        0.1,
        milliseconds(0.001, 60.0),
        "polling-interval",
        "Time between the starts of two polls of a canister.",
        "As in the Rust gateway.",
        group=NETWORK,
        example="200",
    )
    prometheus_endpoint: str | None = option(
        "tcp:9090:interface=127.0.0.1",
        OPTIONAL_ADDRESS,
        "prometheus-endpoint",
        "Address of metrics, health checks and the status page: IP:port or an endpoint string; tcp:9090 for every "
        "address of this machine; empty for none.",
        "The port that the Rust gateway documents. It has no access control, so it is on loopback; the container image "
        "sets tcp:9090.",
        group=ADMIN,
        example="tcp:9090",
    )
    admin_endpoint: str | None = option(
        None,
        OPTIONAL_ADDRESS,
        "admin-endpoint",
        "Address of the admin API (docs/admin-api.md, icwsctl): an endpoint string or IP:port; empty for none. A unix "
        "socket without mode= is accessible to its owner only.",
        "A program that reaches it can close clients and stop the gateway.",
        group=ADMIN,
        example="unix:/run/icws/admin.sock",
    )
    admin_token_file: Path | None = option(
        None,
        FILE,
        "admin-token-file",
        "File with the token that callers of the admin API must send. Required if other machines may reach the API.",
        "File mode protects a unix socket; loopback is reachable from this machine only.",
        group=ADMIN,
        example="/etc/icws/admin-token",
    )
    opentelemetry_collector_endpoint: str | None = option(
        None,
        COLLECTOR,
        "opentelemetry-collector-endpoint",
        "OpenTelemetry collector for traces: grpc://host:port, or https://host:port for TLS; empty for none. Needs "
        "icwsgw[otel].",
        "As in the Rust gateway. Spans cost CPU and need a reader.",
        group=LOGS,
    )
    data_dir: Path = option(
        Path("data"),
        DIRECTORY,
        "data-dir",
        "Directory of the key file key_pair, of traces/ and of acme/.",
        "As in the Rust gateway, relative to the working directory.",
        group=ADMIN,
    )
    key_file: Path | None = option(
        None,
        FILE,
        "key-file",
        "File of the gateway's key, if it is not key_pair in --data-dir.",
        "For keys that a service manager or a secret store hands over.",
        group=ADMIN,
        example="/run/credentials/icws.service/key_pair",
    )
    identities: int = option(
        1,
        count(1, 1000),
        "identities",
        "Gateway principals of each process, derived from the key file. Each serves about 1,000 clients before the "
        "next is used.",
        "A canister's work grows with the square of the clients under one principal.",
        group=NETWORK,
        example="10",
    )
    workers: int = option(
        1,
        count(1, 128),
        "workers",
        "Number of processes that serve clients, with one supervisor. Each has its own identities and its share of "
        "the limits on all clients.",
        "One process is simplest; one per core is fastest.",
        group=ADMIN,
        example="4",
    )

    relay_order: str = option(
        "executed",
        choice("executed", "accepted"),
        "relay-order",
        "When a client's next message leaves: after the previous one was executed, or as soon as it was accepted.",
        "The IC may execute accepted calls in another order, and a canister ends a session at the first wrong "
        "sequence number.",
        group=NETWORK,
        example="accepted",
    )
    verify_queries: str = option(
        "auto",
        choice("auto", "on", "off"),
        "verify-queries",
        "Verify the node signature of every query answer; auto: on mainnet.",
        "Test networks may not sign.",
        group=NETWORK,
        example="on",
    )
    verify_batches: bool = option(
        False,
        FLAG,
        "verify-batches",
        "Verify the certificate of every page of messages before delivery.",
        "Clients verify it themselves.",
        group=NETWORK,
    )
    poll_window: int = option(
        32,
        count(1, 1024),
        "poll-window",
        "Maximum number of queries in flight for one canister.",
        "Enough for 10,000 messages per second at 100 ms latency.",
        group=NETWORK,
        example="64",
    )
    query_budget: int | None = option(
        None,
        automatic(count(0, 1_000_000)),
        "query-budget",
        "Limit on requests per second to the network, for all workers together. Polls, messages, ws_open and "
        f"ws_close have a share each. 0: no limit; auto: {MAINNET_BUDGET} on mainnet and on public networks that are "
        "asked for their root key, divided by --gateways-per-address.",
        "Above 300 requests per second, boundary nodes ban the address for minutes, and every gateway behind it.",
        group=NETWORK,
        example="100",
        reloaded=True,
    )

    tls_handshake_timeout: float = option(
        10.0,
        seconds(0.1, 600.0),
        "tls-handshake-timeout",
        "Timeout of the TLS handshake.",
        "As in the Rust gateway.",
        group=TIMES,
        example="5",
        reloaded=True,
    )
    header_timeout: float = option(
        10.0,
        seconds(0.1, 600.0),
        "header-timeout",
        "Timeout of the HTTP request that opens the WebSocket.",
        "Slow peers must not hold connections.",
        group=TIMES,
        example="5",
        reloaded=True,
    )
    first_message_timeout: float = option(
        30.0,
        seconds(0.1, 3600.0),
        "first-message-timeout",
        "Timeout from the WebSocket handshake to the client's ws_open.",
        "The SDK sends it at once, but a person may have to approve it.",
        group=TIMES,
        example="10",
        reloaded=True,
    )
    open_timeout: float = option(
        50.0,
        seconds(0.1, 3600.0),
        "open-timeout",
        "Timeout from the client's ws_open to the canister's first message.",
        "The SDK gives up after 60 s and does not know why; the gateway does.",
        group=TIMES,
        example="90",
        reloaded=True,
    )
    ping_interval: float = option(
        25.0,
        seconds(0.0, 3600.0),
        "ping-interval",
        "Time between pings to a client; 0 for none.",
        "Proxies cut idle connections after 30 or 60 s.",
        group=TIMES,
        example="50",
        reloaded=True,
    )
    pong_timeout: float = option(
        10.0,
        seconds(0.1, 3600.0),
        "pong-timeout",
        "Time that a client has to answer a ping.",
        "Long even for a mobile network. A dead client is removed before its canister misses it.",
        group=TIMES,
        example="20",
        reloaded=True,
    )
    close_timeout: float = option(
        10.0,
        seconds(0.1, 600.0),
        "close-timeout",
        "Time that a client has to answer a close frame.",
        "A live client answers within a round trip; others would hold file descriptors.",
        group=TIMES,
        example="5",
        reloaded=True,
    )

    max_message_bytes: int = option(
        MAX_INGRESS_BYTES + AROUND_BYTES,
        size(1 << 10),
        "max-message-bytes",
        "Maximum size of a client's message.",
        "The IC accepts 2 MiB in a call; the envelope and CBOR are added to that.",
        group=QUEUES,
        example="1M",
    )
    max_answer_bytes: int = option(
        MAX_REPLY_BYTES + AROUND_BYTES,
        size(64 << 10),
        "max-answer-bytes",
        "Maximum size of an answer from the network.",
        "A canister returns at most 3 MiB; signatures, certificate and CBOR are added to that.",
        group=NETWORK,
    )
    relay_queue_messages: int = option(
        100,
        count(1),
        "relay-queue-messages",
        "Maximum number of messages in one client's relay queue. Beyond it, the client's socket is not read.",
        "More than a burst of the SDK.",
        group=QUEUES,
        example="50",
        reloaded=True,
    )
    relay_queue_bytes: int = option(
        4 << 20,
        size(64 << 10),
        "relay-queue-bytes",
        "Maximum bytes in one client's relay queue.",
        "Two messages of maximum size.",
        group=QUEUES,
        reloaded=True,
    )
    outbox_bytes: int = option(
        32 << 20,
        size(64 << 10),
        "outbox-bytes",
        "Maximum bytes in one client's outbox. Beyond it, the client is closed with 4104.",
        "At 20 Mbit/s a client reads a burst of 32 MB within 13 s. --max-waiting-bytes limits all clients together.",
        group=QUEUES,
        reloaded=True,
    )
    outbox_age: float = option(
        30.0,
        seconds(0.1, 3600.0),
        "outbox-age",
        "How long messages may wait in the outbox while the client reads nothing at all.",
        "The canister expects keep-alives within 60 s.",
        group=TIMES,
        example="60",
        reloaded=True,
    )

    def __post_init__(self) -> None:
        _check(self)

    @property
    def network(self) -> Network:
        """The network, with its root key if known."""
        return network_of(self.ic_network_url, self.root_key)

    @property
    def is_mainnet(self) -> bool:
        """Whether the network is the IC mainnet, by its root key; signatures are then checked, requests budgeted."""
        return self.network.mainnet

    @property
    def queries_per_second(self) -> int | None:
        """The request budget, in requests per second; None for no limit."""
        if self.query_budget is None:
            return max(1, MAINNET_BUDGET // self.gateways_per_address) if self.network.may_be_mainnet else None
        return self.query_budget or None

    @property
    def opens_per_second(self) -> float | None:
        """The rate limit on ws_open calls, in calls per second; None for no limit."""
        if self.open_rate is None:
            budget = self.queries_per_second
            return None if budget is None else budget / 2
        return self.open_rate or None

    @property
    def exports_traces(self) -> bool:
        """Whether a collector is configured and the trace level creates spans."""
        return self.opentelemetry_collector_endpoint is not None and exports_anything(trace_level(self.trace_level))

    @property
    def acme_dir(self) -> Path:
        """The directory of what the gateway has from its ACME server."""
        return self.data_dir / "acme" / acme_directory_name(self.acme_directory)

    @property
    def key_path(self) -> Path:
        """The file of the gateway's identity."""
        return self.key_file or self.data_dir / "key_pair"


def _in_groups(entries: tuple[Option, ...]) -> tuple[Option, ...]:
    by_name = {entry.name: entry for entry in entries}
    first = tuple(replace(by_name.pop(name), group=MOST_USED) for name in MOST_USED_NAMES)
    return first + tuple(sorted(by_name.values(), key=lambda entry: GROUPS.index(entry.group)))


OPTIONS: tuple[Option, ...] = _in_groups(options_of(GatewayConfig))
BY_NAME: dict[str, Option] = {entry.name: entry for entry in OPTIONS}

#: Options of earlier versions (decision 0045).
REMOVED: tuple[RemovedOption, ...] = (
    RemovedOption("compression", "messages are not compressed", is_flag=True),
    RemovedOption("client-message-burst", "the burst is two seconds of --client-message-rate"),
    RemovedOption(
        "client-byte-burst",
        "the burst is four seconds of --client-byte-rate, and at least one message of --max-message-bytes",
    ),
)


def _check(config: GatewayConfig) -> None:
    """Refuse values that contradict each other."""
    if not config.gateway_addresses:
        raise ConfigError("--gateway-address: at least one is needed")
    check_tls_options(config)
    if both := set(config.allowed_canisters) & set(config.denied_canisters):
        raise ConfigError(f"canister {min(both)} is both in --allowed-canister and in --denied-canister")
    if (
        config.admin_token_file is None
        and config.admin_endpoint
        and exposure(config.admin_endpoint) is Exposure.ANYWHERE
    ):
        raise ConfigError(
            f"--admin-endpoint {config.admin_endpoint}: other machines may reach it, so it needs --admin-token-file; "
            "or use a unix socket, or interface=127.0.0.1"
        )
    config.check_quotas()
    config.check_devnet_canisters()
    if config.devnet and config.root_key not in (AUTO, FETCH):
        raise ConfigError("--devnet has a root key of its own: leave out --root-key")
    _in_order(config, "first_message_timeout", "open_timeout")
    if config.ping_interval:
        _in_order(config, "pong_timeout", "ping_interval")
    for queue in ("relay_queue_bytes", "outbox_bytes"):
        _in_order(config, "max_message_bytes", queue)
    listening = list(addresses(config))
    for number, (option_name, address) in enumerate(listening):
        for other_name, other in listening[:number]:
            if other == address and bound_port(address) != 0:
                names = " and ".join(f"--{name}" for name in dict.fromkeys((other_name, option_name)))
                raise ConfigError(f"address {address} is used twice, by {names}")


def addresses(config: GatewayConfig) -> Iterator[tuple[str, str]]:
    """Yield each address to listen on, behind the name of its option."""
    for address in config.gateway_addresses:
        yield "gateway-address", address
    fields = (
        "prometheus_endpoint",
        "admin_endpoint",
        "acme_http_endpoint",
        *(["devnet_listen"] if config.devnet else ()),
    )
    for field in fields:
        if address := getattr(config, field):
            yield field.replace("_", "-"), address


def _in_order(config: GatewayConfig, lower: str, upper: str) -> None:
    if getattr(config, lower) > getattr(config, upper):
        names = {entry.field: entry for entry in OPTIONS}
        low, high = names[lower], names[upper]
        raise ConfigError(
            f"--{low.name} ({low.kind.show(getattr(config, lower))}) may not be above "
            f"--{high.name} ({high.kind.show(getattr(config, upper))})"
        )
