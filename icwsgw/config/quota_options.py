"""Options that limit what one canister and its clients may use (:mod:`icwsgw.config.quotas`).

Part of :class:`icwsgw.config.schema.GatewayConfig`, in its own module because of its length.
"""

from __future__ import annotations

from dataclasses import dataclass

from icwsgw.config.option import CONNECTIONS, NETWORK, QUEUES, option
from icwsgw.config.quotas import BYTES, CANISTER_QUOTAS, RATE, CanisterQuota, check_quotas


@dataclass(frozen=True)
class QuotaOptions:
    """Quotas of canisters. 0 means no limit."""

    max_connections_per_canister: int = option(
        0,
        RATE,
        "max-connections-per-canister",
        "Maximum number of clients of one canister; 0 for no limit.",
        "A gateway for one application has all its clients there.",
        group=CONNECTIONS,
        example="10000",
        shared=True,
        reloaded=True,
    )
    message_rate_per_canister: int = option(
        0,
        RATE,
        "message-rate-per-canister",
        "Limit on messages per second from all clients of one canister; the burst is twice as many; 0 for no limit. "
        "Beyond it, the sockets of the clients that send are not read, and they take turns.",
        "For a gateway that several applications share. Without it, canisters still share the network's budget fairly.",
        group=QUEUES,
        example="500",
        shared=True,
        reloaded=True,
    )
    byte_rate_per_canister: int = option(
        0,
        BYTES,
        "byte-rate-per-canister",
        "Limit on bytes per second from all clients of one canister; the burst is twice as many; 0 for no limit. "
        "Beyond it, the sockets of the clients that send are not read, and they take turns.",
        "See --message-rate-per-canister.",
        group=QUEUES,
        example="1M",
        shared=True,
        reloaded=True,
    )
    delivery_rate_per_canister: int = option(
        0,
        RATE,
        "delivery-rate-per-canister",
        "Limit on messages per second from one canister to all its clients; the burst is twice as many; 0 for no "
        "limit. Beyond it, the canister is polled later; it keeps its messages until then.",
        "See --message-rate-per-canister.",
        group=QUEUES,
        example="1000",
        shared=True,
        reloaded=True,
    )
    delivery_byte_rate_per_canister: int = option(
        0,
        BYTES,
        "delivery-byte-rate-per-canister",
        "Limit on bytes per second from one canister to all its clients, with the certificates that each message "
        "carries; the burst is twice as many; 0 for no limit. Beyond it, the canister is polled later; it keeps its "
        "messages until then.",
        "See --message-rate-per-canister.",
        group=QUEUES,
        example="4M",
        shared=True,
        reloaded=True,
    )
    poll_rate_per_canister: int = option(
        0,
        RATE,
        "poll-rate-per-canister",
        "Limit on polls per second of one canister; 0 for no limit. Beyond it, the canister is polled later.",
        "--polling-interval and --query-budget limit polls anyway, but a busy canister is polled more often than an "
        "idle one.",
        group=NETWORK,
        example="20",
        shared=True,
        reloaded=True,
    )
    canister_quotas: tuple[CanisterQuota, ...] = option(
        (),
        CANISTER_QUOTAS,
        "canister-quota",
        "Limits of one canister in place of the defaults, which the options *-per-canister set: max-connections, "
        "message-rate, byte-rate, delivery-rate, delivery-byte-rate, poll-rate; repeatable. A --config file may have a "
        'table [canister."<canister id>"] for each canister instead.',
        "Some tenants need more than others, and some less.",
        group=CONNECTIONS,
        reloaded=True,
    )

    def check_quotas(self) -> None:
        """Check that no canister has two quotas.

        :raises ConfigError: one has
        """
        check_quotas(self.canister_quotas)
