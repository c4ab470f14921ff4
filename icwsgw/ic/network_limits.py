"""Limits of the Internet Computer that several modules rely on, each with its source, and what follows from them."""

from __future__ import annotations

from typing import Final

SECOND_NS: Final = 1_000_000_000
"""Nanoseconds in a second: the network's times are in nanoseconds since 1970."""

MAX_INGRESS_TTL_NS: Final = 330 * SECOND_NS
"""How far in the future an ingress expiry may be: 5 minutes, and 30 s for clocks that differ.

dfinity/ic, rs/limits: ``MAX_INGRESS_TTL`` and ``PERMITTED_DRIFT_AT_VALIDATOR``.
"""

REQUEST_TTL_SECONDS: Final = 240.0
"""Lifetime of the requests that the gateway signs: it leaves a minute for clocks that differ."""

MAX_AGE_NS: Final = 300 * SECOND_NS
"""Maximum age of a certificate, or of a node's signature on the answer to a query, as agents have it."""

MAX_FUTURE_NS: Final = 300 * SECOND_NS
"""How far ahead of this machine's clock a certificate or a node's signature may be."""

MAX_INGRESS_BYTES: Final = 2 << 20
"""Maximum size of the content of a call (dfinity/ic, rs/limits: ``MAX_INGRESS_BYTES_PER_MESSAGE_APP_SUBNET``)."""

MAX_REPLY_BYTES: Final = 3 << 20
"""Maximum size of a canister's reply (IC interface specification: at most 3 MiB from a query)."""

AROUND_BYTES: Final = 64 << 10
"""Room for what is around a content or a reply: signatures, delegations, a certificate, CBOR."""

MAX_CACHED_DELEGATIONS: Final = 1100
"""Entries of a cache of delegations: 40 subnets of 13 nodes have 520 at a time, each in two forms."""
