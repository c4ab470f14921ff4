"""Several gateways behind a proxy: their processes, the proxy's, and clients that reconnect.

The proxies run with the files of deploy/, in which only what belongs to another machine is exchanged.
"""

from __future__ import annotations

import re
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from icwsgw.ic.principal import Principal
from tests.acceptance.conftest import loopback
from tests.acceptance.processes import START_DEADLINE, STOP_DEADLINE, Server, free_port, http_get
from tests.support import pem
from tests.support.raw_client import RawClient, RawSdkClient

#: The gateways of the shipped configurations: (for clients, for probes), as the units icws@PORT have them.
PORTS = [(8081, 18081), (8082, 18082), (8083, 18083)]


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """Exchange what is of another machine; each must be there."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


class Certificate:
    """What the proxies end TLS with, and what clients trust."""

    def __init__(self, directory: Path) -> None:
        signer = self.signer = pem.authority()
        self.authority = directory / "authority.pem"
        self.authority.write_bytes(signer.pem)
        self.chain, self.key = pem.server(signer).write(directory, "proxy")
        self.both = directory / "both.pem"
        self.both.write_bytes(self.chain.read_bytes() + self.key.read_bytes())
        self.trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.trust.load_verify_locations(cadata=signer.pem.decode())


class Gateway:
    """One of several: its ports stay the same when its process is another."""

    def __init__(self, directory: Path, network: str, address: str, *options: str) -> None:
        self.port, self.admin = free_port(), free_port()
        self._directory = directory
        self._words = [
            f"--ic-network-url={network}",
            f"--gateway-address={address.format(loopback(self.port))}",
            f"--prometheus-endpoint={loopback(self.admin)}",
            f"--data-dir={directory}",
            "--trusted-proxy=127.0.0.1",
            *options,
        ]
        directory.mkdir()
        self.start()

    def start(self) -> None:
        self.server = Server(["icws", *self._words], cwd=self._directory)

    def wait(self) -> None:
        self.server.wait_until_ready(f"http://127.0.0.1:{self.admin}/health/ready")

    @property
    def clients(self) -> int:
        return int(self.metric("clients_connected"))

    def metric(self, name: str) -> float:
        text = http_get(f"http://127.0.0.1:{self.admin}/metrics")[1].decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


def gateways_of(directory: Path, network: str, address: str) -> list[Gateway]:
    gateways: list[Gateway] = []
    try:
        # one by one, so that those that were started are ended when the next one fails
        for number in range(3):
            gateways += [Gateway(directory / f"gateway{number}", network, address, "--drain-window=1")]
        for gateway in gateways:
            gateway.wait()
    except BaseException:
        for gateway in gateways:
            gateway.server.kill()
        raise
    return gateways


class Program:
    """HAProxy, nginx or Prometheus in a process; what it says goes to a file."""

    def __init__(self, words: list[str], log: Path) -> None:
        self._log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_DEADLINE
        while not condition():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_DEADLINE)
        finally:
            self.process.kill()
            self.process.wait()


class Reconnecting:
    """A client that sends one message after the other and wants each back; it reconnects as the SDK's users do.

    :ivar sent: messages that came back
    :ivar connections: how often it connected and a gateway answered
    :ivar broken: connections that ended without a close frame
    :ivar orderly: whether every connection has to be answered; not so while a gateway dies
    """

    def __init__(self, port: int, trust: ssl.SSLContext, canister: str) -> None:
        self._port, self._trust = port, trust
        self._canister = Principal.from_text(canister)
        self.sent = self.connections = self.broken = 0
        self.orderly = True
        self.codes: list[int] = []
        self.failure: BaseException | None = None
        self._enough = threading.Event()
        self._first = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._enough.is_set():
                client = RawSdkClient(RawClient(self._port, tls=self._trust), self._canister)
                self.connections += 1
                try:
                    self._talk(client)
                finally:
                    client.connection.close()
        except BaseException as error:
            self.failure = error
        finally:
            self._first.set()

    def _talk(self, client: RawSdkClient) -> None:
        """Until the gateway closes, or it is enough. An answer that is missing or out of order fails."""
        client.connection.do_handshake()
        if not client.connection.head and not self.orderly:
            # given to a gateway that died just then, before the balancer knew
            self.connections -= 1
            return
        assert client.connection.status == 101, client.connection.head
        try:
            client.until(lambda: client.opened)
            count = 0
            while not self._enough.is_set():
                client.send_message(b"DIDL\x00\x00%d" % count)
                count += 1
                client.until(lambda: len(client.received) >= count)  # noqa: B023 - called at once
                assert client.received[-1] == b"DIDL\x00\x00%d" % (count - 1)
                self.sent += 1
                self._first.set()
        except (ConnectionError, ssl.SSLError):
            self.broken += 1
        except AssertionError as error:
            words = error.args[0] if error.args else ""
            if isinstance(words, bytes):
                self.codes.append(int.from_bytes(words[:2], "big"))
            elif str(words).startswith("the connection has ended"):
                self.broken += 1
            else:
                raise

    def running(self) -> Reconnecting:
        """Wait for its first message to come back."""
        assert self._first.wait(START_DEADLINE)
        self.check()
        return self

    def progress(self) -> None:
        """Wait until further messages have come back, over whatever connection."""
        seen = self.sent
        deadline = time.monotonic() + START_DEADLINE
        while self.sent < seen + 3:
            self.check()
            assert time.monotonic() < deadline, f"no message came back after {seen}"
            time.sleep(0.02)

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        self._enough.set()
        self._thread.join(START_DEADLINE)
        assert not self._thread.is_alive()
