"""The path between clients and the gateway: direct, a proxy that adds a header, a proxy with PROXY protocol, or TLS.

In each case, the gateway must know each client's real address, and allow it the full time limit for each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random
from struct import pack

#: Where proxies are that the gateway believes, and where clients say that they come from.
TRUSTED = "203.0.113.0/24"
PROXY, INNER = "203.0.113.9", "203.0.113.77"
INVENTED = ("198.51.100.7", "203.0.113.5", "unknown", "192.0.2.250")
#: What there may be.
FRONTS = ("", "forwarded", "proxy", "tls")


@dataclass(frozen=True)
class Front:
    """What one connection comes through.

    :ivar peer: the address that the gateway's socket has at its other end
    :ivar head: bytes before the request
    :ivar headers: of the request
    :ivar proxied: it begins with a PROXY header
    :ivar tls: seconds that the handshake of TLS takes; None: there is none
    :ivar idle: seconds from then until the request comes
    """

    peer: str
    head: bytes = b""
    headers: tuple[str, ...] = ()
    proxied: bool = False
    tls: float | None = None
    idle: float = 0.0


def front_of(kind: str, address: str, random: Random, tls_timeout: float, header_timeout: float) -> Front:
    """What a client comes through.

    :param kind: one of :data:`FRONTS`
    :param address: of the client
    """
    if kind == "forwarded":
        hops = [*random.sample(INVENTED, random.choice((0, 1, 2))), address, *random.choice(((), (INNER,)))]
        return Front(PROXY, headers=(f"X-Forwarded-For: {', '.join(hops)}",))
    if kind == "proxy":
        return Front(PROXY, _proxy_header(ip_address(address), random.random() < 0.5), proxied=True)
    if kind == "tls":
        call_slots = random.choice(((0.0, 0.0), (0.0, 0.9), (0.5, 0.5), (0.9, 0.0), (0.9, 0.9)))
        return Front(address, tls=call_slots[0] * tls_timeout, idle=call_slots[1] * header_timeout)
    return Front(address)


def _proxy_header(client: IPv4Address | IPv6Address, binary: bool) -> bytes:
    here: IPv4Address | IPv6Address = ip_address("192.0.2.2" if client.version == 4 else "2001:db8::2")
    if not binary:
        return f"PROXY TCP{client.version} {client} {here} 40000 80\r\n".encode()
    addresses = client.packed + here.packed + pack("!HH", 40000, 80)
    family = 0x11 if client.version == 4 else 0x21
    return b"\r\n\r\n\x00\r\nQUIT\n" + pack("!BBH", 0x21, family, len(addresses)) + addresses
