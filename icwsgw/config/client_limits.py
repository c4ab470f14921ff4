"""Options that limit clients and unauthenticated peers: connections, rates, sizes.

Part of :class:`icwsgw.config.schema.GatewayConfig`, in its own module because of its length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from icwsgw.config.option import (
    CONNECTIONS,
    PROXIES,
    QUEUES,
    TIMES,
    automatic,
    choice,
    count,
    option,
    options_of,
    seconds,
    size,
)


@dataclass(frozen=True)
class ClientLimits:
    """Limits on clients. 0 means no limit, for the options that allow it."""

    max_connections: int = option(
        50_000,
        count(1),
        "max-connections",
        "Maximum number of connections. When it is reached, a new connection evicts the oldest unauthenticated "
        "connection of the address that has the most of them, if that is more than the new connection's address has.",
        "Half a gigabyte at 10 kB each.",
        group=CONNECTIONS,
        example="20000",
        shared=True,
        reloaded=True,
    )
    max_pending: int = option(
        5_000,
        count(),
        "max-pending",
        "Maximum number of unauthenticated connections (no canister has answered yet), including TLS and HTTP "
        "handshakes; 0 for no limit. When it is reached, the address (IPv6: /64) with the most of them loses its "
        "oldest.",
        "At most 64 KiB each. A reconnecting crowd has fewer at a time.",
        group=CONNECTIONS,
        example="1000",
        shared=True,
        reloaded=True,
    )
    relay_queue_time: float = option(
        10.0,
        seconds(0.1, 300.0),
        "relay-queue-time",
        "Maximum estimated time in one client's relay queue, by the duration of its calls so far. Beyond it, the "
        "client's socket is not read.",
        "A keep-alive in that queue must be executed within the 60 s that a canister waits for it.",
        group=TIMES,
        example="20",
        reloaded=True,
    )
    max_waiting_bytes: int = option(
        512 << 20,
        size(1 << 20),
        "max-waiting-bytes",
        "Maximum bytes of all clients together in relay queues and sequence buffers, as many in outboxes, and as many "
        "in incomplete messages. Beyond it, clients with waiting or incomplete messages are not read, one message of a "
        "client waits for those before it, clients with more than 64 KiB in their outbox are closed with 4104, and "
        "the oldest incomplete messages with 1008.",
        "A hundred clients at their own limits. More at a time are an attack, or a network that hangs.",
        group=QUEUES,
        example="1G",
        shared=True,
        reloaded=True,
    )
    max_connections_per_ip: int = option(
        0,
        count(),
        "max-connections-per-ip",
        "Maximum number of connections from one address (IPv6: /64), in each worker; 0 for no limit.",
        "Many clients share an address behind an untrusted proxy or a carrier's NAT.",
        group=CONNECTIONS,
        example="200",
        reloaded=True,
    )
    max_connections_per_principal: int = option(
        0,
        count(),
        "max-connections-per-principal",
        "Maximum number of canisters to which one principal is connected, in each worker; 0 for no limit.",
        "It has one connection to each canister anyway: a newer one replaces the older one.",
        group=CONNECTIONS,
        example="10",
        reloaded=True,
    )
    accept_rate: int = option(
        0,
        count(),
        "accept-rate",
        "Limit on new connections per second; the burst is twice as many; 0 for no limit.",
        "The kernel's queue holds what the process cannot accept at once.",
        group=CONNECTIONS,
        example="200",
        shared=True,
        reloaded=True,
    )
    accept_rate_per_ip: int = option(
        0,
        count(),
        "accept-rate-per-ip",
        "Limit on new connections per second from one address (IPv6: /64), in each worker; the burst is five times as "
        "many; 0 for no limit.",
        "See --max-connections-per-ip.",
        group=CONNECTIONS,
        example="20",
        reloaded=True,
    )
    open_rate: int | None = option(
        None,
        automatic(count(0, 1_000_000)),
        "open-rate",
        "Limit on ws_open calls per second to the network, for all workers together. Beyond it they wait, and "
        "addresses take turns. 0: no limit; auto: half of --query-budget.",
        "Anybody can send ws_open; connected clients come first.",
        group=CONNECTIONS,
        example="50",
        reloaded=True,
    )
    client_message_rate: int = option(
        200,
        count(),
        "client-message-rate",
        "Limit on frames per second from one client (messages, fragments, pings); the burst is twice as many. Beyond "
        "it, the client's socket is not read; a client that sends as many again (at least 256) at once is closed with "
        "4108. 0 for no limit.",
        "More than the network accepts from one client, whose calls follow each other.",
        group=QUEUES,
        example="50",
        reloaded=True,
    )
    client_byte_rate: int = option(
        2 << 20,
        size(0),
        "client-byte-rate",
        "Limit on bytes per second from one client; the burst is four times as many, and at least one message of "
        "--max-message-bytes. Beyond it, the client's socket is not read; a client that sends as many again at once is "
        "closed with 4108. 0 for no limit.",
        "One message of maximum size per second; a subnet accepts about two.",
        group=QUEUES,
        reloaded=True,
    )
    message_timeout: float = option(
        120.0,
        seconds(1.0, 3600.0),
        "message-timeout",
        "Time from the first to the last byte of a message, accurate to --ping-interval.",
        "The longest message at 18 kB per second. Slow messages hold memory.",
        group=TIMES,
        example="60s",
        reloaded=True,
    )
    trusted_proxies: tuple[str, ...] = option(
        (),
        PROXIES,
        "trusted-proxy",
        "Address or network of proxies that may name the client's address, or unix for unix: sockets; repeatable.",
        "Anybody can write such a header. Without this option, a haproxy: address trusts every client.",
        group=CONNECTIONS,
    )
    forwarded_header: str = option(
        "x-forwarded-for",
        choice("x-forwarded-for", "forwarded"),
        "forwarded-header",
        "Header in which trusted proxies name the client.",
        "Only one is read: the other one may come from the client.",
        group=CONNECTIONS,
    )

    def share(self, workers: int) -> dict[str, Any]:
        """Return one worker's share of the limits on all clients together, rounded up; 0 (no limit) stays 0.

        The other limits apply to one client or address. They are not divided, because all its connections may reach the
        same worker.
        """
        shared = (entry.field for entry in options_of(type(self)) if entry.shared)
        return {field: -(-getattr(self, field) // workers) for field in shared}
