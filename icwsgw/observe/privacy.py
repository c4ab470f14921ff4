"""How much log lines say about clients (``--log-clients``): addresses, principals and origins may be personal data.

Every line passes through :func:`hider` by the names of its fields, so that no component can leave it out.

    field    full                       masked            none
    ------   ------------------------   ---------------   ----
    peer     203.0.113.7:50712          203.0.113.0/24    --
             [2001:db8:1:2::3]:50712    2001:db8:1::/48   --
    client   the principal              its first group   --
    origin   https://app.example        the same          --
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, ip_network
from typing import Any, Final

from icwsgw.observe.peers import parse_ip

#: Values of the option.
FULL, MASKED, NONE = CLIENT_DETAILS = ("full", "masked", "none")

#: Bits of an address that stay in a masked one: those that name a provider and a region, and no subscriber.
_IPV4_BITS, _IPV6_BITS = 24, 48

Hider = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def masked_peer(peer: str) -> str:
    """Return the network of a peer's address; a text without an address stays as it is.

    :param peer: an address with or without port, or an address group (:mod:`icwsgw.observe.peers`)
    """
    host = peer.rpartition(":")[0] if peer.startswith("[") or peer.count(":") == 1 else peer
    address = parse_ip(host.strip("[]").partition("/")[0])
    if address is None:
        return peer
    bits = _IPV4_BITS if isinstance(address, IPv4Address) else _IPV6_BITS
    return str(ip_network((address, bits), strict=False))


def masked_client(principal: str) -> str:
    """Return the first group of a principal's text: enough to find the same client again, too little to know it."""
    return principal.partition("-")[0] + "-..."


_MASKS: Final[dict[str, Callable[[str], str]]] = {"peer": masked_peer, "client": masked_client}
_FIELDS: Final = frozenset({*_MASKS, "origin"})


def hider(details: str) -> Hider | None:
    """Return what changes the fields of each line, or None if lines stay as they are.

    :param details: one of :data:`CLIENT_DETAILS`
    """
    if details == MASKED:
        return _mask
    return _leave_out if details == NONE else None


def _mask(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    if _FIELDS.isdisjoint(fields):
        return fields
    return {
        name: _MASKS[name](value) if name in _MASKS and isinstance(value, str) else value
        for name, value in fields.items()
    }


def _leave_out(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    if _FIELDS.isdisjoint(fields):
        return fields
    return {name: value for name, value in fields.items() if name not in _FIELDS}
