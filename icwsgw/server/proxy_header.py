"""Parses PROXY protocol headers, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt, sections 2.1 and 2.2).

A header without an address is valid: ``PROXY UNKNOWN``, and LOCAL and UNSPEC in version 2. Health checks send it. The
address of the socket itself counts then. A header may come in pieces.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import connectionDone
from twisted.protocols.haproxy._info import ProxyInfo
from twisted.protocols.haproxy._wrapper import HAProxyProtocolWrapper, HAProxyWrappingFactory
from twisted.python.failure import Failure

#: Bytes of the longest header of version 1 with its line end, and of version 2 with its TLVs.
MOST_V1: Final = 107
MOST_V2: Final = 4096

_V1 = b"PROXY "
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED_V2 = 16
_LOCAL, _PROXY = 0x20, 0x21
_FAMILIES: dict[bytes, type[IPv4Address] | type[IPv6Address]] = {b"TCP4": IPv4Address, b"TCP6": IPv6Address}

Address = IPv4Address | IPv6Address | UNIXAddress


class Header(NamedTuple):
    """A whole header.

    :ivar length: in bytes
    :ivar source: the address of the client; None if the header does not tell it
    :ivar destination: the address that the client has connected to
    """

    length: int
    source: Address | None = None
    destination: Address | None = None


def read_header(data: bytes) -> Header | None:
    """Parse the header at the beginning of a connection.

    :param data: all bytes of the connection so far
    :return: None while it is not whole
    :raises ValueError: it is not a valid header; the text says why
    """
    if data.startswith(_V2) or (len(data) < len(_V2) and _V2.startswith(data)):
        return _read_v2(data)
    if data.startswith(_V1) or (len(data) < len(_V1) and _V1.startswith(data)):
        return _read_v1(data)
    raise ValueError("the connection does not begin with a PROXY header")


def _read_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, MOST_V1)
    if end < 0:
        if len(data) >= MOST_V1:
            raise ValueError(f"a PROXY header does not end within {MOST_V1} bytes")
        return None
    parts = data[:end].split(b" ")
    if parts[1] == b"UNKNOWN":
        return Header(end + 2)
    kind = _FAMILIES.get(parts[1])
    if kind is None or len(parts) != 6:
        raise ValueError("a PROXY header is not of the form PROXY TCP4 SOURCE DESTINATION PORT PORT")
    _, _, source, destination, source_port, destination_port = parts
    return Header(
        end + 2,
        kind("TCP", _ip(source, kind), _port(source_port)),
        kind("TCP", _ip(destination, kind), _port(destination_port)),
    )


def _ip(word: bytes, kind: type) -> str:
    parse = ipaddress.IPv4Address if kind is IPv4Address else ipaddress.IPv6Address
    try:
        return str(parse(word.decode("ascii")))
    except ValueError:
        raise ValueError("a PROXY header with an invalid address") from None


def _port(word: bytes) -> int:
    if not (word.isdigit() and len(word) <= 5 and int(word) <= 65535):
        raise ValueError("a PROXY header with an invalid port")
    return int(word)


def _read_v2(data: bytes) -> Header | None:
    if len(data) < _FIXED_V2:
        return None
    command, family, size = struct.unpack_from("!BBH", data, len(_V2))
    length = _FIXED_V2 + size
    if command not in (_LOCAL, _PROXY):
        raise ValueError("a PROXY header has a version or command that is not known")
    if length > MOST_V2:
        raise ValueError(f"a PROXY header is longer than {MOST_V2} bytes")
    if len(data) < length:
        return None
    made = _ADDRESSES.get(family >> 4) if command == _PROXY else None
    # an unspecified protocol or family: the addresses, if any, do not count
    if made is None or family & 0x0F not in (1, 2):
        return Header(length)
    form, make = made
    if size < struct.calcsize(form):
        raise ValueError("a PROXY header is too short for its addresses")
    source, destination, *ports = struct.unpack_from(form, data, _FIXED_V2)
    source_port, destination_port = ports or (0, 0)
    return Header(length, make(source, source_port), make(destination, destination_port))


_ADDRESSES: dict[int, tuple[str, Callable[[bytes, int], Address]]] = {
    1: ("!4s4sHH", lambda packed, port: IPv4Address("TCP", str(ipaddress.IPv4Address(packed)), port)),
    2: ("!16s16sHH", lambda packed, port: IPv6Address("TCP", str(ipaddress.IPv6Address(packed)), port)),
    3: ("!108s108s", lambda path, _: UNIXAddress(path.partition(b"\0")[0])),
}

#: Called with the socket's address and the reason, for a connection without a valid header.
Refused = Callable[[Any, str], None]


class ProxyHeader(HAProxyProtocolWrapper):
    """Reads the header. It replaces Twisted's parser, which accepts neither ``PROXY UNKNOWN`` nor pieces."""

    _head = b""
    _refused = False

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Bytes of the header, or what follows it."""
        if self._proxyInfo is not None:
            self._hand_on(data)
            return
        if self._refused:
            return
        self._head += data
        try:
            header = read_header(self._head)
        except ValueError as error:
            self._refuse(str(error))
            self.loseConnection()  # type: ignore[no-untyped-call]
            return
        if header is None:
            return
        head, rest = self._head[: header.length], self._head[header.length :]
        self._head = b""
        self._proxyInfo = ProxyInfo(head, cast(Any, header.source), cast(Any, header.destination))
        if rest:
            self._hand_on(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """The connection is lost."""
        # nothing at all is no header either, but checks of a port send that
        if self._head and not self.disconnecting:
            self._refuse("the connection ended within its PROXY header")
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _refuse(self, reason: str) -> None:
        self._refused = True
        self._head = b""
        factory: Any = self.factory
        if factory.refused is not None:
            transport: Any = self.transport
            factory.refused(transport.getPeer(), reason)

    def _hand_on(self, data: bytes) -> None:
        wrapped: Any = self.wrappedProtocol
        wrapped.dataReceived(data)


class ProxyHeaders(HAProxyWrappingFactory):
    """Makes connections that begin with a PROXY header.

    :ivar refused: called for those that do not
    """

    protocol = ProxyHeader  # type: ignore[assignment]
    noisy = False
    refused: Refused | None = None
