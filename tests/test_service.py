"""The application tree under the real reactor: what starts, answers and stops. (With processes: tests/acceptance.)"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import treq
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, FileBodyProducer
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from icwsgw import service as service_module
from icwsgw.admin.control import Overrides
from icwsgw.agent.http.url import Url
from icwsgw.config.schema import GatewayConfig
from icwsgw.core.in_flight_limits import InFlightLimits
from icwsgw.core.network_time import WITNESSES, Evidence
from icwsgw.core.request_kind import RequestKind
from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.errors import ConfigError, ConnectFailed, HttpError
from icwsgw.ic.envelope import query_content, sign_request
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.observe.collector import parse_collector
from icwsgw.process.check_config import UNUSED_CERTIFICATE
from icwsgw.process.rlimits import Room
from icwsgw.service import GatewayService, make_gateway_service
from tests.acceptance.processes import free_port
from tests.support import pem
from tests.support.raw_server import RawServer
from tests.support.ws_wire import handshake, read_frames

reactor: Any = _reactor

LOOPBACK = "tcp:0:interface=127.0.0.1"


class Client(Protocol):
    """A WebSocket client that keeps all it is sent."""

    def __init__(self) -> None:
        self.data = b""
        self.waits: list[tuple[int, Deferred[bytes]]] = []
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(handshake())  # type: ignore[call-arg]

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        for size, wait in list(self.waits):
            if len(self.data) >= size:
                self.waits.remove((size, wait))
                wait.callback(self.data)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)

    def at_least(self, size: int) -> Deferred[bytes]:
        wait: Deferred[bytes] = Deferred()
        self.waits.append((size, wait))
        self.dataReceived(b"")
        return wait


@implementer(IAgentEndpointFactory)
class Socket:
    """Reaches a unix socket."""

    def __init__(self, path: str) -> None:
        self.path = path

    def endpointForURI(self, uri: Any) -> UNIXClientEndpoint:
        return UNIXClientEndpoint(reactor, self.path)


class Stoppable:
    def __init__(self) -> None:
        self.stopped: Deferred[None] = Deferred()

    def stop(self) -> None:
        self.stopped.callback(None)


class Service(TestCase):
    timeout = 30

    def make(self, **options: Any) -> GatewayService:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        config = GatewayConfig(
            gateway_addresses=(LOOPBACK,),
            prometheus_endpoint=LOOPBACK,
            data_dir=Path(folder.name) / "data",
            ic_network_url="http://127.0.0.1:9",
            drain_window=0.1,
        )
        return GatewayService(replace(config, **options), reactor)

    def test_options_that_are_set_reach_every_part_and_leave_it(self) -> None:
        service = self.make(query_budget=100, max_connections=50)
        limits, context = service.factory.limits, service.gateway.context
        options = {
            **{"max-connections": ("7",), "header-timeout": ("3",), "open-timeout": ("77",), "query-budget": ("50",)},
            **{"allowed-origin": ("https://a.example",), "max-connections-per-principal": ("2",)},
        }
        service.override(Overrides(options=options))

        def parts() -> tuple[Any, ...]:
            return (
                *(limits.room, service.factory.header_timeout, context.config.open_timeout, context.budget.per_second),
                *(service.gateway.principals.most, service.factory.refusal({"origin": "https://b.example"})),
            )

        assert parts() == (7, 3.0, 77.0, 50, 2, "origin")
        # the file changes; what was set stays
        service.reload(replace(service.configured, open_timeout=99.0, accept_rate=1))
        assert parts() == (7, 3.0, 77.0, 50, 2, "origin")
        assert [limits.enter(0.0, "192.0.2.1") for _ in range(3)] == [None, None, "accept_rate"]
        service.override(Overrides())
        assert parts() == (48, 10.0, 99.0, 100, 0, None)

    def test_names_without_a_certificate_are_a_concern_and_no_obstacle(self) -> None:
        names: dict[str, Any] = {"acme_domains": ("a.example",), "acme_agree_terms": True}
        config = replace(self.make()._configured, acme_http_endpoint=LOOPBACK, **names)
        service = make_gateway_service(config, reactor)
        self.assertEqual(service.status.document()["concerns"], ["no valid TLS certificate for a.example"])
        self.assertEqual([each.tls is not None for each in service.listening_services], [False, True, False])
        self.assertIsNone(service._certificates.expiry())
        # a worker has the certificates, and does not ask for them
        worker = self.make(**names)
        self.assertEqual(worker.status.document()["concerns"], [])
        self.assertEqual(len(worker.listening_services), 2)

    def start(self, service: GatewayService) -> None:
        service.privilegedStartService()
        service.startService()
        self.addCleanup(service.stopService)

    def ports(self, service: GatewayService) -> tuple[int, int]:
        listening = [child for child in service if getattr(child, "port", None) is not None]
        admin, gateway = (child.port.getHost().port for child in listening)
        return gateway, admin

    async def _get(self, port: int, path: str) -> tuple[int, str]:
        response = await treq.get(f"http://127.0.0.1:{port}{path}", persistent=False)
        return response.code, await response.text()

    def test_a_fetched_root_key_of_a_public_network_is_a_concern(self) -> None:
        service = self.make(ic_network_url="https://bn.example")
        (concern,) = service.status.document()["concerns"]
        self.assertIn("the root key of https://bn.example is taken from that network itself", concern)
        known = self.make(ic_network_url="https://bn.example", root_key="mainnet")
        self.assertEqual(known.status.document()["concerns"], [])
        self.assertTrue(known.agent.verify_query_signatures)

    def test_it_serves_and_stops(self) -> Deferred[None]:
        async def scenario() -> None:
            service = self.make()
            self.start(service)
            gateway, admin = self.ports(service)
            assert os.stat(service._config.key_path).st_mode & 0o777 == 0o600
            client = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", gateway), Client())
            data = await client.at_least(200)
            head, _, frames = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            ((opcode, payload),) = read_frames(frames)
            assert opcode == 2
            assert service.identities.primary.principal.raw in payload
            assert (await self._get(admin, "/health/live"))[0] == 200
            status, reasons = await self._get(admin, "/health/ready")
            assert status == 503
            assert "network: http://127.0.0.1:9 has not been reached" in reasons
            sent = service.gateway.context.budget.sent
            before = sent[RequestKind.OWN]
            status, text = await self._get(admin, "/metrics")
            assert 'icws_sessions{state="init"} 1.0' in text
            (asked,) = re.findall(r'^icws_network_requests_total{kind="own"} (.*)$', text, re.MULTILINE)
            # the network is asked for its status again and again, perhaps while the metrics are read
            assert 1 <= before <= float(asked) <= sent[RequestKind.OWN]
            before = sent[RequestKind.OWN]
            service.network.transport.counts.charge()
            assert sent[RequestKind.OWN] == before + 1
            status, text = await self._get(admin, "/status.json")
            seen = json.loads(text)
            assert (status, seen["ready"], seen["connections"], seen["sessions"]["init"]) == (200, False, 1, 1)
            stopping = service.stopService()
            assert service.stopService() is stopping
            await client.at_least(len(data) + 4)
            ((_, _), (opcode, payload)) = read_frames(client.data.partition(b"\r\n\r\n")[2])
            assert (opcode, payload[:2]) == (8, (4100).to_bytes(2, "big"))
            client.transport.loseConnection()
            await client.lost
            await stopping

        return Deferred.fromCoroutine(scenario())

    def test_the_admin_api_on_a_socket_of_its_own(self) -> Deferred[None]:
        async def scenario() -> None:
            folder = tempfile.TemporaryDirectory()
            self.addCleanup(folder.cleanup)
            path = Path(folder.name) / "admin"
            service = self.make(admin_endpoint=f"unix:{path}", denied_canisters=("aaaaa-aa",))
            self.start(service)
            assert path.stat().st_mode & 0o777 == 0o600
            agent = Agent.usingEndpointFactory(reactor, Socket(str(path)))

            async def ask(method: bytes, target: str, body: bytes | None = None) -> tuple[int, Any]:
                headers = Headers({"content-type": ["application/json"]})
                content = FileBodyProducer(BytesIO(body)) if body is not None else None
                response = await agent.request(method, f"http://gateway{target}".encode(), headers, content)
                return response.code, json.loads(await treq.content(response))

            status, document = await ask(b"GET", "/v1/status")
            assert (status, document["ready"]) == (200, False)
            assert await ask(b"GET", "/v1/deny") == (200, {"denied": [], "configured": ["aaaaa-aa"]})
            status, document = await ask(b"GET", "/v1/sessions?limit=5")
            assert (status, document["sessions"]) == (200, [])
            for on in (True, False):
                await ask(b"POST", "/v1/maintenance", json.dumps({"on": on}).encode())
                status, document = await ask(b"GET", "/v1/status")
                found = {finding["name"]: finding["reason"] for finding in document["findings"]}
                assert (found["maintenance"] is not None) is on
            # what ends the process is begun when the answer has been read
            service.reactor = stoppable = Stoppable()
            status, document = await ask(b"POST", "/v1/drain", b'{"window": 7}')
            assert (status, document) == (202, {"draining": True, "window": 7.0})
            await stoppable.stopped
            assert service.config.drain_window == 7.0
            service.reactor = reactor

        return Deferred.fromCoroutine(scenario())

    def test_a_clock_that_is_wrong_makes_it_not_ready(self) -> Deferred[None]:
        async def scenario() -> None:
            # the replica's answers have the machine's time, and the gateway gets another
            port = free_port()
            service = self.make(
                devnet=True,
                devnet_listen=f"tcp:{port}:interface=127.0.0.1",
                ic_network_url=f"http://127.0.0.1:{port}",
            )
            service.agent.now_ns = lambda: time.time_ns() + 95 * 10**9
            service.network_monitor.own_time = False
            self.start(service)
            _, admin = self.ports(service)
            await service.agent.when_ready()
            assert (await self._get(admin, "/health/ready"))[0] == 200
            # by its own time no replica takes what it signs, and each says what time it has
            identity = Ed25519Identity(b"\x01" * 32)
            while not service.agent.time.skew_ns:
                expiry = service.agent.network_ns() + 240 * 10**9
                content = query_content(identity.principal, ECHO_ID, "ws_get_messages", b"", expiry)
                with pytest.raises(HttpError, match="ingress_expiry not within"):
                    await service.agent.query(ECHO_ID, sign_request(identity, content), timeout=5.0)
            status, reasons = await self._get(admin, "/health/ready")
            assert status == 503
            assert re.fullmatch(
                r"clock: this machine's clock is 9\d s ahead of the network's, more than 30 s: set it\n", reasons
            )
            _, text = await self._get(admin, "/metrics")
            assert float(re.findall(r"^icws_clock_skew_seconds (.*)$", text, re.MULTILINE)[0]) < -90
            assert "\nicws_network_ready 1.0\n" in text
            assert 'icws_root_key_fetches_total{outcome="ok"} 1.0' in text
            assert "\nicws_http_connections_opened_total 1.0\n" in text
            assert 'icws_http_connections{state="idle"} 1.0' in text
            for _ in range(WITNESSES):
                at = service.agent.now_ns()
                service.agent.time.take(Evidence.REFUSED, at - 29 * 10**9, reactor.seconds(), at)
            assert (await self._get(admin, "/health/ready"))[0] == 200
            await service.stopService()

        return Deferred.fromCoroutine(scenario())

    def test_reloads_are_counted(self) -> None:
        service = self.make(prometheus_endpoint=None)
        service.reloaded(True)
        service.reloaded(False)
        for outcome in ("ok", "failed"):
            assert service.metrics.registry.get_sample_value("icws_reloads_total", {"outcome": outcome}) == 1
            assert service.metrics.registry.get_sample_value("icws_tls_reloads_total", {"outcome": outcome}) == 0

    def test_stopping_what_had_no_clients(self) -> Deferred[None]:
        service = self.make()
        self.start(service)
        return service.stopService()

    def test_the_environment_names_a_proxy_to_the_network(self) -> Deferred[None]:
        async def scenario() -> None:
            heads: list[bytes] = []

            def refuse(connection: Any, head: bytes, body: bytes) -> None:
                heads.append(head)
                connection.end()

            server = RawServer(refuse)
            # what is not understood is not used
            for scheme in ("http", "socks5"):
                self.patch(os, "environ", {"https_proxy": f"{scheme}://127.0.0.1:{server.port}"})
                service = self.make(ic_network_url="https://127.0.0.1:1")
                with self.assertRaises(ConnectFailed):
                    await service.network.transport.fetch(b"GET", Url.parse("https://127.0.0.1:1/"), timeout=10.0)
                await service.network.transport.close()
            assert [head.split(b"\r\n")[0] for head in heads] == [b"CONNECT 127.0.0.1:1 HTTP/1.1"]
            await server.stop()

        return Deferred.fromCoroutine(scenario())

    def log_lines(self) -> list[tuple[str, dict[str, Any]]]:
        """The lines of the log from now on, with their fields."""
        lines: list[tuple[str, dict[str, Any]]] = []

        def record(event: Any) -> None:
            if "icws_message" in event:
                lines.append((event["icws_message"], event))

        globalLogPublisher.addObserver(record)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, record)  # type: ignore[arg-type]
        return lines

    def test_traces_are_exported_from_its_start_to_its_end(self) -> Deferred[None]:
        exports: list[tuple[Any, ...]] = []
        closed: list[Any] = []

        class Tracing:
            def __init__(self, principal: str, **options: Any) -> None:
                self.principal, self.options = principal, options

        class Export:
            def __init__(self, *given: Any) -> None:
                exports.append(given)

            def close(self) -> None:
                # in a thread, because it waits for the collector
                closed.append(threading.current_thread() is threading.main_thread())

        self.patch(service_module, "load_tracing", lambda: SimpleNamespace(Tracing=Tracing, Export=Export))

        async def scenario() -> None:
            endpoint = "grpc://127.0.0.1:4317"
            service = self.make(opentelemetry_collector_endpoint=endpoint, trace_sampling=0.5)
            tracing = service.gateway.context.tracing
            assert isinstance(tracing, Tracing)
            assert tracing.principal == service.identities.primary.principal.text
            assert tracing.options["ratio"] == 0.5
            assert exports == []
            self.start(service)
            assert exports == [(tracing, parse_collector(endpoint), reactor.callFromThread)]
            assert closed == []
            await service.stopService()
            assert closed == [False]

        return Deferred.fromCoroutine(scenario())

    def test_a_certificate_that_no_address_uses_is_logged(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        certificate, key = pem.server(pem.authority()).write(Path(folder.name))
        files = {"tls_certificate_pem_path": certificate, "tls_certificate_key_pem_path": key}
        for address, unused in ((f"unix:{folder.name}/icws", True), (LOOPBACK, False)):
            lines = self.log_lines()
            service = self.make(gateway_addresses=(address,), **files)
            assert ((UNUSED_CERTIFICATE in [text for text, _ in lines]), len(service._certificates.sources())) == (
                unused,
                not unused,
            )

    def test_a_reload_looks_at_certificates_and_the_token(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        certificate, key = pem.server(pem.authority()).write(Path(folder.name))
        token = Path(folder.name) / "token"
        token.write_text("the-first-token-of-this-gateway")
        token.chmod(0o600)
        service = self.make(
            tls_certificate_pem_path=certificate,
            tls_certificate_key_pem_path=key,
            admin_endpoint="tcp:0:interface=127.0.0.1",
            admin_token_file=token,
        )
        before = service._certificates.expiry()
        pem.server(pem.authority(), days=20).write(Path(folder.name))
        token.write_text("the-second-token-of-this-gateway")
        service.reload(service.configured)
        after = service._certificates.expiry()
        assert before is not None
        assert after is not None
        assert after - before > 9 * 86400
        assert service._certificates.reloads()["ok"] == 1
        assert service._access is not None
        assert service._access._token is not None
        assert service._access._token.fits("the-second-token-of-this-gateway")

    def test_a_network_without_synchronous_calls_is_a_concern_of_one_order(self) -> None:
        for order, missing, expected in (("executed", True, 1), ("executed", False, 0), ("accepted", True, 0)):
            service = self.make(relay_order=order)
            versions = {"sync_call": None if missing else 4}
            self.patch(type(service.agent), "api_versions", property(lambda agent, found=versions: found))
            concerns = service.status.document()["concerns"]
            assert len([concern for concern in concerns if "no synchronous call" in concern]) == expected, order

    def test_too_few_files_lower_the_limit_of_connections(self) -> Deferred[None]:
        self.patch(service_module, "make_room", lambda connections: Room(100, 30, 10))
        lines = self.log_lines()
        service = self.make(max_connections=50)
        self.start(service)
        (event,) = [event for text, event in lines if text.startswith("connection limit lowered")]
        fields = json.dumps(event, default=str)
        assert service.config.max_connections == 30
        assert service.configured.max_connections == 50
        # neither calls nor queries may use all connections to the network
        assert service.gateway.context.in_flight_limits == InFlightLimits.of(10)
        assert '"max_connections": 50' in fields
        assert '"clients": 30' in fields
        return service.stopService()

    def test_new_log_files_begin(self) -> None:
        begun: list[None] = []
        self.patch(service_module, "rotate_files", lambda: begun.append(None))
        self.make().rotate_logs()
        assert begun == [None]

    def test_the_time_is_that_of_its_reactor(self) -> None:
        service = self.make()
        clock = Clock()
        clock.advance(7)
        service.reactor = clock
        assert service.seconds() == 7.0
        service.reactor = reactor

    def test_a_shutdown_in_a_hurry_waits_neither_for_the_window_nor_for_clients(self) -> Deferred[None]:
        self.patch(service_module, "HURRIED_CLOSE", 0.01)

        async def scenario(before: bool) -> None:
            service = self.make(drain_window=300.0, close_timeout=300.0)
            self.start(service)
            gateway, _ = self.ports(service)
            # three, because the first ones are closed early in the window
            clients = [
                await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", gateway), Client()) for _ in range(3)
            ]
            for client in clients:
                await client.at_least(200)
            if before:
                service.skip_drain_window()
            stopping = service.stopService()
            if not before:
                while not service.gateway.draining:
                    await deferLater(reactor, 0)
                assert not stopping.called
                service.skip_drain_window()
            # none answers the close frame
            for client in clients:
                await client.lost
            await stopping

        async def both() -> None:
            await scenario(True)
            await scenario(False)

        return Deferred.fromCoroutine(both())

    def test_a_hurry_shortens_the_closing_handshake_that_has_begun(self) -> None:
        service = self.make()
        clock = Clock()
        dropped: list[float] = []
        service._dropping = clock.callLater(5.0, lambda: dropped.append(clock.seconds()))
        service.skip_drain_window()
        clock.pump([0.5] * 12)
        assert dropped == [service_module.HURRIED_CLOSE]
        # all is over: nothing is left to shorten
        service.skip_drain_window()
        clock.advance(10)
        assert len(dropped) == 1

    def test_a_taken_port_ends_the_start(self) -> None:
        first = self.make(prometheus_endpoint=None)
        self.start(first)
        port = first._listeners[0].port.getHost().port
        second = self.make(gateway_addresses=(f"tcp:{port}:interface=127.0.0.1",), prometheus_endpoint=None)
        with self.assertRaises(ConfigError) as caught:
            second.privilegedStartService()
        self.assertIn("in use", str(caught.exception))

    def test_a_key_that_is_none_ends_the_start(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        Path(folder.name, "key_pair").write_bytes(b"no key")
        with self.assertRaises(ConfigError):
            self.make(data_dir=Path(folder.name))
