"""Traces and logs of a real gateway: a collector in this process, the gateway and its replica in another."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.acceptance.conftest import Stack
from tests.support.leaks import assert_none_of
from tests.support.otlp import Collector
from tests.support.raw_client import RawClient, RawSdkClient
from tests.support.ws_wire import close_frame

pytestmark = pytest.mark.acceptance

SECRET = b"nobody but the canister may read this"


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.stop()


def port_of(stack: Stack) -> int:
    return int(stack.gateway.rpartition(":")[2])


class Recorder(RawSdkClient):
    """An SDK client that remembers all that it sends and receives."""

    def __init__(self, stack: Stack) -> None:
        identity = Ed25519Identity(bytes(range(32)))
        super().__init__(RawClient(port_of(stack)), Principal.from_text(stack.echo), identity)
        self.sent: list[bytes] = []

    def envelope(self, *args: object, **keywords: object) -> bytes:
        payload: bytes = super().envelope(*args, **keywords)  # type: ignore[arg-type]
        self.sent.append(payload)
        return payload

    def leave(self) -> None:
        """Close, and wait until the gateway has answered."""
        self.connection.socket.sendall(close_frame(1000))
        assert self.connection.close_code() == 1000


def test_the_tree_of_spans_reaches_a_collector(collector: Collector, stacks: Callable[..., Stack]) -> None:
    stack = stacks(f"--opentelemetry-collector-endpoint=grpc://127.0.0.1:{collector.port}")
    client = Recorder(stack).open()
    for number in range(3):
        client.send_message(SECRET + b"%d" % number)
    client.until(lambda: len(client.received) == 3)
    client.leave()
    unopened = RawClient(port_of(stack)).do_handshake("Origin: null", "Sec-WebSocket-Extensions: none")
    assert unopened.status == 101
    unopened.close()
    # what has not left by itself leaves with the gateway's end
    assert stack.server.stop() == 0, stack.server.output

    named = collector.named
    (session,) = [span for span in named("Client Session") if "canister_id" in span.attributes]
    (handler,) = [span for span in named("Client Session Handler") if span.id == session.parent]
    (accept,) = [span for span in named("Accept Connection") if span.id == handler.parent]
    assert accept.parent == ""
    assert {session.trace, handler.trace, accept.trace} == {session.trace}
    assert accept.attributes["client_addr"] == "127.0.0.1"
    assert session.attributes["canister_id"] == stack.echo
    assert session.attributes["cause"] == 1000
    assert (session.attributes["up"], session.attributes["down"]) == (4, 4)

    up = named("Client Message")
    assert [span.attributes["method"] for span in up] == ["ws_open", "ws_message", "ws_message", "ws_message"]
    assert all(span.parent == session.id and span.events for span in up)
    down = named("Canister Message")
    assert [span.attributes["message_key"] for span in down] == client.keys
    assert all(span.parent == session.id for span in down)
    polls = named("Polling Iteration")
    assert 1 <= len(polls) <= 4
    assert {link for span in down for link in span.links} == {span.id for span in polls}
    assert [span.links for span in polls] == [[], *([span.id] for span in polls[:-1])]
    assert {span.parent for span in named("Relay Canister Messages")} == {span.id for span in polls}
    assert all(span.parent == "" and span.attributes["canister_id"] == stack.echo for span in polls)

    assert client.gateway is not None
    assert session.resource["service.name"] == "ic-ws-gw-" + client.gateway.text[:5]
    # the log's last line about the session leads to the trace
    line = stack.server.wait_for_line(rf"session ended .*session={session.attributes['client_id']} .*")[0]
    assert f"trace={session.trace}" in line
    assert_no_secrets(b"".join(collector.raw), client)


def test_a_collector_that_is_away_costs_a_line(stacks: Callable[..., Stack]) -> None:
    gone = Collector()
    gone.stop()
    stack = stacks(f"--opentelemetry-collector-endpoint=grpc://127.0.0.1:{gone.port}")
    client = Recorder(stack).open()
    stack.server.wait_for_line(r"warn  tracing exporting traces failed .*UNAVAILABLE")
    client.send_message(SECRET)
    client.until(lambda: client.received)
    client.leave()
    assert stack.server.stop() == 0, stack.server.output
    assert stack.server.output.count("exporting traces failed") <= 3
    assert "Traceback" not in stack.server.output


@pytest.mark.parametrize("wanted", ["trace", "debug"])
def test_the_most_verbose_log_contains_no_secret(wanted: str, stacks: Callable[..., Stack], tmp_path: Path) -> None:
    stack = stacks(f"--log-level={wanted}", f"--log-file-level={wanted}")
    client = Recorder(stack).open()
    for number in range(3):
        client.send_message(SECRET + b"%d" % number)
    client.until(lambda: len(client.received) == 3)
    client.leave()
    # faults make the longest lines
    confused = Recorder(stack).open()
    confused.connection.send(b"\xd9\xd9\xf7\xa1\x68envelope" + SECRET)
    assert confused.connection.close_code() == 1007
    stack.server.wait_for_line(r"session ended cause=1007")
    assert stack.server.stop() == 0, stack.server.output

    line = stack.server.wait_for_line(r"session ended cause=1000 .*")[0]
    fields = dict(re.findall(r"(\w+)=(\S+)", line))
    assert (fields["up"], fields["down"]) == ("4", "4")
    assert int(fields["bytes_up"]) == sum(map(len, client.sent))
    assert int(fields["bytes_down"]) > 4 * 500
    assert "trace" not in fields
    session = fields["session"]
    # from the socket over the session to each call, and its request id
    stack.server.wait_for_line(rf"client connected peer=127\.0\.0\.1:\d+ session={session}$")
    calls = re.findall(
        rf"debug relay call session={session} request=([0-9a-f]{{16}}) method=(\S+)", stack.server.output
    )
    assert [method for _, method in calls] == ["ws_open", "ws_message", "ws_message", "ws_message"]
    assert len({request for request, _ in calls}) == 4
    ended = re.findall(rf"debug relay call ended session={session} request=([0-9a-f]{{16}})", stack.server.output)
    assert ended == [request for request, _ in calls]

    (file,) = (tmp_path / "stack0" / "data" / "traces").glob("gateway_*.log")
    assert abs(int(file.stem.partition("_")[2]) / 1000 - time.time()) < 600
    records = [json.loads(record) for record in file.read_text().splitlines()]
    assert {"call", "session ended", "client connected"} <= {record["message"] for record in records}
    # the seed in the PKCS#8 file (RFC 8410)
    key = (tmp_path / "stack0" / "data" / "key_pair").read_bytes()[16:48]
    for text in (stack.server.output.encode(), file.read_bytes()):
        assert_none_of({"key of the gateway": key}, text)
        assert_no_secrets(text, client)
        assert_no_secrets(text, confused)


def assert_no_secrets(text: bytes, client: Recorder) -> None:
    """Neither contents nor keys nor signatures, in whatever form."""
    identity = client.identity
    secrets = {
        "content": SECRET,
        "seed": bytes(range(32)),
        "public key": identity.public_key_der[-16:],
    }
    for number, payload in enumerate(client.sent):
        # the signature stands at the end of an envelope, the argument in its middle
        at = payload.index(b"sender_sig") + len(b"sender_sig") + 2
        secrets[f"signature {number}"] = payload[at : at + 16]
    assert_none_of(secrets, text)
