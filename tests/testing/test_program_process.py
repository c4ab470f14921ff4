"""Programs in processes: free ports, HTTP answers, failed starts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from icwsgw.testing import program_process
from icwsgw.testing.program_process import (
    ControlRefused,
    ProgramProcess,
    StartFailed,
    free_ports,
    request_json,
    started,
)
from tests.support.scripted_http import scripted_http


def test_ports_are_free_and_different() -> None:
    ports = free_ports(3)
    assert len(set(ports)) == 3
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


class Answers(BaseHTTPRequestHandler):
    """Answers a POST with its body, and a GET as the path says."""

    def do_POST(self) -> None:
        self._answer(200, self.rfile.read(int(self.headers["Content-Length"])))

    def do_GET(self) -> None:
        refused = {"/words": b'{"error": "no such thing"}', "/bytes": b"not found\n", "/list": b"[]"}
        if self.path in refused:
            self._answer(404, refused[self.path])
        else:
            self._answer(200, b'{"path": "%s"}' % self.path.encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Log nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_answers_are_json_and_refusals_have_a_reason(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # the proxy of the environment is not used for this machine's own ports
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert request_json(f"{url}/x") == {"path": "/x"}
    assert request_json(f"{url}/x", {"a": [1]}) == {"a": [1]}
    for path, words in (("words", "no such thing"), ("bytes", "not found"), ("list", "[]")):
        with pytest.raises(ControlRefused) as refused:
            request_json(f"{url}/{path}")
        assert str(refused.value) == f"{url}/{path}: {words}"


def test_an_answer_of_another_program_starts_nothing(url: str) -> None:
    process = ProgramProcess(["icws", "--no-such-option"])
    process._process.wait()
    with pytest.raises(StartFailed, match="it did not start:"):
        process.wait_until_ready(url)


def test_another_program_that_speaks_no_http_is_not_this_one() -> None:
    process = ProgramProcess(["icws", "--no-such-option"])
    process._process.wait()
    with (
        scripted_http(lambda exchange: exchange.link.sendall(b"SSH-2.0-x\r\n")) as url,
        pytest.raises(StartFailed, match="it did not start:"),
    ):
        process.wait_until_ready(url)


@pytest.mark.parametrize("status", [200, 500])
def test_a_program_that_ends_while_it_answers(status: int) -> None:
    head = b"HTTP/1.1 %d Reason\r\nContent-Length: 100\r\n\r\n{" % status
    with scripted_http(lambda exchange: exchange.link.sendall(head)) as url, pytest.raises(OSError, match=url):
        request_json(url)


def test_an_answer_that_is_no_json() -> None:
    with scripted_http(lambda exchange: exchange.answer(b"<html>")) as url, pytest.raises(ControlRefused, match="JSON"):
        request_json(url)


class Fake:
    """A program that finds its port in use as often as the test wants."""

    left = 0

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments

    def wait_until_ready(self, url: str) -> None:
        if Fake.left:
            Fake.left -= 1
            raise StartFailed("Couldn't listen on 127.0.0.1:1: [Errno 98] Address already in use.")
        if "bad" in self.arguments:
            raise StartFailed("no canister")


def test_a_port_that_another_program_takes_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_process, "ProgramProcess", Fake)
    tried: list[int] = []

    def command(word: str) -> object:
        def arguments(ports: list[int]) -> tuple[list[str], str]:
            tried.append(ports[0])
            return [word], "http://127.0.0.1/"

        return arguments

    Fake.left = 2
    _, ports = started(1, command("good"))  # type: ignore[arg-type]
    assert (len(tried), tried[-1]) == (3, ports[0])
    Fake.left = 100
    with pytest.raises(StartFailed, match="in use"):
        started(1, command("good"))  # type: ignore[arg-type]
    assert len(tried) == 8
    Fake.left = 0
    with pytest.raises(StartFailed, match="no canister"):
        started(1, command("bad"))  # type: ignore[arg-type]
    assert len(tried) == 9


@pytest.mark.acceptance
def test_a_failed_start_shows_the_last_lines(tmp_path: Path) -> None:
    process = ProgramProcess(["icws-devnet", "--listen=0", f"--devnet-canister=own={tmp_path / 'none.py'}"])
    with pytest.raises(StartFailed, match=r"cannot read .*none\.py: No such file or directory"):
        process.wait_until_ready(f"http://127.0.0.1:{free_ports(1)[0]}/")
    assert not process.is_running
    assert process.end() == 1
