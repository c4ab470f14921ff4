"""The gateway's URL for clients, and the ids of the bench's canisters."""

from __future__ import annotations

import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from icwsgw.ic.principal import Principal


class Target(NamedTuple):
    """The gateway's address.

    :ivar path: the path, with the query if there is one
    """

    address: tuple[str, int]
    host: str
    path: str
    context: ssl.SSLContext | None
    loopback: bool


def parse_target(url: str) -> Target:
    """Parse a ws:// or wss:// URL; certificates are not verified.

    :raises ValueError: the URL has another scheme
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"{url!r} is not a WebSocket URL")
    context = None
    if parts.scheme == "wss":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    address = (parts.hostname, parts.port or (443 if context else 80))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(address, parts.netloc, path, context, parts.hostname == "127.0.0.1")


def canister_id(number: int) -> Principal:
    """Return the id of the bench's canister with this number; it is in the range of canister ids."""
    return Principal(number.to_bytes(8, "big") + b"\1\1")
