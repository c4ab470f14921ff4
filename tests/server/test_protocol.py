"""The connection's protocol: Autobahn over a StringTransport on one side, a scripted gateway on the other."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.http import stringToDatetime

from icwsgw.config.schema import GatewayConfig
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.messages import frame
from icwsgw.core.session_machine import State
from icwsgw.core.suspect_addresses import SuspectAddresses
from icwsgw.gateway.ended_sessions import EndedSessions
from icwsgw.gateway.timer_wheel import TimerWheel
from icwsgw.observe.log_rate_limit import LogRateLimiter
from icwsgw.observe.metrics import Metrics
from icwsgw.server import upgrade as upgrade_module
from icwsgw.server.factory import GatewayFactory
from icwsgw.server.protocol import GatewayProtocol
from icwsgw.server.upgrade import MAX_ORIGIN
from tests.support.ws_wire import HANDSHAKE, close_frame, handshake, masked, read_frames

PRINCIPAL = "wf3fv-4c4nr-7ks2b-xa4u7-kf3no-32glf-lf7e4-4ng4a-wwtlu-a2vnq-nae"


class Session:
    """A fake session that records the calls of the connection."""

    def __init__(self, client: Any, deadline: float) -> None:
        self.client = client
        self.id = "s-1"
        self.state = State.INIT
        self.cause: int | None = None
        self.deadline = deadline
        self.started = 0.0
        self.messages_up = 0
        self.received_messages: list[tuple[bytes, bool]] = []
        self.left_with: int | None = None
        self.ended: list[tuple[int, str]] = []

    def received(self, payload: bytes, is_binary: bool) -> None:
        if payload == b"raise":
            raise RuntimeError("a fault of ours")
        self.received_messages.append((payload, is_binary))

    def left(self, code: int, reason: str = "") -> None:
        assert self.left_with is None
        self.left_with, self.left_saying = code, reason

    def end(self, code: int, text: str) -> None:
        self.ended.append((code, text))
        self.client.close(int(code), text)

    def overdue(self, now: float) -> bool:
        if now < self.deadline or self.state >= State.OPEN:
            return False
        self.end(CloseCode.NOT_OPENED, "late")
        return True


class World:
    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        config = replace(GatewayConfig(data_dir=Path("/nonexistent")), **options)
        self.metrics = Metrics()
        self.sessions: list[Session] = []
        wheel = TimerWheel(self.clock)
        wheel.start()
        self.gateway = SimpleNamespace(
            context=SimpleNamespace(
                clock=self.clock,
                config=config,
                metrics=self.metrics,
                log_limiter=LogRateLimiter(),
                ended_sessions=EndedSessions(),
                answers=SimpleNamespace(waiting=0),
                tracing=None,
                suspects=SuspectAddresses(),
                identities=[SimpleNamespace(principal=SimpleNamespace(text=PRINCIPAL))],
            ),
            wheel=wheel,
            draining=False,
            connect=self.connect_session,
        )
        self.factory = GatewayFactory(self.gateway)  # type: ignore[arg-type]
        self.factory.start()

    def connect_session(self, client: Any) -> Session:
        session = Session(client, self.clock.seconds() + 30)
        self.sessions.append(session)
        client.deliver([frame(b"greeting")])
        return session

    def connect(self, host: str = "192.0.2.1") -> tuple[GatewayProtocol, Transport]:
        protocol = self.factory.buildProtocol(IPv4Address("TCP", host, 40000))
        transport = Transport(host)
        protocol.makeConnection(transport)
        return protocol, transport

    def open(self, *headers: str) -> tuple[GatewayProtocol, Transport, Session]:
        protocol, transport = self.connect()
        protocol.dataReceived(handshake(*headers))
        head, _, rest = transport.value().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert read_frames(rest) == [(2, b"greeting")]
        transport.clear()
        self.sessions[-1].state = State.OPEN
        return protocol, transport, self.sessions[-1]


class Transport(StringTransport):
    """A StringTransport that records how it was ended, and pauses its producer only if the test says so."""

    def __init__(self, host: str) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", host, 40000))
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        assert enabled


def frames_of(transport: Transport) -> list[tuple[int, bytes]]:
    frames = read_frames(transport.value())
    transport.clear()
    return frames


def lose(protocol: GatewayProtocol) -> None:
    protocol.connectionLost(Failure(ConnectionDone()))


@pytest.mark.parametrize("refused", [True, False])
def test_what_comes_after_a_refusal_or_a_finished_close_is_not_kept(refused: bool) -> None:
    world = World()
    if refused:
        protocol, transport = world.connect()
        protocol.dataReceived(b"GET / HTTP/1.0\r\n\r\n")
        assert not transport.value().startswith(b"HTTP/1.1 101 ")
    else:
        protocol, transport, session = world.open()
        protocol.dataReceived(masked(8, b"\x03\xe8"))
        assert session.left_with == 1000
    assert protocol.state == protocol.STATE_CLOSED
    before = protocol._bytes_left
    for _ in range(10):
        protocol.dataReceived(bytes(1000))
        assert protocol.data == b""
    assert protocol._bytes_left == before - 10_000, "it counts as before"


def test_messages_reach_the_session_whole_whatever_their_framing() -> None:
    protocol, _, session = World().open()
    data = masked(2, b"one") + masked(2, b"tw", fin=False) + masked(9, b"ping") + masked(0, b"o") + masked(1, b"text")
    for byte in data:
        protocol.dataReceived(bytes((byte,)))
    assert session.received_messages == [(b"one", True), (b"two", True), (b"text", False)]


def test_a_frame_that_comes_in_pieces_is_one_whatever_the_pieces_look_like() -> None:
    protocol, _, session = World().open()
    # masked with 80 00 00 00: behind its first byte stands what looks like an empty frame
    data = b"\x82\x82\x80\x00\x00\x00" + bytes((ord("o") ^ 0x80, ord("k")))
    protocol.dataReceived(data[:1])
    protocol.dataReceived(data[1:])
    protocol.dataReceived(masked(2, b"next"))
    assert session.received_messages == [(b"ok", True), (b"next", True)]


def test_frames_are_sent_as_they_are() -> None:
    protocol, transport, _ = World().open()
    protocol.deliver([frame(b"a"), frame(b"b" * 200), frame(b"c" * 70_000)])
    assert frames_of(transport) == [(2, b"a"), (2, b"b" * 200), (2, b"c" * 70_000)]


@pytest.mark.parametrize("code", [1000, 1001, 4000, 4001, None])
def test_the_closing_handshake_is_answered_with_the_clients_own_code(code: int | None) -> None:
    protocol, transport, session = World().open()
    protocol.dataReceived(close_frame(code, b"bye" if code else b""))
    expected = b"" if code is None else code.to_bytes(2, "big") + b"bye"
    assert frames_of(transport) == [(8, expected)]
    assert (session.left_with, session.left_saying) == ((code, "bye") if code else (1005, ""))
    assert transport.disconnecting
    lose(protocol)


def test_a_client_that_closes_and_then_reads_nothing_is_not_waited_for_for_ever() -> None:
    world = World()
    protocol, transport, session = world.open()
    protocol.dataReceived(close_frame(1000))
    assert (session.left_with, transport.disconnecting) == (1000, True)
    world.clock.pump([1.0] * 9)
    assert not transport.aborted
    world.clock.pump([1.0] * 4)
    assert transport.aborted


def test_a_connection_that_just_ends_is_1006() -> None:
    world = World()
    protocol, _, session = world.open()
    lose(protocol)
    assert session.left_with == 1006
    assert not world.factory.connections
    assert world.factory.limits.total == 0
    assert len(world.gateway.wheel) == 0


def test_our_close_waits_for_the_clients_and_not_for_ever() -> None:
    world = World()
    protocol, transport, session = world.open()
    protocol.close(CloseCode.REPLACED, "replaced [s-1]")
    assert frames_of(transport) == [(8, (4109).to_bytes(2, "big") + b"replaced [s-1]")]
    world.clock.pump([1.0] * 9)
    assert not transport.aborted
    world.clock.pump([1.0] * 4)
    assert transport.aborted
    lose(protocol)
    assert session.left_with is not None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(2, b"x")[:1] + b"\x01x", 1002),  # not masked
        (masked(3, b"x"), 1002),  # reserved opcode
        (masked(1, b"\xff\xfe"), 1007),  # text that is not UTF-8
        (masked(0, b"x"), 1002),  # continuation of nothing
        (close_frame(999), 1002),
    ],
)
def test_a_broken_protocol_is_closed_with_its_code(data: bytes, code: int) -> None:
    protocol, transport, session = World().open()
    protocol.dataReceived(data)
    opcode, payload = frames_of(transport)[0]
    assert (opcode, payload[:2]) == (8, code.to_bytes(2, "big"))
    lose(protocol)
    assert session.received_messages == []


def test_a_message_over_the_bound_is_closed_before_it_has_come() -> None:
    protocol, transport, session = World(max_message_bytes=1024).open()
    protocol.dataReceived(masked(2, bytes(2000))[:10])
    opcode, payload = frames_of(transport)[0]
    assert (opcode, payload[:2]) == (8, (1009).to_bytes(2, "big"))
    assert session.cause == 1009


def test_a_whole_message_over_the_bound_is_closed_behind_the_good_ones() -> None:
    protocol, transport, session = World(max_message_bytes=1024).open()
    protocol.dataReceived(masked(2, b"good") + masked(2, bytes(2000)) + masked(2, b"late"))
    assert frames_of(transport)[0][1][:2] == (1009).to_bytes(2, "big")
    assert session.received_messages == [(b"good", True)]
    assert session.cause == 1009


def test_fragments_over_the_bound_together_are_closed() -> None:
    protocol, transport, _ = World(max_message_bytes=1024).open()
    protocol.dataReceived(masked(2, bytes(800), fin=False) + masked(0, bytes(800)))
    assert frames_of(transport)[0][1][:2] == (1009).to_bytes(2, "big")


def test_a_fault_of_ours_costs_that_client_alone() -> None:
    protocol, transport, session = World().open()
    protocol.dataReceived(masked(2, b"raise"))
    assert session.ended == [(CloseCode.INTERNAL, "internal error")]
    assert frames_of(transport)[0][1][:2] == (1011).to_bytes(2, "big")


def test_pings_are_answered_and_silent_clients_are_pinged() -> None:
    world = World()
    protocol, transport, session = world.open()
    protocol.dataReceived(masked(9, b"are you there"))
    assert frames_of(transport) == [(10, b"are you there")]
    world.clock.pump([1.0] * 30)
    assert frames_of(transport) == [(9, b"")]
    protocol.dataReceived(masked(10, b""))
    world.clock.pump([1.0] * 20)
    assert not transport.aborted
    assert session.left_with is None
    world.clock.pump([1.0] * 45)
    assert transport.aborted
    protocol.connectionLost(Failure(ConnectionAborted()))
    assert (session.left_with, session.left_saying) == (1006, "no answer to a ping within 10 s")


def test_a_client_that_only_answers_pings_gets_one_each_interval() -> None:
    """Not each interval and the time for a pong: proxies that cut idle connections count from the last byte."""
    world = World()
    protocol, transport, _ = world.open()
    pinged = []
    for second in range(1, 121):
        world.clock.advance(1.0)
        if frames_of(transport):
            pinged.append(second)
            transport.clear()
            protocol.dataReceived(masked(10, b""))
    gaps = [after - before for before, after in pairwise(pinged)]
    assert len(gaps) >= 3
    assert all(25 <= gap <= 27 for gap in gaps), gaps


@pytest.mark.parametrize("sent_after", [0.5, 3.0, 12.0, 24.0])
def test_no_client_is_silent_for_longer_than_the_interval_without_a_ping(sent_after: float) -> None:
    world = World()
    protocol, transport, _ = world.open()
    world.clock.pump([0.5] * int(2 * sent_after))
    protocol.dataReceived(masked(2, b"the last message"))
    transport.clear()
    waited = 0.0
    while not transport.value():
        world.clock.advance(0.5)
        waited += 0.5
    assert frames_of(transport) == [(9, b"")]
    # the wheel counts a second too much at most, and each of two visits is late by a second or, the second, two
    assert 24.0 <= waited <= 28.0


def test_a_client_that_owes_a_pong_ends_though_pings_are_turned_off() -> None:
    world = World()
    _, transport, session = world.open()
    world.clock.pump([1.0] * 28)
    assert frames_of(transport) == [(9, b"")]
    world.factory.change(replace(world.gateway.context.config, ping_interval=0.0))
    world.clock.pump([1.0] * 12)
    assert transport.aborted
    assert (session.left_with, session.left_saying) == (1006, "no answer to a ping within 10 s")


def test_a_client_that_reads_slowly_gets_the_answer_to_its_close_frame() -> None:
    protocol, transport, _ = World().open()
    outbox = transport.producer
    outbox.pauseProducing()
    protocol.deliver([frame(b"waits")])
    protocol.dataReceived(close_frame(1000))
    assert frames_of(transport) == [(2, b"waits"), (8, (1000).to_bytes(2, "big"))]
    assert transport.disconnecting


def test_a_client_that_never_opens_its_session_is_closed() -> None:
    world = World()
    protocol, transport = world.connect()
    protocol.dataReceived(handshake())
    transport.clear()
    for _ in range(33):
        world.clock.advance(1.0)
        protocol.dataReceived(masked(10, b""))
    assert world.sessions[0].ended[0][0] == CloseCode.NOT_OPENED


def test_a_ping_does_not_delay_the_end_of_a_session_that_never_opens() -> None:
    world = World()
    protocol, _ = world.connect()
    protocol.dataReceived(handshake())
    seconds = 0
    while not world.sessions[0].ended and not protocol.transport.disconnecting:
        world.clock.advance(1.0)
        seconds += 1
    assert world.sessions[0].ended[0][0] == CloseCode.NOT_OPENED
    assert seconds <= 32


def test_a_browser_gets_a_page_and_a_program_a_line() -> None:
    for accept, kind, words in [
        (b"Accept: text/html,*/*\r\n", "text/html", f"know it as <code>{PRINCIPAL}</code>"),
        (b"", "text/plain", "Upgrade"),
    ]:
        protocol, transport = World().connect()
        protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n" + accept + b"\r\n")
        head, _, body = transport.value().decode().partition("\r\n\r\n")
        assert head.startswith("HTTP/1.1 426 ")
        assert f"\r\nContent-Type: {kind}; charset=utf-8\r\n" in head
        assert f"\r\nContent-Length: {len(body.encode())}\r\n" in head
        assert words in body
        assert transport.disconnecting


def test_refusals_have_the_date() -> None:
    protocol, transport = World().connect()
    protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    (date,) = re.findall(rb"\r\nDate: (.*)\r\n", transport.value())
    # stringToDatetime is Twisted's strict reader of RFC 9110's dates
    assert abs(stringToDatetime(date) - time.time()) < 60


HTTP_REFUSALS: list[tuple[bytes, int, str]] = [
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426, "bad_request"),
    (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 405, "bad_request"),
    (b"nonsense\r\n\r\n", 400, "bad_request"),
    # the first bytes of TLS: an answer at once, not after the header timeout
    (bytes.fromhex("16030102000100"), 400, "bad_request"),
    (HANDSHAKE.replace(b"13", b"8") + b"\r\n", 400, "bad_request"),
    (HANDSHAKE + b"X: " + b"y" * 17_000, 431, "header_size"),
    (HANDSHAKE + b"X: y\r\n" * 200 + b"\r\n", 431, "header_size"),
    (HANDSHAKE + b"X: y\x0bOrigin: z\r\n\r\n", 400, "bad_request"),
    (HANDSHAKE + b"X: y\r\n Origin: z\r\n\r\n", 400, "bad_request"),
    (HANDSHAKE.replace(b"\r\n", b"\n") + b"\n", 400, "bad_request"),
    (HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n", 505, "bad_request"),
    (b"GET / HTTP/1.0\r\n\r\n", 505, "bad_request"),
]


@pytest.mark.parametrize(("data", "status", "label"), HTTP_REFUSALS)
def test_bad_requests_get_their_http_status_in_whole(data: bytes, status: int, label: str) -> None:
    world = World()
    protocol, transport = world.connect()
    protocol.dataReceived(data)
    head, _, body = transport.value().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    # RFC 9110, section 15.5.22: it names what the client should speak; others have nothing to ask for
    assert (b"\r\nUpgrade: websocket" in head) is (status == 426)
    assert b"Content-Length: %d" % len(body) in head
    assert transport.disconnecting
    assert not world.sessions
    assert world.metrics.refused_connections.values[label] == 1
    lose(protocol)


@pytest.mark.parametrize(
    "lines",
    [
        ["Origin: my app"],
        ["Origin:"],
        ["Origin: http://a.example:99999"],
        ["Origin: http://a.example", "Origin: http://b.example"],
        ["Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Extensions: x-other; a=1"],
        ["Cookie: " + "c" * 12_000],
        ["Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8"],
        ["Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; client_no_context_takeover;"],
        ["X-Name: Åsa"],
    ],
)
def test_requests_that_the_original_takes_are_taken(lines: list[str]) -> None:
    World().open(*lines)


@pytest.mark.parametrize(
    "request_head",
    [
        b"\r\n" + HANDSHAKE,
        b"\r\n\r\n" + HANDSHAKE,
        HANDSHAKE.replace(b"Host: gateway", b"Host: example.com:"),
        HANDSHAKE.replace(b"Host: gateway", b"host:[::1]:"),
        HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: WebSocket"),
        HANDSHAKE.replace(b"Connection: Upgrade", b"Connection: keep-alive, Upgrade"),
    ],
)
@pytest.mark.parametrize("more", [b"", b"Sec-WebSocket-Protocol: chat\r\n", b"Sec-WebSocket-Extensions: x;\r\n"])
def test_odd_forms_of_a_valid_handshake_are_taken(request_head: bytes, more: bytes) -> None:
    protocol, transport = World().connect()
    protocol.dataReceived(request_head + more + b"\r\n")
    head = transport.value().partition(b"\r\n\r\n")[0] + b"\r\n"
    assert head.startswith(b"HTTP/1.1 101 ")
    # in lower case, for clients that compare
    assert b"\r\nUpgrade: websocket\r\n" in head
    lose(protocol)


def test_a_proxy_with_http_1_0_gets_an_answer_that_says_what_to_change() -> None:
    protocol, transport = World().connect()
    protocol.dataReceived(HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n")
    assert transport.value().endswith(b"\r\n\r\na WebSocket needs HTTP/1.1, and this request is HTTP/1.0\n")
    lose(protocol)


def test_a_request_that_dawdles_gets_408() -> None:
    world = World()
    protocol, transport = world.connect()
    for byte in HANDSHAKE[:12]:
        protocol.dataReceived(bytes((byte,)))
        world.clock.advance(1.0)
    assert transport.value().startswith(b"HTTP/1.1 408 ")
    assert world.metrics.refused_connections.values["header_timeout"] == 1
    lose(protocol)


def test_origins() -> None:
    world = World(allowed_origins=("https://app.example", "https://*.good.example"))
    for origin, admitted in [
        ("https://app.example", True),
        ("https://a.good.example", True),
        ("https://evil.example", False),
        ("https://evil.com/.good.example", False),
        ("https://evil.com\\.good.example", False),
        ("https://app.example:443", True),
        ("null", False),
        (None, False),
    ]:
        protocol, transport = world.connect()
        protocol.dataReceived(handshake(*([f"Origin: {origin}"] if origin else [])))
        assert transport.value().startswith(b"HTTP/1.1 101 " if admitted else b"HTTP/1.1 403 ")
        if not admitted:
            assert (origin or "no origin").encode() in transport.value()
            assert b"only https://app.example, https://*.good.example" in transport.value()
        lose(protocol)
    assert world.metrics.refused_connections.values["origin"] == 5


@pytest.mark.parametrize("allowed", [(), ("https://app.example",)])
@pytest.mark.parametrize("plain", [True, False])
def test_the_log_gets_the_origin_in_a_bounded_form(allowed: tuple[str, ...], plain: bool) -> None:
    world = World(allowed_origins=allowed)
    more = () if plain else ("Sec-WebSocket-Protocol: x",)
    first, second, none, long = (world.connect()[0] for _ in range(4))
    for protocol in (first, second):
        protocol.dataReceived(handshake("Origin: https://app.example", *more))
    assert first.origin == "https://app.example"
    assert first.origin is second.origin, "many clients of one page share the text"
    none.dataReceived(handshake(*more))
    assert none.origin == ""
    long.dataReceived(handshake("Origin: https://" + "a" * 8000, *more))
    assert len(long.origin) == MAX_ORIGIN
    for protocol in (first, second, none, long):
        lose(protocol)


def test_connection_limits_and_draining_answer_with_a_status() -> None:
    world = World(max_connections=3, max_connections_per_ip=2)
    kept = [world.connect("192.0.2.1"), world.connect("192.0.2.1")]
    third, transport = world.connect("192.0.2.1")
    third.dataReceived(handshake())
    assert transport.value().startswith(b"HTTP/1.1 429 ")
    lose(third)
    other, _ = world.connect("192.0.2.2")
    # no more than others: nobody goes for it
    fourth, transport = world.connect("192.0.2.2")
    fourth.dataReceived(handshake())
    assert transport.value().startswith(b"HTTP/1.1 503 ")
    for protocol in (fourth, other, *(protocol for protocol, _ in kept)):
        lose(protocol)
    world.gateway.draining = True
    late, transport = world.connect()
    late.dataReceived(handshake())
    assert transport.value().startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After" in transport.value()
    lose(late)
    assert world.factory.limits.total == 0


def test_a_slow_reader_is_closed_by_bytes_and_by_age() -> None:
    cases: list[tuple[dict[str, Any], float]] = [
        ({"outbox_bytes": 3 << 20, "max_message_bytes": 1 << 20}, 1.0),
        ({"outbox_age": 5.0}, 6.0),
    ]
    for options, wait in cases:
        world = World(**options)
        protocol, transport, session = world.open()
        transport.producer.pauseProducing()
        for _ in range(5 if wait > 1 else 5000):
            protocol.deliver([frame(bytes(1000))])
        assert transport.value() == b""
        world.clock.pump([0.5] * int(wait * 2 + 1))
        assert session.ended[0][0] == CloseCode.TOO_SLOW
        assert [opcode for opcode, _ in frames_of(transport)] in ([8], [])
        lose(protocol)
        assert not world.factory.backlog
        assert world.metrics.outbox_bytes.value == 0


def test_a_reader_that_catches_up_gets_everything_in_order() -> None:
    world = World()
    protocol, transport, session = world.open()
    sent = [frame(b"%d" % number) for number in range(100)]
    protocol.deliver(sent[:10])
    transport.producer.pauseProducing()
    for one in sent[10:60]:
        protocol.deliver([one])
    protocol.dataReceived(masked(9, b"ping in between"))
    transport.producer.resumeProducing()
    protocol.deliver(sent[60:])
    frames = frames_of(transport)
    assert [payload for opcode, payload in frames if opcode == 2] == [b"%d" % number for number in range(100)]
    assert frames[60] == (10, b"ping in between")
    assert not session.ended


def test_messages_of_a_deep_queue_share_a_write() -> None:
    world = World()
    protocol, transport, _ = world.open()
    other, other_transport, _ = world.open()
    for number in range(3):
        protocol.deliver([frame(b"%d" % number)], more=True)
        other.deliver([frame(b"%d" % number)], more=True)
    assert transport.value() == other_transport.value() == b""
    world.clock.advance(0)
    for one in (transport, other_transport):
        assert [payload for _, payload in frames_of(one)] == [b"0", b"1", b"2"]
    protocol.deliver([frame(b"last")], more=True)
    protocol.close(CloseCode.DRAINING, "bye")
    assert [opcode for opcode, _ in frames_of(transport)] == [2, 8]
    world.clock.advance(0)
    assert frames_of(transport) == []


def test_the_last_messages_come_before_the_close_frame_though_the_client_is_behind() -> None:
    protocol, transport, _ = World().open()
    transport.producer.pauseProducing()
    protocol.deliver([frame(b"last")])
    protocol.close(CloseCode.DRAINING, "bye")
    transport.producer.resumeProducing()
    assert [opcode for opcode, _ in frames_of(transport)] == [2, 8]


def test_reading_stops_and_goes_on() -> None:
    protocol, transport, _ = World().open()
    protocol.pause()
    assert transport.producerState == "paused"
    protocol.pause()
    protocol.resume()
    assert transport.producerState == "producing"


@pytest.mark.parametrize(
    "offers",
    [
        ["permessage-deflate"],
        ["permessage-deflate; client_max_window_bits"],
        ["permessage-deflate; client_no_context_takeover; server_no_context_takeover, x-webkit-deflate-frame"],
        ["permessage-deflate; server_max_window_bits=99; server_max_window_bits=99", "mux; a=1"],
        ["permessage-deflate;", ',,"'],
    ],
)
@pytest.mark.parametrize("by_autobahn", [False, True])
def test_offers_of_extensions_are_declined_and_the_client_is_served(offers: list[str], by_autobahn: bool) -> None:
    world = World()
    # an offer of subprotocols is nothing that our own reader answers
    lines = [f"Sec-WebSocket-Extensions: {offer}" for offer in offers] + ["Sec-WebSocket-Protocol: chat"] * by_autobahn
    protocol, transport = world.connect()
    protocol.dataReceived(handshake(*lines))
    head, _, greeting = transport.value().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-extensions" not in head.lower()
    assert read_frames(greeting) == [(2, b"greeting")]
    transport.clear()
    session = world.sessions[-1]
    protocol.deliver([frame(b"plain")])
    assert frames_of(transport) == [(2, b"plain")]
    # a compressed frame (RSV1) is against the protocol that was agreed on
    data = masked(2, b"x")
    protocol.dataReceived(bytes((data[0] | 0x40,)) + data[1:])
    assert session.received_messages == []
    assert frames_of(transport)[0][1][:2] == (1002).to_bytes(2, "big")


def test_the_greeting_leaves_with_the_answer_to_the_handshake() -> None:
    world = World()
    protocol, transport = world.connect()
    written: list[bytes] = []
    transport.write = written.append
    protocol.dataReceived(handshake())
    (both,) = written
    head, _, rest = both.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nUpgrade: websocket\r\n" in head + b"\r\n"
    assert read_frames(rest) == [(2, b"greeting")]


def test_a_handshake_that_fails_at_its_last_step_is_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # offers of which Autobahn refuses one when it makes its answer; our own reader lets none through
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99"
    monkeypatch.setattr(upgrade_module, "for_autobahn", lambda head, any_origin: handshake(offer))
    world = World()
    protocol, transport = world.connect()
    protocol.dataReceived(handshake("Sec-WebSocket-Protocol: chat"))
    assert transport.value().startswith(b"HTTP/1.1 400 ")
    assert not world.sessions


@pytest.mark.parametrize("line", ["Sec-WebSocket-Version: \x9b31m", "Upgrade: \x9b0;title", "Host: a:\x9b"])
def test_an_answer_repeats_nothing_that_a_terminal_executes(line: str) -> None:
    world = World()
    protocol, transport = world.connect()
    name = line.partition(":")[0].encode()
    head = b"\r\n".join(each for each in HANDSHAKE[:-4].split(b"\r\n") if not each.startswith(name))
    protocol.dataReceived(head + b"\r\n" + line.encode("latin-1") + b"\r\n\r\n")
    body = transport.value().partition(b"\r\n\r\n")[2].decode()
    assert name.decode() in body
    assert body.removesuffix("\n").isprintable(), body
    lose(protocol)


def test_the_reason_of_a_refusal_is_written_visibly() -> None:
    protocol, transport = World().connect()
    protocol.failHandshake("no\x9b31m \u2028\u202e\u200b")
    assert transport.value().endswith(b"\r\n\r\nno\\u009b31m \\u2028\\u202e\\u200b\n")
    lose(protocol)


def test_ordinary_frames_count_like_all_others() -> None:
    world = World(client_message_rate=2)
    protocol, transport, session = world.open()
    for _ in range(4):
        protocol.dataReceived(masked(2, b"one"))
    assert transport.producerState == "producing"
    protocol.dataReceived(masked(2, b"one"))
    assert transport.producerState == "paused"
    protocol.dataReceived(masked(2, b"one") * 1000)
    assert [code for code, _ in session.ended] == [CloseCode.RATE_LIMIT]


def test_a_client_that_is_not_read_is_not_asked_for_a_pong() -> None:
    world = World(ping_interval=25.0, pong_timeout=10.0)
    protocol, transport, _ = world.open()
    protocol.pause()
    world.clock.pump([1.0] * 120)
    assert not transport.aborted
    assert transport.value() == b""
    protocol.resume()
    world.clock.pump([1.0] * 120)
    assert transport.aborted, "it is read, and says nothing"


def test_a_client_that_was_not_read_is_read_again_when_its_session_ends() -> None:
    protocol, transport, _ = World().open()
    protocol.pause()
    assert transport.producerState == "paused"
    protocol.close(4100, "go")
    assert transport.producerState == "producing"


def test_the_time_for_the_request_begins_when_tls_is_done() -> None:
    world = World(header_timeout=10.0)
    protocol, transport = world.connect()
    world.clock.pump([1.0] * 8)
    protocol.handshakeCompleted()
    world.clock.pump([1.0] * 8)
    assert transport.value() == b""
    world.clock.pump([1.0] * 4)
    assert transport.value().startswith(b"HTTP/1.1 408 ")


def test_messages_may_be_large_once_the_canister_has_spoken() -> None:
    world = World(max_message_bytes=1 << 20)
    protocol, _, session = world.open()
    session.state = State.SETUP
    protocol.deliver([frame(b"the greeting")])
    assert protocol.maxMessagePayloadSize == 64 << 10
    session.state = State.OPEN
    protocol.deliver([frame(b"the canister's first")])
    assert protocol.maxMessagePayloadSize == 1 << 20


def test_a_client_that_always_has_a_message_on_the_way_stays_as_long_as_each_ends() -> None:
    world = World(message_timeout=12.0, ping_interval=5.0, pong_timeout=5.0)
    protocol, _, session = world.open()
    message = masked(2, bytes(1000))
    protocol.dataReceived(message[:500])
    for _ in range(10):
        world.clock.pump([1.0] * 5)
        session.messages_up += 1
        protocol.dataReceived(message[500:] + message[:500])
    assert session.ended == []
