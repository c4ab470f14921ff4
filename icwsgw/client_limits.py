"""The options that bound what clients and strangers may take: connections, rates, sizes.

Part of :class:`icwsgw.config.GatewayConfig`, in a module of its own by its length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from icwsgw.options import PROXIES, automatic, choice, count, option, seconds, size

#: The heading in the manual.
CLIENTS = "Clients"


#: Bounds on what all clients take together: of several workers each has its share. The others are about one client or
#: address, which may meet the same worker again and again, and count in each.
SHARED = ("max_connections", "max_pending", "max_connections_per_canister", "accept_rate", "max_waiting_bytes")


@dataclass(frozen=True)
class ClientLimits:
    """What clients may take. 0 means no limit wherever it is allowed."""

    max_connections: int = option(
        50_000,
        count(1),
        "max-connections",
        "Connections in all. For one beyond, the address with most of those to which no canister has spoken yet loses "
        "its oldest, if it has more of them than the newcomer's.",
        "Half a gigabyte at 10 kB each.",
        group=CLIENTS,
        example="20000",
    )
    max_pending: int = option(
        5_000,
        count(),
        "max-pending",
        "Connections to which no canister has spoken yet, those in the TLS and HTTP handshake too; 0 for no limit. "
        "For one beyond, the address with most of them (an IPv6 /64) loses its oldest.",
        "At most 64 KiB each; a reconnecting crowd has fewer at a time.",
        group=CLIENTS,
        example="1000",
    )
    relay_queue_time: float = option(
        10.0,
        seconds(0.1, 300.0),
        "relay-queue-time",
        "How long the messages of one client that wait to be relayed may take, by what its calls have taken so far; "
        "beyond, its socket is not read.",
        "A keep-alive behind them has to be executed within the 60 s that a canister waits for it.",
        group=CLIENTS,
        example="20",
    )
    max_waiting_bytes: int = option(
        512 << 20,
        size(1 << 20),
        "max-waiting-bytes",
        "Bytes of all clients together that may wait to be relayed, as many to be read by clients, and as many in "
        "messages that are not whole yet; beyond, one whose messages wait or go on is not read, one for which more "
        "than 64 KiB wait is closed with 4104, and the clients of the oldest unfinished messages with 1008.",
        "A hundred clients at their own bounds; more of them at a time are an attack, or a network that hangs.",
        group=CLIENTS,
        example="1G",
    )
    max_connections_per_ip: int = option(
        0,
        count(),
        "max-connections-per-ip",
        "Connections from one address (IPv6: one /64), to each of several workers; 0 for no limit.",
        "Behind a proxy that is not trusted, and behind carriers' NAT, many clients share one address.",
        group=CLIENTS,
        example="200",
    )
    max_connections_per_canister: int = option(
        0,
        count(),
        "max-connections-per-canister",
        "Clients of one canister; 0 for no limit.",
        "A gateway for one application has all its clients there.",
        group=CLIENTS,
        example="10000",
    )
    max_connections_per_principal: int = option(
        0,
        count(),
        "max-connections-per-principal",
        "Canisters to which one principal may be connected at once, by each of several workers; 0 for no limit.",
        "To each canister it has one connection anyhow: a newer one takes the older one's place.",
        group=CLIENTS,
        example="10",
    )
    accept_rate: int = option(
        0,
        count(),
        "accept-rate",
        "New connections a second, twice as many in a burst; 0 for no limit.",
        "The kernel's queue holds what this process cannot take at once.",
        group=CLIENTS,
        example="200",
    )
    accept_rate_per_ip: int = option(
        0,
        count(),
        "accept-rate-per-ip",
        "New connections a second from one address (IPv6: one /64), five times as many in a burst, to each of several "
        "workers; 0 for no limit.",
        "As for --max-connections-per-ip.",
        group=CLIENTS,
        example="20",
    )
    open_rate: int | None = option(
        None,
        automatic(count(0, 1_000_000)),
        "open-rate",
        "ws_open a second to the network, of all workers; beyond, they wait, and addresses take turns; 0 for no bound; "
        "auto: half of --query-budget.",
        "Strangers send them; who is connected comes first.",
        group=CLIENTS,
        example="50",
    )
    client_message_rate: int = option(
        200,
        count(),
        "client-message-rate",
        "Frames a second from one client: messages, fragments, pings; beyond, its socket is not read; 0 for no limit.",
        "More than the network takes of one client, whose calls follow each other.",
        group=CLIENTS,
        example="50",
    )
    client_message_burst: int = option(
        400,
        count(1),
        "client-message-burst",
        "Frames of one client at once; one that sends as many again (256 at least) in a breath is closed with 4108.",
        "Two seconds' worth.",
        group=CLIENTS,
        example="100",
    )
    client_byte_rate: int = option(
        2 << 20,
        size(0),
        "client-byte-rate",
        "Bytes a second from one client, inflated ones too; beyond, its socket is not read; 0 for no limit.",
        "The longest message each second: a subnet takes about two.",
        group=CLIENTS,
    )
    client_byte_burst: int = option(
        8 << 20,
        size(64 << 10),
        "client-byte-burst",
        "Bytes of one client at once.",
        "Four of the longest messages.",
        group=CLIENTS,
        example="16M",
    )
    message_timeout: float = option(
        120.0,
        seconds(1.0, 3600.0),
        "message-timeout",
        "Time a message may take from its first byte to its last, give or take --ping-interval.",
        "The longest message at 18 kB a second; the slow ones hold memory.",
        group=CLIENTS,
        example="60s",
    )
    trusted_proxies: tuple[str, ...] = option(
        (),
        PROXIES,
        "trusted-proxy",
        "Address or network of proxies whose word on the client's address is believed, or unix for unix: sockets; "
        "repeatable.",
        "Anybody can write such a header. A haproxy: address believes everybody who reaches it unless this is given.",
        group=CLIENTS,
    )
    forwarded_header: str = option(
        "x-forwarded-for",
        choice("x-forwarded-for", "forwarded"),
        "forwarded-header",
        "Header in which trusted proxies name the client.",
        "Only one: the other may have come from the client.",
        group=CLIENTS,
    )

    def share(self, workers: int) -> dict[str, Any]:
        """The bounds that are divided among several workers: one worker's share, rounded up; no bound stays none."""
        return {name: -(-getattr(self, name) // workers) for name in SHARED}
