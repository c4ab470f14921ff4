"""Parts of URLs, with a host that the HTTP client and TLS can use; for the configuration and the HTTP client."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import urlsplit

import idna

#: Ports of the schemes.
DEFAULT_PORTS = {"http": 80, "https": 443}

_UNSAFE_PATH = re.compile(rb"[\x00-\x20\x7f-\xff]")
_HOST = re.compile(r"[A-Za-z0-9._~:-]+")


class UrlParts(NamedTuple):
    """Parts of a URL.

    :ivar scheme: "http" or "https"
    :ivar host: ASCII name, or address without brackets
    :ivar port: TCP port
    :ivar path: path and query, at least "/"
    """

    scheme: str
    host: str
    port: int
    path: bytes


def split_url(text: str) -> UrlParts:
    """Split an absolute http or https URL; its fragment is dropped.

    :raises ValueError: it is not such a URL, has a user name or password, or a host that TLS cannot check
    """
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL with user name or password is not supported")
    if not parts.hostname:
        raise ValueError(f"not an absolute URL: {text!r}")
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"not an http or https URL: scheme {parts.scheme!r}")
    port = parts.port if parts.port is not None else DEFAULT_PORTS[parts.scheme]
    if port == 0:
        raise ValueError("not a TCP port: 0")
    path = parts.path or "/"
    if parts.query:
        path += "?" + parts.query
    return UrlParts(parts.scheme, _host(parts.scheme, parts.hostname), port, checked_path(path.encode()))


def checked_path(path: bytes) -> bytes:
    """Return a path with its query.

    :raises ValueError: it is not percent-encoded, or does not begin with "/"
    """
    if not path.startswith(b"/") or _UNSAFE_PATH.search(path):
        raise ValueError(f"not a URL path: {path!r}")
    return path


def _host(scheme: str, name: str) -> str:
    """Return a host in ASCII.

    :raises ValueError: it is neither a name nor an address, or TLS cannot check it
    """
    is_address = ":" in name
    try:
        host = name if is_address else name.encode("idna").decode("ascii")
        if is_address:
            IPv6Address(host)
    except ValueError:
        host = ""
    if not _HOST.fullmatch(host):
        raise ValueError(f"not a host name or address: {name!r}")
    if scheme == "https" and not is_address:
        # TLS refuses what IDNA 2008 does, for example an underscore
        try:
            idna.encode(host)
        except idna.IDNAError as error:
            raise ValueError(f"TLS cannot check the host name {name!r}: {error}") from None
    return host
