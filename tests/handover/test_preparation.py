"""How a gateway prepares to hand over to its successor and to take over from its predecessor."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from icwsgw.errors import ConfigError
from icwsgw.handover import preparation
from icwsgw.handover.preparation import log_options, prepare_handover, reported_to_predecessor


class Inherits:
    """A successor.

    :ivar began: to be called when it serves
    :ivar closed: what listens when it closes the other sockets
    """

    def __init__(self, **facts: str) -> None:
        self.facts = facts
        self.began: Any = None
        self.closed: list[Any] = []
        self.close_unused = self.closed.append

    def prepare(self, gateway: Any, began: Any) -> None:
        self.began = began


class Notifying:
    serves = True
    began = 0

    def begin(self) -> None:
        self.began += 1


def prepare(monkeypatch: Any, twistd: dict[str, Any], successor: Any = None) -> tuple[Any, Any, dict[str, Any]]:
    made: dict[str, Any] = {}
    names = ("service", "command", "directory", "environment", "announce", "pidfile")
    predecessor = SimpleNamespace(
        signalled=lambda: None, reload=lambda read: made.update(signalled=read), rotate_logs=lambda rotate: rotate()
    )
    made["reloads"] = []

    def record(*values: Any) -> Any:
        made.update(zip(names, values, strict=True))
        return predecessor

    monkeypatch.setattr(preparation, "Predecessor", record)
    signals: list[Any] = []
    monkeypatch.setattr(preparation, "when_signalled", lambda reactor, *args: signals.append(args))
    monkeypatch.setattr(preparation, "reload_on_hangup", lambda reactor, reload: made.update(hung_up=reload))
    gateway = SimpleNamespace(reactor=Clock(), rotations=[], listening_services=["tcp:1"])
    gateway.rotate_logs = lambda: gateway.rotations.append(True)
    notifying = Notifying()
    options = SimpleNamespace(parent=twistd, directory="/start")
    environment = {"ICWS_X": "1", "ICWSGW_HANDOVER": "9", "WATCHDOG_PID": "4", "NOTIFY_SOCKET": "/run/n"}
    notifier: Any = SimpleNamespace(main_process=None)
    reload = lambda: made["reloads"].append(True)  # noqa: E731
    prepare_handover(gateway, options, environment, notifier, notifying, reload, successor)  # type: ignore[arg-type]
    assert gateway.upgrader is predecessor
    (usr2, usr1) = sorted(signals, reverse=True, key=lambda each: each[0])
    assert (usr2, usr1[0]) == ((signal.SIGUSR2, predecessor.signalled), signal.SIGUSR1)
    usr1[1]()
    assert gateway.rotations.pop()
    return gateway, notifying, made


def test_a_successor_gets_the_environment_without_what_was_meant_for_this_process(monkeypatch: Any) -> None:
    _, notifying, made = prepare(monkeypatch, {"pidfile": "a.pid"})
    assert made["environment"] == {"ICWS_X": "1", "NOTIFY_SOCKET": "/run/n"}
    assert (made["directory"], notifying.serves) == ("/start", True)


@pytest.mark.parametrize(
    ("twistd", "options"),
    [
        ({"nodaemon": True}, []),
        ({"nodaemon": False, "logfile": "a.log"}, []),
        ({"nodaemon": False, "syslog": True}, []),
        ({"nodaemon": False, "logfile": None}, [f"--logfile={os.path.abspath('twistd.log')}"]),
    ],
)
def test_the_log_of_a_daemon_stays_where_it_is(twistd: dict[str, Any], options: list[str]) -> None:
    assert log_options(twistd) == options


def test_a_successor_is_started_as_this_process_was(monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "no such twistd", "icws", "--identities=2"])
    _, _, made = prepare(monkeypatch, {"nodaemon": False})
    program, script, *options = made["command"]()
    assert (program, script) == (sys.executable, "no such twistd")
    assert options == [
        *("--nodaemon", "--pidfile=", f"--logfile={os.path.abspath('twistd.log')}"),
        *("icws", "--identities=2"),
    ]


def test_a_failed_start_is_reported_to_the_predecessor() -> None:
    reported: list[str] = []
    for successor in (None, SimpleNamespace(failed=reported.append)):
        with pytest.raises(ConfigError), reported_to_predecessor(successor):  # type: ignore[arg-type]
            raise ConfigError("the key is invalid")
    assert reported == ["the key is invalid"]


def test_the_pid_file_goes_to_the_successor(monkeypatch: Any) -> None:
    twistd = {"pidfile": "a.pid"}
    _, _, made = prepare(monkeypatch, twistd)
    assert made["pidfile"].path == os.path.abspath("a.pid")
    made["pidfile"].release()
    assert twistd["pidfile"] == "", "this process does not remove it"


def test_a_successor_takes_the_pid_file_and_is_ready_when_it_serves(monkeypatch: Any, tmp_path: Path) -> None:
    successor = Inherits(pidfile="/other")
    twistd = {"pidfile": ""}
    _, notifying, made = prepare(monkeypatch, twistd, successor)
    assert not notifying.serves
    path = tmp_path / "gateway.pid"
    assert successor.closed == [], "the other process still serves"
    successor.began({"go": True, "pidfile": str(path)})
    assert successor.closed == [["tcp:1"]]
    assert (path.read_text(), twistd["pidfile"], notifying.began) == (str(os.getpid()), str(path), 1)
    assert made["pidfile"].path == str(path), "and so does the next one"


@pytest.mark.parametrize(
    ("last", "reloads", "written"),
    [
        ({"go": True, "pidfile": "", "reload": True}, 1, False),
        ({"go": True, "pidfile": "", "reload": False, "rotate": True}, 0, False),
        ({"go": True, "pidfile": "", "reload": False}, 0, False),
        # of a version that does not know the field
        ({"go": True, "pidfile": ""}, 0, False),
        # the other process has ended before it could send it
        ({}, 1, True),
        ({"overrides": {}}, 1, True),
    ],
)
def test_a_successor_reloads_if_its_predecessor_was_requested_to(
    monkeypatch: Any, tmp_path: Path, last: dict[str, Any], reloads: int, written: bool
) -> None:
    path = tmp_path / "gateway.pid"
    successor = Inherits(pidfile=str(path))
    gateway, notifying, made = prepare(monkeypatch, {"pidfile": ""}, successor)
    successor.began(last)
    assert (path.exists(), notifying.began, made["reloads"]) == (written, 1, [])
    gateway.reactor.advance(0.0)
    assert made["reloads"] == [True] * reloads
    assert gateway.rotations == [True] * last.get("rotate", 0)


def test_of_an_older_version_that_has_died_no_pid_file_is_known(monkeypatch: Any) -> None:
    successor = Inherits()
    _, notifying, made = prepare(monkeypatch, {"pidfile": ""}, successor)
    successor.began({})
    assert (made["pidfile"].path, notifying.began) == ("", 1)


def test_a_reload_signal_is_passed_to_a_handover_in_progress(monkeypatch: Any) -> None:
    _, _, made = prepare(monkeypatch, {})
    made["hung_up"]()
    made["signalled"]()
    assert made["reloads"] == [True]
