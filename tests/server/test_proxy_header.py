from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.haproxy._v1parser import V1Parser
from twisted.protocols.haproxy._v2parser import V2Parser

from icwsgw.server.proxy_header import MOST_V1, MOST_V2, Header, ProxyHeaders, read_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
BODY4 = bytes([192, 0, 2, 1, 10, 0, 0, 1, 0, 80, 1, 187])
BODY6 = ipaddress.ip_address("2001:db8::1").packed * 2 + bytes(4)
FULL6 = b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def test_a_header_may_be_as_long_as_the_limit_and_no_longer() -> None:
    longest = v2(0x20, 0x00, bytes(MOST_V2 - 16))
    header = read_header(longest)
    assert header is not None
    assert header.length == len(longest) == MOST_V2
    with pytest.raises(ValueError, match="longer"):
        read_header(v2(0x20, 0x00, bytes(MOST_V2 - 15)))


@pytest.mark.parametrize(
    ("data", "source"),
    [
        # the worst cases of the specification's section 2.1, word for word
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", IPv4Address("TCP", "255.255.255.255", 65535)),
        (b"PROXY TCP6 %b %b 65535 65535\r\n" % (FULL6, FULL6), IPv6Address("TCP", FULL6.decode(), 65535)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN %b %b 65535 65535\r\n" % (FULL6, FULL6), None),
        (b"PROXY UNKNOWN whatever stands here\r\n", None),
        (v2(0x20, 0x00, b""), None),
        (v2(0x20, 0x11, bytes(12)), None),
        (v2(0x21, 0x00, b"TLV"), None),
        (v2(0x21, 0x10, bytes(12)), None),
        (v2(0x21, 0x41, bytes(12)), None),
        (
            v2(0x21, 0x11, bytes([192, 0, 2, 1, 10, 0, 0, 1, 0, 80, 1, 187]) + b"TLV"),
            IPv4Address("TCP", "192.0.2.1", 80),
        ),
        (
            v2(0x21, 0x21, ipaddress.ip_address("2001:db8::1").packed * 2 + bytes(4)),
            IPv6Address("TCP", "2001:db8::1", 0),
        ),
        (v2(0x21, 0x31, b"/run/x".ljust(108, b"\0") + bytes(108)), UNIXAddress(b"/run/x")),
    ],
)
def test_headers_and_pieces_of_them(data: bytes, source: object) -> None:
    header = read_header(data + b"GET /")
    assert header is not None
    assert (header.length, header.source) == (len(data), source)
    for length in range(len(data)):
        assert read_header(data[:length]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY\r\n",
        b"PROXI",
        b"proxy TCP4",
        b"PROXY \r\n",
        b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 ::1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 \xb2 2\r\n",
        b"PROXY TCP4 x\x9b 192.0.2.2 1 2\r\n",
        b"PROXY UNKNOWN ".ljust(MOST_V1, b"x"),
        SIGNATURE[:-1] + b"\r",
        v2(0x11, 0x11, bytes(12)),
        v2(0x22, 0x11, bytes(12)),
        v2(0x21, 0x11, bytes(11)),
        v2(0x21, 0x31, bytes(215)),
        v2(0x21, 0x11, bytes(MOST_V2)),
    ],
)
def test_what_is_none_is_refused_in_plain_words(data: bytes) -> None:
    with pytest.raises(ValueError, match="PROXY header") as refused:
        read_header(data)
    assert str(refused.value).isprintable()


PORTS = st.integers(0, 65535)


@given(st.ip_addresses(), st.ip_addresses(), PORTS, PORTS)
def test_it_reads_what_twisteds_parsers_read(source: object, destination: object, one: int, two: int) -> None:
    first = ipaddress.ip_address(str(source))
    second = ipaddress.ip_address(str(destination))
    if first.version != second.version:
        return
    kind = b"TCP%d" % first.version
    line = b"PROXY %b %b %b %d %d" % (kind, str(first).encode(), str(second).encode(), one, two)
    theirs = V1Parser.parse(line)
    assert read_header(line + b"\r\n") == Header(len(line) + 2, theirs.source, theirs.destination)
    family = 0x11 if first.version == 4 else 0x21
    binary = v2(0x21, family, first.packed + second.packed + struct.pack("!HH", one, two))
    info = V2Parser.parse(binary)
    ours = read_header(binary)
    assert ours is not None
    assert (ours.source, ours.destination) == tuple(
        type(each)("TCP", str(ipaddress.ip_address(each.host)), each.port) for each in (info.source, info.destination)
    )


@given(st.binary(max_size=300))
def test_nothing_but_a_header_or_a_refusal(data: bytes) -> None:
    for prefix in (b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\x00"):
        try:
            header = read_header(prefix + data)
        except ValueError:
            continue
        assert header is None or header.length <= len(prefix + data)


class Inner(Protocol):
    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data


@pytest.mark.parametrize(
    "header", [b"PROXY TCP4 192.0.2.9 10.0.0.1 4711 443\r\n", v2(0x21, 0x11, bytes([192, 0, 2, 9]) + BODY4[4:])]
)
def test_a_header_may_come_byte_by_byte_with_what_follows(header: bytes) -> None:
    inner = Inner()
    wrapping = ProxyHeaders(Factory.forProtocol(lambda: inner))
    refused: list[str] = []
    wrapping.refused = lambda _, reason: refused.append(reason)
    protocol = wrapping.buildProtocol(None)
    protocol.makeConnection(StringTransport())
    for byte in header + b"GET /":
        protocol.dataReceived(bytes((byte,)))
    assert (inner.received, refused) == (b"GET /", [])
    assert protocol.getPeer().host == "192.0.2.9"
