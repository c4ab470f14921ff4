import gc
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.error import CannotListenError, ReactorNotRunning

from icwsgw.errors import ConfigError
from icwsgw.process.startup import (
    COLLECTIONS,
    exit_zero_on_signals,
    freeze_startup_objects,
    one_line,
    reload_on_hangup,
    report_start_errors,
    stop,
)


def test_one_line() -> None:
    assert one_line(ConfigError("port\n  taken")) == "twistd icws: port taken"
    assert one_line(ValueError("x"), "icws") == "icws: x"


def test_operators_errors_are_a_line_and_others_as_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    others: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: others.append(kind))
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    report_start_errors()
    sys.excepthook(ConfigError, ConfigError("no key"), None)
    taken = CannotListenError("", 8080, OSError(98, "Address already in use"))
    sys.excepthook(CannotListenError, taken, None)
    sys.excepthook(ValueError, ValueError("bug"), None)
    assert capsys.readouterr().err == (
        "twistd icws: no key\ntwistd icws: Couldn't listen on any:8080: [Errno 98] Address already in use.\n"
    )
    assert others == [ValueError]


def test_a_daemons_error_is_in_its_log_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    logged: list[str] = []
    report_start_errors(log=logged.append)
    sys.excepthook(ConfigError, ConfigError("no key"), None)
    assert logged == ["no key"]
    assert capsys.readouterr().err == "twistd icws: no key\n"


class Reactor:
    """The part of a reactor that signals meet."""

    def __init__(self) -> None:
        self.stops = 0

    def callWhenRunning(self, call: Callable[..., object], *args: Any) -> None:
        call(*args)

    def callFromThread(self, call: Callable[[], object]) -> None:
        call()

    def stop(self) -> None:
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning("stopping")


@pytest.fixture
def restored() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_a_reactor_is_stopped_once() -> None:
    reactor = Reactor()
    assert stop(reactor)
    assert not stop(reactor)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_reactor_and_more_of_them_hurry(number: int) -> None:
    reactor = Reactor()
    hurried: list[None] = []
    exit_zero_on_signals(reactor, lambda: hurried.append(None))
    signal.raise_signal(number)
    assert (reactor.stops, hurried) == (1, [])
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    assert (reactor.stops, hurried) == (3, [None, None])


@pytest.mark.usefixtures("restored")
def test_more_signals_do_no_harm_where_nothing_can_be_hurried() -> None:
    reactor = Reactor()
    exit_zero_on_signals(reactor)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert reactor.stops == 2


@pytest.mark.usefixtures("restored")
def test_hangup_reloads() -> None:
    reloads: list[None] = []
    reload_on_hangup(Reactor(), lambda: reloads.append(None))
    signal.raise_signal(signal.SIGHUP)
    assert reloads == [None]


def test_what_the_program_is_made_of_is_not_looked_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(gc, "collect", lambda: done.append("collect"))
    monkeypatch.setattr(gc, "freeze", lambda: done.append("freeze"))
    monkeypatch.setattr(gc, "set_threshold", lambda *thresholds: done.append(str(thresholds)))
    freeze_startup_objects(Reactor())
    assert done == ["collect", "freeze", str(COLLECTIONS)], "rubbish must not be kept for ever"
    youngest, older, all_ = COLLECTIONS
    # those that a full collection comes after, and the middle one looks at
    assert youngest * older * all_ >= 1_000_000
    assert youngest * older <= 5000
