"""The client key in Candid: the client's principal and a nonce that it chose; it names a session at a canister."""

from __future__ import annotations

from typing import Any

from icwsgw.ic.candid import DEFAULT_LIMITS, Nat64, PrincipalType, Record
from icwsgw.ic.principal import Principal

#: Limits for pages and for all Candid heads: more than 2,000 messages in one page, and at most 40 ms of work. A type
#: table of the CDK has about twenty items, plus those of the application's own type in ``ws_message``.
LIMITS = DEFAULT_LIMITS._replace(depth=30, values=20_000, table_items=2_000)
#: Limits for messages of about a dozen values: arguments of calls, which are untrusted, and answers without a page. A
#: type table of about a hundred bytes can describe any number of values that take no bytes; a thousand cost 0.3 ms.
SMALL = LIMITS._replace(values=1_000, table_items=1_000)
CLIENT_KEY = Record({"client_principal": PrincipalType, "client_nonce": Nat64})


def client_key(principal: bytes, nonce: int) -> dict[str, Any]:
    """Return the Candid record of a client key.

    :raises FormatError: the principal is longer than 29 bytes
    """
    return {"client_principal": Principal(principal), "client_nonce": nonce}


def read_client_key(record: dict[str, Any]) -> tuple[bytes, int]:
    """Return the principal (as bytes) and the nonce in a record's field ``client_key``."""
    client = record["client_key"]
    return client["client_principal"].raw, client["client_nonce"]
