from __future__ import annotations

import pytest

from bench.gateway import _ready
from tests.acceptance.processes import free_port
from tests.support.scripted_http import HttpExchange, scripted_http


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n", False),
        (b"SSH-2.0-x\r\n", False),
        (b"", False),
    ],
)
def test_a_gateway_is_ready_when_its_endpoint_says_so(answer: bytes, expected: bool) -> None:
    def reply(exchange: HttpExchange) -> None:
        assert exchange.line == "GET /health/ready"
        exchange.link.sendall(answer)

    with scripted_http(reply) as url:
        port = int(url.rpartition(":")[2])
        assert _ready(port, port) is expected
        assert _ready(port, None)
    assert not _ready(free_port(), free_port())
    assert not _ready(free_port(), None)
