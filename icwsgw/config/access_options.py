# ruff: noqa: RUF009 - option() makes a dataclass field, not a shared default
"""Options for access: who may connect, and to which canisters.

Part of :class:`icwsgw.config.schema.GatewayConfig`, in its own module because of its length.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from icwsgw.config.option import CANISTERS, CONNECTIONS, FILE, ORIGINS, Kind, option, seconds
from icwsgw.errors import ConfigError
from icwsgw.ic.networks import is_loopback
from icwsgw.url_parts import split_url

#: Words for no URL.
_NONE = frozenset({"", "none", "off"})


def _list_url(text: str) -> str | None:
    url = text.strip()
    if url.lower() in _NONE:
        return None
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host or parts.fragment or not (url.isascii() and url.isprintable()):
        raise ConfigError(f"{text!r} is not a URL such as https://lists.example/deny.list")
    if parts.username is not None:
        raise ConfigError("a URL of a list has no user and no password")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(f"{text!r}: a list is fetched by https, or by http from this machine")
    try:
        split_url(url)
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}") from None
    return url


LIST_URL = Kind("URL", _list_url, lambda value: value or "", example="https://lists.example/deny.list")


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
        "Every client may connect by default.",
        group=CONNECTIONS,
        example="/etc/icws/allow.list",
    )
    deny_list_url: str | None = option(
        None,
        LIST_URL,
        "deny-list-url",
        "URL of such a list, beside --deny-list. The gateway fetches it at the start and every --access-list-interval, "
        "and keeps a copy in --data-dir. Until it has been fetched once, it denies no client.",
        "For lists that other machines keep. A server that is away changes nothing.",
        group=CONNECTIONS,
    )
    allow_list_url: str | None = option(
        None,
        LIST_URL,
        "allow-list-url",
        "The same for those that may connect, beside --allow-list. Until it has been fetched once, no client may "
        "connect, and the gateway is not ready; an empty list counts as damaged.",
        "As --deny-list-url.",
        group=CONNECTIONS,
        example="https://lists.example/allow.list",
    )
    access_list_interval: float = option(
        300.0,
        seconds(10.0, 86_400.0),
        "access-list-interval",
        "Time between two fetches of --deny-list-url and --allow-list-url. After a failure the next one comes earlier.",
        "A server that knows ETag or If-Modified-Since sends a list only when it has changed.",
        group=CONNECTIONS,
        example="1m",
        reloaded=True,
    )
