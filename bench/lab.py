"""The processes of one run (mock replica, gateway, load clients) and the CPU time of each."""

from __future__ import annotations

import http.client
import json
import os
import random
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.gateway import BenchError, GatewayOptions, GatewayProcess
from bench.histogram import Histogram
from bench.machine import ROOT
from bench.procfs import CpuMeter, machine_seconds, memory

_REPLY_SECONDS = 900.0
_SUMMED = (
    *("open", "opened", "failed", "ended", "received", "received_stalled", "bytes", "acks", "sent", "verified"),
    *("order_violations", "not_answered"),
)
_MERGED = ("opening", "latency", "ack_latency")


class Worker:
    """A process that runs :mod:`bench.worker`."""

    def __init__(self, arguments: Sequence[str], cpu: int | None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = self._process.pid
        if cpu is not None:
            os.sched_setaffinity(self.pid, {cpu})
        self._selector = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._data = b""

    def send(self, command: dict[str, Any]) -> None:
        """Send it a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()

    def reply(self, timeout: float = _REPLY_SECONDS) -> dict[str, Any]:
        """Return the next line that the process prints.

        :raises BenchError: the process has ended, or the line did not arrive within ``timeout`` seconds
        """
        deadline = time.monotonic() + timeout
        assert self._process.stdout is not None
        while b"\n" not in self._data:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise BenchError("a process of the bench does not answer")
            data = os.read(self._process.stdout.fileno(), 1 << 20)
            if not data:
                raise BenchError("a process of the bench has ended")
            self._data += data
        line, _, self._data = self._data.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """Stop the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._selector.close()
        self._process.stdin.close()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class ReplicaControl:
    """Sends control commands to the mock replica over HTTP."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300.0)

    def __call__(self, op: str, **command: Any) -> dict[str, Any]:
        """Send a command and return the answer.

        :raises BenchError: the server is not the bench's replica, or refuses the command
        """
        try:
            self._connection.request("POST", "/_/", json.dumps({"op": op, **command}))
            answer = json.loads(self._connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise BenchError(f"the mock replica does not answer: {error}") from None
        if "error" in answer:
            raise BenchError(f"mock replica, {op}: {answer['error']}")
        result: dict[str, Any] = answer
        return result

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Measured:
    """CPU times during a measurement, in seconds; set when the measurement ends."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu: dict[str, float] = {}

    @property
    def gateway(self) -> float:
        """The gateway's CPU time in seconds."""
        return self.cpu["gateway"]

    def gateway_per(self, count: int) -> float | None:
        """The gateway's CPU time per item, in microseconds; None if ``count`` is 0."""
        return round(self.gateway * 1e6 / count, 2) if count else None

    def to_json(self) -> dict[str, float]:
        """Return the values for the result file."""
        share = 100 * self.gateway / self.seconds if self.seconds else 0.0
        return {
            "seconds": round(self.seconds, 4),
            "gateway_percent": round(share, 2),
            **{name + "_s": round(value, 4) for name, value in self.cpu.items()},
        }


class Lab:
    """The processes of one run, as a context manager.

    :param replica_port: port of a mock replica that already runs, or of the one to start; 0: any
    :param config: latencies and behaviour of the replica
    :ivar first_canister: number of this run's first canister; runs do not share canisters
    """

    def __init__(
        self,
        options: GatewayOptions,
        *,
        config: dict[str, Any],
        load_processes: int = 1,
        replica_port: int = 0,
        pin: bool = False,
        verify_every: int = 0,
        linger: float = 10.0,
    ) -> None:
        self._config = config
        self._workers: list[Worker] = []
        self._replica: Worker | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="icwsgw-bench-"))
        self.first_canister = random.randrange(1 << 32, 1 << 48)
        self.gateway: GatewayProcess | None = None
        self.loads: list[Worker] = []
        cpus = sorted(os.sched_getaffinity(0))
        gateway_cpu, bench_cpu = (cpus[0], cpus[-1]) if pin and len(cpus) > 1 else (None, None)
        try:
            self._start(options, load_processes, replica_port, gateway_cpu, bench_cpu, verify_every, linger)
        except BaseException:
            self.stop()
            raise

    def _start(
        self,
        options: GatewayOptions,
        load_processes: int,
        replica_port: int,
        gateway_cpu: int | None,
        bench_cpu: int | None,
        verify_every: int,
        linger: float,
    ) -> None:
        if replica_port and _listening(replica_port):
            port = replica_port
        else:
            if options.url and not replica_port:
                raise BenchError("--gateway needs --replica-port: where that gateway looks for its replica")
            self._replica = Worker(["replica", json.dumps({"port": replica_port})], bench_cpu)
            port = self._replica.reply(30.0)["port"]
        self.control = ReplicaControl(port)
        replica = self.control("config", **self._config)
        for _ in range(load_processes):
            self.loads.append(Worker(["load"], bench_cpu))
        self.gateway = GatewayProcess(options, port, self._folder)
        if gateway_cpu is not None:
            for pid in self.gateway.pids:
                os.sched_setaffinity(pid, {gateway_cpu})
        self.load(
            "begin",
            url=self.gateway.url,
            seed=str(self.first_canister),
            root_key=replica["root_key"],
            verify_every=verify_every,
            linger=linger,
        )
        self._meters = {
            "gateway": CpuMeter(self.gateway.pids),
            "replica": CpuMeter([replica["pid"]]),
            "load": CpuMeter(worker.pid for worker in self.loads),
        }

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop all started processes."""
        for worker in self.loads:
            worker.stop()
        self.loads = []
        if self.gateway is not None:
            self.gateway.stop()
        if hasattr(self, "control"):
            self.control.close()
        if self._replica is not None:
            self._replica.stop()
            self._replica = None
        shutil.rmtree(self._folder, ignore_errors=True)

    # load processes

    def load(self, do: str, **command: Any) -> list[dict[str, Any]]:
        """Send all load processes the same command and wait for their answers."""
        return self.load_each(do, [command] * len(self.loads))

    def load_each(self, do: str, commands: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send each load process its command and wait for their answers."""
        for worker, command in zip(self.loads, commands, strict=True):
            worker.send({"do": do, **command})
        return [worker.reply() for worker in self.loads]

    def split(self, items: Sequence[Any]) -> list[list[Any]]:
        """Distribute items over the load processes."""
        return [list(items[at :: len(self.loads)]) for at in range(len(self.loads))]

    def open(self, clients: Sequence[tuple[int, int]], **options: Any) -> None:
        """Open clients: (index, number of the canister relative to this run's first)."""
        first = self.first_canister
        parts = self.split([(index, first + canister) for index, canister in clients])
        self.load_each("open", [{"clients": part, **options} for part in parts])

    def snapshot(self) -> dict[str, Any]:
        """Return the combined statistics of all load processes."""
        shots = self.load("snapshot")
        total: dict[str, Any] = {name: sum(shot[name] for shot in shots) for name in _SUMMED}
        for name in _MERGED:
            merged = Histogram()
            for shot in shots:
                merged.merge(Histogram.from_json(shot[name]))
            total[name] = merged
        for name in ("closes", "canister_closes", "gateways"):
            total[name] = {}
            for shot in shots:
                for key, count in shot[name].items():
                    total[name][key] = total[name].get(key, 0) + count
        total["reasons"] = [reason for shot in shots for reason in shot["reasons"]][:20]
        times = [shot["first_received_ns"] for shot in shots if shot["first_received_ns"]]
        total["first_received_ns"] = min(times, default=0)
        total["last_received_ns"] = max(shot["last_received_ns"] for shot in shots)
        total["last_closed_ns"] = max(shot["last_closed_ns"] for shot in shots)
        return total

    # measuring

    @contextmanager
    def measure(self) -> Iterator[Measured]:
        """Measure CPU times during the block."""
        measured = Measured()
        before = {name: meter.seconds() for name, meter in self._meters.items()}
        busy, idle = machine_seconds()
        started = time.monotonic()
        yield measured
        measured.seconds = time.monotonic() - started
        measured.cpu = {name: meter.seconds() - before[name] for name, meter in self._meters.items()}
        busy_after, idle_after = machine_seconds()
        measured.cpu["other"] = max(0.0, busy_after - busy - sum(measured.cpu.values()))
        measured.cpu["idle"] = idle_after - idle

    def memory(self) -> dict[str, int]:
        """The gateway's memory in kB."""
        assert self.gateway is not None
        return memory(self.gateway.pids)

    def event(self, name: str) -> int:
        """How often the replica has counted an event."""
        count: int = self.control("stats")["events"].get(name, 0)
        return count

    @staticmethod
    def wait_until(progress: Callable[[], tuple[int, int]], stall: float, pause: float = 0.02) -> bool:
        """Wait until a number has reached its goal; False if it has not changed for ``stall`` seconds."""
        last, since = -1, time.monotonic()
        while True:
            number, wanted = progress()
            if number >= wanted:
                return True
            now = time.monotonic()
            if number != last:
                last, since = number, now
            elif now - since > stall:
                return False
            time.sleep(pause)


def _listening(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
        connection.connect()
        connection.close()
    except OSError:
        return False
    return True
