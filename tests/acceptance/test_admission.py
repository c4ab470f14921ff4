"""Strangers and floods against a real gateway: what is refused, how, and that a neighbour does not notice."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.ic.principal import Principal
from tests.acceptance.conftest import Stack, loopback, start_stack
from tests.acceptance.crowd import eventually
from tests.acceptance.processes import free_port, http_get
from tests.support import pem
from tests.support.raw_client import RawClient, RawSdkClient
from tests.support.ws_wire import HANDSHAKE, masked

pytestmark = pytest.mark.acceptance

Stacks = Callable[..., Stack]


def port_of(stack: Stack) -> int:
    return int(stack.gateway.rpartition(":")[2])


def metric(stack: Stack, name: str) -> float:
    """A sample, by its name with its label."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", http_get(f"{stack.admin}/metrics")[1].decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def refused(stack: Stack, reason: str) -> float:
    return metric(stack, f'icws_refused_connections_total{{reason="{reason}"}}')


def resident_kib(stack: Stack) -> int:
    text = Path(f"/proc/{stack.server.process.pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found[1])


def neighbour(stack: Stack) -> RawSdkClient:
    return RawSdkClient(RawClient(port_of(stack)), Principal.from_text(stack.echo)).open()


class Chatter:
    """A well-behaved neighbour that sends, one after the other, and wants each message back, in order."""

    def __init__(self, stack: Stack) -> None:
        self.client = neighbour(stack)
        self.count = 0
        self.failure: BaseException | None = None
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._enough.is_set():
                self.client.send_message(b"DIDL\x00\x00%d" % self.count)
                self.count += 1
                self.client.until(lambda: len(self.client.received) == self.count)
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        """End it; everything has come back, and something has."""
        self._enough.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure
        assert self.client.received == [b"DIDL\x00\x00%d" % n for n in range(self.count)]
        assert self.count > 0
        self.client.connection.close()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A gateway with short deadlines."""
    stack = start_stack(
        tmp_path_factory.mktemp("strict"),
        "--header-timeout=1",
        "--first-message-timeout=1",
        "--close-timeout=2",
        "--message-timeout=2",
        "--ping-interval=1",
        "--pong-timeout=1",
    )
    yield stack
    assert stack.server.stop() == 0, stack.server.output
    assert "Traceback" not in stack.server.output


def test_slow_requests_are_ended_and_a_neighbour_does_not_notice(strict: Stack) -> None:
    chatter = Chatter(strict)
    before = refused(strict, "header_timeout")
    slow = [RawClient(port_of(strict)) for _ in range(50)]
    for client in slow:
        client.socket.sendall(HANDSHAKE[:40])
    assert [client.answer().status for client in slow] == [408] * 50
    assert all(client.ends() for client in slow)
    silent = RawClient(port_of(strict))
    assert silent.answer().status == 408
    assert refused(strict, "header_timeout") - before == 51
    # 51 of them, and lines for ten
    line = "the request's header did not come in time"
    eventually(lambda: strict.server.output.count(line) >= 10, "the lines are written")
    assert strict.server.output.count(line) == 10
    chatter.stop()


def test_an_unauthenticated_connection_that_sends_nothing_is_closed(strict: Stack) -> None:
    silent = RawClient(port_of(strict)).do_handshake()
    assert silent.close_code() == CloseCode.NOT_OPENED
    silent.close()


def test_a_message_without_an_end(strict: Stack) -> None:
    client = neighbour(strict)
    client.connection.socket.sendall(masked(2, b"x", fin=False))
    ended = threading.Event()

    def dribble() -> None:
        try:
            while not ended.wait(0.2):
                client.connection.socket.sendall(masked(0, b"y", fin=False))
        except OSError:
            pass

    thread = threading.Thread(target=dribble)
    thread.start()
    code = client.connection.close_code()
    ended.set()
    thread.join()
    assert code == CloseCode.POLICY


FLOODS = {
    "pings": masked(9, b""),
    "pongs": masked(10, b"x"),
    "empty fragments": masked(0, b"", fin=False),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_floods_are_closed_and_a_neighbour_does_not_notice(strict: Stack, kind: str) -> None:
    chatter = Chatter(strict)
    before = metric(strict, f'icws_closes_total{{cause="{int(CloseCode.RATE_LIMIT)}"}}')
    codes = []
    for _ in range(5):
        client = neighbour(strict).connection
        flood = FLOODS[kind] * 5_000
        client.socket.sendall(masked(2, b"", fin=False) + flood if kind.startswith("empty") else flood)
        codes.append(client.close_code())
        client.close()
    assert codes == [CloseCode.RATE_LIMIT] * 5
    assert metric(strict, f'icws_closes_total{{cause="{int(CloseCode.RATE_LIMIT)}"}}') - before == 5
    chatter.stop()


def test_compressed_bombs_are_not_even_inflated(strict: Stack) -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    chunk = bytes(1 << 20)
    body = b"".join(deflate.compress(chunk) for _ in range(512)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    data = masked(2, body.removesuffix(b"\0\0\xff\xff"))
    bomb = bytes((data[0] | 0x40,)) + data[1:]
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover"
    neighbour(strict).connection.close()
    before = resident_kib(strict)
    for _ in range(5):
        client = RawClient(port_of(strict)).do_handshake(offer)
        assert b"permessage-deflate" not in client.head
        client.socket.sendall(bomb)
        assert client.close_code() == 1002
        client.close()
    assert resident_kib(strict) - before < 24 << 10


def test_deep_and_wide_messages_are_refused(strict: Stack) -> None:
    for payload in (
        b"\x81" * 60_000 + b"\x00",
        b"\xa1\x68envelope" + b"\xa1\x61a" * 20_000 + b"\x00",
        b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff",
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x9f" + b"\x80" * 60_000 + b"\xff",
    ):
        client = RawClient(port_of(strict)).do_handshake()
        client.send(payload)
        assert client.close_code() == CloseCode.UNDECODABLE
        client.close()
    # four billion elements in nine bytes
    for arg in (b"DIDL\x01\x6d\x7f\x01\x00\xff\xff\xff\xff\x0f", b"DIDL\xff\xff\xff\xff\x0f"):
        client = RawClient(port_of(strict)).do_handshake()
        sdk = RawSdkClient(client, Principal.from_text(strict.echo))
        client.send(sdk.envelope("ws_open", arg, time.time_ns()))
        assert client.close_code() == CloseCode.UNDECODABLE
        client.close()
    big = RawClient(port_of(strict)).do_handshake()
    big.socket.sendall(masked(2, bytes(100_000)))
    assert big.close_code() == CloseCode.TOO_BIG


@pytest.fixture(scope="module")
def authority() -> pem.Authority:
    return pem.authority()


def test_tls_handshakes_that_dawdle(tmp_path: Path, authority: pem.Authority, stacks: Stacks) -> None:
    certificate, key = pem.server(authority).write(tmp_path)
    stack = stacks(
        f"--tls-certificate-pem-path={certificate}",
        f"--tls-certificate-key-pem-path={key}",
        "--tls-handshake-timeout=1",
        "--header-timeout=1",
    )
    port = port_of(stack)
    silent = [RawClient(port) for _ in range(20)]
    hello = ssl.MemoryBIO()
    context = ssl.create_default_context(cadata=authority.pem.decode())
    half = context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        half.do_handshake()
    halves = [RawClient(port) for _ in range(20)]
    for client in halves:
        client.socket.sendall(hello.read()[:50] if hello.pending else b"\x16\x03\x01")
    assert all(client.ends() for client in silent + halves)
    assert refused(stack, "tls_timeout") == 40

    rubbish = RawClient(port)
    rubbish.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert rubbish.ends()
    assert refused(stack, "tls") == 1

    after = RawClient(port, tls=context)
    assert after.answer().status == 408
    assert refused(stack, "header_timeout") == 1
    assert RawClient(port, tls=context).do_handshake().status == 101


def proxy_header(client: str) -> bytes:
    return f"PROXY TCP4 {client} 127.0.0.1 5555 8080\r\n".encode()


def test_limits_by_address_behind_proxies(stacks: Stacks) -> None:
    proxied = free_port()
    stack = stacks(
        f"--gateway-address=haproxy:{loopback(proxied)}",
        "--max-connections-per-ip=2",
        "--trusted-proxy=127.0.0.0/8",
    )
    kept: list[RawClient] = []

    def status(port: int, *headers: str, before: bytes = b"") -> int:
        kept.append(RawClient(port).do_handshake(*headers, before=before))
        return kept[-1].status

    plain = port_of(stack)
    assert [status(proxied, before=proxy_header("192.0.2.1")) for _ in range(3)] == [101, 101, 429]
    assert kept[-1].head.count(b"Retry-After: ") == 1
    assert status(proxied, before=proxy_header("192.0.2.2")) == 101
    # the same client by another way
    assert status(plain, "X-Forwarded-For: 192.0.2.1") == 429
    assert [status(plain, f"X-Forwarded-For: 198.51.100.{n}") for n in range(5)] == [101] * 5
    assert [status(plain, f"X-Forwarded-For: 203.0.113.{n}, 198.51.100.9") for n in range(3)] == [101, 101, 429]
    # no PROXY header where none is read, and none missing where one is
    assert status(plain, before=proxy_header("192.0.2.3")) == 400
    assert status(proxied) == 0
    assert refused(stack, "connections_per_ip") == 3
    for client in kept:
        client.close()
    gone = RawClient(proxied)
    # a connection's end is noticed before the next one's request is read
    assert gone.do_handshake(before=proxy_header("192.0.2.1")).status == 101


def test_a_header_of_any_client_is_ignored(stacks: Stacks) -> None:
    stack = stacks("--max-connections-per-ip=2")
    clients = [RawClient(port_of(stack)).do_handshake(f"X-Forwarded-For: 198.51.100.{n}") for n in range(3)]
    assert [client.status for client in clients] == [101, 101, 429]


def test_a_client_over_its_rate_is_slowed_down_and_loses_nothing(stacks: Stacks) -> None:
    stack = stacks("--client-message-rate=25")
    chatter = Chatter(stack)
    client = neighbour(stack)
    contents = [b"DIDL\x00\x00burst%d" % n for n in range(150)]
    for content in contents:
        client.send_message(content)
    client.until(lambda: len(client.received) == len(contents))
    assert client.received == contents
    assert metric(stack, 'icws_client_pushbacks_total{limit="frames"}') >= 1
    chatter.stop()


def test_connections_in_all_and_how_fast(stacks: Stacks) -> None:
    stack = stacks("--max-connections=400", "--max-pending=3", "--accept-rate=500")
    members = [neighbour(stack) for _ in range(5)]
    silent = [RawClient(port_of(stack)).do_handshake() for _ in range(4)]
    assert [client.status for client in silent] == [101] * 4
    assert silent[0].ends(), "the oldest makes room"
    assert refused(stack, "pending") == 1
    assert neighbour(stack).opened
    assert all(member.opened for member in members)


@pytest.mark.parametrize("pending", [0, 30, 5_000])
def test_silent_connections_of_one_address_do_not_take_all_connections(stacks: Stacks, pending: int) -> None:
    stack = stacks("--max-connections=30", f"--max-pending={pending}")
    member = neighbour(stack)
    place = ("127.0.0.1", port_of(stack))
    silent = [socket.create_connection(place, source_address=("127.0.0.2", 0)) for _ in range(100)]
    others = [neighbour(stack) for _ in range(15)]
    assert all(other.opened for other in others)
    assert refused(stack, "pending") >= 15
    member.send_message(b"DIDL\x00\x00")
    member.until(lambda: member.received == [b"DIDL\x00\x00"])
    for connection in silent:
        connection.close()


def test_unauthenticated_connections_that_take_all_descriptors_leave_metrics_and_probes_alone(stacks: Stacks) -> None:
    stack = stacks(files=300)
    stack.server.wait_for_line("connection limit lowered.* clients=113 ")
    silent = [socket.create_connection(("127.0.0.1", port_of(stack))) for _ in range(500)]
    for _ in range(3):
        assert http_get(f"{stack.admin}/health/live")[0] == 200
        assert http_get(f"{stack.admin}/health/ready")[0] == 200
        assert http_get(f"{stack.admin}/metrics")[0] == 200
    for connection in silent:
        connection.close()

    def gets_in() -> bool:
        try:
            return neighbour(stack).opened
        except (AssertionError, OSError):
            # refused: the ends of those who have gone are looked at a few in a turn, and count until then
            return False

    eventually(gets_in, "there is room again")
