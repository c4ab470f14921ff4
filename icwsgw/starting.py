"""How a start fails: one line on stderr for the operator, exit status 1, no traceback.

twistd lets what ``makeService`` and the services raise end the process, after it has removed its pid file and,
as a daemon, told its parent. What is left to do is to print the operator's errors as a line instead of a traceback,
past twistd's log, which has taken sys.stderr over by then.
"""

from __future__ import annotations

import sys
from types import TracebackType

from icwsgw.errors import ConfigError

PROGRAM = "twistd icws"


def one_line(error: BaseException, program: str = PROGRAM) -> str:
    """Write an error for the operator on one line."""
    return f"{program}: {' '.join(str(error).split())}"


def report_start_errors(program: str = PROGRAM) -> None:
    """Print any ConfigError that ends this process as a line; every other exception as before."""
    before = sys.excepthook

    def report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, ConfigError):
            print(one_line(error, program), file=sys.__stderr__)
        else:
            before(kind, error, traceback)

    sys.excepthook = report
