"""Proxies: which one the environment means, what it receives, and a network with TLS behind one on loopback."""

from __future__ import annotations

from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, ensureDeferred, inlineCallbacks, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from icwsgw.agent.http import tunnel
from icwsgw.agent.http.transport import Transport
from icwsgw.agent.http.tunnel import MAX_ANSWER, Proxy, TunnelEndpoint, chosen_proxy, proxy_for
from icwsgw.agent.http.url import Url
from icwsgw.errors import ConnectFailed, ConnectionLost
from tests.support import pem
from tests.support.raw_server import RawServer

reactor: Any = _reactor

MAINNET = "https://icp-api.io"
PROXY = Proxy("proxy.example", 3128)


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        (MAINNET, {}, None),
        (MAINNET, {"https_proxy": " "}, None),
        (MAINNET, {"https_proxy": "http://proxy.example:3128"}, PROXY),
        (MAINNET, {"HTTPS_PROXY": "http://proxy.example:3128/"}, PROXY),
        (MAINNET, {"all_proxy": "proxy.example:3128"}, PROXY),
        (MAINNET, {"ALL_PROXY": "http://other", "https_proxy": "http://proxy.example:3128"}, PROXY),
        (MAINNET, {"https_proxy": "http://proxy.example"}, Proxy("proxy.example", 80)),
        (MAINNET, {"https_proxy": "http://[fd00::1]:3128"}, Proxy("fd00::1", 3128)),
        (MAINNET, {"https_proxy": "http://me:a%40b@proxy.example:3128"}, (*PROXY[:2], b"Basic bWU6YUBi")),
        (MAINNET, {"http_proxy": "http://proxy.example:3128"}, None),
        ("http://127.0.0.1:4943", {"https_proxy": "http://proxy.example:3128", "all_proxy": "http://other"}, None),
    ],
)
def test_the_environment_says_which(url: str, environment: dict[str, str], expected: Proxy | None) -> None:
    assert proxy_for(Url.parse(url), environment) == expected


@pytest.mark.parametrize(
    ("url", "names", "direct"),
    [
        (MAINNET, "*", True),
        (MAINNET, "localhost, icp-api.io", True),
        (MAINNET, ".io", True),
        (MAINNET, "*.io", True),
        (MAINNET, "icp-api.io:443", True),
        (MAINNET, "ICP-API.IO", True),
        (MAINNET, "api.io,icp-api.io.example,10.0.0.0/8,", False),
        ("https://10.1.2.3:4943", "10.0.0.0/8", True),
        ("https://[::1]:4943", "::1", True),
        ("https://192.0.2.1", "10.0.0.0/8,192.0.2.2", False),
    ],
)
def test_no_proxy_names_what_is_asked_directly(url: str, names: str, direct: bool) -> None:
    environment = {"https_proxy": "http://proxy.example:3128", "NO_PROXY": names}
    assert (proxy_for(Url.parse(url), environment) is None) is direct


@pytest.mark.parametrize("wrong", ["socks5://proxy.example:1080", "https://proxy.example", "http://", "http://a:b:c"])
def test_what_is_no_http_proxy_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        proxy_for(Url.parse(MAINNET), {"https_proxy": wrong})


