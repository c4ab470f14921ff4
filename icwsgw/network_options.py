"""Options that say how long the network and canisters are waited for; part of :class:`icwsgw.config.GatewayConfig`."""

from __future__ import annotations

from dataclasses import dataclass

from icwsgw.options import option, seconds

TIMES = "Time limits"


@dataclass(frozen=True)
class NetworkOptions:
    """Patience with what is asked of the network. Durations in seconds."""

    canister_grace: float = option(
        60.0,
        seconds(0.0),
        "canister-grace",
        "How long a canister may give no good answer before its clients are closed.",
        "A canister's upgrade takes less. What the network answers in its place does not count.",
        group=TIMES,
        example="5m",
    )
    network_grace: float = option(
        600.0,
        seconds(0.0),
        "network-grace",
        "How long the network may give no answer about a canister before its clients are closed.",
        "A subnet's upgrade takes minutes, and the canister knows its clients afterwards.",
        group=TIMES,
        example="30m",
    )
    query_timeout: float = option(
        5.0,
        seconds(0.1, 300.0),
        "query-timeout",
        "Deadline of one query.",
        "The original's.",
        group=TIMES,
        example="10",
    )
    call_timeout: float = option(
        30.0,
        seconds(0.1, 300.0),
        "call-timeout",
        "Deadline of one call.",
        "A replica answers a synchronous call within 10 s.",
        group=TIMES,
        example="20s",
    )
