"""Start errors, signals and exit status of the process.

A failed start prints one line on stderr, without a traceback, and exits with status 1. An exception from
``makeService`` or a service ends twistd, which first removes its pid file and, as a daemon, notifies its parent.
This module prints such errors as one line instead of a traceback. It writes to the original stderr, because twistd's
log has replaced ``sys.stderr`` by then.

Service managers stop a program with SIGTERM, and people with SIGINT, so both lead to exit status 0. twistd alone would
stop the services and then kill itself with the same signal. Where only 0 counts as success, this looks like a failure
(status 143). A second signal asks for a faster stop.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from twisted.internet.error import CannotListenError, ReactorNotRunning

from icwsgw.errors import ConfigError
from icwsgw.process.signals import STOP, when_signalled

PROGRAM = "twistd icws"


def one_line(error: BaseException | str, program: str = PROGRAM) -> str:
    """Format an error or a warning for the operator as one line."""
    return f"{program}: {' '.join(str(error).split())}"


def report_start_errors(program: str = PROGRAM, *, log: Callable[[str], object] | None = None) -> None:
    """Print a ConfigError, or a port in use, that ends this process as one line; other exceptions are unaffected.

    :param log: also gets the line; needed for a daemon, which has no stderr and whose parent points to the log
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
    """Stop the reactor and its services; return False if they are already stopping."""
    try:
        reactor.stop()
    except ReactorNotRunning:
        return False
    return True


def exit_zero_on_signals(reactor: Any, hurry: Callable[[], None] | None = None) -> None:
    """Make SIGTERM and SIGINT stop the reactor and its services, and then exit with status 0.

    :param hurry: called for each such signal that arrives while the services are already stopping
    """

    def signalled() -> None:
        if not stop(reactor) and hurry is not None:
            hurry()

    for number in STOP:
        when_signalled(reactor, number, signalled)


def reload_on_hangup(reactor: Any, reload: Callable[[], None]) -> None:
    """Make SIGHUP call ``reload`` in the reactor's thread."""
    when_signalled(reactor, signal.SIGHUP, reload)


def freeze_startup_objects(reactor: Any) -> None:
    """Exclude the objects made at startup from garbage collection once the reactor runs.

    Otherwise a full collection, after many connections have opened or closed, would scan them all and stop the event
    loop for 30 to 60 ms.
    """
    reactor.callWhenRunning(_freeze)


#: Thresholds of the garbage collector: new objects before a collection of generation 0, collections of generation 0
#: before one of generation 1, and collections of generation 1 before one of generation 2. Connections leave no cycles
#: (decision 0033), so the collector finds hardly anything. With Python's (700, 10, 10), clients that connected and
#: disconnected caused pauses of 130 ms every few seconds.
COLLECTIONS = (700, 5, 300)


def _freeze() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
