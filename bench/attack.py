"""Attacks on a gateway beside honest clients: what it costs these, and what leaves for the network.

    python -m bench.attack                      # each attack by itself, some 10 s each
    python -m bench.attack forged endless       # these
    python -m bench.attack --together --check --seconds 300 --honest 100 --option=--max-pending=1500
    python -m bench.attack --together --check --stepped --seconds 20 --honest 100       # on a busy machine

Replica, gateway, attackers (:mod:`bench.attackers`) and honest clients are separate processes. Honest clients come
from their own addresses (127.0.1.*), attackers from others; they keep sessions open on which they echo, and open and
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

from bench.attackers import ATTACKS, ENDLESS, HANGING, SILENT, Attack, Closed, Session, run_attackers
from bench.gateway import GatewayOptions, GatewayProcess, free_port
from bench.http import Connection, Head, response
from bench.loop import Loop
from bench.procfs import CpuMeter, memory
from bench.queues import Client, Settings
from bench.replica import Replica
from bench.stepped import Driver
from bench.target import canister_id

_ACCEPTED = response(b"", b"202 Accepted")


class HostileReplica(Replica):
    """The bench's replica with misbehaving canisters.

    A SILENT canister accepts every call and sends no message. A HANGING one answers no request. An ENDLESS one has,
    besides its clients' messages, an endless stream of messages for clients that do not exist.
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
        behaviour = canister[:1]
        if behaviour == HANGING:
            self.stats.queries += 1
            return
        super()._query(connection, canister, body)

    def _look(self, connection: Connection, canister: bytes, asked: tuple[bytes, int]) -> None:
        sender, nonce = asked
        queue = self.canister(canister).queues.get(sender) if canister[:1] == ENDLESS else None
        if queue is not None and queue.next < nonce + 2 * self.settings.max_messages:
            absent = Client((bytes(28) + b"\x02", 1), queue)
            for _ in range(4 * self.settings.max_messages):
                queue.send(absent, b"nothing")
        super()._look(connection, canister, asked)

    def _call(self, connection: Connection, version: str, canister: bytes, body: bytes) -> None:
        if canister[:1] in (SILENT, HANGING):
            self.stats.note("ws_open")
            if canister[:1] == SILENT:
                connection.answer(_ACCEPTED)
            return
        super()._call(connection, version, canister, body)


def run_replica(port: int, latency: str) -> None:
    """Run the replica until the process is killed.

    :param latency: latencies of queries and calls in ms, as "20/100"
    """
    loop = Loop()
    make_replica(loop, port, latency)
    loop.run()


def make_replica(loop: Loop, port: int, latency: str) -> HostileReplica:
    """Create the replica on an event loop."""
    replica = HostileReplica(loop, ("127.0.0.1", port), Settings())
    replica.synchronous = True
    query, _, call = latency.partition("/")
    replica.set_latency(float(query) / 1000, float(call or query) / 1000)
    return replica


