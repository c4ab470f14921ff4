"""Web origins: what a browser says in ``Origin``, and which of them ``--allowed-origin`` lets in.

An origin is a scheme, a host and a port (RFC 6454), and these are compared, never the text: in a comparison of texts
``https://*.app.example`` would fit ``https://evil.example/.app.example``. The port that a scheme has by default may be
left out or written. What is no serialized origin (RFC 6454, section 6.1), with a path, a user, or characters that no
host has, fits nothing.

A ``*`` stands for any characters of a host, dots too, or for any port. A host with a dot at its end is another one than
without, as it is to browsers. A host that is not ASCII is what browsers send for it (IDNA).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

import idna

from icwsgw.errors import ConfigError

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[^\[\]]*\]|[^\[\]:/?#@\\\s]+)(?::(\d{1,5}|\*))?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_*]([a-z0-9_*-]*[a-z0-9_*])?", re.ASCII)
_MAX_HOST = 253


class Origin(NamedTuple):
    """An origin, or a pattern of one.

    :ivar host: in lower case; an IPv6 address in its shortest form, with brackets
    :ivar port: None where the scheme has none; ``*`` in a pattern: any
    """

    scheme: str
    host: str
    port: int | str | None


def parse_origin(text: str, *, pattern: bool = False) -> Origin | None:
    """Read a serialized origin in ASCII; None for what is none, for ``null`` too.

    :param pattern: whether ``*`` may stand in it
    """
    found = _ORIGIN.fullmatch(text.lower())
    if found is None or ("*" in text and not pattern):
        return None
    scheme, host, port = found.groups()
    host = _address(host) if host.startswith("[") else _name(host)
    if not host:
        return None
    if port is None:
        return Origin(scheme, host, _DEFAULT_PORTS.get(scheme))
    if port == "*":
        return Origin(scheme, host, port)
    return Origin(scheme, host, int(port)) if 0 < int(port) < 1 << 16 else None


def canonical(text: str) -> str:
    """Write an operator's origin or pattern as it is compared.

    :raises ConfigError: it is none
    """
    if text == "null":
        return text
    origin = parse_origin(_ascii(text.removesuffix("/")), pattern=True)
    if origin is None:
        raise ConfigError(f"{text!r} is not an origin such as https://app.example or https://*.app.example")
    port = "" if origin.port == _DEFAULT_PORTS.get(origin.scheme) else f":{origin.port}"
    return f"{origin.scheme}://{origin.host}{port}"


class Origins:
    """The origins that are let in; false when all are.

    :param texts: as :func:`canonical` writes them
    """

    __slots__ = ("_exact", "_null", "_patterns", "_some")

    def __init__(self, texts: Iterable[str]) -> None:
        origins = [origin for text in texts if (origin := parse_origin(text, pattern=True) or text)]
        parsed = [origin for origin in origins if isinstance(origin, Origin)]
        self._some = bool(origins)
        self._null = "null" in origins
        wild = {origin for origin in parsed if "*" in origin.host or origin.port == "*"}
        self._exact = frozenset(parsed) - wild
        self._patterns = [(origin, _host_pattern(origin.host)) for origin in sorted(wild, key=str)]

    def __bool__(self) -> bool:
        return self._some

    def admits(self, text: str) -> bool:
        """Whether pages of an origin are let in.

        :param text: the header's value, empty where there is none
        """
        if not self._some:
            return True
        text = text.strip(" \t")
        if text == "null":
            return self._null
        origin = parse_origin(text)
        if origin is None:
            return False
        return origin in self._exact or any(
            origin.scheme == each.scheme and each.port in ("*", origin.port) and host.fullmatch(origin.host)
            for each, host in self._patterns
        )


def _host_pattern(host: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, host.split("*"))))


def _address(host: str) -> str:
    try:
        return f"[{IPv6Address(host[1:-1])}]"
    except AddressValueError:
        return ""


def _name(host: str) -> str:
    labels = host.removesuffix(".").split(".")
    return host if len(host) <= _MAX_HOST and all(map(_LABEL.fullmatch, labels)) else ""


def _ascii(text: str) -> str:
    """Write a host that is not ASCII as browsers do; what cannot be written so stays, and is refused."""
    scheme, colon, rest = text.partition("://")
    host, port_colon, port = rest.partition(":")
    if text.isascii():
        return text
    try:
        labels = [part if part.isascii() else idna.encode(part, uts46=True).decode() for part in host.split(".")]
    except idna.IDNAError:
        return text
    return scheme + colon + ".".join(labels) + port_colon + port
