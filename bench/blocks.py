"""Clients of a network that makes blocks, in both orders of relaying.

    python -m bench.blocks                                   # blocks of 0.4 and 1 s; 1 and 100 clients
    python -m bench.blocks --block 400 --clients 20 --seconds 60

The replica is ``twistd icws-devnet``: 13 nodes have pools of calls, which they exchange, and take turns in making
blocks. A client sends its next messages, ``burst`` of them back to back, as soon as the last ones are back. The
shortest echo is the wait for a block, one more block that certifies it, and a query. With ``accepted``, the canister
ends sessions whose messages the maker of a block received in another order.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.attackers import Closed, Session
from bench.gateway import GatewayOptions, GatewayProcess, free_port
from icwsgw.blocking_http import request
from icwsgw.errors import TransportError
from icwsgw.ic.principal import Principal

#: Messages per burst.
BURST = 10
#: Seconds that a client waits for an echo: more than the gateway's own deadlines.
PATIENCE = 90.0


class Devnet:
    """A devnet replica in a separate process.

    :ivar port: port of its HTTP interface
    :ivar echo: id of its echo canister
    """

    def __init__(self, folder: Path, block_ms: float, gossip_ms: float, query_ms: float) -> None:
        self.port = free_port()
        twistd = Path(sys.executable).with_name("twistd")
        args = [
            f"--listen=tcp:{self.port}:interface=127.0.0.1",
            "--nodes=13",
            f"--block-interval={block_ms}",
            f"--gossip={gossip_ms}",
            f"--query-latency={query_ms}",
        ]
        self._log = (folder / "devnet.log").open("wb")
        self._process = subprocess.Popen(
            [str(twistd), "-n", "--pidfile=", "icws-devnet", *args], stdout=self._log, stderr=self._log
        )
        self.echo = Principal.from_text(self._wait()["canisters"]["echo"])

    def _wait(self) -> Any:
        deadline = time.monotonic() + 120
        while True:
            try:
                url = f"http://127.0.0.1:{self.port}/_/info"
                return json.loads(request(url, timeout=5.0, max_bytes=1 << 20, direct=True).body)
            except TransportError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop the process."""
        self._process.kill()
        self._process.wait()
        self._log.close()


class Crowd:
    """Clients that send for a fixed time.

    :ivar echoes: seconds from a message to its echo
    :ivar lost: reasons of sessions that ended
    """

    def __init__(self) -> None:
        self.echoes: list[float] = []
        self.lost: list[str] = []

    async def run(self, port: int, canister: Principal, clients: int, seconds: float, burst: int) -> None:
        """Open all clients, let them send for ``seconds``, and close them."""
        opened = await asyncio.gather(*(self._open(port, canister) for _ in range(clients)))
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._talk(session, end, burst) for session in opened if session is not None))

    async def _open(self, port: int, canister: Principal) -> Session | None:
        try:
            session = Session(port, "127.0.0.1", canister)
            return await asyncio.wait_for((await session.connect()).open(), PATIENCE)
        except (Closed, OSError, EOFError, asyncio.TimeoutError) as error:
            self.lost.append(f"open: {type(error).__name__} {error}")
            return None

    async def _talk(self, session: Session, end: float, burst: int) -> None:
        try:
            while time.monotonic() < end:
                started = time.monotonic()
                await asyncio.wait_for(self._echo(session, burst), PATIENCE)
                self.echoes += [time.monotonic() - started] * burst
        except (Closed, OSError, EOFError, asyncio.TimeoutError) as error:
            self.lost.append(f"{type(error).__name__} {error}")
        session.close()

    async def _echo(self, session: Session, burst: int) -> None:
        stamps = [time.time_ns() + number for number in range(burst)]
        for stamp in stamps:
            session.write(session.envelopes.message(stamp, 20))
        for stamp in stamps:
            while stamp.to_bytes(8, "big") not in await session.receive():
                pass


def median(values: list[float]) -> float | None:
    """The median of values in seconds, converted to ms; None without values."""
    return round(1000 * sorted(values)[len(values) // 2], 1) if values else None


def measure(
    order: str, block_ms: float, gossip_ms: float, query_ms: float, clients: int, seconds: float, burst: int
) -> dict[str, Any]:
    """Measure one configuration."""
    with tempfile.TemporaryDirectory() as folder:
        devnet = Devnet(Path(folder), block_ms, gossip_ms, query_ms)
        try:
            gateway = GatewayProcess(GatewayOptions(options=[f"--relay-order={order}"]), devnet.port, Path(folder))
            try:
                crowd = Crowd()
                port = int(gateway.url.rpartition(":")[2].strip("/"))
                asyncio.run(crowd.run(port, devnet.echo, clients, seconds, burst))
            finally:
                gateway.stop()
        finally:
            devnet.stop()
    return {
        "order": order,
        "block ms": block_ms,
        "gossip ms": gossip_ms,
        "query ms": query_ms,
        "clients": clients,
        "burst": burst,
        "messages/s": round(len(crowd.echoes) / seconds, 2),
        "echo p50 ms": median(crowd.echoes),
        "sessions lost": len(crowd.lost),
        "why": sorted(set(crowd.lost))[:2],
    }


def main() -> None:
    """Parse the command line and print a JSON object for each configuration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--block", type=float, nargs="+", default=[400.0, 1000.0], help="ms between two blocks")
    parser.add_argument("--gossip", type=float, help="ms until all nodes know a call; none: half a block, 300 at most")
    parser.add_argument("--query", type=float, default=100.0, help="ms of a query")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 100])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--burst", type=int, nargs="+", default=[1, BURST], help="messages back to back")
    parser.add_argument("--order", nargs="+", default=["executed", "accepted"], choices=["executed", "accepted"])
    options = parser.parse_args()
    for block in options.block:
        gossip = min(block / 2, 300.0) if options.gossip is None else options.gossip
        for clients in options.clients:
            for burst in options.burst:
                for order in options.order:
                    result = measure(order, block, gossip, options.query, clients, options.seconds, burst)
                    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
