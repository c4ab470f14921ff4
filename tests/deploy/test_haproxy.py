"""HAProxy, the real one, with the configuration of deploy/; gateways behind it are drained, rolled and killed."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.acceptance.conftest import Devnet
from tests.acceptance.processes import free_port, http_get
from tests.deploy.fleet import PORTS, Certificate, Gateway, Program, Reconnecting, gateways_of, replaced
from tests.deploy.tools import DEPLOY, run, tool
from tests.support.raw_client import RawClient

pytestmark = pytest.mark.deploy

HAPROXY = DEPLOY / "haproxy" / "haproxy.cfg"


class Haproxy(Program):
    """The shipped configuration with this machine's ports, and checks in a hurry.

    :ivar port: for clients
    """

    def __init__(self, directory: Path, gateways: list[Gateway], certificate: Certificate) -> None:
        self.port, self.observe = free_port(), free_port()
        changes = {
            # what only root may do, or belongs to the machine
            "    user haproxy\n    group haproxy\n": "",
            "    log /dev/log local0 notice\n": "    log stdout format raw daemon notice\n",
            "/run/haproxy/admin.sock mode 660": f"{directory}/admin.sock",
            "maxconn 200000": "maxconn 2000",
            "bind :443": f"bind 127.0.0.1:{self.port}",
            "/etc/haproxy/certs/icws.pem": str(certificate.both),
            "127.0.0.1:8404": f"127.0.0.1:{self.observe}",
            "inter 2s": "inter 200ms",
            "slowstart 60s": "slowstart 1s",
        }
        for (port, admin), gateway in zip(PORTS, gateways, strict=True):
            changes[f"127.0.0.1:{port} port {admin}"] = f"127.0.0.1:{gateway.port} port {gateway.admin}"
        config = directory / "haproxy.cfg"
        config.write_text(replaced(HAPROXY.read_text(), changes))
        super().__init__([tool("haproxy", "haproxy"), "-db", "-f", str(config)], directory / "haproxy.log")
        self._names = {gateway.port: f"icws{number}" for number, gateway in enumerate(gateways, 1)}

    def states(self) -> dict[str, str]:
        """State of each gateway as HAProxy sees it: UP, DOWN, or on the way."""
        try:
            _, body = http_get(f"http://127.0.0.1:{self.observe}/stats;csv")
        except OSError:
            return {}
        rows = [line.split(",") for line in body.decode().splitlines()]
        column = rows[0].index("status")
        return {row[1]: row[column] for row in rows if row[0] == "gateways" and row[1].startswith("icws")}

    def wait_for(self, gateway: Gateway, state: str) -> None:
        self.until(lambda: self.states().get(self._names[gateway.port]) == state)


def test_haproxy_takes_its_configuration(tmp_path: Path, certificate: Certificate) -> None:
    text = HAPROXY.read_text()
    for port, admin in PORTS:
        assert f"127.0.0.1:{port} port {admin}\n" in text
        # the units icws@PORT
        assert admin == 10_000 + port
    config = tmp_path / "haproxy.cfg"
    config.write_text(replaced(text, {"/etc/haproxy/certs/icws.pem": str(certificate.both)}))
    said = run(tool("haproxy", "haproxy"), "-c", "-f", config)
    assert "WARNING" not in said
    # a connection is not cut while the gateway pings its client
    for timeout in re.findall(r"timeout (?:client|server) (\d+)s", text)[:2]:
        assert int(timeout) > 25 + 10


def test_three_gateways_behind_haproxy(tmp_path: Path, devnet: Devnet, certificate: Certificate) -> None:
    """One is drained under load, all three are rolled, one is killed: nobody else notices, and everybody goes on."""
    gateways = gateways_of(tmp_path, devnet.network, "haproxy:{}")
    haproxy = Haproxy(tmp_path, gateways, certificate)
    crowd: list[Reconnecting] = []
    try:
        for gateway in gateways:
            haproxy.wait_for(gateway, "UP")
        for _ in range(9):
            crowd += [Reconnecting(haproxy.port, certificate.trust, devnet.echo).running()]
        # as many here as there
        assert [gateway.clients for gateway in gateways] == [3, 3, 3]

        # all three, one after the other
        for gateway in gateways:
            others = [other for other in gateways if other is not gateway]
            assert gateway.server.stop(signal.SIGTERM) == 0, gateway.server.output
            haproxy.wait_for(gateway, "DOWN")
            for client in crowd:
                client.progress()
            # it closed its own, and nobody else's
            assert sum(other.clients for other in others) == 9
            gateway.start()
            gateway.wait()
            haproxy.wait_for(gateway, "UP")
        assert sum(client.broken for client in crowd) == 0
        codes = [code for client in crowd for code in client.codes]
        assert set(codes) <= {1001, 4100}
        assert sum(client.connections for client in crowd) == 9 + len(codes)

        # one dies: only its own clients notice
        victim = max(gateways, key=lambda gateway: gateway.clients)
        others = [other for other in gateways if other is not victim]
        lost, before = victim.clients, [client.connections for client in crowd]
        victim.server.kill()
        haproxy.wait_for(victim, "DOWN")
        for client in crowd:
            client.progress()
        assert sum(client.broken for client in crowd) == lost
        again = [client.connections - number for client, number in zip(crowd, before, strict=True)]
        assert sorted(again) == [0] * (9 - lost) + [1] * lost
        assert sum(other.clients for other in others) == 9
        for client in crowd:
            client.stop()
            client.check()
        # a session whose canister dropped it would have been closed from there
        assert sum(other.metric('icws_closes_total{cause="4001"}') for other in others) == 0
    finally:
        for client in crowd:
            client.stop()
        haproxy.stop()
        for gateway in gateways:
            gateway.server.kill()


def test_the_gateway_knows_clients_by_the_proxy_header(
    tmp_path: Path, devnet: Devnet, certificate: Certificate
) -> None:
    gateways = gateways_of(tmp_path, devnet.network, "haproxy:{}")
    haproxy = Haproxy(tmp_path, gateways, certificate)
    try:
        haproxy.wait_for(gateways[0], "UP")
        # past the proxy there is no header, and so no client
        direct = RawClient(gateways[0].port)
        direct.shake()
        assert direct.status == 0
        direct.close()
        assert RawClient(haproxy.port, tls=certificate.trust).shake().status == 101
    finally:
        haproxy.stop()
        for gateway in gateways:
            gateway.server.kill()
