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

import ast
import gc
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from twisted.internet.error import CannotListenError, ReactorNotRunning

from icwsgw.errors import ConfigError
from icwsgw.process.signals import STOP, when_signalled

PROGRAM = "twistd icws"

#: Failures of a start that are the operator's concern: one line says all.
_PLAIN = (ConfigError, CannotListenError)


def one_line(error: BaseException | str, program: str = PROGRAM) -> str:
    """Format an error or a warning for the operator as one line."""
    return f"{program}: {' '.join(str(error).split())}"


class StarterStderr:
    """The stderr of who starts a daemon. The daemon loses its own before its services start.

    twistd shows the starter a failure as the repr of bytes, cut at 100 characters, with the name of the exception. This
    prints the daemon's own line instead, and other failures as text.

    :param descriptor: of the starter's stderr; this object owns it
    """

    #: What twistd writes for a failure of the daemon: the exception in Python's form.
    _FAILURE = re.compile(r"An error has occurred: (b'.*'|b\".*\")\n(.*)\Z", re.S)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._errors = tuple(f"{kind.__module__}.{kind.__qualname__}: " for kind in _PLAIN)

    def write(self, text: str) -> None:
        """Write a text; leave out what the daemon says itself."""
        found = self._FAILURE.fullmatch(text)
        if found is not None:
            message = ast.literal_eval(found[1]).decode("ascii", "replace")
            if message.startswith(self._errors):
                return
            text = f"{message}\n{found[2]}"
        rest = text.encode(errors="backslashreplace")
        while rest and self._descriptor >= 0:
            rest = rest[os.write(self._descriptor, rest) :]

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def close(self) -> None:
        """Let the starter's terminal or pipe go."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def keep_starter_stderr(reactor: Any) -> None:
    """Make ``sys.__stderr__`` lead to the starter of a daemon until the daemon's services have started."""
    try:
        stream = StarterStderr(os.dup(2))
    except OSError:
        return  # closed
    sys.__stderr__ = stream  # type: ignore[misc, assignment]
    reactor.callWhenRunning(stream.close)


def report_start_errors(program: str = PROGRAM, *, log: Callable[[str], object] | None = None) -> None:
    """Print a ConfigError, or a port in use, that ends this process as one line; other exceptions are unaffected.

    :param log: also gets the line; needed for a daemon, which has no stderr and whose parent points to the log
    """
    before = sys.excepthook

    def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, OSError) and error.filename and _is_of_twistd(traceback):
            # its pid file, for example
            error = ConfigError(f"cannot write {error.filename}: {error.strerror}")
        if isinstance(error, _PLAIN):
            print(one_line(error, program), file=sys.__stderr__)
            if log is not None:
                log(str(error))
        else:
            before(kind, error, traceback)

    sys.excepthook = report


def _is_of_twistd(traceback: TracebackType | None) -> bool:
    """Whether twistd itself has raised an exception."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_globals.get("__name__") == "twisted.scripts._twistd_unix"


@contextmanager
def closed_stdout_is_an_end() -> Iterator[None]:
    """End a command that prints when its reader (a pager, ``head``) has closed the pipe.

    :raises SystemExit: with status 1; no traceback follows, also not from the flush at exit
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


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
