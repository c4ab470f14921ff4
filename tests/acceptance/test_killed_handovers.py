"""Real processes are killed at each message of a handover (``tests/support/kill_points``).

Before the point of no return, a crash of the new process has no effect on clients, and a crash of the old one ends its
clients' connections. After it, the roles are reversed. Two processes never serve one client, and no process and no
socket is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Devnet, Stack
from tests.acceptance.crowd import TEXT, clients_of, connect, echoes, eventually, leave, sample
from tests.acceptance.processes import ROOT, http_get
from tests.acceptance.test_upgrade import listens
from tests.support.raw_client import RawSdkClient

pytestmark = pytest.mark.acceptance

#: The messages, in order, during which the old process has all clients. The new process is killed at each.
BEFORE = (
    "sends ready",
    "receives early state",
    "receives early piece 1",
    "sends made 2",
    "receives last",
    "receives state",
    "receives end",
)
CLIENTS = 4


class Gateway:
    """A gateway whose processes can be killed at chosen messages of a handover."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self.stack: Stack
        self.clients: list[RawSdkClient] = []

    @property
    def environment(self) -> dict[str, str]:
        kill_points = ROOT / "tests" / "support" / "kill_points"
        return {"HANDOVER_KILLS": str(self.directory), "PYTHONPATH": f"{kill_points}{os.pathsep}{ROOT}"}

    @property
    def processes(self) -> list[int]:
        """The process ids of the running processes, found by their environment."""
        found, mine = [], f"HANDOVER_KILLS={self.directory}".encode()
        for each in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mine in (each / "environ").read_bytes().split(b"\0"):
                    found.append(int(each.name))
        return found

    def connect_clients(self) -> None:
        """Connect all clients."""
        self.clients = [connect(self.stack) for _ in range(CLIENTS)]

    def upgrade(self, process: int, kill_point: str, how: str = "", *, reload: bool = False) -> None:
        """Start an upgrade while clients send messages, and wait until a process is killed at a kill point.

        :param kill_point: the direction and name of the message
        :param how: the content of the kill point's file
        :param reload: whether the old process gets SIGHUP after it has started the new one
        """
        begun = self.log_count("handover begins")
        (self.directory / kill_point).write_text(how)
        for client in self.clients:
            client.send_message(TEXT + b"on its way")
        os.kill(process, signal.SIGUSR2)
        if reload:
            self.until(lambda: self.log_count("handover begins") > begun, "the new process starts")
            os.kill(process, signal.SIGHUP)
        self.until(lambda: not (self.directory / kill_point).exists(), f"a process is killed: {kill_point}")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds; the error has the log."""
        try:
            eventually(condition, what)
        except AssertionError as error:
            log = self.directory / "log"
            words = log.read_text() if log.exists() else "no message was logged"
            raise AssertionError(f"{error}\n{words}\n{self.stack.server.output}") from None

    def check(self, *, workers: int = 0) -> int:
        """Check that one main process is left and serves all clients; returns its process id."""
        self.until(lambda: len(self.processes) == 1 + workers, "one gateway is left")
        for client in self.clients:
            client.until(lambda client=client: client.received[-1:] == [TEXT + b"on its way"])
            echoes(client)
        fresh = connect(self.stack)
        echoes(fresh)
        fresh.connection.close()
        return self.processes[0]

    def check_lost(self) -> None:
        """Check that all connections have ended, and that no process and no listener is left."""
        for client in self.clients:
            assert client.connection.close_code() is None
        self.until(lambda: not self.processes, "no process is left")
        assert not listens(int(self.stack.gateway.rpartition(":")[2]))

    def log_count(self, words: str) -> int:
        """How often the log contains a text."""
        return self.stack.server.output.count(words)

    @property
    def failed(self) -> int:
        """The number of failed handovers by the main process's log; workers log it too, and are not counted."""
        lines = self.stack.server.output.splitlines()
        return sum("handover failed, this process continues" in line and " worker=" not in line for line in lines)

    def kill(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


@pytest.fixture
def gateways(stacks: Callable[..., Stack], tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    made: list[Gateway] = []

    def start(*options: str, network: str) -> Gateway:
        gateway = Gateway(tmp_path / f"kill_points{len(made)}")
        made.append(gateway)
        gateway.stack = stacks(*options, network=network, environment=gateway.environment)
        return gateway

    yield start
    for gateway in made:
        gateway.kill()


@pytest.mark.long
def test_each_process_is_killed_at_each_message(
    devnets: Callable[..., Devnet], gateways: Callable[..., Gateway]
) -> None:
    devnet = devnets()
    gateway = gateways(network=devnet.network)
    gateway.connect_clients()
    process = gateway.stack.server.process.pid
    for kill_point in BEFORE:
        failed = gateway.failed
        gateway.upgrade(process, kill_point)
        gateway.until(lambda failed=failed: gateway.failed > failed, "the former process says that it goes on")
        assert gateway.check() == process, kill_point
    assert gateway.log_count("configuration reloaded") == 0
    # a new process that does not know whether the old one was asked to reload, reloads; if it knows, it does as asked
    for reloads, (kill_point, reload) in enumerate((("receives taken", False), ("sends go", True))):
        gateway.upgrade(process, kill_point, reload=reload)
        former, process = process, gateway.check()
        assert process != former, kill_point
        gateway.until(
            lambda reloads=reloads: gateway.log_count("configuration reloaded") == 1 + 2 * reloads,
            "the new process has reloaded, and the former one if it was asked to",
        )
    eventually(lambda: clients_of(devnet, devnet.echo) == CLIENTS, "the canister has exactly the connected clients")
    # the last message but one before the point of no return: after the last one, either process may be first
    gateway.upgrade(process, "sends state")
    gateway.check_lost()


@pytest.mark.parametrize("kill_point", ["sends early piece 1", "sends taken"])
def test_the_process_that_has_the_clients_is_killed(
    devnets: Callable[..., Devnet], gateways: Callable[..., Gateway], kill_point: str
) -> None:
    """The old process in the middle of the transfer; the new one right after the point of no return."""
    gateway = gateways(network=devnets().network)
    gateway.connect_clients()
    gateway.upgrade(gateway.stack.server.process.pid, kill_point)
    gateway.check_lost()


@pytest.mark.long
def test_workers_are_killed_between_their_handovers(
    devnets: Callable[..., Devnet], gateways: Callable[..., Gateway]
) -> None:
    """A crash of one of several processes ends at most its own clients' connections; the gateway keeps running."""
    devnet = devnets()
    gateway = gateways("--workers=2", network=devnet.network)
    eventually(lambda: sample(gateway.stack, "icws_workers") == 2, "both workers are ready")
    gateway.connect_clients()
    process = gateway.stack.server.process.pid
    # a new worker before anything is handed over
    gateway.upgrade(process, "receives early piece 1")
    # until then a further handover is refused
    gateway.until(lambda: gateway.failed == 1, "the former supervisor says that it goes on")
    gateway.check(workers=2)
    # the new supervisor when one worker has handed over; and the new worker that has just taken everything
    for failed, (kill_point, how) in enumerate((("receives early piece 1", "next parent"), ("sends taken", "")), 2):
        gateway.upgrade(process, kill_point, how)
        gateway.until(lambda failed=failed: gateway.failed == failed, "the former supervisor says that it goes on")
        gateway.until(lambda: len(gateway.processes) == 3, "the former gateway goes on")
        assert process in gateway.processes
        gateway.until(lambda: sample(gateway.stack, "icws_workers") == 2, "both workers are ready")
        gateway.until(lambda: http_get(f"{gateway.stack.admin}/health/ready")[0] == 200, "it is ready")
        leave(*gateway.clients)
        gateway.connect_clients()
        for client in gateway.clients:
            echoes(client)
    leave(*gateway.clients)
    os.kill(process, signal.SIGTERM)
    gateway.until(lambda: not gateway.processes, "no process is left")
