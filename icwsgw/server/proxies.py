"""Who a client is behind proxies: what a proxy says of its address, believed only from those that may say it.

    transport ── PROXY protocol ──> address of the peer ── X-Forwarded-For or Forwarded ──> address of the client

A ``haproxy:`` endpoint gives the first step (Twisted reads that header, and nowhere else). Where trusted proxies are
listed, a PROXY header of anybody else is not believed. The HTTP header is read only when the peer is a trusted proxy,
from right to left: each proxy has added the address it saw at the right end, so the first one that is no trusted proxy
is the client, and what stands left of it is the client's own invention. Only the one header that the operator named is
read, since a proxy that writes one of them passes the other on as it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper

from icwsgw.observe.peers import parse_ip

UNIX = "unix"
_BLANKS = " \t"

# A value of Forwarded's parameters is a token or a quoted string (RFC 7239, section 4). Blanks around it are stripped
# before: with a second run of blanks in the pattern, a client's thousands of them would be tried in all pairs.
_FOR = re.compile(r'for\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s";,]*))', re.IGNORECASE)
_PORT = re.compile(r"\[(.*)\](?::[\w.-]+)?|([^:]+):[\w.-]+")


def host_of(address: Any) -> str:
    """The host of a Twisted address; ``unix`` for what has none."""
    return getattr(address, "host", "") or UNIX


def socket_host(transport: Any) -> tuple[str, bool]:
    """The host at the other end of the socket itself, and whether the PROXY protocol is spoken on it."""
    spoken = False
    while True:
        spoken = spoken or isinstance(transport, HAProxyProtocolWrapper)
        below = getattr(transport, "transport", None)
        if below is None or not hasattr(below, "getPeer"):
            return host_of(transport.getPeer()), spoken
        transport = below


class TrustedProxies:
    """The proxies whose word is believed.

    :param networks: as ``--trusted-proxy`` takes them: networks, and ``unix``
    :param header: ``x-forwarded-for`` or ``forwarded``
    """

    __slots__ = ("_forwarded", "_header", "_networks", "_unix")

    def __init__(self, networks: Iterable[str], header: str) -> None:
        words = tuple(networks)
        self._unix = UNIX in words
        self._networks = tuple(ip_network(word) for word in words if word != UNIX)
        self._header = header
        self._forwarded = header == "forwarded"

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def trusts(self, host: str) -> bool:
        """Whether the peer at ``host`` is a trusted proxy."""
        if not self:
            return False
        if host == UNIX:
            return self._unix
        address = parse_ip(host)
        return address is not None and any(address in network for network in self._networks)

    def client(self, host: str, headers: Mapping[str, str]) -> str:
        """The host of the client.

        :param host: of the peer
        :param headers: of its HTTP request, names in lower case, repeated ones joined with commas
        :return: the right-most host that is no trusted proxy; where the chain breaks off (no header, ``unknown``,
            rubbish), the last proxy that is known
        """
        if not self.trusts(host):
            return host
        for hop in reversed(self._hops(headers.get(self._header, ""))):
            address = _hop_address(hop)
            if address is None:
                break
            host = str(address)
            if not self.trusts(host):
                break
        return host

    def _hops(self, value: str) -> list[str]:
        if not self._forwarded:
            return value.split(",")
        hops = []
        for element in split_outside_quotes(value, ","):
            pairs = split_outside_quotes(element, ";")
            found = [match for pair in pairs if (match := _FOR.fullmatch(pair.strip(_BLANKS)))]
            quoted, token = found[0].groups() if len(found) == 1 else (None, "")
            hops.append(token if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        return hops


def _hop_address(text: str) -> IPv4Address | IPv6Address | None:
    """An address with or without a port, IPv6 in brackets where it has one."""
    text = text.strip(_BLANKS)
    if match := _PORT.fullmatch(text):
        if match[1] is not None:
            return parse_ip(match[1])
        return parse_ip(match[2])
    return parse_ip(text)


def split_outside_quotes(text: str, separator: str) -> list[str]:
    """Cut a header's value at a separator, but not inside of quoted strings (RFC 9110, section 5.6.4)."""
    if '"' not in text:
        return text.split(separator)
    parts = []
    start = 0
    quoted = escaped = False
    for at, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == '"':
            quoted = not quoted
        elif character == "\\":
            escaped = quoted
        elif character == separator and not quoted:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]
