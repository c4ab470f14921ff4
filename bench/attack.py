"""Attacks on a gateway beside honest clients: what it costs these, and what leaves for the network.

    python -m bench.attack                      # each attack by itself, some 10 s each
    python -m bench.attack forged endless       # these
    python -m bench.attack --together --seconds 300 --honest 100 --option=--max-pending=1500

Replica, gateway, attackers (:mod:`bench.attackers`) and honest clients are processes of their own. Honest clients come
from addresses of their own (127.0.1.*), attackers from others; they keep sessions open on which they echo, and open and
close further ones. The replica is the bench's, with canisters that misbehave by the first byte of their id
(:class:`HostileReplica`).
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

from bench.attackers import ATTACKS, ENDLESS, HANGING, SILENT, Closed, Session, run_attackers
from bench.gateway import GatewayOptions, GatewayProcess, free_port
from bench.http import Connection, Head, response
from bench.loop import Loop
from bench.procfs import CpuMeter, memory
from bench.queues import Client, Settings
from bench.replica import Replica
from bench.target import canister_id

_ACCEPTED = response(b"", b"202 Accepted")


class HostileReplica(Replica):
    """The bench's replica with canisters that misbehave.

    SILENT takes every call and says nothing, HANGING answers nothing at all, ENDLESS has messages for nobody, without
    end, beside what it has for its clients.
    """

    def __init__(self, loop: Loop, address: tuple[str, int], settings: Settings) -> None:
        self.requests = {"query": 0, "call": 0, "read_state": 0}
        super().__init__(loop, address, settings)

    def _handle(self, connection: Connection, request: Head, body: bytes) -> None:
        if request.path == "/_attack":
            connection.answer(response(json.dumps(self.requests).encode(), kind=b"application/json"))
            return
        kind = request.path.rpartition("/")[2]
        if kind in self.requests:
            self.requests[kind] += 1
        super()._handle(connection, request, body)

    def _query(self, connection: Connection, canister: bytes, body: bytes) -> None:
        mood = canister[:1]
        if mood == HANGING:
            self.stats.queries += 1
            return
        super()._query(connection, canister, body)

    def _look(self, connection: Connection, canister: bytes, asked: tuple[bytes, int]) -> None:
        sender, nonce = asked
        queue = self.canister(canister).queues.get(sender) if canister[:1] == ENDLESS else None
        if queue is not None and queue.next < nonce + 2 * self.settings.max_messages:
            nobody = Client((bytes(28) + b"\x02", 1), queue)
            for _ in range(4 * self.settings.max_messages):
                queue.send(nobody, b"nothing")
        super()._look(connection, canister, asked)

    def _call(self, connection: Connection, version: str, canister: bytes, body: bytes) -> None:
        if canister[:1] in (SILENT, HANGING):
            self.stats.note("ws_open")
            if canister[:1] == SILENT:
                connection.answer(_ACCEPTED)
            return
        super()._call(connection, version, canister, body)


def run_replica(port: int, latency: str) -> None:
    """Be the replica until killed.

    :param latency: of queries and calls in ms, as "20/100"
    """
    loop = Loop()
    replica = HostileReplica(loop, ("127.0.0.1", port), Settings())
    replica.synchronous = True
    query, _, call = latency.partition("/")
    replica.set_latency(float(query) / 1000, float(call or query) / 1000)
    loop.run()


async def counts(port: int) -> dict[str, int]:
    """The requests that the replica has had."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /_attack HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    made: dict[str, int] = json.loads(await reader.readexactly(size))
    writer.close()
    return made


