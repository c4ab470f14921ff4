"""The application tree under the real reactor: what starts, answers and stops. (With processes: tests/acceptance.)"""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import TestCase

from icwsgw.config import GatewayConfig
from icwsgw.errors import ConfigError
from icwsgw.service import GatewayService
from tests.support.ws_wire import handshake, read_frames

LOOPBACK = "tcp:0:interface=127.0.0.1"


class Client(Protocol):
    """A WebSocket client that keeps all it is sent."""

    def __init__(self) -> None:
        self.data = b""
        self.waits: list[tuple[int, Deferred[bytes]]] = []
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(handshake())  # type: ignore[union-attr]

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

    def start(self, service: GatewayService) -> None:
        service.privilegedStartService()  # type: ignore[no-untyped-call]
        service.startService()
        self.addCleanup(service.stopService)

    def ports(self, service: GatewayService) -> tuple[int, int]:
        listening = [child for child in service if getattr(child, "port", None) is not None]
        admin, gateway = (child.port.getHost().port for child in listening)
        return gateway, admin

    async def _get(self, port: int, path: str) -> tuple[int, str]:
        response = await treq.get(f"http://127.0.0.1:{port}{path}", persistent=False)
        return response.code, await response.text()

    def test_it_serves_and_stops(self) -> Deferred[None]:
        async def scenario() -> None:
            service = self.make()
            self.start(service)
            gateway, admin = self.ports(service)
            assert os.stat(service._config.key_file).st_mode & 0o777 == 0o600
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
            status, text = await self._get(admin, "/metrics")
            assert 'icws_sessions{state="init"} 1.0' in text
            stopping = service.stopService()
            assert service.stopService() is stopping
            await client.at_least(len(data) + 4)
            ((_, _), (opcode, payload)) = read_frames(client.data.partition(b"\r\n\r\n")[2])
            assert (opcode, payload[:2]) == (8, (4100).to_bytes(2, "big"))
            client.transport.loseConnection()
            await client.lost
            await stopping

        return Deferred.fromCoroutine(scenario())

    def test_stopping_what_had_no_clients(self) -> Deferred[None]:
        service = self.make()
        self.start(service)
        return service.stopService()

    def test_a_taken_port_ends_the_start(self) -> None:
        first = self.make(prometheus_endpoint=None)
        self.start(first)
        port = first._listeners[0].port.getHost().port
        second = self.make(gateway_addresses=(f"tcp:{port}:interface=127.0.0.1",), prometheus_endpoint=None)
        with self.assertRaises(ConfigError) as caught:
            second.privilegedStartService()  # type: ignore[no-untyped-call]
        self.assertIn("in use", str(caught.exception))

    def test_a_key_that_is_none_ends_the_start(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        Path(folder.name, "key_pair").write_bytes(b"no key")
        with self.assertRaises(ConfigError):
            self.make(data_dir=Path(folder.name))