async def counts(port: int) -> dict[str, int]:
    """Fetch the replica's counts of requests."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /_attack HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    made: dict[str, int] = json.loads(await reader.readexactly(size))
    writer.close()
    return made


class Honest:
    """Honest clients: they exchange echoes with five canisters, and open and close further sessions.

    :ivar echoes: seconds from a message to its echo
    :ivar opens: seconds from connecting to the canister's first message
    :ivar closed: reasons of sessions that ended unexpectedly
    """

    def __init__(self, port: int, clients: int, pause: float) -> None:
        self._port = port
        self._clients = clients
        self._pause = pause
        self._tasks: list[asyncio.Task[None]] = []
        self.clear()

    def clear(self) -> None:
        """Reset the measurements."""
        self.echoes: list[float] = []
        self.opens: list[float] = []
        self.closed: list[str] = []

    def _session(self, number: int) -> Session:
        return Session(self._port, f"127.0.1.{1 + number % 250}", canister_id(number % 5))

    async def start(self) -> None:
        """Open all sessions and start their tasks, which run until :meth:`stop`."""
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
        """Stop all tasks."""
        for task in self._tasks:
            task.cancel()


def quantile(values: list[float], part: float) -> float:
    """A quantile of values in seconds, converted to ms."""
    return 1000 * sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


async def measure(honest: Honest, seconds: float, replica: int, pids: list[int]) -> dict[str, Any]:
    """Wait for ``seconds`` and return the measurements of this period."""
    honest.clear()
    cpu = CpuMeter(pids)
    before, spent, started = await counts(replica), cpu.seconds(), time.perf_counter()
    waited = cpu.waited()
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
        "waits for CPU %": round(100 * (cpu.waited() - waited) / took),
        "rss MB": round(memory(pids)["rss_kb"] / 1e3),
        "why": sorted(set(honest.closed))[:3],
    }


class Apart:
    """Runs the replica and the attackers as separate processes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._me = [sys.executable, "-m", "bench.attack"]
        self._attackers: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._replica = subprocess.Popen([*self._me, "--be-replica", str(self.port), "--latency", options.latency])

    def gateway(self, options: argparse.Namespace, folder: Path) -> GatewayProcess:
        """Start the gateway."""
        return GatewayProcess(GatewayOptions(options=options.option), self.port, folder)

    async def attack(self, names: list[str], port: int) -> None:
        """Start the attacks."""
        command = [*self._me, "--be-attackers", str(port), *names]
        # In reality, attackers have other machines: here they use only CPU time that no other process needs.
        self._attackers = subprocess.Popen(["nice", "-n", "19", *command], stdout=subprocess.PIPE)
        assert self._attackers.stdout is not None
        # On a busy machine it may take long until they begin.
        await asyncio.to_thread(self._attackers.stdout.readline)

    async def end_attack(self) -> dict[str, int]:
        """End the attacks; return the number of steps of each."""
        attackers, self._attackers = self._attackers, None
        if attackers is None:
            return {}
        attackers.terminate()
        try:
            steps: dict[str, int] = json.loads(attackers.communicate(timeout=10)[0])
        except subprocess.TimeoutExpired:
            attackers.kill()
            attackers.wait()
            return {}
        return steps

    def figures(self) -> dict[str, Any]:
        """Return further measurements since the last call."""
        return {}

    def stop(self) -> None:
        """Stop the replica and the attacks."""
        for process in (self._attackers, self._replica):
            if process is not None:
                process.kill()
                process.wait()


class Stepped:
    """Runs the replica and the attackers in this process, in turns with the gateway (:mod:`bench.stepped`)."""

    def __init__(self, options: argparse.Namespace, driver: Driver) -> None:
        self.port = free_port()
        self._driver = driver
        self._replica = make_replica(driver.replica, self.port, options.latency)
        self._attack: Attack | None = None

    def gateway(self, options: argparse.Namespace, folder: Path) -> GatewayProcess:
        """Start the gateway."""
        stepped = GatewayOptions(options=options.option, stepped=self._driver.fileno())
        gateway = GatewayProcess(stepped, self.port, folder)
        self._driver.started()
        return gateway

    async def attack(self, names: list[str], port: int) -> None:
        """Start the attacks."""
        self._attack = Attack(names, port)

    async def end_attack(self) -> dict[str, int]:
        """End the attacks; return the number of steps of each."""
        attack, self._attack = self._attack, None
        return {} if attack is None else attack.stop()

    def figures(self) -> dict[str, Any]:
        """Return further measurements since the last call."""
        turns, self._driver.turns = self._driver.turns, []
        return {"turn p50": quantile(turns, 0.5), "turn p99": quantile(turns, 0.99), "turn max": quantile(turns, 1.0)}

    def stop(self) -> None:
        """Stop the replica and the attacks."""


