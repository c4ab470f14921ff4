"""HAProxy, the real one, with the configuration of deploy/; gateways behind it are drained, rolled and killed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import Devnet
from tests.acceptance.processes import START_DEADLINE, free_port, http_get
from tests.deploy.fleet import PORTS, Certificate, Gateway, Program, Reconnecting, gateways_of, replaced
from tests.deploy.tools import DEPLOY, run, tool
from tests.support.raw_client import RawClient
from tests.support.ws_wire import handshake

pytestmark = pytest.mark.deploy

HAPROXY = DEPLOY / "haproxy" / "haproxy.cfg"


class Haproxy(Program):
    """The shipped configuration with this machine's ports, and checks in a hurry.

    :ivar port: for clients
    :ivar admin: the socket of its runtime API
    """

    def __init__(self, directory: Path, gateways: list[Gateway], certificate: Certificate) -> None:
        self.port, self.observe = free_port(), free_port()
        self.admin = directory / "admin.sock"
        changes = {
            # what only root may do, or belongs to the machine
            "    user haproxy\n    group haproxy\n": "",
            "    log /dev/log local0 notice\n": "    log stdout format raw daemon notice\n",
            "/run/haproxy/admin.sock mode 660": str(self.admin),
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
    output = run(tool("haproxy", "haproxy"), "-c", "-f", config)
    assert "WARNING" not in output
    # a connection is not cut while the gateway pings its client
    for timeout in re.findall(r"timeout (?:client|server) (\d+)s", text)[:2]:
        assert int(timeout) > 25 + 10
    # longer than the default, which is the time between two checks
    checks = re.findall(r"timeout check (\d+)s", text) + re.findall(r"check inter (\d+)s", text)
    assert len(checks) == 2
    assert int(checks[0]) > int(checks[1])


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
        for client in crowd:
            client.orderly = False
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


def test_the_gateway_takes_client_addresses_from_the_proxy_header(
    tmp_path: Path, devnet: Devnet, certificate: Certificate
) -> None:
    gateways = gateways_of(tmp_path, devnet.network, "haproxy:{}")
    haproxy = Haproxy(tmp_path, gateways, certificate)
    try:
        haproxy.wait_for(gateways[0], "UP")
        # past the proxy there is no header, and so no client
        direct = RawClient(gateways[0].port)
        direct.do_handshake()
        assert direct.status == 0
        direct.close()
        assert RawClient(haproxy.port, tls=certificate.trust).do_handshake().status == 101
    finally:
        haproxy.stop()
        for gateway in gateways:
            gateway.server.kill()


def test_a_worker_that_hangs_costs_its_own_clients_only(
    tmp_path: Path, devnet: Devnet, certificate: Certificate
) -> None:
    """HAProxy never takes the gateway out, newcomers are served all the time, and there is another worker soon."""
    gateway = Gateway(tmp_path / "gateway", devnet.network, "haproxy:{}", "--workers=2", "--drain-window=0")
    haproxy = None
    crowd: list[Reconnecting] = []
    try:
        gateway.wait()
        haproxy = Haproxy(tmp_path, [gateway] * 3, certificate)
        haproxy.wait_for(gateway, "UP")
        haproxy.until(lambda: gateway.server.output.count("worker is ready") == 2)
        crowd = [Reconnecting(haproxy.port, certificate.trust, devnet.echo).running() for _ in range(6)]
        pid = int(re.findall(r"worker is ready number=0 pid=(\d+)", gateway.server.output)[0])
        status = json.loads(http_get(f"http://127.0.0.1:{gateway.admin}/status.json")[1])
        own = {row["worker"]: row["sessions"] for row in status["workers"]}
        os.kill(pid, signal.SIGSTOP)
        states, newcomers = set(), []
        deadline = time.monotonic() + START_DEADLINE
        while gateway.server.output.count("worker is ready") == 2:
            assert time.monotonic() < deadline, gateway.server.output
            states.add(haproxy.states()["icws3"])
            newcomer = RawClient(haproxy.port, tls=certificate.trust)
            newcomers.append(newcomer.do_handshake().status)
            newcomer.close()
            time.sleep(0.1)
        assert "worker hangs, killing it number=0" in gateway.server.output
        assert states == {"UP"}
        assert set(newcomers) == {101}
        for client in crowd:
            client.progress()
        assert sum(client.broken for client in crowd) == own[0]
    finally:
        for client in crowd:
            client.stop()
        if haproxy is not None:
            haproxy.stop()
        gateway.server.kill()


CHECKED = """
global
    log stdout format raw daemon notice
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    # without it, a whole check has to end within inter
    timeout check 60s
