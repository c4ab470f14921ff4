"""The options about who may connect, and to what.

Part of :class:`icwsgw.config.GatewayConfig`, in a module of its own by its length.
"""

from __future__ import annotations

from dataclasses import dataclass

from icwsgw.options import CANISTERS, ORIGINS, option

#: The heading in the manual.
ACCESS = "Access"


@dataclass(frozen=True)
class AccessOptions:
    """What may be opened, and from where."""

    allowed_origins: tuple[str, ...] = option(
        (),
        ORIGINS,
        "allowed-origin",
        "Origin of web pages that may connect; repeatable; none given: any.",
        "A gateway for all, as the original; clients prove who they are by signatures, not by cookies.",
        group=ACCESS,
    )
    allowed_canisters: tuple[str, ...] = option(
        (),
        CANISTERS,
        "allowed-canister",
        "Canister that clients may open; repeatable; none given: any.",
        "A gateway for all, as the original. One for an application of yours should name its canisters.",
        group=ACCESS,
    )
    denied_canisters: tuple[str, ...] = option(
        (),
        CANISTERS,
        "denied-canister",
        "Canister that clients may not open; repeatable.",
        "It is for one that does harm.",
        group=ACCESS,
    )
