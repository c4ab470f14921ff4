"""Start and end of the process as an operator sees them.

A start that fails is one line on stderr for the operator and exit status 1, no traceback. twistd lets what
``makeService`` and the services raise end the process, after it has removed its pid file and, as a daemon, told
its parent. What is left to do is to print the operator's errors as a line instead of a traceback, past twistd's
log, which has taken sys.stderr over by then.

SIGTERM is how service managers end a program that works, and SIGINT how people do, so its exit status is 0. twistd by
itself stops the services and then kills itself by the same signal, which reads as a failure (143) where only 0 is a
success. A second signal means that the end takes too long for whoever sent it.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from twisted.internet.error import CannotListenError, ReactorNotRunning

from icwsgw.errors import ConfigError

PROGRAM = "twistd icws"


def one_line(error: BaseException | str, program: str = PROGRAM) -> str:
    """Write an error, or a doubt, for the operator on one line."""
    return f"{program}: {' '.join(str(error).split())}"


def report_start_errors(program: str = PROGRAM, *, log: Callable[[str], object] | None = None) -> None:
    """Print a ConfigError or a taken port that ends this process as a line; every other exception as before.

    :param log: takes it too; for a daemon, whose standard error is nobody's, and whose parent refers to the log
    """
    before = sys.excepthook

    def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, (ConfigError, CannotListenError)):
            print(one_line(error, program), file=sys.__stderr__)
            if log is not None:
                log(str(error))
        else:
            before(kind, error, traceback)

    sys.excepthook = report


def stop(reactor: Any) -> bool:
    """Let the reactor stop, and with it the services; False when it is doing so already."""
    try:
        reactor.stop()
    except ReactorNotRunning:
        return False
    return True


def exit_zero_on_signals(reactor: Any, hurry: Callable[[], None] | None = None) -> None:
    """Let SIGTERM or SIGINT stop the reactor, and with it the services, and then the process with status 0.

    :param hurry: called for each such signal that comes while the services are stopping already
    """

    def signalled() -> None:
        if not stop(reactor) and hurry is not None:
            hurry()

    def on_signal(number: int, frame: FrameType | None) -> None:
        reactor.callFromThread(signalled)

    # Once it runs: the reactor puts its own handlers in place when it starts.
    for number in (signal.SIGTERM, signal.SIGINT):
        reactor.callWhenRunning(signal.signal, number, on_signal)


def reload_on_hangup(reactor: Any, reload: Callable[[], None]) -> None:
    """Let SIGHUP call ``reload`` in the reactor's thread."""
    reactor.callWhenRunning(signal.signal, signal.SIGHUP, lambda number, frame: reactor.callFromThread(reload))


def freeze_startup_objects(reactor: Any) -> None:
    """Once the reactor runs, take what the program is made of out of the garbage collector's sight.

    It would look through all of it each time that many connections have come or gone: 30 to 60 ms in which nobody is
    served.
    """
    reactor.callWhenRunning(_freeze)


#: After how many new objects the collector looks at the youngest, after how many such looks at those that have outlived
#: one, and after how many of these at all. Connections leave no cycles behind (decision 0033), so it finds hardly
#: anything; by Python's (700, 10, 10) strangers who come and go made it stop a gateway for 130 ms every few seconds.
COLLECTIONS = (700, 5, 300)


def _freeze() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
