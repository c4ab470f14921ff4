from __future__ import annotations

import email.utils
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from icwsgw.cli.gateway_probe import Probe, ProbeOutcome, probe, read_head
from tests.acceptance.processes import free_port
from tests.support.pem import authority
from tests.support.pem import server as server_pem
from tests.support.scripted_http import HttpExchange, scripted_http

NOW = 1_700_000_000.0


@contextmanager
def answering(data: bytes | Callable[[bytes], bytes], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A port that gives one answer to everybody who has sent something, or what a function returns for it."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                link, _ = server.accept()
            except OSError:
                return
            try:
                with link if tls is None else tls.wrap_socket(link, server_side=True) as stream:
                    request = stream.recv(4096)
                    stream.sendall(data if isinstance(data, bytes) else data(request))
            except OSError:
                continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Probe(ProbeOutcome.UPGRADED, "Switching Protocols", 101)),
        (b"HTTP/1.1 403 Forbidden\r\nX: y\r\n\r\n", Probe(ProbeOutcome.REFUSED, "Forbidden", 403)),
        (b"HTTP/1.1 200\r\n\r\n", Probe(ProbeOutcome.REFUSED, "", 200)),
        (b"\x15\x03\x03\x00\x02\x02\x46", Probe(ProbeOutcome.TLS)),
        (b"HTTP/1.1 400 Bad Request\r\n\r\nplain HTTP to an HTTPS port", Probe(ProbeOutcome.TLS, "Bad Request", 400)),
        (b"", Probe(ProbeOutcome.NOT_HTTP, "it ended the connection")),
        (b"SSH-2.0-x\r\n", Probe(ProbeOutcome.NOT_HTTP, "it speaks no HTTP")),
        (b"HTTP/1.1 abc\r\n\r\n", Probe(ProbeOutcome.NOT_HTTP, "it speaks no HTTP")),
    ],
)
def test_what_servers_say(data: bytes, expected: Probe) -> None:
    assert read_head(data, NOW) == expected


def test_the_server_s_clock() -> None:
    head = b"HTTP/1.1 101 OK\r\nDate: Tue, 14 Nov 2023 22:14:20 GMT\r\n\r\n"
    assert read_head(head, NOW).clock_offset == 60.5
    assert read_head(head.replace(b"Tue", b"x").replace(b"GMT", b"?"), NOW).clock_offset in (None, 60.5)
    assert (
        read_head(head.replace(b"Tue, 14 Nov 2023 22:14:20 GMT", b"Tue Nov 14 22:14:20 2023"), NOW).clock_offset == 60.5
    )
    for date in (b"now", b"Tue, 14 Nov 99999999999999999999 22:14:20 GMT"):
        assert read_head(b"HTTP/1.1 101 OK\r\nDate: %b\r\n\r\n" % date, NOW).clock_offset is None


def test_a_plain_request_shows_the_clock_of_a_server_whose_handshake_has_no_date() -> None:
    requests: list[bytes] = []
    date = email.utils.formatdate(time.time() + 600, usegmt=True).encode()

    def answer(request: bytes) -> bytes:
        requests.append(request)
        if b"\r\nConnection: Upgrade\r\n" in request:
            return b"HTTP/1.1 101 OK\r\n\r\n"
        return b"HTTP/1.1 426 Upgrade Required\r\nDate: %b\r\n\r\n" % date

    with answering(answer) as port:
        found = probe(f"ws://127.0.0.1:{port}")
    assert (found.outcome, found.status, len(requests)) == (ProbeOutcome.UPGRADED, 101, 2)
    assert found.clock_offset is not None
    assert abs(found.clock_offset - 600) < 60


