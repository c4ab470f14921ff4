"""Whether a client can connect to a URL at all: a mistake that no further attempt would mend."""

from __future__ import annotations

from urllib.parse import urlsplit

from icwsgw.client.client_errors import ClientError


def check_gateway_url(url: str) -> None:
    """Check the URL of a gateway (RFC 6455, 3).

    :raises ClientError: it is none
    """
    try:
        why = _wrong(url)
    except (ValueError, TypeError, AttributeError) as error:
        why = str(error)
    if why:
        raise ClientError(f"{url!r} is not the URL of a gateway: {why}", "Give ws://HOST:PORT or wss://HOST.")


def _wrong(url: str) -> str:
    """Return what is wrong with a URL; empty: nothing.

    :raises ValueError: it has no form of a URL, or its port is no number of a port
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss"):
        return f"its scheme is {parts.scheme!r}"
    if not parts.hostname:
        return "it has no host"
    if parts.port == 0:
        return "its port is 0"
    return "it has a fragment" if parts.fragment else ""
