"""Handshakes that are answered without Autobahn get the answer that Autobahn would give."""

from __future__ import annotations

from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.testing import StringTransport

from icwsgw.server.request_head import HeadRefused, cut_head, for_autobahn, read_head
from icwsgw.server.upgrade import accepted, plain_key
from tests.support.ws_wire import HANDSHAKE, handshake

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
SERVER = "icwsgw/test"


def by_autobahn(head: bytes) -> bytes:
    """What Autobahn's own server answers."""
    factory: Any = WebSocketServerFactory(server=SERVER)
    factory.setProtocolOptions(webStatus=False, versions=[13])
    factory.protocol = WebSocketServerProtocol
    protocol = factory.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(head)
    answer: bytes = transport.value()
    return answer


def key_of(data: bytes, any_origin: bool = True) -> bytes | None:
    cut = cut_head(data)
    assert cut is not None
    return plain_key(read_head(cut.head), any_origin)


def test_the_answer_of_the_rfcs_example() -> None:
    # RFC 6455, section 1.3
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in accepted(KEY, b"a server")


@pytest.mark.parametrize(
    "header",
    [
        "Origin: https://app.example",
        "Cookie: a=b; c=d",
        "Accept-Encoding: gzip, deflate, br",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "X-Forwarded-For: 192.0.2.1",
        "Sec-Fetch-Mode: websocket",
    ],
)
def test_what_browsers_send_is_plain(header: str) -> None:
    assert key_of(handshake(header)) == KEY


def test_firefox_keeps_alive() -> None:
    assert key_of(handshake().replace(b"Connection: Upgrade", b"Connection: keep-alive, Upgrade")) == KEY


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        (b"GET /", b"POST /"),
        (b"GET / ", b"GET /#a "),
        (b"GET / ", b"GET //[ "),
        (b"GET / ", b"GET https://gateway/ "),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"Host: gateway", b"Host: gateway:a"),
        (b"Host: gateway", b"Host:"),
        (b"Host: gateway\r\n", b""),
        (b"Host: gateway", b"Host: gateway\r\nHost: gateway"),
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Connection: Upgrade", b"Connection: close"),
        (b"Connection: Upgrade", b"Connection: upgraded"),
        (KEY, KEY[1:]),
        (KEY, b"dGhlIHNhbXBsZSBub25jZQ=a"),
        (KEY, b"dGhlIHNhbXBsZSBub25j!Q=="),
        (b"Version: 13", b"Version: 8"),
        (b"Version: 13", b"Version: 13\r\nSec-WebSocket-Version: 13"),
    ],
)
def test_what_is_to_be_refused_is_not_plain(line: bytes, instead: bytes) -> None:
    request = handshake().replace(line, instead, 1)
    assert request != handshake()
    assert key_of(request) is None


@pytest.mark.parametrize(
    ("header", "any_origin"),
    [
        ("Origin: https://app.example", False),
        ("Sec-WebSocket-Protocol: chat", True),
    ],
)
def test_what_takes_more_than_yes_is_not_plain(header: str, any_origin: bool) -> None:
    assert key_of(handshake(header), any_origin) is None
    assert key_of(handshake(), any_origin) == KEY


LINES = HANDSHAKE.split(b"\r\n")[:-1]
PIECES = st.sampled_from([b"", b" ", b"\t", b",", b";", b":", b"/", b"#", b"?", b"%", b"=", b"[", b"a", b"websocket"])


@st.composite
def nearly_handshakes(draw: st.DrawFn) -> bytes:
    """The lines of a handshake, some of them removed, repeated, moved or changed."""
    lines = list(draw(st.permutations(LINES[1:])))
    for _ in range(draw(st.integers(0, 3))):
        number = draw(st.integers(0, max(0, len(lines) - 1)))
        if not lines:
            break
        what = draw(st.sampled_from(["drop", "repeat", "put", "case"]))
        if what == "drop":
            del lines[number]
        elif what == "repeat":
            lines.append(lines[number])
        elif what == "case":
            lines[number] = lines[number].swapcase()
        else:
            at = draw(st.integers(lines[number].find(b":") + 1, len(lines[number])))
            lines[number] = lines[number][:at] + draw(PIECES) + lines[number][at:]
    target = b"/" + b"".join(draw(st.lists(PIECES.filter(lambda piece: piece not in (b" ", b"\t")), max_size=3)))
    extra = draw(st.lists(st.sampled_from([b"Origin: null", b"Cookie: a", b"X: \x85"]), max_size=2))
    return b"\r\n".join([b"GET %b HTTP/1.1" % target, *lines, *extra]) + b"\r\n\r\n"


@given(nearly_handshakes())
@example(handshake())
def test_what_is_answered_here_autobahn_would_have_answered_the_same(request: bytes) -> None:
    cut = cut_head(request)
    assert cut is not None
    try:
        head = read_head(cut.head)
    except HeadRefused:
        return
    key = plain_key(head, True)
    if key is None:
        return
    theirs = by_autobahn(for_autobahn(head, any_origin=True))
    assert theirs.replace(b"\r\nUpgrade: WebSocket\r\n", b"\r\nUpgrade: websocket\r\n") == accepted(
        key, SERVER.encode()
    )
