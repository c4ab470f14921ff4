"""Options that the start derives from what runs on this machine."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import cbor2
import pytest

from icwsgw.config.project_networks import LocalNetwork
from icwsgw.config.schema import GatewayConfig
from icwsgw.config.sources import load
from icwsgw.errors import ConfigError
from icwsgw.process import local_choices
from icwsgw.process.local_choices import LocalChoices, answers_status, choose_network
from tests.support.scripted_http import HttpExchange, scripted_http

A, B = LocalNetwork("http://a", "the first"), LocalNetwork("http://b", "the second")


def test_the_first_that_answers_and_why() -> None:
    assert choose_network([A, B], lambda url: True) == ("http://a", "the network is http://a: the first")
    url, words = choose_network([A, B], lambda url: url == "http://b")
    assert (url, words) == ("http://b", "the network is http://b: the second; nothing answers at http://a")
    url, words = choose_network([A, B], lambda url: False)
    assert url == "http://a"
    assert words == "the network is http://a: the first; nothing answers yet at http://a and http://b"


class Server:
    """Answers every request in the same way, and records the paths."""

    def __init__(self, status: int, body: bytes) -> None:
        paths: list[str] = []
        self.paths = paths

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                paths.append(self.path)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.mark.parametrize(
    ("status", "body", "is_one"),
    [
        (200, cbor2.dumps(cbor2.CBORTag(55799, {"root_key": b"k" * 133, "replica_health_status": "healthy"})), True),
        (404, cbor2.dumps({"root_key": b"k"}), False),
        (200, b"<html>", False),
        (200, b"", False),
        (200, cbor2.dumps({}), False),
        (200, cbor2.dumps([1]), False),
    ],
)
def test_a_network_is_what_answers_its_status(monkeypatch: Any, status: int, body: bytes, is_one: bool) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server = Server(status, body)
    try:
        assert answers_status(server.url) is is_one
        assert server.paths == ["/api/v2/status"]
    finally:
        server.close()
    assert not answers_status(server.url), "nobody listens any more"


def test_what_does_not_answer_in_http_is_no_network() -> None:
    with scripted_http(lambda exchange: exchange.link.sendall(b"SSH-2.0-x\r\n")) as url:
        assert not answers_status(url)


def test_a_server_that_drips_is_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit is one on the whole answer: each byte of this one comes in time."""
    monkeypatch.setattr(local_choices, "TIMEOUT", 0.3)
    with scripted_http(lambda exchange: exchange.drip(b"HTTP/1.1 200 OK\r\n\r\n:")) as url:
        assert not answers_status(url)


def test_a_network_that_keeps_the_connection_is_one() -> None:
    """Its answer is whole, though the connection has not ended: proxies may ignore ``Connection: close``."""

    def answer(exchange: HttpExchange) -> None:
        exchange.answer(cbor2.dumps({"root_key": b"key"}))
        exchange.over.wait(10)

    with scripted_http(answer) as url:
        assert answers_status(url)


def test_nothing_is_read_after_the_time() -> None:
    server = Server(200, cbor2.dumps({"root_key": b"key"}))
    times = iter([0.0, *[local_choices.TIMEOUT] * 100])
    try:
        assert answers_status(server.url, seconds=lambda: 0.0)
        assert not answers_status(server.url, seconds=lambda: next(times))
    finally:
        server.close()


def choices(fault: Any = None, answers: Any = None, **given: Any) -> LocalChoices:
    sourced = load({name.replace("_", "-"): value for name, value in given.items()}, {})
    return LocalChoices(sourced, Path("/nonexistent"), answers=answers, fault=fault)


def test_nothing_is_looked_for_unless_it_is_asked_for() -> None:
    chosen = choices(answers=pytest.fail, fault=pytest.fail)
    assert (chosen.sourced.config, chosen.notes) == (load({}, {}).config, [])
    chosen = choices(answers=pytest.fail, fault=pytest.fail, devnet=True, devnet_listen="tcp:4943")
    assert chosen.notes == []


def test_auto_is_the_network_that_answers_and_stays_it() -> None:
    chosen = choices(lambda _: None, lambda url: url.endswith(":4943"), ic_network_url="auto")
    config = chosen.sourced.config
    assert config.ic_network_url == "http://127.0.0.1:4943"
    assert config.network.root_key is None
    (note,) = chosen.notes
    assert note == "the network is http://127.0.0.1:4943: the port of dfx; nothing answers at http://127.0.0.1:8000"
    again = load({"ic-network-url": "auto", "drain-window": 3.0}, {}).config
    assert chosen.kept(again).ic_network_url == config.ic_network_url
    assert chosen.kept(again).drain_window == 3.0
    other = load({"ic-network-url": "http://127.0.0.1:1"}, {}).config
    assert chosen.kept(other) == other


def test_the_embedded_replica_steps_aside_only_where_its_port_is_taken() -> None:
    assert choices(lambda _: None, devnet=True).notes == []
    addresses: list[str] = []

    def fault(address: str) -> str | None:
        addresses.append(address)
        return None if ":4946:" in address else "Address already in use"

    chosen = choices(fault, devnet=True, gateway_address=("tcp:4944",))
    config = chosen.sourced.config
    assert (config.devnet_listen, config.ic_network_url) == ("tcp:4946:interface=127.0.0.1", "http://127.0.0.1:4946")
    assert addresses == [f"tcp:{port}:interface=127.0.0.1" for port in (4943, 4945, 4946)]
    (note,) = chosen.notes
    assert note.startswith("another program has port 4943: the embedded replica listens on port 4946")
    # read again, while the replica itself has its port
    assert chosen.kept(load({"devnet": True, "gateway-address": ("tcp:4944",)}, {}).config) == config


@pytest.mark.parametrize("address", ["haproxy:tcp:4943", "haproxy:ssl:4943:privateKey=k.pem"])
def test_it_leaves_the_port_behind_a_proxy_to_the_gateway(address: str) -> None:
    chosen = choices(lambda _: None, devnet=True, gateway_address=(address,))
    assert chosen.sourced.config.ic_network_url == "http://127.0.0.1:4944"


def test_it_steps_aside_without_a_port_for_metrics_too() -> None:
    chosen = choices(lambda address: None if ":4944:" in address else "taken", devnet=True, prometheus_endpoint=None)
    assert chosen.sourced.config.ic_network_url == "http://127.0.0.1:4944"
    chosen = choices(
        lambda address: None if ":494" in address else "taken", devnet=True, prometheus_endpoint="tcp:4943"
    )
    assert chosen.sourced.config.ic_network_url == "http://127.0.0.1:4944"


def test_where_no_port_is_free_the_start_says_so_as_ever() -> None:
    chosen = choices(lambda _: "taken", devnet=True)
    assert chosen.notes == []
    assert chosen.sourced.config.devnet_listen == GatewayConfig().devnet_listen


def test_the_devnet_is_the_network_of_auto() -> None:
    chosen = choices(lambda _: None, pytest.fail, devnet=True, ic_network_url="auto")
    assert chosen.sourced.config.ic_network_url == "http://127.0.0.1:4943"
    with pytest.raises(ConfigError, match="leave --ic-network-url out"):
        load({"devnet": True, "ic-network-url": "http://127.0.0.1:1"}, {})
