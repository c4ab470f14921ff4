import json
import socket
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from zope.interface.verify import verifyObject

from icwsgw.admin.prometheus_endpoint import MAX_CONNECTIONS, PROBES_PER_TURN, Admin, AdminResource, AdminSite
from icwsgw.observe.health import Health
from icwsgw.observe.metrics import Metrics
from tests.admin.documents import document

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


class Site:
    """An admin site in memory."""

    def __init__(self) -> None:
        self.health = Health()
        self.metrics = Metrics()
        self.stuck: str | None = None
        self.admin = Admin(self.metrics.registry, self.health, self.document, lambda: self.stuck)
        self.clock = Clock()
        self.site = AdminSite(self.admin, self.clock)

    def document(self) -> dict[str, Any]:
        findings = self.health.findings()
        rows = [{"name": finding.name, "reason": finding.reason} for finding in findings]
        return document(ready=self.health.ready, findings=rows, network="http://<r>")

    def request(
        self, method: str, path: str, accept: str = "", *more: str, at: str = "192.0.2.1", host: str | None = "x"
    ) -> tuple[int, dict[str, str], bytes]:
        transport = StringTransport(hostAddress=IPv4Address("TCP", at, 9090))
        protocol = self.site.buildProtocol(None)
        protocol.makeConnection(transport)
        lines = [
            f"{method} {path} HTTP/1.1",
            *([f"Host: {host}"] if host is not None else []),
            *more,
            "Connection: close",
            *([f"Accept: {accept}"] if accept else []),
        ]
        protocol.dataReceived(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.clock.advance(0)
        head, _, body = transport.value().partition(b"\r\n\r\n")
        status, *headers = head.decode().split("\r\n")
        pairs = (header.split(": ", 1) for header in headers)
        return int(status.split()[1]), {name.lower(): value for name, value in pairs}, body


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.mark.parametrize("path", ["/metrics", "/", "/anything/else"])
def test_every_path_shows_the_metrics_as_the_originals_exporter_did(site: Site, path: str) -> None:
    status, headers, body = site.request("GET", path)
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert "clients_connected" in {family.name for family in parse(body.decode())}
    assert headers["cache-control"] == "no-store"


def test_prometheus_gets_openmetrics(site: Site) -> None:
    status, headers, body = site.request("GET", "/metrics", PROMETHEUS)
    assert (status, headers["content-type"].split(";")[0]) == (200, "application/openmetrics-text")
    assert list(parse_openmetrics(body.decode()))


def test_browsers_get_a_page_at_the_root_and_metrics_where_they_are(site: Site) -> None:
    site.health.add("network", lambda: "http://r & co has not been reached")
    status, headers, body = site.request("GET", "/", BROWSER)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"Not ready" in body
    assert b"http://r &amp; co" in body
    assert b"http://&lt;r&gt;" in body
    assert b"<r>" not in body
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert site.request("GET", "/metrics", BROWSER)[1]["content-type"].startswith("text/plain")
    assert site.request("GET", "/favicon.ico", BROWSER)[0] == 404


def test_the_status_for_programs(site: Site) -> None:
    for path in ("/status.json", "/status.json/"):
        status, headers, body = site.request("GET", path, BROWSER)
        assert (status, headers["content-type"]) == (200, "application/json")
        assert json.loads(body) == site.document()
    assert site.admin.shows_status("/", BROWSER)
    assert site.admin.shows_status("/status.json", "")
    assert not site.admin.shows_status("/", PROMETHEUS)
    assert not site.admin.shows_status("/metrics", BROWSER)


def test_live_and_ready(site: Site) -> None:
    reasons: list[str | None] = ["not reached"]
    site.health.add("network", lambda: reasons[0])
    site.health.add("listening", lambda: None)
    assert site.request("GET", "/health/live")[::2] == (200, b"OK\n")
    assert site.request("GET", "/health")[::2] == (200, b"OK\n")
    assert site.request("GET", "/health/ready")[::2] == (503, b"network: not reached\n")
    reasons[0] = None
    assert site.request("GET", "/health/ready", BROWSER)[::2] == (200, b"ready\n")


def test_head_has_no_body_and_nothing_can_be_posted(site: Site) -> None:
    status, headers, body = site.request("HEAD", "/metrics")
    assert (status, body) == (200, b"")
    status, headers, body = site.request("POST", "/metrics")
    assert (status, headers["allow"], body) == (405, "GET, HEAD", b"")


def test_a_leaf_of_the_web(site: Site) -> None:
    resource = AdminResource(site.admin)
    verifyObject(IResource, resource)
    assert resource.getChildWithDefault(b"x", None) is resource
    with pytest.raises(ValueError, match="leaf"):
        resource.putChild(b"x", resource)


def test_silent_peers_are_dropped(site: Site) -> None:
    transport = StringTransport()
    protocol = site.site.buildProtocol(None)
    protocol.callLater = site.clock.callLater
    protocol.makeConnection(transport)
    site.clock.advance(31)
    assert transport.disconnecting


@pytest.mark.parametrize("version", ["x", "1.x", "", "1", ";;=", "1.0.0.0", "-1", "\xb2"])
def test_an_invalid_accept_header_gets_metrics_too(site: Site, version: str) -> None:
    for kind in ("application/openmetrics-text", "text/plain"):
        status, _, body = site.request("GET", "/metrics", f"{kind};version={version}")
        assert status == 200
        assert b"icws_" in body


class Peer(StringTransport):
    """The other end of a connection that may be dropped."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


class Turns:
    """A reactor's turns; what is asked for in one comes in the next."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def callLater(self, delay: float, call: Any) -> None:
        assert delay == 0
        self.calls.append(call)

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def connect(site: Site, host: str = "198.51.100.1") -> tuple[Any, Peer]:
    protocol, peer = site.site.buildProtocol(None), Peer(peerAddress=IPv4Address("TCP", host, 40000))
    protocol.makeConnection(peer)
    return protocol, peer


def answers(peer: Peer) -> int:
    return peer.value().count(b"HTTP/1.1 200 OK")


def test_one_request_is_answered_in_a_turn_of_the_event_loop(site: Site) -> None:
    reactor: Any = Turns()
    first, peer = connect(site)
    second, other = connect(site)
    site.site.reactor = reactor
    first.dataReceived(GET * 20)
    second.dataReceived(GET)
    assert (answers(peer), answers(other)) == (1, 0)
    for turn in range(1, 21):
        reactor.turn()
        assert answers(peer) + answers(other) == 1 + turn
        assert answers(other) == (turn > 1)
    reactor.turn()
    assert reactor.calls == []
    first.dataReceived(GET)
    assert answers(peer) == 21


def test_who_has_gone_needs_no_answer(site: Site) -> None:
    first, peer = connect(site)
    second, _ = connect(site)
    third, other = connect(site)
    for protocol in (first, second, third):
        protocol.dataReceived(GET)
    second.connectionLost(Failure(ConnectionDone()))
    site.clock.advance(0)
    site.clock.advance(0)
    assert (answers(peer), answers(other)) == (1, 1)
    assert list(site.site.connections) == [first, third]


def test_requests_of_connections_that_have_gone_keep_no_request_waiting(site: Site) -> None:
    reactor: Any = Turns()
    protocols = [connect(site)[0] for _ in range(51)]
    last, peer = connect(site)
    site.site.reactor = reactor
    for protocol in protocols:
        protocol.dataReceived(GET)
    for protocol in protocols[1:]:
        protocol.connectionLost(Failure(ConnectionDone()))
    last.dataReceived(GET)
    assert answers(peer) == 0
    reactor.turn()
    assert answers(peer) == 1
    reactor.turn()
    assert reactor.calls == [], "nothing is left to answer"


def test_clients_that_have_left_without_notice_get_no_answer_if_they_have_to_wait(site: Site) -> None:
    reactor: Any = Turns()
    protocols = [connect(site) for _ in range(4)]
    site.site.reactor = reactor
    pairs = [socket.socketpair() for _ in protocols]
    for (protocol, peer), (handle, _) in zip(protocols, pairs, strict=True):
        handle.setblocking(False)
        peer.getHandle = lambda handle=handle: handle  # type: ignore[attr-defined]
        protocol.dataReceived(GET)
    pairs[1][1].close()
    pairs[2][1].close()
    reactor.turn()
    assert [answers(peer) for _, peer in protocols] == [1, 0, 0, 1]
    assert [peer.aborted for _, peer in protocols] == [False, True, True, False]
    reactor.turn()
    # a client may close its half of the connection behind its request
    alone, peer = protocols[0]
    pairs[0][1].shutdown(socket.SHUT_WR)
    alone.dataReceived(GET)
    assert answers(peer) == 2
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_reset_connection_gets_no_answer(site: Site) -> None:
    class Reset:
        def recv(self, size: int, flags: int) -> bytes:
            raise ConnectionResetError

    reactor: Any = Turns()
    first, reset, last = (connect(site) for _ in range(3))
    site.site.reactor = reactor
    reset[1].getHandle = Reset  # type: ignore[attr-defined]
    for protocol, _ in (first, reset, last):
        protocol.dataReceived(GET)
    reactor.turn()
    assert [answers(peer) for _, peer in (first, reset, last)] == [1, 0, 1]
    assert reset[1].aborted


@pytest.mark.parametrize("path", [b"/health/live", b"/health/ready/"])
def test_probes_do_not_wait_for_scrapes_nor_scrapes_for_probes(site: Site, path: bytes) -> None:
    reactor: Any = Turns()
    scrapes = [connect(site) for _ in range(20)]
    probes = [connect(site) for _ in range(PROBES_PER_TURN + 1)]
    site.site.reactor = reactor
    for protocol, _ in scrapes:
        protocol.dataReceived(GET)
    for protocol, _ in probes:
        protocol.dataReceived(GET.replace(b"/metrics", path))
    assert sum(answers(peer) for _, peer in [*scrapes, *probes]) == 1
    reactor.turn()
    assert [answers(peer) for _, peer in probes] == [1] * PROBES_PER_TURN + [0]
    assert sum(answers(peer) for _, peer in scrapes) == 2
    reactor.turn()
    assert answers(probes[-1][1]) == 1
    assert sum(answers(peer) for _, peer in scrapes) == 3


@pytest.mark.parametrize("head", [b"Content-Length: 100000000000", b"Transfer-Encoding: chunked"])
def test_a_body_is_not_kept_and_may_not_be_long(site: Site, head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", None)
    protocol, peer = connect(site)
    protocol.dataReceived(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
    piece = bytes(16 << 10)
    for _ in range(4):
        assert not peer.aborted
        protocol.dataReceived(b"4000\r\n" + piece + b"\r\n" if b"chunked" in head else piece)
    protocol.dataReceived(b"1\r\nx\r\n")
    assert peer.aborted


def test_slow_connections_keep_no_client_out(site: Site) -> None:
    probe, of_probe = connect(site)
    slow = [connect(site) for _ in range(MAX_CONNECTIONS - 1)]
    for protocol, _ in slow:
        protocol.dataReceived(b"GET / HT")
    probe.dataReceived(GET)
    _, newest = connect(site)
    assert [peer.aborted for _, peer in slow] == [True] + [False] * (MAX_CONNECTIONS - 2)
    assert not of_probe.aborted
    assert not newest.aborted
    assert len(site.site.connections) == MAX_CONNECTIONS


@pytest.mark.parametrize("prometheus", ["198.51.100.2", "2001:db8:0:1::2"])
def test_a_flood_of_scrapes_drops_its_own_connections(site: Site, prometheus: str) -> None:
    """The scrape of another address waits for its turn and gets its answer."""
    early, of_early = connect(site, "198.51.100.3")
    early.dataReceived(GET)
    scrape, of_scrape = connect(site, prometheus)
    flood = []
    for number in range(2 * MAX_CONNECTIONS):
        flood.append(connect(site, f"2001:db8:0:2::{number:x}"))
        flood[-1][0].dataReceived(GET)
        if number == 1:
            scrape.dataReceived(GET)
    assert answers(of_scrape) == 0, "it waits"
    assert [of_early.aborted, of_scrape.aborted] == [False, False]
    assert len(site.site.connections) == MAX_CONNECTIONS
    assert [peer.aborted for _, peer in flood[-MAX_CONNECTIONS + 2 :]] == [False] * (MAX_CONNECTIONS - 2)
    site.clock.advance(0)
    assert answers(of_scrape) == 1


@pytest.mark.parametrize("path", ["/health/live", "/health", "/health/live/"])
def test_live_fails_where_a_restart_would_help(site: Site, path: str) -> None:
    assert site.request("GET", path)[::2] == (200, b"OK\n")
    site.stuck = "no worker answers"
    assert site.request("GET", path)[::2] == (503, b"no worker answers\n")


@pytest.mark.parametrize("path", ["/", "/status.json", "/metrics", "/anything"])
def test_a_page_that_rebinds_its_name_reads_nothing(site: Site, path: str) -> None:
    def status(*headers: str, **where: str) -> int:
        return site.request("GET", path, "", *headers, **where)[0]

    assert status(at="127.0.0.1", host="rebound.example:9090") == 403
    assert status(at="127.0.0.1", host="127.0.0.1.rebound.example") == 403
    for host in ("127.0.0.1:9090", "localhost", "LOCALHOST:9090", "127.1.2.3"):
        assert status(at="127.0.0.1", host=host) == 200
    assert status(at="192.0.2.1", host="gateway.internal:9090") == 200, "Prometheus may know it by any name"
    assert status("Origin: https://evil.example", at="192.0.2.1", host="gateway.internal") == 403
    assert status("Origin: null", at="127.0.0.1", host="localhost") == 403
    assert status("Origin: http://localhost:9090", at="127.0.0.1", host="localhost:9090") == 200


def test_probes_may_call_this_machine_what_they_like(site: Site) -> None:
    for path in ("/health", "/health/live", "/health/ready"):
        assert site.request("GET", path, at="127.0.0.1", host="gateway.internal")[0] == 200
