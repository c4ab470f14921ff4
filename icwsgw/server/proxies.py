"""The address of a client behind proxies, as far as trusted proxies name it.

    transport -- PROXY protocol --> address of the peer -- X-Forwarded-For or Forwarded --> address of the client

A ``haproxy:`` endpoint does the first step (Twisted reads a PROXY header only there). If trusted proxies are listed,
PROXY headers of others are ignored. The HTTP header is read only if the peer is a trusted proxy, from right to left:
each proxy adds the address that it saw at the right end. So the first address that is not a trusted proxy is the
client's, and the client itself may have written what is left of it. Only the header that the operator has named is
read, because a proxy that writes one of the two headers passes on the other one unchanged.
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
    """The host of a Twisted address; ``unix`` if it has none."""
    return getattr(address, "host", "") or UNIX


def socket_host(transport: Any) -> tuple[str, bool]:
    """The host at the other end of the socket itself, and whether the PROXY protocol is used on it."""
    spoken = False
    while True:
        spoken = spoken or isinstance(transport, HAProxyProtocolWrapper)
        below = getattr(transport, "transport", None)
        if below is None or not hasattr(below, "getPeer"):
            return host_of(transport.getPeer()), spoken
        transport = below


class TrustedProxies:
    """The proxies whose headers count.

    :param networks: as in ``--trusted-proxy``: networks, and ``unix``
    :param header: ``x-forwarded-for`` or ``forwarded``
    """

    __slots__ = ("_forwarded", "_header", "_networks", "_unix")

    def __init__(self, networks: Iterable[str], header: str) -> None:
        entries = tuple(networks)
        self._unix = UNIX in entries
        self._networks = tuple(ip_network(word) for word in entries if word != UNIX)
        self._header = header
        self._forwarded = header == "forwarded"

    def __bool__(self) -> bool:
        return self._unix or bool(self._networks)

    def trusts(self, host: str) -> bool:
        """Whether ``host`` is a trusted proxy."""
        if not self:
            return False
        if host == UNIX:
            return self._unix
        address = parse_ip(host)
        return address is not None and any(address in network for network in self._networks)

    def client(self, host: str, headers: Mapping[str, str]) -> str:
        """The address of the client.

        :param host: of the peer
        :param headers: of its HTTP request, names in lower case, repeated ones joined with commas
        :return: the right-most address that is not a trusted proxy; the last known proxy if the chain breaks off (no
            header, ``unknown``, an invalid address)
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
    """The address of one hop: with or without a port, and IPv6 in brackets if it has one."""
    text = text.strip(_BLANKS)
    if match := _PORT.fullmatch(text):
        if match[1] is not None:
            return parse_ip(match[1])
        return parse_ip(match[2])
    return parse_ip(text)


def split_outside_quotes(text: str, separator: str) -> list[str]:
    """Split a header's value at a separator, except inside quoted strings (RFC 9110, section 5.6.4)."""
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
