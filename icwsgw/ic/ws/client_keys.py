"""The client key: who a session's client is to a canister, its principal and a nonce of its own choice."""

from __future__ import annotations

from typing import Any

from icwsgw.ic.candid import DEFAULT_LIMITS, Nat64, PrincipalType, Record
from icwsgw.ic.principal import Principal

#: For all that comes from clients and canisters here: more than 2,000 messages in one answer, and at worst 40 ms. A
#: table of types has some twenty items here, and those of an application's own type where a message carries one.
LIMITS = DEFAULT_LIMITS._replace(depth=30, values=20_000, table_items=2_000)
#: For what has a dozen values: arguments of calls, which strangers write, and results without a page. A type table of
#: some hundred bytes can describe a value of any number of parts that take no byte; a thousand of them cost 0.3 ms.
SMALL = LIMITS._replace(values=1_000, table_items=1_000)
CLIENT_KEY = Record({"client_principal": PrincipalType, "client_nonce": Nat64})


def client_key(principal: bytes, nonce: int) -> dict[str, Any]:
    """The record of a client key.

    :raises FormatError: not a principal
    """
    return {"client_principal": Principal(principal), "client_nonce": nonce}


def read_client_key(record: dict[str, Any]) -> tuple[bytes, int]:
    """Principal (raw) and nonce of the record's field client_key."""
    client = record["client_key"]
    return client["client_principal"].raw, client["client_nonce"]
