"""Targets of the server: frames, whole connections of clients, PROXY headers."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import Any

from proxyprotocol import ProxyProtocol, ProxyProtocolIncompleteError
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, Ping
from wsproto.frame_protocol import FrameDecoder, Opcode, ParseFailed
from wsproto.utilities import RemoteProtocolError

from icwsgw.server.frames import LONGEST, read_binary_frame
from icwsgw.server.proxy_header import MOST_V1, read_header
from tests.fuzz.target import Target, in_pieces
from tests.server.test_protocol import World, lose
from tests.support.ws_wire import close_frame, masked


def _frame(data: bytes) -> None:
    """Compares the fast parser of frames with wsproto."""
    at = 0
    while (read := read_binary_frame(data, at)) is not None:
        payload, end = read
        assert at < end <= len(data)
        assert len(payload) < end - at
        assert _by_wsproto(data[at:end]) == payload
        at = end
    left = data[at:]
    if left[:1] == b"\x82":
        theirs = _by_wsproto(left)
        assert theirs is None or len(theirs) > LONGEST


def _by_wsproto(data: bytes) -> bytes | None:
    """Return the payload of the complete, final binary frame at the beginning of the bytes; None if there is none."""
    decoder = FrameDecoder(client=False)
    decoder.receive_bytes(data)
    payload = b""
    try:
        while (frame := decoder.process_buffer()) is not None:
            if frame.opcode is not Opcode.BINARY:
                return None
            payload += bytes(frame.payload)  # type: ignore[arg-type]
            if frame.frame_finished:
                return payload if frame.message_finished else None
    except ParseFailed:
        pass
    return None


def _connection(data: bytes) -> None:
    """Compares the messages of a client after its handshake with wsproto.

    The first byte is the length of the pieces in which they arrive.
    """
    if not data:
        return
    world = World()
    protocol, transport, session = world.open()
    for piece in in_pieces(data[1:], data[0]):
        if transport.producerState != "producing" or transport.disconnecting or transport.aborted:
            break
        protocol.dataReceived(piece)
    messages, broken = _messages_by_wsproto(data[1:])
    ours = [(payload, is_binary) for payload, is_binary in session.received_messages]
    # bytes after an error, after a close frame or above the limit of one read are not read
    assert ours == messages[: len(ours)]
    if not broken and transport.producerState == "producing" and not transport.disconnecting and not session.ended:
        assert ours == messages
    lose(protocol)
    assert session.left_with is not None
    assert not world.factory.connections
    assert world.factory.limits.total == 0
    assert world.factory.unfinished.octets == 0


def _messages_by_wsproto(data: bytes) -> tuple[list[tuple[bytes, bool]], bool]:
    """Return the messages that a server gets, and whether the connection ends with an error or a close frame."""
    connection = Connection(ConnectionType.SERVER)
    connection.receive_data(data)
    messages: list[tuple[bytes, bool]] = []
    parts: list[bytes] = []
    try:
        for event in connection.events():
            if isinstance(event, CloseConnection):
                return messages, True
            if isinstance(event, Ping) or not isinstance(event, Message):
                continue
            is_binary = isinstance(event, BytesMessage)
            parts.append(bytes(event.data) if is_binary else str(event.data).encode())
            if event.message_finished:
                messages.append((b"".join(parts), is_binary))
                parts = []
    except RemoteProtocolError:
        return messages, True
    return messages, False


def _proxy_header(data: bytes) -> None:
    """Compares with the proxyprotocol package, and with itself if the bytes arrive one by one."""
    try:
        header = read_header(data)
    except ValueError:
        return
    if header is None:
        return
    assert 0 < header.length <= len(data)
    for end in range(header.length):
        assert read_header(data[:end]) is None, "the beginning of a header is incomplete, not invalid"
    theirs = _by_proxyprotocol(data[: header.length])
    # addresses with an unspecified protocol must be ignored, but proxyprotocol reads them
    if theirs is not None and (data[:1] == b"P" or data[13] & 0x0F in (1, 2)):
        assert theirs == (_plain(header.source), _plain(header.destination))


def _by_proxyprotocol(data: bytes) -> tuple[Any, Any] | None:
    """Return source and destination as proxyprotocol reads them; None if it refuses the header."""
    reader: ProxyProtocol = ProxyProtocolV1() if data.startswith(b"PROXY") else ProxyProtocolV2()
    try:
        result = reader.unpack(data)
    except (ProxyProtocolIncompleteError, ValueError, LookupError, struct.error):
        return None
    if not result.proxied or result.source is None:
        return None, None
    if isinstance(result.source, str):
        # a path ends at its first zero byte; proxyprotocol strips only trailing ones
        return result.source.partition("\0")[0], result.dest.partition("\0")[0]
    return result.source, result.dest


def _plain(address: IPv4Address | IPv6Address | UNIXAddress | None) -> Any:
    """Return an address in the form of proxyprotocol."""
    if address is None:
        return None
    if isinstance(address, UNIXAddress):
        return (address.name or b"").decode("latin-1")
    return ip_address(address.host), address.port


def _header_samples() -> list[bytes]:
    signature = b"\r\n\r\n\x00\r\nQUIT\n"
    inet = bytes((192, 0, 2, 1, 10, 0, 0, 1)) + b"\x9c\x40\x01\xbb"
    inet6 = bytes(15) + b"\x01" + bytes(15) + b"\x02" + b"\x9c\x40\x01\xbb"
    tlv = b"\x04\x00\x03abc"
    unix = b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")
    return [
        b"PROXY TCP4 192.0.2.1 10.0.0.1 40000 443\r\nGET",
        b"PROXY TCP6 2001:db8::9 ::1 40000 443\r\n",
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN " + b"f" * (MOST_V1 - 20) + b"\r\n",
        signature + b"\x21\x11\x00\x0c" + inet + b"GET",
        signature + b"\x21\x11\x00\x12" + inet + tlv,
        signature + b"\x21\x21\x00\x24" + inet6,
        signature + b"\x21\x31\x00\xd8" + unix,
        signature + b"\x20\x00\x00\x00",
    ]


def make() -> dict[str, Target]:
    """Make the targets of this module, by name."""
    opening = b"\x00" + masked(2, b"one") + masked(2, b"tw", fin=False) + masked(9, b"ping") + masked(0, b"o")
    texts = b"\x01" + masked(1, "naïve".encode()) + masked(10, b"") + close_frame(1000, b"bye")
    frames = [masked(2, b"x"), masked(2, b"y" * 300) + masked(2, b"z"), masked(2, b"w" * 126)]
    heads = (b"\x82\xfe", b"\x82\xff", b"\x02\x81", b"\x80\x80", b"\x88\x82", b"\xc2\x81")
    return {
        "frame": Target(_frame, frames, heads),
        "connection": Target(_connection, [opening, texts, b"\x03" + masked(2, b"q" * 200)], heads),
        "proxy_header": Target(_proxy_header, _header_samples(), (b"PROXY ", b"TCP4 ", b"UNKNOWN", b"\r\n")),
    }
