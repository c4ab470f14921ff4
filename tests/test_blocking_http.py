from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from icwsgw.blocking_http import HttpAnswer, request
from icwsgw.errors import AnswerMalformed, AnswerTooLarge, ConnectFailed, ConnectionLost, RequestTimeout
from tests.acceptance.processes import free_port
from tests.support.pem import authority
from tests.support.pem import server as server_pem
from tests.support.scripted_http import HttpExchange, scripted_http


def ask(url: str, body: bytes | None = None, timeout: float = 60.0, direct: bool = True) -> HttpAnswer:
    return request(url, body, timeout=timeout, max_bytes=1000, direct=direct)


def ask_for_long(url: str, unix_path: str | None = None) -> HttpAnswer:
    """Send a request, with a clock on which most of the time is over when it is sent.

    A clock of the machine would also measure how long a busy one takes until there is a connection.
    """
    # read at the beginning, before and after the connection is made, and before the request is sent
    times = iter([0.0] * 4)
    sent: list[float] = []

    def seconds() -> float:
        if (time_before := next(times, None)) is not None:
            return time_before
        sent.append(time.monotonic())
        return 59.7 + sent[-1] - sent[0]

    return request(url, timeout=60.0, max_bytes=1000, direct=True, unix_path=unix_path, seconds=seconds)


def test_answers_of_every_status() -> None:
    heads: list[bytes] = []

    def echo(exchange: HttpExchange) -> None:
        heads.append(exchange.head)
        status = int(exchange.line.rpartition("/")[2])
        exchange.answer(exchange.body or b"none", status, "Location: /elsewhere\r\n" if status == 302 else "")

    with scripted_http(echo) as url:
        assert ask(f"{url}/200") == HttpAnswer(200, b"none")
        assert ask(f"{url}/503", b"sent") == HttpAnswer(503, b"sent")
        # a redirect is not followed
        assert ask(f"{url}/302", b"sent") == HttpAnswer(302, b"sent", "/elsewhere")
    assert [head.split()[0] for head in heads] == [b"GET", b"POST", b"POST"]
    assert b"content-type: application/cbor" in heads[1].lower()
    assert b"content-type" not in heads[0].lower()


def test_another_method_and_more_headers() -> None:
    heads: list[bytes] = []

    def answer(exchange: HttpExchange) -> None:
        heads.append(exchange.head)
        exchange.answer(exchange.body)

    with scripted_http(answer) as url:
        headers = {"Authorization": "Bearer abc"}
        typed = "application/json"
        put = request(
            url, b"{}", method="PUT", headers=headers, content_type=typed, timeout=60.0, max_bytes=9, direct=True
        )
    assert put == HttpAnswer(200, b"{}")
    assert heads[0].startswith(b"PUT / ")
    assert b"\r\nAuthorization: Bearer abc\r\n" in heads[0]
    assert b"\r\nContent-Type: application/json\r\n" in heads[0]


def test_a_unix_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(exchange: HttpExchange) -> None:
        if exchange.line == "GET /drip":
            exchange.link.sendall(HEAD)
            exchange.drip(b"x")
        else:
            exchange.answer(exchange.head + exchange.body)

    # a proxy cannot reach it
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    with scripted_http(answer, unix_path=tmp_path / "s") as path:
        echo = request("http://localhost/a", b"sent", timeout=60.0, max_bytes=1000, unix_path=path)
        assert echo.body.startswith(b"POST /a ")
        assert echo.body.endswith(b"sent")
        assert b"\r\nHost: localhost\r\n" in echo.body
        with pytest.raises(RequestTimeout):
            ask_for_long("http://localhost/drip", path)
    for path, reason in ((str(tmp_path / "absent"), "^No such file"), ("/\ud800", "surrogates")):
        with pytest.raises(ConnectFailed, match=reason):
            request("http://localhost", timeout=60.0, max_bytes=1000, unix_path=path)


def test_a_body_in_chunks() -> None:
    def answer(exchange: HttpExchange) -> None:
        exchange.link.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")

    with scripted_http(answer) as url:
        assert ask(url).body == b"abc"


HEAD = b"HTTP/1.1 503 Unavailable\r\nContent-Length: 900\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def dripping(start: bytes, rest: bytes) -> Callable[[HttpExchange], None]:
    def answer(exchange: HttpExchange) -> None:
        exchange.link.sendall(start)
        exchange.drip(rest)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        lambda exchange: exchange.over.wait(10),
        dripping(HEAD, b"x"),
        dripping(CHUNKED, b"1\r\nx\r\n" * 100),
        dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        dripping(b"", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 50),
    ],
    ids=["silent", "body", "chunks", "header", "head"],
)
def test_the_limit_is_one_of_the_whole_answer(answer: Callable[[HttpExchange], object]) -> None:
    """Each byte comes in time, and the server ends its answer after 10 seconds."""
    with scripted_http(answer) as url, pytest.raises(RequestTimeout, match="timed out"):
        ask_for_long(url)


