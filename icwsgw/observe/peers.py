"""How peers are written and grouped, for limits by address and for log lines."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

#: Addresses whose groups are remembered: each connection asks several times, and many have an address in common.
REMEMBERED: Final = 1024


def bracketed(host: str) -> str:
    """Write a host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def parse_ip(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address, with its zone cut off and an IPv4 one mapped into IPv6 as IPv4; None when it is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(REMEMBERED)
def address_group(host: str) -> str | None:
    """The unit that a limit by address counts: an IPv4 address, or the /64 of an IPv6 one, which is one subscriber.

    None for what is no IP address, such as a unix socket: nothing is known of who is there.
    """
    address = parse_ip(host)
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64)) + "/64"
    return None if address is None else str(address)


def peer_group(peer: str) -> str:
    """The unit that a limit by address counts, of a peer with or without a port; what is no IP address is its own."""
    host = peer.rpartition(":")[0] if peer.startswith("[") or peer.count(":") == 1 else peer
    return address_group(host.strip("[]")) or host
