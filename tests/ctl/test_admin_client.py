"""Requests to admin endpoints in all their forms."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from icwsgw.ctl.admin_client import AdminClient, Failed, parse_endpoint
from icwsgw.errors import ConfigError
from tests.support.scripted_http import HttpExchange, scripted_http


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("127.0.0.1:9091", "http://127.0.0.1:9091"),
        ("[::1]:9091", "http://[::1]:9091"),
        ("9091", "http://127.0.0.1:9091"),
        ("0.0.0.0:9091", "http://127.0.0.1:9091"),
        ("[::]:9091", "http://[::1]:9091"),
        ("tcp:9091:interface=127.0.0.1", "http://127.0.0.1:9091"),
        ("tcp:9091:127.0.0.9", "http://127.0.0.9:9091"),
        ("tcp:port=9091", "http://127.0.0.1:9091"),
        ("tcp6:9091", "http://[::1]:9091"),
        # the host of a request is decoded
        (r"tcp6:9091:interface=fe80\:\:1%eth0", "http://[fe80::1%25eth0]:9091"),
        ("gateway.example:9091", "http://gateway.example:9091"),
        ("http://gateway.example", "http://gateway.example"),
        ("http://b\u00fccher.example:9091", "http://xn--bcher-kva.example:9091"),
        ("https://gateway.example:9443/", "https://gateway.example:9443"),
        ("https://[::1]:9443", "https://[::1]:9443"),
    ],
)
def test_endpoints(endpoint: str, url: str) -> None:
    assert parse_endpoint(endpoint) == (url, None)


@pytest.mark.parametrize("endpoint", ["unix:/run/s", "unix:/run/s:mode=660", "unix:address=/run/s", "/run/s"])
def test_endpoints_that_are_files(endpoint: str) -> None:
    assert parse_endpoint(endpoint) == ("http://localhost", "/run/s")


@pytest.mark.parametrize(
    "endpoint",
    [
        "nowhere",
        "ssl:9091:privateKey=k",
        "systemd:domain=UNIX:index=0",
        "http://h/path",
        "http://",
        "http://h:x",
        "http://b\u00fc..de",
        "tcp:x",
        "tcp:9091:interface=b\u00fc..de",
        "tcp:interface=127.0.0.1",
    ],
)
def test_endpoints_that_are_none(endpoint: str) -> None:
    with pytest.raises(ConfigError):
        parse_endpoint(endpoint)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.server.requests.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return ""


class TcpServer(socketserver.TCPServer):
    requests: list[Any]
    answer: tuple[int, bytes] = (200, b'{"ok": true}')


class UnixServer(socketserver.UnixStreamServer):
    requests: list[Any]
    answer: tuple[int, bytes] = (200, b'{"ok": true}')


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, str]]:
    """A server, and how to reach it."""
    made: TcpServer | UnixServer
    if request.param == "tcp":
        made = TcpServer(("127.0.0.1", 0), Handler)
        endpoint = f"127.0.0.1:{made.server_address[1]}"
    else:
        made = UnixServer(str(tmp_path / "s"), Handler)
        endpoint = f"unix:{tmp_path / 's'}:mode=600"
    made.requests = []
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made, endpoint
    made.shutdown()
    thread.join()
    made.server_close()


def test_requests(server: tuple[Any, str], tmp_path: Path) -> None:
    made, endpoint = server
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    gateway = AdminClient(endpoint, token)
    assert gateway.get("sessions", canister="a b", limit=5, state=None) == {"ok": True}
    gateway.get("sessions", "a/b-1")
    gateway.post("kick", session=None, code=1008)
    gateway.put("log-levels", body={"relay": None})
    assert [(method, path) for method, path, _, _ in made.requests] == [
        ("GET", "/v1/sessions?canister=a+b&limit=5"),
        ("GET", "/v1/sessions/a%2Fb-1"),
        ("POST", "/v1/kick"),
        ("PUT", "/v1/log-levels"),
    ]
    assert [json.loads(body) for _, _, _, body in made.requests[2:]] == [{"code": 1008}, {"relay": None}]
    for _, _, headers, body in made.requests:
        assert headers["Authorization"] == "Bearer 0123456789abcdef"
        assert headers.get("Content-Type") == ("application/json" if body else None)


def test_a_token_that_is_missing_is_asked_for(server: tuple[Any, str], tmp_path: Path) -> None:
    made, endpoint = server
    made.answer = (401, b'{"error": "wrong token"}')
    with pytest.raises(Failed, match=r"^the gateway wants a token: --token-file, or ICWS_ADMIN_TOKEN_FILE"):
        AdminClient(endpoint).get("status")
    (tmp_path / "token").write_text("0123456789abcdef")
    with pytest.raises(Failed, match=r"^wrong token$"):
        AdminClient(endpoint, tmp_path / "token").get("status")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((409, b'{"error": "draining already"}'), "draining already"),
        ((500, b"{}"), "HTTP 500"),
        ((200, b"[]"), "HTTP 200 with an answer that is not the admin API's"),
        ((200, b"# HELP icws_sessions"), "not the admin API's"),
    ],
)
def test_answers_that_refuse(server: tuple[Any, str], answer: tuple[int, bytes], words: str) -> None:
    made, endpoint = server
    made.answer = answer
    with pytest.raises(Failed, match=words):
        AdminClient(endpoint).get("status")
    assert "Authorization" not in made.requests[0][2]


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"^cannot reach .*: No such file"):
        AdminClient(f"unix:{tmp_path}/s").get("status")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(Failed, match="refused"):
            AdminClient(f"127.0.0.1:{probe.getsockname()[1]}").get("status")


def test_another_program_answers(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with (
        scripted_http(lambda exchange: exchange.link.sendall(b"220 mail\r\n"), unix_path=path) as endpoint,
        pytest.raises(Failed, match=f"^no answer from {path}: 220 mail"),
    ):
        AdminClient(endpoint).get("status")


def test_the_limit_is_one_of_the_whole_answer() -> None:
    """Each byte comes in time, and the server ends its answer after 10 seconds."""

    def drip(exchange: HttpExchange) -> None:
        exchange.link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
        exchange.drip(b"{")

    with scripted_http(drip) as url, pytest.raises(Failed, match=f"^no answer from {url}: timed out$"):
        AdminClient(url, seconds=0.3).get("status")


def test_an_answer_of_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icwsgw.ctl.admin_client.MAX_ANSWER", 9)
    with (
        scripted_http(lambda exchange: exchange.answer(b"x" * 10)) as url,
        pytest.raises(Failed, match=f"^no answer from {url}: an answer of more than 9 bytes$"),
    ):
        AdminClient(url).get("status")


def test_proxies_of_the_environment_are_not_used(server: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    assert AdminClient(server[1]).get("status") == {"ok": True}


def test_a_token_file_of_no_use(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        AdminClient("9091", tmp_path / "absent").get("status")
    for content in ("ü", "", "0123456789\nabcdef", "0123456789 abcdef"):
        (tmp_path / "token").write_text(content)
        with pytest.raises(ConfigError, match="holds no token"):
            AdminClient("9091", tmp_path / "token").get("status")


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://exa mple:80",
        "http://exa\x7fmple:80",
        "http://a..b:80",
        f"http://{'a' * 70}.de:80",
        "/tmp/\0a",
        "/tmp/\ud800x",
    ],
)
def test_endpoints_that_cannot_be_used(endpoint: str) -> None:
    with pytest.raises(Failed, match="cannot reach "):
        AdminClient(endpoint).get("status")


def test_arguments_that_are_not_utf_8_are_passed_on(server: tuple[Any, str]) -> None:
    made, endpoint = server
    made.answer = (200, b"{}")
    AdminClient(endpoint).get("sessions", "\udcff", origin="\udcfe")
    assert made.requests[0][1] == "/v1/sessions/%FF?origin=%FE"