@pytest.mark.parametrize(
    "sent",
    [b"", HEAD, HEAD + b"half", CHUNKED, CHUNKED + b"5\r\nab"],
    ids=["nothing", "no body", "half a body", "no chunk", "half a chunk"],
)
def test_an_answer_that_is_cut(sent: bytes) -> None:
    with scripted_http(lambda exchange: exchange.link.sendall(sent)) as url, pytest.raises(ConnectionLost) as lost:
        ask(url)
    assert str(lost.value)


def test_answers_that_are_none() -> None:
    with (
        scripted_http(lambda exchange: exchange.link.sendall(b"SSH-2.0-x\r\n")) as url,
        pytest.raises(AnswerMalformed),
    ):
        ask(url)
    with scripted_http(lambda exchange: exchange.answer(b"x" * 1001)) as url, pytest.raises(AnswerTooLarge):
        ask(url)


def test_what_cannot_be_reached() -> None:
    for url in (
        f"http://127.0.0.1:{free_port()}",
        "http://127.0.0.1:99999",
        "http://a..b",
        f"http://{'x' * 70}",
        "http://[::1",
        "http://127.0.0.1:x",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/ü",
        "nothing",
        "file:/etc/passwd",
    ):
        with pytest.raises(ConnectFailed) as raised:
            ask(url)
        assert str(raised.value)
    with pytest.raises(ConnectFailed, match=r"^Connection refused$"):
        ask(f"http://127.0.0.1:{free_port()}")


def test_all_addresses_of_a_host_have_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.0, 0.0, 5.0])
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", free_port())) for _ in range(9)]
    monkeypatch.setattr("icwsgw.blocking_http.socket.getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ConnectFailed, match="timed out"):
        # asked at the start and before each address: two are refused, and for the third no time is left
        request("http://many.test", timeout=5.0, max_bytes=1, direct=True, seconds=lambda: next(times, 5.0))


def test_a_host_of_which_the_second_address_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_http(lambda exchange: exchange.answer(b"ok")) as url:
        ports = (free_port(), int(url.rpartition(":")[2]))
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr("icwsgw.blocking_http.socket.getaddrinfo", lambda *_, **__: found)
        assert ask("http://two.test").body == b"ok"


def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer = authority()
    context.load_cert_chain(*server_pem(signer).write(tmp_path))
    body = b"x" * 100_000
    with scripted_http(lambda exchange: exchange.answer(b"%d" % len(exchange.body)), context) as url:
        with pytest.raises(ConnectFailed, match="certificate"):
            ask(url)
        trusted = tmp_path / "authority.pem"
        trusted.write_bytes(signer.pem)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        assert ask(url, body).body == b"100000"
    with scripted_http(dripping(HEAD, b"x"), context) as url, pytest.raises(RequestTimeout):
        ask_for_long(url)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ConnectFailed, match="timed out"):
        ask(f"https://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)


def relay(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        target.close()


def test_proxies_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    def proxy(exchange: HttpExchange) -> None:
        lines.append(exchange.line)
        if not exchange.line.startswith("CONNECT"):
            exchange.answer(b"through a proxy")
            return
        host, _, port = exchange.line.split()[1].partition(":")
        with socket.create_connection((host, int(port))) as far:
            exchange.link.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=relay, args=(far, exchange.link))
            back.start()
            relay(exchange.link, far)
            back.join()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer = authority()
    context.load_cert_chain(*server_pem(signer).write(tmp_path))
    trusted = tmp_path / "authority.pem"
    trusted.write_bytes(signer.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setenv("no_proxy", "")
    with ExitStack() as stack:
        url = stack.enter_context(scripted_http(lambda exchange: exchange.answer(b"directly"), context))
        way = stack.enter_context(scripted_http(proxy))
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, way)
        assert ask("http://far.test/a", direct=False).body == b"through a proxy"
        assert ask(url, direct=False).body == b"directly"
        assert lines == ["GET http://far.test/a", f"CONNECT {url.removeprefix('https://')}"]
        assert ask(url).body == b"directly"
    assert len(lines) == 2


def test_a_proxy_that_opens_no_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent to the host itself."""
    monkeypatch.setenv("no_proxy", "")
    with scripted_http(lambda exchange: exchange.answer(status=502)) as way:
        monkeypatch.setenv("https_proxy", way)
        with pytest.raises(ConnectFailed, match="502"):
            ask("https://far.test", b"call", direct=False)
    # within the head: what follows it would be the TLS handshake, and not of that form
    with scripted_http(dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x")) as way:
        monkeypatch.setenv("https_proxy", way)
        with pytest.raises(ConnectFailed, match="timed out"):
            ask("https://far.test", b"call", timeout=0.3, direct=False)
    monkeypatch.setenv("https_proxy", "http://")
    with pytest.raises(ConnectFailed):
        ask("https://far.test", direct=False)
