"""Options for access: who may connect, and to which canisters.

Part of :class:`icwsgw.config.schema.GatewayConfig`, in its own module because of its length.
"""

from __future__ import annotations

from dataclasses import dataclass

from icwsgw.config.option import CANISTERS, CONNECTIONS, ORIGINS, option


@dataclass(frozen=True)
class AccessOptions:
    """Which canisters clients may use, and from which web origins they may connect."""

    allowed_origins: tuple[str, ...] = option(
        (),
        ORIGINS,
        "allowed-origin",
        "Origin of web pages that may connect; repeatable; none given: any.",
        "As in the Rust gateway. Clients authenticate by signatures, not by cookies.",
        group=CONNECTIONS,
        reloaded=True,
    )
    allowed_canisters: tuple[str, ...] = option(
        (),
        CANISTERS,
        "allowed-canister",
        "Canister that clients may open; repeatable; none given: any.",
        "As in the Rust gateway. A gateway for one application should name its canisters.",
        group=CONNECTIONS,
        reloaded=True,
    )
    denied_canisters: tuple[str, ...] = option(
        (),
        CANISTERS,
        "denied-canister",
        "Canister that clients may not open; repeatable.",
        "For a canister that does harm.",
        group=CONNECTIONS,
        reloaded=True,
    )
