from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from icwsgw.acme.http_challenge import PATH, ChallengeSite
from icwsgw.acme.storage import AcmeStorage
from tests.admin.test_prometheus_endpoint import Turns

TOKEN = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"


def ask(tmp_path: Path, line: bytes, *headers: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send a request to the server; status, headers and body of its answer."""
    site: Any = ChallengeSite(AcmeStorage(tmp_path), ("a.example", "xn--b-fka.example"), Clock())
    channel = site.buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(b"\r\n".join([line, *headers, b"Connection: close", b"", b""]))
    head, _, body = transport.value().partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    named = dict(each.split(b": ", 1) for each in lines)
    return int(first.split()[1]), {name.lower(): value for name, value in named.items()}, body


def test_the_answer_to_a_challenge(tmp_path: Path) -> None:
    AcmeStorage(tmp_path).put_answer(TOKEN, b"proof")
    path = b"/.well-known/acme-challenge/" + TOKEN.encode()
    status, headers, body = ask(tmp_path, b"GET " + path + b" HTTP/1.1", b"Host: a.example")
    assert (status, body) == (200, b"proof")
    assert headers[b"content-type"] == b"application/octet-stream"
    assert headers[b"cache-control"] == b"no-store", "the next order has another one"
    assert ask(tmp_path, b"HEAD " + path + b" HTTP/1.1", b"Host: other.example")[0] == 200
    assert ask(tmp_path, b"GET " + path + b"?x=1 HTTP/1.1", b"Host: a.example")[2] == b"proof"


@pytest.mark.parametrize(
    "path",
    [
        b"/.well-known/acme-challenge/",
        b"/.well-known/acme-challenge/unknown-token-of-nobody",
        b"/.well-known/acme-challenge/../../account.pem",
        b"/.well-known/acme-challenge/..%2f..%2faccount.pem",
        b"/.well-known/acme-challenge/a.example.pem",
    ],
)
def test_there_is_nothing_else(tmp_path: Path, path: bytes) -> None:
    AcmeStorage(tmp_path).put_answer("a.example.pem", b"secret")
    (tmp_path / "account.pem").write_bytes(b"secret")
    status, _, body = ask(tmp_path, b"GET " + path + b" HTTP/1.1", b"Host: a.example")
    assert status == 404
    assert b"secret" not in body


def test_people_are_sent_to_https(tmp_path: Path) -> None:
    for host, place in (
        (b"a.example", b"https://a.example/x?y=1"),
        (b"A.Example.:80", b"https://a.example/x?y=1"),
        (b"xn--b-fka.example", b"https://xn--b-fka.example/x?y=1"),
    ):
        status, headers, _ = ask(tmp_path, b"GET /x?y=1 HTTP/1.1", b"Host: " + host)
        assert (status, headers[b"location"]) == (308, place)


@pytest.mark.parametrize("host", [b"evil.example", b"", b"a.example.evil", b"[::1]", b"a.example@evil"])
def test_there_are_no_redirects(tmp_path: Path, host: bytes) -> None:
    status, headers, _ = ask(tmp_path, b"GET / HTTP/1.1", b"Host: " + host)
    assert status == 404
    assert b"location" not in headers


def test_other_methods(tmp_path: Path) -> None:
    status, headers, _ = ask(tmp_path, b"POST / HTTP/1.1", b"Host: a.example", b"Content-Length: 0")
    assert (status, headers[b"allow"]) == (405, b"GET, HEAD")


def test_a_certificate_authority_does_not_wait_for_other_requests(tmp_path: Path) -> None:
    site: Any = ChallengeSite(AcmeStorage(tmp_path), ("a.example",), Clock())
    transports = [StringTransport() for _ in range(5)]
    channels = [site.buildProtocol(None) for _ in transports]
    for channel, transport in zip(channels, transports, strict=True):
        channel.makeConnection(transport)
    turns = site.reactor = Turns()
    for channel in channels[:4]:
        channel.dataReceived(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    channels[4].dataReceived(b"GET " + PATH + b"token HTTP/1.1\r\nHost: a.example\r\n\r\n")
    turns.turn()
    assert [bool(transport.value()) for transport in transports] == [True, True, False, False, True]
