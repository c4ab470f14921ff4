"""Notifications to the service manager, over real unix datagram sockets."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from icwsgw.config.schema import GatewayConfig
from icwsgw.process.systemd import MAX_STATUS, Notifier, NotifyingService


class Manager:
    """The service manager's socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self._socket.setblocking(False)

    def received(self) -> list[str]:
        """The messages so far: a datagram of a unix socket has arrived when it has been sent."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@icws-test-{secrets.token_hex(8)}"
    manager = Manager(address)
    yield manager
    manager.close()


def test_ready_reloading_and_stopping(manager: Manager) -> None:
    notifier = Notifier(Clock(), manager.address, monotonic_ns=lambda: 12_345_678)
    notifier.ready("serves\n clients")
    notifier.reloading(True)
    notifier.reloading(False)
    notifier.stopping(12.5, "closes 3 clients")
    notifier.stopping()
    assert manager.received() == [
        "READY=1\nSTATUS=serves clients",
        "RELOADING=1\nMONOTONIC_USEC=12345",
        "READY=1",
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=12500000\nSTATUS=closes 3 clients",
        "STOPPING=1",
    ]
    notifier.close()


def test_the_status_is_one_short_line(manager: Manager) -> None:
    notifier = Notifier(Clock(), manager.address)
    notifier.status("network:\nnot reached READY=1 " + "x" * 1000)
    notifier.status("")
    (line,) = manager.received()
    assert line.startswith("STATUS=network: not reached READY=1 xxx")
    assert len(line) == len("STATUS=") + MAX_STATUS
    notifier.close()


def test_the_watchdog_gets_two_notifications_in_its_time_until_the_end(manager: Manager) -> None:
    clock = Clock()
    notifier = Notifier(clock, manager.address, watchdog=20.0)
    clock.advance(100.0)
    assert manager.received() == []
    notifier.ready()
    assert manager.received() == ["READY=1", "WATCHDOG=1"]
    notifier.ready()
    clock.pump([10.0] * 3)
    assert manager.received() == ["READY=1", *["WATCHDOG=1"] * 3]
    notifier.stopping()
    clock.advance(10.0)
    assert manager.received() == ["STOPPING=1", "WATCHDOG=1"]
    notifier.close()
    clock.advance(100.0)
    assert manager.received() == []
    assert clock.getDelayedCalls() == []


def test_the_environment_is_read_and_cleared(manager: Manager) -> None:
    environment = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/bin",
    }
    notifier = Notifier.from_environment(Clock(), environment)
    assert environment == {"PATH": "/bin"}
    assert notifier.watchdog == 30.0
    notifier.ready()
    assert manager.received() == ["READY=1", "WATCHDOG=1"]
    notifier.close()


@pytest.mark.parametrize(
    "changes",
    [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}, {"NOTIFY_SOCKET": ""}],
    ids=["of another process", "no number", "zero", "no one to notify"],
)
def test_no_watchdog(tmp_path: Path, changes: dict[str, str]) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "1000", **changes}
    clock = Clock()
    notifier = Notifier.from_environment(clock, environment)
    assert notifier.watchdog == 0.0
    notifier.ready()
    assert clock.getDelayedCalls() == []
    notifier.close()


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234"])
def test_nobody_to_tell(address: str) -> None:
    notifier = Notifier.from_environment(Clock(), {"NOTIFY_SOCKET": address})
    notifier.ready("x")
    notifier.reloading(True)
    notifier.stopping(5)
    notifier.close()
    notifier.close()


def test_a_manager_that_went_away_stops_nothing_and_may_come_back(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    clock = Clock()
    notifier = Notifier(clock, address, watchdog=2.0)
    notifier.ready()
    clock.advance(1.0)
    manager = Manager(address)
    clock.advance(1.0)
    assert manager.received() == ["WATCHDOG=1"]
    manager.close()
    clock.advance(1.0)
    notifier.close()


def test_a_manager_that_does_not_read_does_not_block_us(manager: Manager) -> None:
    notifier = Notifier(Clock(), manager.address)
    for _ in range(5000):
        notifier.status("busy")
    assert 0 < len(manager.received()) < 5000
    notifier.close()


CONFIG = GatewayConfig(data_dir=Path("/nonexistent"))


class RecordingNotifier:
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def ready(self, status: str) -> None:
        self.calls.append(("ready", status))

    def stopping(self, seconds: float, status: str) -> None:
        self.calls.append(("stopping", seconds))


class Reactor:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def callWhenRunning(self, call: Any) -> None:
        self.calls.append(call)


def test_ready_when_the_reactor_runs_and_stopping_when_the_stop_begins() -> None:
    notifier, reactor = RecordingNotifier(), Reactor()
    service: Any = NotifyingService(notifier, reactor, lambda: 40.0)  # type: ignore[arg-type]
    service.startService()
    assert notifier.calls == []
    (run,) = reactor.calls
    run()
    service.stopService()
    assert notifier.calls == [("ready", "serving"), ("stopping", 40.0)]
    run()
    assert len(notifier.calls) == 2, "a stop before the reactor ran: never ready"
