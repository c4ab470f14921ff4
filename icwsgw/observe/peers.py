"""Formats and groups the addresses of peers, for limits by address and for log lines."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

#: Size of the cache of address groups: each connection needs its group several times, and many share an address.
REMEMBERED: Final = 1024


def bracketed(host: str) -> str:
    """Return a host as it is written before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def parse_ip(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an IP address; drops a zone, converts an IPv4-mapped one to IPv4; None if it is not an IP address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_network(text: str, strict: bool = True) -> IPv4Network | IPv6Network:
    """Parse a network or an address; converts an IPv4-mapped one to IPv4, as :func:`parse_ip` does with addresses.

    :param strict: whether bits behind the prefix are an error
    :raises ValueError: it is neither
    """
    network = ip_network(text, strict)
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


@lru_cache(REMEMBERED)
def address_group(host: str) -> str | None:
    """Return the group for limits by address: an IPv4 address, or the /64 of an IPv6 address (one subscriber).

    Returns None if ``host`` is not an IP address, for example with a unix socket: the client's address is unknown.
    """
    address = parse_ip(host)
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64)) + "/64"
    return None if address is None else str(address)


def host_of_peer(peer: str) -> str:
    """Return the host of a peer with or without a port, without brackets."""
    host = peer.rpartition(":")[0] if peer.startswith("[") or peer.count(":") == 1 else peer
    return host.strip("[]")


def peer_group(peer: str) -> str:
    """Return the address group of a peer with or without a port, or the text itself if it is not an IP address."""
    host = host_of_peer(peer)
    return address_group(host) or host
