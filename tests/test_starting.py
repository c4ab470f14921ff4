import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.error import CannotListenError, ReactorNotRunning

from icwsgw.errors import ConfigError
from icwsgw.starting import end_well_on_sigterm, one_line, report_start_errors


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


def test_sigterm_stops_the_reactor_and_more_of_them_do_no_harm() -> None:
    before = signal.getsignal(signal.SIGTERM)
    reactor = Reactor()
    try:
        end_well_on_sigterm(reactor)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert reactor.stops >= 2
