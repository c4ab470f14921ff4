"""What every command line of the package does around its work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

#: A command line: takes the arguments and the environment, returns the exit status.
Command = Callable[[Sequence[str], Mapping[str, str]], int]

#: What shells report for a program that SIGINT has ended.
INTERRUPTED = 130


def run_command(command: Command) -> NoReturn:
    """Run a command line with the process's arguments and environment, and exit with its status.

    A reader that has closed the pipe, for example ``head``, is no error. Ctrl-C ends the command without a traceback.
    """
    try:
        status = command(sys.argv[1:], os.environ)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except KeyboardInterrupt:
        status = INTERRUPTED
    raise SystemExit(status)
