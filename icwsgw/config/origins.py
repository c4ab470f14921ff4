"""Web origins: parses the ``Origin`` header of browsers, and matches it against ``--allowed-origin``.

An origin is a scheme, a host and a port (RFC 6454). These parts are compared, never the text: as text, the pattern
``https://*.app.example`` would match ``https://evil.example/.app.example``. The default port of a scheme may be omitted
or written. Text that is not a serialized origin (RFC 6454, section 6.1), for example with a path, a user, or characters
that are invalid in a host, matches nothing.

A ``*`` matches any characters of a host, including dots, or any port. As in browsers, a host with a final dot differs
from the same host without it. A host that is not ASCII is converted to the form that browsers send (IDNA).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv6Address
from typing import Final, NamedTuple

import idna

from icwsgw.errors import ConfigError

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[^\[\]]*\]|[^\[\]:/?#@\\\s]+)(?::(\d{1,5}|\*))?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_*]([a-z0-9_*-]*[a-z0-9_*])?", re.ASCII)
_MAX_HOST = 253


class Origin(NamedTuple):
    """An origin, or a pattern for origins.

    :ivar host: in lower case; an IPv6 address in its shortest form, with brackets
    :ivar port: None where the scheme has none; ``*`` in a pattern: any
    """

    scheme: str
    host: str
    port: int | str | None


def parse_origin(text: str, *, pattern: bool = False) -> Origin | None:
    """Parse a serialized origin in ASCII; return None for any other text, including ``null``.

    :param pattern: whether ``*`` is allowed
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
    """Return an operator's origin or pattern in the form that is compared.

    :raises ConfigError: it is not an origin or a pattern
    """
    if text == "null":
        return text
    origin = parse_origin(_ascii(text.removesuffix("/")), pattern=True)
    if origin is None:
        raise ConfigError(f"{text!r} is not an origin such as https://app.example or https://*.app.example")
    port = "" if origin.port == _DEFAULT_PORTS.get(origin.scheme) else f":{origin.port}"
    return f"{origin.scheme}://{origin.host}{port}"


#: Allowed origins that a refusal names.
MOST_NAMED: Final = 5


class Origins:
    """The allowed origins; false if all are.

    :param texts: origins and patterns in the form of :func:`canonical`
    :param denied: those that are not allowed, whatever ``texts`` says
    """

    __slots__ = ("_denied", "_exact", "_null", "_patterns", "_some", "_texts")

    def __init__(self, texts: Iterable[str], denied: Iterable[str] = ()) -> None:
        denied = tuple(denied)
        self._denied = Origins(denied) if denied else None
        self._texts = tuple(texts)
        origins = [origin for text in self._texts if (origin := parse_origin(text, pattern=True) or text)]
        parsed = [origin for origin in origins if isinstance(origin, Origin)]
        self._some = bool(origins)
        self._null = "null" in origins
        wild = {origin for origin in parsed if "*" in origin.host or origin.port == "*"}
        self._exact = frozenset(parsed) - wild
        self._patterns = [(origin, _host_pattern(origin.host)) for origin in sorted(wild, key=str)]

    def __bool__(self) -> bool:
        return self._some or self._denied is not None

    def refusal(self, text: str) -> str:
        """Say why pages of an origin may not connect: which origin it is, and which are allowed.

        :param text: the header's value, empty if there is no header
        """
        if self._denied is not None and self._denied.admits(text):
            return f"origin {text} not allowed"
        named = ", ".join(self._texts[:MOST_NAMED])
        more = len(self._texts) - MOST_NAMED
        allowed = f"{named} and {more} more" if more > 0 else named
        return (
            f"origin {text} not allowed, only {allowed}" if text else f"no origin was sent, only {allowed} may connect"
        )

    def admits(self, text: str) -> bool:
        """Return whether pages of an origin may connect.

        :param text: the header's value, empty if there is no header
        """
        if self._denied is not None and self._denied.admits(text):
            return False
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
    """Convert a host that is not ASCII as browsers do; return it unchanged if that fails, so that it is refused."""
    scheme, colon, rest = text.partition("://")
    host, port_colon, port = rest.partition(":")
    if text.isascii():
        return text
    try:
        labels = [part if part.isascii() else idna.encode(part, uts46=True).decode() for part in host.split(".")]
    except idna.IDNAError:
        return text
    return scheme + colon + ".".join(labels) + port_colon + port
