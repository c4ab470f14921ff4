# ruff: noqa: RUF009 - option() makes a dataclass field, not a shared default
"""Options for access: who may connect, and to which canisters.

Part of :class:`icwsgw.config.schema.GatewayConfig`, in its own module because of its length.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from icwsgw.config.option import CANISTERS, CONNECTIONS, FILE, ORIGINS, option


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
    deny_list: Path | None = option(
        None,
        FILE,
        "deny-list",
        "File of addresses, networks, principals, canisters and web origins that may not connect, one a line. The "
        "gateway reads it again when it changes, and closes clients that are denied now.",
        "For lists that other programs keep.",
        group=CONNECTIONS,
        example="/etc/icws/deny.list",
    )
    allow_list: Path | None = option(
        None,
        FILE,
        "allow-list",
        "The same for those that may connect. Of each kind, only those that it names may, if it names any.",
        "Everybody may connect by default.",
        group=CONNECTIONS,
        example="/etc/icws/allow.list",
    )