@pytest.mark.parametrize(
    "text",
    [
        "http://gateway:Zk7pQ/x9@proxy.example:3128",
        "http://gateway:4711/x9@proxy.example:3128",
        "http://gateway:4711?x9@proxy.example:3128",
        "http://gateway:4711#x9@proxy.example:3128",
        "http://gateway:Zk7pQ@[proxy.example:3128",
        "http://gateway:Zk7pQ\u2100@proxy.example:3128",
        "http://gateway:Zk7pQ\udcff@proxy.example:3128",
    ],
)
def test_a_proxy_that_is_refused_shows_nothing_of_a_password(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[Any] = []
    log = SimpleNamespace(warn=lambda *words, **fields: lines.append((*words, fields)), info=pytest.fail)
    monkeypatch.setattr(tunnel, "_log", log)
    assert chosen_proxy(MAINNET, {"https_proxy": text}, "the network") is None
    reason = "a proxy is given as http://host:port, with a user and a password percent-encoded"
    assert lines == [("the environment's proxy is not used", {"reason": reason})]


def test_a_path_behind_a_proxy_has_no_effect() -> None:
    assert proxy_for(Url.parse(MAINNET), {"https_proxy": "http://proxy.example:3128/x"}) == Proxy("proxy.example", 3128)


def test_a_password_is_not_shown() -> None:
    assert str(Proxy("fd00::1", 3128, b"Basic x")) == "[fd00::1]:3128"
    assert str(PROXY) == "proxy.example:3128"


class Inner(Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class Rig:
    """A tunnel before a proxy that the test plays."""

    def __init__(self, proxy: Proxy = PROXY) -> None:
        self.clock = Clock()
        self.transport = StringTransport()
        self.endpoint = TunnelEndpoint(self.clock, self, proxy, "icp-api.io:443", 10.0)
        self.results: list[Any] = []
        self.connecting: Deferred[Any] = self.endpoint.connect(Factory.forProtocol(Inner))
        self.connecting.addBoth(self.results.append)

    def connect(self, factory: Any) -> Deferred[Any]:
        self.protocol = factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 3128))
        self.protocol.makeConnection(self.transport)
        return succeed(self.protocol)

    def failure(self) -> str:
        (failure,) = self.results
        assert failure.check(ConnectFailed)
        assert self.transport.disconnected or self.transport.disconnecting
        assert not self.clock.getDelayedCalls()
        return str(failure.value)


def test_what_follows_the_proxys_answer_is_the_networks() -> None:
    rig = Rig(Proxy("proxy.example", 3128, b"Basic bWU6YUBi"))
    assert rig.transport.value() == (
        b"CONNECT icp-api.io:443 HTTP/1.1\r\nHost: icp-api.io:443\r\nProxy-Authorization: Basic bWU6YUBi\r\n\r\n"
    )
    rig.protocol.dataReceived(b"HTTP/1.1 200 Connection est")
    assert rig.results == []
    rig.protocol.dataReceived(b"ablished\r\nX: y\r\n\r\nabc")
    (inner,) = rig.results
    rig.protocol.dataReceived(b"def")
    assert inner.received == b"abcdef"
    assert inner.transport is rig.transport
    assert not rig.clock.getDelayedCalls()
    rig.protocol.connectionLost(Failure(ConnectionDone()))
    assert inner.lost


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 407 Who are you?\r\n\r\n", b"SSH-2.0-x\r\n\r\n", b"x" * (MAX_ANSWER + 1)]
)
def test_a_refusal_is_reported(answer: bytes) -> None:
    rig = Rig()
    rig.protocol.dataReceived(answer)
    assert rig.failure().startswith("the proxy proxy.example:3128 ")
    rig.protocol.connectionLost(Failure(ConnectionDone()))
    assert len(rig.results) == 1


def test_a_proxy_that_hangs_or_hangs_up() -> None:
    rig = Rig()
    rig.clock.advance(10.0)
    assert "in time" in rig.failure()
    rig = Rig()
    rig.transport.loseConnection()
    rig.protocol.connectionLost(Failure(ConnectionDone()))
    assert "hung up" in rig.failure()


def test_an_attempt_that_is_given_up_leaves_nothing() -> None:
    rig = Rig()
    rig.connecting.cancel()
    assert rig.transport.disconnected or rig.transport.disconnecting
    assert not rig.clock.getDelayedCalls()


class Pipe(Protocol):
    """What a proxy does after CONNECT: passes on what comes to the other connection."""

    def __init__(self, other: Any) -> None:
        self.other = other

    def dataReceived(self, data: bytes) -> None:
        self.other.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.other.loseConnection()