class Honest:
    """Clients on five canisters that echo, and open and close further sessions.

    :ivar echoes: seconds from a message to its echo
    :ivar opens: seconds from connecting to the canister's first message
    :ivar closed: why sessions ended that nobody wanted to end
    """

    def __init__(self, port: int, clients: int, pause: float) -> None:
        self._port = port
        self._clients = clients
        self._pause = pause
        self._tasks: list[asyncio.Task[None]] = []
        self.clear()

    def clear(self) -> None:
        """Count from now on."""
        self.echoes: list[float] = []
        self.opens: list[float] = []
        self.closed: list[str] = []

    def _session(self, number: int) -> Session:
        return Session(self._port, f"127.0.1.{1 + number % 250}", canister_id(number % 5))

    async def start(self) -> None:
        """Open all, and go on until :meth:`stop`."""
        sessions = [await (await self._session(number).connect()).open() for number in range(self._clients)]
        self._tasks = [asyncio.create_task(self._talk(session)) for session in sessions]
        self._tasks += [asyncio.create_task(self._come_and_go(number)) for number in range(5)]

    async def _talk(self, session: Session) -> None:
        try:
            while True:
                started = time.perf_counter()
                await session.echo()
                self.echoes.append(time.perf_counter() - started)
                await asyncio.sleep(self._pause)
        except (Closed, OSError, asyncio.IncompleteReadError) as error:
            self.closed.append(str(error) or type(error).__name__)

    async def _come_and_go(self, number: int) -> None:
        while True:
            session = self._session(number)
            started = time.perf_counter()
            try:
                await asyncio.wait_for((await session.connect()).open(), 30)
                self.opens.append(time.perf_counter() - started)
            except (Closed, OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
                self.closed.append(f"open: {type(error).__name__} {error}")
            session.close()
            await asyncio.sleep(0.2)

    def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()


def quantile(values: list[float], part: float) -> float:
    """In ms."""
    return 1000 * sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


async def measure(honest: Honest, seconds: float, replica: int, pids: list[int]) -> dict[str, Any]:
    """Let time pass and say what happened in it."""
    honest.clear()
    cpu = CpuMeter(pids)
    before, spent, started = await counts(replica), cpu.seconds(), time.perf_counter()
    await asyncio.sleep(seconds)
    after, took = await counts(replica), time.perf_counter() - started
    return {
        "echo p50": round(quantile(honest.echoes, 0.5), 1),
        "echo p99": round(quantile(honest.echoes, 0.99), 1),
        "open p50": round(quantile(honest.opens, 0.5), 1),
        "open p99": round(quantile(honest.opens, 0.99), 1),
        "echoes": len(honest.echoes),
        "opens": len(honest.opens),
        "closed": len(honest.closed),
        "calls/s": round((after["call"] - before["call"]) / took),
        "queries/s": round((after["query"] - before["query"]) / took),
        "cpu %": round(100 * (cpu.seconds() - spent) / took),
        "rss MB": round(memory(pids)["rss_kb"] / 1e3),
        "why": sorted(set(honest.closed))[:3],
    }


def _end(attackers: subprocess.Popen[bytes]) -> bytes:
    """End the attackers; gives what they have said."""
    attackers.terminate()
    try:
        return attackers.communicate(timeout=10)[0]
    except subprocess.TimeoutExpired:
        attackers.kill()
        attackers.wait()
        return b"{}"


async def run(options: argparse.Namespace) -> None:
    """Start everything, measure each attack."""
    port = free_port()
    me = [sys.executable, "-m", "bench.attack"]
    replica = subprocess.Popen([*me, "--be-replica", str(port), "--latency", options.latency])
    attackers: subprocess.Popen[bytes] | None = None
    gateway: GatewayProcess | None = None
    try:
        await asyncio.sleep(1.5)
        with tempfile.TemporaryDirectory() as folder:
            gateway = GatewayProcess(GatewayOptions(options=options.option), port, Path(folder))
            gateway_port = int(gateway.url.rpartition(":")[2].strip("/"))
            honest = Honest(gateway_port, options.honest, options.pause)
            await honest.start()
            await asyncio.sleep(2)
            print(json.dumps({"attack": "none", **await measure(honest, options.seconds, port, gateway.pids)}))
            groups = [options.attacks] if options.together else [[name] for name in options.attacks]
            for names in groups:
                command = [*me, "--be-attackers", str(gateway_port), *names]
                # theirs are other machines: they take the CPU that nobody else wants
                attackers = subprocess.Popen(["nice", "-n", "19", *command], stdout=subprocess.PIPE)
                await asyncio.sleep(3)
                result = await measure(honest, options.seconds, port, gateway.pids)
                steps = json.loads(_end(attackers))
                print(json.dumps({"attack": "+".join(names), **result, "steps": steps}), flush=True)
                await asyncio.sleep(3)
            result = await measure(honest, min(10.0, options.seconds), port, gateway.pids)
            print(json.dumps({"attack": "after", **result}))
            honest.stop()
            gateway.stop()
            gateway = None
    finally:
        if gateway is not None:
            gateway.stop()
        for process in (attackers, replica):
            if process is not None:
                process.kill()
                process.wait()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", help=f"of {', '.join(ATTACKS)}; none: all")
    parser.add_argument("--together", action="store_true", help="all at once instead of one after the other")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--honest", type=int, default=20, help="clients that echo")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds from an echo to the next message")
    parser.add_argument("--latency", default="20/100", help="of queries and calls in ms")
    parser.add_argument("--option", action="append", default=[], help="of the gateway, as --option=--query-budget=250")
    parser.add_argument("--be-replica", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--be-attackers", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.attacks = options.attacks or list(ATTACKS)
    if unknown := set(options.attacks) - set(ATTACKS):
        parser.error(f"no such attack: {', '.join(unknown)}")
    if options.be_replica:
        run_replica(options.be_replica, options.latency)
    elif options.be_attackers:
        run_attackers(options.attacks, options.be_attackers)
    else:
        asyncio.run(run(options))


if __name__ == "__main__":
    main()
