"""Limits of the Internet Computer that several modules use, with their sources, and values derived from them."""

from __future__ import annotations

from typing import Final

SECOND_NS: Final = 1_000_000_000
"""Nanoseconds in a second. The network gives times in nanoseconds since 1970."""

MAX_INGRESS_TTL_NS: Final = 330 * SECOND_NS
"""How far in the future an ingress expiry may be: 5 minutes, and 30 s for clock differences.

dfinity/ic, rs/limits: ``MAX_INGRESS_TTL`` and ``PERMITTED_DRIFT_AT_VALIDATOR``.
"""

REQUEST_TTL_SECONDS: Final = 240.0
"""Lifetime of the requests that the gateway signs. It leaves a minute for clock differences."""

MAX_AGE_NS: Final = 300 * SECOND_NS
"""Maximum age of a certificate, or of a node signature on the answer to a query. Agents use the same value."""

MAX_FUTURE_NS: Final = 300 * SECOND_NS
"""How far ahead of this machine's clock the time of a certificate or a node signature may be."""

MAX_INGRESS_BYTES: Final = 2 << 20
"""Maximum size of the content of a call (dfinity/ic, rs/limits: ``MAX_INGRESS_BYTES_PER_MESSAGE_APP_SUBNET``)."""

MAX_REPLY_BYTES: Final = 3 << 20
"""Maximum size of a canister's reply to a query (IC interface specification: at most 3 MiB)."""

MAX_CALL_REPLY_BYTES: Final = 2 << 20
"""Maximum size of a canister's reply to a call (dfinity/ic, rs/types: ``MAX_INTER_CANISTER_PAYLOAD_IN_BYTES``)."""

AROUND_BYTES: Final = 64 << 10
"""Bytes allowed around a content or a reply, for signatures, delegations, a certificate and CBOR."""

MAX_CACHED_DELEGATIONS: Final = 1100
"""The most entries in a cache of delegations. 40 subnets of 13 nodes have 520 at a time, each in two forms."""
