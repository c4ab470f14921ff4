"""Targets of HTTP: clients' requests, the network's answers, and values of single headers of both."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_network
from typing import Any

from autobahn.websocket.protocol import parseHttpHeader
from hyperlink import URL
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from icwsgw.agent.http.connection import Exchange, HttpConnection, ParsedResponse
from icwsgw.agent.http.deadlines import Deadlines
from icwsgw.agent.http.host_pool import HostPool
from icwsgw.agent.http.tunnel import Proxy, TunnelEndpoint, _Tunnel
from icwsgw.agent.outcome import http_error, retry_after
from icwsgw.config.addresses import is_page_of, is_this_machine
from icwsgw.config.origins import Origins, parse_origin
from icwsgw.errors import ConnectFailed, TransportError
from icwsgw.http_dates import http_date
from icwsgw.observe.peers import parse_ip, peer_group
from icwsgw.server.proxies import TrustedProxies
from icwsgw.server.request_head import MAX_HEADER_LINES, HeadRefused, cut_head, for_autobahn, read_head
from tests.agent.http import test_response_parser as answers
from tests.fuzz.target import Target, in_pieces
from tests.server import test_request_head as heads


class _Wire(StringTransport):
    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def abortConnection(self) -> None:
        pass


def _http(data: bytes) -> None:
    """A connection to the network. The first byte is the length of the pieces of the answer."""
    if not data:
        return
    clock = Clock()
    pool = HostPool(clock, None, "host:80", False, Deadlines(clock), 4, 4)
    connection = HttpConnection(pool, False)
    connection.makeConnection(_Wire())
    exchange = Exchange(pool, b"request", False, 10_000)
    results: list[Any] = []
    assert exchange.deferred is not None
    exchange.deferred.addBoth(results.append)
    connection.send(exchange)
    for piece in in_pieces(data[1:], data[0]):
        if connection.closing:
            break
        connection.dataReceived(piece)
    connection.connectionLost(Failure(ConnectionDone()))
    (result,) = results
    if isinstance(result, Failure):
        assert isinstance(result.value, TransportError), result.value
        return
    assert isinstance(result, ParsedResponse)
    assert len(result.body) <= 10_000
    http_error(result, 1.7e9)
    for value in result.headers.values():
        http_date(value.decode("latin-1"))
        retry_after(value, 1.7e9)


def _answer(data: bytes) -> None:
    """Compares the parser of responses with h11 and llhttp, and with itself for other pieces of the stream.

    The first byte says where the stream is cut, and whether the connection ends.
    """
    if not data:
        return
    cuts, ends, answer = data[0] >> 1, bool(data[0] & 1), data[1:]
    ours = answers.by_us(answer, [], ends)
    assert answers.by_us(answer, random.Random(cuts).choices(range(len(answer) + 1), k=5), ends) == ours
    answers.agrees_with_h11(answer, ours, ends)
    answers.agrees_with_llhttp(answer, answers.by_us(answer, [], False))


def _request_head(data: bytes) -> None:
    """Heads are read as h11 reads them, and Autobahn finds no additional header in ours."""
    heads.agrees_with_h11(data)
    try:
        cut = cut_head(data)
        head = None if cut is None else read_head(cut.head)
    except HeadRefused:
        return
    if cut is None or head is None:
        return
    assert data.endswith(b"\r\n\r\n" + cut.rest)
    assert len(head.headers) <= MAX_HEADER_LINES
    there = [name.decode() for name, _ in head.headers]
    for any_origin in (False, True):
        line, _, counts = parseHttpHeader(for_autobahn(head, any_origin))
        assert line.split(" ")[0] == head.method.decode()
        assert all(count <= there.count(name) for name, count in counts.items())
        assert "sec-websocket-extensions" not in counts


_NETWORKS = ("10.0.0.0/8", "2001:db8:ffff::/48")


def _forwarded(data: bytes) -> None:
    """The client is a valid address or the proxy: the rightmost address that is not a proxy."""
    text = data.decode("latin-1")
    for header in ("x-forwarded-for", "forwarded"):
        proxies = TrustedProxies(_NETWORKS, header)
        client = proxies.client("10.0.0.1", {header: text})
        assert str(ip_address(client)) == client
        assert proxies.client("192.0.2.1", {header: text}) == "192.0.2.1"
        # a header of the client itself is left of the proxy's addition and has no effect
        for honest in ("198.51.100.7", "2001:db8::9"):
            added = f'for="[{honest}]"' if ":" in honest else f"for={honest}"
            own = honest if header == "x-forwarded-for" else added
            if header == "x-forwarded-for" or '"' not in text:
                assert proxies.client("10.0.0.1", {header: f"{text}, {own}"}) == honest
        if client != "10.0.0.1":
            assert client in text or "::" in client or ":" in text or "\\" in text
    hops = [hop.strip(" \t") for hop in text.split(",")]
    last = parse_ip(hops[-1])
    if last is not None and "%" not in hops[-1]:
        found = TrustedProxies(_NETWORKS, "x-forwarded-for").client("10.0.0.1", {"x-forwarded-for": text})
        if not any(last in ip_network(network) for network in _NETWORKS):
            assert found == str(last)
    peer_group(text)


_PATTERN = Origins(["https://*.app.example", "https://app.example", "http://127.0.0.1:*"])


def _origin(data: bytes) -> None:
    """An admitted origin has the allowed host according to hyperlink, too."""
    text = data.decode("latin-1")
    is_page_of(text, text)
    if not _PATTERN.admits(text):
        return
    origin = parse_origin(text.strip(" \t"))
    assert origin is not None
    # scheme and host are case-insensitive
    url = URL.from_text(text.strip(" \t").lower())
    assert (url.scheme, url.userinfo, tuple(filter(None, url.path)), url.query, url.fragment) == (
        origin.scheme,
        "",
        (),
        (),
        "",
    )
    assert url.host == origin.host
    assert url.port == origin.port
    if url.scheme == "https":
        assert url.host.endswith(".app.example") or url.host == "app.example"
    else:
        assert (url.scheme, url.host) == ("http", "127.0.0.1")


def _host(data: bytes) -> None:
    """A Host of this machine is a loopback address or localhost according to hyperlink, too."""
    text = data.decode("latin-1")
    if not is_this_machine(text):
        return
    host = URL.from_text("http://" + text.strip().lower()).host
    assert host == "localhost" or ip_address(host.partition("%")[0]).is_loopback


class _Inner:
    """The protocol inside of a tunnel."""

    def __init__(self) -> None:
        self.data = b""

    def makeConnection(self, transport: Any) -> None:
        pass

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        pass


class _Inners:
    def buildProtocol(self, address: Any) -> _Inner:
        return _Inner()


def _tunnel(data: bytes) -> None:
    """The answer of a proxy to CONNECT; the first byte is the length of its pieces."""
    if not data:
        return
    clock: Any = Clock()
    endpoint = TunnelEndpoint(clock, None, Proxy("proxy", 3128), "host:443", 5.0)
    tunnel = _Tunnel(endpoint, _Inners(), None)
    results: list[Any] = []
    tunnel.opened.addBoth(results.append)
    tunnel.makeConnection(_Wire())
    for piece in in_pieces(data[1:], data[0]):
        if results and isinstance(results[0], Failure):
            break
        tunnel.dataReceived(piece)
    tunnel.connectionLost(Failure(ConnectionDone()))
    (result,) = results
    assert not clock.getDelayedCalls()
    if isinstance(result, Failure):
        assert isinstance(result.value, ConnectFailed), result.value
        return
    head, _, rest = data[1:].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.")
    assert result.data == rest, "bytes after the head belong to the network"


def make() -> dict[str, Target]:
    """Make the targets of this module, by name."""
    http = [
        b"\x00HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: application/cbor\r\n\r\nhello",
        b"\x07HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nT: u\r\n\r\n",
        b"\x01HTTP/1.1 429 Slow\r\nRetry-After: 5\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\nContent-Length: 0\r\n\r\n",
        b"\x20HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 No\r\nx-ic-error-cause: no_healthy_nodes\r\n\r\nbody",
    ]
    tokens = (b"Content-Length: ", b"Transfer-Encoding: chunked", b"Connection: close", b"HTTP/1.0 ", b"\r\n\r\n")
    head = b"GET /a?b HTTP/1.1\r\nHost: gateway:8080\r\nOrigin: https://app.example\r\n"
    upgrade = (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits="9", x\r\n\r\n'
    )
    hops = [b"1.2.3.4, 198.51.100.7:5555,[2001:db8:ffff::1]:80", b'for="[2001:db8::9]:4711";by=_x, For=10.2.2.2']
    return {
        "http": Target(_http, http, tokens),
        "answer": Target(_answer, [*http, *(b"\x03" + data for data, _, _ in answers.TAKEN.values())], tokens),
        "request_head": Target(
            _request_head, [head + upgrade, head + b"\r\n"], (b"Sec-WebSocket-Extensions: ", b"\r\n", b"\x85", b"\r\n ")
        ),
        "forwarded": Target(_forwarded, hops, (b"for=", b"10.0.0.1", b"::ffff:", b'"', b"\\", b";", b"%eth0")),
        "origin": Target(
            _origin,
            [b"https://app.example", b"https://a.app.example:443", b"http://127.0.0.1:8000", b"null"],
            (b"https://", b".app.example", b":443", b"@", b"127.0.0.1"),
        ),
        "host": Target(_host, [b"localhost:80", b"127.0.0.1", b"[::1]:9091"], (b"::1", b"::ffff:", b"localhost", b"%")),
        "tunnel": Target(_tunnel, [b"\x00HTTP/1.1 200 OK\r\n\r\nx", b"\x03HTTP/1.1 407 No\r\n\r\n"], (b"HTTP/1.",)),
    }
