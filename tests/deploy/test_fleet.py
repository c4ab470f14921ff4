"""A fleet as the documents describe it: three gateways, one of them with workers, behind HAProxy and behind nginx.

Clients send all the time while the gateways are restarted one after the other, their log files are rotated, their and
the proxies' certificates are renewed well and badly, one worker hangs and one is killed. What is asserted of the whole:

* each message comes back, in order and once in a session; what a session that ended left open is sent again;
* each session ends with 4100 (or 1001 where a proxy closes it), except those of the process that hung or was
  killed: these end with the connection, and no more than it had;
* each client comes back, and so do those of the dead processes.

Some clients come by the gateways' own TLS instead of a proxy; they have nowhere to go while their gateway restarts.
``ICWS_FLEET_CLIENTS=300`` makes it the size of the documents' figures (five minutes); ``-s`` shows what happened.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from icwsgw.ic.principal import Principal
from tests.acceptance.conftest import Devnet, loopback, start_devnet
from tests.acceptance.processes import Server, free_port, http_get
from tests.deploy.fleet import Certificate, Gateway
from tests.deploy.fleet_crowd import FleetCrowd
from tests.deploy.test_haproxy import Haproxy
from tests.deploy.test_nginx import start_nginx
from tests.support import pem

pytestmark = pytest.mark.deploy

CLIENTS = int(os.environ.get("ICWS_FLEET_CLIENTS", "24"))
#: Canisters that every id is on this devnet.
CANISTERS = [Principal(bytes((0, 0, 0, 0, 0, 0x20, 0, number, 1, 1))).text for number in range(4)]
#: Close codes that ask a client to reconnect: the gateway's own, and the one of RFC 6455 for servers that go away.
RECONNECT_CODES = {1001, 4100}


class FleetGateway(Gateway):
    """A gateway with an address for each proxy and one with TLS of its own, and a log file."""

    def __init__(self, directory: Path, network: str, signer: pem.Authority, *options: str) -> None:
        self.log = directory / "icws.log"
        self.plain, self.tls = free_port(), free_port()
        self.certificate = directory.parent / f"{directory.name}-tls"
        self.certificate.mkdir()
        pem.server(signer, "localhost").write(self.certificate, "own")
        chain, key = (self.certificate / name for name in ("own.pem", "own.key"))
        super().__init__(
            directory,
            network,
            "haproxy:{}",
            f"--gateway-address={loopback(self.plain)}",
            "--polling-interval=250",
            f"--gateway-address=ssl:{self.tls}:interface=127.0.0.1:privateKey={key}:certKey={chain}",
            "--drain-window=2",
            *options,
        )

    def start(self) -> None:
        self.server = Server([f"--logfile={self.log}", "icws", *self._words], cwd=self._directory)

    @property
    def log_text(self) -> str:
        return self.log.read_text()

    def serial(self, trust: ssl.SSLContext) -> int:
        """The serial number of the certificate that it serves."""
        plain = socket.create_connection(("127.0.0.1", self.tls), timeout=30)
        with trust.wrap_socket(plain, server_hostname="localhost") as secure:
            return int(secure.getpeercert()["serialNumber"], 16)  # type: ignore[index,arg-type]

    def status(self) -> dict[int, int]:
        """The sessions of each worker."""
        rows = json.loads(http_get(f"http://127.0.0.1:{self.admin}/status.json")[1])["workers"]
        return {row["worker"]: row["sessions"] for row in rows}


def wait_for_line(gateway: FleetGateway, text: str, count: int = 1) -> None:
    deadline = time.monotonic() + 60
    while gateway.log_text.count(text) < count:
        assert time.monotonic() < deadline, gateway.log_text[-3000:]
        time.sleep(0.05)


def worker_pid(gateway: FleetGateway, number: int) -> int:
    """The process of a worker: the one that was ready last."""
    return int(re.findall(rf"worker is ready number={number} pid=(\d+)", gateway.log_text)[-1])


class Fleet:
    """Three gateways, both proxies, and the crowd."""

    def __init__(self, directory: Path, network: str, certificate: Certificate, count: int) -> None:
        self.certificate, self.signer, self.trust = certificate, certificate.signer, certificate.trust
        self.gateways: list[FleetGateway] = []
        self.crowd: FleetCrowd | None = None
        self._directory, self._network, self._count = directory, network, count

    def __enter__(self) -> Fleet:
        try:
            for number, options in enumerate([(), ("--workers=2",), ()]):
                directory = self._directory / f"gateway{number}"
                self.gateways += [FleetGateway(directory, self._network, self.signer, *options)]
            for gateway in self.gateways:
                gateway.wait()
            self.haproxy = Haproxy(self._directory, list(self.gateways), self.certificate)
            ports = [gateway.plain for gateway in self.gateways]
            self.nginx, port = start_nginx(self._directory, self.certificate, ports)
            for gateway in self.gateways:
                self.haproxy.wait_for(gateway, "UP")
            # most by the proxies, some by the gateways' own TLS
            ports = [*[self.haproxy.port] * 4, *[port] * 4, self.gateways[0].tls, self.gateways[1].tls]
            self.crowd = FleetCrowd(self._count, ports, self.trust, CANISTERS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self.crowd is not None:
            for client in self.crowd.clients:
                client.sending = False
        for name in ("haproxy", "nginx"):
            if name in self.__dict__:
                getattr(self, name).stop()
        for gateway in self.gateways:
            gateway.server.kill()


def roll(fleet: Fleet) -> None:
    """Restart all gateways, one after the other, as the guide describes."""
    for gateway in fleet.gateways:
        assert gateway.server.stop(signal.SIGTERM) == 0, gateway.log_text[-3000:]
        fleet.haproxy.wait_for(gateway, "DOWN")
        # those who come by a proxy go on at the others meanwhile
        fleet.crowd.progress(but=gateway.tls)
        gateway.start()
        gateway.wait()
        fleet.haproxy.wait_for(gateway, "UP")


def rotate(fleet: Fleet) -> None:
    """Move the log files away and send SIGUSR1, as logrotate does."""
    for gateway in fleet.gateways:
        moved = gateway.log.with_suffix(".log.old")
        gateway.log.rename(moved)
        gateway.server.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 60
        while not gateway.log.exists() or "log files begin anew" not in gateway.log_text:
            assert time.monotonic() < deadline, moved.read_text()[-2000:]
            time.sleep(0.05)
        assert "gateway starts" in moved.read_text()


def renew(fleet: Fleet) -> None:
    """Good certificates are served at once, bad and expired ones never; at the gateways and at the proxies."""
    for gateway in fleet.gateways:
        good = pem.server(fleet.signer)
        old = gateway.serial(fleet.trust)
        workers = 2 if "--workers=2" in gateway._words else 1

        def put(pair: pem.ServerPem, gateway: FleetGateway = gateway) -> None:
            pair.write(gateway.certificate, "own")
            gateway.server.process.send_signal(signal.SIGHUP)

        put(good)
        wait_for_line(gateway, "TLS certificate reloaded", workers)
        new = gateway.serial(fleet.trust)
        assert new != old
        for number, useless in enumerate(
            [replace(good, certificate=b"half a certific"), pem.server(fleet.signer, days=-0.5, begins=-5)], 1
        ):
            put(useless)
            wait_for_line(gateway, "invalid TLS certificate ignored", number * workers)
            assert gateway.serial(fleet.trust) == new
        put(good)
    # nginx: new workers, while the old ones go on with their clients
    pair = pem.server(fleet.signer)
    pair.write(fleet.certificate.chain.parent, "proxy")
    fleet.nginx.process.send_signal(signal.SIGHUP)
    # haproxy: by its runtime API
    both = (pair.certificate + pair.key).decode().strip()
    path = fleet.certificate.both
    for command in (f"set ssl cert {path} <<\n{both}\n", f"commit ssl cert {path}"):
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(fleet.haproxy.admin))
            admin.sendall(command.encode() + b"\n")
            answer = b"".join(iter(lambda: admin.recv(4096), b"")).decode()
        assert "rror" not in answer, answer
    fleet.certificate.both.write_text(both)


def hang(fleet: Fleet) -> int:
    """A worker hangs: it is replaced; returns how many sessions it had."""
    gateway = fleet.gateways[1]
    had, ready = gateway.status()[0], gateway.log_text.count("worker is ready")
    os.kill(worker_pid(gateway, 0), signal.SIGSTOP)
    wait_for_line(gateway, "worker hangs, killing it number=0")
    wait_for_line(gateway, "worker is ready", ready + 1)
    return had


def kill(fleet: Fleet) -> int:
    """A worker dies: it is replaced; returns how many sessions it had."""
    gateway = fleet.gateways[1]
    had, ready = gateway.status()[1], gateway.log_text.count("worker is ready")
    os.kill(worker_pid(gateway, 1), signal.SIGKILL)
    wait_for_line(gateway, "worker is ready", ready + 1)
    return had


def figures(fleet: Fleet, crowd: FleetCrowd, had: int) -> str:
    """What happened, for the documents."""
    refused = crowd.refusals(*(gateway.tls for gateway in fleet.gateways))
    clients, endings = crowd.clients, crowd.endings()
    notified = [ending for ending in endings if ending.code is not None]
    lost = [ending for ending in endings if ending.code is None]
    return (
        f"{len(clients)} clients, {sum(client.answered for client in clients)} messages came back in "
        f"{sum(client.sessions for client in clients)} sessions; {len(notified)} were asked to reconnect, with "
        f"{sum(ending.unanswered for ending in notified)} messages open; {len(lost)} of {had} ended with their process "
        f"and {sum(ending.unanswered for ending in lost)} messages open; refused by proxies: {dict(refused)}"
    )


@pytest.mark.long
def test_a_fleet_loses_no_message_and_no_session_without_a_close_code(tmp_path: Path) -> None:
    devnet: Devnet = start_devnet(tmp_path, "--echo-any")
    certificate = Certificate(tmp_path)
    try:
        with Fleet(tmp_path, devnet.network, certificate, CLIENTS) as fleet:
            crowd = fleet.crowd
            assert crowd is not None
            crowd.until(lambda: all(client.open for client in crowd.clients), "not everybody is connected")
            crowd.progress()
            assert crowd.endings() == []

            # what nobody may notice
            rotate(fleet)
            renew(fleet)
            crowd.progress()
            assert crowd.endings() == []
            assert not crowd.refusals()

            # each session ends once, with a close code
            roll(fleet)
            crowd.progress()
            endings = crowd.endings()
            assert {ending.code for ending in endings} <= RECONNECT_CODES, Counter(ending.code for ending in endings)
            assert len(endings) >= CLIENTS

            # what ends the connections of one process
            had = hang(fleet)
            crowd.progress()
            had += kill(fleet)
            crowd.progress()
            ended = crowd.endings()
            lost = [ending for ending in ended if ending.code is None]
            assert {ending.code for ending in ended} <= RECONNECT_CODES | {None}
            # its clients may have become more between the look and the signal
            assert 0 < len(lost) <= had + 2
            crowd.until(lambda: all(client.open for client in crowd.clients), "not everybody is back")

            crowd.stop()
            assert [client.unanswered for client in crowd.clients] == [0] * CLIENTS
            print(figures(fleet, crowd, had))
    finally:
        devnet.server.kill()
