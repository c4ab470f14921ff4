"""The path between clients and the gateway: direct, a reverse proxy that adds a header, the PROXY protocol, or TLS.

In each case, the gateway must know each client's real address, and allow it the full time limit for each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random
from struct import pack

#: The addresses of trusted proxies, and those that clients claim in forged headers.
TRUSTED = "203.0.113.0/24"
PROXY, INNER = "203.0.113.9", "203.0.113.77"
INVENTED = ("198.51.100.7", "203.0.113.5", "unknown", "192.0.2.250")
#: The kinds of paths.
CLIENT_PATHS = ("", "forwarded", "proxy", "tls")


@dataclass(frozen=True)
class ClientPath:
    """The path of one connection.

    :ivar peer: the remote address of the gateway's socket
    :ivar head: bytes before the request
    :ivar headers: of the request
    :ivar proxied: whether it begins with a PROXY header
    :ivar tls: the duration of the TLS handshake in seconds; None: there is none
    :ivar idle: seconds from then until the request is sent
    """

    peer: str
    head: bytes = b""
    headers: tuple[str, ...] = ()
    proxied: bool = False
    tls: float | None = None
    idle: float = 0.0


def path_of(kind: str, address: str, random: Random, tls_timeout: float, header_timeout: float) -> ClientPath:
    """Draw the path of one connection.

    :param kind: one of :data:`CLIENT_PATHS`
    :param address: of the client
    """
    if kind == "forwarded":
        hops = [*random.sample(INVENTED, random.choice((0, 1, 2))), address, *random.choice(((), (INNER,)))]
        return ClientPath(PROXY, headers=(f"X-Forwarded-For: {', '.join(hops)}",))
    if kind == "proxy":
        return ClientPath(PROXY, _proxy_header(ip_address(address), random.random() < 0.5), proxied=True)
    if kind == "tls":
        call_slots = random.choice(((0.0, 0.0), (0.0, 0.9), (0.5, 0.5), (0.9, 0.0), (0.9, 0.9)))
        return ClientPath(address, tls=call_slots[0] * tls_timeout, idle=call_slots[1] * header_timeout)
    return ClientPath(address)


def _proxy_header(client: IPv4Address | IPv6Address, binary: bool) -> bytes:
    here: IPv4Address | IPv6Address = ip_address("192.0.2.2" if client.version == 4 else "2001:db8::2")
    if not binary:
        return f"PROXY TCP{client.version} {client} {here} 40000 80\r\n".encode()
    addresses = client.packed + here.packed + pack("!HH", 40000, 80)
    family = 0x11 if client.version == 4 else 0x21
    return b"\r\n\r\n\x00\r\nQUIT\n" + pack("!BBH", 0x21, family, len(addresses)) + addresses