async def ready(port: int) -> None:
    """Wait until the gateway is ready."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            status = await reader.readline()
            writer.close()
            if status.split()[1:2] == [b"200"]:
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)


async def run(options: argparse.Namespace, others: Apart | Stepped, gateway: GatewayProcess) -> bool:
    """Measure each attack; return whether the gateway has served honest clients as required."""
    port = int(gateway.url.rpartition(":")[2].strip("/"))
    await ready(gateway.metrics)
    honest = Honest(port, options.honest, options.pause)
    await honest.start()
    await asyncio.sleep(2)

    async def measured(name: str, seconds: float) -> dict[str, Any]:
        others.figures()
        result = await measure(honest, seconds, others.port, gateway.pids)
        if isinstance(others, Stepped):
            # In stepped mode, the gateway's clock stands still while other processes run.
            del result["waits for CPU %"]
        return {"attack": name, **result, **{key: round(value, 1) for key, value in others.figures().items()}}

    # One minute suffices as the reference without attack, whatever the duration of the attack.
    calm = await measured("none", min(60.0, options.seconds))
    print(json.dumps(calm), flush=True)
    attacked = []
    for names in [options.attacks] if options.together else [[name] for name in options.attacks]:
        await others.attack(names, port)
        await asyncio.sleep(3)
        result = await measured("+".join(names), options.seconds)
        print(json.dumps({**result, "steps": await others.end_attack()}), flush=True)
        attacked.append(result)
        await asyncio.sleep(3)
    after = await measured("after", min(10.0, options.seconds))
    print(json.dumps(after), flush=True)
    honest.stop()
    verdict = judged(calm, attacked, after)
    print(json.dumps(verdict))
    return bool(verdict["held"])


#: Allowed factors: the 99th percentile of delivery during attacks, and memory after an attack relative to its end.
MOST_SLOWER, MOST_GROWTH = 2.0, 1.1


def judged(calm: dict[str, Any], attacked: list[dict[str, Any]], after: dict[str, Any]) -> dict[str, Any]:
    """Evaluate the measurements.

    :return: "echo p99 times calm" of the worst attack; "closed": number of closed honest sessions; "rss MB" without
        attack, at the end of the attacks, and after; "held": whether honest clients were served as required
    """
    slower = max(each["echo p99"] for each in attacked) / calm["echo p99"]
    closed = sum(each["closed"] for each in [calm, *attacked, after])
    memory = [calm["rss MB"], attacked[-1]["rss MB"], after["rss MB"]]
    return {
        "echo p99 times calm": round(slower, 2),
        "closed": closed,
        "rss MB": memory,
        "held": slower <= MOST_SLOWER and not closed and memory[2] <= MOST_GROWTH * memory[1],
    }


def start(options: argparse.Namespace) -> bool:
    """Start all processes and measure; return whether the gateway has served honest clients as required."""
    driver = Driver() if options.stepped else None
    others = Apart(options) if driver is None else Stepped(options, driver)
    gateway: GatewayProcess | None = None
    try:
        if driver is None:
            time.sleep(1.5)
        with tempfile.TemporaryDirectory() as folder:
            try:
                gateway = others.gateway(options, Path(folder))
                main = run(options, others, gateway)
                return asyncio.run(main) if driver is None else driver.run(main)
            finally:
                if gateway is not None:
                    gateway.stop()
    finally:
        others.stop()


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", help=f"of {', '.join(ATTACKS)}; none: all")
    parser.add_argument("--together", action="store_true", help="all at once instead of one after the other")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each attack; calm: a minute at most")
    parser.add_argument("--honest", type=int, default=20, help="clients that echo")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds from an echo to the next message")
    parser.add_argument("--latency", default="20/100", help="of queries and calls in ms")
    parser.add_argument("--option", action="append", default=[], help="of the gateway, as --option=--query-budget=250")
    parser.add_argument(
        "--check", action="store_true", help="end with 1 if honest clients are closed or twice as slow, or memory grows"
    )
    parser.add_argument("--stepped", action="store_true", help="time is the gateway's CPU time, see bench.stepped")
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
    elif not start(options) and options.check:
        sys.exit(1)


if __name__ == "__main__":
    main()