class Loopback(TestCase):
    timeout = 20

    @inlineCallbacks
    def test_tls_through_a_proxy(self) -> Generator[Any, Any, None]:
        authority = pem.authority()
        made = pem.server(authority, "localhost")
        network = RawServer(
            lambda c, h, body: c.answer(body), PrivateCertificate.loadPEM(made.certificate + made.key).options()
        )
        heads = []

        def on_request(connection, head, body) -> None:
            heads.append(head)

            def connected(pipe) -> None:
                connection.dataReceived = pipe.transport.write
                connection.send(b"HTTP/1.1 200 OK\r\n\r\n")

            there = TCP4ClientEndpoint(reactor, "127.0.0.1", network.port)
            connectProtocol(there, Pipe(connection.transport)).addCallback(connected)

        proxy = RawServer(on_request)
        transport = Transport(
            reactor, extra_trust_roots=[Certificate.loadPEM(authority.pem)], proxy=Proxy("127.0.0.1", proxy.port)
        )
        try:
            url = Url.parse(f"https://localhost:{network.port}/api")
            for _ in range(2):
                answer = yield transport.fetch(b"POST", url, b"x" * 200_000, timeout=10)
                self.assertEqual(len(answer.body), 200_000)
            target = f"localhost:{network.port}"
            self.assertEqual(heads, [f"CONNECT {target} HTTP/1.1\r\nHost: {target}".encode()])
            plain = RawServer(lambda c, h, body: c.answer(b"direct"))
            answer = yield transport.fetch(b"GET", Url.parse(f"http://127.0.0.1:{plain.port}/"), timeout=10)
            self.assertEqual((answer.body, len(heads)), (b"direct", 1))
            yield ensureDeferred(plain.stop())
        finally:
            yield transport.close()
            for server in (proxy, network):
                yield ensureDeferred(server.stop())

    @inlineCallbacks
    def test_close_while_the_proxy_or_the_network_is_silent(self) -> Generator[Any, Any, None]:
        """No timer remains: trial looks for them."""
        for accepts in (False, True):
            silent: Deferred[None] = Deferred()

            def on_request(connection, head, body, accepts=accepts, silent=silent) -> None:
                if not accepts:
                    silent.callback(None)
                    return

                def hello(data: bytes) -> None:
                    if not silent.called:
                        silent.callback(None)

                connection.dataReceived = hello
                connection.send(b"HTTP/1.1 200 OK\r\n\r\n")

            proxy = RawServer(on_request)
            transport = Transport(reactor, proxy=Proxy("127.0.0.1", proxy.port))
            fetched = transport.fetch(b"GET", Url.parse("https://localhost/"), timeout=10)
            yield silent
            self.assertEqual(transport.states, {"busy": int(accepts), "idle": 0, "connecting": int(not accepts)})
            ended = proxy.next_end()
            yield transport.close()
            yield self.assertFailure(fetched, ConnectionLost)
            yield ended
            yield ensureDeferred(proxy.stop())

    @inlineCallbacks
    def test_no_proxy_there(self) -> Generator[Any, Any, None]:
        gone = RawServer(lambda *request: None)
        port = gone.port
        yield ensureDeferred(gone.stop())
        transport = Transport(reactor, proxy=Proxy("127.0.0.1", port))
        failed = yield self.assertFailure(
            transport.fetch(b"GET", Url.parse("https://localhost/"), timeout=10), ConnectFailed
        )
        self.assertIn("efused", str(failed))
        yield transport.close()


def test_an_invalid_proxy_is_not_used() -> None:
    url = "https://icp.example"
    assert chosen_proxy(url, {}, "the network") is None
    assert chosen_proxy(url, {"https_proxy": "http://proxy.example:3128"}, "the network") == Proxy(
        "proxy.example", 3128
    )
    assert chosen_proxy(url, {"https_proxy": "socks5://proxy.example"}, "the network") is None
