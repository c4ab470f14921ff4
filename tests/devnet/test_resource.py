"""Over HTTP on loopback: what only HTTP can show."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import treq
from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, HTTPConnectionPool

from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.devnet.faults import InjectedFault
from icwsgw.devnet.replica import Replica
from icwsgw.devnet.resource import ReplicaSite, _is_local
from icwsgw.ic import cbor, envelope, ws
from icwsgw.ic.certificate import decode_certificate, request_status, verify_certificate
from tests.support.devnet import GATEWAY, START_NS, identity

ALICE = identity(1)
reactor: Any = _reactor
Test = Generator[Deferred[Any], Any, Any]


class Raw(Protocol):
    """What comes back on a bare connection, until it ends."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: Deferred[str] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.ended.callback(reason.type.__name__)


class ResourceTest(TestCase):
    def setUp(self) -> None:
        self.replica = Replica(Clock(), lambda: START_NS, b"test")
        self.port = reactor.listenTCP(0, ReplicaSite(self.replica), interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        agent: Any = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        self.client: Any = treq.client.HTTPClient(agent)
        self.addCleanup(self.replica.close)
        self.url = f"http://127.0.0.1:{self.port.getHost().port}"

    def opening(self) -> envelope.SignedRequest:
        arg = ws.encode_open_args(0, GATEWAY.principal.raw)
        content = envelope.call_content(ALICE.principal, ECHO_ID, "ws_open", arg, START_NS + 10**11)
        return envelope.sign_request(ALICE, content)

    @inlineCallbacks
    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/cbor") -> Test:
        """The answer's status, its headers and its whole body."""
        answer = yield self.client.request(method, self.url + path, data=body, headers={"Content-Type": kind})
        return answer.code, answer.headers, (yield answer.content())

    def post_json(self, name: str, value: Any, kind: str = "application/json") -> Deferred[Any]:
        return self.ask("POST", f"/_/{name}", json.dumps(value).encode(), kind)

    @inlineCallbacks
    def test_a_call_and_its_certificate(self) -> Test:
        request = self.opening()
        code, headers, body = yield self.ask("POST", f"/api/v4/canister/{ECHO_ID}/call", request.body)
        self.assertEqual(code, 200)
        self.assertEqual(headers.getRawHeaders("access-control-allow-origin"), ["*"])
        certificate = verify_certificate(
            cbor.loads(body)["certificate"],
            root_key_der=self.replica.root_key_der,
            canister_id=ECHO_ID,
            now_ns=START_NS,
        )
        self.assertEqual(request_status(certificate, request.request_id).status, "replied")

    @inlineCallbacks
    def test_browsers_may_use_the_api_from_anywhere(self) -> Test:
        code, headers, _ = yield self.ask("OPTIONS", f"/api/v3/canister/{ECHO_ID}/query")
        self.assertEqual(code, 204)
        self.assertEqual(headers.getRawHeaders("access-control-allow-origin"), ["*"])
        self.assertIn("POST", headers.getRawHeaders("access-control-allow-methods")[0])

    @inlineCallbacks
    def test_a_websocket_client_gets_the_gateways_address(self) -> Test:
        for urls, where in (([], "the gateway\n"), (["ws://127.0.0.1:8080"], "the gateway at ws://127.0.0.1:8080\n")):
            self.replica.gateway_urls = urls
            headers = {"Connection": "Upgrade", "Upgrade": "WebSocket", "Sec-WebSocket-Version": "13"}
            with capturedLogs() as logged:
                answer = yield self.client.request("GET", self.url + "/", headers=headers)
                text = yield answer.text()
            noted = [formatEvent(each) for each in logged]
            self.assertEqual(len([each for each in noted if each is not None and each.endswith(where.rstrip())]), 1)
            self.assertEqual((answer.code, text.startswith("this is the local replica: ")), (400, True))
            self.assertTrue(text.endswith(where), text)

    @inlineCallbacks
    def test_a_head_request_has_no_body(self) -> Test:
        code, _, body = yield self.ask("HEAD", "/api/v2/status")
        self.assertEqual((code, body), (200, b""))

    @inlineCallbacks
    def test_the_demo_page_and_its_parts(self) -> Test:
        for path, kind in (
            ("/", "text/html; charset=utf-8"),
            ("/demo.js", "text/javascript; charset=utf-8"),
            ("/echo.did", "text/plain; charset=utf-8"),
        ):
            code, headers, body = yield self.ask("GET", path)
            self.assertEqual((code, headers.getRawHeaders("content-type")), (200, [kind]))
            self.assertIn("script-src 'self'", headers.getRawHeaders("content-security-policy")[0])
            self.assertTrue(body)

    @inlineCallbacks
    def test_a_canister_without_an_interface_is_no_bare_404(self) -> Test:
        self.replica.names["own"] = ECHO_ID
        self.replica.canister(ECHO_ID).candid = None
        code, headers, body = yield self.ask("GET", "/own.did")
        self.assertEqual((code, headers.getRawHeaders("content-type")), (404, ["text/plain; charset=utf-8"]))
        self.assertEqual(body, b"the canister own has no Candid interface: give it one by own=FILE:FILE.did\n")

    @inlineCallbacks
    def test_nothing_else_is_served(self) -> Test:
        paths = ("/resource.py", "/static/demo.html", "/..%2fdemo.html", "/.hidden.js", "/absent.js", "/%2e%2e/x.did")
        for path in paths:
            code, _, _ = yield self.ask("GET", path)
            self.assertEqual(code, 404, path)
        code, _, _ = yield self.ask("POST", "/", b"")
        self.assertEqual(code, 405)

    @inlineCallbacks
    def test_the_control_interface(self) -> Test:
        _, headers, body = yield self.ask("GET", "/_/info")
        self.assertEqual(json.loads(body)["canisters"]["echo"], ECHO_ID.text)
        self.assertEqual(headers.getRawHeaders("access-control-allow-origin"), ["*"])
        code, headers, body = yield self.post_json("faults", {"kind": "http", "on": "status", "status": 418})
        self.assertEqual((code, json.loads(body)), (200, {"faults": 1}))
        self.assertFalse(headers.hasHeader("access-control-allow-origin"))
        code, _, _ = yield self.ask("GET", "/api/v2/status")
        self.assertEqual(code, 418)

    @inlineCallbacks
    def test_pages_of_other_origins_cannot_change_anything(self) -> Test:
        code, _, _ = yield self.post_json("faults", {"kind": "trap"}, "text/plain")
        self.assertEqual(code, 415)
        _, headers, _ = yield self.ask("OPTIONS", "/_/faults")
        self.assertFalse(headers.hasHeader("access-control-allow-origin"))
        self.assertEqual(len(self.replica.faults), 0)

    def raw(self, request: bytes) -> Deferred[Raw]:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        connected: Deferred[Raw] = connectProtocol(endpoint, Raw())

        def send(protocol: Raw) -> Raw:
            transport: Any = protocol.transport
            transport.write(request)
            return protocol

        return connected.addCallback(send)

    @inlineCallbacks
    def test_no_body_is_read_as_a_form(self) -> Test:
        for kind in (b"\x1eapplication/cbor", b"multipart/form-data; boundary=x"):
            protocol = yield self.raw(
                b"POST /api/v2/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                b"Content-Type: %b\r\nContent-Length: 5\r\n\r\n12345" % kind
            )
            yield protocol.ended
            self.assertRegex(protocol.data, rb"^HTTP/1.1 4\d\d .*\r\n")

    @inlineCallbacks
    def test_a_connection_that_is_reset(self) -> Test:
        self.replica.faults.add(InjectedFault("reset"))
        protocol = yield self.raw(b"GET /api/v2/status HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual((yield protocol.ended), "ConnectionLost")
        self.assertEqual(protocol.data, b"")

    @inlineCallbacks
    def test_half_a_body(self) -> Test:
        self.replica.faults.add(InjectedFault("half_body"))
        protocol = yield self.raw(b"GET /api/v2/status HTTP/1.1\r\nHost: x\r\n\r\n")
        yield protocol.ended
        head, _, body = protocol.data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        self.assertEqual(len(body), length // 2)

    @inlineCallbacks
    def test_who_goes_away_while_it_hangs_is_forgotten(self) -> Test:
        self.replica.faults.add(InjectedFault("hang"))
        protocol = yield self.raw(b"GET /api/v2/status HTTP/1.1\r\nHost: x\r\n\r\n")
        while not self.replica.hanging:
            yield turn()
        protocol.transport.abortConnection()
        yield protocol.ended
        while self.replica.hanging:
            yield turn()

    @inlineCallbacks
    def test_a_mistake_of_ours_is_a_500(self) -> Test:
        mistaken: Any = self.replica
        mistaken.handle = lambda *_: 1 // 0
        code, _, body = yield self.ask("GET", "/api/v2/status")
        self.assertEqual((code, body), (500, b"internal error"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @inlineCallbacks
    def test_certificates_are_read_back(self) -> Test:
        content = envelope.read_state_content(GATEWAY.principal, [(b"time",)], START_NS + 10**11)
        request = envelope.sign_request(GATEWAY, content)
        _, _, body = yield self.ask("POST", f"/api/v2/canister/{ECHO_ID}/read_state", request.body)
        self.assertEqual(decode_certificate(cbor.loads(body)["certificate"]).time_ns, START_NS)

    @inlineCallbacks
    def test_pages_of_others_do_not_reach_the_control(self) -> Test:
        own = self.url.removeprefix("http://")
        for path, headers, expected in [
            ("config", {"Host": "rebound.example"}, 403),
            ("config", {"Host": f"rebound.example:{self.port.getHost().port}"}, 403),
            ("config", {"Host": "127.0.0.1.rebound.example"}, 403),
            ("config", {"Origin": "https://evil.example"}, 403),
            ("config", {"Origin": "http://127.0.0.1:1"}, 403),
            ("config", {"Origin": "null"}, 403),
            ("config", {"Origin": f"http://{own}"}, 200),
            ("config", {"Host": own}, 200),
            ("config", {}, 200),
        ]:
            answer = yield self.client.request(
                "POST",
                f"{self.url}/_/{path}",
                data=b'{"query_latency_ms": 1}',
                headers={"Content-Type": "application/json", **headers},
            )
            yield answer.content()
            self.assertEqual(answer.code, expected, headers)
        for headers, expected in [({"Origin": "https://app.example"}, 200), ({"Host": "rebound.example"}, 403)]:
            answer = yield self.client.request("GET", f"{self.url}/_/info", headers=headers)
            yield answer.content()
            self.assertEqual(answer.code, expected, headers)


def turn() -> Deferred[None]:
    """One turn of the reactor."""
    passed: Deferred[None] = Deferred()
    reactor.callLater(0, passed.callback, None)
    return passed


class LocalTest(SynchronousTestCase):
    def test_who_is_this_machine(self) -> None:
        here: list[Any] = [IPv4Address("TCP", host, 1) for host in ("127.0.0.1", "127.8.8.8")]
        here += [IPv6Address("TCP", host, 1) for host in ("::1", "::ffff:127.0.0.1")]
        there: list[Any] = [IPv4Address("TCP", "192.0.2.1", 1), IPv6Address("TCP", "fe80::1%eth0", 1), object()]
        for address in (*here, UNIXAddress("/x")):
            self.assertTrue(_is_local(address), address)
        for address in there:
            self.assertFalse(_is_local(address), address)
