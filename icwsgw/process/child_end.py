"""How a child process has ended, in words for the log."""

from __future__ import annotations

import signal

from twisted.internet.error import ProcessTerminated
from twisted.python.failure import Failure


def how_it_ended(reason: Failure) -> str:
    """Describe the end of a child process: ``exit status 1``, or ``killed by SIGKILL``.

    :param reason: what Twisted gives to ``processEnded``
    """
    error = reason.value
    if not isinstance(error, ProcessTerminated):
        return "exit status 0"
    if error.signal is None:
        return f"exit status {error.exitCode}"
    try:
        return f"killed by {signal.Signals(error.signal).name}"
    except ValueError:
        # a real-time signal
        return f"killed by signal {error.signal}"
