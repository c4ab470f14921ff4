from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from icwsgw.client.client_errors import ClientError
from icwsgw.client.root_key import MAINNET_ROOT_KEY, fetch_root_key
from icwsgw.devnet.topology import Topology
from icwsgw.ic import cbor
from tests.acceptance.processes import free_port


@contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[str]:
    """A server that gives one answer to everybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/api/v2/status" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_key_of_a_local_network() -> None:
    key = Topology(b"test", "by-version").root_key_der
    with answering(cbor.dumps_tagged({"root_key": key, "more": 1})) as url:
        assert fetch_root_key(url) == key
        assert fetch_root_key(url + "/") == key


def test_mainnet_s_key_is_known() -> None:
    for url in ("https://icp-api.io", "https://icp0.io"):
        assert fetch_root_key(url) == MAINNET_ROOT_KEY


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "answers HTTP 200 instead of a status"),
        (b"hello", "answers HTTP 200 instead of a status"),
        (cbor.dumps([1]), "answers HTTP 200 instead of a status"),
        (cbor.dumps({}), "does not publish a root key"),
        (cbor.dumps({"root_key": b"x"}), "does not publish a root key"),
        (cbor.dumps({"root_key": 1}), "does not publish a root key"),
    ],
)
def test_what_is_no_network(body: bytes, says: str) -> None:
    with answering(body) as url, pytest.raises(ClientError, match=says) as wrong:
        fetch_root_key(url)
    assert wrong.value.hint


def test_who_cannot_be_reached() -> None:
    with pytest.raises(ClientError, match=r"cannot be reached: .*refused"):
        fetch_root_key(f"http://127.0.0.1:{free_port()}")
    with answering(b"", 503) as url, pytest.raises(ClientError, match="answers HTTP 503 instead of a status"):
        fetch_root_key(url)
    with pytest.raises(ClientError, match="not the URL of a network"):
        fetch_root_key("file:///etc/passwd")
