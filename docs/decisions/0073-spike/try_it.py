"""Sessions that outlive their gateway: two gateways with the same key and the devnet. A spike, run by hand.

    python docs/decisions/0073-spike/try_it.py [ROUNDS] [CLIENTS]

Each round: clients open sessions at the first gateway, send messages without waiting for answers, and the gateway is
killed (SIGKILL) while calls are in flight. The clients go to the second gateway, prove who they are, and send again, by
the same bytes, what no answer has confirmed. Every message has to be answered once and in order. At the end, a
connection that breaks while its gateway lives: what its ws_close does to the session that goes on elsewhere, and without
it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT), str(HERE)]

from resuming_gateway import DOMAIN  # noqa: E402

from icwsgw.ic import cbor  # noqa: E402
from icwsgw.ic.principal import Principal  # noqa: E402
from tests.support.raw_client import RawClient, RawSdkClient  # noqa: E402

MESSAGES = 12
#: blocks of 0.3 s at 4 nodes, so that calls are in flight
DEVNET = ("--nodes=4", "--block-interval=300")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        return answer.read()


def ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            get(url)
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{url} is not ready")


class World:
    """The devnet, and gateways with one key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        port = free_port()
        self.network = f"http://127.0.0.1:{port}"
        twistd = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile="]
        devnet = self.start([*twistd, "icws-devnet", f"--listen=tcp:{port}:interface=127.0.0.1", *DEVNET], "devnet")
        ready(f"{self.network}/_/info", devnet)
        self.echo = Principal.from_text(json.loads(get(f"{self.network}/_/info"))["canisters"]["echo"])

    def start(self, command: list[str], name: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def gateway(self, name: str, **environment: str) -> tuple[int, subprocess.Popen[bytes]]:
        port, admin = free_port(), free_port()
        data = self.folder / name
        known = next(self.folder.glob("*/key_pair"), None)
        data.mkdir()
        if known is not None:
            # both machines have the same key
            shutil.copy(known, data / "key_pair")
        process = self.start(
            [
                sys.executable,
                str(HERE / "resuming_gateway.py"),
                "icws",
                f"--ic-network-url={self.network}",
                f"--gateway-address=tcp:{port}:interface=127.0.0.1",
                f"--prometheus-endpoint=tcp:{admin}:interface=127.0.0.1",
                f"--data-dir={data}",
            ],
            name,
            **environment,
        )
        ready(f"http://127.0.0.1:{admin}/health/ready", process)
        return port, process

    def stats(self) -> Any:
        return json.loads(get(f"{self.network}/_/stats"))

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


class Resuming(RawSdkClient):
    """A client that keeps what it has sent until it is answered."""

    def __init__(self, port: int, canister: Principal) -> None:
        super().__init__(RawClient(port), canister)
        self.sent: list[bytes] = []
        self.last = b""
        self.open()

    def handle(self, payload: bytes, now_ns: int) -> list[bytes]:
        answers = super().handle(payload, now_ns)
        self.last = cbor.loads(payload).get("content", b"")
        return answers

    def say(self, content: bytes) -> None:
        payload = self.message_payload(content, time.time_ns())
        self.sent.append(payload)
        try:
            self.connection.send(payload)
        except OSError:
            pass  # it is sent again

    def ask_to_resume(self, port: int) -> None:
        """Begin at another gateway: prove who this is."""
        self.connection.close()
        self.connection = RawClient(port).do_handshake()
        gateway = cbor.loads(self.payload())["gateway_principal"]
        assert self.gateway is not None
        assert gateway == self.gateway.raw, "the other gateway has another key"
        said = cbor.dumps(
            {
                "resume": {
                    "canister": self.canister.raw,
                    "client_key": [self.identity.principal.raw, self.client_nonce],
                    "received": self._sequence_in,
                    # the last message: its number in the gateway's queue, from its key, and its hash
                    "last": {
                        "nonce": int(self.keys[-1].rpartition("_")[2]),
                        "digest": sha256(self.last).digest(),
                        "timestamp": cbor.loads(self.last)["timestamp"],
                    },
                    "following": len(self.received) + 1,
                }
            }
        )
        self.connection.send(said)
        challenge = cbor.loads(self.payload())["challenge"]
        signature = self.identity.sign(DOMAIN + challenge + sha256(said).digest())
        proof = {"sender_pubkey": self.identity.public_key_der, "sender_sig": signature}
        self.connection.send(cbor.dumps({"proof": proof}))

    def send_again(self) -> int:
        """Send again, by the same bytes, what no answer has confirmed."""
        assert cbor.loads(self.payload()) == {"resumed": True}
        unanswered = self.sent[len(self.received) :]
        for payload in unanswered:
            self.connection.send(payload)
        return len(unanswered)

    def payload(self) -> bytes:
        while True:
            found = self.connection.frame()
            assert found is not None, "the connection has ended"
            opcode, payload = found
            assert opcode != 8, payload
            if opcode == 2:
                return payload


@contextmanager
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        made = World(Path(folder))
        try:
            yield made
        finally:
            made.end()


def killed(rounds: int, count: int) -> None:
    """A gateway is killed, and its clients go on at the other one."""
    until_first: list[float] = []
    until_last: list[float] = []
    again = 0
    for number in range(rounds):
        with world() as there:
            first, process = there.gateway("first")
            second, _ = there.gateway("second")
            clients = [Resuming(first, there.echo) for _ in range(count)]
            for at in range(MESSAGES):
                for client in clients:
                    client.send_message(b"DIDL\x00\x00%d" % at)
            # some answers have come, some messages are in flight, some wait in the gateway
            early = random.Random(number).randrange(1, MESSAGES - 3)
            for client in clients[::2]:
                client.until(lambda client=client: len(client.received) >= early)
            process.kill()
            died = time.monotonic()
            for client in clients:
                client.ask_to_resume(second)
            for client in clients:
                again += client.send_again()
            for client in clients:
                client.until(lambda client=client: len(client.received) >= 1 + early)
                until_first.append(time.monotonic() - died)
            for client in clients:
                client.until(lambda client=client: len(client.received) == MESSAGES)
            until_last.append(time.monotonic() - died)
            for client in clients:
                assert client.received == [b"DIDL\x00\x00%d" % at for at in range(MESSAGES)]
                client.send_message(b"DIDL\x00\x00after it")
                client.until(lambda client=client: len(client.received) == MESSAGES + 1)
            stats = there.stats()
            assert stats["ws_open"] == count, "nobody has opened a session again"
            assert stats.get("ws_close", 0) == 0
            print(f"round {number + 1}: all {count * MESSAGES} messages answered once and in order", flush=True)
    print(
        f"{rounds} rounds of {count} clients: {again} messages sent again; from the kill to all answers "
        f"{statistics.median(until_last):.2f} s (median), {max(until_last):.2f} s (longest)"
    )


def cut(hold_back: bool) -> None:
    """A connection breaks, and its gateway lives: its ws_close is for a session that goes on elsewhere."""
    environment = {"HOLD_BACK": "1"} if hold_back else {}
    with world() as there:
        first, _ = there.gateway("first", **environment)
        second, _ = there.gateway("second", **environment)
        client = Resuming(first, there.echo)
        client.send_message(b"DIDL\x00\x00before")
        client.until(lambda: client.received)
        client.ask_to_resume(second)
        client.send_again()
        deadline = time.monotonic() + 3
        lived = True
        try:
            while time.monotonic() < deadline:
                client.send_message(b"DIDL\x00\x00%d" % len(client.received))
                wanted = len(client.received) + 1
                client.until(lambda wanted=wanted: len(client.received) >= wanted)
        except AssertionError as end:
            lived = False
            print(f"  the session ended: {end}")
        closes = there.stats().get("ws_close", 0)
        print(f"hold back {hold_back}: ws_close calls {closes}, the session {'goes on' if lived else 'is over'}")


if __name__ == "__main__":
    killed(int(sys.argv[1]) if len(sys.argv) > 1 else 5, int(sys.argv[2]) if len(sys.argv) > 2 else 20)
    for held in (False, True):
        cut(held)
