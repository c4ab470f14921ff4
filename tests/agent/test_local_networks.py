"""Local networks of developers' tools are found and named."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from twisted.internet.task import Clock

from icwsgw.agent.local_networks import LocalNetworks
from icwsgw.errors import ConnectFailed
from tests.support.devnet import result_of
from tests.support.memory_transport import MemoryTransport

STATUS: tuple[int, dict[str, str], bytes] = (200, {}, cbor2.dumps({"root_key": b"k" * 133}))


def look(url: str, answer: Any) -> tuple[str, list[str]]:
    """The note for the log, and the hosts of the requests."""
    hosts: list[str] = []

    class Transport(MemoryTransport):
        def fetch(self, method: bytes, url: Any, body: bytes = b"", *, timeout: float) -> Any:
            hosts.append(f"{url.host}:{url.port}")
            return super().fetch(method, url, body, timeout=timeout)

    def handler(*request: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return result_of(LocalNetworks(Transport(Clock(), handler), url).look()), hosts  # type: ignore[arg-type]


def test_the_other_tool_s_network_is_named() -> None:
    note, hosts = look("http://127.0.0.1:4943", STATUS)
    assert note == "a local network answers, icp-cli's at http://127.0.0.1:8000: see --ic-network-url"
    assert hosts == ["127.0.0.1:8000"]
    note, hosts = look("http://localhost:8000", STATUS)
    assert note == "a local network answers, dfx's at http://127.0.0.1:4943: see --ic-network-url"
    assert hosts == ["127.0.0.1:4943"]
    note, hosts = look("http://[::1]:5000", STATUS)
    assert "icp-cli's at http://127.0.0.1:8000 and dfx's at http://127.0.0.1:4943" in note
    assert len(hosts) == 2


@pytest.mark.parametrize(
    "answer", [ConnectFailed("refused"), (404, {}, b""), (200, {}, b"<html>"), (200, {}, cbor2.dumps({}))]
)
def test_what_is_no_network_is_not_named_as_one(answer: Any) -> None:
    note, _ = look("http://127.0.0.1:5000", answer)
    assert note == (
        "no other local network answers either (icp-cli's at http://127.0.0.1:8000, dfx's at http://127.0.0.1:4943)"
    )


@pytest.mark.parametrize("url", ["https://icp-api.io", "http://10.0.0.1:4943"])
def test_nothing_is_looked_for_where_the_network_is_elsewhere(url: str) -> None:
    assert look(url, STATUS) == ("", [])
