"""Options that limit what one canister and its clients may use (:mod:`icwsgw.config.quotas`).

Part of :class:`icwsgw.config.schema.GatewayConfig`, in its own module because of its length.
"""

from __future__ import annotations

from dataclasses import dataclass

from icwsgw.config.option import CONNECTIONS, NETWORK, QUEUES, option
from icwsgw.config.quotas import CANISTER_QUOTAS, KINDS, CanisterQuota, check_quotas


def _limit(name: str, limits: str, why: str, *, beyond: str = "", burst: bool = False, group: str, example: str) -> int:
    """Declare the default of a limit, which holds for every canister without an exception.

    :param name: a limit of :class:`icwsgw.config.quotas.Quota`
    :param limits: what it limits
    :param beyond: what happens to what exceeds it
    :param burst: whether there may be twice as much at once
    """
    limit = f"{limits}; the burst is twice as many" if burst else limits
    text = " ".join(filter(None, (f"{limit}; 0 for no limit.", beyond)))
    return option(
        0, KINDS[name], f"{name}-per-canister", text, why, group=group, example=example, shared=True, reloaded=True
    )


_NOT_READ = "Beyond it, the sockets of the clients that send are not read, and they take turns."
_POLLED_LATER = "Beyond it, the canister is polled later; it keeps its messages until then."
_SEE = "See --message-rate-per-canister."


@dataclass(frozen=True)
class QuotaOptions:
    """Quotas of canisters. 0 means no limit."""

    max_connections_per_canister: int = _limit(
        "max-connections",
        "Maximum number of clients of one canister",
        "A gateway for one application has all its clients there.",
        group=CONNECTIONS,
        example="10000",
    )
    message_rate_per_canister: int = _limit(
        "message-rate",
        "Limit on messages per second from all clients of one canister",
        "For a gateway that several applications share. Without it, canisters still share the network's budget fairly.",
        beyond=_NOT_READ,
        burst=True,
        group=QUEUES,
        example="500",
    )
    byte_rate_per_canister: int = _limit(
        "byte-rate",
        "Limit on bytes per second from all clients of one canister",
        _SEE,
        beyond=_NOT_READ,
        burst=True,
        group=QUEUES,
        example="1M",
    )
    delivery_rate_per_canister: int = _limit(
        "delivery-rate",
        "Limit on messages per second from one canister to all its clients",
        _SEE,
        beyond=_POLLED_LATER,
        burst=True,
        group=QUEUES,
        example="1000",
    )
    delivery_byte_rate_per_canister: int = _limit(
        "delivery-byte-rate",
        "Limit on bytes per second from one canister to all its clients, with the certificates that each message "
        "carries",
        _SEE,
        beyond=_POLLED_LATER,
        burst=True,
        group=QUEUES,
        example="4M",
    )
    poll_rate_per_canister: int = _limit(
        "poll-rate",
        "Limit on polls per second of one canister",
        "--polling-interval and --query-budget limit polls anyway, but a busy canister is polled more often than an "
        "idle one.",
        beyond="Beyond it, the canister is polled later.",
        group=NETWORK,
        example="20",
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
