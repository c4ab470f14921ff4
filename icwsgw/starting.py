"""How the process starts and ends, as those see it who run it.

A start that fails is one line on stderr for the operator and exit status 1, no traceback. twistd lets what
``makeService`` and the services raise end the process, after it has removed its pid file and, as a daemon, told
its parent. What is left to do is to print the operator's errors as a line instead of a traceback, past twistd's
log, which has taken sys.stderr over by then.

SIGTERM is how service managers end a program that works, so its exit status is 0. twistd by itself stops the
services and then kills itself by the same signal, which reads as a failure (143) where only 0 is a success.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType
from typing import Any

from twisted.internet.error import CannotListenError, ReactorNotRunning

from icwsgw.errors import ConfigError

PROGRAM = "twistd icws"


def one_line(error: BaseException, program: str = PROGRAM) -> str:
    """Write an error for the operator on one line."""
    return f"{program}: {' '.join(str(error).split())}"


def report_start_errors(program: str = PROGRAM) -> None:
    """Print a ConfigError or a taken port that ends this process as a line; every other exception as before."""
    before = sys.excepthook

    def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, (ConfigError, CannotListenError)):
            print(one_line(error, program), file=sys.__stderr__)
        else:
            before(kind, error, traceback)

    sys.excepthook = report


def end_well_on_sigterm(reactor: Any) -> None:
    """Let SIGTERM stop the reactor, and with it the services, and then the process with status 0."""

    def stop() -> None:
        try:
            reactor.stop()
        except ReactorNotRunning:
            pass  # it is stopping already

    def on_signal(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(stop)

    # Once it runs: the reactor puts its own handlers in place when it starts.
    reactor.callWhenRunning(signal.signal, signal.SIGTERM, on_signal)