frontend observe
    mode http
    bind 127.0.0.1:{observe}
    stats enable
    stats uri /stats
listen gateways
    bind 127.0.0.1:{port}
    bind [::1]:{port} v6only
    bind {directory}/front.sock
    {check}
    server icws 127.0.0.1:{gateway} check inter 50ms check-send-proxy {sends}
"""

TCP_CHECK = ""
HTTP_CHECK = (
    "option httpchk\n    http-check send meth GET uri / ver HTTP/1.1 hdr Host icws\n    http-check expect status 426"
)


@pytest.mark.parametrize(
    ("sends", "check"),
    [
        # checks of these say PROXY UNKNOWN and LOCAL: there is no client
        ("send-proxy", TCP_CHECK),
        ("send-proxy", HTTP_CHECK),
        ("send-proxy-v2", TCP_CHECK),
        ("send-proxy-v2", HTTP_CHECK),
        # with fields behind the addresses
        ("send-proxy-v2 proxy-v2-options crc32c,ssl,authority,unique-id", HTTP_CHECK),
    ],
)
def test_both_versions_of_the_proxy_header_and_checks_without_a_client(
    tmp_path: Path, devnet: Devnet, sends: str, check: str
) -> None:
    gateway = Gateway(tmp_path / "gateway", devnet.network, "haproxy:{}", "--max-connections-per-ip=1")
    port, observe = free_port(), free_port()
    config = tmp_path / "haproxy.cfg"
    names = {"directory": tmp_path, "port": port, "observe": observe, "gateway": gateway.port}
    config.write_text(CHECKED.format(check=check, sends=sends, **names))
    haproxy = None
    try:
        gateway.wait()
        haproxy = Program([tool("haproxy", "haproxy"), "-db", "-f", str(config)], tmp_path / "haproxy.log")

        def checks() -> tuple[str, str]:
            try:
                _, body = http_get(f"http://127.0.0.1:{observe}/stats;csv")
            except OSError:
                return "", ""
            rows = [line.split(",") for line in body.decode().splitlines()]
            row = next(row for row in rows if row[:2] == ["gateways", "icws"])
            return row[rows[0].index("status")], row[rows[0].index("check_status")].removeprefix("* ")

        # The status is that of the last check that was done; an asterisk says that the next one is under way. On a busy
        # machine one may fail ("UP 1/3") that the gateway has not refused.
        passed = ("UP", "L7OK" if check else "L4OK")
        haproxy.until(lambda: checks() == passed)
        kept: list[RawClient | socket.socket] = []

        def status_by_socket(path: Path) -> int:
            client = socket.socket(socket.AF_UNIX)
            kept.append(client)
            client.settimeout(60)
            client.connect(str(path))
            client.sendall(handshake())
            return int(client.recv(65_536).split(b" ")[1])

        def status(host: str, source: str) -> int:
            client = RawClient(port, host, source=source)
            kept.append(client)
            return client.do_handshake().status

        # one connection for each address: the header's, not the proxy's
        assert [status("127.0.0.1", f"127.0.0.{n}") for n in (5, 6, 5, 7)] == [101, 101, 429, 101]
        assert [status("::1", "::1") for _ in range(2)] == [101, 429]
        # clients of a unix frontend have no address: the header says UNKNOWN, and HAProxy's own address counts
        assert [status_by_socket(tmp_path / "front.sock") for _ in range(2)] == [101, 429]
        haproxy.until(lambda: checks() == passed)
        assert gateway.metric('icws_refused_connections_total{reason="proxy_header"}') == 0
        assert gateway.metric('icws_refused_connections_total{reason="connections_per_ip"}') == 3
        for client in kept:
            client.close()
    finally:
        if haproxy is not None:
            haproxy.stop()
        gateway.server.kill()
