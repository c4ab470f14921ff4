"""The admin API over HTTP: heads, bodies, bounds, and what is logged about callers."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from icwsgw.admin import api_site as site_module
from icwsgw.admin.access import Access, Refused
from icwsgw.admin.api import Done, NotAllowed, Request
from icwsgw.admin.api_site import (
    ANSWER_TIMEOUT,
    MAX_BODY,
    MAX_CONNECTIONS,
    MAX_IGNORED,
    REQUEST_TIMEOUT,
    ApiSite,
    peer_of,
)
from icwsgw.config.addresses import Exposure


class Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class FakeApi:
    """Records its requests, and gives the answer that the test sets."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.error: Exception | None = None
        self.wait: Deferred[Any] | None = None
        self.after: list[str] = []

    async def answer(self, request: Request) -> Done:
        self.requests.append(request)
        if self.wait is not None:
            await self.wait
        if self.error is not None:
            raise self.error
        return Done({"path": request.path}, 202, lambda: self.after.append(request.path))


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, Any]] = []

    def warn(self, message: str, **fields: Any) -> None:
        self.lines.append((message, fields["reason"]))

    def failure(self, message: str, failure: Any, **fields: Any) -> None:
        self.lines.append((message, failure.type))


class Server:
    def __init__(self, exposure: Exposure = Exposure.LOOPBACK) -> None:
        self.clock = Clock()
        self.api = FakeApi()
        self.site = ApiSite(self.api, Access(exposure, None), self.clock)  # type: ignore[arg-type]

    def connect(self) -> tuple[Any, Transport]:
        transport = Transport(peerAddress=IPv4Address("TCP", "127.0.0.1", 4711))
        protocol = self.site.buildProtocol(None)
        protocol.makeConnection(transport)
        return protocol, transport

    def request(self, method: str, target: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        protocol, transport = self.connect()
        lines = {"host": "127.0.0.1:9091", **headers}
        if method not in ("GET", "HEAD"):
            lines = {"content-type": "application/json", "content-length": str(len(body)), **lines}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        protocol.dataReceived(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)
        assert transport.disconnecting or transport.aborted, "one request a connection"
        protocol.connectionLost(Failure(ConnectionDone()))
        return parse(transport.value())


def parse(data: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    pairs = (header.split(": ", 1) for header in headers)
    return int(status.split()[1]), {name.lower(): value for name, value in pairs}, body


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(site_module, "_log", log)
    return log


def test_a_request_and_its_answer(server: Server) -> None:
    status, headers, body = server.request("POST", "/v1/kick?x=%20y", b'{"session": "a"}')
    assert (status, json.loads(body)) == (202, {"path": "/v1/kick"})
    assert (headers["content-type"], headers["cache-control"]) == ("application/json", "no-store")
    assert (headers["connection"], headers["content-length"]) == ("close", str(len(body)))
    assert server.api.requests == [Request("POST", "/v1/kick", "x=%20y", b'{"session": "a"}', "127.0.0.1:4711")]


def test_a_head_has_no_body(server: Server) -> None:
    status, headers, body = server.request("HEAD", "/v1/sessions")
    assert (status, body) == (202, b"")
    assert int(headers["content-length"]) > 0


def test_what_comes_after_the_answer_waits_for_the_connections_end(server: Server) -> None:
    protocol, transport = server.connect()
    protocol.dataReceived(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert transport.value().startswith(b"HTTP/1.1 202")
    assert server.api.after == []
    protocol.connectionLost(Failure(ConnectionDone()))
    assert server.api.after == ["/a"]
    assert server.clock.getDelayedCalls() == []


def test_a_second_request_on_a_connection_is_not_read(server: Server) -> None:
    protocol, _ = server.connect()
    protocol.dataReceived(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\nGET /b HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert [request.path for request in server.api.requests] == ["/a"]


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (Refused(409, "no"), 409, "no"),
        (NotAllowed(["GET"]), 405, "there is GET here"),
        (RuntimeError("secret"), 500, "a fault of the gateway, its log has more"),
    ],
)
def test_errors_are_plain_words(server: Server, log: Log, error: Exception, status: int, words: str) -> None:
    server.api.error = error
    found, headers, body = server.request("GET", "/")
    assert (found, json.loads(body)) == (status, {"error": words})
    assert headers.get("allow") == ("GET" if status == 405 else None)
    assert log.lines == ([("an admin request failed", RuntimeError)] if status == 500 else [])


def test_a_forbidden_request_is_answered_and_logged_not_too_often(log: Log) -> None:
    server = Server()
    for _ in range(30):
        status, _, body = server.request("GET", "/", origin="https://evil.example")
        assert (status, json.loads(body)) == (403, {"error": "requests from web pages are not allowed"})
    assert server.api.requests == []
    assert log.lines == [("request refused", "requests from web pages are not allowed")] * 10
    server.clock.advance(61)
    server.request("GET", "/", origin="https://evil.example")
    assert len(log.lines) == 11


def test_the_token_is_asked_for(tmp_path: Any) -> None:
    from icwsgw.admin.access import TokenFile

    path = tmp_path / "token"
    path.write_text("0123456789abcdef")
    server = Server()
    server.site.access = Access(Exposure.ANYWHERE, TokenFile(path))
    status, headers, _ = server.request("GET", "/")
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert server.request("GET", "/", authorization="Bearer 0123456789abcdef")[0] == 202


def test_forms_change_nothing(server: Server) -> None:
    body = b"canister=aaaaa-aa"
    assert server.request("POST", "/v1/deny", body, content_type="application/x-www-form-urlencoded")[0] == 415
    assert server.api.requests == []


@pytest.mark.parametrize("size", [MAX_BODY, MAX_BODY + 1])
def test_bodies_are_bounded(server: Server, size: int) -> None:
    status, _, body = server.request("POST", "/v1/kick", b"x" * size)
    assert status == (202 if size == MAX_BODY else 413)
    assert [len(request.body) for request in server.api.requests] == ([size] if size == MAX_BODY else [])
    assert json.loads(body)


def test_chunked_bodies_are_bounded_too(server: Server) -> None:
    protocol, transport = server.connect()
    protocol.dataReceived(
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    for _ in range(MAX_IGNORED // 0x1000):
        protocol.dataReceived(chunk)
    assert not transport.aborted
    protocol.dataReceived(chunk)
    assert transport.aborted
    assert server.api.requests == []


def test_connections_are_few_and_do_not_live_long(server: Server) -> None:
    connections = [server.connect() for _ in range(MAX_CONNECTIONS)]
    assert server.site.buildProtocol(None) is None
    # one byte a second keeps nobody here
    for _ in range(int(REQUEST_TIMEOUT)):
        connections[0][0].dataReceived(b"G")
        server.clock.advance(1)
    assert all(transport.aborted for _, transport in connections)
    connections[0][0].connectionLost(Failure(ConnectionDone()))
    assert server.site.buildProtocol(None) is not None


def test_an_answer_may_take_longer_than_its_request(server: Server) -> None:
    """That of an upgrade takes minutes on a busy machine."""
    server.api.wait = Deferred()
    protocol, transport = server.connect()
    protocol.dataReceived(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n")
    server.clock.pump([1.0] * int(ANSWER_TIMEOUT - 1))
    assert not transport.aborted
    server.api.wait.callback(None)
    assert transport.value().startswith(b"HTTP/1.1 202")
    # nobody reads it
    server.clock.pump([1.0] * int(REQUEST_TIMEOUT))
    assert transport.aborted


def test_an_answer_does_not_take_for_ever(server: Server) -> None:
    server.api.wait = Deferred()
    protocol, transport = server.connect()
    protocol.dataReceived(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n")
    server.clock.pump([1.0] * int(ANSWER_TIMEOUT))
    assert transport.aborted


def test_who_has_left_gets_no_answer(server: Server) -> None:
    server.api.wait = Deferred()
    protocol, transport = server.connect()
    protocol.dataReceived(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n")
    protocol.connectionLost(Failure(ConnectionDone()))
    server.api.wait.callback(None)
    assert transport.value() == b""
    assert server.api.after == ["/a"], "the request is carried out without its caller"


def test_requests_that_are_none(server: Server) -> None:
    protocol, transport = server.connect()
    protocol.dataReceived(b"\x16\x03\x01 nonsense\r\n\r\n")
    assert transport.value().startswith(b"HTTP/1.1 400")
    assert server.api.requests == []


def test_the_process_behind_a_unix_socket_is_named() -> None:
    class Handle:
        def __init__(self, handle: socket.socket) -> None:
            self.handle = handle

        def getHandle(self) -> socket.socket:
            return self.handle

        def getPeer(self) -> None:
            return None

    one, other = socket.socketpair()
    with one, other:
        assert peer_of(Handle(one)) == f"uid {os.getuid()}, process {os.getpid()}"
    with socket.socket() as tcp:
        assert peer_of(Handle(tcp)) == "unknown"


class Audit:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def info(self, message: str, **fields: Any) -> None:
        assert message == "admin request"
        self.lines.append(fields)


def test_each_command_leaves_one_line_with_its_caller_and_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    audit = Audit()
    monkeypatch.setattr(site_module, "_audit", audit)
    monkeypatch.setattr(site_module, "_log", Log())
    server = Server()
    by = "127.0.0.1:4711"
    server.request("GET", "/v1/sessions?limit=3")
    server.request("POST", "/v1/kick", b'{"session": "3f2a-1c"}')
    server.api.error = Refused(404, "there is no session 'x'")
    server.request("POST", "/v1/kick", b'{"session": "x"}')
    server.api.error = ZeroDivisionError()
    server.request("GET", "/v1/status")
    assert audit.lines == [
        {"by": by, "method": "GET", "path": "/v1/sessions", "query": "limit=3", "status": 202},
        {"by": by, "method": "POST", "path": "/v1/kick", "body": '{"session": "3f2a-1c"}', "status": 202},
        {
            **{"by": by, "method": "POST", "path": "/v1/kick", "body": '{"session": "x"}', "status": 404},
            "reason": "there is no session 'x'",
        },
        {"by": by, "method": "GET", "path": "/v1/status", "status": 500},
    ]
    del audit.lines[:]
    server.request("POST", "/v1/kick", b"x" * (MAX_BODY + 1))
    assert [(line["status"], "body" in line) for line in audit.lines] == [(413, False)]
    del audit.lines[:]
    server.request("POST", "/v1/drain", b"{}", host="evil.example")
    assert audit.lines == [], "a caller without access has no say in what stands there"