def test_the_query_of_the_url_is_sent() -> None:
    """As clients do: a proxy may route by it, or find a token in it."""
    lines: list[bytes] = []

    def answer(request: bytes) -> bytes:
        lines.append(request.partition(b"\r\n")[0])
        return b"HTTP/1.1 101 OK\r\nDate: Tue, 14 Nov 2023 22:14:20 GMT\r\n\r\n"

    with answering(answer) as port:
        for rest in ("/path?x=y&z=%20", "?x=y", "/path?", ""):
            probe(f"ws://127.0.0.1:{port}{rest}")
    sent = (b"/path?x=y&z=%20", b"/?x=y", b"/path", b"/")
    assert lines == [b"GET %b HTTP/1.1" % target for target in sent]


def test_a_refusal_is_reported_in_the_servers_words() -> None:
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    words = read_head(head + b"origin x not allowed\x1b, only y\n more", NOW).reason
    assert words == "origin x not allowed\\u001b, only y"
    assert read_head(head, NOW).reason == "Forbidden"
    assert read_head(head.replace(b"plain", b"html") + b"<p>no", NOW).reason == "Forbidden"


def test_ports() -> None:
    with answering(b"HTTP/1.1 101 OK\r\n\r\n") as port:
        assert probe(f"ws://127.0.0.1:{port}").outcome is ProbeOutcome.UPGRADED
        assert probe(f"wss://127.0.0.1:{port}").outcome is ProbeOutcome.NOT_TLS
    assert probe(f"ws://127.0.0.1:{free_port()}").outcome is ProbeOutcome.UNREACHABLE
    assert probe("ws://no-such-host.invalid").outcome is ProbeOutcome.UNRESOLVED
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"//127.0.0.1:{silent.getsockname()[1]}"
        assert probe(f"ws:{url}", timeout=0.1).outcome is ProbeOutcome.SILENT
        assert probe(f"wss:{url}", timeout=0.1).outcome is ProbeOutcome.NOT_TLS


def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer = authority()
    context.load_cert_chain(*server_pem(signer).write(tmp_path))
    with answering(b"HTTP/1.1 101 OK\r\n\r\n", context) as port:
        bad = probe(f"wss://127.0.0.1:{port}")
        assert bad.outcome is ProbeOutcome.BAD_CERTIFICATE
        assert "certificate" in bad.reason
        assert probe(f"ws://127.0.0.1:{port}").outcome in (ProbeOutcome.TLS, ProbeOutcome.NOT_HTTP)
        trusted = tmp_path / "authority.pem"
        trusted.write_bytes(signer.pem)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        # a socket that is left open fails the test
        assert probe(f"wss://127.0.0.1:{port}").outcome is ProbeOutcome.UPGRADED


def test_a_host_that_is_no_name() -> None:
    for host in ("a..b", "x" * 70):
        found = probe(f"ws://{host}")
        assert found.outcome is ProbeOutcome.UNRESOLVED
        assert found.reason


def test_an_answer_that_does_not_end() -> None:
    """Each byte comes in time, for about 10 seconds."""
    with scripted_http(lambda exchange: exchange.drip(b"HTTP/1.1 101 OK\r\n" + b"A: b\r\n" * 50)) as url:
        assert probe(f"ws{url.removeprefix('http')}", timeout=0.3).outcome is ProbeOutcome.SILENT


def test_a_server_that_is_silent_after_tls_has_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer = authority()
    context.load_cert_chain(*server_pem(signer).write(tmp_path))
    trusted = tmp_path / "authority.pem"
    trusted.write_bytes(signer.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    handled: list[str] = []

    def answer(exchange: HttpExchange) -> None:
        handled.append(exchange.line)
        exchange.over.wait(60)

    with scripted_http(answer, context) as url:
        # long enough for the handshake on a busy machine
        assert probe(f"wss{url.removeprefix('https')}", timeout=5.0).outcome is ProbeOutcome.SILENT
    assert handled == ["GET /"]


def test_a_probe_takes_as_long_as_it_may() -> None:
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        probe(f"ws://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)
    assert time.monotonic() - began >= 0.2
