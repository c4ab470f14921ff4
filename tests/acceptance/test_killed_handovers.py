"""Real processes are killed at each word of a handover (``tests/support/deaths``).

Before the point of no return, the end of the new process costs nothing, and that of the old one costs its clients, as a
crash does. Afterwards it is the other way round. There are never two processes that serve one client, and no process
and no socket is left.
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

#: The words up to which the old process has all clients, as the new one comes to them.
BEFORE = (
    "sends ready",
    "hears early state",
    "hears early piece 1",
    "sends made 2",
    "hears last",
    "hears state",
    "hears end",
)
CLIENTS = 4


class Gateway:
    """A gateway whose processes can be told where to die."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self.stack: Stack
        self.clients: list[RawSdkClient] = []

    @property
    def environment(self) -> dict[str, str]:
        deaths = ROOT / "tests" / "support" / "deaths"
        return {"HANDOVER_DEATHS": str(self.directory), "PYTHONPATH": f"{deaths}{os.pathsep}{ROOT}"}

    @property
    def processes(self) -> list[int]:
        """Those that run, by what their environment says."""
        found, mine = [], f"HANDOVER_DEATHS={self.directory}".encode()
        for each in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mine in (each / "environ").read_bytes().split(b"\0"):
                    found.append(int(each.name))
        return found

    def come(self) -> None:
        """All clients connect."""
        self.clients = [connect(self.stack) for _ in range(CLIENTS)]

    def upgrade(self, process: int, death: str, how: str = "", *, reload: bool = False) -> None:
        """Upgrade while clients talk; somebody dies at a word.

        :param reload: whether the old process is told to reload when it has started the new one
        """
        begun = self.said("handover begins")
        (self.directory / death).write_text(how)
        for client in self.clients:
            client.say(TEXT + b"on its way")
        os.kill(process, signal.SIGUSR2)
        if reload:
            self.until(lambda: self.said("handover begins") > begun, "the new process starts")
            os.kill(process, signal.SIGHUP)
        self.until(lambda: not (self.directory / death).exists(), f"somebody dies: {death}")

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Ask again and again until something holds."""
        try:
            eventually(condition, what)
        except AssertionError as error:
            log = self.directory / "log"
            words = log.read_text() if log.exists() else "no word was said"
            raise AssertionError(f"{error}\n{words}\n{self.stack.server.output}") from None

    def check(self, *, workers: int = 0) -> int:
        """Everybody is served, by one process; its number."""
        self.until(lambda: len(self.processes) == 1 + workers, "one gateway is left")
        for client in self.clients:
            client.until(lambda client=client: client.received[-1:] == [TEXT + b"on its way"])
            echoes(client)
        fresh = connect(self.stack)
        echoes(fresh)
        fresh.connection.close()
        return self.processes[0]

    def check_lost(self) -> None:
        """All clients are gone, and nothing is left."""
        for client in self.clients:
            assert client.connection.close_code() is None
        self.until(lambda: not self.processes, "no process is left")
        assert not listens(int(self.stack.gateway.rpartition(":")[2]))

    def said(self, words: str) -> int:
        """How often the log says something."""
        return self.stack.server.output.count(words)

    @property
    def failed(self) -> int:
        """How many handovers have come to nothing, as the main process says: workers say so too."""
        lines = self.stack.server.output.splitlines()
        return sum("handover failed, this process goes on" in line and " worker=" not in line for line in lines)

    def kill(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


@pytest.fixture
def gateways(stacks: Callable[..., Stack], tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    made: list[Gateway] = []

    def start(*options: str, network: str) -> Gateway:
        gateway = Gateway(tmp_path / f"deaths{len(made)}")
        made.append(gateway)
        gateway.stack = stacks(*options, network=network, environment=gateway.environment)
        return gateway

    yield start
    for gateway in made:
        gateway.kill()


def test_each_process_is_killed_at_each_word(devnets: Callable[..., Devnet], gateways: Callable[..., Gateway]) -> None:
    devnet = devnets()
    gateway = gateways(network=devnet.network)
    gateway.come()
    process = gateway.stack.server.process.pid
    for death in BEFORE:
        failed = gateway.failed
        gateway.upgrade(process, death)
        gateway.until(lambda failed=failed: gateway.failed > failed, "the former process says that it goes on")
        assert gateway.check() == process, death
    assert gateway.said("configuration reloaded") == 0
    # a process that is not told whether it has to reload does so; one that is told does it if the former one had to
    for reloads, (death, reload) in enumerate((("hears taken", False), ("sends go", True))):
        gateway.upgrade(process, death, reload=reload)
        former, process = process, gateway.check()
        assert process != former, death
        gateway.until(
            lambda reloads=reloads: gateway.said("configuration reloaded") == 1 + 2 * reloads,
            "the new process has reloaded, and the former one if it was told to",
        )
    eventually(lambda: clients_of(devnet, devnet.echo) == CLIENTS, "the canister has the clients that there are")
    # the last word but one before the point of no return: after the last one, either may be the first
    gateway.upgrade(process, "sends state")
    gateway.check_lost()


@pytest.mark.parametrize("death", ["sends early piece 1", "sends taken"])
def test_who_has_the_clients_is_killed(
    devnets: Callable[..., Devnet], gateways: Callable[..., Gateway], death: str
) -> None:
    """The old process in the middle; the new one when it has just taken everything."""
    gateway = gateways(network=devnets().network)
    gateway.come()
    gateway.upgrade(gateway.stack.server.process.pid, death)
    gateway.check_lost()


def test_workers_are_killed_between_their_turns(
    devnets: Callable[..., Devnet], gateways: Callable[..., Gateway]
) -> None:
    """The death of one of several processes costs its clients at most; the others stay, and so does the gateway."""
    devnet = devnets()
    gateway = gateways("--workers=2", network=devnet.network)
    eventually(lambda: sample(gateway.stack, "icws_workers") == 2, "both workers are ready")
    gateway.come()
    process = gateway.stack.server.process.pid
    # a new worker before anything is handed over
    gateway.upgrade(process, "hears early piece 1")
    # before that, a further handover is refused
    gateway.until(lambda: gateway.failed == 1, "the former supervisor says that it goes on")
    gateway.check(workers=2)
    # the new supervisor when one worker has handed over; and the new worker that has just taken everything
    for failed, (death, how) in enumerate((("hears early piece 1", "next parent"), ("sends taken", "")), 2):
        gateway.upgrade(process, death, how)
        gateway.until(lambda failed=failed: gateway.failed == failed, "the former supervisor says that it goes on")
        gateway.until(lambda: len(gateway.processes) == 3, "the former gateway goes on")
        assert process in gateway.processes
        gateway.until(lambda: sample(gateway.stack, "icws_workers") == 2, "both workers are ready")
        gateway.until(lambda: http_get(f"{gateway.stack.admin}/health/ready")[0] == 200, "it is ready")
        leave(*gateway.clients)
        gateway.come()
        for client in gateway.clients:
            echoes(client)
    leave(*gateway.clients)
    os.kill(process, signal.SIGTERM)
    gateway.until(lambda: not gateway.processes, "no process is left")
